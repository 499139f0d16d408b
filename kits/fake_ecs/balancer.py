"""The load balancer: a listener a service on 127.0.0.1 that splits requests by weight over healthy tasks."""

import contextlib
import http.client
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
"""Headers between two machines: https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1"""
_TIMEOUT_S = 30.0
_BODY_BYTES = 32 << 20


class ServingTask(NamedTuple):
    """A task that answers requests, with the service revision that it is of."""

    revision: str
    address: str


Pools = Sequence[tuple[float, Sequence[ServingTask]]]
"""Weight and tasks of each target group."""


class UnderWay:
    """Requests that a task has and has not answered yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at: Counter[str] = Counter()

    @contextlib.contextmanager
    def to(self, address: str) -> Iterator[None]:
        self._count(address, 1)
        try:
            yield
        finally:
            self._count(address, -1)

    def any_to(self, address: str) -> bool:
        with self._lock:
            return self._at[address] > 0

    def _count(self, address: str, more: int) -> None:
        with self._lock:
            self._at[address] += more


under_way = UnderWay()


class AnsweredRequest(NamedTuple):
    """One request that came through. `revision` None: no task took it."""

    at: float
    revision: str | None
    status: int
    seconds: float


class Balancer:
    """One listener. It asks `pools` at every request, so a shift holds from the next one on."""

    def __init__(self, port: int, pools: Callable[[], Pools]) -> None:
        self.answered: deque[AnsweredRequest] = deque(maxlen=200_000)
        self._server = _Server(port, pools, self.answered.append)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def passes(address: str, path: str, timeout_s: float = 5.0) -> bool:
    """A health check: any status from 200 to 399."""
    connection = http.client.HTTPConnection(address, timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"User-Agent": "ELB-HealthChecker/2.0", "Connection": "close"})
        return 200 <= connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int, pools: Callable[[], Pools], note: Callable[[AnsweredRequest], None]) -> None:
        self.pools, self.note = pools, note
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients leave when they like."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _forward(self) -> None:
        begin, body = time.monotonic(), self._body()
        place = _pick(self.server.pools())
        status, headers, content = (
            self._ask(place, body) if place else (503, [], b"503 Service Temporarily Unavailable")
        )
        self.server.note(
            AnsweredRequest(time.time(), place.revision if place else None, status, time.monotonic() - begin)
        )
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _HOP | {"content-length"}:
                self.send_header(name, value)
        if status >= 200 and status not in (204, 304):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _forward

    def _ask(self, place: ServingTask, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(place.address, timeout=_TIMEOUT_S)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        headers.update({"X-Forwarded-For": self.client_address[0], "Connection": "close"})
        try:
            with under_way.to(place.address):
                connection.request(self.command, self.path, body or None, headers)
                answer = connection.getresponse()
                return answer.status, answer.getheaders(), answer.read()
        except TimeoutError:
            return 504, [], b"504 Gateway Time-out"
        except (OSError, http.client.HTTPException):
            return 502, [], b"502 Bad Gateway"
        finally:
            connection.close()

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(min(int(self.headers.get("Content-Length") or 0), _BODY_BYTES))
        body = bytearray()
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        with contextlib.suppress(OSError):
            while self.rfile.readline().strip():
                pass
        return bytes(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what was answered is counted."""


def _pick(pools: Pools) -> ServingTask | None:
    """A task of one group, which is chosen by weight even where it is empty: so does ELB."""
    weighed = [(weight, places) for weight, places in pools if weight > 0]
    if not weighed:
        return None
    _, places = random.choices(weighed, [weight for weight, _ in weighed])[0]  # noqa: S311
    return random.choice(places) if places else None  # noqa: S311
