"""What a tree may hold so that git, any file system and a reviewer's screen read it alike. Data in, reason out."""

import base64
import hashlib
import json
import posixpath
import unicodedata
from collections.abc import Collection, Mapping
from typing import NamedTuple

from domain.value import canonical

FILE, PROGRAM, LINK = 0o100644, 0o100755, 0o120000
MAX_DEPTH = 40
MAX_PATH_BYTES = 1024
_GIT_READS_THESE = {".gitmodules", ".gitattributes", ".gitignore", ".mailmap"}


class TreeEntry(NamedTuple):
    """One file of a tree. `mode` is git's: 0o100644, 0o100755, or 0o120000 (symbolic link, target in `content`)."""

    mode: int
    content: bytes


Tree = dict[str, TreeEntry]
"""POSIX paths relative to the repository root → entries. Only data: nothing in it is ever run outside a sandbox."""

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md"""


def is_pointer(entry: TreeEntry | None) -> bool:
    """Whether this is a file of Git LFS: what git holds only says where its content is."""
    return entry is not None and entry.mode != LINK and entry.content.startswith(LFS_POINTER)


def check_entry(path: str, mode: int, content: bytes) -> str | None:
    """None if a sandbox, the ledger and a reviewer's screen can hold this file, else why not."""
    return check_path(path) or (check_link(path, content) if mode == LINK else None)


def check_path(path: str) -> str | None:
    """None if `path` is a name git may hold, else why not. Relative, `/` between the parts.

    The `.git` look-alikes are those that NTFS, HFS+ and case-folding file systems resolve to `.git`; see
    https://git-scm.com/docs/git-config#Documentation/git-config.txt-coreprotectNTFS
    """
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return f"{shown(path)}: the name is not UTF-8"
    if size > MAX_PATH_BYTES:
        return f"{shown(path[:80])}...: the path is longer than {MAX_PATH_BYTES} bytes"
    if not path.isprintable():
        return f"{shown(path)}: the name has control, direction or other invisible characters"
    if "\\" in path:
        return f"{shown(path)}: the name has a backslash, which separates directories elsewhere"
    parts = path.split("/")
    if len(parts) > MAX_DEPTH:
        return f"{shown(path[:80])}...: deeper than {MAX_DEPTH} directories"
    for part in parts:
        if part in ("", ".", ".."):
            return f"{shown(path)}: not a plain relative path"
        if len(part.encode()) > 255:
            return f"{shown(path[:80])}...: a name is longer than 255 bytes"
        if is_git_directory(part):
            return f"{shown(path)}: {shown(part)} is, or on some file systems becomes, a .git directory"
    return None


def is_git_directory(name: str) -> bool:
    """Whether some file system reads `name` as `.git`: `.GIT`, `.git.`, `.git::$INDEX_ALLOCATION`, `git~1`."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    visible = "".join(c for c in folded if unicodedata.category(c) != "Cf")
    return visible.split(":")[0].rstrip(". ") in (".git", "git~1")


def check_link(path: str, target: bytes) -> str | None:
    """None if the symbolic link at `path` stays inside the tree, else why not.

    `..` may only lead: then every step up starts at a real directory, so no chain of links that each pass can leave.
    """
    if posixpath.basename(path).casefold() in _GIT_READS_THESE:
        return f"{shown(path)}: git reads this file, so it may not be a symbolic link"
    try:
        text = target.decode()
    except UnicodeDecodeError:
        return f"{shown(path)}: the symbolic link's target is not UTF-8"
    if not text or text.startswith("/"):
        return f"{shown(path)}: the symbolic link's target {shown(text)} is not relative"
    steps = [step for step in text.split("/") if step not in ("", ".")]
    ups = next((n for n, step in enumerate(steps) if step != ".."), len(steps))
    if ".." in steps[ups:]:
        return f"{shown(path)}: the symbolic link's target {shown(text)} goes down and up again"
    here = path.split("/")[:-1]
    if ups > len(here):
        return f"{shown(path)}: the symbolic link's target {shown(text)} leaves the tree"
    inside = "/".join(here[: len(here) - ups] + steps[ups:])
    reason = check_path(inside) if inside else None
    return f"{shown(path)}: the symbolic link's target is refused: {reason}" if reason else None


def check_tree(tree: Mapping[str, TreeEntry], known: Collection[str] = ()) -> str | None:
    """None if git may hold `tree`, else the first reason.

    `known` are paths that the base already has: two of them may differ in case alone, a new one may not join them.
    """
    spellings: dict[str, str] = {}
    for path in sorted(tree, key=lambda path: (path not in known, path)):
        mode, content = tree[path]
        reason = check_path(path)
        if reason is None and mode == LINK:
            reason = check_link(path, content)
        elif reason is None and mode not in (FILE, PROGRAM):
            reason = f"{shown(path)}: mode {mode:o} is neither a file, a program nor a symbolic link"
        if reason:
            return reason
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            prefix = "/".join(parts[:depth])
            if depth < len(parts) and prefix in tree:
                return f"{shown(path)}: {shown(prefix)} is a file"
            first = spellings.setdefault(unicodedata.normalize("NFC", prefix).casefold(), prefix)
            if first != prefix and path not in known:
                return f"{shown(path)}: {shown(prefix)} and {shown(first)} differ in case alone"
    return None


def shown(name: str) -> str:
    """A hostile name, safe to print."""
    return ascii(name)


def tree_digest(tree: Tree) -> str:
    """SHA-256 over paths, modes and contents: equal trees, equal digest."""
    whole = hashlib.sha256()
    for path, entry in sorted(tree.items()):
        whole.update(f"{entry.mode:o} {hashlib.sha256(entry.content).hexdigest()} {path}\0".encode("utf-8", "replace"))
    return whole.hexdigest()


def pack(tree: Tree) -> bytes:
    """A tree as canonical JSON, for the store."""
    return canonical({p: [e.mode, base64.b64encode(e.content).decode()] for p, e in tree.items()}).encode()


def unpack(data: bytes) -> Tree:
    """The tree that `pack` wrote."""
    return {p: TreeEntry(mode, base64.b64decode(content)) for p, (mode, content) in json.loads(data).items()}
