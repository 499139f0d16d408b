"""Python source as rules look at it: parsed and never run, and what is new in it against base."""

import ast
import functools
import warnings
from collections import Counter
from collections.abc import Callable, Iterator

from domain.policy.change import Change, is_python
from domain.policy.rule import Hit
from domain.trees import Tree

Found = Iterator[tuple[ast.AST, str]]


def parsed(tree: Tree, path: str) -> ast.Module | None:
    """The file's syntax tree, an empty one if there is no file; None if it cannot be parsed."""
    entry = tree.get(path)
    if entry is None:
        return ast.Module(body=[], type_ignores=[])
    return parsed_source(entry.content)


MAX_DEPTH = 120
"""Levels of a syntax tree: more than people write, and few enough to walk down with Python's 1000 calls."""
_MAX_PARTS, _MAX_CHARS = 100, 10_000
"""Of a text that is put together."""


_KEPT = 400
"""Files whose syntax trees are kept: some twenty rules look at each of them."""


@functools.lru_cache(maxsize=_KEPT)
def parsed_source(content: bytes) -> ast.Module | None:
    """None too where it is nested more than MAX_DEPTH levels deep. Nobody alters what is given: it is kept."""
    source = content.decode("utf-8", "replace").removeprefix("\ufeff")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return None if _is_deep(module) else module


def _is_deep(module: ast.Module) -> bool:
    level: list[ast.AST] = [module]
    for _ in range(MAX_DEPTH):
        level = [inner for node in level for inner in ast.iter_child_nodes(node)]
        if not level:
            return False
    return True


@functools.lru_cache(maxsize=_KEPT)
def nodes_of(module: ast.Module) -> tuple[ast.AST, ...]:
    """What `ast.walk` gives of a whole file."""
    return tuple(ast.walk(module))


def _said(tree: Tree, path: str, find: Callable[[ast.Module], Found]) -> Counter[str]:
    return Counter(ast.dump(node) for node, _ in find(parsed(tree, path) or ast.Module([], [])))


def _gone(change: Change, find: Callable[[ast.Module], Found]) -> Counter[str]:
    """What files of the product have no more: it may stand in another one now."""
    paths = [path for path in change.changed if path in change.base and is_python(path) and not change.is_test(path)]
    return sum((_said(change.base, path, find) - _said(change.head, path, find) for path in paths), Counter[str]())


def newly(
    find: Callable[[ast.Module], Found], but_not: Callable[[Tree, str], bool] = lambda base, path: False
) -> Callable[[Change], Iterator[Hit]]:
    """A check that gives what `find` sees in the head's product code and not, as often, in base's. What moved from one
    file to another is not new."""

    def check(change: Change) -> Iterator[Hit]:
        moved: Counter[str] | None = None
        for path in change.product_python:
            module = parsed(change.head, path)
            if module is None or but_not(change.base, path):
                continue
            known = _said(change.base, path, find)
            for node, message in find(module):
                if known[said := ast.dump(node)]:
                    known[said] -= 1
                    continue
                moved = _gone(change, find) if moved is None else moved
                if moved[said]:
                    moved[said] -= 1
                else:
                    yield Hit(message, path, getattr(node, "lineno", None))

    return check


class Nodes:
    """The nodes of a syntax tree, and what each stands in."""

    def __init__(self, root: ast.AST) -> None:
        self.all = nodes_of(root) if isinstance(root, ast.Module) else tuple(ast.walk(root))
        self._around = {id(inner): id(node) for node in self.all for inner in ast.iter_child_nodes(node)}

    def holding(self, is_meant: Callable[[ast.AST], bool]) -> frozenset[int]:
        """The ids of all nodes that are meant, and of those that hold such a one. Each node is asked once."""
        found: set[int] = set()
        for node in self.all:
            at: int | None = id(node) if is_meant(node) else None
            while at is not None and at not in found:
                found.add(at)
                at = self._around.get(at)
        return frozenset(found)


def dotted(node: ast.AST | None) -> str:
    """`sys.exit` for an attribute or a name; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def text_in(node: ast.AST) -> str | None:
    """The text of a constant, also of one that is put together from constants; None for anything else, and for one of
    very many parts or characters."""
    return _text_in(node, [_MAX_PARTS])


def _text_in(node: ast.AST, left: list[int]) -> str | None:
    left[0] -= 1
    if left[0] < 0:
        return None
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    parts: list[ast.expr] = []
    between: str | None = ""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [node.left, node.right]
    elif isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.FormattedValue) else part for part in node.values]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "join":
        between = _text_in(node.func.value, left)
        if len(node.args) == 1 and isinstance(node.args[0], (ast.List, ast.Tuple)):
            parts = node.args[0].elts
    texts: list[str] = []
    for part in parts if between is not None else ():
        text = _text_in(part, left)
        if text is None:
            return None
        texts.append(text)
    chars = sum(map(len, texts)) + len(between or "") * len(texts)
    return (between or "").join(texts) if texts and chars <= _MAX_CHARS else None
