"""security_scan: rules over the change and scanners over its text. Nothing of it is run."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

from blocks.scanners.change_rules import rules_over
from blocks.scanners.gitleaks import merged
from blocks.workshop import Workshop, workshop_of
from domain.brief import Brief
from domain.policy.suppress import Suppressed, apply_suppressions
from domain.records import PREPARED, SCANNED
from domain.task import Attempt, Finding, Prepared, Scanned, Severity
from domain.trees import Tree
from tasks.pages import show
from tasks.step import step

AT_ONCE = 4
"""Scanners that run side by side; they are programs of their own."""


@step("security_scan", "security_scan-{attempt.number}")
def security_scan(prepared: Prepared, attempt: Attempt) -> Scanned:
    """Evidence: findings that base does not have. A scanner that fails is itself a refusing finding."""
    brief, run = prepared.brief, prepared.run_id
    shop = workshop_of(brief)
    if attempt.commit is None:
        raise ValueError("only an attempt with a commit can be scanned")
    if known := shop.ledger.find(run, *SCANNED.at(attempt.commit), Scanned):
        return known
    started = time.monotonic()
    base = shop.forge.tree(brief.repository, prepared.base)
    head = shop.forge.tree(brief.repository, attempt.commit)
    scanners = shop.with_examples(prepared.settings.example_secrets).scanners_for(brief)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        by_rules = pool.submit(rules_over, prepared, attempt, base, head)
        by_tools = pool.map(lambda scanner: scanner.scan(base, head, attempt.changed_paths), scanners)
        findings = [*by_rules.result(), *(finding for found in by_tools for finding in found)]
    seen = merged(findings)
    of_brief = seen if prepared.own_tests else [_of_brief(finding, brief, head) for finding in seen]
    kept, suppressed = apply_suppressions(of_brief, prepared.settings.suppress, _day(shop, run))
    scanned = Scanned(
        commit=attempt.commit,
        findings=kept,
        suppressed=tuple(_told(one) for one in suppressed),
        scanners=("lockgate rules", *(f"{scanner.name} {scanner.version()}" for scanner in scanners)),
        seconds=round(time.monotonic() - started, 3),
    )
    show.scanned(scanned, attempt.number)
    return shop.ledger.record(run, *SCANNED.at(attempt.commit), scanned)


def _day(shop: Workshop, run: str) -> date:
    """The day on which the run began, in UTC: what ends at midnight ends for the next run."""
    begun = shop.ledger.entries(run_id=run, kind=PREPARED.kind)
    return (begun[0].at if begun else datetime.now(UTC)).date()


def _of_brief(finding: Finding, brief: Brief, head: Tree) -> Finding:
    """What is found in a test that the brief gives goes to a person: the agent did not write it and cannot mend it."""
    content = {file.path: file.content.encode() for file in brief.acceptance.files}.get(finding.path or "")
    is_given = content is not None and finding.path in head and head[finding.path].content == content
    if not is_given or finding.severity is not Severity.REFUSE:
        return finding
    said = f"in a test that the brief gives: {finding.message}"
    return finding.model_copy(update={"severity": Severity.PERSON, "message": said})


def _told(one: Suppressed) -> str:
    by = one.by
    return f"{one.finding.rule}: {one.finding.sentence} (suppressed until {by.until} by {by.owner}: {by.reason})"
