"""The program that opens SQLite files: `python -I sqlite_worker.py`, a request as one JSON line, an answer as another.

The files were written by releases, so they are data that may have been made to break their reader: it is a process of
its own, with an empty environment, that a caller confines as it confines releases. It needs the standard library alone.
https://www.sqlite.org/security.html
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import resource
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

_MEMORY_BYTES = 4_000_000_000
_BUSY_S = 30.0
_SHORT_BUSY_S = 1.0
_POLL_S = 0.002
_PAUSE_S = 0.01
_FICLONE = 0x40049409
"""https://man7.org/linux/man-pages/man2/ioctl_ficlone.2.html"""

Answer = dict[str, Any]


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    request = json.loads(sys.stdin.readline())
    verb = request.pop("do")
    try:
        answer = VERBS[verb](**request)
    except (sqlite3.Error, OSError, MemoryError) as err:
        answer = {"error": f"{type(err).__name__}: {err}"}
    print(json.dumps(answer), flush=True)


def opened(path: str, busy_s: float = _BUSY_S) -> sqlite3.Connection:
    """A session that trusts nothing in the file's schema."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise OSError(f"{path} is no regular file")
    connection = sqlite3.connect(f"file:{_quoted(path)}?mode=rw", uri=True, timeout=busy_s, isolation_level=None,
                                 check_same_thread=False)  # fmt: skip
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.text_factory = lambda raw: raw.decode(errors="surrogateescape")
    return connection


def copy(source: str, target: str) -> Answer:
    """By reflink where the file system has them, else by SQLite's own backup; both right beside readers and writers."""
    method = "reflink"
    if (reason := _reflink(source, target)) is not None:
        method = f"SQLite's backup (no reflink: {reason})"
        for path in (target, f"{target}-wal"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with contextlib.closing(opened(source)) as old, contextlib.closing(opened(target)) as new:
            old.backup(new)
    with contextlib.closing(opened(target)) as new:  # a cloned write-ahead log is taken in
        new.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        damage = [row[0] for row in new.execute("PRAGMA quick_check(3)")]
    if damage != ["ok"]:
        return {"error": f"the file is damaged: {'; '.join(map(str, damage))}"}
    return {"method": method, "size_bytes": os.stat(target).st_size}


def empty(target: str) -> Answer:
    """A database without a table."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    return {"method": "nothing: there is no database yet", "size_bytes": 0}


def restore(source: str, target: str) -> Answer:
    """The content of `source` into `target`, in one transaction."""
    with contextlib.closing(opened(source)) as old, contextlib.closing(opened(target)) as new:
        old.backup(new)
    return {}


def _reflink(source: str, target: str) -> str | None:
    """Why not; None: it is done. Nobody writes meanwhile: a checkpoint may, but it leaves the log as it is."""
    with contextlib.closing(opened(source, busy_s=_SHORT_BUSY_S)) as locked:
        try:
            locked.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as err:
            return str(err)
        for side in ("", "-wal"):
            if side and not os.path.exists(source + side):
                continue
            if (reason := _clone(source + side, target + side)) is not None:
                return reason
    return None


def _clone(source: str, target: str) -> str | None:
    with contextlib.ExitStack() as files:
        descriptors = []
        for path, flags in ((source, os.O_RDONLY), (target, os.O_CREAT | os.O_EXCL | os.O_RDWR)):
            descriptors.append(os.open(path, flags | os.O_NOFOLLOW, 0o600))
            files.callback(os.close, descriptors[-1])
        try:
            fcntl.ioctl(descriptors[1], _FICLONE, descriptors[0])
        except OSError as err:
            return err.strerror
    return None


def catalog(path: str) -> Answer:
    """Tables, their columns, constraints and indexes, and everything else by kind and name."""
    with contextlib.closing(opened(path)) as connection:
        connection.execute("BEGIN")
        tables, others = [], {}
        for kind, name, table, text in connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_schema "
            "WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
        ).fetchall():
            if kind == "table" and not (text or "").upper().startswith("CREATE VIRTUAL"):
                tables.append(_table(connection, name, text or ""))
            elif kind != "index":
                others[f"{kind} {table + '.' if kind == 'trigger' else ''}{name}"] = " ".join((text or "").split())
    return {"tables": tables, "others": others}


def _table(connection: sqlite3.Connection, name: str, text: str) -> Answer:
    columns = [
        {"name": row[1], "type": row[2], "nullable": not row[3], "key": row[5] > 0,
         "default": "generated" if row[6] in (2, 3) else row[4] if row[4] is not None else
         "rowid" if row[5] > 0 and row[2].upper() == "INTEGER" else None}
        for row in connection.execute("SELECT * FROM pragma_table_xinfo(?)", (name,)) if row[6] != 1
    ]  # fmt: skip
    constraints, indexes = [], []
    for _, index, unique, origin, partial in connection.execute(
        "SELECT * FROM pragma_index_list(?)", (name,)
    ).fetchall():
        about = [row[2] for row in connection.execute("SELECT * FROM pragma_index_info(?)", (index,))]
        made = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (index,)).fetchone()
        shown = " ".join(((made and made[0]) or f"{origin} ({', '.join(map(str, about))})").split())
        if unique:  # those of a constraint have names that count up
            called = index if origin == "c" else shown
            about = [column for column in about if column is not None]
            constraints.append(
                {"name": called, "definition": shown, "unique": True, "columns": [] if partial else about}
            )
        else:
            indexes.append({"name": index, "definition": shown})
    foreign: dict[int, list[Any]] = {}
    for row in connection.execute("SELECT * FROM pragma_foreign_key_list(?)", (name,)):
        foreign.setdefault(row[0], []).append(row)
    for rows in foreign.values():
        rows.sort(key=lambda row: row[1])
        about = [row[3] for row in rows]
        shown = f"FOREIGN KEY ({', '.join(about)}) REFERENCES {rows[0][2]} ({', '.join(str(row[4]) for row in rows)})"
        shown += f" ON UPDATE {rows[0][5]} ON DELETE {rows[0][6]}"
        constraints.append({"name": shown, "definition": shown, "unique": False, "columns": about})
    for check in _checks(text):
        constraints.append({"name": check, "definition": check, "unique": False, "columns": []})
    return {"name": name, "columns": columns, "constraints": constraints, "indexes": indexes}


def _checks(text: str) -> Iterator[str]:
    """The CHECK clauses of a CREATE TABLE, which no pragma gives."""
    words = " ".join(text.split())
    for found in re.finditer(r"\bCHECK\s*\(", words, re.IGNORECASE):
        depth, end = 1, found.end()
        while depth and end < len(words):
            depth += {"(": 1, ")": -1}.get(words[end], 0)
            end += 1
        yield f"CHECK ({words[found.end() : end]}"


def contents(path: str, columns: dict[str, list[str]], seed: int) -> Answer:
    """Table → rows, a keyed digest that does not depend on their order, and values not NULL by column."""
    found = {}
    with contextlib.closing(opened(path)) as connection:
        connection.execute("BEGIN")
        connection.text_factory = bytes
        for table, names in columns.items():
            rows, total, filled = 0, 0, [0] * len(names)
            for row in connection.execute(f"SELECT {', '.join(map(_name, names)) or '1'} FROM {_name(table)}"):  # noqa: S608
                digest = hashlib.blake2b(repr(row).encode(), key=seed.to_bytes(8, "big"), digest_size=16).digest()
                rows, total = rows + 1, (total + int.from_bytes(digest, "big")) % (1 << 128)
                filled = [had + (value is not None) for had, value in zip(filled, row, strict=False)]
            found[table] = {"rows": rows, "digest": f"{total:x}", "filled": dict(zip(names, filled, strict=True))}
    return found


def failing(path: str, queries: list[str]) -> Answer:
    """Statement → why it cannot be planned."""
    found = {}
    with contextlib.closing(opened(path)) as connection:
        for query in queries:
            try:
                connection.execute(f"EXPLAIN {query}").fetchall()
            except (sqlite3.ProgrammingError, sqlite3.Warning) as err:
                if "bindings" not in str(err):  # parameters are looked at once it is planned
                    found[query] = str(err)
            except sqlite3.Error as err:
                found[query] = str(err)
    return found


# ── load ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Lane:
    """Reads, or writes that are taken back, over all tables in turn; its longest wait for the lock of the file."""

    def __init__(self, path: str, statements: dict[str, str], begin: str) -> None:
        self._path, self._begin = path, begin
        self._statements = {"": "SELECT count(*) FROM sqlite_schema"} | statements
        self._stopped, self.began = threading.Event(), threading.Event()
        self.longest_s, self.problem = 0.0, ""
        self.thread = threading.Thread(target=self._run, daemon=True)

    def stop(self) -> None:
        self._stopped.set()
        self.thread.join(_BUSY_S)
        if self.thread.is_alive():
            self.problem = "the database is still locked after the migration has ended"

    def _run(self) -> None:
        try:
            connection = opened(self._path, busy_s=0)
            while not self._stopped.is_set():
                for table, statement in list(self._statements.items()):
                    try:
                        self._once(connection, statement)
                    except sqlite3.Error:  # a table that is gone, or lets no row be written; the lock is the file's
                        self._statements[table] = "SELECT count(*) FROM sqlite_schema"
                    if self._stopped.wait(_PAUSE_S):
                        break
                self.began.set()
        except (sqlite3.Error, OSError) as err:
            self.problem = f"there could be no load: {err}"
        finally:
            self.began.set()

    def _once(self, connection: sqlite3.Connection, statement: str) -> None:
        """Once the lock is to be had; a wait counts too where the statement fails after it."""
        since = None
        try:
            while True:
                try:
                    connection.execute(self._begin)
                    connection.execute(statement).fetchall()
                    return
                except sqlite3.OperationalError as err:
                    if "locked" not in str(err):
                        raise
                    since = since or time.monotonic()
                    if self._stopped.is_set() and time.monotonic() - since > _BUSY_S:
                        raise
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                time.sleep(_POLL_S)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if since is not None:
                self.longest_s = max(self.longest_s, time.monotonic() - since)


def load(path: str, long_transaction_s: float = 0) -> Answer:
    """Until the next line of input; one line of output says that it has begun."""
    tables = [(table["name"], table["columns"]) for table in catalog(path)["tables"]]
    writable = {
        name: next((c["name"] for c in columns if c["default"] != "generated"), None) for name, columns in tables
    }
    reads = {name: f"SELECT * FROM {_name(name)} LIMIT 10" for name, _ in tables}  # noqa: S608
    writes = {
        name: f"UPDATE {_name(name)} SET {_name(column)} = {_name(column)} WHERE rowid = (SELECT min(rowid) FROM {_name(name)})"  # noqa: S608, E501
        for name, column in writable.items() if column is not None
    }  # fmt: skip
    lanes = {"reads": Lane(path, reads, "BEGIN"), "writes": Lane(path, writes, "BEGIN IMMEDIATE")}
    for lane in lanes.values():
        lane.thread.start()
        if not lane.began.wait(_BUSY_S):
            lane.problem = "the load did not start"
    holder = opened(path)
    if long_transaction_s:
        holder.execute("BEGIN")
        for statement in reads.values():
            holder.execute(statement).fetchall()
    print(json.dumps({"began": True}), flush=True)
    timer = threading.Timer(long_transaction_s, lambda: holder.in_transaction and holder.execute("ROLLBACK"))
    timer.start()
    sys.stdin.readline()
    timer.cancel()
    timer.join()
    holder.close()
    for lane in lanes.values():
        lane.stop()
    return {
        "tables": [name for name, _ in tables],
        **{f"{what}_s": lane.longest_s for what, lane in lanes.items()},
        "problems": [lane.problem for lane in lanes.values() if lane.problem],
    }


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _quoted(path: str) -> str:
    """As a SQLite URI writes it."""
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


VERBS: dict[str, Callable[..., Answer]] = {
    "copy": copy,
    "empty": empty,
    "restore": restore,
    "catalog": catalog,
    "contents": contents,
    "failing": failing,
    "load": load,
}

if __name__ == "__main__":
    main()
