"""The files of an open sandbox, whatever runs its commands: a directory on the host, read and written as data."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from blocks.host import confine
from blocks.host.confine import Bind
from blocks.sandboxes import archives, confinement, hostile, layers, merged, trees
from blocks.sandboxes.confinement import EXCHANGE, WORK, Caps
from domain.errors import AgentError, SandboxError
from domain.ports import Egress
from domain.trees import Tree, shown


class WorkspaceBounds(NamedTuple):
    """What one workspace may take."""

    caps: Caps
    tree: trees.TreeLimits
    disk_bytes: int
    disk_files: int
    free_bytes: int
    """Nothing runs while the host's disk has less."""
    output_bytes: int


class Contents(NamedTuple):
    """What one workspace is opened with."""

    tree: Tree
    held: layers.HeldTree | None
    """The tree in the cache, as the layer below /work; None: it is copied."""
    layer: Path | None
    toolchain: Path | None
    binds: tuple[Bind, ...]
    egress: Egress | None


class WorkingCopy:
    """A working copy at /work, files to exchange at /lockgate, and the variables that every command finds."""

    def __init__(
        self, directory: Path, bounds: WorkspaceBounds, contents: Contents, owner: hostile.Owner | None, path: str
    ) -> None:
        """`owner`: of the files, if not the worker itself. `path`: the PATH, without the programs of the toolchain."""
        self.directory = directory
        self._tree, self._held, self._layer, toolchain, _, egress = contents
        self._bounds, self._owner = bounds, owner
        self._env = {
            "HOME": confinement.HOME,
            "TMPDIR": confine.TMP,
            "PATH": f"{toolchain}/bin:{path}" if toolchain else path,
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if toolchain:
            self._env["VIRTUAL_ENV"] = str(toolchain)
        if self._layer:
            self._env |= confinement.kept(self._env["PATH"])
        if egress:
            self._env |= egress.environment
        self._below = merged.Below(self._tree, self._layer) if self._held else None
        self._left_out = layers.roots(self._layer, self._tree) if self._layer else set()

    def write(self, path: str, content: bytes) -> None:
        """Write a file under /work or /lockgate. Raises AgentError if the agent put something in its way."""
        top, parts = self._place(path)
        if self._below and top.name == "work":
            merged.put(top, parts, content, self._owner, self._below)
        else:
            hostile.put(top, parts, content, self._owner)

    def read(self, path: str, max_bytes: int = 10_000_000) -> bytes | None:
        """A regular file under /work or /lockgate, or None. Raises AgentError if it is over `max_bytes`."""
        top, parts = self._place(path)
        if self._below and top.name == "work":
            return merged.get(top, parts, max_bytes, self._below)
        return hostile.get(top, parts, max_bytes)

    def collect(self, ignored: Callable[[str, bool], bool] | None = None) -> Tree:
        """Everything under /work but what is new and `ignored` (path, is it a directory), validated.

        Raises AgentError for what is not a tree git should hold.
        """
        work, below = self.directory / "work", self._below is not None
        return trees.collect(work, self._tree, self._bounds.tree, below=below, left_out=self._left_out, ignored=ignored)

    def save(self, directory: str, max_bytes: int = 50_000_000) -> bytes | None:
        """A directory under /lockgate as a tar; None if it is not there, larger, or holds more than plain files."""
        return archives.pack(self.directory / "lockgate", self._exchanged(directory), max_bytes)

    def restore(self, directory: str, saved: bytes) -> None:
        """Put what `save` gave back. Raises AgentError if it is not what `save` gives, or something is there."""
        entries, parts = archives.unpack(saved), self._exchanged(directory)
        with hostile.disk_errors(self.directory):
            made = Path(tempfile.mkdtemp(prefix="restored-", dir=self.directory))
            try:
                archives.plant(made, entries, self._owner)
                hostile.put_directory(self.directory / "lockgate", parts, made, self._owner)
            finally:
                hostile.remove(made)

    def harvest(self, destination: Path) -> None:
        """What commands added to /work beside the opened tree, as files below `destination`, which does not exist yet.

        Raises SandboxError if it takes more than a workspace may.
        """
        with hostile.disk_errors(destination):
            destination.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            made = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
            try:
                self._copy_beside(self.directory / "work", made)
                if self._owner:
                    os.chown(made, *self._owner)
                made.chmod(0o755)
                os.rename(made, destination)
            except BaseException:
                hostile.remove(made)
                raise

    def _lay_out(self) -> list[Path]:
        """Put the tree and the layer where commands find them. The directories that are seen below /work, the topmost
        first; none if both are copied into it."""
        if self._held:
            return [*([self._layer] if self._layer else []), self._held.directory]
        trees.plant(self.directory / "work", self._tree, self._owner)
        if self._layer:
            self._copy_beside(self._layer, self.directory / "work")
        return []

    def _place(self, path: str) -> tuple[Path, list[str]]:
        top, *parts = path.removeprefix("/").split("/")
        if f"/{top}" not in (WORK, EXCHANGE) or not parts or any(part in ("", ".", "..") for part in parts):
            raise SandboxError(f"{shown(path)} is not a plain path under {WORK} or {EXCHANGE}")
        return self.directory / top, parts

    def _exchanged(self, path: str) -> list[str]:
        top, parts = self._place(path)
        if top.name != "lockgate":
            raise SandboxError(f"{shown(path)} is not a directory under {EXCHANGE}")
        return parts

    def _copy_beside(self, source: Path, destination: Path) -> None:
        left_out = self._left_out if source != self._layer else set()
        disk_bytes, disk_files = self._bounds.disk_bytes, self._bounds.disk_files
        try:
            layers.copy(
                source,
                destination,
                self._tree,
                self._owner,
                max_bytes=disk_bytes,
                max_files=disk_files,
                left_out=left_out,
            )
        except AgentError as err:
            raise SandboxError(f"what setup left cannot be kept: {err}") from err

    def _check(self) -> str | None:
        refuse_full_disk(self.directory, self._bounds.free_bytes)
        written = [self.directory / "work", self.directory / "lockgate"]
        return hostile.measure(written, self._bounds.disk_bytes, self._bounds.disk_files)


def refuse_full_disk(directory: Path, free_bytes: int) -> None:
    """Raises SandboxError while the disk of `directory` has less than `free_bytes` or no inode left."""
    with hostile.disk_errors(directory):
        disk = os.statvfs(directory)
    if disk.f_bavail * disk.f_frsize < free_bytes or (disk.f_files and not disk.f_favail):
        raise SandboxError(
            f"the disk is full at {directory}: {free_bytes >> 20} MB must be free. Free some, then resume"
        )
