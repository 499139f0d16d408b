"""Services that were not made for Lockgate go live as they are: each answers as the real one of its name does.

What they say was read off flask 3.1, django 5.2, fastapi 0.118, starlette 0.48, gunicorn 23, aiohttp 3.14, tornado 6.6,
an express-like node and http.server, each asked with our headers.
"""

import http.client
import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blocks.targets.health_probe import UPSTREAM
from blocks.targets.machine.process import ProcessTarget
from domain.health import HealthCheck, HealthState, IdentitySource
from domain.ports import ReleaseBuild
from domain.rollout import Rollout
from domain.trees import TreeEntry
from kits.servers import free_port
from kits.tiny_service import toolchain
from kits.users import until
from tests.contract.shipping import bake, release

SERVICE = """
import http.server, json, os, sys, time
kind, host, port = sys.argv[1:]
if kind == "slow":
    time.sleep(3)
LOCAL = "shop.example.com"
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.headers["Host"].partition(":")[0]
        over_tls = self.headers.get("X-Forwarded-Proto") == "https"
        if kind == "flask":
            return self.answer(204, "", "text/html; charset=utf-8")
        if kind == "django" and name != LOCAL:
            return self.answer(400, "<h1>Bad Request (400)</h1><p></p>", "text/html; charset=utf-8")
        if kind == "starlette" and name != LOCAL:
            return self.answer(400, "Invalid host header", "text/plain; charset=utf-8")
        if kind in ("tls", "starlette") and not over_tls:
            return self.answer(307, "", "text/plain", "https://" + name + self.path)
        if kind == "express" and self.path != "/login":
            return self.answer(302, "Found. Redirecting to /login", "text/plain; charset=utf-8", "/login")
        if kind == "strict" and "*/*" not in self.headers["Accept"]:
            return self.answer(406, "Not Acceptable", "text/plain")
        bodies = {
            "fastapi": {"status": "healthy", "database": "connected"},
            "aiohttp": {"ok": True},
            "tornado": {"status": "running", "uptime": 1},
            "own word": {"status": "pass", "releaseId": os.environ["RELEASE_ID"]},
            "another's word": {"status": "pass", "releaseId": "v1.2.3"},
        }
        if kind in bodies:
            return self.answer(200, json.dumps(bodies[kind]), "application/json")
        self.answer(200, "OK, says " + kind, "text/plain")
    def answer(self, code, body, type, to=None):
        self.send_response(code)
        self.send_header("Content-Type", type)
        self.send_header("X-Lockgate-Upstream", "127.0.0.1:1")
        if to:
            self.send_header("Location", to)
        if code != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *arguments):
        pass
http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
"""
STATIC = "python -m http.server --bind {host} {port}"

WELL: list[tuple[str, Any]] = [
    ("flask", "/healthz"),
    ("django", {"path": "/healthz", "host": "shop.example.com"}),
    ("fastapi", "/health"),
    ("starlette", {"host": "shop.example.com", "scheme": "https"}),
    ("gunicorn", "/"),
    ("aiohttp", {"path": "/ping", "text": '"ok": true'}),
    ("tornado", "/status"),
    ("express", {"path": "/", "status": 302}),
    ("express", "/login"),
    ("tls", {"path": "/", "scheme": "https"}),
    ("strict", "/health"),
    ("slow", {"path": "/", "start_timeout_s": 120}),
    (STATIC, "/"),
    (STATIC, {"path": "/service.py", "text": "BaseHTTPRequestHandler"}),
    ("own word", {"format": "health+json"}),
]

BY_THE_ENGINE = ("flask", STATIC)


def built(kind: str, health: Any) -> ReleaseBuild:
    run = kind if "{port}" in kind else f"python service.py {shlex.quote(kind)} {{host}} {{port}}"
    tree = {"service.py": TreeEntry(0o100644, SERVICE.encode()), "kind": TreeEntry(0o100644, kind.encode())}
    return ReleaseBuild(tree, toolchain(), run, HealthCheck.model_validate(health), None, {}, None)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessTarget]:
    made = ProcessTarget(
        name="shop",
        root=tmp_path_factory.mktemp("targets"),
        port=free_port(),
        rollout=Rollout(shares=(50,), share_s=0, least_sample=1, bake_s=0, interval_s=0.02, latency_floor_ms=20_000),
        start_timeout_s=2,
        drain_s=0.1,
    )
    yield made
    made.stop()


