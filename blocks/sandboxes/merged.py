"""The host's view of an overlay that only sandboxes mount: an upper layer that an agent writes, over layers it cannot.

Whiteouts, opaque directories and what was copied up are read as the kernel means them:
https://docs.kernel.org/filesystems/overlayfs.html. Directories are never renamed across layers there (`userxattr`
mounts follow no redirects), so a path names the same thing in every layer.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from blocks.sandboxes import hostile, trees
from domain.errors import AgentError
from domain.trees import LINK, Tree, shown


class Below:
    """What an upper layer lies on: a tree, and beneath it a harvest's directory, if there is one."""

    def __init__(self, tree: Tree, layer: Path | None) -> None:
        self.tree = tree
        self.layer = layer
        self.directories = trees.directories(tree)

    def get(self, parts: Sequence[str], max_bytes: int) -> bytes | None:
        """The regular file at `parts`, or None. Raises AgentError if it is larger."""
        path = "/".join(parts)
        if (entry := self.tree.get(path)) is not None:
            if entry.mode == LINK:
                return None
            hostile.check_size(len(entry.content), max_bytes, path)
            return entry.content
        if self.layer is None or self._tree_hides(parts):
            return None
        return hostile.get(self.layer, list(parts), max_bytes)

    def has_directory(self, parts: Sequence[str]) -> bool | None:
        """Whether a directory is at `parts`; None if nothing is."""
        path = "/".join(parts)
        if path in self.directories:
            return True
        if path in self.tree:
            return False
        if self.layer is None or self._tree_hides(parts) or not os.path.lexists(self.layer / path):
            return None
        return os.path.isdir(self.layer / path) and not os.path.islink(self.layer / path)

    def _tree_hides(self, parts: Sequence[str]) -> bool:
        return any("/".join(parts[:end]) in self.tree for end in range(1, len(parts)))


def get(upper: Path, parts: Sequence[str], max_bytes: int, below: Below) -> bytes | None:
    """The regular file at `parts` as a sandbox sees it, or None. Raises AgentError if it is larger."""
    if _is_decided(upper, parts):
        return hostile.get(upper, list(parts), max_bytes)
    return below.get(parts, max_bytes)


def _is_decided(upper: Path, parts: Sequence[str]) -> bool:
    """Whether the upper layer alone says what is at `parts`, if anything."""
    with contextlib.ExitStack() as stack, contextlib.suppress(PermissionError):
        fd = hostile.opened(stack, os.open(upper, hostile.DIRECTORY))
        for end, part in enumerate(parts, start=1):
            found = _look(part, fd)
            if found is None:
                return False
            if not stat.S_ISDIR(found.st_mode) or hostile.is_opaque(part, fd) or end == len(parts):
                return True
            fd = hostile.opened(stack, os.open(part, hostile.DIRECTORY, dir_fd=fd))
    return True


def put(upper: Path, parts: Sequence[str], content: bytes, owner: hostile.Owner | None, below: Below) -> None:
    """Write a file at `parts`, in one step, with the directories above it.

    Raises AgentError if the agent put something else in the way, or the layers below have a directory there.
    """
    try:
        _raise_directories(upper, parts, owner, below)
    except OSError as err:
        raise AgentError(f"{shown('/'.join(parts))} cannot be written: {os.strerror(err.errno or 0)}") from err
    hostile.put(upper, list(parts), content, owner)


def _raise_directories(upper: Path, parts: Sequence[str], owner: hostile.Owner | None, below: Below) -> None:
    """Make those directories above `parts` in the upper layer that the layers below have."""
    with contextlib.ExitStack() as stack:
        fd = hostile.opened(stack, os.open(upper, hostile.DIRECTORY))
        for end, part in enumerate(parts, start=1):
            found = _look(part, fd)
            is_last = end == len(parts)
            if found is None:
                beneath = below.has_directory(parts[:end])
                if beneath is not None and beneath is is_last:
                    raise OSError(errno.EISDIR if is_last else errno.ENOTDIR, "")
                if beneath is None or is_last:
                    return
                os.mkdir(part, 0o700, dir_fd=fd)
            elif hostile.is_whiteout(found) and not is_last:
                os.unlink(part, dir_fd=fd)
                os.mkdir(part, 0o700, dir_fd=fd)
            elif is_last or not stat.S_ISDIR(found.st_mode) or hostile.is_opaque(part, fd):
                return
            fd = hostile.opened(stack, os.open(part, hostile.DIRECTORY, dir_fd=fd))
            if found is None or hostile.is_whiteout(found):
                hostile.give(fd, 0o755, owner)
            if found is not None and hostile.is_whiteout(found):
                os.setxattr(fd, hostile.OPAQUE, b"y")
                return


def _look(name: str, fd: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
