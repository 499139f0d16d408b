"""How the containers of a release are made: what they may, what they see, how they are named and found.

They run as a user without any capability, on a root file system that is read-only, in a network of their environment.
The service is reached at a port of this machine's loopback, which the engine publishes: it is fixed when the container
is made, so it outlives the container's restarts and the engine's, where an address of its own would not.
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from blocks.host import docker_seccomp
from blocks.host.confine import Bind
from blocks.host.docker import Engine
from blocks.host.processes import RELEASE_UID
from blocks.targets.machine import sealed
from blocks.targets.machine.confinement import APP, DATA, ConfinedEnd

if TYPE_CHECKING:
    from docker.types import Mount as EngineMount

MB = 1 << 20
LABEL = "lockgate.release"
"""On the service's container: the mark of its release's directory, by which it is found."""
TASK = "lockgate.task"
"""The same on containers that run one command."""
NETWORK = "lockgate.network"
TMP = "/tmp"  # noqa: S108  # of the container alone
PORT = 8000
"""What a service listens on inside."""
_LOG = {"max-size": "5m", "max-file": "2"}
_SHOWN_BYTES = 64_000
_TAKEN = ("port is already allocated", "address already in use")

_SERVE = f""". {sealed.INSIDE}
/bin/sh -c "$1" &
service=$!
stop() {{
    while read -r name value; do [ "$name" = SigCgt: ] && caught=$value; done </proc/$service/status
    read -r below </proc/$service/task/$service/children
    if [ -n "$below" ] && [ $((0x$caught >> 14 & 1)) = 0 ]; then kill -TERM $below; else kill -TERM $service; fi
}}
trap 'told=1; stop' TERM
wait $service; code=$?
while [ "$told" ]; do told=; wait $service; last=$?; [ $last = 127 ] || code=$last; done
exit $code
"""
"""Runs a service, and hands SIGTERM on to whom it is for: a shell that only waits would die of it and hand none on."""
_TIED = f"""exec 3<&0 </dev/null
(cat <&3 >/dev/null 2>&1; kill -KILL -1) &
exec 3<&-
. {sealed.INSIDE}
"$@"
"""
"""Runs one command; at the end of its stdin, which is the worker's connection, all of it is killed."""


class ContainerLimits(NamedTuple):
    """What one container may use."""

    memory_mb: int
    cpus: float
    processes: int
    tmp_mb: int


class PortTaken(Exception):
    """Somebody else has the loopback port that was to be published."""


