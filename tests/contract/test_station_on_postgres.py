"""A station's servers and services on PostgreSQL and Redis: each of the three dies while runs are asked for."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from kits.servers import Postgres, Redis, ServerMissing, free_port
from kits.users import until
from station import credentials, settings
from tests.contract.test_acting import PROJECT

ASKED = 40


class Server:
    """As `lockgate up --role server` starts it, `--role services` too unless it has `none`."""

    def __init__(self, home: Path, stack: ExitStack, *none: str) -> None:
        self._url = f"http://127.0.0.1:{(port := free_port())}/api"
        user, _, password = credentials.api_credential().partition(":")
        self._client = stack.enter_context(httpx.Client(auth=(user, password), timeout=60))
        argv = [sys.executable, "-m", "station.server", "start", "--host", "127.0.0.1", "--port", str(port), *none]
        log = stack.enter_context(open(home / "log", "ab"))  # noqa: SIM115 - the stack closes it
        env = {**os.environ, **settings.server_environment(has_services=not none)}
        self._process = subprocess.Popen(argv, cwd=PROJECT, env=env, stdout=log, stderr=log)
        self._log = home / "log"
        stack.callback(self.die)

    def starts(self) -> None:
        until(self._answers, within_s=420)

    def die(self) -> None:
        """At once. Safe to repeat."""
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        assert self._process.poll() is None, f"the server does not start: {self._log.read_text()[-4000:]}"
        try:
            return self._client.get(f"{self._url}/health").status_code == 200
        except httpx.HTTPError:
            return False

    def ask(self, path: str, body: Any) -> Any:
        answer = self._client.post(f"{self._url}{path}", json=body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def scheduled(self, name: str) -> str:
        """The id of a new deployment with a schedule, of which only the services make runs."""
        flow = self.ask("/flows/", {"name": name})
        each = {"active": True, "schedule": {"interval": 600, "anchor_date": "2026-01-01T00:00:00Z"}}
        return str(self.ask("/deployments/", {"name": name, "flow_id": flow["id"], "schedules": [each]})["id"])

    def creates(self, deployment: str, key: str) -> bool:
        """Whether it took a run with that key; who asks asks again where it did not."""
        try:
            self.ask(f"/deployments/{deployment}/create_flow_run", {"idempotency_key": key})
        except (httpx.HTTPError, AssertionError):
            return False
        return True

    def runs(self, deployment: str) -> list[Any]:
        return list(self.ask("/flow_runs/filter", {"deployments": {"id": {"any_": [deployment]}}}))


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ExitStack, Postgres, Redis]]:
    """A new database and Redis that servers share, and what ends with the test."""
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    with ExitStack() as stack:
        try:
            database = stack.enter_context(Postgres(Path(tempfile.mkdtemp(prefix="pg-"))))
            redis = stack.enter_context(Redis(tmp_path / "redis"))
        except ServerMissing as missing:
            if os.environ.get("CI"):
                pytest.fail(str(missing))
            pytest.skip(str(missing))
        credentials.share(credentials.Shared(database.url, redis.url))
        yield stack, database, redis


def asked_for(servers: Sequence[Server], deployment: str, number: int) -> bool:
    """A run is asked for at one server after the other, until one took it, as behind a proxy that tries again."""
    return bool(until(lambda: any(one.creates(deployment, f"run-{number}") for one in servers), within_s=120))


def test_of_servers_that_start_at_once_on_a_new_database_one_registers_block_types(
    shared: tuple[ExitStack, Postgres, Redis],
) -> None:
    stack, database, _ = shared
    argv = [sys.executable, "-c", f"from station.server import migrate; migrate({database.url!r})"]
    env = {**os.environ, **settings.server_environment()}
    both = [
        stack.enter_context(subprocess.Popen(argv, cwd=PROJECT, env=env, stderr=subprocess.PIPE, text=True))
        for _ in range(2)
    ]
    for one in both:
        said = one.communicate(timeout=300)[1]
        assert one.returncode == 0, said[-4000:]
        assert "Failed to register" not in said
    with psycopg.connect(database.url) as asked:
        slugs = {slug for (slug,) in asked.execute("SELECT slug FROM block_type")}
    assert {"secret", "webhook", "local-file-system", "custom-webhook"} <= slugs


def test_who_asks_for_runs_gets_each_once_while_a_server_the_database_and_redis_die(
    shared: tuple[ExitStack, Postgres, Redis], tmp_path: Path
) -> None:
    stack, database, redis = shared
    server, other = Server(tmp_path, stack), Server(tmp_path, stack, "--no-services")
    server.starts()
    other.starts()
    before = server.scheduled("before")
    until(lambda: server.runs(before), within_s=120)
    found = server.ask("/lockgate/runs/filter", {"flow_runs": {"deployment_id": {"any_": [before]}}})
    assert {run["id"] for run in found} == {run["id"] for run in server.runs(before)}
    flow = server.ask("/flows/", {"name": "asked for"})["id"]
    wanted = str(server.ask("/deployments/", {"name": "asked for", "flow_id": flow})["id"])
    with ThreadPoolExecutor(4) as people:
        tries = [people.submit(asked_for, (other, server), wanted, number) for number in range(ASKED)]
        until(lambda: sum(one.done() for one in tries) >= ASKED // 4, within_s=120)
        other.die()
        until(lambda: sum(one.done() for one in tries) >= ASKED // 2, within_s=120)
        database.stop()
        time.sleep(1)
        database.start()
        assert all(one.result() for one in tries)
    made = [run["idempotency_key"] for run in server.runs(wanted)]
    assert sorted(made) == sorted(f"run-{number}" for number in range(ASKED)), "each once"
    redis.stop()
    assert len(server.runs(before)) > 0, "it answers without Redis"
    redis.start()
    after = server.scheduled("after")
    until(lambda: server.runs(after), within_s=120)
