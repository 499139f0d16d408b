"""Sandboxes in containers of a Docker Engine on this machine: the default where one answers."""

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from blocks.base import LockgateBlock
from blocks.home import home
from blocks.host.confine import Bind
from blocks.host.docker import Engine
from blocks.sandboxes import confinement, docker_containers, docker_pool, hostile, openers
from blocks.sandboxes.confinement import Caps
from blocks.sandboxes.docker_containers import Spec, WorkspaceContainers
from blocks.sandboxes.docker_pool import Pool, TakenRunner
from blocks.sandboxes.docker_workspace import BACKGROUND, DockerWorkspace, furnish, remove
from blocks.sandboxes.image import AGENT_ID, REPOSITORY
from blocks.sandboxes.layers import TreeCache, disk_bytes
from blocks.sandboxes.trees import TreeLimits
from blocks.sandboxes.working_copy import Contents, WorkspaceBounds, refuse_full_disk
from domain.errors import AgentError, InputError, SandboxError
from domain.ports import Egress
from domain.trees import Tree, TreeEntry, check_tree

MB = 1 << 20
_BUILD = "make the base image: lockgate image build"

_LOOK_AROUND = (
    "id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'; "
    "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; unshare --user true 2>/dev/null && echo nested; "
    "touch /lockgate/it && touch /work/it && echo writable; touch /it 2>/dev/null && echo root writable; ls /sys"
)
_SEEN = ["CapEff:" + "0" * 16, "CapBnd:" + "0" * 16, "NoNewPrivs:1", "Seccomp:2", "lo", "writable"]
"""What a command in a sandbox sees of itself after its user id; anything else and nothing is run."""
_SEEN_OF_GVISOR = ["lo", "writable"]
"""Its own kernel answers there; what it says of capabilities and filters is not the host's."""

_OVERLAID: Tree = {path: TreeEntry(0o100644, b"below") for path in ("d/a", "d/b/c", "x", "y")}
_CHANGE = "rm -r d && mkdir d && printf above > d/b && rm x && printf above > y"
_CHANGED: Tree = {path: TreeEntry(0o100644, b"above") for path in ("d/b", "y")}
"""A tree, a change that takes whiteouts and an opaque directory, and what must come out where overlays work."""

_PATIENCE_S = 2.0
"""A first command has the machine to itself for so long, before the next workspace's container is made."""

_proved: dict[str, bool] = {}
"""Settings under which containers are known to isolate; whether overlays work there."""
_proving = threading.Lock()


