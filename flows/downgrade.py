"""A person's act, where it is proven: an environment's database goes one migration back. No run does it by itself."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from blocks.workshop import Workshop, workshop
from domain.errors import InputError, LockgateError
from domain.project import Migrations
from domain.records import DOWNGRADE_CHOSEN, DOWNGRADED, MIGRATED
from domain.rehearsed import Migrated, findings_of, reasons_of
from domain.task import Severity
from flows.acting import Acting
from flows.elsewhere import leave_to_its_machine
from flows.endings import concluded
from tasks.pages import show
from tasks.people.asking import start_known_by
from tasks.releasing import checkpoint, lease
from tasks.releasing.build import prepared_for
from tasks.releasing.engine import turn
from tasks.releasing.migration import MigrationPlace
from tasks.releasing.schema import released_by
from tasks.step import step


@flow(name="downgrade", flow_run_name="downgrade {environment}", persist_result=True, result_serializer="json")
def downgrade_environment(
    environment: str,
    accept: tuple[str, ...] = (),
    reason: str = "asked for by a person",
    workshop_name: str = "default",
    by: str = "",
) -> State:
    """The last migration is taken back: rehearsed on a copy first, beside the release that serves. `accept`: rules that
    ask for a person, such as migration-lossy, whose word you give. Roll back first, where that release needs the schema
    of today. `by`: your name, for the record."""

    def act(acting: Acting) -> State:
        leave_to_its_machine(str(flow_run.id), workshop(workshop_name), environment)
        acting.begin(workshop(workshop_name).ledger)
        done = one_back(str(flow_run.id), environment, accept, reason, workshop_name, by)
        said = f"the database of {environment} is at schema {done.after[:12]} again"
        return Completed(name="Downgraded", message=said)

    return concluded(f"downgrade {environment}", workshop_name, str(flow_run.id), act)


@step("downgrade", "downgrade-{environment}")
def one_back(
    run_id: str, environment: str, accept: tuple[str, ...], reason: str, workshop_name: str, by: str = ""
) -> Migrated:
    """Idempotent per run: which migration is taken back is on record before anything is changed."""
    shop = workshop(workshop_name)
    if known := shop.ledger.find(run_id, *DOWNGRADED.at(environment), Migrated):
        return known
    with lease.free_after(shop.ledger, environment, run_id):
        with turn(shop, environment, run_id) as (target, timeline):
            last = shop.ledger.find(run_id, *DOWNGRADE_CHOSEN.at(environment), Migrated) or _last(shop, environment)
            shop.ledger.record(run_id, *DOWNGRADE_CHOSEN.at(environment), last)
            timeline.say(f"{reason}: back to schema {last.before[:12]}, before {last.revision[:12]}")
            place = _backwards(shop, run_id, last, target.pointed())
            rehearsal = place.fitting() or place.on_copies(timeline.say)
            show.rehearsal(rehearsal, reasons_of(rehearsal, place.database.budget), environment)
            findings = findings_of(rehearsal, place.database.budget)
            held = [f for f in findings if f.severity is Severity.REFUSE or f.rule not in accept]
            if held:
                told = "; ".join(f"{finding.rule}: {finding.message}" for finding in held)
                asks = " ".join(f"--accept {f.rule}" for f in held if f.severity is not Severity.REFUSE)
                raise InputError(f"the downgrade was rehearsed and is not run: {told}" + (f" ({asks})" if asks else ""))
            if rehearsal.after != last.before:
                raise InputError("the downgrade was rehearsed and leads to another schema than the one from before")
            done = place.run(rehearsal, timeline.say)
            if done.run.problem:
                raise LockgateError(f"the downgrade failed on the database itself: {done.run.problem}")
        said = {"environment": environment, "accept": accept}
        who = {"by": by or None, **start_known_by(run_id, "downgrade", by, said)._asdict()}
        done = shop.ledger.record(run_id, *DOWNGRADED.at(environment), done.model_copy(update=who))
        checkpoint.seal(shop)
        return done


def _last(shop: Workshop, environment: str) -> Migrated:
    """The migration that made the schema of today. Raises InputError if no way back from it was proven."""
    database = shop.database(environment)
    if database is None:
        raise InputError(f"{environment!r} has no database in this workshop: name it in `databases`")
    now = database.current_schema()
    ups = [Migrated.model_validate(entry.body) for entry in shop.ledger.entries(kind=MIGRATED.kind)]
    made = [one for one in ups if one.environment == environment and one.after == now and not one.is_same]
    if not made:
        raise InputError(f"no release brought the database of {environment!r} to the schema that it has now")
    if not made[-1].is_downgrade_proven:
        raise InputError(
            f"no downgrade is offered: the way back from {made[-1].revision[:12]} was not proven when it was rehearsed"
        )
    return made[-1]


def _backwards(shop: Workshop, run_id: str, last: Migrated, serving: str | None) -> MigrationPlace:
    """The same migration with its commands the other way round, in this run: what another one rehearsed is not ours."""
    prepared = released_by(shop, last.environment, last.revision).model_copy(update={"run_id": run_id})
    place = MigrationPlace.of(shop, prepared_for(shop, prepared, last.revision), last.revision, serving)
    up, down = place.migrate.up, place.migrate.down
    if down is None:
        raise InputError(f"the project of {last.revision[:12]} has no command for a downgrade")
    return place._replace(migrate=Migrations(up=down, down=up, url_variable=place.migrate.url_variable))
