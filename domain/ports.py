"""What the steps need of the outside world. Each port has one contract suite in tests/contract/."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from domain.brief import Brief
from domain.task import Feedback, Finding, Health, Plan, Release
from domain.value import Value


class TreeEntry(NamedTuple):
    """One file of a tree. `mode` is git's: 0o100644, 0o100755, or 0o120000 (symbolic link, target in `content`)."""

    mode: int
    content: bytes


Tree = dict[str, TreeEntry]
"""POSIX paths relative to the repository root → entries. Only data: nothing in it is ever run outside a sandbox."""


class Completed(Value):
    """One command that ended. `output` is stdout and stderr together, bounded: head and tail are kept."""

    argv: tuple[str, ...]
    exit_code: int
    output: str
    seconds: float
    timed_out: bool = False
    problem: str | None = None
    """Why the platform stopped it (time, disk); None where the command ended by itself."""


class Workspace(Protocol):
    """One open sandbox: a working copy at /work and commands that run in it with no route out."""

    kind: str

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        on_output: Callable[[str], None] | None = None,
    ) -> Completed: ...

    def write(self, path: str, content: bytes) -> None:
        """Write a file of the platform's at an absolute path under /work or /lockgate."""

    def read(self, path: str, max_bytes: int = 10_000_000) -> bytes | None:
        """A regular file under /work or /lockgate; None where there is none, or it is no regular file."""

    def collect(self) -> Tree:
        """Everything under /work, validated. Raises AgentError for what is not a tree git should hold."""

    def close(self) -> None: ...


class Sandbox(Protocol):
    """A kind of sandbox. It refuses to run anything where it cannot isolate it."""

    def open(
        self,
        tree: Tree,
        *,
        label: str,
        toolchain: Path | None = None,
        mounts: Mapping[str, str] | None = None,
    ) -> Workspace:
        """A workspace with `tree` at /work. `mounts`: host path → path inside, read-only."""

    def sweep(self, is_alive: Callable[[str], bool]) -> tuple[str, ...]:
        """Remove workspaces whose opener is gone; returns their labels."""

    def doctor(self) -> str | None:
        """None where it works on this machine, else what is missing and the fix."""


class Toolchains(Protocol):
    """Environments made of wheels alone, cached, mounted read-only."""

    def ensure(self, requirements: Iterable[str], sandbox: Sandbox) -> Path:
        """A virtual environment with `requirements`. Safe to repeat: same lines, same path."""


class Agent(Protocol):
    """A coding agent, driven inside a workspace that the platform opened."""

    @property
    def name(self) -> str: ...

    @property
    def mounts(self) -> Mapping[str, str]:
        """Host path → path in the sandbox, read-only: what the agent's program needs."""

    def plan(self, brief: Brief, workspace: Workspace, feedback: Sequence[Feedback], timeout_s: float) -> Plan: ...

    def edit(
        self,
        brief: Brief,
        plan: Plan,
        attempt: int,
        workspace: Workspace,
        feedback: Sequence[Feedback],
        timeout_s: float,
        on_output: Callable[[str], None] | None = None,
    ) -> Completed: ...


class Forge(Protocol):
    """A place where repositories live. The platform works in a bare repository of its own."""

    def base(self, repository: str, branch: str) -> str:
        """Commit id at the tip. Raises InputError: missing, empty, not a repository, dirty, no such branch."""

    def tree(self, repository: str, commit: str) -> Tree: ...

    def commit(self, repository: str, base: str, tree: Tree, message: str, author: str) -> tuple[str, str]:
        """Make (commit id, tree id) on top of `base`. Same input, same ids: safe to repeat."""

    def diff(self, repository: str, base: str, commit: str) -> str:
        """Unified diff, with no external programs."""

    def changes(self, repository: str, base: str, commit: str) -> tuple[tuple[str, int, int], ...]:
        """(path, added, removed) a file, sorted; binary files count as 0, 0."""

    def merge(self, repository: str, branch: str, base: str, commit: str) -> str | None:
        """Fast-forward `branch` from `base` to `commit`. Returns None when it is there (also if it was before),
        else the commit where the branch stands instead. Safe to repeat."""

    def rebase(self, repository: str, base: str, commit: str, onto: str) -> tuple[str, str] | None:
        """The change from `base` to `commit` on top of `onto`; None where it conflicts."""

    def revert(self, repository: str, branch: str, commit: str, reason: str) -> str:
        """Revert `commit` on `branch`; the revert's commit id. Safe to repeat: one commit is reverted once."""

    def contains(self, repository: str, branch: str, commit: str) -> bool: ...

    def tree_id(self, repository: str, commit: str) -> str: ...

    def message(self, repository: str, commit: str) -> str:
        """The commit's whole message."""


class Target(Protocol):
    """An environment that runs releases. It acts and reports; the steps own the order."""

    def preflight(self) -> str | None:
        """None where a release can be made here, else why not and what to do."""

    def release(self, environment: str, revision: str, previous: str | None, build: "ReleaseBuild") -> Release:
        """Build, migrate, start, probe privately, then shift traffic. Safe to repeat per revision."""

    def observe(self, release: Release, health_path: str) -> Health:
        """Watch the public address until it is clear whether `release` serves and is well."""

    def restore(self, environment: str, revision: str | None) -> tuple[str, ...]:
        """Traffic back to `revision`, observed; timeline lines. None: nothing shall serve. Safe to repeat."""

    def current(self, environment: str) -> str | None:
        """The revision that the public address says it runs, or None."""

    def pointed(self, environment: str) -> str | None:
        """The revision that the traffic goes to, whether or not it answers; None where it goes nowhere."""

    def logs(self, environment: str, revision: str) -> str: ...

    def ensure(self) -> tuple[str, ...]:
        """Proxy and current release run, as after a reboot; what had to be done, as lines. Safe to repeat."""

    def artifact(self, revision: str) -> str | None:
        """Digest of the release as it lies there now, recomputed; None where there is none."""


class ReleaseBuild(NamedTuple):
    """What a release is made of."""

    tree: Tree
    toolchain: Path
    run: str
    health: str
    migrate_up: str | None
    environment: Mapping[str, str]


class Store(Protocol):
    """Bytes by their SHA-256 digest."""

    def put(self, data: bytes) -> str: ...

    def get(self, digest: str) -> bytes:
        """Raises LedgerError where it is missing or its content no longer has that digest."""


class Scanner(Protocol):
    """One tool that reads a tree as data."""

    name: str

    def scan(self, base: Tree, head: Tree, changed: Sequence[str]) -> tuple[Finding, ...]:
        """Findings that are in `head` and not in `base`. A scanner that fails gives a refusing finding."""

    def version(self) -> str: ...

    def doctor(self) -> str | None: ...
