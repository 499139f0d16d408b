"""Prefect's database on PostgreSQL, into a backup and back from it: by pg_dump and pg_restore, all of one moment."""

import os
import tempfile
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from blocks.databases.postgres_dump import program
from blocks.host.run import run
from blocks.ledger import copies
from blocks.ledger.database import VERSION_TABLE
from blocks.ledger.reading import NETWORK
from domain.errors import LockgateError

TAKES_AT_MOST_S = 3600.0
OF_A_LEDGER = (*(str(table.__tablename__) for table in copies.TABLES), VERSION_TABLE, "lockgate_*")
"""Tables that are copied as the ledger's, should that be in the same database."""
AS_ANYBODYS = ("--no-owner", "--no-privileges", "--no-comments")
SERVICE = "lockgate"


def dump(url: str, file: Path) -> str:
    """Make `file`, of mode 600; the newest state of a run that it surely holds. Nobody is kept from writing meanwhile.

    Raises LockgateError if it cannot be read, or the programs of PostgreSQL are missing.
    """
    surely = newest(url)
    file.touch(mode=0o600, exist_ok=False)
    left_out = [f"--exclude-table={name}" for name in OF_A_LEDGER]
    _run(url, "pg_dump", "--format=custom", "--lock-wait-timeout=30s", *AS_ANYBODYS, *left_out, f"--file={file}")
    return surely


def put_back(file: Path, url: str) -> None:
    """All of it or nothing, into a database that has no tables of Prefect's. Raises LockgateError."""
    whole = ("--single-transaction", "--exit-on-error", *AS_ANYBODYS)
    with tempfile.NamedTemporaryFile("w") as wanted:  # a dump cannot leave out a function: a ledger beside it has one
        listed = _run(url, "pg_restore", "--list", str(file), connects=False).splitlines(keepends=True)
        wanted.writelines(line for line in listed if " lockgate_" not in line)
        wanted.flush()
        _run(url, "pg_restore", *whole, f"--use-list={wanted.name}", str(file))


def is_there(url: str) -> bool:
    """Whether Prefect has its tables there. Raises LockgateError if the database does not answer."""
    return bool(_asked(url, "SELECT to_regclass('flow_run_state') IS NOT NULL")[0])


def holds(url: str, state: str) -> bool:
    """Whether this state of a run is there: then it is the database that was backed up, as it was or newer."""
    return not state or bool(_asked(url, "SELECT EXISTS (SELECT FROM flow_run_state WHERE id::text = %s)", state)[0])


def newest(url: str) -> str:
    """The newest state of a run; empty if there is none."""
    return str(
        _asked(url, "SELECT coalesce((SELECT id::text FROM flow_run_state ORDER BY timestamp DESC LIMIT 1), '')")[0]
    )


def shown(url: str) -> str:
    """For people, without the password."""
    told = conninfo_to_dict(url)
    return f"{told.get('host', 'this machine')}:{told.get('port', 5432)}/{told.get('dbname', '')}"


def _asked(url: str, question: str, *values: str) -> tuple[object, ...]:
    try:
        with psycopg.connect(url, **NETWORK) as connection:  # type: ignore[arg-type]
            return connection.execute(question.encode(), values).fetchone() or (None,)
    except psycopg.Error as err:
        said = (str(err).strip().splitlines() or [type(err).__name__])[0]
        raise LockgateError(f"Prefect's database at {shown(url)} could not be read: {said}") from err


def _run(url: str, name: str, *words: str, connects: bool = True) -> str:
    """What one of PostgreSQL's programs prints. It reads where the database is, and the password, from a file of ours
    alone."""
    with tempfile.TemporaryDirectory() as folder:
        service = Path(folder) / "service"
        service.touch(mode=0o600)
        told = {**conninfo_to_dict(url), "connect_timeout": NETWORK["connect_timeout"]}
        service.write_text(f"[{SERVICE}]\n" + "".join(f"{key}={value}\n" for key, value in told.items()))
        env = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "PGSERVICEFILE": str(service)}
        argv = [program(name, None), *([f"--dbname=service={SERVICE}"] if connects else []), *words]
        ran = run(argv, env=env, timeout_s=TAKES_AT_MOST_S)
    if ran.code:
        said = ran.err.decode(errors="replace").strip()[:1000]
        password = str(told.get("password") or "")
        said = said.replace(password, "[secret]") if password else said
        raise LockgateError(f"{name} of Prefect's database at {shown(url)} failed: {said or f'exit code {ran.code}'}")
    return ran.out.decode(errors="replace")
