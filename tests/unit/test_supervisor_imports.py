"""The supervisor's duties are threads: what they import was imported by one thread, before there were others."""

import ast
import inspect
from collections.abc import Iterator

from station import supervisor


def late(tree: ast.AST) -> Iterator[str]:
    """Modules that functions import; of `from station import api`, which names a module, that one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module in ("flows", "station"):
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


def test_what_duties_import_late_was_imported_before_there_were_threads() -> None:
    whole = ast.parse(inspect.getsource(supervisor))
    functions = [node for node in ast.walk(whole) if isinstance(node, ast.FunctionDef)]
    [run] = [node for node in functions if node.name == "run"]
    steps = [ast.unparse(node) for node in run.body]
    [imports] = [number for number, step in enumerate(steps) if "import_all(" in step]
    threads = [number for number, step in enumerate(steps) if "_in_background(" in step]

    needed = {module for node in functions for module in late(node)}
    assert needed == set(supervisor.DUTIES_IMPORT)
    assert threads and imports < min(threads)
