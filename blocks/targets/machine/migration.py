"""Brings the data of a target to a release's schema: rehearsed on a copy, then applied, with a backup kept.

Everything here reads or writes what a release may have written, so everything happens inside its confinement.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from blocks.host.confine import Bind
from blocks.host.files import owned
from blocks.targets.machine.confinement import DATA, ConfinedEnd
from blocks.targets.releases import ReleaseDirectory, ReleaseRecord
from domain.errors import TargetError
from domain.health import Clean

_COPY_TIMEOUT_S = 600

_COPY = """
import os, shutil, sqlite3, stat, sys
source, target, what = sys.argv[1:]
SIDES = ("-wal", "-shm", "-journal")
def is_sqlite(path):
    with open(path, "rb") as file:
        return file.read(16) == b"SQLite format 3" + bytes(1)
def is_side(path):
    return any(path.endswith(s) and os.path.isfile(path[:-len(s)]) and is_sqlite(path[:-len(s)]) for s in SIDES)
for folder, folders, files in os.walk(source):
    there = os.path.normpath(os.path.join(target, os.path.relpath(folder, source)))
    os.makedirs(there, exist_ok=True)
    for name in files:
        old, new = os.path.join(folder, name), os.path.join(there, name)
        if not stat.S_ISREG(os.lstat(old).st_mode):
            continue
        if is_sqlite(old):
            a, b = sqlite3.connect(old, timeout=30), sqlite3.connect(new, timeout=30)
            with b:
                a.backup(b)
            a.close(); b.close()
        elif what == "everything" and not is_side(old):
            shutil.copyfile(old, new)
for folder, folders, files in os.walk(target) if what == "only databases" else ():
    for name in files:
        new = os.path.join(folder, name)
        old = os.path.normpath(os.path.join(source, os.path.relpath(new, target)))
        if stat.S_ISREG(os.lstat(new).st_mode) and is_sqlite(new) and not os.path.exists(old):
            for path in (new, *(new + side for side in SIDES)):
                if os.path.exists(path):
                    os.remove(path)
"""
"""Copies a data directory: everything, its databases, or only databases: then the target has no others after it.
SQLite files by SQLite's own backup, which is right beside writers, in one transaction:
https://www.sqlite.org/backup.html"""


class ReleaseRunner(Protocol):
    """Runs a command as the release would run: confined, with its files, its environment, and these mounts beside."""

    def __call__(
        self, argv: Sequence[str], mounts: Sequence[Bind], *, network: bool, timeout_s: float
    ) -> ConfinedEnd: ...


@dataclass(frozen=True)
class Migration:
    """One release's migration of the data in `data`."""

    place: ReleaseDirectory
    deployment: ReleaseRecord
    data: Path
    run: ReleaseRunner
    timeout_s: float
    clean: Clean

    def problem(self, say: Callable[[str], None]) -> str | None:
        """None if the data is at this release's schema, else why not; then it is as it was.

        Safe to repeat: what was rehearsed or applied is not done again.
        """
        command, known = self.deployment.migrate_up, self.deployment
        if command is None or known.migrated:
            return None
        if not known.rehearsed:
            if reason := self._rehearse(command):
                say("the migration failed in rehearsal, nothing was changed")
                return f"the migration failed in rehearsal, on a copy of the data: {reason}"
            known = self.place.save(known.model_copy(update={"rehearsed": True}))
            say("the migration succeeded on a copy of the data")
        backup, taken_now = self.place.folder / "backup", False
        if not backup.exists():  # else we were killed on the way, and this is the data from before that
            temporary = self.place.empty("backup.tmp")
            if reason := self._copy(self.data, temporary):
                return f"the data cannot be backed up, so it was not migrated: {reason}"
            temporary.rename(backup)
            taken_now = True
            say("the data is backed up")
        if reason := self._apply(command, self.data, network=True):
            say("the migration failed on the data itself")
            if not taken_now:  # what users wrote since then would be lost
                return f"the migration was cut off before and fails now; {backup} is the data from before it: {reason}"
            return self._bring_back(backup, say) + reason
        self.place.save(known.model_copy(update={"migrated": True}))
        say("the data is migrated")
        return None

    def _rehearse(self, command: str) -> str | None:
        try:
            rehearsal = self.place.empty("rehearsal")
            return self._copy(self.data, rehearsal) or self._apply(command, rehearsal, network=False)
        finally:
            self.place.drop("rehearsal")

    def _bring_back(self, backup: Path, say: Callable[[str], None]) -> str:
        nobody_writes = self.deployment.previous is None
        if broken := self._copy(backup, self.data, "only databases" if nobody_writes else "databases"):
            raise TargetError(f"the migration failed and {backup} could not be brought back: {broken}; do it by hand")
        backup.rename(self.place.empty("backup.used"))
        say("the databases are as they were before the migration")
        return "the migration failed after a good rehearsal, the databases were brought back: "

    def _apply(self, command: str, data: Path, network: bool) -> str | None:
        mounts = [Bind(owned(data), DATA, writable=True)]
        ended = self.run(["/bin/sh", "-c", command], mounts, network=network, timeout_s=self.timeout_s)
        return self._why(ended, self.timeout_s)

    def _copy(self, source: Path, target: Path, what: str = "everything") -> str | None:
        mounts = [Bind(owned(source), "/from", writable=True), Bind(target, "/to", writable=True)]
        argv = ["python", "-I", "-c", _COPY, "/from", "/to", what]
        ended = self.run(argv, mounts, network=False, timeout_s=_COPY_TIMEOUT_S)
        return self._why(ended, _COPY_TIMEOUT_S)

    def _why(self, ended: ConfinedEnd, timeout_s: float) -> str | None:
        if ended.exit_code == 0:
            return None
        how = f"exit code {ended.exit_code}" if ended.exit_code is not None else f"it took over {timeout_s:g} s"
        return f"{how}; it said: {self.clean(ended.output).strip()[-1000:] or 'nothing'}"
