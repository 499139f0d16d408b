"""A repository on this machine, by path: whose it is, what it is, what lies in it uncommitted, and how a push gets in.

Whoever can write a repository's configuration, hooks or attributes can have git run programs. So a repository is used
only if it belongs to the worker's own user, as git itself demands; and whatever reads it runs in `reading`: a sandbox
without a network, without a writable file and without a secret. Only a push runs outside, as it does when the owner
pushes by hand.
"""

import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from blocks.forges.git import ENVIRONMENT, NO_HOOKS, git, last_lines, run
from blocks.home import home
from blocks.host import confine
from blocks.host.confine import Bind
from domain.errors import ForgeError, InputError, SandboxError

_PRODUCT = Path(__file__).resolve().parents[2]
_RUN_FROM = ("config", "config.worktree", "hooks")
"""The parts of a git directory that name programs, or are programs."""


class Checkout(NamedTuple):
    """`directory` is what was named; `git_dir` has its HEAD and index, `common_dir` its objects and branches.

    The three are one in a bare repository; the last two are one except in a linked work tree.
    """

    directory: Path
    git_dir: Path
    common_dir: Path

    @property
    def is_bare(self) -> bool:
        return self.directory == self.git_dir


def checked(directory: Path) -> Checkout:
    """What is at `directory`, found out without running git. Safe to repeat.

    Raises InputError: no repository, one that is not ours to use, or one that does not hold all its objects.
    """
    if not directory.is_dir():
        raise InputError(f"there is no repository at {directory}: check the path, or give a git URL")
    _refuse_our_own(directory)
    try:
        found = _find(directory)
        for place in found:
            _refuse_our_own(place)
        _refuse_foreign(found)
        _refuse_incomplete(found)
    except OSError as err:
        raise InputError(f"{directory} cannot be read: {err.strerror} ({err.filename})") from err
    return found


def _refuse_our_own(directory: Path) -> None:
    ours = [_PRODUCT, home().resolve()]
    with suppress(InputError, OSError):
        ours.append(_find(_PRODUCT).common_dir)  # the product may itself be a linked work tree
    if directory.is_relative_to(home().resolve() / "demo"):
        return
    for place in ours:
        if directory.is_relative_to(place) or place.is_relative_to(directory):
            raise InputError(
                f"{directory} is, holds or lies in {place}, which belongs to Lockgate itself: a change could alter "
                "the platform that judges it. Clone the repository to another place and name that"
            )


def _find(directory: Path) -> Checkout:
    git_dir = directory / ".git"
    if git_dir.is_file():  # a linked work tree or a submodule: https://git-scm.com/docs/gitrepository-layout
        line = git_dir.read_text(errors="surrogateescape").strip()
        if not line.startswith("gitdir: "):
            raise InputError(f"{directory} is not a git repository: its .git says no `gitdir:`")
        git_dir = directory / line.removeprefix("gitdir: ")
    elif not git_dir.exists():
        git_dir = directory
    common_dir = git_dir
    if (pointer := git_dir / "commondir").is_file():
        common_dir = git_dir / pointer.read_text(errors="surrogateescape").strip()
    found = Checkout(directory, git_dir.resolve(), common_dir.resolve())
    if not (found.git_dir / "HEAD").exists() or not (found.common_dir / "objects").is_dir():
        raise InputError(f"{directory} is not a git repository: name its top, or run git init there")
    if found.git_dir == found.common_dir not in (directory, directory / ".git"):
        raise InputError(
            f"{directory} keeps its git directory at {found.git_dir} (a submodule, or --separate-git-dir), so git "
            "cannot bring a merged change into its files: name a clone of it"
        )
    return found


def _refuse_foreign(found: Checkout) -> None:
    own = os.geteuid()
    for path in _deciding(found):
        about = path.lstat()
        if about.st_uid != own:
            whose, who = _user(about.st_uid), _user(own)
            raise InputError(
                f"{found.directory}: {path} belongs to the user {whose}, and this worker runs as {who}. What {whose} "
                f"writes there could run programs as {who}, so it is not used. Give the repository's URL (https:// or "
                f"ssh://) instead, or clone it as {who} and name the clone"
            )
        if about.st_mode & stat.S_IWOTH and not stat.S_ISLNK(about.st_mode):
            raise InputError(
                f"{found.directory}: everybody on this machine may write {path}, and so have programs run in the "
                f"worker's name: chmod -R o-w {found.directory}"
            )


