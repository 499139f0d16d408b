"""Which files of a tree are read, and how. Manifests come before locks, which are compared with them."""

import re
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

from blocks.scanners.dependencies.npm_files import read_npmrc, read_package, read_package_lock
from blocks.scanners.dependencies.pyproject import read_lockgate, read_pyproject, read_script, read_uv_toml
from blocks.scanners.dependencies.python_locks import read_poetry_lock, read_uv_lock
from blocks.scanners.dependencies.reading import SHOWN, TreeReading, Unreadable, strings
from blocks.scanners.dependencies.requirements import read_requirements
from blocks.scanners.dependencies.setup_files import read_setup_cfg, read_setup_py
from domain.dependencies import DependencySight, Ecosystem
from domain.detect.metadata import named_files
from domain.detect.pip_files import is_requirements_file
from domain.detect.reading import View
from domain.paths import matches
from domain.policy.change import is_python
from domain.trees import Tree
from domain.value import digest_of

Reader = Callable[[TreeReading, str], None]

MANIFESTS: dict[str, Reader] = {
    "pyproject.toml": read_pyproject,
    "setup.cfg": read_setup_cfg,
    "setup.py": read_setup_py,
    "uv.toml": read_uv_toml,
    "package.json": read_package,
    ".npmrc": read_npmrc,
}
LOCKS: dict[str, Reader] = {
    "uv.lock": read_uv_lock,
    "poetry.lock": read_poetry_lock,
    "package-lock.json": read_package_lock,
    "npm-shrinkwrap.json": read_package_lock,
}
SETTINGS = frozenset(
    (".yarnrc", ".yarnrc.yml", ".pnpmfile.cjs", "pnpm-workspace.yaml", "bunfig.toml", "pip.conf", "pip.ini", ".pypirc",
     ".condarc", "poetry.toml", "pdm.toml", ".pdm.toml", "binding.gyp")
)  # fmt: skip
"""Read line by line: an address is a registry, anything else may do whatever that tool can be told."""
UNREAD: dict[Ecosystem | None, tuple[str, ...]] = {
    Ecosystem.PYPI: ("Pipfile", "Pipfile.lock", "pdm.lock", "pylock.toml", "environment.yml", "environment.yaml",
                     "conda-lock.yml", "pixi.toml", "pixi.lock"),
    Ecosystem.NPM: ("yarn.lock", "pnpm-lock.yaml", "bun.lock", "bun.lockb", "deno.json", "deno.jsonc", "deno.lock",
                    "bower.json"),
    None: ("Cargo.toml", "Cargo.lock", "go.mod", "go.sum", "Gemfile", "Gemfile.lock", "composer.json", "composer.lock",
           "pom.xml", "build.gradle", "build.gradle.kts", "packages.config", "mix.exs", "pubspec.yaml"),
}  # fmt: skip
_UNREAD = {name: ecosystem for ecosystem, names in UNREAD.items() for name in names}
_SCRIPT_MARK = b"# /// script"
_ADDRESS = re.compile(
    r"(?i)https?://[^\s\"',]+|(?:registry|index[-_]?url|find[-_]links|trusted[-_]host)\S{0,100}\s{0,100}[:=]\s*(\S+)"
)


def read_tree(tree: Tree, own_indexes: frozenset[str], skip: Iterable[str]) -> TreeReading:
    """All that the files of a tree say of dependencies. What cannot be read is among the sights."""
    reading = TreeReading(tree, own_indexes)
    globs = tuple(skip)
    wanted = [path for path in sorted(tree) if _is_of_interest(path, tree) and not matches(path, globs)]
    for path, reader in _readers(reading, wanted):
        reading.files.add(path)
        try:
            reader(reading, path)
        except Unreadable as err:
            ecosystem = Ecosystem.NPM if path.endswith((".json", ".npmrc")) else Ecosystem.PYPI
            reading.is_whole[ecosystem] = False
            reading.see("unread", f"{path} {digest_of(repr(tree[path]))}", f"this file cannot be read: {err}", path)
    return reading


def _is_of_interest(path: str, tree: Tree) -> bool:
    name = PurePosixPath(path).name
    is_known = name in MANIFESTS or name in LOCKS or name in SETTINGS or name in _UNREAD or path == "lockgate.toml"
    return is_known or is_requirements_file(path) or (is_python(path) and _SCRIPT_MARK in tree[path].content)


def removed_locks(base: Tree, head: Tree) -> Iterable[DependencySight]:
    """A lock that goes away: from then on every installation takes what is newest."""
    for path in sorted(base.keys() - head.keys()):
        if PurePosixPath(path).name in LOCKS:
            yield DependencySight(
                "dependencies/lock-removed", path, "the lock file is gone, and with it versions and hashes", path
            )


def _readers(reading: TreeReading, wanted: list[str]) -> Iterable[tuple[str, Reader]]:
    """(path, how it is read), each file once, also those that another one includes."""
    plain = {path for path in wanted if is_requirements_file(path)} | set(_named(reading, wanted))
    for path in wanted:
        name = PurePosixPath(path).name
        if name in MANIFESTS:
            yield path, MANIFESTS[name]
        elif name in SETTINGS:
            yield path, _read_settings
        elif name in _UNREAD:
            yield path, _read_not
        if path == "lockgate.toml":
            yield path, read_lockgate
        elif is_python(path) and _SCRIPT_MARK in reading.tree[path].content:
            yield path, read_script
    done: set[str] = set()
    while waiting := (plain | reading.includes) - done:
        path = min(waiting)
        done.add(path)
        yield path, read_requirements
    yield from ((path, LOCKS[PurePosixPath(path).name]) for path in wanted if PurePosixPath(path).name in LOCKS)


def _named(reading: TreeReading, wanted: list[str]) -> Iterable[str]:
    """Requirements files that lockgate.toml, pyproject.toml and setup.cfg name, whatever they are called."""
    for path in wanted:
        above, _, name = path.rpartition("/")
        try:
            if path == "lockgate.toml":
                told = reading.toml(path)
                named = [*strings(told.get("lock")), *strings(told.get("requirement_files"))]
            elif name in ("pyproject.toml", "setup.cfg"):
                named = list(named_files(View(reading.tree, above)))
            else:
                continue
        except Unreadable:
            continue
        yield from (one for one in named if one in reading.tree and PurePosixPath(one).name not in {*MANIFESTS, *LOCKS})


def _read_settings(reading: TreeReading, path: str) -> None:
    if PurePosixPath(path).name == "binding.gyp":
        reading.section(
            "build", reading.text(path), "binding.gyp is new or changed: npm builds it when it installs", path
        )
        return
    for number, line in enumerate(reading.text(path).splitlines(), start=1):
        text = line.strip()
        if found := _ADDRESS.search(text):
            reading.index((found[1] or found[0]).strip("\"'"), path, number)
        elif text and not text.startswith(("#", ";", "//", "[")):
            key = re.split(r"[:=]", text)[0].strip()  # the value may be a secret
            reading.see("settings", f"{path} {text}", f"{key[:SHOWN]!r} is set", path, number)


def _read_not(reading: TreeReading, path: str) -> None:
    if ecosystem := _UNREAD[PurePosixPath(path).name]:
        reading.is_whole[ecosystem] = False
    message = f"{PurePosixPath(path).name} is of a kind that is not read here"
    reading.see("unread-kind", f"{path} {digest_of(repr(reading.tree[path]))}", message, path)
