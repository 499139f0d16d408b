"""Prints docs/gates.md from the rules themselves: python -m docs.generate > docs/gates.md"""

from collections.abc import Sequence
from typing import Any

from blocks.scanners import SCAN_RULES
from domain.bait import BAIT_RULES
from domain.policy import BRIEF_RULES, CHANGE_RULES, JUDGE_RULES, PLAN_RULES, Rule
from domain.policy.dependency_rules import DEPENDENCY_RULES
from domain.policy.mutation_rules import MUTATION_RULES
from domain.policy.passing import PASS_RULES
from domain.policy.suppress import IGNORED
from domain.policy.test_rules import RAN_RULES

INTRODUCTION = """# What the gates look for

Made from the rules by `python -m docs.generate`; do not edit. The rules are rows of tables in `domain/policy/` and
`blocks/scanners/`.

A finding weighs **refuse** (the change goes back to the agent with the reason), **person** (a reviewer is told to look
there) or **note** (it is shown). In a verdict the reason that is cheapest to mend comes first. A change that nothing
refuses still goes to the review gate, where a person answers unless `[review]` on base lets it pass.
"""

GATES: Sequence[tuple[str, str, Sequence[Rule[Any]]]] = (
    ("Briefs", "Before an agent costs anything. A refused brief ends the run; it can be sent again.", BRIEF_RULES),
    ("Bait", "Shown to people before the work begins; it decides nothing.", BAIT_RULES),
    ("Plans", "Before the agent edits.", PLAN_RULES),
    ("Changes", "Over the change against its base, as data. Existing tests and what configures them are the contract.",
     CHANGE_RULES),
    ("Scanners", "Tools over the changed files; only what base does not have counts.", (*SCAN_RULES, IGNORED)),
    ("Dependencies", "What a change brings or alters, checked against the registries; nothing is installed.",
     DEPENDENCY_RULES),
    ("Tests", "Over two runs of the tests under the same locked contract, base's and the change's.", RAN_RULES),
    ("Mutants", "Over a change that its tests pass: its lines are made wrong one at a time, and which of them any test "
     "runs is watched. Python with pytest.", MUTATION_RULES),
    ("The judge", "Over the evidence as a whole.", JUDGE_RULES),
    ("Passing without a person", "Off by default: `[review]` in lockgate.toml on base. Each of these keeps a "
     "change for a person.", PASS_RULES),
)  # fmt: skip


def gates() -> str:
    """The text of docs/gates.md."""
    parts = [INTRODUCTION]
    for title, lead, rules in GATES:
        parts.append(f"## {title}\n\n{lead}\n")
        parts += [_section(rule) for rule in rules]
    return "\n".join(parts)


def _section(rule: Rule[Any]) -> str:
    return (
        f"### `{rule.name}`\n\n"
        f"- Gate: {rule.gate}; weighs: **{rule.severity}**\n"
        f"- What it sees: {rule.what}\n"
        f"- Why: {rule.why}\n"
        f"- How to mend it: {rule.fix}\n"
    )


if __name__ == "__main__":
    print(gates(), end="")
