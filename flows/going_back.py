"""A live release that keeps dying goes back to the one before, by itself: by the engine and on the record that a
person's rollback uses. It never goes back a second time, and never leaves an environment without what it had."""

import contextlib
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from blocks.workshop import Workshop
from domain.entry import Entry
from domain.errors import TargetError, reason_of
from domain.ports import Target
from domain.records import GOING_BACK_CHOSEN, LIVE, ROLLED_BACK, STAYS_THERE
from domain.task import Release, RolledBack
from domain.value import Value
from tasks.deploy import live_before
from tasks.releasing import checkpoint, lease
from tasks.releasing.bundle import LOG_CHARACTERS, exit_code
from tasks.releasing.engine import turn
from tasks.releasing.schema import why_not_back


class StaysThere(Value):
    """Why a release that keeps dying was left where it is, once it had been tried to go back."""

    environment: str
    revision: str
    reason: str


class GoingBack(Value):
    """The way back that was chosen: on record before the traffic moves."""

    environment: str
    failed: str
    serving: str
    why: str
    act: str
    """Who has the environment meanwhile."""


def go_back(shop: Workshop, environment: str, why: str) -> tuple[bool, str]:
    """Whether the traffic is back, and what to tell a person of it, or of why it stays as it is. Never raises.

    Safe to repeat: what was tried and failed is on record, and is not tried again. What could not be recorded once the
    traffic was back is left to `finish`.
    """
    try:
        return _go_back(shop, environment, why)
    except Exception as err:  # whatever it is, the release is looked after, and a person is told
        return False, f"it was not taken back to the release before: {reason_of(err)}"


def finish(shop: Workshop, environment: str) -> str | None:
    """Record a way back that was taken, and whose end nobody recorded: the supervisor was killed, or ledger or store
    failed. What to tell a person; None: there is none. What serves there now was seen serving. Safe to repeat."""
    chosen = _chosen(shop, environment)
    if chosen is None:
        return None
    entry, way = chosen
    target = shop.target(environment)
    newest = _newest(shop, environment)
    if target.pointed() != way.serving or (newest and newest.number > entry.number):
        return None  # it came to nothing, or is on record, or something else was done since
    if shop.ledger.find(entry.run_id, *STAYS_THERE.at(way.failed), StaysThere):
        return None
    state, log_tail = _seen(target, way.failed)
    live = shop.ledger.find(entry.run_id, *LIVE.at(way.failed), Release)
    if live is None:
        return None
    return _record(shop, entry.run_id, live, way, state, log_tail, ())


def _go_back(shop: Workshop, environment: str, why: str) -> tuple[bool, str]:
    target, ledger = shop.target(environment), shop.ledger
    revision = target.pointed()
    entry = _newest(shop, environment)
    if entry is None or revision is None:
        return False, "nothing was seen live there, so there is nothing to go back to"
    if entry.kind != LIVE.kind:
        return False, "it serves since a rollback, and nothing goes back twice by itself: look at what both need"
    if entry.body["revision"] != revision:
        return False, f"{revision[:12]} was never seen live there: a release is under way, or was left as it is"
    if ledger.find(entry.run_id, *STAYS_THERE.at(revision), StaysThere):
        return False, "going back was tried before, and failed"
    live_s = (datetime.now(UTC) - entry.at).total_seconds()
    if live_s > target.rollout.back_within_s:
        return False, (
            f"it was live for {live_s / 3600:.1f} hours before, and `back_within_s` of the target's rollout allows "
            f"{target.rollout.back_within_s / 3600:.1f}: something else has changed"
        )
    if other := lease.holder(ledger, environment):
        return False, f"run {other} releases there right now"
    act = str(uuid.uuid4())
    wanted, passed_over = _before(shop, act, environment, revision)
    if wanted is None:
        return False, "; ".join(("no release before it can take its place", *passed_over))
    return _switched(shop, act, entry, wanted, why)


