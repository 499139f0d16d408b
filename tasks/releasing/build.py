"""What a commit's release is made of, and the same release in private, to be tried."""

import contextlib
from collections.abc import Iterator

from blocks.home import home
from blocks.targets.trial.trial import Trial, tried
from blocks.workshop import Workshop
from domain.errors import TargetError
from domain.ports import ReleaseBuild
from domain.project import Migrations
from domain.task import Prepared
from tasks.prepare import project_settings
from tasks.room.requirements import beside, installation, names_of
from tasks.room.room import toolchain_of

COMMAND_S, START_S = 900, 30
"""Longest try of a migration, longest start of a release on a copy. What it may take is in the database's budget."""


def build_of(shop: Workshop, prepared: Prepared, revision: str, previous: str | None) -> ReleaseBuild:
    """The release of a commit, under the settings of `prepared`. Raises TargetError for one that cannot be run."""
    brief, settings = prepared.brief, prepared.settings
    if not settings.run:
        raise TargetError(
            "the project settings have no `run`: add the command that starts the service to lockgate.toml"
        )
    tree = shop.forge.tree(brief.repository, revision)
    base_has = names_of(prepared.requirements, prepared.projects)
    installed = installation(shop, settings, tree, may_compute=base_has)
    wanted = prepared.model_copy(update={"requirements": installed.requirements, "projects": installed.projects})
    return ReleaseBuild(
        tree={**beside(shop, installed.projects), **tree},
        toolchain=toolchain_of(shop, wanted),
        run=settings.run,
        health=settings.health,
        migrate_up=settings.migrate.up if settings.migrate else None,
        environment=settings.release_environment,
        previous=previous,
    )


def prepared_for(shop: Workshop, prepared: Prepared, revision: str) -> Prepared:
    """The same task with the settings that another commit of its repository has."""
    tree = shop.forge.tree(prepared.brief.repository, revision)
    settings, source = project_settings(shop, prepared.brief, tree)
    return prepared.model_copy(update={"settings": settings, "settings_source": source})


@contextlib.contextmanager
def trial_of(shop: Workshop, prepared: Prepared, revision: str) -> Iterator[Trial]:
    """A release of this commit, to be tried."""
    migrate = prepared.settings.migrate
    build = build_of(shop, prepared, revision, previous=None)
    with tried(
        home() / "trials",
        build,
        revision,
        keep_out=home(),
        variable=migrate.url_variable if migrate else Migrations.model_fields["url_variable"].default,
        command_timeout_s=COMMAND_S,
        start_timeout_s=START_S,
    ) as trial:
        yield trial
