"""health_check: what the public address says over the bake window. "live" is written here, when it was seen."""

from blocks.workshop import workshop_of
from domain.pull_request import DeploymentState
from domain.records import HEALTH, LIVE
from domain.task import Health, Prepared, Release
from tasks.pages import show
from tasks.pull_request import tell_release
from tasks.releasing import checkpoint, lease
from tasks.releasing.engine import Ship, turn
from tasks.step import step


@step("health_check", "health_check-{release.revision:.8}")
def health_check(prepared: Prepared, release: Release) -> Health:
    """Watch the release in public; a sick one has lost the traffic when this returns. One that never started is sick
    without a look."""
    shop = workshop_of(prepared.brief)
    run = prepared.run_id
    with turn(shop, release.environment, run) as (target, timeline):
        if release.problem:
            health = Health(
                revision=release.revision,
                healthy=False,
                reason=release.problem,
                observations=0,
                log_tail=target.logs(release.revision)[-4000:],
            )
        else:
            health = Ship(target, shop.ledger, run, timeline).bake(release, prepared.settings.health)
    show.health(health, release)
    health = shop.ledger.record(run, *HEALTH.at(release.revision), health)
    state = DeploymentState.SUCCESS if health.healthy else DeploymentState.FAILURE
    tell_release(prepared, release.revision, state, release.url, health.reason)
    if health.healthy:
        with lease.free_when_done(shop.ledger, release.environment, run):
            shop.ledger.record(run, *LIVE.at(release.revision), release)
            checkpoint.seal(shop)
    return health
