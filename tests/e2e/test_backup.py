"""A machine is lost with a change that waits for a person; its backup goes on elsewhere, as if nothing had been."""

import json
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from domain.task import End
from kits.briefs import GOOD, brief, repository
from kits.product.station import Station
from kits.servers import free_port
from tests.made_once import toolchains

COUNTS = """import json, os, sqlite3, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

database = sqlite3.connect(os.environ["DATA_DIR"] + "/visits.db", check_same_thread=False, isolation_level=None)
database.execute("PRAGMA journal_mode = WAL")
database.execute("CREATE TABLE IF NOT EXISTS visits (path TEXT)")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/visit":
            database.execute("INSERT INTO visits VALUES ('/')")
        visits = database.execute("SELECT count(*) FROM visits").fetchone()[0]
        body = json.dumps({"status": "pass", "releaseId": os.environ["RELEASE_ID"], "visits": visits}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
SERVICE = {
    "lockgate.toml": 'requirements = ["pytest==9.2.0"]\ntest = "python -m pytest -q"\nrun = "python serve.py {port}"\n',
    "serve.py": COUNTS,
}

TRIPLE = "import sums\n\n\ndef test_triple():\n    assert sums.triple(4) == 12\n"


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A station that may be lost."""
    made = Station(tmp_path_factory.mktemp("lost") / "home", toolchains=toolchains().root)
    made.home.mkdir()
    try:
        made.up()
        yield made
    finally:
        made.down()


def test_a_lost_machine_comes_back_with_its_parked_run_its_release_and_its_data(own: Station, tmp_path: Path) -> None:
    at, port = repository(tmp_path / "counts.git", SERVICE), free_port()
    own.target("counts", port)
    (tmp_path / "agents").mkdir()
    own.command("good", GOOD, tmp_path / "agents")
    first = own.wait(own.submit(brief(at, "command/good", environment="counts")))
    assert first.end is End.LIVE, first
    for _ in range(3):
        httpx.get(f"http://127.0.0.1:{port}/visit")
    own.command("better", GOOD.replace("double", "triple").replace("2", "3"), tmp_path / "agents")
    acceptance = {"files": [{"path": "tests/acceptance/test_triple.py", "content": TRIPLE}]}
    title = {"title": "Add a triple function", "goal": "Add `triple(a)` to `sums.py`, which returns three times `a`"}
    parked = own.submit(brief(at, "command/better", environment="counts", acceptance=acceptance, **title))
    own.wait_for_state(parked, "PAUSED")

    backup = tmp_path / "station.tar.gz"
    said = own.lockgate("backup", str(backup), check=True).stdout
    assert backup.stat().st_mode & 0o777 == 0o600 and "keep it as you keep a password" in said
    assert "NOT in it" not in said and "may not be whole" not in said, said
    again = own.lockgate("backup", str(backup))
    assert again.returncode == 2 and "is there already" in again.stderr
    beside = own.lockgate("restore", str(backup))
    assert beside.returncode == 2 and "older than the Prefect that is there" in beside.stderr

    own.lockgate("down", check=True)
    shutil.rmtree(own.home)
    damaged = tmp_path / "damaged.tar.gz"
    damaged.write_bytes(backup.read_bytes()[:-2000])
    refused = own.lockgate("restore", str(damaged))
    assert refused.returncode == 2 and "is not a whole backup" in refused.stderr
    assert not own.home.exists()

    print(own.lockgate("restore", str(backup), check=True).stdout)
    assert (own.home / "credentials" / "encryption-key").stat().st_mode & 0o777 == 0o600
    own.lockgate("up", check=True)
    visits = sqlite3.connect(own.home / "targets" / "counts" / "data" / "visits.db").execute(
        "SELECT count(*) FROM visits"
    )
    assert visits.fetchone()[0] == 3
    served = httpx.get(f"http://127.0.0.1:{port}/")
    assert served.json().get("visits") == 3, served.text + own.lockgate("doctor").stdout
    outcome = own.wait(parked)
    assert outcome.end is End.LIVE, outcome
    links = json.loads(own.lockgate("verify", parked, "--json", check=True).stdout)
    assert [link["problem"] for link in links] == [None] * len(links)
    with tarfile.open(backup) as archive:
        assert not [name for name in archive.getnames() if name.startswith(("home/run/", "home/tmp/", "/"))]
