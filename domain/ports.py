"""What the steps need of the outside world. Each port has one contract suite in tests/contract/."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

from domain.brief import Brief
from domain.health import HealthCheck, Reading
from domain.issues import Issue, IssueComment, IssueEvent, IssueText
from domain.migration import Applied, Migrate, MigrationBudget, Rehearsal, Serves
from domain.pull_request import (
    DeploymentState,
    MergeAnswer,
    Person,
    PullRequest,
    PullReview,
    Status,
    Thread,
)
from domain.rollout import Look, Rollout
from domain.task import Feedback, Finding, Opinion, Plan
from domain.toolchain import BuiltWheel
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
    """Why the platform stopped it (time, disk); None if the command ended by itself."""


class Egress(NamedTuple):
    """A sandbox's only way out: the gateway's listener for it, and what programs inside must know of it.

    `directory` is bound read-only at /run/lockgate: `gateway.sock`, `ca.pem`. Inside, a relay listens on
    127.0.0.1:3128 (RELAY_PORT) and brings every connection to the socket. `environment` has the proxy variables, the
    certificate variables and the placeholders of secrets. `token` stands for every model key.
    """

    directory: Path
    environment: Mapping[str, str]
    token: str


RELAY_PORT = 3128


class Workspace(Protocol):
    """One open sandbox: a working copy at /work and commands that run in it with no route out but its egress."""

    kind: str

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        on_output: Callable[[str], None] | None = None,
        stop: Callable[[], str | None] | None = None,
    ) -> Completed:
        """Run one command at /work to its end. `stop` is asked about twice a second; a reason ends the command."""

    def write(self, path: str, content: bytes) -> None:
        """Write a file of the platform's at an absolute path under /work or /lockgate."""

    def read(self, path: str, max_bytes: int = 10_000_000) -> bytes | None:
        """A regular file under /work or /lockgate; None if there is none, or it is no regular file."""

    def collect(self, ignored: Callable[[str, bool], bool] | None = None) -> Tree:
        """Everything under /work but what is new and `ignored` (path, is it a directory), validated.

        Raises AgentError for what is not a tree git should hold.
        """

    def save(self, directory: str, max_bytes: int = 50_000_000) -> bytes | None:
        """A directory under /lockgate as a tar of plain files and directories; None if it is not there, is larger,
        or holds anything else. Data of the agent's: for `restore` in a later sandbox, and for nothing else."""

    def restore(self, directory: str, saved: bytes) -> None:
        """Put what `save` gave back, in a sandbox where the directory does not exist yet."""

    def harvest(self, destination: Path) -> None:
        """What commands added to /work beside the opened tree (packages, builds), as files below `destination`, which
        does not exist yet: a layer for `open`. Data, never run on the host. Raises SandboxError for too much."""

    def close(self) -> None: ...


class Sandbox(Protocol):
    """A kind of sandbox. It refuses to run anything if it cannot isolate it."""

    @property
    def kind(self) -> str:
        """docker or bubblewrap, as evidence says it."""

    def open(
        self,
        tree: Tree,
        *,
        label: str,
        toolchain: Path | None = None,
        mounts: Mapping[str, str] | None = None,
        egress: Egress | None = None,
        layer: Path | None = None,
        image: str | None = None,
    ) -> Workspace:
        """A workspace with `tree` at /work. `mounts`: host path → path inside, read-only.

        `layer`: a harvest, seen at /work under the tree; it is not collected. `image`: for kinds that have images.
        """

    def sweep(self, is_alive: Callable[[str], bool]) -> tuple[str, ...]:
        """Remove workspaces whose opener is gone; returns their labels."""

    def doctor(self) -> str | None:
        """None if it works on this machine, else what is missing and the fix."""


