"""A migration: how it is run, what its rehearsal measured, and the rules about that. Pure values."""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import NamedTuple

from pydantic import Field

from domain.schema import SchemaChange, SchemaChangeKind
from domain.task import Decision
from domain.value import Value


class MigrationEnd(NamedTuple):
    """How a migration command ended. `exit_code` None: it was stopped, or it never started."""

    exit_code: int | None
    output: str = ""


Migrate = Callable[[str], MigrationEnd]
"""Runs a migration command on the database at the URL, confined and for a bounded time. The URL holds a password: it
goes into the environment of the command and nowhere else."""

Serves = Callable[[str], str | None]
"""Starts the running release on the database at the URL: None if it is well there, else why not. For an
environment where no release runs: `nothing_runs`."""


def nothing_runs(url: str) -> None:
    """No release runs in this environment, so none can break."""


class Patience(Value):
    """How a migration asks for its locks: for a short time, several times, and never without that limit."""

    lock_timeout_s: float = Field(0.3, gt=0, description="Seconds that it waits for one lock, and others behind it")
    tries: int = Field(12, ge=1, description="Tries, each with the lock timeout")
    first_pause_s: float = Field(0.5, ge=0, description="Seconds before the second try; half as long again each time")
    longest_pause_s: float = Field(10, ge=0, description="Seconds that a pause grows to")
    concurrent_s: float = Field(
        600, gt=0, description="Seconds that CREATE INDEX CONCURRENTLY and the like may wait, which keeps nobody out"
    )

    def pause_s(self, tried: int) -> float:
        """Seconds to wait after the try of this number, from 1."""
        return float(min(self.longest_pause_s, self.first_pause_s * 1.5 ** (tried - 1)))


class MigrationBudget(Value):
    """What a migration may cost the users of an environment."""

    longest_blocked_read_s: float = Field(1.0, ge=0, description="Seconds that one read may wait for a lock")
    longest_blocked_write_s: float = Field(2.0, ge=0, description="Seconds that one write may wait for a lock")
    duration_s: float = Field(600, ge=0, description="Seconds that a try may take")
    growth_bytes: int = Field(5_000_000_000, ge=0, description="Bytes that the database may grow by")

    @property
    def most_bytes(self) -> int:
        """That a copy may grow by before its rehearsal is stopped: it goes up, down and up again."""
        return 3 * self.growth_bytes


class TableImpact(Value):
    """What users of one table felt. Only waiting for a lock counts, not a slow disk."""

    table: str
    blocked_read_s: float = Field(description="Longest that one read waited for a lock")
    blocked_write_s: float = Field(description="Longest that one write waited for a lock")
    locks: tuple[str, ...] = Field((), description="Modes that the migration held or asked for")
    loaded: bool = Field(True, description="False: there was no load on it; the times are those of the locks alone")


class MigrationRun(Value):
    """One migration, tried until it was through or its tries were used up."""

    tries: int
    seconds: float = Field(description="All tries and pauses")
    longest_try_s: float
    problem: str | None = Field(None, description="Why it is not through; None: it is")
    locked_out: bool = Field(False, description="The problem is that it did not get its locks in time")
    concurrent: bool = Field(False, description="It was seen at work on an index CONCURRENTLY")
    impacts: tuple[TableImpact, ...] = ()
    unmeasured: tuple[str, ...] = Field((), description="What should have been measured and was not, with the reason")
    timeline: tuple[str, ...] = ()


class CopyMade(Value):
    """How the copy was made."""

    method: str
    seconds: float
    size_bytes: int
    notes: tuple[str, ...] = ()


class Downgrade(Value):
    """One step back on the copy, and up again."""

    problem: str | None = Field(None, description="Why the command failed; None: it ended well")
    differences: tuple[str, ...] = Field((), description="What is not as it was before the migration")
    again: str | None = Field(None, description="Why the migration is not the same the second time; None: it is")

    @property
    def is_proven(self) -> bool:
        return self.problem is None and not self.differences and self.again is None


