"""What may pass without a person: one change that may, and each thing that holds it back."""

from typing import Any

import pytest

from domain.brief import Brief, Roles, Scope
from domain.policy import judge
from domain.policy.by_record import RecordStanding
from domain.policy.change import Change
from domain.policy.passing import AGENT_REVIEW, AGENT_RULES, ALONE, ALONE_RULES, PASS_RULES, passes
from domain.policy.reviewers import needs, owners_of
from domain.project import ProjectSettings, RecordBar, ReviewPolicy
from domain.task import CaseOutcome, Decision, Evidence, Finding, Mutation, Opinion, Prepared, Severity, Suite, Verdict
from domain.trees import Tree
from tests.unit.policy_cases import GOOD_ROWS, PROJECT, attempt, evidence, head, prepared, row, tree

APP = PROJECT["shop/app.py"].content.decode()
EDIT: dict[str, Any] = {"shop/app.py": APP.replace("[]", "[text]")}
BASELINE = Suite(cases={"tests/test_app.py::test_nothing": CaseOutcome.PASSED}, exit_code=1)
FINE = Opinion(summary="It does what is asked")
SCANNERS = ("lockgate rules", "ruff 1")
MUTATION = Mutation(made=3, tried=3)
NOTE = Finding(gate="change", rule="executable", severity=Severity.NOTE, message="it is executable")


def ready(
    review: ReviewPolicy, *, scope: tuple[str, ...] = ("shop/**",), reviewer: str | None = "codex/r", **settings: Any
) -> Prepared:
    told = prepared(scope=Scope(paths=scope), review=review, **settings)
    brief: Brief = told.brief.model_copy(update={"roles": Roles(review=reviewer)})
    return told.model_copy(update={"brief": brief, "baseline": BASELINE})


def tried(
    way: str = AGENT_REVIEW,
    *,
    edit: dict[str, Any] = EDIT,
    base: Tree | None = None,
    opinion: Opinion | None = FINE,
    verdict: Verdict | None = None,
    interventions: tuple[str, ...] = (),
    update: dict[str, Any] | None = None,
    made: dict[str, Any] | None = None,
    rows: Any = GOOD_ROWS,
    findings: tuple[Finding, ...] = (),
    scanners: tuple[str, ...] = SCANNERS,
    suppressed: tuple[str, ...] = (),
    policy: dict[str, Any] | None = None,
    mutation: Mutation | None = MUTATION,
    standing: RecordStanding | None = None,
    **settings: Any,
) -> tuple[str | None, set[str]]:
    """(way or None, rules that hold it back)."""
    review = ReviewPolicy(**{"agent": way == AGENT_REVIEW, "alone": way == ALONE, **(policy or {})})
    told = ready(review, **settings).model_copy(update=update or {})
    after = head(edit)
    did = attempt(after, **{"agent": "codex/e", **(made or {})})
    seen: Evidence = evidence(findings, rows, of=did, scanners=scanners)
    scanned = seen.scanned.model_copy(update={"suppressed": suppressed})
    tested = seen.tested.model_copy(update={"mutation": mutation})
    seen = seen.model_copy(update={"opinion": opinion, "scanned": scanned, "tested": tested})
    change = Change(told, did, PROJECT, after)
    way_, held = passes(change, seen, verdict or judge(told, seen), owners_of(base or PROJECT), interventions, standing)
    return way_, {finding.rule for finding in held}


@pytest.mark.parametrize("way", [AGENT_REVIEW, ALONE])
def test_a_small_plain_change_passes_where_base_says_so(way: str) -> None:
    assert tried(way) == (way, set())


def test_mutants_for_which_there_was_no_time_hold_only_what_nobody_reviews() -> None:
    late = Finding(gate="test", rule="mutants-not-tried", severity=Severity.NOTE, message="3 of 9 were tried")
    assert tried(findings=(late,), mutation=Mutation(made=9, tried=3)) == (AGENT_REVIEW, set())
    assert tried(ALONE, findings=(late,)) == (ALONE, set())


UNTRIED = {
    "some": Mutation(made=9, tried=3),
    "none were made": Mutation(left_out="switched off by mutation_s"),
    "late": Mutation(is_late=True),
    "unknown": Mutation(made=9, tried=9, problem="the run wrote something else"),
    "the tests did not pass": None,
}


@pytest.mark.parametrize("why", UNTRIED)
def test_alone_needs_every_mutant_of_its_code_tried(why: str) -> None:
    assert tried(ALONE, mutation=UNTRIED[why]) == (None, {"hold-untried"})
    assert tried(ALONE, mutation=UNTRIED[why], edit={"README.md": "# Shop, again\n"}, scope=("**",)) == (ALONE, set())


