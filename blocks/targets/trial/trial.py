"""One release tried in private, on this machine, for every kind of target: its migration, and whether it serves.

Nobody has reviewed the release yet, and the database holds users' data. So it runs in bubblewrap, in a network of its
own: it sees its tree, its toolchain and one database, and has no secret. inside.py is the first program in there,
door.py the way to a PostgreSQL server; a SQLite file is shown with its directory.
"""

import contextlib
import fcntl
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from blocks.home import home
from blocks.host import processes
from blocks.host.confine import Bind
from blocks.host.files import locked, owned
from blocks.targets.artifact import artifact_of, write_tree
from blocks.targets.asking import settle_by
from blocks.targets.health_probe import probe_by
from blocks.targets.machine import confinement
from blocks.targets.machine.confinement import APP, DATA
from blocks.targets.releases import ReleaseDirectory
from blocks.targets.trial.database import TrialDatabase as Database
from blocks.targets.trial.database import place_of
from blocks.targets.trial.run import SocketConnection, Tail, TrialCommand, begun
from domain.errors import TargetError
from domain.health import HealthReading, HealthState, HttpAnswer, Sight
from domain.migration import Migrate, MigrationEnd
from domain.ports import ReleaseBuild

_PREFIX = "lockgate_trial_"
_SERVICE_PORT = 8000
_LINES = 60
"""Answers that a service may give before it has to be healthy. Each takes a socket that was made inside."""
_INTERVAL_S = 0.1
_LOG_LINES, _LINE_CHARACTERS = 20, 500


@contextlib.contextmanager
def tried(
    folder: Path,
    build: ReleaseBuild,
    revision: str,
    *,
    keep_out: Path,
    variable: str = "DATABASE_URL",
    command_timeout_s: float,
    start_timeout_s: float,
) -> Iterator["Trial"]:
    """A release in a new directory of `folder`, gone afterwards with all that it started. `variable`: where it looks
    for the URL of its database.

    Raises TargetError if it cannot be tried on this machine.
    """
    artifact_of(build)
    with locked(folder):  # so that no sweep comes between a directory and its lock
        place = ReleaseDirectory(folder / f"{_PREFIX}{secrets.token_hex(8)}")
        place.folder.mkdir(mode=0o700)
        lock = open(place.folder / "lock", "ab")  # noqa: SIM115  # held for longer than the lock of the folder
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        write_tree(build.tree, place.tree)
        mounts = (*confinement.toolchain_mounts(build.toolchain, keep_out), Bind(place.tree, APP))
        yield Trial(
            place, build, revision, mounts, variable, command_timeout_s, build.health.starts_within_s(start_timeout_s)
        )
    finally:
        _remove(place)
        lock.close()


