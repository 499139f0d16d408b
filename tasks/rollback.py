"""rollback: traffic back first, observed; then the merge is reverted and the evidence is kept."""

from blocks.workshop import workshop_of
from domain.pull_request import DeploymentState
from domain.records import MIGRATED, ROLLED_BACK
from domain.rehearsed import Migrated
from domain.task import Feedback, Health, Prepared, Release, RolledBack
from tasks.pages import show
from tasks.pull_request import inert, take_back, tell_release, until_reverted
from tasks.releasing import breaker, checkpoint, lease
from tasks.releasing.bundle import bundle_of
from tasks.releasing.engine import turn
from tasks.step import step


@step("rollback", "rollback-{release.revision:.8}")
def rollback(prepared: Prepared, release: Release, health: Health) -> RolledBack:
    """Idempotent per failed revision: the target looks where traffic is, the forge looks for the revert."""
    brief, run = prepared.brief, prepared.run_id
    shop = workshop_of(brief)
    there = release.environment
    with lease.free_when_done(shop.ledger, there, run), turn(shop, there, run) as (target, timeline):
        serving = release.previous
        if (now := target.pointed()) in (None, release.revision, release.previous):
            target.rollback(serving)
        else:  # this run was away, and somebody released something else meanwhile
            serving = now
            timeline.say(f"{now} was released meanwhile, and keeps the traffic")
        revert, pull = take_back(prepared, release.revision, f"Sick in production: {health.reason}")
        bundle = bundle_of(shop.ledger, target, run, release, health, timeline.lines)
        back = RolledBack(
            environment=there,
            failed=release.revision,
            serving=serving,
            revert=revert,
            revert_pull=pull,
            bundle=shop.store.put_json(bundle),
            timeline=timeline.lines,
        )
        show.rolled_back(back, release, health)
        back = shop.ledger.record(run, *ROLLED_BACK.at(release.revision), back)
        checkpoint.seal(shop)
    seen = f"{back.serving[:12]} was seen serving again" if back.serving else "nothing serves"
    done = f"the merge was reverted by {revert[:12]}" if revert else f"its revert waits in {pull}"
    said = f"rolled back: {seen}; {done}; evidence {back.bundle[:12]}"
    text = f"**Rolled back** from {inert(there)}: {inert(health.reason)}\n\n{inert(said)}"
    tell_release(prepared, release.revision, DeploymentState.INACTIVE, release.url, said, text)
    return back


def production_feedback(prepared: Prepared, number: int, release: Release, health: Health) -> Feedback:
    """What the agent is told of a release that was rolled back, once its merge is reverted: suspends while a pull
    request has to do that. Raises Held if it was one too many."""
    ledger = workshop_of(prepared.brief).ledger
    reverted = until_reverted(prepared, release.revision)
    breaker.check(ledger, release.environment)
    tail = "\n".join(health.log_tail.splitlines()[-25:])
    points = [
        f"sick in {release.environment}: {health.reason}",
        f"it was rolled back; {reverted}",
    ]
    migrated = ledger.find(prepared.run_id, *MIGRATED.at(release.environment, release.revision), Migrated)
    if migrated and not migrated.is_same:
        points.append(
            "the database keeps the schema of that release, and no later one: bring the same migration again, unchanged"
        )
    if tail:
        points.append(f"the end of its log:\n```\n{tail}\n```")
    return Feedback(attempt=number, source="production", points=tuple(points), last_commit=release.revision)
