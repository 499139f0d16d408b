"""What the supervisor keeps alive: started again, replaced when it hangs, and not in a hurry where it ends at once."""

import http.server
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.fernet import Fernet
from prefect.blocks.core import Block
from prefect.settings import Settings

from blocks import kept
from blocks.ledger.ledger import Ledger
from domain.errors import InputError, TargetError
from flows import serving
from flows.resume import take_free_slots
from station import api, processes, settings
from station.keeping import Keeper, KeptProgram
from station.supervisor import Supervisor
from tasks.people.pager import page


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    yield tmp_path
    processes.stop("nap", grace_s=0)


def keeper(clock: Clock, ask: Callable[[], str | None] = lambda: None, argv: str = "/bin/sleep 300") -> Keeper:
    program = KeptProgram("nap", argv.split(), lambda: {"PATH": "/usr/bin:/bin"}, Path("/"), ask, 240, 60)
    return Keeper(program, clock)


def ended() -> bool:
    until = time.monotonic() + 10
    while time.monotonic() < until and (pid := processes.running("nap")):
        processes.reap(pid)
        time.sleep(0.02)
    return processes.running("nap") is None


def test_what_ends_is_started_again_at_once_and_then_less_and_less_often(home: Path) -> None:
    clock = Clock()
    nap = keeper(clock, argv="/bin/true")
    starts = []
    for _ in range(400):
        before = processes.log_of("nap").exists() and (home / "run" / "nap.json").stat().st_mtime_ns
        nap.keep()
        if (home / "run" / "nap.json").stat().st_mtime_ns != before:
            starts.append(clock.now - 1000)
            assert ended()
        clock.now += 1
    assert starts[:6] == [0, 1, 3, 7, 15, 31]
    assert {later - earlier for earlier, later in itertools.pairwise(starts[6:])} == {60}


def test_what_ran_for_long_is_started_again_at_once(home: Path) -> None:
    clock = Clock()
    nap = keeper(clock)
    for _ in range(3):
        nap.keep()
        pid = processes.running("nap")
        assert pid
        clock.now += 1000
        os.kill(pid, signal.SIGKILL)
        assert ended()
    nap.keep()
    assert processes.running("nap")


def test_what_hung_before_the_supervisor_came_is_no_more_patiently_waited_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper(Clock()).keep()
    for age_s, waits_s in ((1000, 60), (200, 60), (1, 239)):  # the last one may still be starting
        clock = Clock()
        monkeypatch.setattr(processes, "age_s", lambda _, age_s=age_s: age_s)
        found = keeper(clock, lambda: "silent")
        clock.now += waits_s
        found.question()
        assert processes.running("nap"), "not yet"
        clock.now += 1
        found.question()
        assert ended()
        found.keep()
    monkeypatch.undo()
    monkeypatch.setenv("LOCKGATE_HOME", str(home))
    assert 0 <= processes.age_s("nap") < 60 and processes.age_s("none") == 0


def test_what_hangs_is_replaced_once_it_was_silent_for_too_long(home: Path) -> None:
    clock, said = Clock(), [None]  # type: tuple[Clock, list[str | None]]
    nap = keeper(clock, lambda: said[0])
    nap.keep()
    first = processes.running("nap")
    assert first
    nap.question()
    os.kill(first, signal.SIGSTOP)
    said[0] = "timed out"
    clock.now += 50
    nap.question()
    assert processes.running("nap") == first, "it may be busy"
    clock.now += 20
    nap.question()
    assert processes.running("nap") is None
    nap.keep()
    second = processes.running("nap")
    assert second and second != first
    clock.now += 200
    nap.question()
    assert processes.running("nap") == second, "it may be starting"
    clock.now += 100
    nap.question()
    assert processes.running("nap") is None


def test_what_hangs_again_and_again_is_waited_for_longer_until_it_was_well_for_a_while(home: Path) -> None:
    clock, said = Clock(), [None]  # type: tuple[Clock, list[str | None]]
    nap = keeper(clock, lambda: said[0])

    def silent_until_killed() -> int:
        said[0] = None
        nap.keep()
        nap.question()
        said[0], silent_s = "timed out", 0
        while processes.running("nap"):
            silent_s, clock.now = silent_s + 10, clock.now + 10
            nap.question()
        clock.now += 60
        return silent_s

    assert [silent_until_killed() for _ in range(4)] == [70, 130, 250, 250]
    said[0] = None
    nap.keep()
    clock.now += 400
    nap.question()
    assert silent_until_killed() == 70


def test_a_log_is_cut_and_its_writer_goes_on(home: Path) -> None:
    processes.start("nap", ["/bin/sh", "-c", "while read -r line; do :; done; cat"], {"PATH": "/bin"}, Path("/"))
    with processes.log_of("nap").open("a") as writer:
        writer.write("x" * 2000 + "\n")
        writer.flush()
        processes.rotate(limit=1000)
        writer.write("after\n")
    assert processes.log_of("nap").read_text() == "after\n"
    assert (home / "run" / "nap.log.1").stat().st_size == 2001
    processes.rotate(limit=1000)
    assert (home / "run" / "nap.log.1").stat().st_size == 2001


