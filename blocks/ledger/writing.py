"""Writes the ledger without importing Prefect: for the front door, and for the block itself."""

from typing import TypeVar

from pydantic import ValidationError
from sqlmodel import Session, col, select

from blocks.ledger import seen
from blocks.ledger.database import parse, transaction
from blocks.ledger.leases import check, now_of
from blocks.ledger.rows import GENESIS, EntryRow, utc_text
from domain.errors import LedgerError
from domain.value import Value, canonical

V = TypeVar("V", bound=Value)


def record(url: str, run_id: str, kind: str, key: str, value: V, token: int | None = None) -> V:
    """Write `value` under (run_id, kind, key) unless something stands there; returns what stands there.

    `token`: of the process of the run for which this is; None: of this one, if it has begun the run.
    Safe to repeat: the first write wins. Raises LedgerError if a value of another type stands there, and where the
    database does not answer; Superseded, and writes nothing, where another process has begun the run since.
    """
    place, new = seen.place_of(parse(url)), None
    with transaction(url, write=True) as session:
        check(url, session, run_id, token)
        row = row_of(session, run_id, kind, key)
        if row is None:
            goes_on = seen.goes_on(session, place)
            row = _append(session, run_id, kind, key, value)
            new = seen.Newest(row.id, row.hash) if goes_on else None
        found = value_of(row, type(value))
    if new is not None:
        seen.note(place, new)  # once it is there for good
    return found


def row_of(session: Session, run_id: str, kind: str, key: str) -> EntryRow | None:
    """The entry under (run_id, kind, key), or None."""
    wanted = select(EntryRow).where(EntryRow.run_id == run_id, EntryRow.kind == kind, EntryRow.key == key)
    return session.exec(wanted).first()


def _append(session: Session, run_id: str, kind: str, key: str, value: Value) -> EntryRow:
    """Add an entry to the end of the chain; the caller is the only writer."""
    tip = session.exec(select(EntryRow).order_by(col(EntryRow.id).desc()).limit(1)).first()
    row = EntryRow(
        id=tip.id + 1 if tip else 1,
        at=utc_text(now_of(session)),
        run_id=run_id,
        kind=kind,
        key=key,
        type=type(value).__name__,
        body=canonical(value.model_dump(mode="json")),
        previous=tip.hash if tip else GENESIS,
        hash="",
    )
    try:
        row.hash = row.computed_hash()
    except UnicodeEncodeError as err:
        raise LedgerError(f"the {row.type} for ({run_id!r}, {kind!r}, {key!r}) holds text that is not Unicode") from err
    session.add(row)
    session.flush()
    return row


def value_of(row: EntryRow, type_: type[V]) -> V:
    """What an entry holds. Raises LedgerError if that is of another type."""
    where = f"ledger entry {row.id} ({row.run_id}, {row.kind}, {row.key})"
    if row.type != type_.__name__:
        raise LedgerError(f"{where} is a {row.type}, not a {type_.__name__}: use another kind or key")
    try:
        return type_.model_validate_json(row.body)
    except (ValidationError, TypeError) as err:
        raise LedgerError(
            f"{where} is not a {row.type} as this Lockgate knows it: read it with the one that wrote it"
        ) from err
