"""What the forge remembers: JSON documents in one SQLite file."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Doc = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS things (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, repo INTEGER, number INTEGER, key TEXT,
    doc TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS things_of ON things (kind, repo, number);
CREATE INDEX IF NOT EXISTS things_by_key ON things (kind, key);
"""


class DocumentStore:
    """Documents by kind. `repo`, `number` and `key` are columns, so that looking for them is quick.

    One request at a time has the store (`transaction`): it sees nothing half done, and leaves nothing half done.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.executescript(_SCHEMA)
        self._lock = threading.RLock()
        self._depth = 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; may be nested."""
        with self._lock:
            if self._depth == 0:
                self._database.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._database.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                self._database.execute("COMMIT")

    def add(self, kind: str, **fields: Any) -> Doc:
        """A new document, with an id that no other of any kind has."""
        with self.transaction():
            row = self._database.execute(
                "INSERT INTO things (kind, repo, number, key, doc) VALUES (?, ?, ?, ?, ?)",
                (kind, fields.get("repo"), fields.get("number"), fields.get("key"), "{}"),
            )
            return self.save({"id": row.lastrowid, "kind": kind, **fields})

    def save(self, doc: Doc) -> Doc:
        """Write it again, whole."""
        with self.transaction():
            self._database.execute(
                "UPDATE things SET repo = ?, number = ?, key = ?, doc = ? WHERE id = ?",
                (doc.get("repo"), doc.get("number"), doc.get("key"), json.dumps(doc), doc["id"]),
            )
        return doc

    def remove(self, doc: Doc) -> None:
        with self.transaction():
            self._database.execute("DELETE FROM things WHERE id = ?", (doc["id"],))

    def get(self, kind: str, identity: int) -> Doc | None:
        return self.one(kind, id=identity)

    def one(self, kind: str, **where: Any) -> Doc | None:
        """The first that has all these fields."""
        return next(iter(self._select(kind, where, "LIMIT 1")), None)

    def find(self, kind: str, **where: Any) -> list[Doc]:
        """All that have these fields, the oldest first."""
        return self._select(kind, where)

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def _select(self, kind: str, where: Doc, tail: str = "") -> list[Doc]:
        terms, values = ["kind = ?"], [kind]
        for name, value in where.items():
            column = name if name in ("id", "repo", "number", "key") else f"json_extract(doc, '$.{name}')"
            if value is None:
                terms.append(f"{column} IS NULL")
            else:
                terms.append(f"{column} = ?")
                values.append(value)
        query = f"SELECT doc FROM things WHERE {' AND '.join(terms)} ORDER BY id {tail}"  # noqa: S608 our own names
        with self._lock:
            return [json.loads(text) for (text,) in self._database.execute(query, values)]
