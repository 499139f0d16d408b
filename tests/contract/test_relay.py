"""The relay by itself: what it may hold, and what waits."""

import os
import resource
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from blocks.host import relay
from kits.users import until

RELAY = Path(__file__).parents[2] / "blocks" / "host" / "relay.py"
MOST, WAYS, CALLERS = 140, 40, 60


def test_more_connections_than_it_may_hold_wait_and_are_served_later(tmp_path: Path) -> None:
    """Each way costs a descriptor of the same number: without one to accept by, it would turn in circles."""
    with socket.create_server(("127.0.0.1", 0), backlog=CALLERS) as server:
        port = server.getsockname()[1]
        listening = [socket.create_server(("127.0.0.1", 0), backlog=CALLERS) for _ in range(WAYS)]
        words = [f"fd:{each.fileno()}=127.0.0.1:{port}" for each in listening]
        running = subprocess.Popen(
            [sys.executable, "-I", "-S", str(RELAY), *words],
            pass_fds=[each.fileno() for each in listening],
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (MOST, MOST)),
        )
        try:
            at = [each.getsockname()[1] for each in listening]
            callers = [socket.create_connection(("127.0.0.1", at[n % WAYS]), 30) for n in range(CALLERS)]
            for number, each in enumerate(callers):
                each.sendall(b"%02d" % number)
            server.settimeout(30)
            could = (MOST - WAYS - 64) // 2
            first = _taken(server, could)
            until(
                lambda: Path(f"/proc/{running.pid}/stat").read_text().split()[2] == "S"
            )  # it waits, and turns no circles
            assert len(os.listdir(f"/proc/{running.pid}/fd")) < MOST - 16
            for number, each in first.items():
                callers[number].close()
                each.close()
            second = _taken(server, could)
            assert len(first) == len(second) == could and not set(first) & set(second)
        finally:
            running.kill()
            running.wait()
            for each in listening:
                each.close()


def test_a_name_that_is_looked_up_for_long_keeps_only_itself_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up, answer, asked = socket.getaddrinfo, threading.Event(), []

    def slow(host: str, port: int, *words: Any, **named: Any) -> Any:
        if host.endswith(".example") and not named.get("flags"):
            asked.append(host)
            assert answer.wait(60)
            if host.startswith("nowhere"):
                raise socket.gaierror(socket.EAI_NONAME, "there is no such name")
            host = "127.0.0.1"
        return look_up(host, port, *words, **named)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    tie, end = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as server, tie, end:
        port = server.getsockname()[1]
        dials = [f"slow.example:{port}", f"nowhere.example:{port}", f"127.0.0.1:{port}", f"{'x' * 64}.invalid:{port}"]
        ways = [relay.RelayWay(socket.create_server(("127.0.0.1", 0)), dial) for dial in dials]
        at = [way.listener.getsockname() for way in ways]
        monkeypatch.setattr(relay, "_descriptors", lambda: 200)
        thread = threading.Thread(target=relay.Relay(ways, [tie.fileno()]).serve)
        thread.start()
        with socket.create_connection(at[3], 30) as odd:
            assert odd.recv(1) == b"", "no name is that long"
        late = [socket.create_connection(at[0], 30) for _ in range(3)]
        lost = socket.create_connection(at[1], 30)
        for each in late:
            each.sendall(b"late")
        server.settimeout(30)
        for _ in range(2):
            with socket.create_connection(at[2], 30) as caller:
                caller.sendall(b"soon")
                with server.accept()[0] as taken:
                    assert taken.recv(4) == b"soon"
        answer.set()
        for each in late:
            with server.accept()[0] as taken:
                assert taken.recv(4) == b"late"
            each.close()
        assert lost.recv(1) == b"", "there is no such host"
        lost.close()
        assert sorted(asked) == ["nowhere.example", "slow.example"], "once for all that wait"
        end.close()
        thread.join(30)
        assert not thread.is_alive()
        for way in ways:
            way.listener.close()


def _taken(server: socket.socket, count: int) -> dict[int, socket.socket]:
    """Connections that came through, by the number that each caller said."""
    lines = [server.accept()[0] for _ in range(count)]
    return {int(each.recv(2)): each for each in lines}
