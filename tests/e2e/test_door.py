"""A brief comes in at the door, is approved there, and the ledger knows by whom."""

import json
import time
from pathlib import Path
from typing import Any

import httpx

from domain.task import Approval, End
from kits.briefs import FILES, GOOD, SETTINGS, brief, repository
from kits.product.station import Station
from station.door import table


class Guest:
    """Somebody with a token, and nothing else."""

    def __init__(self, station: Station, name: str, role: str) -> None:
        done = station.lockgate("token", "add", name, "--role", role, "--days", "1", check=True)
        self.url = f"http://127.0.0.1:{(station.home / 'run' / 'door-port').read_text()}"
        self.headers = {"Authorization": f"Bearer {done.stdout.strip()}"}
        assert name in done.stderr

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """What the door answers, once the server behind it is not busy."""
        for pause_s in (0.5, 1, 2, 4, 0):
            answer = httpx.request(method, f"{self.url}/api{path}", json=body, headers=self.headers, timeout=60)
            if answer.status_code != 503:
                break
            time.sleep(pause_s)
        return answer


def waits(station: Station, run_id: str, but: str = "") -> str:
    """The mark of the question that the run waits with, other than the one under the key `but`."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        state = station.run(run_id)["state"]
        key = str(state["state_details"]["pause_key"] or "")
        if state["type"] == "PAUSED" and key != but:
            return key
        time.sleep(0.3)
    raise AssertionError(f"run {run_id} asks nothing: {state}\n{station.story(run_id)}")


def test_a_brief_comes_in_at_the_door_and_only_who_is_signed_in_there_approves_it(
    station: Station, tmp_path: Path
) -> None:
    at = repository(tmp_path / "sums.git", {**FILES, "lockgate.toml": f"{SETTINGS}[review]\nsigned_in = true\n"})
    mounts = tmp_path / "agents"
    mounts.mkdir()
    station.command("at-the-door", GOOD, mounts)
    robot, ann = Guest(station, "robot", "submit"), Guest(station, "ann", "review")
    id_ = robot.ask("GET", "/deployments/name/agent-task/agent-task").json()["id"]
    start = f"/deployments/{id_}/create_flow_run"
    body = {"parameters": {"brief": brief(at, "command/at-the-door")}}
    assert robot.ask("POST", start, {**body, "job_variables": {"command": "id"}}).status_code == 403
    assert robot.ask("POST", "/block_documents/filter", {"include_secrets": True}).status_code == 403
    assert ann.ask("POST", start, body).status_code == 403
    run_id = robot.ask("POST", start, body).json()["id"]
    assert station.run(run_id)["labels"]["lockgate.started-by"] == "robot"

    first = waits(station, run_id)
    mark = first.split("-")[1]
    yes = {"run_input": {"decision": "approve", "mark": mark, "comment": "as asked"}}
    assert robot.ask("POST", f"/flow_runs/{run_id}/resume", yes).status_code == 403
    claim = {**yes["run_input"], "reviewer": "ann"}  # type: ignore[dict-item]
    assert station.answer(run_id, claim) == "ACCEPT", "past the door, with the credential, it is a claim"
    assert waits(station, run_id, but=first).split("-")[1] == mark, "and approves nothing: it is asked again"
    assert ann.ask("POST", f"/flow_runs/{run_id}/resume", yes).json()["status"] == "ACCEPT"
    outcome = station.wait(run_id, approve=False)
    assert outcome.end is End.MERGED, outcome.sentence
    (given,) = [Approval.model_validate(entry.body) for entry in station.entries(run_id, "approval")]
    assert (given.reviewer, given.comment, given.signed_in) == ("ann", "as asked", True)
    links = json.loads(station.lockgate("verify", run_id, "--json", check=True).stdout)
    assert any("ann (signed in)" in link["proof"] for link in links)

    assert ann.ask("GET", "/version").status_code == 200
    station.lockgate("token", "revoke", "ann", check=True)
    assert ann.ask("GET", "/version").status_code == 401, "from that moment on"
    told = (station.home / "run" / "door.log").read_text()
    assert "ann (token" in told and f"/flow_runs/{run_id}/resume → 201" in told


def test_who_started_a_run_may_cancel_it_and_it_ends_as_declined(station: Station, tmp_path: Path) -> None:
    at = repository(tmp_path / "sums.git")
    mounts = tmp_path / "agents"
    mounts.mkdir()
    station.command("slow", "sleep 600", mounts)
    robot, other = Guest(station, "worker-bee", "submit"), Guest(station, "another", "submit")
    id_ = robot.ask("GET", "/deployments/name/agent-task/agent-task").json()["id"]
    body = {"parameters": {"brief": brief(at, "command/slow", title="Cancel me")}}
    run_id = robot.ask("POST", f"/deployments/{id_}/create_flow_run", body).json()["id"]
    until = time.monotonic() + 120
    while not station.entries(run_id, "prepared"):
        assert time.monotonic() < until, station.story(run_id)
        time.sleep(0.3)
    assert other.ask("GET", f"/flow_runs/{run_id}").json()["parameters"] == {}
    assert robot.ask("GET", f"/flow_runs/{run_id}").json()["parameters"]["brief"]["title"] == "Cancel me"
    stop = {"state": {"type": "CANCELLING", "name": "Cancelling", "message": "the wrong branch"}}
    assert other.ask("POST", f"/flow_runs/{run_id}/set_state", stop).status_code == 403
    assert robot.ask("POST", f"/flow_runs/{run_id}/set_state", stop).json()["status"] == "ACCEPT"
    station.wait_for_state(run_id, "CANCELLED")
    station.python(
        "from flows.resume import conclude\nfrom prefect.client.orchestration import get_client\n"
        "with get_client(sync_client=True) as client:\n    print(conclude(client))"
    )
    outcome = station.wait(run_id)
    assert outcome.end is End.DECLINED
    assert "worker-bee (signed in) asks to cancel it: the wrong branch" in outcome.sentence


def test_every_deployment_that_a_token_may_start_exists(station: Station) -> None:
    found = {name for name in table.STARTS if station.api("GET", f"/deployments/name/{name}")}
    assert found == set(table.STARTS)