class Watch(serving.EnvironmentWatch):
    """One whose pages are sent before the test looks at them."""

    def look(self, shop: Any) -> float:
        pause_s = super().look(shop)
        if self._pages._sending:
            self._pages._sending.join(30)
        return pause_s


class Place:
    """A target whose `ensure` gives what the test says."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def ensure(self) -> tuple[str, ...]:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return tuple(answer)


@pytest.fixture
def paged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    pages: list[str] = []
    monkeypatch.setattr(serving, "page", lambda pager, subject, body: pages.append(subject) or True)
    return pages


def shop_of(ledger: Ledger, place: Place) -> Any:
    return SimpleNamespace(ledger=ledger, pager="slack-webhook/oncall", target=lambda name: place)


def test_what_is_brought_back_is_on_record_and_flapping_pages_once(tmp_path: Path, paged: list[str]) -> None:
    ledger = Ledger(url=f"sqlite:///{tmp_path}/ledger.db")
    said: list[str] = []
    place = Place((), ("started the proxy",), (), *[("started abc",)] * 5)
    one, shop = Watch("shop", said.append), shop_of(ledger, place)
    pauses = [one.look(shop) for _ in range(8)]
    assert pauses[:4] == [serving.LOOK_AT_ENGINE_S] * 4
    assert pauses[4:] == [2, 4, 8, 16], "what keeps going down is brought back less and less often"
    assert paged == ["Lockgate: shop went down 3 times in 5 minutes"]
    back = ledger.entries(kind="brought-back")
    assert [entry.body["lines"] for entry in back] == [["started the proxy"], *[["started abc"]] * 5]
    assert any("started the proxy" in line for line in said)


def test_what_cannot_be_brought_back_is_said_once_and_pages_once(tmp_path: Path, paged: list[str]) -> None:
    said: list[str] = []
    place = Place(*[TargetError("the port is taken")] * 6, ("started the proxy",))
    one, shop = Watch("shop", said.append), shop_of(Ledger(url=f"sqlite:///{tmp_path}/ledger.db"), place)
    assert [one.look(shop) for _ in range(6)] == [2, 4, 8, 16, 32, 60]
    assert said.count("shop does not serve: the port is taken") == 1
    assert paged == ["Lockgate: shop does not serve"]
    assert one.look(shop) == serving.LOOK_AT_ENGINE_S


def test_a_deleted_block_is_not_the_end_of_what_serves(tmp_path: Path, paged: list[str]) -> None:
    ledger, said = Ledger(url=f"sqlite:///{tmp_path}/ledger.db"), list[str]()
    place = Place((), (), ("started abc",))
    one = Watch("shop", said.append)

    def gone(name: str) -> Any:
        raise InputError(f"there is no block for {name}")

    shops = [shop_of(ledger, place), SimpleNamespace(ledger=ledger, pager=None, target=gone)]
    assert [one.look(shop) for shop in (shops[0], shops[1], shops[1])] == [serving.LOOK_AT_ENGINE_S] * 3
    assert said[0] == "shop is looked after as it was set up before: there is no block for shop"
    assert said[1].startswith("shop is back after")
    assert paged == []
    assert Watch("shop", said.append).look(shops[1]) == 2, "one that was never set up serves nothing"


def test_a_page_that_could_not_be_sent_is_tried_again_and_one_that_hangs_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, tried, may_go = list[str](), list[str](), threading.Event()
    answers = iter((False, True))

    def page(pager: str, subject: str, body: str) -> bool:
        tried.append(subject)
        assert kept.is_used(), "no server is asked"
        assert may_go.wait(30)
        return next(answers)

    monkeypatch.setattr(serving, "page", page)
    shop = shop_of(Ledger(url=f"sqlite:///{tmp_path}/ledger.db"), Place(*[TargetError("the port is taken")] * 9))
    one = serving.EnvironmentWatch("shop", said.append)
    for _ in range(4):
        one.look(shop)
    assert tried == ["Lockgate: shop does not serve"], "the watch has gone on, and does not send it twice"
    may_go.set()
    assert one._pages._sending
    one._pages._sending.join(30)
    assert "nobody could be paged (Lockgate: shop does not serve): it is tried again in 60 s" in said
    one.look(shop)
    one._pages._sending.join(30)
    assert len(tried) == 1, "not at once"
    monkeypatch.setattr(one._pages, "_not_before", 0.0)
    for _ in range(2):
        one.look(shop)
        one._pages._sending.join(30)
    assert len(tried) == 2, "it was sent, and is not sent again"
    assert said[-1] == "a person was paged: Lockgate: shop does not serve"


def test_a_pager_is_called_from_the_copy_without_the_server(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_server(*_: object, **__: object) -> Any:
        raise AssertionError("the server is asked")

    monkeypatch.setattr(Block, "load", no_server)
    (home / "credentials").mkdir()
    (home / "credentials" / "encryption-key").write_text(Fernet.generate_key().decode())
    told, answers = list[bytes](), iter((204, 500, 500))

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(next(answers))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing to say."""

    with http.server.HTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"127.0.0.1:{server.server_port}/call"
        words = {"name": "x", "url": f"http://{at}", "json_data": {"text": "{{subject}}: {{body}}"}}
        every = [
            {"block_type": {"slug": slug}, "name": name, "data": data}
            for slug, name, data in (
                ("lockgate-workshop", "default", {"pager": "custom-webhook/oncall"}),
                ("lockgate-workshop", "other", {"pager": "slack-webhook/oncall"}),
                ("lockgate-workshop", "quiet", {"pager": None}),
                ("custom-webhook", "oncall", words),
                ("slack-webhook", "oncall", {"url": f"json://{at}"}),
                ("secret", "unrelated", {"value": "x"}),
            )
        ]
        pages = iter((every, []))
        monkeypatch.setattr(api, "post", lambda *_: next(pages))
        kept.keep(api.blocks())
        assert kept.names("custom-webhook") == ["oncall"] and kept.names("secret") == []
        with kept.used():
            sent = [page(f"{kind}/oncall", "down", "it is") for kind in ("custom-webhook",) * 2 + ("slack-webhook",)]
            assert not page("slack-webhook/gone", "down", "it is")
        server.shutdown()
    assert sent == [True, False, False], "an answer that says no is no page"
    assert [b"down" in one for one in told] == [True] * 3
    assert b"it is" in told[0] and at not in caplog.text


