"""The form of a new brief: what may be chosen, what was typed, and what is wrong with it, said at its field."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from blocks import kept
from domain.access import STARTED_BY, Token
from domain.agent_choice import CHEAPEST
from domain.brief import Brief
from domain.policy import BRIEF_RULES
from domain.policy.brief_lint import LintedBrief
from domain.policy.rule import apply
from station import api, scopes

FIELDS = {
    "title": "", "goal": "", "kind": "other", "repository": "", "branch": "", "agent": "", "environment": "",
    "test_path": "", "test_content": "", "tests": "", "command": "", "scope_paths": "", "max_changed_lines": "400",
    "usd": "5", "attempts": "3", "minutes": "60",
}  # fmt: skip
"""Field → what stands there at first."""
OF_LOCATION: dict[tuple[str, ...], str] = {
    ("acceptance", "files"): "test_path", ("acceptance", "tests"): "tests", ("acceptance", "command"): "command",
    ("scope", "paths"): "scope_paths", ("scope", "max_changed_lines"): "max_changed_lines", ("budget", "usd"): "usd",
    ("budget", "attempts"): "attempts", ("budget", "minutes"): "minutes",
}  # fmt: skip
"""Where a brief is wrong → the field of the form."""
OF_RULE = {
    "no-acceptance": "test_path", "empty-acceptance": "test_content", "vague": "goal", "several-features": "goal",
    "no-end": "goal", "unknown-environment": "environment", "unknown-agent": "agent", "impossible-glob": "scope_paths",
}  # fmt: skip
"""Rule that a brief breaks → the field of the form."""
WORKSHOP = "default"


class Choices(NamedTuple):
    """What there is to choose from."""

    agents: list[str]
    bounds: dict[str, str]
    """Agent → its scope in one line; empty for one that may do all."""
    environments: list[str]
    repositories: list[str]


class Read(NamedTuple):
    """A form as it was sent: a brief, or what is wrong."""

    brief: Brief | None
    wrong: dict[str, list[str]]
    """Field → why; under "" what belongs to no field."""


def choices(token: Token) -> Choices:
    """Agents and environments that are set up, by the copy of the blocks, and repositories of briefs before."""
    return set_up()._replace(repositories=_repositories(token))


def set_up() -> Choices:
    """The same without repositories: what a brief is judged by."""
    agents = scopes.agents()
    if _workshop().get("choice", {}).get("agents"):
        agents.append(CHEAPEST)
    bounds = {each: scopes.scope_of(each).sentence for each in agents}
    return Choices(agents, bounds, sorted(_workshop().get("targets", ())), [])


def read(form: Mapping[str, str], offered: Choices) -> Read:
    """The brief of a form, judged as the run would judge it first."""
    wrong: dict[str, list[str]] = {}
    data = _data(form)
    try:
        brief = Brief.model_validate(data)
    except ValidationError as err:
        for error in err.errors(include_url=False, include_input=False, include_context=False):
            where = tuple(str(part) for part in error["loc"])
            field = OF_LOCATION.get(where[:2], where[0] if where else "")
            wrong.setdefault(field if field in FIELDS else "", []).append(_said(error["msg"]))
        return Read(None, wrong)
    known = brief.agent in offered.agents
    for finding in apply(BRIEF_RULES, LintedBrief(brief, offered.environments, known)):
        wrong.setdefault(OF_RULE.get(finding.rule, ""), []).append(f"{finding.message}: {finding.fix}")
    for one in scopes.why_outside(brief) if known else ():
        field = OF_LOCATION.get(tuple(one.field.split(".")), one.field)
        wrong.setdefault(field if field in FIELDS else "", []).append(one.sentence)
    return Read(None if wrong else brief, wrong)


def _data(form: Mapping[str, str]) -> dict[str, Any]:
    """As a brief is written. What is empty stands for its default."""
    given = {name: form.get(name, "").strip() for name in FIELDS}
    files = []
    if given["test_path"] or given["test_content"]:
        files = [{"path": given["test_path"], "content": form.get("test_content", "")}]
        if form.get("hidden"):
            files[0]["keep"] = False  # type: ignore[assignment]
    budget = {name: given[name] for name in ("usd", "attempts", "minutes") if given[name]}
    scope: dict[str, Any] = {"paths": given["scope_paths"].split()}
    if given["max_changed_lines"]:
        scope["max_changed_lines"] = given["max_changed_lines"]
    return {
        **{name: given[name] for name in ("title", "goal", "repository", "branch", "agent")},
        "kind": given["kind"] or FIELDS["kind"],
        "environment": given["environment"] or None,
        "acceptance": {"files": files, "tests": given["tests"].split(), "command": given["command"] or None},
        "propose_acceptance": bool(form.get("propose")),
        "budget": budget,
        "scope": scope,
    }


def _workshop() -> dict[str, Any]:
    try:
        return kept.fields("lockgate-workshop", WORKSHOP)
    except ValueError:
        return {}


def _repositories(token: Token) -> list[str]:
    """Those that a token may name, or that briefs which it may see have named."""
    if token.repositories:
        return [each for each in token.repositories if not each.endswith("/*")]
    found: dict[str, None] = {}
    for run in api.newest(100):
        brief = (run.get("parameters") or {}).get("brief")
        is_own = (run.get("labels") or {}).get(STARTED_BY) == token.name
        if isinstance(brief, dict) and (token.sees_all_briefs or is_own):
            found[str(brief.get("repository", ""))] = None
    return sorted(filter(None, found))


def _said(message: str) -> str:
    return message.removeprefix("Value error, ")
