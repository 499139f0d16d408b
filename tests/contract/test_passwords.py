"""Names with a password: who gets in, who is told to wait, and what nobody learns by trying."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from click.testing import Result
from typer.testing import CliRunner

from blocks.ledger import passwords
from blocks.ledger.passwords import LOCKED_S, TRIES, Passwords
from blocks.ledger.tokens import Tokens
from domain.access import Role
from domain.errors import InputError
from station import api, cli
from tests.contract.desk import Browser, FakeDesk

GOOD, OTHER = "four plain old words", "another five plain old words"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDesk]:
    made = FakeDesk(tmp_path_factory.mktemp("desk"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(api, "_once", made.once)
        patched.setattr(passwords, "_HASHER", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
        passwords._nobodys.cache_clear()
        made.tokens.add("ann", {Role.REVIEW})
        Passwords(made.tokens.url).set("ann", GOOD)
        yield made
    passwords._nobodys.cache_clear()


def test_passwords_are_kept_by_argon2id_at_the_cost_of_rfc_9106(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    Tokens(url).add("ann", {Role.REVIEW})
    Passwords(url).set("ann", GOOD)
    (kept,) = sqlite3.connect(f"{tmp_path}/ledger.db").execute("SELECT hash FROM lockgate_passwords").fetchone()
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$") and GOOD not in kept


@pytest.fixture(autouse=True)
def _later(request: pytest.FixtureRequest) -> None:
    if "desk" in request.fixturenames:
        request.getfixturevalue("desk").now += 1000


def sign_in(desk: FakeDesk, name: str, password: str, again: Browser | None = None) -> tuple[int, Browser, str]:
    browser = again or Browser(desk)
    browser.get("/desk/sign-in")
    answer = browser.send("/desk/sign-in", {"name": name, "token": password})
    return answer.status, browser, browser.page


def test_who_has_a_password_is_at_the_desk_under_the_name_of_the_token(desk: FakeDesk) -> None:
    status, ann, _ = sign_in(desk, "@Ann", GOOD)
    assert status in (302, 303)
    assert ann.get("/desk/").status == 200 and "ann" in ann.page
    assert ann.get("/desk/team").status == 200, "the roles are the token's"
    by_token = Browser(desk)
    assert by_token.sign_in(desk.value[Role.REVIEW], name="ann").status in (302, 303), "a token is no password"


def test_what_is_no_sign_in_is_told_in_the_same_words_whoever_it_is(desk: FakeDesk) -> None:
    desk.tokens.add("gone", {Role.REVIEW})
    Passwords(desk.tokens.url).set("gone", GOOD)
    desk.tokens.revoke("gone")
    tried = {
        "a wrong password": ("ann", OTHER), "nobody": ("mallory", GOOD), "who was": ("gone", GOOD),
        "a person without one": ("review-er", GOOD), "a name of no kind": ("' OR 1=1 --\x00<script>", GOOD),
        "an empty one": ("ann", " "), "a very long one": ("ann", "x" * 500), "text of no kind": ("ann", "\ud800é" * 9),
        "spaces around": ("ann", f" {GOOD} "),
    }  # fmt: skip
    told = {}
    for what, (name, password) in tried.items():
        desk.now += 1000
        status, _, page = sign_in(desk, name, password.encode("utf-8", "replace").decode())
        told[what] = (status, page.partition('role="alert">')[2].partition("</p>")[0])
    empty = told.pop("an empty one")
    assert empty == (401, "give your password or your token")
    assert set(told.values()) == {(401, told["nobody"][1])}
    assert "<script>" not in str(told)


def test_every_name_is_held_against_a_hash_and_counted_so_that_time_tells_nothing(
    desk: FakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[str] = []
    real = passwords._is

    def watched(kept: str, password: str) -> bool:
        held.append(kept.rsplit("$", 2)[0])
        return real(kept, password)

    monkeypatch.setattr(passwords, "_is", watched)
    mine = Passwords(desk.tokens.url)
    for name in ("ann", "nobody-at-all", "review-er"):
        assert mine.of(name, OTHER) is None
    assert len(held) == 3 and len(set(held)) == 1, "the same work, by the same costs"
    rows = sqlite3.connect(desk.tokens.url.partition("///")[2]).execute("SELECT name FROM lockgate_sign_ins").fetchall()
    assert len(rows) >= 3 and not any("ann" in name for (name,) in rows)
    assert mine.of("ann", GOOD) is not None


@pytest.mark.usefixtures("desk")  # its hashes are cheap
def test_a_name_that_is_tried_too_often_is_locked_for_a_while_and_no_longer(tmp_path: Path) -> None:
    url, now = f"sqlite:///{tmp_path}/ledger.db", 1000.0
    _, value = Tokens(url).add("ann", {Role.REVIEW})
    mine = Passwords(url, lambda: now)
    mine.set("ann", GOOD)
    for _ in range(TRIES - 1):
        assert mine.of("ann", OTHER) is None
    assert mine.of("ann", GOOD) is not None, "a right one begins the count anew"
    for _ in range(TRIES):
        assert mine.of("@Ann", OTHER) is None
    assert mine.of("ann", GOOD) is None, "also the right one"
    now += LOCKED_S - 1
    assert mine.of("ann", GOOD) is None
    now += 2
    assert mine.of("ann", GOOD) is not None, "trying on did not lock it longer"
    for _ in range(TRIES):
        mine.of("ann", OTHER)
    mine.set("ann", OTHER)
    assert mine.of("ann", OTHER) is not None, "who runs the station opens it again"
    assert Tokens(url).of(value) is not None, "its token was never locked"


def test_from_one_address_few_are_tried_and_then_none_is_looked_at(desk: FakeDesk) -> None:
    for number in range(10):
        assert sign_in(desk, f"name-{number}", GOOD)[0] == 401
    assert sign_in(desk, "ann", GOOD)[0] == 429
    assert Browser(desk).sign_in(desk.value[Role.REVIEW]).status in (302, 303), "a token is not guessed"
    desk.now += 61
    assert sign_in(desk, "ann", GOOD)[0] in (302, 303)


def test_nobody_keeps_a_person_out_of_a_browser_that_signed_in_before(desk: FakeDesk) -> None:
    desk.tokens.add("bob", {Role.REVIEW})
    Passwords(desk.tokens.url).set("bob", GOOD)
    (_, ann, _), (_, bob, _) = sign_in(desk, "ann", GOOD), sign_in(desk, "bob", GOOD)
    for _ in range(TRIES):
        assert sign_in(desk, "ann", OTHER)[0] == 401
    assert sign_in(desk, "ann", GOOD)[0] == 429, "behind a proxy all have one address"
    assert sign_in(desk, "ann", GOOD, ann)[0] in (302, 303), "but not a browser that is known"
    assert sign_in(desk, "ann", GOOD, bob)[0] == 429, "that of somebody else is not"
    desk.now += 61
    assert sign_in(desk, "ann", GOOD)[0] == 401, "the name is locked still"
    for _ in range(TRIES):
        assert sign_in(desk, "ann", OTHER, ann)[0] == 401
    assert sign_in(desk, "ann", GOOD, ann)[0] == 401, "a known browser does not guess more often than others"
    Passwords(desk.tokens.url).set("ann", GOOD)
    mine = Passwords(desk.tokens.url)
    assert not mine.knows("ann", ann.cookies["lockgate_desk_browser"]), "another password forgets every browser"
    assert not any(mine.knows(name, given) for name in ("ann", "nobody") for given in ("", ".", "é.x", "a.b"))


def test_a_session_of_a_password_that_was_shown_before_it_changed_ends(
    desk: FakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Passwords.of

    def late(self: Passwords, *given: str) -> passwords.KnownPassword | None:
        found = real(self, *given)
        monkeypatch.setattr(Passwords, "of", real)
        self._replace(clock=lambda: 0.0).set("ann", OTHER)  # on a machine whose clock is behind
        return found

    monkeypatch.setattr(Passwords, "of", late)
    _, ann, _ = sign_in(desk, "ann", GOOD)
    assert ann.get("/desk/").status in (302, 303)
    _, ann, _ = sign_in(desk, "ann", OTHER)
    by_token = Browser(desk)
    by_token.sign_in(desk.value[Role.REVIEW])
    assert ann.get("/desk/").status == by_token.get("/desk/").status == 200
    Passwords(desk.tokens.url, lambda: 0.0).set("ann", GOOD)
    assert ann.get("/desk/").status in (302, 303), "whatever the clocks say"


def test_a_person_is_added_with_a_token_if_that_is_wanted(desk: FakeDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "ledger_url", lambda: desk.tokens.url)

    def added(*given: str) -> Result:
        return CliRunner().invoke(cli.app, ["person", "add", *given], input=f"{GOOD}\n")

    with_one = added("kim", "--role", "review", "--token")
    found = desk.tokens.of(with_one.stdout.strip())
    assert found and found.name == "kim" and Passwords(desk.tokens.url).of("kim", GOOD) is not None
    assert "by name, and may review" in added("lee", "--role", "review").stdout
    assert "leave out --role, --days and --token" in str(added("lee", "--token").exception)


def test_another_password_ends_every_session(desk: FakeDesk) -> None:
    _, ann, _ = sign_in(desk, "ann", GOOD)
    assert ann.get("/desk/").status == 200
    Passwords(desk.tokens.url).set("ann", OTHER)
    assert ann.get("/desk/").status in (302, 303)
    Passwords(desk.tokens.url).set("ann", GOOD)
    assert sign_in(desk, "ann", OTHER)[0] == 401
    _, again, _ = sign_in(desk, "ann", GOOD)
    assert again.get("/desk/").status == 200


@pytest.mark.parametrize(
    "password", ["short", "x" * 201, "ann and some words", "ababababababab", "", "lockgate_some plain words"]
)
def test_what_is_no_password(desk: FakeDesk, password: str) -> None:
    with pytest.raises(InputError, match="a password"):
        Passwords(desk.tokens.url).set("ann", password)


def test_nobody_has_a_password_without_a_name(desk: FakeDesk) -> None:
    with pytest.raises(InputError, match="nobody called 'zoe' is known: `lockgate person add zoe"):
        Passwords(desk.tokens.url).set("zoe", GOOD)
