"""What a release is made of, on the disk: written exactly, and digested again from what lies there."""

import os
import shutil
import stat
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from domain.errors import TargetError
from domain.ports import ReleaseBuild
from domain.trees import FILE, LINK, PROGRAM, Tree, check_tree
from domain.value import digest_of


def artifact_of(build: ReleaseBuild) -> str:
    """The digest of a release: its files, how it is run, and with which toolchain. Same build, same digest.

    Raises TargetError for a tree that cannot be written as it is.
    """
    if reason := check_tree(build.tree, known=build.tree):
        raise TargetError(f"the release's tree cannot be written: {reason}")
    return _digest(build.tree, build.run, build.toolchain)


def artifact_at(directory: Path, run: str, toolchain: Path) -> str:
    """The same digest, of the files that lie in a directory now."""
    entries = {}
    for folder, folders, files in os.walk(directory):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        for path in (Path(folder, name) for name in (*files, *links)):
            entries[path.relative_to(directory).as_posix()] = _entry(path)
    return _digest(entries, run, toolchain)


def write_tree(tree: Tree, directory: Path) -> None:
    """Exactly these bytes, all or nothing, in the place of what was there; whoever a release runs as may read them."""
    temporary = directory.with_name(directory.name + ".tmp")
    for old in (temporary, directory):
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
    for folder, _, _ in os.walk(temporary):
        os.chmod(folder, 0o755)  # noqa: S103  # whatever the umask: as root, the release runs as somebody else
    temporary.rename(directory)


def _digest(tree: Mapping[str, tuple[int, bytes]], run: str, toolchain: Path) -> str:
    files = sorted((path, mode, sha256(content).hexdigest()) for path, (mode, content) in tree.items())
    return digest_of({"files": files, "run": run, "toolchain": toolchain.name})


def _entry(path: Path) -> tuple[int, bytes]:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return LINK, os.fsencode(os.readlink(path))
    return (PROGRAM if mode & 0o100 else FILE), path.read_bytes() if stat.S_ISREG(mode) else b""
