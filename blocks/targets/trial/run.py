"""A command of a release at work in a trial, and how its service is asked."""

import contextlib
import http.client
import inspect
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from blocks.host import process_memory, processes
from blocks.host.confine import Bind
from blocks.targets.health_probe import PROBE_TIMEOUT_S
from blocks.targets.machine import confinement
from blocks.targets.machine.confinement import DATA
from blocks.targets.trial import inside
from blocks.targets.trial.database import PORT, TrialDatabase
from blocks.targets.trial.door import TrialDoor
from domain.errors import TargetError

_BEGINS_WITHIN_S = 30
_PROCESSES, _MEMORY_BYTES = 512, 4 << 30
"""The most that a trial may have of each, all its processes together: nobody has reviewed what runs in there."""
_LOOK_S = 0.5


class TrialCommand(NamedTuple):
    """A command of the release at work, the sockets through which its service can be asked, and its limits."""

    process: subprocess.Popen[bytes]
    lines: list[socket.socket]
    memory: "MemoryWatch"


@contextlib.contextmanager
def begun(
    python: Path,
    command: str,
    mounts: Sequence[Bind],
    environment: Mapping[str, str],
    database: TrialDatabase,
    *,
    mark: str,
    lines: int,
) -> Iterator[TrialCommand]:
    """The command at work on one database; when the context ends, all that it started is gone."""
    port = PORT if database.server else 0
    options = ["--setenv", "LOCKGATE_TRIAL", mark]
    if not database.mounts:  # nothing of it lies there, and it may want to write
        options += ["--size", str(confinement.TMP_BYTES), "--tmpfs", DATA]
    with contextlib.ExitStack() as stack:
        stack.callback(processes.end, mark, grace_s=0)
        ours, theirs = socket.socketpair()
        stack.enter_context(ours)
        with theirs:
            channel = theirs.fileno()
            first = [
                str(python),
                "-I",
                "-S",
                "-c",
                inspect.getsource(inside),
                str(channel),
                str(port),
                str(lines),
                str(_PROCESSES),
                str(_MEMORY_BYTES),
            ]
            process = stack.enter_context(
                confinement.attached(
                    [*first, "/bin/sh", "-c", command],
                    [*mounts, *database.mounts],
                    environment,
                    *options,
                    network=False,
                    descriptors=[channel],
                )
            )
        sockets = _received(ours, lines + bool(port), process)
        for each in sockets:
            stack.enter_context(each)
        if database.server:
            stack.enter_context(TrialDoor(sockets.pop(0), database.server))
        yield TrialCommand(process, sockets, stack.enter_context(MemoryWatch(process.pid, mark)))


class MemoryWatch(threading.Thread):
    """Looks at what a trial takes, and ends it where that is too much. For the time of a `with`."""

    def __init__(self, first: int, mark: str) -> None:
        super().__init__(name="trial-memory", daemon=True)
        self._first, self._mark = first, mark
        self._over = threading.Event()
        self.said: str | None = None
        """Why it was ended; None: it was not."""

    def __enter__(self) -> "MemoryWatch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(_LOOK_S):
            if process_memory.is_over(self._first, _MEMORY_BYTES):
                self.said = f"it took more than {_MEMORY_BYTES >> 20:,} MB of memory"
                with contextlib.suppress(TargetError):  # the next look tries again
                    processes.end(self._mark, grace_s=0)


class SocketConnection(http.client.HTTPConnection):
    """A connection to the service over the last of these sockets, which is used up once somebody listened."""

    def __init__(self, lines: list[socket.socket], port: int) -> None:
        super().__init__("127.0.0.1", port, timeout=PROBE_TIMEOUT_S)
        self._lines = lines

    def connect(self) -> None:
        self.sock = self._lines[-1].dup()
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect((self.host, self.port))
        except ConnectionRefusedError:
            raise
        except OSError:
            self._lines.pop().close()
            raise
        self._lines.pop().close()


class Tail(threading.Thread):
    """Reads what a service prints and keeps the end of it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__(name="trial-log", daemon=True)
        assert process.stdout is not None  # noqa: S101
        self._pipe, self._end = os.dup(process.stdout.fileno()), b""
        self.start()

    def run(self) -> None:
        try:
            while chunk := os.read(self._pipe, 65536):
                self._end = (self._end + chunk)[-confinement.OUTPUT_BYTES :]
        finally:
            os.close(self._pipe)

    def text(self) -> str:
        """All of it, once the service is gone."""
        self.join()
        return self._end.decode(errors="replace")


def _received(channel: socket.socket, count: int, process: subprocess.Popen[bytes]) -> list[socket.socket]:
    """What the first program inside hands out. Raises TargetError if it does not come to that."""
    channel.settimeout(_BEGINS_WITHIN_S)
    sockets: list[socket.socket] = []
    try:
        word, descriptors, *_ = socket.recv_fds(channel, 1, count)
        sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    except OSError as err:
        raise TargetError(
            f"the release cannot be tried: nothing of it began within {_BEGINS_WITHIN_S} s: {err}"
        ) from err
    if word and len(sockets) == count:
        return sockets
    for each in sockets:
        each.close()
    said = confinement.ended(process, time.monotonic() + 1).output.strip()[-500:]
    raise TargetError(f"the release cannot be tried on this machine: {said or 'its confinement ended without a word'}")
