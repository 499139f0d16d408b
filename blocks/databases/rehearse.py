"""A migration on two copies of a database, as it will be run on the database itself. Knows no engine."""

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from blocks.databases.patience import Watcher, once, run_patiently
from domain.errors import DatabaseError, LockgateError
from domain.health import Clean
from domain.migration import CopyMade, Downgrade, Migrate, MigrationRun, Patience, Rehearsal, Serves, TableImpact
from domain.schema import Schema, changes

VERSION_TABLES = frozenset(
    {
        "alembic_version", "django_migrations", "schema_migrations", "ar_internal_metadata", "flyway_schema_history",
        "databasechangelog", "databasechangeloglock", "goose_db_version", "_prisma_migrations", "knex_migrations",
        "knex_migrations_lock", "atlas_schema_revisions", "_sqlx_migrations", "_yoyo_migration",
    }
)  # fmt: skip
"""Where migration tools write how far they are: what a migration changes there is not the users' data."""
_LOOK_S = 0.5


class Content(NamedTuple):
    """The rows of a table. `digest`: the same for the same rows in any order; `filled`: column → values not NULL."""

    rows: int
    digest: str
    filled: Mapping[str, int]


class Load(Watcher, Protocol):
    """Reads and writes on every table, from their start until `stop`."""

    def stop(self) -> tuple[tuple[TableImpact, ...], tuple[str, ...]]:
        """What users of each table felt, and what could not be measured."""


class Copy(Watcher, Protocol):
    """One copy of a database."""

    @property
    def url(self) -> str:
        """For programs that run on it; its password opens this copy alone."""

    def migration_url(self, patience: Patience) -> str:
        """The same with a lock timeout: that of what keeps nobody out, where the load itself sees to the other."""

    def schema(self) -> Schema: ...

    def invalid_indexes(self) -> tuple[str, ...]: ...

    def contents(self, columns: Mapping[str, Sequence[str]], seed: int) -> Mapping[str, Content]:
        """Table → its rows, over these of its columns."""

    def size_bytes(self) -> int: ...

    def failing(self, queries: Sequence[str]) -> Mapping[str, str]:
        """Statement → why the database does not even plan it. Nothing is executed."""

    def under_load(self, patience: Patience) -> AbstractContextManager[Load]: ...

    def long_transaction(self, seconds: float) -> AbstractContextManager[None]:
        """A transaction that has read and written every table stays open for that long."""

    def taken_bytes(self) -> int:
        """What the copy takes of the disk now. At any time, from any thread."""

    def shut(self) -> None:
        """End whatever is done with it, ours too, and let nobody in again. From any thread."""


class Copies(NamedTuple):
    """Two copies of the same moment."""

    first: Copy
    second: Copy
    made: CopyMade
    source: str


class RehearsalPlay(NamedTuple):
    """What is rehearsed. `clean` takes the secrets of the copies' URLs out of a text."""

    up: Migrate
    down: Migrate | None
    serves: Serves
    queries: Sequence[str]
    patience: Patience
    long_transaction_s: float
    clean: Clean = str


def rehearse(
    copies: Copies, play: RehearsalPlay, most_bytes: int, stop: Callable[[], None], say: Callable[[str], None]
) -> Rehearsal:
    """Run a migration on two copies of a database. On the first: up under load, down, up again, then the running
    release on the new schema. On the second: up behind a long transaction.

    Ends early if the first run changes nothing, and if a copy grows by more than `most_bytes`: then `stop` ends what
    works on it.
    """
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        say(line)

    tell(f"copied by {copies.made.method}, {copies.made.size_bytes:,} bytes in {copies.made.seconds:.2f} s")
    for note in copies.made.notes:
        tell(note)
    before, began = copies.first.schema(), time.monotonic()
    begun = Rehearsal(
        engine=before.engine,
        copy_made=copies.made,
        source=copies.source,
        before=before.fingerprint,
        under_load=MigrationRun(tries=1, seconds=0, longest_try_s=0),
        bytes_before=copies.first.size_bytes(),
    )
    with Bound((copies.first, copies.second), most_bytes, stop) as bound:
        try:
            seen = _on_copies(copies, play, begun, before, tell)
        except LockgateError:  # of a copy that was shut, or of a trial that was ended while it began
            if bound.problem is None:
                raise
    if bound.problem is not None:  # what came after is about copies that were shut
        tell(bound.problem)
        run = begun.under_load.model_copy(update={"problem": bound.problem, "seconds": time.monotonic() - began})
        seen = begun.model_copy(update={"under_load": run, "bytes_after": begun.bytes_before + bound.grown_bytes})
    return seen.model_copy(update={"timeline": tuple(lines)})


