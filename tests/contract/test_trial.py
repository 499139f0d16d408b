"""A release tried in private: the real shop, its alembic migrations, a real PostgreSQL, SQLite, and bubblewrap."""

import contextlib
import datetime
import ipaddress
import json
import os
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from blocks.databases.postgres import PostgresDatabase
from blocks.databases.sqlite import SqliteDatabase
from blocks.host import processes
from blocks.host.files import owned
from blocks.targets.releases import ReleaseDirectory
from blocks.targets.trial import run as trial_run
from blocks.targets.trial.database import place_of
from blocks.targets.trial.trial import Trial, confined, sweep, tried
from domain.errors import DatabaseError, TargetError
from domain.migration import MigrationBudget, Patience, Rehearsal, nothing_runs
from domain.task import Decision
from domain.trees import Tree, TreeEntry
from tests.contract.trials import build_of, given, revision, shop, toolchain_at
from tests.postgres import new_database
from tests.unit.policy_cases import judged

ONE, TWO = "1" * 40, "2" * 40
UP, DOWN = "python -m alembic upgrade head", "python -m alembic downgrade -1"
ROOMY = MigrationBudget(longest_blocked_read_s=60, longest_blocked_write_s=60)
QUICK = Patience(lock_timeout_s=0.3, tries=20, first_pause_s=0.05, longest_pause_s=0.2)
CANARY = "canary-91c4-of-the-platform"
PROJECT = Path(__file__).parents[2]

Database = PostgresDatabase | SqliteDatabase
Tries = Callable[..., contextlib.AbstractContextManager[Trial]]


@pytest.fixture(scope="session")
def toolchain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toolchain_at(tmp_path_factory.mktemp("toolchains") / "shop")


@pytest.fixture(autouse=True)
def secret_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PLATFORM_SECRET", CANARY)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "ledger.db").write_text(CANARY)
    return tmp_path / "home"


@pytest.fixture
def trials(tmp_path: Path, toolchain: Path) -> Iterator[Tries]:
    """Tries the shop with more files: `trials(TWO, revision(...))`."""

    def make(commit: str, more: Tree | None = None, **options: Any) -> contextlib.AbstractContextManager[Trial]:
        chosen: dict[str, Any] = {"command_timeout_s": 120, "start_timeout_s": 60, **options}
        build = build_of(shop() | (more or {}), toolchain, **chosen.pop("build", {}))
        return tried(tmp_path / "trials", build, commit, keep_out=tmp_path / "home", **chosen)

    yield make
    assert list((tmp_path / "trials").glob("lockgate_trial_*")) == []


