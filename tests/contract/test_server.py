"""Prefect's server as it has to be on SQLite: it waits for seconds, and a thread of its own collects garbage."""

import subprocess
import sys
from pathlib import Path

TOLD = """
import asyncio, gc, threading
from station import server
server.wait_less()
server.collect_aside()
from prefect.server.database import provide_database_interface
from sqlalchemy import text

async def main():
    engine = await provide_database_interface().engine()
    async with engine.connect() as connection:
        print((await connection.execute(text("PRAGMA busy_timeout"))).scalar())
        print((await connection.execute(text("PRAGMA journal_mode"))).scalar())
    await engine.dispose()

class Odd:
    def __del__(self):
        print(threading.current_thread().name)

odd = Odd()
odd.me = odd
del odd
[[] for _ in range(100_000)]
print(gc.isenabled())
asyncio.run(main())
threading.Event().wait(2)
"""


def test_sqlite_waits_for_seconds_and_no_other_thread_collects_garbage(tmp_path: Path) -> None:
    env = {"PREFECT_HOME": str(tmp_path), "LOCKGATE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", TOLD], env=env, cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert sorted(done.stdout.split()) == sorted(["False", "5000", "wal", "garbage"]), done.stdout + done.stderr