def test_each_goes_live_and_who_answered_is_on_record(target: ProcessTarget) -> None:
    before = None
    for number, (kind, health) in enumerate(WELL):
        revision = f"{number + 1:040x}"
        # time enough if nothing is said of the start: this machine may be busy
        roomy = target if kind == "slow" else target.model_copy(update={"start_timeout_s": 30})
        wanted = IdentitySource.SAID if kind == "own word" else IdentitySource.SEEN
        if kind in BY_THE_ENGINE:
            made = release(roomy, revision, before, built(kind, health))
            assert made.problem is None, (kind, health, made.problem)
            baked = bake(roomy, made, HealthCheck.model_validate(health))
            assert baked.healthy, (kind, health, baked.reason)
            assert (baked.identity, wanted in baked.reason) == (wanted, True), (kind, baked)
        else:  # what the engine looks at, once
            roomy.prepare(revision, built(kind, health))
            assert (problem := roomy.start(revision)) is None, (kind, health, problem)
            roomy.promote(revision)
            for seen in (roomy.probe(revision), roomy.public(target._releases.place(revision).get())):
                assert (seen.state, seen.identity) == (HealthState.HEALTHY, wanted), (kind, health, seen)
        assert (target.current(), target.pointed()) == (revision, revision), kind
        before = revision


SICK: list[tuple[str, Any, str]] = [
    ("django", "/healthz", "health.host"),
    ("tls", "/", 'health.scheme = "https"'),
    ("express", "/", "to '/login': no redirect is followed"),
    ("flask", {"path": "/healthz", "status": [200, 201]}, "200 or 201 is expected"),
    ("gunicorn", {"path": "/", "text": "Howdy"}, "'Howdy' is not in the answer: 'OK, says gunicorn'"),
    ("fastapi", {"format": "health+json"}, "is none of the format"),
    ("another's word", "/health", "'v1.2.3' answers, not"),
]


def test_what_is_not_well_says_what_to_set(target: ProcessTarget) -> None:
    for number, (kind, health, reason) in enumerate(SICK):
        revision, problem = f"{number + 101:040x}", ""
        for start_timeout_s in (1.5, 6, 24):  # a busy machine gives it no time to answer
            patient = target.model_copy(update={"start_timeout_s": start_timeout_s})
            patient.prepare(revision, built(kind, health))
            problem = str(patient.start(revision))
            if "no answer from" not in problem:
                break
        assert reason in problem, (kind, problem)


def test_no_other_program_and_no_other_release_is_taken_for_it(target: ProcessTarget) -> None:
    one, two = "e" * 40, "f" * 40
    target = target.model_copy(update={"network": "host"})  # in a network of its own nobody else can sit there
    for revision in (one, two):
        target.prepare(revision, built("gunicorn", "/")._replace(environment={"N": revision}))
        assert target.model_copy(update={"start_timeout_s": 30}).start(revision) is None
    target.promote(one)
    there = target._releases.place(two).get()
    reading = target.public(there)
    assert (reading.state, reading.identity) == ("another release", None), reading
    assert target._releases.place(one).get().upstream in reading.reason
    assert target.current() == one
    # somebody else sits where the release was
    target._service(two).stop()
    stranger = subprocess.Popen(
        ["/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", str(there.port)],
        cwd="/usr/share/doc", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        reading = until(lambda: (said := target.probe(two)).code and said)
        assert (reading.state, reading.identity) == ("another release", None), reading
        assert "another program listens" in reading.reason
    finally:
        stranger.kill()
        stranger.wait()


def test_only_who_asks_as_we_do_is_told_who_answered(target: ProcessTarget) -> None:
    connection = http.client.HTTPConnection(target.address)
    connection.request("GET", "/")
    headers = connection.getresponse().headers
    assert headers[UPSTREAM] == "127.0.0.1:1"  # the release's own
    connection.close()


def test_a_health_check_is_kept_as_it_was_written(tmp_path: Path) -> None:
    for given in ("/", {"path": "/a", "status": 302}, {"host": "a.example", "scheme": "https", "start_timeout_s": 120}):
        check = HealthCheck.model_validate(given)
        assert HealthCheck.read(str(check)) == check == HealthCheck.model_validate(json.loads(check.model_dump_json()))
    assert HealthCheck().model_dump(mode="json") == "/health"
