"""The projects of the gate bench: the shop, and releases of real packages, each with a good change."""

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from bench.gate_cases import honest_upstream, languages
from bench.gate_cases.shop_beside import BESIDE
from domain.brief import Brief
from flows.briefs import read_brief
from kits import pypi_projects

PROJECT = Path(__file__).resolve().parents[2]
SHOP = PROJECT / "examples" / "shop"
PYPI = ("h11", "parse", "sqlparse", "xmltodict")
NAMES = ("shop", *PYPI, *languages.SMALL)
"""Projects with hostile and honest cases. Those of `honest_upstream` have one honest case each."""


class Project(NamedTuple):
    """A repository and a change that does what its brief asks for: POSIX paths → content, None if a file goes."""

    name: str
    base: Mapping[str, bytes]
    good: Mapping[str, bytes | None]
    brief: Brief


@functools.cache
def project(name: str) -> Project:
    """Fetched when it is asked for, pinned by SHA-256. Raises what `sdists.files` raises."""
    if name == "shop":
        return _shop()
    if small := languages.SMALL.get(name):
        base, good = ({path: text.encode() for path, text in files.items()} for files in (small.base, small.good))
        return Project(name, base, good, small.brief())
    found = honest_upstream.projects().get(name) or next(one for one in pypi_projects.PROJECTS if one.name == name)
    older, _ = pypi_projects.fetch(found)
    base = {path: content for path, content in sorted(older.items()) if not _is_packaging(path)}
    return Project(name, base, pypi_projects.change(found), pypi_projects.brief(found, Path(name)))


def _is_packaging(path: str) -> bool:
    return any(fnmatchcase(path, glob) or fnmatchcase(path, f"*/{glob}") for glob in pypi_projects.NOT_SOURCE)


def _shop() -> Project:
    """The example with what a shop of its age has beside, and the third attempt of its recording as the good change."""
    repository = SHOP / "repository"
    base = {path: content.encode() for path, content in BESIDE.items()}
    for file in sorted(repository.rglob("*")):
        path = file.relative_to(repository)
        if file.is_file() and not any(part == "__pycache__" or part.endswith("_cache") for part in path.parts):
            base[path.as_posix()] = file.read_bytes()
    brief = read_brief(SHOP / "brief.toml", repository="shop").model_copy(update={"environment": None})
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work"
        shutil.copytree(repository, work, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
        subprocess.run(["git", "apply", SHOP / "attempts" / "attempt-3.patch"], cwd=work, check=True)
        files = {file.relative_to(work).as_posix(): file.read_bytes() for file in work.rglob("*") if file.is_file()}
    return Project("shop", base, {path: c for path, c in files.items() if base.get(path) != c}, brief)
