"""Names of Python source as they were imported, and what names are given."""

import ast
import builtins
import functools
from collections.abc import Callable, Iterable

from domain.policy.python_code import dotted, nodes_of


class Full:
    """(node) → its dotted name as Python's documentation has it: `clock()` is `time.time` after
    `from time import time as clock`."""

    def __init__(self, module: ast.Module) -> None:
        self._known: dict[str, str] = {}
        self.constants: dict[str, object] = {}
        for node in nodes_of(module):
            if isinstance(node, ast.Import):
                self._known.update({one.asname: one.name for one in node.names if one.asname})
                self._known.update(
                    {one.name.split(".")[0]: one.name.split(".")[0] for one in node.names if not one.asname}
                )
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                self._known.update({one.asname or one.name: f"{node.module}.{one.name}" for one in node.names})
        for node in nodes_of(module):  # another name for what was imported: `run = os.system`
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute):
                name = self(node.value)
                if name.partition(".")[0] in self._known.values():
                    self._known.update({one.id: name for one in node.targets if isinstance(one, ast.Name)})
        for node in module.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                self.constants.update({one.id: node.value.value for one in node.targets if isinstance(one, ast.Name)})

    def __call__(self, node: ast.AST | None) -> str:
        name = dotted(node)
        first, dot, rest = name.partition(".")
        return f"{self._known[first]}{dot}{rest}" if first in self._known else name

    def is_imported(self, node: ast.AST) -> bool:
        """Whether it is another package's module, or a part of one."""
        name = dotted(node)
        return bool(name) and name.partition(".")[0] in self._known

    def is_own(self, name: str) -> bool:
        """Whether it is a name of the module's own, and none of Python's or that was imported."""
        return name not in self._known and not hasattr(builtins, name)


@functools.lru_cache(maxsize=400)
def names_of(module: ast.Module) -> Full:
    return Full(module)


def standing_for(module: ast.Module, is_meant: Callable[[ast.AST], bool]) -> dict[int, ast.AST]:
    """Ids of names that are used, and were given a value which is meant in the same function or at the top of the file
    → that value."""
    places = [one for one in nodes_of(module) if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))]
    found: dict[int, ast.AST] = {}
    for place, nodes in ((module, module.body), *((one, ast.walk(one)) for one in places)):
        if given := assigned(module, is_meant, nodes):
            every = nodes_of(module) if place is module else ast.walk(place)
            used = (one for one in every if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load))
            found.update({id(one): given[one.id] for one in used if one.id in given})
    return found


def assigned(
    module: ast.Module, is_meant: Callable[[ast.AST], bool], nodes: Iterable[ast.AST] | None = None
) -> dict[str, ast.AST]:
    """Names that are given a value which is meant → that value. `nodes`: where it is looked for, if not everywhere."""
    found: dict[str, ast.AST] = {}
    for node in nodes_of(module) if nodes is None else nodes:
        targets: Iterable[ast.AST] = ()
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
            targets = [node.target]
        value = getattr(node, "value", None)
        if value is not None and any(isinstance(target, ast.Name) for target in targets) and is_meant(value):
            found.update({target.id: value for target in targets if isinstance(target, ast.Name)})
    return found
