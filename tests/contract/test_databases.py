"""Migrations rehearsed on a real PostgreSQL and on SQLite, run by a real alembic."""

import contextlib
import io
import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from pydantic import SecretStr
from sqlalchemy import NullPool, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from blocks.databases.postgres import PostgresDatabase, names_a_table
from blocks.databases.sqlite import SqliteDatabase
from domain.errors import DatabaseError, InputError, TargetError
from domain.migration import (
    Migrate,
    MigrationBudget,
    MigrationClass,
    MigrationEnd,
    Patience,
    Rehearsal,
    nothing_runs,
)
from domain.task import Decision
from tests.postgres import new_database
from tests.unit.policy_cases import judged

ROWS = 2000
BYTES = {"sqlite": "randomblob(1000)", "postgr": "repeat('x', 1000)"}
ROOMY = MigrationBudget(longest_blocked_read_s=60, longest_blocked_write_s=60, duration_s=600)
NO_BLOCK = MigrationBudget(longest_blocked_read_s=0, longest_blocked_write_s=0, duration_s=600)
"""What was never seen waiting is exactly 0."""
QUICK = Patience(lock_timeout_s=0.2, tries=30, first_pause_s=0.05, longest_pause_s=0.2)

Database = PostgresDatabase | SqliteDatabase

ENVIRONMENT = """
from alembic import context
from sqlalchemy import NullPool, create_engine
engine = create_engine(context.config.attributes["url"], poolclass=NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, render_as_batch=connection.dialect.name == "sqlite")
    with context.begin_transaction():
        context.run_migrations()
"""

BASE = """
    op.create_table("orders", sa.Column("id", sa.Integer, primary_key=True), sa.Column("item", sa.String(40)),
                    sa.Column("price", sa.Integer, nullable=False), sa.Column("note", sa.Text))
    op.create_table("customers", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text))
"""


