"""rollback: traffic back first, observed; then the merge is reverted and the evidence is kept."""

from collections.abc import Iterable
from typing import Any

from blocks.ledger.rows import Entry
from blocks.workshop import workshop_of
from domain.task import Feedback, Health, Prepared, Release, RolledBack
from tasks import breaker, lease, show
from tasks.engine import turn
from tasks.step import step


@step("rollback", "rollback-{release.revision:.8}")
def rollback(prepared: Prepared, release: Release, health: Health) -> RolledBack:
    """Idempotent per failed revision: the target looks where traffic is, the forge looks for the revert."""
    brief, run = prepared.brief, prepared.run_id
    shop = workshop_of(brief)
    with turn(shop, release.environment, run) as (target, timeline):
        target.rollback(release.previous)
        revert = shop.forge.revert(
            brief.repository, brief.branch, release.revision, f"Sick in production: {health.reason}"
        )
        bundle = {
            "phase": "deploy" if release.problem else "health check",
            "release": release.model_dump(mode="json"),
            "health": health.model_dump(mode="json"),
            "shares": _bodies(shop.ledger.entries(run_id=run, kind="share-passed"), release.revision),
            "rollback": timeline.lines,
            "state": dict(target.evidence(release.revision)),
            "log_tail": health.log_tail or target.logs(release.revision),
        }
    back = RolledBack(
        environment=release.environment,
        failed=release.revision,
        serving=release.previous,
        revert=revert,
        bundle=shop.store.put_json(bundle),
        timeline=timeline.lines,
    )
    show.rolled_back(back, release, health)
    back = shop.ledger.record(run, "rolled_back", release.revision, back)
    lease.give_back(shop.ledger, release.environment, run)
    return back


def production_feedback(prepared: Prepared, number: int, release: Release, health: Health) -> Feedback:
    """What the agent is told of a release that was rolled back. Raises Held where it was one too many."""
    breaker.check(workshop_of(prepared.brief).ledger, release.environment)
    tail = "\n".join(health.log_tail.splitlines()[-25:])
    points = [f"sick in {release.environment}: {health.reason}", "it was rolled back and its merge was reverted"]
    if tail:
        points.append(f"the end of its log:\n```\n{tail}\n```")
    return Feedback(attempt=number, source="production", points=tuple(points), last_commit=release.revision)


def _bodies(entries: Iterable[Entry], revision: str) -> list[Any]:
    return [entry.body for entry in entries if entry.key.startswith(revision)]
