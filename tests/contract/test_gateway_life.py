"""Listeners that come, stay over a gateway's death, and go; the process itself; secrets from AWS."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from blocks.gateway.aws_secret import AwsSecret
from blocks.gateway.gateway import EgressGateway
from blocks.gateway.secret import Secret
from blocks.host.gateway_line import GatewayLine, a_directory
from blocks.host.sockets import connect
from domain.egress import Passport, SecretScope
from domain.errors import GatewayError, InputError, LedgerError
from domain.ports import Egress
from kits.product.gateway import (
    Authority,
    RecordingUpstream,
    Running,
    SandboxedProgram,
    head,
    passport,
    rule,
    running,
    secret,
    told,
)

HOST = "api.example.com"
PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def upstream(authority: Authority) -> Iterator[RecordingUpstream]:
    made = RecordingUpstream(authority.server_context())
    yield made
    made.close()


@pytest.fixture
def gateway(tmp_path: Path, authority: Authority) -> Iterator[Running]:
    with running(tmp_path, authority) as made:
        yield made


def until(true: object, seconds: float = 30) -> None:
    """Wait for something that another process or thread does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, AssertionError):
            if true():  # type: ignore[operator]
                return
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def test_a_listener_lives_as_long_as_its_context(gateway: Running, upstream: RecordingUpstream) -> None:
    with gateway.block.admit(passport(rule(upstream.port, HOST))) as egress:
        assert egress is not None
        inside = SandboxedProgram(egress, upstream.port)
        held = inside.tunnel(HOST)
        held.sendall(head("GET", "/x", f"{HOST}:{upstream.port}"))
        assert told(held).status == 200
        with pytest.raises(GatewayError, match="another gateway"):
            Running(gateway.root, gateway.ledger, gateway.trust).start()
    assert not egress.directory.exists()
    with contextlib.suppress(OSError):
        held.sendall(head("GET", "/x", f"{HOST}:{upstream.port}"))
        assert held.recv(1) == b""
    assert len(upstream.requests) == 1


def test_sockets_and_keys_have_the_modes_that_they_need(gateway: Running, upstream: RecordingUpstream) -> None:
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    before = os.umask(0o077)
    try:
        with gateway.block.admit(passport(rule(upstream.port, HOST))) as egress:
            assert egress is not None
            assert mode(egress.directory) == 0o755
            assert mode(egress.directory / "gateway.sock") == 0o666
            assert mode(egress.directory / "ca.pem") == 0o644
    finally:
        os.umask(before)
    assert mode(gateway.root) == mode(gateway.root / "ca") == mode(gateway.root / "listeners") == 0o700
    assert mode(gateway.root / "control.sock") == 0o600
    keys = [path for path in (gateway.root / "ca").iterdir() if b"PRIVATE KEY" in path.read_bytes()]
    assert keys and all(mode(path) == 0o600 for path in keys)


def test_fifty_listeners_serve_at_once_and_each_knows_who_speaks(gateway: Running, upstream: RecordingUpstream) -> None:
    with contextlib.ExitStack() as stack:
        insides = []
        for number in range(50):
            who = passport(rule(upstream.port, HOST, paths=(f"/{number}/**",)), run_id=f"run-{number}")
            egress = stack.enter_context(gateway.block.admit(who))
            assert egress is not None
            insides.append(SandboxedProgram(egress, upstream.port))
        for number, inside in enumerate(insides):
            assert inside.ask(HOST, f"/{number}/x").status == 200
            assert inside.ask(HOST, f"/{(number + 1) % 50}/x").status == 403
    assert len(upstream.requests) == 50
    for number in range(50):
        assert {d.run_id for d in gateway.decisions(f"run-{number}")} == {f"run-{number}"}


def test_a_dead_gateway_lets_nothing_out_and_a_new_one_serves_the_same_listener(
    gateway: Running, upstream: RecordingUpstream
) -> None:
    gateway.secrets["API_TOKEN"] = secret()
    who = passport(rule(upstream.port, HOST), secrets=["API_TOKEN"])
    with gateway.block.admit(who) as egress:
        assert egress is not None
        inside, inode = SandboxedProgram(egress, upstream.port), egress.directory.stat().st_ino
        bearer = [f"Authorization: Bearer {egress.environment['API_TOKEN']}"]
        assert inside.ask(HOST, "/v1/x", headers=bearer).status == 200
        gateway.stop()
        with pytest.raises(OSError):
            inside.line()
        gateway.start()
        until(lambda: inside.line().close() is None)
        assert inside.ask(HOST, "/v1/x", headers=bearer).status == 200
        assert egress.directory.stat().st_ino == inode
    assert not egress.directory.exists()
    assert upstream.requests[0].headers == upstream.requests[1].headers


