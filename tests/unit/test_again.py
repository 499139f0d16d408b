"""Two runs of one tree that disagree: which tests run again, what is seen of them, and whose word leaves them out."""

import datetime
from collections.abc import Iterator

import pytest

from domain.policy.judge import judge
from domain.policy.rule import apply
from domain.policy.test_rules import RAN_RULES, Again, RanSuites
from domain.project import ProjectSettings
from domain.suppressions import Quarantine
from domain.task import CaseOutcome, Decision, Severity, Suite
from domain.trees import Tree
from tasks.running.again import by_function, seen_again, unstable
from tests.unit.policy_cases import GOOD_ROWS, evidence, prepared, row, tree

TODAY = datetime.date(2026, 5, 1)
OUT = {"P": CaseOutcome.PASSED, "F": CaseOutcome.FAILED, "M": CaseOutcome.MISSING, "S": CaseOutcome.SKIPPED}


def suite(cases: dict[str, str], problem: str | None = None) -> Suite:
    return Suite(cases={test: OUT[out] for test, out in cases.items()}, exit_code=0, problem=problem)


class Runs:
    """Outcomes of a.py::t, one letter a run: `base` runs of base, `only` of its file on the change, `whole` of all, and
    `command` of the acceptance command."""

    def __init__(self, base: str = "", only: str = "", whole: str = "", command: str = "") -> None:
        self.base = tree({"a.py": ""})
        self.left = {"base": iter(base), "only": iter(only), "whole": iter(whole), "command": iter(command)}

    def run(self, tree: Tree | None = None, *, only: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> Suite:
        kind = "base" if tree is not None else "only" if only else "whole"
        return suite({"a.py::t": next(self.left[kind])})

    def accepts(self) -> bool:
        return next(self.left["command"]) == "P"

    def rest(self) -> Iterator[str]:
        for outcomes in self.left.values():
            yield from outcomes


LOST = (row("a.py::t", "passed", "failed"),)
SEEN = {
    "fails on base by chance": (Runs("FP", "F"), ["flaky"]),
    "fails on base from now on": (Runs("FFF", "F"), ["flaky"]),
    "needs others on base, and fails": (Runs("FFP", "FF"), []),
    "needs others on base, and passes": (Runs("FFP", "P", "P"), ["unsteady"]),
    "fails each time": (Runs("P", "FF"), []),
    "passes alone, and with all": (Runs("P", "P", "P"), ["unsteady"]),
    "passes at the third time": (Runs("P", "FP", "FP"), ["unsteady"]),
    "passes alone, and fails with all": (Runs("P", "P", "FF"), []),
    "is gone when it runs again": (Runs("P", "MM"), []),
}


@pytest.mark.parametrize("name", SEEN)
def test_what_is_seen_when_a_failing_test_runs_again(name: str) -> None:
    runs, kinds = SEEN[name]
    again = seen_again(runs, ProjectSettings(), LOST, TODAY)
    assert [kind for kind in ("flaky", "unsteady", "quarantined") if getattr(again, kind)] == kinds
    assert list(runs.rest()) == [], "it ran less often than it should"


ASKED = row("a.py::t", "failed", "failed", "acceptance")
COMMAND = row("make check", "failed", "failed", "acceptance")
OTHER_SHAPES = {
    "the acceptance passes when it runs again": (Runs("", "P", "P"), (ASKED,), True, {"a.py::t"}),
    "the acceptance fails each time": (Runs("", "FF"), (ASKED,), True, set()),
    "its command passes at the second time": (Runs(command="FP"), (COMMAND,), True, {"make check"}),
    "its command fails each time": (Runs(command="FF"), (COMMAND,), True, set()),
    "it skips itself": (Runs("P", "P", "P"), (row("a.py::t", "passed", "skipped"),), True, {"a.py::t"}),
    "it skips itself on base too": (Runs("SP", "S"), (row("a.py::t", "passed", "skipped"),), True, {"a.py::t"}),
    "it skips itself each time": (Runs("P", "SS"), (row("a.py::t", "passed", "skipped"),), True, set()),
    "a runner that cannot choose": (Runs("P", whole="FP"), LOST, False, {"a.py::t"}),
    "a runner that cannot choose, on base": (Runs("F", whole="F"), LOST, False, {"a.py::t"}),
    "a runner that cannot choose, each time": (Runs("P", whole="FF"), LOST, False, set()),
    "many, of which most go on to fail": (
        Runs("P", "PP", "P"), (*LOST, *(row(f"a.py::t{n}", "passed", "failed") for n in range(20))), True, {"a.py::t"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER_SHAPES)
def test_what_may_fail_by_chance_is_more_than_one_existing_test_of_pytest(name: str) -> None:
    runs, rows, can_choose, uncounted = OTHER_SHAPES[name]
    again = seen_again(runs, ProjectSettings(), rows, TODAY, command="make check", can_choose=can_choose)
    assert again.uncounted == uncounted
    assert list(runs.rest()) == [], "it ran less often than it should"


def test_a_runner_that_cannot_choose_runs_nothing_again_that_would_use_up_the_minutes() -> None:
    quarantine = Quarantine.model_validate(
        {"test": "a.py::q", "reason": "a race", "owner": "ann", "until": "2026-05-01"}
    )
    settings, rows = ProjectSettings(quarantine=(quarantine,)), (*LOST, row("a.py::q", "passed", "failed"), COMMAND)

    def uncounted(runs: Runs, left: float, can_choose: bool) -> set[str]:
        made = seen_again(runs, settings, rows, TODAY, command="make check", can_choose=can_choose, suites_left=left)
        assert list(runs.rest()) == []
        return set(made.uncounted)

    assert uncounted(Runs(), 2.9, can_choose=False) == {"a.py::q"}, "a quarantine costs nothing"
    assert uncounted(Runs("P", whole="P", command="P"), 3, can_choose=False) == {"a.py::q", "a.py::t", "make check"}
    assert uncounted(Runs("P", "P", "P", "P"), 0, can_choose=True) == {"a.py::q", "a.py::t", "make check"}


def test_a_runner_that_can_choose_runs_nothing_again_if_no_file_is_known() -> None:
    rows = (row("suite.case", "passed", "failed"),)
    assert seen_again(Runs(), ProjectSettings(), rows, TODAY).uncounted == set()


def test_an_acceptance_that_two_runs_do_not_agree_about_is_no_refusal() -> None:
    unsure = tuple(one.model_copy(update={"is_flaky": True}) if one.kind == "acceptance" else one for one in GOOD_ROWS)
    unsure = tuple(
        one.model_copy(update={"head": CaseOutcome.FAILED}) if one.kind == "acceptance" else one for one in unsure
    )
    assert judge(prepared(), evidence(rows=unsure)).decision is Decision.ACCEPTED
    sure = tuple(one.model_copy(update={"is_flaky": False}) for one in unsure)
    assert judge(prepared(), evidence(rows=sure)).decision is Decision.REFUSED
    (said,) = apply(
        RAN_RULES, RanSuites(suite({}), suite({}), again=Again(unsteady={"make check": "failed and passed"}))
    )
    assert said.severity is Severity.PERSON and said.path is None


def test_a_quarantine_counts_until_its_end_and_only_with_an_owner() -> None:
    def of(**fields: object) -> ProjectSettings:
        word = {"test": "a.py::t", "reason": "a race", "owner": "ann", "until": "2026-05-01", **fields}
        return ProjectSettings(quarantine=(Quarantine.model_validate(word),))

    again = seen_again(Runs(), of(), LOST, TODAY)
    assert again.quarantined == {"a.py::t": "a race (ann, until 2026-05-01)"}
    assert seen_again(Runs(), of(test="a.py"), LOST, TODAY).uncounted == {"a.py::t"}
    for wrong in ({"until": "2026-04-30"}, {"owner": ""}, {"until": None}, {"test": "b.py::t"}):
        assert not seen_again(Runs("P", "FF"), of(**wrong), LOST, TODAY).uncounted


def test_many_failures_run_again_once_and_known_ones_do_not() -> None:
    many = tuple(row(f"a.py::t{n}", "passed", "failed") for n in range(21))
    assert seen_again(Runs(only="F"), ProjectSettings(), many, TODAY).uncounted == set()
    assert seen_again(Runs(), ProjectSettings(known_failures=("a.py::t",)), LOST, TODAY).uncounted == set()


def test_what_is_not_counted_is_no_regression() -> None:
    flaky = row("tests/test_app.py::test_x", "passed", "failed")
    assert judge(prepared(), evidence(rows=(*GOOD_ROWS, flaky))).decision is Decision.REFUSED
    kept = flaky.model_copy(update={"is_flaky": True})
    assert judge(prepared(), evidence(rows=(*GOOD_ROWS, kept))).decision is Decision.ACCEPTED


class Base(Runs):
    def run(self, tree: Tree | None = None, *, only: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> Suite:
        return suite({"a.py::t[3]": "P", "a.py::t[4]": "P", "a.py::u[x]": "P"})


def test_ids_that_base_does_not_repeat_are_compared_by_function() -> None:
    base = suite({"a.py::t[1]": "P", "a.py::t[2]": "S", "a.py::u[x]": "P", "a.py::v": "P"})
    head = suite({"a.py::t[5]": "P", "a.py::t[6]": "F", "a.py::v": "P"})
    seen = unstable(Base(), base, head)
    assert seen == {"a.py::t": "2 of its 2 ids on base are others when it runs again"}
    before, after = by_function(base, head, seen)
    assert before.cases == suite({"a.py::t": "P", "a.py::u[x]": "P", "a.py::v": "P"}).cases
    assert after.cases == suite({"a.py::t": "F", "a.py::v": "P"}).cases
    _, fewer = by_function(base, suite({"a.py::t[7]": "P"}), seen)
    assert fewer.cases == suite({"a.py::t": "M"}).cases
    assert unstable(Base(), base, suite({**dict.fromkeys(base.cases, "P")})) == {}
