"""An issue at a hosted forge: pull request, approval and merge there, and a release; killed after each write."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.task import End
from kits.briefs import ACCEPTANCE, FILES, GOOD
from kits.fake_forge import FakeGitHub
from kits.product.station import Station
from kits.servers import free_port
from tests.contract.hosted import LEAST
from tests.e2e.test_releases import SERVICE

SECRET = "s3cret-of-the-webhook"
BODY = (
    "### Goal\n\n`double(a)` of `sums.py` returns twice `a`\n\n### Acceptance\n\n"
    "```python\n# tests/acceptance/test_double.py\n" + ACCEPTANCE + "```"
)
REVERT_KILLS = ("revert-before",)
KILLS = ("publish-after", "propose-after", "merge-there-after", "announce-after", "comment-after")


@contextmanager
def github(station: Station) -> Iterator[tuple[FakeGitHub, str]]:
    """The forge, named in the default workshop, and the platform's token for it."""
    with FakeGitHub() as fake:
        fake.repository("acme/sums", private=True, files={**FILES, **SERVICE})
        for login in ("robot", "ann"):
            fake.user(login, role="write", repository="acme/sums")
        token = fake.token("robot", permissions=LEAST, repositories=["acme/sums"])
        station.python(
            "from blocks.forges.github import GitHub\nfrom blocks.workshop import Workshop\n"
            f"GitHub(url='{fake.url}/acme', api_url='{fake.url}', token={token!r}, webhook_secret={SECRET!r}, "
            "desk_url='http://desk.test').keep('acme')\n"
            "Workshop.saved('default').forge.model_copy(update={'hosts': ('acme',)}).keep('default')"
        )
        try:
            yield fake, token
        finally:
            station.python(
                "from blocks.workshop import Workshop\n"
                "Workshop.saved('default').forge.model_copy(update={'hosts': ()}).keep('default')\n"
                "Workshop.saved('default').model_copy(update={'issues': ()}).keep('default')"
            )


@contextmanager
def seen_in_processes(secret: str) -> Iterator[list[str]]:
    """Every command line and environment on this machine, half a second apart, in which the secret stands."""
    found: list[str] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            for file in (f"/proc/{pid}/{what}" for pid in os.listdir("/proc") for what in ("cmdline", "environ")):
                try:
                    text = Path(file).read_bytes()
                except OSError:
                    continue  # over, no process, or another user's
                if secret.encode() in text:
                    found.append(f"{file}: {text.decode('utf-8', 'replace')[:200]}")

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    yield found
    over.set()
    thread.join()


@pytest.mark.timeout(1200)
def test_the_demo_at_a_forge_goes_from_the_issue_to_live_with_a_rollback_by_pull_request_on_the_way(
    station: Station,
) -> None:
    """Killed when the pull request that reverts is open, and before that is on record."""
    done: list[Any] = []
    before = {run["id"] for run in _demos(station)}
    thread = threading.Thread(target=lambda: done.append(station.lockgate("demo", "--yes", "--forge", timeout_s=900)))
    thread.start()
    while thread.is_alive() and not (new := [run["id"] for run in _demos(station) if run["id"] not in before]):
        time.sleep(0.5)
    points = station.kill(new[0], REVERT_KILLS)
    thread.join()
    (demo,) = done
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert sorted(file.name for file in points.iterdir()) == sorted(f"{point}.done" for point in REVERT_KILLS)
    said = re.sub(r"[0-9a-f]{12}", "COMMIT", demo.stdout)
    wanted = (
        "issue 1 by ann, with the label lockgate: Add a /v2/search endpoint",
        "issue 1: comment by lockgate[bot]",
        "pull request 2 by lockgate[bot]: Add a /v2/search endpoint",
        "pull request 2: check lockgate/tests: success",
        "pull request 2: check lockgate: in_progress",
        "pull request 2: ann, whom this demo plays, approves COMMIT",
        "pull request 2 is merged as COMMIT",
        "deployment of COMMIT to shop: in_progress",
        "pull request 3 by lockgate[bot]: Revert ",
        "pull request 2: comment by lockgate[bot]",
        "deployment of COMMIT to shop: inactive",
        "pull request 3: ann, whom this demo plays, approves COMMIT",
        "pull request 3 is merged as COMMIT",
        "pull request 4 is merged as COMMIT",
        "deployment of COMMIT to shop: success",
        "**live**",
    )
    assert [line for line in wanted if line not in said] == [], demo.stdout
    assert "pull request 5" not in said, "whatever died, each is made once"
    (back,) = station.entries(new[0], "rolled_back")
    (merged_back,) = station.entries(new[0], "reverted")
    assert back.body["revert"] is None and back.body["revert_pull"].endswith("/pull/3") and merged_back.body["commit"]
    outcome = station.entries(new[0], "outcome")[-1].body
    assert (outcome["end"], outcome["attempts"]) == ("live", 3)
    assert station.lockgate("bill", new[0]).returncode == 0


def _demos(station: Station) -> list[dict[str, Any]]:
    try:
        runs = station.api("POST", "/flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": 50})
    except (OSError, httpx.HTTPError):
        return []
    return [run for run in runs if run["name"] == "Add a /v2/search endpoint"]


