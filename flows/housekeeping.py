"""Housekeeping: leaked sandboxes, reviews nobody answered, crashed runs, releases that should be running."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed

from blocks.home import home
from blocks.workshop import Workshop, workshop
from domain.artifact import Artifact, outdated, referred_to
from domain.errors import LockgateError
from domain.windows import closed
from flows.endings import round_of
from flows.resume import conclude, resume_crashed
from tasks.pages.bill import bill_of, publish
from tasks.pages.show import bullets
from tasks.people.window import OVER, Waits
from tasks.releasing import lease
from tasks.releasing.checkpoint import seal_rest
from tasks.releasing.schema import copies_swept


@flow(name="housekeeping")
def housekeeping(workshop_name: str = "default") -> State:
    """One round; its data is what was done, as sentences. Safe to repeat."""
    return round_of(lambda: Completed(data=_round(workshop_name), message="done"))


def _round(workshop_name: str) -> list[str]:
    shop = workshop(workshop_name)
    with get_client(sync_client=True) as client:
        duties: tuple[Callable[[], list[str]], ...] = (
            lambda: shop.sweep(lambda _: False),
            lambda: resume_crashed(client),
            lambda: conclude(client),
            lambda: free_leases(client, shop),
            lambda: keep_serving(shop),
            lambda: expire_reviews(client, shop),
            lambda: open_windows(client, shop),
            lambda: copies_swept(shop),
            lambda: seal_rest(shop),
            lambda: prune_daily(shop),
        )
        done = [line for duty in duties for line in _tried(duty)]
    for line in done:
        get_run_logger().info(line)
    publish(bill_of(shop.ledger, since=datetime.now(UTC).date().replace(day=1)), key="bill-this-month")
    create_markdown_artifact(key="housekeeping", markdown=f"# Housekeeping\n\n{bullets(done)}")
    return done


def _tried(duty: Callable[[], list[str]]) -> list[str]:
    """What a duty did; one that fails keeps no other from being done."""
    try:
        return duty()
    except Exception as err:
        return [f"a duty failed: {type(err).__name__}: {err}"]


def expire_reviews(client: SyncPrefectClient, shop: Workshop) -> list[str]:
    """Decline what waited longer than the workshop's `review_days`."""
    done = []
    answered = {(e.run_id, e.key) for e in shop.ledger.entries(kind="approval")}
    over = {e.run_id for e in shop.ledger.entries(kind="outcome")}
    for entry in shop.ledger.entries(kind="question"):
        age_days = (datetime.now(UTC) - entry.at).total_seconds() / 86_400
        if (entry.run_id, entry.key) in answered or entry.run_id in over or age_days < shop.review_days:
            continue
        try:
            run = client.read_flow_run(UUID(entry.run_id))
        except ObjectNotFound:
            continue  # deleted in the UI
        if run.state and run.state.type is StateType.PAUSED:
            comment = f"nobody answered in {shop.review_days:g} days"
            answer = {"decision": "expired", "reviewer": "lockgate housekeeping", "comment": comment}
            client.resume_flow_run(run.id, run_input=answer)
            done.append(f"declined the review of run {entry.run_id}: {comment}")
    return done


def open_windows(client: SyncPrefectClient, shop: Workshop) -> list[str]:
    """Let runs go on whose freeze window is over."""
    done = []
    over = {e.run_id for e in shop.ledger.entries(kind="outcome")}
    waiting = {e.run_id: Waits.model_validate(e.body) for e in shop.ledger.entries(kind="waits-for-window")}
    for run_id, waits in waiting.items():
        if run_id in over or closed(shop.freezes, waits.environment, datetime.now(UTC)):
            continue
        try:
            run = client.read_flow_run(UUID(run_id))
        except ObjectNotFound:
            continue  # deleted in the UI
        key = str(run.state.state_details.pause_key) if run.state else ""
        if run.state and run.state.type is StateType.PAUSED and key.startswith("window-"):
            client.resume_flow_run(run.id, run_input={"opened_by": OVER})
            done.append(f"run {run_id} goes on: {waits.environment} is open again")
    return done


def prune_daily(shop: Workshop) -> list[str]:
    """Once a day on this machine: to see what is needed, the whole ledger is read."""
    mark = home() / "pruned"
    if mark.exists() and time.time() - mark.stat().st_mtime < 86_400:
        return []
    done = prune(shop)
    mark.touch()
    return done


def prune(shop: Workshop) -> list[str]:
    """Remove what no ledger entry refers to any more, and the archives and images of releases that are not kept."""
    entries = shop.ledger.entries()
    young = datetime.now(UTC) - timedelta(days=shop.store_days)
    lived: dict[str, list[str]] = {}
    for entry in entries:
        if entry.kind == "live":
            lived.setdefault(entry.body["environment"], []).append(entry.body["revision"])
    keep = {revision for all_of_one in lived.values() for revision in all_of_one[-shop.keep_artifacts :]}
    keep |= {e.body["revision"] for e in entries if e.kind in ("artifact", "deploy-started") and e.at > young}
    artifacts = [Artifact.model_validate(entry.body) for entry in entries if entry.kind == "artifact"]
    needed = referred_to(entry.body for entry in entries) - outdated(artifacts, keep)
    gone = shop.store.prune(needed, shop.store_days * 86_400)
    images = shop.builder.prune(keep) if any(artifact.image for artifact in artifacts) else ()
    return [f"removed {len(gone)} objects from the store"] * bool(gone) + [f"removed the image {one}" for one in images]


def free_leases(client: SyncPrefectClient, shop: Workshop) -> list[str]:
    """Take environments back from runs that ended without giving them back: cancelled, or deleted."""
    done = []
    for environment in shop.targets:
        holder = lease.holder(shop.ledger, environment)
        if holder is None:
            continue
        try:
            state = client.read_flow_run(UUID(holder)).state
        except ObjectNotFound:
            state = None
        if state is None or (state.is_final() and not state.is_crashed()):
            lease.give_back(shop.ledger, environment, holder)
            done.append(f"{environment} was still reserved for run {holder}, which is over; freed")
    return done


def keep_serving(shop: Workshop) -> list[str]:
    """Bring back proxies and releases that a reboot took down."""
    done = []
    for environment in shop.targets:
        started = time.monotonic()
        try:
            changed = shop.target(environment).ensure()
        except LockgateError as err:
            done.append(f"{environment} does not serve: {err}")
            continue
        done += [f"{environment}: {line} ({time.monotonic() - started:.1f} s)" for line in changed]
    return done
