"""The host's hands in a directory that an agent may write: no symbolic link is followed, no fifo waited for."""

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from domain.errors import AgentError, LockgateError, SandboxError
from domain.trees import shown

WALK_DEPTH = 100
"""Deeper is refused: each level costs the host an open file."""

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EACCES, errno.ENAMETOOLONG, errno.EISDIR}

OPAQUE = "user.overlay.opaque"

Owner = tuple[int, int]
"""uid and gid that files made for the sandbox get; None: they stay the platform's own."""


@contextlib.contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """A full or broken disk is the platform's trouble, never the agent's: SandboxError."""
    try:
        yield
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SandboxError(f"the disk is full at {where}: free some space, then resume") from err
        raise SandboxError(f"{where} cannot be used: {err}") from err


def walk(directory: Path, descend: Callable[[str], bool]) -> Iterator[tuple[str, int, os.DirEntry[str]]]:
    """(path below `directory`, descriptor of its directory, entry) of everything; may run beside an agent.

    Raises AgentError if a directory is deeper than WALK_DEPTH or unreadable.
    """
    try:
        top = os.open(directory, DIRECTORY)
    except PermissionError as err:
        raise AgentError(f"{shown(directory.name)}: the directory cannot be read") from err
    try:
        yield from walk_from(top, descend)
    finally:
        os.close(top)


def walk_from(fd: int, descend: Callable[[str], bool]) -> Iterator[tuple[str, int, os.DirEntry[str]]]:
    """`walk` below an open directory."""
    return _walk(fd, "", 1, descend)


def _walk(
    fd: int, above: str, depth: int, descend: Callable[[str], bool]
) -> Iterator[tuple[str, int, os.DirEntry[str]]]:
    with os.scandir(fd) as entries:
        for entry in entries:
            path = above + entry.name
            yield path, fd, entry
            if not entry.is_dir(follow_symlinks=False) or not descend(path):
                continue
            if depth == WALK_DEPTH:
                raise AgentError(f"{shown(path[:80])}...: deeper than {WALK_DEPTH} directories")
            try:
                below = os.open(entry.name, DIRECTORY, dir_fd=fd)
            except (FileNotFoundError, NotADirectoryError):
                continue  # the agent removed it meanwhile
            except PermissionError as err:
                raise AgentError(f"{shown(path)}: the directory cannot be read") from err
            try:
                yield from _walk(below, path + "/", depth + 1, descend)
            finally:
                os.close(below)


def measure(directories: Sequence[Path], max_bytes: int, max_entries: int) -> str | None:
    """None while what lies below `directories` takes no more disk and entries than that, else what is too much."""
    used = count = 0
    linked: set[int] = set()
    try:
        for _, _, entry in itertools.chain.from_iterable(walk(directory, lambda _: True) for directory in directories):
            try:
                info = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            count += 1
            if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode):
                if info.st_ino in linked:
                    continue
                linked.add(info.st_ino)
            used += info.st_blocks * 512
            if used > max_bytes:
                return f"the workspace is over {max_bytes >> 20} MB"
            if count > max_entries:
                return f"the workspace holds more than {max_entries} files"
    except AgentError as err:
        return f"the workspace cannot be measured: {err}"
    return None


@contextlib.contextmanager
def directory_at(top: Path, parts: list[str]) -> Iterator[int | None]:
    """A descriptor of the directory at `parts` below `top`; None if there is none."""
    with contextlib.ExitStack() as stack:
        fd: int | None = None
        try:
            fd = opened(stack, os.open(top, DIRECTORY))
            for part in parts:
                fd = opened(stack, os.open(part, DIRECTORY, dir_fd=fd))
        except OSError as err:
            if err.errno not in _NOT_THERE:
                raise
            fd = None
        yield fd


def get(directory: Path, parts: list[str], max_bytes: int) -> bytes | None:
    """The regular file at `parts` below `directory`, or None. Raises AgentError if it is larger."""
    with directory_at(directory, parts[:-1]) as above:
        if above is None:
            return None
        try:
            fd = open_regular(parts[-1], above)
        except OSError as err:
            if err.errno in _NOT_THERE:
                return None
            raise
        try:
            return read(fd, max_bytes, "/".join(parts)) if stat.S_ISREG(os.fstat(fd).st_mode) else None
        finally:
            os.close(fd)


def read(fd: int, max_bytes: int, path: str) -> bytes:
    """What the regular file `fd` holds, judged by its size before a byte is read."""
    check_size(os.fstat(fd).st_size, max_bytes, path)
    with open(fd, "rb", closefd=False) as file:
        content = file.read(max_bytes + 1)
    check_size(len(content), max_bytes, path)
    return content


def check_size(size: int, max_bytes: int, path: str) -> None:
    """Raises AgentError for a file of more than `max_bytes`."""
    if size > max_bytes:
        size_text = f"{size >> 20} MB" if size >> 20 else f"{size} bytes"
        limit_text = f"{max_bytes >> 20} MB" if max_bytes >> 20 else f"{max_bytes} bytes"
        raise AgentError(f"{shown(path)}: {size_text} is over the limit of {limit_text} a file")


def open_regular(name: str, dir_fd: int) -> int:
    """A descriptor of a file, which may turn out to be something else: no link is followed, no fifo waited for."""
    return os.open(name, _FILE, dir_fd=dir_fd)


