"""What the ledger promises, on SQLite and on a real PostgreSQL server."""

import hashlib
import multiprocessing
import os
import stat
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta, timezone
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import SQLModel

from blocks.host import alive
from blocks.ledger import database, seen
from blocks.ledger.database import VERSION_TABLE, parse, transaction
from blocks.ledger.ledger import Ledger
from blocks.ledger.passwords import Passwords
from blocks.ledger.reading import Reader
from blocks.ledger.rows import GENESIS, EntryRow, hash_of
from blocks.ledger.tokens import Signed, Tokens
from domain.access import Role
from domain.errors import LedgerError
from domain.value import Value, canonical
from kits.users import until
from tests.postgres import new_database

# Newer Pythons warn of a fork in a process with threads; that a fork is survived is part of what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


class Note(Value):
    text: str
    marks: tuple[int, ...] = ()


class Other(Value):
    text: str


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/deep/ledger.db"
    return new_database(request.getfixturevalue("postgres_url"))


@pytest.fixture
def ledger(url: str) -> Ledger:
    return Ledger(url=SecretStr(url))


@pytest.fixture
def intruder(ledger: Ledger, url: str) -> Iterator[Connection]:
    """A connection past the ledger, as somebody with the database's password has it; each statement commits."""
    assert ledger.entries() == ()  # makes the schema
    engine = create_engine(parse(url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def drop_triggers(intruder: Connection) -> None:
    if intruder.dialect.name == "postgresql":
        intruder.execute(text("DROP TRIGGER entries_append_only ON entries"))
    else:
        for name in ("update", "delete", "replace"):
            intruder.execute(text(f"DROP TRIGGER entries_no_{name}"))


def fork(work: Callable[[], object]) -> BaseProcess:
    """A forked process that does this; what other tests' libraries do at a process's exit is not done by it."""

    def child() -> None:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    return process


# ── entries ──


def test_what_is_recorded_is_found(ledger: Ledger) -> None:
    note = Note(text="é \x00 'quoted'", marks=(1, 2))
    assert ledger.record("run", "note", "1", note) == note
    assert ledger.find("run", "note", "1", Note) == note
    assert ledger.find("run", "note", "2", Note) is None


def test_the_first_write_wins(ledger: Ledger) -> None:
    ledger.record("run", "note", "1", Note(text="first"))
    assert ledger.record("run", "note", "1", Note(text="second")) == Note(text="first")
    assert [entry.body["text"] for entry in ledger.entries()] == ["first"]


def test_a_value_of_another_type_is_never_taken_for_what_was_asked(ledger: Ledger) -> None:
    ledger.record("run", "note", "1", Note(text="first"))
    with pytest.raises(LedgerError, match=r"entry 1 \(run, note, 1\) is a Note, not a Other"):
        ledger.record("run", "note", "1", Other(text="second"))
    with pytest.raises(LedgerError, match="not a Other"):
        ledger.find("run", "note", "1", Other)


def test_text_that_is_no_unicode_is_refused_and_nothing_is_written(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="not Unicode"):
        ledger.record("run", "note", "1", Note(text="\ud800"))
    assert ledger.entries() == ()


def test_entries_come_in_order_and_by_run_kind_and_number(ledger: Ledger) -> None:
    for run_id, kind, key in (("a", "note", "1"), ("b", "note", "1"), ("a", "step", "1"), ("a", "note", "2")):
        ledger.record(run_id, kind, key, Note(text=f"{run_id}{kind}{key}"))
    assert [entry.number for entry in ledger.entries()] == [1, 2, 3, 4]
    assert [entry.number for entry in ledger.entries(run_id="a", kind="note")] == [1, 4]
    assert [entry.number for entry in ledger.entries(after=2)] == [3, 4]
    entry = ledger.entries()[0]
    assert (entry.run_id, entry.kind, entry.key, entry.type) == ("a", "note", "1", "Note")
    assert entry.body == {"text": "anote1", "marks": []}
    assert abs(entry.at.timestamp() - time.time()) < 60 and entry.at.tzname() == "UTC"


def test_entries_since_a_moment_are_those_recorded_then_or_later(ledger: Ledger) -> None:
    for number in range(4):
        ledger.record("run", "note", f"{number}", Note(text="x"))
    at = [entry.at for entry in ledger.entries()]
    assert [e.key for e in ledger.entries(since=at[2])] == ["2", "3"]
    assert ledger.entries(kind="note", since=at[3] + timedelta(microseconds=1)) == ()
    assert len(ledger.entries(since=at[0].astimezone(timezone(timedelta(hours=-9))))) == 4


def test_what_is_still_open_is_looked_for_by_run_and_key(ledger: Ledger) -> None:
    for run, key in (("open", "1"), ("open", "2"), ("answered", "1"), ("over", "1"), ("other", "1")):
        ledger.record(run, "question", key, Note(text="?"))
    for run, kind, key in (
        ("open", "approval", "2"), ("answered", "approval", "1"), ("over", "outcome", "outcome"),
        ("other", "approval", "2"), ("other", "said", "1"),
    ):  # fmt: skip
        ledger.record(run, kind, key, Note(text="!"))
    asked = [(e.run_id, e.key) for e in ledger.still_open("question", answered_by="approval")]
    assert asked == [("open", "1"), ("other", "1")]
    assert [e.run_id for e in ledger.still_open("question")] == ["open", "open", "answered", "other"]
    assert ledger.still_open("nothing") == ()


def test_bodies_are_the_very_text_and_come_without_being_read_at_once(ledger: Ledger) -> None:
    for number in range(3):
        ledger.record("run", "note", f"{number}", Note(text=f"é\b{number}"))
    coming = ledger.bodies()
    assert next(coming) == '{"marks":[],"text":"é\\b0"}'
    ledger.record("run", "note", "late", Note(text="while somebody reads"))
    assert len([*coming]) >= 2


def test_the_last_entry_is_by_kind_then_key_and_run(ledger: Ledger) -> None:
    for run_id, key in (("a", "prod"), ("b", "prod"), ("c", "dev")):
        ledger.record(run_id, "release", key, Note(text=run_id))
    found = [ledger.last("release"), ledger.last("release", "prod"), ledger.last("release", "prod", "a")]
    assert [entry.run_id for entry in found if entry] == ["c", "b", "a"]
    assert ledger.last("release", "test") is None


# ── append-only, hash-chained ──


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET body = '{}' WHERE id = 1",
        "DELETE FROM entries WHERE id = 1",
        "DELETE FROM entries",
        "TRUNCATE entries",
        "REPLACE INTO entries SELECT id, at, run_id, kind, key, type, '{}', previous, hash FROM entries",
        "REPLACE INTO entries SELECT id + 1, at, run_id, kind, key, type, '{}', previous, hash FROM entries",
        "INSERT INTO entries SELECT * FROM entries WHERE true ON CONFLICT (id) DO UPDATE SET body = '{}'",
    ],
)
def test_the_database_itself_refuses_to_change_an_entry(ledger: Ledger, intruder: Connection, statement: str) -> None:
    ledger.record("run", "note", "1", Note(text="stays"))
    before = ledger.entries()
    with pytest.raises(DBAPIError):
        intruder.execute(text(statement))
    assert ledger.entries() == before and ledger.verify() is None


