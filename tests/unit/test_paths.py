"""Path globs have one meaning everywhere."""

import random
import re

import pytest

from domain.paths import matches

TABLE: dict[str, tuple[list[str], list[str]]] = {
    "README.md": (["README.md"], ["docs/README.md", "README.mdx", "readme.md", "README_md"]),
    "*.md": (["README.md", ".md"], ["docs/README.md", "README.md/x"]),
    "**/*.md": (["README.md", "docs/README.md", "a/b/c.md"], ["README.txt"]),
    "tests/**": (["tests/a.py", "tests/a/b.py"], ["tests", "test/a.py", "my/tests/a.py", "testsx/a.py"]),
    "tests/": (["tests/a.py", "tests/a/b.py"], ["tests", "my/tests/a.py"]),
    "tests/*": (["tests/a.py", "tests/.hidden"], ["tests/a/b.py", "tests"]),
    "tests/*/x.py": (["tests/a/x.py"], ["tests/x.py", "tests/a/b/x.py"]),
    "tests/**/x.py": (["tests/x.py", "tests/a/x.py", "tests/a/b/x.py"], ["x.py", "tests/ax.py"]),
    "**/conftest.py": (["conftest.py", "a/conftest.py", "a/b/conftest.py"], ["myconftest.py", "a/my_conftest.py"]),
    "**/test_*.py": (["test_a.py", "a/test_b.py"], ["latest_a.py", "a/test_b/c.py", "test_a.pyc"]),
    "**": (["a", "a/b", "a/b/c.py"], []),
    "**/auth/**": (["auth/a.py", "x/auth/a.py", "x/auth/y/a.py"], ["auth", "x/author/a.py"]),
    "requirements*.txt": (["requirements.txt", "requirements-dev.txt"], ["x/requirements.txt", "requirements/a.txt"]),
    "?.py": (["a.py", "ü.py"], ["ab.py", "/.py", ".py"]),
    "a?b": (["a-b"], ["a/b"]),
    "/shop/app.py": (["shop/app.py"], ["x/shop/app.py"]),
    "a.b+c[d](e)": (["a.b+c[d](e)"], ["aXb+c[d](e)", "a.bbc[d](e)", "a.b+cd(e)"]),
    "a\nb": (["a\nb"], ["ab"]),
    "line*": (["line", "line\nbreak"], []),
    "": ([], ["a", "a/b"]),
}


@pytest.mark.parametrize("glob", TABLE)
def test_a_glob_matches_these_paths_and_not_those(glob: str) -> None:
    these, those = TABLE[glob]
    assert [path for path in these if not matches(path, [glob])] == []
    assert [path for path in those if matches(path, [glob])] == []


def test_one_of_several_globs_is_enough_and_none_matches_nothing() -> None:
    assert matches("docs/a.md", ["*.py", "docs/**"])
    assert not matches("docs/a.md", ["*.py", "src/**"])
    assert not matches("docs/a.md", [])


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("**/" * 500 + "x", "a/" * 200 + "b"),
        ("**/a/" * 80 + "x", "a/" * 500 + "b"),
        ("*a" * 200 + "c", "a" * 1000),
        ("**a" * 130 + "c", "a" * 1000),
        ("a*/**/" * 60 + "c", "ab/" * 300 + "d"),
        ("**/*a" * 3 + "/**/c", "a" * 60 + "/b" * 30),
    ],
)
def test_no_glob_takes_for_ever(glob: str, path: str) -> None:
    """With an expression that tries again, each of these would not end in this century."""
    assert not matches(path, [glob])


def test_a_glob_that_never_tries_again_matches_what_one_that_does_would() -> None:
    chance = random.Random(7)
    words = ["a", "b", "/", "*", "**", "**/", "?"]
    plain = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    for _ in range(20_000):
        glob = "".join(chance.choices(words, k=chance.randint(1, 7))).strip("/")
        path = "/".join("".join(chance.choices("ab", k=chance.randint(1, 3))) for _ in range(chance.randint(1, 4)))
        found = re.findall(r"(?:(?<=/)|^)\*\*/|\*\*|\*|\?|.", glob)
        expected = re.fullmatch("".join(plain.get(word, word) for word in found), path)
        assert matches(path, [glob]) == bool(expected and glob), (glob, path)
