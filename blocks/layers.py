"""What a project's setup made, by the digest of what it was made from: once, whoever asks first."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from blocks.home import home
from domain.errors import SandboxError

KEPT = 20
"""Layers on disk; the ones used longest ago go first."""


@contextmanager
def layer(key: str, make: Callable[[Path], None]) -> Iterator[Path]:
    """The directory that `make` filled for this key, which stays while the context is open.

    Safe to repeat, also after a crash and by two workers at once.
    """
    root = home() / "layers"
    place, done = root / key, root / f"{key}.complete"
    with contextlib.ExitStack() as held:
        try:
            root.mkdir(mode=0o755, parents=True, exist_ok=True)
            lock = held.enter_context(open(root / f"{key}.lock", "w"))
            while True:
                fcntl.flock(lock, fcntl.LOCK_SH)  # whoever has it open, this process too, keeps nobody waiting
                if done.exists() and place.is_dir():
                    break
                fcntl.flock(lock, fcntl.LOCK_EX)  # not in one step: somebody may have made or pruned it in between
                if not done.exists() or not place.is_dir():
                    done.unlink(missing_ok=True)
                    shutil.rmtree(place, ignore_errors=True)
                    make(place)
                    done.touch()
            os.utime(done)
            _prune(root)
        except OSError as err:
            raise SandboxError(f"{root} cannot be used for what setup makes: {err}") from err
        yield place


def _prune(root: Path) -> None:
    """Remove the layers used longest ago, but for those that somebody has open."""
    marks = [(mark.stat().st_mtime, mark) for mark in root.glob("*.complete")]
    for _, mark in sorted(marks, reverse=True)[KEPT:]:
        with open(mark.with_suffix(".lock"), "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            mark.unlink(missing_ok=True)
            shutil.rmtree(mark.with_suffix(""), ignore_errors=True)
