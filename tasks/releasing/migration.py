"""A commit's migration, in one environment: on copies first, then on the database itself. It is run confined, with one
database and nothing else (blocks/targets/trial/trial.py).
"""

import contextlib
from collections.abc import Callable
from typing import NamedTuple

from blocks.workshop import Workshop
from domain.errors import InputError
from domain.migration import Rehearsal, Serves, nothing_runs
from domain.ports import Database
from domain.project import Migrations
from domain.records import MIGRATED, REHEARSAL, REHEARSED, At
from domain.rehearsed import Migrated, findings_of
from domain.task import Merged, Prepared, Rehearsed, Severity
from tasks.releasing.build import prepared_for, trial_of
from tasks.releasing.schema import lived, runs_on


class MigrationPlace(NamedTuple):
    """One commit's migration, in one environment, beside the release that serves there."""

    shop: Workshop
    prepared: Prepared
    environment: str
    database: Database
    migrate: Migrations
    revision: str
    running: str | None

    @classmethod
    def of(cls, shop: Workshop, prepared: Prepared, revision: str, running: str | None = None) -> "MigrationPlace":
        """Raises InputError if the environment has no database, or the project no migrations."""
        environment = prepared.brief.environment or ""
        database, migrate = shop.database(environment), prepared.settings.migrate
        if database is None or migrate is None:
            raise InputError(f"nothing migrates in {environment!r}: it needs a database block and `[migrate]`")
        running = running or shop.target(environment).pointed()
        return cls(shop, prepared, environment, database, migrate, revision, running)

    def fitting(self) -> Rehearsal | None:
        """The rehearsal of this run that holds for the database and the running release as they are now."""
        now = self.database.current_schema()
        for entry in reversed(self.shop.ledger.entries(run_id=self.prepared.run_id, kind=REHEARSAL.kind)):
            if entry.key.startswith(self._rehearsal_at("").key):
                rehearsal = Rehearsal.model_validate(entry.body)
                if now in (rehearsal.source, rehearsal.after):
                    return rehearsal
        return None

    def on_copies(self, say: Callable[[str], None]) -> Rehearsal:
        """A new rehearsal, on record."""
        with contextlib.ExitStack() as stack:
            trial = stack.enter_context(trial_of(self.shop, self.prepared, self.revision))
            serves: Serves = nothing_runs
            trials = [trial]
            if self.running:
                running = prepared_for(self.shop, self.prepared, self.running)
                trials.append(stack.enter_context(trial_of(self.shop, running, self.running)))
                serves = trials[-1].serves
            down = trial.migrate(self.migrate.down) if self.migrate.down else None

            def stop() -> None:
                for each in trials:
                    each.stop()

            rehearsal = self.database.rehearse(trial.migrate(self.migrate.up), down, serves, stop=stop, say=say)
        at = self._rehearsal_at(rehearsal.source[:16])
        return self.shop.ledger.record(self.prepared.run_id, *at, rehearsal)

    def apply(self, merged: Merged | None, say: Callable[[str], None]) -> str | None:
        """The database is at the commit's schema, or as it was and why. Safe to repeat, also after kill -9."""
        ledger, run, at = self.shop.ledger, self.prepared.run_id, MIGRATED.at(self.environment, self.revision)
        if ledger.find(run, *at, Migrated):
            return None
        rehearsal = self.fitting()
        if rehearsal is None:
            say("the database or the running release is not as in the last rehearsal: the migration is rehearsed now")
            rehearsal = self.on_copies(say)
        if reasons := self._held(rehearsal, merged):
            return f"the migration is not run: {'; '.join(reasons)}"
        self._tell(rehearsal, say)
        value = self.run(rehearsal, say)
        if value.run.problem:
            backup = f"; the data from before is in {value.backup}" if value.backup else ""
            return f"the migration failed on the database itself, after a good rehearsal{backup}"
        ledger.record(run, *at, value)
        return None

    def run(self, rehearsal: Rehearsal, say: Callable[[str], None]) -> Migrated:
        """Run it on the database itself, as it was rehearsed. Safe to repeat."""
        with trial_of(self.shop, self.prepared, self.revision) as trial:
            applied = self.database.apply(trial.migrate(self.migrate.up), rehearsal)
        for line in applied.run.timeline:
            say(f"migration, {line}")
        is_new = applied.after != applied.before
        done = f"the database is at schema {applied.after[:12]}, {'which is new' if is_new else 'as before'}"
        say(f"the migration failed: {applied.problem}" if applied.problem else done)
        return Migrated(
            environment=self.environment,
            revision=self.revision,
            running=self.running,
            before=applied.before,
            after=applied.after,
            migration_class=rehearsal.migration_class,
            rehearsal=rehearsal.digest,
            is_downgrade_proven=rehearsal.downgrade is not None and rehearsal.downgrade.is_proven,
            backup=applied.backup,
            run=applied.run,
        )

    def _held(self, rehearsal: Rehearsal, merged: Merged | None) -> list[str]:
        """What stops it now and did not stop it when it was approved. Base, which nobody approved here, is stopped by
        what refuses alone: it is what its owners have."""
        seen = self.shop.ledger.find(self.prepared.run_id, *REHEARSED.at(self.environment, self.revision), Rehearsed)
        approved = {finding.rule for finding in seen.findings} if seen and merged else set()
        return [
            f"{finding.rule}: {finding.message}"
            for finding in findings_of(rehearsal, self.database.budget)
            if finding.severity is Severity.REFUSE or (merged and finding.rule not in approved)
        ]

    def _tell(self, rehearsal: Rehearsal, say: Callable[[str], None]) -> None:
        """Before anything is changed: what could be gone back to afterwards."""
        say(f"the migration was rehearsed: {rehearsal.migration_class}")
        if rehearsal.changed_nothing:
            return
        if self.running:
            say(f"{self.running[:12]} was tried on the new schema and was well: it can be gone back to")
        ledger, mine = self.shop.ledger, (self.running, self.revision)
        earlier = [revision for revision in lived(ledger, self.environment) if revision not in mine]
        for revision, schemas in runs_on(ledger, self.environment, *earlier).items():
            if rehearsal.after not in schemas:
                say(f"{revision[:12]} was never seen on the new schema: no rollback goes there before it is tried")

    def _rehearsal_at(self, source: str) -> At:
        """`source`: the beginning of the schema it begins with; empty: what all keys of this migration begin with."""
        return REHEARSAL.at(self.environment, self.revision, self.running or "nothing", source)
