"""`lockgate status`, `inbox`, `review`, `bill` and `--help` answer without Prefect, also where no server does."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from blocks.ledger.ledger import Ledger
from domain.errors import LedgerError
from domain.task import Plan, Question
from station import first_look
from tasks.pull_request import WaitsForForge

PROJECT = Path(__file__).resolve().parents[2]
IDS = [f"00000000-0000-4000-8000-00000000000{n}" for n in range(7)]
GONE = "00000000-0000-4000-8000-00000000000f"
"""Deleted in Prefect; the ledger knows it."""


def run(number: int, name: str, pause_key: str | None, minutes: int) -> dict[str, Any]:
    """As Prefect's API gives it now, in the fields that matter here."""
    kind = "PAUSED" if pause_key else "COMPLETED"
    details = {"pause_key": pause_key}
    at = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")
    state = {"type": kind, "name": kind.title(), "message": "so it is", "timestamp": at, "state_details": details}
    return {
        "id": IDS[number], "name": name, "state": state, "state_type": kind, "state_name": kind.title(),
        "parameters": {"brief": {"workshop": "default"}},
    }  # fmt: skip


def runs() -> list[dict[str, Any]]:
    """Made as they are asked for: this file may be read an hour before its tests run."""
    return [
        run(0, "A young review", "review-abc-0", 65),
        run(1, "Questions\x1b[2J", "questions-1-0", 200),
        run(2, "An old review", "review-def-0", 5000),
        run(3, "Waits for a window", "window-ghi-0", 9000),
        run(4, "Done", None, 1),
        run(5, "Its target is gone", "ready-jkl-0", 1600),
        run(6, "Its checks run", "forge-mno-0", 30),
    ]


