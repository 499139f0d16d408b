"""What `make install` makes once, so that no home makes it again: above all the database of a new server.

In it are Prefect's tables, and the block types and deployments of this code. A server takes 5 s to make the tables, and
as long again to be told the rest; a copy takes none.
"""

import importlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path

from blocks.home import home, installed
from station import registered, settings

IMPORTED = (
    "station.cli",
    "station.desk.app",
    "station.door.__main__",
    "station.gateway_blocks",
    "station.supervisor",
    "blocks.gateway.service",
    "prefect.cli.worker",
    "prefect.workers.process",
    "station.worker",
)
"""What starts with a station, beside flows and server: compiled here, and not by each when all start at once."""
SCANNERS = ("Bandit", "Gitleaks", "Kingfisher", "Ruff", "Semgrep", "Squawk", "Zizmor")
KEPT = ("alembic_version", "block_type", "block_schema", "block_schema_reference", "flow", "deployment",
        "deployment_schedule", "work_pool", "work_queue", "concurrency_limit_v2")  # fmt: skip
"""The tables whose rows are every home's. What else the server wrote is about this one start of it."""
QUIET = {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in ("SCHEDULER", "LATE_RUNS", "EVENT_PERSISTER")}
"""Nothing is scheduled at the install."""


def kept() -> Path:
    """Where it lies, one for each version; beside it the digest of the code that it knows."""
    return installed() / f"prefect-{version('prefect')}.db"


def place() -> None:
    """Give it to a home that has no database. Without one at hand the server makes its own, as it does by itself."""
    wanted = home() / "prefect" / "prefect.db"
    if wanted.exists() or not kept().is_file():
        return
    wanted.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    copy = wanted.with_suffix(".new")
    shutil.copyfile(kept(), copy)
    if _code().is_file():
        registered.note(_code().read_text())
    os.replace(copy, wanted)


def at_install() -> None:
    """All of it. Safe to repeat. Raises RuntimeError if the server does not start."""
    code = registered.digest()
    kept().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept().parent) as folder:
        os.environ["LOCKGATE_HOME"] = folder  # a home for this moment
        with _server() as made:
            from station import bootstrap

            bootstrap.make_work_pool()
            bootstrap.register(bootstrap.deployments(code), code)
        _clean(made)
        os.replace(made, kept())
        _code().write_text(code)
    from blocks import scanners
    from blocks.scanners.tool import keep_versions

    scanners.Kingfisher().prepare()
    keep_versions(getattr(scanners, name)() for name in SCANNERS)
    for name in IMPORTED:
        importlib.import_module(name)


def _code() -> Path:
    return kept().with_suffix(".code")


@contextmanager
def _server() -> Iterator[Path]:
    """Prefect's server for a new home, and the database that it made, once it has ended."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (home() / "port").write_text(str(port))
    settings.use(always=True)  # before prefect is imported
    words = [sys.executable, "-m", "station.server", "start", "--host", "127.0.0.1", "--port", str(port)]
    env: Mapping[str, str] = {**os.environ, **settings.server_environment(), **QUIET, "PYTHONDONTWRITEBYTECODE": ""}
    with open(home() / "server.log", "w+") as log:
        server = subprocess.Popen(words, env=env, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _wait(server, Path(log.name))
            yield home() / "prefect" / "prefect.db"
        finally:
            server.terminate()
            server.wait()


def _wait(server: "subprocess.Popen[bytes]", log: Path, timeout_s: float = 250) -> None:
    until = time.monotonic() + timeout_s
    while server.poll() is None and time.monotonic() < until:
        try:
            urllib.request.urlopen(f"{settings.url()}/api/health", timeout=10).close()  # noqa: S310 - loopback
        except urllib.error.HTTPError:
            return  # that it wants a credential is an answer
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"Prefect's server does not start; it said:\n{log.read_text()[-2000:]}")


def _clean(made: Path) -> None:
    with closing(sqlite3.connect(made)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            if table not in KEPT and not table.startswith("sqlite_"):
                database.execute(f'DELETE FROM "{table}"')  # noqa: S608 - the database's own names
        database.commit()
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # else the newest pages lie in a second file


if __name__ == "__main__":
    sys.dont_write_bytecode = False  # an image may forbid it, and then each process would compile all of it
    at_install()
