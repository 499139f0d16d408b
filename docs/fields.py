"""Prints docs/settings.md from the models themselves: python -m docs.fields > docs/settings.md"""

from typing import Any

import typer.main
from pydantic import BaseModel
from pydantic_core import PydanticUndefined, to_jsonable_python

from blocks.base import LockgateBlock
from blocks.workshop import KINDS, Workshop
from domain.agent_choice import AgentChoice
from domain.agent_scope import AgentScope
from domain.brief import Acceptance, AcceptanceFile, Brief, Budget, Roles, Scope
from domain.egress import EgressRule
from domain.health import HealthCheck
from domain.issues import IssueIntake, TicketIntake
from domain.migration import MigrationBudget, Patience
from domain.models import ModelPolicy, Price
from domain.notices import Notices
from domain.planted import Planting
from domain.project import ElsewherePolicy, Migrations, ProjectEgress, ProjectSettings, RecordBar, ReviewPolicy
from station.cli import app

INTRODUCTION = """# Settings

Made from the models by `python -m docs.fields`; do not edit. An unknown field is an error everywhere.
"""


def settings() -> str:
    """The text of docs/settings.md."""
    parts = [
        INTRODUCTION,
        "## lockgate.toml\n\nAt the root of the repository, read from the base commit: never from the change.\n",
        _fields(ProjectSettings, "settings"),
        '### `[health]`\n\nSee [releases](targets.md#health). A plain `health = "/path"` is the path alone.\n',
        _fields(HealthCheck, "settings"),
        "### `[migrate]`\n",
        _fields(Migrations, "settings"),
        "### `[review]`\n",
        _fields(ReviewPolicy, "settings"),
        "### `[review.record]`\n\nAlso the `bar` of a workshop's `choice`; "
        "[what it does](agents.md#what-the-record-decides).\n",
        _fields(RecordBar, "settings"),
        "### `[elsewhere]`\n\n[What it does](forges.md#our-agent-mends-what-is-refused).\n",
        _fields(ElsewherePolicy, "settings"),
        "### `[egress]`\n\nAdded to the package registries, which `setup` and `edit` reach anyway.\n",
        _fields(ProjectEgress, "settings"),
        "### `[[egress.edit]]` and the like: a rule\n",
        _fields(EgressRule, "rule"),
        "## The brief\n\nTOML, JSON, or the form in the UI. A file may name others beside it: `from` in place of an "
        "acceptance file's `content`, and `project_file` in place of `project`.\n",
        _fields(Brief, "brief"),
    ]
    for name, model in (("acceptance", Acceptance), ("acceptance.files", AcceptanceFile), ("budget", Budget),
                        ("roles", Roles)):  # fmt: skip
        parts += [f"### `[{name}]`\n", _fields(model, "brief")]
    parts += ["### `[scope]`\n", _fields(Scope, "brief"), "## Blocks\n\nIn the UI under Blocks.\n"]
    for block in _blocks():
        parts += [f"### {block._block_type_name}\n\n{block._description}\n", _fields(block, "block")]
    parts += ["## An agent's scope\n\nThe `scope` of an agent's block; [what it does](agents.md#scope).\n"]
    parts += [_fields(AgentScope, "scope")]
    parts += ["## Choice\n\nThe workshop's `choice`.\n", _fields(AgentChoice, "choice")]
    parts += ["## Model policy\n\nThe workshop's `models`.\n", _fields(ModelPolicy, "policy")]
    parts += ["## Issues\n\nEach of the workshop's `issues`; [what it does](forges.md#an-issue-becomes-a-run).\n"]
    parts += [_fields(IssueIntake, "issues")]
    parts += ["## Tickets\n\nEach of the workshop's `tickets`; [what it does](trackers.md).\n"]
    parts += [_fields(TicketIntake, "tickets")]
    parts += ["## Notices\n\nThe workshop's `notices`; [what they are](operating.md#who-is-told).\n"]
    parts += [_fields(Notices, "notices")]
    parts += ["## Planted faults\n\nThe workshop's `planted`; [what they are](desk.md#planted-faults).\n"]
    parts += [
        _fields(Planting, "planted"),
        "### A price\n\nUS dollars for a million tokens.\n",
        _fields(Price, "price"),
    ]
    parts += ["## A database\n\nA database's `budget`, then its `patience`.\n", _fields(MigrationBudget, "budget")]
    parts += [_fields(Patience, "patience")]
    parts += ["## Command line\n", *map(_command, sorted(typer.main.get_command(app).commands.items()))]  # type: ignore[attr-defined]
    return "\n".join(parts)


def _blocks() -> list[type[LockgateBlock]]:
    shop = Workshop()
    inner = {type(value) for name in Workshop.model_fields if isinstance(value := getattr(shop, name), LockgateBlock)}
    return sorted({Workshop, *KINDS.values(), *inner}, key=lambda block: str(block._block_type_name))


def _fields(model: type[BaseModel], kind: str) -> str:
    lines = [f"| {kind} | default | what |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else _default(field.get_default(call_default_factory=False))
        if field.default_factory is not None:
            default = "under Lockgate's home, or its own defaults"
        lines.append(f"| `{name}` | {default} | {field.description or ''} |")
    return "\n".join(lines) + "\n"


def _default(value: Any) -> str:
    if value is PydanticUndefined or value is None:
        return ""
    if isinstance(value, BaseModel):
        return "its own defaults"
    plain = to_jsonable_python(value, fallback=str)
    text = str(plain) if not isinstance(plain, list) else ", ".join(map(str, plain))
    return f"`{text}`" if 0 < len(text) <= 60 else "empty" if not text else "see the source"


def _command(item: tuple[str, Any]) -> str:
    name, command = item
    if hasattr(command, "commands"):
        return "\n".join(_command((f"{name} {inner}", each)) for inner, each in sorted(command.commands.items()))
    lines = [f"### `lockgate {name}`\n", f"{command.help or ''}\n"]
    for parameter in command.params:
        words = " ".join(f"`{word}`" for word in parameter.opts if parameter.param_type_name == "option")
        words = words or f"`{parameter.name.upper()}`"
        lines.append(f"- {words}: {parameter.help}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(settings(), end="")
