"""Rules over two runs of the tests, base's and the change's: what the judge's rules over single rows do not see."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from domain.policy.rule import Hit, Rule
from domain.task import CaseOutcome, CaseRow, Severity, Suite


class Ran(NamedTuple):
    """What ran, under the same locked tests. `own`: the change's tests on base's product code."""

    base: Suite
    head: Suite
    rows: tuple[CaseRow, ...] = ()
    own: Suite | None = None
    flaky: Mapping[str, str] = {}
    """Test → what was seen of it when it ran again on base."""
    acceptance_command: str = "acceptance command"


def _did_not_run(ran: Ran) -> Iterator[Hit]:
    if ran.head.problem:
        yield Hit(f"the tests could not be run on the change: {ran.head.problem}")


def _broken(name: str) -> Callable[[Ran], Iterable[Hit]]:
    def check(ran: Ran) -> Iterator[Hit]:
        code = ran.head.checks.get(name, 0)
        if code and ran.base.checks.get(name) == 0:
            yield Hit(f"{name} fails (exit code {code}): {ran.head.messages.get(name, '')[-600:]}")

    return check


def _broken_before(ran: Ran) -> Iterator[Hit]:
    for name, code in ran.head.checks.items():
        if code and name != ran.acceptance_command and ran.base.checks.get(name) != 0:
            yield Hit(f"{name} fails on base too")


def _proves_nothing(ran: Ran) -> Iterator[Hit]:
    if ran.own is None:
        return
    if ran.own.problem:
        yield Hit(f"the change's own tests could not be run on base: {ran.own.problem}")
        return
    for row in ran.rows:
        if row.kind == "new" and row.base is CaseOutcome.PASSED and row.head is CaseOutcome.PASSED:
            yield Hit(f"{row.test} passes without the change, too", row.test.split("::")[0])


def _flaky(ran: Ran) -> Iterator[Hit]:
    for test, seen in ran.flaky.items():
        yield Hit(f"{test} is flaky: {seen}", test.split("::")[0])


def _exit_code_only(ran: Ran) -> Iterator[Hit]:
    if ran.head.runner == "exit code":
        yield Hit("of the tests nothing is known but the exit code of their command")


def _canaries_silent(ran: Ran) -> Iterator[Hit]:
    silent = sorted(name for name, outcome in ran.base.canaries.items() if outcome in ("missing", "skipped"))
    if silent:
        yield Hit(f"{len(silent)} of the platform's {len(ran.base.canaries)} own tests do not run in this project")


REFUSE, PERSON, NOTE = Severity.REFUSE, Severity.PERSON, Severity.NOTE

RAN_RULES: tuple[Rule[Ran], ...] = (
    Rule(
        "tests-did-not-run", "test", REFUSE,
        "A run that did not end, whose report cannot be read or contradicts the exit code, or in which the platform's "
        "own tests, which must fail, did not.",
        "A report that cannot be believed is none.",
        "leave the runner, Python and the process alone; see that the test command ends by itself",
        _did_not_run,
    ),
    *(
        Rule(
            f"{name}-broken", "test", REFUSE,
            f"The settings' {name} command, which succeeds on base and fails on the change.",
            "It was in order before.",
            f"make {name} succeed",
            _broken(name),
        )
        for name in ("build", "lint", "types")
    ),
    Rule(
        "new-test-proves-nothing", "test", PERSON,
        "A test of the change's own that passes on base's product code, too.",
        "It would be green without the change, so it says nothing about it.",
        "test what is different now, or take it out",
        _proves_nothing,
    ),
    Rule(
        "flaky", "test", NOTE,
        "An existing test that passed on base, fails on the change, and fails on base when it runs there again.",
        "It is not the change that breaks it; somebody should mend it all the same.",
        "nothing to do in this change",
        _flaky,
    ),
    Rule(
        "broken-on-base", "test", NOTE,
        "A build, lint or types command that fails on base and on the change.",
        "It says nothing about the change.",
        "mend it in a change of its own",
        _broken_before,
    ),
    Rule(
        "exit-code-only", "test", NOTE,
        "A test command that no report is known of: neither pytest, unittest, node --test, jest or vitest, nor a "
        "`report` of the settings.",
        "A test that went missing or was skipped is not seen; it is weaker evidence.",
        "set `report` in lockgate.toml",
        _exit_code_only,
    ),
    Rule(
        "canaries-silent", "test", NOTE,
        "Some of the platform's own tests did not run on base: the project's set-up skips or does not collect them.",
        "A runner that was tampered with is less likely to be found out.",
        "let the project's conftest leave tests alone that it does not know",
        _canaries_silent,
    ),
)  # fmt: skip
