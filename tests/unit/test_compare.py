"""The change's tests beside base's: which rows and findings come of two runs, and what the judge makes of them."""

from typing import Any

import pytest

from domain.brief import Acceptance, AcceptanceFile
from domain.checks import read_problems
from domain.policy import judge
from domain.policy.rule import apply
from domain.policy.test_rules import RAN_RULES, Again, RanSuites
from domain.task import CaseOutcome, CaseRow, Decision, Finding, Prepared, Severity, Suite
from tasks.running.suite import ACCEPTANCE_COMMAND
from tasks.test import compare
from tests.unit.policy_cases import PROJECT, attempt, evidence, prepared

FILE = "tests/test_new.py"


def suite(cases: dict[str, str] | None = None, **fields: Any) -> Suite:
    outcomes = {test: CaseOutcome(outcome) for test, outcome in (cases or {}).items()}
    return Suite(**{"cases": outcomes, "exit_code": 0, **fields})


def said(*lines: str, code: int = 1) -> Suite:
    """A run whose lint says this."""
    return suite(checks={"lint": code}, problems={"lint": read_problems("\n".join(lines))})


def task(*tests: str, file: bool = True, command: str | None = None) -> Prepared:
    """A task that is done when `tests`, the tests of FILE, and `command` pass."""
    files = (AcceptanceFile(path=FILE, content="def test_it(): ..."),) if file else ()
    ready = prepared()
    acceptance = Acceptance(tests=tests, files=files, command=command)
    return ready.model_copy(update={"brief": ready.brief.model_copy(update={"acceptance": acceptance})})


def findings_of(base: Suite, head: Suite, **ran: Any) -> tuple[Finding, ...]:
    return apply(RAN_RULES, RanSuites(base, head, **ran))


def short(rows: tuple[CaseRow, ...]) -> list[tuple[str, str, str, str]]:
    return [(row.test, row.kind, str(row.base), str(row.head)) for row in rows]


ROWS: dict[str, tuple[dict[str, str], dict[str, str], list[tuple[str, str, str, str]]]] = {
    "an acceptance file that turned green": (
        {f"{FILE}::test_it": "failed"},
        {f"{FILE}::test_it": "passed"},
        [(f"{FILE}::test_it", "acceptance", "failed", "passed")],
    ),
    "an acceptance file that did not import on base": (
        {FILE: "error"},
        {f"{FILE}::test_a": "passed", f"{FILE}::test_b": "failed"},
        [
            (f"{FILE}::test_a", "acceptance", "error", "passed"),
            (f"{FILE}::test_b", "acceptance", "error", "failed"),
        ],
    ),
    "an acceptance file that does not import on the change either": (
        {FILE: "error"},
        {FILE: "error"},
        [(FILE, "acceptance", "error", "error")],
    ),
    "an acceptance test that went missing": (
        {f"{FILE}::test_it": "failed"},
        {},
        [(f"{FILE}::test_it", "acceptance", "failed", "missing")],
    ),
    "an existing test that was broken": (
        {"tests/test_a.py::test_a": "passed"},
        {"tests/test_a.py::test_a": "failed"},
        [("tests/test_a.py::test_a", "existing", "passed", "failed")],
    ),
    "an existing test that is not reported any more": (
        {"tests/test_a.py::test_a": "passed"},
        {},
        [("tests/test_a.py::test_a", "existing", "passed", "missing")],
    ),
    "an existing file that does not import any more": (
        {"tests/test_a.py::test_a": "passed"},
        {"tests/test_a.py": "error"},
        [
            ("tests/test_a.py::test_a", "existing", "passed", "missing"),
            ("tests/test_a.py", "new", "missing", "error"),
        ],
    ),
    "an existing file that imports again": (
        {"tests/test_a.py": "error"},
        {"tests/test_a.py::test_a": "passed"},
        [
            ("tests/test_a.py", "existing", "error", "missing"),
            ("tests/test_a.py::test_a", "new", "error", "passed"),
        ],
    ),
    "new tests, one of them failing": (
        {},
        {"tests/test_b.py::test_good": "passed", "tests/test_b.py::test_bad": "failed"},
        [
            ("tests/test_b.py::test_bad", "new", "missing", "failed"),
            ("tests/test_b.py::test_good", "new", "missing", "passed"),
        ],
    ),
    "a file whose name begins like the acceptance file's": (
        {},
        {f"{FILE}c::test_it": "passed"},
        [(f"{FILE}c::test_it", "new", "missing", "passed")],
    ),
    "acceptance first, then existing, then new, each by name": (
        {"tests/z.py::z": "passed", "tests/a.py::a": "passed"},
        {"tests/z.py::z": "passed", "tests/b.py::b": "passed", f"{FILE}::t": "passed", "tests/a.py::a": "passed"},
        [
            (f"{FILE}::t", "acceptance", "missing", "passed"),
            ("tests/a.py::a", "existing", "passed", "passed"),
            ("tests/z.py::z", "existing", "passed", "passed"),
            ("tests/b.py::b", "new", "missing", "passed"),
        ],
    ),
    "nothing at all": ({}, {}, []),
}


