"""A ledger as one SQLite file, for a backup, and back from it: of either database, all of one moment."""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL
from sqlmodel import Session, SQLModel, select

from blocks.ledger import seen
from blocks.ledger.database import WAIT_S, parse, shown, transaction
from blocks.ledger.rows import EntryRow, IdentityRow, LeaseRow, PasswordRow, SignedAnswerRow, TokenRow
from domain.errors import LedgerError

TABLES: tuple[type[SQLModel], ...] = (EntryRow, LeaseRow, TokenRow, PasswordRow, IdentityRow, SignedAnswerRow)
"""All that a ledger holds but the counts of tries to sign in, which are over in minutes."""


def copy(url: str, file: Path) -> None:
    """The ledger at `url` as a new SQLite file. Nobody is kept from a file; on PostgreSQL writers wait so long.

    Raises LedgerError if it cannot be read, or its chain is not whole.
    """
    parsed = parse(url)
    if parsed.get_backend_name() == "sqlite":
        copy_file(Path(parsed.database or ""), file)
    else:
        # The file first, for it takes a while to make, and PostgreSQL ends the turn of a writer that says nothing.
        with transaction(_url_of(file), write=True) as new, transaction(url, write=True) as session:
            _pour(session, new)
        _forget(file)


def put_back(file: Path, url: str) -> str:
    """What `copy` made, to where the ledger was; what was done, as a sentence.

    A ledger that is still there stays: it must go as far as the copy, else what else is in a backup is newer than it.
    Raises LedgerError then, and if it cannot be written.
    """
    parsed = parse(url)
    there = shown(parsed)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists():
        path = Path(parsed.database or "")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        copy_file(file, path)
        return f"the ledger was put back to {there}"
    if stands := _newest(url):
        kept = _newest(_url_of(file))
        _forget(file)
        with transaction(url, write=False) as session:
            same = kept is None or ((row := session.get(EntryRow, kept.number)) is not None and row.hash == kept.hash)
        if not same and kept is not None:
            raise LedgerError(
                f"the ledger at {there} ends with entry {stands.number} and does not hold entry {kept.number} of the "
                "backup: an older or another ledger would stand beside a newer Prefect. Empty that database, and the "
                "backup's ledger is put there"
            )
        return f"the ledger at {there} goes as far as the backup's: it was left as it is"
    with transaction(_url_of(file), write=False) as session, transaction(url, write=True) as new:
        _pour(session, new)
    _forget(file)
    return f"the ledger was put back to {there}"


def is_empty(url: str) -> bool:
    """Whether no ledger stands there that has an entry. Raises LedgerError if its database does not answer."""
    parsed = parse(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists():
        return True
    return _newest(url) is None


def copy_file(source: Path, target: Path) -> None:
    """A SQLite file that is in use, as a new one of mode 600, by SQLite's own backup. For files that we alone write."""
    target.touch(mode=0o600, exist_ok=False)
    try:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=rw", uri=True, timeout=WAIT_S)) as old,
            closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
            new.execute("PRAGMA journal_mode = DELETE")  # one file, with nothing beside it
    except sqlite3.Error as err:
        raise LedgerError(f"{source} could not be copied: {err}") from err


def _pour(old: Session, new: Session) -> None:
    for table in TABLES:
        rows = old.exec(select(table).execution_options(yield_per=500))
        for row in rows:
            new.add(table(**row.model_dump()))
            if len(new.new) >= 500:
                new.flush()
                new.expunge_all()
        new.flush()


def _newest(url: str) -> seen.Newest | None:
    from sqlmodel import col

    with transaction(url, write=False) as session:
        row = session.exec(select(EntryRow).order_by(col(EntryRow.id).desc()).limit(1)).first()
        return seen.Newest(row.id, row.hash) if row else None


def _url_of(file: Path) -> str:
    return URL.create("sqlite", database=str(file)).render_as_string()


def _forget(file: Path) -> None:
    """It is no ledger of this home: nothing is to be remembered of it."""
    seen.mark_of(str(file)).unlink(missing_ok=True)
