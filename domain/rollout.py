"""A release on its way to all of the traffic: how it is watched, and what its numbers mean. Pure.

The new release is compared with the old one over the same minutes, as Flagger and Kayenta do: an absolute limit alone
would blame a release for what users or the network do to both.
"""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from pydantic import Field, field_validator

from domain.health import Answered, HealthReading, HealthState, IdentitySource, LastAnswers
from domain.value import Value

SHARES = (1, 2, 5, 10, 20, 25, 50, 75, 90)
"""Percentages of the traffic that a proxy is made ready for: one that changes its configuration drops connections."""

LEAST_LOOKS = 12
"""So many looks at least say that a release is well."""
FLAPS_ALLOWED = 1
"""One sick answer is looked at again at once; two in a row, or two in all, are sick."""


class Rollout(Value):
    """How fast a release gets the traffic, and what it may do to it."""

    shares: tuple[int, ...] = Field((10, 50), description="Percent of the traffic for a new release, one after another")
    share_s: float = Field(2.0, ge=0, description="Seconds that a release is watched at each share, at least")
    bake_s: float = Field(5.0, ge=0, description="Seconds that it is watched with all of the traffic")
    interval_s: float = Field(0.25, gt=0, description="Seconds between two looks")
    least_sample: int = Field(20, ge=1, description="Requests that say something; fewer are made up for by probes")
    hold_s: float = Field(60.0, ge=0, description="Seconds to wait for that sample; then a person is asked")
    error_excess: float = Field(0.05, ge=0, le=1, description="Share of HTTP 5xx that it may have above the old one")
    latency_factor: float = Field(2.0, ge=1, description="How many times the old release's 95th percentile it may take")
    latency_floor_ms: float = Field(250.0, ge=0, description="Milliseconds that it may take on top of that")
    back_within_s: float = Field(
        86_400.0,
        ge=0,
        description="A release that keeps dying so soon after it was live goes back by itself; 0: never",
    )

    @field_validator("shares")
    @classmethod
    def _rise(cls, shares: tuple[int, ...]) -> tuple[int, ...]:
        if sorted(set(shares)) != list(shares) or not set(shares) <= set(SHARES):
            raise ValueError(f"shares must rise and be of {', '.join(map(str, SHARES))}; got {list(shares)}")
        return shares


class Numbers(Value):
    """What one release answered to users in a window. Health probes are not users."""

    requests: int = 0
    errors: int = Field(0, description="HTTP 5xx, those of a proxy that got no answer among them")
    p95_ms: float | None = Field(None, description="95th percentile of the time to answer; None: no request")

    @property
    def error_share(self) -> float:
        return self.errors / self.requests if self.requests else 0.0

    def __str__(self) -> str:
        slow = f", 95 % within {self.p95_ms:.0f} ms" if self.p95_ms is not None else ""
        return f"{self.errors} of {self.requests} requests failed{slow}"


class Look(Value):
    """One look at a release that has some or all of the traffic."""

    public: HealthReading = Field(description="The public address, asked for this release")
    private: HealthReading | None = Field(None, description="The release asked past the proxy; None: it cannot be")
    new: Numbers | None = Field(None, description="Since the window began; None: the target has no numbers")
    old: Numbers | None = None
    answered: int | None = Field(None, description="Answers of any kind by this release since the window began")
    problem: str | None = Field(None, description="What the target itself saw, such as that its process ended")


class SharePassed(Value):
    """A release was well with this share of the traffic."""

    share: int
    new: Numbers | None
    old: Numbers | None


class Sick(Value):
    """Why a release has to leave; on record before the traffic moves, so that nobody tries it a second time."""

    environment: str
    revision: str
    artifact: str
    reason: str


class RolloutState(StrEnum):
    """`inconclusive` is no pass: too few requests to say anything."""

    GOOD = "good"
    SICK = "sick"
    INCONCLUSIVE = "inconclusive"


def judge_numbers(new: Numbers | None, old: Numbers | None, rollout: Rollout) -> tuple[RolloutState, str]:
    """The new release against the old one, with the reason."""
    if new is None:
        return RolloutState.INCONCLUSIVE, "the target has no numbers of requests"
    if new.requests < rollout.least_sample:
        return RolloutState.INCONCLUSIVE, f"{new.requests} requests of users, {rollout.least_sample} say something"
    beside = old if old is not None and old.requests >= rollout.least_sample else None
    allowed = rollout.error_excess + (beside.error_share if beside else 0.0)
    if new.error_share > allowed:
        compared = f"the release before: {beside}" if beside else "nothing to compare it with"
        return RolloutState.SICK, (
            f"{new.errors} of {new.requests} requests of users ended in HTTP 5xx "
            f"({new.error_share:.0%}, {allowed:.0%} are allowed; {compared})"
        )
    if beside and beside.p95_ms is not None and new.p95_ms is not None:
        most_ms = rollout.latency_factor * beside.p95_ms + rollout.latency_floor_ms
        if new.p95_ms > most_ms:
            return RolloutState.SICK, (
                f"slow: 95 % of its answers within {new.p95_ms:.0f} ms, {most_ms:.0f} ms are allowed beside "
                f"{beside.p95_ms:.0f} ms of the release before"
            )
    return RolloutState.GOOD, str(new)


