"""The API credential and the encryption key of this machine, made once, and where its server shares what it knows: mode
600, outside any repository."""

import contextlib
import functools
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

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


TLS = ("sslmode", "sslrootcert", "sslcert", "sslkey")
"""What the database's URL may say behind its `?`, as libpq has it."""


def shared() -> Shared | None:
    """Of this machine's server; None if it has SQLite, and nobody to share with. Raises InputError for half of it."""
    there = [name for name in Shared._fields if (folder() / name).is_file()]
    if not there:
        return None
    if len(there) < len(Shared._fields):
        raise InputError(f"{folder()} has {there[0]} alone: it needs both files, {' and '.join(Shared._fields)}")
    return Shared(*((folder() / name).read_text().strip() for name in Shared._fields))


def check(given: Shared) -> None:
    """Raises InputError if Prefect's server cannot keep what it knows there."""
    database, redis = urlsplit(given.database), urlsplit(given.redis)
    if database.scheme not in ("postgresql", "postgres") or redis.scheme not in ("redis", "rediss"):
        raise InputError("give a database as postgresql://USER:PASSWORD@HOST/NAME, and Redis as redis://HOST:6379")
    if unknown := sorted({name for name, _ in parse_qsl(database.query, keep_blank_values=True)} - set(TLS)):
        raise InputError(f"the database's URL says {unknown[0]!r}: behind its `?` stand {', '.join(TLS)}, and no other")
    if redis.path.strip("/") or redis.query or redis.fragment:
        raise InputError("Redis's URL ends with its port: the server takes the databases 0 and 1 there, and no options")
    known = shared()
    if known is None and (home() / "prefect" / "prefect.db").exists():
        raise InputError(
            f"the server in {home()} began on SQLite, and its runs are there: begin a new home for one on PostgreSQL"
        )
    if known not in (None, given):
        changed = [name for name in Shared._fields if getattr(known, name) != getattr(given, name)]
        raise InputError(
            f"this home has another URL in {' and '.join(str(folder() / name) for name in changed)}: stop it "
            "(`lockgate down`), write the new one there, and start it"
        )


def share(given: Shared) -> None:
    """Prefect's server keeps all it knows there from now on. Safe to repeat. Raises InputError if it cannot."""
    check(given)
    for name, value in (("redis", given.redis), ("database", given.database)):
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
