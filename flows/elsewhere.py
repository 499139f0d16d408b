"""What only one machine can do is left to that one: a run's state says which, and the supervisor there takes it.

Any worker may begin a run, however it was started. One that cannot go on with it puts it there, and ends. As long as
that machine is away the run waits, and says for which.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import OrchestrationResult, SetStateStatus
from prefect.states import AwaitingRetry, Pending, Scheduled

from blocks.home import STATION, machine, places
from blocks.workshop import Workshop
from domain.errors import InputError
from flows.acting import leave

WAITS = "Waits for its machine"
"""The state's name."""
PLACE, HANDED, WORKER = "lockgate.place", "lockgate.handed-over", "prefect.worker.name"
"""Labels of a run: where it has to go on; how often that was said; and the worker that began it last, as Prefect's own
workers note it."""
SHOP = "lockgate.workshop"
"""Label of a run whose parameters name no workshop: the one that it found."""
NEVER = timedelta(days=3650)
"""No worker takes it by itself."""


def leave_to_its_machine(run: str, shop: Workshop, environment: str | None, repository: str = "") -> None:
    """Ends this process if only another machine can do what the run wants, which is told to that one. Raises InputError
    if no machine can: releases live here, and the repository is a path that is not."""
    place = shop.place_of(environment) if environment else None
    if place and place not in places():
        hand_over(run, place, f"releases of {environment} live on {place}")
    if STATION not in places() and is_missing(repository):
        if place:
            raise InputError(
                f"{repository} is not on {machine()}, where releases of {environment} live: give a URL, or put it "
                "at the same path there"
            )
        hand_over(run, STATION, f"{repository} is not on {machine()}: a path may be on {STATION} alone; or give a URL")


def is_missing(repository: str) -> bool:
    """Whether it is a path that is not on this machine."""
    path = repository.removeprefix("file://")
    return path.startswith(("/", "~")) and not Path(path).expanduser().exists()


def hand_over(run: str, place: str, why: str) -> None:
    """The run waits for that machine, and this process ends. Safe to repeat."""
    with get_client(sync_client=True) as client:
        now = client.read_flow_run(UUID(run))
        if now.state is not None and (now.state.is_cancelling() or now.state.is_cancelled()):
            leave(f"run {run} is cancelled")
        client.update_flow_run_labels(now.id, {PLACE: place, HANDED: hand_overs(now) + 1})
        waits: State[Any] = Scheduled(
            name=WAITS, scheduled_time=datetime.now(UTC) + NEVER, message=f"it waits for {place}: {why}"
        )
        client.set_flow_run_state(UUID(run), waits, force=True)
    leave(f"run {run} goes on elsewhere: {why}")


def note_workshop(run: str, name: str) -> None:
    """Its parameters name none, and it found this one: whoever looks after it asks that one's ledger. Safe to
    repeat."""
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(UUID(run), {SHOP: name})


def workshop_name(run: FlowRun) -> str | None:
    """The workshop that its brief or parameters name, else the one that it found; None if it has yet to look for it."""
    brief = run.parameters.get("brief")
    name = brief.get("workshop") if isinstance(brief, dict) else run.parameters.get("workshop_name")
    return str(name) if name else str(found) if (found := run.labels.get(SHOP)) else None


def hand_overs(run: FlowRun) -> int:
    """How many of its starts ended at once, for another machine goes on with it."""
    return int(run.labels.get(HANDED) or 0)


def is_ours(run: FlowRun) -> bool:
    """Whether a run that waits for its machine waits for this one."""
    return run.labels.get(PLACE) in places()


def send_on(client: SyncPrefectClient, shop: Workshop, name: str, runs: Sequence[FlowRun]) -> list[str]:
    """Those of `runs` of the workshop called `name` that wait for one machine while releases of their environment live
    on another one by now: whichever worker begins them leaves them to that one. What was done, as sentences."""
    done = []
    for run in runs:
        brief = run.parameters.get("brief")
        asked = brief if isinstance(brief, dict) else run.parameters
        if (workshop_name(run) or ("default" if isinstance(brief, dict) else name)) != name:
            continue
        place, waits_for = shop.place_of(str(asked.get("environment"))), run.labels.get(PLACE)
        if place is None or place == waits_for or not _still_waits(client, run):
            continue
        due: State[Any] = AwaitingRetry(scheduled_time=datetime.now(UTC), message=f"it goes on at {place}")
        client.set_flow_run_state(run.id, due, force=True)
        done.append(f"run {run.id}: it waited for {waits_for}, and goes on at {place}, where its releases live now")
    return done


def _still_waits(client: SyncPrefectClient, run: FlowRun) -> bool:
    """It may have been cancelled since it was read."""
    state = client.read_flow_run(run.id).state
    return state is not None and state.name == WAITS


def take_ours(client: SyncPrefectClient, begin: Callable[[str, str], None], runs: Sequence[FlowRun]) -> list[str]:
    """Those of `runs` that wait for this machine are begun here, by `begin(run, its flow's name)`. What was done, as
    sentences."""
    done = []
    for run in runs:
        if not is_ours(run) or not _still_waits(client, run):
            continue
        client.update_flow_run_labels(run.id, {WORKER: machine()})  # first: another one would miss its process
        due: State[Any] = AwaitingRetry(scheduled_time=datetime.now(UTC), message=f"taken by {machine()}")
        client.set_flow_run_state(run.id, due, force=True)
        answer: OrchestrationResult[Any] = client.set_flow_run_state(run.id, Pending(), force=False)
        if answer.status is SetStateStatus.ACCEPT and answer.state and answer.state.is_pending():
            begin(str(run.id), client.read_flow(run.flow_id).name)
            done.append(f"run {run.id}: it waited for this machine, and goes on here")
    return done
