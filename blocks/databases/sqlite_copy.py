"""A SQLite file as the rehearsal sees it, and the worker that alone opens it."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from blocks.databases import sqlite_worker
from blocks.databases.rehearse import Content
from blocks.host.run import run
from domain.errors import DatabaseError, LockgateError
from domain.migration import Patience, TableImpact
from domain.schema import Column, Constraint, Schema, SchemaIndex, Table

Confine = Callable[[Sequence[str], Sequence[Path]], Sequence[str]]
"""argv and the directories that it needs, to argv that runs it with nothing else. A directory that is not there is
made, for whom it runs as."""

_Named = TypeVar("_Named", Column, Constraint, SchemaIndex)
_STOP_WITHIN_S = 90
_FILE_BYTES = 4096
"""What a file counts at least: an empty one takes room too."""


def unconfined(argv: Sequence[str], folders: Sequence[Path]) -> Sequence[str]:
    """As this user. For files that only trusted programs write."""
    for folder in folders:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return argv


class Worker:
    """Runs the worker: once a question."""

    def __init__(self, confine: Confine, folders: Sequence[Path], timeout_s: float) -> None:
        self._confine, self._folders, self._timeout_s = confine, folders, timeout_s

    def ask(self, verb: str, **request: Any) -> dict[str, Any]:
        """Its answer. Raises DatabaseError if there is none, or it is an error."""
        asked, argv = json.dumps({"do": verb, **request}) + "\n", self._argv()
        try:
            done = run(argv, env={}, timeout_s=self._timeout_s, stdin=asked.encode())
        except OSError as err:
            raise DatabaseError(f"the database file could not be read: {err}") from err
        if done.code is None:
            raise DatabaseError(f"the database file could not be read in {self._timeout_s:g} s")
        return _answer(done.out, done.err)

    @contextlib.contextmanager
    def working(self, verb: str, **request: Any) -> Iterator["Working"]:
        """It has begun; it works on until it is told to stop, and is gone afterwards."""
        process = subprocess.Popen(
            self._argv(), env={}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            yield Working(process, json.dumps({"do": verb, **request}) + "\n")
        finally:
            process.kill()
            process.communicate()

    def _argv(self) -> Sequence[str]:
        try:
            return self._confine([sys.executable, "-I", sqlite_worker.__file__], self._folders)
        except (LockgateError, OSError) as err:
            raise DatabaseError(f"the reader of database files cannot be confined: {err}") from err


class Working:
    """A worker at work: its load, as a rehearsal knows it."""

    def __init__(self, process: "subprocess.Popen[bytes]", request: str) -> None:
        self._process = process
        begun = b""
        if process.stdin and process.stdout:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(request.encode())
                process.stdin.flush()
            begun = process.stdout.readline()
        if b'"began"' not in begun:
            raise DatabaseError(f"there could be no load: {begun.decode(errors='replace').strip() or 'no answer'}")

    def end_try(self) -> bool:
        return False  # a lock of a file goes with the process that held it

    @property
    def concurrent(self) -> bool:
        return False

    def drop_invalid(self) -> tuple[str, ...]:
        return ()

    def kill(self) -> None:
        self._process.kill()

    def stop(self) -> tuple[tuple[TableImpact, ...], tuple[str, ...]]:
        """The lock is of the whole file, so every table waits as long."""
        try:
            output, errors = self._process.communicate(b"\n", timeout=_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            return (), (f"the load did not stop within {_STOP_WITHIN_S} s",)
        seen = _answer(output, errors)
        impacts = tuple(
            TableImpact(table=name, blocked_read_s=seen["reads_s"], blocked_write_s=seen["writes_s"])
            for name in seen["tables"]
        )
        return impacts, tuple(seen["problems"])


class SqliteCopy:
    """One file."""

    def __init__(self, worker: Worker, path: Path) -> None:
        self._worker, self._path = worker, path
        self._long_transaction_s = 0.0
        self._load: Working | None = None

    @property
    def url(self) -> str:
        return f"sqlite:///{self._path}"

    def migration_url(self, patience: Patience) -> str:
        """`timeout` is SQLite's busy timeout, by the name that Python's driver gives it."""
        return f"{self.url}?timeout={patience.lock_timeout_s:g}"

    def schema(self) -> Schema:
        read = self._worker.ask("catalog", path=str(self._path))
        tables = [
            Table(
                name=table["name"],
                columns=_sorted(Column, table["columns"]),
                constraints=_sorted(Constraint, table["constraints"]),
                indexes=_sorted(SchemaIndex, table["indexes"]),
            )
            for table in read["tables"]
        ]
        return Schema(engine="sqlite", tables=tuple(tables), others=read["others"])

    def invalid_indexes(self) -> tuple[str, ...]:
        return ()

    def contents(self, columns: Mapping[str, Sequence[str]], seed: int) -> Mapping[str, Content]:
        read = self._worker.ask("contents", path=str(self._path), columns=dict(columns), seed=seed)
        return {table: Content(**content) for table, content in read.items()}

    def size_bytes(self) -> int:
        sides = [self._path, self._path.with_name(f"{self._path.name}-wal")]
        return sum(path.lstat().st_size for path in sides if path.exists())

    def failing(self, queries: Sequence[str]) -> Mapping[str, str]:
        return self._worker.ask("failing", path=str(self._path), queries=list(queries)) if queries else {}

    @contextlib.contextmanager
    def under_load(self, patience: Patience) -> Iterator[Working]:
        held_s = self._long_transaction_s
        with self._worker.working("load", path=str(self._path), long_transaction_s=held_s) as load:
            self._load = load
            yield load

    @contextlib.contextmanager
    def long_transaction(self, seconds: float) -> Iterator[None]:
        """The worker of the load holds it."""
        self._long_transaction_s = seconds
        yield
        self._long_transaction_s = 0

    def end_try(self) -> bool:
        return False

    @property
    def concurrent(self) -> bool:
        return False

    def drop_invalid(self) -> tuple[str, ...]:
        return ()

    def taken_bytes(self) -> int:
        """Of its directory: whoever writes the file may write beside it, and hide that."""
        taken, folders = 0, [self._path.parent]
        for folder in folders:
            try:
                with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
                    for entry in entries:
                        with contextlib.suppress(FileNotFoundError):
                            taken += max(_FILE_BYTES, entry.stat(follow_symlinks=False).st_blocks * 512)
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(Path(entry.path))
            except OSError as err:
                raise DatabaseError(f"a directory beside the copy cannot be looked into: {err.strerror}") from None
        return taken

    def shut(self) -> None:
        """The commands are ended by who started them."""
        if self._load is not None:
            self._load.kill()


def _sorted(kind: type[_Named], rows: Sequence[Mapping[str, Any]]) -> tuple[_Named, ...]:
    return tuple(kind(**row) for row in sorted(rows, key=lambda row: str(row["name"])))


def _answer(output: bytes, errors: bytes) -> dict[str, Any]:
    lines = output.decode(errors="replace").strip().splitlines()
    try:
        answer = json.loads(lines[-1] if lines else "")
    except ValueError:
        said = errors.decode(errors="replace").strip()[-500:]
        raise DatabaseError(
            f"the reader of database files ended without an answer: {said or 'it said nothing'}"
        ) from None
    if not isinstance(answer, dict):
        raise DatabaseError("the reader of database files gave no object: the file may be made to break it")
    if "error" in answer:
        raise DatabaseError(f"the database file could not be read: {answer['error']}")
    return answer
