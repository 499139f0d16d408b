"""One environment's blocks under one name: the only block that knows the others."""

import functools
from collections.abc import Callable, Iterable
from typing import Literal, Self, cast

from pydantic import Field, field_validator

from blocks.agents.aider import Aider
from blocks.agents.claude_code import ClaudeCode
from blocks.agents.codex import Codex
from blocks.agents.command import Command
from blocks.agents.mini_swe import MiniSwe
from blocks.agents.opencode import Opencode
from blocks.agents.replay import Replay
from blocks.artifacts.builder import ReleaseBuilder
from blocks.artifacts.signing_key import SigningKey
from blocks.base import LockgateBlock
from blocks.databases.postgres import PostgresDatabase
from blocks.databases.sqlite import SqliteDatabase
from blocks.forges.credential import RepositoryCredential
from blocks.forges.forgejo import Forgejo
from blocks.forges.github import GitHub
from blocks.forges.gitlab import GitLab
from blocks.forges.local import LocalForge
from blocks.gateway.gateway import EgressGateway
from blocks.gateway.models.provider import ModelProvider
from blocks.gateway.secret import Secret
from blocks.home import STATION, machine, places
from blocks.ledger.ledger import Ledger
from blocks.memory import Memory
from blocks.notices.email import Email
from blocks.notices.pagerduty import PagerDuty
from blocks.package_index import PackageIndex
from blocks.sandboxes.bubblewrap import Bubblewrap
from blocks.sandboxes.docker import Docker
from blocks.scanners import Bandit, Dependencies, Gitleaks, Kingfisher, Ruff, Semgrep, Squawk, Zizmor
from blocks.scanners.gitleaks import merged
from blocks.stores.local import LocalStore
from blocks.stores.s3 import S3Store
from blocks.targets.command.target import CommandTarget
from blocks.targets.ecs.target import EcsTarget
from blocks.targets.machine.docker_host import DockerHostTarget
from blocks.targets.machine.process import ProcessTarget
from blocks.targets.swarm.target import SwarmTarget
from blocks.targets.trial.trial import confined
from blocks.toolchains.wheels import WheelToolchains
from blocks.trackers.jira import Jira
from blocks.trackers.linear import Linear
from domain.agent_choice import AgentChoice
from domain.artifact import Artifact
from domain.brief import Brief
from domain.egress import EgressRule
from domain.errors import InputError, TargetError
from domain.issues import IssueIntake, TicketIntake
from domain.models import ModelPolicy
from domain.notices import Notices
from domain.planted import Planting
from domain.ports import Agent, Database, ReleaseBuild, Sandbox, Scanner, Target, Tracker
from domain.project import ProjectSettings
from domain.records import ARTIFACT
from domain.registries import REGISTRIES
from domain.spots import Spotted, located
from domain.task import Finding
from domain.trees import Tree
from domain.windows import Freeze


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

    sandboxes: Literal["auto", "docker", "bubblewrap"] = Field(
        "auto", description="auto: docker where an engine answers and has the base image, else bubblewrap"
    )
    bubblewrap: Bubblewrap = Field(default_factory=Bubblewrap, description="Sandboxes without an engine")
    docker: Docker = Field(default_factory=Docker, description="Sandboxes in containers")
    gateway: EgressGateway = Field(default_factory=EgressGateway, description="The only way out of a sandbox")
    registries: tuple[EgressRule, ...] = Field(REGISTRIES, description="Package registries, for agents and for setup")
    models: ModelPolicy = Field(ModelPolicy(), description="Which models may be called, and what they may cost")
    choice: AgentChoice = Field(AgentChoice(), description="Which agent a brief gets whose `agent` is `cheapest`")
    toolchains: WheelToolchains = Field(default_factory=WheelToolchains, description="Environments from wheels")
    forge: LocalForge = Field(default_factory=LocalForge, description="Where repositories live")
    repositories: tuple[str, ...] = Field(
        (), description="Those that briefs may name, or PLACE/* for each directly below a place; empty: all"
    )
    issues: tuple[IssueIntake, ...] = Field(
        (), description="Repositories whose issues become runs, when somebody who may write there puts the label on"
    )
    tickets: tuple[TicketIntake, ...] = Field(
        (), description="Projects of a tracker whose tickets become runs, when somebody who is named there says so"
    )
    store: LocalStore | S3Store = Field(
        default_factory=LocalStore, description="Contracts, transcripts, failure bundles and artifacts"
    )
    builder: ReleaseBuilder = Field(default_factory=ReleaseBuilder, description="Makes what is released")
    ledger: Ledger = Field(default_factory=Ledger, description="The one record")
    kingfisher: Kingfisher = Field(default_factory=Kingfisher, description="Secret scanner")
    gitleaks: Gitleaks = Field(default_factory=Gitleaks, description="Secret scanner; the two find more together")
    ruff: Ruff = Field(default_factory=Ruff, description="Security lint")
    bandit: Bandit = Field(default_factory=Bandit, description="Python weaknesses")
    semgrep: Semgrep = Field(default_factory=Semgrep, description="Weaknesses, by rules of our own")
    zizmor: Zizmor = Field(default_factory=Zizmor, description="CI workflows")
    squawk: Squawk = Field(default_factory=Squawk, description="Migrations")
    dependencies: Dependencies = Field(default_factory=Dependencies, description="Dependencies, at the registries")
    targets: dict[str, str] = Field({}, description="Environment → target block, such as process-target/shop")
    databases: dict[str, str] = Field(
        {}, description="Environment → its database's block, such as postgres-database/shop: migrations are rehearsed"
    )
    freezes: tuple[Freeze, ...] = Field((), description="When nothing is released to which environment")
    pager: str | None = Field(None, description="Notification block to call when a person must decide, as type/name")
    notices: Notices = Field(Notices(), description="Who hears of what, by which channels, and when")
    keep_artifacts: int = Field(5, ge=2, description="Releases of an environment whose archives and images are kept")
    store_days: float = Field(30, ge=1, description="Days that the store keeps what the ledger does not refer to")
    checkpoints_in_repository: bool = Field(
        True,
        description="Whether checkpoints of the ledger also go to refs/lockgate/checkpoints of what is merged into",
    )
    planted: Planting = Field(Planting(), description="Faults that are put before reviewers, to see what is caught")
    review_days: float = Field(7, gt=0, description="After so many days an unanswered review counts as declined")

    @field_validator("issues")
    @classmethod
    def _each_repository_once(cls, issues: tuple[IssueIntake, ...]) -> tuple[IssueIntake, ...]:
        named = [one.repository.rstrip("/").removesuffix(".git").casefold() for one in issues]
        if len(set(named)) != len(named):
            raise ValueError("a repository stands twice under `issues`: a command there would be meant for both")
        return issues

    @field_validator("tickets")
    @classmethod
    def _each_project_once(cls, tickets: tuple[TicketIntake, ...]) -> tuple[TicketIntake, ...]:
        named = [(one.tracker, one.project.casefold(), one.part.casefold()) for one in tickets]
        if len(set(named)) != len(named):
            raise ValueError("a project stands twice under `tickets`: a command there would be meant for both")
        return tickets

    @functools.cached_property
    def sandbox(self) -> Sandbox:
        """The kind that this machine has, found out once a process. Evidence says which one it was."""
        wants_docker = self.sandboxes == "docker" or (self.sandboxes == "auto" and self.docker.doctor() is None)
        return self.docker if wants_docker else self.bubblewrap

    def sweep(self, is_alive: Callable[[str], bool]) -> list[str]:
        """Remove what crashed openers left, of every kind of sandbox; what was, as sentences. Safe to repeat."""
        return [
            f"removed the leaked {kind.kind} sandbox of {label}"
            for kind in (self.bubblewrap, self.docker)
            for label in kind.sweep(is_alive)
        ]

    @property
    def scanners(self) -> tuple[Scanner, ...]:
        return (
            self.kingfisher,
            self.gitleaks,
            self.ruff,
            self.bandit,
            self.semgrep,
            self.zizmor,
            self.squawk,
            self._dependencies,
        )

    @property
    def _dependencies(self) -> Dependencies:
        """The scanner asks the same indexes that packages are installed from."""
        return self.dependencies.model_copy(update={"indexes": self.toolchains.indexes})

    def scanners_for(self, brief: Brief) -> tuple[Scanner, ...]:
        """All of them, with what a brief allows."""
        allowed = (*self.dependencies.may_run_scripts, *brief.may_run_scripts)
        return tuple(
            scanner.model_copy(update={"may_run_scripts": allowed}) if isinstance(scanner, Dependencies) else scanner
            for scanner in self.scanners
        )

    def with_examples(self, examples: tuple[str, ...]) -> Self:
        """This workshop, where the secret scanners pass over what a project lists as examples."""
        if not examples:
            return self
        finders = {
            name: finder.model_copy(update={"examples": (*finder.examples, *examples)})
            for name, finder in (("kingfisher", self.kingfisher), ("gitleaks", self.gitleaks))
        }
        return self.model_copy(update=finders)

    def secrets_in(self, tree: Tree) -> tuple[Finding, ...]:
        """What looks like a secret in a tree, by both secret scanners; what failed is a finding too."""
        return self.spotted(tree).findings

    def spotted(self, tree: Tree) -> Spotted:
        """The same, with the places where they stand, in a form that holds no value."""
        found = [scanner.secrets(tree) for scanner in (self.kingfisher, self.gitleaks)]
        findings = merged(finding for findings, _ in found for finding in findings)
        return Spotted(findings=findings, spots=located(tree, (one for _, secrets in found for one in secrets)))

    @functools.cached_property
    def secret_scanners(self) -> tuple[str, ...]:
        """Who looks for secrets, with versions: what they saw holds for no other."""
        return tuple(f"{scanner.name} {scanner.version()}" for scanner in (self.kingfisher, self.gitleaks))

    def claim_store(self, needed: Iterable[str] = ()) -> str | None:
        """Note in the store that this workshop's ledger refers to it. None if it alone does; else why nothing there
        may be removed for what this ledger says. A store in which something lies and that nobody claimed is not taken
        for that of a ledger which refers to nothing there; `needed`: digests that it refers to. Safe to repeat."""
        mine, claimed = self.ledger.identity(), self.store.claimed()
        if not claimed and not self.store.is_empty() and not any(map(self.store.holds, sorted(needed))):
            return (
                "the ledger refers to nothing that is in the store: an empty or another ledger, or another store. "
                "See `ledger` and `store` of the workshop"
            )
        if mine not in claimed:
            self.store.claim(mine)
        others = [one for one in claimed if one != mine]
        if not others:
            return None
        return (
            f"it also belongs to the ledger {', '.join(others)}, and this one is {mine}: give each workshop with a "
            "ledger of its own a store of its own"
        )

    def target(self, environment: str) -> Target:
        """The target of an environment. Raises InputError for one that nobody set up."""
        try:
            reference = self.targets[environment]
        except KeyError:
            known = ", ".join(sorted(self.targets)) or "none"
            raise InputError(f"no environment {environment!r} in this workshop (known: {known})") from None
        target = cast(Target, _load(reference))
        if target.name != environment:
            raise InputError(f"{reference} runs {target.name!r}, not {environment!r}: name that environment's block")
        if (place := lives_at(target)) and place not in places():
            raise TargetError(f"releases of {environment!r} live on {place}, and this is {machine()}")
        if isinstance(target, ProcessTarget):
            return target.through(self.gateway.root, self._block_document_name or "default")
        if isinstance(target, EcsTarget) and target.repository:
            return target.with_images(functools.partial(_pushed, self, target))
        return target

    def place_of(self, environment: str) -> str | None:
        """Where its releases live, and where alone they are switched; None: any machine reaches them."""
        try:
            return lives_at(_load(self.targets[environment]))
        except (KeyError, InputError):
            return None

    def database(self, environment: str) -> Database | None:
        """The database of an environment, None if none was named. Raises InputError for a name of nothing."""
        reference = self.databases.get(environment)
        if reference is None:
            return None
        database = _load(reference)
        if isinstance(database, SqliteDatabase):  # releases write the file, so what reads it is confined as they are
            return database.confined(confined)
        if not isinstance(database, PostgresDatabase):
            raise InputError(f"{reference} is no database: name a postgres-database or sqlite-database block")
        return database

    def agent(self, reference: str) -> Agent:
        """An agent by kind/name. Raises InputError for one that nobody set up."""
        return cast(Agent, _load(reference))

    def tracker(self, reference: str) -> Tracker:
        """A tracker by kind/name. Raises InputError for one that nobody set up."""
        return cast(Tracker, _load(reference))

    def project(self, name: str) -> ProjectSettings:
        """Settings from a project block. Raises InputError for one that nobody set up."""
        return cast(Project, _load(f"project/{name}")).settings


