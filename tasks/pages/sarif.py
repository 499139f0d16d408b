"""Findings of an attempt as SARIF, for `lockgate findings` and for forges that show it."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlsplit

from blocks.scanners import SCAN_RULES
from domain.policy import CHANGE_RULES, Rule
from domain.policy.dependency_rules import DEPENDENCY_RULES
from domain.policy.mutation_rules import MUTATION_RULES
from domain.policy.suppress import IGNORED
from domain.policy.test_rules import RAN_RULES
from domain.sarif import sarif
from domain.task import Finding

RULES: tuple[Rule[Any], ...] = (*CHANGE_RULES, *SCAN_RULES, *DEPENDENCY_RULES, *RAN_RULES, *MUTATION_RULES, IGNORED)
"""What documents the findings; those of the judge are in its verdict."""


def as_sarif(findings: Sequence[Finding], repository: str, commit: str | None) -> dict[str, Any]:
    """A SARIF log; it names the repository where that is an address, without what is secret in it."""
    try:
        ours = version("lockgate")
    except PackageNotFoundError:
        ours = "0"
    place = urlsplit(repository)
    address = place._replace(netloc=place.netloc.rpartition("@")[2]).geturl() if place.netloc else None
    return sarif(findings, RULES, version=ours, commit=commit, repository=address)
