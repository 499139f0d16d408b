"""The embedded target: releases as confined processes of this machine, behind one Caddy. Needs no engine, no root."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from prefect.blocks.fields import SecretDict
from pydantic import Field

from blocks.base import LockgateBlock
from blocks.home import home
from blocks.targets import confinement
from blocks.targets.bake import bake, settle, traffic
from blocks.targets.caddy import Caddy, caddy_binary
from blocks.targets.health_probe import serving
from blocks.targets.releases import Deployment, Place, artifact_of
from blocks.targets.secrets import Redactor
from blocks.targets.service import Service
from domain.errors import TargetError
from domain.ports import ReleaseBuild
from domain.task import Health, Release

_SEEN_BACK = 5
"""So many public answers in a row say that a release serves again."""

_LOG_TAIL = 4000


class ProcessTarget(LockgateBlock):
    """One environment on this machine. Everything outlives the worker and is found again; each method is repeatable."""

    _block_type_name = "Lockgate process target"
    _block_type_slug = "lockgate-process-target"
    _description = "Runs releases as confined processes of this machine behind a Caddy that drops no request."

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the environment")
    root: Path = Field(default_factory=lambda: home() / "targets", description="Where targets are kept")
    host: str = Field("127.0.0.1", description="Public address; 0.0.0.0 serves other machines too")
    port: int = Field(ge=1, le=65535, description="Public port")
    environment: dict[str, str] = Field({}, description="Variables for releases here, before the project's are asked")
    secrets: SecretDict = Field(default_factory=lambda: SecretDict({}), description="Secret variables for releases here")
    bake_s: float = Field(5.0, ge=0, description="Seconds that a new release is watched on the public address")
    probe_interval_s: float = Field(0.25, gt=0, description="Seconds between two looks at it")
    max_error_share: float = Field(0.1, ge=0, le=1, description="Share of users' requests that may end in HTTP 5xx")
    start_timeout_s: float = Field(30, gt=0, description="Seconds in which a release must be healthy")
    migrate_timeout_s: float = Field(300, gt=0, description="Seconds that a migration may take")
    keep_releases: int = Field(3, ge=2, description="Releases whose files are kept for going back")
    drain_s: float = Field(2.0, ge=0, description="Seconds for requests under way after the traffic has left a release")

    def preflight(self) -> str | None:
        """None where a release can be made here, else why not and what to do."""
        try:
            caddy_binary()
        except TargetError as err:
            return str(err)
        return confinement.problem() or (self._caddy.taken if self._caddy.is_taken() else None)

    def release(self, environment: str, revision: str, previous: str | None, build: ReleaseBuild) -> Release:
        """Write, migrate, start, probe, then shift traffic. Idempotency key: the revision.

        A release that cannot take the traffic says so in `problem`; nothing of it runs then, and the traffic is where
        it was. Raises TargetError where this machine fails, not the release.
        """
        with self._locked(environment):
            story = Story()
            if self._caddy.ensure():
                story.say(f"proxy started at {self._address}")
            service = self._service(revision)
            deployment = service.prepare(build, previous, is_serving=self._serving == revision, say=story.say)
            problem = None
            if self._serving != revision:
                problem = service.migrate(story.say) or service.start(story.say)
                if problem is None:
                    self._shift(revision, story)
            if problem is None:
                self._clean_up(keep={revision, deployment.previous}, story=story)
            redact = self._redactor
            return Release(
                environment=environment,
                revision=revision,
                artifact=deployment.artifact,
                url=f"http://{self._address}",
                previous=previous,
                problem=redact.text(problem) if problem else None,
                timeline=redact.lines(story.lines),
            )

    def observe(self, release: Release, health_path: str) -> Health:
        """Watch the public address for `bake_s`, and at least 12 answers; then ask the access log who gave them."""
        service, story, since = self._service(release.revision), Story(), time.time()
        observations, reason = bake(
            self._address, health_path, release.revision, self.bake_s, self.probe_interval_s, story.say
        )
        deployment = service.place.load()
        if deployment is None:
            reason = f"there is no release {release.revision} here"
        elif reason is None:
            seen = traffic(self._caddy.access_log, since, deployment.upstream, health_path)
            story.say(f"{deployment.upstream} answered {seen.requests} requests, {seen.of_users} of them of users")
            reason = seen.problem(self.max_error_share)
        if reason and not service.is_running():
            reason += "; its process has ended"
        story.say(reason or f"healthy in {observations} observations")
        redact = self._redactor
        return Health(
            revision=release.revision,
            healthy=reason is None,
            reason=redact.text(reason or f"healthy in {observations} observations over {self.bake_s:g} s"),
            observations=observations,
            timeline=redact.lines(story.lines),
            log_tail=self.logs(release.environment, release.revision)[-_LOG_TAIL:],
        )

    def restore(self, environment: str, revision: str | None) -> tuple[str, ...]:
        """Traffic back to `revision`, seen serving in public; only then do the releases after it stop.

        Raises TargetError where it cannot be seen; whoever served before may serve still.
        """
        with self._locked(environment):
            story, redact = Story(), self._redactor
            self._caddy.ensure()
            if revision is None:
                self._caddy.point(None)
                story.say("no release shall serve: the public address answers 503")
            else:
                self._bring_back(revision, story)
            back = self._order(revision)
            self._stop([place for place in self._places if self._order(place.folder.name) > back], story)
            return redact.lines(story.lines)

    def current(self, environment: str) -> str | None:
        """The revision that the public address says it runs, or None."""
        self._check(environment)
        deployment = self._pointed()
        return serving(self._address, deployment.health) if deployment else None

    def logs(self, environment: str, revision: str) -> str:
        """The end of what a release printed, without the secrets it was given; empty where there is none."""
        self._check(environment)
        return self._redactor.text(self._service(revision).place.tail())

    def ensure(self) -> tuple[str, ...]:
        """Proxy and current release run, as after a reboot; what had to be done, as lines. Safe to repeat."""
        if not self._folder.is_dir():
            return ()
        with self._locked(self.name):
            story = Story()
            if self._caddy.ensure():
                story.say(f"proxy started at {self._address}")
            for place in self._places:
                place.trim()
            deployment = self._pointed()
            if deployment and not self._service(deployment.revision).is_running():
                self._bring_back(deployment.revision, story)
            return self._redactor.lines(story.lines)

    def artifact(self, revision: str) -> str | None:
        """Digest of the release as it lies there now, recomputed; None where there is none."""
        place = self._service(revision).place
        deployment = place.load()
        return place.artifact(deployment) if deployment else None

    def stop(self) -> bool:
        """Stop the proxy and every release; whether anything ran. `ensure` brings them back."""
        if not self._folder.is_dir():
            return False
        with self._locked(self.name):
            ran = self._caddy.stop(grace_s=self.drain_s)
            ended = [self._service(place.folder.name).stop() for place in self._places]
            return ran or any(ended)

    def _bring_back(self, revision: str, story: "Story") -> None:
        service = self._service(revision)
        if service.place.load() is None:
            raise TargetError(f"{self.name} has no release {revision} any more: release it again")
        if problem := service.start(story.say):
            raise TargetError(self._redactor.text(f"{revision} cannot serve again: {problem}"))
        deployment = self._shift(revision, story)
        last = settle(
            self._address, deployment.health, revision, _SEEN_BACK, self.start_timeout_s, self.probe_interval_s
        )
        if last:
            raise TargetError(self._redactor.text(f"{revision} is not seen serving at {self._address}: {last}"))
        story.say(f"{revision} serves: {_SEEN_BACK} public answers in a row")

    def _shift(self, revision: str, story: "Story") -> Deployment:
        """All traffic to a release that runs. The pointer is moved first: it is the one truth about who serves."""
        place = self._service(revision).place
        deployment = place.load()
        if deployment is None:
            raise TargetError(f"the record of {revision} is gone from {place.folder}")
        if self._caddy.pointed() != deployment.upstream:
            self._caddy.point(deployment.upstream)
            story.say(f"traffic shifted to {deployment.upstream}")
        return deployment

    def _clean_up(self, keep: set[str | None], story: "Story") -> None:
        """Note who came last; stop all but it and the one before; forget what is older than `keep_releases`."""
        newest = max(map(self._order, self._revisions), default=0)
        serving_now = self._serving
        for place in self._places:
            deployment = place.load()
            if deployment and deployment.revision == serving_now and (deployment.order == 0 or deployment.order < newest):
                place.save(deployment.model_copy(update={"order": newest + 1}))
        ordered = sorted(self._places, key=lambda place: self._order(place.folder.name), reverse=True)
        others = [place for place in ordered if place.folder.name not in keep]
        for place in others:
            if self._service(place.folder.name).stop():
                story.say(f"stopped {place.folder.name}, released earlier")
        for place in others[max(0, self.keep_releases - len(ordered) + len(others)) :]:
            place.forget()

    def _stop(self, places: list[Place], story: "Story") -> None:
        running = [place for place in places if self._service(place.folder.name).is_running()]
        if running:
            time.sleep(self.drain_s)  # the traffic has left them, requests under way have not
        for place in running:
            self._service(place.folder.name).stop()
            story.say(f"stopped {place.folder.name}")

    def _service(self, revision: str) -> Service:
        if not revision.isalnum():
            raise TargetError(f"{revision!r} is no revision: a commit id is letters and digits")
        return Service(
            place=Place(self._folder / "releases" / revision),
            data=self._folder / "data",
            keep_out=home(),
            settings=self.environment,
            secrets=self._secret_values,
            start_timeout_s=self.start_timeout_s,
            migrate_timeout_s=self.migrate_timeout_s,
            grace_s=self.drain_s,
        )
