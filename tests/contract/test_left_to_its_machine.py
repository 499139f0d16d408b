"""A run that only another machine can do, at a real Prefect server: it is put there, waits, and is taken once."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import Pending, Running

from flows import elsewhere
from flows.resume import in_queue
from tests.prefect_server import prefect_server


@flow(name="agent-task")
def nothing() -> None:
    """Of a deployment that takes one run at a time."""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FlowRun]]:
    """Two runs of one deployment; the first one runs, on machine `one`."""
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCKGATE_MACHINE", "one")
    with prefect_server(), get_client(sync_client=True) as client:
        flow_id = client.create_flow(nothing)
        options: Any = {"collision_strategy": "ENQUEUE"}
        deployment = client.create_deployment(flow_id, "agent-task", concurrency_limit=1, concurrency_options=options)
        made = [client.create_flow_run_from_deployment(deployment) for _ in range(2)]
        for state in (Pending(), Running()):
            client.set_flow_run_state(made[0].id, state)
        yield made


def test_a_run_is_left_to_its_machine_and_taken_there_once_and_with_a_slot(
    runs: list[FlowRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "leave", lambda why: None)
    first, second = (str(run.id) for run in runs)
    elsewhere.hand_over(first, "two", "its releases live there")
    begun: list[tuple[str, str]] = []
    with get_client(sync_client=True) as client:

        def take() -> list[str]:
            waiting = in_queue(client, elsewhere.WAITS)
            return elsewhere.take_ours(client, lambda run, flow: begun.append((run, flow)), waiting)

        waits = client.read_flow_run(uuid.UUID(first))
        assert waits.state and waits.state.name == elsewhere.WAITS and "it waits for two" in str(waits.state.message)
        assert client.set_flow_run_state(uuid.UUID(second), Pending()).status.value == "ACCEPT", "its slot is free"
        assert take() == [] and begun == [], "this is another machine"
        monkeypatch.setenv("LOCKGATE_MACHINE", "two")
        assert take() == [], "the other run has the slot now"
        state = client.read_flow_run(uuid.UUID(first)).state
        assert state and state.name == "AwaitingConcurrencySlot", "and the supervisor gives it the next one"
        elsewhere.hand_over(first, "two", "a worker of another machine has begun it again")
        client.set_flow_run_state(uuid.UUID(second), elsewhere.Scheduled(), force=True)
        assert len(take()) == 1 and take() == []
        assert begun == [(first, "agent-task")]
        taken = client.read_flow_run(uuid.UUID(first))
        assert taken.state and taken.state.is_pending() and taken.labels[elsewhere.WORKER] == "two"
        assert client.set_flow_run_state(taken.id, Running()).status.value == "ACCEPT", "at once"
