"""A second machine of a station: what keeps it from joining is told at once, each with what to do."""

import copy
import stat
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.responses import SetStateStatus
from prefect.states import AwaitingConcurrencySlot, Cancelled, Cancelling, Completed

from blocks.home import STATION, joined
from blocks.ledger.ledger import Ledger
from blocks.stores.local import LocalStore
from blocks.targets.machine.process import ProcessTarget
from blocks.workshop import Workshop
from domain.brief import Brief
from domain.errors import InputError, TargetError
from flows import elsewhere, report, resume
from station import api, bootstrap, credentials, joining, processes, registered, settings, supervisor
from tests.unit.test_outcome import BRIEF

URL = "https://lockgate.example.org"


def saved(**fields: Any) -> Any:
    return Workshop(**fields).model_dump(mode="json", context={"include_secrets": True})


class Station:
    """What a station's server answers."""

    def __init__(self, shop: Any) -> None:
        self.shops = {"lockgate-workshop/default": shop}
        self.workers: list[dict[str, str]] = []
        self.code = registered.code()

    def blocks(self) -> Any:
        return copy.deepcopy(self.shops)

    def post(self, path: str, body: Any) -> Any:
        return self.workers

    def get(self, path: str) -> Any:
        assert path == "/variables/name/lockgate_code", "a deployment's version is whoever's deployed it last"
        return {"value": self.code} if self.code else None


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "second"
    monkeypatch.setenv("LOCKGATE_HOME", str(home))
    monkeypatch.setenv("LOCKGATE_MACHINE", "second")
    for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
        monkeypatch.setenv(name, "")
    return home


def asks(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "blocks", station.blocks)
    monkeypatch.setattr(api, "post", station.post)
    monkeypatch.setattr(api, "get", station.get)


