"""What a server echoes of a secret does not get back into the sandbox.

This stops honest servers that repeat what they were sent. A hostile one can transform it: only a secret's scope helps.
"""

import base64
import functools
import json
import zlib
from collections.abc import Iterable, Iterator
from html import escape
from urllib.parse import quote

_FILL = b"*"


class Redactor:
    """Replaces values by stars of the same length, so that nothing that counts bytes has to change.

    Fed piece by piece, it holds back what a value could fill since the last line end, never by what the value is: who
    saw where pieces end could guess it letter by letter. What is held when a stream breaks off is never given out.
    """

    def __init__(self, patterns: Iterable[bytes]) -> None:
        self.patterns = tuple(sorted(set(patterns), key=len, reverse=True))
        self._held = b""

    def whole(self, data: bytes) -> bytes:
        """A piece that stands alone: a header, a message."""
        for pattern in self.patterns:
            if pattern in data:
                data = data.replace(pattern, _FILL * len(pattern))
        return data

    def feed(self, piece: bytes) -> bytes:
        """The next piece of a stream; an empty one ends it and gives the rest."""
        data = self.whole(self._held + piece)
        keep = self._overhang(data) if piece else 0
        self._held = data[len(data) - keep :]
        return data[: len(data) - keep]

    def _overhang(self, data: bytes) -> int:
        longest = max(map(len, self.patterns), default=1)
        return min(longest - 1, len(data) - data.rfind(b"\n") - 1)  # no form of a value has a line end in it


@functools.lru_cache(maxsize=256)
def forms(value: bytes) -> tuple[bytes, ...]:
    """The ways in which honest servers write a value down, each once."""
    return tuple(dict.fromkeys(_forms(value)))


def _forms(value: bytes) -> Iterator[bytes]:
    text = value.decode(errors="surrogateescape")
    yield value
    in_json = json.dumps(text)[1:-1].encode()
    yield in_json
    yield in_json.replace(b"/", b"\\/")
    yield quote(value, safe="").encode()
    yield quote(value).encode()
    yield escape(text).encode(errors="surrogateescape")
    yield value.hex().encode()
    for offset, dropped in enumerate((0, 2, 3)):  # where it begins within base64's groups of three bytes
        encoded = base64.b64encode(b"\0" * offset + value)
        padding = encoded.count(b"=")
        core = encoded[dropped : len(encoded) - padding - 1 if padding else None]
        yield core
        yield core.translate(bytes.maketrans(b"+/", b"-_"))


class Inflater:
    """gzip or deflate, undone piece by piece. Raises zlib.error for anything else."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(47)  # zlib.h: 15 + 32 detects both headers

    def feed(self, piece: bytes) -> bytes:
        return self._inflate.decompress(piece) if piece else self._inflate.flush()
