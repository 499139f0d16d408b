"""What holds an environment: three releases in a row that had to leave, and not what a person asked for."""

from datetime import UTC, datetime
from typing import Any

import pytest

from domain.entry import Entry
from domain.policy.holding import why_held
from domain.task import RolledBack

AT = datetime(2026, 11, 30, tzinfo=UTC)


def back(number: int, key: str, **body: Any) -> Entry:
    return Entry(
        number=number, at=AT, run_id=f"run-{number}", kind="rolled_back", key=key, type="RolledBack",
        body={"environment": "shop", "failed": "c" * 40, **body}, hash="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "body", "holds"),
    [
        ("c" * 40, {}, True),  # written before there was the field
        ("shop", {}, False),
        ("c" * 40, {"is_asked_for": False}, True),
        ("shop", {"is_asked_for": True}, False),
        ("shop", {"is_asked_for": False}, True),  # a revision may be called as its environment is
    ],
)
def test_only_what_nobody_asked_for_counts(key: str, body: dict[str, Any], holds: bool) -> None:
    entries = [back(1, "a" * 40), back(2, "b" * 40), back(3, key, **body)]
    assert bool(why_held("shop", entries)) is holds
    assert why_held("other", entries) is None


def test_a_rollback_is_nobodys_wish_unless_it_says_so() -> None:
    made = RolledBack(environment="shop", failed="c", serving=None, revert=None, bundle="")
    assert made.model_dump()["is_asked_for"] is False
