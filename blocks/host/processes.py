"""Finds and ends what a target started, by a mark in its command line.

A mark beats a pid file: nothing is lost when the starter is killed between the start and the note of it, and a pid
that the kernel gave to somebody else is never taken for ours.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from blocks.host import proc
from domain.errors import TargetError

RELEASE_UID = 65533
"""What a release runs as where Lockgate is root. Not `nobody`: sandboxes may use up that one's process limit."""

_seen: dict[tuple[str, ...], int] = {}
"""Mark → pid of one that had it. What is asked every second reads one process, not all of /proc."""
_KILLED_WITHIN_S = 5.0
_POLL_S = 0.05


class Process(NamedTuple):
    """One running process. `ids`: its pid here, then in each nested pid namespace; `started`: ticks after boot."""

    pid: int
    parent: int
    started: str
    ids: tuple[str, ...]

    @property
    def is_init(self) -> bool:
        """Whether it is the first one of a namespace: with it all others there die."""
        return len(self.ids) > 1 and self.ids[-1] == "1"


def start(
    argv: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path, descriptors: Sequence[int] = ()
) -> None:
    """Start a program that outlives us, in a session of its own with no parent of ours. Returns at once.

    Raises TargetError if it cannot be started at all; find it with `marked`.
    """
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab") as output:
        try:
            subprocess.run(
                ["setsid", "--fork", *argv],
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=tuple(descriptors),
                check=True,
                timeout=10,
            )
        except (OSError, subprocess.SubprocessError) as err:
            raise TargetError(f"{argv[0]} could not be started: {err}; setsid, of util-linux, is needed") from err


def marked(*mark: str) -> tuple[Process, ...]:
    """Our processes with these words in a row in their command line.

    What runs inside a release can name itself as it likes, so only the first of a namespace counts there.
    """
    found = (_marked(pid, mark) for pid in proc.pids())
    return tuple(process for process in found if process)


def _marked(pid: int, mark: Sequence[str]) -> Process | None:
    wanted = "\0" + "\0".join(mark) + "\0"
    with contextlib.suppress(OSError, ValueError):
        if wanted in "\0" + Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace"):
            process, uid = _look(pid)
            if uid in (os.geteuid(), RELEASE_UID) and (len(process.ids) == 1 or process.is_init):
                return process
    return None


def within(*mark: str) -> tuple[int, ...]:
    """Pids of all processes in the namespaces of the marked ones, whatever they call themselves."""
    spaces = {_space(process.pid) for process in marked(*mark) if process.is_init} - {None}
    return tuple(pid for pid in proc.pids() if spaces and _space(pid) in spaces)


def is_running(*mark: str) -> bool:
    """Whether one of them is there: who was the last time is looked at first, all others only if it is gone. Looks
    twice: between two programs of an exec chain a command line reads empty."""
    if (pid := _seen.get(mark)) is not None and _marked(pid, mark):
        return True
    for pause_s in (0, _POLL_S):
        time.sleep(pause_s)
        if there := marked(*mark):
            _seen[mark] = there[0].pid
            return True
    _seen.pop(mark, None)
    return False


def end(*mark: str, grace_s: float) -> bool:
    """Ask the marked programs to stop, and kill what is left after `grace_s`. Whether there were any; safe to repeat.

    Raises TargetError if one cannot be killed.
    """
    if not (there := marked(*mark)):
        return False
    for process in _services(there):
        _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while marked(*mark) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    deadline = time.monotonic() + _KILLED_WITHIN_S
    while there := marked(*mark):
        if time.monotonic() > deadline:
            raise TargetError(f"process {there[0].pid} cannot be killed: look at it with `ps -fp {there[0].pid}`")
        for process in there:
            _signal(process, signal.SIGKILL)
        time.sleep(_POLL_S)
    return True


def _services(there: Sequence[Process]) -> Iterator[Process]:
    """Who is to hear SIGTERM. In a namespace that is the command itself: its init would take all down with it."""
    inits = [process for process in there if process.is_init]
    if not inits:
        yield from there
        return
    below: dict[int, list[Process]] = {}
    for pid in proc.pids():
        with contextlib.suppress(OSError, ValueError):
            process, _ = _look(pid)
            below.setdefault(process.parent, []).append(process)
    for init in inits:
        for command in below.get(init.pid, []):
            # a shell that only waits for the service would die of the signal and hand none on
            waits = below.get(command.pid) and not _catches_sigterm(command.pid)
            yield from below[command.pid] if waits else [command]


def _space(pid: int) -> str | None:
    with contextlib.suppress(OSError):
        return proc.namespace(pid)
    return None


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(OSError, ValueError):
        descriptor = os.pidfd_open(process.pid)
        try:
            if _look(process.pid)[0].started == process.started:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def _look(pid: int) -> tuple[Process, int]:
    """The process and its effective uid."""
    stat, status = proc.stat(pid), proc.status(pid)
    ids = tuple(status.get("NSpid", str(pid)).split())
    return Process(pid, parent=stat.parent, started=stat.started, ids=ids), int(status["Uid"].split()[1])


def _catches_sigterm(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return bool(int(proc.status(pid).get("SigCgt", "0"), 16) >> (signal.SIGTERM - 1) & 1)
    return False
