"""A wheel of a repository's own project, split into what is installed and what lies in the tree. Data in, data out."""

import base64
import email
import hashlib
import io
import re
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement

from domain.detect.metadata import Metadata
from domain.errors import InputError

_MAX_FILES = 50_000
_MAX_BYTES = 1_000_000_000
_NEVER = re.compile(r"(.*/)?([^/]*\.pth|(site|user)customize\.[^/]*|conftest\.py)|[^/]+\.egg-info(/.*)?")
"""They would run whenever the interpreter or pytest starts, before the tests, or name plugins to load:
https://docs.python.org/3/library/site.html"""
_PACKAGES = re.compile(r"[^/]+\.data/(?:purelib|platlib)/")
"""What lies below is installed among the packages like all else: https://peps.python.org/pep-0427/"""


_WORK = "/work"


def _importable(roots: Iterable[str]) -> bytes:
    """A .pth by which a Python that tests start with an environment of its own finds the project, as where it is
    installed to be edited. The interpreter that runs the tests is started safely, and finds nothing of the tree so;
    outside of a sandbox, as in a release, it does nothing."""
    places = [f"{_WORK}/{root}".rstrip("/") for root in roots]
    is_free = "os.path.isdir('/lockgate') and not os.environ.get('PYTHONSAFEPATH')"
    return f"import os, sys; {is_free} and sys.path.extend({places!r})\n".encode()


class Split(NamedTuple):
    """`wheel`: the metadata and what has no place in the tree. The code is imported from the tree, so that what is
    tested is what the tree has."""

    wheel: bytes
    beside: Mapping[str, bytes]
    """Tree path → content of what the build made beside the code: extension modules, a `_version.py`."""
    roots: tuple[str, ...]
    sources: tuple[str, ...]
    metadata: Metadata


def split(content: bytes, paths: Collection[str], directory: str = "") -> Split:
    """Split the wheel of the project in `directory` of a tree with these paths. Raises InputError for no wheel."""
    files = {_PACKAGES.sub("", name): content for name, content in _files(content).items()}
    files = {name: content for name, content in files.items() if not _NEVER.fullmatch(name)}
    info = next((name.split("/")[0] for name in files if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)), None)
    if info is None:
        raise InputError("the project's wheel has no metadata")
    code = [name for name in files if not name.split("/")[0].endswith((".dist-info", ".data"))]
    root_of = _roots(code, paths, f"{directory}/" if directory else "")
    below: dict[str, Counter[str]] = {}
    for name, root in root_of.items():
        for above in _above(name):
            below.setdefault(above, Counter())[root] += 1
    beside: dict[str, bytes] = {}
    rest = {name: files[name] for name in files if name not in code and name != f"{info}/RECORD"}
    for name in code:
        if name in root_of:
            continue
        home = next((below[above] for above in _above(name) if above in below), None)
        if home:
            beside[home.most_common(1)[0][0] + name] = files[name]
        else:
            rest[name] = files[name]
    roots = sorted({root.rstrip("/") for root in root_of.values()}, key=lambda root: (root.count("/"), root))
    sources = sorted(root + name for name, root in root_of.items())
    rest[f"lockgate_{info.removesuffix('.dist-info')}.pth"] = _importable(roots)
    return Split(_wheel(rest, info), beside, tuple(roots), tuple(sources), metadata_of(files[f"{info}/METADATA"]))


def metadata_of(content: bytes) -> Metadata:
    """METADATA of a wheel. https://packaging.python.org/en/latest/specifications/core-metadata/"""
    message = email.message_from_bytes(content)
    dependencies: list[str] = []
    extras: dict[str, list[str]] = {str(name): [] for name in message.get_all("Provides-Extra", [])}
    for line in (str(one) for one in message.get_all("Requires-Dist", [])):
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            dependencies.append(line)
            continue
        marker = str(requirement.marker or "")
        named = re.search(r"""\bextra\s*==\s*["']([^"']+)["']""", marker)
        if not named:
            dependencies.append(line)
            continue
        left = re.sub(r"""(\s*\band\s+)?\bextra\s*==\s*["'][^"']+["'](\s+and\b\s*)?""", "", marker).strip()
        requirement.marker = None
        plain = f"{requirement} ; {left}" if left and left != "()" else str(requirement)
        extras.setdefault(named[1], []).append(plain)
    return Metadata(
        name=str(message.get("Name", "")),
        dependencies=tuple(dependencies),
        extras={name: tuple(lines) for name, lines in extras.items()},
        requires_python=str(message.get("Requires-Python", "")),
        is_package=True,
        path="METADATA",
    )


def started_by(content: bytes) -> frozenset[str]:
    """What of a wheel programs start by its name: `pytest11 NAME` for a plugin of pytest, `bin NAME` for a script."""
    files = _files(content)
    found = {f"bin {name.rpartition('/')[2]}" for name in files if re.match(r"[^/]+\.data/(scripts|data/bin)/", name)}
    group = ""
    for name in files:
        for line in files[name].decode("utf-8", "replace").splitlines() if name.endswith("/entry_points.txt") else ():
            if heading := re.fullmatch(r"\s*\[(.*)\]\s*", line):
                group = {"console_scripts": "bin", "gui_scripts": "bin"}.get(heading[1].strip(), heading[1].strip())
            elif group in ("bin", "pytest11") and (key := re.match(r"\s*([^\s=:#;][^=:]*?)\s*[=:]", line)):
                found.add(f"{group} {key[1]}")
    return frozenset(found)


def _files(content: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            if len(infos) > _MAX_FILES or sum(info.file_size for info in infos) > _MAX_BYTES:
                raise InputError(f"the project's wheel has over {_MAX_FILES} files or {_MAX_BYTES // 1_000_000} MB")
            for info in infos:
                if info.filename.startswith("/") or ".." in info.filename.split("/") or "\\" in info.filename:
                    raise InputError(f"the project's wheel has a file {info.filename!r}, which leads out of it")
            return {info.filename: archive.read(info) for info in infos}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as err:
        raise InputError(f"the project's wheel cannot be read: {err}") from err


def _roots(code: Iterable[str], paths: Collection[str], prefix: str) -> dict[str, str]:
    """Wheel path → directory of the tree, with a slash at its end, below which the same file lies. The directory that
    has most of the files wins, then the shortest."""
    by_name: dict[str, list[str]] = {}
    for path in paths:
        if path.startswith(prefix):
            by_name.setdefault(path.rpartition("/")[2], []).append(path)
    candidates: dict[str, list[str]] = {}
    for name in code:
        same = [path for path in by_name.get(name.rpartition("/")[2], []) if f"/{path}".endswith(f"/{name}")]
        if same:
            candidates[name] = [path[: len(path) - len(name)] for path in same]
    counts = Counter(root for roots in candidates.values() for root in roots)
    return {name: min(roots, key=lambda root: (-counts[root], len(root), root)) for name, roots in candidates.items()}


def _above(name: str) -> Iterable[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[:depth]) for depth in range(len(parts), 0, -1)]


def _wheel(files: Mapping[str, bytes], info: str) -> bytes:
    """A wheel of these files, the same for the same files."""
    record = ""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            digest = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=").decode()
            quoted = f'"{name}"' if "," in name else name
            record += f"{quoted},sha256={digest},{len(files[name])}\n"
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[name])
        entry = zipfile.ZipInfo(f"{info}/RECORD", (1980, 1, 1, 0, 0, 0))
        entry.external_attr = 0o100644 << 16
        archive.writestr(entry, f"{record}{info}/RECORD,,\n")
    return out.getvalue()
