"""Cancels runs: on record with a name first, then at Prefect's server. At a door, the door notes it."""

from collections.abc import Mapping

from blocks.ledger.writing import held_by, record
from domain.access import Cancelled
from domain.errors import InputError
from station import api, settings


def cancel(run_id: str, why: str, by: str) -> str:
    """What became of the run, as a sentence. Raises InputError for one that cannot be cancelled."""
    run = api.run(run_id)
    if not settings.is_signed_in():
        ledgers = api.ledger_urls()
        _check_idle(run["id"], ledgers)
        if run["state_type"] not in ("COMPLETED", "FAILED", "CANCELLED"):
            url = ledgers.get(api.workshop_of(run)) or api.ledger_url()
            record(url, run["id"], "cancelled", by, Cancelled(by=by, why=why))
            _check_idle(run["id"], ledgers)  # it may have gone on meanwhile
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


def environment_of(run_id: str, ledgers: Mapping[str, str]) -> str | None:
    """The environment that a run has now, in any of the ledgers; None where it has none."""
    for url in sorted(set(ledgers.values())):
        if taken := held_by(url, run_id):
            return taken[0].rpartition("/")[2]
    return None


def _check_idle(run_id: str, ledgers: Mapping[str, str]) -> None:
    if environment := environment_of(run_id, ledgers):
        raise InputError(
            f"run {run_id} releases to {environment} right now, and is not stopped half-way: wait for it, or "
            f"`lockgate rollback {environment}`, which goes first"
        )
