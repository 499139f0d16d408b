"""The ways a brief comes in, and who may not: UI and API, schedule and inbox, questions, credentials, secrets."""

import json
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from domain.task import End
from flows.endings import NOTHING
from kits.briefs import FILES, GOOD, SETTINGS, brief, git, repository
from kits.product.station import PROJECT, Station
from kits.servers import free_port


def test_the_api_is_closed_to_who_has_no_credential(station: Station) -> None:
    url = f"http://127.0.0.1:{station.port}/api"
    assert httpx.post(f"{url}/flow_runs/filter", json={}).status_code == 401
    assert httpx.post(f"{url}/flow_runs/filter", json={}, auth=("lockgate", "guess")).status_code == 401
    for name in ("api-credential", "encryption-key"):
        assert stat.S_IMODE((station.home / "credentials" / name).stat().st_mode) == 0o600
    listening = subprocess.run(["ss", "-ltnH"], capture_output=True, text=True).stdout
    assert [line for line in listening.splitlines() if f":{station.port} " in line and "127.0.0.1" not in line] == []


def test_up_registers_what_prefect_deploy_would_and_leaves_a_paused_schedule_paused(station: Station) -> None:
    def told() -> list[dict[str, Any]]:
        drop = {"created", "updated", "version_id", "version_info", "last_polled", "status"}
        drop.add("version")  # Prefect's command says there which commit it is
        found = station.api("POST", "/deployments/filter", {})
        for one in found:
            one["schedules"] = [(s["slug"], s["active"], s["schedule"]) for s in one["schedules"]]
        return sorted(({k: v for k, v in one.items() if k not in drop} for one in found), key=lambda one: one["name"])

    by_up = told()
    prefect = [str(Path(sys.executable).with_name("prefect")), "--no-prompt", "deploy", "--all"]
    settings = station.python(
        "import json\nfrom station import settings\nprint(json.dumps(settings.client_environment()))"
    )
    env = {**station.env, **json.loads(settings), "LOCKGATE_PROJECT": str(PROJECT)}
    subprocess.run(prefect, env=env, cwd=PROJECT, check=True, capture_output=True)
    assert told() == by_up
    code = "from station import joining, settings\nsettings.use()\nprint(joining.other_code())"
    assert station.python(code).strip() == "None", "a joined machine goes on: the station has the code that it had"
    assert {one["name"] for one in by_up} >= {"agent-task", "rollback", "downgrade", "intake", "housekeeping"}

    intake = station.api("GET", "/deployments/name/intake/intake")
    at = f"/deployments/{intake['id']}/schedules/{intake['schedules'][0]['id']}"
    station.api("PATCH", at, {"active": False})
    again = "from station import bootstrap\nbootstrap.bootstrap(bootstrap.deployments({0}), {0})"
    station.python(again.format("'another'"))
    assert [s["active"] for s in station.api("GET", "/deployments/name/intake/intake")["schedules"]] == [False]
    station.api("PATCH", at, {"active": True})

    kind = station.api("GET", "/block_types/slug/lockgate-aider")
    station.api("DELETE", f"/block_types/{kind['id']}")
    station.python(again.format("'another'"))  # this one is noted by now, so what is there is looked at
    assert station.api("GET", "/block_types/slug/lockgate-aider")["name"] == kind["name"]


def test_the_same_key_never_starts_a_second_run(station: Station, tmp_path: Path) -> None:
    at = repository(tmp_path / "sums.git")
    file = tmp_path / "brief.json"
    file.write_text(json.dumps(brief(at, "command/default", goal="make it better")))
    first, second = (
        json.loads(station.lockgate("run", str(file), "--json", "--key", "once", check=True).stdout) for _ in range(2)
    )
    assert first["run_id"] == second["run_id"]
    done = station.lockgate("run", str(file), "--json", "--wait", "--key", "once")
    assert done.returncode == 2
    assert json.loads(done.stdout)["end"] == "refused"


def test_a_name_of_nothing_is_told_before_there_is_a_run_with_the_names_that_exist(
    station: Station, tmp_path: Path
) -> None:
    at = repository(tmp_path / "sums.git")
    file = tmp_path / "brief.json"
    for fields, reason in (
        ({"environment": "nowhere"}, "there is no environment 'nowhere' in the workshop 'default'"),
        ({"agent": "command/defualt"}, "there is no agent 'command/defualt': did you mean 'command/default'?"),
    ):
        file.write_text(json.dumps({**brief(at, "command/default", title="Add a name of nothing"), **fields}))
        done = station.lockgate("run", str(file))
        assert (done.returncode, done.stdout) == (2, ""), done.stdout
        assert reason in done.stderr
    wanted = {"flow_runs": {"name": {"any_": ["Add a name of nothing"]}}}
    assert station.api("POST", "/flow_runs/filter", wanted) == []


