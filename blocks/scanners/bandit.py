"""bandit: weaknesses in Python by its syntax tree, with a severity and a confidence each."""

import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, Field, ValidationError

from blocks.scanners.python_files import CANARY_SOURCE, PythonTool, code_at
from blocks.scanners.tool import CANARY, Layout, ScannerFailed, ToolFinding
from domain.policy import Rule
from domain.task import Severity
from domain.trees import Tree

NOTES = frozenset(
    ("B101", "B110", "B112", "B311", "B403", "B404", "B405", "B406", "B407", "B408", "B409", "B603", "B607")
)
"""What is worth a look and most often right: assert, try-pass, random, the mere import of subprocess or pickle."""
PERSONS = frozenset(("B104", "B108", "B310", "B324", "B608"))
"""What depends on what it is for: listening everywhere, a fixed path in /tmp, opening a URL that someone gives,
a weak hash (fine for a cache key), SQL as text (fine around a quoted name)."""

UNPARSED = "bandit/unparsed"

RULES: tuple[Rule[None], ...] = (
    Rule(
        "bandit/B*", "scan", Severity.REFUSE,
        "Weaknesses in new Python product code. Severity and confidence of medium or higher refuse; the rest goes to a "
        f"person, as do {', '.join(sorted(PERSONS))}; {', '.join(sorted(NOTES))} are notes.",
        "These are the ways in which services are broken into.",
        "do what the rule's page under bandit.readthedocs.io says; nosec comments do not count here",
        lambda _: (),
    ),
    Rule(
        UNPARSED, "scan", Severity.PERSON,
        "A Python file that bandit cannot parse.",
        "It was not scanned, and unknown is not a pass.",
        "mend the syntax; a reviewer agrees where it is for a newer Python",
        lambda _: (),
    ),
)  # fmt: skip


class _Issue(BaseModel):
    filename: str
    line_number: int
    col_offset: int = 0
    test_id: str
    issue_severity: str
    issue_confidence: str
    issue_text: str
    more_info: str = ""


class _Unread(BaseModel):
    filename: str
    reason: str


class _Report(BaseModel):
    errors: list[_Unread]
    metrics: dict[str, Any]
    results: list[_Issue]


class Bandit(PythonTool):
    """bandit, over changed Python files on both sides."""

    _block_type_name: ClassVar[str] = "Lockgate bandit"
    _block_type_slug: ClassVar[str] = "lockgate-bandit"
    _description: ClassVar[str] = "Weaknesses in changed Python files, new against base."

    name: str = Field("bandit", description="How findings call this scanner")
    program: str | None = Field(None, description="Path of bandit; empty: the one installed with Lockgate")

    def _argv(self) -> list[str]:
        return [self.program] if self.program else [sys.executable, "-I", "-m", "bandit"]

    def _look(self, trees: Mapping[str, Tree], paths: Callable[[Tree], Iterable[str]]) -> list[ToolFinding]:
        with tempfile.TemporaryDirectory(prefix="lockgate-scan-") as folder:
            layout = Layout(Path(folder) / "tree", trees, paths)
            layout.rename(".py")
            layout.write(CANARY, CANARY_SOURCE)
            code, output = self._run(["--quiet", "--format", "json", "--ignore-nosec", "-r", "tree"], Path(folder))
            if code not in (0, 1):
                raise ScannerFailed(f"it ended with exit code {code}")
            try:
                report = _Report.model_validate_json(output)
            except ValidationError as err:
                raise ScannerFailed("it printed something else than its report") from err
            looked_at = sum(name != "_totals" for name in report.metrics)
            if looked_at != len(layout) + 1 or not any(_is_canary(issue) for issue in report.results):
                raise ScannerFailed(f"it looked at {looked_at} of {len(layout) + 1} files, or missed what was planted")
            issues = [_issue(issue, layout) for issue in report.results if not _is_canary(issue)]
            return issues + [_unread(unread, layout) for unread in report.errors]


def _is_canary(issue: _Issue) -> bool:
    return Path(issue.filename).name == CANARY and issue.test_id == "B307"


def _issue(issue: _Issue, layout: Layout) -> ToolFinding:
    side, path = layout.origin(issue.filename)
    return ToolFinding(
        side=side, path=path, line=issue.line_number, rule=f"bandit/{issue.test_id}", severity=_severity(issue),
        message=_message(issue), key=code_at(layout, side, path, issue.line_number, issue.col_offset),
        fix=issue.more_info or None,
    )  # fmt: skip


def _message(issue: _Issue) -> str:
    """What bandit says; where it would quote a password (B105 to B107), without it."""
    return issue.issue_text.partition(":")[0] if issue.test_id in ("B105", "B106", "B107") else issue.issue_text


def _severity(issue: _Issue) -> Severity:
    if issue.test_id in NOTES:
        return Severity.NOTE
    if issue.test_id in PERSONS or "LOW" in (issue.issue_severity, issue.issue_confidence):
        return Severity.PERSON
    return Severity.REFUSE


def _unread(unread: _Unread, layout: Layout) -> ToolFinding:
    """Never the same on both sides: a file that was unknown before is still unknown."""
    side, path = layout.origin(unread.filename)
    message = f"bandit could not read this file: {unread.reason}"
    return ToolFinding(side=side, path=path, line=0, rule=UNPARSED, severity=Severity.PERSON, message=message, key=side)
