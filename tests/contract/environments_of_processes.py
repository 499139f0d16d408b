"""Environments whose releases are processes of this machine: behind a Caddy, or on a platform that has commands."""

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from blocks.targets.machine.process import ProcessTarget
from tests.contract.command_platform import Playground
from tests.contract.environment import ROLLOUT, Does, Environment, Make, behind_caddy, folders_of


class ProcessEnvironment(Environment):
    does = Does(runs_images=False, migrates=True, splits=True)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._settings = {**behind_caddy(folder), "start_timeout_s": 20}
        self.target: ProcessTarget = self.again()

    def again(self, **fields: Any) -> ProcessTarget:
        return ProcessTarget(**{**self._settings, **fields})

    def instances(self, revision: str) -> int:
        return len(processes_of(self.target, revision))

    def kill(self, revision: str) -> None:
        for pid in processes_of(self.target, revision):
            os.kill(pid, signal.SIGKILL)

    def change(self, revision: str, other: str) -> None:
        tree = Path(self.target.root) / self.target.name / "releases" / revision / "tree"
        (tree / "service.py").write_text("print('changed')")

    def left_of(self, revision: str) -> list[str]:
        return folders_of(self.target.root, revision)


def processes_of(target: ProcessTarget, revision: str) -> list[int]:
    """Pids of the services (not of bwrap around them) of one revision."""
    found, mark = [], target._releases.place(revision).mark
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            environment = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"service.py" in words and f"LOCKGATE_RELEASE={mark}".encode() in environment:
            found.append(int(process.name))
    return found


class CommandEnvironment(Environment):
    does = Does(runs_images=False, migrates=True, splits=True, brings_back=False)
    without: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder, self.platform = folder, Playground(folder)
        self.platform.trick("cleanup", "time.sleep(0.6)  # requests under way")
        self.target = self.again()

    def again(self, **fields: Any) -> Any:
        settings = {"rollout": ROLLOUT, "keep_releases": 2, "start_timeout_s": 20}
        return self.platform.target(self._folder / "targets", self.without, **{**settings, **fields})

    def instances(self, revision: str) -> int:
        pid = self.platform.pid(revision)
        return int(pid is not None and _runs(pid))

    def kill(self, revision: str) -> None:
        if pid := self.platform.pid(revision):
            os.kill(pid, signal.SIGKILL)

    def change(self, revision: str, other: str) -> None:
        (self.platform.state / "running-artifact").write_text("sha256:another")

    def left_of(self, revision: str) -> list[str]:
        return folders_of(self._folder / "targets", revision)


class CommandAtOnceEnvironment(CommandEnvironment):
    """A platform that has no shares, counts nothing and migrates nothing."""

    does = Does(runs_images=False, migrates=False, splits=False, counts=False, brings_back=False)
    without = ("shift", "migrate", "numbers")


@contextmanager
def process(folder: Path) -> Iterator[Make]:
    with contextlib.ExitStack() as stack:

        def make(name: str) -> Environment:
            made = ProcessEnvironment(folder / name)
            stack.callback(made.target.stop)
            return made

        yield make


@contextmanager
def commands(folder: Path, kind: type[CommandEnvironment] = CommandEnvironment) -> Iterator[Make]:
    with contextlib.ExitStack() as stack:

        def make(name: str) -> Environment:
            made = kind(folder / name)
            stack.callback(made.platform.close)
            return made

        yield make


@contextmanager
def commands_at_once(folder: Path) -> Iterator[Make]:
    with commands(folder, CommandAtOnceEnvironment) as make:
        yield make


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
