"""A person's repository on this machine: what it is, whether its work tree is clean, and how a push reaches it."""

import shlex
from pathlib import Path

from blocks.forges.git import NO_HOOKS, git
from domain.errors import ForgeError, InputError

ANY_OWNER = "git -c 'safe.directory=*'"
"""How git is started at the other end of a local fetch or push, where our own settings do not reach."""


def is_bare(directory: Path, timeout_s: float) -> bool:
    """Has it no work tree? Raises InputError: nothing there, or not the top of a git repository."""
    if not directory.is_dir():
        raise InputError(f"there is no repository at {directory}: check the path, or give a git URL")
    # The ceiling keeps git from taking a repository further up for the one that was named.
    ran = git(
        *("-C", str(directory), "rev-parse", "--is-bare-repository"),
        env={"GIT_CEILING_DIRECTORIES": str(directory.parent)},
        expect=(0, 128),
        timeout_s=timeout_s,
    )
    if ran.code:
        raise InputError(f"{directory} is not a git repository: name its top, or run git init there ({ran.err})")
    return ran.out.strip() == b"true"


def refuse_dirty(directory: Path, timeout_s: float) -> None:
    """Raises InputError that lists the first files which are not committed: the agent would not see them."""
    # As the person: HOME holds what they ignore everywhere. The repository's own configuration is theirs, too.
    flags = ("--porcelain", "--untracked-files=normal", "--ignore-submodules=all")
    ran = git("-C", str(directory), "status", *flags, as_person=True, timeout_s=timeout_s)
    dirty = [line[3:] for line in ran.out.decode("utf-8", "replace").splitlines()]
    if dirty:
        more = f" and {len(dirty) - 5} more" if len(dirty) > 5 else ""
        raise InputError(
            f"{directory} has changes that are not committed ({', '.join(dirty[:5])}{more}): commit or stash"
        )


def receive_pack(directory: Path, timeout_s: float) -> tuple[str, ...]:
    """The push option for `directory`: its work tree, where it has one, follows the branch that is checked out.

    The hooks of a bare repository are the gate that its owner set before pushes, so they run. Those of a work tree do
    not: their directory may lie in the tree (core.hooksPath=.husky), where the pushed change writes. Nor do filters,
    which the pushed .gitattributes would choose.
    """
    if is_bare(directory, timeout_s):
        return (f"--receive-pack={ANY_OWNER} receive-pack",)
    settings = [f"core.hooksPath={NO_HOOKS}", "core.fsmonitor=false", "receive.denyCurrentBranch=updateInstead"]
    listed = git(
        *("-C", str(directory), "config", "--null", "--name-only", "--get-regexp", r"^filter\."),
        expect=(0, 1),
        timeout_s=timeout_s,
    )
    names = {key.rpartition(".")[0] for key in listed.out.decode("utf-8", "surrogateescape").split("\0")[:-1]}
    if any("=" in name for name in names):
        raise ForgeError(
            f"{directory} configures a git filter with '=' in its name, which cannot be turned off: rename it"
        )
    for name in sorted(names):
        settings += [f"{name}.smudge=", f"{name}.clean=", f"{name}.process=", f"{name}.required=false"]
    return (f"--receive-pack={ANY_OWNER} {' '.join(f'-c {shlex.quote(one)}' for one in settings)} receive-pack",)
