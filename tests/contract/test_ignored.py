"""What base's .gitignore files ignore, as git reads them, and what is left out of a change because of them."""

import random
import subprocess
from pathlib import Path

from blocks.sandboxes.bubblewrap import Bubblewrap
from domain.ignored import Ignored
from domain.trees import TreeEntry

FILE, PROGRAM = 0o100644, 0o100755
IGNORES = {
    ".gitignore": "# c\n*.py[cod]\n.coverage\nnode_modules/\n/dist\nbuild/\n!build/keep\n*.log\n!important.log\n"
    "docs/**/gen\n**/cache/*\n!**/cache/.gitkeep\nfoo/*\n!foo/bar\n*.egg-info/\n.venv\n\\#x\nspace\\ \ntrail  \n"
    "a/b/c\n/x?z\n[bad\nd[0-9].txt\n\\!neg\nabc/**\n\r\n",
    "sub/.gitignore": "!*.log\n/dist2\nsecret\n!/deep.pyc\n",
    "sub/low/.gitignore": "*\n!.gitignore\n!keep.txt\n",
}
NAMES = [
    *(
        "a",
        "b",
        "c",
        "build",
        "keep",
        "node_modules",
        "dist",
        "dist2",
        "sub",
        "low",
        "docs",
        "gen",
        "cache",
        ".gitkeep",
    ),
    *("foo", "bar", "q.egg-info", ".venv", ".coverage", "#x", "xyz", "y.pyc", "!neg", "abc", "secret", "[bad"),
]
LAST = [*NAMES, "x.log", "important.log", "deep.pyc", "space ", "trail", "d1.txt", "keep.txt"]


def entry(text: str, mode: int = FILE) -> TreeEntry:
    return TreeEntry(mode, text.encode())


def test_a_path_is_ignored_if_git_says_so(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    for name, content in IGNORES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    chance = random.Random(3)
    paths = {"/".join([*chance.choices(NAMES, k=chance.randint(0, 3)), chance.choice(LAST)]) for _ in range(3000)}
    asked = "\0".join(sorted(paths)).encode() + b"\0"
    argv = ["git", "-C", str(tmp_path), "check-ignore", "--no-index", "-z", "--stdin"]
    said = subprocess.run(argv, input=asked, capture_output=True, check=True).stdout.decode().split("\0")[:-1]
    is_ignored = Ignored({name: entry(content) for name, content in IGNORES.items()})
    assert len(said) > 1000
    assert sorted(path for path in paths if is_ignored(path, False)) == sorted(said)


def test_patterns_that_would_take_for_ever_or_that_are_none_ignore_nothing() -> None:
    is_ignored = Ignored({".gitignore": entry("*a" * 30 + "b\n!\n\\\n"), "x/.gitignore": TreeEntry(0o120000, b"*")})
    assert not is_ignored("a" * 250, False)
    assert not is_ignored("x/y", False)


def test_what_an_agents_tools_leave_behind_is_no_part_of_the_change(tmp_path: Path) -> None:
    base = {
        ".gitignore": entry(".coverage\nnode_modules/\n.venv\n*.egg-info\nkept/\n"),
        "app.py": entry("a = 1\n"),
        "kept/tracked.txt": entry("1\n"),
        "web/.gitignore": entry("/out\n"),
    }
    workspace = Bubblewrap(root=tmp_path).open(base, label="test")
    script = """
echo x > .coverage; mkdir -p node_modules/a .venv/bin shop.egg-info web/out; mkfifo node_modules/a/fifo
ln -s /usr/bin/python3 .venv/bin/python; ln node_modules/a/fifo node_modules/hard; echo x > shop.egg-info/PKG-INFO
echo x > web/out/x; echo 2 > kept/tracked.txt; echo x > kept/new.txt
echo 'hidden.py' >> .gitignore; echo 'import os' > hidden.py
"""
    assert workspace.run(["sh", "-ec", script], timeout_s=60).exit_code == 0
    ignored = Ignored(base)
    tree = workspace.collect(ignored)
    workspace.close()
    assert {path for path in tree if tree[path] != base.get(path)} == {".gitignore", "hidden.py", "kept/tracked.txt"}
    assert set(base) <= set(tree)
    assert sorted(ignored.found) == [
        ".coverage", ".venv", "kept/new.txt", "node_modules", "shop.egg-info", "web/out",
    ]  # fmt: skip
