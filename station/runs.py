"""A run and its ledger as blocks and Prefect have them, for commands that look deep; `status.py` answers at once."""

from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

from blocks.catalogue import names
from blocks.ledger.ledger import Ledger
from blocks.workshop import Workshop, workshop
from domain.errors import InputError
from domain.records import PREPARED
from station.status import DELETED


def shop_of(run: FlowRun | None) -> Workshop:
    """The run's workshop; the default one where it names none, or none that exists."""
    brief = run.parameters.get("brief") if run else None
    name = brief.get("workshop", "default") if isinstance(brief, dict) else "default"
    try:
        return workshop(name)
    except InputError:
        return workshop("default")


def ledger_of(run: FlowRun | None) -> Ledger:
    """The ledger of the run's workshop."""
    return shop_of(run).ledger


def read_run(run_id: str) -> FlowRun:
    """A run by id; one that was deleted in Prefect as far as the ledger knows it, without a state.

    Raises InputError for one that neither knows.
    """
    try:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(UUID(run_id))
    except (ObjectNotFound, ValueError) as err:
        if isinstance(err, ObjectNotFound) and (known := _from_ledgers(run_id)):
            return known
        raise InputError(f"there is no run {run_id!r}: `lockgate status` lists them") from err


def _from_ledgers(run_id: str) -> FlowRun | None:
    """The run as its first entry tells of it, from the ledger of whichever workshop has it."""
    for name in names("workshop"):
        if entries := workshop(name).ledger.entries(run_id=run_id):
            told = (entry.body.get("brief") for entry in entries if entry.kind == PREPARED.kind)
            brief = next((one for one in told if isinstance(one, dict)), {"title": run_id, "workshop": name})
            title, parameters = str(brief.get("title", run_id)), {"brief": brief}
            return FlowRun(id=UUID(run_id), flow_id=UUID(int=0), name=title, parameters=parameters, state_name=DELETED)
    return None
