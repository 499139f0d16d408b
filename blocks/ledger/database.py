"""From a URL to a transaction: engines, the lock that puts writers in a row, and the schema on first use."""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlmodel import Session

from blocks.ledger import seen
from blocks.ledger.reading import NETWORK
from domain.errors import LedgerError

WAIT_S = 30
"""How long a writer waits for its turn, on either database."""
IDLE_S = 15
"""How long a writer may say nothing in its turn. The database gives up one whose machine or network is gone, before
those who wait for their turn give up."""
ADVISORY_LOCK = int.from_bytes(b"lockgate")
"""Every writer to a PostgreSQL database holds this transaction-level lock. The number fits a signed 64-bit."""
VERSION_TABLE = "lockgate_schema"
"""Not alembic's own name for it: the ledger may share a database with Prefect's server, which uses that one."""
WRITES = {"lockgate_writes": True}


@contextmanager
def transaction(url: str, *, write: bool) -> Iterator[Session]:
    """A session in one transaction; with `write`, no other writer is inside at the same time, in any process.

    Raises LedgerError if the database cannot be reached, read or written; the text never holds a password.
    """
    parsed = parse(url)
    try:
        with _setup:
            engine = _engine(parsed, os.getpid())
        with Session(engine.execution_options(**WRITES) if write else engine) as session, session.begin():
            if write:
                _take_turn(session.connection())
            yield session
    except (SQLAlchemyError, CommandError, OSError, sqlite3.Error) as err:
        raise LedgerError(
            f"the ledger at {shown(parsed)} could not be {'written' if write else 'read'}: {_first_line(err)}; "
            "see that the database runs and that the ledger's url is right"
        ) from err


def parse(url: str) -> URL:
    """The URL with the driver that we ship, and with an absolute path for SQLite. Raises LedgerError."""
    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError):
        # No cause: what could not be parsed may hold a password, and the parser quotes it.
        raise LedgerError("the ledger's url is not a database URL; give sqlite:///PATH or postgresql://…") from None
    match parsed.get_backend_name():
        case "postgresql" | "postgres" if "@" in f"{parsed.host}{parsed.database}":
            raise LedgerError("the ledger's url has an @ too many: write one in a password as %40")
        case "postgresql" | "postgres":
            return parsed.set(drivername="postgresql+psycopg")
        case "sqlite" if parsed.database and not parsed.database.startswith((":memory:", "file:")):
            return parsed.set(drivername="sqlite", database=os.path.abspath(parsed.database))
        case "sqlite":
            raise LedgerError("a ledger in memory would forget; give its url a file: sqlite:////absolute/path.db")
    raise LedgerError(f"the ledger knows sqlite and postgresql, not {parsed.get_backend_name()}: change its url")


def shown(url: URL) -> str:
    """The URL for people: neither its password nor its options, where libpq takes a password too."""
    return url.set(query={}).render_as_string(hide_password=True)


# ── engines ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_setup = threading.Lock()


def _new_lock() -> None:
    global _setup
    _setup = threading.Lock()


# A fork may happen while another thread holds the lock; nobody would ever open it in the child.
os.register_at_fork(after_in_child=_new_lock)


@cache
def _engine(url: URL, pid: int) -> Engine:
    """The engine of this process (`pid`: a forked child never uses its parent's), its schema up to date."""
    engine = _sqlite(url) if url.get_backend_name() == "sqlite" else _postgresql(url)
    try:
        _upgrade(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _sqlite(url: URL) -> Engine:
    """No pool: a connection that is open across a fork can damage the file (https://sqlite.org/howtocorrupt.html)."""
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": WAIT_S}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # the driver would put BEGIN where it likes; the next listener says where
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("lockgate_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: URL) -> Engine:
    """READ COMMITTED, so that what the last writer committed is seen once the lock is ours."""
    given = {name: value for name, value in NETWORK.items() if name not in url.query}
    return create_engine(
        url,
        pool_size=1,
        max_overflow=20,
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",
        connect_args=given,
        hide_parameters=True,
    )


def _take_turn(connection: Connection) -> None:
    """Wait until no other writer is inside. SQLite did so at BEGIN IMMEDIATE."""
    if connection.dialect.name == "postgresql":
        bounds = {"lock_timeout": WAIT_S, "idle_in_transaction_session_timeout": IDLE_S}
        told = ", ".join(f"set_config('{name}', '{seconds}s', true)" for name, seconds in bounds.items())
        connection.execute(text(f"SELECT {told}"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ADVISORY_LOCK})


# ── schema ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _upgrade(engine: Engine) -> None:
    """Bring the schema to this code's version, in one transaction. Raises LedgerError if it is newer."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    is_file, place = engine.dialect.name == "sqlite", seen.place_of(engine.url)
    with (
        _file_lock(Path(engine.url.database or "")) if is_file else nullcontext(),
        engine.execution_options(**WRITES).begin() as connection,
    ):
        _take_turn(connection)
        stands = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_heads()
        newer = set(stands) - {script.revision for script in scripts.walk_revisions()}
        if newer:
            raise LedgerError(
                f"the ledger at {shown(engine.url)} has schema {', '.join(sorted(newer))}, which is newer than this "
                f"Lockgate knows ({', '.join(scripts.get_heads())}): upgrade Lockgate on this machine"
            )
        config.attributes.update(connection=connection, version_table=VERSION_TABLE)
        if not stands and not is_file and seen.mark_of(place).exists():
            raise LedgerError(
                f"the ledger at {shown(engine.url)} was there, and the database is empty: put it back, or mend the "
                f"ledger's url. To begin a new one on purpose, remove {seen.mark_of(place)}"
            )
        if set(stands) != set(scripts.get_heads()):
            command.upgrade(config, "head")
    seen.note(place)


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    """Make the SQLite file, private and in WAL mode. Switching to WAL does not wait for others, so a lock does.

    Raises LedgerError if this home knew a ledger there: an empty one would say that nothing ever happened.
    """
    known = seen.mark_of(str(path))
    if known.exists() and (not path.exists() or not path.stat().st_size):
        raise LedgerError(
            f"the ledger at {path} was there and is gone: put it back, or mount its disk; if LOCKGATE_HOME was moved, "
            f"`lockgate doctor` says how to mend it. To begin a new one on purpose, remove {known}"
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        with closing(sqlite3.connect(path, timeout=WAIT_S)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        yield


def _first_line(err: Exception) -> str:
    said = str(err.orig if isinstance(err, DBAPIError) else err).strip()
    return said.splitlines()[0] if said else type(err).__name__
