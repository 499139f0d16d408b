"""A real Swarm for tests: engines of our own, each in a network of its own, joined by wires. Needs root."""

import atexit
import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from docker import APIClient
from docker.errors import DockerException, NotFound

from blocks.host.docker import Engine
from blocks.sandboxes import image

REGISTRY_PORT = 5055
_MISSING = "a Swarm of our own needs root and dockerd: apt-get install docker.io (scripts/ci-docker)"


class Node(NamedTuple):
    """One engine. `address`: where the others and this machine reach it."""

    socket: str
    address: str
    pid: int
    folder: Path

    @property
    def api(self) -> APIClient:
        return APIClient(f"unix://{self.socket}", version="auto", timeout=60)

    def ip(self, *words: str) -> None:
        """ip(8) in its network."""
        _run(["nsenter", "--target", str(self.pid), "--net", "ip", *words])


@functools.cache
def shared_swarm() -> list[Node]:
    """Two nodes while the tests run; the first has the base image. Without what it takes: skips, but fails under CI."""
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        if os.environ.get("CI"):
            pytest.fail(_MISSING)
        pytest.skip(_MISSING)
    opened = swarm(2)
    nodes = opened.__enter__()
    atexit.register(opened.__exit__, None, None, None)
    image.build(Engine.at(nodes[0].socket), lambda line: None)
    return nodes


def tasks_of(node: Node, name: str) -> list[dict[str, Any]]:
    """What runs of a service, by the engine's own word."""
    with contextlib.suppress(NotFound):
        found = node.api.tasks(filters={"service": name, "desired-state": "running"})
        return [task for task in found if task["Status"]["State"] == "running"]
    return []


@contextmanager
def swarm(size: int) -> Iterator[list[Node]]:
    """So many nodes, the first of them the manager. This machine is at .1 of their network.

    The wires meet in a bridge inside the first node: one out here would be subject to this machine's firewall.
    """
    net, wire = f"10.201.{os.getpid() % 250}", f"lg{os.getpid() % 100_000}"
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(_node(f"{net}.{2 + number}", f"{net}.1")) for number in range(size)]
        manager = nodes[0]
        manager.ip("link", "add", "wires", "type", "bridge")
        manager.ip("addr", "add", f"{manager.address}/24", "dev", "wires")
        manager.ip("link", "set", "wires", "up")
        _run(["ip", "link", "add", wire, "type", "veth", "peer", "name", "wire1", "netns", str(manager.pid)])
        stack.callback(subprocess.run, ["ip", "link", "del", wire], capture_output=True)
        _run(["ip", "addr", "add", f"{net}.1/24", "dev", wire])
        _run(["ip", "link", "set", wire, "up"])
        manager.ip("link", "set", "wire1", "master", "wires", "up")
        for number, node in enumerate(nodes[1:], 2):
            name = f"wire{number}"
            node.ip("link", "add", "wire0", "type", "veth", "peer", "name", name, "netns", str(manager.pid))
            manager.ip("link", "set", name, "master", "wires", "up")
            node.ip("addr", "add", f"{node.address}/24", "dev", "wire0")
            node.ip("link", "set", "wire0", "up")
        manager.api.init_swarm(advertise_addr=manager.address, listen_addr=f"{manager.address}:2377")
        token = manager.api.inspect_swarm()["JoinTokens"]["Worker"]
        for node in nodes[1:]:
            node.api.join_swarm(
                [f"{manager.address}:2377"], token, listen_addr=f"{node.address}:2377", advertise_addr=node.address
            )
        yield nodes


@contextmanager
def _node(address: str, registry: str) -> Iterator[Node]:
    folder = Path(tempfile.mkdtemp(prefix="swarm-"))
    path = folder / "docker.sock"
    options = [
        *("--host", f"unix://{path}", "--data-root", folder / "data", "--exec-root", folder / "run"),
        *("--pidfile", folder / "pid", "--bridge=none", "--iptables=false", "--ip-forward=false"),
        *("--insecure-registry", f"{registry}:{REGISTRY_PORT}", "--log-level=warn"),
    ]
    with open(folder / "log", "wb") as log:
        daemon = subprocess.Popen(
            ["unshare", "--net", "dockerd", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 60
        while not _answers(path):
            assert daemon.poll() is None and time.monotonic() < until, (folder / "log").read_text()[-3000:]
            time.sleep(0.1)
        node = Node(str(path), address, daemon.pid, folder)
        node.ip("link", "set", "lo", "up")
        yield node
    finally:
        daemon.terminate()
        try:
            daemon.wait(60)
        finally:
            daemon.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(path: Path) -> bool:
    try:
        APIClient(f"unix://{path}", version="auto", timeout=5).close()
    except DockerException:
        return False
    return True


def _run(argv: Sequence[str]) -> None:
    subprocess.run(argv, check=True, capture_output=True, timeout=20)