def put(directory: Path, parts: list[str], content: bytes, owner: Owner | None) -> None:
    """Write a file at `parts` below `directory`, in one step; makes the directories above it.

    Raises AgentError if the agent put something else in the way.
    """
    name = f".{parts[-1][:100]}.{os.getpid()}.lockgate"
    with contextlib.ExitStack() as stack:
        try:
            fd = _made(stack, directory, parts[:-1], owner)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=fd)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            file = opened(stack, os.open(name, flags, 0o600, dir_fd=fd))
            give(file, 0o644, owner)
            with open(file, "wb", closefd=False) as stream:
                stream.write(content)
            os.rename(name, parts[-1], src_dir_fd=fd, dst_dir_fd=fd)
        except OSError as err:
            error: type[LockgateError] = SandboxError if err.errno in (errno.ENOSPC, errno.EDQUOT) else AgentError
            raise error(f"{shown('/'.join(parts))} cannot be written: {os.strerror(err.errno or 0)}") from err


def make_directory(path: Path, owner: Owner | None) -> None:
    """An empty directory where no agent is yet."""
    os.mkdir(path)
    fd = os.open(path, DIRECTORY)
    try:
        give(fd, 0o755, owner)
    finally:
        os.close(fd)


def is_whiteout(info: os.stat_result) -> bool:
    """Whether an overlay's upper layer says by this that the name below it is gone.

    https://docs.kernel.org/filesystems/overlayfs.html#whiteouts-and-opaque-directories
    """
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def is_opaque(name: str, dir_fd: int) -> bool:
    """Whether an upper layer's directory hides what lies below it. An agent cannot set this mark: the kernel keeps it
    from what is written through an overlay."""
    try:
        return os.getxattr(f"/proc/self/fd/{dir_fd}/{name}", OPAQUE, follow_symlinks=False) == b"y"
    except OSError:
        return False


def put_directory(top: Path, parts: list[str], made: Path, owner: Owner | None) -> None:
    """Move the directory `made`, on the same disk, to `parts` below `top`. Raises AgentError if something is."""
    with contextlib.ExitStack() as stack:
        try:
            fd = _made(stack, top, parts[:-1], owner)
            os.mkdir(parts[-1], 0o700, dir_fd=fd)  # only an empty directory is replaced below
            os.rename(made, parts[-1], dst_dir_fd=fd)
            give(opened(stack, os.open(parts[-1], DIRECTORY, dir_fd=fd)), 0o755, owner)
        except OSError as err:
            raise _cannot_write(parts, err) from err


def _made(stack: contextlib.ExitStack, top: Path, parts: list[str], owner: Owner | None) -> int:
    """A descriptor of the directory at `parts` below `top`, made where it is missing."""
    fd = opened(stack, os.open(top, DIRECTORY))
    for part in parts:
        with contextlib.suppress(FileExistsError):
            os.mkdir(part, 0o755, dir_fd=fd)
            give(opened(stack, os.open(part, DIRECTORY, dir_fd=fd)), 0o755, owner)
        fd = opened(stack, os.open(part, DIRECTORY, dir_fd=fd))
    return fd


def _cannot_write(parts: list[str], err: OSError) -> LockgateError:
    error: type[LockgateError] = SandboxError if err.errno in (errno.ENOSPC, errno.EDQUOT) else AgentError
    return error(f"{shown('/'.join(parts))} cannot be written: {os.strerror(err.errno or 0)}")


def opened(stack: contextlib.ExitStack, fd: int) -> int:
    """`fd`, closed with `stack`."""
    stack.callback(os.close, fd)
    return fd


def give(fd: int, mode: int, owner: Owner | None) -> None:
    """Mode and owner of a file or directory that the platform just made."""
    if owner:
        os.fchown(fd, *owner)
    os.fchmod(fd, mode)  # after the owner: a change of owner clears bits, and the umask took some


def remove(directory: Path) -> None:
    """Remove `directory` whatever an agent made of it: unreadable directories, any depth. Safe to repeat."""
    with contextlib.suppress(FileNotFoundError):
        _make_usable(str(directory), None)
        top = os.open(directory, DIRECTORY)
        try:
            while os.listdir(top):
                _empty(top, top, 0)
            os.rmdir(directory)
        finally:
            os.close(top)


def _empty(fd: int, top: int, depth: int) -> None:
    """Empty a directory. What lies too deep moves to the top, for another round."""
    with os.scandir(fd) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        with contextlib.suppress(FileNotFoundError):  # another sweep was faster
            if not is_directory:
                os.unlink(name, dir_fd=fd)
                continue
            _make_usable(name, fd)
            if depth >= WALK_DEPTH // 2:
                os.rename(name, f"deep-{os.urandom(8).hex()}", src_dir_fd=fd, dst_dir_fd=top)
                continue
            below = os.open(name, DIRECTORY, dir_fd=fd)
            try:
                _empty(below, top, depth + 1)
            finally:
                os.close(below)
            os.rmdir(name, dir_fd=fd)


def _make_usable(name: str, dir_fd: int | None) -> None:
    """chmod u+rwx of a directory that its owner made unreadable, without following a link: through /proc."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        if os.fstat(fd).st_mode & 0o700 != 0o700:
            os.chmod(f"/proc/self/fd/{fd}", 0o700)
    finally:
        os.close(fd)
