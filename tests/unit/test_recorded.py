"""What an earlier version wrote to the ledger is read by this one: a task that waits for a person outlives an upgrade.

Steps' results at Prefect are the same values. A file of `recorded/` holds entries as the product wrote them until that
day, in real tasks or in tests of what writes them, one of each kind, with paths and long texts cut. It never changes:
a field that is added has a default, and one that goes stays readable.
"""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from domain.records import RECORDS, sentence_of
from domain.value import Value

RECORDED = Path(__file__).with_name("recorded")
KEPT_BY = (
    "blocks.ledger.ledger",
    "blocks.targets.machine.process",
    "blocks.workshop",
    "flows.agent_task",
    "flows.downgrade",
    "flows.forge_watch",
    "flows.housekeeping",
    "flows.intake",
    "flows.issues",
    "flows.notices",
    "flows.rollback",
    "flows.serving",
)
"""What has the values that are recorded, beside `domain`."""


def lines() -> list[Any]:
    read = [json.loads(line) for path in sorted(RECORDED.glob("*.jsonl")) for line in path.read_text().splitlines()]
    return [pytest.param(one, id=f"{one['kind']} {one['type']}") for one in read]


def classes(of: type[Value] = Value) -> dict[str, type[Value]]:
    """Name → class; of two of one name, that of `domain.task` is recorded."""
    found: dict[str, type[Value]] = {}
    for one in of.__subclasses__():
        for name, each in {one.__name__: one, **classes(one)}.items():
            if name not in found or each.__module__ == "domain.task":
                found[name] = each
    return found


@pytest.fixture(scope="module")
def known() -> dict[str, type[Value]]:
    for name in KEPT_BY:
        importlib.import_module(name)
    return classes()


@pytest.mark.parametrize("line", lines())
def test_what_was_recorded_before_is_read_and_said(line: dict[str, Any], known: dict[str, type[Value]]) -> None:
    value = known[line["type"]].model_validate(line["body"])
    again = value.model_dump(mode="json")
    assert type(value).model_validate(again) == value
    assert line["kind"] in RECORDS or line["kind"] == "identity"
    sentence_of(line["kind"], line["body"])