class MigrationClass(StrEnum):
    """`forward-only`: there is no proven way back, whatever else it is."""

    EXPAND = "expand"
    CONTRACT = "contract"
    FORWARD_ONLY = "forward-only"


class Rehearsal(Value):
    """Everything that was seen of a migration on a copy."""

    engine: str
    copy_made: CopyMade
    source: str = Field(description="Fingerprint of the database's own schema when it was copied")
    before: str = Field(description="Fingerprint of the copy's schema before the migration")
    after: str | None = Field(None, description="Fingerprint after it; None: it did not get there")
    changes: tuple[SchemaChange, ...] = ()
    under_load: MigrationRun
    behind_transaction: MigrationRun | None = Field(None, description="On a second copy, behind a long transaction")
    bytes_before: int
    bytes_after: int | None = None
    lost: tuple[str, ...] = Field((), description="Data that was there and is not, or is another, and nothing restores")
    invalid_indexes: tuple[str, ...] = ()
    same_rows: bool = Field(False, description="Every row is as before, also of the tables that migration tools keep")
    downgrade: Downgrade | None = Field(None, description="None: there is no command for it")
    queries: int = Field(0, description="Statements of the running release that were tried on the new schema")
    broken: tuple[str, ...] = Field((), description="Why the running release cannot work on the new schema")
    timeline: tuple[str, ...] = ()

    @property
    def changed_nothing(self) -> bool:
        """Then the rehearsal ended after the first run: there is nothing to take back, and nothing that could break."""
        return self.before == self.after and self.same_rows and self.under_load.problem is None

    @property
    def migration_class(self) -> MigrationClass:
        is_same = self.before == self.after and not self.lost
        if not is_same and (self.downgrade is None or not self.downgrade.is_proven):
            return MigrationClass.FORWARD_ONLY
        is_contract = any(change.kind is SchemaChangeKind.CONTRACT for change in self.changes)
        return MigrationClass.CONTRACT if is_contract else MigrationClass.EXPAND

    @property
    def is_lossy(self) -> bool:
        return bool(self.lost)

    @property
    def runs(self) -> tuple[MigrationRun, ...]:
        return (self.under_load, *((self.behind_transaction,) if self.behind_transaction else ()))


class Applied(Value):
    """A migration of the database itself, for the record of the release."""

    run: MigrationRun
    before: str = Field(description="Fingerprint of the schema before")
    after: str = Field(description="Fingerprint after, whether or not it is through")
    backup: str | None = Field(None, description="Where the data from before is kept; None: nowhere")

    @property
    def problem(self) -> str | None:
        return self.run.problem


class MigrationRule(NamedTuple):
    """One thing that stops a migration. `check` gives a sentence for each place; none means go."""

    name: str
    decision: Decision
    what: str
    check: Callable[[Rehearsal, MigrationBudget], Iterable[str]]


# ── rules ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _fails(seen: Rehearsal, _: MigrationBudget) -> Iterable[str]:
    if seen.under_load.problem is not None:
        yield f"the migration failed on a copy of the data: {seen.under_load.problem}"
    behind = seen.behind_transaction
    if behind is not None and behind.problem is not None and not behind.locked_out:
        yield f"the migration failed behind a long transaction, on a copy of the data: {behind.problem}"


def _unmeasured(seen: Rehearsal, _: MigrationBudget) -> Iterable[str]:
    yield from dict.fromkeys(reason for run in seen.runs for reason in run.unmeasured)
    if seen.under_load.problem is not None or seen.changed_nothing:
        return
    if seen.behind_transaction is None or None in (seen.after, seen.bytes_after):
        yield "the rehearsal did not come to its end"


