"""The environment of a container as a file in this machine's memory: on no disk, in no image, in no `docker inspect`.

The container sees it read-only and its first shell reads it, so one that the engine starts again after a restart finds
it too. After a reboot it is gone, and who starts the release again writes it anew.
"""

import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from domain.errors import TargetError

INSIDE = "/run/lockgate/environment"
_MEMORY = Path("/dev/shm")  # noqa: S108  # every Linux has it, and it is always memory: shm_overview(7)


def seal(mark: str, environment: Mapping[str, str], reader: int) -> Path:
    """Write it for one user, in the place of what was there. Raises TargetError for what no shell could set."""
    for name, value in environment.items():
        if not name.isidentifier() or not name.isascii() or "\0" in value:
            raise TargetError(f"environment variable {name!r} has no usable name or value: use letters, digits and _")
    folder = _folder(mark)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / "environment.tmp"
        temporary.unlink(missing_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as file:
            for name, value in environment.items():
                file.write(f"export {name}={shlex.quote(value)}\n".encode(errors="surrogateescape"))
        if os.geteuid() == 0:
            os.chown(temporary, reader, reader)
        temporary.rename(folder / "environment")
    except OSError as err:
        raise TargetError(f"the release's environment cannot be kept in {folder}: {err}") from err
    return folder / "environment"


def unseal(mark: str) -> None:
    """Remove it. Safe to repeat."""
    shutil.rmtree(_folder(mark), ignore_errors=True)


def _folder(mark: str) -> Path:
    top = _MEMORY / f"lockgate-{os.geteuid()}"
    top.mkdir(mode=0o700, exist_ok=True)
    info = top.lstat()
    if top.is_symlink() or info.st_uid != os.geteuid() or info.st_mode & 0o077:
        raise TargetError(f"{top} is not this user's alone, and secrets would lie in it: remove it")
    return top / mark
