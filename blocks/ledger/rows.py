"""How the ledger's tables look, and the value that leaves them. Rows are storage; nobody outside sees one."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from pydantic import Field as Described
from sqlmodel import Field, SQLModel, UniqueConstraint

from domain.value import Value, canonical

GENESIS = "0" * 64
"""What the first entry follows."""


class Entry(Value):
    """One thing that happened, as it stands in the ledger."""

    number: int = Described(description="Place in the chain: 1, 2, 3 and so on without a gap")
    at: datetime = Described(description="When it was recorded, in UTC")
    run_id: str
    kind: str
    key: str
    type: str = Described(description="Class name of the value that was recorded")
    body: dict[str, Any] = Described(description="The value as JSON data")
    hash: str = Described(description="SHA-256 over the entry before and this one, in hexadecimal")


class EntryRow(SQLModel, table=True):
    """A line of `entries`. `at` and `body` are text, so both databases give back the very bytes that were hashed."""

    __tablename__ = "entries"
    __table_args__ = (UniqueConstraint("run_id", "kind", "key", name="entries_once"),)

    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    at: str
    run_id: str
    kind: str = Field(index=True)
    key: str
    type: str
    body: str
    previous: str
    hash: str

    def computed_hash(self) -> str:
        """sha256(previous + the canonical JSON of every column but the two hashes)."""
        told = self.model_dump(exclude={"previous", "hash"})
        return hashlib.sha256((self.previous + canonical(told)).encode()).hexdigest()

    def entry(self) -> Entry:
        """The row as a value."""
        return Entry(
            number=self.id,
            at=datetime.fromisoformat(self.at),
            run_id=self.run_id,
            kind=self.kind,
            key=self.key,
            type=self.type,
            body=json.loads(self.body),
            hash=self.hash,
        )


class LeaseRow(SQLModel, table=True):
    """A line of `leases`. It stays after a release, because its token must never go back."""

    __tablename__ = "leases"

    name: str = Field(primary_key=True)
    holder: str | None = None
    token: int
    expires_at: float = Field(description="Unix seconds")


def utc_text(unix_seconds: float) -> str:
    """ISO 8601 in UTC, always with microseconds, so that text order is time order."""
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="microseconds")
