"""What happened when, as lines for a person."""

from collections.abc import Callable
from datetime import UTC, datetime

from domain.health import Clean

Say = Callable[[str], None]


def quietly(line: str) -> None:
    """Nobody listens."""


class Timeline:
    """Lines that begin with the UTC time, as `12:00:03.120 traffic shifted to 127.0.0.1:40123`. `also` hears each
    at once, without the time."""

    def __init__(self, clean: Clean = str, also: Say = quietly) -> None:
        self._clean, self._also = clean, also
        self._lines: list[str] = []

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(self._lines)

    def say(self, what: str) -> None:
        what = self._clean(what)
        self._lines.append(f"{datetime.now(UTC).strftime('%H:%M:%S.%f')[:-3]} {what}")
        self._also(what)
