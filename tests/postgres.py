"""A pytest plugin: a real PostgreSQL server on loopback for the session. Load it with `-p tests.postgres`."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a fresh server that asks for a password. Where PostgreSQL is missing: skip, but fail under CI."""
    binaries = _binaries()
    if binaries is None:
        missing = "PostgreSQL is not installed: apt-get install postgresql"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    directory = Path(tempfile.mkdtemp(prefix="pg-"))
    password, port = secrets.token_hex(16), _free_port()
    (directory / "password").write_text(password)
    try:
        if os.geteuid() == 0:
            for path in (directory, directory / "password"):
                shutil.chown(path, "postgres", "postgres")
        _run(binaries / "initdb", directory, *_INITDB, f"--pwfile={directory}/password")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={directory} -c fsync=off"
        _run(binaries / "pg_ctl", directory, "-w", "-l", f"{directory}/log", "-o", options, "start")
        try:
            yield f"postgresql://lockgate:{password}@127.0.0.1:{port}/postgres"
        finally:
            _run(binaries / "pg_ctl", directory, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(directory)


def new_database(url: str) -> str:
    """The URL of a new, empty database on the same server."""
    name = f"t_{secrets.token_hex(8)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return f"{url.rpartition('/')[0]}/{name}"


_INITDB = ("--username=lockgate", "--auth=scram-sha-256", "--no-locale", "--encoding=UTF8", "--no-sync")


def _binaries() -> Path | None:
    """Debian keeps the server's programs off PATH, one directory a version; the newest wins."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    found = debian[-1] if debian else Path(on_path).resolve() if on_path else None
    return found.parent if found else None


def _run(program: Path, directory: Path, *arguments: str) -> None:
    """Run one of the server's programs on the directory; never as root, which it refuses."""
    user, groups = ("postgres", ()) if os.geteuid() == 0 else (None, None)
    # To a file, not a pipe: the server inherits it and would keep a pipe open.
    with open(directory / "output", "a+") as output:
        done = subprocess.run(
            [program, "-D", directory / "data", *arguments],
            check=False,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            user=user,
            group=user,
            extra_groups=groups,
        )
        output.seek(0)
        assert done.returncode == 0, output.read()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
