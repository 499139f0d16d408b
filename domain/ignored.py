"""What a repository ignores: what an agent's tools leave behind is no part of its change."""

import posixpath
import re
from collections.abc import Mapping

from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from domain.trees import LINK, TreeEntry

_MAX_STARS = 5
"""Patterns become regular expressions, whose time grows with a power of it. One with more stars ignores nothing."""
_MAX_LINES = 2_000


class Ignored:
    """Asks the .gitignore files of a tree, nested ones too: https://git-scm.com/docs/gitignore.

    Made of the base tree, so that a change to a .gitignore hides nothing. It keeps in `found` what it said yes to.
    """

    def __init__(self, base: Mapping[str, TreeEntry]) -> None:
        self._found: dict[str, None] = {}
        self._rules = {
            posixpath.dirname(path): _rules_of(entry.content)
            for path, entry in base.items()
            if posixpath.basename(path) == ".gitignore" and entry.mode != LINK
        }
        self._directories: dict[str, bool] = {"": False}

    def __call__(self, path: str, is_directory: bool) -> bool:
        """Whether `path`, which base does not have, is ignored: itself, or a directory that it is in."""
        above = posixpath.dirname(path)
        is_ignored = self._is_below_ignored(above) or self._is_named(path, is_directory)
        if is_ignored:
            self._found[path] = None
        return is_ignored

    @property
    def found(self) -> list[str]:
        return list(self._found)

    def _is_below_ignored(self, directory: str) -> bool:
        if directory not in self._directories:
            above = self._is_below_ignored(posixpath.dirname(directory))
            self._directories[directory] = above or self._is_named(directory, True)
        return self._directories[directory]

    def _is_named(self, path: str, is_directory: bool) -> bool:
        """The last line of the deepest .gitignore that says anything about `path` counts."""
        parts = path.split("/")
        for depth in range(len(parts) - 1, -1, -1):
            name, above = "/".join(parts[depth:]) + "/" * is_directory, "/".join(parts[depth:-1])
            for rule in reversed(self._rules.get("/".join(parts[:depth]), ())):
                # To this library, a rule that names a directory also names all below it. To git, it does not: what is
                # below an ignored directory is never asked about, and one that is not ignored says nothing about it.
                if rule.match_file(name) and not (above and rule.match_file(f"{above}/")):
                    return bool(rule.include)
        return False


def _rules_of(content: bytes) -> tuple[GitIgnoreSpecPattern, ...]:
    lines = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").splitlines()
    rules = (_rule(line) for line in lines[:_MAX_LINES])
    return tuple(rule for rule in rules if rule and rule.include is not None)


def _rule(line: str) -> GitIgnoreSpecPattern | None:
    if len(re.findall(r"\*+", line)) > _MAX_STARS:
        return None
    try:
        return GitIgnoreSpecPattern(line)
    except GitIgnorePatternError:  # git passes over such a line, too
        return None
