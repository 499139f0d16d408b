"""Two copies of a PostgreSQL database, by the quickest way that does not disturb who uses it."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg import Connection, sql

from blocks.databases.postgres_catalog import read_schema
from blocks.databases.postgres_copy import PostgresCopy
from blocks.databases.postgres_dump import pour
from blocks.databases.postgres_server import CopyAccount, PostgresServer
from blocks.databases.rehearse import Copies
from domain.errors import DatabaseError
from domain.migration import CopyMade

_PLACE = b"""
SELECT pg_database_size(datname), pg_encoding_to_char(encoding), datcollate, datctype,
       to_jsonb(d) ->> 'datlocprovider', coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'),
       (SELECT count(*) FROM pg_stat_activity a WHERE a.datname = d.datname)
FROM pg_database d WHERE datname = %s
"""
_SETTINGS = b"""
SELECT unnest(setconfig) FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole
LEFT JOIN pg_database d ON d.oid = s.setdatabase
WHERE coalesce(r.rolname, current_user) = current_user AND coalesce(d.datname, current_database()) = current_database()
ORDER BY setrole <> 0, setdatabase <> 0
"""
_NOT_MINE = b"""
SELECT format('ALTER %s %s OWNER TO ', kind, name) FROM (
    SELECT 0 AS place, 'SCHEMA' AS kind, quote_ident(n.nspname) AS name, n.oid AS schema, n.oid,
           'pg_namespace' AS catalog
    FROM pg_namespace n
    UNION ALL
    SELECT 1, CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                             WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
           c.oid::regclass::text, c.relnamespace, c.oid, 'pg_class'
    FROM pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      AND NOT EXISTS (SELECT FROM pg_depend x WHERE x.objid = c.oid AND x.deptype IN ('a', 'i') AND c.relkind = 'S')
    UNION ALL
    SELECT 2, CASE p.prokind WHEN 'a' THEN 'AGGREGATE' WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END,
           p.oid::regprocedure::text, p.pronamespace, p.oid, 'pg_proc' FROM pg_proc p
    UNION ALL
    SELECT 3, CASE t.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, t.oid::regtype::text, t.typnamespace, t.oid,
           'pg_type'
    FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
    WHERE t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND c.relkind = 'c')
) things JOIN pg_namespace n ON n.oid = things.schema
WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' AND NOT EXISTS (
    SELECT FROM pg_depend x WHERE x.objid = things.oid AND x.classid = things.catalog::regclass AND x.deptype = 'e')
