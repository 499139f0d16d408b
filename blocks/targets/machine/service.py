"""One release as a process: written, migrated, started, probed before it gets any traffic, stopped."""

import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocks.host import processes
from blocks.host.confine import Bind
from blocks.host.files import owned
from blocks.host.listeners import connections, listeners, sockets_of
from blocks.targets.artifact import artifact_of, write_tree
from blocks.targets.asking import UnixConnection
from blocks.targets.health_probe import probe, probe_by
from blocks.targets.machine import confinement
from blocks.targets.machine.answers import answers_of, started
from blocks.targets.machine.confinement import APP, DATA, ConfinedEnd
from blocks.targets.machine.migration import Migration
from blocks.targets.machine.network import Ways, requests
from blocks.targets.machine.network import own as own_network
from blocks.targets.releases import DOOR, ReleaseDirectory, ReleaseRecord, Releases
from blocks.targets.timeline import Say
from domain.errors import TargetError
from domain.health import Clean, HealthReading, HttpAnswer, Sight
from domain.ports import ReleaseBuild

_LOG_LINES, _LINE_CHARACTERS = 20, 500
_PORT_TRIES = 5

_SERVE = """echo '[lockgate: started]'
/bin/sh -c "$1" &
service=$!
stop() {
    while read -r name value; do [ "$name" = SigCgt: ] && caught=$value; done </proc/$service/status
    read -r below </proc/$service/task/$service/children
    if [ -n "$below" ] && [ $((0x$caught >> 14 & 1)) = 0 ]; then kill -TERM $below; else kill -TERM $service; fi
}
trap 'told=1; stop' TERM
wait $service; code=$?
while [ "$told" ]; do told=; asked=', as it was told to'; wait $service; last=$?; [ $last = 127 ] || code=$last; done
echo "[lockgate: ended with exit code $code$asked]"
exit $code
"""
"""Runs a service and says in its log how it ended: it has no parent of ours that could ask. Hands SIGTERM on to whom it
is for: a shell that only waits would die of it and hand none on."""
_ENDED = re.compile(r"\[lockgate: ended with exit code (\d+)(, as it was told to)?\]\s*$")


