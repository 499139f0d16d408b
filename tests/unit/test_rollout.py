"""What the numbers of a release mean beside those of the one before, and what comes after each look at it."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from domain.health import HealthReading, HealthState, IdentitySource
from domain.rollout import LEAST_LOOKS, Look, Next, Numbers, Rollout, RolloutState, Window, judge_numbers

R = Rollout(least_sample=20, error_excess=0.05, latency_factor=2, latency_floor_ms=100)


def numbers(requests: int, errors: int = 0, p95_ms: float | None = 10.0) -> Numbers:
    return Numbers(requests=requests, errors=errors, p95_ms=p95_ms)


@pytest.mark.parametrize(
    ("new", "old", "state", "said"),
    [
        (None, None, RolloutState.INCONCLUSIVE, "no numbers"),
        (numbers(19, 19), numbers(1000), RolloutState.INCONCLUSIVE, "19 requests of users, 20 say something"),
        (numbers(20), None, RolloutState.GOOD, "0 of 20 requests failed, 95 % within 10 ms"),
        (numbers(20, 1), None, RolloutState.GOOD, "1 of 20"),
        (
            numbers(20, 2),
            None,
            RolloutState.SICK,
            "2 of 20 requests of users ended in HTTP 5xx (10%, 5% are allowed; nothing",
        ),
        (numbers(100, 12), numbers(100, 10), RolloutState.GOOD, "12 of 100"),
        (numbers(100, 16), numbers(100, 10), RolloutState.SICK, "16%, 15% are allowed; the release before: 10 of 100"),
        (numbers(100, 12), numbers(19, 10), RolloutState.SICK, "nothing to compare it with"),
        (numbers(100, 0, 120.0), numbers(100, 0, 10.0), RolloutState.GOOD, "0 of 100"),
        (
            numbers(100, 0, 121.0),
            numbers(100, 0, 10.0),
            RolloutState.SICK,
            "within 121 ms, 120 ms are allowed beside 10 ms",
        ),
        (numbers(100, 0, 5000.0), numbers(100, 0, 4000.0), RolloutState.GOOD, "0 of 100"),
        (numbers(100, 0, 5000.0), None, RolloutState.GOOD, "0 of 100"),
        (numbers(100, 0, None), numbers(100, 0, 1.0), RolloutState.GOOD, "0 of 100 requests failed"),
    ],
)
def test_a_release_is_judged_beside_the_one_before(
    new: Numbers | None, old: Numbers | None, state: RolloutState, said: str
) -> None:
    found, why = judge_numbers(new, old, R)
    assert found is state
    assert said in why


@pytest.mark.parametrize("shares", [(50, 10), (10, 10), (0,), (100,), (33,)])
def test_shares_rise_and_are_those_that_a_proxy_is_made_ready_for(shares: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="shares must rise and be of 1, 2, 5"):
        Rollout(shares=shares)


AT = datetime(2026, 11, 30, tzinfo=UTC)
WELL = HealthReading(state=HealthState.HEALTHY, reason="status pass", identity=IdentitySource.SAID)
SICK = HealthReading(state=HealthState.SICK, reason="status fail")
ANOTHER = HealthReading(state=HealthState.ANOTHER, reason="the release before answered")
FEW, ENOUGH, FAILING = numbers(5), numbers(50), numbers(50, 25)


def look(public: HealthReading = WELL, new: Numbers | None = ENOUGH, **more: Any) -> Look:
    return Look(public=public, new=new, **more)


def after(*looks: Look, seconds: float = 5, share: int = 100, elapsed_s: float = 6) -> tuple[list[Next], Window]:
    window = Window(R.model_copy(update={"hold_s": 10.0}), seconds, share)
    return [window.add(one, AT, elapsed_s) for one in looks], window


@pytest.mark.parametrize(
    ("looks", "more", "then"),
    [
        ([look()] * LEAST_LOOKS, {}, Next.WELL),
        ([look()] * (LEAST_LOOKS - 1), {}, Next.AT_ONCE),  # the time is up, and looks are missing
        ([look()], {"elapsed_s": 1}, Next.WAIT),
        ([look()] * LEAST_LOOKS, {"elapsed_s": 1}, Next.WAIT),
        ([look(SICK)], {}, Next.AT_ONCE),  # once is no habit
        ([look(SICK), look(SICK)], {}, Next.SICK),
        ([look(SICK), look(), look(), look(SICK)], {}, Next.SICK),  # nor is it to be one
        ([look(new=FAILING)], {"elapsed_s": 0}, Next.SICK),
        ([look(problem="its process ended")], {"elapsed_s": 0}, Next.SICK),
        ([look(new=FEW)] * LEAST_LOOKS, {}, Next.AT_ONCE),
        ([look(new=FEW)] * 15, {}, Next.WELL),  # probes made up for the users that were too few
        ([look(new=numbers(5, 1))] * 30, {}, Next.WAIT),  # one of the few failed: nobody can say yet
        ([look(new=numbers(5, 1))] * 30, {"elapsed_s": 16}, Next.UNCLEAR),
        ([look(answered=0)] * 30, {"elapsed_s": 16}, Next.UNCLEAR),  # another one answered in its name
        ([look(new=None)] * 20, {}, Next.WELL),  # a target without numbers
        ([look(ANOTHER), look(ANOTHER)], {}, Next.SICK),
        ([look(ANOTHER, private=WELL)] * LEAST_LOOKS, {"share": 10}, Next.WELL),
        ([look(ANOTHER)] * LEAST_LOOKS, {"share": 10}, Next.WAIT),  # the other one answers: that is no sickness
        ([look(WELL, private=SICK), look(WELL, private=SICK)], {"share": 10}, Next.SICK),
    ],
)
def test_what_comes_after_these_looks(looks: list[Look], more: dict[str, Any], then: Next) -> None:
    steps, _ = after(*looks, **more)
    assert steps[-1] is then, steps


def test_a_sick_window_says_why_and_a_person_hears_each_change_once() -> None:
    _, window = after(look(SICK), look(SICK))
    assert window.so_far.problem == "sick, 2 of 2 looks: status fail"
    said = []
    window = Window(R, 5)
    for one in (look(), look(), look(SICK), look()):
        window.add(one, AT, 0)
        said.append(window.news)
    assert said == ["in public: status pass", None, "in public: status fail", "in public: status pass"]
    assert window.so_far.identity is IdentitySource.SAID and [one.times for one in window.so_far.answers] == [1, 3]


def test_with_all_of_the_traffic_the_old_numbers_are_those_of_the_share_before() -> None:
    busy = numbers(100, 50)
    assert Window(R, 5, 100, busy).add(look(new=FAILING, old=FEW), AT, 0) is Next.WAIT
    assert Window(R, 5, 100, None).add(look(new=FAILING, old=FEW), AT, 0) is Next.SICK
    assert Window(R, 5, 100, numbers(100)).add(look(new=FAILING, old=busy), AT, 0) is Next.WAIT