ORDER BY place
"""


class CopyLimits(NamedTuple):
    """How a copy may be made; the fields of the block."""

    template_max_bytes: int
    max_bytes: int
    growth_bytes: int
    timeout_s: float
    programs: Path | None


@contextlib.contextmanager
def copied(source: PostgresServer, scratch: PostgresServer | None, limits: CopyLimits) -> Iterator[Copies]:
    """Two copies of `source` on the same server, or on `scratch`; they are gone afterwards. Raises DatabaseError."""
    target = scratch or source
    with target.account() as account, contextlib.ExitStack() as copies:
        if scratch is None and (may := source.may_elsewhere(account.name)):
            raise DatabaseError(
                f"a copy on this server would not be shut off from its other databases: by what PUBLIC may, "
                f"{'; '.join(may)}. REVOKE CONNECT ON DATABASE … FROM PUBLIC and grant it to who needs it, or give "
                "`scratch`, another server for copies"
            )
        started = time.monotonic()
        first, second = account.name, f"{account.name}_2"
        with source.connect() as connection, source.saying("the database could not be read"):
            fingerprint = read_schema(connection).fingerprint
        method, size_bytes, notes = _first(source, target, account, limits)
        notes += _settings(source, target, account.name)
        notes += _bounded(target, account.name, limits.growth_bytes)
        how = _clone(target, first, second, account.name)
        made = CopyMade(
            method=f"{method}; the second one by {how}",
            seconds=time.monotonic() - started,
            size_bytes=size_bytes,
            notes=tuple(notes),
        )
        both = [
            copies.enter_context(contextlib.closing(PostgresCopy(target, account, name))) for name in (first, second)
        ]
        yield Copies(both[0], both[1], made, fingerprint)


def _first(
    source: PostgresServer, target: PostgresServer, account: CopyAccount, limits: CopyLimits
) -> tuple[str, int, list[str]]:
    with source.administered() as connection:
        place = connection.execute(_PLACE, (source.database,)).fetchone()
    if place is None:
        raise DatabaseError(f"there is no database {source.database} on the server")
    size_bytes, encoding, collate, ctype, provider, locale, sessions = place
    if size_bytes > limits.max_bytes:
        raise DatabaseError(
            f"database {source.database} has {size_bytes:,} bytes, and copies may have {limits.max_bytes:,}: raise "
            "`copy_max_bytes` where the server has the room"
        )
    notes: list[str] = []
    if target is source and size_bytes <= limits.template_max_bytes and sessions == 0:
        try:
            how = _clone(source, source.database, account.name, account.name)
            _hand_over(target, account.name)
            return how, size_bytes, notes
        except DatabaseError as err:
            notes.append(f"not copied as a template: {err}")
    elif target is source:
        why = f"{sessions} sessions use it" if sessions else "it would keep new sessions out for too long"
        notes.append(f"not copied as a template: {why}")
    with target.administered() as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(account.name)))
        create = sql.SQL("CREATE DATABASE {0} OWNER {0} TEMPLATE template0 ENCODING {1} LC_COLLATE {2} LC_CTYPE {3}")
        words = map(sql.Literal, (encoding, collate, ctype))
        statement = create.format(sql.Identifier(account.name), *words)
        if provider == "i":
            statement += sql.SQL(" LOCALE_PROVIDER icu ICU_LOCALE {}").format(sql.Literal(locale))
        connection.execute(statement)
        _label(connection, account.name, source.database)
    _extensions(source, target, account.name)
    pour(source, target, account.name, account, limits.timeout_s, limits.programs)
    return "pg_dump and pg_restore", size_bytes, notes


def _clone(server: PostgresServer, source: str, target: str, owner: str) -> str:
    """A database as a template of another, by the best strategy of this server. How it was done."""
    create = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(*map(sql.Identifier, (target, owner, source)))
    with server.administered() as connection:
        if connection.info.server_version >= 180000:  # a reflink, where the file system has them
            with contextlib.suppress(psycopg.Error):
                connection.execute(b"SET file_copy_method = clone")
                connection.execute(create + sql.SQL(" STRATEGY file_copy"))
                _label(connection, target, source)
                return "a template database, cloned by the file system"
            connection.execute(b"RESET file_copy_method")
        connection.execute(create)
        _label(connection, target, source)
    return "a template database"


def _label(connection: Connection[Any], name: str, source: str) -> None:
    text = sql.Literal(f"Lockgate's copy of {source}, for a rehearsal; removed by its sweep")
    connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), text))


def _hand_over(server: PostgresServer, name: str) -> None:
    """Everything in a template's copy is its role's from now on: it may be migrated, with nobody else's rights."""
    with server.connect(name) as connection, server.saying("the copy could not be handed over to its role"):
        for (statement,) in connection.execute(_NOT_MINE).fetchall():
            connection.execute(statement.encode() + sql.Identifier(name).as_bytes(connection))


def _extensions(source: PostgresServer, target: PostgresServer, name: str) -> None:
    """Only the administrator may create some, and pg_restore runs as the copy's role."""
    with source.connect() as connection, source.saying("the extensions could not be read"):
        wanted = connection.execute(
            b"SELECT extname, nspname, extversion FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace "
            b"WHERE extname <> 'plpgsql' ORDER BY pg_extension.oid"
        ).fetchall()
    if not wanted:
        return
    with target.connect(name) as connection, target.saying("an extension could not be created in the copy"):
        for extension, schema, version in wanted:
            if schema != "pg_catalog":
                connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
            connection.execute(
                sql.SQL("CREATE EXTENSION IF NOT EXISTS {} WITH SCHEMA {} VERSION {}").format(
                    sql.Identifier(extension), sql.Identifier(schema), sql.Literal(version)
                )
            )


def _settings(source: PostgresServer, target: PostgresServer, name: str) -> list[str]:
    """What the database and its role have been set to, such as a search_path, is so for the copy's role too."""
    with source.connect() as connection, source.saying("its settings could not be read"):
        settings = [row[0].partition("=") for row in connection.execute(_SETTINGS).fetchall()]
    notes = []
    with target.administered() as connection:
        for key, _, value in settings:
            try:
                connection.execute(b"SELECT set_config(%s, %s, false)", (key, value))  # it knows which are lists
                alter = sql.SQL("ALTER ROLE {} SET {} FROM CURRENT")
                connection.execute(alter.format(sql.Identifier(name), sql.Identifier(key)))
            except psycopg.Error as err:
                notes.append(f"the setting {key} is not the same on the copy: {str(err).strip().splitlines()[0]}")
    return notes


def _bounded(target: PostgresServer, name: str, most_bytes: int) -> list[str]:
    """Files that a query sorts in are in no database's size, so the server itself has to bound them."""
    alter = sql.SQL("ALTER ROLE {} SET temp_file_limit = {}").format(
        sql.Identifier(name), sql.Literal(most_bytes >> 10)
    )
    with target.administered() as connection:
        try:
            connection.execute(alter)
        except psycopg.errors.InsufficientPrivilege:
            return ["temporary files of its queries are not bounded: the url's role may not set temp_file_limit"]
    return []
