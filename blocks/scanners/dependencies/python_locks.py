"""Python's lock files: uv.lock and poetry.lock, and whether they say what their manifest says."""

from collections.abc import Iterable
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from blocks.scanners.dependencies.reading import NameLines, TreeReading, below, table, tables
from domain.dependencies import Declaration, Ecosystem

_NAME = r'(?m)^name = "([^"]*)"'


def read_uv_lock(reading: TreeReading, path: str) -> None:
    content = reading.toml(path)
    lines = NameLines(reading.text(path), _NAME)
    members = []
    for package in tables(content.get("package")):
        name, source = canonicalize_name(str(package.get("name"))), table(package, "source")
        line = lines.of(name)
        inside = next((source[key] for key in ("editable", "virtual", "directory") if key in source), None)
        if inside is not None and _is_member(reading, path, inside):
            members.append(package)
            continue
        if "registry" not in source:
            reading.source(name, " ".join(f"{key} {value}" for key, value in source.items()), path, line)
            reading.outside.add((Ecosystem.PYPI, name))
            continue
        if not reading.index(str(source["registry"]), path, line):
            reading.elsewhere.add((Ecosystem.PYPI, name))
        _locked(reading, path, line, package, name, [table(package, "sdist"), *tables(package.get("wheels"))])
    _agree_uv(reading, path, content, members, lines)


def _locked(reading: TreeReading, path: str, line: int | None, package: dict[str, Any], name: str,
            files: list[dict[str, Any]]) -> None:  # fmt: skip
    marks = frozenset(str(file["hash"]) for file in files if file.get("hash"))
    for file in files:
        if url := file.get("url"):
            reading.file(str(url), path, line)
    version = str(package.get("version"))
    reading.declared.append(
        Declaration(Ecosystem.PYPI, name, path, line, version=version, hashes=marks, is_locked=True)
    )


def _is_member(reading: TreeReading, path: str, inside: object) -> bool:
    return _manifest(path, str(inside)) in reading.tree


def _manifest(path: str, inside: str) -> str:
    at = below(path, inside)
    return "" if at is None else f"{at}/pyproject.toml".lstrip("/")


def _agree_uv(reading: TreeReading, path: str, content: dict[str, Any], members: list[dict[str, Any]],
              lines: NameLines) -> None:  # fmt: skip
    packages, root = tables(content.get("package")), table(content, "manifest")
    wanted = {name for package in packages for name in _names_in(package)}
    listed = [root.get(key) for key in ("requirements", "overrides", "constraints", "build-constraints")]
    wanted |= _names([*listed, *table(root, "dependency-groups").values()])
    manifests = {_manifest(path, "."), *(_manifest(path, str(next(iter(one["source"].values())))) for one in members)}
    own = _names([members])
    _agree(reading, path, manifests, [one for one in packages if one not in members], wanted, own, ("",), lines)


def _names_in(package: dict[str, Any]) -> set[str]:
    groups = [*table(package, "optional-dependencies").values(), *table(package, "dev-dependencies").values()]
    return _names([package.get("dependencies"), *groups])


def _names(groups: Iterable[object]) -> set[str]:
    return {canonicalize_name(str(one.get("name"))) for group in groups for one in tables(group)}


def read_poetry_lock(reading: TreeReading, path: str) -> None:
    content = reading.toml(path)
    lines = NameLines(reading.text(path), _NAME)
    packages = tables(content.get("package"))
    wanted: set[str] = {canonicalize_name(one) for package in packages for one in table(package, "dependencies")}
    for package in packages:
        name, source = canonicalize_name(str(package.get("name"))), table(package, "source")
        line = lines.of(name)
        if source and source.get("type") not in ("legacy", "pypi"):
            reading.source(name, f"{source.get('type')} {source.get('url')}", path, line)
            reading.outside.add((Ecosystem.PYPI, name))
            continue
        if source.get("url") and not reading.index(str(source["url"]), path, line):
            reading.elsewhere.add((Ecosystem.PYPI, name))
        old = table(content, "metadata", "files").get(str(package.get("name")))
        _locked(reading, path, line, package, name, tables(package.get("files")) or tables(old))
    _agree(reading, path, {_manifest(path, ".")}, packages, wanted, set(), ("", "poetry"), lines)


def _agree(reading: TreeReading, path: str, manifests: Iterable[str], packages: list[dict[str, Any]], wanted: set[str],
           own: set[str], groups: tuple[str, ...], lines: NameLines) -> None:  # fmt: skip
    """All that a manifest asks for is locked in a version that fits; all that is locked is asked for."""
    locked: dict[str, list[str]] = {}
    for package in packages:
        locked.setdefault(canonicalize_name(str(package.get("name"))), []).append(str(package.get("version")))
    present = {one for one in manifests if one in reading.tree}
    asked = [one for one in reading.declared if one.path in present and one.ecosystem is Ecosystem.PYPI]
    overridden = {one.name for one in asked if one.group == "override"}
    for one in asked:
        if one.group not in groups or one.has_marker or one.name in own or one.key in reading.outside:
            continue
        versions = locked.get(one.name, [])
        if not versions:
            message = f"{one.path} asks for {one.name}, which {path} does not lock"
            reading.see("lock-disagrees", f"{path} {one.name} missing", message, one.path, one.line)
        elif one.name not in overridden and not any(_fits(version, one.spec) for version in versions):
            message = f"{one.path} asks for {one.name}{one.spec}, and {path} locks {', '.join(versions)}"
            reading.see("lock-disagrees", f"{path} {message}", message, path, lines.of(one.name))
    asked_for = wanted | own | {one.name for one in asked} | {name for _, name in reading.outside}
    for name in sorted(locked.keys() - asked_for if present else ()):
        reading.see(
            "lock-disagrees", f"{path} {name} extra", f"{name} is locked and nothing asks for it", path, lines.of(name)
        )


def _fits(version: str, spec: str) -> bool:
    try:
        return SpecifierSet(spec).contains(version, prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return False
