"""The command line of a person who is signed in at a door: what it asks there, and where the token lies."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from domain.errors import InputError
from station import login

PROJECT = Path(__file__).resolve().parents[2]
RUN = "00000000-0000-4000-8000-000000000001"
MARK = "0123456789abcdef"
TOKEN = "lockgate_of-ann"
LOCKGATE = (sys.executable, "-c", "from station.cli import main\nmain()")


class Door(BaseHTTPRequestHandler):
    """As a door answers to Ann's token, and to no other."""

    asked: list[tuple[str, Any]]
    begun: threading.Event
    """A run is being started, or its log was read."""

    def do_GET(self) -> None:
        details = {"pause_key": f"review-{MARK}-0", "run_input_keyset": {"description": "review-description"}}
        state = {"type": "PAUSED", "name": "Suspended", "timestamp": "2026-01-01T00:00:00Z", "state_details": details}
        run = {"id": RUN, "name": "Add a double", "state": state, "state_type": "PAUSED", "state_name": "Suspended"}
        self.answer(
            {
                "/door/me": {"name": "ann", "roles": ["review"], "expires_at": None},
                f"/api/flow_runs/{RUN}": {**run, "parameters": {}},
                f"/api/flow_runs/{RUN}/input/review-description": "# Look at this",
                "/api/deployments/name/agent-task/agent-task": {"id": RUN},
                "/api/deployments/name/rollback/rollback": {"id": RUN},
            }.get(self.path)
        )

    def do_POST(self) -> None:
        self.asked.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        if self.path == "/api/logs/filter" or "SLOW" in str(self.asked[-1]):
            self.begun.set()
        if "SLOW" in str(self.asked[-1]):
            self.rfile.read(1)  # until the one who asked has gone
        self.answer([] if self.path == "/api/logs/filter" else {"status": "ACCEPT", "id": RUN})

    def answer(self, what: Any) -> None:
        known = self.headers["Authorization"] in (f"Bearer {TOKEN}", "Basic bG9ja2dhdGVfb2YtYW5u")
        content = json.dumps(what if known else {"detail": "this token is not known here"}).encode()
        self.send_response(401 if not known else 404 if what is None else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class Person:
    """Who has the command line and no station."""

    def __init__(self, home: Path, port: int, begun: threading.Event) -> None:
        self.begun = begun
        self.url = f"http://127.0.0.1:{port}"
        self.home = home
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "LOCKGATE_"))}
        self.env = {**kept, "LOCKGATE_HOME": str(home)}

    def lockgate(self, *words: str, typed: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*LOCKGATE, *words], env=self.env, cwd=PROJECT, capture_output=True, text=True, timeout=60, input=typed
        )

    def interrupted(self, *words: str) -> tuple[int, str]:
        """Exit code and stderr of a command that is ended by Ctrl-C while the door answers it."""
        self.begun.clear()
        with subprocess.Popen([*LOCKGATE, *words], env=self.env, cwd=PROJECT, stderr=subprocess.PIPE, text=True) as one:
            assert self.begun.wait(30)
            one.send_signal(signal.SIGINT)
            return one.wait(30), one.communicate()[1]


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    handler = type("Handler", (Door,), {"asked": [], "begun": threading.Event()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made = Person(tmp_path / "home", server.server_port, handler.begun)  # type: ignore[attr-defined]
    made.asked = handler.asked  # type: ignore[attr-defined]
    yield made
    server.shutdown()
    server.server_close()


def test_who_is_signed_in_answers_and_submits_without_a_ledger(person: Person, tmp_path: Path) -> None:
    wrong = person.lockgate("login", person.url, typed="guess\n")
    assert (wrong.returncode, "this token is not known here" in wrong.stderr) == (2, True)
    done = person.lockgate("login", person.url, typed=f"{TOKEN}\n")
    assert (done.returncode, done.stdout) == (0, f"signed in at {person.url} as ann, who may review\n"), done.stderr
    kept = person.home / "credentials" / "login.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert person.lockgate("review", RUN).stdout == "# Look at this\n"
    assert person.lockgate("review", RUN, "--approve").stdout == f"approve: run {RUN} goes on\n"
    told = {"decision": "approve", "reviewer": "", "comment": "", "mark": MARK}
    asked: list[tuple[str, Any]] = person.asked  # type: ignore[attr-defined]
    assert asked.pop() == (f"/api/flow_runs/{RUN}/resume", {"run_input": told})
    brief = {"title": "Add a double", "goal": "g", "repository": "/srv/sums.git", "acceptance": {}, "agent": "a/b"}
    (tmp_path / "brief.json").write_text(json.dumps(brief))
    assert person.lockgate("run", str(tmp_path / "brief.json"), "--json").returncode == 0
    path, body = asked.pop()
    assert (path, body["parameters"]["brief"]["title"]) == (f"/api/deployments/{RUN}/create_flow_run", "Add a double")
    assert body["name"] == "Add a double"
    for words in (("status", RUN), ("run", str(tmp_path / "brief.json"), "--wait")):
        needs = person.lockgate(*words)
        assert (needs.returncode, "needs the ledger" in needs.stderr) == (2, True), words
    kept.chmod(0o644)
    assert "can be read by others" in person.lockgate("inbox").stderr
    assert person.lockgate("logout").returncode == 0
    assert not kept.exists()


def test_ctrl_c_ends_the_command_and_says_what_became_of_the_run(person: Person, tmp_path: Path) -> None:
    person.lockgate("login", person.url, typed=f"{TOKEN}\n")
    code, said = person.interrupted("log", RUN, "--follow")
    assert code == 130 and f"the run goes on: `lockgate log {RUN} --follow` follows it" in said, said
    asked: list[tuple[str, Any]] = person.asked  # type: ignore[attr-defined]
    assert {path for path, _ in asked} == {"/api/logs/filter"}, "nothing was done to the run"
    brief = {"title": "SLOW", "goal": "g", "repository": "/srv/sums.git", "acceptance": {}, "agent": "a/b"}
    (tmp_path / "brief.json").write_text(json.dumps(brief))
    for words in (("run", str(tmp_path / "brief.json")), ("rollback", "shop", "--reason", "SLOW")):
        code, said = person.interrupted(*words)
        assert code == 130 and "`lockgate status` lists the newest runs" in said, (words, said)
        assert "Traceback" not in said


def test_a_token_lies_in_a_private_file_and_the_address_is_plain(person: Person, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o644)
    person.env |= {"LOCKGATE_URL": person.url, "LOCKGATE_TOKEN_FILE": str(token)}
    assert "can be read by others" in person.lockgate("review", RUN).stderr
    token.chmod(0o600)
    assert person.lockgate("review", RUN).stdout == "# Look at this\n"
    for url in ("ftp://x", "http://a:b@x", "x", "http://x/path", "http://x?q", "http://"):
        with pytest.raises(InputError, match="is no address of a door"):
            login.login(url, token)
