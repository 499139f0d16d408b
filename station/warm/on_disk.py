"""The code on disk, by a digest: what has imported another one must not be forked any more."""

import hashlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PARTS = ("domain", "blocks", "tasks", "flows", "station")

imported = ""
"""Digest of the code that this process has from the one that it is a fork of; nothing in any other process."""

_read: dict[str, tuple[str, str]] = {}
"""File → how it looked when it was read, and the digest of its content."""


def digest() -> str:
    """Of the code on disk: it differs once a file has another content, came or went, or a package was installed."""
    whole = hashlib.sha256()
    for line in sorted(_files()):
        whole.update(line.encode())
    return whole.hexdigest()


def _files() -> Iterable[str]:
    folders = [str(PROJECT / part) for part in PARTS]
    packages = [path for path in sys.path if path.endswith("site-packages")]
    while folders:
        for entry in os.scandir(folders.pop()):
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.name.endswith(".py"):
                yield _line(entry)
    for folder in packages:
        for entry in os.scandir(folder):
            if entry.name.endswith((".dist-info", ".pth")):
                yield _line(entry)


def _line(entry: os.DirEntry[str]) -> str:
    """A file that looks as before is not read again. How it looks says nothing else: where uv installs the same package
    a second time, both have the same files, and each gets a new time of change for its new link."""
    seen = entry.stat()
    look = f"{seen.st_size} {seen.st_ino} {seen.st_mtime_ns} {seen.st_ctime_ns}"
    if entry.is_dir():
        return f"{entry.path} {look}\n"
    known = _read.get(entry.path)
    if known is None or known[0] != look:
        known = _read[entry.path] = (look, hashlib.sha256(Path(entry.path).read_bytes()).hexdigest())
    return f"{entry.path} {known[1]}\n"