class Toolchains(Protocol):
    """Environments made of published packages alone, cached, mounted read-only. Nothing of them runs on the host."""

    def ensure(
        self,
        requirements: Iterable[str],
        sandbox: Sandbox,
        *,
        dependencies: bool = True,
        python: str | None = None,
        wheels: Mapping[str, bytes] | None = None,
    ) -> Path:
        """A virtual environment with `requirements`, from wheels. Safe to repeat: same lines, same path.

        Lines with hashes are a lock's, and are installed alone; `-c LINE` is a bound. `dependencies=False` installs
        exactly the lines and nothing that they depend on. `wheels`: file name → content of what is installed too.
        """

    def wheel(
        self,
        tree: Tree,
        directory: str,
        sandbox: Sandbox,
        *,
        python: str | None,
        version: str | None,
        may_compute: Collection[str] | None = None,
    ) -> BuiltWheel:
        """The wheel of the project in `directory` of a tree, built in a sandbox without a network. `may_compute`: names
        of packages that its build may ask for beside those that it declares; None: any."""

    def export(
        self, tree: Tree, lock: str, sandbox: Sandbox, *, words: Iterable[str], python: str | None
    ) -> tuple[str, ...]:
        """What a uv.lock wants installed, as requirement lines; `-e DIRECTORY` for projects of the repository."""

    def packages(self, npm: Mapping[str, str]) -> Path:
        """A directory with `node_modules/NAME` for each npm package `NAME@VERSION` → sha512 integrity, unpacked and
        checked; no script of a package is run. Safe to repeat: same packages, same path."""


class Desk(NamedTuple):
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

    def install(self, toolchains: Toolchains, sandbox: Sandbox) -> Mapping[str, str]:
        """Its pinned program, made or found in the cache: host path → path in the sandbox, mounted read-only."""

    def plan(self, desk: Desk, workspace: Workspace) -> Plan:
        """Its plan. Raises AgentError if it has none that can be read."""

    def edit(self, desk: Desk, workspace: Workspace) -> Worked:
        """One try at the change in /work."""

    def review(self, desk: Desk, workspace: Workspace) -> Opinion:
        """What it thinks of a change that another made. Raises AgentError if that cannot be read."""


class Forge(Protocol):
    """A place where repositories live. The platform works in a bare repository of its own."""

    def default_branch(self, repository: str) -> str:
        """What is checked out if nobody names a branch. Raises InputError: missing, empty, or none is."""

    def base(self, repository: str, branch: str) -> str:
        """Commit id at the tip. Raises InputError: missing, empty, not a repository, dirty, no such branch."""

    def pack(self, repository: str, base: str, commit: str) -> bytes:
        """What `commit` has beyond `base`, for another machine."""

    def has(self, repository: str, commit: str) -> bool:
        """Whether this machine has the commit."""

    def unpack(self, repository: str, branch: str, base: str, commit: str, pack: bytes) -> None:
        """Take in what `pack` gave elsewhere. Safe to repeat."""

    def tree(self, repository: str, commit: str) -> Tree: ...

    def left_out(self, repository: str, commit: str) -> tuple[str, ...]:
        """What `tree` has not, and why, sorted: submodules, and names or links that are not plain. Commits keep it."""

    def commit(self, repository: str, base: str, tree: Tree, message: str, author: str) -> tuple[str, str]:
        """Make (commit id, tree id) on top of `base`. Same input, same ids: safe to repeat."""

    def diff(self, repository: str, base: str, commit: str) -> str:
        """Unified diff, with no external programs."""

    def changes(self, repository: str, base: str, commit: str) -> tuple[tuple[str, int, int], ...]:
        """(path, added, removed) a file, sorted; binary files count as 0, 0."""

    def merge(
        self, repository: str, branch: str, base: str, commit: str, allowed: Callable[[], object] = bool
    ) -> str | None:
        """Fast-forward `branch` from `base` to `commit`. Returns None when it is there (also if it was before),
        else the commit where the branch stands instead. Safe to repeat. `allowed` is called right before the branch is
        moved: what it raises stops it."""

    def rebase(self, repository: str, base: str, commit: str, onto: str) -> tuple[str, str] | None:
        """The change from `base` to `commit` on top of `onto`; None if it conflicts."""

    def revert(self, repository: str, branch: str, commit: str, reason: str) -> str:
        """Revert `commit` on `branch`; the revert's commit id. Safe to repeat: one commit is reverted once. Raises
        Protected where the branch takes no push."""

    def undo(self, repository: str, branch: str, commit: str, reason: str) -> str:
        """The commit that would revert `commit` on top of `branch`; nothing is pushed."""

    def contains(self, repository: str, branch: str, commit: str) -> bool: ...

    def tree_id(self, repository: str, commit: str) -> str: ...

    def committed_s(self, repository: str, commit: str) -> int:
        """When it was committed, in Unix seconds, as it says itself."""

    def message(self, repository: str, commit: str) -> str:
        """The commit's whole message."""

    def publish(self, repository: str, branch: str, commit: str, ours: Collection[str]) -> str | None:
        """Let `branch` name `commit`, if it is not there or names one of `ours`. None when it does (also if it did
        before), else the commit of somebody else's where it stands. Safe to repeat."""

    def hosted(self, repository: str) -> "HostedForge | None":
        """The hosted forge where the repository lives; None: none is named, and people review at the desk."""


