"""pyproject.toml with the tables of uv, Poetry, pdm and hatch; uv.toml, lockgate.toml, and scripts' own metadata."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

from packaging.utils import canonicalize_name

from blocks.scanners.dependencies.reading import (
    WORD,
    NameLines,
    TreeReading,
    Unreadable,
    address,
    first_word,
    strings,
    table,
    tables,
)
from domain.dependencies import Ecosystem
from domain.detect.metadata import named_files
from domain.detect.reading import View

_SCRIPT = re.compile(r"(?m)^# /// script\s*$\n((?:^#(?: .*)?$\n?)+?)^# ///\s*$")
"""https://peps.python.org/pep-0723/#specification"""


def read_lockgate(reading: TreeReading, path: str) -> None:
    content = reading.toml(path)
    lines = NameLines(reading.text(path), WORD)
    for line in strings(content.get("requirements")):
        reading.require(line, path, lines.of(first_word(line)))


def read_pyproject(reading: TreeReading, path: str) -> None:
    content = reading.toml(path)
    lines = NameLines(reading.text(path), WORD)
    own = workspace_names(reading, path)
    for group, line in _pyproject_lines(content):
        reading.require(line, path, lines.of(first_word(line)), group=group, workspace=own)
    build = table(content, "build-system")
    reading.section("build", build, "the build system is new or changed", path, lines.of("build-system"))
    for line in strings(build.get("requires")):
        reading.require(line, path, lines.of(first_word(line)), group="build", workspace=own)
    hooks = [(where, found) for where in _HOOKS if (found := _at(content, where))]
    reading.section("build", hooks, "hooks of the build are new or changed", path)
    dynamic = strings(table(content, "project").get("dynamic"))
    if {"dependencies", "optional-dependencies"} & set(dynamic):
        reading.is_whole[Ecosystem.PYPI] &= bool(named_files(View(reading.tree, path.rpartition("/")[0])))
    _uv(reading, path, content, lines, own)
    _poetry(reading, path, content, lines)
    for tool in ("poetry", "pdm"):
        for source in tables(table(content, "tool", tool).get("source")):
            if source.get("url") or str(source.get("name")).lower() != "pypi":  # Poetry's own name for it
                reading.index(str(source.get("url")), path, lines.of("source"))

    for tool in ("pixi", "rye", "flit"):
        reading.section("unread-kind", table(content, "tool", tool), f"[tool.{tool}] is not read here", path)


_HOOKS = (
    "tool.hatch.build.hooks", "tool.hatch.metadata.hooks", "tool.hatch.build.targets.wheel.hooks",
    "tool.hatch.build.targets.sdist.hooks", "tool.poetry.build", "tool.pdm.build", "tool.setuptools.cmdclass",
    "tool.setuptools.ext-modules", "tool.poetry.requires-plugins",
)  # fmt: skip
"""Tables whose content makes a build run code."""


def _at(content: dict[str, Any], where: str) -> Any:
    *above, last = where.split(".")
    return table(content, *above).get(last)


def workspace_names(reading: TreeReading, path: str) -> frozenset[str]:
    """The project's own name, and those that uv takes from its workspace and that the tree has a project of."""
    content = reading.toml(path)
    own = {table(content, "project").get("name"), table(content, "tool", "poetry").get("name")}
    members = {canonicalize_name(name) for name, said in table(content, "tool", "uv", "sources").items()
               if isinstance(said, dict) and said == {"workspace": True}}  # fmt: skip
    return frozenset(canonicalize_name(name) for name in own if isinstance(name, str)) | (members & _projects(reading))


def _projects(reading: TreeReading) -> frozenset[str]:
    names = set()
    for path in reading.tree:
        if path.endswith("pyproject.toml"):
            try:
                name = table(reading.toml(path), "project").get("name")
            except Unreadable:
                continue
            if isinstance(name, str):
                names.add(canonicalize_name(name))
    return frozenset(names)


