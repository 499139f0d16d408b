"""When an agent is stopped for getting nowhere, and when it is not."""

from collections.abc import Sequence

import pytest

from domain.progress import LIMIT, failures_of, no_progress, normalised
from domain.task import Attempt, Feedback

RED = "tests/test_search.py::test_empty failed: assert 404 == 200"


def attempts(*trees: str | None) -> tuple[Attempt, ...]:
    return tuple(
        Attempt(number=n, base="b", commit=tree and f"c{n}", tree=tree, problem=None if tree else "no change")
        for n, tree in enumerate(trees, 1)
    )


def told(*points: str | Sequence[str], source: str = "gates") -> tuple[Feedback, ...]:
    return tuple(
        Feedback(attempt=n, source=source, points=(each,) if isinstance(each, str) else tuple(each))
        for n, each in enumerate(points, 1)
    )


STUCK = {
    "the same tree in a row": (
        attempts("t", "t", "t"), told("a", "b", "c"), "attempts 1, 2 and 3 made the same change"),
    "the same tree between others": (
        attempts("t", "u", "t", "u", "t"), told("a", "b", "c", "d", "e"), "attempts 1, 3 and 5 made the same change"),
    "the same failure of other trees": (
        attempts("t", "u", "v"), told(RED, RED, RED), f"attempts 1, 2 and 3 failed in the same way: {RED}"),
    "the same failure after others": (
        attempts("s", "t", "u", "v"), told("x", RED, RED, RED), "attempts 2, 3 and 4 failed in the same way"),
    "the same failures in another order": (
        attempts("t", "u", "v"), told((RED, "lint"), ("lint", RED), (RED, "lint", RED)), "failed in the same way"),
    "the same failure at other times": (
        attempts("t", "u", "v"),
        told(*(f"2026-03-0{n}T10:00:0{n}Z /tmp/pytest-{n}/x: at 0x7f{n}a: {RED} in {n}.2s" for n in (1, 2, 3))),
        "failed in the same way"),
    "nothing usable each time": (
        attempts(None, None, None), told(*["stopped: disk"] * 3, source="policy"), "failed in the same way"),
}  # fmt: skip


@pytest.mark.parametrize("name", STUCK)
def test_it_is_stuck(name: str) -> None:
    made, feedback, reason = STUCK[name]
    assert reason in (no_progress(made, feedback) or "")


MOVING = {
    "nothing happened yet": ((), ()),
    "the first attempt": (attempts("t"), told(RED)),
    "twice the same": (attempts("t", "t"), told(RED, RED)),
    "fewer failures each time": (attempts("t", "u", "v"), told((RED, "a", "b"), (RED, "a"), RED)),
    "a smaller number each time": (attempts("t", "u", "v"), told("12 failed", "8 failed", "1 failed")),
    "another value each time": (
        attempts("t", "u", "v"), told("assert 3 == 9", "assert 5 == 9", "assert 8 == 9")),
    "other failures in between": (attempts("t", "u", "v", "w"), told(RED, RED, "lint", RED)),
    "no tree is no tree twice": (attempts(None, None, None), told("hung", "crashed", "empty")),
    "a person who asks the same again": (attempts("t", "u", "v"), told(*["ann asks again"] * 3, source="reviewer")),
    "a branch that moves again": (attempts("t", "u", "v"), told(*["it conflicts with main"] * 3, source="merge")),
    "no points": (attempts("t", "u", "v"), told((), (), ())),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVING)
def test_it_goes_on(name: str) -> None:
    made, feedback = MOVING[name]
    assert no_progress(made, feedback) is None


def test_the_same_words_from_another_gate_are_another_failure() -> None:
    (gates,), (production,) = told(RED), told(RED, source="production")
    assert failures_of(gates) != failures_of(production)


def test_the_limit_is_the_callers() -> None:
    assert LIMIT == 3
    assert no_progress(attempts("t", "t"), told("a", "b"), limit=2)
    assert no_progress(attempts("t", "t", "t"), told("a", "b", "c"), limit=4) is None


SAME = [
    ("took 0.31s", "took 12 s"),
    ("at 2026-01-02 03:04:05,678", "at 2026-11-12T13:14:15.1+00:00"),
    ("<Shop object at 0x7f3a>", "<Shop object at 0xdeadbeef>"),
    ("release 3f2a91c0 is sick", "release 77ab01cd9e is sick"),
    ("run 0b1f0b7e-1c5f-4d6e-9d5b-0a8c8f0a5a11", "run 9b1f0b7e-1c5f-4d6e-9d5b-0a8c8f0a5a12"),
    ("no file /tmp/pytest-1/a/b.txt", "no file /tmp/pytest-22/c"),
    ("http://127.0.0.1:41231/health", "http://127.0.0.1:9/health"),
    ('File "shop/app.py", line 12', 'File "shop/app.py", line 140'),
    ("shop/app.py:12:3: E501", "shop/app.py:99:1: E501"),
    ("pid 12 was killed", "pid 93 was killed"),
    ("a  b\n c", "a b c"),
]
OTHER = [
    ("12 failed", "8 failed"),
    ("assert 404 == 200", "assert 500 == 200"),
    ("test_one failed", "test_two failed"),
    ("E501", "E502"),
    ("shop/app.py:1: E501", "shop/auth.py:1: E501"),
    ("version 1.2.3", "version 1.2.4"),
    ("deadbeef", "feedface"),
]


@pytest.mark.parametrize(("one", "two"), SAME)
def test_what_differs_from_run_to_run_is_taken_out(one: str, two: str) -> None:
    assert normalised(one) == normalised(two)


@pytest.mark.parametrize(("one", "two"), OTHER)
def test_what_differs_in_meaning_stays(one: str, two: str) -> None:
    assert normalised(one) != normalised(two)
