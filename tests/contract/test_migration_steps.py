"""A release's migration through the pipeline's own steps, on a real PostgreSQL: rehearsed, held to what was approved,
applied once whatever is killed, and known afterwards."""

import multiprocessing
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

import psycopg
import pytest
from pydantic import SecretStr

from blocks.databases.postgres import PostgresDatabase
from blocks.home import home
from blocks.ledger.ledger import Ledger
from blocks.targets.machine.process import ProcessTarget
from blocks.workshop import Workshop, workshop
from domain.errors import DatabaseError, InputError
from domain.rehearsed import Migrated
from domain.rollout import Rollout
from domain.task import Attempt, Evidence, Merged, Prepared, Rehearsed, Release
from domain.trees import Tree
from flows.downgrade import one_back
from flows.rollback import to_release
from kits.briefs import repository
from tasks.deploy import deploy, first_release
from tasks.rehearse import rehearse
from tasks.releasing import lease
from tasks.releasing.migration import MigrationPlace
from tasks.releasing.schema import copies_swept, runs_on, why_not_back
from tasks.review_gate import fingerprint
from tests.contract.by_steps import WORKSHOP, a_workshop, brief, commit_of, entry, in_a_run, prepared_by
from tests.postgres import new_database
from tests.unit.policy_cases import evidence

MIGRATE = """import os, pathlib, sys
import psycopg

with psycopg.connect(os.environ["DATABASE_URL"]) as base:
    base.execute("CREATE TABLE IF NOT EXISTS schema_migrations (version integer NOT NULL)")
    at = base.execute("SELECT coalesce(max(version), 0) FROM schema_migrations").fetchone()[0]
    if sys.argv[1:] == ["back"]:
        base.execute(next(pathlib.Path("migrations").glob(f"{at:04}_*.down.sql")).read_text())
        base.execute("DELETE FROM schema_migrations WHERE version = %s", (at,))
    else:
        for file in sorted(pathlib.Path("migrations").glob("*.up.sql")):
            if (number := int(file.name[:4])) > at:
                base.execute(file.read_text())
                base.execute("INSERT INTO schema_migrations VALUES (%s)", (number,))
"""
SERVE = """import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import psycopg


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        status = "pass"
        try:
            with psycopg.connect(os.environ["DATABASE_URL"]) as base:
                base.execute("SELECT id, name FROM items LIMIT 1")
        except psycopg.Error:
            status = "fail"
        body = json.dumps({"status": status, "releaseId": os.environ["RELEASE_ID"]}).encode()
        self.send_response(200 if status == "pass" else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
FILES = {
    "lockgate.toml": 'requirements = ["pytest==9.2.0", "psycopg[binary]>=3.2"]\ntest = "python -m pytest -q"\n'
    'run = "python serve.py {port}"\n[migrate]\nup = "python migrate.py"\ndown = "python migrate.py back"\n',
    "migrate.py": MIGRATE,
    "serve.py": SERVE,
    "sums.py": "def add(a, b):\n    return a + b\n",
    "tests/test_sums.py": "from sums import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n",
    "migrations/0001_items.up.sql": "CREATE TABLE items (id serial PRIMARY KEY, name text NOT NULL, note text);\n"
    "INSERT INTO items (name, note) VALUES ('lamp', 'blue'), ('chair', 'old');\n",
    "migrations/0001_items.down.sql": "DROP TABLE items;\n",
}
EXPAND = ("ALTER TABLE items ADD COLUMN colour text", "ALTER TABLE items DROP COLUMN colour")
LOSSY = ("ALTER TABLE items DROP COLUMN note", "ALTER TABLE items ADD COLUMN note text")
ACCEPT = ("migration-lossy", "migration-forward-only", "migration-unproven")
BREAKS = ("ALTER TABLE items RENAME COLUMN name TO label", "ALTER TABLE items RENAME COLUMN label TO name")


class There(NamedTuple):
    """An environment that serves base."""

    shop: Workshop
    ready: Prepared
    base: Release
    url: str
    target: ProcessTarget


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with a_workshop(tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture(scope="module")
def start(shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The task and its repository as each test finds them."""
    return prepared_by("start", brief(repository(tmp_path_factory.mktemp("start") / "items.git", FILES)))


