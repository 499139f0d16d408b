"""Schema and rows of a PostgreSQL database, read from pg_catalog. Runs no function of the database's own."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import Connection, sql

from blocks.databases.rehearse import Content
from domain.schema import Column, Constraint, Schema, SchemaIndex, Table

SESSION = (
    "-c search_path=pg_catalog,pg_temp -c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres -c bytea_output=hex "
    "-c extra_float_digits=3 -c default_transaction_read_only=off -c lock_timeout=30s -c statement_timeout=1h "
    "-c idle_in_transaction_session_timeout=0 -c row_security=off"
)
"""For every session of ours: given on connecting, they win over what the database or the role has been set to."""

_OURS = r"""n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' AND NOT EXISTS (
    SELECT FROM pg_depend x WHERE x.deptype = 'e' AND x.objid = \1 AND x.classid = '\2'::regclass)"""
"""What OURS(oid, catalog) stands for in the queries: neither the system's nor an extension's."""

_COLUMNS = """
SELECT n.nspname || '.' || c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
       || CASE WHEN a.attcollation <> t.typcollation THEN ' collate ' || co.collname ELSE '' END,
       NOT a.attnotnull,
       CASE WHEN a.attgenerated <> '' THEN 'generated: ' || pg_get_expr(d.adbin, d.adrelid)
            WHEN a.attidentity <> '' THEN 'identity: ' || a.attidentity::text
            ELSE pg_get_expr(d.adbin, d.adrelid) END,
       coalesce(a.attnum = ANY (pk.conkey), false)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_collation co ON co.oid = a.attcollation
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
LEFT JOIN pg_constraint pk ON pk.conrelid = c.oid AND pk.contype = 'p'
WHERE c.relkind IN ('r', 'p') AND OURS(c.oid, pg_class)
"""

_CONSTRAINTS = """
SELECT n.nspname || '.' || c.relname, k.conname, pg_get_constraintdef(k.oid), k.contype IN ('p', 'u'),
       ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (k.conkey))
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND k.contype IN ('c', 'f', 'p', 'u', 'x') AND OURS(c.oid, pg_class)
UNION ALL
SELECT n.nspname || '.' || c.relname, i.relname, pg_get_indexdef(i.oid), true,
       ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (x.indkey))
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE x.indisunique AND c.relkind IN ('r', 'p') AND OURS(c.oid, pg_class)
  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.oid AND k.contype IN ('p', 'u', 'x'))
"""

_INDEXES = """
SELECT n.nspname || '.' || c.relname, i.relname, pg_get_indexdef(i.oid), x.indisvalid
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT x.indisunique AND c.relkind IN ('r', 'p') AND OURS(c.oid, pg_class)
  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.oid AND k.contype = 'x')
"""

_INVALID = """
SELECT n.nspname || '.' || i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE NOT x.indisvalid AND i.relkind = 'i' AND OURS(i.oid, pg_class) ORDER BY 1
"""

_MADE = """
SELECT n.nspname || '.' || i.relname, x.xmin <> i.xmin FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_namespace n ON n.oid = i.relnamespace WHERE i.relkind = 'i' AND OURS(i.oid, pg_class)
"""

_BEING_BUILT = b"""
SELECT n.nspname || '.' || i.relname FROM pg_stat_progress_create_index p JOIN pg_class i ON i.oid = p.index_relid
JOIN pg_namespace n ON n.oid = i.relnamespace WHERE p.datname = current_database()
"""

_OTHERS = """
SELECT CASE c.relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized ' ELSE 'foreign ' END
       || n.nspname || '.' || c.relname,
       CASE WHEN c.relkind = 'f' THEN (SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', '
            ORDER BY a.attname) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
       ELSE pg_get_viewdef(c.oid) END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm', 'f') AND OURS(c.oid, pg_class)
UNION ALL
SELECT 'sequence ' || n.nspname || '.' || c.relname,
       concat_ws(' ', format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcycle)
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE OURS(c.oid, pg_class)
UNION ALL
SELECT 'table ' || n.nspname || '.' || c.relname,
       concat_ws(' ', c.relpersistence, c.reloptions::text, pg_get_expr(c.relpartbound, c.oid),
                 pg_get_partkeydef(c.oid), CASE WHEN c.relrowsecurity THEN 'row security' END,
                 CASE WHEN c.relforcerowsecurity THEN 'forced' END)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND OURS(c.oid, pg_class)
  AND (c.relpersistence <> 'p' OR c.reloptions IS NOT NULL OR c.relispartition OR c.relkind = 'p' OR c.relrowsecurity)
UNION ALL
SELECT 'function ' || n.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
       CASE WHEN p.prokind = 'a' THEN pg_get_function_result(p.oid) ELSE pg_get_functiondef(p.oid) END
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE OURS(p.oid, pg_proc)
UNION ALL
SELECT 'trigger ' || n.nspname || '.' || c.relname || '.' || g.tgname,
       pg_get_triggerdef(g.oid) || ' ' || g.tgenabled::text
FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT g.tgisinternal AND OURS(c.oid, pg_class)
UNION ALL
SELECT 'rule ' || n.nspname || '.' || c.relname || '.' || r.rulename, pg_get_ruledef(r.oid)
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE r.rulename <> '_RETURN' AND OURS(c.oid, pg_class)
UNION ALL
SELECT 'policy ' || n.nspname || '.' || c.relname || '.' || o.polname,
       concat_ws(' ', o.polcmd, o.polpermissive, pg_get_expr(o.polqual, c.oid), pg_get_expr(o.polwithcheck, c.oid))
FROM pg_policy o JOIN pg_class c ON c.oid = o.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE OURS(c.oid, pg_class)
UNION ALL
SELECT CASE t.typtype WHEN 'e' THEN 'enum ' WHEN 'd' THEN 'domain ' ELSE 'type ' END || n.nspname || '.' || t.typname,
       CASE t.typtype
       WHEN 'e' THEN (SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder) FROM pg_enum
                      WHERE enumtypid = t.oid)
       WHEN 'd' THEN concat_ws(' ', format_type(t.typbasetype, t.typtypmod), t.typnotnull, t.typdefault,
                      (SELECT string_agg(pg_get_constraintdef(k.oid), ', ' ORDER BY k.conname) FROM pg_constraint k
                       WHERE k.contypid = t.oid))
       ELSE (SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
             FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) END
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND c.relkind = 'c')) AND OURS(t.oid, pg_type)
UNION ALL
SELECT 'schema ' || n.nspname, '' FROM pg_namespace n WHERE n.nspname <> 'public' AND OURS(n.oid, pg_namespace)
UNION ALL
SELECT 'extension ' || extname, extversion FROM pg_extension WHERE extname <> 'plpgsql'
"""


def read_schema(connection: Connection[Any]) -> Schema:
    """The whole schema, from one snapshot. The session must have the settings of SESSION: names print in full so."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        columns: dict[str, list[Column]] = defaultdict(list)
        constraints: dict[str, list[Constraint]] = defaultdict(list)
        indexes: dict[str, list[SchemaIndex]] = defaultdict(list)
        for table, name, type_, nullable, default, key in _rows(connection, _COLUMNS):
            known = columns[table]
            if name is not None:  # a table may have no columns
                known.append(Column(name=name, type=type_, nullable=nullable, default=default, key=key))
        for table, name, definition, unique, names in _rows(connection, _CONSTRAINTS):
            about = tuple(sorted(names))
            constraints[table].append(Constraint(name=name, definition=definition, unique=unique, columns=about))
        for table, name, definition, valid in _rows(connection, _INDEXES):
            indexes[table].append(SchemaIndex(name=name, definition=definition, valid=valid))
        others = {name: definition or "" for name, definition in _rows(connection, _OTHERS)}
    tables = [
        Table(
            name=name,
            columns=tuple(sorted(columns[name], key=lambda each: each.name)),
            constraints=tuple(sorted(constraints[name], key=lambda each: each.name)),
            indexes=tuple(sorted(indexes[name], key=lambda each: each.name)),
        )
        for name in sorted(columns)
    ]
    return Schema(engine="postgresql", tables=tuple(tables), others=dict(sorted(others.items())))


def invalid_indexes(connection: Connection[Any]) -> tuple[str, ...]:
    """What a concurrent build has left behind, sorted."""
    return tuple(str(name) for (name,) in _rows(connection, _INVALID))


def indexes(connection: Connection[Any]) -> dict[str, bool]:
    """Index → whether it was made in several transactions, as CONCURRENTLY does it."""
    return {str(name): bool(several) for name, several in _rows(connection, _MADE)}


def drop_invalid_index(connection: Connection[Any], name: str) -> None:
    """As gently as it was built. Raises psycopg's Error where others keep it for longer than our lock timeout."""
    schema, _, index = name.partition(".")
    connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(schema, index)))


def being_built(connection: Connection[Any]) -> frozenset[str]:
    """Indexes that somebody builds now: they are not valid yet."""
    return frozenset(str(name) for (name,) in connection.execute(_BEING_BUILT).fetchall())


def read_contents(connection: Connection[Any], columns: Mapping[str, Sequence[str]], seed: int) -> dict[str, Content]:
    """Rows by table. The digest sums two keyed 64-bit hashes of every row as text, so order does not matter."""
    found = {}
    for table, names in columns.items():
        values = sql.SQL(", ").join(map(sql.Identifier, names))
        filled = sql.SQL("").join(sql.SQL(", count({})").format(sql.Identifier(name)) for name in names)
        query = sql.SQL(
            "SELECT count(*), coalesce(sum(hashtextextended(ROW({})::text, %s)), 0)::text || ':' || "
            "coalesce(sum(hashtextextended(ROW({})::text, %s)), 0)::text{} FROM ONLY {}"
        ).format(values, values, filled, identifier(table))
        (row,) = connection.execute(query, (seed, seed ^ 0x5DEECE66D)).fetchall()
        found[table] = Content(rows=row[0], digest=row[1], filled=dict(zip(names, row[2:], strict=True)))
    return found


def identifier(table: str) -> sql.Identifier:
    """`schema.table` as the catalog joins it. A schema with a dot in its name is none that can be told apart."""
    schema, _, name = table.partition(".")
    return sql.Identifier(schema, name)


def _rows(connection: Connection[Any], query: str) -> list[tuple[Any, ...]]:
    return connection.execute(re.sub(r"OURS\((\S+), (\w+)\)", _OURS, query).encode()).fetchall()
