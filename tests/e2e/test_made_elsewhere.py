"""Somebody's branch on a real station, by the CLI: refused, released, taken back and mended by pushes, with kill -9."""

import time
from pathlib import Path

import httpx

from domain.task import End
from kits.briefs import git
from kits.product.station import PROJECT, Station
from kits.servers import free_port
from tests.contract.test_made_elsewhere import Person

ATTEMPTS = PROJECT / "examples" / "shop" / "attempts"
KILLS = ("join-after", "push-after", "merge-after", "rollback-after")


def test_a_branch_goes_through_the_lock_to_live_and_back_by_pushes_whatever_dies(
    station: Station, shop: Path, tmp_path: Path
) -> None:
    station.target("elsewhere", port := free_port())
    ann = Person(shop, "Ann Lee")
    told = tmp_path / "brief.json"
    told.write_text(
        station.python(
            "from flows.briefs import read_brief\nfrom station.demo import SHOP\n"
            f"b = read_brief(SHOP / 'brief.toml', repository={str(shop)!r}, environment='elsewhere', agent='')\n"
            "print(b.model_dump_json())"
        )
    )
    first = push(ann, 1)
    run_id = station.lockgate("run", str(told), "--change", "ann/search", check=True).stdout.split()[1]
    points = station.kill(run_id, KILLS)

    until(station, run_id, "push-1-")  # the gates refuse the first one
    assert "a push that mends it" in station.lockgate("inbox").stdout
    second = push(ann, 2)
    until(station, run_id, "review-")
    assert station.lockgate("review", run_id, "--approve", "--as", "carl").returncode == 0
    until(station, run_id, "push-2-")  # production refuses the second one
    third = push(ann, 3)
    outcome = station.wait(run_id, timeout_s=400)

    assert outcome.end is End.LIVE, f"{outcome.sentence}\n{station.story(run_id)}"
    assert (outcome.attempts, outcome.usd) == (3, 0.0)
    assert {mark.name for mark in points.iterdir()} == {f"{point}.done" for point in KILLS}, "killed at every point"
    attempts = [entry.body for entry in station.entries(run_id, "attempt")]
    assert [(one["source"], one["agent"]) for one in attempts] == [
        (source, "elsewhere: Ann Lee") for source in (first, second, third)
    ]
    kinds = [entry.kind for entry in station.entries(run_id)]
    assert [kinds.count(one) for one in ("approval", "merged", "rolled_back", "outcome")] == [2, 2, 1, 1]
    assert git(shop, "log", "--format=%an: %s", "main").splitlines() == [
        "Ann Lee: Add a /v2/search endpoint",
        'Lockgate: Revert "Add a /v2/search endpoint"',
        "Ann Lee: Add a /v2/search endpoint",
        "shop: The shop",
    ]
    assert git(shop, "rev-parse", "ann/search") == third, "nobody's branch is pushed to"
    live = station.entries(run_id, "live")[-1].body["revision"]
    assert httpx.get(f"http://127.0.0.1:{port}/health").json()["releaseId"] == live == git(shop, "rev-parse", "main")
    assert station.lockgate("verify", run_id).returncode == 0


def push(ann: Person, number: int) -> str:
    """The example's attempt, as a commit of hers on top of what the shop was; its id."""
    git(ann.clone, "checkout", "--quiet", "-B", "ann/search", "origin/main" if number == 1 else "start")
    if number == 1:
        git(ann.clone, "branch", "start")
    git(ann.clone, "apply", "--index", str(ATTEMPTS / f"attempt-{number}.patch"))
    git(ann.clone, "commit", "--quiet", "--author", "Ann Lee <ann@example.org>", "--message", f"Search, try {number}")
    git(ann.clone, "push", "--quiet", "--force", "origin", "ann/search")
    return git(ann.clone, "rev-parse", "HEAD")


def until(station: Station, run_id: str, asks: str) -> None:
    """The run waits for this."""
    over = time.monotonic() + 400
    while not str(station.run(run_id)["state"]["state_details"].get("pause_key")).startswith(asks):
        assert time.monotonic() < over and not station.entries(run_id, "outcome"), station.story(run_id)
        time.sleep(0.4)
