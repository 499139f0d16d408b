"""Freeze windows: wall time of their own zone, over midnight, over changes of the clock, in a row."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from domain.windows import Closed, Freeze, closed

NIGHTS = Freeze.model_validate(
    {"days": ["mon", "tue", "wed", "thu"], "start": "17:00", "end": "09:00", "zone": "Europe/Berlin", "reason": "night"}
)
WEEKEND = Freeze.model_validate(
    {"days": ["fri"], "start": "12:00", "end": "00:00", "zone": "Europe/Berlin", "reason": "weekend"}
)
DAYS_OFF = Freeze.model_validate({"days": ["sat", "sun"], "zone": "Europe/Berlin", "reason": "weekend"})
SALE = Freeze.model_validate(
    {"first": "2026-11-27T00:00", "last": "2026-12-01T06:00", "zone": "America/New_York", "environments": ["shop*"]}
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-11-23T15:59", None),  # 16:59 in Berlin, Monday
        ("2026-11-23T16:00", "2026-11-24T08:00"),
        ("2026-11-24T07:59", "2026-11-24T08:00"),
        ("2026-11-24T08:00", None),
        ("2026-07-20T15:00", "2026-07-21T07:00"),  # in summer 17:00 is 15:00 UTC
        ("2026-07-20T14:59", None),
        ("2026-11-20T22:30", None),  # Friday night is no night of these
    ],
)
def test_a_weekly_window_keeps_to_the_clock_of_its_zone(now: str, until: str | None) -> None:
    found = closed([NIGHTS], "shop", at(now))
    assert found == (Closed(until=at(until), reason="night") if until else None)


def test_windows_without_a_gap_are_one() -> None:
    found = closed([DAYS_OFF, WEEKEND, NIGHTS], "shop", at("2026-11-20T11:00"))
    assert found == Closed(until=at("2026-11-22T23:00"), reason="weekend")


def test_a_night_in_which_the_clock_changes_ends_when_the_clock_says_so() -> None:
    sunday = Freeze.model_validate({"days": ["sat"], "start": "22:00", "end": "06:00", "zone": "Europe/Berlin"})
    found = closed([sunday], "shop", at("2026-10-24T23:00"))
    assert found is not None
    assert found.until == at("2026-10-25T05:00")  # an hour later than the week before


def test_a_window_that_ends_at_a_time_that_comes_twice_ends_the_second_time() -> None:
    weekly = {"days": ["sat"], "start": "22:00", "end": "02:30", "zone": "Europe/Berlin"}
    once = {"first": "2026-10-24T22:00", "last": "2026-10-25T02:30", "zone": "Europe/Berlin"}
    for given in (weekly, once):
        found = closed([Freeze.model_validate(given)], "shop", at("2026-10-25T00:45"))  # 02:45 for the first time
        assert found is not None and found.until == at("2026-10-25T01:30")


def test_a_window_that_comes_once_is_for_its_environments() -> None:
    assert closed([SALE], "shop-eu", at("2026-11-28T00:00")) == Closed(
        until=at("2026-12-01T11:00"), reason="a freeze window"
    )
    assert closed([SALE], "staging", at("2026-11-28T00:00")) is None
    assert closed([SALE], "shop", at("2026-12-01T11:00")) is None


def test_a_calendar_without_an_opening_is_closed_and_ends() -> None:
    always = Freeze.model_validate({"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]})
    found = closed([always], "shop", at("2026-11-28T00:00"))
    assert found is not None
    assert found.until > at("2027-11-28T00:00")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "either `days` or"),
        ({"days": ["mon"], "first": "2026-01-01T00:00", "last": "2026-01-02T00:00"}, "either `days` or"),
        ({"first": "2026-01-01T00:00"}, "go together"),
        ({"first": "2026-01-02T00:00", "last": "2026-01-01T00:00"}, "the first before the last"),
        ({"first": "2026-01-01T00:00Z", "last": "2026-01-02T00:00Z"}, "without an offset"),
        ({"days": ["monday"]}, "mon"),
        ({"days": ["mon"], "zone": "Berlin"}, "no time zone: use an IANA name"),
        ({"days": ["mon"], "zone": "../etc/passwd"}, "no time zone"),
    ],
)
def test_a_window_that_means_nothing_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Freeze.model_validate(given)
