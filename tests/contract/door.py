"""The front door over a server that stands for Prefect's, asked by ASGI itself: no client tidies what is sent."""

import asyncio
import base64
import json
import socket
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import httpx
import uvicorn

from blocks.ledger.tokens import Tokens
from domain.access import Role
from domain.errors import LedgerError
from station.door import connections
from station.door.acts import Acts
from station.door.app import Door
from station.door.guests import Guests
from station.door.upstream import Upstream

ID = "11111111-2222-4333-8444-555555555555"
DEPLOYMENTS = {
    "agent-task/agent-task": "aaaaaaaa-0000-4000-8000-000000000001",
    "intake/intake": "aaaaaaaa-0000-4000-8000-000000000002",
    "rollback/rollback": "aaaaaaaa-0000-4000-8000-000000000003",
    "housekeeping/housekeeping": "aaaaaaaa-0000-4000-8000-000000000009",
}
MARK = "0123456789abcdef"
QUESTIONS = {
    "review": ("bbbbbbbb-0000-4000-8000-000000000001", f"review-{MARK}-0"),
    "questions": ("bbbbbbbb-0000-4000-8000-000000000002", "questions-1-0"),
    "ready": ("bbbbbbbb-0000-4000-8000-000000000003", f"ready-{MARK}-0"),
    "window": ("bbbbbbbb-0000-4000-8000-000000000004", f"window-{MARK}-0"),
    "forge": ("bbbbbbbb-0000-4000-8000-000000000006", f"forge-{MARK}-0"),
    "away": ("bbbbbbbb-0000-4000-8000-000000000007", "away-0"),
    "push": ("bbbbbbbb-0000-4000-8000-000000000008", "push-1-0"),
    "another": ("bbbbbbbb-0000-4000-8000-000000000005", "pause-1"),
}
RUNNING = "bbbbbbbb-0000-4000-8000-00000000000f"
RUNS = {
    name: f"cccccccc-0000-4000-8000-00000000000{number}"
    for number, name in enumerate(("submit-er", "release-er", "nobody", "over", "platform"))
}
"""Who has started it, or what it is → a run that can be cancelled, or not."""
STARTED = "dddddddd-0000-4000-8000-000000000001"
SECRET = "a-secret-of-the-pool"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    content: bytes
    cookies: tuple[str, ...] = ()
    """Each `Set-Cookie`, of which there may be several."""

    @property
    def told(self) -> Any:
        return json.loads(self.content)