@dataclass(frozen=True)
class ReleaseContainers:
    """The containers of one release. `mark`: the word of its directory; `labels`: what a person wants to know of it."""

    engine: Engine
    mark: str
    name: str
    labels: Mapping[str, str]
    network: str
    limits: ContainerLimits

    def service(self) -> dict[str, Any] | None:
        """What is known of the service's container, running or not."""
        return next(iter(self.engine.containers(LABEL, self.mark)), None)

    def start(self, image: str, command: str, environment: Mapping[str, str], data: Path, port: int) -> str:
        """A new service behind a loopback port; its container. It is not started again by the engine until `keep`.

        Raises PortTaken; then there is no container.
        """
        import docker.errors

        file = sealed.seal(self.mark, environment, user())
        mounts = [Bind(data, DATA, writable=True), Bind(file, sealed.INSIDE)]
        config = self._host_config(mounts, self._bridge(), {PORT: ("127.0.0.1", port)})
        container = self._create(image, ["/bin/sh", "-c", _SERVE, "release", command], config, LABEL, self.name)
        with self.engine.errors(f"start the container {self.name}"):
            try:
                self.engine.api.start(container)
            except docker.errors.APIError as err:
                self.engine.remove(container)
                if any(word in str(err.explanation) for word in _TAKEN):
                    raise PortTaken from err
                raise
        return container

    def keep(self, container: str) -> None:
        """From now on the engine starts it again when it ends, or when the engine itself was restarted.

        Not `unless-stopped`: an engine that was killed stops what it finds running when it is back, and lets it lie.
        """
        self._policy(container, "always")

    def stop(self, container: str, grace_s: float) -> None:
        """SIGTERM, then SIGKILL after so many seconds; the engine does not start it again. Safe to repeat."""
        self._policy(container, "no")
        self.engine.stop(container, ceil(grace_s))  # the engine knows no parts of seconds

    def run(
        self,
        image: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        mounts: Sequence[Bind],
        *,
        network: bool,
        timeout_s: float,
    ) -> ConfinedEnd:
        """Run one command to its end, in a container of its own; it dies with us, and nothing of it is left."""
        import requests

        self.end_tasks()
        file = sealed.seal(f"{self.mark}-task", environment, user())
        config = self._host_config([*mounts, Bind(file, sealed.INSIDE)], self._bridge() if network else "none")
        name, argv = f"{self.name}-task", ["/bin/sh", "-c", _TIED, "task", *argv]
        container = self._create(image, argv, config, TASK, name, tied=True)
        try:
            with self.engine.errors(f"run the container {name}"):
                api, deadline = self.engine.api, time.monotonic() + timeout_s
                with api.attach_socket(container, params={"stdin": 1, "stream": 1}):
                    self._started_task(container)
                    code: int | None = None
                    while code is None and (left := deadline - time.monotonic()) > 0:
                        try:
                            code = int(api.wait(container, timeout=min(left, 30))["StatusCode"])
                        except (requests.ReadTimeout, requests.ConnectionError) as err:
                            if "timed out" not in str(err):
                                raise
                output = self.engine.tail(container, _SHOWN_BYTES)
        finally:
            self.end_tasks()
        return ConfinedEnd(code, output.decode(errors="replace"))

    def _started_task(self, container: str) -> None:
        self.engine.api.start(container)

    def end_tasks(self) -> None:
        """Remove what a killed worker left of `run`. Safe to repeat."""
        for left in self.engine.containers(TASK, self.mark):
            self.engine.remove(left["Id"])
        sealed.unseal(f"{self.mark}-task")

    def _create(
        self, image: str, argv: list[str], config: dict[str, Any], label: str, name: str, *, tied: bool = False
    ) -> str:
        with self.engine.errors(f"make the container {name}"):
            made = self.engine.api.create_container(
                image,
                entrypoint=argv[:1],
                command=argv[1:],
                name=name,
                user=f"{user()}:{user()}",
                working_dir=APP,
                ports=[] if tied else [PORT],
                stdin_open=tied,
                healthcheck={"test": ["NONE"]},  # an image's own would ask for a health that is not the release's
                labels={**self.labels, label: self.mark},
                host_config=config,
            )
        return str(made["Id"])

    def _policy(self, container: str, name: str) -> None:
        with self.engine.errors("change what becomes of a container that ends"):
            self.engine.api.update_container(container, restart_policy={"Name": name})

    def _bridge(self) -> str:
        return self.engine.network(self.network, NETWORK)

    def _host_config(
        self, mounts: Sequence[Bind], network: str, ports: Mapping[int, tuple[str, int]] | None = None
    ) -> dict[str, Any]:
        from docker.types import LogConfig, Ulimit

        config = self.engine.api.create_host_config(
            network_mode=network,
            port_bindings=ports,
            read_only=True,
            init=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true", f"seccomp={docker_seccomp.profile()}"],
            pids_limit=self.limits.processes,
            mem_limit=self.limits.memory_mb * MB,
            memswap_limit=self.limits.memory_mb * MB,
            nano_cpus=int(min(self.limits.cpus, os.cpu_count() or 1) * 1e9),
            ulimits=[Ulimit(name="core", soft=0, hard=0)],
            tmpfs={TMP: f"rw,exec,nosuid,nodev,size={self.limits.tmp_mb * MB},mode=1777"},
            mounts=[*map(_mount, mounts)],
            ipc_mode="private",
            log_config=LogConfig(type="json-file", config=_LOG),
        )
        return {**config, "CgroupnsMode": "private"}


def user() -> int:
    """What a release runs as: never root, and the one that its data belongs to."""
    return os.geteuid() or RELEASE_UID


def _mount(mount: Bind) -> "EngineMount":
    from docker.types import Mount as EngineMount

    # not shared: a mount made below it on the host later is none of the release's
    return EngineMount(
        mount.target, str(mount.source), type="bind", read_only=not mount.writable, propagation="rprivate"
    )
