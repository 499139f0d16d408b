"""A share of some things, and how much of it is luck: nobody reads a percentage off three cases."""

import math
from typing import NamedTuple

LEAST = 10
"""Below this a share is told as "2 of 3", and never in percent."""
LEAST_TO_RANK = 20
"""Below this nothing is put in an order by its share."""
Z = 1.959963984540054
"""Of the normal distribution: 95 of 100 intervals made so hold the share that is behind what was seen."""


class Share(NamedTuple):
    """So many of so many."""

    part: int
    of: int

    @property
    def percent(self) -> float | None:
        """None if there are too few."""
        return 100 * self.part / self.of if self.of >= LEAST else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """In percent, by Wilson's score (1927), which is right at 0 and 100 % too; None if there are too few."""
        if self.of < LEAST:
            return None
        seen, z2 = self.part / self.of, Z * Z
        middle = (seen + z2 / (2 * self.of)) / (1 + z2 / self.of)
        half = Z * math.sqrt(seen * (1 - seen) / self.of + z2 / (4 * self.of**2)) / (1 + z2 / self.of)
        return max(0.0, 100 * (middle - half)), min(100.0, 100 * (middle + half))

    @property
    def shown(self) -> str:
        """`2 of 3`; from ten on `12 of 20, 60 % (39 to 78)`; a dash where there is nothing to count."""
        if not self.of:
            return "–"
        counted = f"{self.part:,} of {self.of:,}"
        if self.interval is None:
            return counted
        low, high = self.interval
        return f"{counted}, {self.percent:.0f} % ({low:.0f} to {high:.0f})"

    @property
    def data(self) -> dict[str, object]:
        """As JSON data."""
        low, high = self.interval or (None, None)
        rounded = [None if each is None else round(each, 1) for each in (self.percent, low, high)]
        return {"part": self.part, "of": self.of, **dict(zip(("percent", "low", "high"), rounded, strict=True))}


def could_be_equal(one: Share, other: Share) -> bool:
    """Whether two shares are no ground to call either better: their intervals meet, or there are too few."""
    if min(one.of, other.of) < LEAST_TO_RANK or one.interval is None or other.interval is None:
        return True
    return one.interval[0] <= other.interval[1] and other.interval[0] <= one.interval[1]
