"""Where this machine keeps what Lockgate writes when no other place is named."""

import os
import sys
from pathlib import Path


def home() -> Path:
    """$LOCKGATE_HOME if it is set and not empty, else ~/.lockgate; not created here."""
    chosen = os.environ.get("LOCKGATE_HOME", "")
    return Path(chosen).expanduser().absolute() if chosen else Path.home() / ".lockgate"


def installed() -> Path:
    """What `make install` made for every home to copy: beside the packages. Without it, each home makes its own."""
    return Path(sys.prefix) / "share" / "lockgate"
