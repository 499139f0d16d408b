"""The API credential and the encryption key of this machine, made once, and where its server shares what it knows: mode
600, outside any repository."""

import contextlib
import functools
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from blocks.home import home
from domain.errors import InputError


def api_credential() -> str:
    """`user:password` that the Prefect API and UI ask for."""
    return _kept("api-credential", lambda: f"lockgate:{secrets.token_urlsafe(24)}")


def keep_api_credential(given: str) -> None:
    """Of another machine's server, instead of one made here."""
    (folder() / "api-credential").unlink(missing_ok=True)
    _kept("api-credential", lambda: given)


def encryption_key() -> str:
    """The Fernet key that block secrets are encrypted with. It must not lie in the database that it protects."""
    from cryptography.fernet import Fernet  # late: it takes a while to import, and most commands need no key

    return _kept("encryption-key", lambda: Fernet.generate_key().decode())


class Shared(NamedTuple):
    """What several machines' servers keep in common, as URLs that may hold passwords."""

    database: str
    """PostgreSQL, for Prefect alone."""
    redis: str


def shared() -> Shared | None:
    """Of this machine's server; None if it has SQLite, and nobody to share with."""
    database, redis = (folder() / name for name in Shared._fields)
    return Shared(database.read_text().strip(), redis.read_text().strip()) if database.is_file() else None


def share(given: Shared) -> None:
    """Prefect's server keeps all it knows there from now on. Raises InputError if it cannot."""
    if urlsplit(given.database).scheme not in ("postgresql", "postgres") or urlsplit(given.redis).scheme not in (
        "redis",
        "rediss",
    ):
        raise InputError("give a database as postgresql://USER:PASSWORD@HOST/NAME, and Redis as redis://HOST:6379")
    if (home() / "prefect" / "prefect.db").exists():
        raise InputError(
            f"the server in {home()} began on SQLite, and its runs are there: begin a new home for one on PostgreSQL"
        )
    for name, value in (("redis", given.redis), ("database", given.database)):  # with the last one it counts
        (folder() / name).unlink(missing_ok=True)
        _kept(name, functools.partial(str, value))


def folder() -> Path:
    """Where they lie."""
    return home() / "credentials"


def _kept(name: str, make: Callable[[], str]) -> str:
    path = folder() / name
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(make())
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):  # the first of two at once wins
        os.link(draft, path)
    draft.unlink()
    return path.read_text().strip()
