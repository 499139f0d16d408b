"""A target on one machine behind one Caddy: everything but how a release runs, which is a `ProxiedService`."""

import contextlib
import shutil
import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from prefect.blocks.fields import SecretDict
from pydantic import Field, PrivateAttr

from blocks.base import LockgateBlock
from blocks.home import home
from blocks.host.files import locked
from blocks.targets.asking import settle_by
from blocks.targets.fencing import fenced
from blocks.targets.health_probe import UPSTREAM, probe, serving
from blocks.targets.machine.access_log import Follow
from blocks.targets.machine.caddy import IDLE_S, LOOPBACK, Caddy, caddy_binary
from blocks.targets.releases import FOLDER, ReleaseDirectory, ReleaseRecord, Releases
from blocks.targets.secrets import ReleaseRedactor
from blocks.targets.timeline import Say, quietly
from domain.errors import Fenced, NotServing, TargetError
from domain.health import HealthReading, HttpAnswer, Sight
from domain.ports import ReleaseBuild
from domain.rollout import Look, Rollout

_SEEN_BACK = 5
"""So many public answers in a row say that a release serves again."""
_LOOK_S = 0.05
_SEEN_SOON_S = 3.0
"""One that ran all the time is seen within this, or started anew."""


class ProxiedService(Protocol):
    """One release on this machine. Which of it runs is seen, not remembered."""

    @property
    def place(self) -> ReleaseDirectory: ...

    def prepare(self, build: ReleaseBuild, serves: bool, say: Say) -> ReleaseRecord:
        """Its files or image, and its record. Safe to repeat; a build that is not the one on record takes its place.

        Raises TargetError if that one serves now.
        """

    def migrate(self, say: Say) -> str | None:
        """None if the data is at its schema, else why not."""

    def start(self, say: Say) -> str | None:
        """None when it answers in private, healthy and with its own releaseId; else why not, and then it is stopped."""

    def is_running(self) -> bool: ...

    def probe(self) -> HealthReading:
        """What it says in private."""

    def requests(self) -> int | None:
        """How many requests it has under way, open WebSockets and event streams among them; None: nobody can see."""

    def stop(self) -> bool:
        """Whether anything of it ran. Safe to repeat."""

    def forget(self) -> None:
        """Nothing of it is kept on this machine. Safe to repeat."""

    def tail(self) -> str:
        """The end of what it printed."""

    def evidence(self) -> Mapping[str, Any]:
        """What is known of its process or container."""

    def artifact(self) -> str | None:
        """The digest, of what is there now."""


