"""Releases of a real station: freeze windows, held environments, going back; by CLI, form and housekeeping."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from domain.task import End
from kits.briefs import GOOD, brief, repository
from kits.product.station import Station
from kits.servers import free_port

SERVICE = {
    "lockgate.toml": 'requirements = ["pytest==9.2.0"]\ntest = "python -m pytest -q"\nrun = "python serve.py {port}"\n',
    "serve.py": """import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"status": "pass", "releaseId": os.environ["RELEASE_ID"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
""",
}


def freeze(station: Station, environment: str, until: datetime) -> None:
    """Closed until then; only this environment."""
    window = {
        "environments": [environment],
        "first": "2026-01-01T00:00:00",
        "last": until.replace(tzinfo=None).isoformat(),
        "reason": "the sale",
    }
    station.python(
        "from blocks.workshop import Workshop\nfrom domain.windows import Freeze\n"
        f"shop = Workshop.saved('default')\nfrozen = Freeze.model_validate({window!r})\n"
        f"shop.freezes = (*(f for f in shop.freezes if f.environments != ({environment!r},)), frozen)\n"
        "shop.keep('default')"
    )


def test_an_approved_change_waits_for_the_end_of_a_freeze_window(station: Station, tmp_path: Path) -> None:
    at = repository(tmp_path / "frozen.git", SERVICE)
    station.target("frozen", free_port())
    freeze(station, "frozen", datetime.now(UTC) + timedelta(days=900))
    mounts = tmp_path / "agents"
    mounts.mkdir()
    station.command("good-in-a-freeze", GOOD, mounts)
    run_id = station.submit(brief(at, "command/good-in-a-freeze", environment="frozen"))
    station.wait_for_state(run_id, "PAUSED")
    while not station.entries(run_id, "question"):
        station.wait_for_state(run_id, "PAUSED")
    while station.answer(run_id, {"decision": "approve", "reviewer": "tester", "comment": ""}) == "BUSY":
        pass
    until = datetime.now(UTC) + timedelta(seconds=120)
    while not station.entries(run_id, "waits-for-window"):
        assert datetime.now(UTC) < until, station.story(run_id)
    station.wait_for_state(run_id, "PAUSED")
    assert not station.entries(run_id, "merged"), "what cannot be released is not merged either"

    def housekeeping() -> None:
        deployment = station.api("GET", "/deployments/name/housekeeping/housekeeping")
        body = {"state": {"type": "SCHEDULED"}}
        run = station.api("POST", f"/deployments/{deployment['id']}/create_flow_run", body)
        station.wait_for_state(run["id"], "COMPLETED")

    housekeeping()
    station.wait_for_state(run_id, "PAUSED")
    freeze(station, "frozen", datetime.now(UTC) - timedelta(days=1))
    housekeeping()
    outcome = station.wait(run_id, approve=False)
    assert outcome.end is End.LIVE, outcome.sentence
    assert len(station.entries(run_id, "merged")) == 1


def test_a_held_environment_gets_no_release_and_says_how_to_open_it(station: Station, tmp_path: Path) -> None:
    at = repository(tmp_path / "held.git", SERVICE)
    station.target("held", free_port())
    mounts = tmp_path / "agents"
    mounts.mkdir()
    station.command("good-but-held", GOOD, mounts)
    assert (
        "nothing is released to held"
        in station.lockgate("hold", "held", "we move house", "--as", "ann", check=True).stdout
    )
    wrong = station.lockgate("hold", "nowhere", "why", "--as", "ann")
    assert wrong.returncode == 2
    assert "no environment 'nowhere'" in wrong.stderr
    told = brief(at, "command/good-but-held", environment="held")
    frozen = station.wait(station.submit(told))
    assert frozen.end is End.FROZEN
    assert "'held' is held by ann (a claim): we move house" in frozen.sentence
    opened = station.lockgate("open", "held", "we moved", "--as", "ann", check=True).stdout
    assert "releases may go to held again" in opened
    assert "open already" in station.lockgate("open", "held", "again", "--as", "ann", check=True).stdout
    live = station.wait(station.submit(told))
    assert live.end is End.LIVE, live.sentence
    back = station.lockgate("rollback", "held", "--reason", "to see it", check=True).stdout
    assert "was seen serving" in back
    status = json.loads(station.lockgate("status", live.run_id, "--json", check=True).stdout)
    assert "well with 10 % of the traffic" in json.dumps(status)
