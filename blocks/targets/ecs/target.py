"""Amazon ECS: releases as task definitions of one service, which ECS brings to the traffic step by step at our word."""

import shlex
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Self

from pydantic import PrivateAttr

from blocks.targets.asking import connection_to, settle_by
from blocks.targets.ecs import rollout as ecs_rollout
from blocks.targets.ecs.definitions import Definition, ReleaseSettings, digest_in
from blocks.targets.ecs.drive import Drive
from blocks.targets.ecs.service import Progress
from blocks.targets.ecs.settings import EcsSettings
from blocks.targets.health_probe import probe_by, serving_by
from blocks.targets.timeline import Say, quietly
from domain.errors import TargetError
from domain.health import HealthReading, Sight
from domain.ports import ReleaseBuild
from domain.rollout import Look

ImageOf = Callable[[str, ReleaseBuild], str]
"""Revision and build → the release's image where ECS can pull it, as REPOSITORY@sha256:DIGEST. Safe to repeat."""

_NO_IMAGES = "nobody pushes images for this ECS target: set its `repository`"
_SEEN = 5
"""So many answers in a row say that a release is well, or serves again."""
_SEEN_SOON_S = 10.0
"""One that ECS calls healthy is seen to be so within this."""


class EcsTarget(EcsSettings):
    """One ECS service. It is found again by what ECS says alone, so each verb is repeatable from anywhere."""

    _block_type_name = "Lockgate ECS target"
    _block_type_slug = "lockgate-ecs-target"
    _description = "Runs releases on Amazon ECS, with its own canary, circuit breaker and rollback."

    _token: int | None = PrivateAttr(None)
    _say: Say = PrivateAttr(default_factory=lambda: quietly)
    _image_of: ImageOf | None = PrivateAttr(None)

    @property
    def runs_images(self) -> bool:
        return True

    @property
    def migrates(self) -> bool:
        return True

    @property
    def splits(self) -> bool:
        return self.strategy == "canary"

    def under(self, token: int, say: Say) -> Self:
        twin = self.model_copy()
        twin._token, twin._say = token, say
        return twin

    def with_images(self, image_of: ImageOf) -> Self:
        """The same target, with who builds and pushes its images."""
        twin = self.model_copy()
        twin._image_of = image_of
        return twin

    def preflight(self) -> str | None:
        if self._image_of is None:
            return _NO_IMAGES
        try:
            shape, template = self._service.shape(), self._template()
        except TargetError as err:
            return str(err)
        if (kind := shape.get("deploymentController", {}).get("type", "ECS")) != "ECS":
            return f"the service {self.service} is deployed by {kind}: only the controller ECS is driven from here"
        if not template.port:
            return f"{template.name} has no port mapping for {self.container}: say where it listens"
        balancers = shape.get("loadBalancers", [])
        if self.splits and not (balancers and all("advancedConfiguration" in one for one in balancers)):
            return (
                f"the service {self.service} has no load balancer with a second target group (advancedConfiguration), "
                "which a canary needs: give it one, or choose strategy rolling"
            )
        return ecs_rollout.shares_problem(self.rollout.shares) if self.splits else None

    def prepare(self, revision: str, build: ReleaseBuild) -> str:
        self._fence()
        if self._image_of is None:
            raise TargetError(_NO_IMAGES)
        image = self._image_of(revision, build)
        if served := self._served(revision):
            if digest_in(image) != served.pinned(self.container):
                raise TargetError(
                    f"{revision} serves now as {served.name}, and was built as {image}: release another one"
                )
            return digest_in(image)
        settings = ReleaseSettings(self.environment, self.secrets, self.runs_command)
        definition, is_new = self._definitions.make(self._template(), revision, image, build, settings)
        if is_new:
            self._say(f"registered {definition.name} with {image}")
        return digest_in(image)

    def migrate(self, revision: str) -> str | None:
        """In a task of its own, with the release's image, roles and secrets. Safe to repeat where the command is."""
        self._fence()
        definition = self._definitions.of(revision)
        if not definition.migrate:
            return None
        self._say(f"migrating: {definition.migrate}")
        place = self._service.place()
        why = self._tasks.run_once(
            definition, shlex.split(definition.migrate), place, self.migrate_timeout_s, self.poll_s
        )
        return f"the migration failed: {why}" if why else None

    def start(self, revision: str) -> str | None:
        self._fence()
        definition, service = self._definitions.of(revision), self._service
        now = service.newest()
        if now and now.target == definition.arn and not now.goes_back and (now.is_ongoing or now.has_all):
            return self._started(definition, now)
        self._drive.end(now)
        self._remember_origin()
        is_first = service.serves() is None
        shares = () if is_first else self.rollout.shares
        configuration = (
            ecs_rollout.paused(shares, self.breaker_failures, self.pause_minutes, self.ready_minutes)
            if self.splits
            else ecs_rollout.rolling(self.breaker_failures)
        )
        begun = service.update(definition.arn, configuration, self._count())
        self._say(f"ECS deploys {definition.name} ({configuration['strategy']})")
        return self._started(definition, begun)

    def probe(self, revision: str) -> HealthReading:
        definition = self._definitions.of(revision)
        if self.asks_tasks:
            return self._tasks.ask(definition, revision, str, self._tasks.addresses(definition))
        return self._tasks.said_by_ecs(definition)

    def shift(self, revision: str, share: int) -> None:
        """Where ECS went back by itself meanwhile, nothing: the watch that follows says so."""
        self._fence()
        now = self._drive.on(self._definitions.of(revision).arn, lambda now: (now.weight or 0) >= share)
        self._say(f"{now.weight or 0:g} % of the traffic go to {revision[:12]}")

    def observe(self, revision: str) -> "EcsWatch":
        return EcsWatch(self, self._definitions.of(revision))

    def promote(self, revision: str) -> None:
        """Where ECS went back by itself meanwhile, nothing: the watch that follows says so."""
        self._fence()
        definition = self._definitions.of(revision)
        now = self._drive.on(definition.arn, lambda now: now.has_all)
        if now.has_all and self._service.primary() != definition.arn:
            raise TargetError(
                f"{now.arn} is {now.status}, and PRIMARY is {self._service.primary()}, not {definition.name}"
            )
        self._say(f"{100 if now.has_all else now.weight or 0:g} % of the traffic go to {revision[:12]}")

    def rollback(self, revision: str | None, when_back: Callable[[], None] | None = None) -> None:
        self._go_back(revision)
        if when_back:
            when_back()

    def _go_back(self, revision: str | None) -> None:
        self._fence()
        service = self._service
        wanted, count = self._way_back(revision)
        now = service.newest()
        if now and now.is_ongoing and not (now.target == wanted and now.has_all):
            self._taken_back(now)
        if count == 0 or wanted is None:
            service.scale(0)
            self._say("no task shall run: no release is serving")
            return
        if service.primary() != wanted or service.serves() != wanted:
            configuration = (ecs_rollout.at_once if self.splits else ecs_rollout.rolling)(self.breaker_failures)
            self._drive.again(wanted, configuration, count)
        if (primary := service.primary()) != wanted:
            raise TargetError(f"PRIMARY is {primary} after the way back, not {wanted}")
        if revision is not None:
            self._see(revision, self._definitions.get(wanted))

    def cleanup(self, keep: Collection[str]) -> None:
        """Old tasks are stopped by ECS itself, `ready_minutes` after the last shift. Old task definitions go here."""
        self._fence()
        for name in self._definitions.retire(keep, self.keep_releases, self._service.primary()):
            self._say(f"{name} is no longer active")

    def current(self) -> str | None:
        serves = self._service.serves()
        if serves is None:
            return None
        definition = self._definitions.get(serves)
        return serving_by(lambda: connection_to(self.public), definition.health, lambda _: definition.revision)

    def pointed(self) -> str | None:
        serves = self._service.serves()
        return self._definitions.get(serves).revision if serves else None

    def url(self) -> str:
        return self.public.rstrip("/")

    def logs(self, revision: str) -> str:
        definition = self._definitions.find(revision)
        return self._tasks.logs(definition) if definition else ""

    def evidence(self, revision: str) -> Mapping[str, Any]:
        definition = self._definitions.find(revision)
        if definition is None:
            return {"public": self.public}
        progress = self._service.newest(definition.arn)
        return {
            "public": self.public,
            "task_definition": definition.name,
            "deployment": progress
            and {"status": progress.status, "reason": progress.reason, "weight": progress.weight},
            "tasks": self._tasks.evidence(definition),
        }

    def artifact(self, revision: str) -> str | None:
        """Digests of the images that its tasks run; where none runs, the one that its task definition is pinned to."""
        definition = self._definitions.find(revision)
        if definition is None:
            return None
        return ", ".join(sorted(self._tasks.digests(definition))) or definition.pinned(self.container)

    def ensure(self) -> tuple[str, ...]:
        """ECS keeps its tasks running by itself; only what `stop` scaled to nothing is brought back."""
        self._fence()
        count = int(self._service.tags().get("lockgate:count") or 0)
        if count == 0 or self._service.shape()["desiredCount"]:
            return ()
        self._service.scale(count)
        self._service.tag(count="0")
        return (f"{self.service} has {count} tasks again",)

    def stop(self) -> bool:
        self._fence()
        count = int(self._service.shape()["desiredCount"])
        if count:
            self._service.tag(count=str(count))
            self._service.scale(0)
        return count > 0

    def public_of(self, definition: Definition, has_all: bool) -> HealthReading:
        """What the public address says, asked for a release. Who answered is seen where ECS sends all to that one."""
        how = f"by way of the load balancer, whose traffic ECS sends to {definition.name} alone"
        sight = Sight(is_it=True, how=how) if has_all else None
        url, revision = self.url(), definition.revision or ""
        return probe_by(lambda: connection_to(url), url, definition.health, revision, str, lambda _: sight)

    def has_all(self, definition: Definition) -> bool:
        """Whether ECS sends it all of the traffic, and nothing is on its way."""
        now = self._service.newest()
        is_there = now is None or now.is_over or (now.target == definition.arn and now.has_all)
        return is_there and self._service.serves() == definition.arn

    def trouble(self, definition: Definition) -> str | None:
        """What ECS does to a release by itself."""
        now = self._service.newest(definition.arn)
        if now is None:
            return "ECS knows no deployment of it"
        if now.goes_back or now.status in ("STOPPED", "STOP_REQUESTED"):
            return (
                f"ECS took it back ({now.status}): {now.reason}; its newest stopped task: {self._tasks.why(definition)}"
            )
        primary = self._service.primary()
        return f"PRIMARY is {primary}, not {definition.name}" if primary != definition.arn else None

    def _served(self, revision: str) -> Definition | None:
        """The task definition of a release that has the traffic."""
        serves = self._service.serves()
        served = self._definitions.get(serves) if serves else None
        return served if served and served.revision == revision else None

    def _started(self, definition: Definition, begun: Progress) -> str | None:
        """Wait until it is up; a rolling one, until it has the traffic. What does not get there goes back."""
        within_s, revision = definition.health.starts_within_s(self.start_timeout_s), definition.revision or ""
        now = self._drive._replace(start_timeout_s=within_s).up(begun)
        if now.goes_back or now.status == "STOPPED":
            end = self._taken_back(now)
            return f"ECS took it back ({end.status}): {end.reason} {self._tasks.why(definition)}"
        problem = None
        if not (now.hook or now.has_all):
            problem = f"not healthy within {within_s:g} s: {self._tasks.why(definition)}"
        elif (primary := self._service.primary()) != definition.arn:
            problem = f"PRIMARY is {primary}, not {definition.name}"
        elif self.asks_tasks:
            problem = settle_by(lambda: self.probe(revision), _SEEN, _SEEN_SOON_S, 0.1)
        if problem is None:
            self._say(f"{definition.name} runs and is healthy")
        elif now.is_ongoing:
            self._taken_back(now)
        return problem

    def _taken_back(self, progress: Progress) -> Progress:
        """End a deployment that failed, and go back. If no release ran before, the service is scaled to 0 tasks: ECS
        would go back to the task definition that the service was made with, which need not even start."""
        source = self._definitions.get(progress.source) if progress.source else None
        if source is None or source.revision is not None or self._way_back(None)[1]:
            return self._drive.back(progress)
        if progress.is_ongoing and not progress.goes_back:
            self._service.stop(progress)
        self._service.scale(0)
        return self._service.wait(progress.arn, lambda now: not now.is_ongoing, self.back_timeout_s)

    def _see(self, revision: str, definition: Definition) -> None:
        def ask() -> HealthReading:
            return self.public_of(definition, self.has_all(definition))

        if said := settle_by(ask, _SEEN, self.back_timeout_s, 0.1):
            raise TargetError(f"{revision} is not seen serving at {self.url()}: {said}")
        self._say(f"{revision} seen serving in {_SEEN} public answers in a row")

    def _way_back(self, revision: str | None) -> tuple[str | None, int]:
        """Task definition and count to go back to. Without a release: what the service ran before the first one."""
        if revision is not None:
            return self._definitions.of(revision).arn, self._count()
        name, _, count = self._service.tags().get("lockgate:origin", "").partition(" ")
        return (self._definitions.get(name).arn, int(count)) if name else (None, 0)

    def _remember_origin(self) -> None:
        """What ran before the first release, for the way back to it."""
        primary = self._definitions.get(self._service.primary())
        if primary.revision is None and "lockgate:origin" not in self._service.tags():
            self._service.tag(origin=f"{primary.name} {self._service.shape()['desiredCount']}")

    def _count(self) -> int:
        return self.count or max(1, int(self._service.shape()["desiredCount"]))

    def _template(self) -> Definition:
        return self._definitions.get(self.template or self._service.primary())

    def _fence(self) -> None:
        if self._token is not None:
            self._service.fence(self._token, self.name)

    @property
    def _drive(self) -> Drive:
        return Drive(self._service, self.start_timeout_s, self.back_timeout_s, self._say)