def test_briefs_in_the_inbox_are_run_once_and_wrong_ones_come_back_with_the_reason(
    station: Station, tmp_path: Path
) -> None:
    at = repository(tmp_path / "sums.git")
    inbox = station.home / "inbox"
    inbox.mkdir(exist_ok=True)
    told = brief(at, "command/default", title="Add a double by the inbox", environment="nowhere")
    (inbox / "good.json").write_text(json.dumps(told))
    (inbox / "bad.toml").write_text("title = ")
    deployment = station.api("GET", "/deployments/name/intake/intake")
    body = {"state": {"type": "SCHEDULED"}}
    run = station.api("POST", f"/deployments/{deployment['id']}/create_flow_run", body)
    station.wait_for_state(run["id"], "COMPLETED")
    assert "not valid TOML" in (inbox / "refused" / "bad.toml.reason.txt").read_text()
    assert (inbox / "taken" / "good.json").is_file()
    runs = station.api("POST", "/flow_runs/filter", {"flow_runs": {"name": {"any_": [told["title"]]}}})
    until = time.monotonic() + 60
    while not runs and time.monotonic() < until:
        time.sleep(0.5)
        runs = station.api("POST", "/flow_runs/filter", {"flow_runs": {"name": {"any_": [told["title"]]}}})
    assert len(runs) == 1
    assert station.wait(runs[0]["id"]).end is End.REFUSED


