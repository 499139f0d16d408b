"""How a Python project is built: https://peps.python.org/pep-0518/."""

import email
from typing import NamedTuple

from domain.detect.reading import View
from domain.errors import InputError


class BuildSystem(NamedTuple):
    """The build backend, what it needs, and where it lies if the project brings it along."""

    requires: tuple[str, ...] = ("setuptools>=40.8.0", "wheel")
    backend: str = "setuptools.build_meta:__legacy__"
    path: tuple[str, ...] = ()


def build_system(view: View) -> BuildSystem | None:
    """How the project is built; None if nothing says that it is a package. Raises InputError for a broken table."""
    table = view.toml("pyproject.toml").get("build-system")
    if table is None:
        return BuildSystem() if "setup.py" in view or "[metadata]" in view.text("setup.cfg") else None
    requires = table.get("requires") if isinstance(table, dict) else None
    if not isinstance(requires, list) or not all(isinstance(line, str) for line in requires):
        raise InputError(f"{view.full('pyproject.toml')}: [build-system] has no list `requires`")
    backend, path = table.get("build-backend"), table.get("backend-path", [])
    if backend is None:
        return BuildSystem((*requires, "setuptools>=40.8.0"))
    return BuildSystem(tuple(requires), str(backend), tuple(str(one) for one in path))


def version_of(view: View, named: str | None) -> str:
    """What it is built as, where its backend would ask version control: named, else as PKG-INFO says, else 0.0.0."""
    return named or email.message_from_string(view.text("PKG-INFO")).get("Version") or "0.0.0"
