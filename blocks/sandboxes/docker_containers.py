"""The containers of one workspace: what they may, what they see, and how they are named. Makes them, runs nothing.

A runner is a container for one command: its first process waits for the end of its stdin, which is the worker's
connection, so a killed worker takes its runner along. The command comes by exec and goes with the runner: when a PID
namespace loses its first process, the kernel kills all others.
A relay is a container of the base image that holds the network of the runners, which has a loopback device alone, and
brings what they send to 127.0.0.1:3128 to the gateway's socket.
"""

import contextlib
import inspect
import select
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from blocks.host import docker_seccomp, relay
from blocks.host.confine import TMP, Bind
from blocks.host.docker import Engine
from blocks.sandboxes.confinement import EXCHANGE, GATEWAY, HOME, WORK, Caps
from blocks.sandboxes.docker_stream import Stream, open_stream
from blocks.sandboxes.image import PLATFORM_ID
from domain.errors import SandboxError
from domain.ports import RELAY_PORT
from domain.value import digest_of

if TYPE_CHECKING:
    from docker.types import Mount

LABEL = "lockgate.directory"
"""On every container and volume: the directory of its workspace, which says who opened it. Without that directory they
are leftovers."""
_OPEN_FILES = 4096
_NO_RESOLVER = "192.0.2.1"
"""An address that is nobody's (RFC 5737), so that the host's resolvers are not told."""
_RELAY_CAPS = Caps(16, 256 << 20, 1 << 20, 1 << 20)
_START_S = 30.0
_ESCAPED = set(":,\\")
"""Characters that separate in the options of an overlay mount."""


class Spec(NamedTuple):
    """What the runners of a workspace are made of."""

    image: str
    path: str
    """PATH in the image."""
    binds: tuple[Bind, ...]
    uid: int
    gid: int
    caps: Caps
    cpus: float
    runtime: str | None

    @property
    def key(self) -> str:
        """Equal for workspaces whose runners are alike."""
        image, path, binds, *rest = self
        return digest_of([image, path, [[str(bind.source), bind.target] for bind in binds], *rest])[:24]


class RunnerContainer(NamedTuple):
    """A container that waits for its command, and the connection that keeps it alive."""

    container: str
    lifeline: Stream


