"""What a place with repositories promises: commits for all, and reviews at those that are hosted."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol, runtime_checkable

from domain.issues import Issue, IssueComment, IssueEvent, IssueText
from domain.pull_request import (
    DeploymentState,
    LineRemark,
    MergeAnswer,
    Person,
    PullRequest,
    PullReview,
    Status,
    Thread,
)
from domain.trees import Tree


class Joined(NamedTuple):
    """A change that was made elsewhere, as one tree on top of base. No tree: `problem` says why, and what to do."""

    tree: Tree | None
    authors: tuple[str, ...] = ()
    """`Name <email>` of its commits, each once, the newest first; merges are left out."""
    problem: str = ""
    tree_id: str = ""
    """What a merge of it would be. A commit of `tree` is another one if git itself would not write it so."""


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

    def files(self, repository: str, commit: str, paths: Collection[str], most_bytes: int) -> Tree:
        """Those of `tree` at `paths`, without larger ones: nothing else is read."""

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

    def source(self, repository: str, change: str) -> str:
        """Commit id at the tip of a change that was made elsewhere: a branch, or `refs/pull/NUMBER/head`. It is brought
        here as data. Raises InputError, with the branches that there are, if it is not there."""

    def stands(self, repository: str, change: str) -> str | None:
        """The same, asked without bringing it here; None: it is not there."""

    def join(self, repository: str, base: str, source: str) -> Joined:
        """What `source` is on top of `base`, from where the two parted."""

    def author(self, repository: str, commit: str) -> str:
        """`Name <email>` of who wrote the commit."""

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

    def me(self, repository: str, /) -> str:
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

    def scan_results(self, repository: str, commit: str, ref: str, sarif: bytes) -> str | None:
        """Findings of a commit for the forge's own list of them: why it takes none; None: it took them, or there is no
        such list. `ref`: where the commit stands, whole. Safe to repeat: the newest of a commit stand."""

    def comment(self, repository: str, number: int, marker: str, body: str, /, *, is_issue: bool = False) -> None:
        """The one comment of ours with this marker says `body` now. `is_issue`: at an issue, and no pull request."""

    def remark(self, repository: str, number: int, head: str, remarks: Sequence[LineRemark], /) -> None:
        """Remarks at lines of the change, once a head, as a comment that decides nothing. Those at no line of
        the change are told in its summary. Nothing where the forge takes none, the head moved, or none is at a line."""

    def reviews(self, repository: str, number: int) -> tuple[PullReview, ...]:
        """All of them, the oldest first."""

    def threads(self, repository: str, number: int) -> tuple[Thread, ...]: ...

    def may_write(self, repository: str, person: Person) -> bool:
        """Whether this user, known by id, may write there now."""

    def is_protected(self, repository: str, branch: str) -> bool:
        """Whether the repository has a rule of its own for this branch. Raises InputError for one that is not there."""

    def why_blocked(self, repository: str, number: int, looks: int = 1) -> str | None:
        """Why the forge would not merge it now; None if it would, or where that is asked another way: a base that
        moved, a conflict, a pull request that is over. `looks`: how often, while the forge is still computing it."""

    def forget_token(self, repository: str, token: str | None = None) -> bool:
        """The token that it had was not taken; whether the next call gets a new one."""

    def why_over(self, repository: str) -> str | None:
        """Why nothing can be done there any more: it was archived, renamed or moved; None if it can."""

    def is_answering(self, repository: str) -> bool:
        """Whether it answers at all; with a refusal, too."""

    def merge(
        self, repository: str, pull: PullRequest, head: str, title: str, message: str, *, one: bool = False
    ) -> MergeAnswer:
        """Merge exactly `head` as one commit on the base branch, by the forge's own rules. Looks whether it is. `one`:
        it may be several commits, and has to become one."""

    def announce(
        self, repository: str, commit: str, environment: str, state: DeploymentState, url: str, sentence: str
    ) -> None:
        """How the release of `commit` to `environment` goes. Said once a state."""


class Tracker(Protocol):
    """Where people write down what they want: issues of a hosted forge, tickets of a tracker. `at` is a repository's
    address, or a project as PROJECT or PROJECT/PART. Raises as `HostedForge` does."""

    @property
    def host(self) -> str:
        """Its name, such as github.com."""

    @property
    def desk_url(self) -> str:
        """The desk as people open it; empty: it is not linked."""

    def me(self, at: str, /) -> str:
        """The login that the platform writes as."""

    def place_id(self, at: str, /) -> int | str:
        """What stays where it is renamed."""

    def moment(self, at: str, /) -> datetime:
        """What its clock says. All times that it tells are of that clock."""

    def name_of(self, number: int, *, is_pull: bool) -> str:
        """What tells an issue from all other issues and pull requests there: its number, or with a mark before it where
        both are counted apart."""

    def may_ask(self, at: str, person: Person, only: Sequence[str] = (), /) -> bool:
        """Whether this user, known by id, may ask for a run now. `only`: who may, by id; empty: its own rule."""

    def issues(self, at: str, label: str, since: datetime, /) -> tuple[Issue, ...]:
        """Open issues and pull requests with this label that changed since then, each once, whatever else changes."""

    def assigned(self, at: str, login: str, since: datetime, /) -> tuple[Issue, ...]:
        """The same of those that are assigned to this user."""

    def issue(self, at: str, number: int, /, *, is_pull: bool = False) -> Issue | None:
        """As it stands now; None: it was deleted or moved elsewhere. `is_pull` where both are counted apart."""

    def issue_text(self, at: str, number: int, /, *, is_pull: bool = False) -> IssueText:
        """Title and body now, and when the body was edited last."""

    def issue_events(self, at: str, number: int, /, *, is_pull: bool = False) -> tuple[IssueEvent, ...]:
        """What happened to it, the oldest first."""

    def issue_comments(self, at: str, since: datetime, /) -> tuple[IssueComment, ...]:
        """Comments that were written or edited since then, at issues and pull requests."""

    def comment(self, at: str, number: int, marker: str, body: str, /, *, is_issue: bool = False) -> None:
        """The one comment of ours with this marker says `body` now. `is_issue`: at an issue, and no pull request."""


@runtime_checkable
class IssueForge(HostedForge, Tracker, Protocol):
    """A hosted forge whose issues become runs."""
