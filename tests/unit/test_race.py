"""Attempts side by side: who runs, who goes on, who is stopped, and what is said of the rest."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from domain.brief import Acceptance, Brief, Roles, agents_of, entrants
from domain.task import Attempt, Decision, Feedback, Plan, Prepared, Verdict
from flows import race as racing
from flows.race import race
from flows.report import Passed
from tests.unit.policy_cases import evidence, prepared

PLAN = Plan(steps=("Search",))


def brief(**fields: Any) -> Brief:
    return Brief(title="Search", goal="Find `a`", repository="r", acceptance=Acceptance(command="true"), **fields)


def test_one_attempt_a_turn_unless_the_brief_races() -> None:
    assert [entrants(brief(agent="command/a"), turn) for turn in (1, 2, 3)] == [
        {1: "command/a"},
        {2: "command/a"},
        {3: "command/a"},
    ]


def test_a_race_numbers_its_attempts_on_and_agents_take_turns() -> None:
    raced = brief(race=3, roles=Roles(edit=("codex/a", "mini-swe/b")))
    assert entrants(raced, 1) == {1: "codex/a", 2: "mini-swe/b", 3: "codex/a"}
    assert entrants(raced, 2) == {4: "mini-swe/b", 5: "codex/a", 6: "mini-swe/b"}


def test_every_agent_that_a_brief_names_is_known_once() -> None:
    assert agents_of(brief(agent="command/a")) == ("command/a",)
    named = Roles(plan="codex/p", edit=("codex/p", "aider/e"), review="claude-code/r")
    assert agents_of(brief(roles=named)) == ("codex/p", "aider/e", "claude-code/r")


class FakeEdit:
    """Attempts that come in in the order of `lines`: number → changed lines, None for one that fails."""

    def __init__(self, lines: dict[int, int | None]) -> None:
        self.lines = lines
        self.asked: list[tuple[int, str]] = []

    def submit(self, told: Prepared, intent: Plan, number: int, feedback: object, agent: str) -> SimpleNamespace:
        self.asked.append((number, agent))
        size = self.lines[number]
        problem = None if size is not None else "it did not work"
        made = Attempt(
            number=number,
            base="b",
            commit=None if problem else f"{number}" * 40,
            added_lines=size or 0,
            problem=problem,
        )
        return SimpleNamespace(number=number, result=lambda: made)


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    told: list[int] = []
    monkeypatch.setattr(racing, "stop_others", lambda prepared, attempt: told.append(attempt.number))
    return told


def raced(monkeypatch: pytest.MonkeyPatch, lines: dict[int, int | None]) -> tuple[Any, list[Attempt], FakeEdit]:
    edit = FakeEdit(lines)
    order = list(lines)

    def as_they_come(futures: list[SimpleNamespace]) -> Iterator[SimpleNamespace]:
        yield from sorted(futures, key=lambda future: order.index(future.number))

    def gates(told: Prepared, attempt: Attempt, earlier: list[Attempt]) -> Passed | Feedback:
        if attempt.problem:
            return Feedback(attempt=attempt.number, source="policy", points=(attempt.problem,))
        seen = evidence().model_copy(update={"attempt": attempt})
        return Passed(seen, Verdict(decision=Decision.ACCEPTED))

    monkeypatch.setattr(racing, "edit", edit)
    monkeypatch.setattr(racing, "as_completed", as_they_come)
    ready = prepared()
    ready = ready.model_copy(update={"brief": ready.brief.model_copy(update={"race": len(lines)})})
    earlier: list[Attempt] = []
    return race(ready, PLAN, 1, [], earlier, gates), earlier, edit


def test_the_smallest_of_those_that_passed_goes_on(monkeypatch: pytest.MonkeyPatch, stopped: list[int]) -> None:
    passed, earlier, edit = raced(monkeypatch, {2: 30, 1: 10, 3: 20})
    assert passed.evidence.attempt.number == 1
    assert [attempt.number for attempt in earlier] == [2, 3, 1]
    assert [number for number, _ in edit.asked] == [1, 2, 3]
    assert stopped[0] == 2


def test_one_that_failed_does_not_keep_another_from_going_on(
    monkeypatch: pytest.MonkeyPatch, stopped: list[int]
) -> None:
    passed, earlier, _ = raced(monkeypatch, {1: None, 2: 5})
    assert passed.evidence.attempt.number == 2
    assert len(earlier) == 2
    assert stopped == [2]


def test_where_none_passed_each_is_told_why(monkeypatch: pytest.MonkeyPatch, stopped: list[int]) -> None:
    wrong, _, _ = raced(monkeypatch, {2: None, 1: None})
    assert [each.attempt for each in wrong] == [1, 2]
    assert stopped == []


def test_nobody_is_stopped_where_nobody_runs_beside(monkeypatch: pytest.MonkeyPatch, stopped: list[int]) -> None:
    passed, _, _ = raced(monkeypatch, {1: 4})
    assert passed.evidence.attempt.number == 1
    assert stopped == []
