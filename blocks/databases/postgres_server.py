"""Copies on a PostgreSQL server: a database and a role of one name, made, found again and removed.

The name says when it was made. Who makes a copy holds an advisory lock on its name for as long as it is used; the
server lets go of the lock of a process that is killed, and `sweep` removes what nobody holds.
"""

import contextlib
import hashlib
import re
import secrets
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
from psycopg import Connection, sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import InsufficientPrivilege

from blocks.databases.addresses import clean, libpq_url, with_place
from blocks.databases.postgres_catalog import SESSION
from domain.errors import DatabaseError, InputError

PREFIX = "lockgate_copy_"
_NAME = re.compile(rf"^({PREFIX}(\d+)_[0-9a-f]{{8}})(_\d)?$")
_CONNECT_WITHIN_S = 10

_REACH = b"""
SELECT format('%%s in schema %%s', what, n.nspname) FROM pg_namespace n, LATERAL (
    SELECT 'it may create things' AS what WHERE has_schema_privilege(%(role)s, n.oid, 'CREATE')
    UNION ALL
    SELECT format('it may use the table %%s', c.relname) FROM pg_class c
    WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND has_schema_privilege(%(role)s, n.oid, 'USAGE')
      AND (has_table_privilege(%(role)s, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
           OR has_any_column_privilege(%(role)s, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES'))
      AND NOT EXISTS (SELECT FROM pg_depend x WHERE x.objid = c.oid AND x.deptype = 'e')
    UNION ALL
    SELECT format('it may call %%s, which acts as another role', p.proname) FROM pg_proc p
    WHERE p.pronamespace = n.oid AND p.prosecdef AND has_schema_privilege(%(role)s, n.oid, 'USAGE')
      AND has_function_privilege(%(role)s, p.oid, 'EXECUTE')
) may
WHERE n.nspname NOT LIKE 'pg\\_%%' AND n.nspname <> 'information_schema'
LIMIT 5
"""
"""What a role that was granted nothing may do in this database, by what PUBLIC may."""


FREE = b"""
SELECT greatest(0, current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
       - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'))
"""
"""How many more sessions the server takes."""
_STAY = b"""
SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('idle_session_timeout', 'statement_timeout')
"""


class CopyAccount(NamedTuple):
    """The name and role of a copy, and a password that was never in a statement: the server is sent its verifier."""

    name: str
    password: str