class FakeDoor:
    """A door, tokens of every role, and what the server behind it was asked."""

    def __init__(self, folder: Path) -> None:
        self.tokens = Tokens(f"sqlite:///{folder}/ledger.db")
        self._loop = asyncio.Runner()
        self.value = {role: self.tokens.add(f"{role}-er", {role})[1] for role in Role}
        self.asked: list[httpx.Request] = []
        self.busy = 0
        """So many requests the server answers with 503 first."""
        self.now = 0.0
        self.ledgers: dict[str, str] = {}
        upstream = Upstream("http://prefect.invalid", "admin:of-all", httpx.MockTransport(self._server))
        self.app = Door(
            upstream,
            Guests(lambda: self.tokens, lambda: self.now),
            Acts(lambda: {"default": self.tokens.url, **self.ledgers}),
        )

    def ask(self, *given: Any, **named: Any) -> Answer:
        """What the door answers, asked as `coming` says."""
        return self._loop.run(self.coming(*given, **named))

    def coming(
        self,
        method: str,
        path: str,
        by: Role | str | None = None,
        body: Any = None,
        *,
        headers: Sequence[tuple[str, str]] = (),
        content: bytes | None = None,
        address: str = "192.0.2.1",
    ) -> Coroutine[Any, Any, Answer]:
        """What the door answers to `path` as it is, and a body as JSON, or as the bytes of `content`; for who asks more
        in one moment."""
        sent = [(name.lower().encode(), value.encode()) for name, value in headers]
        if by is not None:
            sent.append((b"authorization", f"Bearer {self.value[by] if isinstance(by, Role) else by}".encode()))
        if body is not None:
            content = json.dumps(body).encode()
            sent.append((b"content-type", b"application/json"))
        raw, _, query = path.encode("latin-1").partition(b"?")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": raw.decode("latin-1"), "raw_path": raw, "query_string": query, "root_path": "", "headers": sent,
            "client": (address, 1), "server": ("door", 80),
        }  # fmt: skip
        return _call(self.app, scope, content or b"")

    def remember(self) -> None:
        """Look no token up again: for very many requests."""
        known = {value: self.tokens.of(value) for value in self.value.values()}
        self.app.guests.tokens = cast(Any, lambda: SimpleNamespace(of=known.get, sign=_no_ledger))

    def changes(self) -> list[httpx.Request]:
        """What the server was asked for the caller, without what the door itself looked up."""
        return [each for each in self.asked if each.method != "GET"]

    def _server(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if self.busy:
            self.busy -= 1
            return httpx.Response(503, json={"exception_message": "Service Unavailable"})
        path = request.url.path
        for name, id_ in DEPLOYMENTS.items():
            if path in (f"/api/deployments/name/{name}", f"/api/deployments/{id_}"):
                return httpx.Response(200, json=deployment_of(name, id_))
        for kind, (id_, key) in QUESTIONS.items():
            if path == f"/api/flow_runs/{id_}":
                state = {
                    "type": "PAUSED",
                    "name": "Suspended",
                    "state_details": {
                        "pause_key": key,
                        "run_input_keyset": {"description": f"{kind}-description"},
                    },
                }
                return httpx.Response(200, json={"id": id_, "state": state})
        runs = {run: _run(name, run) for name, run in RUNS.items()}
        if (run := path.removeprefix("/api/flow_runs/")) in runs:
            return httpx.Response(200, json=runs[run])
        if path == "/api/flow_runs/count":
            return httpx.Response(200, json=2 if b"PAUSED" in request.content else 0)
        if path == "/api/flow_runs/filter" and b"any_" in request.content:
            return httpx.Response(200, json=[run for run in runs.values() if run["id"].encode() in request.content])
        if path in ("/api/flow_runs/paginate", "/api/artifacts/filter"):
            artifacts = [{"flow_run_id": run, "key": "review", "data": f"diff of {run}"} for run in runs]
            found = {"results": list(runs.values())} if path.endswith("paginate") else artifacts
            return httpx.Response(200, json=found)
        if path.endswith("/schedules") and request.method == "GET":
            return httpx.Response(200, json=[])
        if path.endswith("/create_flow_run"):
            return httpx.Response(201, json={"id": STARTED, "parameters": {"environment": "shop"}})
        if path == f"/api/flow_runs/{RUNNING}":
            return httpx.Response(200, json={"id": RUNNING, "state": {"type": "RUNNING", "name": "Running"}})
        if path.startswith("/api/deployments/name/") and "some-name" not in path:
            return httpx.Response(404, json={"detail": "there is none"})
        leaking = {"base_job_template": {"env": SECRET}, "deep": [{"job_variables": {"x": SECRET}, "name": "kept"}]}
        return httpx.Response(200, json=leaking, headers={"set-cookie": "a=b", "server": "uvicorn"})


def _no_ledger(*_: object) -> None:
    raise LedgerError("the ledger is away")


def _run(name: str, id_: str) -> Mapping[str, Any]:
    deployment = DEPLOYMENTS["housekeeping/housekeeping" if name == "platform" else "agent-task/agent-task"]
    state = {"type": "COMPLETED", "name": "Live"} if name == "over" else {"type": "RUNNING", "name": "Running"}
    labels = {"lockgate.started-by": name} if name.endswith("-er") else {}
    brief = {"title": "t", "goal": f"private of {name}"}
    return {"id": id_, "labels": labels, "deployment_id": deployment, "state": state, "parameters": {"brief": brief}}


def deployment_of(name: str, id_: str) -> Mapping[str, Any]:
    properties = {"rollback/rollback": {"environment": {}, "revision": {}, "reason": {}, "by": {}}, "intake/intake": {}}
    known = properties.get(name, {"brief": {"type": "object"}})
    schema = {"type": "object", "properties": known}
    return {"id": id_, "name": name.partition("/")[2], "tags": ["lockgate"], "parameter_openapi_schema": schema}


async def _call(app: Door, scope: dict[str, Any], content: bytes) -> Answer:
    sent: list[Any] = []
    parts = [{"type": "http.request", "body": content, "more_body": False}]

    async def receive() -> Any:
        return parts.pop(0) if parts else await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    cookies = tuple(value.decode() for name, value in sent[0]["headers"] if name == b"set-cookie")
    return Answer(sent[0]["status"], headers, b"".join(part.get("body", b"") for part in sent[1:]), cookies)


@contextmanager
def served(app: Door) -> Iterator[int]:
    """The port of a door that really listens."""
    http, _ = connections.protocols(connections.Connections(most=400, of_one=50))
    server = uvicorn.Server(
        uvicorn.Config(
            app, port=0, http=http, ws="none", lifespan="off", log_config=None, proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
    )  # fmt: skip
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen(1024)
        thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
        thread.start()
        try:
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(10)


def basic(text: str) -> tuple[str, str]:
    return "authorization", f"Basic {base64.b64encode(text.encode()).decode()}"