class Api(BaseHTTPRequestHandler):
    ledger = ""
    asked: list[tuple[str, Any]]
    troubles: list[int]
    """What the next requests get instead of an answer: a status, or 0 for a connection that is cut."""
    is_other = False
    """Whether it is a Prefect that somebody else has started, without routes of ours."""

    def do_GET(self) -> None:
        if self.troubles:
            self.fail(self.troubles.pop(0))
            return
        if self.path.startswith("/api/flow_runs/"):
            found = [one for one in runs() if one["id"] == self.path.rsplit("/", 1)[1]]
            self.answer(found[0] if found else None)
        elif self.path.startswith("/api/block_types/slug/lockgate-workshop/block_documents/name/default"):
            self.answer({"data": {"ledger": {"url": self.ledger}}})
        elif self.path.startswith("/api/block_types/slug/lockgate-workshop/block_documents?"):
            self.answer([{"name": "default", "data": {"ledger": {"url": self.ledger}}}])
        else:
            self.answer(None)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body))
        if self.path.endswith("/resume"):
            self.answer({"status": "ACCEPT"})
            return
        if self.is_other and self.path.startswith("/api/lockgate/"):
            self.answer(None)
            return
        state = body["flow_runs"].get("state", {})
        types, names = (state.get(part, {}).get("any_") for part in ("type", "name"))
        found = [one for one in runs() if not types or one["state_type"] in types]
        self.answer([one for one in found if not names or one.get("state_name") in names][body["offset"] :])

    def answer(self, what: Any) -> None:
        assert self.headers["Authorization"] == "Basic bWU6c2VjcmV0"  # me:secret
        content = json.dumps(what).encode()
        self.send_response(404 if what is None else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def fail(self, status: int) -> None:
        if status:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class Desk:
    """The command line beside a server that stands for Prefect's."""

    def __init__(self, home: Path, port: int) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        api = {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PREFECT_API_AUTH_STRING": "me:secret"}
        self.env = {**kept, **api, "LOCKGATE_HOME": str(home)}

    def lockgate(self, *words: str) -> "subprocess.CompletedProcess[str]":
        code = (
            "import sys\nfrom station.cli import main\ntry:\n    main()\nfinally:\n"
            "    heavy = {'prefect', 'sqlalchemy', 'httpx', 'cryptography'} & set(sys.modules)\n"
            "    assert not heavy, heavy"
        )
        return subprocess.run(
            [sys.executable, "-c", code, *words], env=self.env, cwd=PROJECT, capture_output=True, text=True, timeout=60
        )


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    url = f"sqlite:///{tmp_path}/ledger.db"
    ledger = Ledger(url=url)
    for number in (0, 2):
        asks = Question(fingerprint=f"{number}" * 32, attempt=1, commit="c", text=f"look at {runs()[number]['name']}")
        ledger.record(IDS[number], "question", asks.fingerprint, asks)
    ledger.record(GONE, "question", "f", Question(fingerprint="f", attempt=3, commit="c", text=""))
    why = WaitsForForge(reason="required checks\x1b[2J are missing")
    ledger.record(IDS[6], "waits-for-forge", "forge-f-0", why)
    ledger.record(IDS[1], "plan", "1", Plan(steps=("s",), questions=("which one?", "why?")))
    handler = type("Handler", (Api,), {"ledger": url, "asked": [], "troubles": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made = Desk(tmp_path, server.server_port)
    made.asked = handler.asked  # type: ignore[attr-defined]
    made.troubles = handler.troubles  # type: ignore[attr-defined]
    made.handler = handler  # type: ignore[attr-defined]
    yield made
    server.shutdown()
    server.server_close()


def test_what_waits_for_a_person_is_listed_oldest_first_with_its_command(desk: Desk) -> None:
    found = json.loads(desk.lockgate("inbox", "--json").stdout)
    assert [(one["title"], one["command"]) for one in found] == [
        ("An old review", f"lockgate review {IDS[2]}"),
        ("Its target is gone", f"lockgate status {IDS[5]}"),
        ("Questions\x1b[2J", f"lockgate answer {IDS[1]}"),
        ("A young review", f"lockgate review {IDS[0]}"),
        ("Its checks run", f"lockgate status {IDS[6]}"),
    ]
    assert found[-1]["why"] == "required checks\x1b[2J are missing"
    told = desk.lockgate("inbox")
    assert told.stdout == desk.lockgate("review").stdout, "a review of nothing in particular is the same list"
    assert "\x1b" not in told.stdout
    assert [line.split("  ")[0] for line in told.stdout.splitlines()[1:-1]] == [
        "3 days", "26 h", "3 h", "1 h", "30 min",
    ]  # fmt: skip
    assert "Its checks run: required checks" in told.stdout
    assert "/desk/" in told.stdout.splitlines()[-1]
    assert {path for path, _ in desk.asked} == {"/api/lockgate/runs/filter"}  # type: ignore[attr-defined]
    desk.handler.is_other = True  # type: ignore[attr-defined]
    again = json.loads(desk.lockgate("inbox", "--json").stdout)
    assert [one["command"] for one in again] == [one["command"] for one in found], "of a server without that route"


def test_the_quick_commands_need_no_prefect(desk: Desk) -> None:
    for words, wanted in (
        (("--help",), "inbox"),
        (("status",), "Waits for a window"),
        (("status", IDS[0]), "waiting for a review of attempt 1"),
        (("status", GONE), "waiting for a review of attempt 3"),
        (("review", IDS[0]), "look at A young review"),
        (("answer", IDS[1]), "which one?\nwhy?"),
        (("bill",), "nothing was used"),
        (("bill", IDS[0]), "nothing was used"),
    ):
        done = desk.lockgate(*words)
        assert done.returncode == 0, done.stderr
        assert wanted in done.stdout
    for words in (("status", "nonsense"), ("review", IDS[4]), ("answer", IDS[0]), ("review", "--approve")):
        done = desk.lockgate(*words)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr


def test_answers_go_to_the_run_that_was_asked_about(desk: Desk) -> None:
    assert desk.lockgate("review", IDS[2], "--approve", "--as", "ann").returncode == 0
    assert desk.lockgate("answer", IDS[1], "the first", "--as", "bob").returncode == 0
    resumed = [(path, body["run_input"]) for path, body in desk.asked if path.endswith("/resume")]  # type: ignore[attr-defined]
    assert resumed == [
        (
            f"/api/flow_runs/{IDS[2]}/resume",
            {"decision": "approve", "reviewer": "ann", "comment": "", "mark": "2" * 16},
        ),
        (f"/api/flow_runs/{IDS[1]}/resume", {"answers": "the first", "answered_by": "bob"}),
    ]


def test_a_server_that_is_not_there_is_said_in_one_line(desk: Desk) -> None:
    desk.env["PREFECT_API_URL"] = "http://127.0.0.1:1/api"
    for command in ("status", "inbox", "bill"):
        done = desk.lockgate(command)
        assert (done.returncode, done.stdout) == (4, "")
        assert "does not answer: is `lockgate up` running?" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_busy_server_is_asked_again_and_one_that_says_no_is_not(desk: Desk) -> None:
    desk.troubles += [0, 500, 503, 0]  # type: ignore[attr-defined]
    done = desk.lockgate("status", IDS[0])
    assert (done.returncode, done.stderr) == (0, "")
    desk.troubles += [409]  # type: ignore[attr-defined]
    done = desk.lockgate("status", IDS[0])
    assert done.returncode != 0
    assert "answered 409" in done.stderr


def test_up_says_what_the_supervisor_saw_of_the_workshop_and_imports_no_workshop_for_it(tmp_path: Path) -> None:
    lines = ["sandboxes    bubblewrap", "LEDGER       an older copy was put back"]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "first-look").write_text(json.dumps(lines))
    code = (
        "import json, sys\nfrom station import first_look, supervisor\nprint(json.dumps(first_look.taken()))\n"
        "assert not {'prefect', 'blocks.workshop'} & set(sys.modules)"
    )
    env = {**os.environ, "LOCKGATE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == lines


def test_a_supervisor_that_sees_no_workshop_keeps_nothing_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "first-look").write_text('["of an earlier start"]')

    def take() -> list[str]:
        raise LedgerError("the ledger does not answer")

    monkeypatch.setattr(first_look, "take", take)
    first_look.keep()
    with pytest.raises(LedgerError):
        first_look.taken()
