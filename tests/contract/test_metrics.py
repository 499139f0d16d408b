"""`/metrics`: what the ledger counts and the server says, read by prometheus_client's own parser."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from blocks.ledger.writing import record
from domain.access import Role
from domain.egress import Decisions
from domain.egress import EgressDecision as Passed
from domain.task import Attempt, BillLine, Decision, End, Outcome, Release, Verdict
from station.door.metrics import waited_s
from tests.contract.door import FakeDoor

Numbers = dict[tuple[str, tuple[str, ...]], float]


def read(door: FakeDoor, by: Role | None = Role.SUBMIT) -> Numbers:
    answer = door.ask("GET", "/metrics", by)
    assert answer.status == 200, answer.content
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = text_string_to_metric_families(answer.content.decode())
    return {
        (one.name, tuple(value for _, value in sorted(one.labels.items()))): one.value
        for family in families
        for one in family.samples
    }


def test_each_thing_that_happened_is_counted_once_and_read_on_from_there(tmp_path: Path) -> None:
    door = FakeDoor(tmp_path)
    empty = read(door)
    assert empty["lockgate_tasks", ("waiting_for_a_person",)] == 2
    assert empty["lockgate_server_answers", ()] == 1 and empty["lockgate_ledger_entries_read", ()] == 0

    def note(kind: str, key: str, value: object) -> None:
        record(door.tokens.url, "run", kind, key, value)  # type: ignore[type-var]

    release = Release(environment="shop", revision="a" * 40, artifact="b" * 64, url="http://127.0.0.1:1")
    note("verdict", "1", Verdict(decision=Decision.REFUSED, reasons=("no",), rules=("diff-budget", "test-skipped")))
    note("bill", "edit-1", BillLine(run_id="run", step="edit", attempt=1, sandbox_s=7.5))
    note("bill", "edit-2", BillLine(run_id="run", step="edit", attempt=2, sandbox_s=0.5))
    note("attempt", "1", Attempt(number=1, base="a" * 40, commit=None, agent="elsewhere: Eve"))
    note("live", "a", release)
    said = {
        "run_id": "run",
        "phase": "edit",
        "attempt": 1,
        "host": "pypi.org",
        "method": "GET",
        "path": "/",
        "reason": "r",
    }
    passed = [Passed(**said, allowed=True, count=3), Passed(**said, allowed=False)]  # type: ignore[arg-type]
    note("egress", "1", Decisions(decisions=tuple(passed)))
    note("outcome", "outcome", Outcome(run_id="run", title="t", end=End.LIVE, sentence="s"))
    seen = read(door)
    assert seen["lockgate_verdicts_total", ("refused",)] == 1
    assert seen["lockgate_verdict_rules_total", ("test-skipped",)] == 1
    assert seen["lockgate_attempts_total", ("elsewhere",)] == 1, "a name in a commit is anybody's"
    assert seen["lockgate_step_sandbox_seconds_sum", ("edit",)] == 8.0
    assert seen["lockgate_step_sandbox_seconds_bucket", ("1.0", "edit")] == 1
    assert seen["lockgate_step_sandbox_seconds_bucket", ("15.0", "edit")] == 2
    assert seen["lockgate_step_sandbox_seconds_count", ("edit",)] == 2
    assert seen["lockgate_releases_total", ("shop",)] == 1
    assert seen["lockgate_gateway_requests_total", ("edit", "allowed")] == 3
    assert seen["lockgate_gateway_requests_total", ("edit", "denied")] == 1
    assert seen["lockgate_tasks_ended_total", ("live",)] == 1
    assert read(door) == seen, "what was counted is not counted again"
    door.busy = 100
    away = read(door)
    assert away["lockgate_server_answers", ()] == 0 and ("lockgate_tasks", ("running",)) not in away
    assert away["lockgate_tasks_ended_total", ("live",)] == 1, "the ledger tells all the same"


def test_who_shows_no_token_is_told_nothing_unless_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = FakeDoor(tmp_path)
    assert door.ask("GET", "/metrics").status == 401
    assert door.ask("POST", "/metrics", Role.SUBMIT).status == 404
    monkeypatch.setenv("LOCKGATE_METRICS", "open")
    assert read(door, by=None)["lockgate_process_running", ("worker",)] == 0


def test_the_longest_wait_is_the_oldest_s() -> None:
    def since(at: str) -> dict[str, object]:
        return {"state": {"timestamp": at}}

    old = datetime(2026, 1, 1, tzinfo=UTC)
    waited = waited_s([since("2026-01-02T00:00:00Z"), since("2026-01-01T00:00:00Z")])
    assert abs(waited - (datetime.now(UTC) - old).total_seconds()) < 60
    assert waited_s([]) == 0


def test_dashboard_and_alerts_ask_for_numbers_that_there_are(tmp_path: Path) -> None:
    text = FakeDoor(tmp_path).ask("GET", "/metrics", Role.SUBMIT).content.decode()
    told = {family.name for family in text_string_to_metric_families(text)}
    deploy = Path(__file__).resolve().parents[2] / "deploy"
    panels = json.loads((deploy / "grafana-dashboard.json").read_text())["panels"]
    rules = yaml.safe_load((deploy / "alerts.yaml").read_text())["groups"][0]["rules"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]] + [rule["expr"] for rule in rules]
    named = {re.sub(r"_(total|bucket)$", "", name) for one in asked for name in re.findall(r"lockgate_\w+", one)}
    assert len(asked) > 15 and named <= told, named - told
