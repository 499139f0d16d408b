"""Lock files whose packages are listed with versions and hashes: poetry, pdm, PEP 751 and Pipenv. Read as data.

Each gives exact requirement lines with their hashes and markers, so that what is installed is what the lock says.
uv.lock is not here: uv itself exports it.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from packaging.markers import InvalidMarker, Marker, UndefinedEnvironmentName
from packaging.utils import canonicalize_name

from domain.detect.metadata import Metadata
from domain.detect.pip_files import Local
from domain.detect.reading import View
from domain.errors import InputError

UV = "uv.lock"


class Locked(NamedTuple):
    """What a lock wants installed, whole. `lines` are `name==version ; marker --hash=…`."""

    lines: tuple[str, ...]
    local: tuple[Local, ...] = ()


def reader_of(path: str) -> Callable[[View, str, Metadata, Iterable[str], Iterable[str]], Locked] | None:
    """What reads a lock file of this name: (view, path, metadata, extras, groups) → Locked. None for any other name."""
    name = path.rpartition("/")[2]
    if re.fullmatch(r"pylock(\..+)?\.toml", name):
        return _pylock
    return {"poetry.lock": _poetry, "pdm.lock": _pdm, "Pipfile.lock": _pipfile}.get(name)


def _poetry(view: View, path: str, metadata: Metadata, extras: Iterable[str], groups: Iterable[str]) -> Locked:
    """https://python-poetry.org/docs/basic-usage/#installing-with-poetrylock; `groups` and `markers` are there since
    2.0, `category` until 1.4. Between them only optional packages can be told apart, and all groups are installed."""
    data = _content(view, path)
    wanted = {"main", *(canonicalize_name(name) for name in (*metadata.default_groups, *groups))}
    packages = _packages(data, path)
    asked = _asked(packages, data.get("extras", {}), extras)
    old = data.get("metadata", {}).get("files", {})
    lines, local = [], []
    for package in packages:
        name = canonicalize_name(str(package.get("name")))
        its_groups = package.get("groups") or ([package["category"]] if "category" in package else ["main"])
        its_groups = [canonicalize_name(str(group)) for group in its_groups]
        is_new = "groups" in package or "category" in package
        if is_new and not set(its_groups) & wanted:
            continue
        marker = _poetry_marker(package.get("markers"), wanted)
        if package.get("optional") and name not in asked and not _for_extra(marker, extras):
            continue
        source = package.get("source", {})
        if source.get("type") == "directory":
            local.append(Local(str(source.get("url"))))
            continue
        if source.get("type") in ("git", "url", "file"):
            lines.append(f"{name} @ {source.get('url')}")
            continue
        if not marker and sum(canonicalize_name(str(other.get("name"))) == name for other in packages) > 1:
            marker = _python_marker(str(package.get("python-versions", "")))
        files = package.get("files") or old.get(str(package.get("name")), [])
        hashes = [str(file.get("hash")) for file in files]
        lines.append(_line(name, package.get("version"), _without_extra(marker), hashes))
    return Locked(tuple(lines), tuple(local))


def _poetry_marker(value: Any, groups: Iterable[str]) -> str:
    if isinstance(value, dict):
        parts = [str(marker) for group, marker in value.items() if canonicalize_name(str(group)) in groups]
        return " or ".join(f"({part})" for part in parts)
    return str(value or "")


def _python_marker(spec: str) -> str:
    clauses = [re.fullmatch(r"\s*(>=|<=|==|!=|<|>)\s*([\d.]+)\s*", part) for part in spec.split(",")]
    return " and ".join(f"python_full_version {one[1]} '{one[2]}'" for one in clauses if one)


def _asked(packages: list[dict[str, Any]], table: Any, extras: Iterable[str]) -> set[str]:
    """Names that the wanted extras bring, with all that they depend on: optional packages among them are wanted."""
    by_name = {canonicalize_name(str(package.get("name"))): package for package in packages}
    members = {canonicalize_name(str(key)): value for key, value in table.items()} if isinstance(table, dict) else {}
    queue = [
        re.split(r"[\s(\[<>=!~;]", str(line))[0]
        for extra in extras
        for line in members.get(canonicalize_name(extra), ())
    ]
    asked: set[str] = set()
    while queue:
        name = canonicalize_name(queue.pop())
        if name in asked:
            continue
        asked.add(name)
        queue += list(by_name.get(name, {}).get("dependencies", {}))
    return asked


def _for_extra(marker: str, extras: Iterable[str]) -> bool:
    """Whether one of the extras makes a marker that speaks of extras true."""
    if not re.search(r"\bextra\b", marker):
        return False
    return any(_is_true(marker, {"extra": extra}) for extra in extras)


def _without_extra(marker: str) -> str:
    """A marker that holds where the package is wanted anyway: what speaks of extras was judged before."""
    return "" if re.search(r"\bextras?\b|\bdependency_groups\b", marker) else marker


def _is_true(marker: str, environment: Mapping[str, Any]) -> bool:
    try:
        return Marker(marker).evaluate({"extra": "", **environment})
    except (InvalidMarker, UndefinedEnvironmentName):
        return False


def _pdm(view: View, path: str, metadata: Metadata, extras: Iterable[str], groups: Iterable[str]) -> Locked:
    """https://pdm-project.org/latest/usage/lock-targets/; extras are groups there. Locks before 4.3 tell no groups."""
    data = _content(view, path)
    wanted = {"default", *(canonicalize_name(name) for name in (*metadata.default_groups, *groups, *extras))}
    old = data.get("metadata", {}).get("files", {})
    lines: dict[str, None] = {}
    local = []
    for package in _packages(data, path):
        its_groups = package.get("groups")
        if its_groups and not {canonicalize_name(str(group)) for group in its_groups} & wanted:
            continue
        name = canonicalize_name(str(package.get("name")))
        if "path" in package:
            if package["path"] not in (".", "./"):
                local.append(Local(str(package["path"]).removeprefix("./")))
            continue
        if address := package.get("git") or package.get("url"):
            lines[f"{name} @ {address}"] = None
            continue
        files = package.get("files") or old.get(f"{package.get('name')} {package.get('version')}", [])
        marker = str(package.get("marker", ""))
        lines[_line(name, package.get("version"), marker, [str(file.get("hash")) for file in files])] = None
    return Locked(tuple(lines), tuple(local))


