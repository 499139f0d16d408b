"""`lockgate backup` and `lockgate restore`: all that a station is, as one file.

It is made while the station works. What is in it fits together by its order, and not because all stopped: first what
the home remembers of the ledger, and what was signed about it; then Prefect's database, the ledger, and all else. So
the ledger holds what Prefect speaks of, and the store what the ledger speaks of. A station that was restored is one
that was killed in that moment: its runs are resumed as after any crash.
"""

import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from blocks import kept
from blocks.home import home, joined
from blocks.ledger import copies
from domain.errors import InputError, LockgateError
from domain.value import Value
from station import credentials, processes

LEFT_OUT = ("run", "tmp", "cache", "layers", "sandboxes", "containers", "gateway", "artifacts")
"""Below the home: what is made anew where it is missing, and what speaks of processes of this machine. Toolchains stay:
releases run in them."""
FIRST = ("ledgers", "store/checkpoints", "prefect/prefect.db")
PREFECT = "prefect/prefect.db"
DUMP = "prefect.dump"
"""In a backup: Prefect's database, if that is on PostgreSQL."""
MANIFEST = "manifest.json"
SQLITE = b"SQLite format 3\0"
LOCK_S = 60


class Manifest(Value):
    """What a backup says of itself."""

    made_at: float
    version: str
    home: str
    """Blocks in it name paths below it."""
    ledgers: dict[str, str]
    """Workshop → the file in the backup that holds its ledger."""
    digests: dict[str, str]
    """Each file → SHA-256."""
    newest_state: str | None = None
    """Of a run, in `DUMP`; None: Prefect's database is a file of the home, or another machine's."""


def backup(to: Path) -> list[str]:
    """Make it; what is to be known of it, as sentences. Mode 600, whole or not there at all.

    Raises InputError for a place if it cannot go, LockgateError where something cannot be read.
    """
    to = to.absolute()
    if to.exists():
        raise InputError(f"{to} is there already: name another file")
    if to.resolve().is_relative_to(home().resolve()):
        raise InputError(f"{to} is in the home that is to be kept: name a file elsewhere, best on another disk")
    if kept.version() is None:
        raise InputError(f"there is no station in {home()}: `lockgate up` begins one")
    draft = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive, ExitStack() as stack:
                scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=_made(home() / "tmp"))))
                said = Writer(archive, scratch).write()
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, to)
    finally:
        draft.unlink(missing_ok=True)
    size = f"{to.stat().st_size / 1e6:.0f} MB"
    return [
        f"{to}  ({size}, mode 600)",
        "It holds the key that decrypts the blocks, and all history: keep it as you keep a password.",
        *said,
    ]