class Alembic:
    """A project with two revisions: the base, and the one under test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "versions").mkdir(parents=True)
        (folder / "env.py").write_text(ENVIRONMENT)
        self.revision("0001", None, BASE, "pass")

    def revision(self, name: str, after: str | None, up: str, down: str) -> None:
        (self.folder / "versions" / f"v{name}.py").write_text(
            f"import sqlalchemy as sa\nfrom alembic import op\nrevision = {name!r}\ndown_revision = {after!r}\n"
            f"def upgrade():\n{textwrap.indent(textwrap.dedent(up).strip(), '    ')}\n"
            f"def downgrade():\n{textwrap.indent(textwrap.dedent(down).strip(), '    ')}\n"
        )

    def to(self, revision: str) -> Migrate:
        def migrate(url: str) -> MigrationEnd:
            config = Config()
            config.set_main_option("script_location", str(self.folder))
            config.attributes["url"] = url
            output = io.StringIO()
            try:
                with contextlib.redirect_stderr(output):
                    (command.downgrade if revision.startswith("-") else command.upgrade)(config, revision)
            except Exception:
                return MigrationEnd(1, output.getvalue() + traceback.format_exc())
            return MigrationEnd(0, output.getvalue())

        return migrate


@pytest.fixture
def alembic(tmp_path: Path) -> Alembic:
    return Alembic(tmp_path / "project")


@pytest.fixture(params=["postgresql", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path, alembic: Alembic) -> Iterator[Database]:
    made: Database
    if request.param == "sqlite":
        (tmp_path / "data").mkdir()
        made = SqliteDatabase(path=tmp_path / "data" / "shop.db", copies=tmp_path / "copies", patience=QUICK,
                              long_transaction_s=0.5)  # fmt: skip
        made.path.touch()
    else:
        url = new_database(request.getfixturevalue("postgres_url"))
        made = postgres(url)
    filled(address(made), alembic)
    yield made
    assert leftovers(made) == []


def postgres(url: str) -> PostgresDatabase:
    plain = SecretStr(url.replace("postgresql://", "postgresql+psycopg://"))
    return PostgresDatabase(url=plain, patience=QUICK, long_transaction_s=0.5)


def address(database: Database) -> str:
    return f"sqlite:///{database.path}" if isinstance(database, SqliteDatabase) else database.url.get_secret_value()


def filled(url: str, alembic: Alembic) -> None:
    assert alembic.to("head")(url).exit_code == 0
    do(url, f"INSERT INTO orders (id, item, price) SELECT n, 'item ' || n, n FROM ({numbers(url)}) s",
       "INSERT INTO customers (id, name) VALUES (1, 'Ada'), (2, NULL)")  # fmt: skip


def numbers(url: str) -> str:
    if url.startswith("sqlite"):
        return f"WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {ROWS}) SELECT n FROM s"
    return f"SELECT generate_series(1, {ROWS}) AS n"


def do(url: str, *statements: str) -> list[tuple[object, ...]]:
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in statements:
            result = connection.execute(text(statement))
        return [tuple(row) for row in result] if result.returns_rows else []


def doing(*statements: str) -> Migrate:
    """A migration of these statements, that says so where it got no lock."""

    def migrate(url: str) -> MigrationEnd:
        try:
            do(url, *statements)
        except OperationalError as err:
            return MigrationEnd(1, str(err))
        return MigrationEnd(0)

    return migrate


def leftovers(database: Database) -> list[str]:
    """Copies that are still there."""
    if isinstance(database, SqliteDatabase):
        return [path.name for path in database.copies.glob("lockgate_copy_*")]
    rows = do(
        address(database),
        "SELECT datname FROM pg_database WHERE datname LIKE 'lockgate_copy_%' "
        "UNION SELECT rolname FROM pg_roles WHERE rolname LIKE 'lockgate_copy_%'",
    )
    return [str(name) for (name,) in rows]


def rehearsed(database: Database, alembic: Alembic, up: str, down: str | None, **more: object) -> Rehearsal:
    """The rehearsal of a second revision; the database itself is as it was."""
    alembic.revision("0002", "0001", up, down or "raise NotImplementedError")
    before = database.current_schema()
    serves = more.pop("serves", nothing_runs)
    rehearsal = database.rehearse(alembic.to("head"), alembic.to("-1") if down else None, serves, **more)  # type: ignore[arg-type]
    assert database.current_schema() == before == rehearsal.source
    assert do(address(database), "SELECT version_num FROM alembic_version") == [("0001",)]
    return rehearsal


ADD = 'op.add_column("orders", sa.Column("paid", sa.Boolean))'
UNADD = 'op.drop_column("orders", "paid")'


def test_a_column_that_may_be_left_out_passes(database: Database, alembic: Alembic) -> None:
    told: list[str] = []
    seen = rehearsed(database, alembic, ADD, UNADD, say=told.append)
    assert judged(seen, ROOMY).decision is Decision.ACCEPTED, seen
    assert seen.migration_class is MigrationClass.EXPAND
    assert [change.sentence.replace("public.", "") for change in seen.changes] == ["column orders.paid is new"]
    assert seen.downgrade is not None and seen.downgrade.is_proven
    assert {impact.table.replace("public.", "") for impact in seen.under_load.impacts} >= {"orders", "customers"}
    assert seen.copy_made.size_bytes > 0 and seen.bytes_after
    assert told == list(seen.timeline) and told[0].startswith(f"copied by {seen.copy_made.method}")


def test_what_was_rehearsed_is_applied_once_and_again(database: Database, alembic: Alembic) -> None:
    seen = rehearsed(database, alembic, ADD, UNADD)
    applied = database.apply(alembic.to("head"), seen)
    assert applied.problem is None and applied.after == seen.after == database.current_schema()
    again = database.apply(alembic.to("head"), seen)
    assert again.problem is None and again.before == again.after == seen.after


def test_a_schema_that_changed_since_is_not_migrated(database: Database, alembic: Alembic) -> None:
    seen = rehearsed(database, alembic, ADD, UNADD)
    do(address(database), "CREATE TABLE by_hand (id integer)")
    applied = database.apply(lambda url: pytest.fail("it ran"), seen)
    assert applied.problem is not None and "changed since" in applied.problem


def test_not_null_without_a_default_is_refused(database: Database, alembic: Alembic) -> None:
    up = """
    op.execute("CREATE TABLE kept AS SELECT * FROM orders")
    op.execute("DELETE FROM orders")
    with op.batch_alter_table("orders") as batch:
        batch.add_column(sa.Column("paid", sa.Boolean, nullable=False))
    op.execute("INSERT INTO orders (id, item, price, note, paid) SELECT id, item, price, note, id > 0 FROM kept")
    op.drop_table("kept")
    """
    seen = rehearsed(database, alembic, up, UNADD)
    verdict = judged(seen, ROOMY)
    assert verdict.decision is Decision.REFUSED and verdict.rules[0] == "migration-breaks-running"
    assert "paid is new and NOT NULL without a default" in verdict.reasons[0]
    assert seen.migration_class is MigrationClass.CONTRACT  # its downgrade brings every row back


def test_not_null_on_rows_that_are_there_fails_in_the_rehearsal(database: Database, alembic: Alembic) -> None:
    up = 'op.add_column("orders", sa.Column("paid", sa.Boolean, nullable=False))'
    verdict = judged(rehearsed(database, alembic, up, UNADD), ROOMY)
    assert verdict.decision is Decision.REFUSED and verdict.rules == ("migration-fails",)
    assert "exit code 1" in verdict.reasons[0] and "null" in verdict.reasons[0].lower()


def test_a_dropped_column_with_values_is_for_a_person(database: Database, alembic: Alembic) -> None:
    up = 'op.drop_column("orders", "item")'
    down = 'op.add_column("orders", sa.Column("item", sa.String(40)))'
    seen = rehearsed(database, alembic, up, down)
    verdict = judged(seen, ROOMY)
    assert verdict.decision is Decision.NEEDS_PERSON, verdict
    assert {"migration-lossy", "migration-forward-only"} <= set(verdict.rules)
    assert any(f"orders.item had {ROWS} values and is gone" in reason for reason in verdict.reasons)
    assert seen.is_lossy and seen.migration_class is MigrationClass.FORWARD_ONLY


def test_a_dropped_column_without_values_loses_nothing(database: Database, alembic: Alembic) -> None:
    seen = rehearsed(database, alembic, 'op.drop_column("orders", "note")',
                     'op.add_column("orders", sa.Column("note", sa.Text))',
                     queries=["SELECT id, item FROM orders"])  # fmt: skip
    assert not seen.is_lossy and seen.migration_class is MigrationClass.CONTRACT and seen.queries == 1
    assert judged(seen, ROOMY).decision is Decision.ACCEPTED


RENAME = 'op.execute("ALTER TABLE orders RENAME COLUMN item TO title")'
RENAMED_BACK = 'op.execute("ALTER TABLE orders RENAME COLUMN title TO item")'


def test_a_rename_that_the_running_release_does_not_survive_is_refused(database: Database, alembic: Alembic) -> None:
    def serves(url: str) -> str | None:
        try:
            do(url, "SELECT item FROM orders")
        except Exception as err:
            return f"{url} {type(err).__name__}"
        return None

    queries = ["SELECT item FROM orders", "SELECT gone FROM nowhere", "SELECT price FROM orders"]
    seen = rehearsed(database, alembic, RENAME, RENAMED_BACK, serves=serves, queries=queries)
    verdict = judged(seen, ROOMY)
    assert verdict.decision is Decision.REFUSED and verdict.rules[0] == "migration-breaks-running"
    assert len(seen.broken) == 2 and seen.queries == 2, "a statement that failed before too says nothing"
    assert "SELECT item FROM orders" in seen.broken[0]
    assert any("orders.item is renamed to title" in change.sentence for change in seen.changes)


def test_a_rename_is_for_a_person_where_no_statements_are_known(database: Database, alembic: Alembic) -> None:
    verdict = judged(rehearsed(database, alembic, RENAME, RENAMED_BACK), ROOMY)
    assert verdict.decision is Decision.NEEDS_PERSON and verdict.rules == ("migration-unproven",)


def test_a_backfill_of_a_new_column_loses_nothing(database: Database, alembic: Alembic) -> None:
    seen = rehearsed(database, alembic, ADD + '\nop.execute("UPDATE orders SET paid = (price > 10)")', UNADD)
    assert not seen.is_lossy and judged(seen, ROOMY).decision is Decision.ACCEPTED


def test_values_that_are_rewritten_for_good_are_for_a_person(database: Database, alembic: Alembic) -> None:
    seen = rehearsed(database, alembic, 'op.execute("UPDATE orders SET price = price / 2 WHERE id = 7")', "pass")
    verdict = judged(seen, ROOMY)
    assert verdict.decision is Decision.NEEDS_PERSON and seen.changes == ()
    assert any("orders have other values than before" in reason for reason in seen.lost)
    assert any("orders have other values than before" in reason for reason in verdict.reasons)


@pytest.mark.parametrize(
    "changed",
    [("DELETE FROM alembic_version",), ("UPDATE customers SET name = 'Eve' WHERE id = 1",),
     ("INSERT INTO customers (id, name) VALUES (3, NULL)",),
     ("UPDATE customers SET id = -1 WHERE id = 1", "UPDATE customers SET id = 1 WHERE id = 2",
      "UPDATE customers SET id = 2 WHERE id = -1")],
    ids=["a version", "a value", "a row", "values in other rows"],
)  # fmt: skip
def test_one_row_that_is_another_is_not_nothing(database: Database, changed: tuple[str, ...]) -> None:
    seen = database.rehearse(doing(*changed), None, nothing_runs)
    assert not seen.changed_nothing and seen.before == seen.after and seen.behind_transaction is not None


def test_what_changes_nothing_is_rehearsed_no_further(database: Database, alembic: Alembic) -> None:
    up = doing("UPDATE customers SET name = 'Eve'", "UPDATE customers SET name = CASE WHEN id = 1 THEN 'Ada' END")

    def once_only(url: str) -> str | None:
        pytest.fail("it was tried")

    seen = database.rehearse(up, once_only, once_only)  # type: ignore[arg-type]
    assert seen.changed_nothing and seen.downgrade is None and seen.behind_transaction is None
    assert judged(seen, ROOMY).decision is Decision.ACCEPTED
    assert "changed nothing" in seen.timeline[-1]


def test_a_release_is_tried_on_a_copy_of_today(database: Database, alembic: Alembic) -> None:
    def serves(url: str) -> str:
        do(url, "DELETE FROM orders")
        return f"it is sick at {url}"

    said = str(database.try_on_copy(serves))
    assert said.startswith("it is sick") and str(make_url(address(database)).password) not in said
    assert do(address(database), "SELECT count(*) FROM orders") == [(ROWS,)]
    assert database.try_on_copy(nothing_runs) is None


def test_a_migration_without_a_downgrade_is_for_a_person(database: Database, alembic: Alembic) -> None:
    seen = rehearsed(database, alembic, ADD, None)
    verdict = judged(seen, ROOMY)
    assert verdict.decision is Decision.NEEDS_PERSON and verdict.rules == ("migration-forward-only",)
    assert not seen.is_lossy


def test_a_migration_that_fails_half_way_is_refused(database: Database, alembic: Alembic) -> None:
    seen = rehearsed(database, alembic, ADD + '\nop.execute("SELECT no_such_column FROM orders")', UNADD)
    verdict = judged(seen, ROOMY)
    assert verdict.decision is Decision.REFUSED and "no_such_column" in verdict.reasons[0]
    assert seen.under_load.tries == 1, "no lock was missing"


def test_a_release_that_cannot_be_tried_is_an_error_and_leaves_nothing(database: Database, alembic: Alembic) -> None:
    def serves(url: str) -> str | None:
        raise DatabaseError("no sandbox")

    with pytest.raises(DatabaseError, match="no sandbox"):
        rehearsed(database, alembic, ADD, UNADD, serves=serves)


def test_a_release_that_is_ended_while_it_begins_since_its_copy_is_too_large_is_told_so(
    database: Database, alembic: Alembic
) -> None:
    ended = threading.Event()

    def serves(url: str) -> str | None:
        rows = numbers(url).replace(str(ROWS), "40000")
        with contextlib.suppress(OperationalError):  # it may be ended in the middle of this
            do(url, f"CREATE TABLE large AS SELECT {BYTES[url[:6]]} AS x FROM ({rows}) s")
        assert ended.wait(60)
        raise TargetError("its confinement ended without a word")

    small = database.model_copy(update={"budget": MigrationBudget(growth_bytes=10_000_000)})
    seen = rehearsed(small, alembic, ADD, UNADD, serves=serves, stop=ended.set)
    assert "a copy grew by" in str(seen.under_load.problem) and seen.timeline[-1] == seen.under_load.problem


def test_no_text_holds_the_password_of_the_copy(postgres_url: str, alembic: Alembic) -> None:
    database = postgres(new_database(postgres_url))
    filled(address(database), alembic)
    urls: list[str] = []

    def up(url: str) -> MigrationEnd:
        urls.append(url)
        return MigrationEnd(3, f"cannot connect to {url} with {make_url(url).password}")

    said: list[str] = []
    seen = database.rehearse(up, None, nothing_runs, say=said.append)
    password = make_url(urls[0]).password
    assert isinstance(password, str) and len(password) > 20
    own = make_url(address(database)).password
    for shown in (seen.model_dump_json(), repr(database), str(said)):
        assert password not in shown and str(own) not in shown
    assert "[secret]" in str(seen.under_load.problem)


CHILD = """
import os, sys, time
from domain.migration import nothing_runs
from blocks.databases.postgres import PostgresDatabase, names_a_table
from blocks.databases.sqlite import SqliteDatabase
def up(url):
    print("it runs", flush=True)
    time.sleep(600)
