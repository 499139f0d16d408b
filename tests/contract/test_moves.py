"""The page of a task is told when something moved, for as long as somebody is signed in, by streams that are few."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from domain.access import Role
from domain.errors import LedgerError
from domain.history import Submitted
from station import api
from station.desk import moves, tasks
from tests.contract.desk import Browser, FakeDesk
from tests.contract.door import RUNS

RUN, OTHER = RUNS["submit-er"], RUNS["nobody"]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDesk]:
    made = FakeDesk(tmp_path_factory.mktemp("desk"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(api, "_once", made.once)
        patched.setattr(moves, "EVERY_S", 0.02)
        yield made


@pytest.fixture(autouse=True)
def _runs(desk: FakeDesk) -> None:
    for run in (RUN, OTHER):
        state = {"type": "RUNNING", "name": "Running", "timestamp": "2030-01-01T00:00:00+00:00"}
        desk.runs[run] = {
            "id": run, "name": "a task", "labels": {}, "parameters": {"brief": {"title": "a task"}}, "state": state,
            "state_type": "RUNNING", "state_name": "Running",
        }  # fmt: skip
    desk.said = "a line"
    desk.now += 1000


class Stream:
    """What a browser reads of a stream, until it goes."""

    def __init__(self, ann: Browser, run: str = RUN, seen: str = "", last: str = "") -> None:
        path = ann.at(f"/desk/task/{run}/moves")
        headers = [*ann.cookie(f"/desk/task/{run}/moves"), *([("last-event-id", last)] if last else [])]
        self.status, self.headers = 0, dict[str, str]()
        self.told: list[str] = []
        self._gone = asyncio.Event()
        self._more = asyncio.Event()
        self._scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": f"seen={seen}".encode(), "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in headers], "client": ("192.0.2.1", 1),
            "server": ("door", 80),
        }  # fmt: skip
        self.open = asyncio.ensure_future(ann.desk.app(self._scope, self._receive, self._send))

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not is_so():
                self._more.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._more.wait(), 0.05)

    async def moved(self, times: int) -> None:
        await self.until(lambda: sum("event: moved" in one for one in self.told) >= times)

    async def go(self) -> None:
        self._gone.set()
        await self.open

    async def _receive(self) -> Any:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        elif message["body"]:
            self.told.append(message["body"].decode())
        self._more.set()


def run(desk: FakeDesk, coming: Any) -> Any:
    return desk._loop.run(coming)


def mark(ann: Browser) -> str:
    return ann.get(f"/desk/task/{RUN}").content.decode().partition('data-again="')[2].partition('"')[0]


def test_a_page_is_told_of_each_move_and_of_the_end_and_of_nothing_else(desk: FakeDesk) -> None:
    ann = Browser(desk, Role.REVIEW)
    seen = mark(ann)

    async def watched() -> None:
        stream = Stream(ann, seen=seen)
        await stream.until(lambda: bool(stream.told))
        assert stream.headers["content-type"] == "text/event-stream" and stream.headers["cache-control"] == "no-store"
        await asyncio.sleep(0.2)
        assert stream.told == ["retry: 5000\n\n"], "the browser has what there is"
        desk.ledger.record(RUN, "submitted", "submitted", Submitted(by="ann"))
        await stream.moved(1)
        desk.runs[RUN]["state"] = {**desk.runs[RUN]["state"], "timestamp": "2030-01-01T00:01:00+00:00"}
        await stream.moved(2)
        last = stream.told[-1].partition("id: ")[2].partition("\n")[0]
        await stream.go()
        later = Stream(ann, seen=seen, last=last)
        await later.until(lambda: bool(later.told))
        await asyncio.sleep(0.2)
        assert later.told == ["retry: 5000\n\n"], "who comes again says what it has seen"
        desk.runs[RUN] |= {"state_type": "COMPLETED", "state_name": "Completed"}
        await later.open
        assert later.told[-1] == "event: over\ndata: over\n\n"

    run(desk, watched())
    assert not desk.app.desk.moves._of.total() and not desk.app.desk.moves._seen


def test_however_many_look_the_server_is_asked_as_if_one_did(desk: FakeDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "EVERY_S", 0.2)
    ann, bob = Browser(desk, Role.REVIEW), Browser(desk, Role.ANSWER)
    looks: list[str] = []
    stand_of = tasks.stand_of
    monkeypatch.setattr(tasks, "stand_of", lambda one: looks.append(one["id"]) or stand_of(one))

    async def watched() -> None:
        first = Stream(ann)
        others = [Stream(each) for each in (ann, ann, bob, bob, bob)]
        await first.moved(1)
        for other in others:
            await other.moved(1)
        while len(looks) < 5:
            await asyncio.sleep(0.02)
        times = [other.told for other in others]
        assert all(len(told) == 2 for told in times), times
        for each in (first, *others):
            await each.go()

    async def timed() -> float:
        begun = asyncio.get_running_loop().time()
        await watched()
        return asyncio.get_running_loop().time() - begun

    took = run(desk, timed())
    assert len(looks) <= 2 + took / 0.18, "six streams: hardly more than one look in a round"


@pytest.mark.parametrize("end", ["signed out", "revoked", "the ledger is away"])
def test_who_is_not_signed_in_any_more_is_told_nothing_more(
    desk: FakeDesk, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"ann-{end.replace(' ', '-')}"
    ann = Browser(desk)
    ann.sign_in(desk.tokens.add(name, {Role.REVIEW})[1])
    assert ann.get("/desk/").status == 200

    async def watched() -> None:
        stream = Stream(ann)
        await stream.moved(1)
        if end == "signed out":
            desk.app.desk.sessions.end(ann.cookies["lockgate_desk"])
        elif end == "revoked":
            desk.tokens.revoke(name)
        else:
            monkeypatch.setattr(desk.app.guests, "tokens", _away)
        await asyncio.wait_for(stream.open, 20)
        desk.ledger.record(RUN, "submitted", f"after {end}", Submitted(by="ann"))
        assert len(stream.told) == 2

    run(desk, watched())


def _away() -> Any:
    raise LedgerError("it is away")


def test_streams_are_few_and_one_person_takes_not_all_of_them(desk: FakeDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "MOST", 3)
    monkeypatch.setattr(moves, "MOST_OF_ONE", 2)
    ann, bob = Browser(desk, Role.REVIEW), Browser(desk, Role.ANSWER)

    async def opened(who: Browser) -> Stream:
        stream = Stream(who)
        await stream.until(lambda: bool(stream.told))
        return stream

    async def watched() -> None:
        held = [await opened(ann), await opened(ann)]
        refused = await opened(ann)
        assert refused.status == 429
        held.append(await opened(bob))
        assert [one.status for one in held] == [200] * 3
        assert (await opened(bob)).status == 429
        await held[0].go()
        again = await opened(ann)
        assert again.status == 200, "one that is over makes room"
        for one in (*held[1:], again):
            await one.go()

    run(desk, watched())


def test_who_may_not_see_a_task_gets_no_stream_of_it(desk: FakeDesk) -> None:
    bob, nobody = Browser(desk, Role.SUBMIT), Browser(desk)
    assert bob.get(f"/desk/task/{OTHER}/moves").status == 403
    assert nobody.get(f"/desk/task/{OTHER}/moves").status == 303
    assert Browser(desk, Role.REVIEW).get("/desk/task/99999999-0000-4000-8000-000000000000/moves").status == 404


def test_a_server_that_is_away_for_a_while_breaks_no_stream(desk: FakeDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = Browser(desk, Role.REVIEW)

    async def watched() -> None:
        stream = Stream(ann)
        await stream.moved(1)
        with monkeypatch.context() as patched:
            patched.setattr(api, "_once", _gone)
            await asyncio.sleep(0.1)
        desk.ledger.record(RUN, "submitted", "afterwards", Submitted(by="ann"))
        await stream.moved(2)
        await stream.go()

    run(desk, watched())


def _gone(*_: object, **__: object) -> Any:
    raise api.NoAnswer("it is away")


def test_the_page_works_without_a_script(desk: FakeDesk, tmp_path: Path) -> None:
    ann = Browser(desk, Role.REVIEW)
    assert '<noscript> <a href="">Look again</a></noscript>' in ann.get(f"/desk/task/{RUN}").content.decode()
