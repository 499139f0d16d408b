"""Workers that a test kills: processes that begin with all imports done, and without this one's threads."""

import io
import multiprocessing
import os
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

PROJECT = Path(__file__).parents[2]
IMPORTED = ("blocks.workshop", "tasks.releasing.engine", "tests.contract.docker_host", "tests.contract.shipping")


class Ended(NamedTuple):
    """How a worker ended; `-9` where it was killed. `said`: why it failed."""

    exit_code: int | None
    said: str


def forkserver() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    return context


def run_worker(program: str, given: bytes) -> Ended:
    """Run a Python program that reads `given` from its input."""
    context = forkserver()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(program, given, dict(os.environ), theirs))
    process.start()
    theirs.close()
    process.join(300)
    try:
        said = ours.recv() if ours.poll() else ""
    except EOFError:
        said = ""
    return Ended(process.exitcode, said)


def _run(program: str, given: bytes, environment: dict[str, str], told: Connection) -> None:
    os.chdir(PROJECT)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin = SimpleNamespace(buffer=io.BytesIO(given))  # type: ignore[assignment]
    try:
        exec(program, {"__name__": "__main__"})
    except BaseException:
        told.send(traceback.format_exc())
        raise
