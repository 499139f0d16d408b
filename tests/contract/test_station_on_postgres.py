"""A station's server and services on PostgreSQL and Redis: Redis is killed, and begins anew with nothing in it."""

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from kits.servers import Postgres, Redis, ServerMissing, free_port
from kits.users import until
from station import credentials, settings
from tests.contract.test_acting import PROJECT


class Server:
    """With the services, as `lockgate up --role server --role services` starts it."""

    def __init__(self, home: Path, stack: ExitStack) -> None:
        self._url = f"http://127.0.0.1:{(port := free_port())}/api"
        user, _, password = credentials.api_credential().partition(":")
        self._client = stack.enter_context(httpx.Client(auth=(user, password), timeout=60))
        argv = [sys.executable, "-m", "station.server", "start", "--host", "127.0.0.1", "--port", str(port)]
        log = stack.enter_context(open(home / "log", "ab"))  # noqa: SIM115 - the stack closes it
        env = {**os.environ, **settings.server_environment()}
        self._process = subprocess.Popen(argv, cwd=PROJECT, env=env, stdout=log, stderr=log)
        stack.callback(self._process.wait)
        stack.callback(self._process.kill)
        until(self._answers, within_s=420)

    def _answers(self) -> bool:
        assert self._process.poll() is None, "the server does not start"
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

    def runs(self, deployment: str) -> list[Any]:
        return list(self.ask("/flow_runs/filter", {"deployments": {"id": {"any_": [deployment]}}}))


def test_schedules_go_on_after_redis_lost_all_that_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        server = Server(tmp_path, stack)
        before = server.scheduled("before")
        until(lambda: server.runs(before), within_s=120)
        found = server.ask("/lockgate/runs/filter", {"flow_runs": {"deployment_id": {"any_": [before]}}})
        assert {run["id"] for run in found} == {run["id"] for run in server.runs(before)}
        redis.stop()
        assert len(server.runs(before)) > 0, "it answers without Redis"
        redis.start()
        after = server.scheduled("after")
        until(lambda: server.runs(after), within_s=120)
