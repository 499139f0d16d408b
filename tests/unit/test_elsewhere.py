"""Runs of other machines: when they count as crashed, and who resumes them."""

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import State, StateType

from blocks.home import STATION, machine
from blocks.ledger.ledger import Ledger
from domain.errors import LedgerError, TargetError
from flows import elsewhere, resume
from flows.resume import BEGINS_S, LOOKS_APART_S, Looks, resume_crashed
from station import api, verify


class Server:
    """The server's runs, as a supervisor sees and sets them."""

    def __init__(self, *runs: Any) -> None:
        self.runs, self.set = runs, list[str]()

    def read_flow_runs(self, flow_run_filter: Any, limit: int, offset: int = 0) -> list[Any]:
        found = [run for run in self.runs if run.state.type in flow_run_filter.state.type.any_]
        return found[offset : offset + min(limit, 200)]

    def update_flow_run_labels(self, run: Any, labels: dict[str, str]) -> None:
        next(one for one in self.runs if one.id == run).labels |= labels

    def set_flow_run_state(self, run: Any, state: State, force: bool) -> Any:
        self.set.append(str(state.name))
        found = next(one for one in self.runs if one.id == run)
        found.state = SimpleNamespace(id=uuid4(), type=state.type, timestamp=datetime.now(UTC))
        return SimpleNamespace(status=SimpleNamespace(value="ACCEPT"))


def a_run(kind: StateType, worker: str | None, minutes: float = 1) -> Any:
    state = SimpleNamespace(id=uuid4(), type=kind, timestamp=datetime.now(UTC) - timedelta(minutes=minutes))
    labels = {"prefect.worker.name": worker} if worker else {}
    return SimpleNamespace(id=uuid4(), name="a run", state=state, run_count=1, parameters={}, labels=labels)


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCKGATE_MACHINE", "here")
    return Ledger(url=f"sqlite:///{tmp_path}/ledger.db")


