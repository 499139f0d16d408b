"""Findings as SARIF: what the standard asks for, and what a forge needs to show them."""

import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as some

from docs.generate import GATES
from domain.policy.suppress import Suppressed
from domain.sarif import MAX_RESULTS, sarif
from domain.suppressions import Suppression
from domain.task import Finding, Severity

RULES = [rule for _, _, rules in GATES for rule in rules]

FINDINGS = (
    Finding(gate="scan", rule="bandit/B404", severity=Severity.NOTE, message="an import", path="a b.py", line=1),
    Finding(gate="scan", rule="ruff/S307", severity=Severity.REFUSE, message="eval", path="a.py", line=3, fix="parse"),
    Finding(gate="change", rule="diff-budget", severity=Severity.REFUSE, message="too much"),
    Finding(gate="scan", rule="new/rule", severity=Severity.PERSON, message="look", path="ünï.py"),
)


def an_object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


def array_of(items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


TEXT = {"type": "string"}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
MESSAGE = an_object(("text",), text=TEXT, markdown=TEXT)
BAG = {"type": "object", "properties": {"tags": array_of(TEXT, uniqueItems=True)}, "additionalProperties": True}
RULE = an_object(
    ("id",), id=TEXT, name=TEXT, shortDescription=MESSAGE, fullDescription=MESSAGE, help=MESSAGE, helpUri=TEXT,
    defaultConfiguration=an_object((), level=LEVEL), properties=BAG,
)  # fmt: skip
PLACE = an_object(
    ("artifactLocation",),
    artifactLocation=an_object((), uri={"type": "string", "format": "uri-reference"}, uriBaseId=TEXT),
    region=an_object((), startLine={"type": "integer", "minimum": 1}),
)
RESULT = an_object(
    ("message",), ruleId=TEXT, ruleIndex={"type": "integer", "minimum": -1}, level=LEVEL, message=MESSAGE,
    locations=array_of(an_object((), physicalLocation=PLACE)),
    partialFingerprints={"type": "object", "additionalProperties": TEXT},
    suppressions=array_of(
        an_object(
            ("kind",), kind={"enum": ["inSource", "external"]}, justification=TEXT,
            status={"enum": ["accepted", "underReview", "rejected"]},
        ),
        uniqueItems=True,
    ),
)  # fmt: skip
SCHEMA = an_object(
    ("version", "runs"),
    **{"$schema": {"type": "string", "format": "uri"}},
    version={"enum": ["2.1.0"]},
    runs=array_of(
        an_object(
            ("tool",),
            tool=an_object(("driver",), driver=an_object(
                ("name",), name=TEXT, version=TEXT, rules=array_of(RULE, uniqueItems=True)
            )),
            columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
            results=array_of(RESULT),
            versionControlProvenance=array_of(an_object(
                ("repositoryUri",), repositoryUri={"type": "string", "format": "uri"}, revisionId=TEXT
            ), uniqueItems=True),
        )
    ),
)  # fmt: skip
"""The part of sarif-schema-2.1.0.json that our logs use; what is not in it is not allowed."""


def check(log: dict[str, Any]) -> dict[str, Any]:
    """The demands of SARIF 2.1.0 that our logs could break. The run."""
    jsonschema.Draft7Validator(SCHEMA).validate(log)
    assert json.loads(json.dumps(log, ensure_ascii=False)) == log
    assert log.keys() == {"$schema", "version", "runs"} and log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    ids = [rule["id"] for rule in rules]
    assert len(ids) == len(set(ids))
    for rule in rules:
        assert rule["shortDescription"]["text"] and rule["fullDescription"]["text"] and rule["help"]["text"]
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note")
        assert 0 < float(rule["properties"]["security-severity"]) <= 10
    for result in run["results"]:
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        assert result["message"]["text"]
        assert all(isinstance(value, str) for value in result["partialFingerprints"].values())
        for location in result.get("locations", ()):
            place = location["physicalLocation"]
            assert place["artifactLocation"]["uri"].isascii() and not place["artifactLocation"]["uri"].startswith("/")
            assert place.get("region", {"startLine": 1})["startLine"] >= 1
    return dict(run)


def test_findings_become_results_the_heaviest_first() -> None:
    run = check(sarif(FINDINGS, RULES, version="1.2"))
    assert [(r["ruleId"], r["level"]) for r in run["results"]] == [
        ("ruff/S307", "error"), ("diff-budget", "error"), ("new/rule", "warning"), ("bandit/B404", "note")
    ]  # fmt: skip
    assert run["results"][0]["message"]["text"] == "eval (parse)"
    places = [r["locations"][0]["physicalLocation"] if "locations" in r else None for r in run["results"]]
    assert places == [
        {"artifactLocation": {"uri": "a.py", "uriBaseId": "%SRCROOT%"}, "region": {"startLine": 3}},
        None,
        {"artifactLocation": {"uri": "%C3%BCn%C3%AF.py", "uriBaseId": "%SRCROOT%"}},
        {"artifactLocation": {"uri": "a%20b.py", "uriBaseId": "%SRCROOT%"}, "region": {"startLine": 1}},
    ]


def test_the_documents_of_a_rule_are_its_help_also_where_one_rule_stands_for_many() -> None:
    rules = check(sarif(FINDINGS, RULES, version="1"))["tool"]["driver"]["rules"]
    by_id = {rule["id"]: rule for rule in rules}
    documented = next(rule for rule in RULES if rule.name == "diff-budget")
    assert documented.why in by_id["diff-budget"]["help"]["text"]
    assert next(rule for rule in RULES if rule.name == "ruff/S*").fix in by_id["ruff/S307"]["help"]["markdown"]
    assert by_id["new/rule"]["help"]["text"] == "look"


def test_a_suppressed_finding_says_by_whom_and_why() -> None:
    by = Suppression.model_validate(
        {"rule": "bandit/*", "path": "**", "reason": "a fixed address", "owner": "ada", "until": "2026-12-31"}
    )
    run = check(sarif(FINDINGS[1:], RULES, version="1", suppressed=[Suppressed(FINDINGS[0], by)]))
    (told,) = (result for result in run["results"] if "suppressions" in result)
    assert told["ruleId"] == "bandit/B404"
    assert told["suppressions"][0]["justification"] == "a fixed address (ada, until 2026-12-31)"


def test_a_finding_keeps_its_fingerprint() -> None:
    marks = [r["partialFingerprints"] for r in check(sarif(FINDINGS * 2, RULES, version="1"))["results"]]
    assert len({json.dumps(mark) for mark in marks}) == len(FINDINGS)


def test_it_says_what_was_scanned() -> None:
    run = check(sarif((), RULES, version="1", commit="abc", repository="https://git.example/shop"))
    assert run["results"] == []
    assert run["versionControlProvenance"] == [{"repositoryUri": "https://git.example/shop", "revisionId": "abc"}]


def test_it_is_never_more_than_a_forge_takes() -> None:
    many = [FINDINGS[1].model_copy(update={"line": line}) for line in range(1, MAX_RESULTS + 10)]
    assert len(check(sarif(many, RULES, version="1"))["results"]) == MAX_RESULTS


@given(
    some.builds(
        Finding,
        gate=some.text(min_size=1),
        rule=some.text(min_size=1),
        message=some.text(min_size=1),
        path=some.none() | some.from_regex(r"[^/\x00\ud800-\udfff]+(/[^/\x00\ud800-\udfff]+)?", fullmatch=True),
        line=some.none() | some.integers(min_value=1),
    )
)
def test_any_finding_gives_a_log_that_holds(finding: Finding) -> None:
    check(sarif([finding], RULES, version="1"))