def _pylock(view: View, path: str, metadata: Metadata, extras: Iterable[str], groups: Iterable[str]) -> Locked:
    """https://packaging.python.org/en/latest/specifications/pylock-toml/"""
    data = _content(view, path)
    chosen = {
        "extras": set(extras),
        "dependency_groups": {*groups, *data.get("default-groups", []), *metadata.default_groups},
    }
    lines, local = [], []
    for package in _packages(data, path, "packages"):
        marker = str(package.get("marker", ""))
        if re.search(r"\bextras\b|\bdependency_groups\b", marker):
            try:
                if not Marker(marker).evaluate(chosen, context="lock_file"):
                    continue
            except (InvalidMarker, UndefinedEnvironmentName) as err:
                raise InputError(f"{view.full(path)}: the marker {marker[:120]!r} cannot be read: {err}") from err
        name = canonicalize_name(str(package.get("name")))
        if "directory" in package:
            where = str(package["directory"].get("path", "."))
            if where not in (".", "./"):
                local.append(Local(where.removeprefix("./")))
            continue
        if "vcs" in package or "archive" in package:
            about = package.get("vcs") or package.get("archive") or {}
            lines.append(f"{name} @ {about.get('url') or about.get('path')}")
            continue
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        hashes = [f"sha256:{file['hashes']['sha256']}" for file in files if "sha256" in file.get("hashes", {})]
        lines.append(_line(name, package.get("version"), _without_extra(marker), hashes))
    return Locked(tuple(lines), tuple(local))


def _pipfile(view: View, path: str, metadata: Metadata, extras: Iterable[str], groups: Iterable[str]) -> Locked:
    """https://pipenv.pypa.io/en/latest/pipfile.html: `default` and `develop` are each whole."""
    data = view.json(path)
    lines: dict[str, str] = {}
    local = []
    for section in ("develop", "default"):  # the same package is the same version in both
        for name, about in data.get(section, {}).items():
            if "path" in about:
                if about["path"] not in (".", "./"):
                    local.append(Local(str(about["path"]).removeprefix("./")))
                continue
            if address := about.get("git") or about.get("file"):
                lines[name] = f"{canonicalize_name(name)} @ {address}"
                continue
            version = str(about.get("version", "")).removeprefix("==")
            lines[name] = _line(
                canonicalize_name(name), version, str(about.get("markers", "")), about.get("hashes", [])
            )
    return Locked(tuple(lines.values()), tuple(local))


def _line(name: str, version: Any, marker: str, hashes: Iterable[str]) -> str:
    if not isinstance(version, str) or not version:
        raise InputError(f"the lock has no version of {name}: lock again")
    parts = [
        f"{name}=={version}",
        *([f"; {marker}"] if marker else []),
        *(f"--hash={value}" for value in sorted(set(hashes))),
    ]
    return " ".join(parts)


def _content(view: View, path: str) -> dict[str, Any]:
    data = view.toml(path)
    if not data:
        raise InputError(view.unread[-1] if view.unread else f"{view.full(path)} is empty")
    return data


def _packages(data: Mapping[str, Any], path: str, key: str = "package") -> list[dict[str, Any]]:
    packages = data.get(key, [])
    if not isinstance(packages, list) or not all(isinstance(package, dict) for package in packages):
        raise InputError(f"{path} has no list of packages")
    return packages
