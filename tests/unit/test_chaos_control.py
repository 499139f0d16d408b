"""What a plain server beside the station says about the machine."""

import pytest

from tests.chaos.control import Start, stretch

STARTS = [Start(0, 0.2), Start(10, 0.3), Start(20, 1.0), Start(24, 2.0), Start(30, 0.2)]


@pytest.mark.parametrize(
    ("since", "until", "slower"),
    [
        pytest.param(0, 1, 1.0, id="it came back as fast as ever"),
        pytest.param(9, 12, 1.5, id="a busy machine"),
        pytest.param(19, 25, 7.5, id="the median of those that were under way"),
        pytest.param(50, 60, 1.0, id="nothing is known: nothing is excused"),
    ],
)
def test_a_silence_is_judged_by_what_a_plain_server_took_then(since: float, until: float, slower: float) -> None:
    assert stretch(STARTS, since, until) == pytest.approx(slower)


def test_without_a_start_nothing_is_excused() -> None:
    assert stretch([], 0, 100) == 1.0
