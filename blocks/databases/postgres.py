"""The block of a target's PostgreSQL database."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydantic import Field, SecretStr

from blocks.base import LockgateBlock
from blocks.databases.addresses import clean, with_query
from blocks.databases.patience import run_patiently
from blocks.databases.postgres_catalog import read_schema
from blocks.databases.postgres_copy import with_lock_timeout
from blocks.databases.postgres_copying import CopyLimits, copied
from blocks.databases.postgres_server import PostgresServer
from blocks.databases.postgres_watch import LockHolder, LockWatch
from blocks.databases.rehearse import Copies, RehearsalPlay, rehearse
from domain.errors import DatabaseError
from domain.health import Clean
from domain.migration import Applied, Migrate, MigrationBudget, MigrationRun, Patience, Rehearsal, Serves, TableImpact
from domain.schema import Schema

_POLL_S = 0.1
"""Between two looks at the locks of a server that has other work."""
_OLDEST = 130000
"""PostgreSQL 13: DROP DATABASE … WITH (FORCE)."""
_STATEMENTS = b"""
SELECT query FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
WHERE d.datname = current_database() AND query ~* '^\\s*(select|insert|update|delete|with|merge)\\M'
ORDER BY calls DESC LIMIT 500
"""


class PostgresDatabase(LockgateBlock):
    """One database on a server that runs. Copies are made beside it, or on `scratch`."""

    _block_type_name = "Lockgate postgres database"
    _block_type_slug = "lockgate-postgres-database"
    _description = "A target's PostgreSQL database: copied, its migrations rehearsed and measured, then applied."

    url: SecretStr = Field(description="postgresql://USER:PASSWORD@HOST/DATABASE, of a role that may create databases "
                           "and roles; the driver may be named, as in postgresql+psycopg://")  # fmt: skip
    scratch: SecretStr | None = Field(None, description="The same for another server, whose only use are copies")
    maintenance: str = Field("postgres", description="Database from which others are made and removed")
    patience: Patience = Field(Patience(), description="How a migration asks for its locks")
    budget: MigrationBudget = Field(MigrationBudget(), description="What a migration may cost users")
    long_transaction_s: float = Field(3, gt=0, description="Seconds that a transaction is open before a migration")
    template_max_bytes: int = Field(
        200_000_000, ge=0, description="Larger databases are dumped: while one is a template, no new session gets in"
    )
    copy_max_bytes: int = Field(50_000_000_000, ge=1, description="Larger databases are not copied")
    copy_timeout_s: float = Field(3600, gt=0, description="Seconds that a copy may take")
    copy_max_age_s: float = Field(6 * 3600, gt=0, description="Copies that are older are removed, in use or not")

    programs: Path | None = Field(
        None,
        description="Directory of pg_dump and pg_restore, which must not be older than the server; None: the newest",
    )

    def rehearse(
        self,
        up: Migrate,
        down: Migrate | None,
        serves: Serves,
        *,
        queries: Sequence[str] | None = None,
        stop: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = lambda line: None,
    ) -> Rehearsal:
        """Run a migration on copies and measure. `queries`: statements of the running release; None: those that
        pg_stat_statements has, where it is installed. `stop` ends what works on a copy, where that grows too much.

        The commands get the URL of a copy, whose role can do nothing elsewhere. Raises DatabaseError if it could not
        be rehearsed; nothing is left of the copies then either.
        """
        tried = self.statements() if queries is None else queries
        with self._copied() as (copies, hide):
            play = RehearsalPlay(up, down, serves, tried, self.patience, self.long_transaction_s, hide)
            return rehearse(copies, play, self.budget.most_bytes, stop, say)

    def try_on_copy(self, serves: Serves) -> str | None:
        """Try a release on a copy of the database as it is: None if it is well there, else why not."""
        with self._copied() as (copies, hide):
            reason = serves(copies.first.url)
            return None if reason is None else hide(reason)

    def apply(self, up: Migrate, rehearsal: Rehearsal) -> Applied:
        """Run a rehearsed migration on the database itself: each try with the lock timeout, watched that it holds.

        Safe to repeat: it runs where the schema is as it was rehearsed on, or as the rehearsal left it, and refuses in
        `problem` where it is neither.
        """
        server, patience = self._server(), self.patience
        before = self.current_schema()
        if before not in (rehearsal.source, rehearsal.after):
            reason = "the schema has changed since the rehearsal: rehearse again, or see what was done by hand"
            run = MigrationRun(tries=0, seconds=0, longest_try_s=0, problem=reason)
            return Applied(run=run, before=before, after=before)
        mark = f"lockgate migration {time.time_ns():x}"

        def url_for(concurrent: bool) -> str:
            return with_query(with_lock_timeout(server.url, patience, concurrent), {"application_name": mark})

        behind = rehearsal.behind_transaction
        concurrent = rehearsal.under_load.concurrent or bool(behind and behind.concurrent)

        def is_migrations(session: LockHolder) -> bool:
            # a migration may name itself otherwise; who asks for a lock like that, and is new, is taken for one
            return session.application == mark or (session.is_newer and session.wants_strong)

        connection = server.connect(name="lockgate watch")
        watch = LockWatch(connection, is_migrations, patience.lock_timeout_s, poll_s=_POLL_S, is_first=concurrent)
        try:
            run = run_patiently(up, url_for, patience, watch, server.clean, concurrent=concurrent)
        finally:
            watch.close()
        after = self.current_schema()
        if run.problem is None and rehearsal.source == rehearsal.before and after != rehearsal.after:
            run = run.model_copy(update={"problem": "it ended well and left another schema than in its rehearsal"})
        impacts = [
            TableImpact(
                table=table,
                blocked_read_s=watch.blocked_s(table, "reads"),
                blocked_write_s=watch.blocked_s(table, "writes"),
                locks=tuple(sorted(watch.locks[table])),
                loaded=False,
            )
            for table in watch.tables
            if watch.locks[table]
        ]
        unmeasured = (watch.problem,) if watch.problem else ()
        run = run.model_copy(update={"impacts": tuple(impacts), "unmeasured": unmeasured})
        return Applied(run=run, before=before, after=after)

    def catalog(self) -> Schema:
        """The database's schema now. Raises DatabaseError if it cannot be read."""
        server = self._server()
        with server.connect() as connection, server.saying("the schema could not be read"):
            return read_schema(connection)

    def current_schema(self) -> str:
        """Its fingerprint."""
        return self.catalog().fingerprint

    def statements(self) -> tuple[str, ...]:
        """What releases ask their tables, as pg_stat_statements has it; empty if that is not installed."""
        schema = self.catalog()
        server = self._server()
        with server.connect() as connection, server.saying("the statements could not be read"):
            row = connection.execute(
                b"SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
                b"WHERE extname = 'pg_stat_statements'"
            ).fetchone()
            if row is None:
                return ()
            connection.execute(b"SELECT set_config('search_path', 'pg_catalog,' || quote_ident(%s), false)", row)
            asked = [str(query) for (query,) in connection.execute(_STATEMENTS).fetchall()]
        return tuple(query for query in asked if names_a_table(query, schema))

    def sweep(self) -> tuple[str, ...]:
        """Remove copies that nobody works on any more; their names. Safe to repeat."""
        servers = [self.url, *([self.scratch] if self.scratch else [])]
        return tuple(
            name
            for url in servers
            for name in PostgresServer(url.get_secret_value(), self.maintenance).sweep(self.copy_max_age_s)
        )

    def doctor(self) -> str | None:
        """None if migrations can be rehearsed here, else what is missing and the fix."""
        url = (self.scratch or self.url).get_secret_value()
        try:
            self.current_schema()
            with PostgresServer(url, self.maintenance).administered() as connection:
                row = connection.execute(
                    b"SELECT rolsuper OR (rolcreatedb AND rolcreaterole) FROM pg_roles WHERE rolname = current_user"
                ).fetchone()
                version = connection.info.server_version
        except DatabaseError as err:
            return str(err)
        if version < _OLDEST:
            return f"the server is PostgreSQL {version // 10000}: copies need 13 or newer; give `scratch`"
        if row is None or not row[0]:
            return "the database's role may not make copies: ALTER ROLE … CREATEDB CREATEROLE, or give `scratch`"
        return None

    @contextlib.contextmanager
    def _copied(self) -> Iterator[tuple[Copies, Clean]]:
        """Copies, and what takes the secrets of their URLs out of a text."""
        source = self._server()
        scratch = PostgresServer(self.scratch.get_secret_value(), self.maintenance) if self.scratch else None
        limits = CopyLimits(
            self.template_max_bytes, self.copy_max_bytes, self.budget.most_bytes, self.copy_timeout_s, self.programs
        )
        with copied(source, scratch, limits) as copies:
            yield copies, clean(source.url, source.libpq, copies.first.url, copies.second.url)

    def _server(self) -> PostgresServer:
        return PostgresServer(self.url.get_secret_value(), self.maintenance)


def names_a_table(query: str, schema: Schema) -> bool:
    """Whether a statement is about the database's own tables: what tools ask its catalog says nothing of a release."""
    words = set(re.findall(r"\w+", query.lower()))
    if any(word.startswith("pg_") or word == "information_schema" for word in words):
        return False
    names = [table.name.rpartition(".")[2].lower() for table in schema.tables]
    return any(name in words or f'"{name}"' in query.lower() for name in names)
