"""What build, lint and type checkers say, line by line, and which of it base does not say. Text in, values out."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import PurePosixPath

from domain.value import Value

MAX_PROBLEMS = 2_000
"""A command that says more than this is compared by its exit code."""
MAX_MESSAGE = 400


class Problem(Value):
    """One thing that a checker says. `path` is relative to the repository root, `line` counts from 1.

    `path` is empty if it is about no file, or of no known form: a summary, another program's word.
    """

    path: str
    line: int | None = None
    message: str


_CUT = re.compile(r"^\[\.\.\. \d+ bytes cut \.\.\.\]$", re.MULTILINE)
_COLOURS = re.compile(r"(?:\x1b|\\x1b)\[[0-9;]*m")
_PATH = r"(?P<path>[^\s:()\[\]'\"<>]++)"
_FORMS = tuple(
    re.compile(form)
    for form in (
        rf"\s*+{_PATH}:(?P<line>\d+)(?::\d+)?(?:-\d+(?::\d+)?)?(?::| -) *(?P<message>\S.*)",  # ruff, mypy, others
        rf"{_PATH}\((?P<line>\d+)(?:,\d+)?\): (?P<message>\S.*)",  # tsc
        rf"{_PATH}: (?P<message>(?:error|warning): \S.*)",  # mypy, of a whole file
        rf"(?P<message>[Ww]ould reformat):? {_PATH}",  # black, ruff format
        rf"\[(?:warn|error)\] {_PATH}(?:: (?P<message>\S.*))?",  # prettier
    )
)
_ARROW = re.compile(rf"\s*+--> {_PATH}:(?P<line>\d+)(?::\d+)?")
"""Below the message: ruff's own form and rustc's."""
_FILE = re.compile(r"/?[^\s:]*[^\s:/]\.\w+")
_BELOW = re.compile(r"\s+(?P<line>\d+)(?::\d+)?\s+(?P<message>(?:error|warning|✖|⚠)\s+\S.*)")
"""Below the name of the file: eslint's own form."""
_SOURCE = re.compile(r"\d*\s*\|")
"""The code that a message is about."""
_COUNTS = re.compile(r"\d\S*(?: (?P<word>\w+?)s?\b)?")
_NUMBERS = re.compile(r"\b(?P<word>lines?|column|col|offset) \d+(?:-\d+)?", re.IGNORECASE)
_REDACTED = re.compile(r"(?P<word>redacted_[a-z0-9_]+)_[0-9a-f]{8}")
"""As `domain.redaction` makes them; the hash is another one in each run."""


def read_problems(output: str) -> tuple[Problem, ...] | None:
    """What is said in `output`, in its order; None if none of it is about a file, or not all of it is there."""
    if _CUT.search(output):
        return None
    found = tuple(islice(_read(_COLOURS.sub("", output).splitlines()), MAX_PROBLEMS + 1))
    return found if len(found) <= MAX_PROBLEMS and any(problem.path for problem in found) else None


def _read(lines: Sequence[str]) -> Iterator[Problem]:
    above, file = "", ""
    for line in (*lines, "."):
        arrow = _ARROW.fullmatch(line)
        if arrow and above:  # a second arrow shows a further place of the same
            yield _problem(arrow["path"], arrow["line"], above)
            above = ""
        elif _FILE.fullmatch(line):
            file = line
        elif not line.strip():
            file = ""
        elif file and (below := _BELOW.fullmatch(line)):
            yield _problem(file, below["line"], below["message"])
        elif problem := _on_one_line(line):
            if not problem.message.startswith("note: "):
                yield problem
        elif not line[0].isspace() and not _SOURCE.match(line):
            if above:
                yield _problem("", None, above)
            above = line


def _on_one_line(line: str) -> Problem | None:
    for form in _FORMS:
        said = form.fullmatch(line)
        if said and re.search(r"[./]", said["path"]):
            parts = said.groupdict()
            message = parts["message"] or "is not in the wanted form"
            return _problem(parts["path"], parts.get("line"), message)
    return None


def _problem(path: str, line: str | None, message: str) -> Problem:
    inside = str(PurePosixPath(path.removeprefix("/work/"))) if path else ""
    told = " ".join(message.split())[:MAX_MESSAGE]
    return Problem(path=inside, line=int(line) if line and len(line) < 10 else None, message=told)


def new_problems(base: Sequence[Problem], head: Sequence[Problem]) -> tuple[Problem, ...]:
    """What `head` says and `base` does not, in its order: the same message of one file counts as often as it is there.

    Lines do not count: code that moved says the same elsewhere.
    """
    known = Counter(map(_key, base))
    new = []
    for problem in head:
        if known[_key(problem)]:
            known[_key(problem)] -= 1
        else:
            new.append(problem)
    return tuple(new)


def _key(problem: Problem) -> tuple[str, str]:
    """What stays the same where code moves, and in runs that hide a secret under different names."""
    message = problem.message
    for pattern in (_REDACTED, _NUMBERS if problem.path else _COUNTS):
        message = pattern.sub(lambda found: found["word"] or "", message)
    return problem.path, message
