"""Prefect's server, `python -m station.server start …`, as it has to be on SQLite; on PostgreSQL it makes the tables.

It could freeze for exactly a minute, seen under load. By the stacks of its threads: Python collects garbage in any
thread that asks for memory, so in the event loop's too. There it waited for a connection which, in a thread of its own,
waited for SQLite's write lock. That was held by a transaction that only the event loop could end. So nothing moved
until SQLite had waited as long as it may.

So here the collector has a thread of its own, and SQLite waits for seconds. Who gets no lock is answered 503, and asks
again. Runs are made a few at once: of fifty that were asked for at once none was made within 40 s, for each held one of
15 connections while it waited for the one that writes.
"""

import asyncio
import gc
import sys
import threading
import time
from contextlib import nullcontext
from typing import Any

from prefect.server.database.configurations import AioSqliteConfiguration

from station import credentials, in_short

BUSY_MS = 5000
"""Prefect's own is 60,000: https://github.com/PrefectHQ/prefect/blob/main/src/prefect/server/database/configurations.py"""
STARTS = 2
YOUNG_S, ALL_S = 0.5, 30.0
"""Between two collections of what is young, and of everything."""


def wait_less() -> None:
    """Each new connection to SQLite waits for `BUSY_MS` at most."""
    real = AioSqliteConfiguration.setup_sqlite

    def setup_sqlite(self: AioSqliteConfiguration, conn: object, record: object) -> None:
        real(self, conn, record)  # type: ignore[arg-type]
        cursor = conn.cursor()  # type: ignore[attr-defined]
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        cursor.close()

    AioSqliteConfiguration.setup_sqlite = setup_sqlite  # type: ignore[method-assign]


def start_few_at_once() -> None:
    """Requests that make a run of a deployment come in turn, `STARTS` at once. All others go on beside them."""
    from prefect.server.api.server import RequestLimitMiddleware as limit

    real, turns = limit.__call__, asyncio.Semaphore(STARTS)

    async def call(self: object, scope: dict[str, Any], receive: object, send: object) -> None:
        is_start = scope.get("method") == "POST" and str(scope.get("path")).endswith("/create_flow_run")
        async with turns if is_start else nullcontext():
            await real(self, scope, receive, send)  # type: ignore[arg-type]

    limit.__call__ = call  # type: ignore[method-assign]


def collect_aside() -> None:
    """No thread but this one collects garbage from now on."""
    gc.disable()

    def collect() -> None:
        last, is_first = time.monotonic(), True
        while True:
            time.sleep(YOUNG_S)
            is_due = time.monotonic() - last > ALL_S
            gc.collect(2 if is_due else 1)
            if is_due:
                last = time.monotonic()
                if is_first:  # the server imports itself when it starts: that is no garbage either
                    gc.freeze()
                is_first = False

    threading.Thread(target=collect, name="garbage", daemon=True).start()


MIGRATING = 0x10C4_6A7E
"""The number of an advisory lock in the server's database, which nobody else there uses."""


def migrate(database: str) -> None:
    """Bring a shared database to this Prefect's tables; one machine at a time, the others wait. Safe to repeat."""
    import psycopg
    from prefect.server.database import provide_database_interface

    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (MIGRATING,))
        asyncio.run(provide_database_interface().create_db())


if __name__ == "__main__":
    if shared := credentials.shared():
        migrate(shared.database)
    else:
        wait_less()
        start_few_at_once()
    from prefect.cli import app

    in_short.add()
    gc.freeze()  # what was imported is no garbage
    collect_aside()
    sys.argv = ["prefect", "server", *sys.argv[1:]]
    app()
