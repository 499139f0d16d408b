"""A release in a network of its own: what a hostile one reaches from there, and what users' requests go through."""

import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from blocks.host import processes
from blocks.targets.machine.process import ProcessTarget
from domain.health import HealthCheck
from domain.ports import ReleaseBuild
from domain.rollout import Rollout
from domain.trees import TreeEntry
from kits.product.gateway import Authority, RecordingUpstream, Running, rule, running
from kits.servers import free_port
from kits.tiny_service import toolchain
from kits.users import until

SERVICE = """
import hashlib, http.server, json, os, socket, sys, urllib.error, urllib.parse, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        what, _, asked = self.path.partition("?")
        self.wfile.flush()
        answer = getattr(self, "on_" + what[1:], lambda _: "ok")(urllib.parse.unquote(asked))
        if answer is not None:
            self.say(answer if isinstance(answer, bytes) else json.dumps(answer).encode())
    def do_POST(self):
        digest, left = hashlib.sha256(), int(self.headers["Content-Length"])
        while left and (piece := self.rfile.read(min(left, 1 << 16))):
            digest.update(piece)
            left -= len(piece)
        self.say(json.dumps([digest.hexdigest(), dict(self.headers)]).encode(), "X-Back", "there")
    def say(self, body, *header):
        self.send_response(200)
        if header:
            self.send_header(*header)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def on_bytes(self, count):
        return bytes(range(256)) * (int(count) // 256)
    def on_file(self, path):
        try:
            return open(path).read()
        except OSError as err:
            return err.strerror
    def on_list(self, path):
        return sorted(os.listdir(path))
    def on_connect(self, address):
        kind = socket.AF_UNIX if address[0] == "/" else socket.AF_INET
        host, _, port = address.rpartition(":")
        with socket.socket(kind) as line:
            line.settimeout(5)
            try:
                line.connect(address if kind == socket.AF_UNIX else (host, int(port)))
                return line.recv(9).decode()
            except OSError as err:
                return type(err).__name__
    def on_fetch(self, url):
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return answer.read().decode()
        except (urllib.error.URLError, OSError) as err:
            return str(err)
    def on_upgrade(self, _):
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        while said := self.rfile.readline():
            self.wfile.write(said.upper())
        self.close_connection = True
    def on_events(self, _):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for number in range(3):
            self.wfile.write(b"data: %d\\n\\n" % number)
            self.wfile.flush()
            self.connection.settimeout(30)
            if number < 2:
                self.rfile.read(0)
    def log_message(self, *arguments):
        pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 256
Server((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""
OLD, NEW = "a" * 40, "b" * 40
HOST = "api.example.com"


def built(revision: str) -> ReleaseBuild:
    tree = {"service.py": TreeEntry(0o100644, SERVICE.encode()), "n": TreeEntry(0o100644, revision.encode())}
    return ReleaseBuild(tree, toolchain(), "python service.py {host} {port}", HealthCheck(path="/"), None, {}, None)


def made(root: Path, **fields: object) -> ProcessTarget:
    settings = {"name": "shop", "root": root, "port": free_port(), "stop_s": 0.5, "start_timeout_s": 60}
    rollout = Rollout(shares=(), bake_s=0, interval_s=0.02)
    return ProcessTarget.model_validate({**settings, "rollout": rollout, **fields})


def serve(target: ProcessTarget, revision: str) -> None:
    target.prepare(revision, built(revision))
    assert target.start(revision) is None
    target.promote(revision)


class Database:
    """What listens on this machine's loopback and greets whoever comes."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._greet, daemon=True).start()

    def _greet(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                with self._listener.accept()[0] as line:
                    line.sendall(b"hello")

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(scope="module")
def databases() -> Iterator[list[Database]]:
    """One that is granted as a URL, one by its address, one not at all."""
    there = [Database() for _ in range(3)]
    yield there
    for each in there:
        each.close()


@pytest.fixture(scope="module")
def there(databases: list[Database], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessTarget]:
    target = made(
        tmp_path_factory.mktemp("targets"),
        environment={"DATABASE_URL": f"postgresql+psycopg://shop:secret@localhost:{databases[0].port}/shop"},
        reach=(f"127.0.0.1:{databases[1].port}", "db.internal:5432"),
    )
    serve(target, OLD)
    yield target
    target.stop()


def asked(target: ProcessTarget, path: str, body: bytes | None = None, **headers: str) -> tuple[bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=60)
    connection.request("GET" if body is None else "POST", path, body, headers)
    answer = connection.getresponse()
    said = answer.read(), dict(answer.getheaders())
    connection.close()
    return said


def inside(target: ProcessTarget, what: str, about: object) -> object:
    return json.loads(asked(target, f"/{what}?{quote(str(about), safe='')}")[0])


def test_a_release_reaches_what_its_environment_names_and_nothing_else(
    there: ProcessTarget, databases: list[Database], tmp_path: Path
) -> None:
    with_url, by_address, not_granted = databases
    with socket.socket(socket.AF_UNIX) as docker, socket.socket(socket.AF_UNIX) as abstract:
        docker.bind(str(tmp_path / "s"))
        abstract.bind(f"\0lockgate-{os.getpid()}")
        for listener in (docker, abstract):
            listener.listen()
        assert inside(there, "connect", f"127.0.0.1:{with_url.port}") == "hello"
        assert inside(there, "connect", f"127.0.0.1:{by_address.port}") == "hello"
        own = socket.gethostbyname(socket.gethostname())
        for other in (
            f"127.0.0.1:{not_granted.port}",
            f"127.0.0.1:{there.port}",
            f"127.0.0.2:{with_url.port}",
            *([f"{own}:{not_granted.port}"] if not own.startswith("127.") else []),
            "10.0.0.1:80",
            "169.254.169.254:80",
            "192.0.2.1:443",
            str(tmp_path / "s"),
            str(there.root / "shop" / "releases" / OLD / "http.sock"),
        ):
            assert inside(there, "connect", other) in ("ConnectionRefusedError", "OSError", "FileNotFoundError"), other
    devices = str(inside(there, "file", "/proc/net/dev")).splitlines()[2:]
    assert [line.partition(":")[0].strip() for line in devices] == ["lo"]
    assert str(inside(there, "file", "/proc/net/unix")).count("lockgate-") == 0
    hosts = str(inside(there, "file", "/etc/hosts"))
    assert hosts.splitlines() == ["127.0.0.1 localhost", "127.77.0.1 db.internal"]
    assert inside(there, "list", "/run") == ["lockgate-relay.py", "reach"]


def test_the_evidence_says_whose_network_it_is(there: ProcessTarget) -> None:
    assert there.evidence(OLD)["network"] == "its own"
    where = f"releases/{OLD}/http.sock"
    assert (there.evidence(OLD)["upstream"], there.current(), there.pointed()) == (where, OLD, OLD)
    assert there.probe(OLD).identity == "seen by the platform"


def test_bodies_headers_and_streams_pass_as_they_are(there: ProcessTarget) -> None:
    large = os.urandom(1 << 20) * 24
    body, headers = asked(
        there, "/", large, **{"X-Forwarded-For": "192.0.2.7", "X-Own": "ü".encode().decode("latin-1")}
    )
    digest, seen = json.loads(body)
    assert (digest, headers["X-Back"]) == (hashlib.sha256(large).hexdigest(), "there")
    assert (seen["X-Own"], seen["X-Forwarded-For"], seen["Host"]) == (
        "ü".encode().decode("latin-1"),
        "192.0.2.7, 127.0.0.1",
        f"127.0.0.1:{there.port}",
    )
    assert asked(there, f"/bytes?{24 << 20}")[0] == bytes(range(256)) * (24 << 12)

    events, _ = asked(there, "/events")
    assert events == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"

    with socket.create_connection(("127.0.0.1", there.port), timeout=30) as line, line.makefile("rb") as reading:
        line.sendall(b"GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        while reading.readline().strip():
            pass
        for word in (b"one\n", b"two\n"):
            line.sendall(word)
            assert reading.readline() == word.upper()
        assert there._service(OLD).requests() == 1
    until(lambda: there._service(OLD).requests() == 0)


def test_many_open_connections_leave_room_for_another(there: ProcessTarget) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(600):
            line = stack.enter_context(socket.create_connection(("127.0.0.1", there.port), timeout=30))
            line.sendall(b"GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        until(lambda: there._service(OLD).requests() == 600)
        assert asked(there, "/")[0] == b'"ok"'
    until(lambda: there._service(OLD).requests() == 0)


def test_only_the_platform_asks_as_the_platform(there: ProcessTarget) -> None:
    watch = there.observe(OLD)
    deployment = there._releases.place(OLD).get()
    for value in ("health", "", "*", "{env.HOME}"):
        body, headers = asked(there, "/", b"x", **{"X-Lockgate-Probe": value, "X-Lockgate-Upstream": "another"})
        assert "x-lockgate-probe" not in body.decode().lower()
        assert "X-Lockgate-Upstream" not in headers
    assert there.public(deployment).identity == "seen by the platform"
    until(lambda: watch._log.answered(deployment.upstream) == 5)
    assert watch.look().new.requests == 4  # what says that it is no user's is one
    watch.close()

    there._service(OLD).stop()
    assert there.public(deployment).state == "sick"  # the proxy could not send it on, and may have written that down
    assert there.ensure()
    secret = (there.root / "shop" / "probe").read_text()
    holds = [
        path for path in (there.root / "shop").rglob("*") if path.is_file() and secret in path.read_text("latin-1")
    ]
    assert sorted(path.name for path in holds) == ["caddy.json", "probe"]
    assert {path.stat().st_mode & 0o777 for path in holds} == {0o600}


@pytest.mark.parametrize("word", ["lockgate-relay.py", "blocks.targets.machine.outside"])
def test_who_relays_and_the_release_end_together_and_are_brought_back(there: ProcessTarget, word: str) -> None:
    before = set(processes.within(there._releases.place(OLD).mark))
    os.kill(relays_of(there, OLD, word)[0], signal.SIGKILL)

    until(lambda: not before & set(processes.within(there._releases.place(OLD).mark)))
    until(lambda: not there._service(OLD).is_running())  # who started them, outside, ends a moment after them
    assert any("started in a network of its own" in line for line in there.ensure())
    assert asked(there, "/")[0] == b'"ok"'
    until(lambda: len(relays_of(there, OLD, "blocks.targets.machine.outside")) == 1)


def relays_of(target: ProcessTarget, revision: str, word: str) -> list[int]:
    """Of a release: inside, by its namespace; outside, by its log, which it writes to."""
    pids = subprocess.run(["pgrep", "-f", word], capture_output=True, text=True).stdout.split()
    log, found = target.root / target.name / "releases" / revision / "outside.log", []
    within = processes.within(target._releases.place(revision).mark)
    for pid in map(int, pids):
        with contextlib.suppress(OSError):
            is_outside = log.exists() and os.path.samefile(f"/proc/{pid}/fd/1", log)
            if is_outside or (pid in within and Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1] == b"-I"):
                found.append(pid)
    return found


def test_nothing_of_a_release_that_is_stopped_runs_on(databases: list[Database], tmp_path: Path) -> None:
    target = made(tmp_path, reach=(f"127.0.0.1:{databases[0].port}",))
    serve(target, OLD)
    assert relays_of(target, OLD, "blocks.targets.machine.outside")
    target.stop()
    until(lambda: not relays_of(target, OLD, "blocks.targets.machine.outside"))
    assert not processes.within(target._releases.place(OLD).mark)


def test_a_release_that_has_the_hosts_network_from_before_goes_on_and_is_gone_back_to(tmp_path: Path) -> None:
    before = made(tmp_path, network="host")
    serve(before, OLD)
    pids = before.evidence(OLD)["pids"]
    now = before.model_copy(update={"network": "own"})
    try:
        assert now.ensure() == ()
        serve(now, NEW)
        assert (now.evidence(OLD)["network"], now.evidence(NEW)["network"]) == ("the host's", "its own")
        assert (now.evidence(OLD)["pids"], now.current()) == (pids, NEW)
        now.rollback(OLD)
        assert (now.evidence(OLD)["pids"], now.current(), now.evidence(NEW)["is_running"]) == (pids, OLD, False)
        now._service(OLD).stop()
        assert any("started in a network of its own" in line for line in now.ensure())
        assert (now.evidence(OLD)["network"], now.current()) == ("its own", OLD)
    finally:
        now.stop()


def test_an_address_of_another_machine_wants_a_name_before_anything_is_done(tmp_path: Path) -> None:
    target = made(tmp_path, reach=("10.0.0.5:5432",))
    assert "names 10.0.0.5" in (target.preflight() or "")
    assert target.model_copy(update={"network": "host"}).preflight() is None


def test_what_leaves_goes_through_the_gateway_whenever_one_is_there(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    upstream = RecordingUpstream(authority.server_context())
    with running(tmp_path, authority) as gateway:
        allowed = rule(upstream.port, HOST)
        target = made(tmp_path / "targets", egress=(allowed,)).through(gateway.root, "default")
        try:
            gateway.stop()
            serve(target, OLD)  # a gateway that is down keeps no release down
            gateway.start()
            until(lambda: inside(target, "fetch", f"https://{HOST}:{upstream.port}/v1") == "fine")
            assert "403" in str(inside(target, "fetch", f"https://other.example.com:{upstream.port}/"))
            gateway.stop()
            again = Running(gateway.root, gateway.ledger, gateway.trust)
            again.start()
            until(lambda: inside(target, "fetch", f"https://{HOST}:{upstream.port}/v1") == "fine")
            target.stop()
            until(lambda: not list((gateway.root / "listeners").iterdir()))
            said = [(one.host, one.allowed) for one in again.decisions(f"release-shop-{OLD[:12]}")]
            assert (HOST, True) in said and ("other.example.com", False) in [*said, *_of(gateway)]
            again.stop()
            gateway.start()
        finally:
            target.stop()
            upstream.close()


def _of(gateway: Running) -> list[tuple[str, bool]]:
    return [(one.host, one.allowed) for one in gateway.decisions(f"release-shop-{OLD[:12]}")]
