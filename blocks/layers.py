"""What a project's setup made, by the digest of what it was made from: once, whoever asks first."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from blocks.home import home
from domain.errors import SandboxError

KEPT = 20
"""Layers on disk; the ones used longest ago go first."""


def layer(key: str, make: Callable[[Path], None]) -> Path:
    """The directory that `make` filled for this key. Safe to repeat, also after a crash and by two workers at once."""
    root = home() / "layers"
    place, done = root / key, root / f"{key}.complete"
    try:
        root.mkdir(mode=0o755, parents=True, exist_ok=True)
        with open(root / f"{key}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists() or not place.is_dir():
                done.unlink(missing_ok=True)
                shutil.rmtree(place, ignore_errors=True)
                make(place)
                done.touch()
            os.utime(done)
    except OSError as err:
        raise SandboxError(f"{root} cannot be used for what setup makes: {err}") from err
    _prune(root)
    return place


def _prune(root: Path) -> None:
    complete = sorted(root.glob("*.complete"), key=lambda mark: mark.stat().st_mtime, reverse=True)
    for mark in complete[KEPT:]:
        mark.unlink(missing_ok=True)
        shutil.rmtree(mark.with_suffix(""), ignore_errors=True)