def beats(name: str, seconds_ago: float) -> dict[str, str]:
    return {"name": name, "last_heartbeat_time": (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()}


def test_all_that_is_of_one_machine_is_named_with_what_to_do(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = saved(targets={"shop": "process-target/shop", "web": "docker-host-target/web", "far": "ecs-target/far"})
    shop["targets"]["near"] = "command-target/near"
    shop["forge"]["root"] = "/nowhere/of/the/first/forge"
    station = Station(shop)
    station.shops["lockgate-command-target/near"] = {"root": "$LOCKGATE_HOME/targets"}
    station.shops["lockgate-ecs-target/far"] = {"name": "far"}
    station.workers = [beats("first", 1), beats("second", 5)]
    asks(station, monkeypatch)
    with pytest.raises(InputError) as told:
        joining.join(URL, "user:password")
    lines = str(told.value).splitlines()[1:]
    assert [any(word in line for line in lines) for word in (
        "is a SQLite file", "in the home of one machine", "`forge` of workshop default names /nowhere",
        "what is known of releases of near", "machine is called second too",
    )] == [True] * 5 and len(lines) == 5, lines  # fmt: skip
    assert joined() is None
    station.workers = [beats("second", 3600)]
    assert not any("is called" in line for line in joining.problems()), "it was started there once"
    station.shops = {}
    assert "no workshop yet" in joining.problems()[0]


@pytest.mark.parametrize(
    ("url", "credential", "says"),
    [
        ("lockgate:4200", "a:b", "not the address"),
        (f"{URL}?x=1", "a:b", "not the address"),
        (URL, "token", "user:password"),
    ],
)
def test_what_is_given_wrong_is_said(url: str, credential: str, says: str, here: Path) -> None:
    with pytest.raises(InputError, match=says):
        joining.join(url, credential)


def test_a_home_that_is_a_station_joins_no_other(here: Path) -> None:
    (here / "prefect").mkdir(parents=True)
    (here / "prefect" / "prefect.db").touch()
    with pytest.raises(InputError, match="is a station of its own"):
        joining.join(URL, "a:b")


def test_a_machine_that_joined_works_with_the_stations_own_store_and_starts_no_server(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, store = Ledger(url=f"sqlite:///{tmp_path}/ledger.db"), LocalStore(root=tmp_path / "shared")  # type: ignore[arg-type]
    station = Station(saved(ledger=ledger, store=store))
    asks(station, monkeypatch)
    monkeypatch.setattr(joining, "_of_one_machine", lambda name, shop: [])  # no PostgreSQL here
    with pytest.raises(InputError, match="is not the one that its ledger refers to"):
        joining.join(f"{URL}/", "user:password\n")
    store.claim(ledger.identity())
    assert "second works for the station at https://lockgate.example.org" in joining.join(
        f"{URL}/api", "user:password\n"
    )
    assert joined() == settings.url() == URL
    assert credentials.api_credential() == "user:password"
    assert stat.S_IMODE((here / "credentials" / "api-credential").stat().st_mode) == 0o600
    assert [program.name for program in supervisor.programs()] == ["gateway", "zygote", "worker"]
    worker = supervisor.programs()[-1].argv
    assert worker[-2:] == ["--work-queue", "default"] and "second" in worker
    target = ProcessTarget(name="shop", port=1)
    monkeypatch.setattr("blocks.workshop._load", lambda reference: target)
    shop = Workshop(targets={"shop": "process-target/shop"})
    with pytest.raises(TargetError, match="live on the station's own machine, and this is second"):
        shop.target("shop")
    target.machine = "second"
    assert shop.target("shop").name == "shop" and shop.place_of("gone") is None
    (here / "joined").unlink()
    assert [program.name for program in supervisor.programs()][:2] == ["server", "door"]


def test_a_machine_of_other_code_takes_no_runs_and_those_under_way_go_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    here.mkdir()
    (here / "joined").write_text(URL)
    station = Station(saved())
    asks(station, monkeypatch)
    ended: list[tuple[str, bool]] = []
    monkeypatch.setattr(processes, "running", lambda name: 7)
    monkeypatch.setattr(processes, "kill", lambda name, alone=False: ended.append((name, alone)))
    made: list[tuple[str, ...]] = []
    monkeypatch.setattr(bootstrap, "make_queues", made.append)
    supervised = supervisor.Supervisor()
    supervised._look_whether_it_may_work()
    assert ended == [] and joining.other_code() is None
    station.code = "another"
    supervised._look_whether_it_may_work()
    assert ended == [("worker", True)], "and nothing that it has started"
    assert "install the same version" in caplog.text and not supervised.keepers["worker"].is_wanted
    asked, taken = supervised._runs, list[Any]()
    monkeypatch.setattr(resume, "has_open_runs", lambda client: True)
    monkeypatch.setattr(resume, "are_all_among", lambda client, here: False)
    monkeypatch.setattr(resume, "resume_crashed", lambda client, **_: [])
    monkeypatch.setattr(resume, "in_queue", lambda client, *names: [SimpleNamespace(state_name=elsewhere.WAITS)])
    monkeypatch.setattr(elsewhere, "take_ours", lambda client, begin, runs: taken.extend(runs) or [])
    asked._look(cast(Any, None))
    assert taken == [], "nor through the door for what only this machine can do"
    assert any("another there" in line for line in joining.problems()), "nor does it start"
    station.code = ""
    assert "none that is known there" in (joining.other_code() or "")
    station.code = registered.code()
    supervised._look_whether_it_may_work()
    assert not supervised.keepers["worker"].is_wanted and "is a SQLite file" in caplog.text, "all of it is looked at"
    with pytest.raises(RuntimeError, match="is a SQLite file"):
        supervisor.wait()
    for looks in ("_of_one_machine", "_not_the_same"):
        monkeypatch.setattr(joining, looks, lambda *_: [])
    supervised._look_whether_it_may_work()
    assert supervised.keepers["worker"].is_wanted and made == [("default",)], "the station went back"
    asked._look(cast(Any, None))
    assert len(taken) == 1


@pytest.mark.parametrize("says", [[], ["its ledger does not answer"]])
def test_a_machine_that_may_not_work_looks_after_its_releases_and_works_once_it_may(
    says: list[str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "run").mkdir(parents=True)
    (here / "joined").write_text(URL)
    monkeypatch.setattr(supervisor.signal, "signal", lambda *_: None)
    monkeypatch.setattr(supervisor, "DUTIES_IMPORT", ())
    monkeypatch.setattr(supervisor, "ask_server", lambda: None)
    monkeypatch.setattr(supervisor, "keep_blocks", lambda: None)
    monkeypatch.setattr(bootstrap, "make_queues", lambda names: None)
    monkeypatch.setattr(joining, "problems", lambda: says)
    started: list[str] = []
    monkeypatch.setattr(processes, "running", lambda name: None)
    monkeypatch.setattr(processes, "kill", lambda name, alone=False: None)
    monkeypatch.setattr(processes, "start", lambda name, *_: started.append(name))
    monkeypatch.setattr(processes, "stop", lambda name: True)
    supervised = supervisor.Supervisor()
    duties: list[str] = []
    monkeypatch.setattr(supervised, "_in_background", lambda duty, every_s: duties.append(duty.__name__))
    rounds: list[bool] = []

    def wait(_: float) -> bool:
        """A second of the supervisor's; the way is free after the first."""
        rounds.append((here / "run" / "ready").exists())
        if len(rounds) == 2:
            monkeypatch.setattr(joining, "problems", list)
            monkeypatch.setattr(joining, "other_code", lambda: None)
            supervised._look_whether_it_may_work()
        return len(rounds) > 3

    monkeypatch.setattr(supervised.over, "wait", wait)
    supervised.run()
    assert {"_watch_releases", "_look_whether_it_may_work"} <= set(duties)
    assert rounds == [not says, not says, True, True] and "worker" in started


def test_the_work_pools_command_names_no_machine_and_each_has_it_in_its_home(here: Path) -> None:
    fixed = bootstrap.job_template()["job_configuration"]
    assert fixed == {"command": "lockgate-flow-run", "working_dir": "/", "stream_output": True}
    bootstrap.write_command(here / "run" / "bin")
    program = here / "run" / "bin" / "lockgate-flow-run"
    assert stat.S_IMODE(program.stat().st_mode) == 0o700
    text = program.read_text()
    assert text.startswith("#!/bin/sh\n") and f"{here}/run" in text and "station/warm/client.py" in text


class Left(Exception):
    """This process ended, in a test."""


class Server:
    """Of Prefect, with one run."""

    def __init__(self) -> None:
        self.run = SimpleNamespace(id=uuid4(), labels={}, flow_id=uuid4(), state=None, parameters={})
        self.states: list[str] = []
        self.is_full = False

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None: ...

    def update_flow_run_labels(self, run: UUID, labels: dict[str, str]) -> None:
        assert run == self.run.id
        self.run.labels |= labels

    def set_flow_run_state(self, run: UUID, state: Any, force: bool) -> Any:
        assert run == self.run.id
        given = state if force or not self.is_full else AwaitingConcurrencySlot()
        self.states.append(given.name)
        self.run.state = given
        status = SetStateStatus.ACCEPT if given is state else SetStateStatus.REJECT
        return SimpleNamespace(status=status, state=given)

    def read_flow_run(self, run: UUID) -> Any:
        assert run == self.run.id
        return self.run

    def waiting(self) -> list[Any]:
        return [self.run] if self.run.state.name == elsewhere.WAITS else []

    def read_flow(self, flow: UUID) -> Any:
        return SimpleNamespace(name="agent-task")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    def leave(why: str) -> None:
        raise Left(why)

    made = Server()
    monkeypatch.setattr(elsewhere, "get_client", lambda sync_client: made)
    monkeypatch.setattr(elsewhere, "leave", leave)
    return made


WHERE = {
    # joined, the target's machine, whether the repository is here → where the run goes on; None: here
    (False, "", False): None,
    (False, "second", False): None,
    (False, "third", True): "third",
    (True, "", True): STATION,
    (True, "second", True): None,
    (True, "second", False): "put it at the same path there",  # no other machine could do it
    (True, "third", False): "third",
    (True, None, True): None,
    (True, None, False): STATION,
}


@pytest.mark.parametrize(("is_joined", "where", "is_here"), WHERE)
def test_a_run_goes_on_at_the_machine_that_alone_can_do_it(
    is_joined: bool, where: str | None, is_here: bool, here: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever begins it. A machine that takes it does so once, and only with a slot."""
    here.mkdir()
    if is_joined:
        (here / "joined").write_text(URL)
    at = here / "shop.git"
    if is_here:
        at.mkdir()
    monkeypatch.setattr(
        "blocks.workshop._load", lambda reference: ProcessTarget(name="shop", port=1, machine=where or "")
    )
    shop = Workshop(targets={"shop": "process-target/shop"})
    wanted = WHERE[is_joined, where, is_here]
    if (is_joined, where, is_here) == (True, "second", False):
        with pytest.raises(InputError, match=str(wanted)):
            elsewhere.leave_to_its_machine(str(server.run.id), shop, "shop", str(at))
        return
    with pytest.raises(Left, match=wanted) if wanted else nullcontext():
        elsewhere.leave_to_its_machine(str(server.run.id), shop, None if where is None else "shop", str(at))
    if wanted is None:
        assert server.states == []
        return
    assert server.states == [elsewhere.WAITS] and wanted in server.run.state.message
    assert server.run.state.state_details.scheduled_time > datetime.now(UTC) + timedelta(days=1000)
    begun: list[tuple[str, str]] = []

    def begin(run: str, flow: str) -> None:
        begun.append((run, flow))

    assert elsewhere.take_ours(cast(Any, server), begin, server.waiting()) == [] and begun == [], (
        "it is none of this one's"
    )
    monkeypatch.setenv("LOCKGATE_MACHINE", "third")
    if wanted == STATION:
        (here / "joined").unlink()
    server.is_full = True
    waited = server.run.state
    assert elsewhere.take_ours(cast(Any, server), begin, server.waiting()) == [] and begun == []
    assert server.states[-1] == "AwaitingConcurrencySlot"
    server.is_full, server.run.state = False, waited
    assert len(elsewhere.take_ours(cast(Any, server), begin, server.waiting())) == 1
    assert elsewhere.take_ours(cast(Any, server), begin, server.waiting()) == []
    assert begun == [(str(server.run.id), "agent-task")]
    assert server.run.labels["prefect.worker.name"] == "third" and server.states[-1] == "Pending"


def test_a_repository_that_is_nowhere_ends_no_task_on_a_machine_that_joined(
    here: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Workshop.model_construct(
        ledger=Ledger(url=f"sqlite:///{tmp_path}/ledger.db"),  # type: ignore[arg-type]
        targets={"shop": "process-target/shop"},
    )
    monkeypatch.setattr(report, "workshop_of", lambda brief: shop)
    begun: list[str] = []

    def attempts(run: str, brief: Brief) -> Any:
        begun.append(brief.repository)
        return Completed()

    here.mkdir()
    (tmp_path / "there.git").mkdir()
    places = (
        f"{tmp_path}/gone.git",
        f"file://{tmp_path}/gone.git",
        f"{tmp_path}/there.git",
        "https://example.org/shop.git",
    )
    monkeypatch.setattr("blocks.workshop._load", lambda reference: ProcessTarget(name="shop", port=1, machine="second"))
    brief = BRIEF.model_copy(update={"environment": "shop"})
    for address in (None, URL):
        if address:
            (here / "joined").write_text(address)
        states = [report.ended("run", brief.model_copy(update={"repository": place}), attempts) for place in places]
        assert [state.name == "Frozen" for state in states] == ([True, True, False, False] if address else [False] * 4)
    assert len(begun) == 6 and server.states == [], "its releases live here: no other machine could do it"


def test_a_run_that_is_cancelled_meanwhile_is_neither_handed_over_nor_taken(
    here: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for word in (Cancelling(), Cancelled()):
        server.run.state = word
        with pytest.raises(Left, match="is cancelled"):
            elsewhere.hand_over(str(server.run.id), "second", "its releases live there")
        assert server.states == [] and server.run.state is word
    server.run.labels = {elsewhere.PLACE: "second"}
    assert elsewhere.take_ours(cast(Any, server), lambda run, flow: None, [server.run]) == [] and server.states == []


def test_a_run_that_waits_for_a_machine_goes_on_where_its_releases_live_by_now(
    here: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = ProcessTarget(name="shop", port=1, machine="dead")
    monkeypatch.setattr("blocks.workshop._load", lambda reference: target)
    shop = Workshop(targets={"shop": "process-target/shop"})
    server.run.parameters = {"brief": {"environment": "shop"}}
    with pytest.raises(Left):
        elsewhere.leave_to_its_machine(str(server.run.id), shop, "shop")

    def sent_on(name: str) -> list[str]:
        return elsewhere.send_on(cast(Any, server), shop, name, [server.run])

    assert sent_on("default") == [] and server.run.state.name == elsewhere.WAITS, "they live there still"
    target.machine = "second"
    assert sent_on("another") == [] and server.run.state.name == elsewhere.WAITS
    assert "waited for dead, and goes on at second" in sent_on("default")[0]
    assert server.states[-1] == "AwaitingRetry" and sent_on("default") == []
    elsewhere.leave_to_its_machine(str(server.run.id), shop, "shop")
    assert elsewhere.hand_overs(server.run) == 1
