"""Knows people and programs by their tokens, and tells who tries tokens that are none to wait."""

import asyncio
import base64
import binascii
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

from blocks.ledger.passwords import KnownPassword, Passwords
from blocks.ledger.tokens import Tokens
from domain.access import Token
from domain.errors import LedgerError, LockgateError
from station.door.reading import DoorDenied

R = TypeVar("R")
FAILURES, WINDOW_S = 10, 60.0
"""So many wrong tokens from one address in so many seconds; then each further wrong one is told to wait. A right one is
let in all the same: behind a proxy all have one address, and a token of 256 bits is not guessed."""
MAX_ADDRESSES = 10_000
MAX_VALUE = 512
UNKNOWN = "who are you? Show a token: Authorization: Bearer TOKEN, or Basic with the token as the password"

WRONG = (
    "this is not a name with its password. After ten wrong tries of a name in a row even the right one waits a quarter "
    "of an hour; a token, or a browser that this name has signed in with before, opens the desk meanwhile"
)


class Guests:
    """Whom the door knows. Every request asks the ledger, so that a revoked token opens nothing from that moment on."""

    def __init__(self, tokens: Callable[[], Tokens], clock: Callable[[], float] = time.monotonic) -> None:
        self.tokens = tokens
        self._clock = clock
        self._failures: dict[str, deque[float]] = {}
        self._threads = ThreadPoolExecutor(4, "tokens")
        self._slow = ThreadPoolExecutor(2, "passwords")
        """Each takes 64 MiB and a while, so there are few at a time."""

    async def known(self, authorizations: list[str], address: str) -> Token:
        """Whose token it is. Raises Denied: 401 for none or a wrong one, 429 after too many, 503 without a ledger."""
        if len(authorizations) != 1:
            raise DoorDenied(401, UNKNOWN)
        return await self.of_value(value_of(authorizations[0]), address)

    async def of_value(self, value: str, address: str) -> Token:
        """The same for a bare token."""
        try:
            token = await self.look(lambda tokens: tokens.of(value))
        except LockgateError as err:
            raise DoorDenied(503, f"tokens cannot be looked up now: {err}") from err
        why = "is not known here" if token is None else token.why_not(datetime.now(UTC))
        if token is None or why is not None:
            if self._is_slowed(address):
                raise DoorDenied(429, "too many wrong tokens from your address: wait a minute")
            self._note(address)
            raise DoorDenied(401, f"this token {why}")
        return token

    async def of_person(self, name: str, password: str, address: str, browser: str = "") -> KnownPassword:
        """Whose name and password these are. Raises Denied in the same words for a wrong password, a name that nobody
        has, and one that is locked. Passwords are guessed: after many wrong ones from an address none is looked at,
        but from a browser that this name has signed in with before, which has a count of its own."""
        try:
            slowed = self._is_slowed(address)
            is_own = slowed and await self.look(lambda tokens: Passwords(tokens.url).knows(name, browser))
            if slowed and not is_own:
                raise DoorDenied(429, "too many tries from your address: wait a minute")
            known = await asyncio.get_running_loop().run_in_executor(
                self._slow, lambda: Passwords(self.tokens().url).of(name, password, browser)
            )
        except LedgerError as err:
            raise DoorDenied(503, f"names cannot be looked up now: {err}") from err
        if known is None:
            self._note(address)
            raise DoorDenied(401, WRONG)
        return known

    async def look(self, ask: Callable[[Tokens], R]) -> R:
        """What the tokens' ledger says, in threads of its own: who waits for a server keeps nobody from being known."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: ask(self.tokens()))

    def _is_slowed(self, address: str) -> bool:
        found = self._failures.get(address)
        while found and found[0] < self._clock() - WINDOW_S:
            found.popleft()
        if found is not None and not found:
            del self._failures[address]
        return bool(found) and len(found or ()) >= FAILURES

    def _note(self, address: str) -> None:
        if len(self._failures) > MAX_ADDRESSES:
            self._failures.clear()
        self._failures.setdefault(address, deque(maxlen=FAILURES)).append(self._clock())


def value_of(authorization: str) -> str:
    """The token in a header: `Bearer TOKEN`, or Basic with it as the password, or alone, as Prefect's UI sends it.

    Raises Denied for anything else.
    """
    kind, _, value = authorization.partition(" ")
    value = value.strip()
    if kind.lower() == "basic":
        try:
            value = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, ValueError):
            raise DoorDenied(401, UNKNOWN) from None
        return _short(value.partition(":")[2] if ":" in value else value)
    if kind.lower() == "bearer":
        return _short(value)
    raise DoorDenied(401, UNKNOWN)


def _short(value: str) -> str:
    if not value or len(value) > MAX_VALUE:
        raise DoorDenied(401, UNKNOWN)
    return value
