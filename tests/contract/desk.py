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
from tests.contract.door import Answer, FakeDoor

FORM = ("content-type", "application/x-www-form-urlencoded")


class FakeDesk(FakeDoor):
    """A door whose server has runs, and a ledger that is a real one, for the desk and for `station.api`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.runs: dict[str, dict[str, Any]] = {}
        self.answers, self.said = "ACCEPT", "a line"
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
        if path.endswith(("/resume", "/set_state")):
            self.asked.append(request)
            if (run := self.runs.get(path.split("/")[3])) and path.endswith("/resume"):
                run["state"] = {"type": "SCHEDULED", "name": "Resuming"}
            return httpx.Response(200, json={"status": self.answers})
        if path == "/api/flow_runs/filter":
            return httpx.Response(200, json=self._found(json.loads(request.content)))
        if path.removeprefix("/api/flow_runs/") in self.runs:
            self.asked.append(request)
            return httpx.Response(200, json=self.runs[path.removeprefix("/api/flow_runs/")])
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

    def _found(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        state = asked["flow_runs"].get("state", {})
        types, names = (state.get(part, {}).get("any_") for part in ("type", "name"))
        found = [
            run for run in self.runs.values()
            if (types is None or run["state"]["type"] in types) and (names is None or run["state"]["name"] in names)
        ]  # fmt: skip
        return found[asked["offset"] :][: asked["limit"]]


class Browser:
    """One person at the desk."""

    def __init__(self, desk: FakeDesk, role: Role | None = None) -> None:
        self.desk = desk
        self.cookies: dict[str, str] = {}
        self.page = ""
        if role is not None:
            self.sign_in(desk.value[role])

    def sign_in(self, value: str, **fields: str) -> Answer:
        self.get("/desk/sign-in")
        return self.send("/desk/sign-in", {"token": value, **fields})

    def get(self, path: str, **more: Any) -> Answer:
        return self._kept(self.desk.ask("GET", path, headers=[*self._cookie(), *more.pop("headers", ())], **more))

    def send(self, path: str, fields: Mapping[str, str], headers: list[tuple[str, str]] | None = None) -> Answer:
        """A form of the page that was read last, with the hidden fields that it holds."""
        return self._kept(self.sent(path, fields, headers))

    def sent(self, path: str, fields: Mapping[str, str], headers: list[tuple[str, str]] | None = None) -> Answer:
        """The same, and the page stays as it was."""
        hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', self.page)
        content = urlencode({**{name: html.unescape(value) for name, value in hidden}, **fields}).encode()
        more = [("origin", "http://desk"), ("host", "desk")] if headers is None else headers
        return self.desk.ask("POST", path, headers=[FORM, *self._cookie(), *more], content=content)

    def _cookie(self) -> list[tuple[str, str]]:
        told = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return [("cookie", told)] if told else []

    def _kept(self, answer: Answer) -> Answer:
        if said := answer.headers.get("set-cookie"):
            name, _, value = said.partition(";")[0].partition("=")
            self.cookies[name] = value
        if answer.content:
            self.page = answer.content.decode()
        return answer
