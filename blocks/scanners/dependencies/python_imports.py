"""Which modules Python files import, and whose they are."""

import ast
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import resources
from pathlib import PurePosixPath
from typing import NamedTuple

from domain.policy.change import is_python
from domain.trees import Tree

_GONE = (
    "aifc", "asynchat", "asyncore", "audioop", "cgi", "cgitb", "chunk", "crypt", "distutils", "imghdr", "imp",
    "lib2to3", "mailcap", "msilib", "nis", "nntplib", "ossaudiodev", "pipes", "smtpd", "sndhdr", "spwd",
    "sunau", "telnetlib", "uu", "xdrlib",
)  # fmt: skip
_NEWER = ("annotationlib", "compression", "_typeshed", "__main__")
STANDARD = frozenset((*sys.stdlib_module_names, *_GONE, *_NEWER))
"""Of any Python 3: https://docs.python.org/3/library/, with what was removed up to 3.13 and added up to 3.14."""

_IMPORT = re.compile(r"(?m)^[^\S\n]*(?:import|from)\s+([A-Za-z_]\w*)")
_SHEBANG = re.compile(rb"#![^\n]*\bpython")
_COMPILED = (".py", ".pyi", ".pyx", ".so", ".pyd", ".c", ".cc", ".cpp", ".rs")
"""What a module of the repository's own may be made of."""


class PythonImport(NamedTuple):
    """A top-level module that a file imports."""

    module: str
    line: int
    is_optional: bool
    """Inside of a try that takes ImportError, or for type checkers only."""


def is_source(tree: Tree, path: str) -> bool:
    return is_python(path) or ("." not in PurePosixPath(path).name and _SHEBANG.match(tree[path].content) is not None)


def imports(content: bytes) -> list[PythonImport]:
    """Absolute imports, by hand for what does not parse: each module once, as it is imported first."""
    source = content.decode("utf-8", "replace").removeprefix("\ufeff")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = list(_walk(ast.parse(source), False))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        found = [
            PythonImport(one[1], source.count("\n", 0, one.start(1)) + 1, False) for one in _IMPORT.finditer(source)
        ]
    first: dict[str, PythonImport] = {}
    for one in sorted(found, key=lambda one: (one.is_optional, one.line)):
        first.setdefault(one.module, one)
    return list(first.values())


def _walk(node: ast.AST, is_optional: bool) -> Iterator[PythonImport]:
    if isinstance(node, ast.Import):
        yield from (PythonImport(alias.name.split(".")[0], node.lineno, is_optional) for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield PythonImport(node.module.split(".")[0], node.lineno, is_optional)
    elif isinstance(node, ast.Call) and _name(node.func) in ("__import__", "import_module", "importlib.import_module"):
        said = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        if isinstance(said, str) and re.fullmatch(r"[A-Za-z_]\w*(?:\.\w+)*", said):
            yield PythonImport(said.split(".")[0], node.lineno, is_optional)
    parts: list[tuple[ast.AST, bool]]
    if isinstance(node, ast.Try):
        guarded = is_optional or any(_takes_import_error(handler) for handler in node.handlers)
        parts = [(one, guarded) for one in node.body]
        parts += [(one, is_optional) for one in (*node.handlers, *node.orelse, *node.finalbody)]
    elif isinstance(node, ast.If) and _name(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        parts = [*((one, True) for one in node.body), *((one, is_optional) for one in node.orelse)]
    else:
        parts = [(one, is_optional) for one in ast.iter_child_nodes(node)]
    for part, optional in parts:
        yield from _walk(part, optional)


def _takes_import_error(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or _name(kind) in ("ImportError", "ModuleNotFoundError", "Exception") for kind in kinds)


def _name(node: ast.AST | None) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


class PythonLocals:
    """The modules that a tree has itself."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def has(self, module: str, importer: str) -> bool:
        """Whether `importer` gets `module` from the tree: from its own directory, or from one that is no package."""
        places = self._places.get(module, set())
        return any(place == _above(importer) or place not in self._packages for place in places)

    @cached_property
    def _packages(self) -> frozenset[str]:
        return frozenset(_above(path) for path in self._tree if path.endswith("/__init__.py"))

    @cached_property
    def _places(self) -> Mapping[str, set[str]]:
        """Module → directories that have it, as a file or as a directory with modules anywhere below."""
        found: dict[str, set[str]] = {}
        for path in self._tree:
            if path.endswith(_COMPILED):
                parts = path.split("/")
                found.setdefault(parts[-1].split(".")[0], set()).add("/".join(parts[:-1]))
                for depth in range(len(parts) - 1):
                    found.setdefault(parts[depth], set()).add("/".join(parts[:depth]))
        return found


def _above(path: str) -> str:
    return path.rpartition("/")[0]


def distributions() -> Mapping[str, frozenset[str]]:
    """Module → distributions that are known to bring it, for those of another name than theirs."""
    text = resources.files(__package__).joinpath("modules.txt").read_text("utf-8")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return {module: frozenset(names) for module, *names in lines}
