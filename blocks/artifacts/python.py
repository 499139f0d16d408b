"""A toolchain as files of an image: the virtual environment and its interpreter, at the paths that scripts name."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from blocks.artifacts.tars import Member
from domain.errors import TargetError

_NOT_NEEDED = {".lock", ".gitignore", "CACHEDIR.TAG"}
"""What uv leaves in an environment for itself."""
_STANDARD = re.compile(
    r"(.*/)?(site-packages|dist-packages|tests?|idlelib|tkinter|turtledemo|lib2to3|ensurepip|config-.*|__phello__)"
)
"""Directories of the standard library that a release does not need; its packages are in the environment."""
_HEADER = 16
"""Bytes before the code: https://peps.python.org/pep-0552/"""


def environment_of(toolchain: Path) -> dict[str, Member]:
    """The virtual environment at its own path. Raises TargetError for what is none, or holds more than files."""
    if not (toolchain / "pyvenv.cfg").is_file():
        raise TargetError(f"{toolchain} is no virtual environment: it has no pyvenv.cfg")
    return dict(_walk(toolchain, toolchain))


def interpreter_of(toolchain: Path) -> dict[str, Member]:
    """The interpreter that the environment was made from; empty if it is the system's, which the base image has.

    Raises TargetError if its directory is no Python installation.
    """
    members: dict[str, Member] = {}
    hop = toolchain / "bin" / "python"
    while hop.is_symlink():
        hop = hop.parent / os.readlink(hop)
        prefix = Path(os.path.normpath(hop)).parent.parent
        if prefix == toolchain or prefix == Path("/") or _is_system(prefix):
            continue
        real = prefix.resolve()
        if real != prefix:
            members[_inside(prefix)] = Member(stat.S_IFLNK, link=str(real))
        members.update(_installation(real))
    return members


def _is_system(prefix: Path) -> bool:
    return prefix.is_relative_to("/usr") and not prefix.is_relative_to("/usr/local")


def _installation(prefix: Path) -> Iterator[tuple[str, Member]]:
    libraries = sorted(prefix.glob("lib/python3*"))
    if not libraries:
        raise TargetError(f"{prefix} is no Python installation: it has no lib/python3*")
    for path in (*prefix.glob("bin/python*"), *prefix.glob("lib/libpython*.so*")):
        if re.fullmatch(r"python3?(\.\d+)?|lib.*", path.name):
            yield _inside(path), _member(path)
    for library in libraries:
        if library.is_dir():
            yield from _whole(dict(_walk(library, library, _STANDARD)))


def _whole(members: dict[str, Member]) -> Iterator[tuple[str, Member]]:
    """With all of the byte code or with none: what is compiled on first use would make another layer every day."""
    compiled = {path for path in members if path.endswith(".pyc")}
    sources = {path for path in members if path.endswith(".py")}
    for path, member in members.items():
        if "__pycache__" not in path or len(compiled) == len(sources):
            yield path, member


def _walk(directory: Path, top: Path, without: re.Pattern[str] | None = None) -> Iterator[tuple[str, Member]]:
    for path in directory.iterdir():
        inside = path.relative_to(top).as_posix()
        if inside in _NOT_NEEDED or (without and without.fullmatch(inside)):
            continue
        if path.is_dir() and not path.is_symlink():
            yield _inside(path), Member(stat.S_IFDIR | 0o755)
            yield from _walk(path, top, without)
        elif path.suffix != ".pyc":
            yield _inside(path), _member(path)
        elif code := _compiled(path):
            yield _inside(path), Member(0o644, code)


def _member(path: Path) -> Member:
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode):
        return Member(info.st_mode, link=os.readlink(path))
    if not stat.S_ISREG(info.st_mode):
        raise TargetError(f"{path} is neither a file nor a link: make the toolchain again")
    return Member(0o755 if info.st_mode & 0o100 else 0o644, path)


def _compiled(path: Path) -> bytes | None:
    """Byte code with the time that its source has in the image; None if it is not of its source as it is now.

    Python believes byte code that names its source's time and size. In the image every file has the time 0.
    """
    if path.parent.name != "__pycache__":
        return path.read_bytes()  # it stands for a source that is not there
    if ".opt-" in path.name:
        return None
    source, code = path.parent.parent / f"{path.name.split('.')[0]}.py", path.read_bytes()
    if int.from_bytes(code[4:8], "little"):
        return code  # by the source's hash
    if not source.is_file():
        return None
    info = source.stat()
    named = (int.from_bytes(code[8:12], "little"), int.from_bytes(code[12:_HEADER], "little"))
    if named != (int(info.st_mtime) & 0xFFFFFFFF, info.st_size & 0xFFFFFFFF):
        return None
    return code[:8] + bytes(4) + code[12:]


def _inside(path: Path) -> str:
    return str(path).lstrip("/")
