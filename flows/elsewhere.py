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
from flows.acting import leave

WAITS = "Waits for its machine"
"""The state's name."""
PLACE, WORKER = "lockgate.place", "prefect.worker.name"
"""Labels of a run: where it has to go on; and the worker that began it last, as Prefect's own workers note it."""
NEVER = timedelta(days=3650)
"""No worker takes it by itself."""


def leave_to_its_machine(run: str, shop: Workshop, environment: str | None, repository: str = "") -> None:
    """Ends this process if only another machine can do what the run wants, which is told to that one."""
    place = shop.place_of(environment) if environment else None
    if place and place not in places():
        hand_over(run, place, f"releases of {environment} live on {place}")
    if place is None and STATION not in places() and is_missing(repository):
        hand_over(run, STATION, f"{repository} is not on {machine()}: a path may be on {STATION} alone; or give a URL")


def is_missing(repository: str) -> bool:
    """Whether it is a path that is not on this machine."""
    path = repository.removeprefix("file://")
    return path.startswith(("/", "~")) and not Path(path).expanduser().exists()


def hand_over(run: str, place: str, why: str) -> None:
    """The run waits for that machine, and this process ends. Safe to repeat."""
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(UUID(run), {PLACE: place})
        waits: State[Any] = Scheduled(
            name=WAITS, scheduled_time=datetime.now(UTC) + NEVER, message=f"it waits for {place}: {why}"
        )
        client.set_flow_run_state(UUID(run), waits, force=True)
    leave(f"run {run} goes on elsewhere: {why}")


def take_ours(client: SyncPrefectClient, begin: Callable[[str, str], None], runs: Sequence[FlowRun]) -> list[str]:
    """Those of `runs` that wait for this machine are begun here, by `begin(run, its flow's name)`. What was done, as
    sentences."""
    done = []
    for run in runs:
        if run.labels.get(PLACE) not in places():
            continue
        client.update_flow_run_labels(run.id, {WORKER: machine()})  # first: another one would miss its process
        due: State[Any] = AwaitingRetry(scheduled_time=datetime.now(UTC), message=f"taken by {machine()}")
        client.set_flow_run_state(run.id, due, force=True)
        answer: OrchestrationResult[Any] = client.set_flow_run_state(run.id, Pending(), force=False)
        if answer.status is SetStateStatus.ACCEPT and answer.state and answer.state.is_pending():
            begin(str(run.id), client.read_flow(run.flow_id).name)
            done.append(f"run {run.id}: it waited for this machine, and goes on here")
    return done