class Bound(threading.Thread):
    """Sees that no copy outgrows the disk that it may take, for nobody has reviewed what works on it. Once one has,
    nothing works on the copies any more. For the time of a `with`."""

    def __init__(self, copies: Sequence[Copy], most_bytes: int, stop: Callable[[], None]) -> None:
        super().__init__(name="bound of the copies", daemon=True)
        self._copies, self._most_bytes, self._stop = copies, most_bytes, stop
        self._before = [copy.taken_bytes() for copy in copies]
        self._over = threading.Event()
        self.grown_bytes = 0
        self.problem: str | None = None

    def __enter__(self) -> "Bound":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(_LOOK_S):
            if self.problem is None and (problem := self._look()) is None:
                continue
            self.problem = self.problem or problem
            for end in (self._stop, *(copy.shut for copy in self._copies)):
                with contextlib.suppress(LockgateError):  # the next look tries again
                    end()

    def _look(self) -> str | None:
        try:
            grown = [copy.taken_bytes() - was for copy, was in zip(self._copies, self._before, strict=True)]
        except DatabaseError as err:
            return f"it was stopped: nobody can see how much of the disk it takes: {err}"
        self.grown_bytes = max(grown)
        if self.grown_bytes <= self._most_bytes:
            return None
        return f"it was stopped: a copy grew by {self.grown_bytes:,} bytes, and {self._most_bytes:,} is the most"


def _on_copies(
    copies: Copies, play: RehearsalPlay, seen: Rehearsal, before: Schema, tell: Callable[[str], None]
) -> Rehearsal:
    first, second, queries = copies.first, copies.second, play.queries
    seed = secrets.randbits(62)  # the migration does not know it, so it cannot make up rows of the same digest
    rows = first.contents(_all_columns(before), seed)
    run = _under_load(first, play)
    tell(f"up under load: {run.problem or f'through in {run.longest_try_s:.2f} s'}")
    seen = seen.model_copy(update={"under_load": run})
    if run.problem is not None:
        return seen
    after = first.schema()
    seen = seen.model_copy(
        update={
            "after": after.fingerprint,
            "changes": changes(before, after),
            "bytes_after": first.size_bytes(),
            "invalid_indexes": first.invalid_indexes(),
            "same_rows": before == after and first.contents(_all_columns(after), seed) == rows,
        }
    )
    if seen.changed_nothing:
        tell("it changed nothing, so there is nothing to take back and nothing that could break")
        return seen
    parsed_before = second.failing(queries)
    lost = _lost(before, after, rows, first, second, seed)
    back = None
    if play.down is not None:
        back = _back(first, play, play.down, before, after, rows, seed)
        tell(f"down and up again: {'proven' if back.is_proven else 'not proven'}")
    tried = [query for query in queries if query not in parsed_before]
    broken = [f"{reason}: {_short(query)}" for query, reason in first.failing(tried).items()]
    if (reason := play.serves(first.url)) is not None:
        broken.append(play.clean(reason))
    tell(f"the running release on the new schema: {'; '.join(broken) or 'well'}")
    with second.long_transaction(play.long_transaction_s):
        behind = _under_load(second, play)
    if behind.problem is None and second.schema() != after:
        behind = behind.model_copy(update={"problem": "it ended well and left another schema than without it"})
    tell(f"up behind a long transaction: {behind.problem or f'through in {behind.tries} tries'}")
    is_proven = back is not None and back.is_proven
    return seen.model_copy(
        update={
            "behind_transaction": behind,
            "lost": () if is_proven else lost,
            "downgrade": back,
            "queries": len(tried),
            "broken": tuple(broken),
        }
    )


