"""Sandboxes by bubblewrap: no daemon, no image, about 50 ms a command."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import Field

from blocks.base import LockgateBlock
from blocks.home import home
from blocks.sandboxes import confinement, hostile, openers
from blocks.sandboxes.confinement import Bind, Caps
from blocks.sandboxes.trees import Limits
from blocks.sandboxes.workspace import Bounds, BubblewrapWorkspace, refuse_full_disk
from domain.errors import InputError, SandboxError
from domain.ports import Tree
from domain.trees import check_tree

MB = 1 << 20
_PROGRAMS = ("sh", "prlimit", "unshare", "mount", "setpriv", "env")
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

_proved: set[int] = set()


class Bubblewrap(LockgateBlock):
    """Runs commands in namespaces of their own, with no network. Refuses where this machine cannot isolate them."""

    _block_type_name = "Lockgate bubblewrap sandbox"
    _block_type_slug = "lockgate-bubblewrap"
    _description = "Runs agents and tests on the worker's machine with no network and no view of its files."

    root: Path = Field(default_factory=lambda: home() / "sandboxes", description="Directory of open workspaces")
    workspace_mb: int = Field(2048, gt=0, description="Disk space of one workspace")
    file_mb: int = Field(512, gt=0, description="Largest file a command may write")
    memory_mb: int = Field(8192, gt=0, description="Address space of one process; programs on Node need 65536")
    tmp_mb: int = Field(512, gt=0, description="Size of /tmp and of /dev/shm, which are memory; new for every command")
    processes: int = Field(256, gt=0, description="Processes and threads of one command")
    output_kb: int = Field(512, gt=0, description="Output kept of one command; head and tail of longer ones")
    max_files: int = Field(50_000, gt=0, description="New files that a change may have")
    max_file_mb: int = Field(10, gt=0, description="Size of one new or changed file that is collected")
    max_tree_mb: int = Field(200, gt=0, description="Size of all new and changed files that are collected")
    min_free_mb: int = Field(64, ge=0, description="Nothing runs while the disk has less space than this")

    def open(
        self, tree: Tree, *, label: str, toolchain: Path | None = None, mounts: Mapping[str, str] | None = None
    ) -> BubblewrapWorkspace:
        """A workspace with `tree` at /work. `mounts`: host path → path inside, read-only.

        A root worker's commands run as nobody: of toolchain and mounts they read what everybody may read.
        Raises InputError where `tree` is not one that git should hold, SandboxError where nothing can be isolated.
        """
        if os.geteuid() not in _proved:
            self._prove()
        return self._open(tree, label, toolchain, mounts or {})

    def sweep(self, is_alive: Callable[[str], bool]) -> tuple[str, ...]:
        """Remove workspaces whose opener is gone and whose label is not alive; their labels. Safe to repeat."""
        swept = []
        for directory in sorted(self.root.glob("ws-*")):
            label = openers.orphan(directory)
            if label is not None and not is_alive(label):
                with hostile.disk_errors(directory):
                    hostile.remove(directory)
                swept.append(label)
        return tuple(swept)

    def doctor(self) -> str | None:
        """None where commands can be isolated here, else what is missing and the fix."""
        try:
            self._prove()
        except SandboxError as err:
            return str(err)
        return None

    def _open(self, tree: Tree, label: str, toolchain: Path | None, mounts: Mapping[str, str]) -> BubblewrapWorkspace:
        if reason := check_tree(tree, known=tree):
            raise InputError(f"the repository's tree cannot be opened in a sandbox: {reason}")
        if sum(len(entry.content) for entry in tree.values()) > self.workspace_mb * MB:
            raise SandboxError(f"the repository's tree is larger than workspace_mb={self.workspace_mb}: raise it")
        binds = confinement.binds_of_toolchain(toolchain.absolute()) if toolchain else []
        binds += [Bind(Path(source).absolute(), target) for source, target in mounts.items()]
        for bind in binds:
            reason = confinement.check_target(bind.target)
            if reason is None and not bind.source.exists():
                reason = f"{bind.source} does not exist"
            if reason:
                raise SandboxError(f"cannot be mounted in a sandbox: {reason}")
        with hostile.disk_errors(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            refuse_full_disk(self.root, self.min_free_mb * MB)
            directory = Path(tempfile.mkdtemp(prefix="ws-", dir=self.root.absolute()))
            try:
                return BubblewrapWorkspace(directory, tree, label, self._bounds(), toolchain, binds)
            except BaseException:
                hostile.remove(directory)
                raise

    def _bounds(self) -> Bounds:
        return Bounds(
            caps=Caps(self.processes, self.memory_mb * MB, self.file_mb * MB, self.tmp_mb * MB),
            tree=Limits(self.max_files, self.max_file_mb * MB, self.max_tree_mb * MB),
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
        workspace = self._open({}, "self-check", None, {})
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
