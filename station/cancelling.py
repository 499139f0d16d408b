"""Cancels runs: on record with a name first, then at Prefect's server. At a door, the door notes it."""

from blocks.ledger.writing import held_by, record
from domain.access import Cancelled
from domain.errors import InputError
from station import api, settings


def cancel(run_id: str, why: str, by: str) -> str:
    """What became of the run, as a sentence. Raises InputError for one that cannot be cancelled."""
    run = api.run(run_id)
    if not settings.is_signed_in():
        url = api.ledger_url(api.workshop_of(run))
        if taken := held_by(url, run["id"]):
            environment = taken[0].rpartition("/")[2]
            raise InputError(
                f"run {run_id} releases to {environment} right now, and is not stopped half-way: wait for it, or "
                f"`lockgate rollback {environment}`, which goes first"
            )
        if run["state_type"] not in ("COMPLETED", "FAILED", "CANCELLED"):
            record(url, run["id"], "cancelled", by, Cancelled(by=by, why=why))
    state = {"type": "CANCELLING", "name": "Cancelling", "message": why or (f"cancelled by {by}" if by else "")}
    try:
        told = api.post(f"/flow_runs/{run['id']}/set_state", {"state": state, "force": False}) or {}
    except api.Refused as err:
        raise InputError(f"run {run_id} was not cancelled: {err}") from err
    now = (told.get("state") or {}).get("type")
    if now not in ("CANCELLING", "CANCELLED"):
        reason = (told.get("details") or {}).get("reason") or f"it is {run['state_name']}"
        raise InputError(f"run {run_id} was not cancelled: {reason}")
    return f"run {run_id} is {'cancelled' if now == 'CANCELLED' else 'being cancelled'}"
