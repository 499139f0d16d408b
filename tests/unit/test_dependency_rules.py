"""The table of dependency rules over facts, and the small languages that the facts are read by."""

import dataclasses
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.scanners.dependencies import semver
from blocks.scanners.dependencies.near_names import distance, near
from blocks.scanners.dependencies.pyproject import pep440
from blocks.scanners.dependencies.python_imports import distributions, imports
from domain.dependencies import (
    Advisory,
    CheckedDependency,
    Declaration,
    DependencyChange,
    DependencySight,
    Ecosystem,
    RegistryRelease,
)
from domain.policy.dependency_rules import DEPENDENCY_RULES
from domain.policy.rule import apply
from domain.task import Severity

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PLACE = Declaration(Ecosystem.PYPI, "thing", "pyproject.toml", 4, spec=">=1")
OLD = NOW - timedelta(days=400)
SOUND = CheckedDependency(
    ecosystem=Ecosystem.PYPI, name="thing", version="1.2", places=(PLACE,), is_new=True, exists=True, releases=5,
    first=OLD,
    release=RegistryRelease(released=NOW - timedelta(days=30), hashes=frozenset(("sha256:aa",)), has_source=True),
)  # fmt: skip


def found(asked: CheckedDependency | None = None, *sights: DependencySight) -> dict[str, Severity]:
    """Rule → weight, without the note that any new dependency gets."""
    change = DependencyChange((asked,) if asked else (), sights, NOW, frozenset(("asked-for",)))
    said = {f.rule.removeprefix("dependencies/"): f.severity for f in apply(DEPENDENCY_RULES, change)}
    said.pop("new", None)
    return said


def but(**facts: Any) -> CheckedDependency:
    return dataclasses.replace(SOUND, **facts)


def released(**facts: Any) -> CheckedDependency:
    assert SOUND.release
    return but(release=SOUND.release.model_copy(update=facts))


def locked(*hashes: str, known: tuple[str, ...] = ()) -> CheckedDependency:
    place = PLACE._replace(path="uv.lock", is_locked=True, hashes=frozenset(hashes))
    return but(places=(place,), known_hashes={"uv.lock": frozenset(known)} if known else None)


PYPI, NPM = Ecosystem
ADVISORY = Advisory(id="GHSA-1", names=frozenset(("GHSA-1",)))

CASES: dict[str, tuple[CheckedDependency, list[str]]] = {
    "sound": (SOUND, []),
    "no such name": (but(exists=False, release=None, releases=0, version=None), ["missing"]),
    "no such version": (but(release=None, version=None), ["missing"]),
    "no version at all": (but(release=None, version=None, releases=0), ["missing"]),
    "nobody could say": (
        but(exists=None, release=None, releases=0, version=None, unknown=("x does not answer",)),
        ["unknown"],
    ),
    "taken back": (released(yanked=""), ["yanked"]),
    "taken back, and base has it": (but(had=True, release=RegistryRelease(yanked="x", has_source=True)), []),
    "first release 89 days ago": (but(first=NOW - timedelta(days=89)), ["young"]),
    "first release 90 days ago": (but(first=NOW - timedelta(days=90)), []),
    "not new, first release 89 days ago": (but(first=NOW - timedelta(days=89), is_new=False), []),
    "released 6 days ago": (released(released=NOW - timedelta(days=6)), ["young"]),
    "released 7 days ago": (released(released=NOW - timedelta(days=7)), []),
    "released in the future": (released(released=NOW + timedelta(days=1)), ["young"]),
    "two releases": (but(releases=2), ["few-releases"]),
    "two releases of a much used name": (but(releases=2, is_popular=True), []),
    "two releases and not new": (but(releases=2, is_new=False), []),
    "no links": (released(has_source=False), ["no-source"]),
    "links unknown": (released(has_source=None), []),
    "near": (but(near="think"), ["near-name"]),
    "a major back": (but(is_new=False, replaced=("2.5",)), ["downgrade"]),
    "a minor back": (but(is_new=False, replaced=("1.9",)), []),
    "the oldest of two back": (but(is_new=False, replaced=("1.0", "2.5")), []),
    "an epoch": (but(is_new=False, replaced=("1!2.5",), version="1!1.2"), ["downgrade"]),
    "scripts": (but(scripts=("postinstall",)), ["install-script"]),
    "scripts that the brief asks for": (but(name="asked-for", scripts=("postinstall",)), ["install-script-asked"]),
    "scripts as before": (but(scripts=("postinstall",), ran_scripts=True), ["install-script-before"]),
    "scripts that base has": (but(scripts=("postinstall",), had=True), []),
    "vulnerable": (but(advisories=(ADVISORY.model_copy(update={"fixed": "2"}),)), ["vulnerable"]),
    "vulnerable without a cure": (but(advisories=(ADVISORY,)), ["vulnerable-unfixed"]),
    "malware": (but(advisories=(Advisory(id="GHSA-2", names=frozenset(("GHSA-2", "MAL-2026-1"))),)), ["vulnerable"]),
    "locked": (locked("sha256:aa"), []),
    "locked to something else": (locked("sha256:aa", "sha256:bb"), ["lock-hash"]),
    "locked by another kind": (locked("sha512:cc"), ["unhashed"]),
    "locked without": (locked(), ["unhashed"]),
    "another hash than before": (locked("sha256:bb", known=("sha256:cc",)), ["lock-hash"]),
    "another hash of another kind than before": (locked("sha512:bb", known=("sha256:aa",)), ["lock-hash"]),
    "a hash more, and the registry has it": (locked("sha256:aa", "sha256:cc", known=("sha256:cc",)), []),
    "a hash less": (locked("sha256:aa", known=("sha256:aa", "sha256:cc")), []),
    "no hash any more": (locked(known=("sha256:aa",)), ["lock-hash"]),
}


