"""Whether a brief is inside of the scopes of its agents, by the copy of the blocks: asked before a run is started."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from blocks import kept
from blocks.ledger import spending
from domain.agent_scope import AgentScope, OutOfScope, outside, used_up
from domain.brief import Brief, parts_of
from domain.errors import InputError


def why_outside(brief: Brief) -> tuple[OutOfScope, ...]:
    """What of a brief is not for its agents, each with what their scope allows; empty means go. An agent that the copy
    does not have bounds nothing here: the run itself looks once more, at the blocks as they are then."""
    found = [one for part, reference in parts_of(brief) for one in outside(brief, part, reference, scope_of(reference))]
    bounded = [each for _, each in parts_of(brief) if scope_of(each).usd_per_week is not None]
    spent = spent_this_week(brief.workshop) if bounded else {}
    over = [used_up(each, scope_of(each), spent.get(each, 0.0)) for each in bounded]
    return tuple(dict.fromkeys((*found, *(OutOfScope("agent", why) for why in over if why))))


def scope_of(reference: str) -> AgentScope:
    """Of an agent as kind/name."""
    kind, _, name = reference.partition("/")
    try:
        return AgentScope.model_validate(kept.fields(f"lockgate-{kind}", name).get("scope") or {})
    except (ValueError, InputError):
        return AgentScope()


class ScopedAgent(NamedTuple):
    """An agent that is set up."""

    agent: str
    scope: AgentScope
    spent: tuple[tuple[str, float], ...]
    """(workshops, US dollars this week) of each ledger that has any, or of the only one: the cap of a scope bounds each
    ledger by itself."""


def agents() -> list[str]:
    """Those that are set up, as kind/name."""
    from blocks.catalogue import AGENT_KINDS  # late: it imports every block

    return [f"{kind}/{name}" for kind in AGENT_KINDS for name in kept.names(f"lockgate-{kind}")]


def bounds() -> list[ScopedAgent]:
    """All agents with their scopes, and what each has spent by the ledger of each workshop. Raises LedgerError if one
    does not answer."""
    shops: dict[str, list[str]] = {}
    for name in sorted(kept.names("lockgate-workshop")):
        shops.setdefault(str(kept.fields("lockgate-workshop", name)["ledger"]["url"]), []).append(name)
    spent = [(", ".join(names), spending.this_week(url)) for url, names in shops.items()]
    return [ScopedAgent(each, scope_of(each), _of(each, spent)) for each in agents()]


def _of(agent: str, spent: Sequence[tuple[str, Mapping[str, float]]]) -> tuple[tuple[str, float], ...]:
    return tuple((names, one.get(agent, 0.0)) for names, one in spent if len(spent) == 1 or one.get(agent))


def spent_this_week(workshop: str) -> dict[str, float]:
    """Agent → US dollars, by the ledger of a workshop. Raises LedgerError if it does not answer."""
    try:
        shop = kept.fields("lockgate-workshop", workshop)
    except (ValueError, InputError):
        return {}
    return spending.this_week(str(shop["ledger"]["url"]))
