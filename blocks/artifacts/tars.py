"""Tars that are the same for the same content: sorted, owned by root, plain modes, one time for everything."""

import contextlib
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from domain.errors import TargetError
from domain.trees import LINK, PROGRAM, Tree, check_tree

_PIECE = 1 << 20
Content = bytes | Path


class Member(NamedTuple):
    """One entry of a tar. `content`: the bytes, or the file that has them; a link's target."""

    mode: int
    content: Content = b""
    link: str | None = None
    owner: int = 0


DIRECTORY = stat.S_IFDIR | 0o755
_EVERYBODYS = dict.fromkeys(("tmp", "var/tmp"), stat.S_IFDIR | 1023)
"""Directories that a layer must not take away from everybody, when something of it lies below."""


def write_tar(members: Mapping[str, Member], file: IO[bytes], when: int = 0) -> str:
    """Write the members, by POSIX paths without a leading slash, and the directories above them; the tar's SHA-256."""
    hashed = _Hashed(file)
    with tarfile.open(fileobj=hashed, mode="w:", format=tarfile.GNU_FORMAT) as tar:
        for path, member in sorted(_with_parents(members).items()):
            entry = tarfile.TarInfo(path)
            entry.mode, entry.mtime = stat.S_IMODE(member.mode), when
            entry.uid = entry.gid = member.owner
            if member.link is not None:
                entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, member.link, 0o777
                tar.addfile(entry)
            elif stat.S_ISDIR(member.mode):
                entry.type = tarfile.DIRTYPE
                tar.addfile(entry)
            else:
                with _opened(member.content) as source:
                    entry.size = source.seek(0, os.SEEK_END)
                    source.seek(0)
                    tar.addfile(entry, source)
    file.flush()
    return hashed.digest.hexdigest()


def members_of(tree: Tree, below: str) -> dict[str, Member]:
    """A commit's files in the directory `below`. Raises TargetError for a tree that cannot be written as it is."""
    if reason := check_tree(tree, known=tree):
        raise TargetError(f"the release's tree cannot be packed: {reason}")
    members = {below: Member(DIRECTORY)}
    for path, (mode, content) in tree.items():
        if mode == LINK:
            members[f"{below}/{path}"] = Member(mode, link=os.fsdecode(content))
        else:
            members[f"{below}/{path}"] = Member(0o755 if mode == PROGRAM else 0o644, content)
    return members


def stream_tar(members: Iterable[tuple[str, Content]]) -> Iterator[bytes]:
    """A tar of plain files, piece by piece: nothing is written anywhere."""
    for path, content in members:
        entry = tarfile.TarInfo(path)
        with _opened(content) as source:
            entry.size = source.seek(0, os.SEEK_END)
            source.seek(0)
            yield entry.tobuf(tarfile.GNU_FORMAT)
            while piece := source.read(_PIECE):
                yield piece
        yield bytes(-entry.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _with_parents(members: Mapping[str, Member]) -> dict[str, Member]:
    above = {path[:cut] for path in members for cut in range(len(path)) if path[cut] == "/"}
    return {**{path: Member(_EVERYBODYS.get(path, DIRECTORY)) for path in above}, **members}


@contextlib.contextmanager
def _opened(content: Content) -> Iterator[IO[bytes]]:
    with io.BytesIO(content) if isinstance(content, bytes) else open(content, "rb") as source:
        yield source


class _Hashed(io.RawIOBase):
    """A file that is only written, and digested meanwhile."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()