KINDS: dict[str, type[LockgateBlock]] = {
    "replay": Replay,
    "command": Command,
    "mini-swe": MiniSwe,
    "claude-code": ClaudeCode,
    "codex": Codex,
    "opencode": Opencode,
    "aider": Aider,
    "provider": ModelProvider,
    "secret": Secret,
    "repository-credential": RepositoryCredential,
    "github": GitHub,
    "forgejo": Forgejo,
    "gitlab": GitLab,
    "jira": Jira,
    "linear": Linear,
    "package-index": PackageIndex,
    "memory": Memory,
    "email": Email,
    "pagerduty": PagerDuty,
    "process-target": ProcessTarget,
    "docker-host-target": DockerHostTarget,
    "ecs-target": EcsTarget,
    "command-target": CommandTarget,
    "postgres-database": PostgresDatabase,
    "sqlite-database": SqliteDatabase,
    "swarm-target": SwarmTarget,
    "s3-store": S3Store,
    "local-store": LocalStore,
    "builder": ReleaseBuilder,
    "signing-key": SigningKey,
    "project": Project,
}


def _pushed(shop: Workshop, target: EcsTarget, revision: str, build: ReleaseBuild) -> str:
    """The image of a release, pinned in the target's repository: the one that was built and signed. Safe to repeat."""
    made = shop.ledger.last(*ARTIFACT.at(target.name, revision))
    if made is None:
        raise TargetError(f"the ledger has no artifact of {revision} for {target.name!r}: release it anew")
    artifact = Artifact.model_validate(made.body)
    shop.builder.load_image(artifact, shop.store)
    return target.images(shop.builder.socket).push(f"sha256:{artifact.id}", revision)


def lives_at(target: object) -> str | None:
    """The machine where a target's releases live, see `places`; None: any machine reaches them."""
    return (target.machine or STATION) if isinstance(target, ProcessTarget | DockerHostTarget) else None


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
    """The named workshop, loaded once a process. Raises InputError if there is none."""
    try:
        return Workshop.saved(name)
    except ValueError as err:
        raise InputError(f"there is no workshop block {name!r}: `lockgate up` makes `default`") from err


def workshop_of(brief: Brief) -> Workshop:
    """The workshop that a brief names."""
    return workshop(brief.workshop)
