"""npm's files: package.json, package-lock.json, npm-shrinkwrap.json and .npmrc."""

import json
import re
from typing import Any

from blocks.scanners.dependencies import semver
from blocks.scanners.dependencies.reading import NPM_NAME, SHOWN, NameLines, TreeReading, Unreadable, below, table
from blocks.scanners.dependencies.registries import INSTALL_SCRIPTS
from domain.dependencies import Declaration, Ecosystem

_KEY = r'"((?:[^"\\\n]|\\.){1,300})"\s*:'
_TAG = re.compile(r"[A-Za-z][\w.-]{0,60}")
_GROUPS = ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies")
_PREPARE = ("prepare", "preprepare", "postprepare", "prepublish", "prepublishOnly", "prepack")
"""https://docs.npmjs.com/cli/using-npm/scripts#life-cycle-scripts: what npm runs for the project itself."""


def read_json(reading: TreeReading, path: str) -> dict[str, Any]:
    """Raises Unreadable."""
    if path not in reading.tables:
        try:
            reading.tables[path] = json.loads(reading.text(path))
        except (ValueError, RecursionError) as err:
            raise Unreadable(f"it is no JSON: {str(err)[:SHOWN]}") from err
    content = reading.tables[path]
    if not isinstance(content, dict):
        raise Unreadable("it is no JSON object")
    return content


def read_package(reading: TreeReading, path: str) -> None:
    content = read_json(reading, path)
    lines = NameLines(reading.text(path), _KEY)
    for group in _GROUPS:
        for name, said in table(content, group).items():
            _depend(reading, path, lines.of(name), name, said)
    for key in ("overrides", "resolutions"):
        _overrides(reading, path, lines, table(content, key))
    _overrides(reading, path, lines, table(content, "pnpm", "overrides"))
    scripts = table(content, "scripts")
    for name in INSTALL_SCRIPTS:
        if scripts.get(name):
            message = f"package.json runs {name} when it is installed: {str(scripts[name])[:SHOWN]}"
            reading.see("install-script", f"{path} {name} {scripts[name]}", message, path, lines.of(name))
    for name in _PREPARE:
        reading.section("build", scripts.get(name), f"the script {name} is new or changed", path, lines.of(name))
    reading.section(
        "build", content.get("gypfile"), "gypfile is set: it builds when installed", path, lines.of("gypfile")
    )
    for key in ("registry", "@*:registry"):
        if said := table(content, "publishConfig").get(key):
            reading.index(str(said), path, lines.of(key))


def _overrides(reading: TreeReading, path: str, lines: NameLines, said: dict[str, Any], depth: int = 0) -> None:
    """Overrides nest: https://docs.npmjs.com/cli/configuring-npm/package-json#overrides."""
    for key, value in said.items():
        name = re.sub(r"(?<=.)@[^/]*$", "", key.rpartition(">")[2].rpartition("**/")[2].strip())
        if isinstance(value, dict) and depth < 10:
            if isinstance(value.get("."), str):
                _depend(reading, path, lines.of(key), name, value["."], group="override")
            _overrides(reading, path, lines, {k: v for k, v in value.items() if k != "."}, depth + 1)
        elif isinstance(value, str) and not value.startswith("$"):
            _depend(reading, path, lines.of(key), name, value, group="override")


def _depend(reading: TreeReading, path: str, line: int | None, name: str, said: object, group: str = "") -> None:
    """One dependency of package.json: a range, a tag, an alias, a member of the workspace, or something else."""
    spec = said.strip() if isinstance(said, str) else ""
    alias = re.fullmatch(r"npm:((?:@[^@/]+/)?[^@/]+)(?:@(.*))?", spec)
    if alias:
        reading.outside.add((Ecosystem.NPM, name))
        name, spec = alias[1], alias[2] or ""
    if not isinstance(said, str) or not NPM_NAME.fullmatch(name):
        reading.see(
            "unread", f"{path} {name} {said}", f"{name[:SHOWN]!r}: {str(said)[:SHOWN]!r} is no dependency", path, line
        )
    elif spec.startswith("workspace:") or (spec.startswith(("file:", "link:")) and _is_here(reading, path, spec)):
        reading.outside.add((Ecosystem.NPM, name))
        if name not in workspace(reading):
            reading.source(name, spec, path, line)
    elif semver.is_range(spec) or _TAG.fullmatch(spec):
        exact = spec.lstrip("=v ") if semver.parse(spec.lstrip("=v ")) else None
        reading.declared.append(Declaration(Ecosystem.NPM, name, path, line, spec=spec, version=exact, group=group))
    else:
        reading.source(name, spec, path, line)
        reading.outside.add((Ecosystem.NPM, name))


def _is_here(reading: TreeReading, path: str, spec: str) -> bool:
    at = below(path, spec.partition(":")[2])
    return at is not None and f"{at}/package.json".lstrip("/") in reading.tree


def workspace(reading: TreeReading) -> dict[str, str]:
    """Names of the packages that the tree itself has → their directories."""
    found = {}
    for path in reading.tree:
        if (path == "package.json" or path.endswith("/package.json")) and "node_modules/" not in path:
            try:
                name = read_json(reading, path).get("name")
            except Unreadable:
                continue
            if isinstance(name, str):
                found[name] = path.removesuffix("package.json").rstrip("/")
    return found