kind = {"PostgresDatabase": PostgresDatabase, "SqliteDatabase": SqliteDatabase}[sys.argv[1]]
kind.model_validate_json(os.environ["DATABASE"]).rehearse(up, None, nothing_runs)
"""


def test_a_copy_whose_rehearsal_was_killed_is_swept(database: Database) -> None:
    fields: dict[str, str] = {"url": address(database)}
    if isinstance(database, SqliteDatabase):
        fields = {"path": str(database.path), "copies": str(database.copies)}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, type(database).__name__],
        stdout=subprocess.PIPE,
        env={**os.environ, "DATABASE": json.dumps(fields)},
        cwd=Path(__file__).parents[2],
    )
    try:
        assert child.stdout is not None and child.stdout.readline().strip() == b"it runs"
        assert leftovers(database)
        assert database.sweep() == (), "somebody works on it"
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    waited = threading.Event()
    for _ in range(200):  # the server, or the kernel, may need a moment to see that its owner is gone
        if swept := database.sweep():
            break
        waited.wait(0.05)
    assert len(swept) == 1 and swept[0].startswith("lockgate_copy_")
    assert leftovers(database) == [] and database.sweep() == ()


def test_a_copy_that_is_too_old_is_swept_though_it_is_held(database: Database, alembic: Alembic) -> None:
    old = database.model_copy(update={"copy_max_age_s": -1})

    def up(url: str) -> MigrationEnd:
        assert len(old.sweep()) == 1
        return MigrationEnd(0)

    with contextlib.suppress(DatabaseError):
        verdict = judged(database.rehearse(up, None, nothing_runs), ROOMY)
        assert verdict.decision is Decision.REFUSED


def test_doctor_and_wrong_addresses_say_what_to_do(database: Database, tmp_path: Path) -> None:
    assert database.doctor() is None
    if isinstance(database, SqliteDatabase):
        assert SqliteDatabase(path=tmp_path / "none.db").doctor() is None, "the first release makes it"
        assert "no regular file" in str(SqliteDatabase(path=tmp_path).doctor())
        return
    wrong = address(database).replace(str(make_url(address(database)).password), "hunter22")
    said = str(PostgresDatabase(url=SecretStr(wrong)).doctor())
    assert "cannot be reached" in said and "hunter22" not in said
    with pytest.raises(InputError, match="not one of PostgreSQL"):
        PostgresDatabase(url=SecretStr("mysql://root:hunter22@h/d")).doctor()


# ── PostgreSQL: locks ──


@pytest.fixture
def server(postgres_url: str, alembic: Alembic) -> PostgresDatabase:
    made = postgres(new_database(postgres_url))
    filled(address(made), alembic)
    return made


def impact(seen: Rehearsal, table: str) -> tuple[float, float]:
    (found,) = [each for each in seen.under_load.impacts if each.table == table]
    return found.blocked_read_s, found.blocked_write_s


HOLD = 'op.execute("SELECT pg_sleep(0.6)")'


def test_an_index_keeps_writes_out_of_its_table_alone(server: PostgresDatabase, alembic: Alembic) -> None:
    seen = rehearsed(
        server, alembic, f'op.create_index("by_item", "orders", ["item"])\n{HOLD}', 'op.drop_index("by_item")'
    )
    reads, writes = impact(seen, "public.orders")
    assert reads == 0 and writes > 0
    assert impact(seen, "public.customers") == (0, 0)
    assert "ShareLock" in next(i.locks for i in seen.under_load.impacts if i.table == "public.orders")
    verdict = judged(seen, NO_BLOCK)
    assert verdict.decision is Decision.REFUSED and verdict.rules == ("migration-over-budget",)
    assert "writes of public.orders were blocked" in verdict.reasons[0]
    assert judged(seen, ROOMY).decision is Decision.ACCEPTED


def test_a_concurrent_index_keeps_nobody_out(server: PostgresDatabase, alembic: Alembic) -> None:
    up = f"""
    with op.get_context().autocommit_block():
        op.create_index("by_item", "orders", ["item"], postgresql_concurrently=True, if_not_exists=True)
    {HOLD}
    """
    seen = rehearsed(server, alembic, up, 'op.drop_index("by_item")')
    assert impact(seen, "public.orders") == (0, 0)


CONCURRENTLY = """
with op.get_context().autocommit_block():
    op.create_index("by_item", "orders", ["item"], postgresql_concurrently=True)
