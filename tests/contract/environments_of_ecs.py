"""Environments on Amazon ECS: services of a fake one, with real containers behind a real load balancer."""

import contextlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
from pydantic import SecretStr

from blocks.host.docker import Engine
from blocks.targets.ecs.target import EcsTarget
from blocks.targets.machine.release_image import image_of
from domain.ports import ReleaseBuild
from kits.fake_ecs import FakeEcs
from kits.fake_ecs.containers import LABEL
from kits.tiny_service import CANARY
from tests.contract import docker_host
from tests.contract.environment import ROLLOUT, Does, Environment, Make
from tests.contract.test_fake_ecs import BALANCER, BREAKER, KEY, SECRET, SPEED, client, container_of


class EcsEnvironment(Environment):
    """One service of a fake ECS. Its releases are images of the machine's engine, made as docker_host makes them."""

    does = Does(runs_images=True, migrates=True, splits=True, counts=False, redacts=False)
    hasty_s = 3.0

    def __init__(self, folder: Path, fake: FakeEcs, engine: Engine) -> None:
        super().__init__(folder)
        self._ecs, self._engine, self._fake = client(fake), engine, fake
        name = folder.name
        template = self._ecs.register_task_definition(
            family=name,
            requiresCompatibilities=["FARGATE"],
            cpu="256",
            memory="512",
            containerDefinitions=[container_of("lockgate-base:latest", [])],
        )
        self._ecs.create_service(
            serviceName=name,
            taskDefinition=template["taskDefinition"]["taskDefinitionArn"],
            desiredCount=0,
            loadBalancers=[BALANCER],
            healthCheckGracePeriodSeconds=1800,  # much runs on this machine
            networkConfiguration={"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
            deploymentConfiguration={"strategy": "ROLLING", "deploymentCircuitBreaker": BREAKER},
        )
        self._settings: dict[str, Any] = {
            "name": name,
            "service": name,
            "container": "web",
            "public": f"http://{fake.address(name)}",
            "endpoint_url": fake.url,
            "region": "eu-west-1",
            "access_key_id": SecretStr(KEY),
            "secret_access_key": SecretStr(SECRET),
            "secrets": {"TOKEN": "arn:token"},
            "rollout": ROLLOUT,
            "breaker_failures": 2,
            "start_timeout_s": 150,
            "back_timeout_s": 150,
            "poll_s": 0.1,
            "pause_minutes": 1440,
            "ready_minutes": 1440,
            "keep_releases": 2,
        }
        self._tags: set[str] = set()
        self.target: EcsTarget = self.again()

    def again(self, **fields: Any) -> EcsTarget:
        return EcsTarget(**{**self._settings, **fields}).with_images(self._image)

    def _image(self, revision: str, build: ReleaseBuild) -> str:
        tag = f"lockgate-contract-{self._settings['name']}:{revision}"
        self._tags.add(tag)
        return f"shop@{image_of(self._engine, 'lockgate-base', revision, build, tag)}"

    def instances(self, revision: str) -> int:
        return len(self._containers(revision))

    def kill(self, revision: str) -> None:
        for found in self._containers(revision):
            found.kill()

    def change(self, revision: str, other: str) -> None:
        """Nobody changes a task definition; but anybody deploys another one."""
        definition = self.target._definitions.of(other).arn
        self._ecs.update_service(
            service=self._settings["service"],
            taskDefinition=definition,
            deploymentConfiguration={"strategy": "ROLLING", "deploymentCircuitBreaker": BREAKER},
        )

    def left_of(self, revision: str) -> list[str]:
        listed = self._ecs.list_task_definitions(familyPrefix=self._settings["name"])["taskDefinitionArns"]
        shapes = [self._ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"] for arn in listed]
        return [one["taskDefinitionArn"] for one in shapes if revision in json.dumps(one["containerDefinitions"])]

    def close(self) -> None:
        for tag in self._tags:
            self._engine.untag(tag)

    def _containers(self, revision: str) -> list[Any]:
        label = f"{LABEL}={self._fake.directory}"
        running = docker.from_env().containers.list(filters={"label": label})
        return [one for one in running if f"RELEASE_ID={revision}" in one.attrs["Config"]["Env"]]


@contextmanager
def fake_ecs(folder: Path) -> Iterator[Make]:
    engine = Engine.at(docker_host.engine_that_publishes())
    fake = FakeEcs(
        folder / "ecs", speed=SPEED, key=KEY, secret=SECRET, health_path="/health", secrets={"arn:token": CANARY}
    )
    with contextlib.ExitStack() as stack:

        def make(name: str) -> Environment:
            made = EcsEnvironment(folder / name, fake, engine)
            stack.callback(made.close)
            return made

        with fake:
            yield make
