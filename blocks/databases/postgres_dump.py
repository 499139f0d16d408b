"""A database in use, into an empty one: pg_dump into pg_restore, one snapshot, no lock that keeps users out."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from blocks.databases.postgres_server import CopyAccount, PostgresServer
from domain.errors import DatabaseError

_LEAVE_OUT = ("--no-owner", "--no-privileges", "--no-comments", "--no-publications", "--no-subscriptions",
              "--no-security-labels", "--no-tablespaces")  # fmt: skip


def pour(
    source: PostgresServer,
    target: PostgresServer,
    database: str,
    account: CopyAccount,
    timeout_s: float,
    programs: Path | None,
) -> None:
    """Everything in the copy belongs to its own role. Raises DatabaseError with what the programs said."""
    dump = [program("pg_dump", programs), "--format=custom", "--compress=0", "--lock-wait-timeout=10s", *_LEAVE_OUT]
    restore = [
        program("pg_restore", programs),
        "--exit-on-error",
        "--no-owner",
        "--no-privileges",
        f"--dbname={database}",
    ]
    path = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    with tempfile.TemporaryFile() as dumped, tempfile.TemporaryFile() as restored:
        try:
            reading = subprocess.Popen(
                dump,
                env=path | source.environment(source.database),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=dumped,
            )
        except OSError as err:
            raise DatabaseError(f"pg_dump could not be started: {err}; see the block's `programs`") from err
        try:
            writing = subprocess.run(
                restore,
                env=path | target.environment(database, account),
                stdin=reading.stdout,
                stdout=subprocess.DEVNULL,
                stderr=restored,
                timeout=timeout_s,
                check=False,
            )
            ended = (reading.wait(timeout=30), writing.returncode)
        except subprocess.TimeoutExpired:
            raise DatabaseError(
                f"the database could not be copied in {timeout_s:g} s: allow more, or less data"
            ) from None
        finally:
            reading.kill()
            reading.wait()
            if reading.stdout:
                reading.stdout.close()
        if ended != (0, 0):
            said = b""
            for file in (dumped, restored):
                file.seek(0)
                said += file.read(5000)
            words = target.clean(source.clean(said.decode(errors="replace"))).replace(account.password, "[secret]")
            raise DatabaseError(f"the database could not be copied by pg_dump and pg_restore: {words.strip()[:1000]}")


def program(name: str, programs: Path | None) -> str:
    """In that directory; without one, of the newest version there is: pg_dump refuses a server newer than itself."""
    if programs is not None:
        return str(programs / name)
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    if place := str(found[-1]) if found else shutil.which(name):
        return place
    raise DatabaseError(f"{name} is missing: apt-get install postgresql-client, or say in `programs` where it is")
