"""What a station does while it has nothing to do: it asks little, by one client, and looks at what it knows."""

import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import prefect.client.orchestration
import pytest
from prefect.client.schemas.objects import StateType

from blocks.host import proc
from blocks.host import processes as of_targets
from flows import elsewhere, processes, resume
from station import supervisor
from station.supervisor import RunsWatch


class Clients:
    """The server's runs as clients see them; counts clients and requests."""

    def __init__(self) -> None:
        self.made = self.asked = self.closed = 0
        self.runs: list[Any] = []
        self.fails = False

    def __call__(self, sync_client: bool) -> "Clients":
        self.made += 1
        return self

    def __enter__(self) -> "Clients":
        return self

    def __exit__(self, *_: object) -> None:
        self.closed += 1

    def read_flow_runs(self, flow_run_filter: Any, **_: Any) -> list[Any]:
        self.asked += 1
        if self.fails:
            raise ConnectionError("the server is gone")
        if flow_run_filter.state.name:
            return [run for run in self.runs if getattr(run, "state_name", None) in flow_run_filter.state.name.any_]
        return [run for run in self.runs if run.state.type in flow_run_filter.state.type.any_]


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clients:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    made = Clients()
    monkeypatch.setattr(prefect.client.orchestration, "get_client", made)
    return made


def test_an_idle_station_asks_little_and_by_one_client(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    watch, now = RunsWatch(lambda: SimpleNamespace(sweep=lambda _: [])), [1000.0]  # type: ignore[arg-type,return-value]
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: now[0])
    for _ in range(30):  # a minute
        watch.look()
        now[0] += supervisor.ROUND_S
    assert clients.made == 1
    idle = clients.asked
    assert idle == 3 * 60 / supervisor.IDLE_ROUND_S
    processes.note("a-run", os.getpid())
    for _ in range(5):
        watch.look()
        now[0] += 0.1
    assert clients.asked == idle + 15, "a run that begins here is looked after at once"
    assert clients.made == 1


def test_a_run_that_goes_on_is_looked_at_seldom_and_at_once_when_its_process_ends(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, now = RunsWatch(lambda: SimpleNamespace(sweep=lambda _: [])), [1000.0]  # type: ignore[arg-type,return-value]
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: now[0])
    state = SimpleNamespace(type=StateType.RUNNING, timestamp=datetime.now(UTC))
    clients.runs = [SimpleNamespace(id="a-run", labels={}, state=state)]

    def asked_in(seconds: float) -> int:
        before, until = clients.asked, now[0] + seconds
        while now[0] < until:
            watch.look()
            now[0] += supervisor.ROUND_S
        return clients.asked - before

    process = subprocess.Popen(["/bin/sleep", "60"])
    processes.note("a-run", process.pid)
    assert asked_in(supervisor.SOON_S) == 4 * supervisor.SOON_S / supervisor.ROUND_S
    asked_in(supervisor.IDLE_ROUND_S)
    assert asked_in(60) == 5 * 60 / supervisor.IDLE_ROUND_S
    process.kill()
    process.wait()
    for _ in range(2):
        assert asked_in(supervisor.ROUND_S) == 4, "its note is still there, and it is dead"
    asked_in(supervisor.SOON_S)
    crash = SimpleNamespace(type=StateType.CRASHED, timestamp=datetime.now(UTC))
    for found, asks in ((state, 5), (crash, 6)):  # of a crash it is asked whether it is one, and what is under way
        clients.runs = [SimpleNamespace(id="another", labels={}, state=found)]
        asked_in(supervisor.IDLE_ROUND_S)
        for _ in range(2):
            assert asked_in(supervisor.ROUND_S) == asks, "what has no process here is looked at each round"


def test_a_run_that_waits_for_another_machine_keeps_this_one_idle(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_MACHINE", "here")
    state = SimpleNamespace(type=StateType.SCHEDULED)
    for place in ("gone", "here"):
        run = SimpleNamespace(id=uuid4(), labels={elsewhere.PLACE: place}, state=state, state_name=elsewhere.WAITS)
        clients.runs = [run]
        assert resume.has_open_runs(clients) is (place == "here")  # type: ignore[arg-type]


def test_a_client_that_fails_is_replaced(clients: Clients) -> None:
    watch = RunsWatch(lambda: SimpleNamespace(sweep=lambda _: []))  # type: ignore[arg-type,return-value]
    clients.fails = True
    for _ in range(2):
        with pytest.raises(ConnectionError):
            watch.look()
    clients.fails = False
    watch.look()
    assert (clients.made, clients.closed) == (3, 2)


def test_a_run_that_lost_its_process_is_marked_although_nothing_is_noted(clients: Clients) -> None:
    marked = []
    clients.set_flow_run_state = lambda run, state, force: marked.append((run, state.type))  # type: ignore[attr-defined]
    run = SimpleNamespace(
        id=uuid4(), labels={}, state=SimpleNamespace(type=StateType.RUNNING, timestamp=datetime.now(UTC))
    )
    clients.runs = [run]
    assert resume.has_open_runs(clients)  # type: ignore[arg-type]
    resume.resume_crashed(clients)  # type: ignore[arg-type]
    assert marked == []
    resume.resume_crashed(clients, datetime.now(UTC) + timedelta(minutes=1))  # type: ignore[arg-type]
    assert marked == [(run.id, StateType.CRASHED)]


def test_a_note_of_a_process_that_is_gone_is_swept_when_it_is_old(clients: Clients) -> None:
    processes.note("mine", os.getpid())
    ended = subprocess.Popen(["/bin/sleep", "60"])
    processes.note("gone", ended.pid)
    ended.kill()
    ended.wait()
    processes.sweep()
    assert sorted(processes.noted()) == ["gone", "mine"], "it may be about to be resumed"
    processes.sweep(older_than_s=-1)
    assert processes.noted() == ["mine"]


def test_what_was_seen_is_looked_at_without_reading_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    word = f"lockgate-test-{uuid4()}"
    child = subprocess.Popen(["/bin/sh", "-c", "sleep 60; true", word])
    try:
        assert of_targets.is_running(word)
        everything = proc.pids
        monkeypatch.setattr(proc, "pids", lambda: pytest.fail("all of /proc is read"))
        assert of_targets.is_running(word)
        monkeypatch.setattr(proc, "pids", everything)
    finally:
        child.kill()
        child.wait()
    assert not of_targets.is_running(word)