"""

ADVICE: dict[str, tuple[str, str]] = {
    "an index, concurrently, after a new column": (
        ADD + CONCURRENTLY, 'op.drop_index("by_item")\n' + UNADD
    ),
    "an index dropped concurrently": (
        CONCURRENTLY + """
with op.get_context().autocommit_block():
    op.drop_index("by_item", postgresql_concurrently=True)
    op.create_index("by_price", "orders", ["price"], postgresql_concurrently=True)
""",
        'op.drop_index("by_price")',
    ),
    "a constraint, not valid first": (
        """
op.execute("ALTER TABLE orders ADD CONSTRAINT dear CHECK (price >= 0) NOT VALID")
op.execute("COMMIT")
op.execute("ALTER TABLE orders VALIDATE CONSTRAINT dear")
""",
        'op.drop_constraint("dear", "orders")',
    ),
    "a foreign key, not valid first": (
        """
op.add_column("orders", sa.Column("customer", sa.Integer))
op.execute("ALTER TABLE orders ADD CONSTRAINT of_customer FOREIGN KEY (customer) REFERENCES customers (id) NOT VALID")
op.execute("COMMIT")
op.execute("ALTER TABLE orders VALIDATE CONSTRAINT of_customer")
""",
        'op.drop_column("orders", "customer")',
    ),
    "not null, by way of a check": (
        """
op.add_column("orders", sa.Column("kind", sa.Text, server_default="plain"))
op.execute("ALTER TABLE orders ADD CONSTRAINT has_kind CHECK (kind IS NOT NULL) NOT VALID")
op.execute("COMMIT")
op.execute("ALTER TABLE orders VALIDATE CONSTRAINT has_kind")
op.execute("ALTER TABLE orders ALTER COLUMN kind SET NOT NULL")
op.execute("ALTER TABLE orders DROP CONSTRAINT has_kind")
""",
        'op.drop_column("orders", "kind")',
    ),
    "a unique constraint, of an index that is there": (
        """