@pytest.mark.parametrize("name", ROWS)
def test_two_runs_become_rows(name: str) -> None:
    base, head, rows = ROWS[name]
    assert short(compare(task(), suite(base), suite(head))) == rows


@pytest.mark.parametrize(
    ("test", "is_named"),
    [
        ("tests/test_a.py::test_x", True),
        ("tests/test_a.py::test_x[one]", True),
        ("tests/test_a.py::test_xy", False),
        ("tests/test_a.py::TestX::test_x", True),
        ("tests/test_a.py::TestXY::test_x", False),
        ("other/tests/test_a.py::test_x", False),
    ],
)
def test_a_named_test_takes_its_parameters_and_its_class_along(test: str, is_named: bool) -> None:
    ready = task("tests/test_a.py::test_x", "tests/test_a.py::TestX", file=False)
    row = compare(ready, suite({test: "failed"}), suite({test: "passed"}))[0]
    assert (row.kind == "acceptance") is is_named


def test_a_named_test_in_a_file_that_does_not_import_on_base_is_red_there() -> None:
    ready = task("tests/test_a.py::test_x", file=False)
    rows = compare(ready, suite({"tests/test_a.py": "error"}), suite({"tests/test_a.py::test_x": "passed"}))
    assert ("tests/test_a.py::test_x", "acceptance", "error", "passed") in short(rows)


@pytest.mark.parametrize(
    ("base", "head", "outcomes"),
    [(1, 0, ("failed", "passed")), (1, 1, ("failed", "failed")), (0, 0, ("passed", "passed")),
     (None, 0, ("failed", "passed")), (124, 124, ("failed", "failed"))],
)  # fmt: skip
def test_the_acceptance_command_is_a_row(base: int | None, head: int, outcomes: tuple[str, str]) -> None:
    before = {} if base is None else {ACCEPTANCE_COMMAND: base}
    after = suite(checks={ACCEPTANCE_COMMAND: head}, messages={ACCEPTANCE_COMMAND: "said"})
    rows = compare(task(file=False, command="grep x y"), suite(checks=before), after)
    assert short(rows) == [("grep x y", "acceptance", *outcomes)]
    assert rows[0].message == "said"


def test_a_row_says_why_the_test_fails_on_the_change() -> None:
    base = suite({"a.py::a": "failed"}, messages={"a.py::a": "then"})
    head = suite({"a.py::a": "failed"}, messages={"a.py::a": "now"})
    assert compare(task(), base, head)[0].message == "now"


