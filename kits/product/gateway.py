"""A real gateway in a thread, real servers on loopback behind it, and a client that speaks as a sandbox does."""

import asyncio
import contextlib
import http.client
import io
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from mitmproxy import certs

from blocks.gateway.gateway import EgressGateway
from blocks.gateway.secret import Secret
from blocks.gateway.service import GatewayService
from blocks.host.sockets import connect
from blocks.ledger.ledger import Ledger
from domain.egress import Decisions, EgressDecision, EgressRule, Passport, SecretScope
from domain.errors import InputError
from domain.ports import Egress

NAMES = ("api.example.com", "other.example.com", "evil.example.net")
VALUE = "s3cr3t-/+value~with?odd=chars-0123456789"


class Authority:
    """A certificate authority of the tests' own, for the servers."""

    def __init__(self, folder: Path, names: Sequence[str] = NAMES) -> None:
        key, root = certs.create_ca("tests", "tests", 2048)
        leaf = certs.dummy_cert(key, root, names[0], [x509.DNSName(name) for name in names])
        self.file, self.pair = folder / "tests-ca.pem", folder / "tests-pair.pem"
        self.file.write_bytes(root.public_bytes(serialization.Encoding.PEM))
        self.pair.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + leaf.to_pem()
        )

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pair)
        return context


class Request(NamedTuple):
    """What reached a server."""

    line: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Request, socket.socket], None]


def reply(body: bytes = b"fine", *headers: str, status: str = "200 OK") -> bytes:
    head = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status}\r\n{head}content-length: {len(body)}\r\n\r\n".encode() + body


def chunked(*pieces: bytes, headers: str = "content-type: text/event-stream\r\n") -> list[bytes]:
    """A chunked answer as the pieces to send one by one."""
    head = f"HTTP/1.1 200 OK\r\n{headers}transfer-encoding: chunked\r\n\r\n".encode()
    return [head, *(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces), b"0\r\n\r\n"]


def plain_answer(request: Request, line: socket.socket) -> None:
    line.sendall(reply())


@dataclass
class RecordingUpstream:
    """A server that keeps what reached it, and answers as `answer` says."""

    context: ssl.SSLContext | None
    answer: Answer = plain_answer
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = self._listening.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), line:
            spoken = self.context.wrap_socket(line, server_side=True) if self.context else line
            with spoken, spoken.makefile("rb") as reading:
                while request := _read(reading):
                    self.requests.append(request)
                    self.answer(request, spoken)


def _read(reading: io.BufferedReader) -> Request | None:
    first = reading.readline().decode("latin-1").strip()
    if not first:
        return None
    headers: dict[str, str] = {}
    while line := reading.readline().decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = b""
    if "chunked" in headers.get("transfer-encoding", ""):
        while size := int(reading.readline(), 16):
            body += reading.read(size)
            reading.readline()
        reading.readline()
    elif length := int(headers.get("content-length", "0")):
        body = reading.read(length)
        if len(body) < length:
            return None
    return Request(first, headers, body)


@dataclass
class Running:
    """A gateway, its ledger, and the secrets and names that it knows."""

    root: Path
    ledger: Ledger
    trust: Path | None
    secrets: dict[str, Secret] = field(default_factory=dict)
    addresses: dict[str, list[str]] = field(default_factory=dict)
    lookups: list[str] = field(default_factory=list)
    addons: Sequence[object] = ()

    def start(self) -> None:
        self.service = GatewayService(
            self.root,
            record=self.ledger.record,
            secret=self._secret,
            addons=self.addons,
            resolve=self._resolve,
            trust=self.trust,
        )
        ready, failed = threading.Event(), []

        def serve() -> None:
            try:
                asyncio.run(self.service.run(ready.set))
            except BaseException as err:
                failed.append(err)
                ready.set()

        self.thread = threading.Thread(target=serve, daemon=True)
        self.thread.start()
        assert ready.wait(60)
        if failed:
            raise failed[0]

    def stop(self) -> None:
        self.service.stop()
        self.thread.join(30)
        assert not self.thread.is_alive()

    @property
    def block(self) -> EgressGateway:
        return EgressGateway(root=self.root)

    def decisions(self, run_id: str) -> list[EgressDecision]:
        entries = self.ledger.entries(run_id=run_id, kind="egress")
        return [decision for e in entries for decision in Decisions.model_validate(e.body).decisions]

    def _secret(self, name: str) -> Secret:
        if name not in self.secrets:
            raise InputError(f"there is no secret {name}")
        return self.secrets[name]

    async def _resolve(self, host: str, port: int) -> list[str]:
        self.lookups.append(host)
        return self.addresses.get(host, ["127.0.0.1"])


