"""The engine: takes a release to all of the traffic, step by step, and back. It owns order, lock, verdict and record;
a target only acts and reports.

prepare → migrate → start → each share of the traffic, watched → promote → bake. Whatever fails, the traffic goes back
first; why is asked after that.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

from blocks.host import alive
from blocks.ledger.ledger import Ledger
from blocks.targets.timeline import Timeline
from blocks.workshop import Workshop
from domain.errors import Inconclusive, LedgerError, TargetError
from domain.health import HealthCheck
from domain.ports import ReleaseBuild, Target
from domain.records import SHARE_PASSED, SICK, WATCHED
from domain.rollout import Next, Numbers, Outlook, SharePassed, Sick, Window
from domain.task import Health, Release
from tasks.pages import show
from tasks.releasing import lease
from tasks.releasing.bundle import Watched

_LOG_TAIL = 4000

ACTS = ("prepare", "migrate", "start", "shift", "promote", "rollback", "cleanup")
"""Verbs of a target that change something."""


@contextlib.contextmanager
def turn(
    shop: Workshop, environment: str, run: str, *, seize: bool = False, is_resumed: bool = True
) -> Iterator[tuple[Target, Timeline]]:
    """The environment's target, for this run alone, and the timeline of what is done. The lease outlives the context:
    the run's next step has it at once. `seize`: take it from a run that deploys now. `is_resumed`: whether it goes on
    in another process where this one dies; else the lease ends with it.
    """
    process = None if is_resumed else alive.mark_of_this()
    token = (lease.seize if seize else lease.take)(shop.ledger, environment, run, process=process)
    timeline = Timeline(also=show.progress())
    with lease.kept(shop.ledger, environment, run, process=process):
        target = shop.target(environment).under(token, timeline.say)
        yield cast(Target, _Guarded(target, lambda: shop.ledger.check(run))), timeline


class _Guarded:
    """A target that does nothing for a process whose run another one has begun since. A target's own fence is on this
    machine, or at its platform, and knows the environment's token; the run's is in the ledger alone."""

    def __init__(self, target: Target, check: Callable[[], None]) -> None:
        self._target, self._check = target, check

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name not in ACTS:
            return found

        def act(*given: Any, **named: Any) -> Any:
            try:
                self._check()
            except LedgerError:
                if name != "rollback":  # users come first: the target's own fence is enough for the way back
                    raise
            return found(*given, **named)

        return act


class Ship(NamedTuple):
    """One release on its way. The record in the ledger says how far it came."""

    target: Target
    ledger: Ledger
    run: str
    timeline: Timeline
    migrate: Callable[[], str | None] | None = None
    """Brings the environment's database to the release's schema, or says why not; None: the target migrates itself."""

    def release(self, revision: str, previous: str | None, build: ReleaseBuild) -> Release:
        """To all of the traffic, or back where it was with the reason in `problem`. Safe to repeat at any point.

        Raises TargetError if the environment fails, not the release; Inconclusive if nobody can say.
        """
        target = self.target
        artifact = target.prepare(revision, build)
        problem = None
        if (now := target.pointed()) not in (None, revision, previous):
            raise TargetError(
                f"{now} has the traffic of {target.name} now: somebody released it since this run began to release "
                f"{revision[:12]}, which does not take its place"
            )
        if now != revision:
            problem = (
                self._known(revision, artifact)
                or (self.migrate() if self.migrate else target.migrate(revision))
                or target.start(revision)
                or self._rise(revision, previous, artifact)
            )
            if problem is None:
                target.promote(revision)
            elif previous is not None:
                self.timeline.say(f"not well: {problem.splitlines()[0]}")
                target.rollback(previous)
        if problem is None:
            target.cleanup({one for one in (revision, previous) if one})
        return Release(
            environment=target.name,
            revision=revision,
            artifact=artifact,
            url=target.url(),
            previous=previous,
            problem=problem,
            timeline=self.timeline.lines,
        )

    def bake(self, release: Release, check: HealthCheck) -> Health:
        """Watch it with all of the traffic. Where it is sick, the traffic is back before this returns."""
        target = self.target
        looks, numbers, identity = 0, "", None
        if (known := self._sick(release.revision)) is not None:
            reason: str | None = known.reason
        else:
            seen = self._watch(release.revision, target.rollout.bake_s)
            looks, reason, numbers, identity = seen.looks, seen.problem, seen.numbers, seen.identity
            if reason is None and target.artifact(release.revision) != release.artifact:
                reason = f"what runs is not artifact {release.artifact[:12]}, which was released"
            if reason:
                self._mark(release.revision, release.artifact, reason, seen, release.previous)
        sentence = reason or f"healthy and itself in {looks} public answers ({identity}); {numbers}"
        self.timeline.say(f"{target.url()}{check.path}: {sentence}")
        if reason:
            target.rollback(release.previous)
        return Health(
            revision=release.revision,
            healthy=reason is None,
            reason=sentence,
            observations=looks,
            identity=identity,
            timeline=self.timeline.lines,
            log_tail=target.logs(release.revision)[-_LOG_TAIL:],
        )

    def _rise(self, revision: str, previous: str | None, artifact: str) -> str | None:
        """One share after another; those on record have been watched already."""
        target = self.target
        if not target.splits or previous is None or target.pointed() != previous:
            return None
        for share in target.rollout.shares:
            at = SHARE_PASSED.at(revision, share)
            if self.ledger.find(self.run, *at, SharePassed) is not None:
                continue
            target.shift(revision, share)
            seen = self._watch(revision, target.rollout.share_s, share)
            if seen.problem:
                reason = f"sick with {share} % of the traffic: {seen.problem}"
                self._mark(revision, artifact, reason, seen, previous)
                return reason
            self.timeline.say(f"well with {share} % of the traffic: {seen.numbers}")
            self.ledger.record(self.run, *at, SharePassed(share=share, new=seen.new, old=seen.old))
        return None

    def _watch(self, revision: str, seconds: float, share: int = 100) -> Outlook:
        """What is to be seen of it for so long. Raises Inconclusive if nobody can say whether it is well."""
        target, begun = self.target, time.monotonic()
        window = Window(target.rollout, seconds, share, self._beside(revision) if share == 100 else None)
        with contextlib.closing(target.observe(revision)) as watch:
            while True:
                look = watch.look()
                then = window.add(look, datetime.now(UTC), time.monotonic() - begun)
                if window.news:
                    self.timeline.say(window.news)
                if then in (Next.WELL, Next.SICK):
                    return window.so_far
                if then is Next.UNCLEAR:
                    seen = window.so_far
                    self._keep(revision, seen)
                    raise Inconclusive(
                        f"nobody can say whether {revision[:12]} is well in {target.name}: {seen.looks} looks, "
                        f"{seen.numbers}; the traffic stays as it is: promote it with a new brief, or roll it back"
                    )
                if then is Next.WAIT:
                    time.sleep(target.rollout.interval_s)

    def _beside(self, revision: str) -> Numbers | None:
        """The old release's numbers beside its largest share of the new one; with all of the traffic there are none."""
        for share in reversed(self.target.rollout.shares):
            if passed := self.ledger.find(self.run, *SHARE_PASSED.at(revision, share), SharePassed):
                return passed.old
        return None

    def _known(self, revision: str, artifact: str) -> str | None:
        """Why it is not tried (again): it was seen sick here, as this commit or as the same files of another one."""
        if sick := self._sick(revision):
            return sick.reason
        for entry in self.ledger.entries(kind=SICK.kind):
            sick = Sick.model_validate(entry.body)
            if (sick.environment, sick.artifact) == (self.target.name, artifact):
                return f"the same artifact was sick here as {sick.revision[:12]}, and is not tried again: {sick.reason}"
        return None

    def _sick(self, revision: str) -> Sick | None:
        return self.ledger.find(self.run, *SICK.at(revision), Sick)

    def _mark(self, revision: str, artifact: str, reason: str, seen: Outlook, previous: str | None) -> None:
        """On record before the traffic moves; if nothing can be recorded, it moves all the same."""
        try:
            self._keep(revision, seen)
            sick = Sick(environment=self.target.name, revision=revision, artifact=artifact, reason=reason)
            self.ledger.record(self.run, *SICK.at(revision), sick)
        except LedgerError:
            self.target.rollback(previous)
            raise

    def _keep(self, revision: str, seen: Outlook) -> None:
        looks, _, _, new, old, share, answers, _ = seen
        watched = Watched(revision=revision, share=share, looks=looks, new=new, old=old, answers=answers)
        self.ledger.record(self.run, *WATCHED.at(revision), watched)
