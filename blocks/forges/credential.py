"""What opens a private repository: a token or a deploy key. It reaches git through a pipe or a file in memory alone."""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import ClassVar, NamedTuple, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from blocks.base import THIS_MACHINE, LockgateBlock
from blocks.host.memory import in_memory
from domain.brief import Repository


class GivenCredential(NamedTuple):
    """How one git command gets it: settings, variables, descriptors to inherit. The first two hold no secret."""

    settings: tuple[str, ...]
    environment: dict[str, str]
    descriptors: tuple[int, ...]


class RepositoryCredential(LockgateBlock):
    """A token for https or a deploy key for ssh, and the repositories that it is for."""

    _block_type_name: ClassVar[str] = "Lockgate repository credential"
    _block_type_slug: ClassVar[str] = "lockgate-repository-credential"
    _description: ClassVar[str] = "A token or a deploy key, and the repositories that it is for."

    url: Repository = Field(
        description="The repository, or what all of them begin with: https://example.org/team or ssh://git@example.org/team"
    )
    username: str = Field("x-access-token", description="What the host wants beside a token; GitLab: oauth2")
    token: SecretStr | None = Field(None, description="For https: a token that may read and push")
    private_key: SecretStr | None = Field(
        None, description="For ssh: a deploy key without a passphrase, the whole file"
    )
    known_hosts: str | None = Field(None, description="For ssh: what `ssh-keyscan HOST` prints, compared by you")

    @field_validator("username", "token")
    @classmethod
    def _is_one_line(cls, value: str | SecretStr | None) -> str | SecretStr | None:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if text is not None and (not text or not text.isascii() or not text.isprintable()):
            raise ValueError("give printable ASCII characters on one line")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        scheme, host = urlsplit(self.url).scheme, urlsplit(self.url).hostname
        if scheme == "http" and host not in THIS_MACHINE:
            raise ValueError("a token is not sent over http: use https")
        if scheme in ("http", "https") and (self.token is None or self.private_key or self.known_hosts):
            raise ValueError("https wants a token, and neither private_key nor known_hosts")
        if scheme == "ssh" and (self.private_key is None or not self.known_hosts or self.token):
            raise ValueError("ssh wants private_key and known_hosts, and no token")
        if scheme not in ("http", "https", "ssh") or not host:
            raise ValueError("url begins with https:// or ssh://, and names a host")
        return self

    def is_for(self, address: str) -> bool:
        """Whether it may be used at `address`: the URL itself, or one below. `git@host:path` is ssh://git@host/path."""
        if "://" not in address:
            host, _, path = address.partition(":")
            address = f"ssh://{host}/{path.lstrip('/')}"
        if any(part in (".", "..") for part in unquote(address).split("/")):
            return False
        return f"{address.rstrip('/')}/".startswith(f"{self.url.rstrip('/')}/")

    @contextmanager
    def given(self) -> Iterator[GivenCredential]:
        """While the context is open, a git that is started with this can sign in."""
        held = []
        try:
            if self.token:
                held.append(_pipe(f"username={self.username}\npassword={self.token.get_secret_value()}\n"))
                site = urlsplit(self.url)
                # Asked for this host alone, wherever a redirect leads; `store` and `erase` are answered with nothing.
                helper = f'!f() {{ test "$1" = get && cat /dev/fd/{held[0]}; }}; f'
                settings = ("credential.helper=", f"credential.{site.scheme}://{site.netloc}.helper={helper}")
                yield GivenCredential(settings, {}, tuple(held))
            else:
                key = self.private_key.get_secret_value() if self.private_key else ""
                held += [in_memory(f"{text.strip()}\n".encode()) for text in (key, self.known_hosts or "")]
                yield GivenCredential((), {"GIT_SSH_COMMAND": _ssh(*held)}, ())
        finally:
            for descriptor in held:
                with suppress(OSError):
                    os.close(descriptor)


def _pipe(text: str) -> int:
    read, write = os.pipe()
    os.write(write, text.encode())
    os.close(write)
    return read


def _ssh(key: int, hosts: int) -> str:
    """ssh closes what it inherits, so key and hosts are found under our own process."""
    place = f"/proc/{os.getpid()}/fd"
    options = {
        "BatchMode": "yes", "IdentitiesOnly": "yes", "IdentityAgent": "none", "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": f"{place}/{hosts}", "GlobalKnownHostsFile": "/dev/null", "UpdateHostKeys": "no",
    }  # fmt: skip
    words = ["ssh", "-F", "/dev/null", "-i", f"{place}/{key}"]
    return shlex.join([*words, *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))])
