"""The judge: pure policy over evidence. What is missing, or does not fit together, is a no."""

import ast
import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from domain.policy.baseline import GREEN, is_named, is_named_alone
from domain.policy.change_code import CODE_PERSON_RULES, CODE_RULES
from domain.policy.change_evasion import EVASION_PERSON_RULES, EVASION_RULES
from domain.policy.change_paths import BUDGET_RULES, PERSON_RULES, SCOPE_RULES
from domain.policy.change_tests import TEST_PERSON_RULES, TEST_RULES
from domain.policy.change_text import TEXT_PERSON_RULES, TEXT_RULES
from domain.policy.feedback import MAX_REASONS, alike, cause_of, reasons, reproduction
from domain.policy.rule import Hit, Rule, apply
from domain.policy.test_rules import PUT_BACK
from domain.task import CaseOutcome, CaseRow, Decision, Evidence, Finding, Prepared, Severity, Verdict

__all__ = ["JUDGE_RULES", "MAX_REASONS", "judge"]


class Case(NamedTuple):
    """What the judge knows."""

    prepared: Prepared
    evidence: Evidence


def judge(prepared: Prepared, evidence: Evidence) -> Verdict:
    """Accepted, refused or for a person. `reasons`: one line each, the cheapest to mend first, at most MAX_REASONS."""
    case = Case(prepared, evidence)
    rehearsed = evidence.rehearsed.findings if evidence.rehearsed else ()
    findings = [*evidence.scanned.findings, *evidence.tested.findings, *rehearsed, *apply(JUDGE_RULES, case)]
    if evidence.attempt.commit is None:
        findings = [finding for finding in findings if finding.rule == "no-commit"]
    for severity, decision in ((Severity.REFUSE, Decision.REFUSED), (Severity.PERSON, Decision.NEEDS_PERSON)):
        deciding = _without_twins(sorted((f for f in findings if f.severity is severity), key=_rank))
        if deciding:
            rules = tuple(dict.fromkeys(finding.rule for finding in deciding))
            beside = [f for f in findings if f.rule == PUT_BACK and f.severity is not severity]
            return Verdict(decision=decision, reasons=reasons(sorted([*deciding, *beside], key=_rank)), rules=rules)
    return Verdict(decision=Decision.ACCEPTED)


def _no_commit(case: Case) -> Iterator[Hit]:
    attempt = case.evidence.attempt
    if attempt.commit is None:
        yield Hit(f"attempt {attempt.number} gave no usable change: {attempt.problem or 'the agent does not say why'}")


def _mismatch(case: Case) -> Iterator[Hit]:
    attempt, tested, scanned = case.evidence.attempt, case.evidence.tested, case.evidence.scanned
    rehearsed = case.evidence.rehearsed
    seen = [("tests", tested.commit), ("scan", scanned.commit)]
    seen += [("rehearsal", rehearsed.commit)] if rehearsed else []
    for what, commit in seen:
        if commit != attempt.commit:
            yield Hit(f"the {what} are about commit {commit[:12]}, the change is {(attempt.commit or '')[:12]}")


def _no_tests(case: Case) -> Iterator[Hit]:
    if not case.evidence.tested.rows:
        yield Hit("no test ran, so nothing is known about the change")


def _no_scanner(case: Case) -> Iterator[Hit]:
    if not case.evidence.scanned.scanners:
        yield Hit("no scanner ran, so nothing is known about the change")


def _asked(case: Case) -> Iterator[tuple[str, list[CaseRow]]]:
    """What the brief accepts by, each with its rows: a test id, a file of tests, or the command."""
    acceptance = case.prepared.brief.acceptance
    rows = [row for row in case.evidence.tested.rows if row.kind in ("acceptance", "command")]
    for test in acceptance.tests:
        yield test, [row for row in rows if row.test == test or row.test.startswith((f"{test}::", f"{test}["))]
    for file in acceptance.files:
        yield file.path, [row for row in rows if row.test.split("::")[0] == file.path]
    if acceptance.command:
        yield acceptance.command, [row for row in rows if row.test == acceptance.command]


def _acceptance_missing(case: Case) -> Iterator[Hit]:
    for name, rows in _asked(case):
        if not rows and not _is_support(name, case):
            yield Hit(f"the acceptance {name!r} did not run")


