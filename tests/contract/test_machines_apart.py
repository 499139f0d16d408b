"""What lies between machines breaks: the network to the ledger's database, the database itself, a clock. By a real
PostgreSQL."""

import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from blocks.ledger import database
from blocks.ledger.ledger import Ledger
from domain.errors import InputError, LedgerError, Superseded
from kits.servers import Postgres, ServerMissing
from kits.users import until
from station.turn import ServicesTurn
from tests.contract.test_acting import ACTS, PROJECT, Note

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
HOUR_S = 3600


class Wire:
    """The network between one machine and a server: what is cut loses nothing and tells nobody, as a switch does that
    lost its power; healed, all goes on."""

    def __init__(self, port: int) -> None:
        self._to, self._whole = port, threading.Event()
        self._whole.set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._whole.clear()

    def heal(self) -> None:
        self._whole.set()

    def close(self) -> None:
        self.heal()
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listening.accept()
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", self._to))
            for one, other in ((here, there), (there, here)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                self._whole.wait()
                other.sendall(data)
            self._whole.wait()
            other.shutdown(socket.SHUT_WR)
        except OSError:
            return


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """Its own, for it is stopped on the way."""
    try:
        made = Postgres(Path(tempfile.mkdtemp(prefix="pg-")))
    except ServerMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    with made:
        yield made


@pytest.fixture
def ledger(server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "run").mkdir(parents=True)
    return Ledger(url=SecretStr(server.url))


class Elsewhere:
    """A process that does this as another machine would; `go` lets it go on, `said` is what it says."""

    def __init__(self, work: Callable[[Connection], Any]) -> None:
        self._ours, theirs = multiprocessing.Pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                work(theirs)
            except BaseException as err:
                theirs.send(repr(err))
            os._exit(0)
        theirs.close()

    def said(self) -> Any:
        return self._ours.recv()

    def go(self) -> None:
        self._ours.send("go")

    def ends(self) -> None:
        os.waitpid(self._pid, 0)


def test_a_machine_that_was_cut_off_holds_nobody_up_and_does_nothing_more_once_it_is_back(
    server: Postgres, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was cut off in the middle of a write, when no other writer may be inside."""
    monkeypatch.setattr(database, "IDLE_S", 1)
    wire = Wire(server.port)
    url = server.url.replace(f":{server.port}/", f":{wire.port}/")

    def old(there: Connection) -> None:
        mine = Ledger(url=SecretStr(url))
        there.send(mine.begin("cut", "first", 60))
        try:
            with database.transaction(url, write=True) as session:
                there.send("inside")
                there.recv()
                session.execute(text("SELECT 1"))
        except LedgerError:
            there.send("it lost its turn")
        for act in (lambda: mine.record("cut", "note", "late", Note(text="late")), lambda: mine.still_runs("cut", 60)):
            try:
                there.send(act())
            except Superseded as err:
                there.send(str(err))

    first = Elsewhere(old)
    assert (first.said(), first.said()) == (1, "inside")
    wire.cut()
    assert ledger.begin("cut", "second", 60) == 2, "the database gave the first one up"
    assert ledger.record("cut", "note", "mine", Note(text="mine"))
    wire.heal()
    first.go()
    assert first.said() == "it lost its turn"
    assert "was begun anew by second" in first.said() and "was begun anew by second" in first.said()
    first.ends()
    wire.close()
    assert [entry.key for entry in ledger.entries("cut")] == ["mine"]


def test_a_run_goes_on_over_a_restart_of_the_database(server: Postgres, ledger: Ledger, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", ACTS, server.url, "asks"], cwd=PROJECT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "LOCKGATE_HOME": str(tmp_path), "LOCKGATE_MACHINE": "left"},
    )  # fmt: skip
    assert process.stdout and process.stdout.readline() == "begun\n"
    server.stop()
    with pytest.raises(LedgerError):
        ledger.runners(["run"])
    server.start()
    assert ledger.runners(["run"])["run"].is_running
    told, trouble = process.communicate("go\n", timeout=60)
    assert (told, process.returncode) == ("at its end\n", 0), trouble
    assert not ledger.runners(["run"])["run"].is_running


def test_a_run_says_that_it_lives_while_another_writer_has_its_turn(server: Postgres, ledger: Ledger) -> None:
    ledger.begin("busy", "here", 0)
    with database.transaction(server.url, write=True):
        ledger.still_runs("busy", 60)
    assert ledger.runners(["busy"])["busy"].is_running


def test_one_machine_has_the_services_and_another_takes_them_over_when_it_is_gone(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first(there: Connection) -> None:
        os.environ["LOCKGATE_MACHINE"] = "first"
        turn = ServicesTurn(server.url)
        there.send((turn.take(), turn.take()))
        there.recv()

    holder = Elsewhere(first)
    assert holder.said() == (None, None)
    told = tmp_path / "run" / "in-the-way"
    for name, line in {"database": server.url, "redis": "redis://127.0.0.1:1"}.items():
        (tmp_path / "credentials").mkdir(exist_ok=True)
        (tmp_path / "credentials" / name).write_text(line)
    (tmp_path / "roles").write_text("server\nservices\n")
    second = subprocess.Popen(
        [sys.executable, "-m", "station.supervisor"], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "LOCKGATE_HOME": str(tmp_path), "LOCKGATE_MACHINE": "second"},
    )  # fmt: skip
    until(lambda: told.exists() or second.poll() is not None)
    second.terminate()
    printed = second.communicate(timeout=60)[0].decode()
    assert "machine first" in told.read_text() and "--role server" in told.read_text(), printed
    assert "starting the" not in printed and second.returncode == 0, "it has waited, and started nothing"
    monkeypatch.setenv("LOCKGATE_MACHINE", "third")
    third = ServicesTurn(server.url)
    assert str(third.take()).startswith("first (")
    holder.go()
    holder.ends()
    until(lambda: third.take() is None)
    server.stop()
    with pytest.raises(InputError, match="does not answer"):
        third.take()
    server.start()
    assert third.take() is None and str(ServicesTurn(server.url).take()).startswith("third (")
    third.give_back()


@pytest.mark.parametrize("wrong_s", [HOUR_S, -HOUR_S])
def test_a_machine_whose_clock_is_wrong_neither_loses_a_lease_nor_takes_one(ledger: Ledger, wrong_s: int) -> None:
    run, environment = f"clock {wrong_s}", f"environment/{wrong_s}"

    def wrong(there: Connection) -> None:
        real = time.time
        time.time = lambda: real() + wrong_s
        ledger.begin(run, "wrong", 60)
        there.send(ledger.lease(f"{environment}/theirs", run, 60))
        there.recv()
        there.send((ledger.lease(f"{environment}/ours", run, 60), ledger.runners(["right"])["right"].is_running))

    other = Elsewhere(wrong)
    assert other.said() == 1
    ledger.begin("right", "right", 60)
    assert ledger.lease(f"{environment}/ours", "right", 60) is not None
    assert ledger.runners([run])[run].is_running, "by the database's clock"
    assert ledger.lease(f"{environment}/theirs", "right", 60) is None
    other.go()
    assert other.said() == (None, True)
    other.ends()