FINDINGS: dict[str, tuple[Suite, Suite, list[tuple[str, Severity, str]]]] = {
    "all well": (suite(checks={"build": 0}), suite(checks={"build": 0}), []),
    "a build that broke": (
        suite(checks={"build": 0}),
        suite(checks={"build": 2}, messages={"build": "no rule to make target"}),
        [("build-broken", Severity.REFUSE, "build fails (exit code 2): no rule to make target")],
    ),
    "a build that was broken before": (
        suite(checks={"build": 2}),
        suite(checks={"build": 2}, messages={"build": "no rule"}),
        [
            (
                "check-unclear",
                Severity.PERSON,
                "build fails (exit code 2: ) on base, and fails on the change (exit code 2: no rule)",
            )
        ],
    ),
    "a build that was mended": (suite(checks={"build": 2}), suite(checks={"build": 0}), []),
    "a lint that broke, and types that nobody ran on base": (
        suite(checks={"lint": 0}),
        suite(checks={"lint": 1, "types": 1}),
        [
            ("lint-broken", Severity.REFUSE, "lint fails (exit code 1): "),
            (
                "check-unclear",
                Severity.PERSON,
                "types was not run on base, and fails on the change (exit code 1: )",
            ),
        ],
    ),
    "a lint that says on base what it says on the change": (
        said("a.py:1: x", "a.py:4: y", "Found 2 errors."),
        said("a.py:9: x", "a.py:12: y", "Found 2 errors."),
        [("broken-on-base", Severity.NOTE, "lint fails on base too (exit code 1), and says nothing new")],
    ),
    "a lint that says less": (
        said("a.py:1: x", "a.py:4: y", "Found 2 errors."),
        said("a.py:1: x", "Found 1 error."),
        [("broken-on-base", Severity.NOTE, "lint fails on base too (exit code 1), and says nothing new")],
    ),
    "a lint that says something new": (
        said("a.py:1: x"),
        said("a.py:1: x", "a.py:7: x", "b.py:3: y"),
        [("lint-broken", Severity.REFUSE, "lint: x"), ("lint-broken", Severity.REFUSE, "lint: y")],
    ),
    "a lint that was silent": (
        suite(checks={"lint": 0}),
        said("b.py:3: y"),
        [("lint-broken", Severity.REFUSE, "lint: y")],
    ),
    "warnings that stay beside a new error": (
        said("a.py:1: warning", code=0),
        said("a.py:1: warning", "a.py:2: error"),
        [("lint-broken", Severity.REFUSE, "lint: error")],
    ),
    "new warnings that the command lives with": (suite(checks={"lint": 0}), said("a.py:1: warning", code=0), []),
    "the same words and another exit code": (
        said("a.py:1: x", code=1),
        said("a.py:1: x", code=2),
        [
            (
                "check-unclear",
                Severity.PERSON,
                "lint fails (exit code 1: ) on base, and fails on the change (exit code 2: )",
            )
        ],
    ),
    "the same problems and another program's word": (
        said("a.py:1: x"),
        said("a.py:1: x", "cannot open the configuration"),
        [
            (
                "check-unclear",
                Severity.PERSON,
                "lint fails (exit code 1: ) on base, and fails on the change (exit code 1: )",
            )
        ],
    ),
    "the acceptance command, which has a row": (
        suite(checks={ACCEPTANCE_COMMAND: 1}),
        suite(checks={ACCEPTANCE_COMMAND: 1}),
        [],
    ),
    "tests that did not run": (
        suite(),
        suite(problem="pytest wrote no report"),
        [
            (
                "tests-did-not-run",
                Severity.REFUSE,
                "the tests could not be run on the change: pytest wrote no report",
            )
        ],
    ),
}


@pytest.mark.parametrize("name", FINDINGS)
def test_what_is_broken_is_a_finding_unless_it_was_broken_before(name: str) -> None:
    base, head, findings = FINDINGS[name]
    assert [(f.rule, f.severity, f.message) for f in findings_of(base, head)] == findings
    assert all(f.gate == "test" for f in findings_of(base, head))


def test_what_is_new_is_named_with_its_place_and_other_commands_are_told_apart() -> None:
    base = suite(checks={"lint": 1, "types": 0}, problems={"lint": read_problems("a.py:1: x")})
    head = suite(checks={"lint": 1, "types": 1}, problems={"lint": read_problems("a.py:1: x\nb.py:3: y"),
                                                          "types": read_problems("a.py:1: x")})  # fmt: skip
    assert [(f.rule, f.path, f.line, f.message) for f in findings_of(base, head)] == [
        ("lint-broken", "b.py", 3, "lint: y"),
        ("types-broken", "a.py", 1, "types: x"),
    ]