def read_package_lock(reading: TreeReading, path: str) -> None:
    """Versions 2 and 3: https://docs.npmjs.com/cli/configuring-npm/package-lock-json."""
    content = read_json(reading, path)
    if not isinstance(content.get("packages"), dict):
        reading.section("unread-kind", content, "a lock of npm 6 or older is not read here", path)
        return
    lines = NameLines(reading.text(path), _KEY)
    packages = {key: one for key, one in content["packages"].items() if isinstance(one, dict)}
    specs = [(name, spec) for one in packages.values() for group in _GROUPS for name, spec in table(one, group).items()]
    aliases = {name for name, spec in specs if str(spec).startswith("npm:")}
    wanted = {name for name, _ in specs} | {
        name for one in packages.values() for name in table(one, "peerDependenciesMeta")
    }
    for key, one in packages.items():
        line = lines.of(key)
        if "node_modules/" not in key:
            if key and f"{below(path, key)}/package.json".lstrip("/") not in reading.tree:
                reading.source(key, "a directory that is not here", path, line)
            continue
        name = key.rpartition("node_modules/")[2]
        if one.get("link"):
            target = below(path, str(one.get("resolved")))
            if target is None or f"{target}/package.json".lstrip("/") not in reading.tree:
                reading.source(name, str(one.get("resolved")), path, line)
            reading.outside.add((Ecosystem.NPM, name))
            continue
        if name not in wanted:
            reading.see(
                "lock-disagrees", f"{path} {name} extra", f"{name} is locked and nothing asks for it", path, line
            )
        _locked(reading, path, line, name, one, aliases)
    _agree(reading, path, packages, lines)


def _locked(
    reading: TreeReading, path: str, line: int | None, place: str, one: dict[str, Any], aliases: set[str]
) -> None:
    name, version = str(one.get("name") or place), str(one.get("version"))
    if name != place and place not in aliases:
        message = f"{place} is locked to another package, {name[:SHOWN]}"
        reading.see("lock-disagrees", f"{path} {place} {name}", message, path, line)
    resolved = one.get("resolved")
    if isinstance(resolved, str):
        if not resolved.startswith(("https://", "http://")):
            reading.source(name, resolved, path, line)
            reading.outside.add((Ecosystem.NPM, place))
            return
        reading.file(resolved, path, line)
    if one.get("hasInstallScript"):
        reading.scripted.add((name, version))
    if not NPM_NAME.fullmatch(name) or semver.parse(version) is None:
        reading.see(
            "unread", f"{path} {name} {version}", f"{name[:SHOWN]!r} {version[:SHOWN]!r} is no package", path, line
        )
        return
    hashes = frozenset(str(one.get("integrity") or "").split())
    is_bundled = bool(one.get("inBundle") or one.get("bundled"))
    reading.declared.append(
        Declaration(Ecosystem.NPM, name, path, line, version=version, hashes=hashes, is_locked=not is_bundled)
    )  # fmt: skip


def _agree(reading: TreeReading, path: str, packages: dict[str, dict[str, Any]], lines: NameLines) -> None:
    """The lock repeats its manifests word for word, and has for each of their dependencies a version that fits."""
    for key, one in packages.items():
        manifest = f"{below(path, key)}/package.json".lstrip("/")
        if "node_modules/" in key or manifest not in reading.tree:
            continue
        try:
            content = read_json(reading, manifest)
        except Unreadable:
            continue
        for group in _GROUPS:
            said, locked = table(content, group), table(one, group)
            optional = table(content, "optionalDependencies") if group == "dependencies" else {}
            for name in sorted(said.keys() | locked.keys()):
                if said.get(name) != locked.get(name) and not (name in optional and name not in locked):
                    message = (
                        f"{manifest} asks for {name} {said.get(name)!r:.80}, and {path} says {locked.get(name)!r:.80}"
                    )
                    reading.see("lock-disagrees", f"{path} {group} {message}", message, path, lines.of(key))
            for name, spec in said.items():
                entry = _installed(packages, key, name)
                is_needed = group in ("dependencies", "devDependencies") and name not in optional
                version = str((entry or {}).get("version"))
                if entry is None and is_needed:
                    message = f"{manifest} asks for {name}, which {path} does not lock"
                    reading.see("lock-disagrees", f"{path} {key} {name} missing", message, path)
                elif (
                    entry
                    and is_needed
                    and semver.is_range(str(spec))
                    and not entry.get("link")
                    and not semver.satisfies(version, str(spec))
                ):
                    message = f"{manifest} asks for {name} {spec}, and {path} locks {version}"
                    reading.see("lock-disagrees", f"{path} {message}", message, path, lines.of(f"node_modules/{name}"))


def _installed(packages: dict[str, dict[str, Any]], key: str, name: str) -> dict[str, Any] | None:
    """What `key` gets when it asks for `name`: the nearest node_modules on the way up."""
    while True:
        if found := packages.get(f"{key}/node_modules/{name}".lstrip("/")):
            return found
        if not key:
            return None
        key = key.rpartition("/")[0]


def read_npmrc(reading: TreeReading, path: str) -> None:
    for number, line in enumerate(reading.text(path).splitlines(), start=1):
        key, _, value = (part.strip() for part in line.partition("="))
        if not key or key.startswith(("#", ";")):
            continue
        if key == "registry" or key.endswith(":registry") or key.startswith("//"):
            reading.index(value if not key.startswith("//") else f"https:{key.rpartition(':')[0]}", path, number)
        else:
            reading.see("settings", f"{path} {line}", f"{key[:SHOWN]} is set", path, number)
