"""An empty database of this Prefect version, made once at install. Its migrations take 5 s; a copy of it takes none.

With it the install makes what else each home would make anew.
"""

import asyncio
import os
import shutil
import sqlite3
import tempfile
from importlib.metadata import version
from pathlib import Path

from blocks.home import home, installed


def kept() -> Path:
    """Where it lies, one for each version."""
    return installed() / f"prefect-{version('prefect')}.db"


def make() -> None:
    """Run the server's own migrations on a new file. In a process of its own, for Prefect reads its settings once."""
    kept().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept().parent) as folder:
        made = Path(folder) / "prefect.db"
        os.environ |= {"PREFECT_HOME": folder, "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{made}"}
        asyncio.run(_migrate())
        database = sqlite3.connect(made)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # else the newest pages lie in a second file
        database.close()
        os.replace(made, kept())


def place() -> None:
    """Give it to a home that has no database. Without one at hand the server makes its own, as it does by itself."""
    wanted = home() / "prefect" / "prefect.db"
    if wanted.exists() or not kept().is_file():
        return
    wanted.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    copy = wanted.with_suffix(".new")
    shutil.copyfile(kept(), copy)
    os.replace(copy, wanted)


async def _migrate() -> None:
    from prefect.server.database import provide_database_interface

    database = provide_database_interface()
    await database.create_db()
    await (await database.engine()).dispose()


def at_install() -> None:
    """What `make install` makes once, so that no home makes it again."""
    make()  # first of all: Prefect reads its settings once, when it is imported
    from blocks.scanners.kingfisher import Kingfisher

    Kingfisher().prepare()


if __name__ == "__main__":
    at_install()
