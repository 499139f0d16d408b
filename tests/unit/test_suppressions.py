"""Suppressions: a reason, an owner, an end; and never what nobody may suppress."""

import datetime
from typing import Any

import pytest

from domain.policy import CHANGE_RULES, JUDGE_RULES
from domain.policy.suppress import SOFT, Suppressed, apply_suppressions, may_be_suppressed
from domain.suppressions import Suppression
from domain.task import Finding, Severity

TODAY = datetime.date(2026, 11, 22)


def finding(rule: str = "bandit/B310", path: str | None = "app/a.py", gate: str = "scan", **more: Any) -> Finding:
    return Finding(gate=gate, rule=rule, severity=Severity.REFUSE, message="m", path=path, **more)


def suppression(**changed: Any) -> Suppression:
    complete = {
        "rule": "bandit/B310",
        "path": "app/**",
        "reason": "a fixed address",
        "owner": "ada",
        "until": "2026-12-31",
    }
    return Suppression.model_validate({**complete, **changed})


@pytest.mark.parametrize(
    ("changed", "about"),
    [
        ({}, finding()),
        ({"rule": "bandit/*"}, finding("bandit/B602")),
        ({"until": TODAY}, finding()),
        ({"path": "app/a.py"}, finding(line=7)),
        ({"rule": "binary", "path": "logo.png"}, finding("binary", "logo.png", "change")),
    ],
)
def test_what_a_complete_suppression_covers_does_not_count(changed: dict[str, Any], about: Finding) -> None:
    by = suppression(**changed)
    assert apply_suppressions([about], [by], TODAY) == ((), (Suppressed(about, by),))


@pytest.mark.parametrize("about", [finding("bandit/B602"), finding(path="lib/a.py"), finding(path=None)])
def test_what_it_does_not_cover_stays_without_a_word(about: Finding) -> None:
    assert apply_suppressions([about], [suppression()], TODAY) == ((about,), ())


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"reason": " "}, "it has no reason"),
        ({"owner": ""}, "it has no owner"),
        ({"until": None}, "it has no end date"),
        ({"until": "2026-11-21"}, "it ended on 2026-11-21"),
        ({"until": "2030-01-01"}, "more than 366 days ahead"),
        ({"rule": "*"}, "the rule is not named"),
        ({"rule": "?andit/B310"}, "the rule is not named"),
    ],
)
def test_one_that_is_not_complete_does_not_count_and_is_a_note(changed: dict[str, Any], why: str) -> None:
    kept, suppressed = apply_suppressions([finding(), finding(line=2)], [suppression(**changed)], TODAY)
    assert (kept[:2], suppressed) == ((finding(), finding(line=2)), ())
    assert [(f.rule, f.severity, f.path) for f in kept[2:]] == [("suppression-ignored", Severity.NOTE, "lockgate.toml")]
    assert why in kept[2].message


@pytest.mark.parametrize(
    "about",
    [
        finding("kingfisher/github-pat"),
        finding("gitleaks/generic-api-key"),
        finding("scanner-failed"),
        finding("test-deleted", gate="tests"),
        finding("tree", gate="change"),
        finding("bidi", gate="change"),
        finding("regression", gate="judge"),
        finding("something-new", gate="something-new"),
    ],
)
def test_secrets_tampering_and_hostile_files_cannot_be_suppressed(about: Finding) -> None:
    kept, suppressed = apply_suppressions([about], [suppression(rule=about.rule)], TODAY)
    assert (kept[0], suppressed) == (about, ())
    assert "cannot be suppressed" in kept[1].message


def test_no_rule_that_refuses_a_change_can_be_suppressed_unless_a_scanner_says_it() -> None:
    for rule in (*CHANGE_RULES, *JUDGE_RULES):
        may = may_be_suppressed(finding(rule.name, gate=rule.gate))
        assert not (may and rule.severity is Severity.REFUSE), rule.name
    assert {rule.name for rule in CHANGE_RULES} >= SOFT


def test_one_that_counts_is_enough() -> None:
    ended, counts = suppression(until="2020-01-01"), suppression()
    assert apply_suppressions([finding()], [ended, counts], TODAY) == ((), (Suppressed(finding(), counts),))
