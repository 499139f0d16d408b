"""A pytest plugin: a real PostgreSQL server on loopback for the session. Load it with `-p tests.postgres`."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from kits.servers import Postgres, ServerMissing


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a fresh server that asks for a password. Where PostgreSQL is missing: skip, but fail under CI."""
    try:
        server = Postgres(Path(tempfile.mkdtemp(prefix="pg-")))
    except ServerMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    with server:
        yield server.url


def new_database(url: str, like: str = "template1") -> str:
    """The URL of a new database on the same server: an empty one, or a copy of that one."""
    name = f"t_{secrets.token_hex(8)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {like}".encode())
    return f"{url.rpartition('/')[0]}/{name}"