class Writer:
    """One backup under way."""

    def __init__(self, archive: tarfile.TarFile, scratch: Path) -> None:
        self._archive, self._scratch = archive, scratch
        self._digests: dict[str, str] = {}
        self._said: list[str] = []
        self._as_they_are: set[Path] = set()

    def write(self) -> list[str]:
        """All of it, in the order that makes it fit together; what is not in it, as sentences."""
        for name in FIRST[:2]:
            self._tree(home() / name)
        newest_state = self._prefect()
        workshops, skipped = self._ledgers()
        for path in sorted(home().iterdir()):
            if path.name not in LEFT_OUT:
                self._tree(path, skipped)
        told = Manifest(
            made_at=time.time(),
            version=version("lockgate"),
            home=str(home()),
            ledgers=workshops,
            digests=self._digests,
            newest_state=newest_state,
        )
        content = told.model_dump_json().encode()
        entry = tarfile.TarInfo(MANIFEST)
        entry.size, entry.mode = len(content), 0o600
        self._archive.addfile(entry, io.BytesIO(content))
        return self._said

    def _prefect(self) -> str | None:
        """Prefect's database, before the ledger; the newest state of a run in it where it is on PostgreSQL."""
        if shared := credentials.shared():
            from station import prefect_database

            copy = self._scratch / DUMP
            newest = prefect_database.dump(shared.database, copy)
            self._file(copy, DUMP)
            return newest
        if joined():
            self._said.append(
                f"NOT in it: Prefect's database, which is of the station at {joined()}: back that up, too"
            )
            return None
        copy = self._scratch / "prefect.db"
        copies.copy_file(home() / PREFECT, copy)
        self._file(copy, f"home/{PREFECT}", like=home() / PREFECT)
        return None

    def _ledgers(self) -> tuple[dict[str, str], set[Path]]:
        """Workshop → where its ledger is in the backup; and the files that are not taken as they are."""
        from blocks.ledger.database import parse
        from blocks.stores.local import LocalStore

        names: dict[str, str] = {}  # of each ledger, by its url
        workshops: dict[str, str] = {}
        skipped = {home() / (PREFECT + end) for end in ("", "-wal", "-shm", "-journal")}
        with kept.used():
            for workshop, shop in _workshops():
                url = shop.ledger.url.get_secret_value()
                if url not in names:
                    name = names[url] = f"ledgers/{len(names)}.db"
                    copy = self._scratch / f"ledger-{len(names)}.db"
                    copies.copy(url, copy)
                    self._file(copy, name)
                    if parse(url).get_backend_name() == "sqlite":
                        place = str(parse(url).database)
                        skipped |= {Path(place + end) for end in ("", "-wal", "-shm", "-journal", ".lock")}
                workshops[workshop] = names[url]
                where = shop.store.root if isinstance(shop.store, LocalStore) else None
                if where is None or not where.absolute().is_relative_to(home()):
                    self._said.append(f"NOT in it: the store of {workshop}, which is not below {home()}")
        return workshops, skipped

    def _tree(self, top: Path, skipped: Iterable[Path] = ()) -> None:
        """A folder and all in it, or a file. Of a repository the objects come last: no ref names one that is not
        there."""
        skip = set(skipped)
        late: list[Path] = []
        with ExitStack() as stack:
            for path in _walk(top):
                name = f"home/{path.relative_to(home())}"
                if path in skip or name in self._digests:
                    continue
                if path.suffix == ".git" and path.with_suffix(".lock").is_file():
                    stack.enter_context(_locked(path.with_suffix(".lock")))
                (late.append if "objects" in path.parts else self._path)(path)
            for path in late:
                self._path(path)

    def _path(self, path: Path) -> None:
        name = f"home/{path.relative_to(home())}"
        with suppress(FileNotFoundError):  # it is gone by now, as a cache's or a pruned object
            if path.is_symlink() or path.is_dir():
                self._archive.add(path, name, recursive=False)
            elif path.is_file() and not self._is_in_use(path):
                self._file(path, name)

    def _is_in_use(self, path: Path) -> bool:
        """Whether it is a database of a release, which was put in as it must be; or lies beside one."""
        folders = path.relative_to(home()).parts
        if folders[0] != "targets" or "data" not in folders[2:3]:
            return False
        if path.name.endswith(("-wal", "-shm", "-journal")):
            database = Path(str(path).rpartition("-")[0])
            return database not in self._as_they_are and _is_sqlite(database)
        return _is_sqlite(path) and self._release_data(path)

    def _release_data(self, path: Path) -> bool:
        """Releases wrote it, so what opens it is confined as they are. Whether it is in the backup by that."""
        from blocks.databases.sqlite_copy import Worker
        from blocks.targets.trial.trial import confined

        name = f"home/{path.relative_to(home())}"
        copy = Path(tempfile.mkdtemp(dir=self._scratch)) / "copy.db"
        shutil.rmtree(copy.parent)  # made anew, for whom the copy is made as
        try:
            Worker(confined, (path.parent, copy.parent), 3600).ask("copy", source=str(path), target=str(copy))
        except LockgateError as err:
            self._as_they_are.add(path)
            self._said.append(f"copied as it is, which may not be whole: {path} ({err})")
            return False
        self._file(copy, name, like=path)
        return True

    def _file(self, path: Path, name: str, like: Path | None = None) -> None:
        """What it holds at this moment, also if it grows meanwhile; with the owner and mode of `like`."""
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            entry = self._archive.gettarinfo(str(like or path), name)
            entry.type, entry.linkname = tarfile.REGTYPE, ""  # each file on its own, also where two are one
            entry.size = os.fstat(file.fileno()).st_size
            reader = Hashing(file, entry.size)
            self._archive.addfile(entry, reader)  # type: ignore[arg-type]
            self._digests[name] = reader.digest()


class Hashing:
    """A file of exactly that size, and the digest of what was read; one that was cut meanwhile is filled with zeros."""

    def __init__(self, file: Any, size: int) -> None:
        self._file, self._left, self._hash = file, size, hashlib.sha256()

    def read(self, count: int) -> bytes:
        data: bytes = self._file.read(min(count, self._left))
        data += bytes(min(count, self._left) - len(data))
        self._left -= len(data)
        self._hash.update(data)
        return data

    def digest(self) -> str:
        return self._hash.hexdigest()


def restore(file: Path) -> list[str]:
    """Put a station back from a backup into a home that is not there; what was done, as sentences.

    Raises InputError for a home that is in use, another one than the backup's, or a file that is no whole backup;
    LedgerError where the ledger on a database server is older than the backup.
    """
    _check_home()
    draft = home().with_name(f".{home().name}.restoring")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700, parents=True)
    try:
        told = _unpacked(file, draft)
        if Path(told.home) != home():
            raise InputError(
                f"the backup is of {told.home}, and blocks in it name paths below that: restore it there "
                f"(LOCKGATE_HOME={told.home})"
            )
        home().parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            home().rmdir()  # it is empty
        os.rename(draft / "home", home())
        try:
            with _unremembered(draft):
                _check_databases(told)
                said = [*_put_ledgers_back(told, draft), *_put_prefect_back(told, draft)]
        except BaseException:
            shutil.rmtree(home())
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    made = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(told.made_at))
    return [
        f"{home()} is what it was at {made}",
        *said,
        "See that the old station is down for good, wherever it was: two would do everything twice.",
        "`lockgate up` starts it, `lockgate verify` compares the ledger with what was signed since.",
    ]