@pytest.fixture(params=["postgresql", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path, trials: Tries) -> Iterator[Database]:
    """The shop's, as its running release left it."""
    made: Database
    if request.param == "sqlite":
        made = SqliteDatabase(path=tmp_path / "data" / "shop.db", copies=tmp_path / "copies", patience=QUICK,
                              long_transaction_s=0.3).confined(confined)  # fmt: skip
    else:
        made = postgres(new_database(request.getfixturevalue("postgres_url")))
    with trials(ONE) as trial:
        assert trial.migrate(UP)(address(made)).exit_code == 0
    yield made
    assert made.sweep() == ()


@pytest.fixture(params=["postgresql", "sqlite"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """One that no release has migrated yet."""
    if request.param == "postgresql":
        return postgres(new_database(request.getfixturevalue("postgres_url")))
    return SqliteDatabase(path=tmp_path / "data" / "shop.db", copies=tmp_path / "copies").confined(confined)


def postgres(url: str) -> PostgresDatabase:
    plain = SecretStr(url.replace("postgresql://", "postgresql+psycopg://"))
    return PostgresDatabase(url=plain, patience=QUICK, long_transaction_s=0.3)


def address(database: Database) -> str:
    return f"sqlite:///{database.path}" if isinstance(database, SqliteDatabase) else database.url.get_secret_value()


def rehearsed(database: Database, trials: Tries, up: str, down: str = "pass", **more: Any) -> Rehearsal:
    """A second release whose next alembic revision does this, beside the first, which runs."""
    with trials(TWO, revision(up, down)) as new, trials(ONE, start_timeout_s=15) as running:

        def stop() -> None:
            new.stop()
            running.stop()

        return database.rehearse(new.migrate(UP), new.migrate(DOWN), running.serves, stop=stop, **more)


def program(text: str) -> str:
    return f"python -c {shlex.quote(text)}"


# ── rehearsed and applied ──


def test_what_only_adds_is_rehearsed_and_applied(database: Database, trials: Tries) -> None:
    up = 'op.add_column("products", sa.Column("stock", sa.Integer))'
    seen = rehearsed(database, trials, up, 'op.drop_column("products", "stock")')
    assert judged(seen, ROOMY).decision is Decision.ACCEPTED, seen
    assert seen.downgrade is not None and seen.downgrade.is_proven and not seen.broken
    with trials(TWO, revision(up)) as trial:
        applied = database.apply(trial.migrate(UP), seen)
        assert applied.problem is None and applied.after == seen.after == database.current_schema()
        assert database.try_on_copy(trial.serves) is None


def test_a_contraction_that_the_running_release_does_not_survive_is_refused(database: Database, trials: Tries) -> None:
    renamed = 'op.execute("ALTER TABLE products RENAME COLUMN name TO title")'
    back = 'op.execute("ALTER TABLE products RENAME COLUMN title TO name")'
    seen = rehearsed(database, trials, renamed, back)
    verdict = judged(seen, ROOMY)
    assert verdict.decision is Decision.REFUSED and "migration-breaks-running" in verdict.rules
    assert "name" in seen.broken[-1] and "status fail" in seen.broken[-1], "its health said so"


def test_a_loss_is_for_a_person(database: Database, trials: Tries) -> None:
    seen = rehearsed(database, trials, 'op.execute("UPDATE products SET price_cents = 0")')
    verdict = judged(seen, ROOMY)
    assert verdict.decision is Decision.NEEDS_PERSON and "migration-lossy" in verdict.rules


def test_where_nothing_is_another_the_rehearsal_ends(database: Database, trials: Tries) -> None:
    with trials(TWO) as trial:
        seen = database.rehearse(
            trial.migrate(UP),
            trial.migrate("exit 1"),
            lambda url: pytest.fail("it was started"),
            queries=["SELECT 1"],
        )
    assert seen.changed_nothing and seen.behind_transaction is None and seen.downgrade is None
    assert judged(seen, ROOMY).decision is Decision.ACCEPTED


def test_a_new_revision_that_changes_a_version_alone_is_not_nothing(database: Database, trials: Tries) -> None:
    seen = rehearsed(database, trials, "pass")
    assert not seen.changed_nothing and seen.before == seen.after and seen.behind_transaction is not None
    assert judged(seen, ROOMY).decision is Decision.ACCEPTED


def test_the_first_release_begins_with_an_empty_file(tmp_path: Path, trials: Tries) -> None:
    path = tmp_path / "targets" / "shop" / "data" / "shop.db"
    fresh = SqliteDatabase(path=path, copies=tmp_path / "copies", long_transaction_s=0.1).confined(confined)
    with trials(ONE) as trial:
        with pytest.raises(DatabaseError, match="a release runs"):
            fresh.rehearse(trial.migrate(UP), None, trial.serves)
        seen = fresh.rehearse(trial.migrate(UP), None, nothing_runs)
        assert not path.parent.exists() and seen.source == seen.before == fresh.current_schema()
        applied = fresh.apply(trial.migrate(UP), seen)
        assert applied.problem is None and applied.backup is None and path.parent.stat().st_mode & 0o777 == 0o700
        assert fresh.try_on_copy(trial.serves) is None


# ── what a hostile release cannot do ──


def test_the_network_of_the_host_is_not_there(empty: Database, trials: Tries) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, trials(TWO) as trial:
        listener.settimeout(0)
        ask = f"import socket; socket.create_connection(('127.0.0.1', {listener.getsockname()[1]}), 3)"
        ran = trial.migrate(program(ask))(address(empty))
        assert ran.exit_code == 1 and "refused" in ran.output
        ran = trial.migrate("cat /proc/net/route /proc/net/dev")(address(empty))
        assert ran.exit_code == 0 and "eth" not in ran.output
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_neither_secrets_nor_home_nor_sockets_are_there(
    empty: Database, trials: Tries, secret_home: Path, tmp_path: Path
) -> None:
    look = f"env; cat {secret_home}/ledger.db; find / -xdev -type s; ls {tmp_path} /run /var; cat /proc/*/environ"
    with trials(TWO) as trial:
        ran = trial.migrate(look)(address(empty))
    assert CANARY not in ran.output and "DATABASE_URL" in ran.output
    assert "home" not in [line for line in ran.output.splitlines() if "/" not in line and "=" not in line]
    assert ".sock" not in ran.output and "/.s." not in ran.output


def test_the_tree_cannot_be_written(empty: Database, trials: Tries) -> None:
    with trials(TWO) as trial:
        assert "Read-only" in trial.migrate("echo > /app/alembic.ini")(address(empty)).output


REACH = """
import os, sys, psycopg
from psycopg.conninfo import make_conninfo
url = os.environ["DATABASE_URL"].replace("+psycopg", "")
for change in {changes}:
    try:
        psycopg.connect(make_conninfo(url, **change)).close()
        print("came through:", change)
    except psycopg.Error as err:
        print(err)
"""


def test_only_the_role_and_the_database_of_the_url_come_through(postgres_url: str, trials: Tries) -> None:
    database = postgres(new_database(postgres_url))
    own = urlsplit(postgres_url)
    changes: list[dict[str, str]] = [
        {"dbname": "postgres"},
        {"user": str(own.username), "password": str(own.password)},
        {"dbname": urlsplit(address(database)).path[1:]},
        {"options": "-c x=1", "replication": "database"},
    ]
    said: list[str] = []
    with trials(TWO) as trial:
        hostile = trial.migrate(program(REACH.format(changes=changes)))
        database.rehearse(lambda url: said.append((ran := hostile(url)).output) or ran, None, nothing_runs)  # type: ignore[func-returns-value]
    assert said and "came through" not in said[0]
    assert said[0].count("a trial may only ask for the database and the role of its url") == len(changes)


@pytest.mark.parametrize(
    "greeting",
    [
        b"user\0{user}\0database\0{database}\0user\0postgres\0\0",
        b"user\0{user}\0database\0{database}\0\0more\0",
        b"user\0{user}\0database\0{database}\0",
        b"user\0{user}\0\0",
        b"",
    ],
)
def test_a_first_message_that_could_be_read_in_two_ways_does_not_pass(
    postgres_url: str, trials: Tries, greeting: bytes
) -> None:
    own = urlsplit(postgres_url)
    body = (3 << 16).to_bytes(4) + greeting.replace(b"{user}", str(own.username).encode()).replace(
        b"{database}", own.path[1:].encode()
    ).replace(b"\0user\0postgres", b"\0user\0somebody")
    if greeting.startswith(b"user\0{user}\0\0"):
        body = body.replace(str(own.username).encode(), b"somebody")
    message = (len(body) + 4).to_bytes(4) + body
    ask = (
        f"import socket; s = socket.create_connection(('127.0.0.1', 5432)); s.sendall({message!r}); print(s.recv(999))"
    )
    with trials(TWO) as trial:
        ran = trial.migrate(program(ask))(postgres_url)
    assert "a trial may only ask" in ran.output


def test_passwords_are_taken_out_of_what_is_printed(postgres_url: str, trials: Tries) -> None:
    password = str(urlsplit(postgres_url).password)
    with trials(TWO, build={"run": "echo $DATABASE_URL; exit 3"}) as trial:
        ran = trial.migrate("env")(postgres_url)
        why = str(trial.serves(postgres_url))
    for said in (ran.output, why):
        assert password not in said and "[secret]" in said and "@127.0.0.1:5432/" in said


def test_a_command_that_takes_too_long_is_stopped_with_all_that_it_started(empty: Database, trials: Tries) -> None:
    with trials(TWO, command_timeout_s=1.5) as trial:
        ran = trial.migrate("echo began; (setsid sleep 600 &); sleep 600")(address(empty))
        assert ran.exit_code is None and ran.output.startswith("began") and "over 1.5 s" in ran.output
        assert not processes.is_running(trial.mark)


def test_what_a_command_leaves_behind_is_gone_when_it_ends(empty: Database, trials: Tries) -> None:
    with trials(TWO) as trial:
        ran = trial.migrate("setsid sleep 600 & setsid sleep 600 >/dev/null 2>&1 & echo done")(address(empty))
        assert ran.exit_code == 0 and ran.output == "done\n"
        assert not processes.is_running(trial.mark)


def test_output_is_bounded(empty: Database, trials: Tries) -> None:
    with trials(TWO, build={"run": "yes | head -c 30000000; exit 3"}) as trial:
        ran = trial.migrate("yes | head -c 30000000; echo end")(address(empty))
        assert ran.exit_code == 0 and len(ran.output) <= 64_000 and ran.output.endswith("end\n")
        assert len(str(trial.serves(address(empty)))) < 1000


HOG = "import time; x = bytearray(150 << 20); time.sleep(60)"


def test_all_processes_together_have_so_much_memory(
    empty: Database, trials: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_run, "_MEMORY_BYTES", 256 << 20)
    greedy = program("x = bytearray(400 << 20)")
    with trials(TWO, build={"run": f"{program(HOG)} & {program(HOG)} & sleep 60"}) as trial:
        ran = trial.migrate(greedy)(address(empty))
        assert ran.exit_code == 1 and "MemoryError" in ran.output, "one alone"
        ran = trial.migrate(f"{program(HOG)} & {program(HOG)} & sleep 60")(address(empty))
        assert ran.exit_code not in (0, None) and "it took more than 256 MB of memory" in ran.output
        assert str(trial.serves(address(empty))).startswith("it took more than 256 MB of memory")
        assert not processes.is_running(trial.mark)


def test_there_are_only_so_many_processes(empty: Database, trials: Tries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_run, "_PROCESSES", 40)
    with trials(TWO) as trial:
        ran = trial.migrate("for n in $(seq 60); do sleep 30 & done; echo all")(address(empty))
        assert "all" not in ran.output and "annot fork" in ran.output


def test_nothing_can_be_filled_but_its_own_small_places(empty: Database, trials: Tries) -> None:
    places = "for place in / /dev /etc /usr /proc /app /mnt; do touch $place/x 2>/dev/null && echo wrote $place; done"
    fill = "for place in /tmp /dev/shm; do head -c 300M /dev/zero > $place/x || echo full $place; done"
    with trials(TWO) as trial:
        ran = trial.migrate(f"{places}; {fill}")(address(empty))
    assert "wrote" not in ran.output
    assert "full /tmp" in ran.output and "full /dev/shm" in ran.output


FILLS = {
    "postgresql": "CREATE TABLE filled AS SELECT generate_series(1, 10000000000) AS n, repeat('x', 1000)",
    "sqlite": "CREATE TABLE filled AS WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s) "
    "SELECT n, randomblob(1000) FROM s",
}
SMALL = ROOMY.model_copy(update={"growth_bytes": 10_000_000})


def engine_of(database: Database) -> str:
    return "sqlite" if isinstance(database, SqliteDatabase) else "postgresql"


def is_stopped(seen: Rehearsal) -> None:
    problem = str(seen.under_load.problem)
    assert problem.startswith("it was stopped: a copy grew by") and problem.endswith("and 30,000,000 is the most")
    verdict = judged(seen, SMALL)
    assert verdict.decision is Decision.REFUSED
    assert set(verdict.rules) == {"migration-fails", "migration-over-budget"}
    assert seen.timeline[-1] == problem


def test_a_migration_that_fills_the_disk_is_stopped(database: Database, trials: Tries) -> None:
    small = database.model_copy(update={"budget": SMALL})
    is_stopped(rehearsed(small, trials, f'op.execute("{FILLS[engine_of(database)]}")'))


def test_so_is_one_whose_downgrade_does(database: Database, trials: Tries) -> None:
    small = database.model_copy(update={"budget": SMALL})
    up = 'op.add_column("products", sa.Column("stock", sa.Integer))'
    is_stopped(rehearsed(small, trials, up, f'op.execute("{FILLS[engine_of(database)]}")'))


def test_files_beside_the_database_count_too(tmp_path: Path, trials: Tries) -> None:
    file = SqliteDatabase(path=tmp_path / "data" / "shop.db", copies=tmp_path / "copies", budget=SMALL).confined(
        confined
    )
    with trials(TWO) as trial:
        command = "mkdir $DATA_DIR/deep; n=0; while true; do n=$((n+1)); head -c 1M /dev/zero > $DATA_DIR/deep/$n; done"
        is_stopped(file.rehearse(trial.migrate(command), None, nothing_runs, stop=trial.stop))
    assert list(file.copies.glob("lockgate_copy_*")) == []


def test_nothing_is_hidden_in_a_directory_that_nobody_can_look_into(tmp_path: Path, trials: Tries) -> None:
    path, copies = tmp_path / "data" / "shop.db", tmp_path / "copies"
    file = SqliteDatabase(path=path, copies=copies).confined(confined)
    with trials(TWO) as trial:
        deep = f"cd $DATA_DIR; for n in $(seq 60); do mkdir {'d' * 100}; cd -P {'d' * 100}; done; sleep 60"
        seen = file.rehearse(trial.migrate(deep), None, nothing_runs, stop=trial.stop)
    assert "nobody can see how much of the disk it takes" in str(seen.under_load.problem)
    assert list(file.copies.glob("lockgate_copy_*")) == []


PLANTED = """with op.get_context().autocommit_block():
        op.execute("CREATE TABLE filled (n bigint, x text)")
        op.execute("CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.filled "
                   "SELECT generate_series(1, 10000000000), repeat('x', 1000); RETURN NEW; END $$")
        op.execute("CREATE TRIGGER fill BEFORE UPDATE ON products FOR EACH ROW EXECUTE FUNCTION fill()")
        op.execute("SELECT pg_sleep(1)")"""
"""Our load updates a row of each table meanwhile."""


def test_what_it_planted_for_our_own_statements_is_stopped_too(postgres_url: str, trials: Tries) -> None:
    small = postgres(new_database(postgres_url)).model_copy(update={"budget": SMALL})
    with trials(ONE) as trial:
        assert trial.migrate(UP)(address(small)).exit_code == 0
    is_stopped(rehearsed(small, trials, PLANTED))
    assert small.sweep() == ()


def test_what_a_query_sorts_in_is_bounded_by_the_server(postgres_url: str, trials: Tries) -> None:
    small = postgres(new_database(postgres_url)).model_copy(update={"budget": SMALL})
    with trials(ONE) as trial:
        assert trial.migrate(UP)(address(small)).exit_code == 0
    seen = rehearsed(small, trials, 'op.execute("SELECT count(*) FROM generate_series(1, 10000000000)")')
    assert "temporary file size exceeds" in str(seen.under_load.problem)


# ── whether it serves ──


SLOW = """
import http.server, json, os, sys
ASKED = []
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ASKED.append(1)
        well = len(ASKED) > int(sys.argv[2])
        body = json.dumps({"status": "pass" if well else "fail", "releaseId": os.environ["RELEASE_ID"]}).encode()
        self.send_response(200 if well else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.mark.parametrize(("sick", "is_well"), [(15, True), (10_000, False)])
def test_a_service_may_be_sick_until_its_time_is_over(tmp_path: Path, trials: Tries, sick: int, is_well: bool) -> None:
    more = {"slow.py": TreeEntry(0o100644, SLOW.encode())}
    with trials(
        ONE, more, start_timeout_s=60 if is_well else 6, build={"run": f"sleep 1; python slow.py {{port}} {sick}"}
    ) as trial:
        assert (trial.serves(f"sqlite:///{tmp_path}/data/x.db") is None) is is_well


def test_a_release_that_is_another_or_ends_or_never_answers_is_not_well(tmp_path: Path, trials: Tries) -> None:
    url = f"sqlite:///{tmp_path}/data/x.db"
    more = {"slow.py": TreeEntry(0o100644, SLOW.encode())}
    with trials(ONE, more, build={"run": "python slow.py {port} 0"}) as trial:
        assert trial.serves(url) is None and trial.serves(url) is None, "it is gone in between"
        assert not processes.is_running(trial.mark)
    for run, why in (
        ("RELEASE_ID=other python slow.py {port} 0", "'other' answers"),
        ("echo it cannot go on; exit 3", "its process ended\nthe end of its log:\nit cannot go on"),
        ("sleep 600", "not healthy within 5 s: no answer from 127.0.0.1:8000/health"),
    ):
        with trials(ONE, more, start_timeout_s=60 if "exit" in run else 5, build={"run": run}) as trial:
            assert why in str(trial.serves(url))


def test_a_service_finds_what_a_release_finds(tmp_path: Path, trials: Tries) -> None:
    (tmp_path / "data").mkdir()
    given(tmp_path / "data")
    say = {"run": "echo $PORT $RELEASE_ID $COLOUR $DATA_DIR $STORE {release}; exit 1", "COLOUR": "blue"}
    with trials(ONE, build=say, variable="STORE") as trial:
        why = str(trial.serves(f"sqlite:///{tmp_path}/data/x.db?timeout=0.3"))
    assert f"8000 {ONE} blue /data sqlite:////data/x.db?timeout=0.3 {ONE}" in why


# ── addresses ──


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://u:p4ssw0rd@h/d", "only sqlite"),
        ("sqlite:///shop.db", "no absolute path"),
        ("postgresql://u:p4ssw0rd@h1,h2/d", "one host"),
        ("postgresql://u:p4ssw0rd@/d", "one host"),
        ("postgresql://u:p4ssw0rd@h", "name user and database"),
        ("postgresql://u:p4ssw0rd@h/d?sslmode=maybe", "sslmode=maybe is unknown"),
        ("postgresql://u:p4ssw0rd@h/d?sslmode=verify-full&sslrootcert=/nowhere", "certificates"),
        ("postgresql://u:p4ssw0rd@h/d?channel_binding=require", "channel_binding=require"),
        ("postgresql://u:p4ssw0rd@h/d?nonsense=p4ssw0rd", "cannot be parsed"),
    ],
)
def test_addresses_that_cannot_be_brought_there_say_why(url: str, why: str) -> None:
    with pytest.raises(DatabaseError, match=why) as told:
        place_of(url)
    assert "p4ssw0rd" not in str(told.value)


def test_a_url_keeps_its_driver_account_and_options_inside() -> None:
    place = place_of(
        "postgresql+psycopg://us%40er:p%20word@db.example/d%2Fb?sslmode=require&options=-c%20lock_timeout%3D9"
    )
    assert place.url == "postgresql+psycopg://us%40er:p%20word@127.0.0.1:5432/d%2Fb?options=-c%20lock_timeout%3D9"
    assert place.clean(f"{place.url} p word") == place.url.replace("p%20word", "[secret]") + " [secret]"


def test_a_server_is_reached_through_its_unix_socket(postgres_url: str, trials: Tries) -> None:
    with psycopg.connect(postgres_url) as connection:
        (folder,) = connection.execute("SHOW unix_socket_directories").fetchone() or ("",)
    own = urlsplit(postgres_url)
    url = f"postgresql://{own.username}:{own.password}@{own.path}?host={folder}&port={own.port}&sslmode=require"
    with trials(TWO) as trial:
        assert trial.migrate(program(SHOWN))(url).output == "False\n"


# ── encryption ──

SHOWN = """
import os, psycopg
with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    print(connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()[0])
    assert len(connection.execute("SELECT repeat('x', 3000000)").fetchone()[0]) == 3000000
    assert connection.execute("SELECT length(%s)", ["y" * 3000000]).fetchone()[0] == 3000000
"""


def authority() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    return key, signed("an authority", key, key, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority")]))


def signed(
    name: str, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, issuer: x509.Name
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=key is by, path_length=None), critical=True)
    )
    return (builder if key is by else builder.add_extension(alternative, critical=False)).sign(by, hashes.SHA256())


@pytest.fixture
def encrypted(postgres_url: str, tmp_path: Path) -> Iterator[Path]:
    """The server speaks TLS meanwhile; the file of the authority that signed it."""
    by, root = authority()
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "root.pem").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "other.pem").write_bytes(authority()[1].public_bytes(serialization.Encoding.PEM))
    content = {
        "server.crt": signed("db", key, by, root.subject).public_bytes(serialization.Encoding.PEM),
        "server.key": key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                        serialization.NoEncryption()),
    }  # fmt: skip
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        (data,) = connection.execute("SHOW data_directory").fetchone() or ("",)
        for name, text in content.items():
            (Path(data) / name).write_bytes(text)
            (Path(data) / name).chmod(0o600)
            os.chown(Path(data) / name, Path(data).stat().st_uid, Path(data).stat().st_gid)
        switched(connection, "on")
        yield tmp_path / "root.pem"
        switched(connection, "off")


def switched(connection: psycopg.Connection, value: str) -> None:
    connection.execute(f"ALTER SYSTEM SET ssl = {value}".encode())
    connection.execute("SELECT pg_reload_conf()")
    for _ in range(200):
        if connection.execute("SHOW ssl").fetchone() == (value,):
            return
        threading.Event().wait(0.05)
    raise AssertionError("the server did not take it")


def test_the_way_to_the_server_is_encrypted_as_the_url_says(postgres_url: str, trials: Tries, encrypted: Path) -> None:
    wrong = encrypted.with_name("other.pem")
    name = postgres_url.replace("127.0.0.1", "localhost")
    with trials(TWO) as trial:
        ask = trial.migrate(program(SHOWN))
        for url, said in (
            (f"{postgres_url}?sslmode=disable", "False\n"),
            (f"{postgres_url}?sslmode=allow", "False\n"),
            (f"{postgres_url}?sslmode=prefer", "True\n"),
            (f"{postgres_url}?sslmode=require", "True\n"),
            (f"{postgres_url}?sslmode=verify-ca&sslrootcert={encrypted}", "True\n"),
            (f"{postgres_url}?sslmode=verify-full&sslrootcert={encrypted}", "True\n"),
            (f"{name}?sslmode=verify-ca&sslrootcert={encrypted}", "True\n"),
        ):
            assert ask(url).output == said, url.partition("?")[2]
        for url in (
            f"{postgres_url}?sslmode=require&sslrootcert={wrong}",
            f"{postgres_url}?sslmode=verify-ca&sslrootcert={wrong}",
            f"{postgres_url}?sslmode=verify-full&sslrootcert={wrong}",
            f"{name}?sslmode=verify-full&sslrootcert={encrypted}",
        ):
            ran = ask(url)
            assert ran.exit_code == 1 and "the database server cannot be reached" in ran.output
            assert "certificate verify failed" in ran.output


def test_a_server_without_encryption_is_turned_down_where_the_url_asks_for_it(postgres_url: str, trials: Tries) -> None:
    with trials(TWO) as trial:
        assert "does not offer encryption" in trial.migrate(program(SHOWN))(f"{postgres_url}?sslmode=require").output
        assert trial.migrate(program(SHOWN))(f"{postgres_url}?sslmode=prefer").output == "False\n"


# ── killed ──

CHILD = """
import json, os, sys
from pathlib import Path
from blocks.databases.postgres import PostgresDatabase
from blocks.databases.sqlite import SqliteDatabase
from blocks.targets.trial.trial import confined, tried
from domain.migration import nothing_runs
from tests.contract.trials import build_of, shop
kind, fields, folder, toolchain, run, command = json.loads(os.environ["CASE"])
database = {"PostgresDatabase": PostgresDatabase, "SqliteDatabase": SqliteDatabase}[kind].model_validate(fields)
if kind == "SqliteDatabase":
    database = database.confined(confined)
build = build_of(shop(), Path(toolchain), run)
with tried(Path(folder), build, "1" * 40, keep_out=Path(folder).parent / "home", command_timeout_s=600,
           start_timeout_s=600) as trial:
    if command:
        database.rehearse(trial.migrate(command), None, nothing_runs)
    else:
        database.try_on_copy(trial.serves)
"""


@pytest.mark.parametrize("command", ["(setsid sleep 600 &); sleep 600", ""], ids=["migrating", "serving"])
def test_what_a_killed_worker_left_is_swept(
    empty: Database, tmp_path: Path, toolchain: Path, command: str, trials: Tries
) -> None:
    fields = {"url": address(empty)}
    if isinstance(empty, SqliteDatabase):
        fields = {"path": str(empty.path), "copies": str(empty.copies)}
    run = "(setsid sleep 600 &); sleep 600"
    case = [type(empty).__name__, fields, str(tmp_path / "trials"), str(toolchain), run, command]
    child = subprocess.Popen([sys.executable, "-c", CHILD], cwd=PROJECT, env={**os.environ, "CASE": json.dumps(case)})
    try:
        mark = until(
            lambda: next((ReleaseDirectory(path).mark for path in (tmp_path / "trials").glob("lockgate_trial_*")), None)
        )
        until(lambda: sleepers(mark))
        assert sweep(tmp_path / "trials") == () and empty.sweep() == (), "somebody works on it"
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert len(sweep(tmp_path / "trials")) == 1 and sweep(tmp_path / "trials") == ()
    assert not processes.is_running(mark)
    assert len(until(empty.sweep)) == 1


def sleepers(mark: str) -> bool:
    """Whether the trial's own command has begun: its first process has children below it."""
    inits = {process.pid for process in processes.marked(mark) if process.is_init}
    found = subprocess.run(["ps", "-eo", "ppid=,args="], capture_output=True, text=True, check=True).stdout
    return any(int(line.split()[0]) in inits and "sleep 600" in line for line in found.splitlines())


def until(look: Callable[[], Any]) -> Any:
    for _ in range(600):
        if found := look():
            return found
        threading.Event().wait(0.05)
    raise AssertionError("it never came")


def test_a_trial_that_was_killed_before_it_dies_with_us_is_swept(tmp_path: Path) -> None:
    """One that has not yet asked the kernel to die with its parent."""
    place = ReleaseDirectory(tmp_path / "trials" / "lockgate_trial_0123456789abcdef")
    place.folder.mkdir(parents=True)
    argv = [sys.executable, "-c", "import time; time.sleep(600)", "unshare", place.mark]
    with subprocess.Popen(argv, start_new_session=True) as left:
        assert sweep(tmp_path / "trials") == (place.folder.name,)
        assert left.wait() != 0
    assert not place.folder.exists()


# ── files ──


def test_the_reader_of_files_sees_nothing_but_them(tmp_path: Path, secret_home: Path) -> None:
    script = tmp_path / "scripts" / "look.py"
    script.parent.mkdir()
    script.write_text(
        "import os, pathlib, socket, sys\n"
        f"for path in ({str(secret_home / 'ledger.db')!r}, {str(tmp_path / 'beside')!r}):\n"
        "    assert not os.path.exists(path), path\n"
        f"pathlib.Path({str(tmp_path / 'data' / 'new')!r}).touch()\n"
        "assert list(os.environ) in ([], ['PWD'], ['LC_CTYPE', 'PWD'], ['PWD', 'LC_CTYPE']), os.environ\n"
        "assert socket.socket().connect_ex(('192.0.2.1', 9)), 'a network'\n"
        "print('well')\n"
    )
    (tmp_path / "beside").touch()
    argv = confined([sys.executable, "-I", str(script)], [tmp_path / "data"])
    done = subprocess.run(argv, env={}, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("well\n", "") and (tmp_path / "data" / "new").exists()


def test_a_home_that_would_be_shown_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(Path(sys.base_prefix) / "lib" / "lockgate"))
    if Path(sys.base_prefix).is_relative_to("/usr"):
        return
    with pytest.raises(TargetError, match="move one"):
        confined([sys.executable, "-I", __file__], [tmp_path])
    unread = SqliteDatabase(path=tmp_path / "x.db", copies=tmp_path / "copies").confined(confined)
    sqlite3.connect(tmp_path / "x.db").close()
    with pytest.raises(DatabaseError, match="cannot be confined"):
        unread.current_schema()


def test_a_file_that_releases_may_not_write_is_an_error(tmp_path: Path, trials: Tries) -> None:
    if os.geteuid() != 0:  # then releases run as we do
        return
    owned(tmp_path / "data")
    sqlite3.connect(tmp_path / "data" / "shop.db").close()
    (tmp_path / "data" / "shop.db").touch()
    with trials(ONE) as trial, pytest.raises(DatabaseError, match="may not write"):
        trial.migrate("true")(f"sqlite:///{tmp_path}/data/shop.db")