@pytest.fixture
def there(start: Prepared, postgres_url: str, tmp_path: Path) -> Iterator[There]:
    with an_environment(start, new_database(postgres_url), tmp_path) as made:
        yield made


@contextmanager
def an_environment(start: Prepared, url: str, folder: Path) -> Iterator[There]:
    """With a repository of its own; base was released to it."""
    name = f"env-{token_hex(4)}"
    rollout = Rollout(shares=(), bake_s=0.2, interval_s=0.05, latency_floor_ms=20_000)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    target = ProcessTarget(name=name, port=port, rollout=rollout, secrets={"DATABASE_URL": url}, drain_s=0.1)  # type: ignore[arg-type]
    target.keep(name)
    PostgresDatabase(url=SecretStr(url), long_transaction_s=0.5).keep(name)
    known = Workshop.saved(WORKSHOP)
    known.targets = {**known.targets, name: f"process-target/{name}"}
    known.databases = {**known.databases, name: f"postgres-database/{name}"}
    known.keep(WORKSHOP)
    workshop.cache_clear()
    at = shutil.copytree(start.brief.repository, folder / "items.git")
    told = start.brief.model_copy(update={"repository": str(at), "environment": name})
    ready = start.model_copy(update={"run_id": f"run-{name}", "brief": told})
    workshop(WORKSHOP).ledger.record(ready.run_id, "prepared", "1", ready)
    base = in_a_run(lambda: first_release(ready))
    assert base and base.problem is None, base
    try:
        yield There(workshop(WORKSHOP), ready, base, url, target)
    finally:
        target.stop()


class Expanded(NamedTuple):
    """An environment whose change was rehearsed and released; what was seen of it."""

    there: There
    attempt: Attempt
    seen: Rehearsed
    release: Release


@pytest.fixture(scope="module")
def expanded(start: Prepared, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Expanded]:
    """For tests that begin there. The last one of them changes it."""
    with an_environment(start, new_database(postgres_url), tmp_path_factory.mktemp("expanded")) as there:
        assert versions(there) == [1]
        attempt = changed(there, *EXPAND)
        seen = in_a_run(lambda: rehearse(there.ready, attempt))
        assert versions(there) == [1], "nothing happened to the database itself"
        yield Expanded(there, attempt, seen, released(there, attempt))


def changed(there: There, up: str, down: str) -> Attempt:
    def change(tree: Tree) -> Tree:
        return {**tree, "migrations/0002_x.up.sql": entry(up), "migrations/0002_x.down.sql": entry(down)}

    return commit_of(there.shop, there.ready, change)


def merged(there: There, attempt: Attempt) -> Merged:
    assert attempt.commit
    assert there.shop.forge.merge(there.ready.brief.repository, "main", there.ready.base, attempt.commit) is None
    return Merged(commit=attempt.commit)


def released(there: There, attempt: Attempt) -> Release:
    made = merged(there, attempt)
    release = in_a_run(lambda: deploy(there.ready, made))
    lease.give_back(there.shop.ledger, there.target.name, there.ready.run_id)
    return release


def sql(there: There, statement: str) -> list[Any]:
    with psycopg.connect(there.url, autocommit=True) as base:
        answer = base.execute(statement.encode())
        return answer.fetchall() if answer.description else []


def versions(there: There) -> list[int]:
    return [row[0] for row in sql(there, "SELECT version FROM schema_migrations ORDER BY version")]


def test_a_rehearsed_migration_is_applied_and_known_with_what_can_be_gone_back_to(expanded: Expanded) -> None:
    there, attempt, seen, release = expanded
    assert (seen.migration_class, seen.findings) == ("expand", ())
    assert release.problem is None, release
    told = " ".join(release.timeline)
    assert f"{there.base.revision[:12]} was tried on the new schema and was well: it can be gone back to" in told
    assert versions(there) == [1, 2]
    done = of(there, attempt)
    assert runs_on(there.shop.ledger, there.target.name, there.base.revision)[there.base.revision] >= {
        done.before,
        done.after,
    }
    assert len(there.shop.ledger.entries(run_id=there.ready.run_id, kind="rehearsal")) == 2, "base's and the change's"
    assert there.target.current() == attempt.commit
    assert copies_swept(there.shop) == []


