"""What is on the first screen: everything that waits for a person, oldest first."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from blocks.ledger.reading import Reader
from domain.access import Role, Token
from domain.errors import LockgateError
from domain.policy.holding import KINDS, STOPS, why_held
from domain.records import OPENED
from station import api, holding, inbox
from station.door.table import ANSWERS, MAY_HOLD

MOST = 100
"""So many that were asked for are on the screen; who has answered them sees the next."""
REVIEW_DAYS = 7.0
"""What a workshop's `review_days` is if nobody has set it."""
FROZEN_DAYS = 7
"""For so long a frozen run is shown: nothing says that a person has looked after it."""


COSTS = {
    "review": "Declined if nobody has answered after {days}.",
    "push": "Declined if nobody has pushed after {days}.",
    "questions": "The agent does nothing until then.",
    "ready": "Nothing goes on until then.",
    "machine": "Nothing goes on until that machine is back.",
    "forge": "It is not merged until then.",
    "away": "Nothing goes on until then.",
    "held": "Nothing is released there until then.",
    "frozen": "The task is not done, and does not go on by itself.",
}
"""Kind → what it costs to wait."""


class WaitingRow(NamedTuple):
    """One line."""

    kind: str
    asks: str
    title: str
    since: datetime
    address: str
    why: str = ""
    costs: str = ""

    def may_be_answered_by(self, token: Token) -> bool:
        """Whether the roles of a token let it answer: who may open an environment sees to what is held or frozen."""
        if self.kind == "machine":
            return token.may(Role.ADMINISTER)
        return token.may(ANSWERS[self.kind].role if self.kind in ANSWERS else MAY_HOLD)


def waiting(tells_why: bool = True) -> tuple[list[WaitingRow], list[str], int]:
    """Oldest first; what could not be looked at; and how many more runs are suspended. `tells_why`: what a run waits
    for at its forge too, for those who may know it."""
    found: list[WaitingRow] = []
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


def with_costs(found: list[WaitingRow]) -> list[WaitingRow]:
    """The same, each with what it costs to wait."""
    days = _days() if found else ""
    return [one._replace(costs=COSTS[one.kind].format(days=days)) for one in found]


def _days() -> str:
    """After how long nobody has answered, by the workshops' `review_days`."""
    each = sorted({float(shop.get("review_days", REVIEW_DAYS)) for shop in holding.shops()} or {REVIEW_DAYS})
    told = " to ".join(f"{days:g}" for days in dict.fromkeys((each[0], each[-1])))
    return f"{told} day{'' if told == '1' else 's'}"


def _asked() -> Iterator[WaitingRow]:
    for one in inbox.waiting(MOST):
        page = "task" if one.kind == "machine" else "review"  # nobody can answer for a machine
        yield WaitingRow(one.kind, one.asks, one.title, one.since, f"/{page}/{one.run_id}", one.why)


def _frozen() -> Iterator[WaitingRow]:
    since = (datetime.now(UTC) - timedelta(days=FROZEN_DAYS)).isoformat()
    wanted = {
        "tags": {"all_": ["lockgate"]}, "state": {"name": {"any_": ["Frozen"]}}, "end_time": {"after_": since},
    }  # fmt: skip
    for run in api.in_short(wanted, "EXPECTED_START_TIME_DESC", MOST):
        state = run["state"] or {}
        at = datetime.fromisoformat(state["timestamp"].replace("Z", "+00:00"))
        yield WaitingRow("frozen", "frozen run", run["name"], at, f"/task/{run['id']}", str(state.get("message") or ""))


def _held() -> Iterator[WaitingRow]:
    for shop in holding.shops():
        ledger = Reader(str(shop["ledger"]["url"]))
        stops = ledger.entries(kinds=STOPS)
        for environment in sorted(shop["targets"]):
            if why_held(environment, stops) and (why := why_held(environment, ledger.entries(kinds=KINDS))):
                since = max(e.at for e in stops if e.body["environment"] == environment and e.kind != OPENED.kind)
                yield WaitingRow("held", "held environment", environment, since, "/environments", why)
