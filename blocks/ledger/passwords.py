"""Passwords of people at the desk, in the ledger's database beside the tokens.

A person is a token of that name, so roles, sessions, signed answers and revocation are the same; the password is
another way to show it. It is kept as argon2id makes of it. A name that nobody has costs as much to try as one that
somebody has, in time and in rows, and is answered in the same words.
"""

import functools
import hashlib
import hmac
import secrets
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import delete
from sqlmodel import Session, col

from blocks.ledger.database import transaction
from blocks.ledger.rows import PasswordRow, SignInRow
from blocks.ledger.tokens import PREFIX, valid
from domain.access import Token
from domain.errors import InputError
from domain.policy.reviewers import canonical_name

LEAST, MOST = 12, 200
"""Characters of a password. Length is what counts: https://pages.nist.gov/800-63-4/sp800-63b.html#password"""
TRIES, LOCKED_S = 10, 900.0
"""After so many tries of one name in a row without a right one, it is locked for so long."""
_HASHER = PasswordHasher()
"""argon2id by the second choice of RFC 9106: 64 MiB, three passes."""


class KnownPassword(NamedTuple):
    """Who has shown a name and its password."""

    token: Token
    version: str
    """Of the password that was shown: see `Passwords.version`."""
    browser: str
    """For the browser to keep: with it, this name is counted for itself there, whoever else tries it elsewhere."""


class Passwords(NamedTuple):
    """Those in the ledger at a URL. Every method raises LedgerError where the database does not answer."""

    url: str
    clock: Callable[[], float] = time.time

    def set(self, name: str, password: str) -> Token:
        """Give the person of this name, who has a token, this password in place of any other; all sessions of theirs
        end. Raises InputError for a name without a token, or a password that is none."""
        if wrong := why_no_password(name, password):
            raise InputError(wrong)
        made = _HASHER.hash(_normal(password))
        with self._open(write=True) as session:
            row = valid(session, name, datetime.now(UTC))
            if row is None:
                raise InputError(f"nobody called {name!r} is known: `lockgate person add {name} --role review`")
            session.merge(PasswordRow(token_id=row.id, hash=made))
            if tried := session.get(SignInRow, _key(name)):
                session.delete(tried)
            return row.token()

    def of(self, name: str, password: str, browser: str = "") -> KnownPassword | None:
        """Whose password this is; None if it is not, if nobody has this name, or if it was tried too often: by all
        together, or by a `browser` that this name has signed in with before. The three take the same time. A try
        counts before it is looked at, so many at once are no more than many in a row."""
        token, kept = self._kept(name)
        key = _key(f"{name}\0{browser}") if token and _is_known(kept, browser) else _key(name)
        is_locked = self._count(key)
        if not _is(kept, password) or token is None or is_locked:
            return None
        with self._open(write=True) as session:
            if tried := session.get(SignInRow, key):
                session.delete(tried)
        return KnownPassword(token, _version(kept), _browser(kept, secrets.token_urlsafe(16)))

    def knows(self, name: str, browser: str) -> bool:
        """Whether this person has signed in with this browser before, by the password that counts now."""
        token, kept = self._kept(name)
        return token is not None and _is_known(kept, browser)

    def version(self, token_id: str) -> str:
        """Another one with each password that is set; empty if there is none."""
        with self._open() as session:
            row = session.get(PasswordRow, token_id)
            return _version(row.hash) if row else ""

    def _kept(self, name: str) -> tuple[Token | None, str]:
        """Who has this name and a password, and what is kept of it; of nobody, something that costs as much to try."""
        with self._open() as session:
            row = valid(session, name, datetime.now(UTC))
            known = session.get(PasswordRow, row.id) if row else None
            return (row.token(), known.hash) if row and known else (None, _nobodys())

    def _count(self, key: str) -> bool:
        """Note a try. Whether there were too many already."""
        now = self.clock()
        with self._open(write=True) as session:
            session.connection().execute(delete(SignInRow).where(col(SignInRow.last_at) < now - LOCKED_S))
            row = session.get(SignInRow, key) or SignInRow(name=key, tries=0, last_at=now)
            if row.tries >= TRIES:
                return True  # and stays locked no longer for it: else anybody could keep somebody out for ever
            row.tries, row.last_at = row.tries + 1, now
            session.add(row)
            return False

    @contextmanager
    def _open(self, *, write: bool = False) -> Iterator[Session]:
        with transaction(self.url, write=write) as session:
            yield session


def why_no_password(name: str, password: str) -> str | None:
    """Why nobody can have this password; None if somebody can."""
    plain = _normal(password)
    if not LEAST <= len(plain) <= MOST:
        return f"a password has {LEAST} to {MOST} characters: several words are easy to keep in mind"
    if plain.startswith(PREFIX):
        return f"a password does not begin with {PREFIX}: the desk would take it for a token"
    if canonical_name(name) in plain.casefold() or len(set(plain)) < 5:
        return "a password does not contain its person's name, and is more than a few characters again and again"
    return None


def _is(kept: str, password: str) -> bool:
    try:
        return _HASHER.verify(kept, _normal(password[: MOST + 1]))
    except (VerifyMismatchError, InvalidHashError):
        return False


def _version(kept: str) -> str:
    return hashlib.sha256(kept.encode()).hexdigest()


def _browser(kept: str, nonce: str) -> str:
    """Signed by what is kept of the password, salt included: nobody makes one who has not read the database."""
    return f"{nonce}.{hmac.new(kept.encode(), f'browser {nonce}'.encode(), hashlib.sha256).hexdigest()}"


def _is_known(kept: str, browser: str) -> bool:
    nonce = browser.partition(".")[0]
    return nonce.isascii() and hmac.compare_digest(_browser(kept, nonce).encode(), browser.encode("utf-8", "replace"))


@functools.cache
def _nobodys() -> str:
    """What a password is held against if nobody has the name."""
    return _HASHER.hash("nobody has this password")


def _normal(password: str) -> str:
    return unicodedata.normalize("NFC", password)


def _key(name: str) -> str:
    """A name as it is counted under: somebody may have typed a password there."""
    return hashlib.sha256(canonical_name(name).encode("utf-8", "surrogatepass")).hexdigest()
