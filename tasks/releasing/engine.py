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
from domain.health import Answered, Answers, HealthCheck, HealthState, Identity
from domain.ports import ReleaseBuild, Target
from domain.records import SHARE_PASSED, SICK, WATCHED
from domain.rollout import Look, Numbers, SharePassed, Sick, State, judge_numbers
from domain.task import Health, Release
from tasks.pages import show
from tasks.releasing import lease
from tasks.releasing.bundle import Watched

LEAST_LOOKS = 12
"""So many looks at least say that a release is well."""

_FLAPS_ALLOWED = 1
"""One sick answer is looked at again at once; two in a row, or two in all, are sick."""

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

    def _watch(self, revision: str, seconds: float, share: int = 100) -> "_Seen":
        target, rollout, whole = self.target, self.target.rollout, share == 100
        before, answers = self._beside(revision) if whole else None, Answers()
        begun = time.monotonic()
        looks = sick = 0
        last: HealthState | None = None
        identity: Identity | None = None
        with contextlib.closing(target.observe(revision)) as window:
            while True:
                look = window.look()
                looks += 1
                for where, said in (("in public", look.public), ("in private", look.private)):
                    if said is not None:
                        answers.add(where, said, datetime.now(UTC))
                old = look.old if look.old and look.old.requests >= rollout.least_sample else before or look.old
                reading = look.public if whole or look.private is None else look.private
                identity = reading.identity if reading.is_healthy else identity
                state, numbers = judge_numbers(look.new, old, rollout)
                seen = _Seen(looks, None, numbers, look.new, look.old, share, answers.kept, identity)
                if look.problem or state is State.SICK:
                    return seen._replace(problem=look.problem or numbers)
                if reading.state is not last:
                    self.timeline.say(f"{'in public' if reading is look.public else 'in private'}: {reading.reason}")
                    last = reading.state
                if not (reading.is_healthy or (not whole and reading.state is HealthState.ANOTHER)):
                    sick += 1
                    if sick > _FLAPS_ALLOWED:
                        return seen._replace(problem=f"{reading.state}, {sick} of {looks} looks: {reading.reason}")
                    continue
                elapsed_s = time.monotonic() - begun
                few = look.new.requests if look.new else 0
                least = LEAST_LOOKS if state is State.GOOD else max(LEAST_LOOKS, rollout.least_sample - few)
                clear = state is State.GOOD or look.new is None or look.new.errors == 0
                if elapsed_s >= seconds and looks >= least and clear and _answers(look, reading.state):
                    return seen
                if elapsed_s > seconds + rollout.hold_s:
                    self._keep(revision, seen)
                    raise Inconclusive(
                        f"nobody can say whether {revision[:12]} is well in {target.name}: {looks} looks, {numbers}; "
                        "the traffic stays as it is: promote it with a new brief, or roll it back"
                    )
                if elapsed_s < seconds or looks >= least:
                    time.sleep(rollout.interval_s)  # else too few users: probes make up for them, without a pause

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

    def _mark(self, revision: str, artifact: str, reason: str, seen: "_Seen", previous: str | None) -> None:
        """On record before the traffic moves; if nothing can be recorded, it moves all the same."""
        try:
            self._keep(revision, seen)
            sick = Sick(environment=self.target.name, revision=revision, artifact=artifact, reason=reason)
            self.ledger.record(self.run, *SICK.at(revision), sick)
        except LedgerError:
            self.target.rollback(previous)
            raise

    def _keep(self, revision: str, seen: "_Seen") -> None:
        looks, _, _, new, old, share, answers, _ = seen
        watched = Watched(revision=revision, share=share, looks=looks, new=new, old=old, answers=answers)
        self.ledger.record(self.run, *WATCHED.at(revision), watched)


class _Seen(NamedTuple):
    """What a window came to. `problem` None: well."""

    looks: int
    problem: str | None
    numbers: str
    new: Numbers | None
    old: Numbers | None
    share: int
    answers: tuple[Answered, ...]
    identity: Identity | None


def _answers(look: Look, state: HealthState) -> bool:
    """Whether it was this release that answered: in its own words or as was seen, and in the access log."""
    return state is HealthState.HEALTHY and look.answered != 0
