"""What detection says, and the files of a tree as text, TOML and JSON. What cannot be read is empty, and is told."""

import json
import posixpath
import tomllib
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from domain.paths import matches
from domain.project import ProjectSettings
from domain.trees import Tree
from domain.value import Value


class Found(Value):
    """One thing that was detected, and the file that told it."""

    what: str = Field(description="Such as: tests, lock, Python, the project itself")
    value: str = Field(description="What was detected, in a few words")
    path: str = Field(description="The file that tells it, relative to the root of the repository")


class Missing(Value):
    """One thing that the tests need and nobody can know."""

    what: str
    how: str = Field(description="How to name it, as one sentence")


def without_lock(command: str) -> Missing:
    """`command`: what writes the lock."""
    how = f"commit the one that `{command}` writes: without it, what is installed changes from day to day"
    return Missing(what="a lock file", how=how)


class Detected(Value):
    """How a repository is installed and tested, and how we know."""

    settings: ProjectSettings = ProjectSettings()
    kind: str = Field("", description="What runs the tests, such as pytest; empty: nothing was detected")
    found: tuple[Found, ...] = ()
    missing: tuple[Missing, ...] = ()


class View:
    """The files of one project: those below `directory`, by their paths relative to it."""

    def __init__(self, tree: Tree, directory: str = "") -> None:
        """`directory`: POSIX, relative to the root of the repository; empty is the root."""
        self.directory = directory.strip("/")
        self.tree = tree
        self.prefix = f"{self.directory}/" if self.directory else ""
        self.paths = tuple(sorted(path.removeprefix(self.prefix) for path in tree if path.startswith(self.prefix)))
        self.unread: list[str] = []
        """Files that should have told something and could not be read, as sentences."""

    def __contains__(self, path: str) -> bool:
        return self.full(path) in self.tree

    def find(self, *globs: str) -> Iterator[str]:
        """Paths that match one of the globs, sorted."""
        return (path for path in self.paths if matches(path, globs))

    def first(self, *paths: str) -> str | None:
        """The first of `paths` that is there."""
        return next((path for path in paths if path in self), None)

    def full(self, path: str) -> str:
        """The same path relative to the root of the repository; `../lib` lies beside the project."""
        return posixpath.normpath(self.prefix + path)

    def text(self, path: str) -> str:
        """A file as text; empty if it is not there."""
        entry = self.tree.get(self.full(path))
        return entry.content.decode("utf-8", "replace") if entry else ""

    def toml(self, path: str) -> dict[str, Any]:
        """A TOML file; empty if it is not there or cannot be read."""
        try:
            return tomllib.loads(self.text(path))
        except (ValueError, RecursionError) as err:
            self.unread.append(f"{self.full(path)} is not valid TOML: {err}")
            return {}

    def json(self, path: str) -> dict[str, Any]:
        """A JSON object in a file; empty if it is not there or cannot be read."""
        try:
            content = json.loads(self.text(path) or "{}")
        except (ValueError, RecursionError) as err:
            self.unread.append(f"{self.full(path)} is not valid JSON: {err}")
            return {}
        return content if isinstance(content, dict) else {}
