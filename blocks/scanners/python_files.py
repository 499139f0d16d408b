"""The part of a tree that Python scanners read, and how what they see there is compared with base."""

import ast
import functools
import re
from collections.abc import Iterable, Iterator

from pydantic import Field

from blocks.scanners.tool import Layout, Tool, ToolFinding
from domain.paths import matches
from domain.policy.change import is_python
from domain.policy.python_code import dotted, parsed_source
from domain.task import Severity
from domain.trees import LINK, Tree

CANARY_SOURCE = b"def canary(text):\n    return eval(text)\n"
"""S307 and B307. It stays a file of its own: the scanners' directories hold nothing that is imported."""

SHEBANG = re.compile(rb"#![^\n]*\bpython")

_BY_NAME = re.compile(r"[BS]30[345]|[BS]324")
"""Rules for which the name of what is called is the weakness: md5, sha1, DES and their like."""
_BODIES = frozenset(("body", "orelse", "finalbody", "handlers", "cases", "decorator_list"))


class PythonTool(Tool):
    """A scanner of Python sources. Suppressions and configuration in the tree do not count."""

    _block_type_name = "Lockgate Python scanner"
    _block_type_slug = "lockgate-python-scanner"

    skip: tuple[str, ...] = Field(
        ("tests/**", "test/**", "**/test_*.py", "**/*_test.py", "**/conftest.py"),
        description="Globs of files that are not scanned: tests may assert, and use fixed passwords",
    )

    def _wanted(self, tree: Tree, paths: Iterable[str]) -> Iterable[str]:
        for path in paths:
            entry = tree[path]
            if (
                entry.mode != LINK
                and (is_python(path) or SHEBANG.match(entry.content))
                and not matches(path, self.skip)
            ):
                yield path

    def _weighed(self, seen: list[ToolFinding], base: Tree, head: Tree) -> list[ToolFinding]:
        """A weak function that base uses as often in the same file, maybe written otherwise, is not new: a note."""
        return [_as_on_base(one, base, head) if one.side == "head" else one for one in seen]


def _as_on_base(seen: ToolFinding, base: Tree, head: Tree) -> ToolFinding:
    name = seen.key.partition("(")[0]
    if seen.path not in base or not _BY_NAME.fullmatch(seen.rule.partition("/")[2]) or name.endswith("new"):
        return seen
    before, now = (_uses(tree[seen.path].content, name) for tree in (base, head))
    if not 0 < now <= before:
        return seen
    message = f"{seen.message} (base uses {name} as often in this file)"
    return seen._replace(severity=Severity.NOTE, message=message)


def _uses(content: bytes, name: str) -> int:
    """How often a dotted name is used in a source, called or not; 0 if the source cannot be parsed."""
    module = _module(content)
    return sum(dotted(node) == name for node in ast.walk(module)) if module else 0


def code_at(layout: Layout, side: str, path: str, line: int, column: int) -> str:
    """What stands at a place, written in one way: the innermost call, else the head of the statement.

    So code that moved, or was laid out again, equals itself. `line` counts from 1, `column` from 0. Where the file
    cannot be parsed it is the text of the line.
    """
    module = _module(layout.content(side, path))
    around = [node for node in ast.walk(module) if _covers(node, line, column)] if module else []
    calls = [node for node in around if isinstance(node, ast.Call)]
    if calls:
        return ast.unparse(min(calls, key=_extent))
    statements = [node for node in around if isinstance(node, ast.stmt)]
    if statements:
        return _head(min(statements, key=_extent))
    return layout.line(side, path, line)


@functools.lru_cache(maxsize=64)
def _module(content: bytes) -> ast.Module | None:
    return parsed_source(content)


def _covers(node: ast.AST, line: int, column: int) -> bool:
    if not isinstance(node, (ast.expr, ast.stmt)) or node.end_lineno is None or node.end_col_offset is None:
        return False
    return (node.lineno, node.col_offset) <= (line, column) < (node.end_lineno, node.end_col_offset)


def _extent(node: ast.expr | ast.stmt) -> tuple[int, int]:
    return (node.end_lineno or 0) - node.lineno, (node.end_col_offset or 0) - node.col_offset


def _head(statement: ast.stmt) -> str:
    """A statement without the statements inside of it."""
    return type(statement).__name__ + " ".join(_parts(statement))


def _parts(statement: ast.stmt) -> Iterator[str]:
    for name, value in ast.iter_fields(statement):
        if name in _BODIES:
            continue
        for one in value if isinstance(value, list) else [value]:
            yield ast.dump(one) if isinstance(one, ast.AST) else repr(one)
