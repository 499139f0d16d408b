"""Prefect's server, `python -m station.server start …`, as it has to be on SQLite; on PostgreSQL it makes the tables.

It could freeze for exactly a minute, seen under load. By the stacks of its threads: Python collects garbage in any
thread that asks for memory, so in the event loop's too. There it waited for a connection which, in a thread of its own,
waited for SQLite's write lock. That was held by a transaction that only the event loop could end. So nothing moved
until SQLite had waited as long as it may.

So here the collector has a thread of its own, and SQLite waits for seconds. Who gets no lock is answered 503, and asks
again. Runs are made a few at once, and a busy server is asked again here: of fifty that were asked for at once three
were made, and 47 answered 503. Now all fifty are, in 1.2 s on the same busy machine with two cores.
"""

import asyncio
import gc
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from prefect.server.database.configurations import AioSqliteConfiguration
from starlette.types import Message, Receive, Send

from station import credentials, in_short

BUSY_MS = 5000
"""Prefect's own is 60,000: https://github.com/PrefectHQ/prefect/blob/main/src/prefect/server/database/configurations.py"""
STARTS = 2
BUSY_PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0)
"""Before each further try to make a run: https://github.com/PrefectHQ/prefect/blob/main/src/prefect/server/api/server.py"""
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
    """Requests that make a run of a deployment come in turn, `STARTS` at once, and go to the server again if it is
    busy: it has done nothing then. All others go on beside them."""
    from prefect.server.api.server import RequestLimitMiddleware as limit

    real, turns = limit.__call__, asyncio.Semaphore(STARTS)

    async def call(self: Any, scope: Any, receive: Receive, send: Send) -> None:
        if scope.get("method") != "POST" or not str(scope.get("path")).endswith("/create_flow_run"):
            await real(self, scope, receive, send)
            return
        asked = [await receive()]
        while asked[-1].get("more_body"):
            asked.append(await receive())
        async with turns:
            for pause_s in (*BUSY_PAUSES_S, None):
                if not await _is_busy(partial(real, self, dict(scope)), asked, receive, send, pause_s is None):
                    return
                await asyncio.sleep(pause_s or 0)

    limit.__call__ = call  # type: ignore[method-assign]


async def _is_busy(
    ask: Callable[[Receive, Send], Awaitable[None]], asked: list[Message], receive: Receive, send: Send, is_last: bool
) -> bool:
    """Whether the server answers 503, which is sent on only if it was the last try."""
    left, is_busy = iter(asked), False

    async def body() -> Message:
        return next(left, None) or await receive()

    async def answer(message: Message) -> None:
        nonlocal is_busy
        if message["type"] == "http.response.start":
            is_busy = message["status"] == 503 and not is_last
        if not is_busy:
            await send(message)

    try:
        await ask(body, answer)
    except Exception:  # it is raised again after its answer was sent
        if not is_busy:
            raise
    return is_busy


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
    """Bring a shared database to this Prefect's tables, and give a new one Prefect's own block types: of two servers
    that both write these as they start, one ends. One machine at a time, the others wait. Safe to repeat.

    They wait here and not in the database: a statement that waits for the lock is one that `CREATE INDEX CONCURRENTLY`
    of a migration waits for, and PostgreSQL sees no deadlock in that.
    """
    import psycopg
    from prefect.server.database import provide_database_interface

    with psycopg.connect(database, autocommit=True) as connection:
        while connection.execute("SELECT pg_try_advisory_lock(%s)", (MIGRATING,)).fetchone() != (True,):
            time.sleep(0.5)
        asyncio.run(provide_database_interface().create_db())
        if connection.execute("SELECT EXISTS (SELECT FROM block_type)").fetchone() == (False,):
            asyncio.run(_register_block_types())


async def _register_block_types() -> None:
    from prefect.server.database import provide_database_interface
    from prefect.server.models.block_registration import run_block_auto_registration

    async with await provide_database_interface().session() as session:
        await run_block_auto_registration(session=session)


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
