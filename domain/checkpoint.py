"""Checkpoints: what the platform signed about the end of its ledger and keeps outside of it, and what a ledger is found
to be when it is compared with them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from pydantic import Field

from domain.value import Value


class Checkpoint(Value):
    """At that time, the ledger was whole up to this entry."""

    ledger: str = Field(description="Hash of the ledger's first entry: which ledger it is")
    place: str = Field(description="SHA-256 of where its database is, without a password")
    number: int = Field(ge=1, description="Of the last entry")
    head: str = Field(description="Hash of that entry, and so of all entries up to it")
    at: datetime
    key: str = Field(description="Public half of the key that signed it, in PEM")

    @property
    def name(self) -> str:
        """Names in the order of the alphabet are in the order of the ledger."""
        return f"{self.number:012d}-{self.digest}"


class Sealed(Value):
    """A checkpoint was made, and where it is kept: the ledger's own note of it."""

    number: int
    name: str
    key: str = Field(description="Fingerprint of the key")
    repository: str | None = Field(None, description="Repository that has it as well, in its own ref")


class KeptCheckpoints(Value):
    """What lies where checkpoints are kept."""

    where: str
    name: str
    checkpoint: Checkpoint | None = Field(description="None: it is no checkpoint at all, or was changed")
    unknown_key: str | None = Field(None, description="Fingerprint of its key where nobody has said to trust that one")


LISTED = 100
"""So many of the newest checkpoints of a ledger are compared with it."""


def newest_of(
    found: Iterable[KeptCheckpoints], first: str | None, place: str, limit: int = LISTED
) -> list[KeptCheckpoints]:
    """What was found, the newest first, up to so many checkpoints of this ledger by keys that are trusted. Those of
    other ledgers that lie between take no place: a longer ledger would fill them all."""
    taken = []
    for one in found:
        taken.append(one)
        limit -= is_ours(one, first, place)
        if limit <= 0:
            break
    return taken


def is_ours(one: KeptCheckpoints, first: str | None, place: str) -> bool:
    """One store may serve several ledgers; a ledger that was replaced where it stood has another first entry."""
    if one.checkpoint is None or one.unknown_key:
        return False
    return one.checkpoint.ledger == first or one.checkpoint.place == place


class Ends(Value):
    """What a ledger says of itself."""

    first: str | None = Field(description="Hash of the first entry; None: it is empty")
    place: str
    last: int
    hashes: Mapping[int, str] = Field(description="Of the entries that checkpoints name, as far as they are there")


def differences(
    ends: Ends, found: Sequence[KeptCheckpoints], named: Sequence[Sealed], has_signed: bool
) -> tuple[str, ...]:
    """What is wrong, in sentences that say what to do; empty: the ledger agrees with all that was signed about it.

    `named`: checkpoints that the ledger itself speaks of. `has_signed`: it must have some, by what it says of itself.
    """
    problems = [
        f"{one.where}: {one.name} is no checkpoint, or was changed: {_LOOK}" for one in found if _is_broken(one)
    ]
    for unknown in sorted({one.unknown_key for one in found if one.unknown_key}):
        ours = [one for one in found if one.unknown_key == unknown]
        problems.append(
            f"{len(ours)} checkpoints, the newest of entry {max(_number(one) for one in ours)}, are signed by the key "
            f"{unknown}, which this station does not know: if you changed the signing key, say so by `lockgate verify "
            f"--trust {unknown}`; if nobody did, somebody else wrote them: {_LOOK}"
        )
    of_this = [one for one in found if is_ours(one, ends.first, ends.place)]
    problems += _gone_or_rewritten(ends, of_this)
    there = {one.name for one in found}
    lost = [one for one in named if one.name not in there and one.number <= ends.last]
    if has_signed and not of_this and not problems:
        problems.append(
            "it should have checkpoints by now, and none of this ledger is to be found: it is another ledger, or the "
            "store was emptied; see that `store` and `ledger` of the workshop are the right ones, and restore both "
            "from one backup"
        )
    elif lost and (numbers := ", ".join(str(one.number) for one in lost[-5:])):
        problems.append(
            f"the ledger speaks of checkpoints that are nowhere (of entries {numbers}): restore the store from a "
            "backup; who removes checkpoints may want to cut the ledger next"
        )
    return tuple(problems)


_LOOK = "keep it as it is, and find out who can write there"


def _gone_or_rewritten(ends: Ends, found: Sequence[KeptCheckpoints]) -> list[str]:
    newest = max(found, key=_number, default=None)
    problems = []
    if newest and _number(newest) > ends.last:
        problems.append(
            f"the ledger ends at entry {ends.last}, and {_number(newest)} entries were signed at {_at(newest)} "
            f"({newest.where}): its end was cut off, or an older copy was put back. Stop the station, keep this "
            f"database, and restore a backup that reaches entry {_number(newest)}"
        )
    there = [one for one in found if _number(one) <= ends.last]
    differ = sorted((one for one in there if not _agrees(one, ends)), key=_number)
    if differ:
        same = max((_number(one) for one in there if _agrees(one, ends)), default=0)
        problems.append(
            f"the ledger was rewritten between entry {same + 1} and entry {_number(differ[0])}: entry "
            f"{_number(differ[0])} is not the one that was signed at {_at(differ[0])} ({differ[0].where}). Stop the "
            "station, keep this database, restore a backup, and compare the two"
        )
    return problems


def _agrees(one: KeptCheckpoints, ends: Ends) -> bool:
    return one.checkpoint is not None and ends.hashes.get(one.checkpoint.number) == one.checkpoint.head


def _is_broken(one: KeptCheckpoints) -> bool:
    return one.checkpoint is None


def _number(one: KeptCheckpoints) -> int:
    return one.checkpoint.number if one.checkpoint else 0


def _at(one: KeptCheckpoints) -> str:
    return f"{one.checkpoint.at:%Y-%m-%d %H:%M} UTC" if one.checkpoint else "an unknown time"