@pytest.mark.parametrize("name", CASES)
def test_what_the_facts_of_one_dependency_weigh(name: str) -> None:
    asked, expected = CASES[name]
    assert sorted(found(asked)) == expected


def test_every_rule_has_a_case_or_a_sight() -> None:
    shown = {rule for _, rules in CASES.values() for rule in rules}
    for rule in DEPENDENCY_RULES:
        name = rule.name.removeprefix("dependencies/")
        if name not in shown and name != "new":
            assert found(None, DependencySight(rule.name, "key", "message", "path", 1)) == {name: rule.severity}


def test_rules_are_written_like_all_others() -> None:
    names = [rule.name for rule in DEPENDENCY_RULES]
    assert len(names) == len(set(names))
    for rule in DEPENDENCY_RULES:
        assert re.fullmatch(r"dependencies(?:[-/][A-Za-z*-]+)*", rule.name) and rule.gate == "scan"
        assert rule.what.endswith(".") and rule.why.endswith("."), rule.name
        assert rule.fix[0].islower() and not rule.fix.endswith("."), rule.name
    weights = [("refuse", "person", "note").index(rule.severity) for rule in DEPENDENCY_RULES]
    assert weights == sorted(weights)


@pytest.mark.parametrize(
    ("version", "range", "fits"),
    [
        ("1.2.3", "^1.2.0", True), ("2.0.0", "^1.2.0", False), ("0.2.5", "^0.2.3", True), ("0.3.0", "^0.2.3", False),
        ("0.0.3", "^0.0.3", True), ("0.0.4", "^0.0.3", False), ("0.0.4", "^0.0", True), ("0.1.0", "^0.0", False),
        ("1.2.9", "~1.2.3", True), ("1.3.0", "~1.2.3", False), ("1.9.0", "~1", True), ("1.2.3", "1.x", True),
        ("2.0.0", "1.x", False), ("9.9.9", "*", True), ("9.9.9", "", True), ("1.5.0", ">=1.2.0 <2", True),
        ("2.0.0", ">=1.2.0 <2", False), ("1.5.0", "1.2.3 - 2.3", True), ("2.3.9", "1.2.3 - 2.3", True),
        ("2.4.0", "1.2.3 - 2.3", False), ("3.0.0", "^1 || ^3", True), ("2.0.0-alpha", "^1.0.0", False),
        ("1.2.3-beta.2", "^1.2.3-beta.1", True), ("1.2.4-beta.2", "^1.2.3-beta.1", False), ("1.2.3", "=v1.2.3", True),
        ("1.3.0", ">1.2", True), ("1.2.9", ">1.2", False), ("1.2.9", "<=1.2", True), ("1.3.0", "<=1.2", False),
        ("2.0.0-rc.1", "<2.0.0", False), ("2.0.0-rc.1", ">=2.0.0-rc.0 <3", True), ("3.0.0-a", "*", False),
        ("1.2.3", "latest", False), ("not", "*", False), ("1.2", "*", False),
    ],
)  # fmt: skip
def test_npm_ranges(version: str, range: str, fits: bool) -> None:
    assert semver.satisfies(version, range) is fits