class HostedForge(Protocol):
    """A place where people review and merge: pull requests, statuses, permissions. Beside `Forge`, which moves commits.

    Each verb that writes looks first, so it can be repeated after kill -9 on either side of it. Raises NotYet if the
    forge does not answer, ForgeError where it refuses, InputError where what it was told is wrong.
    """

    @property
    def host(self) -> str:
        """Its name, such as github.com."""

    @property
    def desk_url(self) -> str:
        """The desk as people open it; empty: it is not linked."""

    def is_for(self, repository: str) -> bool:
        """Whether the repository lives here."""

    def me(self, repository: str) -> str:
        """The login that the platform writes as."""

    def propose(self, repository: str, branch: str, base: str, title: str, body: str, *, draft: bool) -> PullRequest:
        """The one open pull request from `branch`, made or brought up to date. `draft`: if it is made. One that was
        closed or merged is given as it is."""

    def pull_request(self, repository: str, number: int) -> PullRequest: ...

    def mark_ready(self, repository: str, pull: PullRequest) -> None:
        """It is no draft any more. Safe to repeat."""

    def ask_reviewers(self, repository: str, number: int, logins: Sequence[str]) -> tuple[str, ...]:
        """Ask these people; those whom the forge does not let review are returned."""

    def report(self, repository: str, commit: str, statuses: Sequence[Status]) -> None:
        """What the gates say of a commit, at lines where the forge lets us. What is said already is not said again."""

    def comment(self, repository: str, number: int, marker: str, body: str) -> None:
        """The one comment of ours with this marker says `body` now."""

    def reviews(self, repository: str, number: int) -> tuple[PullReview, ...]:
        """All of them, the oldest first."""

    def threads(self, repository: str, number: int) -> tuple[Thread, ...]: ...

    def may_write(self, repository: str, person: Person) -> bool:
        """Whether this user, known by id, may write there now."""

    def why_blocked(self, repository: str, number: int, looks: int = 1) -> str | None:
        """Why the forge would not merge it now; None if it would, or where that is asked another way: a base that
        moved, a conflict, a pull request that is over. `looks`: how often, while the forge is still computing it."""

    def forget_token(self, repository: str, token: str | None = None) -> bool:
        """The token that it had was not taken; whether the next call gets a new one."""

    def why_over(self, repository: str) -> str | None:
        """Why nothing can be done there any more: it was archived, renamed or moved; None if it can."""

    def is_answering(self, repository: str) -> bool:
        """Whether it answers at all; with a refusal, too."""

    def merge(self, repository: str, pull: PullRequest, head: str, title: str, message: str) -> MergeAnswer:
        """Merge exactly `head` as one commit on the base branch, by the forge's own rules. Looks whether it is."""

    def announce(
        self, repository: str, commit: str, environment: str, state: DeploymentState, url: str, sentence: str
    ) -> None:
        """How the release of `commit` to `environment` goes. Said once a state."""

    def repository_id(self, repository: str) -> int:
        """Its number, which stays where it is renamed."""

    def moment(self, repository: str) -> datetime:
        """What the forge's clock says. All times that it tells are of that clock."""

    def issues(self, repository: str, label: str, since: datetime) -> tuple[Issue, ...]:
        """Open issues with this label that changed since then, each once, whatever changes meanwhile."""

    def issue(self, repository: str, number: int) -> Issue | None:
        """As it stands now; None: it was deleted or moved elsewhere, or is a pull request."""

    def issue_text(self, repository: str, number: int) -> IssueText:
        """Title and body now, and when the body was edited last."""

    def issue_events(self, repository: str, number: int) -> tuple[IssueEvent, ...]:
        """What happened to it, the oldest first."""

    def issue_comments(self, repository: str, since: datetime) -> tuple[IssueComment, ...]:
        """Comments that were written or edited since then, at issues and pull requests."""


