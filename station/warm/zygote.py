"""The zygote, `python -m station.warm.zygote`: it imports the flows once, and each flow run begins as a fork of it.

It holds nothing that a fork could share by mistake: no thread, no connection, no client. It steps aside as soon as the
code on disk is not what it has imported; the supervisor starts a new one.
"""

import contextlib
import gc
import logging
import os
import random
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

from blocks.home import home
from flows import processes
from station.warm import lifeline, on_disk

log = logging.getLogger("lockgate")
QUIET_S = 2.0
"""So long a caller may take to say what it wants."""


class ForkJob(NamedTuple):
    """What a fork is to do: be the process that its client was started as."""

    connection: socket.socket
    files: list[int]
    """Standard input, output and error, and the pipe that ends with the client."""
    folder: bytes
    environment: list[bytes]

    @property
    def run(self) -> str:
        """The flow run's id."""
        mark = b"PREFECT__FLOW_RUN_ID="
        return next((one.removeprefix(mark).decode() for one in self.environment if one.startswith(mark)), "unknown")


def main(imports: Callable[[], None], act: Callable[[], None], code: str = "") -> None:
    """Serve forks until the code changes; in a fork, be the flow run. `code`: digest of what is imported already."""
    code = code or on_disk.digest()
    imports()
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.setLevel(logging.INFO)
    log.addHandler(handler)  # and no other: the logging of a fork is Prefect's
    job = serve(listen(home() / "run"), code)
    if job:
        become(job)
        act()


def serve(listener: socket.socket, code: str) -> ForkJob | None:
    """Answer callers. Returns in each fork with its job, and in the zygote with None when it is stale."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers are nobody's zombies
    gc.collect()
    gc.freeze()  # else each fork copies all of this when it looks for garbage
    log.info("the zygote is ready")
    while True:
        connection, _ = listener.accept()
        connection.settimeout(QUIET_S)
        problem = why_not(code)
        files = greet(connection, problem)
        if problem:
            log.info("%s: stepping aside", problem)
            return None
        if files and os.fork() == 0:
            listener.close()
            return kept(connection, files)
        for file in files:
            os.close(file)
        connection.close()


def greet(connection: socket.socket, problem: str | None) -> list[int]:
    """Say whether forks are to be had, and take the files of the one that is wanted; none if the caller only asks."""
    with contextlib.suppress(OSError):  # it has gone, or says nothing
        connection.sendall(b"s" if problem else b"w")
        if problem:
            return []
        _, files, _, _ = socket.recv_fds(connection, 1, 4, socket.MSG_CMSG_CLOEXEC)
        return files if len(files) == 4 else []
    return []


def why_not(code: str) -> str | None:
    """Why this process must not be forked any more."""
    if on_disk.digest() != code:
        return "the code has changed"
    threads = len(os.listdir("/proc/self/task"))
    return f"{threads} threads run, and a fork takes along only one" if threads != 1 else None


def kept(connection: socket.socket, files: list[int]) -> ForkJob:
    """The keeper of one run: it forks the run, tells the client how it ended, and ends. Returns in the run alone."""
    os.setsid()  # a zygote that is stopped with its group takes no run along
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    keeper = os.getpid()
    try:
        job = ForkJob(connection, files, *read_request(connection))
        run = os.fork()
        if run:
            wait_for(run, job)
    except OSError as err:  # the client is gone; a run that has begun goes with it
        log.info("a run has lost its client: %s", err)
        os._exit(1)
    lifeline.die_with(keeper, files[3])
    connection.settimeout(None)
    if connection.recv(1) != b"g":
        os._exit(1)  # the client gave up on us, and runs by itself
    return job


def wait_for(run: int, job: ForkJob) -> NoReturn:
    """Tell the client which process it stands for, and how that ended."""
    for file in job.files:
        os.close(file)
    processes.note(job.run, run)
    socket.send_fds(job.connection, [b"w"], [os.pidfd_open(run)])
    _, status = os.waitpid(run, 0)
    processes.forget(job.run, run)
    code = os.waitstatus_to_exitcode(status)
    job.connection.sendall(f"exit {code}\n".encode() if code >= 0 else f"signal {-code}\n".encode())
    os._exit(0)


def read_request(connection: socket.socket) -> tuple[bytes, list[bytes]]:
    """Working directory and environment. Raises OSError for a client that says less than it announced."""
    stream = connection.makefile("rb")
    size = int.from_bytes(stream.read(4), "big")
    request = stream.read(size)
    if not size or len(request) != size:
        raise OSError("the request is cut short")
    folder, *environment = request.split(b"\0")
    return folder, environment


def become(job: ForkJob) -> None:
    """Make this fork what the client would be: its files, folder, environment and signals; all chance anew."""
    job.connection.close()  # the keeper has its own
    for number, file in enumerate(job.files[:3]):
        os.dup2(file, number)
        os.close(file)
    for signal_number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(signal_number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environb.update(dict(one.split(b"=", 1) for one in job.environment))
    os.chdir(job.folder)
    log.handlers.clear()
    log.setLevel(logging.NOTSET)
    tempfile.tempdir = None
    random.seed()


def listen(folder: Path) -> socket.socket:
    """The socket that clients of this home ask; only its owner gets into the folder."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "zygote.sock").unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    place = os.open(folder, os.O_PATH)
    listener.bind(f"/proc/self/fd/{place}/zygote.sock")  # short: such a path has at most 107 bytes
    os.close(place)
    listener.listen(128)
    return listener


def import_flows() -> None:
    """All that a flow run needs before its first line; without a connection or a thread."""
    from station.warm import flow_run

    flow_run.imports()


def run_flow() -> None:
    """The flow run that the environment names."""
    from station.warm import flow_run

    flow_run.refresh()
    flow_run.main()


if __name__ == "__main__":
    main(import_flows, run_flow, on_disk.imported)