def test_an_entry_that_was_altered_is_named_whatever_column_it_was(ledger: Ledger, intruder: Connection) -> None:
    for number in range(1, 4):
        ledger.record("run", "note", str(number), Note(text="true"))
    assert ledger.verify() is None
    drop_triggers(intruder)
    for column in set(EntryRow.model_fields) - {"id"}:
        was = intruder.execute(text(f"SELECT {column} FROM entries WHERE id = 2")).scalar_one()
        change = text(f"UPDATE entries SET {column} = :value WHERE id = 2")
        intruder.execute(change, {"value": was + " "})
        assert "entry 2 (run" in (ledger.verify() or ""), column
        intruder.execute(change, {"value": was})
    assert ledger.verify() is None


def test_an_entry_that_was_altered_and_hashed_anew_breaks_the_next(ledger: Ledger, intruder: Connection) -> None:
    for number in range(1, 4):
        ledger.record("run", "note", str(number), Note(text="true"))
    drop_triggers(intruder)
    row = EntryRow(**intruder.execute(text("SELECT * FROM entries WHERE id = 2")).mappings().one())
    row.body = '{"marks":[],"text":"false"}'
    forged = {"body": row.body, "hash": row.computed_hash()}
    intruder.execute(text("UPDATE entries SET body = :body, hash = :hash WHERE id = 2"), forged)
    assert "entry 3 (run, note, 3) is broken: it does not follow" in (ledger.verify() or "")


