"""security_scan: rules over the change and scanners over its text. Nothing of it is run."""

import time

from blocks.workshop import workshop_of
from domain.policy import change_findings
from domain.task import Attempt, Prepared, Scanned
from tasks import show
from tasks.step import step


@step("security_scan", "security_scan-{attempt.number}")
def security_scan(prepared: Prepared, attempt: Attempt) -> Scanned:
    """Evidence: findings that base does not have. A scanner that fails is itself a refusing finding."""
    brief, run = prepared.brief, prepared.run_id
    shop = workshop_of(brief)
    if attempt.commit is None:
        raise ValueError("only an attempt with a commit can be scanned")
    started = time.monotonic()
    base = shop.forge.tree(brief.repository, prepared.base)
    head = shop.forge.tree(brief.repository, attempt.commit)
    findings = list(change_findings(prepared, attempt, base, head))
    for scanner in shop.scanners:
        findings += scanner.scan(base, head, attempt.changed_paths)
    scanned = Scanned(
        commit=attempt.commit,
        findings=tuple(findings),
        scanners=("lockgate rules", *(f"{scanner.name} {scanner.version()}" for scanner in shop.scanners)),
        seconds=round(time.monotonic() - started, 3),
    )
    show.scanned(scanned, attempt.number)
    return shop.ledger.record(run, "scanned", attempt.commit, scanned)
