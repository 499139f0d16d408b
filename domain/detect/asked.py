"""What a Python project's settings ask to be installed, from its files as data. Nothing is looked up or resolved."""

import posixpath
from collections.abc import Iterable
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from domain.detect import indexes, locks, metadata, pip_files
from domain.detect.indexes import IndexAddress
from domain.detect.pip_files import Local
from domain.detect.reading import View
from domain.errors import InputError
from domain.paths import matches
from domain.project import ProjectSettings
from domain.trees import Tree


class AskedRequirements(NamedTuple):
    """`lines` and `constraints` are PEP 508, with ` --hash=` where a lock has them."""

    lines: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    local: tuple[Local, ...] = ()
    """Projects of the repository to build, by directory relative to the project's own; its own is "."."""
    is_whole: bool = False
    """A lock says everything: what the project depends on is among `lines`."""
    uv_lock: str | None = None
    """Path in the repository of the uv.lock that uv must export."""
    indexes: tuple[IndexAddress, ...] = ()
    """Package indexes that the project names, beside the public one."""


def asked(tree: Tree, settings: ProjectSettings) -> AskedRequirements:
    """What the settings ask for. Raises InputError for files that are not there or cannot be read."""
    view = View(tree, settings.directory)
    told = AskedRequirements(settings.requirements)
    if settings.lock:
        told = _plus(told, _of_lock(view, settings))
    for path in settings.requirement_files:
        told = _plus(told, _of_file(view, path, "requirements file"))
    about = metadata.Metadata()
    if told.is_whole is False and (settings.extras or settings.groups or settings.install or not told.lines):
        about = metadata.read(view)
        told = told._replace(lines=_unique(*told.lines, *_of_metadata(about, settings, is_alone=not told.lines)))
    told = told._replace(indexes=indexes.beside_public([*indexes.named(view, settings), *told.indexes]))
    own = [Local(".", settings.extras)] if settings.install else []
    local = dict.fromkeys([*own, *about.local, *told.local])
    return told._replace(local=tuple(local))


def uv_words(settings: ProjectSettings) -> list[str]:
    """Options of `uv export`: the groups that are on by default, and what the settings name beside."""
    words = ["--directory", settings.directory] if settings.directory else []
    words += [word for extra in settings.extras for word in ("--extra", extra)]
    return words + [word for group in settings.groups for word in ("--group", group)]


def uv_files(tree: Tree) -> Tree:
    """What uv reads to export a lock: no code, and no settings but those of the projects."""
    return {path: entry for path, entry in tree.items() if matches(path, ("**/pyproject.toml", "**/uv.lock"))}


def exported(view: View, lines: Iterable[str]) -> AskedRequirements:
    """What uv exported."""
    found: list[str] = []
    local: list[Local] = []
    for line in lines:
        if (one := pip_files.local_of(line, view)) is not None:
            local.append(one)
        elif line.strip() and not line.lstrip().startswith("#"):
            found.append(line)
    return AskedRequirements(tuple(_joined(found)), (), tuple(local), is_whole=True)


def needs_of(about: metadata.Metadata, extras: Iterable[str]) -> tuple[str, ...]:
    """What a built project depends on, by its own metadata."""
    return (*about.dependencies, *metadata.expanded(about, extras))


def without(lines: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """`lines` that ask for none of these projects: they are in the repository, and no index is asked for them."""
    own = {canonicalize_name(name) for name in names if name}
    return tuple(line for line in lines if _name(line) not in own)


def _of_lock(view: View, settings: ProjectSettings) -> AskedRequirements:
    lock = settings.lock or ""
    if lock not in view:
        raise InputError(f"the lock file {view.full(lock)!r} is not in the repository")
    if lock.rpartition("/")[2] == locks.UV:
        return AskedRequirements(is_whole=True, uv_lock=view.full(lock))
    if reader := locks.reader_of(lock):
        about = metadata.read(view)
        try:
            locked = reader(view, lock, about, settings.extras, settings.groups)
        except (AttributeError, KeyError, TypeError, ValueError) as err:
            raise InputError(f"the lock file {view.full(lock)!r} is not made as its tool makes it: {err!r}") from err
        return AskedRequirements(locked.lines, (), locked.local, is_whole=True)
    return _of_file(view, lock, "lock file")


def _of_file(view: View, path: str, kind: str) -> AskedRequirements:
    if path not in view:
        raise InputError(f"the {kind} {view.full(path)!r} is not in the repository")
    read = pip_files.read(view, path)
    bare = [line for line in read.lines if " --hash=" not in line]
    if bare and len(bare) < len(read.lines):
        raise InputError(f"{view.full(path)}: {bare[0][:120]!r} has no --hash, and others have: lock all of them")
    local = tuple(Local("." if one.directory == "" else one.directory, one.extras) for one in read.local)
    return AskedRequirements(read.lines, read.constraints, local, indexes=read.indexes)


def _of_metadata(about: metadata.Metadata, settings: ProjectSettings, *, is_alone: bool) -> list[str]:
    """Lines of the project's own metadata. What its wheel says is not repeated here."""
    lines = [] if settings.install else list(about.dependencies)
    if not settings.install:
        lines += metadata.expanded(about, settings.extras)
    lines += metadata.grouped(about, settings.groups)
    if is_alone and not (settings.install or settings.extras or settings.groups):
        usual = ("test", "tests", "testing")
        lines += metadata.expanded(about, [name for name in about.extras if name in usual])
        lines += metadata.grouped(about, [name for name in about.groups if name in usual])
    return lines


def _plus(one: AskedRequirements, other: AskedRequirements) -> AskedRequirements:
    return AskedRequirements(
        _unique(*one.lines, *other.lines),
        _unique(*one.constraints, *other.constraints),
        tuple(dict.fromkeys([*one.local, *other.local])),
        one.is_whole or other.is_whole,
        other.uv_lock or one.uv_lock,
        (*one.indexes, *other.indexes),
    )


def _unique(*lines: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(lines))


def _joined(lines: Iterable[str]) -> list[str]:
    """Logical lines of a file that continues them with a backslash; hashes stand after one space."""
    text = "\n".join(lines).replace("\\\n", " ")
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def _name(line: str) -> str:
    try:
        return canonicalize_name(Requirement(line.split(" --hash=")[0]).name)
    except InvalidRequirement:
        return ""


def place_of(settings: ProjectSettings, local: Local) -> str:
    """Directory of a local project, relative to the root of the repository; empty: the root."""
    place = posixpath.normpath(posixpath.join(settings.directory, local.directory))
    return "" if place == "." else place
