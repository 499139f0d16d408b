"""Who is signed in at the desk. A session is 256 random bits in a cookie; of it only the hash is kept, in memory."""

import hmac
import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

from domain.known_by import Way

HOURS = 12
MOST = 1000
MOST_OF_ONE = 20
"""Who signs in more often loses the session that is longest unused: another site may lead a browser to sign in."""


class Session(NamedTuple):
    """Somebody who showed a token. Whether that token is still good is asked with each request."""

    token_id: str
    csrf: str
    place: str
    """What its addresses have after `/desk/`. Cookies know no port: a browser would send one of `/desk` to whatever
    listens on another port of this host, such as a release. Only this browser knows this place."""
    until: float
    version: str
    """Of the person's password when it began: another one ends it."""
    way: Way


class Sessions:
    """Of one process. They end with it: who is signed in signs in again after the door was started anew."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._known: dict[str, Session] = {}

    def begin(self, token_id: str, version: str = "", way: Way = Way.TOKEN) -> tuple[str, Session]:
        """The value of a new cookie, and its session; both were never seen before."""
        now = self._clock()
        self._known = {key: one for key, one in self._known.items() if one.until > now}
        mine = [key for key, one in self._known.items() if one.token_id == token_id]
        for key in mine[: max(0, len(mine) - MOST_OF_ONE + 1)]:
            del self._known[key]
        while len(self._known) >= MOST:
            del self._known[next(iter(self._known))]
        value = secrets.token_urlsafe(32)
        csrf, place = secrets.token_urlsafe(32), f"at-{secrets.token_urlsafe(32)}"
        session = Session(token_id, csrf, place, now + HOURS * 3600, version, way)
        self._known[_hashed(value)] = session
        return value, session

    def find(self, value: str | None, place: str) -> Session | None:
        """The session of a cookie at its place; None if there is none, or its time is over."""
        key = _hashed(value or "")
        found = self._known.get(key)
        if found is None or found.place != place or found.until <= self._clock():
            return None
        self._known[key] = self._known.pop(key)  # the newest one is last
        return found

    def end(self, value: str | None) -> None:
        """Safe to repeat."""
        if value:
            self._known.pop(_hashed(value), None)

    def bound(self, what: str, value: str) -> str:
        """What a form or an address carries while there is no session yet: bound to a cookie of this browser, and for
        one purpose. Nobody else can make it."""
        return hmac.new(self._secret, f"{what}\0{value}".encode("utf-8", "surrogatepass"), sha256).hexdigest()


def _hashed(value: str) -> str:
    return sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
