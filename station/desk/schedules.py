"""Briefs that are run again and again: what the form says of when, and the schedules that there are.

A schedule starts runs while nobody is signed in, so it is made by who administers. Prefect keeps it, with the brief as
its parameters.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import available_timezones

from station import api
from station.door.table import BRIEFS

ONCE = "once, now"
CRON = "by a cron line"
REPEATS = {
    "every day": "* * *",
    "Monday to Friday": "* * 1-5",
    **{f"every {day}": f"* * {number}" for number, day in enumerate(
        ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"), 1)},
    "every Sunday": "* * 0",
    "on the first of each month": "1 * *",
}  # fmt: skip
"""What a person chooses → day of month, month and day of week of a cron line."""
FIELDS = {"repeat": ONCE, "at": "03:00", "zone": "UTC", "cron": ""}
"""Field → what stands there at first."""
CHOICES = (ONCE, *REPEATS, CRON)
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_FIVE = re.compile(r"\S+( \S+){4}")
_PLAIN = re.compile(r"(\d{1,2}) (\d{1,2}) (.+)")


class When(NamedTuple):
    """When a brief is run."""

    cron: str
    zone: str

    @property
    def schedule(self) -> dict[str, str]:
        """As Prefect has it."""
        return {"cron": self.cron, "timezone": self.zone}


class Repeated(NamedTuple):
    """A schedule with a brief."""

    id: str
    title: str
    repository: str
    agent: str
    when: str
    next_at: datetime | None
    """None: the server has not planned it yet, or it is paused."""
    is_active: bool


def read(form: Mapping[str, str]) -> tuple[When | None, dict[str, list[str]]]:
    """When a form says that its brief is run again, None for once; and what is wrong: field → why."""
    given = {name: form.get(name, default).strip() for name, default in FIELDS.items()}
    repeat, zone, wrong = given["repeat"] or ONCE, given["zone"] or FIELDS["zone"], dict[str, list[str]]()
    if repeat == ONCE:
        return None, {}
    if repeat not in CHOICES:
        wrong["repeat"] = [f"{repeat!r} is none of: {', '.join(CHOICES)}"]
    if zone not in available_timezones():
        wrong["zone"] = [f"{zone!r} is no time zone, such as UTC or Europe/Berlin"]
    cron, time = " ".join(given["cron"].split()), _TIME.fullmatch(given["at"])
    if repeat == CRON and not _FIVE.fullmatch(cron):
        wrong["cron"] = ["a cron line has five parts: minute, hour, day of the month, month, day of the week"]
    if repeat != CRON and not time:
        wrong["at"] = [f"{given['at']!r} is no time, such as 03:00"]
    if wrong:
        return None, wrong
    if time and repeat != CRON:
        cron = f"{int(time[2])} {int(time[1])} {REPEATS[repeat]}"
    return When(cron, zone), {}


def slug_of(title: str, key: str) -> str:
    """The name of a schedule, the same whenever its form is sent."""
    words = "-".join(re.findall(r"[a-z0-9]+", title.lower()))[:40].strip("-")
    return "-".join(part for part in (words, *re.findall(r"[a-z0-9]+", key.lower())) if part)


def found() -> list[Repeated]:
    """All schedules with a brief, by their titles."""
    deployment = api.get(f"/deployments/name/{BRIEFS}") or {}
    some = [one for one in deployment.get("schedules") or () if (one.get("parameters") or {}).get("brief")]
    if not some:
        return []
    planned = api.runs(
        {"deployment_id": {"any_": [deployment["id"]]}, "state": {"type": {"any_": ["SCHEDULED"]}}},
        "EXPECTED_START_TIME_ASC",
    )
    first: dict[str, datetime] = {}
    for run in planned:
        maker = (run.get("created_by") or {}).get("id")
        first.setdefault(str(maker), datetime.fromisoformat(run["expected_start_time"]))
    told = [_told(one, first.get(str(one["id"]))) for one in some]
    return sorted(told, key=lambda one: (one.title, one.id))


def _told(schedule: Mapping[str, Any], next_at: datetime | None) -> Repeated:
    brief, is_active = schedule["parameters"]["brief"], bool(schedule["active"])
    title, repository, agent = (str(brief.get(name) or "") for name in ("title", "repository", "agent"))
    when = _words(schedule["schedule"])
    return Repeated(str(schedule["id"]), title, repository, agent, when, next_at if is_active else None, is_active)


def _words(schedule: Mapping[str, Any]) -> str:
    """When it is due, in the words of the form where it has them."""
    zone = str(schedule.get("timezone") or "UTC")
    cron = str(schedule.get("cron") or "")
    plain = _PLAIN.fullmatch(cron)
    day = next((name for name, rest in REPEATS.items() if plain and plain[3] == rest), None)
    if plain and day:
        return f"{day} at {int(plain[2]):02}:{int(plain[1]):02} ({zone})"
    if cron:
        return f"cron {cron} ({zone})"
    return f"every {schedule['interval']} s" if "interval" in schedule else str(schedule.get("rrule") or "by a rule")
