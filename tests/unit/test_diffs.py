"""The desk reads git's own diff of names and contents that look like a diff, and counts what git counts."""

import os
import subprocess
from pathlib import Path

from domain.diffs import MOST_LINES, files_of
from kits.briefs import git, repository

BEFORE = {
    b"plain": b"a\nb\nc\n", b"sp ace": b"1\n" * 10, "café".encode(): b"x\n" * 8, b"bin": b"\0\1\2",
    b'quo"te': b"q\n" * 9, b"tab\tname": b"t", b"nl\nname": b"t\n", b"mode": b"m\n", b"gone": b"--- a/x\n+++ b/y\n",
    b"bad\xff": b"x\n", b"empty": b"", b"a b/c d": b"1\n2\n", b"crlf": b"a\r\nb\r\n",
    b"uni": "a\u2028b\x0c\x0b\n".encode() * 3,
}  # fmt: skip
AFTER = {
    b"plain": b"a\n@@ -1 +1 @@\nc", b"sp other": b"1\n" * 9 + b"2\n", "café 2".encode(): b"x\n" * 8, b"bin": b"\0\1\3",
    b'quo"te': b"q\n" * 8, b"tab\tname": b"u", b"nl\nname": b"--- a\n", b"mode": b"m\n", b"bad\xff": b"y\n",
    b"new empty": b"", b"a b/c d": b"-- x\n++ y\n", b"crlf": b"a\nb\r\n", b"uni": "a\u2028c\x0c\x0b\n".encode() * 2,
    b"diff --git a/x b/x": b"diff --git a/x b/x\n",
}  # fmt: skip


def test_files_and_lines_are_those_that_git_counts(tmp_path: Path) -> None:
    at = repository(tmp_path / "odd", {}, bare=False)
    for files in (BEFORE, AFTER):
        for old in set(BEFORE) - set(files):
            (at / os.fsdecode(old)).unlink()
        for name, content in files.items():
            path = at / os.fsdecode(name)
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_bytes(content)
        if files is AFTER:
            (at / "mode").chmod(0o755)
            (at / "link").symlink_to("plain")
        git(at, "add", "--all")
        git(at, "commit", "--quiet", "--message", "m")

    def told(*flags: str) -> bytes:
        return subprocess.run(
            ["git", "diff", "--no-ext-diff", "--no-color", "-M", *flags, "HEAD~1", "HEAD", "--"],
            cwd=at, capture_output=True, check=True,
        ).stdout  # fmt: skip

    parts = told("--numstat", "-z").decode("utf-8", "replace").split("\0")[:-1]
    counted = []
    while parts:
        added, removed, path = parts.pop(0).split("\t", 2)
        if not path:  # renamed: both names follow
            _, path = parts.pop(0), parts.pop(0)
        counted.append((path, int(added.replace("-", "0")), int(removed.replace("-", "0"))))
    files, left_out = files_of(told().decode("utf-8", "replace"))
    assert [(file.path, file.added, file.removed) for file in files] == counted
    assert left_out == 0 and len(counted) > 12
    words = {file.path: file.words for file in files}
    assert (
        "binary" in words["bin"] and "renamed from sp ace" in words["sp other"] and "new mode 100755" in words["mode"]
    )
    texts = {line.text for file in files for line in file.lines}
    assert {"--- a", "-- x", "a\u2028c\x0c\x0b", "\\ No newline at end of file".strip("\\ ")} <= texts


def test_of_a_very_long_change_it_is_said_how_much_is_not_shown() -> None:
    diff = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -0,0 +1,30000 @@\n" + "+x\n" * 30_000
    ((file,), left_out) = files_of(diff)
    assert file.is_folded and left_out == 30_004 - MOST_LINES
    assert files_of("")[0] == files_of("no diff at all\n@@ -1 +1 @@\n")[0] == ()


def test_a_change_of_line_ends_is_seen() -> None:
    head = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n"
    files, _ = files_of(f"{head}-one\n+one\r\n a\rb\n")
    assert [line.text for line in files[0].lines[1:]] == ["one", "one␍", "a\rb"]


def test_side_by_side_what_was_cut_stands_beside_what_was_added_for_it() -> None:
    text = "diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1,4 +1,4 @@\n one\n-two\n-three\n+2\n four\n+five\n"
    ((file,), _) = files_of(text)
    told = [(old.text if old else None, new.text if new else None) for old, new in file.pairs if old or new]
    assert told[-4:] == [("two", "2"), ("three", None), ("four", "four"), (None, "five")]
    assert [line for pair in file.pairs for line in dict.fromkeys(pair) if line] and len(file.pairs) == len(told)
