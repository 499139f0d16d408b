"""One environment's blocks under one name: the only block that knows the others."""

import functools
from typing import cast

from pydantic import Field

from blocks.agents.command import Command
from blocks.agents.replay import Replay
from blocks.base import LockgateBlock
from blocks.forges.local import LocalForge
from blocks.ledger.ledger import Ledger
from blocks.sandboxes.bubblewrap import Bubblewrap
from blocks.scanners.bandit import Bandit
from blocks.scanners.kingfisher import Kingfisher
from blocks.scanners.ruff import Ruff
from blocks.stores.local import LocalStore
from blocks.targets.process import ProcessTarget
from blocks.toolchains.wheels import WheelToolchains
from domain.brief import Brief
from domain.errors import InputError
from domain.ports import Agent, Scanner, Target
from domain.project import ProjectSettings


class Project(LockgateBlock):
    """Settings of a repository that has no lockgate.toml of its own."""

    _block_type_name = "Lockgate project"
    _block_type_slug = "lockgate-project"
    _description = "How a repository without lockgate.toml is tested, built and run."

    settings: ProjectSettings = Field(description="The same fields as lockgate.toml")


class Workshop(LockgateBlock):
    """Everything a task works with. Targets are named by environment, as kind/name of a target block."""

    _block_type_name = "Lockgate workshop"
    _block_type_slug = "lockgate-workshop"
    _description = "Sandbox, forge, scanners, store, ledger and targets under one name."

    sandbox: Bubblewrap = Field(default_factory=Bubblewrap, description="Where agents and tests run")
    toolchains: WheelToolchains = Field(default_factory=WheelToolchains, description="Environments from wheels")
    forge: LocalForge = Field(default_factory=LocalForge, description="Where repositories live")
    store: LocalStore = Field(default_factory=LocalStore, description="Contracts, transcripts and failure bundles")
    ledger: Ledger = Field(default_factory=Ledger, description="The one record")
    kingfisher: Kingfisher = Field(default_factory=Kingfisher, description="Secret scanner")
    ruff: Ruff = Field(default_factory=Ruff, description="Security lint")
    bandit: Bandit = Field(default_factory=Bandit, description="Python weaknesses")
    targets: dict[str, str] = Field({}, description="Environment → target block, such as process-target/shop")
    pager: str | None = Field(None, description="Notification block to call when a person must decide, as type/name")
    review_days: float = Field(7, gt=0, description="After so many days an unanswered review counts as declined")

    @property
    def scanners(self) -> tuple[Scanner, ...]:
        return (self.kingfisher, self.ruff, self.bandit)

    def target(self, environment: str) -> Target:
        """The target of an environment. Raises InputError for one that nobody set up."""
        try:
            reference = self.targets[environment]
        except KeyError:
            known = ", ".join(sorted(self.targets)) or "none"
            raise InputError(f"no environment {environment!r} in this workshop (known: {known})") from None
        return cast(ProcessTarget, _load(reference))

    def agent(self, reference: str) -> Agent:
        """An agent by kind/name. Raises InputError for one that nobody set up."""
        return cast(Agent, _load(reference))

    def project(self, name: str) -> ProjectSettings:
        """Settings from a project block. Raises InputError for one that nobody set up."""
        return cast(Project, _load(f"project/{name}")).settings


KINDS: dict[str, type[LockgateBlock]] = {
    "replay": Replay,
    "command": Command,
    "process-target": ProcessTarget,
    "project": Project,
}


def _load(reference: str) -> LockgateBlock:
    kind, _, name = reference.partition("/")
    if kind not in KINDS or not name:
        raise InputError(f"{reference!r} is not kind/name with a kind of {', '.join(KINDS)}")
    try:
        return KINDS[kind].saved(name)
    except ValueError as err:
        raise InputError(f"there is no block {reference!r}: make it in the Prefect UI under Blocks") from err


@functools.lru_cache(maxsize=8)
def workshop(name: str) -> Workshop:
    """The named workshop, loaded once a process. Raises InputError where there is none."""
    try:
        return Workshop.saved(name)
    except ValueError as err:
        raise InputError(f"there is no workshop block {name!r}: `make up` makes `default`") from err


def workshop_of(brief: Brief) -> Workshop:
    """The workshop that a brief names."""
    return workshop(brief.workshop)
