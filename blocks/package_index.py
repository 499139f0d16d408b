"""A private package index: its address and its login. The login reaches uv through a file in memory alone."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from blocks.base import THIS_MACHINE, LockgateBlock
from blocks.host.memory import in_memory
from domain.detect.indexes import normal
from domain.errors import InputError


class PackageIndex(LockgateBlock):
    """An index that is asked before the public one. A name that it has is never asked of another."""

    _block_type_name: ClassVar[str] = "Lockgate package index"
    _block_type_slug: ClassVar[str] = "lockgate-package-index"
    _description: ClassVar[str] = "A private index of Python packages, and its login."

    url: str = Field(
        description="Its simple API, as pip is told it, without a login: https://packages.example.org/simple"
    )
    username: str = Field("__token__", description="What the index wants beside a token; __token__ for most")
    token: SecretStr | None = Field(None, description="Token or password; none for an index that asks for no login")

    @field_validator("username", "token")
    @classmethod
    def _is_one_word(cls, value: str | SecretStr | None) -> str | SecretStr | None:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if text is not None and (
            not text or not text.isascii() or not text.isprintable() or set(text) & set(" \"'\\#")
        ):
            raise ValueError("give printable ASCII characters without spaces, quotes, backslashes and #")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        site = urlsplit(self.url)
        if site.scheme not in ("http", "https") or not site.hostname:
            raise ValueError("url begins with https:// and names a host")
        if site.username or site.password or site.query or site.fragment:
            raise ValueError("url has no login, query or fragment: the login goes under username and token")
        if site.scheme == "http" and site.hostname not in THIS_MACHINE:
            raise ValueError("what is installed and a token are not sent over http: use https")
        return self

    @property
    def login(self) -> tuple[str, str] | None:
        return (self.username, self.token.get_secret_value()) if self.token else None


def indexes(names: Iterable[str]) -> list[PackageIndex]:
    """The saved blocks of these names. Raises InputError for one that nobody set up."""
    found = []
    for name in names:
        try:
            found.append(PackageIndex.saved(name))
        except ValueError as err:
            raise InputError(f"there is no block package-index/{name}, which the toolchains name") from err
    return found


def split_login(url: str) -> tuple[str, tuple[str, str] | None]:
    """An address without its login, and the login."""
    site = urlsplit(url)
    if not site.username:
        return url, None
    bare = urlunsplit(site._replace(netloc=site.netloc.rpartition("@")[2]))
    return bare, (unquote(site.username), unquote(site.password or ""))


@contextmanager
def netrc(logins: Iterable[tuple[str, tuple[str, str] | None]]) -> Iterator[str | None]:
    """Path of a file in memory that says the login of each address's host, and what the worker's own netrc says.

    None if there is nothing to say. Raises InputError for two logins at one host.
    """
    known: dict[str, tuple[str, str]] = {}
    for url, login in logins:
        host = urlsplit(url).hostname or ""
        if login and known.setdefault(host, login) != login:
            raise InputError(f"two package indexes at {host} have different logins: give them one that opens both")
    if not known:
        yield None
        return
    own = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    lines = [f"machine {host} login {name} password {word}" for host, (name, word) in known.items()]
    lines += [own.read_text()] if own.is_file() else []
    descriptor = in_memory("\n".join([*lines, ""]).encode())
    try:
        yield f"/proc/{os.getpid()}/fd/{descriptor}"
    finally:
        os.close(descriptor)


def is_known(url: str, known: Iterable[str]) -> bool:
    """Whether an address is one of `known`, however it is spelled."""
    return normal(url) in {normal(one) for one in known}
