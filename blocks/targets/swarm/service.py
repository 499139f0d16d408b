"""One release as a service of a Swarm: its image made, its tasks started and probed in private, stopped."""

import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from blocks.host.files import write_atomically
from blocks.targets.asking import settle_by
from blocks.targets.machine import confinement
from blocks.targets.machine.containers import PORT
from blocks.targets.releases import ReleaseRecord
from blocks.targets.swarm.engine import Swarm
from blocks.targets.swarm.releases import SwarmDeployment, SwarmPlace
from blocks.targets.swarm.spec import ANYWHERE, ServiceOptions, exports, spec_of
from blocks.targets.timeline import Say
from domain.errors import TargetError
from domain.health import Clean, HealthReading
from domain.ports import ReleaseBuild

_LOG_LINES, _LINE_CHARACTERS, _LOG_BYTES = 20, 500, 64_000
_NO_ANSWER = -1
"""Exit code of a health check that took too long."""
_ENDED = {"complete", "failed", "shutdown", "rejected", "orphaned", "remove"}


@dataclass(frozen=True, repr=False)  # it holds secrets
class SwarmService:
    """One release of a target. Which of its tasks are there is seen, not remembered."""

    place: SwarmPlace
    swarm: Swarm
    name: str
    options: ServiceOptions
    image_of: Callable[[str, ReleaseBuild], tuple[str, str]]
    """The ID of a build's image, and what a service is to call it. Made unless it is there."""
    ask: Callable[[SwarmDeployment], HealthReading]
    requests_at: Callable[[Collection[tuple[str, int]]], int | None]
    settings: Mapping[str, str]
    start_timeout_s: float
    grace_s: float
    clean: Clean

    def prepare(self, build: ReleaseBuild, serves: bool, say: Say) -> ReleaseRecord:
        known = self.place.load()
        artifact, image = self.image_of(self.tag, build)
        asked = {
            "health": build.health,
            "environment": dict(build.environment),
            "migrate_up": build.migrate_up,
            "previous": build.previous if build.previous != self.place.revision else None,
            "image": image,
        }
        if known and (known.artifact, known.run) == (artifact, build.run):
            return self.place.save(known.model_copy(update=asked))
        if serves:
            raise TargetError(
                f"{self.place.revision} serves now as image {known.artifact[7:19] if known else 'unknown'}, "
                f"and was built as {artifact[7:19]}: release another revision first"
            )
        self.stop()
        say(f"image {artifact[7:19]} is there")
        new = SwarmDeployment(
            revision=self.place.revision,
            artifact=artifact,
            run=build.run,
            toolchain=build.toolchain,
            port=PORT,
            service=self.name,
            **asked,
        )
        return self.place.save(new)

    def migrate(self, say: Say) -> str | None:
        """No data lives in a Swarm."""
        return None

    def start(self, say: Say) -> str | None:
        """Tasks that run already are taken, and replaced if they are not what is on record."""
        deployment = self.place.get()
        before = {task["ID"] for task in self.swarm.tasks(self.name)}
        content = exports(self._environment(deployment))
        secret = f"{self.name}-{sha256(content).hexdigest()[:12]}"
        marks = {"lockgate.release": self.place.mark, "lockgate.revision": self.place.revision}
        network = self.swarm.network(self.options.network)
        wanted = spec_of(deployment, self.options, network, (secret, self.swarm.secret(secret, content)), marks)
        if self.swarm.apply(self.name, wanted):
            say(f"service {self.name} with {self.options.replicas} tasks of image {deployment.artifact[7:19]}")
        else:
            say(f"service {self.name} found running")
        if reason := self._wait(deployment, before):
            lines = [line[:_LINE_CHARACTERS] for line in self.clean(self.tail()).splitlines()[-_LOG_LINES:]]
            self._keep_evidence()
            self.swarm.remove(self.name)
            say("not healthy; its service is removed")
            return "\n".join([reason, *(["the end of its log:", *lines] if lines else [])])
        self.swarm.drop_secrets(f"{self.name}-", keep=secret)
        say("healthy in private")
        return None

    def is_running(self) -> bool:
        return any(_runs(task) for task in self.swarm.tasks(self.name))

    def probe(self) -> HealthReading:
        return self.ask(self.place.get())

    def requests(self) -> int | None:
        """At its tasks' addresses in the network of the proxy."""
        attached = (one for task in self.swarm.tasks(self.name) for one in task.get("NetworksAttachments") or ())
        return self.requests_at({(address.split("/")[0], PORT) for one in attached for address in one["Addresses"]})

    def stop(self) -> bool:
        """Its service stays, with no task: it is back soon. Safe to repeat."""
        ran = self.is_running()
        if ran:
            self._keep_evidence()
        self.swarm.scale(self.name, 0)
        deadline = time.monotonic() + self.grace_s + 20
        while any(task["Status"]["State"] not in _ENDED for task in self.swarm.tasks(self.name)):
            if time.monotonic() > deadline:
                raise TargetError(f"the tasks of {self.name} do not end: `docker service ps {self.name}` says more")
            time.sleep(0.1)
        return ran

    def forget(self) -> None:
        containers = [found["Id"] for task in self.swarm.tasks(self.name) if (found := self.swarm.container(task))]
        self.swarm.remove(self.name)
        self.swarm.drop_secrets(f"{self.name}-")
        for container in containers:
            self.swarm.engine.remove(container)  # the Swarm would a moment later, and until then its image is in use
        self.swarm.engine.untag(self.tag)
        self.place.forget()

    def tail(self) -> str:
        said = self.swarm.logs(self.name, 2000) or self._said_here()
        return said[-_LOG_BYTES:].decode(errors="replace") or self.place.tail()

    def artifact(self) -> str | None:
        """The image of its tasks. One that runs another one than the others is what is told."""
        if (deployment := self.place.load()) is None:
            return None
        images = {self._image(task, deployment) for task in self.swarm.tasks(self.name) if _runs(task)}
        if images:
            return next((image for image in sorted(images) if image != deployment.artifact), deployment.artifact)
        found = self.swarm.engine.image(deployment.artifact)
        return str(found["Id"]) if found else None

    def trouble(self) -> str | None:
        """What is wrong with its tasks, though some of them may answer."""
        tasks = self.swarm.tasks(self.name)
        running = [task for task in tasks if _runs(task)]
        if len(running) < self.options.replicas:
            ended = next((task for task in tasks if _failed(task)), None)
            why = f": {self._why(ended)}" if ended else ""
            return f"{len(running)} of {self.options.replicas} tasks run{why}"
        if (runs := self.artifact()) != (wanted := self.place.get().artifact):
            return f"a task of {self.name} runs image {str(runs)[:19]}, and {wanted[:19]} was released"
        return None

    def evidence(self) -> dict[str, Any]:
        tasks = self.swarm.tasks(self.name)
        if not tasks and (kept := self.place.folder / "evidence.json").exists():
            return dict(json.loads(kept.read_bytes()))
        return {
            "service": self.name,
            "is_running": any(map(_runs, tasks)),
            "tasks": [self._told(task) for task in tasks[:10]],
        }

    @property
    def tag(self) -> str:
        """The image's name for as long as this target keeps the release."""
        return f"lockgate-target:{self.place.mark.removeprefix('lockgate-')}"

    def _wait(self, deployment: SwarmDeployment, before: set[str]) -> str | None:
        """None when every task runs and the release says that it is well and itself; else why not."""
        within_s = deployment.health.starts_within_s(self.start_timeout_s)
        deadline = time.monotonic() + within_s
        while True:
            tasks = self.swarm.tasks(self.name)
            running = [task for task in tasks if _runs(task)]
            new = [task for task in tasks if task["ID"] not in before]
            if failed := next((task for task in new if _failed(task)), None):
                return f"its task ended: {self._why(failed)}"
            # an update that failed is taken back by the Swarm without a word: only the image says which it is
            if len(running) == self.options.replicas and {self._image(task, deployment) for task in running} == {
                deployment.artifact
            }:
                break
            if time.monotonic() > deadline:
                states = ", ".join(f"{task['Status']['State']} ({self._why(task)})" for task in new) or "no task"
                return f"not all of its tasks run within {within_s:g} s: {states}"
            time.sleep(0.1)
        left = max(1.0, deadline - time.monotonic())
        gone = lambda: None if self.is_running() else "its tasks ended"  # noqa: E731
        said = settle_by(lambda: self.ask(deployment), self.options.replicas, left, 0.1, gone)
        return said and f"not healthy within {within_s:g} s: {said}"

    def _why(self, task: Mapping[str, Any]) -> str:
        """A failed task may call itself complete: what its health checks saw says more."""
        status = task["Status"]
        said = status.get("Err") or status.get("Message") or status["State"]
        checks = [check for check in self._checks(task) if check["ExitCode"] != 0]
        checks.sort(key=lambda check: check["ExitCode"] != _NO_ANSWER)
        return self.clean(": ".join([str(said), *(check["Output"] for check in checks[-1:])])).strip()[
            :_LINE_CHARACTERS
        ]

    def _checks(self, task: Mapping[str, Any]) -> list[dict[str, Any]]:
        """`.State.Health.Log`, as long as the container is there."""
        container = self.swarm.container(task)
        return list(((container or {}).get("State", {}).get("Health") or {}).get("Log") or [])

    def _told(self, task: Mapping[str, Any]) -> dict[str, Any]:
        status = task["Status"]
        ended = status.get("ContainerStatus") or {}
        return {
            "id": task["ID"],
            "node": task.get("NodeID"),
            "state": status["State"],
            "wanted": task["DesiredState"],
            "says": self.clean(str(status.get("Err") or status.get("Message") or "")),
            "exit_code": ended.get("ExitCode"),
            "image": task["Spec"]["ContainerSpec"]["Image"],
            "at": status["Timestamp"],
            "health": [
                {"at": check["Start"], "exit_code": check["ExitCode"], "output": self.clean(check["Output"])[:500]}
                for check in self._checks(task)
            ],
        }

    def _said_here(self) -> bytes:
        """The Swarm has no log of a task that never became healthy; its container has, where that is on this node."""
        for task in self.swarm.tasks(self.name):
            if container := self.swarm.container(task):
                return self.swarm.engine.tail(container["Id"], _LOG_BYTES)
        return b""

    def _keep_evidence(self) -> None:
        """Before the Swarm prunes what it knows of its tasks, and their log."""
        write_atomically(self.place.folder / "evidence.json", json.dumps(self.evidence()).encode())
        write_atomically(self.place.log, self.clean(self.tail()).encode())

    def _image(self, task: Mapping[str, Any], deployment: SwarmDeployment) -> str:
        """By its container where that is on this node; else by what the task was told to run, which no tag is."""
        if container := self.swarm.container(task):
            return str(container["Image"])
        told = str(task["Spec"]["ContainerSpec"]["Image"])
        return deployment.artifact if told == deployment.image else told

    def _environment(self, deployment: SwarmDeployment) -> dict[str, str]:
        """From scratch. What the platform says of the release, nobody says otherwise."""
        return {
            **confinement.base_environment(deployment.toolchain),
            "HOST": ANYWHERE,
            **deployment.environment,
            **self.settings,
            "RELEASE_ID": deployment.revision,
            "PORT": str(PORT),
        }


def _runs(task: Mapping[str, Any]) -> bool:
    return bool(task["Status"]["State"] == "running" and task["DesiredState"] == "running")


def _failed(task: Mapping[str, Any]) -> bool:
    """It ended by itself. One that fails its health checks was told to, and may say Complete all the same."""
    status = task["Status"]
    return status["State"] in ("failed", "rejected", "complete") or (
        status["State"] in _ENDED and bool(status.get("Err"))
    )
