"""Housekeeping: leaked sandboxes, reviews nobody answered, crashed runs, releases that should be running."""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed

from blocks.home import home, places
from blocks.ledger import history
from blocks.workshop import Workshop, workshop
from domain.artifact import Artifact, outdated, referred_to
from domain.errors import LockgateError
from domain.records import APPROVAL, ARTIFACT, DEPLOY_STARTED, LIVE, QUESTION, WAITS_FOR_PUSH, WAITS_FOR_WINDOW
from domain.windows import closed
from flows.elsewhere import WAITS, send_on
from flows.endings import NOTHING, round_of
from flows.resume import conclude, in_queue, resume_crashed
from tasks.pages import team
from tasks.pages.bill import bill_of, publish
from tasks.pages.show import bullets
from tasks.people.elsewhere import PUSH
from tasks.people.planting import plant
from tasks.people.window import OVER, Waits
from tasks.releasing import lease
from tasks.releasing.checkpoint import seal_rest
from tasks.releasing.schema import copies_swept

PLATFORM = "lockgate-platform"
"""The tag of what the platform does by itself."""
KEPT_S = 3600
"""So long a round in which nothing was to be done stays among the runs."""
PAGE = 200
"""As many runs as Prefect gives at once."""


@flow(name="housekeeping")
def housekeeping(workshop_name: str = "default") -> State:
    """One round; its data is what was done, as sentences. Safe to repeat."""
    return round_of(lambda: _told(_round(workshop_name)))


def _told(done: list[str]) -> State:
    return Completed(data=done, message="done" if done else NOTHING)


def _round(workshop_name: str) -> list[str]:
    shop = workshop(workshop_name)
    with get_client(sync_client=True) as client:
        duties: tuple[Callable[[], list[str]], ...] = (
            lambda: after_machine(shop),
            lambda: resume_crashed(client),
            lambda: conclude(client),
            lambda: send_on(client, shop, workshop_name, in_queue(client, WAITS)),
            lambda: free_leases(client, shop),
            lambda: forget_rounds(client),
            lambda: keep_serving(shop),
            lambda: expire_reviews(client, shop),
            lambda: expire_pushes(client, shop),
            lambda: open_windows(client, shop),
            lambda: daily(f"planted-{workshop_name}", lambda: plant(shop), 3600) if shop.planted.per_week else [],
            lambda: seal_rest(shop),
            lambda: daily("pruned", lambda: prune(shop)),
            lambda: daily(f"team-{workshop_name}", lambda: show_team(shop)),
        )
        done = [line for duty in duties for line in _tried(duty)]
    for line in done:
        get_run_logger().info(line)
    publish(bill_of(shop.ledger, since=datetime.now(UTC).date().replace(day=1)), key="bill-this-month")
    create_markdown_artifact(key="housekeeping", markdown=f"# Housekeeping\n\n{bullets(done)}")
    return done


def forget_rounds(client: SyncPrefectClient, kept_s: float = KEPT_S) -> list[str]:
    """Rounds of the platform in which nothing was to be done leave the list of runs, where people look for theirs."""
    before = datetime.now(UTC) - timedelta(seconds=kept_s)
    ended = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[PLATFORM]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED])),
        end_time=FlowRunFilterEndTime(before_=before, after_=before - timedelta(days=1)),
    )
    for run in client.read_flow_runs(flow_run_filter=ended, limit=PAGE):
        if run.state and run.state.message == NOTHING:
            with contextlib.suppress(ObjectNotFound):
                client.delete_flow_run(run.id)
    return []


def after_machine(shop: Workshop) -> list[str]:
    """What each machine does for itself: sandboxes and copies of databases that crashed runs left on it."""
    return [line for duty in (lambda: shop.sweep(lambda _: False), lambda: copies_swept(shop)) for line in _tried(duty)]


def _tried(duty: Callable[[], list[str]]) -> list[str]:
    """What a duty did; one that fails keeps no other from being done."""
    try:
        return duty()
    except Exception as err:
        return [f"a duty failed: {type(err).__name__}: {err}"]


def expire_reviews(client: SyncPrefectClient, shop: Workshop) -> list[str]:
    """Decline what waited longer than the workshop's `review_days`."""
    done = []
    since = datetime.now(UTC) - timedelta(days=shop.review_days)
    asked = [entry for entry in shop.ledger.still_open(QUESTION.kind, answered_by=APPROVAL.kind) if entry.at <= since]
    for run in _suspended(client, {entry.run_id for entry in asked}):
        comment = f"nobody answered in {shop.review_days:g} days"
        answer = {"decision": "expired", "reviewer": "lockgate housekeeping", "comment": comment}
        client.resume_flow_run(run.id, run_input=answer)
        done.append(f"declined the review of run {run.id}: {comment}")
    return done


