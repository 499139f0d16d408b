"""One release as a container: its image made, data migrated, started, probed before it gets any traffic, stopped."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocks.host.confine import Bind
from blocks.host.files import owned
from blocks.host.listeners import connections
from blocks.targets.health_probe import probe
from blocks.targets.machine import confinement, sealed
from blocks.targets.machine.answers import answers_of, started
from blocks.targets.machine.confinement import DATA, ConfinedEnd
from blocks.targets.machine.containers import LABEL, PORT, PortTaken, ReleaseContainers
from blocks.targets.machine.migration import Migration
from blocks.targets.machine.reach import out_of_reach
from blocks.targets.releases import ReleaseDirectory, ReleaseRecord, Releases
from blocks.targets.timeline import Say
from domain.errors import TargetError
from domain.health import Clean, HealthReading, HttpAnswer, Sight
from domain.ports import ReleaseBuild

_LOG_LINES, _LINE_CHARACTERS = 20, 500
_LOG_BYTES = 64_000
_PORT_TRIES = 5
_HOST = "0.0.0.0"  # noqa: S104  # of the container alone


@dataclass(frozen=True, repr=False)  # it holds secrets
class ContainerService:
    """One release of a target. Which of its containers are there is seen, not remembered."""

    releases: Releases
    place: ReleaseDirectory
    containers: ReleaseContainers
    image_of: Callable[[str, ReleaseBuild, bool], str]
    """The ID of a build's image, made unless it is there, with a name for as long as the release is kept. True: the one
    that has the name is kept where it is of that build."""
    data: Path
    settings: Mapping[str, str]
    start_timeout_s: float
    migrate_timeout_s: float
    grace_s: float
    clean: Clean

    def prepare(self, build: ReleaseBuild, serves: bool, say: Say) -> ReleaseRecord:
        known = self.place.load()
        artifact = self.image_of(self.tag, build, serves)
        asked = self.place.asked(build)
        if known and (known.artifact, known.run) == (artifact, build.run):
            if not serves and known.environment != asked["environment"]:
                self.stop()
            return self.place.save(known.model_copy(update=asked))
        if serves:
            raise TargetError(
                f"{self.place.revision} serves now as image {_short(known.artifact) if known else 'unknown'}, "
                f"and was built as {_short(artifact)}: release another revision first"
            )
        self.stop()
        self._remove()
        if known and known.artifact != artifact:
            self.containers.engine.discard(known.artifact)
        say(f"image {_short(artifact)} is there")
        new = ReleaseRecord(
            revision=self.place.revision, artifact=artifact, run=build.run, toolchain=build.toolchain, **asked
        )
        return self.place.save(new)

    def migrate(self, say: Say) -> str | None:
        deployment = self.place.get()

        def run(argv: Sequence[str], mounts: Sequence[Bind], *, network: bool, timeout_s: float) -> ConfinedEnd:
            environment = self._environment(deployment)
            return self.containers.run(
                deployment.artifact, argv, environment, mounts, network=network, timeout_s=timeout_s
            )

        data, timeout_s = owned(self.data), self.migrate_timeout_s
        return Migration(self.place, deployment, data, run, timeout_s, self.clean).problem(say)

    def start(self, say: Say) -> str | None:
        """A container that runs already is taken, and replaced if it is not well."""
        deployment = self.place.get()
        self.containers.end_tasks()
        if self.containers.engine.image(deployment.artifact) is None:
            self.stop()
            return f"its image {_short(deployment.artifact)} is no longer there: release it again"
        if self.is_running() and self.artifact() == deployment.artifact:
            say(f"found running on port {deployment.port}")
            if self._wait(deployment) is None:
                self._keep(say)
                return None
            self.stop()
        deployment = self._spawn(deployment)
        say(f"started on port {deployment.port}")
        if reason := self._wait(deployment):
            how, why = self._why(), self._out_of_reach()
            lines = [line[:_LINE_CHARACTERS] for line in self.clean(self.tail()).splitlines()[-_LOG_LINES:]]
            self.stop()
            say(f"{how}; stopped")
            said = [f"{how}: {reason}", *([why] if why else []), *(["the end of its log:", *lines] if lines else [])]
            return "\n".join(said)
        self._keep(say)
        return None

    def is_running(self) -> bool:
        container = self.containers.service()
        return container is not None and _runs(container["State"])

    def requests(self) -> int:
        deployment = self.place.get()
        return connections([("127.0.0.1", deployment.port)]) if deployment.port else 0

    def stop(self) -> bool:
        self.containers.end_tasks()
        container = self.containers.service()
        ran = container is not None and bool(container["State"]["Running"])
        if container:
            self.containers.stop(container["Id"], self.grace_s)
        sealed.unseal(self.place.mark)
        return ran

    def forget(self) -> None:
        self.containers.end_tasks()
        self._remove()
        self.containers.engine.untag(self.tag)
        sealed.unseal(self.place.mark)
        self.place.forget()

    def tail(self) -> str:
        container = self.containers.service()
        return self.containers.engine.tail(container["Id"], _LOG_BYTES).decode(errors="replace") if container else ""

    def artifact(self) -> str | None:
        """The image of what runs; if nothing does, the one that would."""
        container = self.containers.service()
        if container and _runs(container["State"]):
            return str(container["Image"])
        deployment = self.place.load()
        image = self.containers.engine.image(deployment.artifact) if deployment else None
        return str(image["Id"]) if image else None

    def restarts(self) -> int:
        """How often the engine had to start it again."""
        container = self.containers.service()
        return int(container["RestartCount"]) if container else 0

    def ended(self) -> str:
        """How it ended, the last time that it did."""
        container = self.containers.service()
        if container is None:
            return "its container is gone"
        if container["State"]["OOMKilled"] or self.containers.engine.ran_out_of_memory(container["Id"]):
            return f"its container ran out of memory (memory_mb is {self.containers.limits.memory_mb})"
        codes = self.containers.engine.exit_codes(container["Id"])
        return f"its container ended with exit code {codes[-1] if codes else container['State']['ExitCode']}"

    def evidence(self) -> dict[str, Any]:
        deployment, container = self.place.load(), self.containers.service()
        told: dict[str, Any] = {
            "is_running": container is not None and _runs(container["State"]),
            "upstream": deployment.upstream if deployment and deployment.port else None,
            "answers_at_start": answers_of(self.place),
        }
        if container:
            state, limits = container["State"], container["HostConfig"]
            told |= {
                "container": container["Id"][:12],
                "name": container["Name"].strip("/"),
                "image": container["Image"],
                "state": state["Status"],
                "exit_codes": self.containers.engine.exit_codes(container["Id"]) or [state["ExitCode"]],
                "out_of_memory": state["OOMKilled"],
                "restarts": container["RestartCount"],
                "started_at": state["StartedAt"],
                "finished_at": state["FinishedAt"],
                "engine_says": self.clean(state["Error"]),
                "limits": {
                    "memory_mb": limits["Memory"] >> 20,
                    "cpus": limits["NanoCpus"] / 1e9,
                    "processes": limits["PidsLimit"],
                },
            }
        return told

    @property
    def tag(self) -> str:
        """The image's name for as long as this target keeps the release."""
        return f"lockgate-target:{self.place.mark.removeprefix('lockgate-')}"

    def _remove(self) -> None:
        for container in self.containers.engine.containers(LABEL, self.place.mark):
            self.containers.engine.remove(container["Id"])

    def _keep(self, say: Say) -> None:
        if container := self.containers.service():
            self.containers.keep(container["Id"])
        say("healthy in private")

    def _wait(self, deployment: ReleaseRecord) -> str | None:
        return started(self.place, self.probe, self._starts_within_s, 0.05, self.is_running)

    def probe(self) -> HealthReading:
        deployment = self.place.get()
        return probe(deployment.upstream, deployment.health, deployment.revision, self.clean, self._see)

    def _see(self, _: HttpAnswer) -> Sight:
        """By the engine: for whom it publishes the port that the answer came from, and what runs in there."""
        deployment, container = self.place.get(), self.containers.service()
        if container is None or not _runs(container["State"]):
            return Sight(is_it=False, how=f"from {deployment.upstream}, and no container of the release runs")
        bound = (container["HostConfig"]["PortBindings"] or {}).get(f"{PORT}/tcp") or [{}]
        is_it = bound[0].get("HostPort") == str(deployment.port) and container["Image"] == deployment.artifact
        what = f"which the engine publishes for a container of image {_short(container['Image'])}"
        return Sight(is_it=is_it, how=f"from {deployment.upstream}, {what}")

    @property
    def _starts_within_s(self) -> float:
        return self.place.get().health.starts_within_s(self.start_timeout_s)

    def _spawn(self, deployment: ReleaseRecord) -> ReleaseRecord:
        """A new container in the place of any old one, at the port it had before where that is free."""
        self._remove()
        command = deployment.run.replace("{port}", str(PORT)).replace("{host}", _HOST)
        command = command.replace("{release}", deployment.revision)
        environment, data = self._environment(deployment), owned(self.data)
        for _ in range(_PORT_TRIES):
            port = deployment.port or self.releases.free_port()
            deployment = self.place.save(deployment.model_copy(update={"port": port}))
            try:
                self.containers.start(deployment.artifact, command, environment, data, port)
                return deployment
            except PortTaken:
                deployment = deployment.model_copy(update={"port": None})
        raise TargetError(f"{_PORT_TRIES} loopback ports in a row were taken by other programs when they were needed")

    def _environment(self, deployment: ReleaseRecord) -> dict[str, str]:
        """From scratch. What the platform says of the release, nobody says otherwise."""
        return {
            **confinement.base_environment(deployment.toolchain),
            "HOST": _HOST,
            **deployment.environment,
            **self.settings,
            "RELEASE_ID": deployment.revision,
            "DATA_DIR": DATA,
            "PORT": str(PORT),
        }

    def _why(self) -> str:
        return f"not healthy within {self._starts_within_s:g} s" if self.is_running() else self.ended()

    def _out_of_reach(self) -> str | None:
        container = self.containers.service()
        if container is None or not _runs(container["State"]):
            return None
        return out_of_reach(self.containers.engine, container["Id"], PORT)


def _runs(state: Mapping[str, Any]) -> bool:
    return bool(state["Running"]) and not state["Restarting"] and not state["Dead"]


def _short(image: str) -> str:
    return image.removeprefix("sha256:")[:12]
