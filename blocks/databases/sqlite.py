"""The block of a target's SQLite database."""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from pydantic import Field, PrivateAttr

from blocks.base import LockgateBlock
from blocks.databases.patience import run_patiently
from blocks.databases.rehearse import Copies, RehearsalPlay, rehearse
from blocks.databases.sqlite_copy import Confine, SqliteCopy, Worker, unconfined
from blocks.home import home
from domain.errors import DatabaseError
from domain.migration import (
    Applied,
    CopyMade,
    Migrate,
    MigrationBudget,
    MigrationRun,
    Patience,
    Rehearsal,
    Serves,
    nothing_runs,
)
from domain.schema import Schema

_NAME = re.compile(r"^lockgate_copy_(\d+)_[0-9a-f]{8}$")
_REMOVALS = 10


def _remove(folder: Path) -> None:
    """Who still works on a copy may make a journal in it between the look and the leap: then once more."""
    for left in reversed(range(_REMOVALS)):
        try:
            shutil.rmtree(folder)
        except OSError as err:
            if err.errno != errno.ENOTEMPTY or not left:
                raise
        else:
            return


class SqliteDatabase(LockgateBlock):
    """One file. Programs get `sqlite:///PATH?timeout=SECONDS`; who shows them the file elsewhere maps the path.

    If there is no file yet, the database is an empty one: the first release of an environment makes it.
    """

    _block_type_name = "Lockgate sqlite database"
    _block_type_slug = "lockgate-sqlite-database"
    _description = "A target's SQLite database: copied, its migrations rehearsed and measured, then applied."

    path: Path = Field(description="The database file")
    copies: Path = Field(
        default_factory=lambda: home() / "databases",
        description="Directory for copies and backups; on the file's own file system a copy may cost nothing",
    )
    patience: Patience = Field(Patience(), description="How a migration asks for its lock")
    budget: MigrationBudget = Field(MigrationBudget(), description="What a migration may cost users")
    long_transaction_s: float = Field(3, gt=0, description="Seconds that a transaction is open before a migration")
    copy_max_bytes: int = Field(50_000_000_000, ge=1, description="Larger databases are not copied")
    copy_timeout_s: float = Field(3600, gt=0, description="Seconds that reading or copying the whole file may take")
    copy_max_age_s: float = Field(6 * 3600, gt=0, description="Copies that are older are removed, in use or not")
    keep_backups: int = Field(3, ge=1, description="Backups from before a migration that are kept")
    _confine: Confine = PrivateAttr(default_factory=lambda: unconfined)

    def confined(self, confine: Confine) -> "SqliteDatabase":
        """The same, whose reader of files runs as `confine(argv, folders)`: argv that sees these at their paths."""
        twin = self.model_copy()
        twin._confine = confine
        return twin

    def rehearse(
        self,
        up: Migrate,
        down: Migrate | None,
        serves: Serves,
        *,
        queries: Sequence[str] | None = None,
        stop: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = lambda line: None,
    ) -> Rehearsal:
        """Run a migration on copies and measure. `queries`: statements of the running release; SQLite keeps none.
        `stop` ends what works on a copy, where its directory grows too much.

        Raises DatabaseError if it could not be rehearsed; nothing is left of the copies then either. So it is where
        there is no file and `serves` is not `nothing_runs`: `path` is not the file of the release that runs.
        """
        if serves is not nothing_runs and not os.path.lexists(self.path):
            raise DatabaseError(
                f"there is no database {self.path}, and a release runs: give `path` the file that the release uses, or "
                "make an empty one there where it has none yet"
            )
        with self._copied() as copies:
            most_bytes = min(self.budget.most_bytes, shutil.disk_usage(self.copies).free // 2)
            play = RehearsalPlay(up, down, serves, queries or (), self.patience, self.long_transaction_s)
            return rehearse(copies, play, most_bytes, stop, say)

    def try_on_copy(self, serves: Serves) -> str | None:
        """Try a release on a copy of the database as it is: None if it is well there, else why not."""
        with self._copied() as copies:
            return serves(copies.first.url)

    def apply(self, up: Migrate, rehearsal: Rehearsal) -> Applied:
        """Run a rehearsed migration on the file itself, a backup first. `bring_back` takes it back by hand.

        Safe to repeat: it runs where the schema is as it was rehearsed on, or as the rehearsal left it, and refuses in
        `problem` where it is neither. A backup is made only before the first.
        """
        before = self.current_schema()
        if before not in (rehearsal.source, rehearsal.after):
            reason = "the schema has changed since the rehearsal: rehearse again, or see what was done by hand"
            run = MigrationRun(tries=0, seconds=0, longest_try_s=0, problem=reason)
            return Applied(run=run, before=before, after=before)
        backup = self._backup(rehearsal.digest, needed=before == rehearsal.source)
        database = SqliteCopy(self._worker(self.path.parent), self.path)
        url = database.migration_url(self.patience)
        run = run_patiently(up, lambda _: url, self.patience, database, str)
        after = self.current_schema()
        if run.problem is None and after != rehearsal.after:
            run = run.model_copy(update={"problem": "it ended well and left another schema than in its rehearsal"})
        return Applied(run=run, before=before, after=after, backup=str(backup) if backup else None)

    def bring_back(self, backup: str) -> None:
        """The file as it was in a backup of `apply`, and what was written since is lost: a person's act."""
        if Path(backup).parent != self._backups or not Path(backup).is_file():
            raise DatabaseError(f"{backup} is no backup of {self.path}: they are in {self._backups}")
        self._worker(self.path.parent, self._backups).ask("restore", source=backup, target=str(self.path))

    def catalog(self) -> Schema:
        """The database's schema now, empty if there is no file. Raises DatabaseError if it cannot be read."""
        if not os.path.lexists(self.path):
            return Schema(engine="sqlite", tables=())
        return SqliteCopy(self._worker(self.path.parent), self.path).schema()

    def current_schema(self) -> str:
        """Its fingerprint."""
        return self.catalog().fingerprint

    def sweep(self) -> tuple[str, ...]:
        """Remove copies that nobody works on any more; their names. Safe to repeat."""
        removed = []
        for folder in sorted(self.copies.glob("lockgate_copy_*")):
            if (match := _NAME.match(folder.name)) is None:
                continue
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.time() - int(match[1]) <= self.copy_max_age_s:
                        continue
                finally:
                    os.close(descriptor)
                _remove(folder)
                removed.append(folder.name)
        return tuple(removed)

    def doctor(self) -> str | None:
        """None if migrations can be rehearsed here, else what is missing and the fix."""
        try:
            self.current_schema()
        except DatabaseError as err:
            return str(err)
        return None

    @contextlib.contextmanager
    def _copied(self) -> Iterator[Copies]:
        source, is_there = self.current_schema(), os.path.lexists(self.path)
        if is_there and (size_bytes := self.path.stat().st_size) > self.copy_max_bytes:
            raise DatabaseError(
                f"{self.path} has {size_bytes:,} bytes, and copies may have {self.copy_max_bytes:,}: raise "
                "`copy_max_bytes` where the disk has the room"
            )
        folder = self.copies / f"lockgate_copy_{int(time.time())}_{secrets.token_hex(4)}"
        folder.mkdir(mode=0o700, parents=True)
        try:
            with open(folder / "lock", "wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                started = time.monotonic()
                # each in a directory of its own: a release may be shown it
                first, second = (folder / number / self.path.name for number in "12")
                if is_there:
                    worker = self._worker(self.path.parent, first.parent)
                    made = worker.ask("copy", source=str(self.path), target=str(first))
                else:
                    made = self._worker(first.parent).ask("empty", target=str(first))
                self._worker(first.parent, second.parent).ask("copy", source=str(first), target=str(second))
                self._give(first.parent, second.parent)
                copies = [SqliteCopy(self._worker(path.parent), path) for path in (first, second)]
                report = CopyMade(
                    method=str(made["method"]),
                    seconds=time.monotonic() - started,
                    size_bytes=int(made["size_bytes"]),
                )
                yield Copies(copies[0], copies[1], report, source)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _give(self, *folders: Path) -> None:
        """Who may write the file may write its copies. Made by a confined reader, they are its own."""
        if os.geteuid() == 0 and self._confine is unconfined and self.path.exists():
            owner = self.path.stat()
            for path in (path for folder in folders for path in (folder, *folder.rglob("*"))):
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)

    @property
    def _backups(self) -> Path:
        return self.copies / f"backups-{quote(str(self.path), safe='')[-100:]}"

    def _backup(self, key: str, needed: bool) -> Path | None:
        """Of the data from before. If there is one by that key, we were killed on the way, and it is from before
        that; one that was cut off itself has another name, and counts for nothing."""
        backup = self._backups / f"{key}.db"
        if backup.exists() or not needed or not os.path.lexists(self.path):
            return backup if backup.exists() else None
        found = sorted(self._backups.glob("*.db"), key=lambda path: path.stat().st_mtime)
        partial = backup.with_suffix(".partial")
        for rest in (partial, partial.with_name(f"{partial.name}-wal"), partial.with_name(f"{partial.name}-shm")):
            rest.unlink(missing_ok=True)
        self._worker(self.path.parent, self._backups).ask("copy", source=str(self.path), target=str(partial))
        partial.rename(backup)
        for old in found[: max(0, len(found) + 1 - self.keep_backups)]:
            old.unlink()
        return backup

    def _worker(self, *folders: Path) -> Worker:
        """One that sees these directories: no other database's copies lie there."""
        return Worker(self._confine, folders, self.copy_timeout_s)
