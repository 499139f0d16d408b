"""What a target knows of its releases: one directory each, with tree, record and log."""

import contextlib
import os
import shutil
import socket
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from blocks.host.files import owned, trim, write_atomically
from blocks.targets.artifact import artifact_at
from domain.errors import TargetError
from domain.health import HealthCheck
from domain.ports import ReleaseBuild
from domain.value import Value

FOLDER, DOOR = "releases", "http.sock"
_SHOWN_BYTES = 64_000


class ReleaseRecord(Value):
    """`release.json`: what is known of one release here. Written before each step that it speaks of."""

    revision: str
    artifact: str
    run: str
    health: HealthCheck
    toolchain: Path
    environment: dict[str, str] = Field(description="The project's variables for it; never secrets")
    migrate_up: str | None
    previous: str | None = Field(description="Revision that served when it came")
    order: int = Field(0, description="1, 2, 3, … as they were given the traffic; 0: never")
    port: int | None = Field(None, description="Its loopback port, the last time it was started")
    door: int | None = Field(None, description="Inode of the socket at which it listens, where its network is its own")
    rehearsed: bool = False
    migrated: bool = False

    @property
    def upstream(self) -> str:
        """What the proxy calls it: HOST:PORT, or a path from the target's directory, in which the proxy runs."""
        return f"{FOLDER}/{self.revision}/{DOOR}" if self.door else f"127.0.0.1:{self.port}"

    @property
    def is_reachable(self) -> bool:
        """Whether it was ever started."""
        return self.door is not None or self.port is not None


@dataclass(frozen=True)
class ReleaseDirectory:
    """The directory of one release."""

    folder: Path

    @property
    def revision(self) -> str:
        return self.folder.name

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

    def load(self) -> ReleaseRecord | None:
        """Its record, or None. Raises TargetError for one that cannot be read."""
        try:
            return ReleaseRecord.model_validate_json((self.folder / "release.json").read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as err:
            raise TargetError(f"{self.folder / 'release.json'} cannot be read, remove its directory: {err}") from err

    def get(self) -> ReleaseRecord:
        """Its record. Raises TargetError if there is none."""
        if deployment := self.load():
            return deployment
        raise TargetError(f"there is no release {self.revision} here (any more): release it again")

    def asked(self, build: ReleaseBuild) -> dict[str, Any]:
        """The fields of its record that are taken from each new build, also if the artifact is the same."""
        return {
            "health": build.health,
            "environment": dict(build.environment),
            "migrate_up": build.migrate_up,
            "previous": build.previous if build.previous != self.revision else None,
        }

    def save(self, deployment: ReleaseRecord) -> ReleaseRecord:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / "release.json", deployment.model_dump_json(indent=1).encode())
        return deployment

    def artifact(self, deployment: ReleaseRecord) -> str:
        """The digest of what lies there now."""
        return artifact_at(self.tree, deployment.run, deployment.toolchain)

    def empty(self, name: str) -> Path:
        """A new directory that what is confined may write to, in the place of any old one."""
        self.drop(name)
        return owned(self.folder / name)

    def drop(self, name: str) -> None:
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def tail(self) -> str:
        """The end of its log, in whole lines; cuts it where it has grown too long."""
        trim(self.log)
        with contextlib.suppress(FileNotFoundError), open(self.log, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _SHOWN_BYTES))
            lines = file.read(_SHOWN_BYTES).decode(errors="replace").splitlines(keepends=True)
            return "".join(lines[size > _SHOWN_BYTES :])
        return ""

    def forget(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class Releases:
    """All releases of one target, in the order in which they were given the traffic."""

    folder: Path

    def place(self, revision: str) -> ReleaseDirectory:
        if not (revision.isascii() and revision.isalnum()):
            raise TargetError(f"{revision!r} is no revision: a commit id is letters and digits")
        return ReleaseDirectory(self.folder / revision)

    def all(self) -> list[ReleaseDirectory]:
        """Newest first; those that never had the traffic last."""
        folders = list(self.folder.iterdir()) if self.folder.is_dir() else []
        places = [ReleaseDirectory(folder) for folder in folders if folder.name.isalnum() and folder.is_dir()]
        return sorted(places, key=lambda place: (self.order(place.revision), place.revision), reverse=True)

    def order(self, revision: str) -> int:
        deployment = self.place(revision).load()
        return deployment.order if deployment else 0

    def after(self, revision: str | None) -> list[str]:
        """Those that got the traffic after a release, or never did; all others if there is no such release."""
        order = self.order(revision) if revision else 0
        others = [place.revision for place in self.all() if place.revision != revision]
        return [other for other in others if not 0 < self.order(other) <= order]

    def number(self, revision: str) -> None:
        """Note that a release is the newest to get the traffic. Safe to repeat."""
        place = self.place(revision)
        newest = max(self.order(other.revision) for other in self.all())
        if (deployment := place.get()).order == 0 or deployment.order < newest:
            place.save(deployment.model_copy(update={"order": newest + 1}))

    def at(self, upstream: str | None) -> ReleaseRecord | None:
        """The release that was last started at "host:port"."""
        known = (place.load() for place in self.all())
        return next((d for d in known if d and d.is_reachable and d.upstream == upstream), None)

    def ports(self) -> set[int | None]:
        """Every port on record: given twice, it would be unclear who serves."""
        return {deployment.port for place in self.all() if (deployment := place.load())}

    def free_port(self) -> int:
        """A loopback port that nobody has now, and no release had."""
        while True:
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                port: int = listener.getsockname()[1]
            if port not in self.ports():
                return port
