"""deploy: the merged commit becomes a release that takes the traffic; without one serving, base goes first."""

import functools
from importlib.metadata import version

from blocks.artifacts.signing_key import SigningKey
from blocks.workshop import Workshop, workshop_of
from domain.artifact import Artifact, Provenance
from domain.errors import TargetError
from domain.policy import holding
from domain.ports import ReleaseBuild, Target
from domain.pull_request import DeploymentState
from domain.records import ARTIFACT, DEPLOY_STARTED, DEPLOYED, FIRST_RELEASE, LIVE
from domain.task import Merged, Prepared, Release
from tasks.pages import show
from tasks.pull_request import tell_release
from tasks.releasing import breaker, checkpoint, lease
from tasks.releasing.build import build_of
from tasks.releasing.engine import Ship, turn
from tasks.releasing.migration import MigrationPlace
from tasks.releasing.schema import lived
from tasks.step import step


@step("deploy", "deploy-{merged.commit:.8}")
def deploy(prepared: Prepared, merged: Merged) -> Release:
    """Build, migrate, start, probe, shift the traffic share by share. Idempotent per revision: the target looks for
    what is done, and the ledger says which shares were watched."""
    if merged.commit is None:
        raise ValueError("only a merged commit can be deployed")
    where = f"goes to {prepared.brief.environment}"
    tell_release(prepared, merged.commit, DeploymentState.IN_PROGRESS, sentence=where)
    return _release(workshop_of(prepared.brief), prepared, merged.commit, merged)


@step("deploy", "deploy-base")
def first_release(prepared: Prepared) -> Release | None:
    """Base, where the environment serves nothing yet: then there is something to roll back to, and the agent's budget
    is not spent on a project that does not run. None if something serves already."""
    brief = prepared.brief
    shop = workshop_of(brief)
    environment = brief.environment
    if environment is None or not prepared.settings.run:
        return None
    known = shop.ledger.find(prepared.run_id, *FIRST_RELEASE.at(environment), Release)
    begun = shop.ledger.find(prepared.run_id, *DEPLOY_STARTED.at(prepared.base), Release)
    breaker.check(shop.ledger, environment)
    if known is None and begun is None and shop.target(environment).pointed():
        return None
    release = known or _release(shop, prepared, prepared.base)
    shop.ledger.record(prepared.run_id, *FIRST_RELEASE.at(environment), release)
    problem = release.problem
    if problem is None:
        with turn(shop, environment, prepared.run_id) as (target, timeline):
            ship = Ship(target, shop.ledger, prepared.run_id, timeline)
            health = ship.bake(release, prepared.settings.health)
            problem = None if health.healthy else health.reason
    if problem:
        raise TargetError(f"base itself does not run in {environment!r}, so nothing could be rolled back to: {problem}")
    with lease.free_when_done(shop.ledger, environment, prepared.run_id):
        shop.ledger.record(prepared.run_id, *LIVE.at(release.revision), release)
        checkpoint.seal(shop)
    return release


def _release(shop: Workshop, prepared: Prepared, revision: str, merged: Merged | None = None) -> Release:
    brief, settings, run = prepared.brief, prepared.settings, prepared.run_id
    environment = brief.environment or ""
    breaker.check(shop.ledger, environment)
    with turn(shop, environment, run) as (target, timeline):
        if problem := target.preflight():
            raise TargetError(problem)
        has_database = shop.database(environment) is not None
        if settings.migrate and not target.migrates and not has_database:
            raise TargetError(
                f"the project has migrations, and the target of {environment!r} has no way to run one: name its "
                "database in the workshop's `databases`"
            )
        started = Release(
            environment=environment, revision=revision, artifact="", url="", previous=target.pointed()
        )  # what a service says of itself is no proof, and a dead one says nothing: where the traffic goes counts
        started = shop.ledger.record(run, *DEPLOY_STARTED.at(revision), started)
        build = build_of(shop, prepared, revision, started.previous)
        about = provenance(shop, prepared, revision, merged)
        shop.ledger.record(run, *ARTIFACT.at(environment, revision), _made(shop, target, build, about))
        migrate = None
        if settings.migrate and has_database:
            place = MigrationPlace.of(shop, prepared, revision, started.previous)
            migrate = functools.partial(place.apply, merged, timeline.say)
        release = Ship(target, shop.ledger, run, timeline, migrate).release(revision, started.previous, build)
    show.deployed(release)
    return shop.ledger.record(run, *DEPLOYED.at(revision), release)


def provenance(shop: Workshop, prepared: Prepared, revision: str, merged: Merged | None) -> Provenance:
    """Where a release comes from: what its statement is signed about."""
    brief = prepared.brief
    return Provenance(
        run_id=prepared.run_id,
        repository=brief.repository,
        revision=revision,
        base=prepared.base if merged else None,
        brief=brief.digest if merged else None,
        evidence=merged.evidence if merged else None,
        approval=merged.approval if merged else None,
        reviewer=merged.reviewer if merged else None,
        environment=brief.environment,
        committed_s=shop.forge.committed_s(brief.repository, revision),
        builder=version("lockgate"),
    )


def _made(shop: Workshop, target: Target, build: ReleaseBuild, about: Provenance) -> Artifact:
    """Archive or image, with its bill of materials and its statement, in the store. Same commit, same digest."""
    make = shop.builder.image if target.runs_images else shop.builder.archive
    return make(build, about, shop.store, SigningKey.ensure())


def live_before(shop: Workshop, environment: str, now: str | None) -> tuple[str, ...]:
    """Revisions that were seen live there before `now` was, the newest first."""
    return holding.live_before(lived(shop.ledger, environment), now)
