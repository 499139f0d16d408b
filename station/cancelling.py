"""Cancels runs: on record with a name first, then at Prefect's server. At a door, the door notes it."""

from collections.abc import Mapping
from typing import Any

from blocks.ledger.leases import held_by
from blocks.ledger.reading import Reader
from blocks.ledger.writing import record
from domain.access import Cancelled, NotCancelled
from domain.errors import InputError, LedgerError
from domain.records import CANCELLED, NOT_CANCELLED
from station import api, settings

_NOTED = "that it is cancelled is on record, so it merges nothing any more: ask again to stop it"
REFUSED = "#"
"""Between a name and how often it was refused, in the key of what it asks after that."""


class Busy(InputError):
    """The run merges or releases right now, and nothing stops that half-way."""

    def __init__(self, run_id: str, lease: str) -> None:
        kind, _, name = lease.partition("/")
        super().__init__(
            f"run {run_id} merges right now, and is not stopped half-way: ask again in a moment"
            if kind == "merge"
            else f"run {run_id} releases to {name} right now, and is not stopped half-way: wait for it, or roll {name} "
            f"back (`lockgate rollback {name}`), which goes first"
        )


def note(run: Mapping[str, Any], who: Cancelled, ledgers: Mapping[str, str]) -> None:
    """Note who asks to cancel a run, in the ledger of its workshop. From then on it merges nothing.

    Raises Busy if it merges, or has an environment, in any of `ledgers`, before or after that is noted: a rollback
    chooses by itself whose environment it takes. What is refused after it was noted does not stand. Raises LedgerError
    where no ledger is known, or one is away.
    """
    run_id = str(run["id"])
    url = ledgers.get(api.workshop_of(dict(run))) or ledgers.get("default")
    if url is None:
        raise LedgerError("there is no workshop block 'default': `lockgate up` makes it")
    _check_idle(run_id, ledgers)
    refused = sum(
        entry.key.partition(REFUSED)[0] == who.by for entry in Reader(url).entries(run_id, (NOT_CANCELLED.kind,))
    )
    key = f"{who.by}{REFUSED}{refused}" if refused else who.by
    record(url, run_id, *CANCELLED.at(key), who)
    try:
        _check_idle(run_id, ledgers)
    except Busy as busy:
        record(url, run_id, *NOT_CANCELLED.at(key), NotCancelled(by=who.by, reason=str(busy)))
        raise


def cancel(run_id: str, why: str, by: str) -> str:
    """What became of the run, as a sentence. Raises InputError for one that cannot be cancelled."""
    run = api.run(run_id)
    if not settings.is_signed_in():
        if run["state_type"] in ("COMPLETED", "FAILED", "CANCELLED"):
            raise InputError(f"run {run_id} was not cancelled: it is {run['state_name']}")
        note(run, Cancelled(by=by, why=why), api.ledger_urls())
    state = {"type": "CANCELLING", "name": "Cancelling", "message": why or (f"cancelled by {by}" if by else "")}
    try:
        told = api.post(f"/flow_runs/{run['id']}/set_state", {"state": state, "force": False}) or {}
    except (api.Refused, api.NoAnswer) as err:
        raise InputError(f"run {run_id} was not stopped yet ({err}); {_NOTED}") from err
    now = (told.get("state") or {}).get("type")
    if now not in ("CANCELLING", "CANCELLED"):
        reason = (told.get("details") or {}).get("reason") or f"it is {run['state_name']}"
        raise InputError(f"run {run_id} was not stopped yet ({reason}); {_NOTED}")
    return f"run {run_id} is {'cancelled' if now == 'CANCELLED' else 'being cancelled'}"


def _check_idle(run_id: str, ledgers: Mapping[str, str]) -> None:
    for url in sorted(set(ledgers.values())):
        for name in held_by(url, run_id):
            raise Busy(run_id, name)
