"""The store on this machine's disk."""

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from blocks.base import LockgateBlock
from blocks.home import home
from blocks.stores.digests import (
    CLAIMS,
    checked,
    claim_name,
    digest_of_file,
    incoming,
    is_digest,
    pieces_of,
    sealed_name,
    write,
)
from domain.errors import LedgerError
from domain.value import canonical

_ABANDONED_S = 24 * 3600.0
"""A file that came in for so long belongs to a writer that is gone."""


def _default_root() -> Path:
    return home() / "store"


class LocalStore(LockgateBlock):
    """Files named by the digest of what they hold, readable by the platform's user alone. Safe in parallel."""

    _block_type_name: ClassVar[str] = "Lockgate Local Store"
    _block_type_slug: ClassVar[str] = "lockgate-local-store"
    _description: ClassVar[str] = "Locked tests, transcripts and evidence, as files named by their SHA-256 digest."

    root: Path = Field(
        default_factory=_default_root,
        description="Directory of the store; all workers that share a ledger must see the same one",
    )

    def put(self, data: bytes) -> str:
        """Keep `data`; its SHA-256 in hexadecimal. Safe to repeat; on the disk when it returns.

        Raises LedgerError if it cannot be written.
        """
        path = self._path(hashlib.sha256(data).hexdigest())
        with self._writing(path), self._shared():
            if not _renewed(path):
                self._take([data])
        return path.name

    def put_file(self, file: Path) -> str:
        """Keep what a file holds, which need not fit into memory; its SHA-256 in hexadecimal. Safe to repeat.

        Raises LedgerError if it cannot be read or written.
        """
        with self._writing(file):
            path = self._path(digest_of_file(file))
        with self._writing(path), self._shared(), open(file, "rb") as source:
            return path.name if _renewed(path) else self._take(pieces_of(source))

    def get(self, digest: str) -> bytes:
        """The bytes with that digest. Raises LedgerError: not a digest, missing, or no longer what was kept."""
        path = self._path(digest)
        with self._reading(digest):
            data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise self._changed(path)
        return data

    def get_file(self, digest: str, file: Path) -> None:
        """Write the bytes with that digest to a file, whole or not at all. Raises LedgerError as `get` does."""
        path = self._path(digest)
        with self._reading(digest), open(path, "rb") as source, incoming(file.parent) as (copy, name):
            if write(pieces_of(source), copy) != digest:
                raise self._changed(path)
            os.replace(name, file)

    def put_json(self, data: Any) -> str:
        """Keep JSON data in its canonical form; the digest equals `domain.value.digest_of(data)`."""
        return self.put(canonical(data).encode())

    def get_json(self, digest: str) -> Any:
        """JSON data that `put_json` kept."""
        return json.loads(self.get(digest))

    def prune(self, keep: Collection[str], older_than_s: float) -> tuple[str, ...]:
        """Remove what is not in `keep` and was last put so long ago, and what killed writers left; the digests.

        `older_than_s` must be longer than a step takes to name in the ledger what it has put. Safe to repeat.
        """
        removed = []
        if not self.root.is_dir():
            return ()
        with self._writing(self.root):
            for left in self.root.glob(".incoming-*"):
                if _age_s(left) > _ABANDONED_S:
                    left.unlink(missing_ok=True)
            for path in sorted(self.root.glob("??/??/*")):
                if not is_digest(path.name) or path.name in keep or _age_s(path) <= older_than_s:
                    continue
                with self._alone():  # whoever puts it again meanwhile makes it new
                    if _age_s(path) > older_than_s:
                        path.unlink(missing_ok=True)
                        removed.append(path.name)
        return tuple(removed)

    def holds(self, digest: str) -> bool:
        """Whether something lies under that digest; its content is not looked at."""
        return self._path(digest).is_file()

    def is_empty(self) -> bool:
        """Whether nothing was ever put here, or all of it is gone."""
        return not any(is_digest(path.name) for path in self.root.glob("??/??/*"))

    def claim(self, ledger: str) -> None:
        """Note that the ledger of that identity refers to what is here. Safe to repeat."""
        path = self.root / CLAIMS / claim_name(ledger)
        if path.exists():
            return
        with self._writing(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)

    def claimed(self) -> tuple[str, ...]:
        """Identities of the ledgers that refer to what is here, as they noted it themselves, sorted."""
        return tuple(sorted(path.name for path in (self.root / CLAIMS).glob("*")))

    def seal(self, name: str, data: bytes) -> None:
        """Keep a checkpoint under its name, read-only; on the disk when it returns. What has that name already stays.

        Raises LedgerError if it cannot be written.
        """
        path = self._checkpoints / sealed_name(name)
        with self._writing(path), self._shared():
            if path.exists():
                return
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with incoming(path.parent) as (file, draft):
                write([data], file)
                os.fchmod(file.fileno(), 0o400)
                with contextlib.suppress(FileExistsError):
                    os.link(draft, path)
            _sync(path.parent)
            _sync(self.root)

    def sealed(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of each, the last name in the alphabet first. Raises LedgerError."""
        with self._reading("checkpoints"):
            names = sorted((path.name for path in self._checkpoints.glob("[!.]*")), reverse=True)
        for name in names:
            with self._reading("checkpoints"):
                data = (self._checkpoints / name).read_bytes()
            yield name, data

    @property
    def _checkpoints(self) -> Path:
        return self.root / "checkpoints"

    def doctor(self) -> str | None:
        """None if it can be written, else what is wrong."""
        try:
            with self._writing(self.root), self._shared():
                return None
        except LedgerError as err:
            return str(err)

    def _path(self, digest: str) -> Path:
        return self.root / checked(digest)[:2] / digest[2:4] / digest

    def _take(self, pieces: Iterable[bytes]) -> str:
        with incoming(self.root) as (file, name):
            digest = write(pieces, file)
            path = self._path(digest)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.replace(name, path)
        # A new name is on the disk only when its directory is (https://lwn.net/Articles/457667/).
        for directory in (path.parent, path.parent.parent, self.root):
            _sync(directory)
        return digest

    @contextlib.contextmanager
    def _shared(self) -> Iterator[None]:
        """Nothing is pruned meanwhile."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o600)) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Nothing is put meanwhile."""
        with open(os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o600)) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            raise LedgerError(f"the store cannot write {path}: {err.strerror}; see its disk and owner") from err

    @contextlib.contextmanager
    def _reading(self, digest: str) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            raise LedgerError(
                f"the store at {self.root} cannot read {digest}: {err.strerror}; is it the right store?"
            ) from err

    def _changed(self, path: Path) -> LedgerError:
        return LedgerError(f"the store's {path} was changed: its content has another digest; restore it from a backup")


def _renewed(path: Path) -> bool:
    """Whether it is there, whole; then it counts as put now."""
    if not path.is_file() or digest_of_file(path) != path.name:
        return False
    os.utime(path)
    return True


def _age_s(path: Path) -> float:
    """Seconds since it was put; below zero for one that is gone."""
    with contextlib.suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime
    return -1.0


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
