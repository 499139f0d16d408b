"""Whose turn it is to have the services: of several machines that may, one at a time.

It is a lock in the database that Prefect's servers share. PostgreSQL holds it for a connection, and frees it when that
is gone: with its process, with its machine, or with the network between.
"""

import os

import psycopg

from blocks.home import machine
from blocks.ledger.reading import NETWORK
from domain.errors import InputError

LOCK = 0x10C4_6A7F
"""The number of an advisory lock in the server's database, which nobody else there uses."""
_NAME = "lockgate services: "
_MISSED = "SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
"""The database misses a machine that is gone without a word after half a minute, and not after hours."""
_HOLDER = """
SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid)
WHERE locktype = 'advisory' AND granted AND objid = %s AND objsubid = 1
  AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class ServicesTurn:
    """Of this process, as long as it lives and reaches the database."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._connection: psycopg.Connection | None = None

    def take(self) -> str | None:
        """None if it is ours, taken now or before; else who has it. Safe to repeat. Raises InputError if the database
        does not answer: then nobody can say."""
        try:
            return self._take()
        except psycopg.Error as err:
            self.give_back()
            raise InputError(f"Prefect's database does not answer: {str(err).strip() or type(err).__name__}") from err

    def give_back(self) -> None:
        """Another machine may have it. Safe to repeat."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _take(self) -> str | None:
        if self._connection is not None:
            self._connection.execute("SELECT 1")  # the lock is there as long as the connection is
            return None
        name = f"{_NAME}{machine()} ({os.getpid()})"
        connection = psycopg.connect(self._database, autocommit=True, application_name=name, **NETWORK)  # type: ignore[arg-type]
        try:
            connection.execute(_MISSED)
            found = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
            if found and found[0]:
                self._connection = connection
                return None
            holders = connection.execute(_HOLDER, (LOCK,)).fetchall()
        finally:
            if self._connection is None:
                connection.close()
        return str(holders[0][0]).removeprefix(_NAME) if holders else "a machine that is about to end"