def _check_home() -> None:
    if not home().exists() or not any(home().iterdir()):
        return
    running = " and is running" if processes.running("supervisor") else ""
    raise InputError(
        f"there is something in {home()}{running}: a backup is put into a new home alone, for its ledger would be "
        "older than the Prefect that is there. Stop it, and move it away"
    )


def _unpacked(file: Path, into: Path) -> Manifest:
    """All files as the manifest has them. Raises InputError for a file that is damaged, or no backup."""
    try:
        with tarfile.open(file, "r:gz") as archive:
            archive.extraction_filter = getattr(tarfile, "tar_filter", None)  # never outside of it, if Python can
            archive.extractall(into)  # noqa: S202 - a backup of our own, which holds every secret as it is
        told = Manifest.model_validate_json((into / MANIFEST).read_bytes())
    except (OSError, tarfile.TarError, EOFError, ValueError) as err:
        raise InputError(f"{file} is not a whole backup: {err}") from err
    for name, digest in told.digests.items():
        if _digest(into / name) != digest:
            raise InputError(f"{file} is damaged: {name} is not what was put in")
    return told


@contextmanager
def _unremembered(draft: Path) -> Iterator[None]:
    """What the home knows of its ledgers is aside while they are put back: it would take an empty one for lost."""
    known, aside = home() / "ledgers", draft / "ledgers-known"
    if known.exists():
        known.rename(aside)
    yield
    if aside.exists():
        shutil.rmtree(known, ignore_errors=True)
        aside.rename(known)


def _check_databases(told: Manifest) -> None:
    """Raises InputError if what stands in PostgreSQL by now does not go with what would be put beside it."""
    shared = credentials.shared()
    if told.newest_state is None or shared is None:
        return
    from station import prefect_database

    if not prefect_database.is_there(shared.database):
        return
    there = prefect_database.shown(shared.database)
    if not prefect_database.holds(shared.database, told.newest_state):
        raise InputError(
            f"Prefect's database at {there} is older than the backup, or another one: empty it, and the backup's is "
            "put there; or write the right one to credentials/database in the backup's home"
        )
    with kept.used():
        for workshop, shop in _workshops():
            url = shop.ledger.url.get_secret_value()
            if workshop in told.ledgers and copies.is_empty(url):
                raise InputError(
                    f"Prefect's database at {there} is still there, and the ledger of workshop {workshop} would be put "
                    "back beside it, as it was before: runs would have done what no ledger knows. Empty that database, "
                    "too, and both are put back"
                )


def _put_prefect_back(told: Manifest, draft: Path) -> list[str]:
    shared = credentials.shared()
    if told.newest_state is None or shared is None:
        return []
    from station import prefect_database

    there = prefect_database.shown(shared.database)
    if prefect_database.is_there(shared.database):
        return [f"Prefect's database at {there} goes as far as the backup's: it was left as it is"]
    prefect_database.put_back(draft / DUMP, shared.database)
    return [f"Prefect's database was put back to {there}. Redis may be empty: what was under way there is sent again"]


def _put_ledgers_back(told: Manifest, draft: Path) -> list[str]:
    said: dict[str, str] = {}
    with kept.used():
        for workshop, shop in _workshops():
            name = told.ledgers.get(workshop)
            if name and name not in said:
                said[name] = copies.put_back(draft / name, shop.ledger.url.get_secret_value())
    return list(said.values())


def _workshops() -> Iterator[tuple[str, Any]]:
    """From the home's own copy of the blocks: the server may be down."""
    from blocks.workshop import Workshop

    for name in kept.names("lockgate-workshop"):
        yield name, Workshop.saved(name)


def _walk(top: Path) -> Iterator[Path]:
    """It, and all below it in order; links are not followed."""
    if top.is_symlink() or not top.is_dir():
        if top.is_symlink() or top.exists():
            yield top
        return
    yield top
    with suppress(FileNotFoundError):
        for path in sorted(top.iterdir()):
            yield from _walk(path)


def _locked(lock: Path) -> Any:
    """The forge's lock of a repository; after a minute without."""
    import fcntl

    file = open(lock)  # noqa: SIM115 - the caller closes it
    until = time.monotonic() + LOCK_S
    while time.monotonic() < until:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        time.sleep(0.1)
    return file


def _is_sqlite(path: Path) -> bool:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            return file.read(16) == SQLITE
    except OSError:
        return False


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
