"""What a tree may hold: the table that sandboxes and forges share."""

import pytest

from domain.trees import Tree, TreeEntry, check_link, check_path, check_tree, is_git_directory

FINE = [
    "a",
    "-rf",
    ";$(id)",
    "a b/c.txt",
    ".github/x",
    ".gitignore",
    "git",
    "x.git/y",
    "ünï/日本",
    "git~2",
    "a:b",
    "con",
]
REFUSED = [
    "",
    "/a",
    "a/",
    "a//b",
    "./a",
    "../a",
    "a/..",
    ".git",
    "a/.GIT/x",
    "GIT~1",
    ".git ",
    ".git..",
    ".git:x",
    "a\\b",
]
REFUSED += [
    "a\nb",
    "a\x1b",
    "a\u202eb",
    "a\u200db",
    "a\u00a0b",
    "\ud800",
    ".g\u200cit",
    "\uff0egit",
    "d/" * 45 + "d",
    "x" * 256,
]


@pytest.mark.parametrize("path", FINE)
def test_ordinary_names_are_fine(path: str) -> None:
    assert check_path(path) is None


@pytest.mark.parametrize("path", REFUSED)
def test_names_that_are_read_differently_elsewhere_are_refused(path: str) -> None:
    reason = check_path(path)
    assert reason is not None
    assert reason.isprintable()


@pytest.mark.parametrize("name", [".git", ".GIT", "git~1", "GIT~1", ".git.", ".git . .", ".git::$INDEX_ALLOCATION"])
def test_a_git_directory_is_known_by_all_its_names(name: str) -> None:
    assert is_git_directory(name)


LINKS = {
    ("l", b"a"): True,
    ("a/b/l", b"../../c"): True,
    ("a/l", b".."): True,
    ("l", b"./a//b"): True,
    ("l", b""): False,
    ("l", b"/a"): False,
    ("l", b".."): False,
    ("a/l", b"../../b"): False,
    ("a/l", b"b/../../../c"): False,
    ("l", b"a/../b"): False,
    ("l", b"a/.git/x"): False,
    ("l", b"\xff"): False,
    (".gitmodules", b"a"): False,
}


@pytest.mark.parametrize(("link", "fine"), LINKS.items())
def test_links_stay_inside(link: tuple[str, bytes], fine: bool) -> None:
    assert (check_link(*link) is None) is fine


def tree(*paths: str) -> Tree:
    return dict.fromkeys(paths, TreeEntry(0o100644, b""))


def test_new_files_do_not_differ_from_others_in_case_alone() -> None:
    assert check_tree(tree("a/b", "a/c", "d")) is None
    assert "differ in case alone" in str(check_tree(tree("README", "readme")))
    assert "differ in case alone" in str(check_tree(tree("A/b", "a/c")))
    assert check_tree(tree("A/b", "a/c"), known={"A/b", "a/c"}) is None
    assert "differ in case alone" in str(check_tree(tree("A/b", "a/c"), known={"A/b"}))


def test_a_file_is_no_directory() -> None:
    assert "is a file" in str(check_tree(tree("a", "a/b")))


def test_submodules_and_other_modes_are_refused() -> None:
    assert "neither a file" in str(check_tree({"a": TreeEntry(0o160000, b"")}))
