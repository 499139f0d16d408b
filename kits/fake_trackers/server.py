"""What fake trackers share: HTTP on loopback, tokens that run out, faults, a clock of their own, state in SQLite."""

import base64
import json
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from kits.fake_forge.faults import Fault, Faults
from kits.fake_forge.store import Doc, DocumentStore

LARGEST = 26 * 1024 * 1024


class TrackerReply(NamedTuple):
    """What is answered."""

    status: int
    body: Any
    headers: tuple[tuple[str, str], ...] = ()


class Operation(NamedTuple):
    """What a description says something of."""

    method: str
    template: str


class TrackerRefusal(Exception):
    """It is not done; `answer` says why."""

    def __init__(self, answer: TrackerReply) -> None:
        super().__init__(str(answer.body))
        self.answer = answer


class FakeTracker:
    """A tracker on 127.0.0.1, as a context manager. `directory`: where it remembers, also after it was killed."""

    def __init__(self, directory: Path | None = None, *, port: int = 0) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="fake-tracker-") if directory is None else None
        place = directory or Path(self._temporary.name if self._temporary else "")
        place.mkdir(parents=True, exist_ok=True)
        self.store = DocumentStore(place / "tracker.db")
        self.faults = Faults()
        self.skew_s = 0.0
        self.late_s = 0.0
        """So much later its search and its history know what was done."""
        self.calls: list[tuple[str, str, int]] = []
        """What was answered, in order: method, path, status."""
        self.asked: list[str] = []
        """What was asked, as JSON, beside each of `calls`."""
        self.watchers: list[Callable[[str, str, str | None, Any, Any, TrackerReply], None]] = []
        """Called with every request and answer: method, path, template, query, body, answer."""
        handler = type("BoundHandler", (_Handler,), {"fake": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._last = datetime.min.replace(tzinfo=UTC)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def now(self) -> datetime:
        """By its own clock; no two moments are the same."""
        found = datetime.fromtimestamp(time.time() + self.skew_s, UTC)
        found = found.replace(microsecond=found.microsecond // 1000 * 1000)
        if found <= self._last:
            found = datetime.fromtimestamp(self._last.timestamp() + 0.001, UTC)
            found = found.replace(microsecond=round(found.microsecond / 1000) % 1000 * 1000)
        self._last = found
        return found

    # what a test or a user sets up

    def token(self, who: str) -> str:
        """A token of somebody. Returns it."""
        return str(self.store.add("token", key=f"token-{len(self.store.find('token')) + 1}-{who}", who=who)["key"])

    def expire(self, token: str) -> None:
        """From now on this token is nobody's."""
        found = self.store.one("token", key=token)
        if found is None:
            raise LookupError("there is no such token")
        self.store.remove(found)

    def fault(self, kind: str, **fields: Any) -> None:
        """Something goes wrong with the next requests: `status`, `secondary_limit`, `slow`, `cut_before`,
        `cut_after_write`, `half_answer`; see `Fault`."""
        self.faults.add(Fault.model_validate({"kind": kind, **fields}))

    def mend(self) -> None:
        """No more faults."""
        self.faults.clear()

    # a tracker's own

    def answer(self, who: Doc | None, method: str, path: str, query: dict[str, str], body: Any) -> TrackerReply:
        """`who`: the person that a token is of; None: nobody. Called with the store held."""
        raise NotImplementedError

    def template(self, method: str, path: str) -> str | None:
        """Which operation of the description that is."""
        return None

    def met_by(self, path: str, body: Any) -> str:
        """What a fault's `path` is looked for in."""
        return path

    def limited(self, seconds: float) -> TrackerReply:
        """Too many requests."""
        raise NotImplementedError

    def who(self, token: str) -> Doc | None:
        """The person that a token is of."""
        found = self.store.one("token", key=token)
        return self.store.one("person", key=found["who"]) if found else None

    def stop(self) -> None:
        """End it."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self.store.close()
        if self._temporary:
            self._temporary.cleanup()

    def __enter__(self) -> Any:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "fake-tracker"
    sys_version = ""
    timeout = 120
    disable_nagle_algorithm = True
    fake: FakeTracker

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(self.fake.now().timestamp() if timestamp is None else timestamp)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed; `FakeTracker.calls` has them."""

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), dict(parse_qsl(parts.query))
        size = min(int(self.headers.get("Content-Length") or 0), LARGEST)
        body = json.loads(self.rfile.read(size) or b"null")
        fault = self.fake.faults.meet(self.command, self.fake.met_by(path, body))
        if fault and fault.kind == "slow":
            time.sleep(fault.seconds)
        if fault and fault.kind == "cut_before":
            self._cut()
            return
        if fault and fault.kind == "status":
            answer = TrackerReply(fault.status, {"errorMessages": ["it does not work"]})
        elif fault and fault.kind == "secondary_limit":
            answer = self.fake.limited(fault.seconds)
        else:
            answer = self._done(path, query, body)
        self.fake.calls.append((self.command, path, answer.status))
        self.fake.asked.append(json.dumps(body))
        if fault is None or fault.kind == "slow":
            for watch in self.fake.watchers:
                watch(self.command, path, self.fake.template(self.command, path), query, body, answer)
        if fault and fault.kind == "cut_after_write":
            self._cut()
            return
        text = b"" if answer.body is None else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text[: len(text) // 2] if fault and fault.kind == "half_answer" else text)
        if fault and fault.kind == "half_answer":
            self._cut()

    do_GET = do_POST = do_PUT = do_DELETE = _serve

    def _done(self, path: str, query: dict[str, str], body: Any) -> TrackerReply:
        try:
            with self.fake.store.transaction():
                return self.fake.answer(self.fake.who(self._token()), self.command, path, query, body)
        except TrackerRefusal as no:
            return no.answer

    def _token(self) -> str:
        scheme, _, rest = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            return base64.b64decode(rest).decode().partition(":")[2]
        return rest or scheme

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