class Watch(Protocol):
    """A window of observation that began when it was made."""

    def look(self) -> Look:
        """What is to be seen now, with the numbers since the window began. Takes a few seconds at most."""

    def close(self) -> None:
        """The window is over."""


class Target(Protocol):
    """An environment that runs releases. It acts and reports; tasks/releasing/engine.py owns order and verdict.

    Each verb looks before it acts, so it can be repeated after kill -9 on either side of it. A string that is returned
    says why the release failed; TargetError is raised where the environment failed, and nothing is known of it.
    """

    name: str
    """The environment."""
    rollout: Rollout

    @property
    def runs_images(self) -> bool:
        """Whether its releases are images of an engine, and not files."""

    @property
    def migrates(self) -> bool:
        """Whether `migrate` can run a project's migration here."""

    @property
    def splits(self) -> bool:
        """Whether a release can be given a part of the traffic. Where not, it gets all of it at once."""

    def under(self, token: int, say: Callable[[str], None]) -> Self:
        """The same target for one holder of the environment's lock. A verb that changes something raises TargetError
        where a newer token has acted (https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html).
        `say` hears what was done, a line each, free of secrets.
        """

    def preflight(self) -> str | None:
        """None if a release can be made here, else why not and what to do."""

    def prepare(self, revision: str, build: "ReleaseBuild") -> str:
        """The release lies there, ready to start; the digest of its artifact. Other releases are not touched."""

    def migrate(self, revision: str) -> str | None:
        """The data that lives in the target itself is at the release's schema, or as it was before and why."""

    def start(self, revision: str) -> str | None:
        """It runs and is healthy and itself in private, without any traffic. If not: why; then it runs no more."""

    def probe(self, revision: str) -> Reading:
        """What the release says of itself when it is asked past the public address, once."""

    def shift(self, revision: str, share: int) -> None:
        """`share` percent of the traffic go to it from the next request on, 1 to 99; the rest stays where it is."""

    def observe(self, revision: str) -> Watch:
        """A window that begins now."""

    def promote(self, revision: str) -> None:
        """All traffic goes to it, and it is the one that `pointed` names."""

    def rollback(self, revision: str | None, when_back: Callable[[], None] | None = None) -> None:
        """All traffic at `revision` and seen there in public; only then are newer releases stopped. None: nothing shall
        serve. Raises TargetError if it is not seen; nothing else was stopped then.

        `when_back` is called as soon as the traffic is back. From then on another run may act on the target: what that
        one touched is left to it.
        """

    def cleanup(self, keep: Collection[str]) -> None:
        """Releases not in `keep` stop; the newest of them stay ready for going back, older ones are removed."""

    def current(self) -> str | None:
        """The revision that the public address says it runs, or None."""

    def pointed(self) -> str | None:
        """The revision that the traffic goes to, whether or not it answers; None if it goes nowhere."""

    def url(self) -> str:
        """The public address."""

    def logs(self, revision: str) -> str:
        """The end of what it printed, without secrets; empty if there is none."""

    def evidence(self, revision: str) -> Mapping[str, Any]:
        """What the failure bundle needs of its process or container: state, exit code, …; JSON, without secrets."""

    def artifact(self, revision: str) -> str | None:
        """Digest of the release as it lies or runs there now, recomputed; None if there is none."""

    def ensure(self) -> tuple[str, ...]:
        """Proxy and current release run, as after a reboot; what had to be done, as lines."""

    def stop(self) -> bool:
        """Everything of it stops; whether anything ran. `ensure` brings back what served."""


