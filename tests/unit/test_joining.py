"""A second machine of a station: what keeps it from joining is told at once, each with what to do."""

import copy
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.states import Completed

from blocks.home import joined
from blocks.ledger.ledger import Ledger
from blocks.stores.local import LocalStore
from blocks.targets.machine.process import ProcessTarget
from blocks.workshop import Workshop
from domain.brief import Brief
from domain.errors import InputError, TargetError
from flows import report
from station import api, bootstrap, credentials, joining, settings, supervisor
from tests.unit.test_outcome import BRIEF

URL = "https://lockgate.example.org"


def saved(**fields: Any) -> Any:
    return Workshop(**fields).model_dump(mode="json", context={"include_secrets": True})


class Station:
    """What a station's server answers."""

    def __init__(self, shop: Any) -> None:
        self.shops = {"lockgate-workshop/default": shop}
        self.workers: list[dict[str, str]] = []

    def blocks(self) -> Any:
        return copy.deepcopy(self.shops)

    def post(self, path: str, body: Any) -> Any:
        return self.workers


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
        "releases of shop", "releases of web", "what is known of releases of near", "machine is called second too",
    )] == [True] * 7 and len(lines) == 7, lines  # fmt: skip
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
    with pytest.raises(TargetError, match="live on the station's own machine"):
        Workshop(targets={"shop": "process-target/shop"}).target("shop")
    (here / "joined").unlink()
    assert [program.name for program in supervisor.programs()][:2] == ["server", "door"]


def test_the_work_pools_command_names_no_machine_and_each_has_it_in_its_home(here: Path) -> None:
    fixed = bootstrap.job_template()["job_configuration"]
    assert fixed == {"command": "lockgate-flow-run", "working_dir": "/", "stream_output": True}
    bootstrap.write_command(here / "run" / "bin")
    program = here / "run" / "bin" / "lockgate-flow-run"
    assert stat.S_IMODE(program.stat().st_mode) == 0o700
    text = program.read_text()
    assert text.startswith("#!/bin/sh\n") and f"{here}/run" in text and "station/warm/client.py" in text


def test_a_task_whose_repository_is_elsewhere_is_left_to_another_machine(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Workshop.model_construct(ledger=Ledger(url=f"sqlite:///{tmp_path}/ledger.db"))  # type: ignore[arg-type]
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
    for address in (None, URL):
        if address:
            (here / "joined").write_text(address)
        states = [report.ended("run", BRIEF.model_copy(update={"repository": place}), attempts) for place in places]
        assert [state.is_crashed() for state in states] == ([True, True, False, False] if address else [False] * 4)
    assert "put it at the same path" in (report.not_here(BRIEF.model_copy(update={"repository": places[0]})) or "")
    assert len(begun) == 6
