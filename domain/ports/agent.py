"""What a coding agent promises, and the order it is given."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from domain.agent_scope import AgentScope
from domain.brief import Brief
from domain.ports.sandbox import Completed, Sandbox, Toolchains, Workspace
from domain.proposal import Proposal
from domain.task import Feedback, Opinion, Plan


class Assignment(NamedTuple):
    """One piece of an agent's work: what it is asked, with what, and how it is watched."""

    brief: Brief
    prompt: str
    attempt: int = 1
    plan: Plan | None = None
    feedback: Sequence[Feedback] = ()
    model: str | None = None
    """provider/model to use; None for an agent that calls none."""
    model_url: str = ""
    """Base address of that provider as the sandbox sees it, without a version path."""
    token: str = ""
    """Stands for the provider's key."""
    session: bytes | None = None
    """What `Worked.session` was the last time, to go on from."""
    timeout_s: float = 3600
    on_output: Callable[[str], None] | None = None
    """What a person reads while it works, line by line."""
    stop: Callable[[], str | None] | None = None


class Worked(NamedTuple):
    """How a piece of work ended, as the agent tells it. None of it is evidence."""

    completed: Completed
    session: bytes | None = None
    summary: str = ""


class Agent(Protocol):
    """A coding agent, driven inside a workspace that the platform opened."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str:
        """Of its program, as it is pinned; empty if nobody knows."""

    @property
    def model(self) -> str | None:
        """provider/model that it uses unless policy says otherwise; None: it calls no model."""

    @property
    def helper_models(self) -> tuple[str, ...]:
        """Models that its program calls beside: for titles, summaries and the like."""

    @property
    def scope(self) -> AgentScope:
        """What it may be asked for."""

    def install(self, toolchains: Toolchains, sandbox: Sandbox) -> Mapping[str, str]:
        """Its pinned program, made or found in the cache: host path → path in the sandbox, mounted read-only."""

    def plan(self, desk: Assignment, workspace: Workspace) -> Plan:
        """Its plan. Raises AgentError if it has none that can be read."""

    def propose(self, desk: Assignment, workspace: Workspace) -> Proposal:
        """An acceptance test for a brief that has none. Raises AgentError if it has none that can be read."""

    def edit(self, desk: Assignment, workspace: Workspace) -> Worked:
        """One try at the change in /work."""

    def review(self, desk: Assignment, workspace: Workspace) -> Opinion:
        """What it thinks of a change that another made. Raises AgentError if that cannot be read."""
