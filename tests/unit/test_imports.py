"""No file imports another that imports it, at whatever distance: also not inside a function, or for its types alone."""

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
