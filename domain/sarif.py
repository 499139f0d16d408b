"""Findings as SARIF 2.1.0, for forges that show it. https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html"""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import quote

from domain.policy.rule import Rule
from domain.policy.suppress import Suppressed
from domain.task import Finding, Severity
from domain.value import digest_of

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
MAX_RESULTS = 5_000
"""What GitHub shows of one run. https://docs.github.com/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning"""
MAX_RULE_CHARS = 255

_LEVELS = {Severity.REFUSE: "error", Severity.PERSON: "warning", Severity.NOTE: "note"}
_RANKS = {severity: rank for rank, severity in enumerate(_LEVELS)}
_SCORES = {Severity.REFUSE: "8.0", Severity.PERSON: "5.0", Severity.NOTE: "2.0"}
"""GitHub's security-severity, from 0 to 10: high, medium, low."""

_Said = tuple[Finding, Suppressed | None]


def sarif(
    findings: Iterable[Finding],
    rules: Sequence[Rule[Any]],
    *,
    version: str,
    suppressed: Iterable[Suppressed] = (),
    commit: str | None = None,
    repository: str | None = None,
) -> dict[str, Any]:
    """One SARIF log with one run. `rules` document what the findings name, also as `ruff/S*`.

    What is heaviest comes first, and past MAX_RESULTS the rest is left out. Suppressed findings say by whom and why.
    `repository` is an address; with `commit` it says what was scanned.
    """
    results: list[_Said] = [(finding, None) for finding in findings] + [(one.finding, one) for one in suppressed]
    results = sorted(results, key=lambda said: (_RANKS[said[0].severity], said[1] is not None))[:MAX_RESULTS]
    names = list(dict.fromkeys(finding.rule for finding, _ in results))
    driver = {
        "name": "Lockgate",
        "version": version,
        "rules": [_descriptor(name, _documenting(name, rules), _first(name, results)) for name in names],
    }
    run: dict[str, Any] = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, names.index(finding.rule), by) for finding, by in results],
    }
    if commit and repository:
        run["versionControlProvenance"] = [{"repositoryUri": repository, "revisionId": commit}]
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _documenting(name: str, rules: Sequence[Rule[Any]]) -> Rule[Any] | None:
    """The rule of that name, else the one whose name has a `*` that stands for it."""
    exact = next((rule for rule in rules if rule.name == name), None)
    return exact or next((rule for rule in rules if fnmatchcase(name, rule.name)), None)


def _first(name: str, results: Sequence[_Said]) -> Finding:
    return next(finding for finding, _ in results if finding.rule == name)


def _descriptor(name: str, rule: Rule[Any] | None, finding: Finding) -> dict[str, Any]:
    what = rule.what if rule else finding.message
    help_lines = [what, *((f"Why: {rule.why}", f"How to mend it: {rule.fix}") if rule else ())]
    return {
        "id": name[:MAX_RULE_CHARS],
        "name": name[:MAX_RULE_CHARS],
        "shortDescription": {"text": _clipped(finding.message, 1024)},
        "fullDescription": {"text": _clipped(what, 1024)},
        "help": {"text": "\n".join(help_lines), "markdown": "\n\n".join(help_lines)},
        "defaultConfiguration": {"level": _LEVELS[rule.severity if rule else finding.severity]},
        "properties": {
            "tags": ["security", finding.gate],
            "security-severity": _SCORES[rule.severity if rule else finding.severity],
        },
    }


def _result(finding: Finding, index: int, suppressed: Suppressed | None) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.rule[:MAX_RULE_CHARS],
        "ruleIndex": index,
        "level": _LEVELS[finding.severity],
        "message": {"text": finding.message + (f" ({finding.fix})" if finding.fix else "")},
        "partialFingerprints": {
            "lockgate/v1": digest_of([finding.gate, finding.rule, finding.path, finding.message, finding.line])
        },
    }
    if finding.path:
        place: dict[str, Any] = {
            "artifactLocation": {"uri": quote(finding.path, errors="replace"), "uriBaseId": "%SRCROOT%"}
        }
        if finding.line:
            place["region"] = {"startLine": finding.line}
        result["locations"] = [{"physicalLocation": place}]
    if suppressed:
        by = suppressed.by
        justification = f"{by.reason} ({by.owner}, until {by.until})"
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": justification}]
    return result


def _clipped(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