class EcsWatch:
    """In public and, where there is a way to its tasks, in private. ECS is asked every `poll_s`: it limits the rate."""

    def __init__(self, target: EcsTarget, definition: Definition) -> None:
        self._target, self._definition = target, definition
        self._revision = definition.revision or ""
        self._asked_at: float | None = None
        self._problem: str | None = None
        self._addresses: tuple[str, ...] = ()
        self._has_all = False

    def look(self) -> Look:
        target, definition = self._target, self._definition
        if self._asked_at is None or time.monotonic() - self._asked_at > target.poll_s:
            self._problem = target.trouble(definition)
            self._addresses = target._tasks.addresses(definition) if target.asks_tasks else ()
            self._has_all = self._problem is None and target.has_all(definition)
            self._asked_at = time.monotonic()
        private = None
        if target.asks_tasks:
            private = target._tasks.ask(definition, self._revision, str, self._addresses)
            if not private.is_healthy:
                self._asked_at = None  # its task may be another one by now
        public = target.public_of(definition, self._has_all)
        if private is None and public.release is None and not self._has_all:
            private = target._tasks.said_by_ecs(definition)  # nobody can say whose answer the public one was
        return Look(public=public, private=private, problem=self._problem)

    def close(self) -> None:
        """Nothing is held."""
