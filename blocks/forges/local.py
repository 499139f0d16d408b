"""The forge that needs no service: any repository that plain git can fetch from and push to."""

import re
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from pydantic import Field

from blocks.base import LockgateBlock
from blocks.forges.checkouts import checked, receive_pack, refuse_uncommitted, upload_pack
from blocks.forges.commits import REVERTS, CommitData, identity, plain
from blocks.forges.credential import RepositoryCredential
from blocks.forges.forgejo import Forgejo
from blocks.forges.git import TooLong, git
from blocks.forges.github import GitHub
from blocks.forges.gitlab import GitLab
from blocks.forges.mirror import MOST_FETCHED, Mirror
from blocks.forges.places import RepositoryPlace, locate
from blocks.home import home
from domain.errors import AgentError, ForgeError, InputError, NotYet, Protected
from domain.ports import Joined
from domain.trees import Tree

T = TypeVar("T")
_TRIES = 5
_NOT_SIGNED = re.compile(r"authentication failed|returned error: 401|could not read (username|password)", re.IGNORECASE)
_PROTECTED = re.compile(r"GH006|GH013|protected branch|through a pull request", re.IGNORECASE)
"""https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/managing-protected-branches"""
_NO_ANSWER = re.compile(
    r"returned error: 5\d\d|could not resolve|failed to connect|couldn't connect|connection (refused|reset|timed out)|"
    r"empty reply|timed out|took longer than|rpc failed|early eof|remote end hung up",
    re.IGNORECASE,
)
"""Git's words if nobody answered, or not to the end."""
HOSTED: dict[str, type[GitHub] | type[GitLab] | type[Forgejo]] = {
    "github": GitHub,
    "gitlab": GitLab,
    "forgejo": Forgejo,
}
"""Blocks of hosted forges by their kind, as `hosts` names them."""
CHECKPOINTS = "refs/lockgate/checkpoints"
"""Of a person's repository: what the platform signed about its ledger. No clone fetches it, and no branch is moved."""


