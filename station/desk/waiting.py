"""What is on the first screen: everything that waits for a person, oldest first."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from blocks.ledger.reading import Reader
from domain.errors import LockgateError
from domain.policy.holding import KINDS, why_held
from station import api, inbox

FROZEN_DAYS = 7
"""For so long a frozen run is shown: nothing says that a person has looked after it."""


class Waits(NamedTuple):
    """One line."""

    kind: str
    asks: str
    title: str
    since: datetime
    address: str | None = None
    why: str = ""


def waiting() -> tuple[list[Waits], list[str]]:
    """Oldest first, and what could not be looked at."""
    found: list[Waits] = []
    problems: list[str] = []
    for look in (_asked, _frozen, _held):
        try:
            found += look()
        except LockgateError as err:
            problems.append(f"What waits cannot all be shown: {err}")
    return sorted(found, key=lambda one: one.since), list(dict.fromkeys(problems))


def _asked() -> Iterator[Waits]:
    for one in inbox.waiting():
        yield Waits(one.kind, one.asks, one.title, one.since, f"/desk/review/{one.run_id}")


def _frozen() -> Iterator[Waits]:
    since = (datetime.now(UTC) - timedelta(days=FROZEN_DAYS)).isoformat()
    wanted = {
        "tags": {"all_": ["lockgate"]}, "state": {"name": {"any_": ["Frozen"]}}, "end_time": {"after_": since},
    }  # fmt: skip
    for run in api.runs(wanted, "EXPECTED_START_TIME_ASC"):
        state = run["state"] or {}
        at = datetime.fromisoformat(state["timestamp"].replace("Z", "+00:00"))
        yield Waits("frozen", "frozen run", run["name"], at, f"/desk/task/{run['id']}", str(state.get("message") or ""))


def _held() -> Iterator[Waits]:
    for shop in api.workshops():
        entries = Reader(str(shop["ledger"]["url"])).entries(kinds=KINDS)
        for environment in sorted(shop["targets"]):
            if why := why_held(environment, entries):
                stops = (
                    e for e in entries if e.body["environment"] == environment and e.kind in ("held", "rolled_back")
                )
                since = max(entry.at for entry in stops)
                yield Waits("held", "held environment", environment, since, None, why)
