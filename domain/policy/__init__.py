"""Policy: what is refused, what goes to a person, and why. Rules in tables, pure functions over values.

Briefs before anything costs money, plans before an edit, changes as data against base, and the judge over evidence.
"""

from domain.policy.brief_lint import BRIEF_RULES, lint_brief
from domain.policy.change import Change
from domain.policy.change_code import CODE_PERSON_RULES, CODE_RULES
from domain.policy.change_evasion import EVASION_PERSON_RULES, EVASION_RULES
from domain.policy.change_paths import BUDGET_RULES, PERSON_RULES, SCOPE_RULES
from domain.policy.change_tests import TEST_PERSON_RULES, TEST_RULES
from domain.policy.change_text import TEXT_PERSON_RULES, TEXT_RULES
from domain.policy.judge import JUDGE_RULES, judge
from domain.policy.plan_policy import PLAN_RULES, judge_plan
from domain.policy.rule import Rule, apply
from domain.task import Attempt, Finding, Prepared
from domain.trees import Tree

__all__ = ["BRIEF_RULES", "CHANGE_RULES", "JUDGE_RULES", "PLAN_RULES", "Rule", "change_findings", "judge", "judge_plan",
           "lint_brief"]  # fmt: skip

CHANGE_RULES: tuple[Rule[Change], ...] = (
    *SCOPE_RULES, *TEST_RULES, *TEXT_RULES, *CODE_RULES, *EVASION_RULES, *BUDGET_RULES, *PERSON_RULES,
    *TEST_PERSON_RULES, *TEXT_PERSON_RULES, *CODE_PERSON_RULES, *EVASION_PERSON_RULES,
)  # fmt: skip
"""What refuses comes first, and of that what is cheapest to mend: put a file back, take a line out, do less."""


def change_findings(prepared: Prepared, attempt: Attempt, base: Tree, head: Tree) -> tuple[Finding, ...]:
    """What the rules see in a change. Both trees are data: nothing of them is run."""
    return apply(CHANGE_RULES, Change(prepared, attempt, base, head))
