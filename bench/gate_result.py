"""Whether the gates gave the answer that was due."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.gate_cases.case import FINE, NEUTRALISED, REFUSED, Case, Seen
from domain.task import Decision, Verdict


class Result(NamedTuple):
    """What the gates said to a case. `miss` is None if that was right; seconds are None if a gate did not run."""

    case: Case
    verdict: Verdict
    miss: str | None
    hostile_passed: bool
    test_s: float | None = None
    scan_s: float | None = None
    judge_s: float | None = None
    wall_s: float | None = None
    raw_s: float | None = None
    """The project's own suite by its raw command in the same kind of sandbox, twice."""

    @property
    def ratio(self) -> float | None:
        """The gates' time over what an honest change may take."""
        return self.wall_s / (1.3 * self.raw_s + 5) if self.wall_s and self.raw_s else None


def answered(case: Case, seen: Seen, witness: Path) -> Result:
    """The result of a case. `witness` is there where something of the change ran on the host."""
    verdict = seen.verdict
    refused, asked = verdict.is_refused, verdict.decision is Decision.NEEDS_PERSON
    passed, miss = False, None
    if witness.exists():
        passed, miss = True, "what the change brought was run on the host"
    elif case.expect in (FINE, NEUTRALISED):
        miss = f"refused: {'; '.join(verdict.reasons)}" if refused else None
    elif not refused and (case.expect is REFUSED or not asked):
        passed, miss = True, f"{verdict.decision}: {'; '.join(verdict.rules) or 'no rule'}"
    elif not set(case.rules) & set(verdict.rules):
        miss = f"another reason: {', '.join(verdict.rules)}: {'; '.join(verdict.reasons)[:600]}"
    if miss is None and case.says and not re.search(case.says, "\n".join(verdict.reasons)):
        miss = f"the reason does not say {case.says!r}: {'; '.join(verdict.reasons)[:600]}"
    if miss is None and case.check and (wrong := case.check(seen)):
        passed, miss = case.expect is not FINE, wrong
    return Result(case, verdict, miss, passed)


def keep(result: Result, at: Path) -> None:
    """Adds the result to a file of results, one a line."""
    row = result._asdict() | {"case": result.case.name, "verdict": result.verdict.model_dump(mode="json")}
    with at.open("a") as file:
        file.write(json.dumps(row) + "\n")


def kept(at: Path, cases: Sequence[Case]) -> dict[str, Result]:
    """Name of the case → its result in the file, for those of `cases` that are there."""
    rows = [json.loads(line) for line in at.read_text().splitlines()] if at.exists() else []
    known = {case.name: case for case in cases}
    return {
        row["case"]: Result(**{**row, "case": known[row["case"]], "verdict": Verdict.model_validate(row["verdict"])})
        for row in rows
        if row["case"] in known
    }