class LocalForge(LockgateBlock):
    """Repositories by path or git URL, each behind a bare mirror that the platform owns.

    A change that a run made is also in the store, so that another machine can go on with it.
    """

    _block_type_name = "Lockgate Local Forge"
    _block_type_slug = "lockgate-local-forge"
    _description = "Repositories by path or git URL, read and written with plain git."

    root: Path = Field(default_factory=lambda: home() / "forge", description="Where the mirrors are kept")
    credentials: tuple[str, ...] = Field(
        (), description="Names of repository-credential blocks; each is used at the URLs that it says, and nowhere else"
    )
    hosts: tuple[str, ...] = Field(
        (),
        description="Blocks of hosted forges: the name of a github block, or KIND/NAME, as forgejo/acme. Repositories "
        "below their URL get pull requests, are reviewed and merged there, and git signs in with their token",
    )
    author_name: str = Field("Lockgate", description="Committer of the platform's commits")
    author_email: str = Field("lockgate@localhost", description="The committer's e-mail address")
    git_timeout_s: float = Field(300, gt=0, description="Longest time for one git command, in seconds")

    def pack(self, repository: str, base: str, commit: str) -> bytes:
        """What `commit` has beyond `base`: a change that is nowhere but in this machine's mirror goes elsewhere so."""
        return self._having(repository, base, commit).pack(base, commit)

    def has(self, repository: str, commit: str) -> bool:
        """Whether this machine has the commit. Nobody else is asked."""
        mirror = self._open(repository)[1]
        return mirror.path.is_dir() and mirror.has(commit)

    def unpack(self, repository: str, branch: str, base: str, commit: str, pack: bytes) -> None:
        """Take in what `pack` gave on another machine. Safe to repeat. Raises ForgeError if it does not fit."""
        place, mirror = self._open(repository)
        if not mirror.path.is_dir() or not mirror.has(base):
            self._fetch(place, mirror, branch)  # with it comes base, which a server need not give by its id
        self._need(place, mirror, base)
        with mirror.locked():
            mirror.unpack(base, commit, pack)

    def default_branch(self, repository: str) -> str:
        """What HEAD names: in a work tree, the branch that is checked out. Raises InputError: none, or empty."""
        place = locate(repository)
        if place.directory:
            checked(place.directory)
        try:
            lines = self._list(place, "--symref", "HEAD")
        except InputError as err:
            raise _unreadable(place, err) from err
        for line in lines:
            if found := re.fullmatch(r"ref: refs/heads/(.+)\tHEAD", line):
                return found[1]
        if not lines:
            raise InputError(f"{place.label} is empty: commit something first, and name its `branch`")
        raise InputError(f"{place.label} has no default branch (HEAD is detached): name `branch` in the brief")

    def base(self, repository: str, branch: str) -> str:
        """Commit id at the tip. Raises InputError: missing, empty, not a repository, dirty, no such branch."""
        place, mirror = self._open(repository)
        tip = self._fetch(place, mirror, branch)
        with mirror.locked():
            mirror.tidy()
        if place.directory and not (found := checked(place.directory)).is_bare:
            refuse_uncommitted(found, self.git_timeout_s)
        return tip

    def tree(self, repository: str, commit: str) -> Tree:
        """The files of `commit`, exact bytes, without what `left_out` names."""
        return self._having(repository, commit).read_tree(commit)[0]

    def files(self, repository: str, commit: str, paths: Collection[str], most_bytes: int) -> Tree:
        """Those of `tree` at `paths`, without larger ones: nothing else is read."""
        return self._having(repository, commit).read_files(commit, paths, most_bytes)

    def left_out(self, repository: str, commit: str) -> tuple[str, ...]:
        """What `tree` has not, and why, sorted: submodules, and what no step or reviewer could handle. A change on top
        of `commit` keeps it as it is."""
        carried = self._having(repository, commit).read_tree(commit)[1]
        return tuple(carried[path].reason for path in sorted(carried))

    def commit(self, repository: str, base: str, tree: Tree, message: str, author: str) -> tuple[str, str]:
        """Make (commit id, tree id) on top of `base`; what is left out of its tree stays. Same input, same ids.

        `author` is `Name` or `Name <email>`. Raises AgentError: nothing changed, or `tree` is none git should hold.
        """
        mirror = self._having(repository, base)
        parent = mirror.read_commit(base)
        tree_id = mirror.write_tree(tree, mirror.read_tree(base)[1])
        if tree_id == parent.tree:
            raise AgentError("the agent changed nothing")
        name, _, email = author.partition("<")
        who = identity(name, self.author_name, email)
        return self._keep(mirror, tree_id, base, who, plain(message)), tree_id

    def diff(self, repository: str, base: str, commit: str) -> str:
        """Unified diff with renames, with no external programs; bytes that are not UTF-8 are replaced."""
        flags = ("--no-ext-diff", "--no-textconv", "--no-color", "-M")
        ran = self._having(repository, base, commit).git("diff", *flags, base, commit, "--")
        return ran.out.decode("utf-8", "replace")

    def changes(self, repository: str, base: str, commit: str) -> tuple[tuple[str, int, int], ...]:
        """(path, added, removed) a file, sorted; binary files count as 0, 0."""
        flags = ("--no-ext-diff", "--no-textconv", "--no-renames", "--numstat", "-z")
        out = self._having(repository, base, commit).git("diff", *flags, base, commit, "--").out
        rows = [row.split("\t", 2) for row in out.decode("utf-8", "surrogateescape").split("\0")[:-1]]
        return tuple(sorted((path, _count(added), _count(removed)) for added, removed, path in rows))

    def merge(
        self, repository: str, branch: str, base: str, commit: str, allowed: Callable[[], object] = bool
    ) -> str | None:
        """Fast-forward `branch` from `base` to `commit`: None when it is there, else where the branch stands.

        Safe to repeat: the branch is looked at first, and moves only from `base`; `allowed` is called right before, and
        what it raises stops it. Raises ForgeError: the push was
        refused (with the reason that the repository gave), or `commit` is not on top of `base`.
        """
        place, mirror = self._open(repository)
        self._need(place, mirror, base, commit)
        if not mirror.is_ancestor(base, commit):
            raise ForgeError(f"{commit} is not on top of {base}: rebase it first")
        stands = self._stands_elsewhere(place, mirror, branch, commit)
        if stands != base:
            return stands
        allowed()
        refusal = self._push(place, mirror, branch, base, commit)
        if refusal is None:
            return None
        # Refused, or cut off after it was done: what the branch says now is what happened.
        stands = self._stands_elsewhere(place, mirror, branch, commit)
        if stands != base:
            return stands
        raise ForgeError(f"{place.label}: branch {branch} could not be moved to {commit}: {refusal}")

    def rebase(self, repository: str, base: str, commit: str, onto: str) -> tuple[str, str] | None:
        """The change from `base` to `commit` on top of `onto`; None if it conflicts. Same input, same ids."""
        mirror = self._having(repository, base, commit, onto)
        change = mirror.read_commit(commit)
        tree = mirror.merge_trees(mirror.read_commit(base).tree, mirror.read_commit(onto).tree, change.tree)
        if tree is None:
            return None
        return self._keep(mirror, tree, onto, change.author, change.message), tree

    def source(self, repository: str, change: str) -> str:
        """Commit id at the tip of a branch, or of `refs/pull/NUMBER/head`, brought here. Raises InputError: it is not
        there (the branches that there are are named), or brings more than is fetched of anybody's."""
        place, mirror = self._open(repository)
        if not change.startswith("refs/"):
            return self._fetch(place, mirror, change, MOST_FETCHED)
        ref = self._ref(place, change)
        try:
            return self._bring(place, mirror, f"+{ref}", f"refs/remote-pull/{quote(change, safe='')}", MOST_FETCHED)
        except ForgeError as err:
            if "couldn't find remote ref" not in str(err):
                raise
            raise InputError(f"{place.label} has no {ref}: name a pull request that is there, or a branch") from err

    def _ref(self, place: RepositoryPlace, change: str) -> str:
        """What git there calls a change: refs/pull/NUMBER/head is `refs/merge-requests/NUMBER/head` at GitLab."""
        host = None if place.directory or not change.startswith("refs/pull/") else self.hosted(place.address)
        return host.ref_of(int(change.split("/")[2])) if host else change

    def stands(self, repository: str, change: str) -> str | None:
        """The same, asked without bringing it here, for at most 20 seconds; None: it is not there."""
        quick = self.model_copy(update={"git_timeout_s": min(self.git_timeout_s, 20.0)})
        ref = self._ref(locate(repository), change) if change.startswith("refs/") else f"refs/heads/{change}"
        lines = (line.partition("\t") for line in quick._list(locate(repository), "--refs", ref))
        return next((commit for commit, _, name in lines if name == ref), None)

    def join(self, repository: str, base: str, source: str) -> Joined:
        """What `source` changes since it parted from `base`, on top of `base`; or why that is not one tree."""
        return self._having(repository, base, source).join(base, source)

    def author(self, repository: str, commit: str) -> str:
        """`Name <email>` of who wrote the commit; bytes that are not UTF-8 are replaced."""
        return self._having(repository, commit).read_commit(commit).author.decode("utf-8", "replace")

    def revert(self, repository: str, branch: str, commit: str, reason: str) -> str:
        """Revert `commit` on `branch`; the revert's commit id. Safe to repeat: the branch is searched first.

        Raises ForgeError: not on the branch, later commits changed the same lines, or the push was refused; Protected
        where the branch takes none.
        """
        place, mirror = self._open(repository)
        self._need(place, mirror, commit)
        for _ in range(_TRIES):
            tip = self._tip_with(place, mirror, branch, commit)
            done = mirror.find_trailer(commit, tip, REVERTS)
            if done:
                return done
            revert = self._undo(mirror, commit, tip, reason)
            refusal = self._push(place, mirror, branch, tip, revert)
            if refusal is None:
                return revert
            if self._fetch(place, mirror, branch) == tip:
                kind = Protected if _PROTECTED.search(refusal) else ForgeError
                raise kind(f"{place.label}: the revert of {commit} on {branch} was refused: {refusal}")
        raise ForgeError(f"{place.label}: {branch} moved {_TRIES} times while {commit} was reverted: try again")

    def undo(self, repository: str, branch: str, commit: str, reason: str) -> str:
        """The commit that would revert `commit` on top of `branch`; nothing is pushed. Raises as `revert` does."""
        place, mirror = self._open(repository)
        self._need(place, mirror, commit)
        return self._undo(mirror, commit, self._tip_with(place, mirror, branch, commit), reason)

    def _tip_with(self, place: RepositoryPlace, mirror: Mirror, branch: str, commit: str) -> str:
        tip = self._fetch(place, mirror, branch)
        if not mirror.is_ancestor(commit, tip):
            raise ForgeError(f"{place.label}: {commit} is not on branch {branch}, so it cannot be reverted there")
        return tip

    def contains(self, repository: str, branch: str, commit: str) -> bool:
        """Does `branch`, as it stands now, hold `commit`?"""
        place, mirror = self._open(repository)
        tip = self._fetch(place, mirror, branch)
        return mirror.has(commit) and mirror.is_ancestor(commit, tip)

    def tree_id(self, repository: str, commit: str) -> str:
        """Id of the tree of `commit`, submodules included."""
        return self._having(repository, commit).read_commit(commit).tree

    def message(self, repository: str, commit: str) -> str:
        """The commit's whole message; bytes that are not UTF-8 are replaced."""
        return self._having(repository, commit).read_commit(commit).message.decode("utf-8", "replace")

    def committed_s(self, repository: str, commit: str) -> int:
        """When it was committed, in Unix seconds, as it says itself."""
        return self._having(repository, commit).committed_s(commit)

    def publish(self, repository: str, branch: str, commit: str, ours: Collection[str]) -> str | None:
        """Let `branch` name `commit`, if it is not there or names one of `ours`. None when it does (also if it did
        before), else the commit of somebody else's where it stands. Raises ForgeError if the push was refused."""
        place, mirror = self._open(repository)
        self._need(place, mirror, commit)
        ref = f"refs/heads/{branch}"
        for _ in range(2):  # refused, or cut off after it was done: what the branch says is what happened
            tip = next((line.split("\t")[0] for line in self._list(place, "--heads", ref) if line.endswith(ref)), "")
            if tip == commit:
                return None
            if tip and tip not in ours:
                return tip
            refusal = self._push_ref(place, mirror, ref, tip, commit)
            if refusal is None:
                return None
        raise self._trouble(place, f"{place.label}: branch {branch} could not be moved to {commit}: {refusal}")

    def hosted(self, repository: str) -> GitHub | GitLab | Forgejo | None:
        """The first of `hosts` that is for this repository; None: none is, and people review at the desk."""
        for name in self.hosts:
            kind, _, short = name.rpartition("/")
            block = HOSTED.get(kind or "github")
            if block is None:
                raise InputError(f"{name!r} under hosts is no hosted forge: KIND/NAME with {' or '.join(HOSTED)}")
            try:
                host = block.saved(short)
            except ValueError as err:
                said = f"there is no block {kind or 'github'}/{short}, which the forge names under hosts"
                raise InputError(said) from err
            if host.is_for(repository):
                return host
        return None

    def append(self, repository: str, line: str) -> None:
        """Add a line to the repository's ref `refs/lockgate/checkpoints`, as a commit without files on top of what is
        there; no branch moves. Safe to repeat. Raises ForgeError or InputError if the push was refused.
        """
        place, mirror = self._open(repository)
        for _ in range(_TRIES):
            tip = self._checkpoints(place, mirror)
            if tip and mirror.read_commit(tip).message.decode("utf-8", "replace").strip() == line:
                return
            tree = mirror.git("hash-object", "-t", "tree", "-w", "--stdin").out.decode().strip()
            parents = (tip,) if tip else ()
            data = CommitData(tree, parents, self._committer, int(time.time()), f"{line}\n".encode())
            commit = mirror.write_commit(data, self._committer)
            refusal = self._push_ref(place, mirror, CHECKPOINTS, tip or "", commit)
            if refusal is None:
                return
            if self._checkpoints(place, mirror) == tip:
                raise ForgeError(f"{place.label}: {CHECKPOINTS} could not be moved: {refusal}")
        raise ForgeError(f"{place.label}: {CHECKPOINTS} moved {_TRIES} times: the next one is tried again")

    def appended(self, repository: str, limit: int = 10_000) -> tuple[str, ...]:
        """The last lines that were appended, the newest first; whoever wrote them, and of whichever ledger."""
        place, mirror = self._open(repository)
        tip = self._checkpoints(place, mirror)
        if tip is None:
            return ()
        out = mirror.git("log", f"--max-count={limit}", "--format=%B%x00", tip).out.decode("utf-8", "replace")
        return tuple(one.strip() for one in out.split("\0") if one.strip())

    def _checkpoints(self, place: RepositoryPlace, mirror: Mirror) -> str | None:
        try:
            return self._bring(place, mirror, f"+{CHECKPOINTS}", "refs/remote-checkpoints")
        except ForgeError as err:
            if "couldn't find remote ref" not in str(err):
                raise
            return None

    @property
    def _committer(self) -> bytes:
        return identity(self.author_name, "Lockgate", self.author_email)

    def _credential(self, place: RepositoryPlace) -> RepositoryCredential | None:
        """The first of `credentials` that is for this place."""
        if place.directory:
            return None
        for name in self.credentials:
            try:
                credential = RepositoryCredential.saved(name)
            except ValueError as err:
                raise InputError(f"there is no block repository-credential/{name}, which the forge names") from err
            if credential.is_for(place.address):
                return credential
        host = self.hosted(place.address)
        return host.credential(place.address) if host else None

    def _open(self, repository: str) -> tuple[RepositoryPlace, Mirror]:
        place = locate(repository)
        return place, Mirror(self.root.expanduser().absolute() / f"{place.name}.git", self.git_timeout_s)

    def _having(self, repository: str, *commits: str) -> Mirror:
        place, mirror = self._open(repository)
        self._need(place, mirror, *commits)
        return mirror

    def _need(self, place: RepositoryPlace, mirror: Mirror, *commits: str) -> None:
        """Have `commits` in the mirror, where need be from the repository (the mirror may be new or lost)."""
        for commit in commits:
            if mirror.has(commit):
                continue
            try:
                self._bring(place, mirror, commit, f"refs/lockgate/{commit}")
            except ForgeError as err:
                raise ForgeError(
                    f"commit {commit} is neither in {place.label} nor in {mirror.path}: if that directory was lost, "
                    f"start the task again ({err})"
                ) from err

    def _fetch(self, place: RepositoryPlace, mirror: Mirror, branch: str, most_bytes: int | None = None) -> str:
        """The tip of `branch` as it is now."""
        ref = f"refs/heads/{branch}"
        named = branch.isprintable() and git("check-ref-format", ref, expect=(0, 1), timeout_s=self.git_timeout_s)
        if not named or named.code:
            raise InputError(f"{branch!r} cannot be the name of a branch")
        try:
            # Quoted: a branch `a` that was replaced by `a/b` must not stand in its way.
            return self._bring(place, mirror, f"+{ref}", f"refs/remote/{quote(branch, safe='')}", most_bytes)
        except ForgeError as err:
            if "couldn't find remote ref" not in str(err):
                raise
            raise InputError(self._why_no_branch(place, branch)) from err

    def _bring(self, place: RepositoryPlace, mirror: Mirror, what: str, ref: str, most_bytes: int | None = None) -> str:
        upload = _upload_pack(place)
        mirror.ensure()
        try:
            with mirror.locked():
                self._signed(place, lambda key: mirror.fetch(place.address, f"{what}:{ref}", upload, key, most_bytes))
                return mirror.commit_at(ref)
        except InputError as err:
            raise _unreadable(place, err) from err
        except TooLong as err:
            raise InputError(f"{what.lstrip('+')} of {place.label}: {err}") from err
        except ForgeError as err:
            raise self._trouble(place, f"{place.label} could not be read: {err}") from err

    def _why_no_branch(self, place: RepositoryPlace, branch: str) -> str:
        heads = [line.split("\t")[1].removeprefix("refs/heads/") for line in self._list(place, "--heads")]
        if not heads:
            return f"{place.label} is empty: commit something on {branch} first"
        return f"{place.label} has no branch {branch}; it has {', '.join(heads[:10])}: name one of them"

    def _list(self, place: RepositoryPlace, flag: str, *patterns: str) -> list[str]:
        argv = ("ls-remote", flag, *_upload_pack(place), "--", place.address, *patterns)
        try:
            listed = self._signed(
                place, lambda key: git(*argv, as_person=True, credential=key, timeout_s=self.git_timeout_s)
            )
        except ForgeError as err:
            raise self._trouble(place, str(err)) from err
        return listed.out.decode("utf-8", "replace").splitlines()

    def _trouble(self, place: RepositoryPlace, said: str) -> ForgeError:
        """What git said as an error: a hosted forge that did not answer is waited for."""
        is_away = _NO_ANSWER.search(said) and not place.directory and self.hosted(place.address)
        return NotYet(said) if is_away else ForgeError(said)

    def _signed(self, place: RepositoryPlace, act: Callable[[RepositoryCredential | None], T]) -> T:
        """`act` with what opens the place. A GitHub App whose token is not taken any more gets a new one, once."""
        try:
            return act(self._credential(place))
        except (ForgeError, InputError) as err:
            host = None if place.directory else self.hosted(place.address)
            if host is None or not _NOT_SIGNED.search(str(err)) or not host.forget_token(place.address):
                raise
        return act(self._credential(place))

    def _stands_elsewhere(self, place: RepositoryPlace, mirror: Mirror, branch: str, commit: str) -> str | None:
        tip = self._fetch(place, mirror, branch)
        return None if mirror.is_ancestor(commit, tip) else tip

    def _push(self, place: RepositoryPlace, mirror: Mirror, branch: str, expected: str, commit: str) -> str | None:
        """Move `branch` from `expected` to `commit` in one step: None, or why it did not (or may not have) happened."""
        return self._push_ref(place, mirror, f"refs/heads/{branch}", expected, commit)

    def _push_ref(self, place: RepositoryPlace, mirror: Mirror, ref: str, expected: str, commit: str) -> str | None:
        flags = ("--no-verify", "--no-follow-tags", "--no-recurse-submodules", f"--force-with-lease={ref}:{expected}")
        to = receive_pack(checked(place.directory), self.git_timeout_s) if place.directory else ()
        try:
            words = ("push", *flags, *to, "--", place.address, f"{commit}:{ref}")
            self._signed(place, lambda key: mirror.git(*words, as_person=True, credential=key))
        except (ForgeError, InputError) as err:
            return str(err)
        return None

    def _undo(self, mirror: Mirror, commit: str, tip: str, reason: str) -> str:
        undone = mirror.read_commit(commit)
        if len(undone.parents) not in (1, 2):  # the first of two is the branch itself, where a person merged by hand
            raise ForgeError(f"{commit} has {len(undone.parents)} parents; only one with one or two can be reverted")
        before = mirror.read_commit(undone.parents[0])
        tree = mirror.merge_trees(undone.tree, mirror.read_commit(tip).tree, before.tree)
        if tree is None:
            raise ForgeError(
                f"{commit} cannot be reverted on {tip}: later commits changed the same lines. Revert it by hand and "
                f"end the message with the line `{REVERTS}: {commit}`"
            )
        subject = undone.message.decode("utf-8", "replace").partition("\n")[0]
        text = plain(f'Revert "{subject}"\n\n{reason}') + f"\n{REVERTS}: {commit}\n".encode()
        return self._keep(mirror, tree, tip, self._committer, text)

    def _keep(self, mirror: Mirror, tree: str, parent: str, author: bytes, message: bytes) -> str:
        """A commit one second after its parent: the clock has no part in its id."""
        data = CommitData(tree, (parent,), author, mirror.read_commit(parent).date + 1, message)
        commit = mirror.write_commit(data, self._committer)
        mirror.keep(commit)
        return commit


def _unreadable(place: RepositoryPlace, err: InputError) -> InputError:
    return InputError(f"{place.label} cannot be read: check the address, and what the worker may read ({err})")


def _upload_pack(place: RepositoryPlace) -> tuple[str, ...]:
    return upload_pack(checked(place.directory)) if place.directory else ()


def _count(number: str) -> int:
    return 0 if number == "-" else int(number)
