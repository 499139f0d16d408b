"""Services of a sandbox: real servers, there for one command, and gone with it."""

import contextlib
from pathlib import Path

import pytest

from blocks.sandboxes.bubblewrap import Bubblewrap
from domain.errors import InputError
from domain.services import Service
from domain.trees import TreeEntry
from tasks.room.services import ServedWorkspace

SERVICES = {
    "db": Service(use="postgresql", variable="DATABASE_URL"),
    "redis": Service(use="redis", variable="CACHE", variables={"CACHE_PORT": "{port}"}),
}
ASKS = (
    "psql=$(ls /usr/lib/postgresql/*/bin/psql | tail -n 1); "
    '$psql "$DATABASE_URL" -Atc "create table one(n int); insert into one values (41); select n + 1 from one" && '
    'redis-cli -u "$CACHE" incr n && echo "$CACHE_PORT"; exit 3'
)


def test_each_command_finds_empty_servers_of_its_own_and_none_is_left(tmp_path: Path) -> None:
    with contextlib.closing(Bubblewrap(root=tmp_path / "sandboxes").open({}, label="test")) as inner:
        workspace = ServedWorkspace(inner, SERVICES)
        for _ in range(2):
            done = workspace.run(["sh", "-c", ASKS], timeout_s=120)
            assert (done.exit_code, done.output.split()[-3:]) == (3, ["42", "1", "6379"]), done.output
            assert done.argv == ("sh", "-c", ASKS)
        assert inner.run(["redis-cli", "ping"], timeout_s=30).exit_code != 0


def test_a_server_that_does_not_start_is_named_with_what_to_do(tmp_path: Path) -> None:
    broken = {"bin/redis-server": TreeEntry(0o100755, b"#!/bin/sh\nexit 1\n")}
    with contextlib.closing(Bubblewrap(root=tmp_path / "sandboxes").open(broken, label="test")) as inner:
        workspace = ServedWorkspace(inner, {"redis": SERVICES["redis"]})
        with pytest.raises(InputError, match=r"(?s)Redis cannot be started .*did not start.*package redis-server"):
            workspace.run(["true"], timeout_s=60, env={"PATH": "/work/bin:/usr/bin:/bin"})
