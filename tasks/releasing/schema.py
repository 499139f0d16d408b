"""Which release runs on which schema: what is known of it, and what a copy of the database says."""

from blocks.home import home
from blocks.ledger.ledger import Ledger
from blocks.targets.trial.trial import sweep
from blocks.workshop import Workshop
from domain.errors import DatabaseError, InputError
from domain.records import DEPLOY_STARTED, DOWNGRADED, LIVE, MIGRATED, PREPARED, RAN_ON
from domain.rehearsed import Migrated, RanOn, proven_on
from domain.task import Prepared
from tasks.releasing.build import prepared_for, trial_of


def migrations(ledger: Ledger, environment: str) -> list[Migrated]:
    """What was done to the database of an environment, up and down, the oldest first."""
    entries = sorted(
        (*ledger.entries(kind=MIGRATED.kind), *ledger.entries(kind=DOWNGRADED.kind)), key=lambda e: e.number
    )
    return [one for one in (Migrated.model_validate(e.body) for e in entries) if one.environment == environment]


def runs_on(ledger: Ledger, environment: str, *revisions: str) -> dict[str, frozenset[str]]:
    """Each of these releases → schemas that it is known to run on."""
    done = migrations(ledger, environment)
    ran = [RanOn.model_validate(entry.body) for entry in ledger.entries(kind=RAN_ON.kind)]
    return {revision: proven_on(done, ran, environment, revision) for revision in revisions}


def lived(ledger: Ledger, environment: str) -> list[str]:
    """Revisions that were seen live, the oldest first; one that came back is named again."""
    return [str(e.body["revision"]) for e in ledger.entries(kind=LIVE.kind) if e.body["environment"] == environment]


def why_not_back(shop: Workshop, run: str, environment: str, revision: str) -> str | None:
    """None if a release can run on the database as it is now: it is known to, or it is tried on a copy and is well.

    A database that does not answer is taken for what it was last: traffic must be able to go back then too.
    """
    database = shop.database(environment)
    if database is None:
        return None
    known = runs_on(shop.ledger, environment, revision)[revision]
    try:
        now = database.current_schema()
    except DatabaseError as err:
        last = migrations(shop.ledger, environment)
        if last and last[-1].after in known:
            return None
        return f"the database does not answer, and {revision[:12]} is not known to run on it: {err}"
    if now in known:
        return None
    prepared = prepared_for(shop, released_by(shop, environment, revision), revision)
    with trial_of(shop, prepared, revision) as trial:
        if reason := database.try_on_copy(trial.serves):
            return f"{revision[:12]} cannot run on the database as it is now: {reason}"
    ran = RanOn(environment=environment, revision=revision, schema_fingerprint=now)
    shop.ledger.record(run, *RAN_ON.at(environment, revision, now[:16]), ran)
    return None


def released_by(shop: Workshop, environment: str, revision: str) -> Prepared:
    """The task that released a commit, which knows its repository. Raises InputError if none did."""
    for entry in reversed(shop.ledger.entries(kind=DEPLOY_STARTED.kind)):
        if (entry.body["environment"], entry.body["revision"]) == (environment, revision):
            return Prepared.model_validate(shop.ledger.entries(run_id=entry.run_id, kind=PREPARED.kind)[-1].body)
    raise InputError(f"no task of the ledger released {revision[:12]} to {environment!r}")


def copies_swept(shop: Workshop) -> list[str]:
    """Copies and trials that crashed runs left; what was removed, as sentences."""
    copies = [name for environment in shop.databases if (one := shop.database(environment)) for name in one.sweep()]
    return [f"removed the leaked copy {name}" for name in (*copies, *sweep(home() / "trials"))]