with op.get_context().autocommit_block():
    op.create_index("one_id", "orders", ["id", "item"], unique=True, postgresql_concurrently=True)
op.execute("ALTER TABLE orders ADD CONSTRAINT one_id UNIQUE USING INDEX one_id")
""",
        'op.drop_constraint("one_id", "orders")',
    ),
    "a primary key of an index, and time-outs of its own": (
        """
with op.get_context().autocommit_block():
    op.execute("SET lock_timeout = '1s'")
    op.execute("SET statement_timeout = '5s'")
    op.execute("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS by_id ON orders (id)")
    op.execute("REINDEX INDEX CONCURRENTLY by_id")
op.execute("ALTER TABLE orders DROP CONSTRAINT orders_pkey, ADD CONSTRAINT orders_pkey PRIMARY KEY USING INDEX by_id")
""",
        "pass",
    ),
    "rows filled in small batches": (
        ADD + """
op.execute("COMMIT")
for first in range(0, 2100, 300):
    op.execute(f"UPDATE orders SET paid = true WHERE id BETWEEN {first} AND {first + 299}")
    op.execute("COMMIT")
""",
        UNADD,
    ),
}  # fmt: skip
"""What squawk and our own rules tell people to do."""


@pytest.mark.parametrize("name", ADVICE)
def test_who_follows_the_advice_passes(server: PostgresDatabase, alembic: Alembic, name: str) -> None:
    up, down = ADVICE[name]
    seen = rehearsed(server.model_copy(update={"long_transaction_s": 2}), alembic, up, down)
    verdict = judged(seen, ROOMY)
    assert verdict.decision is not Decision.REFUSED and "migration-lock-queue" not in verdict.rules, (seen, verdict)
    assert seen.behind_transaction is not None and seen.behind_transaction.problem is None, seen
    builds = "CONCURRENTLY" in name.upper() or "of an index" in name
    assert seen.behind_transaction.concurrent == builds
    assert builds or not seen.under_load.concurrent, "where nobody is in its way it may be too short to be seen"
    assert seen.invalid_indexes == ()


def test_an_index_that_waits_longer_than_it_may_leaves_nothing_invalid(
    server: PostgresDatabase, alembic: Alembic
) -> None:
    short = QUICK.model_copy(update={"tries": 1, "concurrent_s": 0.7})
    seen = rehearsed(server.model_copy(update={"patience": short, "long_transaction_s": 0.1}), alembic,
                     CONCURRENTLY, 'op.drop_index("by_item")')  # fmt: skip
    assert seen.under_load.concurrent
    assert seen.behind_transaction is not None and seen.behind_transaction.problem is None
    few = server.model_copy(update={"patience": short})
    with locked(server, "ROW EXCLUSIVE") as holder:
        before = do(address(server), "SELECT count(*) FROM pg_index WHERE NOT indisvalid")
        timer = threading.Timer(8, holder.rollback)
        timer.start()
        applied = few.apply(alembic.to("head"), seen)
        timer.join()
    assert applied.run.locked_out, applied
    assert applied.run.timeline[1] == "dropped the invalid index public.by_item, which it left"
    assert do(address(server), "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == before == [(0,)]
    assert applied.after == applied.before
    assert few.apply(alembic.to("head"), seen).problem is None


def test_what_waits_for_rows_is_cut_off_though_it_builds_concurrently(
    server: PostgresDatabase, alembic: Alembic
) -> None:
    """It has locked rows itself, and keeps others out of them while it waits for more."""
    up = 'op.execute("UPDATE orders SET price = price")' + CONCURRENTLY
    seen = rehearsed(server.model_copy(update={"long_transaction_s": 2}), alembic, up, 'op.drop_index("by_item")')
    assert seen.behind_transaction is not None and seen.behind_transaction.concurrent
    few = server.model_copy(update={"patience": QUICK.model_copy(update={"tries": 1})})
    with psycopg.connect(address(server).replace("+psycopg", "")) as holder:
        holder.execute("UPDATE orders SET price = price WHERE id = 1")
        applied = few.apply(alembic.to("head"), seen)
        holder.rollback()
    assert applied.run.locked_out and applied.run.tries == 1, applied


def test_rows_that_are_locked_keep_writes_out(server: PostgresDatabase, alembic: Alembic) -> None:
    up = f'{ADD}\nop.execute("COMMIT")\nop.execute("UPDATE orders SET price = price")\n{HOLD}'
    seen = rehearsed(server, alembic, up, UNADD)
    reads, writes = impact(seen, "public.orders")
    assert writes > 0 and reads < writes


def test_a_table_too_many_for_the_load_is_measured_by_its_locks(server: PostgresDatabase, alembic: Alembic) -> None:
    with server_with_connections(server, 0):
        seen = rehearsed(server, alembic, f'op.create_index("by_item", "orders", ["item"])\n{HOLD}',
                         'op.drop_index("by_item")')  # fmt: skip
    (found,) = [each for each in seen.under_load.impacts if each.table == "public.orders"]
    assert not found.loaded and found.blocked_write_s > 0 and found.blocked_read_s == 0


@contextlib.contextmanager
def server_with_connections(server: PostgresDatabase, share: float) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("blocks.databases.postgres_copy._CONNECTIONS_SHARE", share)
        yield


def test_behind_a_long_transaction_it_gives_way_and_tries_again(server: PostgresDatabase, alembic: Alembic) -> None:
    longer = server.model_copy(update={"long_transaction_s": 4})
    seen = rehearsed(longer, alembic, 'op.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")\n' + ADD, UNADD)
    behind = seen.behind_transaction
    assert behind is not None and behind.problem is None
    assert behind.tries > 1 and seen.under_load.tries == 1
    assert "did not get a lock" in behind.timeline[0]


def test_a_migration_that_takes_its_own_time_for_a_lock_is_cut_off(server: PostgresDatabase, alembic: Alembic) -> None:
    patient = server.model_copy(update={"long_transaction_s": 120, "patience": QUICK.model_copy(update={"tries": 2})})
    seen = rehearsed(patient, alembic, 'op.execute("SET lock_timeout = 0")\n' + ADD, UNADD)
    behind = seen.behind_transaction
    assert behind is not None and behind.locked_out and behind.tries == 2
    assert behind.seconds < 60, "it was not let wait for the transaction's end"
    verdict = judged(seen, ROOMY)
    assert verdict.decision is Decision.NEEDS_PERSON and verdict.rules == ("migration-lock-queue",)


@contextlib.contextmanager
def locked(server: PostgresDatabase, mode: str) -> Iterator[psycopg.Connection]:
    """Somebody's open transaction on the orders of the database itself."""
    with psycopg.connect(address(server).replace("+psycopg", "")) as connection:
        connection.execute(f"LOCK TABLE orders IN {mode} MODE".encode())
        yield connection
        connection.rollback()