def sweep(folder: Path) -> tuple[str, ...]:
    """End and remove what killed processes left of their trials; their names. Safe to repeat."""
    if not folder.is_dir():
        return ()
    removed = []
    with locked(folder):
        for place in map(ReleaseDirectory, sorted(folder.glob(f"{_PREFIX}*"))):
            at_work = contextlib.suppress(FileNotFoundError, BlockingIOError)  # or it has ended by itself just now
            with at_work, open(place.folder / "lock", "ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(place)
                removed.append(place.folder.name)
    return tuple(removed)


def confined(argv: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """The command line of a program of ours, a script and its interpreter, that reads what releases wrote: as a release
    would run, with these directories alone. One that is not there is made.

    Raises TargetError if the interpreter's directory would show Lockgate's home too.
    """
    python, *rest = argv
    real = Path(python).resolve()
    prefix, scripts = real.parent.parent, {Path(word).parent for word in rest if Path(word).is_absolute()}
    shown = scripts if prefix.is_relative_to("/usr") else {prefix, *scripts}
    for place in shown:
        if home().resolve().is_relative_to(place.resolve()):
            raise TargetError(f"{place} is shown to what reads database files, and also holds {home()}: move one")
    there = [folder if folder.exists() else owned(folder) for folder in folders]
    mounts = [*(Bind(place, str(place)) for place in sorted(shown)), *(Bind(each, str(each), True) for each in there)]
    return confinement.wrapped([str(real), *rest], mounts)


class Trial:
    """One release, that can be run on one database after another."""

    def __init__(
        self,
        place: ReleaseDirectory,
        build: ReleaseBuild,
        revision: str,
        mounts: Sequence[Bind],
        variable: str,
        command_timeout_s: float,
        start_timeout_s: float,
    ) -> None:
        self._place, self._build, self._revision, self._mounts = place, build, revision, mounts
        self._variable, self._command_timeout_s, self._start_timeout_s = variable, command_timeout_s, start_timeout_s

    @property
    def mark(self) -> str:
        """The word by which its processes are found."""
        return self._place.mark

    def stop(self) -> None:
        """End what is at work now. Safe to repeat, from any thread."""
        processes.end(self.mark, grace_s=0)

    def migrate(self, command: str) -> Migrate:
        """Runs a command of the release on the database at a URL. What it started is gone when it has ended."""

        def run(url: str) -> MigrationEnd:
            database = place_of(url)
            with self._inside(command, database, {}, lines=0) as inside:
                ended = confinement.ended(inside.process, time.monotonic() + self._command_timeout_s)
            said = "\n".join(filter(None, (database.clean(ended.output), inside.memory.said)))
            if ended.exit_code is None:
                said += f"\nit took over {self._command_timeout_s:g} s"
            return MigrationEnd(ended.exit_code, said)

        return run

    def serves(self, url: str) -> str | None:
        """None if the release is healthy on the database at the URL, else why not. It is stopped again."""
        database, build = place_of(url), self._build
        command = build.run.replace("{port}", str(_SERVICE_PORT)).replace("{host}", "127.0.0.1")
        command = command.replace("{release}", self._revision)
        with self._inside(command, database, {"PORT": str(_SERVICE_PORT)}, lines=_LINES) as inside:
            log = Tail(inside.process)

            def ask() -> HealthReading:
                return self._ask(database, inside.lines)

            def gone() -> str | None:
                return "its process ended" if inside.process.poll() is not None else None

            reason = settle_by(ask, 1, self._start_timeout_s, _INTERVAL_S, gone)
            alive = inside.process.poll() is None
        if reason is None:
            return None
        how = f"not healthy within {self._start_timeout_s:g} s: {reason}" if alive else "its process ended"
        how = inside.memory.said or how
        lines = [line[:_LINE_CHARACTERS] for line in database.clean(log.text()).splitlines()[-_LOG_LINES:]]
        return "\n".join([how, *(["the end of its log:", *lines] if lines else [])])

    def _inside(
        self, command: str, database: Database, more: Mapping[str, str], lines: int
    ) -> contextlib.AbstractContextManager[TrialCommand]:
        environment = {
            **confinement.base_environment(self._build.toolchain),
            **self._build.environment,
            **more,
            "RELEASE_ID": self._revision,
            "DATA_DIR": DATA,
            self._variable: database.url,
        }
        python = self._build.toolchain / "bin" / "python"
        return begun(python, command, self._mounts, environment, database, mark=self.mark, lines=lines)

    def _ask(self, database: Database, lines: list[socket.socket]) -> HealthReading:
        if not lines:
            return HealthReading(state=HealthState.SICK, reason=f"none of {_LINES} answers in a row was healthy")
        before, where = len(lines), f"127.0.0.1:{_SERVICE_PORT}"
        reading = probe_by(
            lambda: SocketConnection(lines, _SERVICE_PORT),
            where,
            self._build.health,
            self._revision,
            database.clean,
            _in_there,
        )
        if not reading.is_healthy and len(lines) < before:
            time.sleep(self._start_timeout_s / _LINES)  # so that they last for the whole time
        return reading


def _in_there(_: HttpAnswer) -> Sight:
    return Sight(is_it=True, how="from a network in which nothing but the release runs")


def _remove(place: ReleaseDirectory) -> None:
    if processes.is_running(place.mark):  # which looks twice: it may be between two programs on its way into the trial
        processes.end(place.mark, grace_s=0)
    shutil.rmtree(place.folder, ignore_errors=True)
