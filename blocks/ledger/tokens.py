"""Tokens of the front door, and the answers that came in with one, in the ledger's database beside the chain.

A token is 256 random bits; of it only the SHA-256 is kept, which for such a value is as good as a slow hash. Rows stay
when a token is revoked: they tell who it was.
"""

import hashlib
import json
import secrets
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

from sqlmodel import Session, col, select

from blocks.ledger.database import transaction
from blocks.ledger.rows import SignedAnswerRow, TokenRow
from domain.access import Role, Token, why_no_name
from domain.errors import InputError
from domain.policy.reviewers import canonical_name

PREFIX = "lockgate_"
"""So that secret scanners and people know one when they see it."""
BYTES = 32


class Signed(NamedTuple):
    """Whose token an answer came in with, and how it was shown."""

    by: str
    way: str


class Tokens(NamedTuple):
    """Those of the ledger at a URL. Every method raises LedgerError where the database does not answer."""

    url: str

    def add(
        self,
        name: str,
        roles: Collection[Role],
        expires_at: datetime | None = None,
        repositories: Collection[str] = (),
    ) -> tuple[Token, str]:
        """A new token, and its value, which is kept nowhere. Raises InputError for a name that is no name or taken.

        `repositories`: those that a brief may name; empty: all.
        """
        if wrong := why_no_name(name):
            raise InputError(wrong)
        if not roles:
            raise InputError(f"a token without a role opens nothing: give --role, one or more of {', '.join(Role)}")
        now = datetime.now(UTC)
        if expires_at is not None and expires_at <= now:
            raise InputError(f"{name} would have expired already: give a time that is still to come")
        with self._open(write=True) as session:
            if valid(session, name, now):
                raise InputError(f"{name} has a token already: `lockgate token revoke {name}` takes it back")
            row, value = new_row(name, roles, now)
            row.expires_at = expires_at.isoformat() if expires_at else None
            row.repositories = json.dumps(sorted(repositories)) if repositories else None
            session.add(row)
            return row.token(), value

    def revoke(self, name: str) -> Token:
        """It opens nothing from now on. Raises InputError if nobody of this name has one."""
        now = datetime.now(UTC)
        with self._open(write=True) as session:
            row = valid(session, name, now)
            if row is None:
                raise InputError(f"nobody called {name!r} has a token: `lockgate token list` shows who has")
            row.revoked_at = now.isoformat()
            session.add(row)
            return row.token()

    def all(self) -> tuple[Token, ...]:
        """Every one there ever was, oldest first."""
        with self._open() as session:
            return tuple(row.token() for row in session.exec(select(TokenRow).order_by(col(TokenRow.added_at))))

    def named(self, name: str) -> Token | None:
        """The token of this name that opens something now; None if there is none."""
        with self._open() as session:
            row = valid(session, name, datetime.now(UTC))
            return row.token() if row else None

    def of(self, value: str) -> Token | None:
        """The token with this value, also one that is over; None if there is none."""
        with self._open() as session:
            row = session.exec(select(TokenRow).where(TokenRow.hash == hashed(value))).first()
            return row.token() if row else None

    def with_id(self, token_id: str) -> Token | None:
        """The token with this id, also one that is over; None if there is none."""
        with self._open() as session:
            row = session.get(TokenRow, token_id)
            return row.token() if row else None

    def sign(self, run_id: str, question: str, digest: str, token: Token) -> None:
        """Note that this answer came in with this token. Safe to repeat: the first one stays."""
        with self._open(write=True) as session:
            if session.get(SignedAnswerRow, (run_id, question, digest)) is None:
                session.add(
                    SignedAnswerRow(
                        run_id=run_id,
                        question=question,
                        digest=digest,
                        by=token.name,
                        token_id=token.id,
                        at=datetime.now(UTC).isoformat(),
                        way=token.way,
                    )
                )

    def signed(self, run_id: str, question: str, digest: str) -> Signed | None:
        """Who gave exactly this answer to this question; None if the door has not seen it."""
        with self._open() as session:
            row = session.get(SignedAnswerRow, (run_id, question, digest))
            return Signed(row.by, row.way) if row else None

    def has_signed(self, run_id: str, begins: str, name: str) -> bool:
        """Whether an answer of the token of this name was noted, to a question of the run whose key begins so."""
        with self._open() as session:
            rows = session.exec(select(SignedAnswerRow).where(SignedAnswerRow.run_id == run_id))
            answered = (canonical_name(row.by) for row in rows if row.question.startswith(begins))
            return canonical_name(name) in answered

    @contextmanager
    def _open(self, *, write: bool = False) -> Iterator[Session]:
        with transaction(self.url, write=write) as session:
            yield session


def hashed(value: str) -> str:
    """How a token is kept."""
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def new_row(name: str, roles: Collection[Role], now: datetime) -> tuple[TokenRow, str]:
    """A token that does not expire and is bound to no repositories, and its value."""
    value = f"{PREFIX}{secrets.token_urlsafe(BYTES)}"
    told = " ".join(role for role in Role if role in roles)
    row = TokenRow(
        id=str(uuid.uuid4()),
        name=name,
        hash=hashed(value),
        roles=told,
        added_at=now.isoformat(),
        repositories=None,
    )
    return row, value


def was_ever(session: Session, name: str) -> bool:
    """Whether somebody of this name had a token at any time, also one that was revoked or has expired."""
    return canonical_name(name) in map(canonical_name, session.exec(select(TokenRow.name)))


def valid(session: Session, name: str, now: datetime) -> TokenRow | None:
    """The token of this name that opens something now."""
    rows = session.exec(select(TokenRow).where(col(TokenRow.revoked_at).is_(None)))
    same = (row for row in rows if canonical_name(row.name) == canonical_name(name))
    return next((row for row in same if row.token().why_not(now) is None), None)
