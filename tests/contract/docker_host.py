"""A Docker Engine that publishes ports, and targets of it: for the tests of docker_host."""

import contextlib
import ctypes
import fcntl
import functools
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from docker.errors import APIError
from prefect.blocks.fields import SecretDict

from blocks.host.docker import Engine
from blocks.sandboxes import image
from blocks.targets.machine.container import ContainerService
from blocks.targets.machine.docker_host import DockerHostTarget
from domain.errors import TargetError
from domain.rollout import Rollout
from kits.servers import free_port
from kits.tiny_service import CANARY, tiny_build, toolchain, tree_of
from tests.engine import engine_socket

__all__ = ["CANARY", "tiny_build", "toolchain", "tree_of"]


@contextmanager
def docker_target(root: Path, engine: str, **fields: Any) -> Iterator[DockerHostTarget]:
    """A target of an engine, with nothing left of it afterwards."""
    settings: dict[str, Any] = {
        "name": "shop",
        "root": root,
        "socket": engine,
        "port": free_port(),
        "environment": {"SHOP": "here"},
        "secrets": SecretDict({"TOKEN": CANARY}),
        "rollout": Rollout(shares=(50,), share_s=0.2, bake_s=0.5, interval_s=0.05, latency_floor_ms=20_000),
        "start_timeout_s": 10,
        "memory_mb": 128,
        "drain_s": 0.6,
    }
    target = DockerHostTarget(**{**settings, **fields})
    try:
        yield target
    finally:
        remove(target)


def remove(target: DockerHostTarget) -> None:
    """Nothing of it is left on this machine, nor at its engine."""
    target.stop()
    for place in target._releases.all():
        target._service(place.revision).forget()
    api = Engine.at(target.socket).api
    own = target._service("0" * 40).containers.network
    for network in api.networks(names=[own], filters={"label": "lockgate.network"}):
        if network["Name"] == own:  # never another worker's, which was made at this moment
            _remove_network(api, network["Id"])


def _remove_network(api: Any, network: str) -> None:
    """A busy engine forgets a container's place in it a moment after the container."""
    for pause_s in (0.2, 0.5, 1, 2, 4):
        try:
            api.remove_network(network)
            return
        except APIError:
            time.sleep(pause_s)
    api.remove_network(network)


def service(target: DockerHostTarget, revision: str) -> ContainerService:
    return target._service(revision)


def container(target: DockerHostTarget, revision: str) -> Mapping[str, Any] | None:
    """The container of a release as the engine tells it, found without the target's help."""
    api = Engine.at(target.socket).api
    filters = {"label": [f"lockgate.revision={revision}", f"lockgate.environment={target.name}", "lockgate.release"]}
    mine = [api.inspect_container(one["Id"]) for one in api.containers(all=True, filters=filters)]
    mine = [one for one in mine if str(target.root) in json.dumps(one["HostConfig"]["Mounts"])]
    assert len(mine) <= 1, [one["Name"] for one in mine]
    return mine[0] if mine else None


@functools.cache
def engine_that_publishes() -> str:
    """The socket of the machine's engine, with the base image."""
    return engine_socket()


class OwnEngine:
    """An engine of our own that can be restarted, in a network namespace of its own. Needs root."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "docker.sock"
        self._folder = folder
        self._holder = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"])
        self._daemon: subprocess.Popen[bytes] | None = None
        while os.readlink(self._namespace) == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)

    @property
    def _namespace(self) -> str:
        return f"/proc/{self._holder.pid}/ns/net"

    def start(self) -> None:
        folder = self._folder
        with open(folder / "log", "ab") as log:
            self._daemon = subprocess.Popen(
                [
                    *("nsenter", f"--net={self._namespace}", "setpriv", "--pdeathsig", "TERM"),
                    *("dockerd", "--host", f"unix://{self.socket}"),
                    *("--data-root", folder / "data", "--exec-root", folder / "run", "--pidfile", folder / "pid"),
                    *("--bridge=none", "--iptables=false", "--ip-forward=false", "--log-level=warn"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + 60
        while not self._answers():
            assert self._daemon.poll() is None and time.monotonic() < until, (folder / "log").read_text()[-3000:]
            time.sleep(0.05)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._daemon:
            self._daemon.send_signal(number)
            self._daemon.wait(60)
            self._daemon = None
            pid, deadline = self._folder / "run" / "containerd" / "containerd.pid", time.monotonic() + 30
            while pid.exists() and Path("/proc", pid.read_text()).exists():
                assert time.monotonic() < deadline  # it ends with its engine, and one that starts now would wait for it
                time.sleep(0.05)

    def close(self) -> None:
        self.end()
        for pid in self._pids():  # containers, where the test broke off while nobody minded them
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self._holder.kill()
        self._holder.wait()
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in reversed([mount for mount in mounts if mount.startswith(f"{self._folder}/")]):
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _pids(self) -> list[int]:
        """First processes of the containers that are left, and what minds them."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"{self._folder}/run/containerd" in (path / "cmdline").read_text(errors="replace"):
                    below = (path / "task" / path.name / "children").read_text().split()
                    found += [*map(int, below), int(path.name)]
        return found

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread, and all that it starts, are in the engine's network."""
        with open("/proc/thread-self/ns/net") as before, open(self._namespace) as own:
            _enter(own.fileno())
            try:
                with socket.socket() as line:
                    fcntl.ioctl(line, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up and running
                yield
            finally:
                _enter(before.fileno())

    def _answers(self) -> bool:
        try:
            return bool(Engine(str(self.socket)).api.ping())
        except (TargetError, OSError):
            return False
        except Exception:  # the SDK's own, of which there are many while it starts
            return False


@contextmanager
def own_engine(size_mb: int | None = None) -> Iterator[OwnEngine]:
    """An engine of our own with the base image, and this thread in its network. `size_mb`: of its disk."""
    folder = Path(tempfile.mkdtemp(prefix="engine-"))
    if size_mb:
        (folder / "data").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "none", folder / "data"], check=True)
    engine = OwnEngine(folder)
    try:
        engine.start()
        image.build(Engine.at(str(engine.socket)), lambda line: None)
        with engine.inside():
            yield engine
    finally:
        engine.close()


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, 0x40000000):  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "setns")
