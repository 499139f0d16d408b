"""Events and logs through the door, over real sockets, from a server that speaks Prefect's protocol."""

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from blocks.ledger.tokens import Tokens
from domain.access import Role
from station.door import sockets
from station.door.app import Door
from station.door.guests import Guests
from station.door.upstream import Upstream

PREFECT = [Subprotocol("prefect")]
HEARD: list[Any] = []
EVENT = {"type": "event", "event": {"payload": {"updates": {"base_job_template": {"from": {"env": "a-secret"}}}}}}


def events(server: ServerConnection) -> None:
    """As Prefect's server does: a token, a filter, then what happens."""
    HEARD.append(json.loads(server.recv()))
    server.send(json.dumps({"type": "auth_success"}))
    HEARD.append(json.loads(server.recv()))
    if HEARD[-1].get("type") != "filter":
        server.close(1002, "Expected 'filter' message")
        return
    server.send(json.dumps(EVENT))
    for said in server:
        HEARD.append(json.loads(said))


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Tokens]]:
    """The address of a door that listens, and its tokens."""
    tokens = Tokens(f"sqlite:///{tmp_path_factory.mktemp('sockets')}/ledger.db")
    with serve(events, "127.0.0.1", 0, subprotocols=PREFECT) as server, socket.socket() as bound:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        app = Door(Upstream(f"http://127.0.0.1:{server.socket.getsockname()[1]}", "admin:all"), Guests(lambda: tokens))
        config = uvicorn.Config(app, http="h11", ws="websockets-sansio", lifespan="off", log_config=None)
        listening = uvicorn.Server(config)
        thread = threading.Thread(target=listening.run, args=([bound],), daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{bound.getsockname()[1]}", tokens
        listening.should_exit = True
        thread.join(20)
        server.shutdown()


def opened(url: str, path: str, first: Any) -> ClientConnection:
    made = connect(f"{url}{path}", subprotocols=PREFECT, proxy=None)
    made.send(json.dumps(first))
    return made


def test_a_reader_sees_what_happens_without_secrets_until_the_token_is_revoked(
    door: tuple[str, Tokens], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "AGAIN_S", 0.2)
    url, tokens = door
    HEARD.clear()
    _, value = tokens.add("ann", {Role.REVIEW})
    with opened(url, "/api/events/out", {"type": "auth", "token": f"ann:{value}"}) as reader:
        assert json.loads(reader.recv(timeout=30)) == {"type": "auth_success"}
        reader.send(json.dumps({"type": "filter", "filter": {}}))
        told = json.loads(reader.recv(timeout=30))
        assert told["event"]["payload"]["updates"] == {"base_job_template": {}}
        assert HEARD == [{"type": "auth", "token": "admin:all"}, {"type": "filter", "filter": {}}]
        tokens.revoke("ann")
        with pytest.raises(ConnectionClosed, match="was revoked"):
            reader.recv(timeout=30)


def test_who_administers_sees_all_and_the_servers_own_refusal_is_passed_on(door: tuple[str, Tokens]) -> None:
    url, tokens = door
    _, value = tokens.add("root", {Role.ADMINISTER})
    with opened(url, "/api/events/out", {"type": "auth", "token": value}) as reader:
        reader.recv(timeout=30)
        reader.send(json.dumps({"type": "filter"}))
        assert json.loads(reader.recv(timeout=30)) == EVENT
    with opened(url, "/api/logs/out", {"type": "auth", "token": value}) as reader:
        reader.recv(timeout=30)
        reader.send(json.dumps({"type": "something"}))
        with pytest.raises(ConnectionClosed, match="Expected 'filter' message"):
            reader.recv(timeout=30)


def test_no_socket_is_opened_for_who_may_not(door: tuple[str, Tokens]) -> None:
    url, tokens = door
    _, value = tokens.add("bob", {Role.SUBMIT})
    HEARD.clear()
    firsts = (
        ("/api/events/out", {"type": "auth", "token": "guess"}, "is not known"),
        ("/api/events/out", {"type": "auth"}, "must be of type auth"),
        ("/api/events/out", {"type": "filter", "token": value}, "must be of type auth"),
        ("/api/events/out", [value], "must be of type auth"),
        ("/api/events/in", {"type": "auth", "token": value}, "may not open this socket"),
    )
    for path, first, why in firsts:
        with opened(url, path, first) as tried, pytest.raises(ConnectionClosed, match=why):
            tried.recv(timeout=30)
    unknown = ("/api/work_pools/lockgate/workers/connect", "/api/task_runs/subscriptions/scheduled", "/api/events/out/",
               "/api//events/out", "/api/events/%6fut?token=x", "/events/out", "/")  # fmt: skip
    for path in unknown:
        with pytest.raises(InvalidStatus, match="403"):
            connect(f"{url}{path}", subprotocols=PREFECT, proxy=None)
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"{url}/api/events/out", proxy=None)
    assert HEARD == []