def issue_that_is_taken(station: Station, asked: Callable[..., Any], after: int) -> tuple[int, str]:
    """Its number, and the run that is made of it: it is labelled once the station looks for issues, which it notes
    behind entry `after`."""
    until = time.monotonic() + 240
    while not station.ledger().entries(kind="issue-mark", after=after):
        assert time.monotonic() < until, (station.home / "run" / "supervisor.log").read_text()[-2000:]
        time.sleep(0.5)
    time.sleep(1.1)  # the forge's clock counts seconds
    number = int(asked("POST", "/issues", {"title": "Add a double function", "body": BODY})["number"])
    asked("POST", f"/issues/{number}/labels", {"labels": ["lockgate"]})
    while not (begun := station.ledger().entries(kind="issue-run", after=after)):
        assert time.monotonic() < until, (station.home / "run" / "supervisor.log").read_text()[-2000:]
        time.sleep(0.1)
    (run,) = begun
    return number, str(run.body["run_id"])


@pytest.mark.timeout(1200)
def test_an_issue_is_reviewed_and_merged_at_its_forge_and_goes_live_whatever_dies(
    station: Station, tmp_path: Path
) -> None:
    with github(station) as (fake, token), seen_in_processes(token) as shown:
        ann = fake.token("ann")

        def asked(method: str, path: str, body: Any = None) -> Any:
            headers = {"Authorization": f"Bearer {ann}"}
            url = f"{fake.url}/repos/acme/sums{path}"
            answer = httpx.request(method, url, json=body, headers=headers, timeout=60)
            assert answer.status_code < 300, answer.text
            return answer.json()

        after = max((entry.number for entry in station.ledger().entries()), default=0)
        station.target("hosted", free_port())
        mounts = tmp_path / "agents"
        mounts.mkdir()
        station.command("good-at-a-forge", GOOD, mounts)
        station.python(
            "from blocks.workshop import Workshop\nfrom domain.issues import IssueIntake\n"
            f"taken = IssueIntake(repository='{fake.url}/acme/sums.git', agent='command/good-at-a-forge', "
            "environment='hosted', closes=True)\n"
            "Workshop.saved('default').model_copy(update={'issues': (taken,)}).keep('default')"
        )
        door = (station.home / "run" / "door-port").read_text()
        hook = {"url": f"http://127.0.0.1:{door}/door/webhooks/github/acme", "content_type": "json", "secret": SECRET}
        owner = {"Authorization": f"Bearer {fake.token('acme')}"}
        hooks = f"{fake.url}/repos/acme/sums/hooks"
        asked_for = {"config": hook, "events": ["issues"]}
        assert httpx.post(hooks, json=asked_for, headers=owner, timeout=60).status_code == 201
        number, run_id = issue_that_is_taken(station, asked, after)
        points = station.kill(run_id, KILLS)
        until = time.monotonic() + 400
        while not station.entries(run_id, "question"):
            assert time.monotonic() < until and not station.entries(run_id, "outcome"), station.story(run_id)
            time.sleep(0.5)
        (pull,) = asked("GET", "/pulls?state=all")
        fake.fault("status", method="PUT", path="/merge$", times=4)  # as often as a step is tried
        assert pull["body"].endswith(f"Closes #{number}")
        assert not pull["draft"] and f"http://desk.test/desk/task/{run_id}" in pull["body"]
        asked("POST", f"/pulls/{pull['number']}/reviews", {"event": "APPROVE"})
        outcome = station.wait(run_id, timeout_s=600, approve=False)

        assert outcome.end is End.LIVE, outcome.sentence
        log = (station.home / "run" / "supervisor.log").read_text()
        assert f"run {run_id} goes on: {fake.url[7:]} answers" in log, "it was suspended while the forge was away"
        assert sorted(file.name for file in points.iterdir()) == sorted(f"{point}.done" for point in KILLS)
        (merged,) = asked("GET", "/pulls?state=all")
        assert merged["merged_at"] and merged["merge_commit_sha"] == outcome.commit
        assert len(asked("GET", "/commits")) == len(FILES | SERVICE) + 1, "one commit on the branch"
        (comment,) = asked("GET", f"/issues/{pull['number']}/comments")
        assert "**live**" in comment["body"]
        (deployment,) = asked("GET", f"/deployments?sha={outcome.commit}")
        told = asked("GET", f"/deployments/{deployment['id']}/statuses")
        assert sorted(one["state"] for one in told) == ["in_progress", "success"]
        (approval,) = [entry.body for entry in station.entries(run_id, "approval")]
        assert (approval["reviewer"], approval["forge"], approval["signed_in"]) == ("ann", fake.url[7:], False)
        assert station.lockgate("verify", run_id).returncode == 0
        until = time.monotonic() + 120
        while "**live**" not in (told_at_issue := asked("GET", f"/issues/{number}/comments")[-1]["body"]):
            assert time.monotonic() < until, told_at_issue
            time.sleep(0.5)
        assert len(asked("GET", f"/issues/{number}/comments")) == 1, "one comment, which was edited"
        assert len(station.ledger().entries(kind="issue-run", after=after)) == 1
        holds = [p for p in station.home.rglob("*") if p.is_file() and token.encode() in p.read_bytes()]
        assert (holds, shown) == ([], []), "its token lies in the encrypted block alone"
