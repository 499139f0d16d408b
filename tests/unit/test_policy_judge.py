"""The judge's decisions: unknown is no, and the reasons can be read."""

from collections.abc import Sequence
from typing import Any

import pytest

from domain.brief import AcceptanceFile
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
        (ACCEPTED, row("tests/test_search.py::test_late", "passed", "failed", "acceptance")),
    ],
)
def test_what_was_broken_before_and_guards_in_the_acceptance_do_not_refuse(rows: Sequence[Any]) -> None:
    ready = prepared(known_failures=("tests/test_app.py::known", "tests/test_search.py::test_late"))
    assert judge(ready, evidence(rows=tuple(rows))).decision is Decision.ACCEPTED


def test_a_file_of_known_failures_hides_no_test_of_it_that_passes_on_base() -> None:
    ready = prepared(known_failures=("tests/test_app.py",))
    lost = row("tests/test_app.py::fine", "passed", "failed")
    assert judge(ready, evidence(rows=(ACCEPTED, lost))).is_refused
    assert not judge(ready, evidence(rows=(ACCEPTED, row(lost.test, "failed", "failed")))).is_refused


@pytest.mark.parametrize(
    ("path", "is_support"),
    [
        ("tests/__init__.py", True),
        ("tests/only.py", True),
        ("tests/test_more.py", False),
        ("tests/tests.py", False),
    ],
)
def test_an_acceptance_file_without_a_result_is_missing_unless_others_inherit_it(path: str, is_support: bool) -> None:
    ready = prepared()
    mixin = AcceptanceFile(path=path, content="class Mixin:\n    def test_search(self): ...\n")
    (own,) = ready.brief.acceptance.files
    own = own.model_copy(
        update={"content": "from . import Mixin\nfrom .only import Mixin as Only\nimport test_more, tests\n"}
    )
    acceptance = ready.brief.acceptance.model_copy(update={"files": (own, mixin)})
    asked = ready.model_copy(update={"brief": ready.brief.model_copy(update={"acceptance": acceptance})})
    assert (judge(asked, evidence()).rules == ()) == is_support
    other = (row("tests/test_app.py::a", "passed", "passed"),)
    assert judge(asked, evidence(rows=other)).rules == ("acceptance-missing",)


def test_a_person_is_asked_about_an_acceptance_file_with_tests_that_nothing_read() -> None:
    ready = prepared()
    check = AcceptanceFile(path="tests/check_search.py", content="def test_more(): ...\n")
    acceptance = ready.brief.acceptance.model_copy(update={"files": (*ready.brief.acceptance.files, check)})
    asked = ready.model_copy(update={"brief": ready.brief.model_copy(update={"acceptance": acceptance})})
    assert (judge(asked, evidence()).decision, judge(asked, evidence()).rules) == (
        Decision.NEEDS_PERSON,
        ("acceptance-unread",),
    )


def test_an_acceptance_of_which_nothing_but_known_failures_fail_proves_nothing() -> None:
    ready = prepared(known_failures=("tests/test_search.py",))
    red = ACCEPTED.model_copy(update={"head": ACCEPTED.base})
    assert "acceptance-not-red" in judge(ready, evidence(rows=(red,))).rules


def test_a_refusal_also_tells_what_was_not_tested_as_the_change_has_it() -> None:
    put_back = finding("put-back", Severity.PERSON, gate="test", path="Cargo.toml", message="tested with base's test")
    asked = judge(prepared(), evidence(findings=(put_back,)))
    assert (asked.decision, asked.rules) == (Decision.NEEDS_PERSON, ("put-back",))
    lost = (ACCEPTED, row("tests/test_app.py::a", "passed", "failed"))
    refused = judge(prepared(), evidence(rows=lost, findings=(put_back,)))
    assert refused.rules == ("regression",)
    assert refused.reasons[0] == "Cargo.toml: tested with base's test"
    assert judge(prepared(), evidence(rows=lost)).reasons == refused.reasons[1:]


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


TRACEBACK = """AssertionError: assert [] == [1]
def test_a():
>       assert search("x") == [1]
E       AssertionError: assert [] == [1]
E         Right contains one more item: 1

tests/test_app.py:9: in test_a
shop/app.py:5: AssertionError"""


def test_a_failing_test_is_told_with_its_place_its_assertion_and_how_to_see_it() -> None:
    rows = (ACCEPTED, row("tests/test_app.py::test_a[x y]", "passed", "failed", message=TRACEBACK))
    reason = judge(prepared(test="/usr/bin/python -m pytest -q tests"), evidence(rows=rows)).reasons[0]
    assert reason == (
        "shop/app.py:5: passed on base: tests/test_app.py::test_a[x y] is failed on the change: AssertionError: assert "
        "[] == [1]; Right contains one more item: 1; see `/usr/bin/python -m pytest 'tests/test_app.py::test_a[x y]'` "
        "(keep what this test pins as it was)"
    )


def test_a_runner_that_takes_no_test_ids_is_not_told_how_to_run_one() -> None:
    rows = (ACCEPTED, row("npm test", "passed", "failed", message="1 failing"))
    reason = judge(prepared(test="npm test"), evidence(rows=rows)).reasons[0]
    assert reason == "passed on base: npm test is failed on the change: 1 failing (keep what this test pins as it was)"


def test_tests_that_fail_in_the_same_way_are_one_reason() -> None:
    rows = tuple(row(f"tests/test_app.py::t{n}", "passed", "failed", message=TRACEBACK) for n in range(30))
    silent = tuple(row(f"tests/test_app.py::s{n}", "passed", "missing") for n in range(2))
    reasons = judge(prepared(), evidence(rows=(ACCEPTED, *rows, *silent))).reasons
    assert len(reasons) == 3
    assert any("t0 is failed on the change and 29 more in the same way" in reason for reason in reasons)


NONCE = "0a1b2c3d4e"


@pytest.mark.parametrize(
    "message",
    [
        "pytest ended with exit code 3: --junitxml=/lockgate/report.xml cannot be written",
        "in '/lockgate/told.json'",
        f"tests/test_{NONCE}a.py::test_{NONCE}a_passes did not fail",
        f"/work/tests/test_{NONCE}b.py: error",
        f"canary.Test{NONCE}a.test_{NONCE}a_unit",
        f"{NONCE} {'ab' * 32}",
    ],
)
def test_reasons_name_nothing_that_is_hidden(message: str) -> None:
    found = (finding("tests-did-not-run", gate="test", message=message),)
    rows = (ACCEPTED, row("tests/test_app.py::a", "passed", "failed", message=message))
    for reason in judge(prepared(), evidence(found, rows)).reasons:
        assert "[platform]" in reason
        assert not any(hidden in reason for hidden in ("/lockgate", NONCE, "abab"))


@pytest.mark.parametrize("message", ["assert 'deadbeef00' in '/lockgates/x'", "test_20240101 failed", f"{'ab' * 20}"])
def test_reasons_keep_what_only_looks_like_it(message: str) -> None:
    assert message in judge(prepared(), evidence((finding("bidi", message=message),))).reasons[0]
