"""What a store of bytes promises."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Protocol


class Store(Protocol):
    """Bytes by their SHA-256 digest."""

    def put(self, data: bytes) -> str: ...

    def put_file(self, file: Path) -> str:
        """What a file holds, which need not fit into memory."""

    def get(self, digest: str) -> bytes:
        """Raises LedgerError if it is missing or its content no longer has that digest."""

    def get_file(self, digest: str, file: Path) -> None:
        """Into a file, whole or not at all. Raises LedgerError as `get` does."""

    def prune(self, keep: Collection[str], older_than_s: float) -> tuple[str, ...]:
        """Remove what is not in `keep` and was last put so long ago; the digests. Safe to repeat."""

    def holds(self, digest: str) -> bool:
        """Whether something lies under that digest; its content is not looked at."""

    def is_empty(self) -> bool:
        """Whether nothing was ever put here, or all of it is gone."""

    def claim(self, ledger: str) -> None:
        """Note that the ledger of that identity refers to what is here. Safe to repeat."""

    def claimed(self) -> tuple[str, ...]:
        """Identities of the ledgers that refer to what is here, as they noted it themselves, sorted."""

    def seal(self, name: str, data: bytes) -> None:
        """Keep a checkpoint under its name. What has that name already stays; nothing here ever removes one."""

    def sealed(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of each, the last name in the alphabet first; whoever wrote them. Each is read when it is
        asked for."""

    def doctor(self) -> str | None: ...