class PostgresServer:
    """One server, by a URL whose role may create databases and roles. Its text never holds the password."""

    def __init__(self, url: str, maintenance: str) -> None:
        self.url, self.libpq = url, libpq_url(url)
        self.clean = clean(url, self.libpq)
        self._maintenance = maintenance
        try:
            self._place = conninfo_to_dict(self.libpq)
        except psycopg.Error:
            # No cause: it quotes what it could not parse
            raise InputError("the database's url cannot be parsed: give postgresql://USER:PASSWORD@HOST/DB") from None
        if not self._place.get("dbname"):
            raise InputError("the database's url names no database: give postgresql://USER:PASSWORD@HOST/DATABASE")

    @property
    def database(self) -> str:
        return str(self._place["dbname"])

    def connect(
        self,
        database: str | None = None,
        account: CopyAccount | None = None,
        name: str = "lockgate",
        settings: str = SESSION,
    ) -> Connection[Any]:
        """A session in autocommit, with our own settings or these. Raises DatabaseError."""
        place: dict[str, Any] = {"connect_timeout": _CONNECT_WITHIN_S, **self._place, "application_name": name}
        place["options"] = f"{self._place.get('options', '')} {settings}".strip()
        if database is not None:
            place["dbname"] = database
        if account is not None:
            place |= {"user": account.name, "password": account.password}
        try:
            # Plans are not kept: a kept one fails once a migration has changed its table
            return psycopg.connect(autocommit=True, prepare_threshold=None, **place)
        except psycopg.Error as err:
            raise DatabaseError(
                f"database {place['dbname']} on {self._place.get('host', 'the local socket')} cannot be reached: "
                f"{self.clean(_line(err))}; see that the server runs and that the url is right"
            ) from None

    def administrator(self) -> Connection[Any]:
        """A session beside every copy and original. Raises DatabaseError."""
        return self.connect(self._maintenance)

    @contextlib.contextmanager
    def administered(self) -> Iterator[Connection[Any]]:
        """The same. Raises DatabaseError also for what goes wrong in it."""
        with self.administrator() as connection, self.saying("the server could not be administered"):
            yield connection

    @contextlib.contextmanager
    def saying(self, what: str) -> Iterator[None]:
        """Turns the driver's errors into ours."""
        try:
            yield
        except psycopg.Error as err:
            raise DatabaseError(f"{what}: {self.clean(_line(err))}") from None

    def account_url(self, account: CopyAccount, database: str) -> str:
        """For programs that run on the copy: the driver is the one of the original's URL."""
        return with_place(self.url, account.name, account.password, database)

    def environment(self, database: str, account: CopyAccount | None = None) -> dict[str, str]:
        """What libpq programs read: no password is ever in a command line."""
        names = {"host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "user": "PGUSER",
                 "password": "PGPASSWORD", "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT",
                 "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY",
                 "passfile": "PGPASSFILE", "service": "PGSERVICE", "channel_binding": "PGCHANNELBINDING"}  # fmt: skip
        place = {names[name]: str(value) for name, value in self._place.items() if name in names}
        if account is not None:
            place |= {"PGUSER": account.name, "PGPASSWORD": account.password}
        return {**place, "PGDATABASE": database, "PGAPPNAME": "lockgate", "PGCONNECT_TIMEOUT": str(_CONNECT_WITHIN_S)}

    @contextlib.contextmanager
    def account(self) -> Iterator[CopyAccount]:
        """A role that may do nothing yet; with it go all databases of its name."""
        account = CopyAccount(f"{PREFIX}{int(time.time())}_{secrets.token_hex(4)}", secrets.token_urlsafe(24))
        with self.administrator() as keeper:
            try:
                with self.saying("a role for the copy could not be made"):
                    keeper.execute(_STAY)
                    keeper.execute(b"SELECT pg_advisory_lock(%s)", (_key(account.name),))
                    self._make_role(keeper, account)
                yield account
            finally:
                with self.saying(f"the copy {account.name} could not be removed; the next sweep tries again"):
                    _drop(keeper, account.name)

    def may_elsewhere(self, role: str) -> tuple[str, ...]:
        """What that role may do in other databases of the server, as sentences; empty is right."""
        may: list[str] = []
        with self.administered() as connection:
            places = connection.execute(
                b"SELECT datname FROM pg_database WHERE datallowconn AND has_database_privilege(%s, oid, 'CONNECT') "
                b"AND datname NOT LIKE %s ORDER BY datname <> %s, datname",
                (role, PREFIX.replace("_", r"\_") + "%", self.database),
            ).fetchall()
        for (database,) in places:
            with self.connect(database) as connection, self.saying("the grants could not be read"):
                may += [f"{row[0]} of {database}" for row in connection.execute(_REACH, {"role": role}).fetchall()]
        return tuple(may)

    def sweep(self, max_age_s: float) -> tuple[str, ...]:
        """Remove copies that nobody holds, and all that are older than `max_age_s`; their names. Safe to repeat."""
        removed = []
        with self.administered() as connection:
            found = connection.execute(
                b"SELECT datname FROM pg_database WHERE datname LIKE %(like)s "
                b"UNION SELECT rolname FROM pg_roles WHERE rolname LIKE %(like)s ORDER BY 1",
                {"like": PREFIX.replace("_", r"\_") + "%"},
            ).fetchall()
            names = {match[1]: int(match[2]) for (name,) in found if (match := _NAME.match(name))}
            for name, made in sorted(names.items()):
                row = connection.execute(b"SELECT pg_try_advisory_lock(%s)", (_key(name),)).fetchone()
                is_free = row is not None and row[0]
                if is_free or time.time() - made > max_age_s:
                    _drop(connection, name)
                    removed.append(name)
                if is_free:
                    connection.execute(b"SELECT pg_advisory_unlock(%s)", (_key(name),))
        return tuple(removed)

    def _make_role(self, keeper: Connection[Any], account: CopyAccount) -> None:
        # The verifier is made here, for statements end up in logs: https://www.postgresql.org/docs/current/libpq-misc.html
        verifier = keeper.pgconn.encrypt_password(account.password.encode(), account.name.encode(), b"scram-sha-256")
        (free,) = keeper.execute(FREE).fetchone() or (0,)
        keeper.execute(
            sql.SQL(
                "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS "
                "CONNECTION LIMIT {} PASSWORD {}"
            ).format(sql.Identifier(account.name), sql.Literal(free // 2), sql.Literal(verifier.decode()))
        )
        keeper.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(account.name)))


def _drop(connection: Connection[Any], name: str) -> None:
    for (database,) in connection.execute(
        b"SELECT datname FROM pg_database WHERE datname = %s OR datname ~ %s", (name, f"^{name}_[0-9]$")
    ).fetchall():
        connection.execute(
            b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid() "
            b"AND backend_type = 'client backend'",
            (database,),
        )
        drop = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(database))
        try:
            connection.execute(drop + sql.SQL(" WITH (FORCE)"))
        except InsufficientPrivilege:  # an autovacuum worker is none that we may end; without FORCE the server does
            connection.execute(drop)
    connection.execute(b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (name,))
    connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


def _key(name: str) -> int:
    """A signed 64-bit number for pg_advisory_lock."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)


def _line(err: Exception) -> str:
    return (str(err).strip().splitlines() or [type(err).__name__])[0]
