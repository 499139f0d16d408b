"""The desk as a browser sees it: it keeps cookies, and sends what a page holds. Behind it is the fake door."""

import asyncio
import html
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlencode

import httpx
from pydantic import SecretStr

from blocks.ledger.ledger import Ledger
from domain.access import Role
from tests.contract.door import DEPLOYMENTS, Answer, FakeDoor, deployment_of

BRIEFS = DEPLOYMENTS["agent-task/agent-task"]
FORM = ("content-type", "application/x-www-form-urlencoded")


class FakeDesk(FakeDoor):
    """A door whose server has runs, and a ledger that is a real one, for the desk and for `station.api`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.runs: dict[str, dict[str, Any]] = {}
        self.answers, self.said = "ACCEPT", "a line"
        self.schedules: list[dict[str, Any]] = []
        self.texts: dict[str, str] = {}
        """Place → what a run that waits asks."""
        self.ledger = Ledger(url=SecretStr(f"sqlite:///{folder}/ledger.db"))
        self.workshop = {
            "ledger": {"url": self.ledger.url.get_secret_value()}, "targets": {"shop": "process-target/shop"}
        }  # fmt: skip

    def at_once(self, *asked: Callable[[], Any]) -> list[Answer]:
        """The answers to requests that come in the same moment."""
        loop, self._loop = self._loop, cast(Any, SimpleNamespace(run=lambda coming: coming))
        try:
            coming = [each() for each in asked]
        finally:
            self._loop = loop

        async def together() -> list[Answer]:
            return list(await asyncio.gather(*coming))

        return loop.run(together())

    def once(
        self, method: str, path: str, body: Any, timeout_s: float = 0, *, beside: bool = False
    ) -> tuple[int, bytes]:
        """In the place of `api._once`: the same server, without a network."""
        answer = self._server(httpx.Request(method, f"http://prefect.invalid/api{path}", json=body))
        return answer.status_code, answer.content

    def _server(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path in ("/api/deployments/name/agent-task/agent-task", f"/api/deployments/{BRIEFS}"):
            self.asked.append(request)
            told = {**deployment_of("agent-task/agent-task", BRIEFS), "schedules": self.schedules}
            return httpx.Response(200, json=told)
        if "/schedules" in path:
            self.asked.append(request)
            return self._scheduled(request)
        if path.endswith(("/resume", "/set_state")):
            self.asked.append(request)
            if (run := self.runs.get(path.split("/")[3])) and path.endswith("/resume"):
                run["state"] = {"type": "SCHEDULED", "name": "Resuming"}
            elif run and run["state"]["type"] == "PAUSED":  # as Prefect does: refused, for it is cancelled at once
                reason = "Suspended flow run has no infrastructure to terminate."
                state = {"type": "CANCELLED", "name": "Cancelled"}
                told = {"status": "REJECT", "details": {"reason": reason}, "state": state}
                return httpx.Response(200, json=told)
            return httpx.Response(200, json={"status": self.answers})
        if path in ("/api/flow_runs/filter", "/api/lockgate/runs/filter"):
            return httpx.Response(200, json=self._found(json.loads(request.content)))
        if path.removeprefix("/api/flow_runs/") in self.runs:
            self.asked.append(request)
            return httpx.Response(200, json=self.runs[path.removeprefix("/api/flow_runs/")])
        if "/input/" in path and path.rpartition("/")[2] in self.texts:
            return httpx.Response(200, json=self.texts[path.rpartition("/")[2]])
        if path == "/api/flow_runs/count":
            return httpx.Response(200, json=len(self.runs))
        if path == "/api/task_runs/filter":
            return httpx.Response(200, json=[{"name": "test-1"}])
        if path == "/api/logs/filter":
            return httpx.Response(200, json=[{"timestamp": "2030-01-01T01:02:03Z", "message": self.said}])
        if re.fullmatch(r"/api/flow_runs/9{8}-[0-9a-f-]+", path):
            return httpx.Response(404)
        if "/block_documents/name/" in path:
            return httpx.Response(200, json={"data": self.workshop})
        if path.endswith("/lockgate-workshop/block_documents"):
            return httpx.Response(200, json=[{"name": "default", "data": self.workshop}])
        return super()._server(request)

    def _scheduled(self, request: httpx.Request) -> httpx.Response:
        """As Prefect does, which judges cron lines."""
        id_ = request.url.path.rpartition("/")[2]
        if request.method == "GET":
            return httpx.Response(200, json=self.schedules)
        if request.method == "POST":
            (wanted,) = json.loads(request.content)
            if "99" in wanted["schedule"]["cron"]:
                wrong = [{"type": "missing", "msg": "no"}, {"type": "value_error", "msg": "Invalid cron string"}]
                return httpx.Response(422, json={"exception_detail": wrong})
            self.schedules.append({"id": f"cccccccc-0000-4000-8000-{len(self.schedules):012}", **wanted})
            return httpx.Response(201, json=self.schedules[-1:])
        if request.method == "PATCH":
            wanted = {"parameters": {}, **json.loads(request.content)}
            next(one for one in self.schedules if one["id"] == id_).update(wanted)
        else:
            self.schedules = [one for one in self.schedules if one["id"] != id_]
        return httpx.Response(204)

    def _found(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        state = asked["flow_runs"].get("state", {})
        types, names = (state.get(part, {}).get("any_") for part in ("type", "name"))
        found = [
            run for run in self.runs.values()
            if (types is None or run["state"]["type"] in types) and (names is None or run["state"]["name"] in names)
        ]  # fmt: skip
        return found[asked["offset"] :][: asked["limit"]]


class Browser:
    """One person at the desk. The session's own place is told as `/desk`, as who looks at the page would say."""

    def __init__(self, desk: FakeDesk, role: Role | None = None) -> None:
        self.desk = desk
        self.cookies: dict[str, str] = {}
        self.paths: dict[str, str] = {}
        """Cookie → the addresses that it is sent to, on every port of the host."""
        self.place = "/desk"
        self.page = ""
        if role is not None:
            self.sign_in(desk.value[role])

    def sign_in(self, value: str, **fields: str) -> Answer:
        self.get("/desk/sign-in")
        return self.send("/desk/sign-in", {"token": value, **fields})

    def get(self, path: str, **more: Any) -> Answer:
        return self._kept(
            self.desk.ask("GET", self.at(path), headers=[*self.cookie(path), *more.pop("headers", ())], **more)
        )

    def send(self, path: str, fields: Mapping[str, str], headers: list[tuple[str, str]] | None = None) -> Answer:
        """A form of the page that was read last, with the hidden fields that it holds."""
        return self._kept(self.sent(path, fields, headers))

    def sent(self, path: str, fields: Mapping[str, str], headers: list[tuple[str, str]] | None = None) -> Answer:
        """The same, and the page stays as it was."""
        hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', self.page)
        content = urlencode({**{name: html.unescape(value) for name, value in hidden}, **fields}).encode()
        more = [("origin", "http://desk"), ("host", "desk")] if headers is None else headers
        return self.desk.ask("POST", self.at(path), headers=[FORM, *self.cookie(path), *more], content=content)

    def at(self, path: str) -> str:
        """The address of a page, below the session's place."""
        is_of_all = path.startswith(("/desk/static", "/desk/sign-in"))
        return path if is_of_all else re.sub(r"^/desk(?=/|$)", self.place, path)

    def cookie(self, path: str) -> list[tuple[str, str]]:
        """What goes along with a request for a page of the desk."""
        return self.sent_to(self.at(path))

    def sent_to(self, address: str) -> list[tuple[str, str]]:
        """What goes along with a request for this very address, to whatever port."""
        told = "; ".join(
            f"{name}={value}" for name, value in self.cookies.items() if _is_below(address, self.paths.get(name, "/"))
        )
        return [("cookie", told)] if told else []

    def _kept(self, answer: Answer) -> Answer:
        for said in answer.cookies:
            name, _, value = said.partition(";")[0].partition("=")
            self.cookies[name] = value
            self.paths[name] = re.findall(r"Path=([^;]+)", said)[0]
            if name == "lockgate_desk":
                self.place = self.paths[name]
        if answer.content:
            self.page = answer.content.decode().replace(self.place, "/desk")
        if "location" in answer.headers:
            answer.headers["location"] = answer.headers["location"].replace(self.place, "/desk")
        return answer


def _is_below(address: str, path: str) -> bool:
    """As browsers compare the path of a cookie (RFC 6265, 5.1.4)."""
    place = address.partition("?")[0]
    return place == path or place.startswith(path if path.endswith("/") else f"{path}/")
