"""Who somebody at an OpenID provider is here, in the ledger's database beside the tokens.

A person is a token of that name, as in `passwords.py`. The provider's own id of somebody, the subject, is what counts:
names and addresses are given to others there.
"""

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

from sqlmodel import Session, col, select

from blocks.ledger.database import transaction
from blocks.ledger.rows import IdentityRow, TokenRow
from blocks.ledger.tokens import new_row, valid, was_ever
from domain.access import Role, Token, why_no_name
from domain.errors import InputError

MOST = 255
"""Characters of a subject: https://openid.net/specs/openid-connect-core-1_0.html#IDToken"""


class KnownPerson(NamedTuple):
    """Who somebody is, if it is known."""

    token: Token | None
    """None: nobody has said who it is, or that person's token is over."""
    is_known: bool
    """Somebody has said who it is, whatever became of that person."""
    version: str
    """See `Identities.version`."""


class PersonIdentity(NamedTuple):
    """One that somebody has set up."""

    name: str
    issuer: str
    subject: str


class Identities(NamedTuple):
    """Those in the ledger at a URL. Every method raises LedgerError where the database does not answer."""

    url: str

    def set(self, name: str, issuer: str, subject: str) -> Token:
        """From now on this subject is the person of this name. Raises InputError for nobody's name, and for a subject
        that is somebody else here."""
        _check_subject(subject)
        now = datetime.now(UTC)
        with self._open(write=True) as session:
            row = valid(session, name, now)
            if row is None:
                raise InputError(f"nobody called {name!r} is known: `lockgate person add {name} --role review`")
            known = session.get(IdentityRow, (issuer, subject))
            other = session.get(TokenRow, known.token_id) if known and known.token_id != row.id else None
            if other and other.token().why_not(now) is None:
                raise InputError(f"this subject is {other.name} here: `lockgate person forget {other.name}` first")
            session.merge(IdentityRow(issuer=issuer, subject=subject, token_id=row.id))
            return row.token()

    def add(self, name: str, roles: Collection[Role], issuer: str, subject: str) -> None:
        """Somebody who was never here: a token whose value nobody has, and the subject that is its person, both or
        neither. Safe to repeat: whoever the subject is already it stays. Raises InputError for a name that is none, or
        that anybody ever had."""
        _check_subject(subject)
        if wrong := why_no_name(name):
            raise InputError(wrong)
        with self._open(write=True) as session:
            if session.get(IdentityRow, (issuer, subject)):
                return
            if was_ever(session, name):
                raise InputError(f"somebody here was called {name}")
            row, _ = new_row(name, roles, datetime.now(UTC))
            session.add(row)
            session.add(IdentityRow(issuer=issuer, subject=subject, token_id=row.id))

    def of(self, issuer: str, subject: str) -> KnownPerson:
        """Who this subject is now."""
        with self._open() as session:
            known = session.get(IdentityRow, (issuer, subject))
            row = session.get(TokenRow, known.token_id) if known else None
            token = row.token() if row and row.token().why_not(datetime.now(UTC)) is None else None
            return KnownPerson(token, known is not None, _version(session, row.id) if row else "")

    def forget(self, name: str) -> int:
        """How many subjects are not this person any more. Raises InputError for nobody's name."""
        with self._open(write=True) as session:
            row = valid(session, name, datetime.now(UTC))
            if row is None:
                raise InputError(f"nobody called {name!r} is known")
            found = _of(session, row.id)
            for each in found:
                session.delete(each)
            return len(found)

    def all(self) -> list[PersonIdentity]:
        """By name; of people whose token is over, too."""
        with self._open() as session:
            rows = [(row, session.get(TokenRow, row.token_id)) for row in session.exec(select(IdentityRow))]
            return sorted(PersonIdentity(token.name, row.issuer, row.subject) for row, token in rows if token)

    def version(self, token_id: str) -> str:
        """Another one each time that something changes about who this person is elsewhere."""
        with self._open() as session:
            return _version(session, token_id)

    @contextmanager
    def _open(self, *, write: bool = False) -> Iterator[Session]:
        with transaction(self.url, write=write) as session:
            yield session


def _check_subject(subject: str) -> None:
    if not subject or len(subject) > MOST or not subject.isprintable():
        raise InputError(f"a subject is what the provider calls somebody by: 1 to {MOST} characters")


def _of(session: Session, token_id: str) -> list[IdentityRow]:
    rows = session.exec(select(IdentityRow).where(col(IdentityRow.token_id) == token_id))
    return sorted(rows, key=lambda row: (row.issuer, row.subject))


def _version(session: Session, token_id: str) -> str:
    told = "\0".join(part for row in _of(session, token_id) for part in (row.issuer, row.subject))
    return hashlib.sha256(told.encode()).hexdigest()
