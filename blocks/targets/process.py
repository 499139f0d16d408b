"""The embedded target: releases as confined processes of this machine, behind one Caddy. Needs no engine, no root."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from prefect.blocks.fields import SecretDict
from pydantic import Field

from blocks.base import LockgateBlock
from blocks.home import home
from blocks.targets import confinement
from blocks.targets.bake import bake, settle, traffic
from blocks.targets.caddy import Caddy, caddy_binary
from blocks.targets.files import locked
from blocks.targets.health_probe import serving
from blocks.targets.releases import Deployment, Releases
from blocks.targets.secrets import Redactor
from blocks.targets.service import Service
from blocks.targets.timeline import Timeline
from domain.errors import TargetError
from domain.ports import ReleaseBuild
from domain.task import Health, Release

_SEEN_BACK = 5
"""So many public answers in a row say that a release serves again."""

_LOG_TAIL = 4000


class ProcessTarget(LockgateBlock):
    """One environment on this machine. All of it outlives the worker and is found again; each method is repeatable."""

    _block_type_name = "Lockgate process target"
    _block_type_slug = "lockgate-process-target"
    _description = "Runs releases as confined processes of this machine behind a Caddy that drops no request."

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the environment")
    root: Path = Field(default_factory=lambda: home() / "targets", description="Directory where targets are kept")
    host: str = Field("127.0.0.1", description="Public IPv4 address; 0.0.0.0 serves other machines too")
    port: int = Field(ge=1, le=65535, description="Public port")
    environment: dict[str, str] = Field({}, description="Variables for releases here; they win over the project's own")
    secrets: SecretDict = Field(
        default_factory=lambda: SecretDict({}), description="Secret variables, granted to releases here and no one else"
    )
    bake_s: float = Field(5.0, ge=0, description="Seconds that a new release is watched on the public address")
    probe_interval_s: float = Field(0.25, gt=0, description="Seconds between two looks at it")
    max_error_share: float = Field(0.1, ge=0, le=1, description="Share of users' requests that may end in HTTP 5xx")
    start_timeout_s: float = Field(30, gt=0, description="Seconds in which a release must become healthy")
    migrate_timeout_s: float = Field(300, gt=0, description="Seconds that a migration may take")
    keep_releases: int = Field(3, ge=2, description="Releases that are kept on disk for going back")
    drain_s: float = Field(2.0, ge=0, description="Seconds for requests under way once the traffic has left a release")

    def preflight(self) -> str | None:
        """None where a release can be made here, else why not and what to do."""
        try:
            caddy_binary()
        except TargetError as err:
            return str(err)
        return confinement.problem() or (self._caddy.taken if self._caddy.is_taken() else None)

    def release(self, environment: str, revision: str, previous: str | None, build: ReleaseBuild) -> Release:
        """Write, migrate, start, probe in private, then shift the traffic. Idempotency key: the revision.

        A release that could not take the traffic says so in `problem`: it is stopped and the traffic is where it was.
        Raises TargetError where this machine fails, not the release.
        """
        with self._locked(environment):
            timeline, before = self._timeline_of_proxy(), self._serving()
            service = self._service(revision)
            deployment = service.prepare(build, previous, before == revision, timeline.say)
            problem = None
            if before != revision:
                problem = service.migrate(timeline.say) or service.start(timeline.say)
            if problem is None:
                self._releases.number(revision)
                self._shift(revision, timeline)
                self._clean_up({revision, previous, before}, timeline)
            return Release(
                environment=environment,
                revision=revision,
                artifact=deployment.artifact,
                url=f"http://{self._address}",
                previous=previous,
                problem=problem,
                timeline=timeline.lines,
            )

    def observe(self, release: Release, health_path: str) -> Health:
        """Watch the public address for `bake_s` and at least 12 answers, then see in the access log who gave them."""
        self._check(release.environment)
        place, timeline, since = self._releases.place(release.revision), self._timeline(), time.time()
        deployment = place.get()
        seen, reason = bake(self._address, health_path, place.revision, self.bake_s, self.probe_interval_s,
                            timeline.say, self._redactor)  # fmt: skip
        if reason is None:
            answered = traffic(self._caddy.access_log, since, deployment.upstream, health_path)
            timeline.say(f"{deployment.upstream} answered {answered.requests} requests, {answered.of_users} of users")
            reason = answered.problem(self.max_error_share)
        elif not self._service(place.revision).is_running():
            reason += "; its process has ended"
        if reason is None and self._caddy.is_taken():
            reason = f"another program listens on the public port {self.port} too"
        if reason is None and place.artifact(deployment) != release.artifact:
            reason = f"its files in {place.tree} are not artifact {release.artifact[:12]}"
        sentence = reason or f"healthy and itself in {seen} public answers"
        timeline.say(sentence)
        return Health(
            revision=release.revision,
            healthy=reason is None,
            reason=sentence,
            observations=seen,
            timeline=timeline.lines,
            log_tail=self.logs(release.environment, release.revision)[-_LOG_TAIL:],
        )

    def restore(self, environment: str, revision: str | None) -> tuple[str, ...]:
        """Traffic back to `revision`, seen serving in public; only then are the releases after it stopped.

        Raises TargetError where it is not seen: the traffic may be at either then, and nothing else was stopped.
        """
        with self._locked(environment):
            timeline = self._timeline_of_proxy()
            if revision is None:
                self._caddy.point(None)
                timeline.say("the traffic goes nowhere: the public address answers 503, no release is serving")
            else:
                self._bring_back(revision, timeline)
            later = [other for other in self._releases.after(revision) if self._service(other).is_running()]
            if later:
                time.sleep(self.drain_s)  # the traffic has left them, requests under way have not
            self._stop(later, timeline)
            return timeline.lines

    def current(self, environment: str) -> str | None:
        """The revision that the public address says it runs, or None."""
        self._check(environment)
        pointed = self._pointed()
        return serving(self._address, pointed.health) if pointed else None

    def pointed(self, environment: str) -> str | None:
        """The revision that the traffic goes to, whether or not it answers; None where it goes nowhere."""
        self._check(environment)
        pointed = self._pointed()
        return pointed.revision if pointed else None

    def logs(self, environment: str, revision: str) -> str:
        """The end of what a release printed, without the secrets it was given; empty where there is none."""
        self._check(environment)
        return self._redactor(self._releases.place(revision).tail())

    def ensure(self) -> tuple[str, ...]:
        """Proxy and current release run, as after a reboot; what had to be done, as lines. Safe to repeat."""
        if not self._folder.is_dir():
            return ()
        with self._locked(self.name):
            timeline, pointed = self._timeline_of_proxy(), self._pointed()
            if pointed and not self._service(pointed.revision).is_running():
                self._bring_back(pointed.revision, timeline)
            for place in self._releases.all():
                place.tail()
            return timeline.lines

    def artifact(self, revision: str) -> str | None:
        """Digest of the release as it lies there now, recomputed; None where there is none."""
        place = self._releases.place(revision)
        deployment = place.load()
        return place.artifact(deployment) if deployment else None

    def stop(self) -> bool:
        """Stop the proxy and every release; whether anything ran. `ensure` brings back what served."""
        if not self._folder.is_dir():
            return False
        with self._locked(self.name):
            ran = self._caddy.stop(grace_s=self.drain_s)
            return self._stop([place.revision for place in self._releases.all()], self._timeline()) or ran

    def _bring_back(self, revision: str, timeline: Timeline) -> None:
        if problem := self._service(revision).start(timeline.say):
            raise TargetError(f"{revision} cannot serve: {problem}")
        path = self._shift(revision, timeline).health
        if said := settle(self._address, path, revision, _SEEN_BACK, self.start_timeout_s, self.probe_interval_s,
                          self._redactor):  # fmt: skip
            raise TargetError(f"{revision} is not seen serving at {self._address}: {said}")
        timeline.say(f"{revision} seen serving in {_SEEN_BACK} public answers in a row")

    def _shift(self, revision: str, timeline: Timeline) -> Deployment:
        deployment = self._releases.place(revision).get()
        if self._caddy.pointed() != deployment.upstream:
            self._caddy.point(deployment.upstream)
            timeline.say(f"the traffic goes to port {deployment.port}")
        return deployment

    def _clean_up(self, needed: set[str | None], timeline: Timeline) -> None:
        """Only who serves and who served before run on; of the others, the newest stay on disk."""
        revisions = [place.revision for place in self._releases.all()]
        others = [revision for revision in revisions if revision not in needed]
        self._stop(others, timeline)
        for revision in others[max(0, self.keep_releases - (len(revisions) - len(others))) :]:
            self._releases.place(revision).forget()

    def _stop(self, revisions: list[str], timeline: Timeline) -> bool:
        stopped = [revision for revision in revisions if self._service(revision).stop()]
        for revision in stopped:
            timeline.say(f"stopped {revision}")
        return bool(stopped)

    def _timeline_of_proxy(self) -> Timeline:
        """A timeline that begins with a proxy that runs."""
        timeline = self._timeline()
        if self._caddy.ensure():
            timeline.say(f"proxy started at {self.host}:{self.port}")
        return timeline

    def _timeline(self) -> Timeline:
        return Timeline(self._redactor)

    def _pointed(self) -> Deployment | None:
        """Who has the traffic, as the pointer says."""
        return self._releases.at(self._caddy.pointed())

    def _serving(self) -> str | None:
        """Who has the traffic and runs."""
        pointed = self._pointed()
        return pointed.revision if pointed and self._service(pointed.revision).is_running() else None

    def _service(self, revision: str) -> Service:
        return Service(
            releases=self._releases,
            place=self._releases.place(revision),
            data=self._folder / "data",
            keep_out=home(),
            settings={**self.environment, **self._secrets},
            start_timeout_s=self.start_timeout_s,
            migrate_timeout_s=self.migrate_timeout_s,
            grace_s=self.drain_s,
            clean=self._redactor,
        )

    @property
    def _folder(self) -> Path:
        return self.root.expanduser().absolute() / self.name

    @property
    def _releases(self) -> Releases:
        return Releases(self._folder / "releases")

    @property
    def _caddy(self) -> Caddy:
        return Caddy(self._folder, self.host, self.port)

    @property
    def _address(self) -> str:
        return f"{'127.0.0.1' if self.host == '0.0.0.0' else self.host}:{self.port}"  # noqa: S104  # asked, not bound

    @property
    def _secrets(self) -> dict[str, str]:
        return {name: str(value) for name, value in self.secrets.get_secret_value().items()}

    @property
    def _redactor(self) -> Redactor:
        return Redactor(self._secrets)

    @contextlib.contextmanager
    def _locked(self, environment: str) -> Iterator[None]:
        self._check(environment)
        with locked(self._folder):
            yield

    def _check(self, environment: str) -> None:
        if environment != self.name:
            raise TargetError(
                f"this target runs {self.name!r}, not {environment!r}: name the block of that environment"
            )
