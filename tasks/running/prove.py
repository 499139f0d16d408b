"""Proves that settings fit a repository: everything is installed and the suite runs once, in a sandbox."""

from typing import NamedTuple

from blocks.workshop import Workshop
from domain.brief import Acceptance, Brief
from domain.errors import InputError
from domain.project import ProjectSettings
from domain.task import Prepared, Suite
from domain.trees import Tree
from domain.value import digest_of
from tasks.room.requirements import Installation, installation, with_sources
from tasks.room.room import toolchain_of
from tasks.running.suite import locked, rooms, run_suite


class Proof(NamedTuple):
    """How it went. `problem`: why the suite could not be run; None if it ran."""

    installed: Installation | None = None
    suite: Suite | None = None
    problem: str | None = None


def prove(shop: Workshop, repository: str, tree: Tree, settings: ProjectSettings) -> Proof:
    """Install what the settings ask for and run the suite of `tree` once. Nothing is recorded but what was built."""
    brief = Brief(title="Proof of the settings", goal="Run the suite", repository=repository, acceptance=Acceptance())
    installed = None
    try:
        installed = installation(shop, settings, tree)
        settings = with_sources(settings, installed.projects)
        prepared = Prepared(
            run_id=f"init-{digest_of([repository, settings.digest])[:12]}",
            brief=brief,
            base="",
            settings=settings,
            settings_source="lockgate init",
            contract="",
            requirements=installed.requirements,
            projects=installed.projects,
        )
        toolchain_of(shop, prepared)
        base = {**tree, **locked(tree, brief, settings)}
        return Proof(installed, run_suite(shop, base, brief, settings, rooms(shop, prepared, base)))
    except InputError as err:
        return Proof(installed, None, str(err))
