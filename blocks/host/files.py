"""Files of a target: written whole, cut when long, given to who runs confined."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from blocks.host.processes import RELEASE_UID

LOG_BYTES = 5_000_000
"""A log that has grown over this is cut to its last fifth."""
_RESERVE, _RESERVED_BYTES = "reserve", 256 << 10


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One at a time acts on a target, whichever worker; the kernel lets go of the lock of one that is killed."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        with open(folder / "lock", "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_still_there(lock):  # else whom we waited for took the target away
                _reserve(folder / _RESERVE)
                yield
                return


def _is_still_there(file: BinaryIO) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(file.name))
    except FileNotFoundError:
        return False


def write_atomically(file: Path, content: bytes, mode: int = 0o644) -> None:
    """The old content or the new one, whenever we are killed. Safe to repeat. Where the disk is full, what is reserved
    for this is given up: traffic has to be able to go back."""
    try:
        _write(file, content, mode)
    except OSError as err:
        reserves = [folder / _RESERVE for folder in file.parents if (folder / _RESERVE).is_file()]
        if err.errno not in (errno.ENOSPC, errno.EDQUOT) or not reserves:
            raise
        reserves[0].unlink()
        _write(file, content, mode)


def _reserve(file: Path) -> None:
    """Room on the disk that is ours, as far as there is any."""
    if file.exists():
        return
    try:
        with open(file, "xb") as reserve:
            os.posix_fallocate(reserve.fileno(), 0, _RESERVED_BYTES)
    except OSError:
        file.unlink(missing_ok=True)


def _write(file: Path, content: bytes, mode: int) -> None:
    temporary = file.with_name(file.name + ".tmp")
    with open(temporary, "wb", opener=lambda path, flags: os.open(path, flags, mode)) as new:
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


def owned(folder: Path) -> Path:
    """A directory that what is confined may write to, and no other user may read."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(folder, RELEASE_UID, RELEASE_UID)
    return folder
