"""The tables of rules as a whole, and the document that is made of them."""

import re
from pathlib import Path

from docs.generate import GATES, gates
from domain.policy import BRIEF_RULES, CHANGE_RULES
from tests.unit import test_policy_change as change

DOCUMENT = Path(__file__).parents[2] / "docs" / "gates.md"
RULES = [rule for _, _, rules in GATES for rule in rules]


def test_the_committed_document_is_what_the_rules_say() -> None:
    assert DOCUMENT.read_text("utf-8") == gates(), "run `python -m docs.generate > docs/gates.md`"


def test_every_rule_has_a_name_of_its_own() -> None:
    names = [rule.name for rule in RULES]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z]+(?:[-/][A-Za-z*-]+)*", name) for name in names)


def test_every_rule_says_what_why_and_what_to_do() -> None:
    for rule in RULES:
        assert rule.what.endswith("."), rule.name
        assert rule.why.endswith("."), rule.name
        assert rule.fix[0].islower(), rule.name
        assert not rule.fix.endswith("."), rule.name


def test_every_change_rule_has_a_change_that_it_stops() -> None:
    shown = {rule for _, rule in (*change.REFUSED.values(), *change.PERSON.values())}
    of_their_own = {"out-of-scope", "out-of-bounds", "other-kind", "diff-budget", "executable", "test-opened",
                    "recorded-answer", "hard-coded", "lfs", "acceptance-elsewhere", "tests-in-source",
                    "guards", "protection", "weakness", "tests-do-the-work"}  # fmt: skip
    assert {rule.name for rule in CHANGE_RULES} - shown == of_their_own


def test_a_brief_is_only_ever_refused() -> None:
    assert {rule.severity for rule in BRIEF_RULES} == {"refuse"}
