"""What looks into bodies while they pass. Each is called with pieces, and with an empty one at the end.

They give lists: mitmproxy would write a single empty piece as the chunk that ends a chunked body.
"""

from collections.abc import Callable, Iterable

from blocks.gateway.placeholders import LONGEST, found
from blocks.gateway.redaction import Inflater, Redactor

Stream = Callable[[bytes], Iterable[bytes] | bytes]


class PlaceholderWatch:
    """Passes a body on until a placeholder shows in it; then it tells the secret's name, and nothing more passes."""

    def __init__(self, stop: Callable[[str], None]) -> None:
        self._stop, self._tail, self._stopped = stop, b"", False

    def __call__(self, piece: bytes) -> list[bytes]:
        seen = self._tail + piece
        if not self._stopped and (name := found(seen)):
            self._stopped = True
            self._stop(name)
        self._tail = seen[-LONGEST:]
        return [piece] if piece and not self._stopped else []


class Cleaning:
    """Undoes compression where there is any, and redacts. `first` sees the pieces before."""

    def __init__(self, redactor: Redactor, inflater: Inflater | None, first: Stream | None, fail: Callable[[], None]):
        self._redactor, self._inflater, self._first, self._fail = redactor, inflater, first, fail
        self._failed = False

    def __call__(self, piece: bytes) -> list[bytes]:
        try:
            return [] if self._failed else [out for out in self._pieces(piece) if out]
        except Exception:  # what cannot be looked into does not pass
            self._failed = True
            self._fail()
            return []

    def _pieces(self, piece: bytes) -> Iterable[bytes]:
        given = self._first(piece) if self._first else [piece]
        for part in [given] if isinstance(given, bytes) else given:
            if plain := self._inflater.feed(part) if self._inflater and part else part:
                yield self._redactor.feed(plain)
        if not piece:
            if self._inflater and (rest := self._inflater.feed(b"")):
                yield self._redactor.feed(rest)
            yield self._redactor.feed(b"")


class Instead:
    """Another body in the place of a server's."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __call__(self, piece: bytes) -> list[bytes]:
        return [] if piece else [self._body]