def test_an_entry_that_was_taken_out_is_missed(ledger: Ledger, intruder: Connection) -> None:
    for number in range(1, 4):
        ledger.record("run", "note", str(number), Note(text="true"))
    drop_triggers(intruder)
    intruder.execute(text("DELETE FROM entries WHERE id = 2"))
    assert "entry 2 should stand before it and is missing" in (ledger.verify() or "")


# ── many at once ──


def test_an_older_ledger_is_known_as_such_and_never_taken_for_the_newer(
    ledger: Ledger, intruder: Connection, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    for key in "abc":
        ledger.record("run", "note", key, Note(text=key))
    assert ledger.why_older() is None
    drop_triggers(intruder)
    intruder.execute(text("DELETE FROM entries WHERE key = 'c'"))  # as a backup from before has it
    assert "entry 3, which this home has seen in the ledger, is not there" in str(ledger.why_older())
    ledger.record("run", "note", "d", Note(text="d"))
    assert "is another one" in str(ledger.why_older())
    ledger.record("run", "note", "e", Note(text="e"))
    said = str(ledger.why_older())
    assert "is another one" in said, "however long it grows"
    assert "secret" not in said and ledger.verify() is None
    Path(said.rpartition(" remove ")[2]).unlink()
    assert ledger.why_older() is None, "on purpose"
    ledger.record("run", "note", "f", Note(text="f"))
    assert ledger.why_older() is None
    assert seen.newest(seen.place_of(parse(url))) == (5, ledger.entries()[-1].hash)


def test_an_emptied_database_is_not_taken_for_a_new_ledger(
    ledger: Ledger, intruder: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if intruder.dialect.name == "sqlite":
        return  # a file that was emptied: tests/unit/test_moved.py
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    ledger.record("run", "note", "a", Note(text="a"))
    mark = next((tmp_path / "ledgers").iterdir())
    intruder.execute(text("DROP SCHEMA public CASCADE"))
    intruder.execute(text("CREATE SCHEMA public"))
    database._engine.cache_clear()  # as the next process sees it
    with pytest.raises(LedgerError, match="the database is empty: put it back") as told:
        ledger.entries()
    assert str(mark) in str(told.value)
    mark.unlink()
    assert ledger.entries() == ()


def test_eight_threads_write_one_whole_chain(ledger: Ledger) -> None:
    def write(thread: int) -> None:
        for number in range(20):
            ledger.record(f"run-{thread}", "note", str(number), Note(text="x"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert [entry.number for entry in ledger.entries()] == list(range(1, 161))
    assert ledger.verify() is None


def test_four_processes_on_a_new_database_make_one_schema_and_one_entry(ledger: Ledger) -> None:
    def write() -> None:
        assert ledger.record("run", "note", "1", Note(text=str(os.getpid()))) == ledger.find("run", "note", "1", Note)

    processes = [fork(write) for _ in range(4)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    (entry,) = ledger.entries()
    assert entry.body["text"] in {str(process.pid) for process in processes}
    assert ledger.verify() is None


def test_a_child_of_a_process_that_uses_the_ledger_has_connections_of_its_own(ledger: Ledger) -> None:
    ledger.record("run", "note", "parent", Note(text="x"))
    child = fork(lambda: ledger.record("run", "note", "child", Note(text="x")))
    child.join(60)
    assert child.exitcode == 0
    ledger.record("run", "note", "parent again", Note(text="x"))
    assert [entry.key for entry in ledger.entries()] == ["parent", "child", "parent again"]


def test_a_process_killed_while_it_writes_leaves_a_whole_chain(ledger: Ledger) -> None:
    def write_for_ever() -> None:
        for number in range(1_000_000):
            ledger.record(str(os.getpid()), "note", str(number), Note(text="x" * 2000))

    for _ in range(3):
        before = len(ledger.entries())
        writer = fork(write_for_ever)
        deadline = time.monotonic() + 60
        while len(ledger.entries()) < before + 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        writer.kill()
        writer.join()
        assert len(ledger.entries()) >= before + 5
        assert ledger.verify() is None
    ledger.record("run", "note", "after", Note(text="goes on"))
    assert ledger.verify() is None


def test_a_process_killed_inside_its_transaction_leaves_nothing_and_locks_nobody_out(ledger: Ledger, url: str) -> None:
    ledger.record("run", "note", "1", Note(text="x"))

    def die() -> None:
        with transaction(url, write=True) as session:
            row = EntryRow(id=2, at="", run_id="r", kind="k", key="k", type="", body="", previous="", hash="")
            session.add(row)
            session.flush()
            os.kill(os.getpid(), 9)

    process = fork(die)
    process.join(60)
    assert process.exitcode == -9
    ledger.record("run", "note", "2", Note(text="x"))
    assert [entry.key for entry in ledger.entries()] == ["1", "2"]
    assert ledger.verify() is None


# ── leases ──


def test_a_lease_has_one_holder_at_a_time(ledger: Ledger) -> None:
    assert ledger.holder_of("production") is None
    assert ledger.lease("production", "a", 60) == 1
    assert ledger.lease("production", "b", 60) is None
    assert ledger.holder_of("production") == "a"
    assert ledger.lease("staging", "b", 60) == 1


def test_a_lease_of_what_nobody_resumes_ends_with_its_process(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    (tmp_path / "run").mkdir(exist_ok=True)

    def takes(name: str, *, marked: bool) -> BaseProcess:
        def work() -> None:
            ledger.lease(name, "gone", 900, alive.mark_of_this() if marked else None)
            time.sleep(600)

        process = fork(work)
        until(lambda: ledger.holder_of(name) == "gone")
        return process

    ends, stays = takes("ends", marked=True), takes("stays", marked=False)
    assert ledger.lease("ends", "next", 900) is None, "it lives"
    for process in (ends, stays):
        process.kill()
        process.join()
    assert (ledger.holder_of("ends"), ledger.holder_of("stays")) == (None, "gone")
    assert ledger.lease("ends", "next", 900) == 2
    assert ledger.holder_of("ends") == "next", "whoever it was, the new one is another process"
    assert ledger.lease("stays", "next", 900) is None, "a run goes on elsewhere"
    where, number, _ = alive.mark_of_this().split()
    for mark in (f"elsewhere/pid:[1] {number} 1", "", "x", f"{where} abc 1", where):
        assert not alive.is_dead(mark), mark
    assert alive.is_dead(f"{where} {number} 1"), "the number was used again"
    [boots] = (tmp_path / "run").glob("boots-*")
    assert boots.read_text().split() == [where.partition("/")[0]]
    boots.write_text(f"before\n{boots.read_text()}")
    assert ledger.lease("before", "gone", 900, f"before/pid:[1] {number} 1") == 1
    assert ledger.lease("before", "next", 900) == 2, "the machine has started anew since"
    assert not alive.is_dead(alive.mark_of_this())
    monkeypatch.setattr(alive, "_machine", lambda: ["the same id and name", "another network card"])
    assert not alive.is_dead(f"before/pid:[1] {number} 1"), "a clone knows nothing of the other one's starts"


def test_a_holder_renews_its_lease_and_keeps_its_token(ledger: Ledger) -> None:
    assert ledger.lease("production", "a", 0.2) == 1
    assert ledger.lease("production", "a", 60) == 1
    time.sleep(0.3)
    assert ledger.holder_of("production") == "a"


def test_an_expired_lease_goes_to_the_next_with_a_higher_token(ledger: Ledger) -> None:
    assert ledger.lease("production", "a", 0.1) == 1
    time.sleep(0.2)
    assert ledger.holder_of("production") is None
    assert ledger.lease("production", "b", 60) == 2
    assert ledger.lease("production", "a", 60) is None


def test_what_was_taken_is_renewed_after_its_time_but_never_after_it_was_given_back_or_taken(ledger: Ledger) -> None:
    first = ledger.lease("production", "a", 0.1)
    assert first is not None
    time.sleep(0.15)
    assert ledger.renew("production", first, 60)
    assert ledger.holder_of("production") == "a"
    ledger.release("production", "a")
    assert not ledger.renew("production", first, 60)
    assert ledger.holder_of("production") is None
    assert ledger.lease("production", "b", 0.1) == first + 1
    time.sleep(0.15)
    assert not ledger.renew("production", first, 60), "nor what another took, though it ran out"
    assert ledger.holder_of("production") is None
    assert not ledger.renew("never", 1, 60)


def test_a_released_lease_is_free_and_its_tokens_never_go_back(ledger: Ledger) -> None:
    ledger.lease("production", "a", 60)
    ledger.release("production", "a")
    ledger.release("production", "a")
    assert ledger.holder_of("production") is None
    assert ledger.lease("production", "b", 60) == 2
    ledger.release("production", "b")
    assert ledger.lease("production", "a", 60) == 3


def test_nobody_releases_the_lease_of_another(ledger: Ledger) -> None:
    ledger.lease("production", "a", 60)
    ledger.release("production", "b")
    ledger.release("nothing", "b")
    assert ledger.holder_of("production") == "a"


def test_of_eight_who_ask_at_once_one_gets_the_lease(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(lambda holder: ledger.lease("production", str(holder), 60), range(8)))
    assert sorted(tokens, key=str) == [1] + [None] * 7


# ── schema, URL, secrets ──


def test_the_migrated_schema_is_the_one_the_rows_describe(intruder: Connection) -> None:
    ours = {
        "entries", "leases", "lockgate_tokens", "lockgate_signed_answers", "lockgate_passwords", "lockgate_sign_ins",
        "lockgate_identities",
    }  # fmt: skip

    def is_ours(name: str | None, kind: str, _: object) -> bool:
        return name in ours if kind == "table" else (kind, name) != ("column", "since")  # older doors have it

    options = {"version_table": VERSION_TABLE, "include_name": is_ours}
    context = MigrationContext.configure(intruder, opts=options)
    assert compare_metadata(context, SQLModel.metadata) == []


MADE = {
    "0001": """INSERT INTO entries (id, at, run_id, kind, key, type, body, previous, hash) VALUES (:id, :at, :run_id,
            :kind, :key, :type, :body, :previous, :hash);
        INSERT INTO leases (name, holder, token, expires_at) VALUES ('branch', 'run', 7, 4000000000)""",
    "0002": """INSERT INTO lockgate_tokens (id, name, hash, roles, added_at) VALUES ('t', 'ann', 'h', 'review submit',
            '2026-01-02T03:04:05+00:00');
        INSERT INTO lockgate_signed_answers (run_id, question, digest, "by", token_id, at) VALUES ('run', 'q', 'd',
            'ann', 't', '2026-01-02T03:04:06+00:00')""",
    "0003": """UPDATE leases SET process = NULL""",
    "0004": """INSERT INTO lockgate_passwords (token_id, hash, since) VALUES ('t', 'argon', 1767322000.5);
        INSERT INTO lockgate_sign_ins (name, tries, last_at) VALUES ('n', 3, 1767322001.5)""",
}
"""Schema → what a Lockgate of that schema writes."""


def test_a_ledger_of_any_earlier_schema_is_brought_forward_with_all_that_it_has(url: str) -> None:
    config, parsed, asked = Config(), parse(url), list[str]()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))

    def hear(connection: Connection, cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    first = {
        "id": 1, "at": "2026-01-02T03:04:05.000000+00:00", "run_id": "run", "kind": "note", "key": "1",
        "type": Note.__qualname__, "body": canonical(Note(text="old").model_dump(mode="json")),
    }  # fmt: skip
    if parsed.get_backend_name() == "sqlite":
        Path(parsed.database or "").parent.mkdir()
    engine = create_engine(parsed)
    for version, statements in MADE.items():
        with engine.begin() as connection:
            config.attributes.update(connection=connection, version_table=VERSION_TABLE)
            command.upgrade(config, version)
            for statement in statements.split(";\n"):
                connection.execute(text(statement), {**first, "previous": GENESIS, "hash": hash_of(GENESIS, first)})
    with engine.connect() as older:  # a door that has it open all the while
        event.listen(Engine, "before_cursor_execute", hear)
        (entry,) = Ledger(url=SecretStr(url)).entries()
        event.remove(Engine, "before_cursor_execute", hear)
        assert entry.hash == hash_of(GENESIS, first) and Ledger(url=SecretStr(url)).verify() is None
        tokens, passwords = Tokens(url), Passwords(url)
        ann = tokens.named("ann")
        assert ann and ann.roles == (Role.REVIEW, Role.SUBMIT)
        assert tokens.signed("run", "q", "d") == Signed("ann", "")
        assert passwords.version("t") == hashlib.sha256(b"argon").hexdigest()
        assert older.execute(text("SELECT token_id, hash, since FROM lockgate_passwords")).all() == [
            ("t", "argon", 1767322000.5)
        ]
        assert older.execute(text("SELECT name, holder, token, process FROM leases")).all() == [
            ("branch", "run", 7, None)
        ]
        assert older.execute(text("SELECT tries FROM lockgate_sign_ins")).scalar_one() == 3
        older.rollback()
        tokens.add("bob", {Role.REVIEW})
        bob = passwords.set("bob", "four plain old words")
        read = older.execute(text("SELECT since FROM lockgate_passwords WHERE token_id = :id"), {"id": bob.id})
        assert read.scalar_one() == 0, "what is new is read by the older one"
        older.rollback()
        older.execute(text(MADE["0004"].partition(";")[0].replace("'t'", "'u'")))
        older.commit()
        assert passwords.version("u") == passwords.version("t"), "and what the older one writes by the new one"
    engine.dispose()
    assert any("TABLE lockgate_identities" in each for each in asked)
    assert not [each for each in asked if "DROP COLUMN" in each], "SQLite before 3.35 has no such statement"


def test_a_schema_newer_than_the_code_is_left_alone(ledger: Ledger, intruder: Connection, url: str) -> None:
    ledger.record("run", "note", "1", Note(text="x"))
    intruder.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(LedgerError, match=r"9999, which is newer .* upgrade Lockgate"):
        Ledger(url=SecretStr(f"{url}?timeout=20" if url.startswith("sqlite") else f"{url}?connect_timeout=9")).entries()
    assert intruder.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one() == "9999"


def test_a_password_is_in_no_error_and_no_repr(postgres_url: str) -> None:
    canary = "c4n4ry-pa55"
    host = postgres_url.rpartition("@")[2]
    for url in (
        f"postgresql://lockgate:{canary}@{host}",  # reached, and refused
        f"postgresql+psycopg://lockgate:{canary}@127.0.0.1:1/postgres",  # nobody listens
        f"postgresql://{host}?user=lockgate&password={canary}",
        f"postgresql://{host}?nonsense={canary}",
        f"postgresql://lockgate:x@{canary}@{host}",  # an @ in the password, not encoded
        f"postgresql://lockgate:x@{host}@{canary}",
        f"mysql://lockgate:{canary}@{host}",
        canary,
    ):
        ledger = Ledger(url=SecretStr(url))
        with pytest.raises(LedgerError) as caught:
            ledger.record("run", "note", "1", Note(text="x"))
        told = "".join(traceback.format_exception(caught.value)) + repr(ledger) + str(ledger) + ledger.model_dump_json()
        assert canary not in told, url.replace(canary, "…")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("mysql://host/db", "sqlite and postgresql, not mysql"),
        ("/var/lib/ledger.db", "not a database URL"),
        ("postgresql://host:port/db", "not a database URL"),
        ("sqlite:////proc/nowhere/ledger.db", "could not be read"),
    ],
)
def test_a_url_that_cannot_be_a_ledger_is_refused(url: str, why: str) -> None:
    with pytest.raises(LedgerError, match=why):
        Ledger(url=SecretStr(url)).entries()


def test_the_default_ledger_is_a_private_file_in_lockgates_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home 100%"))
    ledger = Ledger()
    ledger.record("run", "note", "1", Note(text="x"))
    path = tmp_path / "home 100%" / "ledger.db"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_reader_without_prefect_reads_what_was_written(ledger: Ledger) -> None:
    """`lockgate status`, `bill` and `review` read so; the whole entry is the same, and so is each selection."""
    for run, kind, key in (("a", "plan", "1"), ("b", "plan", "1"), ("a", "tested", "ä'?%s")):
        ledger.record(run, kind, key, Note(text=f"{run} {kind} ?%s 'quoted'"))
    reader = Reader(ledger.url.get_secret_value())
    assert reader.entries() == ledger.entries()
    assert reader.entries("a") == ledger.entries(run_id="a")
    assert reader.entries("a", ("tested", "nothing")) == ledger.entries(run_id="a", kind="tested")
    assert reader.entries(after=1) == ledger.entries(after=1)


def test_a_reader_waits_for_a_ledger_that_is_being_made(tmp_path: Path) -> None:
    at = tmp_path / "ledger.db"
    at.touch()  # as SQLite makes it, a moment before its tables
    ledger = Ledger(url=SecretStr(f"sqlite:///{at}"))
    with ThreadPoolExecutor(1) as reading:
        read = reading.submit(Reader(f"sqlite:///{at}").entries)
        time.sleep(0.3)
        assert not read.done()
        ledger.record("run", "plan", "1", Note(text="made"))
        until(read.done)
        assert len(read.result()) <= 1


def test_a_reader_makes_no_ledger_and_says_what_is_wrong_without_the_password(tmp_path: Path) -> None:
    assert Reader(f"sqlite:///{tmp_path}/none.db").entries() == ()
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "broken.db").write_text("this is no database, whatever its name says, and it is long enough")
    with pytest.raises(LedgerError, match="could not be read"):
        Reader(f"sqlite:///{tmp_path}/broken.db").entries()
    with pytest.raises(LedgerError, match="could not be read") as told:
        Reader("postgresql://someone:hunter2@127.0.0.1:1/none").entries()
    assert "hunter2" not in str(told.value)


def test_a_reader_misses_a_server_that_is_gone_without_a_word(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, told = new_database(postgres_url), []
    real = psycopg.connect

    def watched(*args: Any, **given: Any) -> Any:
        made = real(*args, **given)
        told.append(made.info.get_parameters())
        return made

    Ledger(url=url).record("run", "plan", "1", Note(text="made"))
    monkeypatch.setattr(psycopg, "connect", watched)
    for address in (url, f"{url}{'&' if '?' in url else '?'}keepalives_idle=99"):
        assert len(Reader(address).entries()) == 1
    assert [one["keepalives_idle"] for one in told] == ["15", "99"], "what the url says counts"
    assert {one["tcp_user_timeout"] for one in told} == {"30000"}
