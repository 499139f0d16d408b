"""Runners that wait for a workspace: a started container over an empty directory, by what it is made of.

Each is a file `warm/KEY/NAME` below the root, and a workspace directory of that name. Who removes the file has the
runner: of several processes, one succeeds.
"""

import contextlib
import fcntl
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

LABEL = "warm"
"""What the directories of waiting runners are signed with."""


class TakenRunner(NamedTuple):
    """A runner that was taken from the pool."""

    directory: Path
    container: str
    volume: str


class Pool:
    """The waiting runners of one key."""

    def __init__(self, root: Path, key: str, size: int, max_age_s: float) -> None:
        self._root = root
        self._folder = root / "warm" / key
        self._size = size
        self._max_age_s = max_age_s

    def claim(self) -> TakenRunner | None:
        """Take a waiting runner, or None if there is none that is young enough."""
        for ticket in sorted(self._folder.glob("ws-*")):
            try:
                text, made = ticket.read_text(), ticket.stat().st_mtime
                ticket.unlink()
            except FileNotFoundError:
                continue  # another process has it
            directory = self._root / ticket.name
            if time.time() - made < self._max_age_s and directory.is_dir():
                with contextlib.suppress(ValueError):
                    return TakenRunner(directory, **json.loads(text))
        return None

    def fill(self, make: Callable[[], TakenRunner]) -> None:
        """Make runners until `size` wait; one process at a time."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            while len(list(self._folder.glob("ws-*"))) < self._size:
                made = make()
                ticket = self._folder / f".{made.directory.name}"
                ticket.write_text(json.dumps({"container": made.container, "volume": made.volume}))
                ticket.rename(self._folder / made.directory.name)


def waiting(root: Path, max_age_s: float) -> set[str]:
    """Names of the directories whose runners still may be taken; tickets that are too old are torn up."""
    names = set()
    for ticket in sorted(root.glob("warm/*/ws-*")):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - ticket.stat().st_mtime < max_age_s:
                names.add(ticket.name)
            else:
                ticket.unlink()
    return names


def tear_up(root: Path) -> None:
    """No runner waits any more: the next sweep removes them."""
    for ticket in root.glob("warm/*/ws-*"):
        ticket.unlink(missing_ok=True)