def begun(ledger: Ledger, run: Any, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another machine: nothing of its process can be seen from this one."""
    monkeypatch.setattr("blocks.host.alive.mark_of_this", lambda: "elsewhere/pid:[1] 7 7")
    ledger.begin(str(run.id), "there", seconds)


def expire(ledger: Ledger, run: Any, in_s: float) -> None:
    """Its time is over in so many seconds, and it renews it no more."""
    ledger.still_runs(str(run.id), in_s)


@pytest.mark.parametrize(
    ("kind", "worker", "minutes", "lease_s", "wanted"),
    [
        (StateType.RUNNING, "here", 1, None, ["Crashed"]),
        (StateType.RUNNING, None, 1, None, ["Crashed"]),
        (StateType.RUNNING, "lockgate", 1, None, ["Crashed"]),  # from before machines had names
        (StateType.RUNNING, "there", 60, 60.0, []),
        (StateType.RUNNING, "there", 1, -1.0, ["Crashed"]),
        (StateType.CANCELLING, "there", 1, -1.0, ["Cancelled"]),
        (StateType.RUNNING, "there", 1, None, []),  # a round of the platform's own, say
        (StateType.RUNNING, "there", 31, None, ["Crashed"]),
        (StateType.PENDING, "there", 1, None, []),
        (StateType.PENDING, "there", 1, -1.0, []),  # resumed there, and has not begun yet
        (StateType.PENDING, "there", 6, None, ["Crashed"]),
        (StateType.PENDING, "there", 6, -1.0, ["Crashed"]),
    ],
)
def test_a_run_elsewhere_has_crashed_when_its_lease_ran_out(
    kind: StateType, worker: str | None, minutes: float, lease_s: float | None, wanted: list[str],
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = a_run(kind, worker, minutes)
    if lease_s is not None:
        begun(ledger, run, 60, monkeypatch)
    server, looks, clock = Server(run), Looks(), [1000.0]
    monkeypatch.setattr(resume.time, "monotonic", lambda: clock[0])
    for look in range(3):
        if look and lease_s is not None:
            expire(ledger, run, lease_s)
        resume_crashed(server, ledgers=lambda _: ledger, looks=looks)  # type: ignore[arg-type]
        clock[0] += LOOKS_APART_S
    assert server.set == wanted


def test_a_run_is_not_taken_for_crashed_before_it_has_begun_nor_while_it_ends(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between `Running` at the server and its lease, and between the end of its lease and its state, a process may take
    long on a busy machine. Its start before left a lease that is over."""
    run = a_run(StateType.RUNNING, "there")
    begun(ledger, run, 60, monkeypatch)
    server, looks, clock = Server(run), Looks(), [1000.0]
    monkeypatch.setattr(resume.time, "monotonic", lambda: clock[0])

    def look(after_s: float) -> list[str]:
        clock[0] += after_s
        resume_crashed(server, ledgers=lambda _: ledger, looks=looks)  # type: ignore[arg-type]
        return server.set

    assert look(0) == []
    expire(ledger, run, -1)
    assert look(1) == []
    run.state = SimpleNamespace(id=uuid4(), type=StateType.RUNNING, timestamp=datetime.now(UTC))  # resumed elsewhere
    assert look(LOOKS_APART_S) == look(LOOKS_APART_S) == look(LOOKS_APART_S) == [], "it reads its blocks"
    begun(ledger, run, 60, monkeypatch)
    assert look(BEGINS_S) == []
    ledger.end(str(run.id))
    assert look(1) == look(LOOKS_APART_S) == look(LOOKS_APART_S) == [], "it tells the server how it ended"
    assert look(BEGINS_S) == ["Crashed"], "it never did"


def test_a_run_that_never_began_after_it_was_resumed_is_missed_at_last(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(StateType.RUNNING, "there")
    begun(ledger, run, -1, monkeypatch)
    server, looks, clock = Server(run), Looks(), [1000.0]
    monkeypatch.setattr(resume.time, "monotonic", lambda: clock[0])
    for pause_s in (LOOKS_APART_S, BEGINS_S - LOOKS_APART_S):
        resume_crashed(server, ledgers=lambda _: ledger, looks=looks)  # type: ignore[arg-type]
        assert server.set == []
        clock[0] += pause_s
    resume_crashed(server, ledgers=lambda _: ledger, looks=looks)  # type: ignore[arg-type]
    assert server.set == ["Crashed"]


def test_a_ledger_that_was_away_makes_no_crash(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_run(StateType.RUNNING, "there")
    begun(ledger, run, 60, monkeypatch)
    server, looks, clock, away = Server(run), Looks(), [1000.0], [False]
    monkeypatch.setattr(resume.time, "monotonic", lambda: clock[0])
    resume_crashed(server, ledgers=lambda _: ledger, looks=looks)  # type: ignore[arg-type]
    expire(ledger, run, -1)

    def ledgers(_: str) -> Ledger:
        if away[0]:
            raise LedgerError("its database is gone")
        return ledger

    for is_away in (False, True, False):
        away[0] = is_away
        resume_crashed(server, ledgers=ledgers, looks=looks)  # type: ignore[arg-type]
        clock[0] += LOOKS_APART_S
    assert server.set == [], "nobody could have renewed it meanwhile"
    begun(ledger, run, 60, monkeypatch)
    resume_crashed(server, ledgers=ledgers, looks=looks)  # type: ignore[arg-type]
    clock[0] += LOOKS_APART_S
    begun(ledger, run, -1, monkeypatch)
    resume_crashed(server, ledgers=ledgers, looks=looks)  # type: ignore[arg-type]
    assert server.set == [], "it lived a moment ago"


def test_what_crashed_is_resumed_once_by_one_supervisor_and_not_while_it_may_live(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, lives, unsure = (a_run(StateType.CRASHED, "there", minutes) for minutes in (1, 3, 1))
    for run, seconds in ((gone, -1), (lives, 60), (unsure, 60)):
        begun(ledger, run, seconds, monkeypatch)
    server = Server(gone, lives, unsure)
    assert ledger.lease("runs/resume", "another supervisor", 0.2) == 1
    resume_crashed(server, ledgers=lambda _: ledger)  # type: ignore[arg-type]
    assert server.set == [], "another one does it"
    ledger.release("runs/resume", "another supervisor")
    done = resume_crashed(server, ledgers=lambda _: ledger)  # type: ignore[arg-type]
    assert server.set == ["AwaitingRetry", "Running"] and "run by there elsewhere" in done[1]
    assert unsure.state.type is StateType.CRASHED, "its time is not over: it may be dead, and its machine says so"


def test_being_left_to_another_machine_counts_as_no_start(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[Any] = []
    monkeypatch.setattr(resume, "_given_up", lambda client, run: frozen.append(run) or "frozen")
    often, handed = (a_run(StateType.CRASHED, "there") for _ in range(2))
    often.run_count = handed.run_count = resume.MAX_RESUMES + 5
    handed.labels["lockgate.handed-over"] = 5
    server = Server(often, handed)
    resume_crashed(server, ledgers=lambda _: ledger)  # type: ignore[arg-type]
    assert (frozen, server.set) == ([often], ["AwaitingRetry"])


def test_a_rollback_is_looked_for_in_the_ledger_of_the_workshop_that_it_found(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parameters name none, so the ledger of `default` knows nothing of its process."""
    other = Ledger(url=f"sqlite:///{tmp_path}/other.db")
    run = a_run(StateType.RUNNING, "there", 60)
    run.parameters = {"environment": "shop", "workshop_name": None}
    begun(other, run, 60, monkeypatch)
    server = Server(run)
    monkeypatch.setattr(elsewhere, "get_client", lambda sync_client: nullcontext(server))
    elsewhere.note_workshop(str(run.id), "other")
    asked = {"default": ledger, "other": other}
    resume_crashed(server, ledgers=asked.__getitem__)  # type: ignore[arg-type]
    assert server.set == [], "it lives"
    assert api.workshop_of({"parameters": run.parameters, "labels": run.labels}) == "other"


def test_a_workshop_whose_ledger_is_away_keeps_no_run_of_another_waiting(ledger: Ledger) -> None:
    stuck, free = (a_run(StateType.CRASHED, "here") for _ in range(2))
    stuck.parameters = {"workshop_name": "away"}

    class Away:
        def runners(self, runs: Any) -> Any:
            raise LedgerError("the database is away")

        def end_dead(self, run: str) -> None:
            raise LedgerError("the database is away")

    server = Server(stuck, free)
    resume_crashed(server, ledgers=lambda name: Away() if name == "away" else ledger)  # type: ignore[arg-type, return-value]
    assert (stuck.state.type, server.set) == (StateType.CRASHED, ["AwaitingRetry"])


def test_a_home_keeps_the_name_of_its_machine_though_its_host_gets_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    monkeypatch.delenv("LOCKGATE_MACHINE", raising=False)
    name = machine()
    monkeypatch.setattr("os.uname", lambda: SimpleNamespace(nodename="a new container"))
    assert machine() == name != "a new container"
    monkeypatch.setenv("LOCKGATE_MACHINE", "north")
    assert machine() == "north"


@pytest.mark.parametrize("place", ["there", STATION, "here", None])
def test_a_release_that_lives_elsewhere_is_neither_proven_nor_broken_here(
    place: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCKGATE_MACHINE", "here")
    (tmp_path / "joined").write_text("http://station.internal:4200\n")
    monkeypatch.setattr(verify, "_statement", lambda *_: verify.Link(name="statement", proof="signed"))

    def look(environment: str) -> Any:
        raise TargetError("it is looked at here")

    shop: Any = SimpleNamespace(
        ledger=SimpleNamespace(find=lambda *_: "on record"), place_of=lambda _: place, target=look
    )
    outcome: Any = SimpleNamespace(commit="1" * 40, environment="shop")
    if place in ("here", None):
        with pytest.raises(TargetError, match="it is looked at here"):
            verify._release(shop, "run", outcome)
        return
    signed, live = verify._release(shop, "run", outcome)
    assert signed.proof == "signed" and (live.elsewhere, live.problem) == (place, None)
    assert f"live on {place}, where `lockgate verify run` does it" in live.proof


def test_all_runs_are_looked_after_however_many_are_under_way(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "has_process", lambda run: False)
    gone = [a_run(StateType.RUNNING, "here") for _ in range(450)]
    server = Server(*gone)
    assert len(resume_crashed(server, ledgers=lambda _: ledger)) == len(gone)  # type: ignore[arg-type]
    assert {run.state.type for run in gone} == {StateType.CRASHED} and resume.has_open_runs(server)  # type: ignore[arg-type]
