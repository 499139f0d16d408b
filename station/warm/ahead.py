"""The station's programs begin as forks of its supervisor, which has imported most of what they need.

At its own start only, while it has no thread and no connection. A program that ends later is started by `python -m`,
and so is each one of a supervisor whose code changed while it was imported.
"""

import gc
import importlib
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from station import processes
from station.keeping import KeptProgram
from station.warm import on_disk

IMPORTS: Mapping[str, tuple[str, ...]] = {
    "zygote": (),
    "gateway": ("blocks.gateway.service", "station.gateway_blocks"),
    "door": ("uvicorn", "station.door.app"),
    "worker": ("prefect.cli.worker", "prefect.workers.process"),
}
"""Program → what it imports in its fork, while it waits. It is also the order in which they are forked."""


class WaitingFork:
    """A program in a fork that waits to be let go. It ends with the supervisor until then."""

    def __init__(self, name: str, pipe: int) -> None:
        self.name = name
        self.pipe = pipe

    def let_go(self) -> None:
        """Safe if it has ended."""
        try:
            os.write(self.pipe, b"g")
        except BrokenPipeError:
            return
        finally:
            os.close(self.pipe)


def import_all(modules: Iterable[str]) -> bool:
    """Import them; whether forks may begin with it: what is on disk is still what was imported, and no import has begun
    a thread, of which a fork takes along only one."""
    before = on_disk.digest()
    gc.disable()  # what is imported is no garbage
    for module in modules:
        importlib.import_module(module)
    gc.freeze()
    gc.enable()
    on_disk.imported = before
    return on_disk.digest() == before and len(os.listdir("/proc/self/task")) == 1


def fork(program: KeptProgram, others: Iterable[WaitingFork]) -> WaitingFork | None:
    """What waits; None in the fork, once it is let go: there `be` is to be called, at the end of everything else."""
    reads, writes = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(reads)
        processes.note(program.name, pid)
        return WaitingFork(program.name, writes)
    try:
        for pipe in (writes, *(other.pipe for other in others)):
            os.close(pipe)
        _become(program)
        for module in IMPORTS[program.name]:
            importlib.import_module(module)
        is_wanted = os.read(reads, 1) == b"g"
    except BaseException:
        logging.exception("the fork of the %s ends: it is started anew", program.name)
        os._exit(1)  # never on into what the supervisor does
    if not is_wanted:
        os._exit(0)
    os.close(reads)
    return None


def be(program: KeptProgram) -> None:
    """Run it in this process, as `python -m` does."""
    import runpy
    import warnings

    _, _, module, *arguments = program.argv
    sys.argv[:] = [module, *arguments]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # it is imported already
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def _become(program: KeptProgram) -> None:
    """A session, signals, files, environment and logging of its own, as `processes.start` would give it."""
    os.setsid()
    processes.plain_signals()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(processes.log_of(program.name), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for file, number in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(file, number)
    os.close(nothing)
    os.close(log)
    environment = program.environment()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(program.folder)
    Path("/proc/self/comm").write_text(f"lockgate-{program.name}")  # what `ps -o comm` says; its arguments are ours
    tempfile.tempdir = None
    logging.root.handlers.clear()
    logging.root.setLevel(logging.WARNING)
    from prefect.context import refresh_global_settings_context
    from prefect.logging import configuration

    refresh_global_settings_context()
    configuration.PROCESS_LOGGING_CONFIG.clear()  # so it is set up anew by who wants it
