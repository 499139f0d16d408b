"""What is under way when a release loses the traffic: it ends, or it is counted and said. Streams are requests too."""

import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from blocks.host import processes
from blocks.targets.machine.process import ProcessTarget
from domain.health import HealthCheck
from domain.ports import ReleaseBuild
from domain.rollout import Rollout
from domain.trees import TreeEntry
from kits.servers import free_port
from kits.tiny_service import toolchain
from kits.users import until

SERVICE = """
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/upgrade":
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.end_headers()
            self.wfile.flush()
            while self.rfile.read(1):
                self.wfile.write(b".")
            self.close_connection = True
            return
        if self.path == "/events":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            for _ in range(600):
                self.wfile.write(b"data: .\\n\\n")
                self.wfile.flush()
                time.sleep(0.1)
            return
        if self.path == "/long":
            time.sleep(4)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *arguments):
        pass
http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""
OLD, NEW = "a" * 40, "b" * 40


def built(revision: str) -> ReleaseBuild:
    tree = {"service.py": TreeEntry(0o100644, SERVICE.encode()), "n": TreeEntry(0o100644, revision.encode())}
    return ReleaseBuild(tree, toolchain(), "python service.py {host} {port}", HealthCheck(path="/"), None, {}, None)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessTarget]:
    made = ProcessTarget(
        name="shop",
        root=tmp_path_factory.mktemp("targets"),
        port=free_port(),
        rollout=Rollout(shares=(), bake_s=0, interval_s=0.02),
        stop_s=0.5,
    )
    for revision in (OLD, NEW):
        made.prepare(revision, built(revision))
    assert made.start(OLD) is None
    made.promote(OLD)
    yield made
    made.stop()


@pytest.fixture
def lines(there: ProcessTarget) -> list[str]:
    """What is said while the newer release, which has the traffic now, loses it."""
    there.rollback(OLD)
    assert there.start(NEW) is None
    there.promote(NEW)
    return []


def under(there: ProcessTarget, lines: list[str], drain_s: float) -> ProcessTarget:
    twin = there.model_copy(update={"drain_s": drain_s})
    twin._say = lines.append
    return twin


def talk(there: ProcessTarget, path: str, *headers: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", there.port))
    sock.sendall("\r\n".join([f"GET {path} HTTP/1.1", "Host: a", *headers, "", ""]).encode())
    return sock


def test_a_drain_ends_with_the_last_request_and_cuts_none(there: ProcessTarget, lines: list[str]) -> None:
    user = talk(there, "/long", "Connection: close")
    until(lambda: there._service(NEW).requests())
    under(there, lines, 600).rollback(OLD)  # of which nothing but the request is waited for
    answer = b"".join(iter(lambda: user.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"ok")
    assert any("has no request under way any more after" in line for line in lines), lines
    assert not any("cut" in line for line in lines)
    assert not there._service(NEW).is_running()


def test_streams_that_do_not_end_are_counted_and_said(there: ProcessTarget, lines: list[str]) -> None:
    socket_ = talk(there, "/upgrade", "Upgrade: websocket", "Connection: Upgrade")
    events = talk(there, "/events")
    assert socket_.recv(12) == events.recv(12).replace(b"200", b"101")
    under(there, lines, 1.5).rollback(OLD)
    assert "2 requests under way are cut after 1.5 s: drain_s gives them longer" in lines
    assert lines.index(f"the traffic goes to {there._releases.place(OLD).get().upstream}") == 0
    socket_.close()
    events.close()


def test_what_a_release_cuts_that_ends_while_it_drains_is_counted_and_said(
    there: ProcessTarget, lines: list[str]
) -> None:
    socket_ = talk(there, "/upgrade", "Upgrade: websocket", "Connection: Upgrade")
    events = talk(there, "/events")
    assert socket_.recv(12) == events.recv(12).replace(b"200", b"101")
    back = threading.Thread(target=under(there, lines, 600).rollback, args=(OLD,))
    back.start()
    until(lambda: any("seen serving" in line for line in lines))
    processes.end(there._service(NEW).place.mark, grace_s=0)
    back.join(30)
    assert not back.is_alive()
    assert re.search(rf"{NEW} has ended by itself after .*: 2 requests under way are cut with it", "\n".join(lines)), (
        lines
    )
    assert not any("no request under way" in line for line in lines)
    socket_.close()
    events.close()


def test_the_traffic_is_back_and_others_may_act_while_it_drains(there: ProcessTarget, lines: list[str]) -> None:
    events = talk(there, "/events")
    events.recv(12)
    back = threading.Thread(target=under(there, lines, 600).rollback, args=(OLD,))
    back.start()
    until(lambda: any("seen serving" in line for line in lines))
    time.sleep(0.3)
    assert back.is_alive() and there.current() == OLD
    there.promote(NEW)  # takes the target's lock
    assert there.current() == NEW
    events.close()
    back.join(60)
    assert not back.is_alive()
    assert there._service(NEW).is_running()  # it has the traffic again, so it stays


def test_a_release_that_begins_while_another_drains_is_left_alone(there: ProcessTarget, lines: list[str]) -> None:
    events, back = talk(there, "/events"), threading.Event()
    events.recv(12)
    older = under(there, lines, 600)
    older._token = 1
    rollback = threading.Thread(target=older.rollback, args=(OLD, back.set))
    rollback.start()
    assert back.wait(60) and there.current() == OLD and rollback.is_alive()
    newer = there.under(2, lambda _: None)
    newer.prepare(NEW, built(NEW))
    assert newer.start(NEW) is None
    events.close()
    rollback.join()
    assert there._service(NEW).is_running()
    assert "another run acts here by now: it stops what has lost the traffic" in lines
