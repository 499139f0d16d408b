"""The platform's own bare repository beside a person's: the only place where git meets what an agent wrote.

Nothing is ever checked out here, it has no hooks, no configuration of its own, and no attributes file is read in it, so
what a tree says about filters, drivers and hooks has no effect.
"""

import fcntl
import re
import shutil
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from blocks.forges.commits import CommitData, parsed, stored
from blocks.forges.credential import RepositoryCredential
from blocks.forges.git import GitRun, TooLong, git
from domain.errors import AgentError, ForgeError
from domain.ports import Joined
from domain.trees import Tree, TreeEntry, check_entry, shown

REGULAR, EXECUTABLE, LINK, GITLINK = 0o100644, 0o100755, 0o120000, 0o160000
MOST_FILES, MOST_BYTES = 50_000, 200 << 20
"""What a change that was made elsewhere may bring: as much as an agent's, by the sandboxes' own defaults."""
MOST_FETCHED = 1 << 30
"""Bytes that git may write to fetch such a change: all of its commits, packed."""
_LISTED_BYTES = 300
"""Of one file in a list, at most, as a mean: names of a kilobyte are no project's."""
_COMMIT_ID = re.compile(r"[0-9a-f]{40}")
# C-style quoting of every byte that fast-import could read as something else:
# https://git-scm.com/docs/git-fast-import#Documentation/git-fast-import.txt-path
_QUOTED = tuple(chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\{byte:03o}" for byte in range(256))


class Carried(NamedTuple):
    """What no step can work on: a submodule, or a file or link with a name or target that is not plain."""

    mode: int
    oid: str
    reason: str


class Mirror:
    """A bare repository at `path`. Reads need no lock; `locked()` is held around whatever makes it or moves refs."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self.path = path
        self._timeout_s = timeout_s

    def git(
        self,
        *arguments: str,
        stdin: bytes = b"",
        expect: tuple[int, ...] = (0,),
        as_person: bool = False,
        credential: RepositoryCredential | None = None,
        most_bytes: int | None = None,
    ) -> GitRun:
        return git(
            f"--git-dir={self.path}",
            *arguments,
            stdin=stdin,
            expect=expect,
            as_person=as_person,
            credential=credential,
            timeout_s=self._timeout_s,
            most_bytes=most_bytes,
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One thread of one process at a time; the kernel frees it when its holder dies."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def ensure(self) -> None:
        """Make it if it is not there, or not whole. It appears by a rename: a crash leaves nothing half made."""
        if self._is_whole():
            return
        with self.locked():
            if self._is_whole():
                return
            draft = self.path.with_suffix(".new")
            for leftover in (draft, self.path):
                shutil.rmtree(leftover, ignore_errors=True)
            git("init", "--quiet", "--bare", "--template=", "-b", "main", str(draft), timeout_s=self._timeout_s)
            draft.rename(self.path)

    def _is_whole(self) -> bool:
        return (self.path / "HEAD").is_file() and all((self.path / part).is_dir() for part in ("objects", "refs"))

    def fetch(
        self,
        address: str,
        refspec: str,
        options: Iterable[str] = (),
        credential: RepositoryCredential | None = None,
        most_bytes: int | None = None,
    ) -> None:
        """Bring one ref of `address` here. Call it with the lock held. Raises TooLong where that would write more
        than `most_bytes`: then nothing of it stays."""
        self._drop_stale_locks()
        flags = ("--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--update-shallow")
        # A pack appears whole or not at all; loose objects of a killed fetch could be a commit without its tree.
        words = ("-c", "fetch.unpackLimit=1", "fetch", *flags, *options, "--", address, refspec)
        try:
            self.git(*words, as_person=True, credential=credential, most_bytes=most_bytes)
        except ForgeError as err:
            if most_bytes is None or not self._dropped_cut_off(most_bytes):
                raise
            raise TooLong(f"it brings more than {most_bytes >> 20:,} MB of commits, so it is not fetched") from err

    def _dropped_cut_off(self, size: int) -> bool:
        """Whether a pack was cut off at this size; what there is of it is deleted."""
        cut = [file for file in (self.path / "objects" / "pack").glob("tmp_*") if file.stat().st_size >= size]
        for file in cut:
            file.unlink()
        return bool(cut)

    def tidy(self) -> None:
        """Repack when git finds it worth it; objects that no ref holds are kept for two weeks. Hold the lock."""
        with suppress(ForgeError):  # it will be tried again, and nothing depends on it
            self.git("-c", "gc.auto=6700", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet")

    def _drop_stale_locks(self) -> None:
        """A git that was killed leaves its lock files, and every later one would stop at them."""
        oldest = time.time() - 2 * self._timeout_s
        with suppress(FileNotFoundError):  # a live git's lock went away as we looked; the next fetch looks again
            for lock in (*self.path.glob("*.lock"), *(self.path / "refs").rglob("*.lock")):
                if lock.stat().st_mtime < oldest:
                    lock.unlink(missing_ok=True)

    def commit_at(self, ref: str) -> str:
        return self.git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}").out.decode().strip()

    def has(self, commit: str) -> bool:
        """Is this commit here? Raises ForgeError if it is no commit id at all."""
        if not _COMMIT_ID.fullmatch(commit):
            raise ForgeError(f"{commit!r} is not a commit id: 40 hexadecimal digits are")
        return self.git("cat-file", "-e", f"{commit}^{{commit}}", expect=(0, 1, 128)).code == 0

    def is_ancestor(self, commit: str, tip: str) -> bool:
        return self.git("merge-base", "--is-ancestor", commit, tip, expect=(0, 1)).code == 0

    def read_commit(self, commit: str) -> CommitData:
        return parsed(self.git("cat-file", "commit", commit).out)

    def committed_s(self, commit: str) -> int:
        """When it was committed, in Unix seconds, as it says itself."""
        return int(self.git("show", "-s", "--format=%ct", commit).out)

    def write_commit(self, data: CommitData, committer: bytes) -> str:
        """Store a commit; no ref holds it yet. The same input gives the same id."""
        written = self.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=stored(data, committer))
        return written.out.decode().strip()

    def keep(self, commit: str) -> None:
        """Hold `commit` against clean-up, for good."""
        self.git("update-ref", f"refs/lockgate/{commit}", commit)

    def pack(self, base: str, commit: str) -> bytes:
        """What `commit` has beyond `base`, as git sends it."""
        flags = ("--revs", "--thin", "--stdout", "--quiet")
        return self.git("pack-objects", *flags, stdin=f"{commit}\n^{base}\n".encode()).out

    def unpack(self, base: str, commit: str, pack: bytes) -> None:
        """Take in what `pack` gave, and hold `commit`. `base` has to be here. Raises ForgeError: not whole."""
        self.git("index-pack", "--stdin", "--fix-thin", stdin=pack)
        self.git("rev-list", "--objects", "--quiet", commit, f"^{base}")
        self.keep(commit)

    def find_trailer(self, after: str, tip: str, key: str) -> str | None:
        """The commit of `after..tip` whose message ends with the trailer `key: after`."""
        form = f"--format=%H %(trailers:key={key},valueonly,separator=%x2C)"
        lines = self.git("log", form, f"{after}..{tip}").out.decode("utf-8", "replace").splitlines()
        found = (commit for commit, _, values in (line.partition(" ") for line in lines) if after in values.split(","))
        return next(found, None)

    def read_tree(self, commit: str) -> tuple[Tree, dict[str, Carried]]:
        """The files with their exact bytes; and what is no plain file of a plain name, which only git can carry on."""
        return self._read(self._list(commit))

    def read_files(self, commit: str, paths: Collection[str], most_bytes: int) -> Tree:
        """Those of `read_tree` at these paths, and no larger."""
        named = [entry for entry in self._list(commit) if entry[0] in paths and entry[1] != GITLINK]
        told = self.git("cat-file", "--batch-check", stdin="".join(f"{oid}\n" for _, _, oid in named).encode()).out
        sizes = [int(line.rpartition(b" ")[2]) for line in told.splitlines()]
        few = (entry for entry, size in zip(named, sizes, strict=True) if size <= most_bytes)
        return self._read(few)[0]

    def _read(self, entries: Iterable[tuple[str, int, str]]) -> tuple[Tree, dict[str, Carried]]:
        files, carried = [], {}
        for path, mode, oid in entries:
            if mode == GITLINK:
                carried[path] = Carried(mode, oid, f"{shown(path)}: a submodule")
                continue
            # Old repositories hold modes such as 100664, which git itself reads as one of the two of a regular file.
            mode = mode if mode == LINK else EXECUTABLE if mode & 0o100 else REGULAR
            files.append((path, mode, oid))
        contents = self._read_blobs(dict.fromkeys(oid for _, _, oid in files))
        tree: Tree = {}
        for path, mode, oid in files:
            if reason := check_entry(path, mode, contents[oid]):
                carried[path] = Carried(mode, oid, reason)
            else:
                tree[path] = TreeEntry(mode, contents[oid])
        return tree, carried

    def _list(self, commit: str) -> Iterator[tuple[str, int, str]]:
        for line in self.git("ls-tree", "-r", "-z", "--full-tree", commit).out.split(b"\0")[:-1]:
            head, _, path = line.partition(b"\t")
            mode, _, oid = head.decode().split(" ")
            yield path.decode("utf-8", "surrogateescape"), int(mode, 8), oid

    def _read_blobs(self, oids: Iterable[str]) -> dict[str, bytes]:
        wanted = list(oids)
        out = self.git("cat-file", "--batch", stdin="".join(f"{oid}\n" for oid in wanted).encode()).out
        blobs: dict[str, bytes] = {}
        at = 0
        for oid in wanted:
            end = out.index(b"\n", at)
            words = out[at:end].split(b" ")
            if len(words) != 3 or words[1] != b"blob":
                raise ForgeError(
                    f"object {oid} is missing: the repository is damaged or a partial clone; fetch it fully"
                )
            size = int(words[2])
            blobs[oid] = out[end + 1 : end + 1 + size]
            at = end + 1 + size + 1
        return blobs

    def write_tree(self, tree: Tree, carried: Mapping[str, Carried]) -> str:
        """Store a whole tree, with what is `carried` unless `tree` has that path; its id.

        Raises AgentError for what git should not hold.
        """
        carried = {path: one for path, one in carried.items() if path not in tree or one.mode == GITLINK}
        _refuse_untreelike(tree, carried)
        # fast-import writes trees only by way of a commit on a ref; the ref is deleted in the same stream.
        ref = f"refs/draft/{uuid.uuid4().hex}"
        stream = [b"feature done\ncommit %b\ncommitter - <> 0 +0000\ndata 0\n" % ref.encode()]
        for path, (mode, content) in tree.items():
            stream += [b"M %o inline %b\ndata %d\n" % (mode, _quote(path), len(content)), content, b"\n"]
        stream += [b"M %o %b %b\n" % (one.mode, one.oid.encode(), _quote(path)) for path, one in carried.items()]
        stream.append(b'ls ""\nreset %b\nfrom %b\n\ndone\n' % (ref.encode(), b"0" * 40))
        return self.git("fast-import", "--quiet", stdin=b"".join(stream)).out.decode().split()[2]

    def join(self, base: str, source: str) -> Joined:
        """What `source` changes since it parted from `base`, on top of it, without a work tree."""
        parted = self.git("merge-base", base, source, expect=(0, 1))
        if parted.code:
            return Joined(
                None, problem="it has no commit in common with the branch that it would go to: begin it there"
            )
        before = parted.out.decode().strip()
        if why := self._why_not_read(before, source):
            return Joined(None, problem=why)
        ran = self.git("merge-tree", "--write-tree", "--no-messages", "--name-only", "-z", base, source, expect=(0, 1))
        tree, *names = ran.out.decode("utf-8", "surrogateescape").split("\0")[:-1]
        if ran.code:
            at = ", ".join(shown(name) for name in names[:10]) + (f" and {len(names) - 10} more" if names[10:] else "")
            return Joined(
                None, problem=f"it conflicts with the branch that it would go to, in {at}: merge that into it"
            )
        files, carried = self.read_tree(tree)
        if odd := _untouched(self.read_tree(base)[1], carried):
            return Joined(None, problem=f"it changes what no step can work on, nor a reviewer see: {odd}")
        log = self.git("log", "--no-merges", "--max-count=1000", "--format=%an <%ae>", source, f"^{base}")
        lines = log.out.decode("utf-8", "replace").splitlines()
        becomes = self.read_commit(source).tree if before == base else tree
        return Joined(files, tuple(dict.fromkeys(line for line in lines if line.strip())), tree_id=becomes)

    def _why_not_read(self, before: str, source: str) -> str | None:
        """Why `source` has more beyond `before` than a change may bring, or two files of one name. Asked before any
        file of it is read: seven objects can be a tree of millions of files, and a small pack a file of gigabytes."""
        words = ("ls-tree", "-r", "-l", "-z", "--full-tree")
        most = f"it brings more than {MOST_FILES:,} files or {MOST_BYTES >> 20} MB: leave out what is no source"
        known = self.git(*words, before).out
        try:
            listed = self.git(*words, source, most_bytes=len(known) + MOST_FILES * _LISTED_BYTES).out
        except TooLong:
            return most
        lines = listed.split(b"\0")[:-1]
        new = set(lines) - set(known.split(b"\0"))
        sizes = [line.partition(b"\t")[0].split()[3] for line in new]
        if len(new) > MOST_FILES or sum(int(size) for size in sizes if size != b"-") > MOST_BYTES:
            return most
        paths = [line.partition(b"\t")[2] for line in lines]
        return "it has a directory that names a file twice" if len(paths) > len(set(paths)) else None

    def merge_trees(self, origin: str, ours: str, theirs: str) -> str | None:
        """Three-way merge of tree ids without a work tree; None if they conflict."""
        # git 2.39 has no --merge-base (2.40 has): commits made for it say which tree the two come from.
        start = self.write_commit(CommitData(origin, (), b"- <>", 0, b"origin\n"), b"- <>")
        ends = [
            self.write_commit(CommitData(side, (start,), b"- <>", 0, b"side\n"), b"- <>") for side in (ours, theirs)
        ]
        merged = self.git("merge-tree", "--write-tree", "--no-messages", *ends, expect=(0, 1))
        return merged.out.decode().strip() if merged.code == 0 else None


def _untouched(base: Mapping[str, Carried], joined: Mapping[str, Carried]) -> str:
    """Which submodule, or file of a name that is not plain, differs; empty: none does."""
    differing = [path for path in sorted(base.keys() | joined.keys()) if base.get(path) != joined.get(path)]
    one = next((joined.get(path) or base[path] for path in differing), None)
    return one.reason if one else ""


def _quote(path: str) -> bytes:
    return b'"' + "".join(_QUOTED[byte] for byte in path.encode("utf-8", "surrogateescape")).encode() + b'"'


def _refuse_untreelike(tree: Tree, carried: Mapping[str, Carried]) -> None:
    """What the object format itself cannot hold, or what a checkout could follow out of its directory."""
    for path, entry in tree.items():
        parts = path.split("/")
        if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts) or "\0" in path:
            raise AgentError(f"{path!r} is not a path that a tree may hold")
        if entry.mode not in (REGULAR, EXECUTABLE, LINK):
            raise AgentError(f"{path!r} has mode {entry.mode:o}: only files and symbolic links can be committed")
        above = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
        if stands := next((one for one in (*above, path) if one in carried), None):
            what = "a submodule" if carried[stands].mode == GITLINK else shown(stands)
            raise AgentError(f"{path!r} is inside {what}, which a change may not touch")
        if any(one in tree for one in above):
            raise AgentError(f"{path!r} is inside what is also a file")
        try:
            path.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as err:
            raise AgentError(f"{path!r} is not a name that can be stored") from err
    for path in carried:
        parts = path.split("/")
        if stands := next((one for n in range(1, len(parts)) if (one := "/".join(parts[:n])) in tree), None):
            raise AgentError(f"{stands!r} is a file now, but {shown(path)} is in that directory and cannot be removed")