def _is_support(name: str, case: Case) -> bool:
    """A file that comes with the acceptance and is no file of tests by its name, or has none: a conftest, an __init__,
    data, or the classes that test files inherit their tests from."""
    content = next((f.content for f in case.prepared.brief.acceptance.files if f.path == name), None)
    others = any(rows for _, rows in _asked(case))
    return content is not None and others and not (_TEST_NAME.search(name) and _TEST_CODE.search(content))


def _acceptance_unread(case: Case) -> Iterator[Hit]:
    """Support with tests in it: test files of the acceptance may import it, or those of base; else nothing ran it."""
    contents = {file.path: file.content for file in case.prepared.brief.acceptance.files}
    read: set[str] = set()
    new = {path for path, rows in _asked(case) if rows and path in contents}
    while new:  # what they import, and what that imports
        read |= new
        names = {word for path in new for word in _imported(contents[path], PurePosixPath(path))}
        new = {path for path in contents if path not in read and _module(path) in names}
    for name in contents:
        if name not in read and _is_support(name, case) and _TEST_CODE.search(contents[name]):
            yield Hit(f"{name} of the acceptance has tests, and none of them ran under its name")


def _module(path: str) -> str:
    file = PurePosixPath(path)
    return file.parent.name if file.stem == "__init__" else file.stem


