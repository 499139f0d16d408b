"""One repository's git: bare, on disk, read and written by the real git."""

import datetime
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ZERO = "0" * 40
_FORMAT = "%x1e%H%x00%T%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B%x00"


_UPDATE_HOOK = """#!/bin/sh
# One file a protected branch, which the forge writes before a push: whether all is refused, and the reason.
rule="$GIT_DIR/protected/$(printf %s "$1" | tr / ,)"
[ -f "$rule" ] || exit 0
zero=0000000000000000000000000000000000000000
if [ "$2" != "$zero" ] && [ "$3" != "$zero" ] && ! grep -q "^always" "$rule"; then
    git merge-base --is-ancestor "$2" "$3" && exit 0
fi
sed 1d "$rule" >&2
exit 1
"""


class Commit(NamedTuple):
    """What a commit says; times in ISO 8601."""

    sha: str
    tree: str
    parents: list[str]
    author: str
    author_email: str
    authored: str
    committer: str
    committer_email: str
    committed: str
    message: str


class Changed(NamedTuple):
    """One file of a comparison, as the forge names it."""

    path: str
    before: str | None
    status: str
    blob: str
    additions: int
    deletions: int
    patch: str


class Git:
    """Bare repositories only. No hook but the forge's own and no configuration of anybody's is read."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def create(self, branch: str) -> None:
        hook = self.place.parent / "hooks" / "update"
        hook.parent.mkdir(parents=True, exist_ok=True)
        hook.write_text(_UPDATE_HOOK)
        hook.chmod(0o755)
        subprocess.run(
            ["git", "init", "-q", "--bare", f"--initial-branch={branch}", str(self.place)],
            check=True,
            env=environment(),
        )
        for name, value in (
            ("http.receivepack", "true"),
            ("uploadpack.allowReachableSHA1InWant", "true"),
            ("uploadpack.allowFilter", "true"),
            ("core.hooksPath", str(self.place.parent / "hooks")),
            ("receive.hideRefs", "refs/pull"),
            ("receive.hideRefs", "refs/merge-requests"),
            ("gc.auto", "0"),
            ("core.logAllRefUpdates", "false"),
        ):
            self.run("config", "--add", name, value)

    def run(self, *arguments: str, given: str | None = None, who: Mapping[str, str] | None = None) -> str:
        """What git printed. Raises CalledProcessError."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.place,
            env=environment(who),
            input=given.encode() if given is not None else None,
            capture_output=True,
            check=True,
        )
        return done.stdout.decode(errors="replace")

    def refs(self) -> dict[str, str]:
        """Full name → object id, of branches and tags."""
        lines = self.run("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags").splitlines()
        return {name: sha for sha, _, name in (line.partition(" ") for line in lines)}

    def branch(self, name: str) -> str | None:
        """Where it stands; None if there is none."""
        return self.resolve(f"refs/heads/{name}")

    def resolve(self, name: str) -> str | None:
        """A commit id, branch or tag as a commit id; None if there is none such."""
        if name.startswith("-") or not name:
            return None
        for full in (name,) if name.startswith("refs/") else (f"refs/heads/{name}", f"refs/tags/{name}", name):
            try:
                return self.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{full}^{{commit}}").strip()
            except subprocess.CalledProcessError:
                continue
        return None

    def set(self, ref: str, sha: str, old: str | None = None) -> None:
        """Move or make a ref; `old`: only if it still stands there (ZERO: only if it is new)."""
        self.run("update-ref", ref, sha, *([old] if old else []))

    def delete(self, ref: str) -> None:
        self.run("update-ref", "-d", ref)

    def is_ancestor(self, older: str, newer: str) -> bool:
        try:
            self.run("merge-base", "--is-ancestor", older, newer)
        except subprocess.CalledProcessError:
            return False
        return True

    def merge_base(self, one: str, other: str) -> str | None:
        try:
            return self.run("merge-base", one, other).strip()
        except subprocess.CalledProcessError:
            return None

    def commits(self, *arguments: str) -> list[Commit]:
        """Commits as `git log` takes them."""
        texts = self.run("log", f"--format={_FORMAT}", *arguments, "--").split("\x1e")[1:]
        commits = []
        for text in texts:
            sha, tree, parents, *names, message, _ = text.split("\x00")
            an, ae, ad, cn, ce, cd = names
            commits.append(Commit(sha, tree, parents.split(), an, ae, utc(ad), cn, ce, utc(cd), message.strip("\n")))
        return commits

    def commit(self, sha: str) -> Commit:
        return self.commits("-1", sha)[0]

    def changes(self, older: str, newer: str) -> list[Changed]:
        """Between two commits or trees, renames found, sorted by path."""
        options = ["-M", "--no-color", "--no-ext-diff", "--no-textconv", "--full-index", older, newer, "--"]
        raw = self.run("diff", "--raw", "--no-abbrev", "-z", *options).split("\x00")
        sizes = self.run("diff", "--numstat", "-z", *options).split("\x00")
        patches = re.split(r"(?m)^diff --git .*\n", self.run("diff", *options))[1:]
        changed: list[Changed] = []
        words = {"A": "added", "D": "removed", "M": "modified", "R": "renamed", "C": "copied", "T": "changed"}
        while len(raw) > 1:
            _, _, old_blob, blob, letter = raw.pop(0).split(" ")
            before = raw.pop(0)
            path = raw.pop(0) if letter[0] in "RC" else before
            added, deleted, _ = sizes.pop(0).split("\t")
            if letter[0] in "RC":
                del sizes[:2]
            patch = patches[len(changed)] if len(changed) < len(patches) else ""
            hunks = patch[patch.index("\n@@ ") + 1 :].rstrip("\n") if "\n@@ " in patch else ""
            changed.append(
                Changed(
                    path,
                    before if letter[0] in "RC" else None,
                    words[letter[0]],
                    old_blob if letter[0] == "D" else blob,
                    0 if added == "-" else int(added),
                    0 if deleted == "-" else int(deleted),
                    hunks,
                )
            )
        return changed

    def read(self, commit: str, path: str) -> bytes | None:
        """A file's content; None if there is none."""
        if self.kind(commit, path) != "blob":
            return None
        done = subprocess.run(
            ["git", "cat-file", "blob", f"{commit}:{path}"], cwd=self.place, env=environment(), capture_output=True
        )
        return done.stdout

    def kind(self, commit: str, path: str) -> str | None:
        """blob or tree; None if there is nothing."""
        try:
            return self.run("cat-file", "-t", f"{commit}:{path}").strip()
        except subprocess.CalledProcessError:
            return None

    def merge_trees(self, base: str, head: str) -> str | None:
        """The tree of a merge of two commits; None if they conflict."""
        try:
            return self.run("merge-tree", "--write-tree", "--no-messages", base, head).split("\n", 1)[0]
        except subprocess.CalledProcessError as err:
            if err.returncode == 1:
                return None
            raise

    def write_commit(self, tree: str, parents: list[str], message: str, who: Mapping[str, str]) -> str:
        points = [part for parent in parents for part in ("-p", parent)]
        return self.run("commit-tree", tree, *points, given=message, who=who).strip()

    def rebase(self, base: str, head: str, who: Mapping[str, str]) -> str | None:
        """Each commit of head that base has not, one by one on base; None if one conflicts."""
        on = base
        for commit in reversed(self.commits("--no-merges", f"{base}..{head}")):
            parent = commit.parents[0] if commit.parents else None
            if parent is None:
                return None
            # git 2.39 merges trees by the common ancestor alone: so the tip is told to have the commit's parent.
            stand_in = self.write_commit(self.commit(on).tree, [parent], "stand-in", who)
            tree = self.merge_trees(stand_in, commit.sha)
            if tree is None:
                return None
            author = {
                "GIT_AUTHOR_NAME": commit.author,
                "GIT_AUTHOR_EMAIL": commit.author_email,
                "GIT_AUTHOR_DATE": commit.authored,
            }
            on = self.write_commit(tree, [on], commit.message + "\n", {**who, **author})
        return on

    def write_file(
        self, tip: str | None, path: str, content: bytes | None, message: str, who: Mapping[str, str]
    ) -> str:
        """A commit on `tip` that writes one file (None: deletes it). The branch is not moved."""
        index = {**who, "GIT_INDEX_FILE": str(self.place / f"index-{os.urandom(6).hex()}")}
        try:
            if tip:
                self.run("read-tree", tip, who=index)
            if content is None:
                self.run("rm", "--cached", "-q", "--", path, who=index)
            else:
                blob = subprocess.run(
                    ["git", "hash-object", "-w", "--stdin"],
                    cwd=self.place,
                    env=environment(),
                    input=content,
                    capture_output=True,
                    check=True,
                ).stdout.decode()
                self.run("update-index", "--add", "--cacheinfo", f"100644,{blob.strip()},{path}", who=index)
            tree = self.run("write-tree", who=index).strip()
        finally:
            Path(index["GIT_INDEX_FILE"]).unlink(missing_ok=True)
        return self.write_commit(tree, [tip] if tip else [], message, who)


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What git sees of this process: nothing but where programs are."""
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "LC_ALL": "C.UTF-8",
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LITERAL_PATHSPECS": "1",
        **(more or {}),
    }


def lines_of(patch: str) -> dict[str, set[int]]:
    """The lines of a patch that a comment may name: side (LEFT, RIGHT) → line numbers."""
    sides: dict[str, set[int]] = {"LEFT": set(), "RIGHT": set()}
    left = right = 0
    for line in patch.splitlines():
        if match := re.match(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@", line):
            left, right = int(match[1]), int(match[2])
        elif line.startswith("-"):
            sides["LEFT"].add(left)
            left += 1
        elif line.startswith("+"):
            sides["RIGHT"].add(right)
            right += 1
        elif not line.startswith("\\"):
            sides["LEFT"].add(left)
            sides["RIGHT"].add(right)
            left, right = left + 1, right + 1
    return sides


def position_of(patch: str, side: str, line: int) -> int | None:
    """Where a line stands in a patch, counted from the line below its first @@; None if it is not there."""
    left = right = 0
    for position, text in enumerate(patch.splitlines()):
        if match := re.match(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@", text):
            left, right = int(match[1]), int(match[2])
            continue
        if text.startswith("\\"):
            continue
        here_left, here_right = not text.startswith("+"), not text.startswith("-")
        if (side == "RIGHT" and here_right and right == line) or (side == "LEFT" and here_left and left == line):
            return position
        left, right = left + here_left, right + here_right
    return None


def utc(text: str) -> str:
    """ISO 8601 with an offset as UTC, as the forge writes it."""
    return datetime.datetime.fromisoformat(text).astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
