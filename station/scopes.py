"""Whether a brief is inside of the scopes of its agents, by the copy of the blocks: asked before a run is started."""

from typing import NamedTuple

from blocks import kept
from blocks.ledger import spending
from domain.agent_scope import AgentScope, Outside, outside, used_up
from domain.brief import Brief, parts_of
from domain.errors import InputError


def why_outside(brief: Brief) -> tuple[Outside, ...]:
    """What of a brief is not for its agents, each with what their scope allows; empty means go. An agent that the copy
    does not have bounds nothing here: the run itself looks once more, at the blocks as they are then."""
    found = [one for part, reference in parts_of(brief) for one in outside(brief, part, reference, scope_of(reference))]
    bounded = [each for _, each in parts_of(brief) if scope_of(each).usd_per_week is not None]
    spent = spent_this_week(brief.workshop) if bounded else {}
    over = [used_up(each, scope_of(each), spent.get(each, 0.0)) for each in bounded]
    return tuple(dict.fromkeys((*found, *(Outside("agent", why) for why in over if why))))


def scope_of(reference: str) -> AgentScope:
    """Of an agent as kind/name."""
    kind, _, name = reference.partition("/")
    try:
        return AgentScope.model_validate(kept.fields(f"lockgate-{kind}", name).get("scope") or {})
    except (ValueError, InputError):
        return AgentScope()


class Bounds(NamedTuple):
    """An agent that is set up."""

    agent: str
    scope: AgentScope
    spent: float
    """This week, in US dollars."""


def agents() -> list[str]:
    """Those that are set up, as kind/name."""
    from blocks.catalogue import AGENT_KINDS  # late: it imports every block

    return [f"{kind}/{name}" for kind in AGENT_KINDS for name in kept.names(f"lockgate-{kind}")]


def bounds() -> list[Bounds]:
    """All agents with their scopes, and what each has spent by the ledgers of all workshops. Raises LedgerError if one
    does not answer."""
    urls = {str(kept.fields("lockgate-workshop", name)["ledger"]["url"]) for name in kept.names("lockgate-workshop")}
    spent = [spending.this_week(url) for url in urls]
    return [Bounds(each, scope_of(each), sum(one.get(each, 0.0) for one in spent)) for each in agents()]


def spent_this_week(workshop: str) -> dict[str, float]:
    """Agent → US dollars, by the ledger of a workshop. Raises LedgerError if it does not answer."""
    try:
        shop = kept.fields("lockgate-workshop", workshop)
    except (ValueError, InputError):
        return {}
    return spending.this_week(str(shop["ledger"]["url"]))
