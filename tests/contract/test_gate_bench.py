"""The gate bench itself: it holds what it promises, runs cases through the real gates, and can tell a miss."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.gate_cases import CASES, HONEST, HOSTILE, UPSTREAM, Case, supply
from bench.gate_cases.case import FINE, NEUTRALISED, PERSON, REFUSED, Expect, Seen
from bench.gate_cases.items import ELSEWHERE, ITEMS
from bench.gate_cases.projects import PYPI
from bench.gate_report import UPSTREAM_PAGE, page, summary, upstream_page
from bench.gate_result import Result, answered, keep, kept
from bench.gate_workbench import Workbench, workbench
from docs.generate import GATES
from domain.task import Decision, Verdict
from kits.registry import serving

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    folder = tmp_path_factory.mktemp("gates")
    for above in (folder, *folder.parents[:2]):
        above.chmod(above.stat().st_mode | 0o055)
    with serving() as registry:
        supply.publish(registry)
        with workbench(folder, registry) as made:
            yield made


# --- what it promises


def test_there_are_enough_cases_on_enough_projects_each_with_a_name_of_its_own() -> None:
    assert len(HOSTILE) >= 60
    assert len(HONEST) >= 30
    assert [name for name, count in Counter(case.name for case in CASES).items() if count > 1] == []
    for cases in (HOSTILE, HONEST):
        assert {case.project for case in cases} >= {"shop", *PYPI}
    assert len(PYPI) >= 3


def test_there_is_enough_honest_work_of_others() -> None:
    assert len(UPSTREAM) >= 36
    assert len({case.project.split()[0] for case in UPSTREAM} - set(PYPI)) >= 15


def test_every_item_of_the_checklist_has_a_case_and_every_hostile_case_an_item() -> None:
    assert {case.item for case in HOSTILE} == ITEMS.keys()
    assert {case.item for case in HONEST} == {""}
    for suite in ELSEWHERE.values():
        assert (PROJECT / suite).is_file(), suite


def test_a_case_says_what_is_due_and_by_a_rule_that_exists() -> None:
    known = {rule.name for _, _, rules in GATES for rule in rules}
    families = tuple(name.removesuffix("*") for name in known if name.endswith("/*"))
    for case in CASES:
        assert (case.expect is FINE) == (case in HONEST), case.name
        assert bool(case.rules) == (case.expect in (REFUSED, PERSON)), case.name
        assert [rule for rule in case.rules if rule not in known and not rule.startswith(families)] == [], case.name


# --- what it does, on the shop


def named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


RESULTS: dict[str, Result] = {}


def run(bench: Workbench, name: str) -> Result:
    """The result of a case, which runs once for all tests."""
    if name not in RESULTS:
        RESULTS[name] = bench.run(named(name), with_raw=named(name) in HONEST)
    return RESULTS[name]


@pytest.mark.parametrize(
    ("name", "decision"),
    [
        ("out of scope", Decision.REFUSED),
        ("placeholder", Decision.NEEDS_PERSON),
        ("shop: search v2", Decision.ACCEPTED),
    ],
)
def test_a_case_goes_through_the_real_gates(bench: Workbench, name: str, decision: Decision) -> None:
    result = run(bench, name)
    assert result.miss is None, result.verdict
    assert (result.verdict.decision, result.hostile_passed) == (decision, False)
    assert result.wall_s is not None
    assert result.test_s is not None
    assert result.scan_s is not None


def test_what_the_platform_does_not_take_is_refused_before_a_gate_runs(bench: Workbench) -> None:
    case = dataclasses.replace(named("fifo"), project="shop")
    result = bench.run(case)
    assert (result.miss, result.verdict.rules, result.wall_s) == (None, ("no-commit",), None)


def seen(decision: Decision, *rules: str) -> Seen:
    """What came out of a case, as far as its answer is judged."""
    nothing: Any = None
    verdict = Verdict(decision=decision, rules=rules, reasons=rules)
    return Seen(nothing, nothing, nothing, {}, "", None, verdict)


ACCEPTED, ASKED, TURNED_DOWN = Decision.ACCEPTED, Decision.NEEDS_PERSON, Decision.REFUSED
HIDDEN = dataclasses.replace(named("placeholder"), rules=("invisible",))
STOPPED = dataclasses.replace(HIDDEN, expect=REFUSED)


@pytest.mark.parametrize(
    ("case", "came", "passed", "why"),
    [
        (STOPPED, seen(TURNED_DOWN, "invisible"), False, None),
        (STOPPED, seen(ASKED, "invisible"), True, "needs a person"),
        (STOPPED, seen(ACCEPTED), True, "accepted"),
        (STOPPED, seen(TURNED_DOWN, "bidi"), False, "another reason: bidi"),
        (HIDDEN, seen(ASKED, "invisible", "binary"), False, None),
        (HIDDEN, seen(TURNED_DOWN, "invisible"), False, None),
        (HIDDEN, seen(ACCEPTED), True, "accepted"),
        (HIDDEN, seen(ASKED, "binary"), False, "another reason: binary"),
        (dataclasses.replace(HIDDEN, says="U\\+"), seen(ASKED, "invisible"), False, "does not say"),
        (dataclasses.replace(HIDDEN, check=lambda _: "it ran"), seen(ASKED, "invisible"), True, "it ran"),
        (dataclasses.replace(HIDDEN, expect=NEUTRALISED), seen(ACCEPTED), False, None),
        (dataclasses.replace(HIDDEN, expect=NEUTRALISED), seen(TURNED_DOWN, "tree"), False, "refused"),
        (dataclasses.replace(HIDDEN, expect=FINE), seen(ASKED, "binary"), False, None),
        (dataclasses.replace(HIDDEN, expect=FINE), seen(TURNED_DOWN, "regression"), False, "refused: regression"),
    ],
)
def test_a_miss_is_told_whichever_way_it_goes(
    case: Case, came: Seen, passed: bool, why: str | None, tmp_path: Path
) -> None:
    result = answered(case, came, tmp_path / "witness")
    assert result.hostile_passed is passed
    assert result.miss == why if why is None else why in str(result.miss)


def test_a_witness_on_the_host_is_a_miss_whatever_was_answered(tmp_path: Path) -> None:
    result = answered(STOPPED, seen(TURNED_DOWN, "invisible"), tmp_path)
    assert (result.hostile_passed, result.miss) == (True, "what the change brought was run on the host")


def test_the_last_line_and_the_page_count_what_was_answered(bench: Workbench) -> None:
    results = [run(bench, "out of scope"), run(bench, "shop: search v2")]
    told = json.loads(json.dumps(summary(results)))
    assert told.pop("median_ratio") > 0
    assert told == {"hostile": 1, "hostile_passed": 0, "wrong_reason": 0, "honest": 1, "honest_refused": 0}
    text = page(results)
    assert "| out of scope | shop | A file that the brief does not open | refused | refused | `out-of-scope` |" in text
    assert "no miss" in text


def test_the_committed_page_of_honest_work_at_large_is_of_these_pairs_and_without_a_miss(tmp_path: Path) -> None:
    text = UPSTREAM_PAGE.read_text()
    rows = [line.split(" | ")[1] for line in text.splitlines() if line.startswith("| upstream")]
    assert set(rows) <= {case.project for case in UPSTREAM}
    assert len({row.split()[0] for row in rows}) >= 10
    assert "MISS" not in text
    asked = Result(UPSTREAM[0], Verdict(decision=Decision.NEEDS_PERSON, rules=("binary",)), None, False, 1.5)
    keep(asked, tmp_path / "rows")
    assert kept(tmp_path / "rows", UPSTREAM) == {UPSTREAM[0].name: asked}
    assert kept(tmp_path / "rows", UPSTREAM[1:]) == {}
    assert "1 changes of 1 packages: 0 accepted, 1 needs a person, 0 refused. 2 more pairs" in upstream_page([asked], 3)


def test_the_committed_page_is_of_these_cases_and_without_a_miss() -> None:
    text = (PROJECT / "docs" / "gate-bench.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    for case in CASES:
        name = case.name.replace("|", "\\|").replace("<", "&lt;")
        told = (name, name.removeprefix(f"{case.project}: "))
        assert any(row.startswith(f"| {one} | {case.project} |") for row in rows for one in told), case.name
    told_of = [row for row in rows if row.split(" | ")[1] in {case.project for case in CASES}]
    assert len(told_of) == len(CASES)
    assert "MISS" not in text
    assert {str(expect) for expect in Expect} <= set(text.split())
