"""Python source as rules look at it: parsed and never run, and what is new in it against base."""

import ast
import functools
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from enum import Enum

from domain.policy.change import Change, is_beside, is_python
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
_MAX_BITS = 14_000
"""Of a number: `ast.dump` and `ast.unparse` fail at 4,300 digits."""
_MAX_PARTS, _MAX_CHARS = 100, 10_000
"""Of a text that is put together."""


_KEPT = 400
"""Files whose syntax trees are kept: some twenty rules look at each of them."""


@functools.lru_cache(maxsize=_KEPT)
def parsed_source(content: bytes) -> ast.Module | None:
    """None too if it is nested more than MAX_DEPTH levels deep, or has a number that Python does not write down
    (https://docs.python.org/3/library/stdtypes.html#int-max-str-digits). Nobody alters what is given: it is kept."""
    source = content.decode("utf-8", "replace").removeprefix("\ufeff")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return None if _is_deep(module) or _is_huge(module) else module


def _is_huge(module: ast.Module) -> bool:
    numbers = (node.value for node in ast.walk(module) if isinstance(node, ast.Constant))
    return any(isinstance(one, int) and one.bit_length() > _MAX_BITS for one in numbers)


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


class Old(Enum):
    """Where base has to have what is not new."""

    THERE = "in the same function or method of the same file"
    IN_FILE = "in the same file"
    MOVED = "in the same file, or in a whole function or class that was moved here from another file of the product"


def _nowhere(base: Tree, path: str) -> bool:
    return False


def newly(
    find: Callable[[ast.Module], Found], but_not: Callable[[Tree, str], bool] = _nowhere, *, old: Old = Old.IN_FILE
) -> Callable[[Change], Iterator[Hit]]:
    """A check that gives what `find` sees in the head's product code and not, as often, in base's. Rules that refuse
    ask for Old.THERE: a call that ends the process is another thing in another function."""

    def check(change: Change) -> Iterator[Hit]:
        gone: Counter[str] | None = None
        for path in change.product_python:
            module = parsed(change.head, path)
            if module is None or but_not(change.base, path):
                continue
            before = parsed(change.base, path) or ast.Module([], [])
            known = Counter(_told(before, [node for node, _ in find(before)], old))
            hits = list(find(module))
            new: list[tuple[ast.AST, str]] = []
            for (node, message), said in zip(hits, _told(module, [node for node, _ in hits], old), strict=True):
                if known[said]:
                    known[said] -= 1
                else:
                    new.append((node, message))
            if new and old is Old.MOVED:
                gone = _gone(change, but_not) if gone is None else gone
                moved = _moved(before, module, gone, path)
                new = [(node, message) for node, message in new if id(node) not in moved]
            yield from (Hit(message, path, getattr(node, "lineno", None)) for node, message in new)

    return check


def _told(module: ast.Module, nodes: list[ast.AST], old: Old) -> list[tuple[str, str]]:
    """What each node says, with the function that it stands in where that counts."""
    homes = _homes(module) if old is Old.THERE and nodes else {}
    return [(homes.get(id(node), ""), ast.dump(node)) for node in nodes]


def _homes(module: ast.Module) -> dict[int, str]:
    """Node → the names of the functions and classes that it stands in."""
    found: dict[int, str] = {}
    waiting: list[tuple[str, ast.AST]] = [("", module)]
    while waiting:
        place, node = waiting.pop()
        found[id(node)] = place
        inner = f"{place}.{node.name}" if isinstance(node, _DEFINITIONS) else place
        waiting += [(inner, one) for one in ast.iter_child_nodes(node)]
    return found


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _defined(module: ast.Module | None, path: str) -> Iterator[tuple[ast.stmt, str]]:
    """(definition at the top of a file, what it says and what kind of file it is in)."""
    for node in module.body if module else ():
        if isinstance(node, _DEFINITIONS):
            yield node, f"{is_beside(path)} {ast.dump(node)}"


def _gone(change: Change, but_not: Callable[[Tree, str], bool]) -> Counter[str]:
    """Whole functions and classes that a file of the product has no more."""
    found: Counter[str] = Counter()
    for path in change.changed:
        if path in change.base and is_python(path) and not change.is_test(path) and not but_not(change.base, path):
            before, now = (
                Counter(said for _, said in _defined(parsed(tree, path), path)) for tree in (change.base, change.head)
            )
            found += before - now
    return found


def _moved(before: ast.Module, module: ast.Module, gone: Counter[str], path: str) -> frozenset[int]:
    """Ids of all that stands in definitions of this file which are gone elsewhere; each is taken off `gone`."""
    here, found = Counter(said for _, said in _defined(before, path)), set[int]()
    for node, said in _defined(module, path):
        if here[said]:
            here[said] -= 1
        elif gone[said]:
            gone[said] -= 1
            found.update(map(id, ast.walk(node)))
    return frozenset(found)


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
