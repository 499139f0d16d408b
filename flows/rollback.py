"""One click in the UI: an environment goes back to a release that was seen live."""

import contextlib
from collections.abc import Callable, Iterable

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from blocks import kept
from blocks.ledger.rows import Entry
from blocks.workshop import Workshop, workshop
from domain.errors import InputError
from domain.records import LIVE, PREPARED, ROLLBACK_CHOSEN, ROLLED_BACK
from domain.task import RolledBack
from flows.acting import Acting
from flows.elsewhere import leave_to_its_machine, note_workshop
from flows.endings import concluded
from tasks.deploy import live_before
from tasks.pages import show
from tasks.people.asking import start_known_by
from tasks.releasing import checkpoint, lease
from tasks.releasing.engine import turn
from tasks.releasing.schema import why_not_back
from tasks.step import step


@flow(name="rollback", flow_run_name="roll back {environment}", persist_result=True, result_serializer="json")
def rollback_environment(
    environment: str,
    revision: str | None = None,
    reason: str = "asked for by a person",
    workshop_name: str | None = None,
    by: str = "",
) -> State:
    """Traffic back to `revision`, or to the release that was live before. The branch stays as it is: revert it, or
    send a brief that mends it. `workshop_name`: default the one whose release is live. `by`: your name, for the
    record."""

    def act(acting: Acting) -> State:
        shop = workshop_name or workshop_that_released(environment)
        if workshop_name is None:
            note_workshop(str(flow_run.id), shop)
        leave_to_its_machine(str(flow_run.id), workshop(shop), environment)
        acting.begin(workshop(shop).ledger)
        back = to_release(str(flow_run.id), environment, revision, reason, shop, by)
        serving = (back.serving or "nothing")[:12]
        return Completed(name="Rolled back", message=f"{environment} was seen serving {serving} again")

    return concluded(f"roll back {environment}", workshop_name or "default", str(flow_run.id), act)


@step("rollback", "rollback-{environment}")
def to_release(
    run_id: str, environment: str, revision: str | None, reason: str, workshop_name: str, by: str = ""
) -> RolledBack:
    """Idempotent per run: what was chosen is on record before anything is switched."""
    shop = workshop(workshop_name)
    if known := shop.ledger.find(run_id, *ROLLED_BACK.at(environment), RolledBack):
        return known
    is_run = not kept.is_used()  # without the server it is nobody's, and nobody resumes it
    with lease.free_after(shop.ledger, environment, run_id):
        with turn(shop, environment, run_id, seize=True, is_resumed=is_run) as (target, timeline):
            now = target.pointed()
            begun = shop.ledger.find(run_id, *ROLLBACK_CHOSEN.at(environment), RolledBack)
            wanted = begun.serving if begun else _wanted(shop, run_id, environment, revision, now, timeline.say)
            bundle = shop.store.put_json({"phase": "asked for", "reason": reason, "was": now})
            chosen = RolledBack(
                environment=environment, failed=now or "", serving=wanted, revert=None, bundle=bundle, is_asked_for=True
            )
            chosen = shop.ledger.record(run_id, *ROLLBACK_CHOSEN.at(environment), chosen)

            def when_back() -> None:
                """On record first: a run that is resumed from here on takes the environment from nobody again."""
                done = chosen.model_copy(
                    update={"timeline": timeline.lines, **_person(run_id, environment, revision, by)}
                )
                with lease.free_when_done(shop.ledger, environment, run_id):
                    shop.ledger.record(run_id, *ROLLED_BACK.at(environment), done)

            target.rollback(chosen.serving, when_back)
        back = shop.ledger.find(run_id, *ROLLED_BACK.at(environment), RolledBack) or chosen
        back = back.model_copy(update={"timeline": timeline.lines})
        show.rolled_back_by_hand(back, reason)
        checkpoint.seal(shop)
        return back


def _person(run_id: str, environment: str, revision: str | None, by: str) -> dict[str, object]:
    said = {"environment": environment, "revision": revision}
    return {"by": by or None, **start_known_by(run_id, "rollback", by, said)._asdict()}


def workshop_that_released(environment: str) -> str:
    """The workshop whose run releases there now; else the one that the record of the environment's live release names,
    of those that this machine knows. Each may have a ledger of its own, and the environment is reserved in that one."""
    shops: dict[str, Workshop] = {}
    for name in kept.names(Workshop.get_block_type_slug()) or ["default"]:
        with contextlib.suppress(InputError):
            if environment in (shop := workshop(name)).targets:
                shops[name] = shop
    shops = {name: shop for name, shop in shops.items() if lease.holder(shop.ledger, environment)} or shops
    lives = [(entry.at, name) for name, shop in shops.items() if (entry := _live(shop, name, environment))]
    if lives:
        return max(lives)[1]
    if len(shops) > 1:
        names = ", ".join(shops)
        raise InputError(
            f"environment {environment!r} is in the workshops {names}, and none of them released there yet"
        )
    return next(iter(shops), "default")


def _live(shop: Workshop, name: str, environment: str) -> Entry | None:
    """The last release that was seen live there, where the workshop's own run released it; else None."""
    lives = [entry for entry in shop.ledger.entries(kind=LIVE.kind) if entry.body["environment"] == environment]
    if not lives:
        return None
    prepared = shop.ledger.last(PREPARED.kind, run_id=lives[-1].run_id)
    return lives[-1] if prepared is None or prepared.body["brief"].get("workshop", "default") == name else None


def _wanted(
    shop: Workshop, run: str, environment: str, revision: str | None, now: str | None, say: Callable[[str], None]
) -> str:
    """The named release, or the newest that was live before: where it can run on the database as it is now."""
    if revision:
        named = _named(shop.ledger.entries(kind=LIVE.kind), environment, revision)
        if why := why_not_back(shop, run, environment, named):
            raise InputError(f"{why}; a proven downgrade may bring the schema back: lockgate downgrade {environment}")
        return named
    for earlier in live_before(shop, environment, now):
        why = why_not_back(shop, run, environment, earlier)
        if why is None:
            return earlier
        say(why)
    raise InputError(
        f"no earlier release of {environment!r} was ever seen live and can run on its database, so there is nothing to "
        "go back to"
    )


def _named(entries: Iterable[Entry], environment: str, revision: str) -> str:
    found = {
        str(e.body["revision"])
        for e in entries
        if e.body["environment"] == environment and str(e.body["revision"]).startswith(revision)
    }
    if len(found) != 1:
        raise InputError(
            f"{revision!r} names {len(found)} releases that were seen live in {environment!r}; give a full id"
        )
    return found.pop()
