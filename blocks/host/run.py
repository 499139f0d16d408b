"""Runs a program to its end. If its time is up, it is killed with all that it has started."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from blocks.host import proc

_POLL_S = 0.05
_KILLED_WITHIN_S = 5.0


class Ran(NamedTuple):
    """How a program ended."""

    code: int | None
    """Its exit code, or minus the signal that ended it; None: its time was up, and it was killed."""
    out: bytes
    err: bytes


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    timeout_s: float,
    cwd: Path | str = "/",
    stdin: bytes | IO[bytes] = b"",
    out: IO[bytes] | None = None,
    err: IO[bytes] | None = None,
    together: bool = False,
    grace_s: float = 0.0,
    program: str | None = None,
    descriptors: Sequence[int] = (),
    umask: int = -1,
) -> Ran:
    """Run a command line with exactly `env`, in a session of its own: it has no terminal, and one group to end.

    `stdin`: what it reads, or a file with it. `out`, `err`: files that get its output, in place of the result.
    `together`: stderr goes where stdout does. `grace_s`: if its time is up, it is asked to end (SIGTERM) so long before
    it is killed. `program`: what is started, if not the first word. Raises OSError if it cannot be started. If its time
    is up, or anything is raised meanwhile, its whole group is killed.
    """
    process = subprocess.Popen(
        argv,
        executable=program,
        env=env,
        cwd=cwd,
        stdin=stdin if not isinstance(stdin, bytes) else subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=out or subprocess.PIPE,
        stderr=subprocess.STDOUT if together else err or subprocess.PIPE,
        pass_fds=tuple(descriptors),
        start_new_session=True,
        umask=umask,
    )
    has_ended = False
    try:
        said, complained = process.communicate(stdin if isinstance(stdin, bytes) and stdin else None, timeout=timeout_s)
        has_ended = True
        return Ran(process.returncode, said or b"", complained or b"")
    except subprocess.TimeoutExpired:
        return Ran(None, b"", b"")
    finally:
        if not has_ended:  # somebody in the group, be it not its first process
            end_group(process.pid, grace_s)
            process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()


def end_group(leader: int, grace_s: float = 0.0) -> None:
    """End a process that leads a group, with all that is in the group: asked first if `grace_s`, then killed."""
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, _KILLED_WITHIN_S)):
        if number is signal.SIGTERM and not grace_s:
            continue
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, number)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and is_group_alive(leader):
            time.sleep(_POLL_S)


def is_group_alive(leader: int) -> bool:
    """Whether a process group has anyone in it who is not a zombie."""
    return any(one.state != "Z" and one.group == leader for one in proc.stats().values())
