"""Rooms: a sandbox for one piece of work, with its way out. Every sandbox that a step uses is opened here."""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from blocks.layers import layer
from blocks.workshop import Workshop
from domain.commands import argv_of
from domain.egress import EgressRule, Passport, Phase
from domain.errors import InputError
from domain.models import model_for
from domain.paths import matches
from domain.ports import Agent, Workspace
from domain.project import ProjectSettings
from domain.redaction import Redaction
from domain.task import Prepared
from domain.trees import Tree
from domain.value import digest_of
from tasks.room.redaction import redacted
from tasks.room.requirements import beside, wheels_of
from tasks.room.services import ServedWorkspace

SETUP_S = 1800.0
"""Longest setup of a project."""
_SETUP = "/lockgate/platform/setup"
_CACHES = {
    "COREPACK_DEFAULT_TO_LATEST": "0",  # as after the setup, where a project names no version
    "COREPACK_ENABLE_DOWNLOAD_PROMPT": "0",
    "COREPACK_NPM_REGISTRY": "https://registry.npmjs.org",  # yarn 2 and newer are fetched from elsewhere otherwise
    "XDG_CACHE_HOME": "/lockgate/cache",
    "XDG_DATA_HOME": "/lockgate/cache",
    "npm_config_cache": "/lockgate/cache/npm",
}
"""Where a setup's caches are: on disk, for the home directory is memory, and not in what it leaves."""
AGENTS: tuple[Phase, ...] = ("plan", "edit", "review")
"""Phases in which an agent reads the tree: it gets none of its secrets. Tests and setup need the real one."""


SERVED: tuple[Phase, ...] = ("edit", "test")
"""Phases whose commands find the project's services."""


class Room(NamedTuple):
    """An open workspace, and what an agent in it needs to reach its model."""

    workspace: Workspace
    model: str | None
    token: str
    hidden: Redaction
    """What the tree in it does not show, and the way back."""


@contextmanager
def room(
    shop: Workshop,
    prepared: Prepared,
    phase: Phase,
    tree: Tree,
    *,
    agent: Agent | None = None,
    reference: str = "",
    attempt: int = 0,
) -> Iterator[Room]:
    """A sandbox with `tree`, the project's environment and what `phase` may reach. It is gone afterwards.
    `reference`: the agent as kind/name.

    Raises SandboxError and GatewayError if it cannot be opened or nobody knows the tree's secrets, InputError where
    the project's setup fails.
    """
    hidden = redacted(shop, prepared, tree) if agent or phase in AGENTS else Redaction(tree)
    model = _model(shop, prepared, phase, agent)
    passport = _passport(shop, prepared, phase, agent, model, attempt, reference)
    mounts = agent.install(shop.toolchains, shop.sandbox) if agent else {}
    toolchain = toolchain_of(shop, prepared)
    below = contextlib.nullcontext(None) if phase == "setup" else _set_up(shop, prepared, hidden.tree)
    with below as layer_below, shop.gateway.admit(passport) as egress:
        workspace: Workspace = shop.sandbox.open(
            hidden.tree,
            label=prepared.run_id,
            toolchain=toolchain,
            mounts=mounts,
            egress=egress,
            layer=layer_below,
            image=prepared.settings.image,
        )
        try:
            if phase in SERVED and prepared.settings.services:
                workspace = ServedWorkspace(workspace, prepared.settings.services)
            yield Room(workspace, model, egress.token if egress else "", hidden)
        finally:
            workspace.close()


def toolchain_of(shop: Workshop, prepared: Prepared) -> Path:
    """The environment with the project's requirements: built once, then found."""
    wheels = wheels_of(shop, prepared.projects)
    return shop.toolchains.ensure(prepared.requirements, shop.sandbox, python=prepared.settings.python, wheels=wheels)


def passport_of(shop: Workshop, prepared: Prepared, phase: Phase) -> Passport:
    """What a sandbox of this phase may reach, models left out."""
    return _passport(shop, prepared, phase, None, None, 0)


def usd_of(shop: Workshop, prepared: Prepared) -> float:
    """What the run may spend: its brief's budget, or the policy's cap on every task."""
    cap = shop.models.usd_per_task
    return min(prepared.brief.budget.usd, cap) if cap is not None else prepared.brief.budget.usd