def test_on_the_database_itself_every_try_has_the_lock_timeout(server: PostgresDatabase, alembic: Alembic) -> None:
    seen = rehearsed(server, alembic, ADD, UNADD)
    few = server.model_copy(update={"patience": QUICK.model_copy(update={"tries": 3})})
    timeouts: list[object] = []

    def up(url: str) -> MigrationEnd:
        timeouts.extend(do(url, "SELECT current_setting('lock_timeout')"))
        return alembic.to("head")(url)

    with locked(server, "ACCESS SHARE"):
        applied = few.apply(up, seen)
    assert timeouts == [("200ms",)] * 3
    assert applied.run.locked_out and applied.run.tries == 3 and applied.after == applied.before
    assert "public.orders" in [each.table for each in applied.run.impacts]
    assert few.apply(up, seen).problem is None


def test_it_goes_on_once_the_lock_is_free(server: PostgresDatabase, alembic: Alembic) -> None:
    seen = rehearsed(server, alembic, ADD, UNADD)
    tried = threading.Event()
    with locked(server, "ACCESS SHARE") as holder:

        def up(url: str) -> MigrationEnd:
            if tried.is_set() and not holder.closed:
                holder.rollback()
            ran = alembic.to("head")(url)
            tried.set()
            return ran

        applied = server.apply(up, seen)
    assert applied.problem is None and applied.run.tries == 2


def test_on_the_database_itself_too_a_lock_timeout_of_0_is_cut_off(server: PostgresDatabase, alembic: Alembic) -> None:
    seen = rehearsed(server, alembic, 'op.execute("SET lock_timeout = 0")\n' + ADD, UNADD)
    few = server.model_copy(update={"patience": QUICK.model_copy(update={"tries": 2})})
    with locked(server, "ROW EXCLUSIVE") as holder:
        applied = few.apply(alembic.to("head"), seen)
        waiting = holder.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    assert applied.run.locked_out and applied.run.tries == 2 and waiting == (0,)


