"""What the numbers of a release mean beside those of the one before."""

import pytest
from pydantic import ValidationError

from domain.rollout import Numbers, Rollout, State, judge_numbers

R = Rollout(least_sample=20, error_excess=0.05, latency_factor=2, latency_floor_ms=100)


def numbers(requests: int, errors: int = 0, p95_ms: float | None = 10.0) -> Numbers:
    return Numbers(requests=requests, errors=errors, p95_ms=p95_ms)


@pytest.mark.parametrize(
    ("new", "old", "state", "said"),
    [
        (None, None, State.INCONCLUSIVE, "no numbers"),
        (numbers(19, 19), numbers(1000), State.INCONCLUSIVE, "19 requests of users, 20 say something"),
        (numbers(20), None, State.GOOD, "0 of 20 requests failed, 95 % within 10 ms"),
        (numbers(20, 1), None, State.GOOD, "1 of 20"),
        (numbers(20, 2), None, State.SICK, "2 of 20 requests of users ended in HTTP 5xx (10%, 5% are allowed; nothing"),
        (numbers(100, 12), numbers(100, 10), State.GOOD, "12 of 100"),
        (numbers(100, 16), numbers(100, 10), State.SICK, "16%, 15% are allowed; the release before: 10 of 100"),
        (numbers(100, 12), numbers(19, 10), State.SICK, "nothing to compare it with"),
        (numbers(100, 0, 120.0), numbers(100, 0, 10.0), State.GOOD, "0 of 100"),
        (numbers(100, 0, 121.0), numbers(100, 0, 10.0), State.SICK, "within 121 ms, 120 ms are allowed beside 10 ms"),
        (numbers(100, 0, 5000.0), numbers(100, 0, 4000.0), State.GOOD, "0 of 100"),
        (numbers(100, 0, 5000.0), None, State.GOOD, "0 of 100"),
        (numbers(100, 0, None), numbers(100, 0, 1.0), State.GOOD, "0 of 100 requests failed"),
    ],
)
def test_a_release_is_judged_beside_the_one_before(
    new: Numbers | None, old: Numbers | None, state: State, said: str
) -> None:
    found, why = judge_numbers(new, old, R)
    assert found is state
    assert said in why


@pytest.mark.parametrize("shares", [(50, 10), (10, 10), (0,), (100,), (33,)])
def test_shares_rise_and_are_those_that_a_proxy_is_made_ready_for(shares: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="shares must rise and be of 1, 2, 5"):
        Rollout(shares=shares)