def test_who_gave_up_asking_and_asks_again_has_its_listener(gateway: Running, upstream: RecordingUpstream) -> None:
    """A release has the directory mounted: with another one of that name it would never get out again."""
    going = threading.Event()

    def admitted(_: Passport) -> None:
        going.wait(30)

    gateway.service._admitted = admitted
    with a_directory(gateway.root) as directory:
        who = passport(rule(upstream.port, HOST)).model_dump(mode="json")
        asked = {"do": "admit", "id": directory.name, "passport": who}
        for _ in range(3):  # each still waits in the gateway when its client is gone
            line = GatewayLine(gateway.root, 0.2)
            with pytest.raises(GatewayError, match="broke off"):
                line.ask(asked)
            line.close()
        going.set()
        held: list[tuple[GatewayLine, dict[str, str]]] = []

        def is_admitted() -> bool:
            line = GatewayLine(gateway.root, 30)
            try:
                held.append((line, line.ask(asked)))
            except GatewayError:  # one of those before is being closed
                line.close()
            return bool(held)

        until(is_admitted)
        until(lambda: gateway.block.doctor() is None and len(gateway.service._clients) == 1)
        line, told = held[0]
        inside = SandboxedProgram(Egress(directory, {}, told["token"]), upstream.port)
        assert inside.ask(HOST, "/v1/x").status == 200
        line.close()


def test_a_client_that_is_killed_leaves_no_listener(gateway: Running, upstream: RecordingUpstream) -> None:
    script = """
        import sys, time
        from pathlib import Path
        from blocks.gateway.gateway import EgressGateway
        from domain.egress import Passport
        with EgressGateway(root=Path(sys.argv[1])).admit(Passport.model_validate_json(sys.argv[2])) as egress:
            print(egress.directory, flush=True)
            time.sleep(60)
    """
    argv = [sys.executable, "-c", textwrap.dedent(script), str(gateway.root)]
    who = passport(rule(upstream.port, HOST)).model_dump_json()
    with subprocess.Popen([*argv, who], stdout=subprocess.PIPE, text=True, cwd=PROJECT) as client:
        assert client.stdout is not None
        directory = Path(client.stdout.readline().strip())
        assert (directory / "gateway.sock").is_socket()
        client.send_signal(signal.SIGKILL)
    until(lambda: not directory.exists())


def test_a_gateway_that_starts_removes_what_dead_clients_left(tmp_path: Path, authority: Authority) -> None:
    left = tmp_path / "gateway" / "listeners" / "leftover"
    left.mkdir(parents=True)
    with running(tmp_path, authority):
        assert not left.exists()


def test_a_ledger_that_fails_stops_secrets_and_then_everything(gateway: Running, upstream: RecordingUpstream) -> None:
    class Failing:
        broken = False

        def __call__(self, *_: object) -> None:
            if self.broken:
                raise LedgerError("the disk is full")

    gateway.secrets["API_TOKEN"] = secret()
    gateway.service._record = record = Failing()
    with gateway.block.admit(passport(rule(upstream.port, HOST), secrets=["API_TOKEN"])) as egress:
        assert egress is not None
        inside, token = SandboxedProgram(egress, upstream.port), egress.environment["API_TOKEN"]
        record.broken = True
        assert inside.ask(HOST, "/v1/x", headers=[f"Authorization: {token}"]).status == 503
        assert inside.ask(HOST, "/v1/x").status == 503
        assert upstream.requests == []
        record.broken = False
        until(lambda: inside.ask(HOST, "/v1/x").status == 200)


def test_decisions_are_in_the_ledger_while_the_listener_is_open(gateway: Running, upstream: RecordingUpstream) -> None:
    with gateway.block.admit(passport(rule(upstream.port, HOST))) as egress:
        assert egress is not None
        SandboxedProgram(egress, upstream.port).ask(HOST, "/x")
        until(lambda: gateway.decisions("run"))


@pytest.mark.parametrize(
    "said",
    [b"garbage\n", b"{}\n", b"[]\n", b'{"do": "dance"}\n', b'{"do": "admit"}\n', b"x" * 5_000_000,
     b'{"do": "admit", "id": "../../x", "passport": {"run_id": "r", "phase": "edit"}}\n',
     b'{"do": "admit", "id": "unmade", "passport": {"run_id": "r", "phase": "edit"}}\n'],
)  # fmt: skip
def test_nonsense_on_the_control_socket_opens_nothing(gateway: Running, said: bytes) -> None:
    with connect(gateway.root, "control.sock", 30) as line, contextlib.suppress(OSError):
        line.sendall(said)
        line.shutdown(socket.SHUT_WR)
        answered = line.makefile("rb").read()
        assert answered == b"" or b"error" in answered
    assert gateway.block.doctor() is None
    assert list((gateway.root / "listeners").iterdir()) == []


def test_a_place_with_a_long_name_will_do(tmp_path: Path, authority: Authority, upstream: RecordingUpstream) -> None:
    far = tmp_path / ("long" * 20) / ("name" * 20)
    far.mkdir(parents=True)
    with running(far, authority) as made, made.block.admit(passport(rule(upstream.port, HOST))) as egress:
        assert egress is not None
        assert SandboxedProgram(egress, upstream.port).ask(HOST, "/x").status == 200


