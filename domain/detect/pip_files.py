"""Requirements files of pip, with the files that they include, as data.

https://pip.pypa.io/en/stable/reference/requirements-file-format/
"""

import posixpath
import re
from pathlib import PurePosixPath
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement

from domain.detect.indexes import IndexAddress
from domain.detect.indexes import at as index_at
from domain.detect.reading import View
from domain.errors import InputError

_INCLUDES = re.compile(r"(?:-r|--requirement|-c|--constraint)(?:\s+|=|(?<=-[rc]))\s*(?P<path>\S+)\s*")
_LOCAL = re.compile(r"(?P<path>\.{0,2}/?[^\[\]\s;@=<>~!]*)(?:\[(?P<extras>[^\]]*)\])?\s*(?:[;#].*)?")
_INDEX = re.compile(r"(?:--index-url|--extra-index-url|-i)(?:\s+|=)(?P<url>\S+)\s*")
_HASH = re.compile(r"\s--hash[= ](\S+)")
_HARMLESS = (
    "--no-binary", "--only-binary", "--prefer-binary", "--require-hashes", "--use-feature", "--use-pep517",
    "--no-build-isolation", "--pre", "--no-deps", "--trusted-host",
)  # fmt: skip
"""They choose between what one index has, or how it is built; only wheels are installed here anyway."""


_NAMES = re.compile(r"(?:.*[-_.])?(?:requirements?|constraints?)(?:[-_.].*)?\.(?:txt|in|pip)", re.I)
_FOLDERS = ("requirements", "constraints")


class Local(NamedTuple):
    """A project of the same repository that is installed from its directory, relative to the project's own."""

    directory: str
    extras: tuple[str, ...] = ()


class RequirementLines(NamedTuple):
    """What requirements files ask for. `lines` are PEP 508, with ` --hash=` where the file has them."""

    lines: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    """PEP 508 lines that bound what others ask for."""
    local: tuple[Local, ...] = ()
    indexes: tuple[IndexAddress, ...] = ()
    """What `--index-url` and `--extra-index-url` name."""


def read(view: View, path: str) -> RequirementLines:
    """A requirements file and all that it includes. Raises InputError for a file that is not there, and for options
    that take packages from somewhere else than an index."""
    lines: dict[str, None] = {}
    constraints: dict[str, None] = {}
    local: dict[Local, None] = {}
    indexes: dict[IndexAddress, None] = {}
    seen: set[tuple[str, bool]] = set()

    def visit(path: str, is_constraint: bool, by: str) -> None:
        if (path, is_constraint) in seen:
            return
        seen.add((path, is_constraint))
        if path not in view:
            raise InputError(f"{by} names {view.full(path)}, which is not in the repository")
        for text in _logical(view.text(path)):
            where = view.full(path)
            if included := _INCLUDES.fullmatch(text):
                target = _beside(path, included["path"], where)
                visit(target, is_constraint or text.startswith(("-c", "--constraint")), where)
            elif (found := local_of(text, view, path)) is not None:
                local[found] = None
            elif index := _INDEX.fullmatch(text):
                indexes[index_at(index["url"], where)] = None
            elif text.startswith("-"):
                _check_option(text, where)
            elif is_constraint:
                constraints[_HASH.sub("", text).strip()] = None
            else:
                hashes = sorted(set(_HASH.findall(text)))
                plain = re.sub(r"\s--[a-z].*$", "", text).strip()
                lines[" ".join([plain, *(f"--hash={value}" for value in hashes)])] = None

    visit(posixpath.normpath(path), False, "the project's settings")
    return RequirementLines(tuple(lines), tuple(constraints), tuple(local), tuple(indexes))


def is_requirements_file(path: str) -> bool:
    """Whether a file is one by its name, or by a directory that it is in."""
    name = PurePosixPath(path)
    is_inside = any(part in _FOLDERS for part in name.parts[:-1]) and name.suffix in (".txt", ".in", ".pip")
    return is_inside or _NAMES.fullmatch(name.name) is not None


def plain_lines(text: str) -> list[str]:
    """The requirement lines of a file, without options and comments. Nothing that it includes is read."""
    lines = (re.sub(r"\s--?[a-z].*$", "", line).strip() for line in _logical(text))
    return [line for line in lines if line and not line.startswith("-")]


def local_of(text: str, view: View, path: str = "") -> Local | None:
    """The project that `-e .`, `.[test]` or `../lib` installs. pip looks for it from where it is run: the project's
    directory; some files mean their own. None for anything else."""
    is_editable = re.match(r"(?:-e|--editable)[\s=]*", text)
    rest = (text[is_editable.end() :] if is_editable else text).strip().removeprefix("file:")
    found = _LOCAL.fullmatch(rest)
    if found is None or not (is_editable or re.match(r"\.{1,2}(/|\[|$|\s)", rest) or "/" in found["path"]):
        return None
    extras = tuple(part.strip() for part in (found["extras"] or "").split(",") if part.strip())
    beside = posixpath.join(posixpath.dirname(path), found["path"] or ".")
    places = [posixpath.normpath(place) for place in (found["path"] or ".", beside)]
    for place in places:
        if any(is_project(view, place, name) for name in ("pyproject.toml", "setup.py", "setup.cfg")):
            return Local("" if place == "." else place, extras)
    if is_editable and "://" not in rest:
        raise InputError(f"{view.full(path)}: {text[:120]!r} names no project of the repository")
    return None


def is_project(view: View, place: str, name: str) -> bool:
    """Whether the directory `place`, relative to the view's, has the file `name`. It may lie beside the view's own."""
    return posixpath.normpath(posixpath.join(view.prefix, place, name)) in view.tree


def _logical(text: str) -> list[str]:
    joined = re.sub(r"\\\s*\n", " ", text)
    lines = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in joined.lstrip("\ufeff").splitlines())
    return [line for line in lines if line]


def _beside(path: str, target: str, where: str) -> str:
    if "://" in target:
        raise InputError(f"{where} includes {target[:120]!r}, an address: only files of the repository are read")
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), target))


def _check_option(text: str, where: str) -> None:
    option = re.split(r"[\s=]", text, maxsplit=1)[0]
    if option in _HARMLESS:
        return
    if option in ("-f", "--find-links", "--no-index"):
        raise InputError(
            f"{where} has {option}: packages come from package indexes alone; name a requirements file without it "
            "under `lock` or `requirement_files`"
        )
    raise InputError(f"{where}: the option {text[:120]!r} is not known here: take it out, or name another file")


def is_requirement(text: str) -> bool:
    """Whether it is a PEP 508 requirement by name, and not an option, a path or an address."""
    try:
        return Requirement(text).url is None
    except InvalidRequirement:
        return False