NO_MUTANTS = Mutation()
HOSTILE: dict[str, tuple[dict[str, Any], set[str]]] = {
    "another name imported, and no mutant": (
        {"edit": {"shop/app.py": APP.replace("import sys", "import os as sys")}, "mutation": NO_MUTANTS},
        {"hold-untried"},
    ),
    "comments alone": (
        {"edit": {"shop/app.py": APP + "# more\n"}, "mutation": NO_MUTANTS}, set(),
    ),
    "a line taken out": ({"edit": {"shop/app.py": APP.replace("import sys\n", "")}}, {"hold-gone"}),
    "a function taken out beside a line that changed": (
        {"edit": {"shop/app.py": APP.partition("[]")[0] + "[text]\n"}}, {"hold-gone"},
    ),
    "a text in the package": ({"edit": {"shop/mail.md": "# Hello\n"}}, {"hold-kind", "hold-files"}),
    "a text below the package": ({"edit": {"shop/texts/mail.rst": "Hello\n"}}, {"hold-kind", "hold-files"}),
    "a text at the top that code names": (
        {"edit": {"README.md": "# Else\n", "shop/app.py": APP.replace("[]", "open('README.md')")}, "scope": ("**",)},
        {"hold-kind"},
    ),
    "a page": ({"edit": {"README.md": "# Else\n"}, "scope": ("**",)}, set()),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_mutant_stands_for_is_for_a_person(name: str) -> None:
    case, rules = HOSTILE[name]
    assert tried(ALONE, **case) == (None if rules else ALONE, rules)


def test_nothing_passes_unless_base_says_so() -> None:
    assert ProjectSettings().review == ReviewPolicy(agent=False, alone=False)
    assert tried("neither") == (None, set())


def test_alone_needs_no_reviewing_agent_and_the_other_way_does() -> None:
    assert tried(ALONE, opinion=None, reviewer=None) == (ALONE, set())
    assert tried(opinion=None, reviewer=None) == (None, {"hold-unreviewed"})


@pytest.mark.parametrize("way", [AGENT_REVIEW, ALONE])
def test_what_passes_goes_with_the_record_and_a_record_that_nobody_knows_is_no(way: str) -> None:
    asks = {"record": RecordBar(window=30, rollbacks=0)}
    assert tried(way, policy=asks, standing=RecordStanding(True, "none of 30")) == (way, set())
    assert tried(way, policy=asks, standing=RecordStanding(False, "1 of 30")) == (None, {"hold-record"})
    assert tried(way, policy=asks) == (None, {"hold-record"})


def test_review_policy_never_relaxes_because_a_change_was_made_by_an_agent() -> None:
    """Whoever made it, an agent with a record however good or nobody knows who: what let it pass is what lets a change
    pass at all, and the bar can only hold it back. Whose approval it needs is asked of paths, and of no author."""
    bar = {"record": RecordBar()}
    good = RecordStanding(True, "none of 1000 was rolled back")
    for way in (AGENT_REVIEW, ALONE, "neither"):
        for case in ({}, *(case for case, _ in HELD.values()), {"opinion": Opinion(summary="Hm", concerns=("x",))}):
            without = tried(way, **case)
            assert tried(way, **case, standing=good) == without
            told = {**case.get("policy", {}), **bar}
            trusted, doubted = (
                tried(way, **{**case, "policy": told}, standing=stands)
                for stands in (good, RecordStanding(False, "no"))
            )
            assert trusted == without
            assert doubted[0] is None
            assert doubted[1] >= without[1]
    assert tried("neither", policy=bar, standing=good)[0] is None, "no record opens a way that base does not"
    owners = owners_of(tree({"CODEOWNERS": "/shop/ @ann\n"}))
    for of in ("", "codex/best"):
        told = ready(ReviewPolicy(agent=True, alone=True, record=RecordBar()), reviewer=of or None)
        assert [need.names for need in needs(told, owners, ("shop/app.py",))] == [("ann",)]


CODEOWNERS = tree({"CODEOWNERS": "/shop/ @ann\n"})
UNREADABLE = tree({"CODEOWNERS": b"\xff"})
HELD: dict[str, tuple[dict[str, Any], str]] = {
    "settings of the brief": ({"update": {"settings_source": "the brief"}}, "hold-settings"),
    "settings of a block": ({"update": {"settings_source": "block shop"}}, "hold-settings"),
    "a verdict for a person": ({"verdict": Verdict(decision=Decision.NEEDS_PERSON)}, "hold-verdict"),
    "a refusal": ({"verdict": Verdict(decision=Decision.REFUSED)}, "hold-verdict"),
    "a note": ({"findings": (NOTE,)}, "hold-finding"),
    "a suppressed finding": ({"suppressed": ("bandit/B602: …",)}, "hold-finding"),
    "a path with an owner": ({"base": CODEOWNERS}, "hold-owned"),
    "owners that cannot be read": ({"base": UNREADABLE}, "hold-owned"),
    "a sensitive path": ({"edit": {"shop/auth.py": "a = 1\n"}}, "hold-sensitive"),
    "one that the settings left out": ({"edit": {"shop/auth.py": "a\n"}, "sensitive_paths": ()}, "hold-sensitive"),
    "one that the settings name": ({"sensitive_paths": ("shop/app.py",)}, "hold-sensitive"),
    "a manifest": ({"edit": {"package.json": "{}\n"}}, "hold-sensitive"),
    "agent instructions": ({"edit": {"shop/GEMINI.md": "x\n"}}, "hold-sensitive"),
    "data that tests read": ({"edit": {"shop/prices.json": "{}\n"}}, "hold-kind"),
    "a snapshot below tests": ({"edit": {"tests/snapshots/a.json": "{}\n"}}, "hold-kind"),
    "too many lines": ({"made": {"added_lines": 101}}, "hold-size"),
    "an existing test": ({"edit": {"tests/test_app.py": "x = 1\n"}}, "hold-tests"),
    "an existing test taken out": ({"edit": {"tests/test_gone.py": None}}, "hold-tests"),
    "no results on base": ({"update": {"baseline": None}}, "hold-evidence"),
    "no scanner": ({"scanners": ("lockgate rules",)}, "hold-evidence"),
    "no existing test": ({"rows": GOOD_ROWS[:1]}, "hold-evidence"),
    "an exit code alone": ({"rows": (GOOD_ROWS[0], row("python -m pytest", "passed", "passed"))}, "hold-evidence"),
    "a new test that is skipped": ({"rows": (*GOOD_ROWS, row("t::x", "missing", "skipped", "new"))}, "hold-evidence"),
    "a person's word": ({"interventions": ("ann answered: ask for changes",)}, "hold-intervention"),
    "a warning": ({"update": {"warnings": ("bait in README.md",)}}, "hold-intervention"),
    "a concern": ({"opinion": Opinion(summary="x", concerns=("a loop",))}, "hold-concern"),
    "no review": ({"opinion": Opinion(summary="codex gave no review: it hung")}, "hold-concern"),
    "an empty review": ({"opinion": Opinion(summary=" ")}, "hold-concern"),
}


@pytest.mark.parametrize("way", [AGENT_REVIEW, ALONE])
@pytest.mark.parametrize("why", HELD)
def test_what_holds_it_back(why: str, way: str) -> None:
    fields, rule = HELD[why]
    passed, held = tried(way, **fields)
    assert passed is None
    assert rule in held


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"opinion": None}, "hold-unreviewed"),
        ({"made": {"agent": "codex/r"}}, "hold-unreviewed"),
        ({"made": {"agent": ""}}, "hold-unreviewed"),
        ({"policy": {"agents": ("claude-code/r",)}}, "hold-unreviewed"),
    ],
)
def test_only_another_agent_that_base_trusts_reviews(fields: dict[str, Any], rule: str) -> None:
    assert tried(**fields) == (None, {rule})
    assert tried(policy={"agents": ("codex/r",)}) == (AGENT_REVIEW, set())


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"scope": ()}, "hold-unscoped"),
        ({"edit": {"shop/new.py": "a = 1\n"}}, "hold-files"),
        ({"edit": {"shop/app.py": None}}, "hold-files"),
        ({"made": {"added_lines": 21}}, "hold-size"),
    ],
)
def test_alone_has_narrower_bounds(fields: dict[str, Any], rule: str) -> None:
    assert tried(ALONE, **fields) == (None, {rule})
    assert tried(**fields) == (AGENT_REVIEW, set())
    assert tried(**fields, policy={"agent": True, "alone": True}) == (AGENT_REVIEW, set())


def test_new_tests_and_the_acceptance_hold_nothing_back() -> None:
    acceptance = prepared().brief.acceptance.files[0]
    edit = {**EDIT, "tests/test_new.py": "def test_new():\n    assert True\n", acceptance.path: acceptance.content}
    assert tried(ALONE, edit=edit) == (ALONE, set())


def test_an_opinion_lets_nothing_pass() -> None:
    glowing = Opinion(summary="Perfect. Approved. Merge it, no person is needed.")
    for fields, _ in HELD.values():
        if "opinion" not in fields:
            assert tried(opinion=glowing, **fields)[0] is None


def test_every_rule_holds_something_back_and_is_listed_once() -> None:
    shown = {rule for _, rule in HELD.values()} | {
        "hold-unreviewed", "hold-unscoped", "hold-files", "hold-untried", "hold-record", "hold-gone",
    }  # fmt: skip
    assert {rule.name for rule in PASS_RULES} == shown
    assert len(PASS_RULES) == len(shown) == len({*AGENT_RULES, *ALONE_RULES})
