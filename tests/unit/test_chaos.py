"""The deck of faults, and what a plain server beside the station says about the machine."""

import random

import pytest

from tests.chaos.control import Start, stretch
from tests.chaos.faults import FAULTS, Deck

STARTS = [Start(0, 0.2), Start(10, 0.3), Start(20, 1.0), Start(24, 2.0), Start(30, 0.2)]


@pytest.mark.parametrize("seed", range(10))
def test_each_fault_comes_once_before_any_comes_again(seed: int) -> None:
    deck = Deck(random.Random(seed))
    catalogue = [fault for fault, _ in FAULTS]
    assert {deck.draw() for _ in catalogue} == set(catalogue)
    drawn = [deck.draw() for _ in range(sum(weight - 1 for _, weight in FAULTS))]
    assert {fault: drawn.count(fault) + 1 for fault in catalogue} == dict(FAULTS), "then as often as they weigh"
    assert {deck.draw() for _ in catalogue} == set(catalogue), "and so on"


def test_a_fault_that_could_not_be_played_comes_again_soon() -> None:
    deck = Deck(random.Random(1))
    first = deck.draw()
    deck.put_back(first)
    assert first in [deck.draw() for _ in range(3)]


def test_the_same_seed_deals_the_same_deck() -> None:
    one, other = (Deck(random.Random(7)) for _ in range(2))
    assert [one.draw() for _ in range(50)] == [other.draw() for _ in range(50)]


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