def _deciding(found: Checkout) -> Iterator[Path]:
    """What may belong to nobody else, so far as it is there."""
    named = [found.directory, found.directory / ".git", found.git_dir, found.common_dir]
    named += [git_dir / name for name in _RUN_FROM for git_dir in (found.git_dir, found.common_dir)]
    for path in dict.fromkeys(named):
        if os.path.lexists(path):
            yield path
    for hooks in dict.fromkeys((found.git_dir / "hooks", found.common_dir / "hooks")):
        if hooks.is_dir():
            yield from sorted(hooks.iterdir())


def _refuse_incomplete(found: Checkout) -> None:
    objects = found.common_dir / "objects"
    if (objects / "info" / "alternates").exists():
        raise InputError(
            f"{found.directory} borrows objects from another repository (objects/info/alternates): run `git repack -a "
            "-d` in it and remove that file, or name the other repository"
        )
    if next((objects / "pack").glob("*.promisor"), None):
        raise InputError(f"{found.directory} is a partial clone, which lacks objects: give the URL it was cloned from")


def reading(found: Checkout) -> list[str]:
    """The beginning of a command line that runs a program which may only read this repository.

    No network, no user's files, nothing writable but an empty /tmp, no secret; it dies with its caller.
    """
    try:
        start = confine.start()
    except SandboxError as err:
        raise ForgeError(str(err)) from err
    variables = {"PATH": os.defpath, "GIT_PROTOCOL": "version=2", **ENVIRONMENT}
    return [
        *(*start.words, *confine.isolated(is_strict=False)),
        *(word for name, value in variables.items() for word in ("--setenv", name, value)),
        *confine.system((), None),
        *confine.bound(Bind(path, str(path)) for path in dict.fromkeys(found)),
        *confine.closed("/"),
    ]


def upload_pack(found: Checkout) -> tuple[str, ...]:
    """The fetch option: what answers at the other end may only read."""
    return (f"--upload-pack={shlex.join([*reading(found), 'git', 'upload-pack'])}",)


def refuse_uncommitted(found: Checkout, timeout_s: float) -> None:
    """Raises InputError that lists the first tracked files with work that is not committed: the agent would not see it.

    A file that git does not know yet is no reason to refuse.
    """
    inside = [*reading(found), "git", "-C", str(found.directory)]
    listed = run([*inside, *_FILTERS], ENVIRONMENT, b"", timeout_s).out
    settings = ["core.fsmonitor=false", f"core.hooksPath={NO_HOOKS}", *_off(found, listed)]
    flags = ("--porcelain", "-z", "--untracked-files=no", "--ignore-submodules=all", "--no-renames")
    words = [word for one in settings for word in ("-c", one)]
    ran = run([*inside, *words, "status", *flags], ENVIRONMENT, b"", timeout_s)
    if ran.code:
        raise InputError(f"{found.directory}: git status failed there: {ran.err}")
    dirty = [entry[3:].decode("utf-8", "replace") for entry in ran.out.split(b"\0")[:-1]]
    if dirty:
        more = f" and {len(dirty) - 5} more" if len(dirty) > 5 else ""
        names = last_lines(", ".join(dirty[:5]).encode())
        raise InputError(f"{found.directory} has changes that are not committed ({names}{more}): commit or stash")


def receive_pack(found: Checkout, timeout_s: float) -> tuple[str, ...]:
    """The push option: a work tree, where there is one, follows the branch that is checked out.

    The hooks of a bare repository are the gate that its owner set before pushes, so they run. Those of a work tree do
    not: their directory may lie in the tree (core.hooksPath=.husky), where the pushed change writes. Nor do filters,
    which the pushed .gitattributes would choose.
    """
    if found.is_bare:
        return ()
    settings = [
        *(f"core.hooksPath={NO_HOOKS}", "core.fsmonitor=false", "core.alternateRefsCommand=true", "receive.autogc=0"),
        *("submodule.recurse=false", "receive.denyCurrentBranch=updateInstead"),
    ]
    listed = git("-C", str(found.directory), *_FILTERS, expect=(0, 1), timeout_s=timeout_s).out
    settings += _off(found, listed)
    return (f"--receive-pack=git {' '.join(f'-c {shlex.quote(one)}' for one in settings)} receive-pack",)


_FILTERS = ("config", "--null", "--name-only", "--get-regexp", r"^filter\.")


def _off(found: Checkout, listed: bytes) -> list[str]:
    """Settings that turn off the filters in the output of `_FILTERS`."""
    names = {key.rpartition(".")[0] for key in listed.decode("utf-8", "surrogateescape").split("\0")[:-1]}
    if any("=" in name for name in names):
        raise InputError(
            f"{found.directory} configures a git filter with '=' in its name, which cannot be turned off: rename it"
        )
    nothing = ("smudge=", "clean=", "process=", "required=false")
    return [f"{name}.{setting}" for name in sorted(names) for setting in nothing]


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
