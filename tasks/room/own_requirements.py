"""What a change wants installed beside what base has: for its own runs and its release, once no rule refuses it.

Nothing is fetched before that; of what is fetched, wheels alone, nothing runs outside a sandbox.
"""

import os
import shutil
from pathlib import PurePosixPath
from typing import NamedTuple

from packaging.utils import canonicalize_name

from blocks.workshop import Workshop
from domain.errors import InputError
from domain.task import Attempt, Prepared, Severity
from domain.toolchain import BuiltProject
from domain.trees import Tree
from domain.wheels import started_by
from tasks.room.requirements import installation, names_of, needs_build
from tasks.room.room import toolchain_of


class OwnPrepared(NamedTuple):
    """The prepared task as a change is run with."""

    prepared: Prepared
    problem: str = ""
    """Why it is base's, though the change wants something else and no rule refuses it."""


def with_its_own(shop: Workshop, prepared: Prepared, attempt: Attempt, base: Tree, change: Tree) -> OwnPrepared:
    """The prepared task as the change wants it. Base's, where it wants nothing else, where a rule refuses it, or where
    what it wants cannot be read.

    Raises InputError if no rule refuses it and it cannot be installed.
    """
    is_built_anew = needs_build(prepared.projects, prepared.settings, base, change) if prepared.projects else False
    if is_built_anew and _is_refused(shop, prepared, attempt, base, change):
        return OwnPrepared(prepared)  # before its build requirements are fetched
    base_has = names_of(prepared.requirements, prepared.projects)
    try:
        wanted = installation(shop, prepared.settings, change, () if is_built_anew else prepared.projects, base_has)
    except InputError as err:
        if is_built_anew:
            raise InputError(f"the change cannot be installed: {err}") from err
        return OwnPrepared(prepared, "" if _is_refused(shop, prepared, attempt, base, change) else str(err))
    if wanted == (prepared.requirements, prepared.projects):
        return OwnPrepared(prepared)
    if not is_built_anew and _is_refused(shop, prepared, attempt, base, change):
        return OwnPrepared(prepared)
    _refuse_takeovers(shop, prepared, wanted.projects)
    changed = prepared.model_copy(update={"requirements": wanted.requirements, "projects": wanted.projects})
    toolchain_of(shop, changed)
    return OwnPrepared(changed)


def _is_refused(shop: Workshop, prepared: Prepared, attempt: Attempt, base: Tree, change: Tree) -> bool:
    """Whether a rule over dependencies refuses the change."""
    scanners = shop.scanners_for(prepared.brief)
    dependencies = next(scanner for scanner in scanners if scanner.name == shop.dependencies.name)
    return any(one.severity is Severity.REFUSE for one in dependencies.scan(base, change, attempt.changed_paths))


_BESIDE_PYTHON = ("node", "npm", "npx", "go", "cargo", "pytest", "py.test", "coverage", "tox", "nox", "make")
_DESCRIBES = ("pyproject.toml", "setup.cfg", "setup.py")


def _refuse_takeovers(shop: Workshop, prepared: Prepared, projects: tuple[BuiltProject, ...]) -> None:
    """A project that is built from the change may not become what judges the change: raises InputError for one that
    takes the name of another package, newly is a plugin of pytest, or brings a script by the name of a known program.
    A brief that opens the file of a project by its name allows it a plugin.
    """
    before = {project.name for project in prepared.projects}
    names = {canonicalize_name(project.name) for project in projects if project.name not in before}
    if names:
        packages = toolchain_of(shop, prepared).glob("lib/python3*/site-packages/*.dist-info")
        if taken := sorted(names & {canonicalize_name(path.name.split("-")[0]) for path in packages}):
            raise InputError(f"a project of the change takes the name of the package {taken[0]}: give it another name")
    starts = {one for project in prepared.projects for one in started_by(shop.store.get(project.wheel))}
    is_open = any(PurePosixPath(glob).name in _DESCRIBES for glob in prepared.brief.may_change_tests)
    for project in projects:
        for one in sorted(started_by(shop.store.get(project.wheel)) - starts):
            kind, _, name = one.partition(" ")
            if kind == "pytest11" and not is_open:
                raise InputError(
                    f"the change makes {project.name} a plugin of pytest ({name}), which could turn its tests green: "
                    "take the entry point out; a person can open pyproject.toml by its name in may_change_tests"
                )
            is_known = name in _BESIDE_PYTHON or name.startswith("python") or shutil.which(name, path=os.defpath)
            if kind == "bin" and is_known:
                raise InputError(f"the change brings a script {name}, which is a program already: give it another name")
