"""Crashed runs go on by themselves: Prefect's own server marks them CRASHED and leaves them there.

A crash is reported twice, the second time 2 to 8 s later, and the second report overwrites a state that was set in
between; so a run is resumed once its crash is `SETTLED` old, and looked at again on the next round.
"""

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import OrchestrationResult
from prefect.states import AwaitingRetry, Cancelled, Crashed

SETTLED = timedelta(seconds=10)
NEVER_STARTED = timedelta(seconds=90)
MAX_RESUMES = 20
"""A run that crashes more often than this is left crashed for a person."""


def resume_crashed(client: SyncPrefectClient, now: datetime | None = None) -> list[str]:
    """One round: runs whose process is gone are marked crashed, settled crashes go on. What was done, as sentences."""
    now = now or datetime.now(UTC)
    done = []
    for run in _runs(client, StateType.RUNNING, StateType.PENDING, StateType.CANCELLING):
        if not _is_orphan(run, now):
            continue
        wanted = run.state is not None and run.state.type is StateType.CANCELLING
        after: State[Any] = Cancelled() if wanted else Crashed(message="its process is gone")
        client.set_flow_run_state(run.id, after, force=True)
        done.append(f"run {run.id}: its process is gone; marked {after.type.value.lower()}")
    for run in _runs(client, StateType.CRASHED):
        if run.state is None or now - run.state.timestamp < SETTLED:
            continue
        if run.run_count > MAX_RESUMES:
            continue
        answer: OrchestrationResult[Any] = client.set_flow_run_state(
            run.id, AwaitingRetry(scheduled_time=now), force=False
        )
        done.append(f"run {run.id}: resumed from its last finished step ({answer.status.value})")
    return done


def _runs(client: SyncPrefectClient, *types: StateType) -> list[FlowRun]:
    wanted = FlowRunFilter.model_validate(
        {"state": {"type": {"any_": [t.value for t in types]}}, "tags": {"all_": ["lockgate"]}}
    )
    return client.read_flow_runs(flow_run_filter=wanted, limit=200)


def _is_orphan(run: FlowRun, now: datetime) -> bool:
    """Whether a run on this machine has lost its process."""
    host, _, pid = (run.infrastructure_pid or "").rpartition(":")
    if run.state is None:
        return False
    if not pid.isdigit():
        return run.state.type is StateType.PENDING and now - run.state.timestamp > NEVER_STARTED
    if host not in ("", socket.gethostname()):
        return False
    if now - run.state.timestamp < timedelta(seconds=5):
        return False  # a new process may not have said its pid yet
    return not _runs_here(int(pid), run.id)


def _runs_here(pid: int, run: UUID) -> bool:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return os.path.exists(f"/proc/{pid}") and not os.access(f"/proc/{pid}/environ", os.R_OK)
    return str(run).encode() in environ
