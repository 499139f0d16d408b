"""rehearse: a change's migration runs on copies of its environment's database before anybody is asked about it."""

from blocks.workshop import Workshop, workshop_of
from domain.errors import LedgerError
from domain.migration import MigrationBudget, Rehearsal
from domain.records import REHEARSAL, REHEARSED
from domain.rehearsed import findings_of, reasons_of
from domain.task import Attempt, Evidence, Prepared, Rehearsed
from tasks.pages import show
from tasks.releasing.migration import MigrationPlace
from tasks.step import step


def with_rehearsal(prepared: Prepared, evidence: Evidence) -> Evidence:
    """The evidence, with a rehearsal where the environment has a database and the project migrations."""
    environment = prepared.brief.environment
    if environment is None or not prepared.settings.migrate:
        return evidence
    if workshop_of(prepared.brief).database(environment) is None:
        return evidence
    return evidence.model_copy(update={"rehearsed": rehearse(prepared, evidence.attempt)})


@step("rehearse", "rehearse-{attempt.number}")
def rehearse(prepared: Prepared, attempt: Attempt) -> Rehearsed:
    """Run the change's migration on copies of the environment's database, and say what it costs and whether there is a
    way back. Raises DatabaseError if that cannot be found out."""
    shop, commit = workshop_of(prepared.brief), attempt.commit or ""
    place = MigrationPlace.of(shop, prepared, commit)
    if known := shop.ledger.find(prepared.run_id, *REHEARSED.at(place.environment, commit), Rehearsed):
        return known
    rehearsal = place.fitting() or place.on_copies(show.progress())
    findings = findings_of(rehearsal, place.database.budget)
    show.rehearsal(rehearsal, reasons_of(rehearsal, place.database.budget), place.environment)
    value = Rehearsed(
        commit=commit,
        environment=place.environment,
        migration_class=rehearsal.migration_class,
        findings=findings,
        report=rehearsal.digest,
    )
    return shop.ledger.record(prepared.run_id, *REHEARSED.at(place.environment, commit), value)


def report_of(shop: Workshop, prepared: Prepared, seen: Rehearsed) -> str:
    """The whole rehearsal as a person reads it."""
    for entry in shop.ledger.entries(run_id=prepared.run_id, kind=REHEARSAL.kind):
        rehearsal = Rehearsal.model_validate(entry.body)
        if rehearsal.digest == seen.report:
            database = shop.database(seen.environment)
            reasons = reasons_of(rehearsal, database.budget if database else MigrationBudget())
            return show.rehearsal_text(rehearsal, reasons, seen.environment)
    raise LedgerError(f"the ledger has no rehearsal {seen.report[:12]} of this run, which its evidence names")