def test_the_systems_certificates_are_trusted_and_another_file_of_them_is_honoured(
    tmp_path: Path, authority: Authority, upstream: RecordingUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with running(tmp_path, authority) as made:
        made.stop()
        made.trust = None
        made.start()
        with made.block.admit(passport(rule(upstream.port, HOST))) as egress:
            assert egress is not None
            assert SandboxedProgram(egress, upstream.port).ask(HOST, "/x").status == 200
            made.stop()
            monkeypatch.delenv("SSL_CERT_FILE")
            made.start()
            until(lambda: SandboxedProgram(egress, upstream.port).ask(HOST, "/x").status == 502)


def test_a_program_finds_its_way_with_the_environment_alone(gateway: Running, upstream: RecordingUpstream) -> None:
    with gateway.block.admit(passport(rule(upstream.port, HOST))) as egress:
        assert egress is not None
        ca = str(egress.directory / "ca.pem")
        env = {k: v.replace("/run/lockgate/ca.pem", ca) for k, v in egress.environment.items()}
        with _relay(egress.directory) as port:
            env = {k: v.replace(":3128", f":{port}") for k, v in env.items()}
            done = subprocess.run(
                [sys.executable, "-c", f"import httpx; print(httpx.get('https://{HOST}:{upstream.port}/x').text)"],
                env={**env, "PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=60,
            )  # fmt: skip
    assert done.stdout == "fine\n", done.stderr


@contextlib.contextmanager
def _relay(directory: Path) -> Iterator[int]:
    """What a sandbox has at 127.0.0.1:3128."""
    listening = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = listening.accept()
                out = connect(directory, "gateway.sock", 30)
                for pair in ((line, out), (out, line)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


# ── secrets ──


class _SecretsManager(BaseHTTPRequestHandler):
    """GetSecretValue as AWS speaks it: https://docs.aws.amazon.com/secretsmanager/latest/apireference/"""

    known: ClassVar = {"plain": "aws-secret-value", "pair": json.dumps({"token": "aws-token-value", "number": 5})}

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        signed = self.headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 ")
        right = self.headers["x-amz-target"] == "secretsmanager.GetSecretValue" and signed
        text = self.known.get(asked["SecretId"]) if right else None
        status, body = (200, {"SecretString": text}) if text else (400, {"__type": "ResourceNotFoundException"})
        if asked["SecretId"] == "binary":
            status, body = 200, {"SecretBinary": "eA=="}
        self.send_response(status)
        self.send_header("content-type", "application/x-amz-json-1.1")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    served = ThreadingHTTPServer(("127.0.0.1", 0), _SecretsManager)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()


def _from_aws(aws: str, id_: str, key: str | None = None) -> Secret:
    where = AwsSecret(id=id_, key=key, region="eu-central-1", endpoint_url=aws)
    return Secret(scope=SecretScope(name="T", hosts=(HOST,)), aws=where)


def test_a_secret_comes_from_aws_whole_or_in_part(aws: str) -> None:
    assert _from_aws(aws, "plain").reveal() == "aws-secret-value"
    assert _from_aws(aws, "pair", "token").reveal() == "aws-token-value"


@pytest.mark.parametrize(
    ("id_", "key", "error"),
    [("missing", None, GatewayError), ("pair", "other", InputError), ("pair", "number", InputError),
     ("plain", "token", InputError), ("binary", None, InputError)],
)  # fmt: skip
def test_what_aws_does_not_have_is_told_without_values(
    aws: str, id_: str, key: str | None, error: type[Exception]
) -> None:
    with pytest.raises(error) as told_:
        _from_aws(aws, id_, key).reveal()
    assert "aws-" not in str(told_.value)


def test_aws_that_is_not_there_is_a_gateway_error(aws: str) -> None:
    with pytest.raises(GatewayError):
        _from_aws("http://127.0.0.1:1", "plain").reveal()


@pytest.mark.parametrize("value", ["", "short", "two\r\nlines-of-it", "nul\0inside-it", "ümlauts-in-it"])
def test_a_value_that_cannot_be_sent_or_hidden_is_refused(value: str) -> None:
    with pytest.raises(InputError):
        secret(value=value).reveal()


def test_a_secret_has_one_source_and_a_place_to_stand() -> None:
    for wrong in ({}, {"value": "x" * 9, "aws": {"id": "x"}}):
        with pytest.raises(ValueError, match="a value or an AWS reference"):
            Secret.model_validate({"scope": {"name": "T", "hosts": [HOST]}, **wrong})
    with pytest.raises(ValueError, match="a header or a field"):
        secret(header=None)


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    assert "s3cr3t" not in repr(secret()) + str(secret()) + secret().model_dump_json()


def test_the_doctor_says_whether_the_gateway_answers(gateway: Running, tmp_path: Path) -> None:
    assert gateway.block.doctor() is None
    assert "lockgate up" in (EgressGateway(root=tmp_path / "nowhere").doctor() or "")
