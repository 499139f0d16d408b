"""Path globs have one meaning everywhere."""

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


def test_a_long_glob_takes_no_long_time() -> None:
    assert not matches("a" * 60 + "/b" * 30, ["**/*a" * 3 + "/**/c"])
