"""One request of the AWS JSON 1.1 protocol: https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html"""

import json
import secrets
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

import botocore.session
from botocore.validate import ParamValidator

from kits.fake_ecs import signature
from kits.fake_ecs.refusal import EcsRefusal
from kits.fake_ecs.state import StateFile

Table = dict[str, Callable[[dict[str, Any]], dict[str, Any]]]


class Failures:
    """Refusals that were ordered."""

    def __init__(self) -> None:
        self._ordered: dict[str, list[EcsRefusal]] = {}
        self._lock = threading.Lock()

    def add(self, action: str, code: str, message: str, times: int) -> None:
        with self._lock:
            self._ordered.setdefault(action, []).extend(EcsRefusal(message, code) for _ in range(times))

    def take(self, action: str) -> None:
        """Raises the next one for an action."""
        with self._lock:
            if ordered := self._ordered.get(action):
                raise ordered.pop(0)


class ServedEcs(Protocol):
    """The ECS that calls are for: `FakeEcs`, which has started this server."""

    def listen(self) -> None: ...

    def overview(self) -> dict[str, Any]: ...


class EcsServer(ThreadingHTTPServer):
    """`tables`: the protocol's prefix → botocore's name of the service and its actions."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        port: int,
        tables: Mapping[str, tuple[str, Table]],
        memory: StateFile,
        failures: Failures,
        key: tuple[str, str] | None,
        fake: ServedEcs,
    ) -> None:
        self._tables, self._memory, self._failures, self._key, self.fake = tables, memory, failures, key, fake
        session = botocore.session.get_session()
        self._models = {name: session.get_service_model(name) for name, _ in tables.values()}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        super().__init__(("127.0.0.1", port), _Handler)

    def answer(self, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        """Raises Refusal."""
        prefix, _, action = headers.get("X-Amz-Target", "").partition(".")
        if self._key:
            signature.check(f"http://{headers.get('Host', '')}/", headers, body, *self._key)
        name, table = self._tables.get(prefix, ("ecs", {}))
        if action not in table:
            raise EcsRefusal(f"this fake has no action {action!r} of {prefix!r}", "UnknownOperationException")
        self._failures.take(action)
        operation = self._models[name].operation_model(action)
        asked = _object(body)
        _check(asked, operation.input_shape, EcsRefusal)
        with self._memory.lock:
            answer = table[action](asked)
            self._memory.save()
            self.calls.append((action, asked))
        self.fake.listen()
        _check(answer, operation.output_shape, RuntimeError)
        return answer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients leave when they like; anything else is an error of ours, and is printed."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: EcsServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self._send(200, self.server.answer(dict(self.headers.items()), body))
        except EcsRefusal as err:
            self._send(err.status, {"__type": err.code, "message": err.message}, err.code)
        except Exception as err:  # as AWS says it of itself
            traceback.print_exc(file=sys.stderr)
            self._send(500, {"__type": "ServerException", "message": str(err)}, "ServerException")

    def do_GET(self) -> None:
        self._send(200, self.server.fake.overview() if self.path == "/state" else {"see": "/state"})

    def _send(self, status: int, answer: dict[str, Any], error: str | None = None) -> None:
        data = json.dumps(answer).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("x-amzn-RequestId", secrets.token_hex(16))
        if error:
            self.send_header("x-amzn-ErrorType", error)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: `calls` has them."""


def _object(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body or b"{}")
    except ValueError as err:
        raise EcsRefusal(f"the body is not JSON: {err}", "SerializationException") from err
    if not isinstance(asked, dict):
        raise EcsRefusal("the body is not a JSON object", "SerializationException")
    return asked


def _check(members: dict[str, Any], shape: Any, error: type[Exception]) -> None:
    """Both sides are held to botocore's own model of the service."""
    if shape is not None and (report := ParamValidator().validate(members, shape)).has_errors():
        raise error(report.generate_report())
