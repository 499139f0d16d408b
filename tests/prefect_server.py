"""A Prefect server of a test's own."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from station import first_database

WORDS = (
    "-m",
    "uvicorn",
    "--factory",
    "prefect.server.api.server:create_app",
    "--lifespan",
    "on",
    "--log-level",
    "error",
)


@contextmanager
def prefect_server() -> Iterator[None]:
    """Without a block or a run, until the end; blocks and flows of this process use it.

    It is what Prefect's `prefect_test_harness` makes, but for two things: the server is imported by its own process
    alone, and it makes no tables, for it has a copy of the database that the install has made.
    """
    import prefect.context  # late: with it each worker of the tests would import Prefect
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        tempfile.TemporaryDirectory(prefix="lockgate-prefect-") as folder,
        _started(Path(folder)) as url,
        temporary_settings({PREFECT_API_URL: f"{url}/api"}),
        prefect.context._temporary_global_settings_context(prefect.context.get_settings_context()),
    ):
        yield
        _send_what_waits()


@contextmanager
def _started(folder: Path) -> Iterator[str]:
    database = folder / "prefect.db"
    if first_database.kept().is_file():
        shutil.copyfile(first_database.kept(), database)
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{database}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_UI_ENABLED": "false",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
    }
    with open(folder / "log", "w+") as log:
        server = subprocess.Popen(
            [sys.executable, *WORDS, "--host", "127.0.0.1", "--port", str(port)],
            env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            until = time.monotonic() + 120
            while not _answers(f"http://127.0.0.1:{port}/api/health"):
                assert server.poll() is None and time.monotonic() < until, Path(log.name).read_text()[-2000:]
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=10).close()
    except OSError:
        return False
    return True


def _send_what_waits() -> None:
    """Logs and events, while there is a server that takes them."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.utilities.asyncutils import run_coro_as_sync

    async def send() -> None:
        for asked in (lambda: APILogWorker.instance().drain(), EventsWorker.drain_all):
            try:
                waits = asked()
                if waits is not None and hasattr(waits, "__await__"):
                    await waits
            except RuntimeError:  # it has never started
                continue

    run_coro_as_sync(send())