def _model(shop: Workshop, prepared: Prepared, phase: Phase, agent: Agent | None) -> str | None:
    if agent is None or agent.model is None:
        return None
    return model_for(shop.models, agent.model, phase, prepared.brief)


def _passport(
    shop: Workshop,
    prepared: Prepared,
    phase: Phase,
    agent: Agent | None,
    model: str | None,
    attempt: int,
    reference: str = "",
) -> Passport:
    brief, settings = prepared.brief, prepared.settings
    rules: dict[Phase, tuple[EgressRule, ...]] = {
        "setup": (*shop.registries, *settings.egress.setup),
        "plan": settings.egress.plan,
        "edit": (*shop.registries, *settings.egress.edit),
        "review": (),
        "test": settings.egress.test,
    }
    return Passport(
        run_id=prepared.run_id,
        phase=phase,
        attempt=attempt,
        agent=agent.name if agent else None,
        reference=reference,
        repository=brief.repository,
        environment=brief.environment,
        workshop=brief.workshop,
        token=shop.ledger.token_of(prepared.run_id),
        rules=rules[phase],
        secrets=settings.secrets if phase in ("setup", "plan", "edit") else (),
        models=(model, *agent.helper_models) if agent and model else (),
        usd=usd_of(shop, prepared),
        usd_per_week=agent.scope.usd_per_week if agent else None,
    )


def _set_up(shop: Workshop, prepared: Prepared, tree: Tree) -> AbstractContextManager[Path | None]:
    """What `setup` and the builds of own projects leave beside the tree, made once for each state of what they read."""
    settings = prepared.settings
    made = tuple(project.beside for project in prepared.projects if project.beside)
    if not settings.setup and not made:
        return contextlib.nullcontext(None)
    if not settings.setup:
        return layer(digest_of(["beside", *made])[:32], lambda place: _lay(beside(shop, prepared.projects), place))
    command = argv_of(settings.setup)
    # Setup sees nothing but what its layer is named after: a change elsewhere in the tree cannot get into a layer that
    # other tasks use.
    files: Tree = {path: entry for path, entry in tree.items() if matches(path, settings.setup_files)}
    told = {path: [entry.mode, hashlib.sha256(entry.content).hexdigest()] for path, entry in files.items()}
    brief, passport = prepared.brief, _passport(shop, prepared, "setup", None, None, 0)
    about = [
        *(settings.setup, settings.image, settings.environment, prepared.requirements, shop.sandbox.kind, told),
        *(brief.repository, brief.workshop, passport.model_dump(mode="json", include={"rules", "secrets"})),
        *((settings.python, made, [project.wheel for project in prepared.projects]) if prepared.projects else ()),
    ]

    def make(place: Path) -> None:
        with room(shop, prepared, "setup", files) as opened:
            opened.workspace.write(_SETUP, Path(__file__).with_name("inside_setup.sh").read_bytes())
            env = {**_CACHES, **settings.environment}
            words = ["sh", _SETUP, *in_directory(settings, command)]
            done = opened.workspace.run(words, timeout_s=SETUP_S, env=env)
            if done.exit_code or done.problem:
                why = done.problem or f"exit code {done.exit_code}"
                raise InputError(f"the project's setup failed ({settings.setup}): {why}: {setup_said(done.output)}")
            opened.workspace.harvest(place)
        _lay(beside(shop, prepared.projects), place)

    return layer(digest_of(about)[:32], make)


def setup_said(output: str) -> str:
    """The end of what a setup printed; of npm the first error, below which it prints all of its help."""
    end = output[-_SAID:]
    first = re.search(r"^npm (?:error|ERR!)", output, re.MULTILINE)
    return output[first.start() :][:_SAID] if first else end


_SAID = 1500


def _lay(files: Tree, place: Path) -> None:
    """Files below a directory of the worker's own; none of them takes the place of what is there."""
    place.mkdir(mode=0o755, exist_ok=True)
    for path, entry in files.items():
        target = place / path
        parents = [parent for parent in target.parents if parent.is_relative_to(place)]
        if any(parent.is_symlink() for parent in parents) or os.path.lexists(target):
            continue
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        target.write_bytes(entry.content)
        target.chmod(0o755 if target.suffix == ".so" else 0o644)


def in_directory(settings: ProjectSettings, argv: Sequence[str]) -> tuple[str, ...]:
    """A command of the project's, as it is run in the project's directory."""
    return ("env", "-C", settings.directory, *argv) if settings.directory else tuple(argv)
