"""Which findings do not count, by whose word; and which never may be suppressed."""

import datetime
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from domain.paths import matches
from domain.policy.rule import Hit, Rule
from domain.suppressions import MAX_DAYS, Suppression
from domain.task import Finding, Severity

SCANS = frozenset(("scan", "dependencies"))
"""Gates whose findings may be suppressed, without the rules of HARD."""
SOFT = frozenset(("binary", "executable", "invisible", "suppression", "symlink", "unparsed", "unreadable"))
"""Rules of the change gate that may be suppressed. What is new there may not, until somebody adds it here."""
HARD = ("kingfisher/*", "gitleaks/*", "*secret*", "scanner-failed", "suppression-*")


class Suppressed(NamedTuple):
    """A finding that does not count, and by whose word."""

    finding: Finding
    by: Suppression


IGNORED: Rule[None] = Rule(
    "suppression-ignored", "scan", Severity.NOTE,
    "A [[suppress]] of lockgate.toml that would cover a finding and does not count: without a reason, an owner or an "
    f"end date, ended, more than {MAX_DAYS} days long, or of a rule that cannot be suppressed.",
    "What nobody answers for, or nobody looks at again, is no decision.",
    "complete it on the base branch, or mend what the finding says",
    lambda _: (),
)  # fmt: skip


def may_be_suppressed(finding: Finding) -> bool:
    """Never secrets, tampering with tests, hostile files, or a scanner that failed."""
    if any(fnmatchcase(finding.rule, name) for name in HARD):
        return False
    return finding.gate in SCANS or (finding.gate == "change" and finding.rule in SOFT)


def apply_suppressions(
    findings: Iterable[Finding], suppressions: Sequence[Suppression], today: datetime.date
) -> tuple[tuple[Finding, ...], tuple[Suppressed, ...]]:
    """(kept, suppressed), each in the order of `findings`. Notes about what does not count follow the kept."""
    kept: list[Finding] = []
    suppressed: list[Suppressed] = []
    ignored: dict[str, Finding] = {}
    for finding in findings:
        about = [one for one in suppressions if _covers(one, finding)]
        problems = [_problem(one, finding, today) for one in about]
        if None in problems:
            suppressed.append(Suppressed(finding, about[problems.index(None)]))
            continue
        kept.append(finding)
        for suppression, problem in zip(about, problems, strict=True):
            said = f"the suppression of {suppression.rule} in {suppression.path} does not count: {problem}"
            ignored.setdefault(said, IGNORED.finding(Hit(said, "lockgate.toml")))
    return (*kept, *ignored.values()), tuple(suppressed)


def _covers(suppression: Suppression, finding: Finding) -> bool:
    """Whether it speaks of this finding, be it in force or not. What has no path is never covered."""
    about = finding.path is not None and matches(finding.path, (suppression.path,))
    return about and fnmatchcase(finding.rule, suppression.rule)


def _problem(suppression: Suppression, finding: Finding, today: datetime.date) -> str | None:
    return suppression.problem(today) or (
        None if may_be_suppressed(finding) else f"{finding.rule} cannot be suppressed"
    )
