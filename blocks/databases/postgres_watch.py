"""Sees who holds and who waits for locks in a PostgreSQL database, while a migration runs in it.

It is also what makes the lock timeout hold: a migration may set its own to 0, or use a driver that drops ours. A
session of the migration that waits too long for a strong lock keeps everybody else out meanwhile, and is cancelled.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import psycopg
from psycopg import Connection

from blocks.databases.postgres_catalog import being_built, drop_invalid_index, indexes, invalid_indexes

_END_POLL_S = 0.02
_GRACE_S = 0.25
"""Over the lock timeout, where the server's own is to act first."""
_END_WITHIN_S = 10.0

BLOCKS_READS = frozenset({"AccessExclusiveLock"})
BLOCKS_WRITES = frozenset({"ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"})
"""Modes that keep SELECT, or INSERT, UPDATE and DELETE, out of a table.
https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-TABLES"""
_OF_ROWS = frozenset({"transactionid", "tuple"})
"""Who waits for these has changed rows, and keeps others out of them. Who waits for anything else, such as for the
transactions that began before an index is built concurrently, keeps nobody out, unless by a strong lock that it has."""

_SAMPLE = b"""
SELECT l.pid, coalesce(l.relation, 0)::bigint, l.locktype, l.mode, l.granted, coalesce(a.application_name, ''),
       a.backend_start >= %s, a.query ~* '\\mconcurrently\\M' AND a.state = 'active'
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE a.datname = current_database() AND a.backend_type = 'client backend' AND l.pid <> pg_backend_pid()
  AND (l.locktype = 'relation' OR NOT l.granted)
"""
_TABLES = b"""
SELECT c.oid::bigint, n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
UNION ALL
SELECT x.indexrelid::bigint, n.nspname || '.' || c.relname
FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""


class WaitListener(Protocol):
    """One of ours that a wait is told to."""

    def waits(self, seen_at: float) -> None: ...


class LockHolder(NamedTuple):
    """Whose a lock is."""

    pid: int
    application: str
    is_newer: bool
    """It began after the watch did."""
    wants_strong: bool


class LockWatch:
    """Looks at the locks until `stop`. Its connection is its own. `is_migrations` tells whose session one is."""

    def __init__(
        self,
        connection: Connection[Any],
        is_migrations: Callable[[LockHolder], bool],
        lock_timeout_s: float,
        lanes: Callable[[], Mapping[int, WaitListener]] = dict,
        poll_s: float = 0.02,
        *,
        is_first: bool = True,
    ) -> None:
        """`is_first`: the server has no such timeout for these sessions, so nobody else is to act first."""
        self._poll_s = poll_s
        self._connection, self._is_migrations, self._lanes = connection, is_migrations, lanes
        self._limit_s = lock_timeout_s + (0.0 if is_first else _GRACE_S)
        self._tables: dict[int, str] = {int(oid): str(name) for oid, name in connection.execute(_TABLES).fetchall()}
        now = connection.execute(b"SELECT clock_timestamp()").fetchone()
        self._since = now[0] if now else None
        self._known: set[int] = set()
        self._waiting: dict[tuple[int, int], float] = {}
        self._open: dict[tuple[str, str], float] = {}
        self._longest: dict[tuple[str, str], float] = defaultdict(float)
        self.locks: dict[str, set[str]] = defaultdict(set)
        self.problem: str | None = None
        self.concurrent = False
        self._indexes = frozenset(indexes(connection))
        self._invalid = frozenset(invalid_indexes(connection))
        self._was_cut = False
        self._ended = threading.Event()
        self._mutex = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="lock watch", daemon=True)
        self._thread.start()

    @property
    def tables(self) -> tuple[str, ...]:
        """Those that were there at the start, sorted."""
        return tuple(sorted(set(self._tables.values())))

    def blocked_s(self, table: str, what: str) -> float:
        """How long at a stretch the migration's locks, held or asked for, kept `reads` or `writes` out of a table."""
        return self._longest[table, what]

    def end_try(self) -> bool:
        """End the sessions that the migration left behind; whether one was cancelled for waiting too long.

        A server process does not notice a dead client while it waits for a lock: it would go on keeping others out.
        """
        with self._mutex:
            deadline = time.monotonic() + _END_WITHIN_S
            try:
                new = indexes(self._connection)
                self.concurrent |= any(several for name, several in new.items() if name not in self._indexes)
                while left := self._sessions():
                    for pid in left:
                        self._connection.execute(b"SELECT pg_terminate_backend(%s)", (pid,))
                    if time.monotonic() > deadline:
                        self.problem = f"{len(left)} sessions of the migration could not be ended"
                        break
                    time.sleep(_END_POLL_S)
            except psycopg.Error as err:
                self.problem = self.problem or f"sessions of the migration could not be ended: {_line(err)}"
            was_cut, self._was_cut = self._was_cut, False
            self._waiting.clear()
            return was_cut

    def drop_invalid(self) -> tuple[str, ...]:
        """Drop invalid indexes that were not there at the start, and that nobody builds now; what became of each."""
        said = []
        with self._mutex:
            try:
                others = self._invalid | being_built(self._connection)
                for name in (each for each in invalid_indexes(self._connection) if each not in others):
                    if name in self._indexes:  # the next try goes on with that
                        said.append(f"the index {name} is not valid any more: it began to drop it, or to build it anew")
                        continue
                    try:
                        drop_invalid_index(self._connection, name)
                        said.append(f"dropped the invalid index {name}, which it left")
                    except psycopg.Error as err:
                        said.append(f"the invalid index {name} stays: DROP INDEX CONCURRENTLY it ({_line(err)})")
            except psycopg.Error as err:
                said.append(f"nobody could look for invalid indexes: {_line(err)}")
        return tuple(said)

    def stop(self) -> None:
        """No more looks; what was seen stays."""
        self._ended.set()
        self._thread.join()
        self._close(time.monotonic(), set())

    def close(self) -> None:
        """Stopped, and its session is gone. Safe to repeat."""
        self.stop()
        self._connection.close()

    def _run(self) -> None:
        while not self._ended.wait(self._poll_s):
            with self._mutex:
                try:
                    self._look()
                except psycopg.Error as err:
                    self.problem = self.problem or f"the locks could not be watched: {_line(err)}"
                    return

    def _look(self) -> None:
        asked_at = time.monotonic()
        lanes, seen, waiting = self._lanes(), set(), set()
        holds_strong, waits = set(), set()
        for pid, oid, kind, mode, granted, application, is_newer, concurrently in self._connection.execute(
            _SAMPLE, (self._since,)
        ).fetchall():
            if pid in lanes:
                if not granted:
                    lanes[pid].waits(asked_at)
                continue
            strong = kind == "relation" and mode in BLOCKS_WRITES and not granted
            if pid not in self._known and not self._is_migrations(LockHolder(pid, application, bool(is_newer), strong)):
                continue
            self._known.add(pid)
            self.concurrent = self.concurrent or bool(concurrently)
            if strong or (not granted and kind in _OF_ROWS):
                waiting.add((pid, oid))
            elif not granted:
                waits.add((pid, oid))
            elif mode in BLOCKS_WRITES:
                holds_strong.add(pid)
            if (table := self._tables.get(oid)) is not None:
                self.locks[table].add(mode)
                seen |= {(table, "reads")} if mode in BLOCKS_READS else set()
                seen |= {(table, "writes")} if mode in BLOCKS_WRITES else set()
        waiting |= {(pid, oid) for pid, oid in waits if pid in holds_strong}
        for key in seen:
            self._open.setdefault(key, asked_at)
        self._close(asked_at, seen)
        self._waiting = {key: self._waiting.get(key, asked_at) for key in waiting}
        for (pid, _), since in self._waiting.items():
            if asked_at - since > self._limit_s:
                self._connection.execute(b"SELECT pg_cancel_backend(%s)", (pid,))
                self._was_cut = True

    def _close(self, now: float, still: set[tuple[str, str]]) -> None:
        for key, since in list(self._open.items()):
            self._longest[key] = max(self._longest[key], now - since)
            if key not in still:
                del self._open[key]

    def _sessions(self) -> list[int]:
        rows = self._connection.execute(
            b"SELECT pid, coalesce(application_name, ''), backend_start >= %s FROM pg_stat_activity "
            b"WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
            (self._since,),
        ).fetchall()
        ours = self._lanes()
        return [
            pid
            for pid, application, is_newer in rows
            if pid not in ours
            and (pid in self._known or self._is_migrations(LockHolder(pid, application, bool(is_newer), False)))
        ]


def _line(err: Exception) -> str:
    return (str(err).strip().splitlines() or [type(err).__name__])[0]
