"""test: the change's product code under base's tests, in a fresh sandbox, compared test by test with base."""

from blocks.workshop import workshop_of
from domain.errors import InputError
from domain.ports import Tree
from domain.task import Attempt, BillLine, CaseOutcome, CaseRow, Finding, Prepared, Severity, Suite, Tested
from tasks import show
from tasks.prepare import is_acceptance
from tasks.step import step
from tasks.suite import ACCEPTANCE_COMMAND, rooms, run_suite, unpack


@step("test", "test-{attempt.number}")
def test(prepared: Prepared, attempt: Attempt) -> Tested:
    """Evidence: acceptance and existing tests on base and on the change. Safe to repeat: it changes nothing."""
    brief, run = prepared.brief, prepared.run_id
    shop = workshop_of(brief)
    if attempt.commit is None or prepared.baseline is None:
        raise ValueError("only an attempt with a commit, prepared with a baseline, can be tested")
    head: Tree = {
        **shop.forge.tree(brief.repository, attempt.commit),
        **unpack(shop.store.get(prepared.contract)),
    }
    try:
        suite = run_suite(shop, head, brief, prepared.settings, rooms(shop, prepared, head))
    except InputError as err:  # a file where the contract has a directory; or setup does not work with the change
        suite = Suite(cases={}, exit_code=-1, problem=f"the change cannot be tested: {err}")
    line = BillLine(run_id=run, step="test", attempt=attempt.number, sandbox_s=suite.seconds)
    shop.ledger.record(run, "bill", f"test-{attempt.commit}", line)
    tested = Tested(
        commit=attempt.commit,
        rows=compare(prepared, prepared.baseline, suite),
        findings=_findings(prepared.baseline, suite),
        sandbox=suite.sandbox,
        seconds=suite.seconds,
        output=suite.output,
    )
    show.tested(tested, attempt.number)
    return shop.ledger.record(run, "tested", attempt.commit, tested)


def compare(prepared: Prepared, base: Suite, head: Suite) -> tuple[CaseRow, ...]:
    """One row a test: acceptance first, then existing, then new ones."""
    acceptance = prepared.brief.acceptance
    files = {f.path for f in acceptance.files}
    rows = []
    for test_id in {**base.cases, **head.cases}:
        before = base.cases.get(test_id) or base.cases.get(test_id.split("::")[0], CaseOutcome.MISSING)
        after = head.cases.get(test_id, CaseOutcome.MISSING)
        if is_acceptance(test_id, files, acceptance.tests):
            kind = "acceptance"
        else:
            kind = "existing" if test_id in base.cases else "new"
        if kind == "acceptance" and after is CaseOutcome.MISSING and "::" not in test_id:
            continue  # the file did not import on base; on the change its tests are rows of their own
        rows.append(CaseRow(test=test_id, kind=kind, base=before, head=after, message=head.messages.get(test_id, "")))
    name = ACCEPTANCE_COMMAND
    if name in head.checks:
        before, after = (CaseOutcome.PASSED if s.checks.get(name) == 0 else CaseOutcome.FAILED for s in (base, head))
        message = head.messages.get(name, "")
        row = CaseRow(test=acceptance.command or name, kind="acceptance", base=before, head=after, message=message)
        rows.append(row)
    order = {"acceptance": 0, "existing": 1, "new": 2}
    return tuple(sorted(rows, key=lambda row: (order[row.kind], row.test)))


def _findings(base: Suite, head: Suite) -> tuple[Finding, ...]:
    findings = []
    if head.problem:
        message = f"the tests could not be run on the change: {head.problem}"
        findings.append(Finding(gate="test", rule="tests-did-not-run", severity=Severity.REFUSE, message=message))
    for name, code in head.checks.items():
        if name == ACCEPTANCE_COMMAND or code == 0:
            continue
        was_fine = base.checks.get(name) == 0
        message = f"{name} fails (exit code {code}): {head.messages.get(name, '')[-600:]}"
        if not was_fine:
            message = f"{name} fails on base too"
        severity = Severity.REFUSE if was_fine else Severity.NOTE
        findings.append(Finding(gate="test", rule=f"{name}-broken", severity=severity, message=message))
    return tuple(findings)
