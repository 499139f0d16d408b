"""Where this machine keeps what Lockgate writes when no other place is named."""

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

MARK = "$LOCKGATE_HOME"
"""Stands for the home in what blocks keep: each machine of a station has its own."""
JOINED = "joined"
"""The file in a home that has the address of the station's server which this machine works for."""
ROLES = "roles"
"""The file in a home that has what this machine does for its station, one a line; without it, all that it can."""
SERVICES = "services"
"""The role of what is done once."""
STATION = "the station's own machine"
"""The place of what lives on the machine that has the services, whatever its name: there is one of these."""
_BEFORE = ("", "sqlite:///")


def home() -> Path:
    """$LOCKGATE_HOME if it is set and not empty, else ~/.lockgate; not created here."""
    chosen = os.environ.get("LOCKGATE_HOME", "")
    return Path(chosen).expanduser().absolute() if chosen else Path.home() / ".lockgate"


def joined() -> str | None:
    """Address of the server of the station that this machine works for; None: it joined none, and has a server."""
    try:
        return (home() / JOINED).read_text().strip() or None
    except FileNotFoundError:
        return None


def machine() -> str:
    """This machine's name, by which its worker is known to the server: LOCKGATE_MACHINE, else the host name that it had
    when this home was made, for a container has another each time. No two machines of a station may have the same."""
    if name := os.environ.get("LOCKGATE_MACHINE"):
        return name
    path = home() / "machine"
    with contextlib.suppress(FileNotFoundError):
        if name := path.read_text().strip():
            return name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".machine.{os.getpid()}")
    draft.write_text(os.uname().nodename)
    draft.replace(path)
    return os.uname().nodename


def places() -> frozenset[str]:
    """What this machine is called where something lives on one machine alone."""
    return frozenset({machine(), STATION} if is_stations_own() else {machine()})


def is_stations_own() -> bool:
    """Whether this machine does what is done once, and looks after what lives in no other's home."""
    try:
        return SERVICES in (home() / ROLES).read_text().split()
    except FileNotFoundError:
        return joined() is None


def portable(data: Any) -> Any:
    """JSON data with `MARK` instead of this machine's home, where a path or a SQLite URL begins with that."""
    return _replaced(data, str(home()), MARK)


def resolved(data: Any) -> Any:
    """The same with this machine's home again."""
    return _replaced(data, MARK, str(home()))


def _replaced(data: Any, old: str, new: str) -> Any:
    if isinstance(data, dict):
        return {key: _replaced(value, old, new) for key, value in data.items()}
    if isinstance(data, list | tuple) and type(data) in (list, tuple):
        return type(data)(_replaced(value, old, new) for value in data)
    text = str(data) if isinstance(data, str | Path) else ""
    for before in _BEFORE:
        if text == before + old or text.startswith(f"{before}{old}/"):
            return f"{before}{new}{text.removeprefix(before + old)}"
    return data


def installed() -> Path:
    """What `make install` made for every home to copy: beside the packages. Without it, each home makes its own."""
    return Path(sys.prefix) / "share" / "lockgate"
