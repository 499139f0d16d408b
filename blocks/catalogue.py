"""What is set up under which name, as the server lists it. No block is loaded for it, so that a brief with a wrong name
is answered in a second."""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound

from blocks.gateway.models.pricing import rates
from blocks.gateway.models.provider import ModelProvider
from domain.agent_choice import CHEAPEST
from domain.agent_scope import AgentScope, outside, used_up
from domain.brief import Brief, Part, parts_of
from domain.errors import InputError
from domain.models import ModelPolicy, model_for

AGENT_KINDS = ("claude-code", "codex", "mini-swe", "opencode", "aider", "command", "replay")


Spent = Callable[[str], float]
"""Agent, as kind/name → US dollars that its model calls cost this week, by the ledger."""


def unusable(brief: Brief, spent: Spent | None = None) -> tuple[str, ...]:
    """What of a brief's names nobody set up, each with the names that exist, and what its agents are not for; empty
    means go."""
    with get_client(sync_client=True) as client:
        shop = _find(client, "workshop", brief.workshop)
        if shop is None:
            return (f"there is no workshop {brief.workshop!r}: {_known(_names(client, 'workshop'))}",)
        missing = _environment(brief, shop)
    return (*([missing] if missing else ()), *unusable_agents(brief, spent))


def unusable_agents(brief: Brief, spent: Spent | None = None) -> tuple[str, ...]:
    """The same of its agents, their scopes and their models. The workshop exists. `spent`: None if what an agent may
    spend in a week is not looked at, as in a run that has begun."""
    with get_client(sync_client=True) as client:
        shop = _find(client, "workshop", brief.workshop) or {}
        policy = ModelPolicy.model_validate(shop.get("models", {}))
        wrong = [_agent(client, brief, policy, part, reference, spent) for part, reference in parts_of(brief)]
    if brief.agent == CHEAPEST and not (shop.get("choice") or {}).get("agents"):
        wrong.append([f"the workshop {brief.workshop!r} names no agents to choose from: give some in its `choice`"])
    return tuple(dict.fromkeys(why for each in wrong for why in each))


def names(kind: str) -> list[str]:
    """The saved blocks of a kind, sorted."""
    with get_client(sync_client=True) as client:
        return _names(client, kind)


def _environment(brief: Brief, shop: dict[str, Any]) -> str | None:
    environments = sorted(shop.get("targets", {}))
    if brief.environment is None or brief.environment in environments:
        return None
    near = _near(brief.environment, environments)
    return f"there is no environment {brief.environment!r} in the workshop {brief.workshop!r}: {near}"


def _agent(
    client: SyncPrefectClient, brief: Brief, policy: ModelPolicy, part: Part, reference: str, spent: Spent | None
) -> list[str]:
    """Why a step's agent, or its model, cannot be used."""
    if reference == brief.agent == CHEAPEST:
        return []  # one of `choice` takes its place when the run begins
    kind, _, name = reference.partition("/")
    if kind not in AGENT_KINDS or not name:
        said = f"{reference!r} is no agent" if reference else "the brief names no `agent`"
        return [f"{said}: give kind/name with a kind of {', '.join(AGENT_KINDS)}; {_agents(client, reference)}"]
    found = _find(client, kind, name)
    if found is None:
        return [f"there is no agent {reference!r}: {_agents(client, reference)}"]
    wrong = not_for(brief, part, reference, AgentScope.model_validate(found.get("scope") or {}), spent)
    if not (model := found.get("model")):
        return wrong
    try:
        model = model_for(policy, str(model), part, brief)
    except InputError as err:
        return [*wrong, f"agent {reference!r}: {err}"]
    unknown = _model(client, reference, model, policy)
    return [*wrong, *([unknown] if unknown else [])]


def not_for(brief: Brief, part: Part, reference: str, scope: AgentScope, spent: Spent | None) -> list[str]:
    """Why an agent that exists is not for this brief."""
    wrong = [one.sentence for one in outside(brief, part, reference, scope)]
    if spent is not None and scope.usd_per_week is not None:
        over = used_up(reference, scope, spent(reference))
        wrong += [over] if over else []
    return wrong


def _model(client: SyncPrefectClient, reference: str, model: str, policy: ModelPolicy) -> str | None:
    provider, _, own = model.partition("/")
    if (found := _find(client, "provider", provider)) is None:
        known = _known(_names(client, "provider"))
        return f"agent {reference!r} calls {model!r}, and there is no model provider {provider!r}: {known}"
    told = {name: found[name] for name in ("api", "prices") if name in found}  # neither address nor key is needed
    if rates(provider, ModelProvider.model_validate(told), own, policy) is None:
        return (
            f"agent {reference!r} calls {model!r}, and nobody knows what that costs: mend the name in the agent's "
            "block, or give its price under `models.prices` of the workshop"
        )
    return None


def _agents(client: SyncPrefectClient, wanted: str) -> str:
    return _near(wanted, [f"{kind}/{name}" for kind in AGENT_KINDS for name in _names(client, kind)])


def _near(wanted: str, names: list[str]) -> str:
    near = get_close_matches(wanted, names, n=1)
    return f"did you mean {near[0]!r}? {_known(names)}" if near else _known(names)


def _known(names: list[str]) -> str:
    return f"there are {', '.join(names)}" if names else "none is set up yet: add one in the UI under Blocks"


def _find(client: SyncPrefectClient, kind: str, name: str) -> dict[str, Any] | None:
    """The data of a saved block without its secrets, None if there is none."""
    try:
        block = client.read_block_document_by_name(name, f"lockgate-{kind}", include_secrets=False)
    except ObjectNotFound:
        return None
    return block.data


def _names(client: SyncPrefectClient, kind: str) -> list[str]:
    try:
        found = client.read_block_documents_by_type(f"lockgate-{kind}", include_secrets=False)
    except ObjectNotFound:
        return []
    return sorted(block.name for block in found if block.name)