def test_what_serves_is_watched_without_the_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_server(*_: object, **__: object) -> Any:
        raise AssertionError("the server is asked")

    monkeypatch.setattr(Block, "load", no_server)
    credentials = home / "credentials"
    credentials.mkdir()
    (credentials / "encryption-key").write_text(Fernet.generate_key().decode())
    target = {"name": "shop", "port": 4711}
    workshop = {"ledger": {"url": f"sqlite:///{home}/ledger.db"}, "store": {"root": str(home / "store")}}
    told = {"lockgate-workshop/default": {**workshop, "targets": {"shop": "process-target/shop"}}}
    kept.keep({**told, "lockgate-process-target/shop": target})
    supervisor = Supervisor()
    shop = supervisor.shop()
    assert shop is supervisor.shop()
    assert Watch("shop", print).look(shop) == serving.LOOK_S
    kept.keep({**told, "lockgate-process-target/shop": {**target, "port": 4712}})
    again = supervisor.shop()
    assert again is not shop
    with kept.used():
        assert getattr(again.target("shop"), "port", None) == 4712
    with pytest.raises(AssertionError, match="the server is asked"):
        again.target("shop")


def test_runs_that_wait_for_a_slot_take_a_free_one_oldest_first(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    asks = settings.server_environment()["PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS"]
    monkeypatch.setenv("PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS", asks)
    waits_s = Settings().server.deployments.concurrency_slot_wait_seconds
    assert waits_s == 600, "by themselves they ask seldom: fifty of them would keep the server busy"
    from datetime import UTC, datetime, timedelta

    now = datetime.now(UTC)
    full, roomy = uuid4(), uuid4()
    later = now + timedelta(seconds=25)
    runs = [
        SimpleNamespace(
            id=f"{name} {n}", deployment_id=of, created=now - timedelta(minutes=n), next_scheduled_start_time=at
        )
        for name, of, n, at in (
            ("roomy", roomy, 1, later), ("roomy", roomy, 2, later), ("roomy", roomy, 3, now), ("full", full, 1, later),
        )
    ]  # fmt: skip
    taken = {full: 1, roomy: 2}
    moved = []

    class Client:
        def read_flow_runs(self, flow_run_filter: Any, **_: Any) -> list[Any]:
            if flow_run_filter.deployment_id is None:
                return runs
            of: UUID = flow_run_filter.deployment_id.any_[0]
            return [SimpleNamespace(id=n) for n in range(taken[of])]

        def read_deployment(self, of: UUID) -> Any:
            return SimpleNamespace(global_concurrency_limit=SimpleNamespace(limit={full: 1, roomy: 4}[of]))

        def set_flow_run_state(self, run: str, state: Any, force: bool) -> None:
            moved.append((run, state.name, state.state_details.scheduled_time <= now))

    client: Any = Client()
    take_free_slots(client, now)
    assert moved == [("roomy 2", "AwaitingConcurrencySlot", True)], "two are free: the oldest is on its way already"
