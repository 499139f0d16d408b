"""What a ledger is found to be beside what was signed about it."""

from datetime import UTC, datetime

import pytest

from domain.checkpoint import Checkpoint, Ends, KeptCheckpoints, Sealed, differences

AT = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)


def signed(
    number: int, head: str = "", ledger: str = "first", place: str = "here", **fields: object
) -> KeptCheckpoints:
    made = Checkpoint(ledger=ledger, place=place, number=number, head=head or f"hash {number}", at=AT, key="PEM")
    return KeptCheckpoints.model_validate({"where": "in the store", "name": made.name, "checkpoint": made, **fields})


def ledger(last: int, first: str | None = "first", place: str = "here", **changed: str) -> Ends:
    hashes = {number: changed.get(f"at_{number}", f"hash {number}") for number in range(1, last + 1)}
    return Ends(first=first, place=place, last=last, hashes=hashes)


OF_ANOTHER = {"ledger": "another", "place": "elsewhere"}


@pytest.mark.parametrize(
    ("ends", "found", "says"),
    [
        (ledger(20), [signed(20), signed(10)], []),
        (ledger(25), [signed(20)], []),
        (ledger(0, None), [], []),
        (ledger(20, place="moved"), [signed(20)], []),
        (
            ledger(15),
            [signed(20), signed(10)],
            ["ends at entry 15, and 20 entries were signed at 2026-11-01"],
        ),
        (ledger(0, None), [signed(20)], ["the ledger ends at entry 0, and 20 entries were signed"]),
        (ledger(20, at_15="x"), [signed(15), signed(10)], ["rewritten between entry 11 and entry 15"]),
        (ledger(30, "forged", at_10="x", at_20="x"), [signed(20), signed(10)], ["between entry 1 and entry 10"]),
        (ledger(20), [signed(20), signed(99, **OF_ANOTHER)], []),  # type: ignore[arg-type]
        (ledger(20), [signed(20), signed(99, unknown_key="abcd")], ["--trust abcd"]),
        (
            ledger(20),
            [signed(20), KeptCheckpoints(where="in the store", name="odd", checkpoint=None)],
            ["odd is no checkpoint"],
        ),
        (
            ledger(15, at_10="x"),
            [signed(20), signed(10)],
            ["the ledger ends at entry 15, and 20", "rewritten between entry 1 and entry 10"],
        ),
    ],
)
def test_a_ledger_beside_what_was_signed_about_it(ends: Ends, found: list[KeptCheckpoints], says: list[str]) -> None:
    problems = differences(ends, found, [], has_signed=False)
    assert len(problems) == len(says), problems
    for problem, words in zip(problems, says, strict=True):
        assert words in problem


def test_checkpoints_that_the_ledger_speaks_of_and_that_are_nowhere_are_missed() -> None:
    there = signed(20)
    notes = [Sealed(number=n, name=signed(n).name, key="abcd") for n in (10, 20)]
    (problem,) = differences(ledger(20), [there], notes, has_signed=True)
    assert "nowhere (of entries 10)" in problem
    (problem,) = differences(ledger(20), [], [], has_signed=True)
    assert "none of this ledger is to be found" in problem
