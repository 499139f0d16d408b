"""A change with a migration on a real station: refused on a copy, rehearsed, applied, gone back from, taken back."""

import sqlite3
from pathlib import Path

import httpx

from domain.migration import Rehearsal
from domain.rehearsed import Migrated
from domain.task import End
from kits.briefs import brief, git, repository
from kits.product.station import Station
from kits.servers import free_port

MIGRATE = '''"""Brings the database to the newest schema, or one step back: python migrate.py [back]"""
import os, pathlib, sqlite3, sys
from urllib.parse import urlsplit

url = urlsplit(os.environ["DATABASE_URL"])
assert url.scheme == "sqlite", url.scheme
timeout = float(dict(pair.split("=") for pair in url.query.split("&") if pair).get("timeout", 5))
base = sqlite3.connect(url.path.removeprefix("/"), timeout=timeout, isolation_level=None)
base.execute("BEGIN IMMEDIATE")
base.execute("CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER NOT NULL)")
at = base.execute("SELECT coalesce(max(version), 0) FROM schema_migrations").fetchone()[0]
if sys.argv[1:] == ["back"]:
    file = next(pathlib.Path("migrations").glob(f"{at:04}_*.down.sql"))
    statements, then = file.read_text(), ("DELETE FROM schema_migrations WHERE version = ?", at)
    for statement in filter(str.strip, statements.split(";")):
        base.execute(statement)
    base.execute(then[0], (at,))
else:
    for file in sorted(pathlib.Path("migrations").glob("*.up.sql")):
        if (number := int(file.name[:4])) > at:
            for statement in filter(str.strip, file.read_text().split(";")):
                base.execute(statement)
            base.execute("INSERT INTO schema_migrations VALUES (?)", (number,))
base.execute("COMMIT")
'''
SERVE = """import json, os, sqlite3, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        status = "pass"
        try:
            with sqlite3.connect(os.environ["DATA_DIR"] + "/items.db") as base:
                base.execute("SELECT id, name FROM items LIMIT 1").fetchall()
        except sqlite3.Error:
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
    "lockgate.toml": 'requirements = ["pytest==9.2.0"]\ntest = "python -m pytest -q"\nrun = "python serve.py {port}"\n'
    '[migrate]\nup = "python migrate.py"\ndown = "python migrate.py back"\n',
    "migrate.py": MIGRATE,
    "serve.py": SERVE,
    "colours.py": "COLOURS = ()\n",
    "migrations/0001_items.up.sql": "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT NOT NULL);\n"
    "INSERT INTO items (name) VALUES ('lamp'), ('chair');\n",
    "migrations/0001_items.down.sql": "DROP TABLE items;\n",
    "tests/test_colours.py": "from colours import COLOURS\n\n\ndef test_it():\n    assert isinstance(COLOURS, tuple)\n",
}
ACCEPTANCE = "from colours import COLOURS\n\n\ndef test_red():\n    assert 'red' in COLOURS\n"


def recording(tmp_path: Path, at: Path, *attempts: dict[str, str]) -> Path:
    """Each attempt as a patch against base."""
    folder, work = tmp_path / "recording", tmp_path / "work"
    folder.mkdir()
    (folder / "plan.json").write_text('{"steps": ["add a colour"], "paths": ["colours.py", "migrations/"]}')
    git(tmp_path, "clone", "--quiet", str(at), str(work))
    for number, files in enumerate(attempts, 1):
        for path, content in {"colours.py": 'COLOURS = ("red",)\n', **files}.items():
            (work / path).write_text(content)
        git(work, "add", "--all")
        (folder / f"attempt-{number}.patch").write_text(git(work, "diff", "--cached", "HEAD") + "\n")
        git(work, "reset", "--quiet", "--hard", "HEAD")
    return folder


def test_a_migration_is_rehearsed_judged_applied_and_taken_back(station: Station, tmp_path: Path) -> None:
    at = repository(tmp_path / "items.git", FILES)
    station.target("items", port := free_port())
    data = station.home / "targets" / "items" / "data"
    station.python(
        "from pathlib import Path\nfrom blocks.databases.sqlite import SqliteDatabase\n"
        "from blocks.workshop import Workshop\n"
        f"SqliteDatabase(path=Path({str(data / 'items.db')!r}), long_transaction_s=1).keep('items')\n"
        "shop = Workshop.saved('default')\n"
        "shop.databases = {**shop.databases, 'items': 'sqlite-database/items'}\nshop.keep('default')"
    )
    breaks = "ALTER TABLE items RENAME COLUMN name TO label;\n"
    # sqlite's own words in a failing migration: what it read must not reach the agent
    talks = "SELECT abs(-9223372036854775808) FROM items;\n"
    agent = recording(
        tmp_path,
        at,
        {"migrations/0002_colour.up.sql": talks, "migrations/0002_colour.down.sql": "SELECT 1;\n"},
        {"migrations/0002_colour.up.sql": breaks,
         "migrations/0002_colour.down.sql": "ALTER TABLE items RENAME COLUMN label TO name;\n"},
        {"migrations/0002_colour.up.sql": "ALTER TABLE items ADD COLUMN colour TEXT;\n",
         "migrations/0002_colour.down.sql": "ALTER TABLE items DROP COLUMN colour;\n"},
    )  # fmt: skip
    station.replay("colours", agent)
    run_id = station.submit(
        brief(
            at, "replay/colours", environment="items", budget={"attempts": 3}, title="Colours",
            acceptance={"files": [{"path": "tests/acceptance/test_red.py", "content": ACCEPTANCE}]},
            goal="Items have a colour: `COLOURS` in `colours.py` names red, and the table `items` has a column for it",
        )
    )  # fmt: skip
    outcome = station.wait(run_id, timeout_s=400)
    assert outcome.end is End.LIVE, f"{outcome.sentence}\n{station.story(run_id)}"

    verdicts = [entry.body for entry in station.entries(run_id, "verdict") if entry.key.endswith("/rehearsed")]
    assert [verdict["rules"][0] for verdict in verdicts[:2]] == ["migration-fails", "migration-breaks-running"]
    assert "overflow" not in str([verdict["reasons"] for verdict in verdicts]), "what it printed is for people alone"
    rehearsals = [Rehearsal.model_validate(entry.body) for entry in station.entries(run_id, "rehearsal")]
    assert "overflow" in (rehearsals[1].under_load.problem or ""), "and people are told"
    good = rehearsals[-1]
    assert good.migration_class == "expand" and good.downgrade and good.downgrade.is_proven and not good.broken
    assert [change.sentence for change in good.changes] == ["column items.colour is new"]
    base, done = [Migrated.model_validate(entry.body) for entry in station.entries(run_id, "migrated")]
    assert (done.before, done.after, done.running) == (base.after, good.after, base.revision)
    assert (station.home / "databases").is_dir() and not list((station.home / "databases").glob("lockgate_copy_*"))
    assert columns(data) == ["id", "name", "colour"]
    assert station.lockgate("verify", run_id).returncode == 0
    (question,) = station.entries(run_id, "question")
    assert "## The migration, on a copy of" in question.body["text"]
    assert "column items.colour is new" in question.body["text"]
    log = "\n".join(station.log(run_id, last="live in items at"))
    for line in (
        "up under load: exit code 1; it said: Traceback",
        "the running release on the new schema: not healthy within",
        "down and up again: proven",
        "was tried on the new schema and was well: it can be gone back to",
        "10 % of the traffic go to",
        "healthy and itself in 20 public answers",
    ):
        assert line in log, "the run's log tells what is done"

    unasked = station.lockgate("downgrade", "items")
    assert unasked.returncode == 4 and "--accept migration-unproven" in unasked.stdout
    assert columns(data) == ["id", "name", "colour"]
    down = station.lockgate("downgrade", "items", "--accept", "migration-unproven")
    assert down.returncode == 0, down.stdout  # the release that serves was tried without the column, and was well
    assert columns(data) == ["id", "name"]
    again = station.lockgate("downgrade", "items")
    assert again.returncode == 4 and "no downgrade is offered" in again.stdout
    back = station.lockgate("rollback", "items")
    assert back.returncode == 0, back.stdout
    assert columns(data) == ["id", "name"]
    assert served(port) == base.revision


def columns(data: Path) -> list[str]:
    base = sqlite3.connect(data / "items.db")
    try:
        return [row[1] for row in base.execute("PRAGMA table_info(items)")]
    finally:
        base.close()


def served(port: int) -> str:
    return str(httpx.get(f"http://127.0.0.1:{port}/health").json()["releaseId"])
