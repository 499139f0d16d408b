"""A branch of somebody's on a real station: refused, waited for without a process, pushed to, approved and merged."""

import json
import time
from pathlib import Path

from domain.task import End
from tests.contract.test_made_elsewhere import BAD, GOOD, Person
from tests.e2e.briefs import brief, git, repository
from tests.e2e.station import Station

KILLS = ("join-after", "push-after", "merge-after")


def test_a_branch_is_judged_again_at_each_push_and_merged_once_whatever_dies(station: Station, tmp_path: Path) -> None:
    at = repository(tmp_path / "sums.git")
    ann, sums = Person(at, "Ann Lee"), git(at, "show", "main:sums.py") + "\n"
    first = ann.pushes("ann/double", {"sums.py": sums + BAD}, "origin/main")
    told = tmp_path / "brief.json"
    told.write_text(json.dumps(brief(at, "", budget={"attempts": 3})))
    run_id = station.lockgate("run", str(told), "--change", "ann/double", check=True).stdout.split()[1]
    points = station.kill(run_id, KILLS)

    def until(what: str) -> None:
        over = time.monotonic() + 240
        while what not in str(station.run(run_id)["state"]["state_details"].get("pause_key")):
            assert time.monotonic() < over and not station.entries(run_id, "outcome"), station.story(run_id)
            time.sleep(0.5)

    until("push-1-")
    assert "a push that mends it" in station.lockgate("inbox").stdout
    second = ann.pushes("ann/double", {"sums.py": sums + GOOD})
    until("review-")
    outcome = station.wait(run_id, timeout_s=240)
    assert outcome.end is End.MERGED, outcome.sentence
    assert (outcome.attempts, outcome.usd) == (2, 0.0)
    assert [entry.body["source"] for entry in station.entries(run_id, "attempt")] == [first, second]
    assert sorted(file.name for file in points.iterdir()) == sorted(f"{point}.done" for point in KILLS)
    assert git(at, "log", "--format=%an", "main").splitlines() == ["Ann Lee", "tester"], "one merge, in her name"
    assert len(station.entries(run_id, "merged")) == 1
    assert station.lockgate("verify", run_id).returncode == 0
