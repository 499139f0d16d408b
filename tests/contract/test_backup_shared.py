"""A station whose Prefect is on PostgreSQL is lost with its databases, and put back: all of them of one moment."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from blocks import kept
from blocks.ledger import database
from blocks.ledger.ledger import Ledger
from blocks.stores.local import LocalStore
from blocks.workshop import Workshop
from domain.errors import InputError
from station import credentials
from station.backup import backup, restore
from tests.contract.test_acting import PROJECT, Note
from tests.postgres import new_database

PARKS = """
import asyncio, sys
from prefect.server import models, schemas
from prefect.server.database import provide_database_interface
from station import server

server.migrate(sys.argv[1])

async def main():
    db = provide_database_interface()
    async with db.session_context(begin_transaction=True) as session:
        flow = await models.flows.create_flow(session=session, flow=schemas.core.Flow(name="agent-task"))
        run = schemas.core.FlowRun(flow_id=flow.id, name="waits", state=schemas.states.Paused())
        await models.flow_runs.create_flow_run(session=session, flow_run=run)
    await (await db.engine()).dispose()

asyncio.run(main())
"""


def emptied(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    database._engine.cache_clear()


def runs(url: str) -> list[tuple[str, str]]:
    with psycopg.connect(url) as connection:
        return list(connection.execute("SELECT name, state_type::text FROM flow_run ORDER BY name").fetchall())


@pytest.fixture(scope="module")
def parked(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a database of Prefect's with a run that waits; databases are made like it."""
    made, folder = new_database(postgres_url), tmp_path_factory.mktemp("prefect")
    place = f"postgresql+asyncpg{made.removeprefix('postgresql')}"
    env = {**os.environ, "PREFECT_SERVER_DATABASE_CONNECTION_URL": place, "PREFECT_HOME": str(folder)}
    env["LOCKGATE_HOME"] = str(folder)
    subprocess.run([sys.executable, "-c", PARKS, made], cwd=PROJECT, env=env, check=True)
    return made.rpartition("/")[2]


@pytest.mark.parametrize("is_one", [True, False], ids=["one database", "two databases"])
def test_all_is_put_back_or_nothing(
    is_one: bool, postgres_url: str, parked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("LOCKGATE_HOME", str(home))
    home.mkdir()
    prefects = new_database(postgres_url, like=parked)
    url = prefects if is_one else new_database(postgres_url)
    credentials.encryption_key()
    credentials.share(credentials.Shared(prefects, "redis://127.0.0.1:1"))
    ledger = Ledger(url=SecretStr(url))
    ledger.record("run", "note", "kept", Note(text="kept"))
    shop = Workshop(ledger=ledger, store=LocalStore(root=home / "store"))
    kept.keep({"lockgate-workshop/default": shop.model_dump(mode="json", context={"include_secrets": True})})
    (tmp_path / "backups").mkdir()
    file = tmp_path / "backups" / "station.tar.gz"
    told = "\n".join(backup(file))
    assert "NOT in it" not in told and file.stat().st_mode & 0o777 == 0o600

    with psycopg.connect(prefects, autocommit=True) as connection:
        connection.execute("UPDATE flow_run SET name = 'newer'")
    ledger.record("run", "note", "newer", Note(text="newer"))
    shutil.rmtree(home)
    told = "\n".join(restore(file))
    assert "it was left as it is" in told and runs(prefects) == [("newer", "PAUSED")], "they go as far as the backup"
    if not is_one:
        emptied(url)
        shutil.rmtree(home)
        with pytest.raises(InputError, match="runs would have done what no ledger knows"):
            restore(file)
        assert not home.exists() and runs(prefects) == [("newer", "PAUSED")]

    emptied(prefects)
    if not is_one:
        emptied(url)
    shutil.rmtree(home, ignore_errors=True)
    told = "\n".join(restore(file))
    assert told.count("was put back to") == 2 and prefects.partition("@")[0].rpartition(":")[2] not in told
    assert runs(prefects) == [("waits", "PAUSED")]
    assert [entry.key for entry in ledger.entries("run")] == ["kept"] and ledger.verify() is None

    with psycopg.connect(prefects, autocommit=True) as connection:
        connection.execute("DELETE FROM flow_run")
    shutil.rmtree(home)
    with pytest.raises(InputError, match="older than the backup, or another one"):
        restore(file)
    assert not home.exists()