def expire_pushes(client: SyncPrefectClient, shop: Workshop) -> list[str]:
    """Decline what waited for a push longer than `review_days`."""
    done = []
    since = datetime.now(UTC) - timedelta(days=shop.review_days)
    asked = {entry.run_id: entry.at for entry in shop.ledger.still_open(WAITS_FOR_PUSH.kind)}
    for run in _suspended(client, {run for run, at in asked.items() if at <= since}):
        if run.state and str(run.state.state_details.pause_key).startswith(f"{PUSH}-"):
            stop = f"nobody pushed in {shop.review_days:g} days"
            client.resume_flow_run(run.id, run_input={"looked_by": "lockgate housekeeping", "stop": stop})
            done.append(f"declined run {run.id}: {stop}")
    return done


def _suspended(client: SyncPrefectClient, runs: Collection[str]) -> Iterator[FlowRun]:
    """Those of these runs that wait now, so many in a request; one that was deleted in the UI is none of them."""
    wanted = sorted(runs)
    for first in range(0, len(wanted), PAGE):
        ids = FlowRunFilterId(any_=[UUID(run) for run in wanted[first : first + PAGE]])
        state = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED]))
        yield from client.read_flow_runs(flow_run_filter=FlowRunFilter(id=ids, state=state), limit=PAGE)


def open_windows(client: SyncPrefectClient, shop: Workshop) -> list[str]:
    """Let runs go on whose freeze window is over."""
    done = []
    waiting = {e.run_id: Waits.model_validate(e.body) for e in shop.ledger.still_open(WAITS_FOR_WINDOW.kind)}
    now = datetime.now(UTC)
    free = {run for run, waits in waiting.items() if not closed(shop.freezes, waits.environment, now)}
    for run in _suspended(client, free):
        if run.state and str(run.state.state_details.pause_key).startswith("window-"):
            client.resume_flow_run(run.id, run_input={"opened_by": OVER})
            done.append(f"run {run.id} goes on: {waiting[str(run.id)].environment} is open again")
    return done


def daily(mark: str, duty: Callable[[], list[str]], every_s: float = 86_400) -> list[str]:
    """Once a day on this machine, or as often as that: to see what is needed, the whole ledger is read."""
    done_at = home() / mark
    if done_at.exists() and time.time() - done_at.stat().st_mtime < every_s:
        return []
    done = duty()
    done_at.touch()
    return done


def show_team(shop: Workshop) -> list[str]:
    """What agents did, and how people review, as an artifact."""
    team.publish(history.read(shop.ledger.url.get_secret_value()))
    return []


def prune(shop: Workshop) -> list[str]:
    """Remove what no ledger entry refers to any more, and the archives and images of releases that are not kept."""
    if older := shop.ledger.why_older():
        return [f"nothing was removed from the store: {older}"]
    young = datetime.now(UTC) - timedelta(days=shop.store_days)
    lived: dict[str, list[str]] = {}
    for entry in shop.ledger.entries(kind=LIVE.kind):
        lived.setdefault(entry.body["environment"], []).append(entry.body["revision"])
    keep = {revision for all_of_one in lived.values() for revision in all_of_one[-shop.keep_artifacts :]}
    built = shop.ledger.entries(kind=ARTIFACT.kind)
    keep |= {e.body["revision"] for e in (*built, *shop.ledger.entries(kind=DEPLOY_STARTED.kind)) if e.at > young}
    artifacts = [Artifact.model_validate(entry.body) for entry in built]
    needed = referred_to(shop.ledger.bodies()) - outdated(artifacts, keep)
    why_not = shop.claim_store(needed)
    gone = () if why_not else shop.store.prune(needed, shop.store_days * 86_400)
    images = shop.builder.prune(keep) if not why_not and any(artifact.image for artifact in artifacts) else ()
    if why_not:
        return [f"nothing was removed from the store: {why_not}"]
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
        if (place := shop.place_of(environment)) and place not in places():
            continue
        started = time.monotonic()
        try:
            changed = shop.target(environment).ensure()
        except LockgateError as err:
            done.append(f"{environment} does not serve: {err}")
            continue
        done += [f"{environment}: {line} ({time.monotonic() - started:.1f} s)" for line in changed]
    return done
