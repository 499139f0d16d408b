"""What a rehearsal means for the pipeline: findings that the judge counts, and records that say which release runs on
which schema. Pure.

The rehearsal ran code that nobody had reviewed, on users' data: what that code printed, and every name that it made up
for a table, may carry that data. So a finding, which the agent gets to read, is a rule's own sentence with numbers.
People read the whole rehearsal.
"""

from collections.abc import Callable, Iterable

from pydantic import Field

from domain.migration import MIGRATION_RULES, MigrationBudget, MigrationClass, MigrationRun, Rehearsal
from domain.task import Decision, Finding, Severity
from domain.value import Value

GATE = "migration"


class Migrated(Value):
    """A database that was brought to a release's schema."""

    environment: str
    revision: str
    running: str | None = Field(None, description="Release that served then; it was tried on the new schema")
    before: str = Field(description="Fingerprint of the schema before")
    after: str = Field(description="Fingerprint after")
    migration_class: MigrationClass
    rehearsal: str = Field(description="Digest of the rehearsal")
    is_downgrade_proven: bool
    backup: str | None = Field(None, description="Where the data from before is kept; None: nowhere")
    run: MigrationRun
    by: str | None = Field(None, description="The person who took it back; None: a release brought it")
    signed_in: bool = Field(False, description="The name is that of the token it came in with; false: it is a claim")
    way: str = Field("", description="How, if it came in at the door: see `Way` in `domain/known_by.py`")

    @property
    def is_same(self) -> bool:
        return self.before == self.after


class RanOn(Value):
    """A release that was tried on a copy of the database and was well."""

    environment: str
    revision: str
    schema_fingerprint: str


def findings_of(rehearsal: Rehearsal, budget: MigrationBudget) -> tuple[Finding, ...]:
    """One a rule that has a reason. Nothing in it was chosen by the migration but numbers."""
    return tuple(
        Finding(
            gate=GATE,
            rule=rule.name,
            severity=Severity.REFUSE if rule.decision is Decision.REFUSED else Severity.PERSON,
            message=rule.what + _SAID.get(rule.name, _nothing)(rehearsal, budget),
            fix=_FIXES.get(rule.name),
        )
        for rule in MIGRATION_RULES
        if any(True for _ in rule.check(rehearsal, budget))
    )


def reasons_of(rehearsal: Rehearsal, budget: MigrationBudget) -> tuple[tuple[str, str], ...]:
    """(rule, sentence) of everything that stops it, for people."""
    return tuple((rule.name, reason) for rule in MIGRATION_RULES for reason in rule.check(rehearsal, budget))


def proven_on(migrated: Iterable[Migrated], tried: Iterable[RanOn], environment: str, revision: str) -> frozenset[str]:
    """Fingerprints of the schemas that a release is known to run on."""
    by_migration = {m.after for m in migrated if m.environment == environment and revision in (m.revision, m.running)}
    by_trial = {one.schema_fingerprint for one in tried if (one.environment, one.revision) == (environment, revision)}
    return frozenset(by_migration | by_trial)


def _nothing(_: Rehearsal, __: MigrationBudget) -> str:
    return ""


def _how_it_failed(seen: Rehearsal, _: MigrationBudget) -> str:
    where = "under load" if seen.under_load.problem is not None else "behind a long transaction"
    run = next(run for run in reversed(seen.runs) if run.problem is not None)
    return f", {where}, in try {run.tries}: what it printed is for people alone, since users' data may be in it"


def _what_it_cost(seen: Rehearsal, budget: MigrationBudget) -> str:
    impacts = [impact for run in seen.runs for impact in run.impacts]
    read_s = max((impact.blocked_read_s for impact in impacts), default=0.0)
    write_s = max((impact.blocked_write_s for impact in impacts), default=0.0)
    grown = (seen.bytes_after or seen.bytes_before) - seen.bytes_before
    return (
        f": a read was blocked for {read_s:.1f} s ({budget.longest_blocked_read_s:g} s allowed), a write for "
        f"{write_s:.1f} s ({budget.longest_blocked_write_s:g} s), it took {seen.under_load.longest_try_s:.1f} s "
        f"({budget.duration_s:g} s), the database grew by {grown:,} bytes ({budget.growth_bytes:,})"
    )


_SAID: dict[str, Callable[[Rehearsal, MigrationBudget], str]] = {
    "migration-fails": _how_it_failed,
    "migration-over-budget": _what_it_cost,
}
_FIXES = {
    "migration-fails": "run it on a database with rows of your own",
    "migration-over-budget": "take no lock while it works: add columns without a default that is computed, build "
    "indexes concurrently, fill rows in small batches",
    "migration-breaks-running": "expand first and contract in a later change: new columns nullable or with a default, "
    "nothing dropped, renamed or tightened that the running release uses",
    "migration-invalid-index": "drop it and build it again",
    "migration-forward-only": "write a downgrade that brings schema and rows back",
}
