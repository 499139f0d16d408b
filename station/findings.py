"""`lockgate findings`: what the gates saw of an attempt, on a terminal or as SARIF for a forge; from the ledger."""

import json
import sys
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from blocks.ledger.ledger import Ledger
from domain.errors import InputError
from domain.records import ATTEMPT, PREPARED, REHEARSED, SCANNED, TESTED
from domain.task import Attempt, Finding, Prepared, Rehearsed, Scanned, Tested
from domain.text import one_line
from station.runs import ledger_of, read_run
from tasks.pages.sarif import as_sarif

WIDE = 160


class AttemptFindings(NamedTuple):
    """One attempt as the gates saw it."""

    attempt: Attempt
    repository: str
    findings: tuple[Finding, ...]
    suppressed: tuple[str, ...]


def show_findings(run_id: str, attempt: int | None = None, to: Path | None = None, as_json: bool = False) -> None:
    """Print the findings, or write them to a file as SARIF; `-` is standard output.

    Raises InputError for a run, an attempt or a file that is none.
    """
    run = read_run(run_id)
    seen = seen_of(ledger_of(run), str(run.id), attempt)
    if to:
        log = as_sarif(seen.findings, seen.repository, seen.attempt.commit)
        _write(to, json.dumps(log, indent=2, ensure_ascii=False) + "\n")
    elif as_json:
        found = [finding.model_dump(mode="json") for finding in seen.findings]
        print(json.dumps({"attempt": seen.attempt.number, "commit": seen.attempt.commit, "findings": found,
                          "suppressed": seen.suppressed}))  # fmt: skip
    else:
        _print(seen)


def seen_of(ledger: Ledger, run_id: str, number: int | None = None) -> AttemptFindings:
    """What is on record of an attempt, by default the newest that was tested and scanned."""
    made = [Attempt.model_validate(entry.body) for entry in ledger.entries(run_id=run_id, kind=ATTEMPT.kind)]
    prepared = ledger.last(PREPARED.kind, run_id=run_id)
    for attempt in reversed(made):
        if number not in (None, attempt.number):
            continue
        tested = ledger.find(run_id, *TESTED.at(attempt.commit or ""), Tested)
        scanned = ledger.find(run_id, *SCANNED.at(attempt.commit or ""), Scanned)
        if tested and scanned and prepared:
            brief = Prepared.model_validate(prepared.body).brief
            rehearsed = ledger.find(run_id, *REHEARSED.at(brief.environment, attempt.commit), Rehearsed)
            findings = (*(rehearsed.findings if rehearsed else ()), *scanned.findings, *tested.findings)
            return AttemptFindings(attempt, brief.repository, findings, scanned.suppressed)
    if number is None:
        raise InputError(f"run {run_id} has no attempt that was tested and scanned: there are no findings")
    known = ", ".join(str(attempt.number) for attempt in made) or "none"
    raise InputError(f"run {run_id} has no tested and scanned attempt {number} (attempts: {known})")


def _write(to: Path, text: str) -> None:
    if str(to) == "-":
        sys.stdout.write(text)
        return
    try:
        to.write_text(text, encoding="utf-8")
    except OSError as err:
        raise InputError(f"--sarif {to}: it cannot be written: {err.strerror or err}") from err
    print(f"wrote {to}")


def _print(seen: AttemptFindings) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE  # for a file or a pipe: nothing is cut
    console.print(f"attempt {seen.attempt.number}, commit {(seen.attempt.commit or '')[:12]}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("weight", "gate", "rule", "finding"):
        table.add_column(name, overflow="fold")
    for finding in seen.findings:
        table.add_row(*map(_plain, (str(finding.severity), finding.gate, finding.rule, finding.sentence)))
    console.print(table if seen.findings else "no findings")
    for line in seen.suppressed:
        console.print(Text.assemble("suppressed: ", _plain(line)))


def _plain(text: str) -> Text:
    """Text that a terminal shows and does not obey."""
    return Text(one_line(text))
