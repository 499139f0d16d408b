"""Reads and writes on every table of a copy, each from a session of its own, to feel what users would feel."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg
from psycopg import Connection, sql

from blocks.databases.postgres_catalog import identifier
from blocks.databases.postgres_watch import LockWatch
from domain.migration import TableImpact

_PAUSE_S = 0.01
"""Between two statements of a lane: the server has other work."""
_UNEXPLAINED_S = 2.0
"""A statement of so many seconds counts as blocked even if nobody saw what it waited for."""
_START_WITHIN_S = 30.0
_STOP_WITHIN_S = 10.0

Connect = Callable[[], Connection[Any]]

_WRITABLE = b"""
SELECT n.nspname || '.' || c.relname, (
    SELECT a.attname FROM pg_attribute a LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype IN ('p', 'u')
           AND a.attnum = ANY (k.conkey)
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity <> 'a'
    ORDER BY k.oid IS NOT NULL, a.attnum LIMIT 1)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
ORDER BY pg_total_relation_size(c.oid) DESC, 1
"""


class Bystander:
    """A session of ours that carries no load."""

    def waits(self, seen_at: float) -> None:
        """It may: nobody's wait is measured by it."""


class StatementLane:
    """One statement again and again. A wait counts from the statement's start where it was seen waiting for a lock."""

    def __init__(self, connection: Connection[Any], table: str, statements: tuple[sql.Composed, ...]) -> None:
        self._connection, self._statements = connection, list(statements)
        self._stopped = threading.Event()
        self.began = threading.Event()
        self.table = table
        self.longest_s = 0.0
        self.problem: str | None = None
        self._waited_at, self._started = -1.0, 0.0
        self.thread = threading.Thread(target=self._run, name=f"load on {table}", daemon=True)

    def waits(self, seen_at: float) -> None:
        self._waited_at = seen_at

    def stop(self) -> None:
        """After the statement under way, which is cancelled if it does not end by itself."""
        self._stopped.set()
        self.thread.join(_STOP_WITHIN_S)
        if self.thread.is_alive():
            self.problem = f"the load on {self.table} is still blocked after the migration has ended"
            self._connection.cancel_safe(timeout=_STOP_WITHIN_S)
            self.thread.join(_STOP_WITHIN_S)
        with contextlib.suppress(psycopg.Error):
            self._connection.close()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._started = time.monotonic()
            try:
                with self._connection.transaction(force_rollback=True):
                    self._connection.execute(self._statements[0])
            except psycopg.errors.DeadlockDetected:
                self.waits(time.monotonic())  # the server looks for one after it has waited
            except psycopg.Error as err:
                if self.began.is_set():
                    # the table or the column is another one now: the catalog says so better than a failed statement
                    if not isinstance(err, psycopg.ProgrammingError):
                        self.problem = f"the load on {self.table} failed: {str(err).strip().splitlines()[0]}"
                    return self._count()
                if len(self._statements) == 1:
                    self.problem = f"there could be no load on {self.table}: {str(err).strip().splitlines()[0]}"
                    return self.began.set()
                del self._statements[0]
                continue
            self._count()
            self.began.set()
            self._stopped.wait(_PAUSE_S)
        return None

    def _count(self) -> None:
        seconds = time.monotonic() - self._started
        if self._waited_at >= self._started or seconds > _UNEXPLAINED_S:
            self.longest_s = max(self.longest_s, seconds)


class PostgresLoad:
    """Two lanes a table on the `most_tables` largest tables; of the others the locks alone are watched."""

    def __init__(
        self, connect: Connect, most_tables: int, lock_timeout_s: float, ours: Mapping[int, Bystander]
    ) -> None:
        self._lanes: dict[int, StatementLane] = {}
        self._readers: dict[str, StatementLane] = {}
        self._writers: dict[str, StatementLane] = {}
        self._watch = LockWatch(connect(), lambda session: session.pid not in ours, lock_timeout_s, lambda: self._lanes)
        with connect() as connection:
            largest = connection.execute(_WRITABLE).fetchall()[:most_tables]
        for table, column in largest:
            self._readers[table] = self._lane(connect(), table, _reads(table))
            self._writers[table] = self._lane(connect(), table, _writes(table, column))

    def start(self) -> None:
        """Every lane has had an answer, or has given up, when this returns."""
        for lane in self._lanes.values():
            lane.thread.start()
        deadline = time.monotonic() + _START_WITHIN_S
        for lane in self._lanes.values():
            if not lane.began.wait(max(0.0, deadline - time.monotonic())):
                lane.problem = f"the load on {lane.table} did not start within {_START_WITHIN_S:g} s"

    def end_try(self) -> bool:
        return self._watch.end_try()

    @property
    def concurrent(self) -> bool:
        return self._watch.concurrent

    def drop_invalid(self) -> tuple[str, ...]:
        return self._watch.drop_invalid()

    def stop(self) -> tuple[tuple[TableImpact, ...], tuple[str, ...]]:
        self._stop_lanes()
        impacts = []
        for table in self._watch.tables:
            reader, writer = self._readers.get(table), self._writers.get(table)
            impacts.append(
                TableImpact(
                    table=table,
                    blocked_read_s=reader.longest_s if reader else self._watch.blocked_s(table, "reads"),
                    blocked_write_s=writer.longest_s if writer else self._watch.blocked_s(table, "writes"),
                    locks=tuple(sorted(self._watch.locks[table])),
                    loaded=reader is not None,
                )
            )
        problems = [lane.problem for lane in self._lanes.values() if lane.problem]
        return tuple(impacts), (*problems, *([self._watch.problem] if self._watch.problem else ()))

    def close(self) -> None:
        """Every session is gone. Safe to repeat."""
        self._stop_lanes()
        self._watch.close()

    def _stop_lanes(self) -> None:
        for lane in self._lanes.values():
            if lane.thread.ident is not None:
                lane.stop()
        self._watch.stop()

    def _lane(self, connection: Connection[Any], table: str, statements: tuple[sql.Composed, ...]) -> StatementLane:
        lane = self._lanes[connection.info.backend_pid] = StatementLane(connection, table, statements)
        return lane


@contextlib.contextmanager
def under_load(
    connect: Connect, most_tables: int, lock_timeout_s: float, ours: Mapping[int, Bystander]
) -> Iterator[PostgresLoad]:
    """Load from now until `stop`; `ours`: pids of other sessions that are not the migration's."""
    load = PostgresLoad(connect, most_tables, lock_timeout_s, ours)
    try:
        load.start()
        yield load
    finally:
        load.close()


def _reads(table: str) -> tuple[sql.Composed, ...]:
    """What row security hides cannot be read; then the table is only locked as a read locks it."""
    name = identifier(table)
    lock = sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(name)
    return sql.SQL("SELECT * FROM {} LIMIT 10").format(name), lock


def _writes(table: str, column: str | None) -> tuple[sql.Composed, ...]:
    """Of a row that is there, for a row may be locked where its table is not; taken back at once. A table that lets no
    row be updated is only locked as a write locks it."""
    name = identifier(table)
    lock = sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(name)
    if column is None:
        return (lock,)
    update = sql.SQL("UPDATE ONLY {0} SET {1} = {1} WHERE ctid = (SELECT ctid FROM ONLY {0} LIMIT 1)")
    return update.format(name, sql.Identifier(column)), lock
