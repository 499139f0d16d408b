"""Of two processes of one run only the newest can act, on SQLite and on a real PostgreSQL server."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from blocks.forges.local import LocalForge
from blocks.gateway.models.account import Account
from blocks.host import alive
from blocks.ledger.ledger import Ledger
from domain.errors import Fenced, Superseded
from domain.models import ModelPolicy, Reserved
from domain.trees import TreeEntry
from domain.value import Value
from kits.tiny_service import tiny_build
from kits.users import until
from tasks.releasing import lease
from tasks.releasing.engine import turn
from tests.contract.command_platform import Playground
from tests.postgres import new_database

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
PROJECT = Path(__file__).resolve().parents[2]
REVISION = "1" * 40


class Note(Value):
    text: str


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "run").mkdir(parents=True)
    if request.param == "sqlite":
        return Ledger(url=SecretStr(f"sqlite:///{tmp_path}/ledger.db"))
    return Ledger(url=SecretStr(new_database(request.getfixturevalue("postgres_url"))))


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Playground]:
    playground = Playground(tmp_path)
    yield playground
    playground.close()


def git(*words: str, at: Path) -> str:
    return subprocess.run(["git", "-C", str(at), *words], check=True, capture_output=True, text=True).stdout.strip()


def forked(work: Callable[[Connection], None]) -> tuple[int, Connection]:
    """A process that does this; its id, and what it says."""
    said, says = multiprocessing.Pipe(duplex=False)
    pid = os.fork()
    if pid == 0:
        try:
            work(says)
        except BaseException as err:
            says.send(repr(err))
        os._exit(0)
    return pid, said


def freeze() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def test_a_process_that_was_frozen_while_another_began_its_run_does_nothing_more(
    ledger: Ledger, platform: Playground, tmp_path: Path
) -> None:
    """It was in the middle of everything: about to record, to merge, to switch the traffic, to call a model."""
    repository = tmp_path / "shop.git"
    git("init", "--quiet", "--bare", "-b", "main", str(repository), at=tmp_path)
    git("clone", "--quiet", str(repository), "work", at=tmp_path)
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    git(*who, "commit", "--quiet", "--allow-empty", "-m", "base", at=tmp_path / "work")
    git("push", "--quiet", "origin", "main", at=tmp_path / "work")
    forge = LocalForge(root=tmp_path / "forge")
    base = forge.base(str(repository), "main")
    commit, _ = forge.commit(str(repository), base, {"a": TreeEntry(0o100644, b"a")}, "a", "a")
    target = platform.target(tmp_path / "targets")
    target.prepare(REVISION, tiny_build())
    shop: Any = SimpleNamespace(ledger=ledger, target=lambda environment: target)

    def old(says: Connection) -> None:
        token = ledger.begin("run", "first", 60)
        account = Account(ledger.record, ledger.entries)
        call = Reserved(
            run_id="run", call="late", step="edit", attempt=1, agent="a", environment=None, model="p/m", usd=1
        )
        acts: dict[str, Callable[[], object]] = {
            "record": lambda: ledger.record("run", "note", "late", Note(text="late")),
            "switch": lambda: ship.promote(REVISION),
            "start": lambda: ship.start(REVISION),
            "lease": lambda: ledger.lease("environment/other", "run", 60),
            "take": lambda: lease.take(ledger, target.name, "run", wait_s=0),
            "charge": lambda: account.reserve(call, 10, ModelPolicy(), token=token),
            "say it lives": lambda: ledger.still_runs("run", 60),
            "give back": lambda: lease.give_back(ledger, target.name, "run"),
        }
        with turn(shop, target.name, "run") as (ship, _):
            try:  # right before the branch is moved, after everything was looked at
                with lease.merging(ledger, "run") as still:
                    forge.merge(str(repository), "main", base, commit, lambda: (freeze(), still()))
            except (Superseded, Fenced) as err:
                says.send(("merge", type(err).__name__))
            for name, act in acts.items():
                try:
                    says.send((name, act()))
                except (Superseded, Fenced) as err:
                    says.send((name, type(err).__name__))
            ledger.end("run")
        says.send("over")

    pid, said = forked(old)
    os.waitpid(pid, os.WUNTRACED)
    try:
        before = ledger.lease(f"environment/{target.name}", "another", 60)
        assert before is None, "the run has its environment, whichever process of it"
        new = ledger.begin("run", "second", 60)
        assert new == 2 and ledger.token_of("run") == 2
        mine = lease.take(ledger, target.name, "run", wait_s=0)
        called = len(platform.calls())
    finally:
        os.kill(pid, signal.SIGCONT)
    told = {}
    while (line := said.recv()) != "over":
        told[line[0]] = line[1]
    os.waitpid(pid, 0)
    assert set(told.values()) == {"Superseded"} and len(told) == 9, told
    assert git("rev-parse", "main", at=repository) == base, "nothing was merged"
    assert len(platform.calls()) == called, "nothing was asked of the platform"
    assert ledger.entries() == () and ledger.entries(kind="reserved") == ()
    assert ledger.holder_of("environment/other") is None
    assert lease.holder(ledger, target.name) == "run" and mine > 1
    runner = ledger.runners(["run", "never"])
    assert set(runner) == {"run"} and runner["run"].is_running and runner["run"].name.startswith("second ")
    with turn(shop, target.name, "run") as (ship, _):
        ship.start(REVISION)
        ship.promote(REVISION)
    assert ledger.record("run", "note", "1", Note(text="mine")) and target.pointed() == REVISION
    with lease.merging(ledger, "run") as still:
        assert forge.merge(str(repository), "main", base, commit, still) is None
    assert git("rev-parse", "main", at=repository) == commit


def test_whoever_ends_a_run_from_outside_stops_its_processes_and_can_write_for_it(ledger: Ledger) -> None:
    def old(says: Connection) -> None:
        ledger.begin("run", "first", 60)
        freeze()
        try:
            ledger.record("run", "note", "late", Note(text="late"))
        except Superseded as err:
            says.send(str(err))

    pid, said = forked(old)
    os.waitpid(pid, os.WUNTRACED)
    assert ledger.runners(["run"])["run"].is_running
    ledger.stop("run")
    assert not ledger.runners(["run"])["run"].is_running
    ledger.record("run", "outcome", "outcome", Note(text="frozen"))
    os.kill(pid, signal.SIGCONT)
    assert "was begun anew by another process" in said.recv()
    os.waitpid(pid, 0)
    assert [entry.key for entry in ledger.entries()] == ["outcome"]
    assert ledger.begin("run", "third", 60) == 3, "tokens never go back"


def test_a_run_is_over_at_once_where_its_death_is_seen_and_elsewhere_when_its_time_is(ledger: Ledger) -> None:
    def dies(says: Connection) -> None:
        ledger.begin("seen", "here", 60)
        os.kill(os.getpid(), signal.SIGKILL)

    pid, _ = forked(dies)
    os.waitpid(pid, 0)
    assert not ledger.runners(["seen"])["seen"].is_running
    ledger.end_dead("seen")
    assert "ended" in ledger.runners(["seen"])["seen"].name, "for those who cannot see it"
    assert ledger.begin("mine", "here", 0.3) == 1
    ledger.end_dead("mine")
    assert ledger.runners(["mine"])["mine"].is_running, "it lives"
    until(lambda: not ledger.runners(["mine"])["mine"].is_running)
    ledger.still_runs("mine", 60)
    assert ledger.runners(["mine"])["mine"].is_running, "late, and nobody took it"
    ledger.end("mine")
    assert not ledger.runners(["mine"])["mine"].is_running
    assert alive.mark_of_this() not in ledger.runners(["mine"])["mine"].name


ACTS = """
import sys, time
from pydantic import SecretStr
from blocks.ledger.ledger import Ledger
from domain.errors import Superseded
from flows import acting
acting.HEARTBEAT_S = 0.1
ledger = Ledger(url=SecretStr(sys.argv[1]))
with acting.Acting("run") as act:
    act.begin(ledger)
    act.begin(ledger)
    print("begun", flush=True)
    if sys.argv[2] == "asks":
        sys.stdin.readline()
        ledger.check("run")
    time.sleep(60 if sys.argv[2] == "sleeps" else 0.5)
