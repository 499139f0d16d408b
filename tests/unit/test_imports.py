"""No file imports another that imports it, at whatever distance: also not inside a function, or for its types alone.
And what is taken from one of our modules stands there, in tests and benchmarks too, which mypy does not read.
"""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PACKAGES = ("domain", "blocks", "tasks", "flows", "kits", "station", "bench")


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")


def imports(source: str, known: frozenset[str]) -> set[str]:
    """Of our modules, those that a source imports. From a package that is what the name stands for: a module of it if
    there is one, else the package."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            wanted = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {place if place in known else node.module for place in wanted.values()}
    return found & known


def circle_in(sources: dict[str, str]) -> list[str] | None:
    """Modules that import each other in a row, the first again at the end; None if there are none."""
    known = frozenset(sources)
    graph = {name: imports(source, known) - {name} for name, source in sources.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as err:
        return list(err.args[1])
    return None


def test_no_two_files_import_each_other() -> None:
    files = [file for package in PACKAGES for file in (PROJECT / package).rglob("*.py")]
    assert len(files) > 400
    circle = circle_in({module_of(file): file.read_text() for file in files})
    assert circle is None, "these import each other in a row: " + " ← ".join(circle)


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        ({"p": "", "p.a": "from p import b", "p.b": "import p.a"}, {"p.a", "p.b"}),
        ({"p": "", "p.a": "from p.b import B", "p.b": "def late():\n    from p.a import A"}, {"p.a", "p.b"}),
        ({"p": "", "p.a": "import p.b", "p.b": "import p.c", "p.c": "import p.a"}, {"p.a", "p.b", "p.c"}),
        ({"p": "from p.a import A", "p.a": "from p import A"}, {"p", "p.a"}),
        ({"p": "from p.a import A", "p.a": "from p import b", "p.b": "import json"}, None),
    ],
)
def test_a_circle_is_seen(sources: dict[str, str], found: set[str] | None) -> None:
    circle = circle_in(sources)
    assert (circle and set(circle)) == found


class Names:
    """What a module binds at its top, what it takes from modules of ours, and `name.attribute` of what it took."""

    def __init__(self, source: str, roots: frozenset[str]) -> None:
        self.top: set[str] = set()
        self.bound: set[str] = set()
        self.taken: list[tuple[str, str, str]] = []
        self.attributes: list[tuple[str, str]] = []
        tree = ast.parse(source)
        waiting: list[tuple[ast.AST, bool]] = [(tree, True)]
        while waiting:
            node, is_top = waiting.pop()
            self._read(node, is_top, roots)
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda)
            waiting += [(child, is_top and not inside) for child in ast.iter_child_nodes(node)]

    def _read(self, node: ast.AST, is_top: bool, roots: frozenset[str]) -> None:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                self.top |= {name} if is_top else set()
            case ast.Global(names=names):
                self.top.update(names)
            case ast.Name(id=name, ctx=ast.Store()):
                self.bound.add(name)
                self.top |= {name} if is_top else set()
            case ast.arg(arg=name):
                self.bound.add(name)
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if not attribute.startswith("__"):
                self.attributes.append((name, attribute))
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                if is_top:
                    self.top.update((alias.asname or alias.name).partition(".")[0] for alias in aliases)
                module = getattr(node, "module", None) or ""
                if module.partition(".")[0] in roots:
                    self.taken += [(module, alias.name, alias.asname or alias.name) for alias in aliases]


def missing_in(sources: dict[str, str]) -> list[str]:
    """`module: what.it.wants` for each import from one of our modules, or attribute of one, that is not there."""
    roots = frozenset(name.partition(".")[0] for name in sources if name != "here")
    known = {name: Names(source, roots) for name, source in sources.items()}

    def lacks(module: str, name: str) -> bool:
        if module not in known:
            return True
        return f"{module}.{name}" not in known and not {name, "*", "__getattr__"} & known[module].top

    missing = []
    for here, names in known.items():
        missing += [f"{here}: {module}.{name}" for module, name, _ in names.taken if lacks(module, name)]
        modules = {to: f"{module}.{name}" for module, name, to in names.taken if f"{module}.{name}" in known}
        missing += [
            f"{here}: {modules[name]}.{attribute}"
            for name, attribute in names.attributes
            if name in modules and name not in names.bound and lacks(modules[name], attribute)
        ]
    return missing


def test_what_is_imported_from_a_module_of_ours_stands_there() -> None:
    files = [file for package in (*PACKAGES, "tests") for file in (PROJECT / package).rglob("*.py")]
    missing = missing_in({module_of(file): file.read_text() for file in files})
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from p.a import B, C, d", ["here: p.a.d"]),
        ("from p.b import B", ["here: p.b.B"]),
        ("from p import a\na.C\na.gone", ["here: p.a.gone"]),
        ("from p import a\ndef f(a): a.anything", []),
        ("from q.b import B\nimport q", []),
    ],
)
def test_what_is_missing_is_seen(source: str, found: list[str]) -> None:
    a = "class B: ...\nif True:\n    C = 1\n"
    assert missing_in({"here": source, "p": "", "p.a": a}) == found


MAY_SHARE = {
    "Mutant": "one is known where the project's own code runs, which imports nothing of ours",
    "Service": "ECS calls its services so, and Lockgate those that tests need",
}
"""Names that two classes have, and why."""


def test_the_name_of_a_class_means_one_thing_in_the_whole_house() -> None:
    places: dict[str, list[str]] = {}
    for package in set(PACKAGES) - {"bench"}:
        for file in (PROJECT / package).rglob("*.py"):
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places.setdefault(node.name, []).append(module_of(file))
    twice = {name: there for name, there in places.items() if len(there) > 1 and name not in MAY_SHARE}
    assert not twice, twice
