"""The API credential and the encryption key of this machine: made once, mode 600, outside any repository."""

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from blocks.home import home


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


def folder() -> Path:
    """Where both lie."""
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
