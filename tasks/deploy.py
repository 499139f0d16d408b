"""deploy: the merged commit becomes a release that takes the traffic; without one serving, base goes first."""

from blocks.workshop import Workshop, workshop_of
from domain.errors import TargetError
from domain.ports import ReleaseBuild
from domain.task import Health, Merged, Prepared, Release
from tasks import lease, show
from tasks.room import toolchain_of
from tasks.step import step


@step("deploy", "deploy-{merged.commit:.8}")
def deploy(prepared: Prepared, merged: Merged) -> Release:
    """Build, migrate, start, probe, shift traffic. Idempotent per revision: the target looks for what is done."""
    if merged.commit is None:
        raise ValueError("only a merged commit can be deployed")
    return _release(workshop_of(prepared.brief), prepared, merged.commit)


@step("deploy", "deploy-base")
def first_release(prepared: Prepared) -> Release | None:
    """Base, where the environment serves nothing yet: then there is something to roll back to, and the agent's budget
    is not spent on a project that does not run. None where something serves already."""
    brief = prepared.brief
    shop = workshop_of(brief)
    environment = brief.environment
    if environment is None or not prepared.settings.run:
        return None
    known = shop.ledger.find(prepared.run_id, "first-release", environment, Release)
    begun = shop.ledger.find(prepared.run_id, "deploy-started", prepared.base, Release)
    if known is None and begun is None and shop.target(environment).pointed(environment):
        return None
    release = known or _release(shop, prepared, prepared.base)
    shop.ledger.record(prepared.run_id, "first-release", environment, release)
    health = release.problem or _sick(shop.target(environment).observe(release, prepared.settings.health))
    if health:
        lease.give_back(shop.ledger, environment, prepared.run_id)
        raise TargetError(f"base itself does not run in {environment!r}, so nothing could be rolled back to: {health}")
    shop.ledger.record(prepared.run_id, "live", release.revision, release)
    lease.give_back(shop.ledger, environment, prepared.run_id)
    return release


def _sick(health: Health) -> str | None:
    return None if health.healthy else health.reason


def _release(shop: Workshop, prepared: Prepared, revision: str) -> Release:
    brief, settings, run = prepared.brief, prepared.settings, prepared.run_id
    environment = brief.environment or ""
    if not settings.run:
        raise TargetError(
            "the project settings have no `run`: add the command that starts the service to lockgate.toml"
        )
    lease.take(shop.ledger, environment, run)
    target = shop.target(environment)
    if problem := target.preflight():
        raise TargetError(problem)
    started = Release(
        environment=environment, revision=revision, artifact="", url="", previous=_previous(shop, environment)
    )
    started = shop.ledger.record(run, "deploy-started", revision, started)
    tree = shop.forge.tree(brief.repository, revision)
    build = ReleaseBuild(
        tree=tree,
        toolchain=toolchain_of(shop, prepared),
        run=settings.run,
        health=settings.health,
        migrate_up=settings.migrate.up if settings.migrate else None,
        environment=settings.release_environment,
    )
    release = target.release(environment, revision, started.previous, build)
    show.deployed(release)
    return shop.ledger.record(run, "deployed", revision, release)


def _previous(shop: Workshop, environment: str) -> str | None:
    """The revision that the traffic goes to now. What a service says of itself is no proof; a dead one says nothing."""
    return shop.target(environment).pointed(environment)


def live_before(shop: Workshop, environment: str, now: str | None) -> str | None:
    """The revision that was seen live before `now` was. Never a later one: rolling back twice does not go forward."""
    seen = [str(e.body["revision"]) for e in shop.ledger.entries(kind="live") if e.body["environment"] == environment]
    if now in seen:
        seen = seen[: len(seen) - 1 - seen[::-1].index(now)]
    earlier = [revision for revision in seen if revision != now]
    return earlier[-1] if earlier else None
