"""A unified diff of git as files and numbered lines, for a page. Text in, values out; nothing of it is believed."""

import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import NamedTuple

from domain.paths import matches

FOLDED = (
    "**/package-lock.json", "**/npm-shrinkwrap.json", "**/pnpm-lock.yaml", "**/yarn.lock", "**/bun.lock", "**/uv.lock",
    "**/poetry.lock", "**/Pipfile.lock", "**/pdm.lock", "**/Cargo.lock", "**/go.sum", "**/go.work.sum",
    "**/composer.lock", "**/Gemfile.lock", "**/*.min.js", "**/*.min.css", "**/*.map", "**/*_pb2.py", "**/*.pb.go",
    "**/*.snap",
)  # fmt: skip
"""Lock files and what programs write, by name alone: what a file says of itself, an agent may have written."""
MOST_LINES = 20_000
"""So many lines of a change are shown."""
CR = "␍"
"""Ends a line that ends with CR and LF: who reads a change of line ends sees what changed."""
LONG = 600
"""A file with more lines is folded."""
_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@(.*)")
_ESCAPE = re.compile(r"\\([0-7]{3}|.)")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


class DiffLine(NamedTuple):
    """One line. `kind`: add, cut, same, hunk or note; numbers count from 1."""

    kind: str
    old: int | None
    new: int | None
    text: str


class File(NamedTuple):
    """One changed file."""

    path: str
    was: str
    words: tuple[str, ...]
    lines: tuple[DiffLine, ...]

    @property
    def added(self) -> int:
        return sum(line.kind == "add" for line in self.lines)

    @property
    def removed(self) -> int:
        return sum(line.kind == "cut" for line in self.lines)

    @property
    def pairs(self) -> tuple[tuple[DiffLine | None, DiffLine | None], ...]:
        """(old line, new line) as they stand side by side: what was cut beside what was added for it."""
        rows: list[tuple[DiffLine | None, DiffLine | None]] = []
        cut: list[DiffLine] = []
        added: list[DiffLine] = []
        for line in (*self.lines, None):
            if line is not None and line.kind in ("cut", "add"):
                (cut if line.kind == "cut" else added).append(line)
                continue
            rows += zip_longest(cut, added)
            cut, added = [], []
            rows += [(line, line)] if line is not None else []
        return tuple(rows)

    @property
    def is_folded(self) -> bool:
        return len(self.lines) > LONG or matches(self.path, FOLDED)


def files_of(diff: str) -> tuple[tuple[File, ...], int]:
    """The files of a diff, in its order, and how many lines of it are not among them."""
    lines = diff.split("\n")[:-1] if diff.endswith("\n") else diff.split("\n")
    left_out = max(0, len(lines) - MOST_LINES)
    return tuple(_files(lines[:MOST_LINES])), left_out


def _files(lines: list[str]) -> Iterator[File]:
    at = 0
    while at < len(lines):
        if not lines[at].startswith("diff --git "):
            at += 1
            continue
        old, new = _named(lines[at].removeprefix("diff --git "))
        at += 1
        words: list[str] = []
        while at < len(lines) and not lines[at].startswith(("diff --git ", "@@ ")):
            head = lines[at]
            if head.startswith("rename from "):
                old = _path(head.removeprefix("rename from "))
                words.append(f"renamed from {old}")
            elif head.startswith("rename to "):
                new = _path(head.removeprefix("rename to "))
            elif head.startswith(("new file mode ", "deleted file mode ")):
                words.append(head.rpartition(" mode ")[0].replace("file", "").strip() + f", mode {head[-6:]}")
            elif head.startswith(("old mode ", "new mode ")):
                words.append(head)
            elif head.startswith(("Binary files ", "GIT binary patch")):
                words.append("binary")
            elif head.startswith("--- ") and (path := _path(head[4:])) != "/dev/null":
                old = path.removeprefix("a/")
            elif head.startswith("+++ ") and (path := _path(head[4:])) != "/dev/null":
                new = path.removeprefix("b/")
            at += 1
        shown: list[DiffLine] = []
        while at < len(lines) and (hunk := _HUNK.match(lines[at])):
            at = _hunk(lines, at, hunk, shown)
        yield File(new, old, tuple(words), tuple(shown))


def _hunk(lines: list[str], at: int, hunk: re.Match[str], shown: list[DiffLine]) -> int:
    """Where the next one begins. Lines are counted, so a line that looks like a header is still a line."""
    old, new = int(hunk[1]), int(hunk[3])
    old_end, new_end = old + int(hunk[2] or 1), new + int(hunk[4] or 1)
    shown.append(DiffLine("hunk", None, None, lines[at]))
    at += 1
    while at < len(lines) and (old < old_end or new < new_end or lines[at].startswith("\\")):
        sign, text = lines[at][:1], lines[at][1:]
        if text.endswith("\r"):
            text = text[:-1] + CR
        if sign == "+":
            shown.append(DiffLine("add", None, new, text))
            new += 1
        elif sign == "-":
            shown.append(DiffLine("cut", old, None, text))
            old += 1
        elif sign == "\\":
            shown.append(DiffLine("note", None, None, text.strip()))
        else:
            shown.append(DiffLine("same", old, new, text))
            old, new = old + 1, new + 1
        at += 1
    return at


def _named(both: str) -> tuple[str, str]:
    """The two paths of a `diff --git` line: of files without lines they stand nowhere else."""
    if both.startswith('"'):
        first = re.match(r'"(?:\\.|[^"\\])*"', both)
        parts = (first[0], both[len(first[0]) + 1 :]) if first else (both, both)
    else:
        half = (len(both) - 1) // 2
        parts = (both[:half], both[half + 1 :])
    return _path(parts[0]).removeprefix("a/"), _path(parts[1]).removeprefix("b/")


def _path(text: str) -> str:
    """As git writes a path: in quotes, with octal bytes, where it holds more than plain characters."""
    text = text.removesuffix("\t")
    if not (len(text) > 1 and text.startswith('"') and text.endswith('"')):
        return text
    raw = _ESCAPE.sub(lambda found: _char(found[1]), text[1:-1].encode("utf-8").decode("latin-1"))
    return raw.encode("latin-1").decode("utf-8", "replace")


def _char(escaped: str) -> str:
    return chr(int(escaped, 8) & 0xFF) if len(escaped) == 3 else _LETTERS.get(escaped, escaped)