def _switched(shop: Workshop, act: str, entry: Entry, wanted: str, why: str) -> tuple[bool, str]:
    release = Release.model_validate(entry.body)
    environment, revision = release.environment, release.revision
    way = GoingBack(environment=environment, failed=revision, serving=wanted, why=why, act=act)
    with lease.free_after(shop.ledger, environment, act):
        with turn(shop, environment, act, is_resumed=False) as (target, timeline):
            if target.pointed() != revision:
                return False, "somebody else has moved the traffic meanwhile"
            state, log_tail = _seen(target, revision)
            shop.ledger.record(entry.run_id, *GOING_BACK_CHOSEN.at(revision, act), way)
            try:
                target.rollback(wanted)
            except TargetError as err:
                with contextlib.suppress(TargetError):
                    target.rollback(revision)  # it dies and comes back: more than nothing
                reason = f"{wanted[:12]} does not serve either: {err}"
                kept = StaysThere(environment=environment, revision=revision, reason=reason)
                shop.ledger.record(entry.run_id, *STAYS_THERE.at(revision), kept)
                return False, f"{reason}. {revision[:12]} stays"
        try:
            return True, _record(shop, entry.run_id, release, way, state, log_tail, timeline.lines)
        except Exception as err:  # the traffic is back, and that is what is told
            return True, (
                f"{environment} was taken back by itself and serves {wanted[:12]} again; that is not on record yet and "
                f"is tried again: {reason_of(err)}"
            )


def _record(
    shop: Workshop,
    run: str,
    release: Release,
    way: GoingBack,
    state: Mapping[str, Any],
    log_tail: str,
    timeline: tuple[str, ...],
) -> str:
    """The end of the way back, with its bundle; what to tell a person. Safe to repeat."""
    bundle = {
        "phase": "live, and it kept dying",
        "reason": way.why,
        "release": release.model_dump(mode="json"),
        "rollback": timeline,
        "exit_code": exit_code(state),
        "state": state,
        "log_tail": log_tail,
    }
    back = RolledBack(
        environment=way.environment,
        failed=way.failed,
        serving=way.serving,
        revert=None,
        bundle=shop.store.put_json(bundle),
        timeline=timeline,
        by_itself=way.why,
    )
    with lease.free_when_done(shop.ledger, way.environment, way.act):
        shop.ledger.record(run, *ROLLED_BACK.at(way.failed), back)
    checkpoint.seal(shop)
    return (
        f"{way.environment} was taken back by itself and serves {way.serving[:12]} again; `lockgate bundle {run}` says "
        "why. The branch still has the change: revert it, or send a brief that mends it"
    )


def _seen(target: Target, revision: str) -> tuple[Mapping[str, Any], str]:
    """What is known of a release that keeps dying, and the end of its log."""
    return dict(target.evidence(revision)), target.logs(revision)[-LOG_CHARACTERS:]


def _chosen(shop: Workshop, environment: str) -> tuple[Entry, GoingBack] | None:
    """The newest way back that was chosen there."""
    for entry in reversed(shop.ledger.entries(kind=GOING_BACK_CHOSEN.kind)):
        way = GoingBack.model_validate(entry.body)
        if way.environment == environment:
            return entry, way
    return None


def _before(shop: Workshop, act: str, environment: str, revision: str) -> tuple[str | None, list[str]]:
    """The newest release that was live before, kept alive then and can run on today's database; why others cannot."""
    passed_over = []
    for earlier in live_before(shop, environment, revision):
        if _kept_dying(shop, environment, earlier):
            passed_over.append(f"{earlier[:12]} kept dying itself")
        elif (reason := why_not_back(shop, act, environment, earlier)) is not None:
            passed_over.append(reason)
        else:
            return earlier, passed_over
    return None, passed_over


def _kept_dying(shop: Workshop, environment: str, revision: str) -> bool:
    entries = (entry.body for entry in shop.ledger.entries(kind=ROLLED_BACK.kind))
    return any(
        body["environment"] == environment and body["failed"] == revision and body.get("by_itself") for body in entries
    )


def _newest(shop: Workshop, environment: str) -> Entry | None:
    """What was recorded last of who serves there."""
    entries = (entry for kind in (LIVE.kind, ROLLED_BACK.kind) for entry in shop.ledger.entries(kind=kind))
    there = [entry for entry in entries if entry.body["environment"] == environment]
    return max(there, key=lambda entry: entry.number, default=None)
