"""Planted changes: a fault that the platform puts before a reviewer now and then, to see whether it would be seen.

Such a change is text in the ledger and nothing else: lines of a change that was merged before, one of them made wrong.
There is no run of it, no commit and no artifact, so there is nothing that could be merged or released.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple

from pydantic import Field

from domain.agent_scope import week_of
from domain.diffs import File
from domain.paths import matches
from domain.policy.reviewers import canonical_name
from domain.value import Value

RUN = "planted"
"""The ledger's run for them: no run of Prefect has such an id."""
OPEN_DAYS = 7
"""For so long it waits for an answer; then it is over and counts for nothing."""
ACTIVE_DAYS = 28
"""Who answered no review for so long is shown none."""
CODE = ("**/*.py", "**/*.js", "**/*.mjs", "**/*.ts", "**/*.tsx", "**/*.go", "**/*.rs", "**/*.java", "**/*.rb")


class Planting(Value):
    """Whether planted faults are put before reviewers at the desk; none unless a team turns it on."""

    per_week: int = Field(0, ge=0, le=5, description="So many a week for each reviewer; 0: none at all")


class Planted(Value):
    """A fault that waits for one reviewer."""

    id: str = Field(description="Where it is at the desk, as the id of a run would be")
    reviewer: str
    run_id: str = Field(description="Of the change that it was made of, which was merged")
    question: str = Field(description="Key of the question about that change")
    path: str
    line: int = Field(description="In the new file")
    was: str
    now: str


class PlantedAnswer(Value):
    """What its reviewer answered. It moves nothing."""

    by: str
    answer: str

    @property
    def is_caught(self) -> bool:
        return self.answer != "approve"


class PlantedFault(NamedTuple):
    """A line of a change, and how it is made wrong."""

    path: str
    line: int
    was: str
    now: str


_SWAPS = (
    (" == ", " != "), (" != ", " == "), (" <= ", " < "), (" >= ", " > "), (" < ", " <= "), (" > ", " >= "),
    (" and ", " or "), (" or ", " and "), (" && ", " || "), (" || ", " && "), (" not in ", " in "), (" + 1", " + 2"),
    (" - 1", ""), (" is not None", " is None"), ("return True", "return False"), ("return False", "return True"),
    ("if not ", "if "), (" = 0", " = 1"), (" + ", " - "), (" * ", " + "),
)  # fmt: skip
"""Slips that people make, and that a reader of the line can see."""
_NO_CODE = re.compile(r"\s*(?:import\b|from\b|assert\b)")
MOST_TEXT = 500_000
"""Of longer files, which nobody wrote by hand, no line is made wrong."""


def faults(files: Sequence[File], is_test: tuple[str, ...], text_of: Callable[[str], str | None]) -> list[PlantedFault]:
    """Every fault that can be put into the added lines of product code, in their order. `text_of`: the whole file at a
    path, by which it is known what is code and what is said in a comment or a text."""
    return [fault for file in files if matches(file.path, CODE) and not matches(file.path, is_test)
            for fault in _in(file, text_of(file.path) or "")]  # fmt: skip


def with_fault(files: Sequence[File], fault: PlantedFault) -> tuple[File, ...] | None:
    """The files with the line made wrong; None if it is not there as it was."""
    made = tuple(_changed(file, fault) for file in files)
    return made if made != tuple(files) else None


def slots(ledger: str, reviewer: str, per_week: int, now: datetime) -> list[str]:
    """Keys of what a reviewer is to be shown in this week by now: the same for whoever asks, and known in advance to
    nobody without the ledger, whose identity is in it."""
    monday = week_of(now)
    begins = datetime.combine(monday, time(), UTC)
    keys = [f"{canonical_name(reviewer)}/{monday}/{number}" for number in range(per_week)]
    return [key for key in keys if begins + timedelta(seconds=seed(ledger, key) % _WEEK_S) <= now]


_WEEK_S = 5 * 86_400
"""From Monday to Friday."""


def seed(ledger: str, key: str) -> int:
    """A number that only who has the ledger knows."""
    return int.from_bytes(hashlib.sha256(f"{ledger}\0{key}".encode()).digest()[:8])


def address_of(ledger: str, key: str) -> str:
    """Where it is at the desk: it looks as the id of a run does."""
    digits = hashlib.sha256(f"{ledger}\0{key}\0address".encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"


def _in(file: File, text: str) -> Iterator[PlantedFault]:
    code = _code_of(file.path, text) if len(text) <= MOST_TEXT else []
    lines = text.split("\n")
    for line in file.lines:
        if line.kind != "add" or line.new is None or line.new > len(code) or _NO_CODE.match(line.text):
            continue
        if lines[line.new - 1] != line.text:
            continue  # shown in another way than it is written
        plain = code[line.new - 1]
        swap = next(((plain.index(old), old, new) for old, new in _SWAPS if old in plain), None)
        if swap:
            at, old, new = swap
            yield PlantedFault(file.path, line.new, line.text, line.text[:at] + new + line.text[at + len(old) :])


def _code_of(path: str, text: str) -> list[str]:
    """The lines of a file with a sign in the place of each letter of a comment or a text."""
    from pygments.lexers import get_lexer_for_filename  # late: it takes a while, and most commands plant nothing
    from pygments.token import Comment, String
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_for_filename(path)
    except ClassNotFound:
        return []
    plain = list(text)
    for at, kind, value in lexer.get_tokens_unprocessed(text):
        if kind in Comment or (kind in String and kind not in String.Interpol):
            plain[at : at + len(value)] = ["\n" if sign == "\n" else "\0" for sign in value]
    return "".join(plain).split("\n")


def _changed(file: File, fault: PlantedFault) -> File:
    if file.path != fault.path:
        return file
    return file._replace(lines=tuple(
        line._replace(text=fault.now) if (line.kind, line.new, line.text) == ("add", fault.line, fault.was) else line
        for line in file.lines
    ))  # fmt: skip
