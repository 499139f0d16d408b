"""The store on this machine's disk."""

import hashlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from blocks.base import LockgateBlock
from blocks.home import home
from domain.errors import LedgerError
from domain.value import canonical


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

        Raises LedgerError where it cannot be written.
        """
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        try:
            if not (path.is_file() and path.read_bytes() == data):
                self._write(path, data)
        except OSError as err:
            raise LedgerError(f"the store cannot write {path}: {err.strerror}; see its disk and owner") from err
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes with that digest. Raises LedgerError: not a digest, missing, or no longer what was kept."""
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except OSError as err:
            raise LedgerError(
                f"the store at {self.root} cannot read {digest}: {err.strerror}; is it the right store?"
            ) from err
        if hashlib.sha256(data).hexdigest() != digest:
            raise LedgerError(
                f"the store's {path} was changed: its content has another digest; restore it from a backup"
            )
        return data

    def put_json(self, data: Any) -> str:
        """Keep JSON data in its canonical form; the digest equals `domain.value.digest_of(data)`."""
        return self.put(canonical(data).encode())

    def get_json(self, digest: str) -> Any:
        """JSON data that `put_json` kept."""
        return json.loads(self.get(digest))

    def _path(self, digest: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise LedgerError(f"{digest[:80]!r} is not a SHA-256 digest of 64 hexadecimal digits")
        return self.root / digest[:2] / digest[2:4] / digest

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".incoming-", dir=path.parent)  # made with mode 600
        try:
            with open(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        # A new name is on the disk only when its directory is (https://lwn.net/Articles/457667/).
        for directory in (path.parent, path.parent.parent, self.root):
            _sync(directory)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