class ProxiedTarget(LockgateBlock):
    """One environment on this machine. All of it outlives the worker and is found again; each verb is repeatable."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the environment")
    root: Path = Field(default_factory=lambda: home() / "targets", description="Directory where targets are kept")
    host: str = Field("127.0.0.1", description="Public IPv4 address; 0.0.0.0 serves other machines too")
    port: int = Field(ge=1, le=65535, description="Public port")
    machine: str = Field(
        "", description="Name of the machine of the station where releases live; default: the station's own"
    )
    trusted_proxies: tuple[str, ...] = Field(
        LOOPBACK, description="Networks of what stands before this address and ends TLS: its X-Forwarded-* are believed"
    )
    environment: dict[str, str] = Field({}, description="Variables for releases here; they win over the project's own")
    secrets: SecretDict = Field(
        default_factory=lambda: SecretDict({}), description="Secret variables, granted to releases here and no one else"
    )
    rollout: Rollout = Field(Rollout(), description="How fast a release gets the traffic, and what it may do to it")
    start_timeout_s: float = Field(30, gt=0, description="Seconds in which a release must become healthy")
    migrate_timeout_s: float = Field(300, gt=0, description="Seconds that a migration may take")
    keep_releases: int = Field(3, ge=2, description="Releases that are kept on disk for going back")
    drain_s: float = Field(
        30.0, ge=0, description="Seconds at most for requests under way once the traffic has left a release"
    )
    stop_s: float = Field(5.0, ge=0, description="Seconds that a release has to end by itself after SIGTERM")

    _token: int | None = PrivateAttr(None)
    _say: Say = PrivateAttr(default_factory=lambda: quietly)

    @abstractmethod
    def _service(self, revision: str) -> ProxiedService: ...

    @abstractmethod
    def _missing(self) -> str | None:
        """What this machine lacks for a release to run, and the fix; None: nothing."""

    @property
    def runs_images(self) -> bool:
        return False

    @property
    def migrates(self) -> bool:
        return True

    @property
    def splits(self) -> bool:
        return True

    def under(self, token: int, say: Callable[[str], None]) -> Self:
        twin = self.model_copy()
        twin._token, redactor = token, self._redactor
        twin._say = lambda line: say(redactor(line))
        return twin

    def preflight(self) -> str | None:
        """None if a release can be made here, else why not and what to do."""
        try:
            caddy_binary()
        except TargetError as err:
            return str(err)
        return self._missing() or (self._caddy.taken if self._caddy.is_taken() else None)

    def prepare(self, revision: str, build: ReleaseBuild) -> str:
        with self._locked():
            self._with_proxy()
            return self._service(revision).prepare(build, self._serving() == revision, self._say).artifact

    def migrate(self, revision: str) -> str | None:
        with self._locked():
            return None if self._serving() == revision else self._service(revision).migrate(self._say)

    def start(self, revision: str) -> str | None:
        with self._locked():
            self._with_proxy()
            if self._caddy.split()[1]:  # left by a worker that was killed
                self._caddy.point(self._caddy.pointed())
                self._say("no release has a share of the traffic any more")
                self._drain([place.revision for place in self._releases.all() if place.revision != self._serving()])
            return self._service(revision).start(self._say)

    def probe(self, revision: str) -> HealthReading:
        return self._service(revision).probe()

    def public(self, deployment: ReleaseRecord) -> HealthReading:
        """What the public address says, asked for a release."""

        def see(answer: HttpAnswer) -> Sight | None:
            from_ = answer.headers.get(UPSTREAM.lower())
            return Sight(is_it=from_ == deployment.upstream, how=f"from {from_}, by the proxy") if from_ else None

        return probe(self.address, deployment.health, deployment.revision, self._redactor, see, **self._caddy.as_probe)

    def public_by_a_proxy(self, deployment: ReleaseRecord) -> HealthReading:
        """The same, but a proxy that had ended says nothing of the release: it is brought back, and asked again."""
        at = time.clock_gettime(time.CLOCK_BOOTTIME)
        reading = self.public(deployment)
        if reading.code is not None or not self._caddy.is_new(at):
            return reading
        with self._locked():  # whoever watches this environment may be about to start it
            self._with_proxy()
        return self.public(deployment)

    def shift(self, revision: str, share: int) -> None:
        with self._locked():
            self._with_proxy()
            upstream = self._releases.place(revision).get().upstream
            if self._caddy.split() != (upstream, share):
                self._caddy.share(upstream, share)
                self._say(f"{share} % of the traffic go to {upstream}")

    def promote(self, revision: str) -> None:
        with self._locked():
            self._with_proxy()
            self._releases.number(revision)
            self._point(revision)

    def rollback(self, revision: str | None, when_back: Callable[[], None] | None = None) -> None:
        with self._locked():
            self._with_proxy()
            if revision is None:
                self._caddy.point(None)
                self._say("the traffic goes nowhere: the public address answers 503, no release is serving")
            else:
                self._bring_back(revision)
            later = self._releases.after(revision)
        if when_back is None:
            self._retire(later)
            return
        when_back()
        try:
            self._retire(later)
        except Fenced:
            self._say("another run acts here by now: it stops what has lost the traffic")

    def cleanup(self, keep: Collection[str]) -> None:
        with self._locked():
            revisions = [place.revision for place in self._releases.all()]
        others = [revision for revision in revisions if revision not in keep]
        self._retire(others)
        with self._locked():
            for revision in others[max(0, self.keep_releases - (len(revisions) - len(others))) :]:
                self._service(revision).forget()

    def observe(self, revision: str) -> "ProxiedWatch":
        deployment, before = self._releases.place(revision).get(), self._pointed()
        return ProxiedWatch(self, deployment, before, Follow(self._caddy.access_log, deployment.health.path))

    def trouble(self, revision: str) -> str | None:
        """What is wrong with a release, or with the public address, that no answer would say."""
        if not self._service(revision).is_running():
            return "its process has ended"
        return self.trouble_at_proxy()

    def trouble_at_proxy(self) -> str | None:
        return f"another program listens on the public port {self.port} too" if self._caddy.is_taken() else None

    def current(self) -> str | None:
        pointed = self._pointed()
        return serving(self.address, pointed.health, self._from, **self._caddy.as_probe) if pointed else None

    def _from(self, answer: HttpAnswer) -> str | None:
        """The release that an answer came from, by the proxy."""
        deployment = self._releases.at(answer.headers.get(UPSTREAM.lower()))
        return deployment.revision if deployment else None

    def pointed(self) -> str | None:
        pointed = self._pointed()
        return pointed.revision if pointed else None

    def url(self) -> str:
        return f"http://{self.address}"

    def logs(self, revision: str) -> str:
        return self._redactor(self._service(revision).tail())

    def evidence(self, revision: str) -> Mapping[str, Any]:
        upstream, share = self._caddy.split()
        split = {"upstream": upstream, "percent": share} if upstream else None
        return {**self._service(revision).evidence(), "public": self.address, "split": split}

    def artifact(self, revision: str) -> str | None:
        return self._service(revision).artifact()

    def ensure(self) -> tuple[str, ...]:
        if not self._folder.is_dir():
            return ()
        lines: list[str] = []
        again = self.model_copy()
        again._say = lines.append
        with again._locked():
            if not again._releases.all():
                return ()  # nothing was released here, or all of it was taken away while we waited
            again._with_proxy()
            pointed = again._pointed()
            if pointed and not again._service(pointed.revision).is_running():
                again._bring_back(pointed.revision)
            for place in again._releases.all():
                again._service(place.revision).tail()  # cuts what has grown too long
        return tuple(map(self._redactor, lines))

    def stop(self) -> bool:
        if not self._folder.is_dir():
            return False
        with self._locked():
            return self._end()

    def _end(self) -> bool:
        ran = self._caddy.stop(grace_s=min(self.drain_s, self.stop_s))
        return self._stop([place.revision for place in self._releases.all()]) or ran

    def remove(self) -> None:
        """End what runs and take all of it away: releases, data and proxy. Safe to repeat."""
        gone = self._folder.with_name(f".{self._folder.name}.gone")
        if self._folder.is_dir():
            with self._locked():
                self._end()
                shutil.rmtree(gone, ignore_errors=True)
                self._folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _bring_back(self, revision: str) -> None:
        """The traffic first where it runs and is well; it is started anew where not."""
        service = self._service(revision)
        is_well = service.is_running() and self.probe(revision).is_healthy
        if is_well and self._is_seen(self._point(revision), _SEEN_SOON_S) is None:
            return
        if problem := service.start(self._say):
            raise NotServing(f"{revision} cannot serve: {problem}")
        deployment = self._point(revision)
        if said := self._is_seen(deployment, deployment.health.starts_within_s(self.start_timeout_s)):
            raise NotServing(f"{revision} is not seen serving at {self.address}: {said}")

    def _is_seen(self, deployment: ReleaseRecord, within_s: float) -> str | None:
        interval_s = min(self.rollout.interval_s, 0.1)

        def ask() -> HealthReading:
            self._with_proxy()  # nobody else can start it while we hold the lock
            return self.public(deployment)

        said = settle_by(ask, _SEEN_BACK, within_s, interval_s)
        if said is None:
            self._say(f"{deployment.revision} seen serving in {_SEEN_BACK} public answers in a row")
        return said

    def _point(self, revision: str) -> ReleaseRecord:
        deployment = self._releases.place(revision).get()
        if self._caddy.pointed() != deployment.upstream or self._caddy.split() != (None, 0):
            self._caddy.point(deployment.upstream)
            self._say(f"the traffic goes to {deployment.upstream}")
        return deployment

    def _retire(self, revisions: list[str]) -> None:
        """Stop releases that have lost the traffic, when their last request is answered. Others may act meanwhile: what
        got traffic again is left alone."""
        self._drain(revisions)
        with self._locked():
            has_traffic = {self._caddy.pointed(), self._caddy.split()[0]} - {None}
            places = ((revision, self._releases.place(revision).load()) for revision in revisions)
            self._stop([revision for revision, known in places if known and known.upstream not in has_traffic])

    def _drain(self, revisions: list[str]) -> None:
        """Until they have no request under way, `drain_s` at most. What is cut then is counted and said."""
        running = [service for revision in revisions if (service := self._service(revision)).is_running()]
        begun, at_first = time.monotonic(), 0
        for service in running:
            before = 0
            while (left := service.requests()) is None or left:
                at_first, before = max(at_first, left or 0), left or before
                if time.monotonic() - begun > max(self.drain_s, 2 * IDLE_S):
                    many = "requests under way, if any, are" if left is None else _counted(left, "is", "are")
                    self._say(f"{many} cut after {self.drain_s:g} s: drain_s gives them longer")
                    break
                time.sleep(_LOOK_S)
            else:
                waited = f" after {time.monotonic() - begun:.1f} s" if at_first else ""
                if before and not service.is_running():
                    said = f"has ended by itself{waited}: {_counted(before, 'is', 'are')} cut with it"
                else:
                    said = f"has no request under way any more{waited}"
                self._say(f"{service.place.revision} {said}")

    def _stop(self, revisions: list[str]) -> bool:
        stopped = [revision for revision in revisions if self._service(revision).stop()]
        for revision in stopped:
            self._say(f"stopped {revision}")
        return bool(stopped)

    def _with_proxy(self) -> None:
        if self._caddy.ensure():
            self._say(f"proxy started at {self.host}:{self.port}")

    def _pointed(self) -> ReleaseRecord | None:
        """Who has the traffic, as the pointer says."""
        return self._releases.at(self._caddy.pointed())

    def _serving(self) -> str | None:
        """Who has the traffic and runs."""
        pointed = self._pointed()
        return pointed.revision if pointed and self._service(pointed.revision).is_running() else None

    @property
    def address(self) -> str:
        """Where this machine asks the public address."""
        return f"{'127.0.0.1' if self.host == '0.0.0.0' else self.host}:{self.port}"  # noqa: S104  # asked, not bound

    @property
    def data(self) -> Path:
        """Where releases here keep what lasts: they see it as DATA_DIR."""
        return self._folder / "data"

    @property
    def _folder(self) -> Path:
        return self.root.expanduser().absolute() / self.name

    @property
    def _releases(self) -> Releases:
        return Releases(self._folder / FOLDER)

    @property
    def _caddy(self) -> Caddy:
        return Caddy(self._folder, self.host, self.port, self.trusted_proxies)

    @property
    def _secrets(self) -> dict[str, str]:
        return {name: str(value) for name, value in self.secrets.get_secret_value().items()}

    @property
    def _redactor(self) -> ReleaseRedactor:
        return ReleaseRedactor(self._secrets)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with locked(self._folder):
            fenced(self._folder / "token", self._token, self.name)
            yield


def _counted(requests: int, one: str, more: str) -> str:
    return f"{requests} {'request' if requests == 1 else 'requests'} under way {one if requests == 1 else more}"


class ProxiedWatch:
    """A release beside the one that had the traffic when this began, in probes and in the access log."""

    def __init__(self, target: ProxiedTarget, new: ReleaseRecord, before: ReleaseRecord | None, log: Follow) -> None:
        self._target, self._new, self._log = target, new, log
        self._old = before if before and before.revision != new.revision else None

    def look(self) -> Look:
        new, old, target = self._new, self._old, self._target
        return Look(
            public=target.public_by_a_proxy(new),
            private=target.probe(new.revision),
            new=self._log.numbers(new.upstream),
            old=self._log.numbers(old.upstream) if old else None,
            answered=self._log.answered(new.upstream),
            problem=target.trouble(new.revision),
        )

    def close(self) -> None:
        self._log.close()
