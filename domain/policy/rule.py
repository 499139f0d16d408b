"""What a rule is: one row of a table, with its reason, its fix and the check itself."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from domain.task import Finding, Severity

S = TypeVar("S")

MAX_HITS = 25
"""Findings one rule gives at most; the last one stands for the rest, so a change of 50,000 files stays readable."""


class Hit(NamedTuple):
    """One place where a rule does not hold. `line` counts from 1."""

    message: str
    path: str | None = None
    line: int | None = None


@dataclass(frozen=True)
class Rule(Generic[S]):
    """One thing that a gate looks for. `check` gives a hit for each place where it is; no hits means go."""

    name: str
    gate: str
    severity: Severity
    what: str
    why: str
    fix: str
    check: Callable[[S], Iterable[Hit]]

    def finding(self, hit: Hit) -> Finding:
        return Finding(
            gate=self.gate, rule=self.name, severity=self.severity, message=hit.message, path=hit.path, line=hit.line,
            fix=self.fix,
        )  # fmt: skip

    def findings(self, subject: S) -> tuple[Finding, ...]:
        """At most MAX_HITS findings; where there are more, the last one says so."""
        hits = list(islice(self.check(subject), MAX_HITS + 1))
        if len(hits) > MAX_HITS:
            hits = [*hits[: MAX_HITS - 1], Hit(f"{self.name}: and more places like these")]
        return tuple(self.finding(hit) for hit in hits)


def apply(rules: Sequence[Rule[S]], subject: S) -> tuple[Finding, ...]:
    """The findings of every rule, in the order of the table."""
    return tuple(finding for rule in rules for finding in rule.findings(subject))