def _pyproject_lines(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(group, requirement line) in standard tables and in those of uv, pdm and hatch."""
    project, uv = table(content, "project"), table(content, "tool", "uv")
    standard = [strings(project.get("dependencies")), strings(uv.get("dev-dependencies"))]
    for groups in (table(project, "optional-dependencies"), table(content, "dependency-groups")):
        standard += [strings(lines) for lines in groups.values()]
    yield from (("", line) for lines in standard for line in lines)
    for key in ("override-dependencies", "constraint-dependencies", "build-constraint-dependencies"):
        yield from (("override", line) for line in strings(uv.get(key)))
    others = [
        *table(uv, "extra-build-dependencies").values(),
        *table(content, "tool", "pdm", "dev-dependencies").values(),
    ]
    for environment in table(content, "tool", "hatch", "envs").values():
        others += [table(environment).get(key) for key in ("dependencies", "extra-dependencies")]
    yield from (("tool", line) for lines in others for line in strings(lines) if "{" not in line)


def _uv(reading: TreeReading, path: str, content: dict[str, Any], lines: NameLines, own: frozenset[str]) -> None:
    uv = table(content, "tool", "uv")
    _uv_settings(reading, path, uv, lines)
    for name, said in table(uv, "sources").items():
        for source in said if isinstance(said, list) else [said]:
            kind = next((key for key in ("git", "url", "path", "index", "workspace") if key in table(source)), "")
            if kind in ("git", "url", "path") or (kind == "workspace" and canonicalize_name(name) not in own):
                reading.source(canonicalize_name(name), f"{kind} {table(source)[kind]}", path, lines.of(name))
                reading.outside.add((Ecosystem.PYPI, canonicalize_name(name)))
            elif kind == "index" and not _is_ours(reading, uv.get("index"), table(source)["index"]):
                reading.elsewhere.add((Ecosystem.PYPI, canonicalize_name(name)))


def _is_ours(reading: TreeReading, indexes: object, name: object) -> bool:
    """Whether the index of that name is one of ours; Poetry knows PyPI without being told."""
    found = [address(str(one.get("url"))) for one in tables(indexes) if one.get("name") == name and one.get("url")]
    return set(found) <= reading.own_indexes and (bool(found) or str(name).lower() == "pypi")


def read_uv_toml(reading: TreeReading, path: str) -> None:
    """uv.toml has what [tool.uv] has."""
    lines = NameLines(reading.text(path), WORD)
    _uv(reading, path, {"tool": {"uv": reading.toml(path)}}, lines, frozenset())


def _uv_settings(reading: TreeReading, path: str, uv: dict[str, Any], lines: NameLines) -> None:
    for place in (uv, table(uv, "pip")):
        for index in tables(place.get("index")):
            reading.index(str(index.get("url")), path, lines.of("index"))
        for key in ("index-url", "extra-index-url", "find-links", "allow-insecure-host", "trusted-host"):
            for said in strings(place.get(key)):
                reading.index(said, path, lines.of(key))
        for key in ("index-strategy", "no-verify-hashes", "verify-hashes", "no-build-isolation"):
            if key in place:
                reading.section("settings", [key, place[key]], f"{key} is set", path, lines.of(key))


def _poetry(reading: TreeReading, path: str, content: dict[str, Any], lines: NameLines) -> None:
    for name, said in _poetry_dependencies(content):
        for one in said if isinstance(said, list) else [said]:
            place = table(one)
            kind = next((key for key in ("git", "url", "path", "file") if key in place), None)
            if kind:
                reading.source(canonicalize_name(name), f"{kind} {place[kind]}", path, lines.of(name))
                reading.outside.add((Ecosystem.PYPI, canonicalize_name(name)))
                continue
            sources = table(content, "tool", "poetry").get("source")
            if "source" in place and not _is_ours(reading, sources, place["source"]):
                reading.elsewhere.add((Ecosystem.PYPI, canonicalize_name(name)))
            marker = "; python_version > '0'" if {"python", "markers", "platform"} & place.keys() else ""
            spec = pep440(str(place.get("version", "*") if place else one))
            reading.require(f"{name}{spec}{marker}", path, lines.of(name), group="poetry")


def _poetry_dependencies(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    poetry = table(content, "tool", "poetry")
    groups = [poetry, *(table(group) for group in table(poetry, "group").values())]
    for place in [table(group, "dependencies") for group in groups] + [table(poetry, "dev-dependencies")]:
        yield from ((name, said) for name, said in place.items() if name != "python")


def pep440(text: str) -> str:
    """Poetry's constraint as PEP 440 says it; empty, any version, for what has alternatives."""
    if "|" in text:
        return ""
    parts = []
    for part in filter(None, (part.strip() for part in re.split(r",|(?<!\s)\s+(?=[<>=!~^])", text))):
        found = re.fullmatch(r"([\^~])\s*(\d{1,18}(?:\.\d{1,18})*)(?!\d)(.*)", part)
        if part == "*":
            continue
        if not found:
            parts.append(f"=={part}" if part[0].isdigit() else part)
            continue
        numbers = [int(number) for number in found[2].split(".")]
        fixed = (
            min(2, len(numbers))
            if found[1] == "~"
            else next((n for n, number in enumerate(numbers, 1) if number), len(numbers))
        )
        upper = [*numbers[: fixed - 1], numbers[fixed - 1] + 1]
        parts.append(f">={found[2]}{found[3]},<{'.'.join(map(str, upper))}")
    return ",".join(parts)


def read_script(reading: TreeReading, path: str) -> None:
    """The metadata in a single Python file, which uv and pipx install before they run it."""
    found = _SCRIPT.search(reading.text(path))
    if not found:
        return
    first = reading.text(path)[: found.start()].count("\n") + 1
    try:
        content = tomllib.loads("\n".join(line[2:] for line in found[1].splitlines()))
    except (ValueError, RecursionError):
        reading.see("unread", f"{path} script", "the script metadata is no TOML", path, first)
        return
    for line in strings(content.get("dependencies")):
        reading.require(line, path, first)
    lines = NameLines("", WORD)
    _uv(reading, path, content, lines, frozenset())
