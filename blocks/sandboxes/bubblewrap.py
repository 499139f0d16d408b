"""Sandboxes by bubblewrap: no daemon, no image, about 50 ms a command."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from blocks.base import LockgateBlock
from blocks.home import home
from blocks.host.confine import Bind
from blocks.sandboxes import confinement, hostile, openers
from blocks.sandboxes.confinement import NOBODY, Caps
from blocks.sandboxes.layers import TreeCache, disk_bytes
from blocks.sandboxes.trees import TreeLimits
from blocks.sandboxes.working_copy import Contents, WorkspaceBounds, refuse_full_disk
from blocks.sandboxes.workspace import BubblewrapWorkspace
from domain.errors import AgentError, InputError, SandboxError
from domain.ports import Egress
from domain.trees import Tree, TreeEntry, check_tree

MB = 1 << 20
_PROGRAMS = ("sh", "prlimit", "unshare", "mount", "setpriv", "nsenter", "env")
_SEARCH = "/usr/bin:/bin:/usr/sbin:/sbin"

_LOOK_AROUND = (
    "id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'; "
    "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; "
    "unshare --user true 2>/dev/null && echo nested; touch /lockgate/it && touch /work/it && echo writable"
)
_SEEN = ["1000", "CapEff:" + "0" * 16, "CapBnd:" + "0" * 16, "NoNewPrivs:1", "Seccomp:2", "lo", "writable"]
"""What a command in a sandbox sees of itself; anything else and nothing is run."""

_SWITCHES = {
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": ("1", "0"),
    "/proc/sys/kernel/unprivileged_userns_clone": ("0", "1"),
    "/proc/sys/user/max_user_namespaces": ("0", "10000"),
}
"""Switches that forbid user namespaces: file → (value that forbids, value that allows)."""

_OVERLAID: Tree = {path: TreeEntry(0o100644, b"below") for path in ("d/a", "d/b/c", "x", "y")}
_CHANGE = "rm -r d && mkdir d && printf above > d/b && rm x && printf above > y"
_CHANGED: Tree = {path: TreeEntry(0o100644, b"above") for path in ("d/b", "y")}
"""A tree, a change that takes whiteouts and an opaque directory, and what must come out where overlays work."""

_proved: set[int] = set()
_overlays: dict[tuple[int, int], bool] = {}
"""Whether overlays work, by user and by the disk that the upper layer is on."""


class Bubblewrap(LockgateBlock):
    """Runs commands in namespaces of their own, with no network. Refuses where this machine cannot isolate them."""

    _block_type_name = "Lockgate bubblewrap sandbox"
    _block_type_slug = "lockgate-bubblewrap"
    _description = "Runs agents and tests on the worker's machine with no network and no view of its files."

    kind: ClassVar[str] = "bubblewrap"

    root: Path = Field(default_factory=lambda: home() / "sandboxes", description="Directory of open workspaces")
    workspace_mb: int = Field(2048, gt=0, description="Disk space of one workspace")
    file_mb: int = Field(512, gt=0, description="Largest file a command may write")
    memory_mb: int = Field(8192, gt=0, description="Memory of one command, all its processes together")
    tmp_mb: int = Field(512, gt=0, description="Size of /tmp and of /dev/shm, which are memory; new for every command")
    processes: int = Field(256, gt=0, description="Processes and threads of one command")
    output_kb: int = Field(512, gt=0, description="Output kept of one command; head and tail of longer ones")
    max_files: int = Field(50_000, gt=0, description="New files that a change may have")
    max_file_mb: int = Field(10, gt=0, description="Size of one new or changed file that is collected")
    max_tree_mb: int = Field(200, gt=0, description="Size of all new and changed files that are collected")
    copy_mb: int = Field(4, ge=0, description="Larger trees are not copied, but kept once and shared by workspaces")
    cache_mb: int = Field(4096, ge=0, description="Shared trees that are kept while no workspace uses them")
    min_free_mb: int = Field(64, ge=0, description="Nothing runs while the disk has less space than this")

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
    ) -> BubblewrapWorkspace:
        """A workspace with `tree` at /work. `mounts`: host path → path inside, read-only. `image` is for other kinds.

        A root worker's commands run as nobody: of toolchain, mounts and egress they reach what everybody may.
        In a large tree, or over a layer, a directory cannot be renamed in one step: `mv` copies it.
        Raises InputError if `tree` is not one that git should hold, SandboxError if nothing can be isolated.
        """
        if os.geteuid() not in _proved:
            self._prove()
        is_shared = (layer is not None or disk_bytes(tree) > self.copy_mb * MB) and self._overlays_work()
        return self._open(tree, label, toolchain, mounts or {}, egress, layer, is_shared)

    def sweep(self, is_alive: Callable[[str], bool]) -> tuple[str, ...]:
        """Remove workspaces whose opener is gone and whose label is not alive; their labels. Safe to repeat."""
        swept = []
        for directory, label in openers.orphans(self.root):
            if not is_alive(label):
                with hostile.disk_errors(directory):
                    hostile.remove(directory)
                swept.append(label)
        return tuple(swept)

    def doctor(self) -> str | None:
        """None if commands can be isolated here, else what is missing and the fix."""
        try:
            self._prove()
        except SandboxError as err:
            return str(err)
        return None

    def _open(
        self,
        tree: Tree,
        label: str,
        toolchain: Path | None = None,
        mounts: Mapping[str, str] | None = None,
        egress: Egress | None = None,
        layer: Path | None = None,
        is_shared: bool = False,
    ) -> BubblewrapWorkspace:
        if reason := check_tree(tree, known=tree):
            raise InputError(f"the repository's tree cannot be opened in a sandbox: {reason}")
        if sum(len(entry.content) for entry in tree.values()) > self.workspace_mb * MB:
            raise SandboxError(f"the repository's tree is larger than workspace_mb={self.workspace_mb}: raise it")
        binds = confinement.binds_of_toolchain(toolchain.absolute()) if toolchain else []
        binds += [Bind(Path(source).absolute(), target) for source, target in (mounts or {}).items()]
        for bind in binds:
            reason = confinement.check_target(bind.target)
            if reason is None and not bind.source.exists():
                reason = f"{bind.source} does not exist"
            if reason:
                raise SandboxError(f"cannot be mounted in a sandbox: {reason}")
        for directory in (layer, egress.directory if egress else None):
            if directory is not None and not directory.is_dir():
                raise SandboxError(f"cannot be mounted in a sandbox: {directory} is no directory")
        root = self.root.absolute()
        with hostile.disk_errors(root):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            refuse_full_disk(root, self.min_free_mb * MB)
            held = self._cache().hold(tree) if is_shared else None
            directory = None
            try:
                directory = openers.make(root, label)
                contents = Contents(tree, held, layer and layer.absolute(), toolchain, tuple(binds), egress)
                return BubblewrapWorkspace(directory, self._bounds(), contents)
            except BaseException:
                if directory:
                    hostile.remove(directory)
                if held:
                    held.release()
                raise

    def _cache(self) -> TreeCache:
        owner = (NOBODY, NOBODY) if os.geteuid() == 0 else None
        return TreeCache(self.root.absolute() / "trees", self.cache_mb * MB, owner)

    def _overlays_work(self) -> bool:
        """Whether a sandbox's changes of a shared tree come out right on this kernel and disk, tried once a process."""
        with hostile.disk_errors(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            place = (os.geteuid(), self.root.stat().st_dev)
        if place not in _overlays:
            workspace = self._open(_OVERLAID, "self-check", is_shared=True)
            try:
                done = workspace.run(["sh", "-c", _CHANGE], timeout_s=30)
                _overlays[place] = done.exit_code == 0 and workspace.collect() == _CHANGED
            except (SandboxError, AgentError):
                _overlays[place] = False
            finally:
                workspace.close()
        return _overlays[place]

    def _bounds(self) -> WorkspaceBounds:
        return WorkspaceBounds(
            caps=Caps(self.processes, self.memory_mb * MB, self.file_mb * MB, self.tmp_mb * MB),
            tree=TreeLimits(self.max_files, self.max_file_mb * MB, self.max_tree_mb * MB),
            disk_bytes=self.workspace_mb * MB,
            disk_files=4 * self.max_files,  # caches and packages that a run leaves are not collected
            free_bytes=self.min_free_mb * MB,
            output_bytes=self.output_kb * 1024,
        )

    def _prove(self) -> None:
        """Look around in a sandbox. Raises SandboxError unless it is one, so nothing ever runs without."""
        if not sys.platform.startswith("linux"):
            raise SandboxError(f"bubblewrap needs Linux, and this is {sys.platform}: run the worker on Linux")
        if missing := [name for name in _PROGRAMS if not shutil.which(name, path=_SEARCH)]:
            raise SandboxError(f"sandboxes need {', '.join(missing)}: install the packages util-linux and mount")
        workspace = self._open({}, "self-check")
        try:
            seen = workspace.run(["sh", "-c", _LOOK_AROUND], timeout_s=30)
        except SandboxError as err:
            raise SandboxError(f"commands cannot be isolated here: {err}. {_fix()}") from err
        finally:
            workspace.close()
        if seen.output.split() != _SEEN:
            raise SandboxError(f"commands are not isolated here: a sandbox saw {seen.output.split()}. {_fix()}")
        _proved.add(os.geteuid())


def _fix() -> str:
    for file, (forbids, allows) in _SWITCHES.items():
        try:
            value = Path(file).read_text().strip()
        except OSError:
            continue
        if value == forbids:
            name = file.removeprefix("/proc/sys/").replace("/", ".")
            return f"Allow user namespaces: sysctl -w {name}={allows}"
    return (
        "Allow user namespaces and mounts to the worker; in a container, start it with --privileged or with "
        "--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined "
        "--cap-add SYS_ADMIN"
    )
