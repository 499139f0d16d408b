"""A live release that keeps dying goes back to the one before, by itself: by the engine and on the record that a
person's rollback uses. It never goes back a second time, and never leaves an environment without what it had."""

import contextlib
import uuid
from datetime import UTC, datetime

from blocks.workshop import Workshop
from domain.entry import Entry
from domain.errors import LockgateError, TargetError
from domain.task import Release, RolledBack
from domain.value import Value
from tasks import checkpoint, lease
from tasks.deploy import live_before
from tasks.engine import turn
from tasks.schema import why_not_back

LOG_CHARACTERS = 16_000


class StaysThere(Value):
    """Why a release that keeps dying was left where it is, once it had been tried to go back."""

    environment: str
    revision: str
    reason: str


def go_back(shop: Workshop, environment: str, why: str) -> tuple[RolledBack | None, str]:
    """The way back and what to tell a person; None, and why not, where it stays as it is. Never raises.

    Safe to repeat: what was tried and failed is on record, and is not tried again.
    """
    try:
        return _go_back(shop, environment, why)
    except Exception as err:  # whatever it is, the release is looked after, and a person is told
        why_not = str(err) if isinstance(err, LockgateError) else f"{type(err).__name__}: {err}"
        return None, f"it was not taken back to the release before: {why_not}"


def _go_back(shop: Workshop, environment: str, why: str) -> tuple[RolledBack | None, str]:
    target, ledger = shop.target(environment), shop.ledger
    revision = target.pointed()
    entry = _newest(shop, environment)
    if entry is None or revision is None:
        return None, "nothing was seen live there, so there is nothing to go back to"
    if entry.kind != "live":
        return None, "it serves since a rollback, and nothing goes back twice by itself: look at what both need"
    if entry.body["revision"] != revision:
        return None, f"{revision[:12]} was never seen live there: a release is under way, or was left as it is"
    if ledger.find(entry.run_id, "stays-there", revision, StaysThere):
        return None, "going back was tried before, and failed"
    live_s = (datetime.now(UTC) - entry.at).total_seconds()
    if live_s > target.rollout.back_within_s:
        return None, (
            f"it was live for {live_s / 3600:.1f} hours before, and `back_within_s` of the target's rollout allows "
            f"{target.rollout.back_within_s / 3600:.1f}: something else has changed"
        )
    if other := lease.holder(ledger, environment):
        return None, f"run {other} releases there right now"
    act = str(uuid.uuid4())
    wanted, passed_over = _before(shop, act, environment, revision)
    if wanted is None:
        return None, "; ".join(("no release before it can take its place", *passed_over))
    return _switched(shop, act, entry, wanted, why)


def _switched(shop: Workshop, act: str, entry: Entry, wanted: str, why: str) -> tuple[RolledBack | None, str]:
    release = Release.model_validate(entry.body)
    environment, revision = release.environment, release.revision
    try:
        with turn(shop, environment, act) as (target, timeline):
            if target.pointed() != revision:
                return None, "somebody else has moved the traffic meanwhile"
            state, log_tail = dict(target.evidence(revision)), target.logs(revision)[-LOG_CHARACTERS:]
            try:
                target.rollback(wanted)
            except TargetError as err:
                with contextlib.suppress(TargetError):
                    target.rollback(revision)  # it dies and comes back: more than nothing
                reason = f"{wanted[:12]} does not serve either: {err}"
                kept = StaysThere(environment=environment, revision=revision, reason=reason)
                shop.ledger.record(entry.run_id, "stays-there", revision, kept)
                return None, f"{reason}. {revision[:12]} stays"
        bundle = {
            "phase": "live, and it kept dying",
            "reason": why,
            "release": release.model_dump(mode="json"),
            "rollback": timeline.lines,
            "exit_code": state.get("exit_code"),
            "state": state,
            "log_tail": log_tail,
        }
        back = RolledBack(
            environment=environment,
            failed=revision,
            serving=wanted,
            revert=None,
            bundle=shop.store.put_json(bundle),
            timeline=timeline.lines,
            by_itself=why,
        )
        shop.ledger.record(entry.run_id, "rolled_back", revision, back)
    finally:
        lease.give_back(shop.ledger, environment, act)
    checkpoint.seal(shop)
    return back, (
        f"{environment} was taken back by itself and serves {wanted[:12]} again; `lockgate bundle {entry.run_id}` says "
        "why. The branch still has the change: revert it, or send a brief that mends it"
    )


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
    entries = (entry.body for entry in shop.ledger.entries(kind="rolled_back"))
    return any(
        body["environment"] == environment and body["failed"] == revision and body.get("by_itself") for body in entries
    )


def _newest(shop: Workshop, environment: str) -> Entry | None:
    """What was recorded last of who serves there."""
    entries = (entry for kind in ("live", "rolled_back") for entry in shop.ledger.entries(kind=kind))
    there = [entry for entry in entries if entry.body["environment"] == environment]
    return max(there, key=lambda entry: entry.number, default=None)