class ReleaseBuild(NamedTuple):
    """What a release is made of."""

    tree: Tree
    toolchain: Path
    run: str
    health: HealthCheck
    migrate_up: str | None
    environment: Mapping[str, str]
    previous: str | None
    """Revision that serves when this one comes."""


class Database(Protocol):
    """A target's database: its migrations are rehearsed on copies, then applied."""

    budget: MigrationBudget

    def rehearse(
        self,
        up: Migrate,
        down: Migrate | None,
        serves: Serves,
        *,
        queries: Sequence[str] | None = None,
        stop: Callable[[], None] = ...,
        say: Callable[[str], None] = ...,
    ) -> Rehearsal:
        """Run a migration on copies and measure; `findings_of` says what follows. Nothing is left of the copies.

        `queries`: statements of the running release; None: what the database knows. `stop` ends what works on a copy,
        where that outgrows the budget. Raises DatabaseError if it
        could not be rehearsed.
        """

    def apply(self, up: Migrate, rehearsal: Rehearsal) -> Applied:
        """Run a rehearsed migration on the database itself, every try with a lock timeout. Safe to repeat."""

    def try_on_copy(self, serves: Serves) -> str | None:
        """Try a release on a copy of the database as it is: None if it is well there, else why not."""

    def current_schema(self) -> str:
        """Fingerprint of the schema. Raises DatabaseError if it cannot be read."""

    def sweep(self) -> tuple[str, ...]:
        """Remove copies that nobody works on any more; their names. Safe to repeat."""

    def doctor(self) -> str | None:
        """None if migrations can be rehearsed, else what is missing and the fix."""


class Store(Protocol):
    """Bytes by their SHA-256 digest."""

    def put(self, data: bytes) -> str: ...

    def put_file(self, file: Path) -> str:
        """What a file holds, which need not fit into memory."""

    def get(self, digest: str) -> bytes:
        """Raises LedgerError if it is missing or its content no longer has that digest."""

    def get_file(self, digest: str, file: Path) -> None:
        """Into a file, whole or not at all. Raises LedgerError as `get` does."""

    def prune(self, keep: Collection[str], older_than_s: float) -> tuple[str, ...]:
        """Remove what is not in `keep` and was last put so long ago; the digests. Safe to repeat."""

    def holds(self, digest: str) -> bool:
        """Whether something lies under that digest; its content is not looked at."""

    def is_empty(self) -> bool:
        """Whether nothing was ever put here, or all of it is gone."""

    def claim(self, ledger: str) -> None:
        """Note that the ledger of that identity refers to what is here. Safe to repeat."""

    def claimed(self) -> tuple[str, ...]:
        """Identities of the ledgers that refer to what is here, as they noted it themselves, sorted."""

    def seal(self, name: str, data: bytes) -> None:
        """Keep a checkpoint under its name. What has that name already stays; nothing here ever removes one."""

    def sealed(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of each, the last name in the alphabet first; whoever wrote them. Each is read when it is
        asked for."""

    def doctor(self) -> str | None: ...


class Scanner(Protocol):
    """One tool that reads a tree as data."""

    name: str

    def scan(self, base: Tree, head: Tree, changed: Sequence[str]) -> tuple[Finding, ...]:
        """Findings that are in `head` and not in `base`. A scanner that fails gives a refusing finding."""

    def version(self) -> str: ...

    def doctor(self) -> str | None: ...
