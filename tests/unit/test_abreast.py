"""Runs that do not depend on each other: side by side, bounded, and told in order."""

import threading

import pytest

from tasks.running.abreast import AT_ONCE, a_place, abreast

MET_S = 60.0


def test_runs_are_under_way_at_the_same_time_and_are_told_in_their_order() -> None:
    met = threading.Barrier(2)

    def run(name: str) -> str:
        met.wait(MET_S)  # one after the other would break it
        return name

    one, other = abreast(lambda: run("one"), lambda: run("other"))
    assert (one.result(), other.result()) == ("one", "other")


def test_a_run_that_fails_fails_when_its_result_is_asked_for_and_the_others_are_over_by_then() -> None:
    over = threading.Event()

    def fails() -> None:
        raise ValueError("broken")

    failed, _ = abreast(fails, over.set)
    assert over.is_set()
    with pytest.raises(ValueError, match="broken"):
        failed.result()


def test_no_more_runs_than_places_are_under_way() -> None:
    lock, now, most = threading.Lock(), 0, 0
    full = threading.Barrier(AT_ONCE)

    def run() -> None:
        nonlocal now, most
        with a_place():
            with lock:
                now += 1
                most = max(most, now)
            full.wait(MET_S)  # all places are taken here
            with lock:
                now -= 1

    for each in abreast(*[run] * (3 * AT_ONCE)):
        each.result()
    assert most == AT_ONCE
