"""What policy makes of the record: whom it trusts with more, whom with less, and when a second person must look.

It is counted from the ledger each time it is asked. What is not known, for want of cases, is no.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from domain.agent_choice import AgentChoice
from domain.history import History
from domain.project import RecordBar
from domain.review_health import health
from domain.share import LEAST, Share
from domain.track_record import newest_first_tries, newest_released, records

NEWEST_APPROVALS = 100
"""So many approvals tell how people review now."""


class RecordStanding(NamedTuple):
    """An agent's record, held against a bar."""

    is_met: bool
    sentence: str
    """What was counted, for the record of the decision."""


def standing(history: History, agent: str, bar: RecordBar) -> RecordStanding:
    """Whether it is known that the record of an agent is as good as the bar asks."""
    back = newest_released(history, agent, bar.window)
    if back.of < bar.window:
        return RecordStanding(
            False, f"{agent} has {_changes(back.of)} that were released, and {bar.window} are asked for"
        )
    told = f"of the newest {_changes(back.of)} of {agent} that were released, {back.part} were rolled back"
    if back.part > bar.rollbacks:
        return RecordStanding(False, f"{told}, and at most {bar.rollbacks} may be")
    if bar.first_try is None:
        return RecordStanding(True, told)
    first = newest_first_tries(history, agent, bar.window)
    told = f"{told}; no gate refused the first attempt of {first.shown} tasks"
    is_met = first.interval is not None and first.interval[0] >= bar.first_try
    return RecordStanding(is_met, told if is_met else f"{told}, and it is not known to be {bar.first_try:g} % or more")


def second_person(history: History, most_stamps: float) -> str | None:
    """Why one approval is not enough: it is not known that so many percent at most are rubber stamps. None if it is."""
    known = [one.is_stamp for one in health([history]).reviews if one.is_approval and one.is_stamp is not None]
    newest = known[-NEWEST_APPROVALS:]
    share = Share(sum(newest), len(newest))
    if share.interval is not None and share.interval[1] <= most_stamps:
        return None
    asked = f"at most {most_stamps:g} % may be (most_stamps of [review])"
    if share.of < LEAST:
        return f"how people review is known of {share.of} approvals alone, and not that few are rubber stamps: {asked}"
    return f"rubber stamps are {share.shown} of the newest approvals, and {asked}"


class Chosen(NamedTuple):
    """Which agent the record chooses; None: none of them."""

    agent: str | None
    reasons: tuple[str, ...]
    """One for each that could have been chosen, the chosen one first."""


def cheapest(history: History, choice: AgentChoice, why_not: Callable[[str], str | None]) -> Chosen:
    """The agent whose merged changes cost least, among those whose record passes. `why_not`: for another reason."""
    prices = _prices(history)
    passing: list[tuple[float, str, str]] = []
    others: list[str] = []
    for agent in choice.agents:
        why = why_not(agent)
        stands = standing(history, agent, choice.bar)
        price = prices.get(agent)
        if why is not None:
            others.append(f"not {agent}: {why}")
        elif not stands.is_met:
            others.append(f"not {agent}: {stands.sentence}")
        elif price is None:
            others.append(f"not {agent}: what a merged change of it costs is not known")
        else:
            passing.append((price, agent, stands.sentence))
    passing.sort()
    told = [f"${price:.2f} a merged change: {sentence}" for price, _, sentence in passing]
    dearer = [f"not {agent}: ${price:.2f} a merged change" for price, agent, _ in passing[1:]]
    return Chosen(passing[0][1] if passing else None, (*told[:1], *dearer, *others))


def _prices(history: History) -> Mapping[str, float]:
    """Agent → US dollars of all its work by its merged changes; not there without any, or if it called no model."""
    usd: dict[str, float] = {}
    merged: dict[str, int] = {}
    for one in records([history]):
        agent = one.line.agent
        usd[agent] = usd.get(agent, 0.0) + one.usd
        merged[agent] = merged.get(agent, 0) + one.merged
    return {agent: usd[agent] / count for agent, count in merged.items() if count and usd[agent] > 0}


def _changes(count: int) -> str:
    return f"{count} change{'s' * (count != 1)}"