class WorkspaceContainers:
    """The containers and volumes of the workspace in `directory`."""

    def __init__(self, engine: Engine, directory: Path, spec: Spec, base: str) -> None:
        self.engine = engine
        self.directory = directory
        self.spec = spec
        self._base = base
        self._relay: RunnerContainer | None = None
        self._gateway: Path | None = None
        self.volume = ""

    def mount_work(self, lowers: Sequence[Path]) -> None:
        """Make /work a volume: the directory `work`, over `lowers` (the topmost last) where there are some."""
        work = self.directory / "work"
        if lowers:
            parts = [*reversed(lowers), work, self.directory / "scratch"]
            if any(_ESCAPED & set(str(part)) for part in parts):
                raise SandboxError(f"{self.directory} has a colon, comma or backslash in its path: choose another root")
            below = ":".join(map(str, parts[:-2]))
            options = {"type": "overlay", "device": "overlay"}
            options["o"] = f"lowerdir={below},upperdir={work},workdir={parts[-1]},userxattr"
        else:
            options = {"type": "none", "device": str(work), "o": "bind"}
        self.volume = f"lockgate-{self.directory.name}-{digest_of(str(self.directory))[:12]}"
        with self.engine.errors("make a volume"):
            self.engine.api.create_volume(
                self.volume, driver="local", driver_opts=options, labels={LABEL: str(self.directory)}
            )

    def start_relay(self, gateway: Path) -> None:
        """Start the way out; when this returns, it listens."""
        way = f"127.0.0.1:{RELAY_PORT}={GATEWAY}/gateway.sock"
        program = ["python3", "-I", "-S", "-c", inspect.getsource(relay), way, "--"]
        config = self._host_config("none", _RELAY_CAPS, [_mount(Bind(gateway.absolute(), GATEWAY))])
        self._gateway = gateway.absolute()
        self._relay = self._start(self._make(self._base, [*program, "cat"], config))
        lifeline = self._relay.lifeline
        with self.engine.errors("start the relay"):
            lifeline.send(memoryview(b"\n"))  # its `cat` answers once the relay listens
            ready, _, _ = select.select([lifeline], [], [], _START_S)
            if not ready or lifeline.take() != b"\n":
                raise SandboxError("the relay to the gateway did not start: is the base image whole?")

    def start_runner(self) -> RunnerContainer:
        """A new container for one command."""
        return self._start(self._make_runner(["cat"]))

    def start_waiting(self, seconds: float) -> str:
        """A new container for one command, which needs no process of ours until somebody takes `hold` of it, and ends
        by itself if nobody does within so many seconds."""
        container = self._make_runner(
            ["sh", "-c", f"timeout {max(1, round(seconds))} head -c 1 >/dev/null && exec cat"]
        )
        with self._removed_on_error(container), self.engine.errors("start a container"):
            self.engine.api.start(container)
        return container

    def hold(self, container: str) -> RunnerContainer:
        """Tie a waiting runner to this process. Raises SandboxError if it runs no more."""
        with self.engine.errors("look at a container that waits"):
            if not self.engine.api.inspect_container(container)["State"]["Running"]:
                raise SandboxError("a container that waited has ended")
        runner = RunnerContainer(container, self._attached(container))
        runner.lifeline.send(memoryview(b"\n"))
        return runner

    def remove(self, runner: RunnerContainer) -> None:
        """Kill all that runs in a runner, and remove it. Safe to repeat."""
        runner.lifeline.close()
        self.engine.remove(runner.container)

    def close(self) -> None:
        """Remove the relay, what else is labelled as this workspace's, and the volume. Safe to repeat."""
        if self._relay:
            self.remove(self._relay)
            self._relay = None
        remove_all(self.engine, self.directory)

    def _make_runner(self, argv: list[str]) -> str:
        from docker.types import Mount

        mounts = [
            Mount(WORK, self.volume, type="volume", no_copy=True),  # else /work of the image would be copied there
            _mount(Bind(self.directory / "lockgate", EXCHANGE, True)),
            *map(_mount, self.spec.binds),
        ]
        if self._relay and self._gateway:
            mounts.append(_mount(Bind(self._gateway, GATEWAY)))
            network = f"container:{self._relay.container}"
            return self._make(self.spec.image, argv, self._host_config(network, self.spec.caps, mounts))
        return self._make(self.spec.image, argv, self._host_config("none", self.spec.caps, mounts))

    def _make(self, image: str, argv: list[str], config: dict[str, Any]) -> str:
        with self.engine.errors("make a container"):
            made = self.engine.api.create_container(
                image,
                entrypoint=argv[:1],
                command=argv[1:],
                user=f"{PLATFORM_ID}:{PLATFORM_ID}",
                stdin_open=True,
                hostname="sandbox" if config["NetworkMode"] == "none" else None,
                working_dir="/",
                labels={LABEL: str(self.directory)},
                host_config=config,
            )
        container = str(made["Id"])
        with self._removed_on_error(container):
            if ignored := [line for line in made.get("Warnings") or [] if "swap" not in line]:
                raise SandboxError(f"the engine does not isolate here: {' '.join(ignored)}")
        return container

    def _start(self, container: str) -> RunnerContainer:
        with self._removed_on_error(container):
            runner = RunnerContainer(container, self._attached(container))
            with self.engine.errors("start a container"):
                self.engine.api.start(container)
        return runner

    def _attached(self, container: str) -> Stream:
        return open_stream(self.engine, f"/containers/{container}/attach?stream=1&stdin=1&stdout=1")

    @contextlib.contextmanager
    def _removed_on_error(self, container: str) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.engine.remove(container)
            raise

    def _host_config(self, network: str, caps: Caps, mounts: "list[Mount]") -> dict[str, Any]:
        from docker.types import LogConfig, Ulimit

        own = f"rw,exec,nosuid,nodev,size={caps.tmpfs}"
        config = self.engine.api.create_host_config(
            network_mode=network,
            read_only=True,
            init=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true", f"seccomp={docker_seccomp.profile()}"],
            pids_limit=caps.processes,
            mem_limit=caps.memory,
            memswap_limit=caps.memory,
            nano_cpus=int(self.spec.cpus * 1e9),
            ulimits=[
                Ulimit(name="nofile", soft=_OPEN_FILES, hard=_OPEN_FILES),
                Ulimit(name="core", soft=0, hard=0),
                Ulimit(name="fsize", soft=caps.file, hard=caps.file),
            ],
            tmpfs={
                TMP: f"{own},mode=1777",
                HOME: f"{own},mode=0700,uid={self.spec.uid},gid={self.spec.gid}",
                "/sys": "ro,nosuid,nodev,noexec,size=4k,mode=555",  # the host's hardware is no business of a sandbox
            },
            shm_size=caps.tmpfs,
            mounts=mounts,
            oom_score_adj=1000,  # the first to go when memory runs out
            ipc_mode="private",
            log_config=LogConfig(type="none"),
            runtime=self.spec.runtime,
            dns=[_NO_RESOLVER] if network == "none" else None,
        )
        return {**config, "CgroupnsMode": "private"}


def directories(engine: Engine) -> set[Path]:
    """Directories of the workspaces that have containers or volumes at this engine, of every station."""
    filters = {"label": LABEL}
    with engine.errors("list its containers"):
        found = engine.api.containers(all=True, filters=filters)
        found += engine.api.volumes(filters=filters)["Volumes"] or []
    return {Path(labelled["Labels"][LABEL]) for labelled in found}


def remove_all(engine: Engine, directory: Path) -> None:
    """Remove the containers and volumes of a workspace. Safe to repeat."""
    filters = {"label": f"{LABEL}={directory}"}
    with engine.errors("list its containers"):
        containers = [found["Id"] for found in engine.api.containers(all=True, filters=filters)]
        volumes = [found["Name"] for found in engine.api.volumes(filters=filters)["Volumes"] or []]
    for container in containers:
        engine.remove(container)
    for volume in volumes:
        engine.remove_volume(volume)


def _mount(bind: Bind) -> "Mount":
    from docker.types import Mount

    # not recursive, not shared: a mount made below it on the host later is none of the sandbox's
    return Mount(bind.target, str(bind.source), type="bind", read_only=not bind.writable, propagation="rprivate")