class GatewayAnswer(NamedTuple):
    """What the sandbox is answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class ConnectRefused(Exception):
    """CONNECT was not granted."""

    def __init__(self, told: GatewayAnswer) -> None:
        super().__init__(told.status, told.body)
        self.told = told


class SandboxedProgram:
    """A program in a sandbox: it has the listener's directory and the environment, nothing else."""

    def __init__(self, egress: Egress, port: int) -> None:
        self.egress, self.port = egress, port

    def line(self) -> socket.socket:
        return connect(self.egress.directory, "gateway.sock", 30)

    def raw(self, sent: bytes) -> GatewayAnswer:
        with self.line() as line:
            line.sendall(sent)
            return told(line)

    def tunnel(self, host: str, *, sni: str | None = None, port: int | None = None) -> ssl.SSLSocket:
        line = self.open_tunnel(host, port=port)
        context = ssl.create_default_context(cafile=str(self.egress.directory / "ca.pem"))
        context.check_hostname = sni is None
        return context.wrap_socket(line, server_hostname=sni or host)

    def open_tunnel(self, host: str, *, port: int | None = None) -> socket.socket:
        line = self.line()
        at = f"{host}:{port or self.port}"
        line.sendall(f"CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n\r\n".encode())
        answered = told(line, "CONNECT")
        if answered.status != 200:
            line.close()
            raise ConnectRefused(answered)
        return line

    def ask(
        self, host: str, path: str = "/", method: str = "GET", headers: Sequence[str] = (), body: bytes = b""
    ) -> GatewayAnswer:
        with self.tunnel(host) as line:
            line.sendall(head(method, path, f"{host}:{self.port}", *headers, body=body) + body)
            return told(line, method)


def head(method: str, path: str, host: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
    if body and not any(line.lower().startswith("transfer-encoding") for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def told(line: socket.socket, method: str = "GET") -> GatewayAnswer:
    answer = http.client.HTTPResponse(line, method=method)
    answer.begin()
    if method == "CONNECT" and answer.status == 200:
        return GatewayAnswer(200, answer.headers, b"")
    try:
        body = answer.read()
    except http.client.IncompleteRead as err:
        body = err.partial
    return GatewayAnswer(answer.status, answer.headers, body)


def rule(port: int, *hosts: str, methods: Sequence[str] = ("GET", "HEAD", "POST"), **more: object) -> EgressRule:
    return EgressRule.model_validate({"hosts": hosts, "methods": tuple(methods), "port": port, "private": True, **more})


def secret(name: str = "API_TOKEN", value: str = VALUE, **scope: object) -> Secret:
    wanted = {"name": name, "hosts": ("api.example.com",), "paths": ("/v1/**",), **scope}
    return Secret.model_validate({"scope": SecretScope.model_validate(wanted), "value": value})


def passport(*rules: EgressRule, secrets: Sequence[str] = (), run_id: str = "run", **more: object) -> Passport:
    wanted = {"run_id": run_id, "phase": "edit", "repository": "/srv/git/shop.git"}
    return Passport.model_validate({**wanted, "rules": rules, "secrets": tuple(secrets), **more})


@contextlib.contextmanager
def running(folder: Path, authority: Authority, **more: object) -> Iterator[Running]:
    made = Running(folder / "gateway", Ledger(url=f"sqlite:///{folder / 'ledger.db'}"), authority.file, **more)  # type: ignore[arg-type]
    made.start()
    try:
        yield made
    finally:
        made.stop()