class Docker(LockgateBlock):
    """Runs each command in a container without a network, without capabilities, and with a file system of its own."""

    _block_type_name = "Lockgate docker sandbox"
    _block_type_slug = "lockgate-docker"
    _description = "Runs agents and tests in containers with no network and no view of the worker's machine."

    kind: ClassVar[str] = "docker"

    root: Path = Field(default_factory=lambda: home() / "containers", description="Directory of open workspaces")
    socket: str | None = Field(None, description="The engine's unix socket; default: $DOCKER_HOST, /run/docker.sock")
    image: str = Field(REPOSITORY, description="Image that commands run in unless the project names one")
    runtime: str | None = Field(None, description="OCI runtime of the engine, such as runsc for gVisor")
    workspace_mb: int = Field(2048, gt=0, description="Disk space of one workspace")
    file_mb: int = Field(512, gt=0, description="Largest file a command may write")
    memory_mb: int = Field(8192, gt=0, description="Memory of one command, all its processes together, without swap")
    cpus: float = Field(2.0, gt=0, description="Processors of one command")
    tmp_mb: int = Field(512, gt=0, description="Size of /tmp, of home and of /dev/shm, which are memory; new each time")
    processes: int = Field(512, gt=0, description="Processes and threads of one command")
    output_kb: int = Field(512, gt=0, description="Output kept of one command; head and tail of longer ones")
    max_files: int = Field(50_000, gt=0, description="New files that a change may have")
    max_file_mb: int = Field(10, gt=0, description="Size of one new or changed file that is collected")
    max_tree_mb: int = Field(200, gt=0, description="Size of all new and changed files that are collected")
    copy_mb: int = Field(8, ge=0, description="Larger trees are not copied, but kept once and shared by workspaces")
    cache_mb: int = Field(4096, ge=0, description="Shared trees that are kept while no workspace uses them")
    min_free_mb: int = Field(64, ge=0, description="Nothing runs while the disk has less space than this")
    warm: int = Field(1, ge=0, le=16, description="Containers that wait for the next workspace of the same make")
    warm_minutes: float = Field(60, gt=0, description="How long they wait")

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
    ) -> DockerWorkspace:
        """A workspace with `tree` at /work. `mounts`: host path → path inside, read-only.

        A root worker's commands run as uid 10001: of toolchain, mounts and egress they reach what everybody may.
        A root worker's large trees are not copied; in them, and over a layer, `mv` copies a directory.
        Raises InputError if `tree` is not one that git should hold or nobody has `image`, SandboxError where
        nothing can be isolated.
        """
        engine = self._engine()
        overlays_work = self._prove(engine)
        is_shared = (layer is not None or disk_bytes(tree) > self.copy_mb * MB) and overlays_work
        spec = self._spec(engine, image or self.image, toolchain, mounts or {})
        return self._open(engine, spec, tree, label, toolchain, egress, layer, is_shared=is_shared, warm=self.warm)

    def sweep(self, is_alive: Callable[[str], bool]) -> tuple[str, ...]:
        """Remove workspaces whose opener is gone and whose label is not alive, their containers and volumes; their
        labels. Containers of any station whose directory is no more go too. Safe to repeat."""
        root = self.root.absolute()
        waiting = docker_pool.waiting(root, self.warm_minutes * 60)
        orphans = {path: label for path, label in openers.orphans(root) if path.name not in waiting}
        try:
            engine = self._engine()
        except SandboxError:
            if orphans:
                raise
            return ()
        swept = []
        for directory, label in orphans.items():
            if label == docker_pool.LABEL or not is_alive(label):
                docker_containers.remove_all(engine, directory)
                remove(directory)
                swept.append(label)
        for directory in docker_containers.directories(engine):
            if _is_gone(directory):
                docker_containers.remove_all(engine, directory)
        return tuple(label for label in swept if label != docker_pool.LABEL)

    def drain(self) -> None:
        """Remove the containers that wait. Safe to repeat."""
        root = self.root.absolute()
        names = docker_pool.waiting(root, float("inf"))
        docker_pool.tear_up(root)
        for name in sorted(names):
            docker_containers.remove_all(self._engine(), root / name)
            remove(root / name)

    def doctor(self) -> str | None:
        """None if commands can be isolated here, else what is missing and the fix."""
        try:
            self._prove(self._engine(), again=True)
        except SandboxError as err:
            return str(err)
        return None

    def _engine(self) -> Engine:
        return Engine.at(self.socket, SandboxError)

    def _spec(self, engine: Engine, image: str, toolchain: Path | None, mounts: Mapping[str, str]) -> Spec:
        binds = confinement.binds_of_toolchain(toolchain.absolute()) if toolchain else []
        binds += [Bind(Path(source).absolute(), target) for source, target in mounts.items()]
        for bind in binds:
            reason = confinement.check_target(bind.target)
            if reason is None and not (bind.source.is_dir() or bind.source.is_file()):
                reason = f"{bind.source} is neither a file nor a directory"
            if reason:
                raise SandboxError(f"cannot be mounted in a sandbox: {reason}")
        uid, gid = _owner() or (os.getuid(), os.getgid())
        caps = Caps(self.processes, self.memory_mb * MB, self.file_mb * MB, self.tmp_mb * MB)
        cpus = min(self.cpus, float(os.cpu_count() or 1))
        image = _image(engine, image)
        return Spec(image, engine.search_path(image), tuple(dict.fromkeys(binds)), uid, gid, caps, cpus, self.runtime)

    def _open(
        self,
        engine: Engine,
        spec: Spec,
        tree: Tree,
        label: str,
        toolchain: Path | None = None,
        egress: Egress | None = None,
        layer: Path | None = None,
        *,
        is_shared: bool = False,
        warm: int = 0,
    ) -> DockerWorkspace:
        if reason := check_tree(tree, known=tree):
            raise InputError(f"the repository's tree cannot be opened in a sandbox: {reason}")
        if sum(len(entry.content) for entry in tree.values()) > self.workspace_mb * MB:
            raise SandboxError(f"the repository's tree is larger than workspace_mb={self.workspace_mb}: raise it")
        for directory in (layer, egress.directory if egress else None):
            if directory is not None and not directory.is_dir():
                raise SandboxError(f"cannot be mounted in a sandbox: {directory} is no directory")
        root = self.root.absolute()
        with hostile.disk_errors(root):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            refuse_full_disk(root, self.min_free_mb * MB)
        pool = Pool(root, spec.key, warm, self.warm_minutes * 60)
        waiting = pool.claim() if warm and not egress and not is_shared else None
        held = TreeCache(root / "trees", self.cache_mb * MB, _owner()).hold(tree) if is_shared else None
        containers = None
        try:
            home_of = waiting.directory if waiting else self._furnished(label)
            containers = WorkspaceContainers(engine, home_of, spec, _image(engine, REPOSITORY))
            if waiting:
                containers.volume = waiting.volume
            contents = Contents(tree, held, layer and layer.absolute(), toolchain, spec.binds, egress)
            workspace = DockerWorkspace(
                home_of, label, self._bounds(spec), contents, containers, _owner(), waiting and waiting.container
            )
        except BaseException:
            with contextlib.suppress(SandboxError):
                if containers:
                    containers.close()
                    remove(containers.directory)
            if held:
                held.release()
            raise
        if warm and not egress and not is_shared:
            BACKGROUND.submit(self._fill, engine, spec, pool, workspace.is_under_way)
        return workspace

    def _furnished(self, label: str) -> Path:
        directory = openers.make(self.root.absolute(), label)
        directory.chmod(0o711)  # the engine's containers are shown parts of it by path
        furnish(directory, _owner())
        return directory

    def _fill(self, engine: Engine, spec: Spec, pool: Pool, after: threading.Event) -> None:
        def make() -> TakenRunner:
            containers = WorkspaceContainers(engine, self._furnished(docker_pool.LABEL), spec, spec.image)
            try:
                containers.mount_work([])
                container = containers.start_waiting(self.warm_minutes * 60)
            except BaseException:
                containers.close()
                remove(containers.directory)
                raise
            return TakenRunner(containers.directory, container, containers.volume)

        after.wait(_PATIENCE_S)
        with contextlib.suppress(SandboxError):  # the next open meets it, and says so
            pool.fill(make)

    def _bounds(self, spec: Spec) -> WorkspaceBounds:
        return WorkspaceBounds(
            caps=spec.caps,
            tree=TreeLimits(self.max_files, self.max_file_mb * MB, self.max_tree_mb * MB),
            disk_bytes=self.workspace_mb * MB,
            disk_files=4 * self.max_files,  # caches and packages that a run leaves are not collected
            free_bytes=self.min_free_mb * MB,
            output_bytes=self.output_kb * 1024,
        )

    def _prove(self, engine: Engine, *, again: bool = False) -> bool:
        """Look around in a container of the base image, once a process; whether overlays work. Raises SandboxError
        unless it is a sandbox, so nothing ever runs without."""
        with hostile.disk_errors(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            key = f"{engine.path} {self.runtime} {os.geteuid()} {os.getpid()} {self.root.stat().st_dev}"
        with _proving:
            if key not in _proved or again:
                spec = self._spec(engine, REPOSITORY, None, {})
                self._look_around(engine, spec)
                _proved[key] = self._overlays_work(engine, spec)
        return _proved[key]

    def _look_around(self, engine: Engine, spec: Spec) -> None:
        workspace = self._open(engine, spec, {}, "self-check")
        try:
            seen = workspace.run(["sh", "-c", _LOOK_AROUND], timeout_s=30).output.split("\n")[:-1]
        finally:
            workspace.close()
        wanted = [str(spec.uid), *(_SEEN if self.runtime is None else _SEEN_OF_GVISOR)]
        if seen != wanted and not (self.runtime and [seen[0], *seen[-2:]] == wanted):
            raise SandboxError(f"containers do not isolate here: one saw {seen}. Is this engine an ordinary one?")

    def _overlays_work(self, engine: Engine, spec: Spec) -> bool:
        if os.geteuid():
            return False  # the kernel leaves files of root's in the scratch directory, which the worker cannot remove
        try:
            workspace = self._open(engine, spec, _OVERLAID, "self-check", is_shared=True)
        except SandboxError:
            return False
        try:
            done = workspace.run(["sh", "-c", _CHANGE], timeout_s=30)
            return done.exit_code == 0 and workspace.collect() == _CHANGED
        except (SandboxError, AgentError):
            return False
        finally:
            workspace.close()


def _owner() -> hostile.Owner | None:
    return (AGENT_ID, AGENT_ID) if os.geteuid() == 0 else None


def _is_gone(directory: Path) -> bool:
    """Whether it is known that a directory is not there: one that may not be looked at is another user's."""
    try:
        directory.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _image(engine: Engine, name: str) -> str:
    """The id of an image, pulled where the engine lacks it. Raises InputError if nobody has it."""
    if found := engine.image(name):
        return str(found["Id"])
    if name.partition(":")[0] == REPOSITORY.partition(":")[0]:
        raise SandboxError(f"the engine has no image {name}: {_BUILD}")
    try:
        with engine.errors(f"pull {name}"):
            engine.api.pull(name)
    except SandboxError as err:
        raise InputError(f"there is no image {name!r} here, and it cannot be pulled: {err}") from err
    if found := engine.image(name):
        return str(found["Id"])
    raise InputError(f"there is no image {name!r}: name one with its tag")