def _imported(content: str, beside: PurePosixPath) -> set[str]:
    """All names in the import lines of Python code; `from . import x` names the package of `beside` too."""
    found: set[str] = set()
    with contextlib.suppress(SyntaxError, ValueError):
        for node in ast.walk(ast.parse(content)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                found.update(part for one in node.names for part in one.name.split("."))
            if isinstance(node, ast.ImportFrom):
                found.update(node.module.split(".") if node.module else [beside.parent.name])
    return found


_TEST_NAME = re.compile(r"test[^/]*\.py$", re.IGNORECASE)
_TEST_CODE = re.compile(r"\bdef test|\bclass Test")


def _acceptance_not_red(case: Case) -> Iterator[Hit]:
    asked = [(name, [row for row in rows if not _is_known(row, case)]) for name, rows in _asked(case)]
    ran = [(name, rows) for name, rows in asked if rows]
    if ran and all(row.base in GREEN for _, rows in ran for row in rows):
        names = ", ".join(name for name, _ in ran)
        yield Hit(f"the acceptance ({names}) is not red on base, so it proves nothing about the change")
    if not ran and any(rows for _, rows in _asked(case)):
        yield Hit("all tests of the acceptance are known failures that fail, so it proves nothing about the change")


def _is_known(row: CaseRow, case: Case) -> bool:
    """Whether it fails on the change, and the settings say that it does: by its own name, or by that of its file or
    class if it fails on base too."""
    known = case.prepared.settings.known_failures
    is_meant = is_named_alone(row.test, known) or (row.base not in GREEN and is_named(row.test, known))
    return is_meant and row.head in (CaseOutcome.FAILED, CaseOutcome.ERROR)


def _acceptance_not_green(case: Case) -> Iterator[Hit]:
    asked = {row.test for _, rows in _asked(case) for row in rows}

    def is_missed(row: CaseRow) -> bool:
        skips_itself = row.base is CaseOutcome.SKIPPED and row.head is CaseOutcome.SKIPPED
        wanted = (row.kind == "acceptance" or row.test in asked) and not skips_itself
        return wanted and row.head is not CaseOutcome.PASSED and not row.is_flaky and not _is_known(row, case)

    yield from _told("acceptance ", case, filter(is_missed, case.evidence.tested.rows))


def _regression(case: Case) -> Iterator[Hit]:
    known = case.prepared.settings.known_failures

    def is_lost(row: CaseRow) -> bool:
        was_fine = row.base is CaseOutcome.PASSED and row.head is not CaseOutcome.PASSED
        is_counted = not row.is_flaky and not is_named_alone(row.test, known)
        return row.kind not in ("acceptance", "new") and was_fine and is_counted

    yield from _told("passed on base: ", case, filter(is_lost, case.evidence.tested.rows))


def _new_test_fails(case: Case) -> Iterator[Hit]:
    def is_failing(row: CaseRow) -> bool:
        return row.kind == "new" and row.head in (CaseOutcome.FAILED, CaseOutcome.ERROR)

    yield from _told("new ", case, filter(is_failing, case.evidence.tested.rows))


def _told(lead: str, case: Case, rows: Iterable[CaseRow]) -> Iterator[Hit]:
    """One hit for each cause: the first test that has it, where it was raised, and how to see it."""
    for row, more in alike(rows):
        why, path, line = cause_of(row.message)
        command = reproduction(case.prepared.settings, row.test)
        message = f"{lead}{row.test} is {row.head} on the change"
        message += f" and {more} more in the same way" if more else ""
        message += f": {why}" if why else ""
        yield Hit(message + (f"; see `{command}`" if command else ""), path, line)


def _rank(finding: Finding) -> tuple[int, str, int]:
    return (_RANKS.get(finding.rule, _RANKS["scan"] if finding.gate == "scan" else _RANKS["test"]), finding.path or "",
            finding.line or 0)  # fmt: skip


def _without_twins(findings: Iterable[Finding]) -> list[Finding]:
    """Without what two linters of one family say about one line: ruff/S602 and bandit/B602 are one reason."""
    kept: dict[object, Finding] = {}
    for finding in findings:
        number = re.fullmatch(r"\w+/[A-Z](\d{3})", finding.rule)
        kept.setdefault((finding.path, finding.line, number[1]) if number else finding.digest, finding)
    return list(kept.values())


def _rule(name: str, what: str, why: str, fix: str, check: Callable[[Case], Iterable[Hit]]) -> Rule[Case]:
    return Rule(name, "judge", Severity.REFUSE, what, why, fix, check)


JUDGE_RULES: tuple[Rule[Case], ...] = (
    _rule(
        "no-commit",
        "An attempt without a commit.",
        "There is no change.",
        "leave a change in the work tree and end with exit code 0",
        _no_commit,
    ),
    _rule(
        "new-test-fails",
        "A test that the change adds and that fails on it.",
        "The change does not do what its own tests say.",
        "make it pass, or take it out",
        _new_test_fails,
    ),
    _rule(
        "regression",
        "An existing test that passed on base and does not pass on the change, unless known_failures names it.",
        "Something that worked no longer does.",
        "keep what this test pins as it was",
        _regression,
    ),
    _rule(
        "acceptance-not-green",
        "An acceptance test or command that does not pass on the change; one that skips itself on base may do so here.",
        "It is how we know that the change is done.",
        "make it pass",
        _acceptance_not_green,
    ),
    _rule(
        "acceptance-not-red",
        "An acceptance of which nothing fails on base. One red item is enough: a named test, a file or the command.",
        "It would be green without the change.",
        "brief with a test that fails today",
        _acceptance_not_red,
    ),
    _rule(
        "acceptance-missing",
        "A named test, an acceptance file or a command without a result.",
        "What did not run did not pass.",
        "see that the test command collects it, under the id that the brief names",
        _acceptance_missing,
    ),
    Rule(
        "acceptance-unread",
        "judge",
        Severity.PERSON,
        "An acceptance file with tests that did not run under its name, and that no test of the acceptance imports.",
        "Test files of the repository may inherit them; or nobody ran them.",
        "name it as the test command collects it, or let an acceptance file import it",
        _acceptance_unread,
    ),
    _rule(
        "no-tests",
        "Evidence without a single test.",
        "Unknown is no.",
        "see that the test command of the settings finds the tests",
        _no_tests,
    ),
    _rule(
        "no-scanner",
        "Evidence without a single scanner.",
        "Unknown is no.",
        "see that the workshop has scanners",
        _no_scanner,
    ),
    _rule(
        "evidence-mismatch",
        "Tests, a scan or a rehearsal of another commit than the attempt's.",
        "The verdict would be about another change.",
        "test, scan and rehearse this commit",
        _mismatch,
    ),
)

_ORDER = (
    *(rule.name for rule in (*SCOPE_RULES, *TEST_RULES, *TEXT_RULES, *CODE_RULES, *EVASION_RULES)),
    "scan",
    *(rule.name for rule in BUDGET_RULES),
    "test",
    *(rule.name for rule in JUDGE_RULES),
    *(
        rule.name
        for rule in (*PERSON_RULES, *TEST_PERSON_RULES, *TEXT_PERSON_RULES, *CODE_PERSON_RULES, *EVASION_PERSON_RULES)
    ),
    "scanner-failed",
)
_RANKS = {name: rank for rank, name in enumerate(_ORDER)}
"""Scanners' findings are mended like code, a broken build or lint like a test; a failed scanner is not the change's."""