class Next(StrEnum):
    """What comes after a look."""

    WELL = "well"
    SICK = "sick"
    UNCLEAR = "unclear"
    """The time is up, and nobody can say."""
    WAIT = "wait"
    """Another look, after a pause."""
    AT_ONCE = "at once"
    """Another look, without one."""


class Outlook(NamedTuple):
    """What a window has come to so far. `problem` None: well, or not known yet."""

    looks: int
    problem: str | None
    numbers: str
    new: Numbers | None
    old: Numbers | None
    share: int
    answers: tuple[Answered, ...]
    identity: IdentitySource | None


class Window:
    """A time of watching a release that has a share of the traffic: takes looks, says what comes next. Pure.

    `seconds`: at least so long. `before`: the old release's numbers from earlier, if it has too few of its own now.
    """

    def __init__(self, rollout: Rollout, seconds: float, share: int = 100, before: Numbers | None = None) -> None:
        self._rollout, self._seconds, self._share, self._before = rollout, seconds, share, before
        self._answers = LastAnswers()
        self._last: HealthState | None = None
        self._sick = 0
        self.so_far = Outlook(0, None, "", None, None, share, (), None)
        self.news: str | None = None
        """What a person is told after the newest look: the answer has changed."""

    def add(self, look: Look, at: datetime, elapsed_s: float) -> Next:
        """One more look, so many seconds after the window began."""
        self.news = None
        for where, said in (("in public", look.public), ("in private", look.private)):
            if said is not None:
                self._answers.add(where, said, at)
        reading = look.public if self._is_whole or look.private is None else look.private
        state, numbers = judge_numbers(look.new, self._beside(look), self._rollout)
        identity = reading.identity if reading.is_healthy else self.so_far.identity
        self.so_far = Outlook(
            self.so_far.looks + 1, None, numbers, look.new, look.old, self._share, self._answers.kept, identity
        )
        if look.problem or state is RolloutState.SICK:
            return self._ends_sick(look.problem or numbers)
        if reading.state is not self._last:
            self.news = f"{'in public' if reading is look.public else 'in private'}: {reading.reason}"
            self._last = reading.state
        if not self._is_good(reading):
            self._sick += 1
            if self._sick <= FLAPS_ALLOWED:
                return Next.AT_ONCE
            return self._ends_sick(f"{reading.state}, {self._sick} of {self.so_far.looks} looks: {reading.reason}")
        has_looked = self.so_far.looks >= self._least_looks(look.new, state)
        is_clear = state is RolloutState.GOOD or look.new is None or look.new.errors == 0
        # it was this release that answered: in its own words or as was seen, and in the access log
        is_its_own = reading.state is HealthState.HEALTHY and look.answered != 0
        if elapsed_s >= self._seconds and has_looked and is_clear and is_its_own:
            return Next.WELL
        if elapsed_s > self._seconds + self._rollout.hold_s:
            return Next.UNCLEAR
        # with too few users, probes make up for them, without a pause
        return Next.WAIT if elapsed_s < self._seconds or has_looked else Next.AT_ONCE

    @property
    def _is_whole(self) -> bool:
        return self._share == 100

    def _is_good(self, reading: HealthReading) -> bool:
        """With a part of the traffic, the old release may well be the one that answers."""
        return reading.is_healthy or (not self._is_whole and reading.state is HealthState.ANOTHER)

    def _beside(self, look: Look) -> Numbers | None:
        if look.old and look.old.requests >= self._rollout.least_sample:
            return look.old
        return self._before or look.old

    def _least_looks(self, new: Numbers | None, state: RolloutState) -> int:
        if state is RolloutState.GOOD:
            return LEAST_LOOKS
        return max(LEAST_LOOKS, self._rollout.least_sample - (new.requests if new else 0))

    def _ends_sick(self, problem: str) -> Next:
        self.so_far = self.so_far._replace(problem=problem)
        return Next.SICK
