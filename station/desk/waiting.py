"""What is on the first screen: everything that waits for a person, oldest first."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from blocks.ledger.reading import Reader
from domain.errors import LockgateError
from domain.policy.holding import KINDS, STOPS, why_held
from domain.records import OPENED
from station import api, holding, inbox

MOST = 100
"""So many that were asked for are on the screen; who has answered them sees the next."""
FROZEN_DAYS = 7
"""For so long a frozen run is shown: nothing says that a person has looked after it."""


class Waits(NamedTuple):
    """One line."""

    kind: str
    asks: str
    title: str
    since: datetime
    address: str
    why: str = ""


def waiting(tells_why: bool = True) -> tuple[list[Waits], list[str], int]:
    """Oldest first; what could not be looked at; and how many more runs are suspended. `tells_why`: what a run waits
    for at its forge too, for those who may know it."""
    found: list[Waits] = []
    problems: list[str] = []
    for look in (_asked, _frozen, _held):
        try:
            found += look()
        except LockgateError as err:
            problems.append(f"What waits cannot all be shown: {err}")
    more = 0
    if len(found) >= MOST:
        more = max(0, int(api.post("/flow_runs/count", {"flow_runs": inbox.SUSPENDED})) - MOST)
    found = [one if tells_why or one.kind not in inbox.AT_FORGE else one._replace(why="") for one in found]
    return sorted(found, key=lambda one: one.since), list(dict.fromkeys(problems)), more


def _asked() -> Iterator[Waits]:
    for one in inbox.waiting(MOST):
        page = "task" if one.kind == "machine" else "review"  # nobody can answer for a machine
        yield Waits(one.kind, one.asks, one.title, one.since, f"/{page}/{one.run_id}", one.why)


def _frozen() -> Iterator[Waits]:
    since = (datetime.now(UTC) - timedelta(days=FROZEN_DAYS)).isoformat()
    wanted = {
        "tags": {"all_": ["lockgate"]}, "state": {"name": {"any_": ["Frozen"]}}, "end_time": {"after_": since},
    }  # fmt: skip
    for run in api.in_short(wanted, "EXPECTED_START_TIME_DESC", MOST):
        state = run["state"] or {}
        at = datetime.fromisoformat(state["timestamp"].replace("Z", "+00:00"))
        yield Waits("frozen", "frozen run", run["name"], at, f"/task/{run['id']}", str(state.get("message") or ""))


def _held() -> Iterator[Waits]:
    for shop in holding.shops():
        ledger = Reader(str(shop["ledger"]["url"]))
        stops = ledger.entries(kinds=STOPS)
        for environment in sorted(shop["targets"]):
            if why_held(environment, stops) and (why := why_held(environment, ledger.entries(kinds=KINDS))):
                since = max(e.at for e in stops if e.body["environment"] == environment and e.kind != OPENED.kind)
                yield Waits("held", "held environment", environment, since, "/environments", why)
