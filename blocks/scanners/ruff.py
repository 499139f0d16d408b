"""ruff: the flake8-bandit rules (S), fast and for the newest syntax."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from blocks.scanners.python_files import CANARY_SOURCE, PythonTool, code_at
from blocks.scanners.tool import CANARY, Layout, ScannerFailed, ToolFinding
from domain.policy import Rule
from domain.task import Severity
from domain.trees import Tree

REFUSALS = frozenset(
    ("invalid-syntax", "S102", "S103", "S202", "S301", "S302", "S306", "S307", "S323", "S501", "S502", "S503",
     "S504", "S506", "S507", "S602", "S604", "S609", "S611", "S701", "S702")
)  # fmt: skip
"""Where the syntax alone is enough to say no. ruff knows no severity, so what needs one is left to bandit."""
NOTES = frozenset(
    ("S101", "S110", "S112", "S311", "S403", "S404", "S405", "S406", "S407", "S408", "S409", "S603", "S607")
)
NEWEST = "py314"
"""Syntax of a newer Python than the target's counts as invalid, so the target is the newest."""

RULES: tuple[Rule[None], ...] = (
    Rule(
        "ruff/S*", "scan", Severity.REFUSE,
        f"Weaknesses in new Python product code. {', '.join(sorted(REFUSALS - {'invalid-syntax'}))} refuse; "
        f"{', '.join(sorted(NOTES))} are notes; the rest goes to a person.",
        "These are the ways in which services are broken into.",
        "do what the rule's page under docs.astral.sh/ruff/rules says; noqa comments do not count here",
        lambda _: (),
    ),
    Rule(
        "ruff/invalid-syntax", "scan", Severity.REFUSE,
        "A changed Python file that is no Python.",
        "It cannot run, and no rule could look into it.",
        "mend the syntax",
        lambda _: (),
    ),
)  # fmt: skip


class _Place(BaseModel):
    row: int
    column: int = 1


class _Issue(BaseModel):
    code: str | None
    filename: str
    location: _Place
    message: str
    url: str | None = None


_REPORT = TypeAdapter(list[_Issue])


class Ruff(PythonTool):
    """ruff's security rules, over changed Python files on both sides."""

    _block_type_name: ClassVar[str] = "Lockgate ruff"
    _block_type_slug: ClassVar[str] = "lockgate-ruff"
    _description: ClassVar[str] = "Security lint of changed Python files, new against base."

    name: str = Field("ruff", description="How findings call this scanner")
    program: str | None = Field(None, description="Path of ruff; empty: the one installed with Lockgate")
    timeout_s: float = Field(60, gt=0, description="A scan that takes longer is stopped and refuses the change")

    def _argv(self) -> list[str]:
        beside = Path(sys.executable).parent / "ruff"
        return [self.program or (str(beside) if beside.exists() else shutil.which("ruff") or str(beside))]

    def _look(self, trees: Mapping[str, Tree], paths: Callable[[Tree], Iterable[str]]) -> list[ToolFinding]:
        with tempfile.TemporaryDirectory(prefix="lockgate-scan-") as folder:
            layout = Layout(Path(folder) / "tree", trees, paths, _readable)
            layout.rename(".py")
            layout.write(CANARY, CANARY_SOURCE)
            arguments = ["check", "--isolated", "--select", "S", "--no-cache", "--output-format", "json",
                         "--ignore-noqa", "--no-respect-gitignore", "--target-version", NEWEST, "tree"]  # fmt: skip
            code, output = self._run(arguments, Path(folder))
            if code not in (0, 1):
                raise ScannerFailed(f"it ended with exit code {code}")
            try:
                report = _REPORT.validate_json(output)
            except ValidationError as err:
                raise ScannerFailed("it printed something else than its report") from err
            if not any(_is_canary(issue) for issue in report):
                raise ScannerFailed("it missed what was planted for it")
            return [_issue(issue, layout) for issue in report if not _is_canary(issue)]


def _readable(content: bytes) -> bytes:
    """UTF-8, since ruff passes over a file in another encoding without a word."""
    return content.decode("utf-8", "replace").encode()


def _is_canary(issue: _Issue) -> bool:
    return Path(issue.filename).name == CANARY and issue.code == "S307"


def _issue(issue: _Issue, layout: Layout) -> ToolFinding:
    side, path = layout.origin(issue.filename)
    code = issue.code or "invalid-syntax"
    severity = Severity.REFUSE if code in REFUSALS else Severity.NOTE if code in NOTES else Severity.PERSON
    return ToolFinding(
        side=side, path=path, line=issue.location.row, rule=f"ruff/{code}", severity=severity, message=issue.message,
        key=code_at(layout, side, path, issue.location.row, issue.location.column - 1), fix=issue.url,
    )  # fmt: skip