def test_what_a_killed_command_left_waiting_is_ended(server: PostgresDatabase, alembic: Alembic) -> None:
    seen = rehearsed(server, alembic, ADD, UNADD)

    def up(url: str) -> MigrationEnd:
        child = [sys.executable, "-c", "import os, psycopg; c = psycopg.connect(os.environ['U']); "
                 "c.execute('SET lock_timeout = 0'); print('waits', flush=True); "
                 "c.execute('ALTER TABLE orders ADD left_over int')"]  # fmt: skip
        environment = {**os.environ, "U": url.replace("+psycopg", "")}
        with subprocess.Popen(child, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None and process.stdout.readline()
            for _ in range(500):
                if do(address(server), "SELECT 1 FROM pg_locks WHERE NOT granted"):
                    break
            process.kill()
        return MigrationEnd(None, "killed")

    slow = server.model_copy(update={"patience": QUICK.model_copy(update={"lock_timeout_s": 30.0})})
    with locked(server, "ACCESS SHARE") as holder:
        applied = slow.apply(up, seen)
        assert holder.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (0,)
    assert applied.problem is not None and "it was stopped" in applied.problem
    assert applied.after == applied.before


# ── PostgreSQL: copies ──


def test_a_database_in_use_is_dumped_and_an_idle_one_is_a_template(server: PostgresDatabase, alembic: Alembic) -> None:
    idle = rehearsed(server, alembic, ADD, UNADD)
    assert idle.copy_made.method.startswith("a template database")
    with psycopg.connect(address(server).replace("+psycopg", "")):
        used = server.rehearse(alembic.to("head"), alembic.to("-1"), nothing_runs)
    assert used.copy_made.method.startswith("pg_dump and pg_restore")
    assert any("1 sessions use it" in note for note in used.copy_made.notes)
    assert (used.before, used.after) == (idle.before, idle.after)
    large = server.model_copy(update={"template_max_bytes": 0})
    assert "keep new sessions out" in large.rehearse(lambda url: MigrationEnd(0), None, nothing_runs).copy_made.notes[0]


EVERYTHING = (
    "CREATE EXTENSION citext",
    "CREATE SCHEMA sales",
    "CREATE TYPE sales.state AS ENUM ('new', 'paid')",
    "CREATE DOMAIN sales.positive AS integer CHECK (VALUE > 0)",
    'CREATE TABLE sales."Odd Name" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mail citext UNIQUE, '
    "state sales.state DEFAULT 'new', n sales.positive, twice int GENERATED ALWAYS AS (n * 2) STORED, "
    "at timestamptz DEFAULT now(), CHECK (mail <> ''), order_id int REFERENCES orders (id))",
    "CREATE TABLE parts (id int, day date) PARTITION BY RANGE (day)",
    "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
    "CREATE VIEW recent AS SELECT id, item FROM orders WHERE id > 10",
    "CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM orders",
    "CREATE SEQUENCE tickets START 7",
    "CREATE FUNCTION no_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'append-only'; END $$",
    "CREATE TABLE log (id serial PRIMARY KEY, line text)",
    "CREATE TRIGGER kept BEFORE UPDATE ON log FOR EACH ROW EXECUTE FUNCTION no_change()",
    "INSERT INTO log (line) VALUES ('a')",
    "CREATE TABLE bare ()",
    "CREATE INDEX odd ON orders (lower(item)) WHERE price > 3",
    "ALTER DATABASE {name} SET search_path TO sales, public",
    "INSERT INTO sales.\"Odd Name\" (mail, n) VALUES ('a@b', 1), ('c@d', 2)",
)


@pytest.mark.parametrize("in_use", [True, False], ids=["dump", "template"])
def test_whatever_a_database_holds_is_copied_and_compared(
    server: PostgresDatabase, alembic: Alembic, in_use: bool
) -> None:
    name = str(make_url(address(server)).database)
    do(address(server), *(each.replace("{name}", name) for each in EVERYTHING))
    up = 'op.execute("ALTER TABLE sales.\\"Odd Name\\" ADD COLUMN more int")\nop.execute("CREATE TABLE here (id int)")'
    down = 'op.execute("ALTER TABLE \\"Odd Name\\" DROP COLUMN more")\nop.execute("DROP TABLE sales.here")'
    holder = psycopg.connect(address(server).replace("+psycopg", "")) if in_use else contextlib.nullcontext()
    with holder:
        seen = rehearsed(server, alembic, up, down, queries=['SELECT id FROM "Odd Name" WHERE mail = $1'])
    assert seen.copy_made.method.startswith("pg_dump" if in_use else "a template")
    assert seen.before == seen.source
    assert judged(seen, ROOMY).decision is Decision.ACCEPTED, seen
    assert "table sales.here is new" in [change.sentence for change in seen.changes]
    assert {i.table for i in seen.under_load.impacts if i.loaded} >= {"sales.Odd Name", "public.log", "public.parts_1"}


def test_the_role_of_a_copy_can_do_nothing_elsewhere(server: PostgresDatabase, alembic: Alembic) -> None:
    url = address(server)
    name = str(make_url(url).database)
    tried: list[str] = []

    def up(copy: str) -> MigrationEnd:
        for statement in ("SELECT count(*) FROM orders", "CREATE TABLE public.mine (id int)", "CREATE ROLE more",
                          f"ALTER DATABASE {name} SET work_mem = 64", "COPY orders TO PROGRAM 'true'"):  # fmt: skip
            try:
                do(make_url(copy).set(database=name).render_as_string(hide_password=False), statement)
            except Exception as err:
                tried.append(str(err))
        return doing("CREATE TABLE mine (id int)")(copy)

    server.rehearse(up, None, nothing_runs)
    assert len(tried) == 5 * 2
    assert [each for each in tried if "InsufficientPrivilege" not in each] == []


def test_where_public_has_rights_no_copy_is_made_beside_the_database(
    server: PostgresDatabase, postgres_url: str
) -> None:
    url = address(server)
    do(url, "GRANT SELECT ON orders TO PUBLIC")
    try:
        refused_beside(server, postgres_url)
    finally:
        do(url, f"REVOKE CONNECT ON DATABASE {make_url(url).database} FROM PUBLIC")
    assert server.rehearse(lambda copy: MigrationEnd(0), None, nothing_runs).under_load.problem is None


def refused_beside(server: PostgresDatabase, postgres_url: str) -> None:
    with pytest.raises(DatabaseError, match=r"it may use the table orders in schema public of t_.*REVOKE CONNECT"):
        server.rehearse(lambda copy: pytest.fail("it ran"), None, nothing_runs)
    assert leftovers(server) == []
    elsewhere = server.model_copy(update={"scratch": SecretStr(postgres_url)})
    assert elsewhere.rehearse(lambda copy: MigrationEnd(0), None, nothing_runs).copy_made.method.startswith("pg_dump")


def test_a_role_that_may_make_databases_and_roles_is_enough(postgres_url: str, alembic: Alembic) -> None:
    role = f"r_{secrets.token_hex(4)}"
    url = new_database(postgres_url)
    name = make_url(url).database
    admin = url.replace("postgresql:", "postgresql+psycopg:")
    do(admin, f"CREATE ROLE {role} LOGIN CREATEDB CREATEROLE PASSWORD '{role}'",
       f"ALTER DATABASE {name} OWNER TO {role}")  # fmt: skip
    plain = make_url(url).set(username=role, password=role).render_as_string(hide_password=False)
    database = postgres(plain)
    filled(address(database), alembic)
    assert database.doctor() is None
    alembic.revision("0002", "0001", ADD, UNADD)
    for template_max_bytes in (0, 10**9):
        one = database.model_copy(update={"template_max_bytes": template_max_bytes})
        seen = one.rehearse(alembic.to("head"), None, nothing_runs)
        assert seen.under_load.problem is None and seen.behind_transaction is not None
        assert any("temporary files of its queries are not bounded" in line for line in seen.timeline)
    assert leftovers(database) == []
    do(admin, f"ALTER ROLE {role} NOCREATEDB")
    assert "may not make copies" in str(database.doctor())


def test_what_a_migration_plants_does_not_run_with_our_rights(server: PostgresDatabase, alembic: Alembic) -> None:
    up = """
    op.execute("CREATE FUNCTION who() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN "
               "INSERT INTO ran SELECT current_user; RETURN true; END $$")
    op.execute("CREATE TABLE ran (who text)")
    op.execute("ALTER TABLE customers ENABLE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY planted ON customers USING (who())")
    op.execute("CREATE FUNCTION public.count(text) RETURNS bigint LANGUAGE sql AS 'SELECT 1/0::bigint'")
    """
    users: list[tuple[object, ...]] = []

    def serves(url: str) -> None:
        users.extend(do(url, "SELECT who FROM ran", "SELECT who FROM ran"))
        users.extend(do(url, "SELECT usename FROM pg_stat_activity WHERE datname = current_database()"))

    rehearsed(server, alembic, up, None, serves=serves)
    assert users and all(str(user).startswith("lockgate_copy_") for (user,) in users)


@pytest.mark.parametrize(
    ("query", "is_about_them"),
    [
        ("SELECT item FROM orders WHERE id = $1", True),
        ('UPDATE public."orders" SET item = $1', True),
        ("SELECT relname FROM pg_class JOIN orders ON true", False),
        ("SELECT $1", False),
        ("SELECT set_config($1, $2, $3)", False),
    ],
)
def test_only_statements_about_its_tables_are_of_a_release(
    server: PostgresDatabase, query: str, is_about_them: bool
) -> None:
    assert names_a_table(query, server.catalog()) is is_about_them
    assert server.statements() == (), "the extension is not installed"


# ── SQLite ──


@pytest.fixture
def file(tmp_path: Path, alembic: Alembic) -> SqliteDatabase:
    (tmp_path / "data").mkdir()
    made = SqliteDatabase(path=tmp_path / "data" / "shop.db", copies=tmp_path / "copies", patience=QUICK)
    filled(f"sqlite:///{made.path}", alembic)
    return made


def test_a_write_that_takes_long_keeps_others_out(file: SqliteDatabase, alembic: Alembic) -> None:
    held = threading.Event()

    def up(url: str) -> MigrationEnd:
        path = str(make_url(url).database)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA busy_timeout = 10000")
            connection.execute("BEGIN IMMEDIATE")
            held.wait(0.6)
            connection.execute("CREATE TABLE IF NOT EXISTS new (id integer)")
            connection.execute("COMMIT")
        return MigrationEnd(0)

    seen = file.rehearse(up, None, nothing_runs)
    assert all(impact.blocked_write_s > 0 for impact in seen.under_load.impacts)
    verdict = judged(seen, NO_BLOCK)
    assert verdict.decision is Decision.REFUSED and "writes of orders were blocked" in str(verdict.reasons)


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_a_copy_is_right_beside_a_writer(file: SqliteDatabase, alembic: Alembic, mode: str) -> None:
    with contextlib.closing(sqlite3.connect(file.path, isolation_level=None)) as writer:
        writer.execute(f"PRAGMA journal_mode = {mode}")
        writer.execute("DELETE FROM orders WHERE id > 10")
        writer.execute("BEGIN")
        writer.execute("SELECT * FROM orders").fetchall()
        counts: dict[str, list[tuple[object, ...]]] = {}

        def up(url: str) -> MigrationEnd:
            counts[url] = do(url, "SELECT count(*) FROM orders")
            return doing("CREATE TABLE new (id integer)")(url)

        assert file.rehearse(up, None, nothing_runs).under_load.problem is None
        assert list(counts.values()) == [[(10,)], [(10,)]]


def test_the_backup_from_before_can_be_brought_back(file: SqliteDatabase, alembic: Alembic) -> None:
    before = file.current_schema()
    seen = rehearsed(file, alembic, 'op.drop_table("orders")', None)
    applied = file.apply(alembic.to("head"), seen)
    assert applied.problem is None and applied.backup is not None
    file.bring_back(applied.backup)
    assert file.current_schema() == before
    assert do(f"sqlite:///{file.path}", "SELECT count(*) FROM orders") == [(ROWS,)]
    with pytest.raises(DatabaseError, match="is no backup"):
        file.bring_back("/etc/passwd")


def test_a_locked_file_is_tried_again_and_not_for_ever(file: SqliteDatabase, alembic: Alembic) -> None:
    seen = rehearsed(file, alembic, ADD, UNADD)
    few = file.model_copy(update={"patience": QUICK.model_copy(update={"tries": 2})})
    with contextlib.closing(sqlite3.connect(file.path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        applied = few.apply(alembic.to("head"), seen)
        holder.execute("ROLLBACK")
    assert applied.run.locked_out and applied.run.tries == 2


def test_the_readers_of_a_file_run_confined(file: SqliteDatabase) -> None:
    asked: list[tuple[list[str], list[Path]]] = []

    def confine(argv: list[str], folders: list[Path]) -> list[str]:
        asked.append((list(argv), list(folders)))
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        return ["/usr/bin/env", "-i", *argv]

    assert file.confined(confine).current_schema() == file.current_schema()  # type: ignore[arg-type]
    ((argv, folders),) = asked
    assert argv[0] == sys.executable and argv[1] == "-I" and folders == [file.path.parent]
    asked.clear()
    file.confined(confine).rehearse(lambda url: MigrationEnd(0), None, nothing_runs)  # type: ignore[arg-type]
    seen = {folder.relative_to(file.path.parents[1]).parts[0] for _, folders in asked[2:] for folder in folders}
    assert seen == {"copies"}, "the database itself was shown for its schema and to be copied"
    assert file.copies not in [folder for _, folders in asked for folder in folders], "nor other copies"


def test_a_file_that_is_not_there_yet_is_an_empty_database(tmp_path: Path, alembic: Alembic) -> None:
    fresh = SqliteDatabase(path=tmp_path / "shop.db", copies=tmp_path / "copies", patience=QUICK,
                           long_transaction_s=0.2)  # fmt: skip
    with pytest.raises(DatabaseError, match="a release runs: give `path` the file"):
        fresh.rehearse(alembic.to("head"), None, lambda url: None)
    seen = fresh.rehearse(alembic.to("head"), None, nothing_runs)
    assert leftovers(fresh) == [] and not fresh.path.exists() and "no database yet" in seen.copy_made.method
    applied = fresh.apply(alembic.to("head"), seen)
    assert applied.problem is None and applied.backup is None and applied.after == seen.after
    again = fresh.apply(alembic.to("head"), seen)
    assert again.problem is None and again.before == seen.after


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0" + b"\xff" * 4000, b"no database at all" * 100])
def test_a_file_that_is_no_database_is_an_error_with_a_reason(file: SqliteDatabase, content: bytes) -> None:
    file.path.write_bytes(content)
    if content == b"":
        assert file.catalog().tables == ()
        return
    with pytest.raises(DatabaseError, match="could not be read"):
        file.rehearse(lambda url: MigrationEnd(0), None, nothing_runs)
    assert leftovers(file) == []


def test_a_link_is_not_followed(file: SqliteDatabase, tmp_path: Path) -> None:
    file.path.rename(tmp_path / "elsewhere.db")
    file.path.symlink_to(tmp_path / "elsewhere.db")
    with pytest.raises(DatabaseError, match="no regular file"):
        file.current_schema()
