"""What this home has seen of each ledger: that it was there, and its newest entry. An emptied database, and an older
copy that was put back, are known by that; both would say that what happened never did."""

import contextlib
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import URL
from sqlmodel import Session

from blocks.home import home
from blocks.ledger.rows import EntryRow


class Newest(NamedTuple):
    """The newest entry that this home has written or seen."""

    number: int
    hash: str


def mark_of(place: str) -> Path:
    """The file that remembers the ledger at a place. Who removes it begins anew on purpose."""
    return home() / "ledgers" / hashlib.sha256(place.encode()).hexdigest()[:32]


def place_of(url: URL) -> str:
    """Its file, or its server and database without a password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return f"postgresql://{url.host}:{url.port or 5432}/{url.database}"


def newest(place: str) -> Newest | None:
    """None if no entry of it was seen."""
    try:
        _, _, told = mark_of(place).read_text().partition("\n")
        number, hash_ = told.split()
        return Newest(int(number), hash_)
    except (OSError, ValueError):
        return None


def note(place: str, entry: Newest | None = None) -> None:
    """Remember that it is there, and its newest entry. Where that cannot be written, less is known: no more."""
    mark = mark_of(place)
    if not home().is_dir() or (entry is None and mark.exists()):
        return
    with contextlib.suppress(OSError):
        mark.parent.mkdir(mode=0o700, exist_ok=True)
        draft = mark.with_name(f".{mark.name}.{os.getpid()}")
        draft.write_text(place + (f"\n{entry.number} {entry.hash}" if entry else ""))
        draft.replace(mark)


def goes_on(session: Session, place: str) -> bool:
    """Whether the ledger holds the newest entry that was seen of it: only then may a newer one take its place."""
    return why_older(session, place) is None


def why_older(session: Session, place: str) -> str | None:
    """Why this is not the ledger that this home knows, and what to do; None if it is, or none is known."""
    known = newest(place)
    if known is None:
        return None
    row = session.get(EntryRow, known.number)
    if row is not None and row.hash == known.hash:
        return None
    what = "is not there" if row is None else "is another one"
    return (
        f"entry {known.number}, which this home has seen in the ledger, {what}: an older copy was put back, or another "
        f"database is at its address. Nothing is merged from it. Put back the ledger that belongs here; to go on with "
        f"this one on purpose, remove {mark_of(place)}"
    )
