"""The blocks as they were a moment ago, for what goes on while Prefect's server is down: watching releases, rollback.

The supervisor keeps them in the home, encrypted with the key that the server's own database is encrypted with.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from blocks.home import home, resolved
from domain.errors import InputError

OFFLINE = "LOCKGATE_OFFLINE"
"""Set in a process that must do without the server: blocks come from here."""
_here: ContextVar[bool] = ContextVar("blocks come from the copy", default=False)


@contextlib.contextmanager
def used() -> Iterator[None]:
    """Within it, and in this thread alone, blocks come from here: nothing waits for the server."""
    token = _here.set(True)
    try:
        yield
    finally:
        _here.reset(token)


def is_used() -> bool:
    """Whether blocks come from here and not from the server."""
    return _here.get() or bool(os.environ.get(OFFLINE))


def version() -> int | None:
    """Another number for each copy; None if there is none yet."""
    try:
        return _path().stat().st_mtime_ns
    except FileNotFoundError:
        return None


def keep(documents: Mapping[str, Any]) -> None:
    """Keep what blocks hold, as `slug/name` → fields. Written anew only when something has changed."""
    if documents == _known():
        return
    path = _path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(_key().encrypt(json.dumps(documents).encode()))
    draft.replace(path)


def fields(slug: str, name: str) -> dict[str, Any]:
    """What the block holds. Raises InputError if nothing was kept, ValueError for a block that was not there."""
    documents = _read()
    if documents is None:
        raise InputError(f"no blocks were kept in {home()}: the server has to be up for this")
    if f"{slug}/{name}" not in documents:
        raise ValueError(f"there was no block {slug}/{name}")
    return dict(resolved(documents[f"{slug}/{name}"]))


def names(slug: str) -> list[str]:
    """Of the blocks of a kind that were kept; empty if nothing was."""
    return sorted(one.partition("/")[2] for one in _known() or {} if one.partition("/")[0] == slug)


def _known() -> dict[str, Any] | None:
    """As `_read`; None for a copy that another key sealed, or that was cut short: a new one takes its place."""
    from cryptography.fernet import InvalidToken

    try:
        return _read()
    except (InvalidToken, ValueError):
        return None


def _read() -> dict[str, Any] | None:
    try:
        sealed = _path().read_bytes()
    except FileNotFoundError:
        return None
    return dict(json.loads(_key().decrypt(sealed)))


def _key() -> Any:
    from cryptography.fernet import Fernet

    return Fernet((home() / "credentials" / "encryption-key").read_text().strip())


def _path() -> Path:
    return home() / "prefect" / "blocks.kept"
