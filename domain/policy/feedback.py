"""What the agent is told: short, one line each, with file and line and a way to see it fail; nothing that is hidden."""

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from domain import text as shown
from domain.project import ProjectSettings
from domain.task import CaseRow, Finding

MAX_REASONS = 20
MAX_REASON_CHARS = 600
MAX_CAUSE_CHARS = 250
MAX_READ_CHARS = 20_000
HIDDEN = (
    re.compile(r"(?<![\w.])/lockgate(?![\w-])[^\s'\"`,;)\]}>]*"),
    re.compile(r"(?<![\w.-])[\w./-]{0,200}?(?:test_|Test)[0-9a-f]{10}[ab](?![a-z0-9])[\w./:-]*", re.ASCII),
    re.compile(r"(?<!\w)[0-9a-f]{10} [0-9a-f]{64}(?!\w)"),
)
"""The platform's own files in a sandbox, the canaries that it plants among the tests, and the seal of their report."""

_LOCATION = re.compile(r"^(?:/work/)?([^\s:/][^\s:]*\.\w+):(\d{1,9}): ", re.MULTILINE)
_ASSERTED = re.compile(r"^E +(\S.*)$", re.MULTILINE)
_RAISED = re.compile(
    r"^[^\S\n]*((?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception)(?: \[\w+\])?: .+|error(?:\[E\d+\])?: .+)$", re.MULTILINE
)
"""As Python, Node and rustc print what ended a program."""


class Cause(NamedTuple):
    """Why a test failed, as far as its message tells. `line` counts from 1."""

    why: str
    path: str | None = None
    line: int | None = None


def reasons(findings: Sequence[Finding]) -> tuple[str, ...]:
    """One line each, at most MAX_REASONS; the last one stands for the rest."""
    lines = list(dict.fromkeys(one_line(finding.sentence) for finding in findings))
    if len(lines) > MAX_REASONS:
        lines = [*lines[: MAX_REASONS - 1], f"and {len(lines) - MAX_REASONS + 1} more, in the evidence"]
    return tuple(lines)


def one_line(text: str) -> str:
    """One line that a terminal and a reviewer's screen show as it is; control characters are escaped."""
    words = " ".join(text[:MAX_READ_CHARS].split())
    return shown.one_line(without_hidden(words), MAX_REASON_CHARS, escape=True)


def without_hidden(text: str) -> str:
    """Text in which nothing is named that the platform keeps to itself."""
    for pattern in HIDDEN:
        text = pattern.sub("[platform]", text)
    return text


def cause_of(message: str) -> Cause:
    """The assertion and the place where it was raised, out of pytest's report; else the last error that any program
    printed, else the beginning of the message."""
    message = message[:MAX_READ_CHARS]
    told = _ASSERTED.findall(message)[:3] or _RAISED.findall(message)[-1:]
    why = " ".join("; ".join(told).split() if told else message.split())
    places = _LOCATION.findall(message)
    path, line = places[-1] if places else (None, None)
    short = why if len(why) <= MAX_CAUSE_CHARS else why[: MAX_CAUSE_CHARS - 1] + "…"
    return Cause(short, path, int(line) if line else None)


def alike(rows: Iterable[CaseRow]) -> tuple[tuple[CaseRow, int], ...]:
    """The first row of each cause, and how many more have it. Rows that say nothing stand for themselves."""
    groups: dict[object, list[CaseRow]] = {}
    for row in rows:
        cause = cause_of(row.message)
        groups.setdefault((row.head, *cause) if cause.why else row.test, []).append(row)
    return tuple((group[0], len(group) - 1) for group in groups.values())


def reproduction(settings: ProjectSettings, test: str) -> str | None:
    """The command that runs this one test; None if the runner takes no test id."""
    words = shlex.split(settings.test)
    runner = next((at for at, word in enumerate(words) if Path(word).name in ("pytest", "py.test")), None)
    if runner is None or not re.match(r"[^-\s][^\s]*\.py(?:::|$)", test):
        return None
    return shlex.join([*words[: runner + 1], test])
