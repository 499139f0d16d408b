"""Honest changes at large: what neighbouring releases of packages changed, with upstream's newer tests as acceptance.

`upstream.jsonl` has a pair of releases a line, pinned by SHA-256. A pair is in it if tests of the newer release are red
on the older one and at most three are red on the newer, the change has at most 500 lines, and both archives hold the
tests, of which some that are no acceptance pass on the older one: whatever the gates say of it. Of each package the
last nine releases were tried, and the newest four such pairs taken. All that changed below the tests is the acceptance,
helpers and conftest included.
"""

import functools
import json
from pathlib import Path

from bench.gate_cases.case import Case
from kits.pypi_projects import PYTEST, ReleasePair

PAIRS = Path(__file__).with_name("upstream.jsonl")


@functools.cache
def projects() -> dict[str, ReleasePair]:
    """Name of the pair, such as `toolz 0.12.0`, → the two releases."""
    rows = (json.loads(line) for line in PAIRS.read_text().splitlines())
    return {f"{row['name']} {row['newer']}": _project(**row) for row in rows}


def _project(
    name: str, older: str, newer: str, older_sha256: str, newer_sha256: str, tests: str, acceptance: list[str],
    red: list[str], requirements: list[str], known_failures: list[str],
) -> ReleasePair:  # fmt: skip
    return ReleasePair(
        name=name,
        older=older,
        newer=newer,
        older_sha256=older_sha256,
        newer_sha256=newer_sha256,
        title=f"Do what {name} {newer} does",
        goal=f"`{red[0]}` passes, as do all tests that came with {name} {newer}.",
        acceptance=tuple(acceptance),
        expected_red=tuple(red),
        requirements=(*PYTEST, *requirements),
        tests=tests,
        known_failures=tuple(known_failures),
        max_changed_lines=5000,
    )


CASES = tuple(
    Case(f"{name}: upstream's change", name, f"What upstream changed from {one.older} to {one.newer}")
    for name, one in projects().items()
)