@pytest.mark.parametrize(
    "text", ["latest", "git+https://x", "owner/name", "file:../x", "workspace:*", "1.2.3 foo", ">", "^", "1" * 600]
)
def test_what_is_no_npm_range(text: str) -> None:
    assert not semver.is_range(text)


def test_the_newest_version_is_the_newest_by_number() -> None:
    assert semver.newest(["1.0.0", "1.10.0", "1.9.0", "2.0.0", "1.11.0-a", "rubbish"], "^1") == "1.10.0"


@given(st.text(alphabet="0123456789.xX*^~<>=|- vab", max_size=40))
def test_no_text_breaks_the_reading_of_ranges(text: str) -> None:
    assert semver.satisfies("1.2.3", text) in (True, False)


@pytest.mark.parametrize(
    ("poetry", "standard"),
    [
        ("^1.2.3", ">=1.2.3,<2"), ("^0.2.3", ">=0.2.3,<0.3"), ("^0.0.3", ">=0.0.3,<0.0.4"), ("^0", ">=0,<1"),
        ("~1.2.3", ">=1.2.3,<1.3"), ("~1", ">=1,<2"), ("*", ""), ("1.2.3", "==1.2.3"), ("1.2.*", "==1.2.*"),
        (">=1,<2", ">=1,<2"), (">=1 <2", ">=1,<2"), (">= 1", ">= 1"), ("^1 || ^2", ""),
    ],
)  # fmt: skip
def test_poetrys_constraints(poetry: str, standard: str) -> None:
    assert pep440(poetry) == standard


@pytest.mark.parametrize(
    ("ecosystem", "name", "taken_for"),
    [
        (PYPI, "requestz", "requests"), (PYPI, "request", "requests"), (PYPI, "requests2", "requests"),
        (PYPI, "python-requests", "requests"), (PYPI, "nurnpy", "numpy"), (PYPI, "pi11ow", "pillow"),
        (PYPI, "beautiful-soup4", "beautifulsoup4"), (PYPI, "cyrptographx", "cryptography"), (PYPI, "requests", None),
        (PYPI, "lockgate", None), (PYPI, "sax", None), (NPM, "lodahs", "lodash"), (NPM, "cross-emv", "cross-env"),
        (NPM, "crossenv", "cross-env"), (NPM, "types-node", "@types/node"), (NPM, "exprezs", "express"),
        (NPM, "react", None), (NPM, "lockgate-client", None),
    ],
)  # fmt: skip
def test_names_that_are_easily_taken_for_another(ecosystem: Ecosystem, name: str, taken_for: str | None) -> None:
    assert near(ecosystem, name) == taken_for


@pytest.mark.parametrize(
    ("one", "other", "edits"),
    [
        ("a", "a", 0),
        ("xy", "yx", 1),
        ("abc", "ac", 1),
        ("abc", "abcd", 1),
        ("abc", "axc", 1),
        ("abcd", "badc", 2),
        ("abc", "xyz", 3),
    ],
)
def test_edits(one: str, other: str, edits: int) -> None:
    assert distance(one, other, 5) == distance(other, one, 5) == edits
    assert distance(one, other, 0) == min(edits, 1)


def test_imports_are_found_wherever_they_stand() -> None:
    source = b"""
import a.b, c as d
from e.f import g
from . import h
def i():
    try:
        import j
    except (ImportError, OSError):
        import k
    if TYPE_CHECKING:
        import l
    else:
        import m
__import__("n.o"); importlib.import_module("p"); importlib.import_module(".q", "a"); "import r"  # import s
"""
    assert sorted((one.module, one.is_optional) for one in imports(source)) == [
        ("a", False), ("c", False), ("e", False), ("j", True), ("k", False), ("l", True), ("m", False), ("n", False),
        ("p", False),
    ]  # fmt: skip


def test_an_import_that_is_also_needed_is_not_optional() -> None:
    (one,) = imports(b"try:\n    import a\nexcept ImportError:\n    pass\nimport a\n")
    assert (one.is_optional, one.line) == (False, 5)


def test_the_table_of_modules_is_whole() -> None:
    table = distributions()
    assert table["yaml"] == {"pyyaml"} and "google-*" in table["google"]
    assert all(re.fullmatch(r"[A-Za-z_]\w*", module) and names for module, names in table.items())
    assert all(re.fullmatch(r"[a-z0-9]+(?:-[a-z0-9]+)*(?:-\*)?", name) for names in table.values() for name in names)