@dataclass(frozen=True, repr=False)  # it holds secrets
class ProcessService:
    """One release of a target. Which of its processes are there is seen, not remembered."""

    releases: Releases
    place: ReleaseDirectory
    data: Path
    keep_out: Path
    settings: Mapping[str, str]
    start_timeout_s: float
    migrate_timeout_s: float
    grace_s: float
    clean: Clean
    may_reach: Callable[[], Ways | None]
    """From a network of its own; None: it has the host's. Raises TargetError for what cannot be reached from one."""

    def prepare(self, build: ReleaseBuild, serves: bool, say: Say) -> ReleaseRecord:
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
        new = ReleaseRecord(
            revision=self.place.revision, artifact=artifact, run=build.run, toolchain=build.toolchain, **asked
        )
        try:
            write_tree(build.tree, self.place.tree)
            say(f"artifact {artifact[:12]} written, {len(build.tree)} files")
            return self.place.save(new)
        except OSError as err:
            self.forget()  # half of it would only keep a full disk full
            raise TargetError(f"release {self.place.revision} cannot be written, see the disk: {err}") from err

    def migrate(self, say: Say) -> str | None:
        deployment, data = self.place.get(), owned(self.data)
        own = [*confinement.toolchain_mounts(deployment.toolchain, self.keep_out), Bind(self.place.tree, APP)]

        def run(argv: Sequence[str], mounts: Sequence[Bind], *, network: bool, timeout_s: float) -> ConfinedEnd:
            ways = self.may_reach() if network else None
            environment = self._environment(deployment, ways)
            if ways is None:
                return confinement.run(argv, [*own, *mounts], environment, network=network, timeout_s=timeout_s)
            python = deployment.toolchain / "bin" / "python"
            with own_network(self.place.folder, python, ways, None) as net:
                return confinement.run(
                    [*net.launcher, *argv],
                    [*own, *mounts, *net.mounts],
                    {**net.environment, **environment},
                    network=False,
                    timeout_s=timeout_s,
                    descriptors=net.descriptors,
                    files=net.files,
                )

        return Migration(self.place, deployment, data, run, self.migrate_timeout_s, self.clean).problem(say)

    def start(self, say: Say) -> str | None:
        """A process that is there already is taken, and replaced if it is not well."""
        deployment = self.place.get()
        if deployment.artifact != self.place.artifact(deployment):
            self.stop()
            return f"its files in {self.place.tree} are not those that were released"
        if self.is_running():
            say(f"found running at {deployment.upstream}")
            if self._wait(deployment) is None:
                say("healthy in private")
                return None
            self.stop()
        if ways := self.may_reach():
            deployment = self._spawn_in_own(deployment, ways)
            say(f"started in a network of its own, {_reached(ways)}")
            if (reason := self._wait(deployment)) is None:
                say("healthy in private")
                return None
            alive = self.is_running()
            self.stop()
            return self._why(reason, alive, say)
        return self._start_in_hosts(deployment, say)

    def _start_in_hosts(self, deployment: ReleaseRecord, say: Say) -> str | None:
        for _ in range(_PORT_TRIES):
            port = self.releases.free_port()
            deployment = self.place.save(deployment.model_copy(update={"port": port, "door": None}))
            self._spawn(deployment)
            say(f"started in the network of this machine (network = host), on port {deployment.port}")
            if (reason := self._wait(deployment)) is None:
                say("healthy in private")
                return None
            alive = self.is_running()
            self.stop()
            if alive or not _is_taken(deployment.port):
                return self._why(reason, alive, say)
            say(f"another program took port {deployment.port} meanwhile")
        raise TargetError(f"{_PORT_TRIES} loopback ports in a row were taken by other programs when they were needed")

    def is_running(self) -> bool:
        return processes.is_running(self.place.mark)

    def requests(self) -> int:
        deployment = self.place.get()
        if deployment.door:
            return requests(processes.within(self.place.mark), deployment.port or 0)
        return connections([("127.0.0.1", deployment.port)]) if deployment.port else 0

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
        deployment, is_running = self.place.load(), self.is_running()
        ended = None if is_running else _ENDED.search(self.place.tail())
        return {
            "is_running": is_running,
            "pids": [process.pid for process in processes.marked(self.place.mark)],
            "upstream": deployment.upstream if deployment and deployment.is_reachable else None,
            "network": "its own" if deployment and deployment.door else "the host's",
            "exit_code": int(ended[1]) if ended else None,
            "was_told_to_end": bool(ended and ended[2]),
            "answers_at_start": answers_of(self.place),
        }

    def probe(self) -> HealthReading:
        return self._ask(self.place.get())

    def _ask(self, deployment: ReleaseRecord) -> HealthReading:
        check, revision = deployment.health, deployment.revision
        if deployment.door:
            door, host = self.place.folder / DOOR, f"127.0.0.1:{deployment.port}"
            where = deployment.upstream
            return probe_by(lambda: UnixConnection(door, host=host), where, check, revision, self.clean, self._see)
        return probe(deployment.upstream, check, revision, self.clean, self._see)

    def _see(self, _: HttpAnswer) -> Sight:
        """By the kernel: who listens where the answer came from."""
        deployment = self.place.get()
        owners = {str(deployment.door)} if deployment.door else listeners("127.0.0.1", deployment.port or 0)
        is_it = bool(owners) and owners <= sockets_of(processes.within(self.place.mark))
        who = "its process listens" if is_it else "another program listens, or none any more"
        return Sight(is_it=is_it, how=f"from {deployment.upstream}, where {who}")

    @property
    def _starts_within_s(self) -> float:
        return self.place.get().health.starts_within_s(self.start_timeout_s)

    def _wait(self, deployment: ReleaseRecord) -> str | None:
        return started(self.place, lambda: self._ask(deployment), self._starts_within_s, 0.1, self.is_running)

    def _why(self, reason: str, alive: bool, say: Say) -> str:
        """Why it was not healthy, with the end of its log."""
        how = f"not healthy within {self._starts_within_s:g} s" if alive else "its process ended"
        say(f"{how}; stopped")
        lines = [line[:_LINE_CHARACTERS] for line in self.clean(self.place.tail()).splitlines()[-_LOG_LINES:]]
        return "\n".join([f"{how}: {reason}", *(["the end of its log:", *lines] if lines else [])])

    def _spawn(self, deployment: ReleaseRecord) -> None:
        """In the host's network."""
        argv, mounts, environment = self._program(deployment, deployment.port or 0, None)
        confinement.start(argv, mounts, environment, network=True, mark=self.place.mark, log=self.place.log)

    def _spawn_in_own(self, deployment: ReleaseRecord, ways: Ways) -> ReleaseRecord:
        argv, mounts, environment = self._program(deployment, ways.port, ways)
        python = deployment.toolchain / "bin" / "python"
        with own_network(self.place.folder, python, ways, self.place.mark) as net:
            deployment = self.place.save(deployment.model_copy(update={"port": ways.port, "door": net.door}))
            confinement.start(
                [*net.launcher, *argv],
                [*mounts, *net.mounts],
                {**net.environment, **environment},
                network=False,
                mark=self.place.mark,
                log=self.place.log,
                descriptors=net.descriptors,
                files=net.files,
            )
        return deployment

    def _program(
        self, deployment: ReleaseRecord, port: int, ways: Ways | None
    ) -> tuple[list[str], list[Bind], dict[str, str]]:
        """Command line, mounts and environment of the service that listens on a port."""
        command = deployment.run.replace("{port}", str(port)).replace("{host}", "127.0.0.1")
        command = command.replace("{release}", deployment.revision)
        mounts = [
            *confinement.toolchain_mounts(deployment.toolchain, self.keep_out),
            Bind(self.place.tree, APP),
            Bind(owned(self.data), DATA, writable=True),
        ]
        environment = {**self._environment(deployment, ways), "PORT": str(port)}
        return ["/bin/sh", "-c", _SERVE, "release", command], mounts, environment

    def _environment(self, deployment: ReleaseRecord, ways: Ways | None) -> dict[str, str]:
        """From scratch. What the platform says of the release, nobody says otherwise."""
        return {
            **confinement.base_environment(deployment.toolchain),
            **deployment.environment,
            **{name: ways.as_seen_inside(value) if ways else value for name, value in self.settings.items()},
            "RELEASE_ID": deployment.revision,
            "DATA_DIR": DATA,
        }


def _reached(ways: Ways) -> str:
    """What it reaches, for people."""
    named = [f"{address.host}:{address.port}" for address in ways.addresses]
    named += sorted({host for rule in ways.passport.rules for host in rule.hosts}) if ways.passport else []
    return f"from where it reaches {', '.join(named)} and nothing else" if named else "from where it reaches nothing"


def _is_taken(port: int | None) -> bool:
    """Whether somebody listens on a loopback port."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port or 0))
        except OSError:
            return True
    return False
