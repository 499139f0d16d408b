"""Reads the ledger without importing Prefect, SQLAlchemy or alembic, for commands that answer at once.

What it reads is what `Ledger` has written; nothing is made, upgraded or verified here.
"""

import json
import sqlite3
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from domain.entry import Entry
from domain.errors import LedgerError

COLUMNS = "id, at, run_id, kind, key, type, body, hash"
WAIT_S = 10
NETWORK = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A server that is gone without a word is missed after half a minute, and not after hours:
https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-KEEPALIVES"""
AT_ONCE = 500
"""So many runs are named in a query: SQLite took 999 values at most before 3.32."""


class Reader(NamedTuple):
    """The entries of the ledger at a URL."""

    url: str

    def entries(
        self,
        run_id: str | None = None,
        kinds: Sequence[str] = (),
        after: int = 0,
        runs: Collection[str] | None = None,
        most: int | None = None,
        since: datetime | None = None,
    ) -> tuple[Entry, ...]:
        """Oldest first, whose number is above `after`, recorded at `since` (UTC) or later; of one run, of these runs,
        of some kinds, or all; so many at `most`, but of several runs.

        Raises LedgerError if the database does not answer.
        """
        if runs is not None:
            each = sorted(runs)
            parts = (
                self._entries(run_id, kinds, after, each[n : n + AT_ONCE], None, since)
                for n in range(0, len(each), AT_ONCE)
            )
            return tuple(sorted((entry for part in parts for entry in part), key=lambda entry: entry.number))
        return self._entries(run_id, kinds, after, (), most, since)

    def newest(self, run_id: str) -> int:
        """The number of the newest entry of a run; 0 if it has none. Raises LedgerError as `entries` does."""
        rows = self._read("SELECT COALESCE(MAX(id), 0) FROM entries WHERE run_id = ?", [run_id])
        return int(next(iter(rows), (0,))[0])

    def _entries(
        self,
        run_id: str | None,
        kinds: Sequence[str],
        after: int,
        runs: Sequence[str],
        most: int | None,
        since: datetime | None,
    ) -> tuple[Entry, ...]:
        wanted, values = ["id > ?"], list[str | int]([after])
        if since is not None:
            wanted.append("at >= ?")
            values.append(since.isoformat(timespec="microseconds"))  # as the ledger writes it: its order is time's
        if runs:
            wanted.append(f"run_id IN ({', '.join('?' * len(runs))})")
            values += runs
        if run_id is not None:
            wanted.append("run_id = ?")
            values.append(run_id)
        if kinds:
            wanted.append(f"kind IN ({', '.join('?' * len(kinds))})")
            values += kinds
        end = f" LIMIT {most:d}" if most is not None else ""
        rows = self._read(f"SELECT {COLUMNS} FROM entries WHERE {' AND '.join(wanted)} ORDER BY id{end}", values)  # noqa: S608
        return tuple(map(_entry, rows))

    def _read(self, query: str, values: Sequence[str | int]) -> Iterable[Sequence[Any]]:
        if self.url.startswith("sqlite:"):
            return _sqlite(Path(unquote(self.url.partition("///")[2].partition("?")[0])), query, values)
        return _postgresql(self.url, query, values)


def _sqlite(path: Path, query: str, values: Sequence[str | int]) -> Iterable[Sequence[Any]]:
    if not path.exists():
        return ()  # the first record makes it
    until = time.monotonic() + WAIT_S
    while True:
        try:
            where = f"file:{quote(str(path.absolute()))}?mode=ro"
            with closing(sqlite3.connect(where, uri=True, timeout=WAIT_S)) as found:
                return found.execute(query, values).fetchall()
        except sqlite3.Error as err:
            is_being_made = "no such table" in str(
                err
            )  # the first record makes the file, and a moment later its tables
            if not is_being_made or time.monotonic() > until:
                raise LedgerError(f"the ledger at {path} could not be read: {err}") from err
        time.sleep(0.1)


def _postgresql(url: str, query: str, values: Sequence[str | int]) -> Iterable[Sequence[Any]]:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    _, _, place = url.partition("://")
    try:
        with psycopg.connect(**{**NETWORK, **conninfo_to_dict(f"postgresql://{place}")}) as connection:  # type: ignore[arg-type]
            connection.read_only = True
            return connection.execute(query.replace("?", "%s").encode(), values).fetchall()
    except psycopg.Error as err:
        said = (str(err).strip().splitlines() or [type(err).__name__])[0]
        raise LedgerError(
            f"the ledger at {place.rpartition('@')[2].partition('?')[0]} could not be read: {said}"
        ) from err


def _entry(row: Sequence[Any]) -> Entry:
    number, at, run_id, kind, key, type_, body, hash_ = row
    try:
        return Entry(
            number=number, at=datetime.fromisoformat(at), run_id=run_id, kind=kind, key=key, type=type_,
            body=json.loads(body), hash=hash_,
        )  # fmt: skip
    except (ValueError, TypeError, RecursionError) as err:
        raise LedgerError(
            f"ledger entry {number} ({run_id}, {kind}, {key}) holds what no entry holds: somebody wrote to it. "
            "`lockgate verify` says more"
        ) from err
