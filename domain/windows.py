"""Freeze windows: when nothing is released to an environment. Pure.

A window is wall time in its own time zone, so it keeps to the clock of the people it is for when theirs changes.
Rollbacks are exempt.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from domain.paths import matches
from domain.value import Value

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_LONGEST = 400
"""So many windows in a row are a calendar without an opening; then the answer is the end of the last."""


def _known(zone: str) -> str:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{zone!r} is no time zone: use an IANA name such as Europe/Berlin") from None
    return zone


Zone = Annotated[str, AfterValidator(_known)]
"""The name of an IANA time zone."""


class Freeze(Value):
    """One window: weekly (`days`, `start`, `end`) or once (`first`, `last`)."""

    environments: tuple[str, ...] = Field(("*",), description="Globs of environments that it holds for")
    zone: Zone = Field("UTC", description="IANA time zone, such as Europe/Berlin")
    days: tuple[Day, ...] = Field((), description="Weekdays on which it begins")
    start: time = Field(time(0), description="Wall time at which it begins")
    end: time = Field(time(0), description="Wall time at which it ends; not after `start`: on the day after")
    first: datetime | None = Field(None, description="Begin of a window that comes once, wall time without an offset")
    last: datetime | None = Field(None, description="Its end")
    reason: str = Field("", description="What people read who wait for it")

    @model_validator(mode="after")
    def _weekly_or_once(self) -> "Freeze":
        once = (self.first, self.last)
        if bool(self.days) == any(once):
            raise ValueError("give either `days` or `first` and `last`")
        if any(once):
            if self.first is None or self.last is None or self.first >= self.last:
                raise ValueError("`first` and `last` go together, the first before the last")
            if self.first.tzinfo or self.last.tzinfo:
                raise ValueError("`first` and `last` are wall time of `zone`: write them without an offset")
        return self

    def ends(self, now: datetime) -> datetime | None:
        """When this window ends, in UTC, where `now` is within it; else None."""
        zone = ZoneInfo(self.zone)
        if self.first and self.last:
            begun = self.first.replace(tzinfo=zone).astimezone(UTC)
            over = self.last.replace(tzinfo=zone, fold=1).astimezone(UTC)  # a time that comes twice: the second
            return over if begun <= now < over else None
        today = now.astimezone(zone).date()
        for day in (today, today - timedelta(days=1)):
            if DAYS[day.weekday()] not in self.days:
                continue
            last_day = day if self.end > self.start else day + timedelta(days=1)
            begun = datetime.combine(day, self.start, zone).astimezone(UTC)
            over = datetime.combine(last_day, self.end, zone).replace(fold=1).astimezone(UTC)
            if begun <= now < over:
                return over
        return None


class Closed(Value):
    """An environment is frozen now."""

    until: datetime = Field(description="UTC; windows that follow one another without a gap are one")
    reason: str


def closed(freezes: Sequence[Freeze], environment: str, now: datetime) -> Closed | None:
    """Until when nothing is released to an environment, and why; None: it is open."""
    mine = [freeze for freeze in freezes if matches(environment, freeze.environments)]
    until, reasons = now, []
    for _ in range(_LONGEST):
        ends = [(over, freeze.reason) for freeze in mine if (over := freeze.ends(until))]
        if not ends:
            break
        until = max(over for over, _ in ends)
        reasons += [reason for _, reason in ends if reason and reason not in reasons]
    return Closed(until=until, reason="; ".join(reasons) or "a freeze window") if until != now else None
