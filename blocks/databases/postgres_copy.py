"""One copy of a PostgreSQL database, as the rehearsal sees it."""

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import Connection, sql

from blocks.databases.addresses import with_query
from blocks.databases.postgres_catalog import invalid_indexes, read_contents, read_schema
from blocks.databases.postgres_load import Bystander, PostgresLoad, under_load
from blocks.databases.postgres_server import FREE, CopyAccount, PostgresServer
from blocks.databases.postgres_watch import LockWatch
from blocks.databases.rehearse import Content
from domain.migration import Patience
from domain.schema import Schema

_CONNECTIONS_SHARE = 0.25
"""Of the server's free connections, so many are for the load."""


class PostgresCopy:
    """One copy. All that happens on it, ours too, is done as its own role."""

    def __init__(self, server: PostgresServer, account: CopyAccount, database: str) -> None:
        self._server, self._account, self._database = server, account, database
        self._connection = self._connect()
        self._administrator = server.administrator()
        self._ours: dict[int, Bystander] = {self._connection.info.backend_pid: Bystander()}

    @property
    def url(self) -> str:
        return self._server.account_url(self._account, self._database)

    def migration_url(self, patience: Patience) -> str:
        """The watch of the load cuts off what keeps others out; what keeps nobody out is seen to wait."""
        return with_lock_timeout(self.url, patience, concurrent=True)

    def schema(self) -> Schema:
        with self._reading("the schema"):
            return read_schema(self._connection)

    def invalid_indexes(self) -> tuple[str, ...]:
        with self._reading("the indexes"):
            return invalid_indexes(self._connection)

    def contents(self, columns: Mapping[str, Sequence[str]], seed: int) -> Mapping[str, Content]:
        with self._reading("the rows"):
            return read_contents(self._connection, columns, seed)

    def size_bytes(self) -> int:
        with self._reading("the size"):
            row = self._connection.execute(b"SELECT pg_database_size(current_database())").fetchone()
            return int(row[0]) if row else 0

    def failing(self, queries: Sequence[str]) -> Mapping[str, str]:
        """Each is parsed with its $1 left open, which any version does, under the search_path that releases have."""
        found = {}
        as_releases = self._server.connect(self._database, self._account, settings="")
        with self._reading("the statements"), as_releases as connection:
            for query in queries:
                result = connection.pgconn.prepare(b"", query.encode())
                if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
                    found[query] = (result.error_message.decode(errors="replace").strip().splitlines() or ["unknown"])[
                        0
                    ]
        return found

    @contextlib.contextmanager
    def under_load(self, patience: Patience) -> Iterator[PostgresLoad]:
        with self._reading("the load"):
            row = self._connection.execute(FREE).fetchone()
            most_tables = int((row[0] if row else 0) * _CONNECTIONS_SHARE) // 2
            with under_load(self._connect, most_tables, patience.lock_timeout_s, self._ours) as load:
                yield load

    @contextlib.contextmanager
    def long_transaction(self, seconds: float) -> Iterator[None]:
        with self._reading("the long transaction"), self._connect() as connection:
            connection.autocommit = False
            pid = connection.info.backend_pid
            self._ours[pid] = Bystander()
            tables = connection.execute(
                b"SELECT quote_ident(nspname) || '.' || quote_ident(relname) FROM pg_class c JOIN pg_namespace n "
                b"ON n.oid = relnamespace WHERE relkind IN ('r', 'p') AND nspname NOT LIKE 'pg\\_%' "
                b"AND nspname <> 'information_schema'"
            ).fetchall()
            for (name,) in tables:
                connection.execute(f"LOCK TABLE {name} IN ROW EXCLUSIVE MODE".encode())
            timer = threading.Timer(seconds, connection.rollback)
            timer.start()
            try:
                yield
            finally:
                timer.cancel()
                timer.join()
                del self._ours[pid]

    def end_try(self) -> bool:
        """Whoever else is connected is of the command that has ended."""
        with self._reading("its sessions"):
            watch = LockWatch(self._connect(), lambda session: session.pid not in self._ours, 0)
            try:
                return watch.end_try()
            finally:
                watch.close()

    @property
    def concurrent(self) -> bool:
        return False

    def drop_invalid(self) -> tuple[str, ...]:
        """They stay, for who looks at what is left."""
        return ()

    def taken_bytes(self) -> int:
        with self._reading("the size"):
            row = self._administrator.execute(b"SELECT pg_database_size(%s::name)", (self._database,)).fetchone()
            return int(row[0]) if row else 0

    def shut(self) -> None:
        role = sql.Identifier(self._account.name)
        with self._server.saying("the copy could not be shut"):
            self._administrator.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT 0").format(role))
            self._administrator.execute(
                b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (self._account.name,)
            )

    def close(self) -> None:
        self._connection.close()
        self._administrator.close()

    def _connect(self) -> Connection[Any]:
        return self._server.connect(self._database, self._account)

    @contextlib.contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        with self._server.saying(f"{what} of the copy could not be read"):
            yield


def with_lock_timeout(url: str, patience: Patience, concurrent: bool = False) -> str:
    """libpq hands `options` to the server: every session that the command opens starts with the timeout.

    The server has one timeout for all waits. Where some of them keep nobody out it is a long one, and the watch cuts
    off the others.
    """
    seconds = patience.concurrent_s if concurrent else patience.lock_timeout_s
    return with_query(url, {"options": f"-c lock_timeout={int(seconds * 1000)}"})
