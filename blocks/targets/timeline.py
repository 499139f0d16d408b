"""What happened when, as lines for a person."""

from collections.abc import Callable
from datetime import UTC, datetime

from domain.health import Clean

Say = Callable[[str], None]


def quietly(line: str) -> None:
    """Nobody listens."""


class Timeline:
    """Lines that begin with the UTC time, as `12:00:03.120 traffic shifted to 127.0.0.1:40123`."""

    def __init__(self, clean: Clean = str) -> None:
        self._clean = clean
        self._lines: list[str] = []

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(self._lines)

    def say(self, what: str) -> None:
        self._lines.append(f"{datetime.now(UTC).strftime('%H:%M:%S.%f')[:-3]} {self._clean(what)}")