def _under_load(copy: Copy, play: RehearsalPlay) -> MigrationRun:
    url = copy.migration_url(play.patience)
    with copy.under_load(play.patience) as load:
        run = run_patiently(play.up, lambda _: url, play.patience, load, play.clean)
        impacts, unmeasured = load.stop()
    return run.model_copy(update={"impacts": impacts, "unmeasured": unmeasured})


def _back(
    copy: Copy,
    play: RehearsalPlay,
    down: Migrate,
    before: Schema,
    after: Schema,
    rows: Mapping[str, Content],
    seed: int,
) -> Downgrade:
    """Down, compared with what was before; up again, whose schema is compared with that of the first time: rows are
    not, since what it fills in with the time or with random values is never the same."""
    if (problem := once(down, copy.url, copy, play.clean)) is not None:
        return Downgrade(problem=problem)
    back = copy.schema()
    differences = [change.sentence for change in changes(before, back)]
    if not differences and back != before:
        differences.append("the schema is another one")
    there = {name: columns for name, columns in _all_columns(before).items() if _has(back, name, columns)}
    now = copy.contents(there, seed)
    differences += [_difference(name, rows[name], now[name]) for name in there if rows[name] != now[name]]
    again = once(play.up, copy.url, copy, play.clean)
    if again is not None:
        again = f"it failed: {again}"
    elif copy.schema() != after:
        again = "it left another schema"
    return Downgrade(differences=tuple(differences), again=again)


def _lost(
    before: Schema, after: Schema, rows: Mapping[str, Content], migrated: Copy, untouched: Copy, seed: int
) -> tuple[str, ...]:
    """What of the data is not there any more, or is another, once the migration is through."""
    lost, kept = [], {}
    for name in _of_users([table.name for table in before.tables]):
        was, is_now = before.table(name), after.table(name)
        if was is None or is_now is None:
            if rows[name].rows:
                lost.append(f"table {name} had {rows[name].rows} rows and is gone")
            continue
        kept[name] = [column.name for column in was.columns if is_now.column(column.name)]
        for column in was.columns:
            if column.name not in kept[name] and (values := rows[name].filled[column.name]):
                lost.append(f"column {name}.{column.name} had {values} values and is gone")
    fewer = {name: columns for name, columns in kept.items() if len(columns) < len(rows[name].filled)}
    old, new = {**rows, **untouched.contents(fewer, seed)}, migrated.contents(kept, seed)
    return (*lost, *(_difference(name, old[name], new[name]) for name in kept if old[name] != new[name]))


def _difference(name: str, old: Content, new: Content) -> str:
    if old.rows != new.rows:
        return f"table {name} has {new.rows} rows, it had {old.rows}"
    return f"rows of table {name} have other values than before"


def _of_users(tables: Sequence[str]) -> list[str]:
    return [name for name in tables if name.rpartition(".")[2] not in VERSION_TABLES]


def _all_columns(schema: Schema) -> dict[str, list[str]]:
    return {table.name: [column.name for column in table.columns] for table in schema.tables}


def _has(schema: Schema, name: str, columns: Sequence[str]) -> bool:
    table = schema.table(name)
    return table is not None and all(table.column(column) for column in columns)


def _short(query: str) -> str:
    words = " ".join(query.split())
    return words if len(words) <= 120 else f"{words[:119]}…"
