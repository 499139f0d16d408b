"""What the page of environments says of their health now: real services at real addresses, asked as users would."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from domain.access import Role
from domain.brief import Brief
from domain.project import ProjectSettings
from domain.task import Prepared, Release
from kits.briefs import brief as a_brief
from station import api
from station.desk import health_now
from tests.browser import chromium_started
from tests.contract.desk import Browser, FakeDesk
from tests.contract.door import served

A, B = "a" * 40, "b" * 40
RUN = "bbbbbbbb-0000-4000-8000-000000000001"
EVIL = '"><img src=x onerror=alert(1)>'
Told = tuple[int, dict[str, str], str]


class Service(ThreadingHTTPServer):
    """Somebody's service: it says what it is told to say, and notes what it was asked."""

    def __init__(self) -> None:
        self.answer: Told = (200, {}, "OK")
        self.asked: list[tuple[str, str | None]] = []
        self.hangs = False
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Host"]))
        if self.server.hangs:
            self.rfile.read(1)  # until the one who asked has gone
            return
        code, headers, body = self.server.answer
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDesk:
    made = FakeDesk(tmp_path)
    monkeypatch.setattr(api, "_once", made.once)
    monkeypatch.setattr(health_now, "SHARED_S", 0.0)
    monkeypatch.setattr("blocks.kept._read", lambda: None)
    return made


def lives(desk: FakeDesk, url: str, revision: str = A, **health: Any) -> None:
    """A task released a service there, which is asked like this for its health."""
    settings = ProjectSettings.model_validate({"health": health} if health else {})
    brief = Brief.model_validate(a_brief(Path("/srv/shop.git"), "command/x"))
    prepared = Prepared(
        run_id=RUN, brief=brief, base=B, settings=settings, contract="c", requirements=(), settings_source="detected"
    )  # fmt: skip
    desk.ledger.record(RUN, "prepared", "prepared", prepared)
    release = Release(environment="shop", revision=revision, artifact="x", url=url)
    desk.ledger.record(RUN, "live", f"shop/{revision}", release)


def told(desk: FakeDesk, role: Role = Role.REVIEW) -> tuple[str, str]:
    """State and line, as the page gets them."""
    browser = Browser(desk, role)
    (one,) = json.loads(browser.get("/desk/environments/health").content)
    assert (one["name"], one["revision"]) == ("shop", A)
    return one["state"], one["line"]


JSON = {"content-type": "application/health+json"}
ANSWERS: list[tuple[Told, dict[str, Any], str, str]] = [
    ((200, {}, "OK"), {}, "healthy", "HTTP 200 in # ms; it does not say which it is"),
    ((200, JSON, json.dumps({"status": "pass", "releaseId": A})), {}, "healthy", "it says that it is this release"),
    ((200, JSON, json.dumps({"status": "pass", "releaseId": B})), {}, "another release", f"{B!r} answers, not {A}"),
    ((503, JSON, json.dumps({"status": "fail", "output": "disk", "releaseId": A})), {}, "sick", "status fail: 'disk'"),
    ((500, {}, "oops"), {}, "sick", "HTTP 500"),
    ((302, {"location": "https://shop/"}, ""), {}, "sick", 'set health.scheme = "https"'),
    ((200, {}, "<h1>ready</h1>"), {"path": "/up", "text": "ready", "host": "shop.example"}, "healthy", "HTTP 200"),
    ((200, {}, "<h1>wait</h1>"), {"text": "ready"}, "sick", "is not in the answer"),
    ((200, {}, "OK"), {"format": "health+json"}, "sick", "no JSON object"),
    ((204, {}, ""), {"status": 204}, "healthy", "HTTP 204"),
]


@pytest.mark.parametrize(("answer", "health", "state", "line"), ANSWERS)
def test_it_is_asked_as_its_project_says_and_what_it_answers_is_shown(
    desk: FakeDesk, service: Service, answer: Told, health: dict[str, Any], state: str, line: str
) -> None:
    lives(desk, service.url, **health)
    service.answer = answer
    seen = told(desk)
    assert seen[0] == state and all(part in seen[1] for part in line.split("#")), seen
    assert service.asked == [(health.get("path", "/health"), health.get("host") or service.url.removeprefix("http://"))]


def test_one_that_hangs_ends_after_two_seconds_and_holds_up_no_page(desk: FakeDesk, service: Service) -> None:
    lives(desk, service.url)
    service.hangs = True
    begun = time.monotonic()
    assert Browser(desk, Role.REVIEW).get("/desk/environments").status == 200 and not service.asked
    assert told(desk) == ("sick", f"no answer from {service.url}/health: no whole answer within 2 s")
    assert time.monotonic() - begun < 5


def test_who_looks_at_the_same_time_shares_one_question(
    desk: FakeDesk, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_now, "SHARED_S", 60.0)
    lives(desk, service.url)
    assert {told(desk, role)[0] for role in (Role.REVIEW, Role.SUBMIT, Role.RELEASE)} == {"healthy"}
    assert len(service.asked) == 1


def test_what_cannot_be_asked_is_not_known_and_says_why(desk: FakeDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser(desk, Role.REVIEW)
    assert json.loads(browser.get("/desk/environments/health").content) == [], "nothing serves"
    assert "Nothing was seen serving there" in browser.get("/desk/environments").content.decode()
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    lives(desk, url)
    assert told(desk)[0] == "sick" and "Connection refused" in told(desk)[1]
    monkeypatch.setattr("blocks.kept._read", lambda: {"lockgate-process-target/shop": {"machine": "two"}})
    assert told(desk) == ("not known", f"{url} is asked on the machine of shop alone, which is not this")
    assert Browser(desk).get("/desk/environments/health").status == 303, "nobody is signed in"


@pytest.mark.parametrize("url", ["", "ftp://127.0.0.1/", "http://127.0.0.1:notaport/", "http://[::1/", "shop"])
def test_an_address_that_is_none_breaks_no_page(desk: FakeDesk, url: str) -> None:
    lives(desk, url)
    assert told(desk)[0] in ("not known", "sick")


def test_what_the_service_wrote_is_text_in_browser(desk: FakeDesk, service: Service) -> None:
    lives(desk, service.url)
    service.answer = (200, JSON, json.dumps({"status": "fail", "output": EVIL, "releaseId": A}))
    with served(desk.app) as port, chromium_started() as chromium:
        page = chromium.new_page()
        page.goto(f"http://127.0.0.1:{port}/desk/sign-in?next=/desk/environments")
        page.fill("#token", desk.value[Role.REVIEW])
        page.keyboard.press("Enter")
        page.wait_for_url("**/desk/at-*/environments")
        expect(page.locator(".now.sick")).to_contain_text(
            f"sick: status fail, with HTTP 200 that says otherwise: '{EVIL}'"
        )
        assert page.locator("img").count() == 0
        service.answer = (200, {}, "OK")
        page.evaluate("askHealth()")
        expect(page.locator(".now.healthy")).to_contain_text("it does not say which it is")
        desk.app.desk.sessions._known.clear()
        page.evaluate("askHealth()")
        page.wait_for_url("**/desk/sign-in?next=/desk/environments")
