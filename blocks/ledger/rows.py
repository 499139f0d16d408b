"""How the ledger's tables look, and the value that leaves them. Rows are storage; nobody outside sees one."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime

from sqlmodel import Field, SQLModel, UniqueConstraint

from domain.access import Role, Token
from domain.entry import Entry
from domain.errors import LedgerError
from domain.value import canonical

__all__ = [
    "GENESIS", "Entry", "EntryRow", "IdentityRow", "LeaseRow", "PasswordRow", "SignInRow", "SignedAnswerRow",
    "TokenRow", "utc_text",
]  # fmt: skip

GENESIS = "0" * 64
"""What the first entry follows."""


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
        return hash_of(self.previous, self.model_dump(exclude={"previous", "hash"}, warnings=False))

    def entry(self) -> Entry:
        """The row as a value. Raises LedgerError for one that no ledger has written."""
        try:
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
        except (ValueError, TypeError, RecursionError) as err:
            raise LedgerError(
                f"ledger entry {self.id} ({self.run_id}, {self.kind}, {self.key}) holds what no entry holds: somebody "
                "wrote to the database. `lockgate verify` says more"
            ) from err


class LeaseRow(SQLModel, table=True):
    """A line of `leases`. It stays after a release, because its token must never go back."""

    __tablename__ = "leases"

    name: str = Field(primary_key=True)
    holder: str | None = None
    token: int
    expires_at: float = Field(description="Unix seconds")
    process: str | None = Field(None, description="Whose end ends it, see `blocks/host/alive.py`; None: nobody's")


class TokenRow(SQLModel, table=True):
    """A line of `lockgate_tokens`. Times are ISO 8601 in UTC."""

    __tablename__ = "lockgate_tokens"

    id: str = Field(primary_key=True)
    name: str
    hash: str = Field(unique=True)
    roles: str = Field(description="Separated by spaces")
    added_at: str
    expires_at: str | None = None
    revoked_at: str | None = None
    repositories: str | None = Field(None, description="JSON; None: all that the station can read")

    def token(self) -> Token:
        """The row as a value."""
        return Token(
            id=self.id,
            name=self.name,
            roles=tuple(map(Role, self.roles.split())),
            added_at=datetime.fromisoformat(self.added_at),
            expires_at=datetime.fromisoformat(self.expires_at) if self.expires_at else None,
            revoked_at=datetime.fromisoformat(self.revoked_at) if self.revoked_at else None,
            repositories=tuple(json.loads(self.repositories)) if self.repositories else (),
        )


class PasswordRow(SQLModel, table=True):
    """A line of `lockgate_passwords`: another way to show a token. The table has a column `since`, too, for doors of an
    older version that still run."""

    __tablename__ = "lockgate_passwords"

    token_id: str = Field(primary_key=True)
    hash: str = Field(description="As argon2id writes it, salt and costs included")


class IdentityRow(SQLModel, table=True):
    """A line of `lockgate_identities`: somebody at an OpenID provider is the person of a token."""

    __tablename__ = "lockgate_identities"

    issuer: str = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    token_id: str = Field(index=True)


class SignInRow(SQLModel, table=True):
    """A line of `lockgate_sign_ins`: how often a name was tried, whether somebody has it or not."""

    __tablename__ = "lockgate_sign_ins"

    name: str = Field(primary_key=True, description="SHA-256 of the name, or of the name and a browser")
    tries: int
    last_at: float = Field(description="Unix seconds")


class SignedAnswerRow(SQLModel, table=True):
    """A line of `lockgate_signed_answers`: the door saw this answer come in with this token."""

    __tablename__ = "lockgate_signed_answers"

    run_id: str = Field(primary_key=True)
    question: str = Field(primary_key=True)
    digest: str = Field(primary_key=True)
    by: str
    token_id: str
    at: str
    way: str = Field("", description="How the token was shown: see `Way`; empty: by an older version")


def hash_of(previous: str, told: Mapping[str, object]) -> str:
    """Of an entry that follows another one; `told`: every column but the two hashes."""
    return hashlib.sha256((previous + canonical(told)).encode()).hexdigest()


def utc_text(unix_seconds: float) -> str:
    """ISO 8601 in UTC, always with microseconds, so that text order is time order."""
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="microseconds")
