"""An agent's scope: what of a brief is not for it, and what its calls cost this week."""

from datetime import UTC, datetime
from typing import Any

import pytest

from domain.agent_scope import AgentScope, outside, spent_in, used_up, week_of
from domain.brief import Acceptance, Brief, Kind
from domain.entry import Entry
from domain.policy import change_findings, judge
from domain.task import Decision
from tests.unit.policy_cases import PROJECT, attempt, evidence, head, prepared

AGENT = "mini-swe/mine"


def brief(**fields: Any) -> Brief:
    given = {"title": "Add it", "goal": "g", "repository": "/srv/git/shop.git", "agent": AGENT, **fields}
    return Brief(acceptance=Acceptance(command="true"), **given)


INSIDE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"repositories": ("/srv/git/*",)}, {}),
    ({"repositories": ("/srv/git/shop.git",)}, {}),
    ({"environments": ("staging",)}, {}),  # it ends with a merge
    ({"environments": ("staging",)}, {"environment": "staging"}),
    ({"kinds": ("docs",)}, {"kind": "docs"}),
    ({"paths": ("docs/**",)}, {}),  # anywhere: the gates look at what was changed
    ({"paths": ("docs/**",)}, {"scope": {"paths": ("docs/a.md", "docs/api/**", "docs/*.md")}}),
    ({"paths": ("**",)}, {"scope": {"paths": ("**/x.py",)}}),
]


@pytest.mark.parametrize(("scope", "fields"), INSIDE)
def test_a_brief_inside_of_the_scope_is_let_in(scope: dict[str, Any], fields: dict[str, Any]) -> None:
    assert list(outside(brief(**fields), "edit", AGENT, AgentScope(**scope))) == []


OUTSIDE: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({"repositories": ("/srv/git/*",)}, {"repository": "/srv/git/a/b.git"}, "repository", "allows /srv/git/*"),
    ({"repositories": ("/srv/git/*",)}, {"repository": "/srv/git/../etc"}, "repository", "allows /srv/git/*"),
    ({"repositories": ("https://h/o/a",)}, {"repository": "https://h/o/ab"}, "repository", "allows https://h/o/a"),
    ({"environments": ("staging",)}, {"environment": "production"}, "environment", "allows staging"),
    ({"kinds": ("docs", "tests")}, {}, "kind", "allows docs, tests"),
    ({"kinds": ("docs",)}, {"kind": "fix"}, "kind", "allows docs"),
    ({"paths": ("docs/**",)}, {"scope": {"paths": ("docs/**", "shop/a.py")}}, "scope.paths", "allows docs/**"),
    ({"paths": ("docs/*",)}, {"scope": {"paths": ("docs/**",)}}, "scope.paths", "allows docs/*"),
    ({"paths": ("docs/**",)}, {"scope": {"paths": ("**",)}}, "scope.paths", "allows docs/**"),
    ({"paths": ("docs/**",)}, {"scope": {"paths": ("**/a.md",)}}, "scope.paths", "allows docs/**"),
    ({"paths": ("docs/**",)}, {"scope": {"paths": ("doc?/a.md",)}}, "scope.paths", "allows docs/**"),
]


@pytest.mark.parametrize(("scope", "fields", "field", "allowed"), OUTSIDE)
def test_a_brief_outside_is_told_where_and_what_is_allowed(
    scope: dict[str, Any], fields: dict[str, Any], field: str, allowed: str
) -> None:
    (found,) = outside(brief(**fields), "edit", AGENT, AgentScope(**scope))
    assert found.field == field
    assert AGENT in found.sentence
    assert found.sentence.endswith(allowed)


def test_an_agent_that_plans_or_reviews_alone_is_bound_by_all_but_the_paths() -> None:
    scope = AgentScope(paths=("docs/**",), kinds=(Kind.DOCS,))
    wide = brief(scope={"paths": ("shop/**",)})
    assert [one.field for one in outside(wide, "review", AGENT, scope)] == ["kind"]


def test_a_change_outside_of_the_agents_paths_is_refused_whatever_the_brief_allows() -> None:
    changed = head({"docs/a.md": "# A\n", "shop/app.py": "X = 1\n"})
    ready = prepared(may_change_tests=("shop/app.py",))
    by = attempt(changed, agent=AGENT, bounds=("docs/**",))
    findings = change_findings(ready, by, PROJECT, changed)
    assert [(f.rule, f.path) for f in findings if f.rule == "out-of-bounds"] == [("out-of-bounds", "shop/app.py")]
    verdict = judge(ready, evidence(findings))
    assert verdict.decision is Decision.REFUSED
    assert any("out-of-bounds" in rule for rule in verdict.rules)


@pytest.mark.parametrize(
    ("kind", "files", "refused"),
    [
        (Kind.DOCS, {"docs/a.md": "# A\n", "README.md": "# B\n"}, []),
        (Kind.DOCS, {"docs/a.md": "# A\n", "docs/conf.py": "X = 1\n"}, ["docs/conf.py"]),
        (Kind.DOCS, {"CHANGES": "1.0\n", "NEWS.txt": "1.0\n", "NEWS.py": "X = 1\n"}, ["NEWS.py"]),
        (Kind.DOCS, {"README.rst": "Shop\n", "README.sh": "rm -r .\n"}, ["README.sh"]),
        (Kind.TESTS, {"tests/test_more.py": "def test_it(): ...\n"}, []),
        (Kind.TESTS, {"shop/app.py": "X = 1\n"}, ["shop/app.py"]),
        (Kind.FIX, {"shop/app.py": "X = 1\n"}, []),
    ],
)
def test_a_brief_of_docs_or_tests_changes_nothing_else(kind: Kind, files: dict[str, str], refused: list[str]) -> None:
    changed, ready = head(files), prepared()
    ready = ready.model_copy(update={"brief": ready.brief.model_copy(update={"kind": kind})})
    findings = change_findings(ready, attempt(changed), PROJECT, changed)
    assert [f.path for f in findings if f.rule == "other-kind"] == refused


def test_a_brief_without_what_came_later_has_the_digest_that_it_always_had() -> None:
    plain = brief()
    data = plain.model_dump(mode="json")
    del data["kind"], data["change"], data["propose_acceptance"]
    from domain.value import digest_of

    assert plain.digest == digest_of(data)
    assert brief(kind="fix").digest != plain.digest


def test_a_call_counts_in_the_week_that_it_began_in_and_in_full_until_it_ends() -> None:
    at = datetime(2026, 11, 30, 9, tzinfo=UTC)

    def entry(number: int, kind: str, call: str, usd: float, reference: str = AGENT) -> Entry:
        body = {"call": call, "usd": usd, "reference": reference}
        return Entry(number=number, at=at, run_id="r", kind=kind, key=call, type="", body=body, hash="")

    found = spent_in([
        entry(1, "metered", "begun-on-sunday", 9.0), entry(2, "reserved", "a", 2.0), entry(3, "metered", "a", 0.5),
        entry(4, "reserved", "b", 1.0), entry(5, "reserved", "c", 3.0, "codex/x"),
    ])  # fmt: skip
    assert found == {AGENT: 1.5, "codex/x": 3.0}
    assert week_of(at) == at.date()
    scope = AgentScope(usd_per_week=1.5)
    assert used_up(AGENT, scope, 1.49) is None
    assert "$1.50 of $1.50" in str(used_up(AGENT, scope, 1.5))
    assert used_up(AGENT, AgentScope(usd_per_week=0), 0.0) is not None