def test_evidence_of_a_rehearsal_is_bound_to_the_approval(expanded: Expanded) -> None:
    there, attempt, seen, _ = expanded
    whole: Evidence = evidence().model_copy(update={"attempt": attempt, "rehearsed": seen})
    worse = whole.model_copy(update={"rehearsed": seen.model_copy(update={"migration_class": "forward-only"})})
    without = whole.model_copy(update={"rehearsed": None})
    assert len({fingerprint(there.ready, one) for one in (whole, worse, without)}) == 3


def test_traffic_can_go_back_while_the_database_does_not_answer(
    expanded: Expanded, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, name = expanded.there, expanded.there.target.name

    def down(_: object) -> str:
        raise DatabaseError("it is down")

    monkeypatch.setattr(PostgresDatabase, "current_schema", down)
    assert why_not_back(there.shop, "r", name, there.base.revision) is None
    assert "it is down" in (why_not_back(there.shop, "r", name, "f" * 40) or "")


def test_a_release_that_cannot_run_on_the_schema_of_today_is_no_rollback_target(
    expanded: Expanded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.releasing.build.START_S", 8)
    there, _, _, release = expanded
    name = there.target.name
    there.shop.ledger.record(there.ready.run_id, "live", release.revision, release)
    sql(there, "ALTER TABLE items RENAME COLUMN name TO label")  # by hand, past every gate
    assert "cannot run on the database as it is now" in (why_not_back(there.shop, "r", name, there.base.revision) or "")
    with pytest.raises(InputError, match="can run on its database"):
        in_a_run(lambda: to_release("back-1", name, None, "why", WORKSHOP))
    with pytest.raises(InputError, match="cannot run on the database"):
        in_a_run(lambda: to_release("back-2", name, there.base.revision, "why", WORKSHOP))
    sql(there, "ALTER TABLE items RENAME COLUMN label TO name")
    sql(there, "CREATE TABLE by_hand (id integer)")  # a schema that nobody knows, and the release is well on a copy
    back = in_a_run(lambda: to_release("back-3", name, None, "why", WORKSHOP))
    assert back.serving == there.base.revision == there.target.current()
    assert why_not_back(there.shop, "r", name, there.base.revision) is None


def of(there: There, attempt: Attempt) -> Migrated:
    key = f"{there.target.name}/{attempt.commit}"
    done = there.shop.ledger.find(there.ready.run_id, "migrated", key, Migrated)
    assert done
    return done


def test_what_nobody_approved_stops_the_deploy_and_what_was_approved_does_not(there: There) -> None:
    attempt = changed(there, *LOSSY)
    unasked = released(there, attempt)
    assert "the migration is not run: migration-lossy" in (unasked.problem or "")
    assert versions(there) == [1] and there.target.current() == there.base.revision
    again = there.ready.model_copy(update={"run_id": f"{there.ready.run_id}-again"})
    asked = in_a_run(lambda: rehearse(again, attempt))
    assert "migration-lossy" in {finding.rule for finding in asked.findings}
    release = in_a_run(lambda: deploy(again, Merged(commit=attempt.commit)))
    assert release.problem is None, release
    assert versions(there) == [1, 2]


def test_a_migration_that_breaks_the_running_release_goes_back_to_the_agent_without_its_words(there: There) -> None:
    seen = in_a_run(lambda: rehearse(there.ready, changed(there, *BREAKS)))
    assert "migration-breaks-running" in {finding.rule for finding in seen.findings}
    talks = changed(there, "DO $$ BEGIN RAISE EXCEPTION '%', (SELECT note FROM items LIMIT 1); END $$", "SELECT 1")
    seen = in_a_run(lambda: rehearse(there.ready, talks))
    assert [finding.rule for finding in seen.findings] == ["migration-fails"]
    assert "blue" not in seen.model_dump_json()
    whole = there.shop.ledger.entries(run_id=there.ready.run_id, kind="rehearsal")[-1]
    assert "blue" in str(whole.body["under_load"]["problem"]), "people read it"


def test_a_schema_that_somebody_changed_meanwhile_is_rehearsed_again(there: There) -> None:
    attempt = changed(there, *EXPAND)
    in_a_run(lambda: rehearse(there.ready, attempt))
    sql(there, "CREATE TABLE by_hand (id integer)")
    release = released(there, attempt)
    assert release.problem is None, release
    assert any("the migration is rehearsed now" in line for line in release.timeline)
    assert versions(there) == [1, 2]


@pytest.mark.parametrize("when", ["before it is run", "after it is run", "after it is on record"])
def test_a_worker_that_is_killed_is_followed_by_another_and_it_runs_once(there: There, when: str) -> None:
    attempt = changed(there, *EXPAND)
    in_a_run(lambda: rehearse(there.ready, attempt))
    place = MigrationPlace.of(there.shop, there.ready, attempt.commit or "", there.base.revision)
    run, record = PostgresDatabase.apply, Ledger.record

    def dying(*_: Any, **__: Any) -> Any:
        os.kill(os.getpid(), 9)

    def dying_after(self: Ledger, run_id: str, kind: str, key: str, value: Any) -> Any:
        if kind == "migrated" and when == "after it is run":
            dying()
        kept = record(self, run_id, kind, key, value)
        return dying() if kind == "migrated" else kept

    def child() -> None:
        with pytest.MonkeyPatch.context() as patch:
            if when == "before it is run":
                patch.setattr(PostgresDatabase, "apply", dying)
            patch.setattr(Ledger, "record", dying_after)
            place.apply(Merged(commit=attempt.commit), lambda line: None)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(120)
    assert process.exitcode == -9
    assert PostgresDatabase.apply is run
    assert place.apply(Merged(commit=attempt.commit), lambda line: None) is None
    assert versions(there) == [1, 2]
    assert of(there, attempt).after == place.database.current_schema()
    copies_swept(there.shop)
    assert not list((home() / "trials").glob("*/*"))


def test_a_migration_that_fails_on_the_database_itself_leaves_the_traffic_and_says_so(there: There) -> None:
    attempt = changed(there, "ALTER TABLE items ADD CONSTRAINT named CHECK (name <> 'late')",
                      "ALTER TABLE items DROP CONSTRAINT named")  # fmt: skip
    seen = in_a_run(lambda: rehearse(there.ready, attempt))
    assert not [finding for finding in seen.findings if finding.severity == "refuse"], seen
    sql(there, "INSERT INTO items (name) VALUES ('late')")  # a user was quicker
    release = released(there, attempt)
    assert "failed on the database itself, after a good rehearsal" in (release.problem or "")
    assert "late" not in (release.problem or "")
    assert versions(there) == [1] and there.target.current() == there.base.revision


def test_a_downgrade_is_a_persons_act_and_offered_only_where_it_is_proven(there: There) -> None:
    name, attempt = there.target.name, changed(there, *EXPAND)
    in_a_run(lambda: rehearse(there.ready, attempt))
    assert released(there, attempt).problem is None
    sql(there, "UPDATE items SET colour = 'red'")
    with pytest.raises(InputError, match="migration-lossy"):
        in_a_run(lambda: one_back("down-1", name, (), "why", WORKSHOP))
    assert versions(there) == [1, 2]
    done = in_a_run(lambda: one_back("down-2", name, ACCEPT, "why", WORKSHOP))
    assert versions(there) == [1] and done.after == of(there, attempt).before
    assert there.shop.ledger.entries(run_id="down-2", kind="rehearsal"), "rehearsed for this run alone"
    again = in_a_run(lambda: one_back("down-2", name, ACCEPT, "why", WORKSHOP))
    assert again == done and versions(there) == [1], "once per run"
    with pytest.raises(InputError, match="no downgrade is offered"):
        in_a_run(lambda: one_back("down-3", name, ACCEPT, "why", WORKSHOP))
