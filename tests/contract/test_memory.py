"""Memory on a real Prefect server: what is kept, what is refused, and that people's edits win."""

import os
import re
from collections.abc import Callable, Iterator

import pytest

from blocks.memory import MAX_BYTES, Memory, block_name
from blocks.scanners.kingfisher import Kingfisher
from domain.errors import AgentError, InputError
from domain.trees import TreeEntry
from tests.prefect_server import prefect_server

REPOSITORY, AGENT = "/srv/git/shop.git", "claude-code/default"
TOKEN = "gh" + "p_" + "Zt4Kq9Wb2Xn7Vc5Rm8Yd1Jf6Hs3Lg0Pa2Tb4"


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    """A Prefect server of its own, with no home of anybody's, that tells nobody of itself."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PREFECT_")]:
            patch.delenv(name)
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        with prefect_server():
            yield


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    """Each test begins and ends without the page."""
    yield
    if Memory.read(REPOSITORY, AGENT):
        Memory.delete(block_name(REPOSITORY, AGENT))


def clean(text: str) -> str | None:
    return None


def scanned(text: str) -> str | None:
    """As the steps look for secrets."""
    found = Kingfisher().scan_all({"memory.md": TreeEntry(0o100644, text.encode())})
    return found[0].sentence if found else None


def propose(text: str, seen: str | None = None, find_secret: Callable[[str], str | None] = clean) -> None:
    Memory.propose(REPOSITORY, AGENT, text, find_secret, seen=seen)


def test_what_is_proposed_is_read_by_the_same_agent_in_the_same_repository_alone() -> None:
    assert Memory.read(REPOSITORY, AGENT) == ""
    propose("- tests need `make db` first\n")
    assert Memory.read(REPOSITORY, AGENT) == "- tests need `make db` first"
    assert Memory.read(REPOSITORY, "codex/default") == ""
    assert Memory.read("/srv/git/other.git", AGENT) == ""


def test_the_newest_page_stands_and_proposing_it_again_changes_nothing() -> None:
    propose("one")
    propose("one\ntwo", seen="one")
    propose("one\r\ntwo\n", seen="whatever")  # it is what stands there
    assert Memory.read(REPOSITORY, AGENT) == "one\ntwo"


@pytest.mark.parametrize("nothing", ["", " \n\t\n"])
def test_an_empty_page_takes_nothing_away(nothing: str) -> None:
    propose("one")
    propose(nothing, seen="one")
    assert Memory.read(REPOSITORY, AGENT) == "one"


def test_what_a_person_wrote_meanwhile_stays() -> None:
    propose("by the agent")
    page = Memory.saved(block_name(REPOSITORY, AGENT))
    page.text = "by a person"
    page.keep(block_name(REPOSITORY, AGENT))
    with pytest.raises(AgentError, match="changed while the agent worked"):
        propose("by the agent, more", seen="by the agent")
    assert Memory.read(REPOSITORY, AGENT) == "by a person"


REFUSED = {
    "too long": ("x" * (MAX_BYTES + 1), f"{MAX_BYTES + 1} bytes"),
    "too long in bytes": ("ä" * (MAX_BYTES // 2 + 1), f"{MAX_BYTES + 2} bytes"),
    "a terminal command": ("\x1b[2Jgone", r"U\+001B"),
    "an end": ("a\0b", r"U\+0000"),
    "text turned round": ("safe \u202eelif", r"U\+202E"),
    "text that is not shown": ("a\u200bb", r"U\+200B"),
    "tags": ("a\U000e0041b", r"U\+E0041"),
    "variation selectors": ("a\ufe01\ufe02\ufe03", r"U\+FE01"),
    "another line": ("a\u2028b", r"U\+2028"),
    "half a character": ("a\ud800b", r"U\+D800"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_not_kept(name: str) -> None:
    text, reason = REFUSED[name]
    propose("before")
    with pytest.raises(AgentError, match=reason):
        propose(text, seen="before")
    assert Memory.read(REPOSITORY, AGENT) == "before"


def test_a_page_as_large_as_the_bound_is_kept() -> None:
    propose("ä" * (MAX_BYTES // 2))
    assert len(Memory.read(REPOSITORY, AGENT).encode()) == MAX_BYTES


def test_a_secret_is_not_kept_and_not_told() -> None:
    with pytest.raises(AgentError, match="a secret of the kind github") as refused:
        propose(f"the token is {TOKEN}", find_secret=scanned)
    assert TOKEN not in str(refused.value)
    assert Memory.read(REPOSITORY, AGENT) == ""
    propose("the token is in the vault", find_secret=scanned)
    assert Memory.read(REPOSITORY, AGENT) == "the token is in the vault"


def test_what_a_scanner_cannot_look_at_is_not_kept() -> None:
    def broken(text: str) -> str | None:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        propose("harmless", find_secret=broken)
    assert Memory.read(REPOSITORY, AGENT) == ""


def test_a_page_that_a_person_made_too_large_is_named() -> None:
    Memory(repository=REPOSITORY, agent=AGENT, text="x" * 9000).keep(block_name(REPOSITORY, AGENT))
    with pytest.raises(InputError, match=f"{block_name(REPOSITORY, AGENT)} has 9000 bytes"):
        Memory.read(REPOSITORY, AGENT)
    Memory.delete(block_name(REPOSITORY, AGENT))


NAMES = [
    ("/srv/git/shop.git", "command/default", "shop-command-default-"),
    ("https://github.com/acme/Shop_API.git/", "claude-code/Big One", "shop-api-claude-code-big-one-"),
    ("/", "日本/語", "x-x-"),
    ("/srv/" + "a" * 300, "b" * 300, "a" * 40 + "-" + "b" * 40 + "-"),
]


@pytest.mark.parametrize(("repository", "agent", "start"), NAMES)
def test_a_page_has_a_readable_name_that_prefect_takes(repository: str, agent: str, start: str) -> None:
    name = block_name(repository, agent)
    assert re.fullmatch(re.escape(start) + "[0-9a-f]{12}", name)
    Memory.propose(repository, agent, "fact", clean)
    assert Memory.read(repository, agent) == "fact"
    Memory.delete(name)


def test_other_pairs_have_other_names_and_credentials_are_in_none() -> None:
    pairs = [("a/shop", "x"), ("b/shop", "x"), ("a/shop", "y"), ("a/shopx", ""), ("a/sho", "px")]
    assert len({block_name(*pair) for pair in pairs}) == len(pairs)
    secret = "https://ann:hunter2@git.example/acme/shop.git?token=hunter2"
    assert block_name(secret, "x") == block_name("https://git.example/acme/shop.git", "x")
    Memory.propose(secret, "x", "fact", clean)
    page = Memory.saved(block_name(secret, "x"))
    assert page.repository == "https://git.example/acme/shop.git"
    Memory.delete(block_name(secret, "x"))
