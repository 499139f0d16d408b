"""Trees into a directory and out of it again. What comes out is refused unless git may hold it."""

import bisect
import os
import stat
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from blocks.sandboxes import hostile
from domain.errors import AgentError
from domain.trees import FILE, LINK, PROGRAM, Tree, TreeEntry, check_path, check_tree, shown

JUNK = {"__pycache__", ".pytest_cache", ".ruff_cache", ".mypy_cache"}
"""Directories that running tests leaves behind; with `*.pyc`, left out unless the opened tree had them."""

_KINDS = {
    stat.S_IFIFO: "a fifo",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class TreeLimits(NamedTuple):
    """What an agent may add to the tree it was given. What it left as it was is not counted."""

    files: int
    file_bytes: int
    total_bytes: int


def plant(directory: Path, tree: Tree, owner: hostile.Owner | None) -> None:
    """Write a checked tree into `directory`, which is empty and which no agent can reach yet."""
    made = {""}
    for path in sorted(tree, key=lambda path: tree[path].mode == LINK):
        above = ""
        for part in path.split("/")[:-1]:
            above = f"{above}/{part}" if above else part
            if above not in made:
                made.add(above)
                hostile.make_directory(directory / above, owner)
        mode, content = tree[path]
        if mode == LINK:
            os.symlink(content, os.fsencode(directory / path))
            if owner:
                os.chown(directory / path, *owner, follow_symlinks=False)
            continue
        with open(directory / path, "xb", buffering=0) as file:
            while content:
                content = content[file.write(content) :]
            hostile.give(file.fileno(), mode & 0o777, owner)


def directories(tree: Iterable[str]) -> set[str]:
    """Every directory of a tree, by its paths."""
    return {path[:cut] for path in tree for cut in range(len(path)) if path[cut] == "/"}


def collect(
    directory: Path,
    opened: Tree,
    limits: TreeLimits,
    *,
    below: bool = False,
    left_out: Collection[str] = (),
    ignored: Callable[[str, bool], bool] | None = None,
) -> Tree:
    """Everything in `directory` as a tree. Only file, program and link survive: setuid and the like are dropped.

    `below`: `directory` is the upper layer of an overlay whose lower layer is `opened`. `left_out`: paths that are not
    looked at, nor what is below them. Left out too: empty directories, a `.git` at the top, and JUNK and what `ignored`
    (path, is it a directory) says yes to, as far as `opened` has it not. Raises AgentError with path and reason.
    """
    kept = directories(opened)
    tree = dict(opened) if below else {}
    names = sorted(opened) if below else []
    added = added_bytes = 0

    def is_left_out(path: str, is_directory: bool) -> bool:
        if path == ".git" or path in left_out:
            return True
        if path in opened or path in kept:
            return False
        if path.endswith(".pyc") or not JUNK.isdisjoint(path.split("/")):
            return True
        return ignored is not None and ignored(path, is_directory)

    def hide(path: str) -> None:
        for name in names[bisect.bisect_left(names, path) :]:
            if not name.startswith(path):
                break
            tree.pop(name, None)

    for path, fd, entry in hostile.walk(directory, lambda path: not is_left_out(path, True)):
        if is_left_out(path, entry.is_dir(follow_symlinks=False)):
            continue
        info = entry.stat(follow_symlinks=False)
        if below:
            tree.pop(path, None)
            is_whiteout = hostile.is_whiteout(info)
            if is_whiteout or not stat.S_ISDIR(info.st_mode) or hostile.is_opaque(entry.name, fd):
                hide(f"{path}/")
            if is_whiteout:
                continue
        if reason := check_path(path):
            raise AgentError(reason)
        if stat.S_ISDIR(info.st_mode):
            if info.st_mode & 0o500 != 0o500:
                raise AgentError(f"{shown(path)}: the directory cannot be read")
            continue
        before = opened.get(path)
        tree[path] = found = _entry(path, fd, info, max(limits.file_bytes, len(before.content) if before else 0))
        if found == before:
            tree[path] = before
            continue
        added += before is None
        added_bytes += len(found.content)
        if added > limits.files:
            raise AgentError(f"more than {limits.files} new files; the last one seen is {shown(path)}")
        if added_bytes > limits.total_bytes:
            raise AgentError(f"new and changed files are over {limits.total_bytes >> 20} MB together")
    if reason := check_tree(tree, known=opened):
        raise AgentError(reason)
    return tree


def _entry(path: str, fd: int, info: os.stat_result, max_bytes: int) -> TreeEntry:
    name = path.rpartition("/")[2]
    if stat.S_ISLNK(info.st_mode):
        return TreeEntry(LINK, os.fsencode(os.readlink(name, dir_fd=fd)))
    if not stat.S_ISREG(info.st_mode):
        raise AgentError(f"{shown(path)}: {_KINDS.get(stat.S_IFMT(info.st_mode), 'something')} is not a file")
    if info.st_nlink > 1:
        raise AgentError(f"{shown(path)}: a hard link; write a file of its own")
    if not info.st_mode & 0o400:
        raise AgentError(f"{shown(path)}: the file cannot be read")
    file = hostile.open_regular(name, fd)
    try:
        return TreeEntry(PROGRAM if info.st_mode & 0o100 else FILE, hostile.read(file, max_bytes, path))
    finally:
        os.close(file)