def _over_budget(seen: Rehearsal, budget: MigrationBudget) -> Iterable[str]:
    for run, where in zip(seen.runs, ("under load", "behind a long transaction"), strict=False):
        for impact in run.impacts:
            for what, blocked_s, most_s in (
                ("reads", impact.blocked_read_s, budget.longest_blocked_read_s),
                ("writes", impact.blocked_write_s, budget.longest_blocked_write_s),
            ):
                if blocked_s > most_s:
                    yield (
                        f"{where}, {what} of {impact.table} were blocked for {blocked_s:.1f} s, and {most_s:g} s is "
                        f"the most: split it, or do it without the lock ({', '.join(impact.locks) or 'lock unknown'})"
                    )
    if seen.under_load.longest_try_s > budget.duration_s:
        yield f"it took {seen.under_load.longest_try_s:.1f} s, and {budget.duration_s:g} s is the most"
    if seen.bytes_after is not None and seen.bytes_after - seen.bytes_before > budget.growth_bytes:
        grown = seen.bytes_after - seen.bytes_before
        yield f"the database grew by {grown:,} bytes, and {budget.growth_bytes:,} is the most"


def _breaks(seen: Rehearsal, _: MigrationBudget) -> Iterable[str]:
    for change in seen.changes:
        if change.breaks:
            yield f"{change.sentence}; give it a default, or make it nullable first"
    for reason in seen.broken:
        yield f"the running release cannot work on the new schema: {reason}; expand first, contract in a later release"


def _invalid(seen: Rehearsal, _: MigrationBudget) -> Iterable[str]:
    for name in seen.invalid_indexes:
        yield f"it leaves the index {name} invalid: drop it and build it again"


def _lossy(seen: Rehearsal, _: MigrationBudget) -> Iterable[str]:
    yield from seen.lost


def _forward_only(seen: Rehearsal, _: MigrationBudget) -> Iterable[str]:
    if seen.under_load.problem is not None or seen.migration_class is not MigrationClass.FORWARD_ONLY:
        return
    back = seen.downgrade
    if back is None:
        yield "there is no way back: the project has no command for a downgrade"
    elif back.problem is not None:
        yield f"there is no way back: the downgrade failed on the copy: {back.problem}"
    else:
        for difference in back.differences:
            yield f"there is no way back: after the downgrade {difference}"
        if back.again is not None:
            yield f"there is no proven way back: up, down and up again, {back.again}"


def _unproven(seen: Rehearsal, _: MigrationBudget) -> Iterable[str]:
    if seen.queries == 0:
        for change in seen.changes:
            if change.kind is SchemaChangeKind.CONTRACT and not change.breaks:
                yield f"{change.sentence}, and no statements of the running release were there to try"


def _never_got_it(seen: Rehearsal, _: MigrationBudget) -> Iterable[str]:
    behind = seen.behind_transaction
    if behind is not None and behind.locked_out:
        yield f"behind a long transaction it did not get its locks in {behind.tries} tries: {behind.problem}"


MIGRATION_RULES = (
    MigrationRule("migration-fails", Decision.REFUSED, "The command fails on a copy of the data", _fails),
    MigrationRule("migration-unmeasured", Decision.REFUSED, "What it costs could not be measured", _unmeasured),
    MigrationRule("migration-over-budget", Decision.REFUSED, "It blocks users, takes or grows too much", _over_budget),
    MigrationRule("migration-breaks-running", Decision.REFUSED, "The running release cannot work after it", _breaks),
    MigrationRule("migration-invalid-index", Decision.REFUSED, "It leaves an index that is not valid", _invalid),
    MigrationRule("migration-lossy", Decision.NEEDS_PERSON, "Data is gone or rewritten for good", _lossy),
    MigrationRule("migration-forward-only", Decision.NEEDS_PERSON, "No proven way back", _forward_only),
    MigrationRule(
        "migration-unproven", Decision.NEEDS_PERSON, "A contraction, and nobody knows who uses it", _unproven
    ),
    MigrationRule("migration-lock-queue", Decision.NEEDS_PERSON, "It waits for a long transaction", _never_got_it),
)
