"""A change, as its rules see it: base and head as data, what differs, and which lines are new."""

import functools
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from domain.paths import matches
from domain.project import ProjectSettings
from domain.task import Attempt, Prepared
from domain.trees import LINK, Tree

PYTHON = (".py", ".pyi", ".pyw")


@dataclass(frozen=True)
class Change:
    """What an attempt did to base. `prepared` alone says what is allowed; nothing is read from the head for that."""

    prepared: Prepared
    attempt: Attempt
    base: Tree
    head: Tree

    @property
    def settings(self) -> ProjectSettings:
        return self.prepared.settings

    @cached_property
    def acceptance(self) -> dict[str, bytes]:
        return {file.path: file.content.encode() for file in self.prepared.brief.acceptance.files}

    @cached_property
    def changed(self) -> tuple[str, ...]:
        """Paths that differ, sorted. The acceptance files of the brief, put in place unaltered, are no change; where
        they are the change's own tests, they are one."""
        return tuple(
            path
            for path in sorted(self.base.keys() | self.head.keys())
            if self.base.get(path) != self.head.get(path) and (self.prepared.own_tests or not self.is_as_given(path))
        )

    @cached_property
    def present(self) -> tuple[str, ...]:
        """Changed paths that the head still has, as regular files."""
        return tuple(path for path in self.changed if path in self.head and self.head[path].mode != LINK)

    @cached_property
    def product_python(self) -> tuple[str, ...]:
        """Changed Python files outside of the tests."""
        return tuple(path for path in self.present if is_python(path) and not self.is_test(path))

    def is_test(self, path: str) -> bool:
        return matches(path, self.settings.test_paths)

    def may_change(self, path: str) -> bool:
        """Whether the brief opens this existing test."""
        return matches(path, self.prepared.brief.may_change_tests)

    def is_named(self, path: str) -> bool:
        """Whether the brief opens this file by its own name: tests/** does not open tests/conftest.py."""
        name = PurePosixPath(path).name
        globs = [glob for glob in self.prepared.brief.may_change_tests if PurePosixPath(glob).name == name]
        return matches(path, globs)

    def added(self, path: str) -> Iterator[tuple[int, str]]:
        """(line number, line) of a text file's lines that base has fewer of at this path."""
        old = Counter(_lines(text_of(self.base, path) or ""))
        for number, line in enumerate(_lines(text_of(self.head, path) or ""), start=1):
            if old[line]:
                old[line] -= 1
            else:
                yield number, line

    def is_as_given(self, path: str) -> bool:
        """Whether it is an acceptance file, as the brief has it."""
        entry = self.head.get(path)
        return entry is not None and entry.mode != LINK and entry.content == self.acceptance.get(path)


ENOUGH = 50
"""Findings after which a rule that searches base for each of them looks no further: a person is asked by then."""


def base_names(change: Change) -> Callable[[str], bool]:
    """(text) → whether a file of base has it. Each text is looked for once."""
    return functools.cache(lambda text: any(text.encode() in entry.content for entry in change.base.values()))


def base_product_names(change: Change, text: bytes) -> bool:
    """Whether a Python file of base's product has it."""
    return any(
        text in entry.content
        for path, entry in change.base.items()
        if is_python(path) and not change.is_test(path) and not is_beside(path)
    )


def is_python(path: str) -> bool:
    return path.lower().endswith(PYTHON)


_BESIDE = frozenset(("docs", "doc", "examples", "example", "benchmarks", "bench", "scripts", "tools"))
_SHOWN = frozenset(("examples", "example", "samples", "demo", "demos", "tutorial", "tutorials", "docs_src"))
"""Directories of what is shown, at any depth: `packages/shop/examples/`."""


def is_beside(path: str) -> bool:
    """Whether it stands beside a product: that it starts programs, say, tells nothing of the product."""
    first, *more = path.split("/")[:-1] or [""]
    return first in _BESIDE or not _SHOWN.isdisjoint((first, *more))


def text_of(tree: Tree, path: str) -> str | None:
    """The file as text; None if there is none, or it is no UTF-8 text."""
    entry = tree.get(path)
    if entry is None or entry.mode == LINK or b"\0" in entry.content:
        return None
    try:
        return entry.content.decode()
    except UnicodeDecodeError:
        return None


def table_of(tree: Tree, path: str) -> dict[str, Any] | None:
    """A TOML file; empty if there is none, None if it cannot be read."""
    if path not in tree:
        return {}
    try:
        return tomllib.loads(text_of(tree, path) or "=")
    except (ValueError, RecursionError):
        return None


_HEADER = re.compile(r"\[([^\[\]]+)\](?:\s*[#;][^\]]*)?")
_MOST_AT_ONCE = 64


def sections_of(tree: Tree, path: str) -> dict[str, list[str]]:
    """The lines of an ini file by section, as they stand. Readers of such files differ in what opens a section: a line
    that does so for some of them alone leaves the one before open too, and the next lines are in both. Of a file in
    which such lines leave very many open at once, each section is the whole file."""
    sections: dict[str, list[str]] = {}
    names = {""}
    lines = [
        (line, not at) for raw in (text_of(tree, path) or "").split("\n") for at, line in enumerate(raw.splitlines())
    ]
    for line, is_first in lines:
        text = line.strip()
        if is_first and line.startswith("[") and (header := _HEADER.fullmatch(text)):
            names = {header[1].strip()}
            continue
        if text.startswith("["):
            names = names | {text[1:].partition("]")[0].strip(), text[1:].rpartition("]")[0].strip()}
        if len(names) > _MOST_AT_ONCE:
            whole = [line for line, _ in lines]
            return dict.fromkeys(_all_names(whole), whole)
        for name in names if text else ():
            sections.setdefault(name, []).append(line)
    return sections


def _all_names(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if (text := line.strip()).startswith("["):
            yield text[1:].partition("]")[0].strip()
            yield text[1:].rpartition("]")[0].strip()


def _lines(text: str) -> list[str]:
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []
