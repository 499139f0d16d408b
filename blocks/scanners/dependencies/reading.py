"""What the files of one tree say of dependencies. They are data: nothing of them is run."""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from domain import text as shown
from domain.dependencies import Declaration, DependencySight, Ecosystem
from domain.trees import LINK, Tree
from domain.value import digest_of

MAX_FILE_BYTES = 50_000_000
SHOWN = 120

WORD = r"([A-Za-z0-9][A-Za-z0-9._-]*)"
NPM_NAME = re.compile(r"(?:@[A-Za-z0-9~_-][\w.~-]*/)?[A-Za-z0-9~_-][\w.~-]{0,213}")
"""https://docs.npmjs.com/cli/configuring-npm/package-json#name, with the capitals of old names."""


class Unreadable(Exception):
    """A file that cannot be read; the message says why."""


@dataclass
class TreeReading:
    """What was read of a tree so far, and the settings that it is read with."""

    tree: Tree
    own_indexes: frozenset[str]
    """Addresses that are the registries of this installation, or the public ones; see `address`."""
    declared: list[Declaration] = field(default_factory=list)
    sights: list[DependencySight] = field(default_factory=list)
    is_whole: dict[Ecosystem, bool] = field(default_factory=lambda: dict.fromkeys(Ecosystem, True))
    """False if some declarations could not be read."""
    scripted: set[tuple[str, str]] = field(default_factory=set)
    """(npm name, version) of which a lock says that it runs scripts when it is installed."""
    elsewhere: set[tuple[Ecosystem, str]] = field(default_factory=set)
    """Names that come from an index which is none of ours, as base already has it: nobody is asked about them."""
    outside: set[tuple[Ecosystem, str]] = field(default_factory=set)
    """Names that imports may use and that no registry is asked about: what `source` has seen, and what base took so."""
    includes: set[str] = field(default_factory=set)
    """Requirements files that others include."""
    files: set[str] = field(default_factory=set)
    """Paths of all that was read."""
    tables: dict[str, Any] = field(default_factory=dict)
    """Parsed TOML and JSON files by path."""

    def see(self, kind: str, key: str, message: str, path: str, line: int | None = None) -> None:
        self.sights.append(DependencySight(f"dependencies/{kind}", key, one_line(message), path, line))

    def text(self, path: str) -> str:
        """Raises Unreadable."""
        entry = self.tree[path]
        if entry.mode == LINK:
            raise Unreadable("it is a symbolic link")
        if len(entry.content) > MAX_FILE_BYTES:
            raise Unreadable(f"it is larger than {MAX_FILE_BYTES:,} bytes")
        try:
            return entry.content.decode("utf-8-sig")
        except UnicodeDecodeError as err:
            raise Unreadable("it is not UTF-8") from err

    def toml(self, path: str) -> dict[str, Any]:
        """Raises Unreadable."""
        if path not in self.tables:
            try:
                self.tables[path] = tomllib.loads(self.text(path))
            except (ValueError, RecursionError) as err:
                raise Unreadable(f"it is no TOML: {str(err)[:SHOWN]}") from err
        table: dict[str, Any] = self.tables[path]
        return table

    def require(self, line: str, path: str, number: int | None, *, group: str = "",
                hashes: Iterable[str] = (), workspace: Iterable[str] = ()) -> None:  # fmt: skip
        """One PEP 508 requirement. What cannot be read is seen as `unread`."""
        try:
            wanted = Requirement(line)
        except InvalidRequirement as err:
            reason = str(err).splitlines()[0]
            self.see("unread", f"{path} {line}", f"{line[:SHOWN]!r} is no requirement: {reason[:SHOWN]}", path, number)
            return
        name = canonicalize_name(wanted.name)
        if name in workspace:
            return
        if wanted.url:
            self.source(name, wanted.url, path, number)
            self.outside.add((Ecosystem.PYPI, name))
            return
        exact = [one for one in wanted.specifier if one.operator in ("==", "===") and not one.version.endswith(".*")]
        self.declared.append(
            Declaration(
                Ecosystem.PYPI, name, path, number, spec=str(wanted.specifier),
                version=exact[0].version if len(wanted.specifier) == 1 and exact else None,
                hashes=frozenset(hashes), has_marker=wanted.marker is not None, group=group,
            )
        )  # fmt: skip

    def source(self, name: str, origin: str, path: str, line: int | None) -> None:
        self.see(
            "source",
            f"{name} {origin}",
            f"{name} comes from {_without_login(origin)[:SHOWN]!r} and not from its registry",
            path,
            line,
        )

    def index(self, said: str, path: str, line: int | None) -> bool:
        """An address of an index; whether it is one of ours."""
        is_ours = address(said) in self.own_indexes
        if not is_ours:
            self.see(
                "index",
                address(said),
                f"another place to take packages from: {_without_login(said)[:SHOWN]!r}",
                path,
                line,
            )
        return is_ours

    def file(self, said: str, path: str, line: int | None) -> None:
        """An address of a file to install: on the host of one of our indexes, or it counts as another index."""
        host = "/".join(said.split("/")[:3])
        if _host(host) not in {_host(one) for one in self.own_indexes}:
            self.index(host, path, line)

    def section(self, kind: str, content: object, message: str, path: str, line: int | None = None) -> None:
        """Something whose whole content counts: altered, it is new."""
        if content:
            self.see(kind, f"{path} {digest_of(repr(content))}", message, path, line)


def below(path: str, said: str) -> str | None:
    """A path that a file at `path` names, from the repository's root; None if it is not below that."""
    parts = path.split("/")[:-1]
    for part in said.split("/"):
        if part == ".." and not parts:
            return None
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return None if said.startswith("/") else "/".join(parts)


def address(said: str) -> str:
    """An address as it is compared: without https, login and a slash at the end; http is another place."""
    return _without_login(said).strip().lower().removeprefix("https://").rstrip("/")


def _host(said: str) -> str:
    """An address without its path."""
    at = address(said)
    return "/".join(at.split("/")[:3]) if "://" in at else at.partition("/")[0]


def one_line(text: str, most: int = 300) -> str:
    """What any screen shows as it is; what a file or a registry says may be anything."""
    return shown.one_line(" ".join(text.split()), most, escape=True)


def _without_login(said: str) -> str:
    return re.sub(r"(?<=//)[^/@]*@", "", said)


class NameLines:
    """Where names stand in a text: the first line of each, counted from 1."""

    def __init__(self, text: str, pattern: str) -> None:
        self._first: dict[str, int] = {}
        number, at = 1, 0
        for found in re.finditer(pattern, text):
            number, at = number + text.count("\n", at, found.start(1)), found.start(1)
            self._first.setdefault(plain(found[1]), number)

    def of(self, name: str) -> int | None:
        return self._first.get(plain(name))


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def tables(value: object) -> list[dict[str, Any]]:
    """The tables of a list of tables."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def strings(value: object) -> list[str]:
    """The strings of a list that should hold nothing else; a single one counts as a list of it."""
    if isinstance(value, str):
        return [value]
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def table(value: object, *keys: str) -> dict[str, Any]:
    """A table inside of tables; empty if there is none, or it is something else."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def first_word(line: str) -> str:
    """The name that a requirement line begins with; the line itself where it begins with none."""
    found = re.match(r"\s*" + WORD, line)
    return found[1] if found else line
