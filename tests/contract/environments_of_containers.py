"""Environments whose releases are containers: of this machine's engine, and of a Swarm."""

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from blocks.host.docker import Engine
from blocks.targets.machine.docker_host import DockerHostTarget
from blocks.targets.swarm.target import SwarmTarget
from tests.contract import docker_host
from tests.contract.environment import Does, Environment, Make, behind_caddy, folders_of
from tests.contract.swarm_nodes import Node, shared_swarm, tasks_of


class DockerHostEnvironment(Environment):
    does = Does(runs_images=True, migrates=True, splits=True)

    def __init__(self, folder: Path, socket: str) -> None:
        super().__init__(folder)
        self._settings = {**behind_caddy(folder), "socket": socket, "memory_mb": 128, "start_timeout_s": 20}
        self.target: DockerHostTarget = self.again()

    def again(self, **fields: Any) -> DockerHostTarget:
        return DockerHostTarget(**{**self._settings, **fields})

    def instances(self, revision: str) -> int:
        found = docker_host.container(self.target, revision)
        return int(bool(found and found["State"]["Running"]))

    def kill(self, revision: str) -> None:
        if found := docker_host.container(self.target, revision):
            os.kill(found["State"]["Pid"], signal.SIGKILL)

    def change(self, revision: str, other: str) -> None:
        api, found = Engine.at(self.target.socket).api, docker_host.container(self.target, revision)
        assert found is not None
        image = self.target.artifact(other)
        api.remove_container(found["Id"], force=True)
        made = api.create_container_from_config(
            {**found["Config"], "Image": image, "HostConfig": found["HostConfig"]}, found["Name"].strip("/")
        )
        api.start(made["Id"])

    def left_of(self, revision: str) -> list[str]:
        engine, container = Engine.at(self.target.socket), docker_host.container(self.target, revision)
        image = engine.image(docker_host.service(self.target, revision).tag)
        found = [one["Id"] for one in (container, image) if one]
        return [*folders_of(self.target.root, revision), *found]


class SwarmEnvironment(Environment):
    does = Does(runs_images=True, migrates=False, splits=True)
    hasty_s = 6.0

    def __init__(self, folder: Path, node: Node) -> None:
        super().__init__(folder)
        self._node = node
        self._settings = {
            **behind_caddy(folder),
            "socket": node.socket,
            "host": node.address,
            "replicas": 1,
            "memory_mb": 128,
            "start_timeout_s": 60,
        }
        self.target: SwarmTarget = self.again()

    def again(self, **fields: Any) -> SwarmTarget:
        return SwarmTarget(**{**self._settings, **fields})

    def instances(self, revision: str) -> int:
        return len(tasks_of(self._node, self._service(revision)))

    def kill(self, revision: str) -> None:
        for task in tasks_of(self._node, self._service(revision)):
            found = self._node.api.inspect_container(task["Status"]["ContainerStatus"]["ContainerID"])
            os.kill(found["State"]["Pid"], signal.SIGKILL)

    def change(self, revision: str, other: str) -> None:
        api, name = self._node.api, self._service(revision)
        there = api.inspect_service(name)
        spec = there["Spec"]["TaskTemplate"]
        spec["ContainerSpec"]["Image"] = self.target.artifact(other)
        version = there["Version"]["Index"]
        api.update_service(there["ID"], version, task_template=spec, name=name, fetch_current_spec=True)

    def left_of(self, revision: str) -> list[str]:
        api, name = self._node.api, self._service(revision)
        there = [one["Spec"]["Name"] for one in (*api.services(), *api.secrets())]
        image = Engine.at(self._node.socket).image(self.target._service(revision).tag)
        found = [one for one in there if one.startswith(name)]
        return [*folders_of(self.target.root, revision), *found, *([image["Id"]] if image else [])]

    def _service(self, revision: str) -> str:
        return self.target._service(revision).name


@contextmanager
def docker_on_this_host(folder: Path) -> Iterator[Make]:
    socket = docker_host.engine_that_publishes()
    with contextlib.ExitStack() as stack:

        def make(name: str) -> Environment:
            made = DockerHostEnvironment(folder / name, socket)
            stack.callback(docker_host.remove, made.target)
            return made

        yield make


@contextmanager
def docker_swarm(folder: Path) -> Iterator[Make]:
    node = shared_swarm()[0]
    with contextlib.ExitStack() as stack:

        def make(name: str) -> Environment:
            made = SwarmEnvironment(folder / name, node)
            stack.callback(_forget_all, made.target)
            return made

        yield make


def _forget_all(target: SwarmTarget) -> None:
    target.stop()
    for place in target._releases.all():
        target._service(place.revision).forget()
