"""One release as a process: written, migrated, started, probed before it gets any traffic, stopped."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blocks.targets import confinement, processes
from blocks.targets.artifact import artifact_of, write_tree
from blocks.targets.bake import Say, settle
from blocks.targets.confinement import APP, DATA, Mount
from blocks.targets.files import owned
from blocks.targets.migration import Migration
from blocks.targets.releases import Deployment, Place, Releases
from domain.errors import TargetError
from domain.health import Clean
from domain.ports import ReleaseBuild

_LOG_LINES, _LINE_CHARACTERS = 20, 500


@dataclass(frozen=True, repr=False)  # it holds secrets
class Service:
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

    def prepare(self, build: ReleaseBuild, previous: str | None, serves: bool, say: Say) -> Deployment:
        """Its files and its record. Safe to repeat; a build that is not the one on record takes its place.

        Raises TargetError where that one serves now.
        """
        artifact, known = artifact_of(build), self.place.load()
        asked = {
            "health": build.health,
            "environment": dict(build.environment),
            "migrate_up": build.migrate_up,
            "previous": previous if previous != self.place.revision else None,
        }
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
        """None where the data is at its schema, else why not."""
        deployment = self.place.get()
        return Migration(
            place=self.place,
            deployment=deployment,
            data=owned(self.data),
            toolchain=confinement.toolchain_mounts(deployment.toolchain, self.keep_out),
            environment=self._environment(deployment),
            timeout_s=self.migrate_timeout_s,
            clean=self.clean,
        ).problem(say)

    def start(self, say: Say) -> str | None:
        """None when it answers in private, healthy and with its own releaseId; else why not, and then it is stopped.

        A process that is there already is taken, and replaced where it is not well.
        """
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
        deployment = self.place.save(deployment.model_copy(update={"port": self._free_port()}))
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
        """Whether anything of it ran. Safe to repeat."""
        return processes.end(self.place.mark, grace_s=self.grace_s)

    def _wait(self, deployment: Deployment) -> str | None:
        address, path, revision = deployment.upstream, deployment.health, deployment.revision
        return settle(address, path, revision, 1, self.start_timeout_s, 0.1, self.clean, self.is_running)

    def _spawn(self, deployment: Deployment) -> None:
        command = deployment.run.replace("{port}", str(deployment.port)).replace("{release}", deployment.revision)
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

    def _free_port(self) -> int:
        while True:
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                port: int = listener.getsockname()[1]
            if port not in self.releases.ports():
                return port
