"""Content that says its own name: reading it piece by piece, and only to the end where the name is right."""

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from domain.errors import LedgerError

CLAIMS = "ledgers"
"""Below it, each ledger that refers to the store has noted itself."""
PIECE = 1 << 20
"""Bytes that are in memory at a time."""


def checked(digest: str) -> str:
    """The digest itself. Raises LedgerError for what is none, before it names a file or an object."""
    if not is_digest(digest):
        raise LedgerError(f"{digest[:80]!r} is not a SHA-256 digest of 64 hexadecimal digits")
    return digest


def is_digest(name: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}", name) is not None


def sealed_name(name: str) -> str:
    """The name of a checkpoint itself. Raises LedgerError for what is none, before it names a file or an object."""
    if re.fullmatch(r"\d{12}-[0-9a-f]{64}", name) is None:
        raise LedgerError(f"{name[:80]!r} is not the name of a checkpoint")
    return name


def claim_name(ledger: str) -> str:
    """The identity of a ledger itself. Raises LedgerError for what is none, before it names a file or an object."""
    if re.fullmatch(r"[0-9a-f]{32}", ledger) is None:
        raise LedgerError(f"{ledger[:80]!r} is not the identity of a ledger")
    return ledger


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pieces_of(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece


def write(pieces: Iterable[bytes], file: IO[bytes]) -> str:
    """Write the pieces, to the disk; their SHA-256."""
    digest = hashlib.sha256()
    for piece in pieces:
        file.write(piece)
        digest.update(piece)
    file.flush()
    os.fsync(file.fileno())
    return digest.hexdigest()


@contextlib.contextmanager
def incoming(directory: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A new file that only its owner reads. It is gone afterwards, unless it was renamed."""
    handle, name = tempfile.mkstemp(prefix=".incoming-", dir=directory)  # made with mode 600
    try:
        with open(handle, "wb") as file:
            yield file, Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
