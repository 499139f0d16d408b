"""A proxy that is trusted says who somebody is at the desk; from anywhere else its header says nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from blocks.home import home
from domain.access import Role
from domain.sign_in import TrustedProxy
from station import api
from station.desk.sessions import MOST_OF_ONE
from tests.contract.desk import Browser, FakeDesk
from tests.contract.door import MARK, QUESTIONS, Answer

PROXY, OTHER = "10.0.0.7", "10.0.0.8"
HEADER = "X-Forwarded-User"
Headers = list[tuple[str, str]]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDesk]:
    folder = tmp_path_factory.mktemp("desk")
    made = FakeDesk(folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LOCKGATE_HOME", str(folder / "home"))
        patched.setattr(api, "_once", made.once)
        (folder / "home").mkdir()
        made.tokens.add("ann", {Role.REVIEW})
        made.tokens.add("bob", {Role.REVIEW})
        yield made


@pytest.fixture(autouse=True)
def _trusted(desk: FakeDesk) -> None:
    (home() / "sign-in.toml").write_text(f'[proxy]\nheader = "{HEADER}"\naddresses = ["{PROXY}", "fd00::7/128"]\n')
    desk.now += 1000


def by(browser: Browser, path: str, *names: str, address: str = PROXY, more: Headers | None = None) -> Answer:
    """A page, asked for by a proxy that gives these names."""
    return browser.get(path, address=address, headers=[*((HEADER, name) for name in names), *(more or [])])


def test_who_the_proxy_names_is_in_and_the_ledger_says_by_what(desk: FakeDesk) -> None:
    ann = Browser(desk)
    assert by(ann, "/desk/team", "ann").headers["location"] == "/desk/sign-in?next=/desk/team"
    came = by(ann, "/desk/sign-in?next=/desk/team", "@Ann", more=[("x-forwarded-proto", "https")])
    assert came.status == 200 and 'href="/desk/team" data-go' in ann.page
    cookie = next(each for each in came.cookies if each.startswith("lockgate_desk="))
    assert "SameSite=Strict" in cookie and "Secure" in cookie
    assert by(ann, "/desk/", "ann").status == 200 and ">ann</span>" in ann.page
    run, key = QUESTIONS["review"]
    token = desk.tokens.named("ann")
    assert token is not None
    status, _ = desk._loop.run(
        desk.app._ask_as(
            token.model_copy(update={"way": next(iter(reversed(desk.app.desk.sessions._known.values()))).way}),
            "POST",
            ["api", "flow_runs", run, "resume"],
            {"run_input": {"decision": "approve", "mark": MARK, "comment": ""}},
        )
    )
    assert status == 200 and desk.tokens.has_signed(run, key, "ann")
    with desk.tokens._open() as session:
        rows = session.connection().exec_driver_sql("SELECT way FROM lockgate_signed_answers").fetchall()
    assert [row[0] for row in rows] == ["proxy"]


def test_a_session_is_the_word_of_the_proxy_with_each_request(desk: FakeDesk) -> None:
    for spoilt in (
        lambda one: by(one, "/desk/"),
        lambda one: by(one, "/desk/", "bob"),
        lambda one: by(one, "/desk/", "ann", "ann"),
        lambda one: by(one, "/desk/", "ann", address=OTHER),
    ):
        ann = Browser(desk)
        by(ann, "/desk/sign-in", "ann")
        assert by(ann, "/desk/", "ann").status == 200
        assert spoilt(ann).status == 303
        assert by(ann, "/desk/", "ann").status == 303, "and it is over"


def test_who_signs_out_is_out_until_they_say_otherwise(desk: FakeDesk) -> None:
    ann = Browser(desk)
    by(ann, "/desk/sign-in", "ann")
    by(ann, "/desk/", "ann")
    out = desk.ask(
        "POST", ann.at("/desk/sign-out"), address=PROXY, content=_csrf(ann),
        headers=[(HEADER, "ann"), ("content-type", "application/x-www-form-urlencoded"), *ann.cookie("/desk/sign-out")],
    )  # fmt: skip
    assert out.headers["location"] == "/desk/sign-in?signed-out=1"
    page = by(Browser(desk), "/desk/sign-in?signed-out=1", "ann").content.decode()
    assert "You are signed in" not in page and ">Sign in as ann</a>" in page


def _csrf(ann: Browser) -> bytes:
    return b"csrf=" + ann.page.partition('name="csrf" value="')[2].partition('"')[0].encode()


def test_a_token_and_a_password_work_beside_it(desk: FakeDesk) -> None:
    by_token = Browser(desk, Role.REVIEW)
    assert by_token.get("/desk/").status == 200 and "review-er" in by_token.page
    assert by(by_token, "/desk/", "ann").status == 200 and "review-er" in by_token.page, "a session stays its own"


Tried = Callable[[FakeDesk], Answer]


def _asked(*names: str, address: str = PROXY, header: str = HEADER, path: str = "/desk/sign-in") -> Tried:
    return lambda desk: Browser(desk).get(path, address=address, headers=[(header, name) for name in names])


def _off(desk: FakeDesk) -> Answer:
    (home() / "sign-in.toml").unlink()
    return by(Browser(desk), "/desk/sign-in", "ann")


def _wrong_file(desk: FakeDesk) -> Answer:
    (home() / "sign-in.toml").write_text(f'[proxy]\nheader = "{HEADER}"\naddresses = ["0.0.0.0/0"]\n')
    return by(Browser(desk), "/desk/sign-in", "ann")


def _over(desk: FakeDesk) -> Answer:
    desk.tokens.add("carl", {Role.REVIEW})
    carl = Browser(desk)
    assert b"You are signed in" in by(carl, "/desk/sign-in", "carl").content
    desk.tokens.revoke("carl")
    assert by(carl, "/desk/", "carl").status == 303
    return by(carl, "/desk/sign-in", "carl")


def _on_another_page(desk: FakeDesk) -> Answer:
    """Another site shows it as a picture: nobody signs in by that."""
    for kind in ("image", "iframe", "empty"):
        answer = by(Browser(desk), "/desk/sign-in", "ann", more=[("sec-fetch-dest", kind)])
    return answer


def _at_the_api(desk: FakeDesk) -> Answer:
    return desk.ask("GET", "/api/version", address=PROXY, headers=[(HEADER, "ann")])


def _stolen(desk: FakeDesk) -> Answer:
    """The cookie of a session, used past the proxy."""
    ann, thief = Browser(desk), Browser(desk)
    by(ann, "/desk/sign-in", "ann")
    thief.cookies, thief.place, thief.paths = dict(ann.cookies), ann.place, dict(ann.paths)
    return by(thief, "/desk/", "ann", address=OTHER)


ATTACKS: tuple[tuple[str, Tried, int], ...] = (
    ("the header where no proxy is set", _off, 200),
    ("the header from another machine", _asked("ann", address=OTHER), 200),
    ("the header from this machine itself", _asked("ann", address="127.0.0.1"), 200),
    ("the header from no address", _asked("ann", address=""), 200),
    ("an address that begins alike", _asked("ann", address="10.0.0.70"), 200),
    ("two names", _asked("ann", "bob"), 200),
    ("the same name twice", _asked("ann", "ann"), 200),
    ("an empty name", _asked(""), 200),
    ("the header with an underscore", _asked("ann", header="X_Forwarded_User"), 200),
    ("another header", _asked("ann", header="X-Remote-User"), 200),
    ("a list of names", _asked("ann, bob"), 401),
    ("a name that nobody has", _asked("mallory"), 401),
    ("a name with a script", _asked("<script>alert(1)</script>"), 401),
    ("the policy's own name", _asked("policy"), 401),
    ("a token that was taken back", _over, 401),
    ("a proxy that could be anybody", _wrong_file, 200),
    ("the header at the API", _at_the_api, 401),
    ("a session's cookie past the proxy", _stolen, 303),
    ("a picture on another site", _on_another_page, 200),
    ("to another site afterwards", _asked("ann", path="/desk/sign-in?next=https://evil.example/"), 0),
)


@pytest.mark.parametrize(("tried", "wanted"), [each[1:] for each in ATTACKS], ids=[each[0] for each in ATTACKS])
def test_what_is_tried_does_not_work(desk: FakeDesk, tried: Tried, wanted: int) -> None:
    before = len(desk.app.desk.sessions._known)
    came = tried(desk)
    assert b"<script>alert" not in came.content and b"evil" not in came.content
    if wanted:
        assert came.status == wanted and b"You are signed in" not in came.content
        assert not any(each.startswith("lockgate_desk=") for each in came.cookies)
        assert len(desk.app.desk.sessions._known) <= before + 1


def test_a_browser_that_is_led_to_sign_in_again_and_again_keeps_the_session_that_is_in_use(desk: FakeDesk) -> None:
    ann = Browser(desk)
    by(ann, "/desk/sign-in", "ann", more=[("sec-fetch-dest", "document")])
    for _ in range(MOST_OF_ONE + 2):
        assert by(ann, "/desk/", "ann").status == 200
        by(Browser(desk), "/desk/sign-in", "ann")


@pytest.mark.parametrize(
    ("header", "addresses"),
    [
        ("Authorization", ["10.0.0.7"]),
        ("Cookie", ["10.0.0.7"]),
        ("X Forwarded", ["10.0.0.7"]),
        (HEADER, []),
        (HEADER, ["10.0.0.0/8"]),
        (HEADER, ["::/0"]),
        (HEADER, ["proxy.example.org"]),
        (HEADER, [""]),
    ],
)
def test_what_is_no_trusted_proxy(header: str, addresses: list[str]) -> None:
    with pytest.raises(ValidationError):
        TrustedProxy(header=header, addresses=tuple(addresses))


def test_an_address_is_that_of_the_proxy_however_it_is_written() -> None:
    proxy = TrustedProxy(header=HEADER, addresses=(PROXY, "fd00::7"))
    assert proxy.is_at(f"::ffff:{PROXY}") and proxy.is_at("fd00:0::7") and not proxy.is_at("fd00::8")
    assert not any(proxy.is_at(each) for each in ("", "unix", "10.0.0.7 ", "10.0.0.7:80"))


def test_the_header_is_not_handed_on_to_the_server(desk: FakeDesk, tmp_path: Path) -> None:
    desk.asked.clear()
    desk.ask("GET", "/api/flows/11111111-2222-4333-8444-555555555555", Role.REVIEW, headers=[(HEADER, "ann")])
    assert desk.asked and all(HEADER.lower() not in request.headers for request in desk.asked)
