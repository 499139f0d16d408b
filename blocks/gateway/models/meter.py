"""What an answer says of its usage, read while it goes through unchanged."""

import json
from collections.abc import Callable
from typing import Any

MOST_BYTES = 64_000_000
"""Of one event, or of an answer that is not streamed. More than that is not read, and counts as unknown."""


class Meter:
    """Fed with the bytes of one answer. It never raises: what it cannot read leaves the usage unknown.

    `told(event, usage)` takes over what an event says into `usage` and returns whether nothing more will come.
    """

    def __init__(self, told: Callable[[dict[str, Any], dict[str, Any]], bool], *, streamed: bool) -> None:
        self._told, self._streamed = told, streamed
        self._buffer = bytearray()
        self._data: list[bytes] = []
        self._lost = False
        self._usage: dict[str, Any] = {}
        self.ended = False
        """Whether the answer told its whole usage: without that, it broke off."""

    def feed(self, chunk: bytes) -> None:
        """The next bytes, however they are cut."""
        if self._lost:
            return
        self._buffer += chunk
        if self._streamed:
            self._lines()
        if len(self._buffer) + sum(map(len, self._data)) > MOST_BYTES:
            self._lose()

    def close(self) -> None:
        """The answer has ended by itself."""
        if self._lost:
            return
        if self._streamed:
            self._buffer += b"\n\n"
            self._lines()
        else:
            self._event(bytes(self._buffer))
            self._buffer.clear()
            self.ended = True

    @property
    def usage(self) -> dict[str, Any] | None:
        """The usage in the provider's words, as far as it was told; None if nothing is known."""
        return self._usage if self._usage and not self._lost else None

    def _lines(self) -> None:
        """Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html. A lone CR is not used."""
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = bytearray(rest)
        for line in (bytes(line.removesuffix(b"\r")) for line in lines):
            if not line and self._data:
                self._event(b"\n".join(self._data))
                self._data.clear()
            elif line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))

    def _event(self, data: bytes) -> None:
        if data.strip() == b"[DONE]":
            self.ended = True
            return
        try:
            event = json.loads(data)
            if isinstance(event, dict) and self._told(event, self._usage):
                self.ended = True
        except Exception:  # an answer is data: whatever it does to a parser, the call counts as its worst case
            self._lose()

    def _lose(self) -> None:
        self._lost = True
        self._buffer.clear()
        self._data.clear()
