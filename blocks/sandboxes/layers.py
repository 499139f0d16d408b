"""Layers below workspaces: trees that are kept on the host once, by what they hold, and harvests of what setup made."""

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from blocks.sandboxes import hostile, trees
from domain.errors import SandboxError
from domain.trees import Tree, shown

_BLOCK = 4096
"""Least bytes that a file takes on the usual file systems."""


def disk_bytes(tree: Tree) -> int:
    """About what a copy of `tree` takes."""
    return sum(max(_BLOCK, len(entry.content)) for entry in tree.values())


class HeldTree:
    """A tree in the cache that is not pruned until it is released, or its holder is gone."""

    def __init__(self, directory: Path, fd: int) -> None:
        self.directory = directory
        self._fd = fd

    def release(self) -> None:
        """Safe to repeat."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class TreeCache:
    """Copies of trees in `root`, each named by its digest and size, never changed, shared by all workers.

    Who uses one holds a shared lock on its directory. Those that nobody holds go, the least recently used first, when
    all together are over `max_bytes`.
    """

    def __init__(self, root: Path, max_bytes: int, owner: hostile.Owner | None) -> None:
        self.root = root
        self._max_bytes = max_bytes
        self._owner = owner

    def hold(self, tree: Tree) -> HeldTree:
        """The copy of `tree`, made where there is none. Raises SandboxError if the disk is full."""
        path = self.root / f"tree-{_digest(tree)}-{disk_bytes(tree)}"
        with hostile.disk_errors(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._alone():
                if (fd := _lock(path, fcntl.LOCK_SH)) is not None:
                    os.utime(path)
                    return HeldTree(path, fd)
                making = Path(tempfile.mkdtemp(prefix="making-", dir=self.root))
                fd = os.open(making, hostile.DIRECTORY)
                fcntl.flock(fd, fcntl.LOCK_EX)
            try:
                trees.plant(making, tree, self._owner)
                hostile.give(fd, 0o755, self._owner)
                with self._alone():
                    if (other := _lock(path, fcntl.LOCK_SH)) is None:
                        os.rename(making, path)
                        fcntl.flock(fd, fcntl.LOCK_SH)
                    else:  # another worker was faster
                        os.close(fd)
                        fd = other
                    unused = self._unused()
            except BaseException:
                os.close(fd)
                hostile.remove(making)
                raise
            for directory in unused:
                hostile.remove(directory)
        return HeldTree(path, fd)

    def _unused(self) -> list[Path]:
        """What may be removed now; renamed, so that nobody finds it any more."""
        found, kept_bytes = list(self.root.glob("gone-*")), 0
        leftovers = [path for path in self.root.glob("making-*") if _is_free(path)]
        by_use = sorted(self.root.glob("tree-*"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in by_use:
            kept_bytes += int(path.name.rpartition("-")[2])
            if kept_bytes > self._max_bytes and _is_free(path):
                leftovers.append(path)
        for path in leftovers:
            gone = path.with_name(f"gone-{os.urandom(8).hex()}")
            os.rename(path, gone)
            found.append(gone)
        return found

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with open(self.root / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _lock(directory: Path, how: int) -> int | None:
    try:
        fd = os.open(directory, hostile.DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _is_free(directory: Path) -> bool:
    if (fd := _lock(directory, fcntl.LOCK_EX)) is None:
        return False
    os.close(fd)
    return True


def _digest(tree: Tree) -> str:
    digest = hashlib.sha256()
    for path in sorted(tree):
        mode, content = tree[path]
        digest.update(f"{len(path.encode())} {mode} {len(content)} ".encode() + path.encode())
        digest.update(content)
    return digest.hexdigest()


def copy(
    source: Path,
    destination: Path,
    tree: Tree,
    owner: hostile.Owner | None,
    *,
    max_bytes: int,
    max_files: int,
    left_out: Collection[str] = (),
) -> None:
    """Copy what `source` has beside `tree` into `destination`, which is no agent's: plain files, programs, directories
    and symbolic links as they are, nothing else, and no marks of an overlay. `.git` at the top and `left_out` are not
    looked at. Raises SandboxError if it is more than that, AgentError if it cannot be read.
    """
    directories = trees.directories(tree)
    made = {""}
    used = count = 0

    def make(path: str) -> None:
        if path not in made:
            make(path.rpartition("/")[0])
            made.add(path)
            if not (destination / path).is_dir():
                hostile.make_directory(destination / path, owner)

    def is_left_out(path: str) -> bool:
        return path == ".git" or path in left_out or path in tree

    for path, fd, entry in hostile.walk(source, lambda path: not is_left_out(path)):
        if is_left_out(path):
            continue
        info = entry.stat(follow_symlinks=False)
        used, count = used + max(_BLOCK, info.st_size), count + 1
        if used > max_bytes or count > max_files:
            raise SandboxError(
                f"what setup left is over {max_bytes >> 20} MB or {max_files} files (at {shown(path)}): "
                "let it leave less, or raise workspace_mb"
            )
        if stat.S_ISDIR(info.st_mode):
            if path not in directories:
                make(path)
            continue
        if path in directories:
            continue
        make(path.rpartition("/")[0])
        target = destination / path
        if stat.S_ISLNK(info.st_mode):
            os.symlink(os.readlink(entry.name, dir_fd=fd), target)
            if owner:
                os.chown(target, *owner, follow_symlinks=False)
        elif stat.S_ISREG(info.st_mode):
            file = hostile.open_regular(entry.name, fd)
            with open(file, "rb") as old, open(target, "xb") as new:
                shutil.copyfileobj(old, new, 1 << 20)
                hostile.give(new.fileno(), 0o755 if info.st_mode & 0o100 else 0o644, owner)


def roots(layer: Path, tree: Tree) -> set[str]:
    """The topmost paths of a harvest that `tree` does not have: what a sandbox sees of it, and never collects."""
    directories = trees.directories(tree)
    return {
        path
        for path, _, _ in hostile.walk(layer, lambda path: path in directories)
        if path not in directories and path not in tree
    }
