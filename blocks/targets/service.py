"""One release as a process: written, migrated, started, probed before it gets any traffic, stopped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocks.targets import confinement, processes
from blocks.targets.artifact import artifact_of, write_tree
from blocks.targets.confinement import APP, DATA, Ended, Mount
from blocks.targets.files import owned
from blocks.targets.health_probe import settle
from blocks.targets.migration import Migration
from blocks.targets.releases import Deployment, Place, Releases
from blocks.targets.timeline import Say
from domain.errors import TargetError
from domain.health import Clean
from domain.ports import ReleaseBuild

_LOG_LINES, _LINE_CHARACTERS = 20, 500


@dataclass(frozen=True, repr=False)  # it holds secrets
class ProcessService:
    """One release of a target. Which of its processes are there is seen, not remembered."""

    releases: Releases
    place: Place
    data: Path
    keep_out: Path
    settings: Mapping[str, str]
    start_timeout_s: float
    migrate_timeout_s: float
    grace_s: float
    clean: Clean

    def prepare(self, build: ReleaseBuild, serves: bool, say: Say) -> Deployment:
        artifact, known = artifact_of(build), self.place.load()
        asked = self.place.asked(build)
        if known and known.artifact == artifact == self.place.artifact(known):
            if not serves and known.environment != asked["environment"]:
                self.stop()
            return self.place.save(known.model_copy(update=asked))
        if serves:
            raise TargetError(
                f"{self.place.revision} serves now as artifact {known.artifact[:12] if known else 'unknown'}, "
                f"and was built as {artifact[:12]}: release another revision first"
            )
        self.stop()
        write_tree(build.tree, self.place.tree)
        say(f"artifact {artifact[:12]} written, {len(build.tree)} files")
        new = Deployment(
            revision=self.place.revision, artifact=artifact, run=build.run, toolchain=build.toolchain, **asked
        )
        return self.place.save(new)

    def migrate(self, say: Say) -> str | None:
        deployment, data = self.place.get(), owned(self.data)
        own = [*confinement.toolchain_mounts(deployment.toolchain, self.keep_out), Mount(self.place.tree, APP)]

        def run(argv: Sequence[str], mounts: Sequence[Mount], *, network: bool, timeout_s: float) -> Ended:
            environment = self._environment(deployment)
            return confinement.run(argv, [*own, *mounts], environment, network=network, timeout_s=timeout_s)

        return Migration(self.place, deployment, data, run, self.migrate_timeout_s, self.clean).problem(say)

    def start(self, say: Say) -> str | None:
        """A process that is there already is taken, and replaced where it is not well."""
        deployment = self.place.get()
        if deployment.artifact != self.place.artifact(deployment):
            self.stop()
            return f"its files in {self.place.tree} are not those that were released"
        if self.is_running():
            say(f"found running on port {deployment.port}")
            if self._wait(deployment) is None:
                say("healthy in private")
                return None
            self.stop()
        deployment = self.place.save(deployment.model_copy(update={"port": self.releases.free_port()}))
        self._spawn(deployment)
        say(f"started on port {deployment.port}")
        if reason := self._wait(deployment):
            alive = self.is_running()
            self.stop()
            how = f"not healthy within {self.start_timeout_s:g} s" if alive else "its process ended"
            say(f"{how}; stopped")
            lines = [line[:_LINE_CHARACTERS] for line in self.clean(self.place.tail()).splitlines()[-_LOG_LINES:]]
            return "\n".join([f"{how}: {reason}", *(["the end of its log:", *lines] if lines else [])])
        say("healthy in private")
        return None

    def is_running(self) -> bool:
        return processes.is_running(self.place.mark)

    def stop(self) -> bool:
        return processes.end(self.place.mark, grace_s=self.grace_s)

    def forget(self) -> None:
        self.place.forget()

    def tail(self) -> str:
        return self.place.tail()

    def artifact(self) -> str | None:
        deployment = self.place.load()
        return self.place.artifact(deployment) if deployment else None

    def evidence(self) -> dict[str, Any]:
        deployment = self.place.load()
        return {
            "is_running": self.is_running(),
            "pids": [process.pid for process in processes.marked(self.place.mark)],
            "upstream": deployment.upstream if deployment and deployment.port else None,
        }

    def _wait(self, deployment: Deployment) -> str | None:
        address, path, revision = deployment.upstream, deployment.health, deployment.revision
        return settle(address, path, revision, 1, self.start_timeout_s, 0.1, self.clean, self.is_running)

    def _spawn(self, deployment: Deployment) -> None:
        command = deployment.run.replace("{port}", str(deployment.port)).replace("{host}", "127.0.0.1")
        command = command.replace("{release}", deployment.revision)
        mounts = [
            *confinement.toolchain_mounts(deployment.toolchain, self.keep_out),
            Mount(self.place.tree, APP),
            Mount(owned(self.data), DATA, writable=True),
        ]
        environment = {**self._environment(deployment), "PORT": str(deployment.port)}
        confinement.start(["/bin/sh", "-c", command], mounts, environment, mark=self.place.mark, log=self.place.log)

    def _environment(self, deployment: Deployment) -> dict[str, str]:
        """From scratch. What the platform says of the release, nobody says otherwise."""
        return {
            **confinement.base_environment(deployment.toolchain),
            **deployment.environment,
            **self.settings,
            "RELEASE_ID": deployment.revision,
            "DATA_DIR": DATA,
        }
