"""What a person wrote as the repository, read once: a directory of this machine, or a URL."""

import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from blocks.forges.git import masked
from domain.brief import PLAIN_ADDRESS
from domain.errors import InputError

_SCHEMES = ("https", "http", "ssh", "git")
_SCP_LIKE = re.compile(r"[^/:]+:(?!:)")
_HELPER = re.compile(r"[A-Za-z0-9+._-]*::")


class RepositoryPlace(NamedTuple):
    """Where a repository is. `address` is for git, `label` for people."""

    address: str
    label: str
    directory: Path | None

    @property
    def name(self) -> str:
        """Readable, and one per place."""
        identity = str(self.directory or self.address)
        words = re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(re.split(r"[/:]", identity)[-2:])).removesuffix(".git")
        return f"{words.strip('-.')[-60:] or 'root'}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def locate(repository: str) -> RepositoryPlace:
    """The place that `repository` names. Nothing is read yet.

    Raises InputError: empty, looks like an option, a program behind an address (`ext::`), an unknown scheme, a relative
    path, or a password.
    """
    shown = masked(repository)
    if not repository.strip() or not repository.isprintable():
        raise InputError(f"repository {shown!r} is not a path or a git URL: give one")
    if repository.startswith("-"):
        raise InputError(f"repository {shown!r} looks like an option: write ./ before a path that begins with '-'")
    if _HELPER.match(repository):
        raise InputError(f"repository {shown!r} names a program behind an address, which is not allowed: use a git URL")
    if not re.match(PLAIN_ADDRESS, repository):
        raise InputError(f"repository {shown!r} holds a user or a secret: keep it in a `repository-credential` block")
    if "://" in repository:
        scheme = repository.split("://", 1)[0].lower()
        if scheme == "file":
            url = urlsplit(repository)
            if url.netloc:
                raise InputError(f"repository {shown!r} names a host: write file:/// and an absolute path")
            return _directory(Path(unquote(url.path)))
        if scheme not in _SCHEMES:
            raise InputError(f"repository {shown!r}: only {', '.join(_SCHEMES)}, file and plain paths are known")
        return RepositoryPlace(repository.rstrip("/"), shown, None)
    # git's own rule: a colon before the first slash is host:path, unless there is such a file.
    if _SCP_LIKE.match(repository) and not Path(repository).exists():
        return RepositoryPlace(repository, shown, None)
    path = Path(os.path.expanduser(repository))
    if not path.is_absolute():
        raise InputError(f"repository {shown!r} is a path relative to nothing that the worker knows: give all of it")
    return _directory(path)


def _directory(path: Path) -> RepositoryPlace:
    resolved = path.resolve()
    if resolved.name == ".git" and resolved.is_dir():
        resolved = resolved.parent
    return RepositoryPlace(str(resolved), str(resolved), resolved)
