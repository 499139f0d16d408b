"""A directory of an agent's as a tar, and back: plain files and directories, checked both ways."""

import io
import os
import stat
import tarfile
from pathlib import Path
from typing import NamedTuple

from blocks.sandboxes import hostile
from domain.errors import AgentError
from domain.trees import shown

_MAX_ENTRIES = 20_000


class ArchiveEntry(NamedTuple):
    """One file of a saved directory, or one directory (`content` is None). `path` is relative, its parts are plain."""

    path: str
    is_program: bool
    content: bytes | None


def pack(directory: Path, parts: list[str], max_bytes: int) -> bytes | None:
    """The directory at `parts` below `directory` as a tar; None if there is none, the tar would be over
    `max_bytes`, or it holds more than plain files and directories. No link is followed."""
    archive = io.BytesIO()
    with hostile.directory_at(directory, parts) as top:
        if top is None:
            return None
        with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
            try:
                for count, (path, fd, entry) in enumerate(hostile.walk_from(top, lambda _: True)):
                    info = entry.stat(follow_symlinks=False)
                    member = tarfile.TarInfo(path)
                    is_directory = stat.S_ISDIR(info.st_mode)
                    is_plain = stat.S_ISREG(info.st_mode) and info.st_nlink == 1
                    if not (is_directory or is_plain) or count >= _MAX_ENTRIES or not path.isprintable():
                        return None
                    member.type = tarfile.DIRTYPE if is_directory else tarfile.REGTYPE
                    member.mode = 0o755 if is_directory or info.st_mode & 0o100 else 0o644
                    content = b"" if is_directory else _content(entry.name, fd, max_bytes - archive.tell())
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
                    if archive.tell() > max_bytes:
                        return None
            except (AgentError, OSError):  # too deep, unreadable, or gone meanwhile
                return None
    return archive.getvalue() if archive.tell() <= max_bytes else None


def _content(name: str, fd: int, max_bytes: int) -> bytes:
    file = hostile.open_regular(name, fd)
    try:
        return hostile.read(file, max(0, max_bytes), name)
    finally:
        os.close(file)


def unpack(saved: bytes) -> list[ArchiveEntry]:
    """What a saved directory holds, parents first. Raises AgentError for what `pack` would not have made."""
    entries: list[ArchiveEntry] = []
    seen = {"": True}  # path → whether it is a directory
    try:
        with tarfile.open(fileobj=io.BytesIO(saved), mode="r:") as tar:
            for member in tar:
                above = member.name.rpartition("/")[0]
                is_plain = all(part not in ("", ".", "..") for part in member.name.split("/"))
                is_file = member.type == tarfile.REGTYPE and not member.issparse()
                if not (is_file or member.isdir()) or not is_plain or not member.name.isprintable():
                    raise AgentError(f"a saved directory holds {shown(member.name)}, which is no plain file")
                if not seen.get(above) or member.name in seen or len(entries) >= _MAX_ENTRIES:
                    raise AgentError(f"a saved directory has no place for {shown(member.name)}")
                seen[member.name] = member.isdir()
                file = tar.extractfile(member) if is_file else None
                content = file.read() if file else None
                if content is not None and len(content) != member.size:
                    raise AgentError(f"a saved directory is cut off at {shown(member.name)}")
                entries.append(ArchiveEntry(member.name, bool(member.mode & 0o100), content))
    except (tarfile.TarError, ValueError, EOFError, OverflowError) as err:
        raise AgentError(f"a saved directory cannot be read: {shown(str(err))}") from err
    return entries


def plant(directory: Path, entries: list[ArchiveEntry], owner: hostile.Owner | None) -> None:
    """Write what `unpack` gave into `directory`, which is empty and which no agent can reach yet."""
    for path, is_program, content in entries:
        if content is None:
            hostile.make_directory(directory / path, owner)
            continue
        with open(directory / path, "xb") as file:
            file.write(content)
            file.flush()
            hostile.give(file.fileno(), 0o755 if is_program else 0o644, owner)