def test_schedules_make_runs_and_housekeeping_completes(station: Station) -> None:
    wanted = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}, "limit": 200}
    until = time.monotonic() + 60
    names: set[str] = set()
    while time.monotonic() < until:
        runs = station.api("POST", "/flow_runs/filter", wanted)
        deployments = {run["deployment_id"] for run in runs if run["auto_scheduled"]}
        names = {station.api("GET", f"/deployments/{one}")["name"] for one in deployments}
        if {"intake", "housekeeping"} <= names:
            break
        time.sleep(1)
    assert {"intake", "housekeeping"} <= names, "the scheduler made no runs"
    deployment = station.api("GET", "/deployments/name/housekeeping/housekeeping")
    body = {"state": {"type": "SCHEDULED"}}
    run = station.api("POST", f"/deployments/{deployment['id']}/create_flow_run", body)
    station.wait_for_state(run["id"], "COMPLETED")
    shown = station.api("POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
    assert {artifact["key"] for artifact in shown} >= {"housekeeping", "bill-this-month"}

    def ended(tag: str, message: str) -> str:
        made = station.api("POST", "/flow_runs/", {"flow_id": run["flow_id"], "tags": [tag]})
        state = {"type": "COMPLETED", "message": message}
        station.api("POST", f"/flow_runs/{made['id']}/set_state", {"state": state, "force": True})
        return str(made["id"])

    rounds = [ended("lockgate-platform", NOTHING), ended("lockgate-platform", "done"), ended("lockgate", NOTHING)]
    for told, left in (("", rounds), ("0", rounds[1:])):
        station.python(
            "from prefect.client.orchestration import get_client\nfrom flows.housekeeping import forget_rounds\n"
            f"with get_client(sync_client=True) as client: forget_rounds(client, {told})"
        )
        found = station.api("POST", "/flow_runs/filter", {"flow_runs": {"id": {"any_": rounds}}})
        assert sorted(one["id"] for one in found) == sorted(left), "a round without anything to do goes after an hour"


def test_the_agents_questions_are_answered_and_reach_it(station: Station, tmp_path: Path) -> None:
    at = repository(tmp_path / "sums.git")
    mounts = tmp_path / "agents"
    mounts.mkdir()
    script = f"""
if [ "$LOCKGATE_PHASE" = plan ]; then
    if [ -f /lockgate/feedback.md ]; then
        printf '{{"steps": ["as told"]}}' > /lockgate/plan.json
        cp /lockgate/feedback.md /lockgate/scratchpad.md
        grep -q "an integer" /lockgate/feedback.md || exit 9
    else
        printf '{{"steps": [], "questions": ["What is a number?"]}}' > /lockgate/plan.json
    fi
else
    {GOOD}
fi
"""
    path = mounts / "asks.sh"
    path.write_text(script)
    station.python(
        "from blocks.agents.command import Command\n"
        f"Command(command='/bin/sh /agent/asks.sh', plans=True, mounts={{{str(mounts)!r}: '/agent'}}).keep('asks')"
    )
    run_id = station.submit(brief(at, "command/asks"))
    station.wait_for_state(run_id, "PAUSED")
    assert station.lockgate("review", run_id).returncode == 2, "it does not wait for a review yet"
    station.lockgate("answer", run_id, "an integer", "--as", "ann", check=True)
    until = time.monotonic() + 90
    while not station.entries(run_id, "question") and time.monotonic() < until:
        time.sleep(0.3)
    outcome = station.wait(run_id)
    assert outcome.end is End.MERGED, outcome.sentence
    assert len(station.entries(run_id, "answers")) == 1


def test_when_main_moves_under_an_approved_change_it_is_tested_and_reviewed_again(
    station: Station, tmp_path: Path
) -> None:
    at = repository(tmp_path / "sums.git")
    mounts = tmp_path / "agents"
    mounts.mkdir()
    station.command("slowpoke", GOOD, mounts)
    run_id = station.submit(brief(at, "command/slowpoke"))
    station.wait_for_state(run_id, "PAUSED")
    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", str(at), str(other))
    (other / "notes.txt").write_text("somebody else was here")
    git(other, "add", "--all")
    git(other, "commit", "--quiet", "--message", "notes")
    git(other, "push", "--quiet", "origin", "main")
    outcome = station.wait(run_id)
    assert outcome.end is End.MERGED, outcome.sentence
    assert len(station.entries(run_id, "question")) == 2, "an approval dies when what it was given for changes"
    assert git(at, "log", "--format=%s", "main").splitlines() == ["Add a double function", "notes", "start"]
    assert station.lockgate("verify", run_id).returncode == 0, station.lockgate("verify", run_id).stdout
    station.api("DELETE", f"/flow_runs/{run_id}")
    for words in (("verify", run_id), ("bill", run_id)):
        done = station.lockgate(*words)
        assert done.returncode == 0, f"{words}: what Prefect forgot is in the ledger: {done.stdout}{done.stderr}"
    told = json.loads(station.lockgate("status", run_id, "--json", check=True).stdout)
    assert told["state"] == "Deleted"
    assert told["timeline"][-1]["line"] == f"outcome: {outcome.sentence}"


SECRETIVE = {
    **FILES,
    "lockgate.toml": SETTINGS + 'run = "python serve.py {port}"\n',
    "serve.py": """import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = os.environ.get("TOKEN", "")
print("starting with", TOKEN, flush=True)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        status = "pass" if len(TOKEN) == 40 else "fail"
        body = json.dumps({"status": status, "releaseId": os.environ["RELEASE_ID"]}).encode()
        self.send_response(200 if status == "pass" else 503)
        self.send_header("content-type", "application/health+json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
""",
}


def test_a_secret_reaches_the_release_it_is_granted_to_and_nothing_else(station: Station, tmp_path: Path) -> None:
    canary = os.urandom(20).hex()
    at = repository(tmp_path / "secretive.git", SECRETIVE)
    station.target("secretive", free_port(), secrets={"TOKEN": canary})
    mounts = tmp_path / "agents"
    mounts.mkdir()
    snoop = f"env; cat /proc/self/environ; ls -R / 2>/dev/null | head -5000; grep -r {canary[:12]} /work\n{GOOD}"
    station.command("snoop", snoop, mounts)
    run_id = station.submit(brief(at, "command/snoop", environment="secretive"))
    outcome = station.wait(run_id)
    assert outcome.end is End.LIVE, outcome.sentence
    held = [
        str(path.relative_to(station.home))
        for path in station.home.rglob("*")
        if path.is_file() and canary.encode() in path.read_bytes()
    ]
    own_log = [path for path in held if re.fullmatch(r"targets/secretive/releases/[0-9a-f]+/log", path)]
    assert held == own_log, "only what the release itself printed may hold it, in its own log"
    told = station.lockgate("status", run_id, "--json", check=True).stdout
    assert canary not in told
