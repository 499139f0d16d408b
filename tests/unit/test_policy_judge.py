"""The judge's decisions: unknown is no, and the reasons can be read."""

from collections.abc import Sequence
from typing import Any

import pytest

from domain.policy import judge
from domain.policy.judge import MAX_REASONS
from domain.task import Decision, Finding, Severity
from tests.unit.policy_cases import GOOD_ROWS, PROJECT, attempt, evidence, prepared, row

ACCEPTED = GOOD_ROWS[0]


def finding(rule: str, severity: Severity = Severity.REFUSE, **fields: Any) -> Finding:
    return Finding(**{"gate": "scan", "rule": rule, "severity": severity, "message": "it is so", **fields})


def test_a_change_that_did_well_is_accepted() -> None:
    verdict = judge(prepared(), evidence())
    assert (verdict.decision, verdict.reasons, verdict.rules) == (Decision.ACCEPTED, (), ())


@pytest.mark.parametrize(
    ("rows", "rule"),
    [
        ((), "no-tests"),
        ((row("tests/test_app.py::test_nothing", "passed", "passed"),), "acceptance-missing"),
        ((ACCEPTED, row("tests/test_app.py::a", "passed", "failed")), "regression"),
        ((ACCEPTED, row("tests/test_app.py::a", "passed", "error")), "regression"),
        ((ACCEPTED, row("tests/test_app.py::a", "passed", "skipped")), "regression"),
        ((ACCEPTED, row("tests/test_app.py::a", "passed", "missing")), "regression"),
        ((ACCEPTED, row("tests/test_new.py::a", "missing", "failed", "new")), "new-test-fails"),
        ((row("tests/test_search.py::test_search", "failed", "failed", "acceptance"),), "acceptance-not-green"),
        ((row("tests/test_search.py::test_search", "failed", "skipped", "acceptance"),), "acceptance-not-green"),
        ((row("tests/test_search.py::test_search", "failed", "missing", "acceptance"),), "acceptance-not-green"),
        ((row("tests/test_search.py::test_search", "passed", "passed", "acceptance"),), "acceptance-not-red"),
        ((row("tests/test_search.py::test_search", "skipped", "passed", "acceptance"),), "acceptance-not-red"),
        ((ACCEPTED, row("elsewhere::a", "failed", "failed", "acceptance")), "acceptance-not-green"),
    ],
)
def test_tests_that_did_not_do_well_refuse(rows: Sequence[Any], rule: str) -> None:
    verdict = judge(prepared(), evidence(rows=tuple(rows)))
    assert verdict.is_refused
    assert rule in verdict.rules


@pytest.mark.parametrize(
    "rows",
    [
        (ACCEPTED, row("tests/test_app.py::a", "failed", "failed")),
        (ACCEPTED, row("tests/test_app.py::a", "failed", "passed")),
        (ACCEPTED, row("tests/test_app.py::a", "skipped", "skipped")),
        (ACCEPTED, row("tests/test_app.py::known", "passed", "failed")),
        (ACCEPTED, row("tests/test_search.py::test_guard", "passed", "passed", "acceptance")),
    ],
)
def test_what_was_broken_before_and_guards_in_the_acceptance_do_not_refuse(rows: Sequence[Any]) -> None:
    ready = prepared(known_failures=("tests/test_app.py::known",))
    assert judge(ready, evidence(rows=tuple(rows))).decision is Decision.ACCEPTED


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"tested": "e" * 40}, "evidence-mismatch"),
        ({"scanned": "e" * 40}, "evidence-mismatch"),
        ({"scanners": ()}, "no-scanner"),
    ],
)
def test_evidence_that_does_not_fit_refuses(fields: dict[str, Any], rule: str) -> None:
    verdict = judge(prepared(), evidence(**fields))
    assert verdict.is_refused
    assert verdict.rules == (rule,)


def test_no_commit_is_the_one_reason_there_is() -> None:
    gone = attempt(PROJECT, commit=None, problem="the agent hung")
    verdict = judge(prepared(), evidence(of=gone, rows=(), scanners=()))
    assert verdict.rules == ("no-commit",)
    assert "the agent hung" in verdict.reasons[0]


def test_one_refusal_outweighs_what_people_could_say() -> None:
    both = (finding("dependencies", Severity.PERSON), finding("diff-budget"), finding("executable", Severity.NOTE))
    assert judge(prepared(), evidence(both)).rules == ("diff-budget",)
    assert judge(prepared(), evidence(both[:1])).decision is Decision.NEEDS_PERSON
    assert judge(prepared(), evidence(both[2:])).decision is Decision.ACCEPTED


def test_the_cheapest_to_mend_comes_first() -> None:
    findings = tuple(finding(rule) for rule in ("scanner-failed", "diff-budget", "bandit/B602", "bidi", "out-of-scope"))
    rows = (*GOOD_ROWS, row("tests/test_app.py::a", "passed", "failed"))
    verdict = judge(prepared(), evidence(findings, rows))
    assert verdict.rules == ("out-of-scope", "bidi", "bandit/B602", "diff-budget", "regression", "scanner-failed")


def test_two_linters_that_say_the_same_are_one_reason() -> None:
    twins = (finding("bandit/B602", path="a.py", line=3), finding("ruff/S602", path="a.py", line=3))
    assert len(judge(prepared(), evidence(twins)).reasons) == 1
    apart = (finding("bandit/B602", path="a.py", line=3), finding("ruff/S602", path="a.py", line=4))
    assert len(judge(prepared(), evidence(apart)).reasons) == 2


def test_reasons_are_one_line_each_with_their_place_and_not_too_many() -> None:
    many = tuple(finding("bidi", path=f"shop/{n:03}.py", line=7, message="a\nb\x1b[31m\u202ec") for n in range(50))
    reasons = judge(prepared(), evidence(many)).reasons
    assert len(reasons) == MAX_REASONS
    assert reasons[0] == "shop/000.py:7: a b\\x1b[31m\\u202ec"
    assert reasons[-1] == "and 31 more, in the evidence"
    assert all(reason.isprintable() for reason in reasons)
