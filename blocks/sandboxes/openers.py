"""Who opened a workspace, and whether that process is still there: what a sweep may remove."""

import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from blocks.host import alive

_NAME = "meta.json"
_JUST_MADE_S = 3600.0


def make(root: Path, label: str) -> Path:
    """A new directory of a workspace below `root`, signed. Until it is, its name says who makes it."""
    made = Path(tempfile.mkdtemp(prefix=f"new-{os.getpid()}-{alive.started(os.getpid())}-", dir=root))
    sign(made, label)
    return made.rename(root / f"ws-{made.name.rpartition('-')[2]}")


def orphans(root: Path) -> Iterator[tuple[Path, str]]:
    """Directories below `root` that are no longer anybody's, sorted, each with the label of its workspace."""
    for directory in sorted((*root.glob("new-*"), *root.glob("ws-*"))):
        if (label := orphan(directory)) is not None:
            yield directory, label


def sign(directory: Path, label: str) -> None:
    """Write this process's name beside a workspace: label, pid, start ticks, boot id."""
    meta = {"label": label, "pid": os.getpid(), "start": alive.started(os.getpid()), "boot": alive.boot_id()}
    (directory / _NAME).write_text(json.dumps(meta))


def orphan(directory: Path) -> str | None:
    """The label of a workspace whose opener is gone; None while it is there, or may be just about to sign.

    A crash before the signature leaves a directory that is called after its maker: its own name is its label. One that
    was unsigned under its final name, as versions before made them, is swept after an hour.
    """
    if made := re.fullmatch(r"new-(\d+)-(\d+)-\w+", directory.name):
        return None if alive.started(int(made[1])) == int(made[2]) else directory.name
    try:
        meta = json.loads((directory / _NAME).read_text())
    except FileNotFoundError:
        try:
            return directory.name if directory.stat().st_mtime < time.time() - _JUST_MADE_S else None
        except FileNotFoundError:
            return None
    except ValueError:
        return directory.name
    if meta["boot"] == alive.boot_id() and alive.started(meta["pid"]) == meta["start"]:
        return None
    return str(meta["label"])