print("at its end", flush=True)
"""


@pytest.mark.parametrize(("how", "says"), [("sleeps", False), ("asks", False), ("ends", True)])
def test_a_runs_process_says_that_it_lives_and_ends_without_a_word_when_another_begins_it(
    how: str, says: bool, tmp_path: Path
) -> None:
    """Exit code 0: a worker reports any other as the run's crash."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    ledger = Ledger(url=SecretStr(url))
    process = subprocess.Popen(
        [sys.executable, "-c", ACTS, url, how], cwd=PROJECT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "LOCKGATE_HOME": str(tmp_path), "LOCKGATE_MACHINE": "left"},
    )  # fmt: skip
    assert process.stdout and process.stdout.readline() == "begun\n"
    assert ledger.runners(["run"])["run"].name.startswith("left ")
    if not says:
        if how == "asks":
            os.kill(process.pid, signal.SIGSTOP)
        assert ledger.begin("run", "right", 60) == 2
        os.kill(process.pid, signal.SIGCONT)
    told, trouble = process.communicate("go\n", timeout=60)
    assert process.returncode == 0
    assert told == ("at its end\n" if says else ""), trouble
    assert says or "was begun anew by right" in trouble
    assert ledger.runners(["run"])["run"].is_running is not says


def test_a_forked_process_has_begun_nothing(ledger: Ledger) -> None:
    ledger.begin("run", "here", 60)
    began = time.time()

    def child(says: Connection) -> None:
        says.send(ledger.token_of("run"))

    pid, said = forked(child)
    assert said.recv() is None and time.time() >= began
    os.waitpid(pid, 0)
