"""kill -9 right before and right after each side effect: the run resumes by itself, and nothing happens twice."""

import json
import os
import signal
import time
from pathlib import Path

import httpx

from domain.task import End
from kits.briefs import GOOD, brief, git, repository
from kits.product.station import PROJECT, Station
from kits.servers import free_port

POINTS = (
    "edit-before", "edit-after", "approval-before", "approval-after", "merge-before", "merge-after",
    "prepare-before", "start-after", "shift-after", "promote-after", "rollback-before", "rollback-after",
    "revert-after", "outcome-after",
)  # fmt: skip


def test_a_run_killed_at_every_step_resumes_by_itself_and_nothing_happens_twice(
    station: Station, shop: Path, tmp_path: Path
) -> None:
    port = free_port()
    station.target("killed", port)
    station.replay("killed", PROJECT / "examples" / "shop" / "attempts")
    told = station.python(
        "from flows.briefs import read_brief\nfrom station.demo import SHOP\n"
        f"b = read_brief(SHOP / 'brief.toml', repository={str(shop)!r}, environment='killed', agent='replay/killed')\n"
        "print(b.model_dump_json())"
    )
    run_id = station.submit(json.loads(told))
    points = station.kill(run_id, POINTS)
    outcome = station.wait(run_id, timeout_s=580)
    assert {mark.name for mark in points.iterdir()} == {f"{point}.done" for point in POINTS}, "killed at every point"
    assert outcome.end is End.LIVE, f"{outcome.sentence}\n{station.story(run_id)}"
    kinds = [entry.kind for entry in station.entries(run_id)]
    assert kinds.count("question") == 2
    assert kinds.count("approval") == 2
    assert kinds.count("merged") == 2
    assert kinds.count("rolled_back") == 1
    assert kinds.count("outcome") == 1
    log = git(shop, "log", "--format=%s", "main").splitlines()
    assert log == [
        "Add a /v2/search endpoint",
        'Revert "Add a /v2/search endpoint"',
        "Add a /v2/search endpoint",
        "The shop",
    ]
    live = station.entries(run_id, "live")[-1].body["revision"]
    assert httpx.get(f"http://127.0.0.1:{port}/health").json()["releaseId"] == live
    assert station.ledger().verify() is None


def test_a_worker_killed_under_a_waiting_review_asks_nobody_again(station: Station, tmp_path: Path) -> None:
    at = repository(tmp_path / "sums.git")
    mounts = tmp_path / "agents"
    mounts.mkdir()
    station.command("steady", GOOD, mounts)
    run_id = station.submit(brief(at, "command/steady"))
    station.wait_for_state(run_id, "PAUSED")
    worker = json.loads((station.home / "run" / "worker.json").read_text())["pid"]
    os.kill(worker, signal.SIGKILL)
    time.sleep(1)
    outcome = station.wait(run_id)
    assert outcome.end is End.MERGED
    assert len(station.entries(run_id, "question")) == 1
    assert len(station.entries(run_id, "attempt")) == 1


def test_flow_and_worker_killed_at_once_are_both_back_without_anybody(station: Station, tmp_path: Path) -> None:
    at = repository(tmp_path / "sums.git")
    mounts = tmp_path / "agents"
    mounts.mkdir()
    station.command("sleepy", f"sleep 4\n{GOOD}", mounts)
    run_id = station.submit(brief(at, "command/sleepy"))
    until = time.monotonic() + 60
    while not station.entries(run_id, "plan") and time.monotonic() < until:
        time.sleep(0.2)
    worker = json.loads((station.home / "run" / "worker.json").read_text())["pid"]
    flow = int(station.run(run_id)["infrastructure_pid"].rpartition(":")[2])
    os.kill(worker, signal.SIGKILL)
    os.kill(flow, signal.SIGKILL)
    outcome = station.wait(run_id, timeout_s=300)
    assert outcome.end is End.MERGED, outcome.sentence
    assert git(at, "rev-list", "--count", "main") == "2"
