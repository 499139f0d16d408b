"""The example from its brief to a live release, as `make demo` plays it, with a client hammering the shop meanwhile."""

import json
import threading
import time
from typing import Any

import httpx
import pytest

from blocks.ledger.rows import Entry
from kits.product.station import Station


class Hammer:
    """A client that never stops asking; every answer that is not 200 is a failure."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: list[tuple[str, str | None]] = []
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Hammer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx.Client(timeout=10) as client:
            while not self._stop.is_set():
                try:
                    answer = client.get(self.url)
                    if answer.status_code == 200:
                        self.answers.append((f"{time.monotonic():.2f}", answer.headers.get("X-Release-Id")))
                    else:
                        self.failures.append(f"{answer.status_code}: {answer.text[:200]}")
                except httpx.HTTPError as err:
                    self.failures.append(repr(err))
                time.sleep(0.03)  # more would take a core from what it asks


@pytest.fixture(scope="module")
def played(station: Station) -> dict[str, object]:
    """One demo, hammered from the first release on."""
    done: dict[str, object] = {}

    def play() -> None:
        done["demo"] = station.lockgate("demo", "--yes", timeout_s=400)

    thread = threading.Thread(target=play)
    thread.start()
    url = _wait_for_shop(station, thread)
    assert url, f"the demo ended before the shop answered: {done.get('demo')}"
    with Hammer(f"{url}/search?q=tea") as hammer:
        thread.join()
        done["hammer"] = hammer
        done["url"] = url
        time.sleep(0.5)
    runs = station.api("POST", "/flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": 50})
    done["run"] = next(run for run in runs if run["name"] == "Add a /v2/search endpoint")
    return done


def _wait_for_shop(station: Station, demo: threading.Thread) -> str | None:
    config = station.home / "targets" / "shop" / "caddy.json"
    while demo.is_alive():
        if config.is_file():
            listen = next(iter(json.loads(config.read_text())["apps"]["http"]["servers"].values()))["listen"][0]
            url = f"http://{listen}"
            try:
                if httpx.get(f"{url}/health", timeout=2).status_code == 200:
                    return url
            except httpx.HTTPError:
                pass
        time.sleep(0.2)
    return None


def test_the_demo_ends_live_and_says_everything_that_the_readme_promises(played: dict) -> None:
    demo = played["demo"]
    assert demo.returncode == 0, demo.stdout + demo.stderr
    for promised in ("live in shop at", "as the user `demo`", "runs/flow-run/", "Bill", "lockgate rollback shop"):
        assert promised in demo.stdout, demo.stdout


def test_the_first_attempt_is_refused_before_anyone_reviews_it(station: Station, played: dict) -> None:
    run_id = played["run"]["id"]
    verdicts = station.entries(run_id, "verdict")
    assert verdicts[0].body["decision"] == "refused"
    assert {"diff-budget", "test-skipped"} <= set(verdicts[0].body["rules"])
    assert [q.body["attempt"] for q in station.entries(run_id, "question")] == [2, 3]


def test_the_second_attempt_goes_live_sick_is_rolled_back_and_reverted(station: Station, played: dict) -> None:
    run_id = played["run"]["id"]
    sick = [h for h in station.entries(run_id, "health") if not h.body["healthy"]]
    back = station.entries(run_id, "rolled_back")
    assert len(sick) == 1
    assert len(back) == 1
    assert "SHOP_SYNONYMS_FILE" in json.dumps(sick[0].body)
    assert back[0].body["serving"] == station.entries(run_id, "first-release")[0].body["revision"]
    assert back[0].body["revert"]


def test_the_new_release_answers_with_its_own_release_id(station: Station, played: dict) -> None:
    live = station.entries(played["run"]["id"], "live")
    health = httpx.get(f"{played['url']}/health").json()
    assert health["releaseId"] == live[-1].body["revision"]
    assert live[0].body["revision"] != live[-1].body["revision"]
    assert httpx.get(f"{played['url']}/v2/search", params={"q": "tea"}).status_code == 200


def test_a_hammering_client_sees_no_failed_request_through_deploys_and_rollback(played: dict) -> None:
    hammer = played["hammer"]
    assert hammer.failures == []
    assert len(hammer.answers) > 300
    assert len({release for _, release in hammer.answers}) == 3, "base, the sick release and the live one all answered"


def test_the_ui_and_the_cli_agree_on_every_word(station: Station, played: dict) -> None:
    run_id = played["run"]["id"]
    told = station.run(run_id)["state"]
    outcome = station.entries(run_id, "outcome")[0].body
    assert told["name"] == "Live"
    assert told["message"] == outcome["sentence"]
    assert outcome["sentence"] in played["demo"].stdout
    assert json.loads(station.lockgate("status", run_id, "--json", check=True).stdout)["message"] == outcome["sentence"]
    logs = {"logs": {"flow_run_id": {"any_": [run_id]}}, "limit": 200}
    said = [line["message"] for line in station.api("POST", "/logs/filter", logs)]
    assert said and not [line for line in said if line.startswith("Finished in state C")]


def test_every_step_is_in_the_graph_by_its_name(station: Station, played: dict) -> None:
    wanted = {"flow_runs": {"id": {"any_": [played["run"]["id"]]}}, "limit": 200}
    names = {task["name"].split("-")[0] for task in station.api("POST", "/task_runs/filter", wanted)}
    steps = "prepare plan edit test security_scan review_gate merge deploy health_check rollback"
    assert set(steps.split()) <= names


def test_people_find_plan_diff_tests_findings_bill_and_timeline_as_artifacts(station: Station, played: dict) -> None:
    wanted = {"flow_runs": {"id": {"any_": [played["run"]["id"]]}}, "limit": 200}
    keys = {artifact["key"] for artifact in station.api("POST", "/artifacts/filter", wanted)}
    assert {"brief", "plan", "diff", "tests", "findings", "rehearsal", "review", "release", "health"} <= keys
    assert {"rollback", "outcome"} <= keys


def test_one_command_says_why_the_sick_release_had_to_leave(station: Station, played: dict) -> None:
    run_id = played["run"]["id"]
    shown = station.lockgate("bundle", run_id, check=True).stdout
    assert "SHOP_SYNONYMS_FILE" in shown
    assert station.entries(run_id, "rolled_back")[0].body["failed"] in shown
    bundle = json.loads(station.lockgate("bundle", run_id, "--json", check=True).stdout)
    assert bundle["migration"]["done"]["revision"] == bundle["release"]["revision"]
    assert bundle["migration"]["rehearsals"][0]["under_load"]["problem"] is None
    nothing = station.lockgate("bundle", run_id, "--release", "f" * 12)
    assert nothing.returncode == 2 and "there is no bundle" in nothing.stderr


def test_verify_recomputes_the_whole_chain_and_names_a_broken_link(station: Station, played: dict) -> None:
    run_id = played["run"]["id"]
    links = json.loads(station.lockgate("verify", run_id, "--json", check=True).stdout)
    assert [link["problem"] for link in links] == [None] * len(links)
    names = {"ledger", "brief", "tree", "contract", "approval", "merge", "statement", "schema", "artifact", "live"}
    assert names <= {link["name"] for link in links}
    contract = station.entries(run_id, "prepared")[-1].body["contract"]
    kept = next(path for path in (station.home / "store").rglob(f"*{contract[4:]}*") if path.is_file())
    content = kept.read_bytes()
    kept.chmod(0o600)
    kept.write_bytes(content + b" ")
    broken = station.lockgate("verify", run_id)
    kept.write_bytes(content)
    assert broken.returncode == 1
    assert "BROKEN contract" in broken.stdout


def test_one_command_rolls_it_back_to_the_release_before(station: Station, played: dict) -> None:
    before = station.entries(played["run"]["id"], "first-release")[0].body["revision"]
    done = station.lockgate("rollback", "shop", check=True)
    assert before[:12] in done.stdout
    assert httpx.get(f"{played['url']}/health").json()["releaseId"] == before


def test_the_demo_works_again_at_once(station: Station, played: dict) -> None:
    """To where its first release serves: what comes then was seen above."""
    done: dict[str, Any] = {}
    thread = threading.Thread(target=lambda: done.update(again=station.lockgate("demo", "--yes", timeout_s=400)))
    thread.start()
    first: list[Entry] = []
    while not first and thread.is_alive():
        newest = station.api("POST", "/flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": 50})
        run_id = next(run["id"] for run in newest if run["name"] == "Add a /v2/search endpoint")
        first = station.entries(run_id, "first-release") if run_id != played["run"]["id"] else []
        time.sleep(0.3)
    assert first, done
    assert httpx.get(f"{played['url']}/health").json()["releaseId"] == first[0].body["revision"]
    station.api("POST", f"/flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    thread.join()
    assert done["again"].returncode, done["again"].stdout + done["again"].stderr
    station.wait_for_state(run_id, "CANCELLED")
