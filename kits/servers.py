"""PostgreSQL and Redis as the system's packages bring them, on loopback, with what they keep in a folder of their own.

They end with the context. Programs are those of Debian; as root, PostgreSQL runs as the user `postgres`.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

STARTS_WITHIN_S = 60.0
_INITDB = ("--username=lockgate", "--auth=scram-sha-256", "--no-locale", "--encoding=UTF8", "--no-sync")


class ServerMissing(Exception):
    """Its programs are not on this machine."""


class Postgres:
    """A new PostgreSQL server that asks for a password. `url` is that of its database `postgres`."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._programs = folder, _postgres_programs()
        self._password, self.port = secrets.token_hex(16), free_port()

    @property
    def url(self) -> str:
        return f"postgresql://lockgate:{self._password}@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> Self:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        password = self._folder / "password"
        password.write_text(self._password)
        if os.geteuid() == 0:
            for path in (self._folder, password):
                shutil.chown(path, "postgres", "postgres")
        self._run("initdb", *_INITDB, f"--pwfile={password}")
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Also again, at the same port and with what it kept."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder} -c fsync=off"
        self._run("pg_ctl", "-w", "-l", f"{self._folder}/log", "-o", options, "start")

    def stop(self) -> None:
        """At once, as a crash would."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        """One of the server's programs; never as root, which it refuses."""
        user = "postgres" if os.geteuid() == 0 else None
        # To a file, not a pipe: the server inherits it and would keep a pipe open.
        with open(self._folder / "output", "a+") as output:
            done = subprocess.run(
                [self._programs / program, "-D", self._folder / "data", *arguments],
                check=False,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=user,
                group=user,
                extra_groups=() if user else None,
            )
            output.seek(0)
            if done.returncode:
                raise RuntimeError(f"{program} failed: {output.read()}")


class Redis:
    """A new Redis server, which keeps what it has in memory alone."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.port = folder, free_port()
        self._program = shutil.which("redis-server")
        if self._program is None:
            raise ServerMissing("Redis is not installed: apt-get install redis-server")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Also again, at the same port and with nothing in it."""
        words = [str(self._program), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        with open(self._folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [*words, "--save", "", "--appendonly", "no"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # an interrupt at the terminal ends it after those who need it
            )
        until = time.monotonic() + STARTS_WITHIN_S
        while time.monotonic() < until and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError(f"redis-server does not start; it said: {(self._folder / 'log').read_text()}")

    def stop(self) -> None:
        """At once, as a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()


def _postgres_programs() -> Path:
    """Debian keeps them off PATH, one directory a version; the newest wins. Raises ServerMissing."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    found = debian[-1] if debian else Path(on_path).resolve() if on_path else None
    if found is None:
        raise ServerMissing("PostgreSQL is not installed: apt-get install postgresql")
    return found.parent


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
