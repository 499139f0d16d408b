"""Who opened a workspace, and whether that process is still there: what a sweep may remove."""

import json
import os
import time
from pathlib import Path

from blocks.host import alive

_NAME = "meta.json"
_JUST_MADE_S = 3600.0


def sign(directory: Path, label: str) -> None:
    """Write this process's name beside a workspace: label, pid, start ticks, boot id."""
    meta = {"label": label, "pid": os.getpid(), "start": alive.started(os.getpid()), "boot": alive.boot_id()}
    (directory / _NAME).write_text(json.dumps(meta))


def orphan(directory: Path) -> str | None:
    """The label of a workspace whose opener is gone; None while it is there, or may be just about to sign.

    A crash before the signature leaves an unsigned directory: its own name is its label, after an hour.
    """
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