def test_an_own_test_has_bases_word_and_a_flaky_one_is_marked() -> None:
    base = suite({"a.py::a": "passed"})
    head = suite({"a.py::a": "failed", "b.py::b": "passed", "c.py::c": "passed"})
    rows = compare(task(), base, head, suite({"b.py::b": "passed", "c.py": "error"}), {"a.py::a": "seen"})
    assert short(rows) == [
        ("a.py::a", "existing", "passed", "failed"),
        ("b.py::b", "new", "passed", "passed"),
        ("c.py::c", "new", "error", "passed"),
    ]
    assert [row.test for row in rows if row.is_flaky] == ["a.py::a"]
    own = suite({"b.py::b": "passed", "c.py": "error"})
    found = findings_of(base, head, rows=rows, own=own, again=Again({"a.py::a": "failed, then passed"}))
    assert [(f.rule, f.severity, f.path) for f in found] == [
        ("new-test-proves-nothing", Severity.PERSON, "b.py"),
        ("flaky", Severity.NOTE, "a.py"),
    ]


def test_own_tests_that_do_not_run_on_base_prove_nothing() -> None:
    found = findings_of(suite(), suite(), own=suite(problem="it ended"))
    assert [(f.rule, "it ended" in f.message) for f in found] == [("new-test-proves-nothing", True)]


def test_weaker_evidence_is_said() -> None:
    assert [f.rule for f in findings_of(suite(), suite(runner="exit code"))] == ["exit-code-only"]
    silent = suite(canaries={"a.unit": "missing", "a.same": "passed"})
    assert [(f.rule, f.message[:9]) for f in findings_of(silent, suite())] == [("canaries-silent", "1 of the ")]
    (blind,) = findings_of(suite(canaries={"a.same": "failed"}), suite())
    assert (blind.rule, "is not seen" in blind.message) == ("canaries-silent", True)
    for canaries, told in (({}, "cargo, node"), ({"cargo .fails": "failed"}, "node")):
        both = suite(runner="cargo, node", canaries=canaries)
        (finding,) = findings_of(both, suite())
        assert finding.message == f"the platform has no tests of its own among those of {told}"


JUDGED: dict[str, tuple[Suite, Suite, Decision, str]] = {
    "a good change": (
        suite({"a.py::a": "passed", f"{FILE}::t": "failed"}),
        suite({"a.py::a": "passed", f"{FILE}::t": "passed"}),
        Decision.ACCEPTED,
        "",
    ),
    "acceptance that imports what the change adds": (
        suite({"a.py::a": "passed", FILE: "error"}),
        suite({"a.py::a": "passed", f"{FILE}::t": "passed"}),
        Decision.ACCEPTED,
        "",
    ),
    "a regression": (
        suite({"a.py::a": "passed", FILE: "error"}),
        suite({"a.py::a": "failed", f"{FILE}::t": "passed"}),
        Decision.REFUSED,
        "a.py::a is failed on the change",
    ),
    "a test that went away": (
        suite({"a.py::a": "passed", FILE: "error"}),
        suite({f"{FILE}::t": "passed"}),
        Decision.REFUSED,
        "a.py::a is missing on the change",
    ),
    "acceptance that is not reported": (
        suite({"a.py::a": "passed", FILE: "error"}),
        suite({"a.py::a": "passed"}),
        Decision.REFUSED,
        "did not run",
    ),
    "a report that cannot be believed": (
        suite({"a.py::a": "passed", FILE: "error"}),
        suite({"a.py::a": "passed", f"{FILE}::t": "passed"}, problem="contradiction"),
        Decision.REFUSED,
        "contradiction",
    ),
}


@pytest.mark.parametrize("name", JUDGED)
def test_the_judge_decides_on_these_rows(name: str) -> None:
    base, head, decision, reason = JUDGED[name]
    ready = task()
    seen = evidence(of=attempt(PROJECT), rows=compare(ready, base, head))
    tested = seen.tested.model_copy(update={"findings": findings_of(base, head)})
    verdict = judge(ready, seen.model_copy(update={"tested": tested}))
    assert verdict.decision is decision, verdict.reasons
    assert reason in " ".join(verdict.reasons)
