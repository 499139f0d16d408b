"""Inside the sandbox, beside the platform's pytest plugins: the tests of one file, whatever the command selects.

A file that is named among pytest's arguments keeps pytest 8 from collecting the rest of its directory, so such a file
is collected by itself: https://github.com/pytest-dev/pytest/issues/12083
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest


def tests_of(session: Any, path: Path, items: Sequence[Any]) -> list[Any]:
    """The tests of a file, as if they had been collected with `items`: below the same directories and packages."""
    module = session.gethookproxy(path).pytest_pycollect_makemodule(
        module_path=path, parent=_directory(session, path.parent, items)
    )
    return list(session.genitems(module))


def _directory(session: Any, place: Path, items: Sequence[Any]) -> Any:
    """The node of a directory: the one that `items` are below, or a new one. Older pytests have none for most."""
    known = {_place(node): node for item in items for node in item.listchain() if isinstance(node, _DIRECTORIES)}
    root, node = session.config.rootpath, session
    if not place.is_relative_to(root):
        return session
    for directory in [*reversed([above for above in place.parents if above.is_relative_to(root)]), place]:
        if directory in known:
            node = known[directory]
        elif hasattr(pytest, "Directory"):
            hook = session.gethookproxy(directory).pytest_collect_directory
            node = hook(path=directory, parent=node) or node
    return node


_DIRECTORIES = (getattr(pytest, "Directory", pytest.Package), pytest.Package)


def _place(node: Any) -> Path:
    path: Path = node.path
    return path.parent if path.name == "__init__.py" else path  # before pytest 8 a package is the path of its file
