"""What lies on the disk of a target: one directory a release, with its tree, its record and its log."""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pydantic import Field, ValidationError

from blocks.targets.processes import RELEASE_UID
from domain.errors import TargetError
from domain.ports import ReleaseBuild, Tree
from domain.trees import LINK, PROGRAM, check_tree
from domain.value import Value, digest_of

LOG_BYTES = 5_000_000
"""A log that has grown over this is cut to its last fifth."""

_SHOWN_BYTES = 64_000


class Deployment(Value):
    """`release.json`: what is known of one release here. Written before each step that it speaks of."""

    revision: str
    artifact: str
    run: str
    health: str
    toolchain: Path
    environment: dict[str, str] = Field(description="The project's settings for it; never secrets")
    migrate_up: str | None
    previous: str | None = Field(description="Revision that served when it came")
    order: int = Field(0, description="1, 2, 3, … as they took the traffic; 0: never did")
    port: int | None = Field(None, description="Its loopback port, last time it was started")
    rehearsed: bool = False
    migrated: bool = False

    @property
    def upstream(self) -> str:
        return f"127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Place:
    """The directory of one release."""

    folder: Path

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def mark(self) -> str:
        """The word by which its processes are found; of this directory alone, and says nothing of it."""
        return "lockgate-" + sha256(os.fsencode(self.folder.resolve())).hexdigest()[:32]

    def load(self) -> Deployment | None:
        """Its record, or None. Raises TargetError for one that cannot be read."""
        try:
            return Deployment.model_validate_json((self.folder / "release.json").read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as err:
            raise TargetError(f"{self.folder / 'release.json'} cannot be read: remove that directory: {err}") from err

    def save(self, deployment: Deployment) -> Deployment:
        write_atomically(self.folder / "release.json", deployment.model_dump_json(indent=1).encode())
        return deployment

    def write(self, tree: Tree) -> None:
        """Exactly these bytes at `tree/`, all or nothing; readable by whoever the release runs as."""
        temporary = self.folder / "tree.tmp"
        for old in (temporary, self.tree):
            shutil.rmtree(old, ignore_errors=True)
        temporary.mkdir(parents=True)
        for path, (mode, content) in tree.items():
            file = temporary / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if mode == LINK:
                file.symlink_to(os.fsdecode(content))
            else:
                file.write_bytes(content)
                file.chmod(0o755 if mode == PROGRAM else 0o644)
        for directory, _, _ in os.walk(temporary):
            os.chmod(directory, 0o755)  # noqa: S103  # whatever the umask: the release runs as somebody else
        temporary.rename(self.tree)

    def artifact(self, deployment: Deployment) -> str:
        """The digest of what lies there now."""
        return _digest(_files_at(self.tree), deployment.run, deployment.toolchain)

    def empty(self, name: str) -> Path:
        """A new directory of the release's own, in the place of any old one."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        return owned(folder)

    def drop(self, name: str) -> None:
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def tail(self) -> str:
        """The end of its log, in whole lines."""
        with contextlib.suppress(FileNotFoundError), open(self.log, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _SHOWN_BYTES))
            lines = file.read().decode(errors="replace").splitlines(keepends=True)
            return "".join(lines[size > _SHOWN_BYTES :])
        return ""

    def forget(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def artifact_of(build: ReleaseBuild) -> str:
    """The digest of a release: its files, how it is run, and with which toolchain. Same build, same digest.

    Raises TargetError for a tree that cannot be written as it is.
    """
    if reason := check_tree(build.tree, known=build.tree):
        raise TargetError(f"the release's tree cannot be written: {reason}")
    return _digest(build.tree, build.run, build.toolchain)


def _digest(tree: Mapping[str, tuple[int, bytes]], run: str, toolchain: Path) -> str:
    files = sorted((path, mode, sha256(content).hexdigest()) for path, (mode, content) in tree.items())
    return digest_of({"files": files, "run": run, "toolchain": toolchain.name})


def _files_at(directory: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path.relative_to(directory)): _entry(path) for path in _walk(directory)}


def _walk(directory: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(directory):
        links = (name for name in folders if Path(folder, name).is_symlink())
        yield from (Path(folder, name) for name in (*files, *links))


def _entry(path: Path) -> tuple[int, bytes]:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return LINK, os.fsencode(os.readlink(path))
    return (PROGRAM if mode & 0o100 else 0o100644), path.read_bytes()


def owned(folder: Path) -> Path:
    """A directory that what is confined may write to, and no other user may read."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(folder, RELEASE_UID, RELEASE_UID)
    return folder


def write_atomically(file: Path, content: bytes) -> None:
    """The old content or the new one, whenever we are killed. Safe to repeat."""
    temporary = file.with_name(file.name + ".tmp")
    with open(temporary, "wb") as new:
        new.write(content)
        new.flush()
        os.fsync(new.fileno())
    temporary.rename(file)
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def trim(log: Path) -> None:
    """Cut a log that has grown too long. Its writer appends, so it goes on at the new end."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_BYTES:
            with open(log, "r+b") as file:
                file.seek(-LOG_BYTES // 5, os.SEEK_END)
                tail = file.read(LOG_BYTES // 5)
                file.seek(0)
                file.truncate()
                file.write(tail)
