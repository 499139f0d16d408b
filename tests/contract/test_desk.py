"""The desk: signing in and what is tried against it, and its screens over a real ledger."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.access import Holding, Role
from station import api
from tests.contract.desk import FORM, Browser, FakeDesk
from tests.contract.door import QUESTIONS

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(1)</script>{{7*7}}\u202e'


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDesk]:
    made = FakeDesk(tmp_path_factory.mktemp("desk"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(api, "_once", made.once)
        yield made


@pytest.fixture(autouse=True)
def _fresh(desk: FakeDesk) -> None:
    desk.asked.clear()
    desk.runs.clear()
    desk.now += 1000


def paused(kind: str, title: str, minutes: int = 5) -> dict[str, Any]:
    id_, key = QUESTIONS[kind]
    at = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
    state = {"type": "PAUSED", "name": "Suspended", "timestamp": at, "state_details": {"pause_key": key}}
    return {
        "id": id_, "name": title, "state": state, "state_type": "PAUSED", "state_name": "Suspended", "labels": {},
        "parameters": {"brief": {"title": title}},
    }  # fmt: skip


# ── signing in ──


def test_a_token_opens_the_desk_until_it_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = FakeDesk(tmp_path)
    monkeypatch.setattr(api, "_once", desk.once)
    ann = Browser(desk)
    assert ann.get("/desk/").headers["location"] == "/desk/sign-in?next=/desk/"
    opened = ann.sign_in(desk.value[Role.REVIEW])
    assert (opened.status, opened.headers["location"]) == (303, "/desk/")
    cookie = opened.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/desk"} <= set(cookie.split("; ")) and "Secure" not in cookie
    assert "review-er" in ann.get("/desk/").content.decode()
    assert desk.value[Role.REVIEW] not in ann.page + str(ann.cookies), "the token itself is not kept in the browser"
    desk.tokens.revoke("review-er")
    assert ann.get("/desk/").status == 303, "from that moment on"
    late = desk.tokens.add("late", {Role.REVIEW}, datetime.now(UTC) + timedelta(seconds=1))[1]
    bob = Browser(desk)
    assert bob.sign_in(late).status == 303
    until = datetime.now(UTC) + timedelta(seconds=1)
    while datetime.now(UTC) < until:
        bob.get("/desk/")
    assert bob.get("/desk/").status == 303, "it expired"


def test_who_signs_out_is_out_also_with_the_old_cookie(desk: FakeDesk) -> None:
    ann = Browser(desk, Role.REVIEW)
    ann.get("/desk/")
    old = dict(ann.cookies)
    assert ann.send("/desk/sign-out", {}).headers["location"] == "/desk/sign-in"
    ann.cookies = old
    assert ann.get("/desk/").status == 303


def test_behind_a_proxy_that_speaks_https_the_cookie_is_for_https_alone(desk: FakeDesk) -> None:
    ann = Browser(desk)
    ann.get("/desk/sign-in")
    headers = [("origin", "https://lockgate.example.org"), ("host", "lockgate.example.org")]
    signed = ann.send("/desk/sign-in", {"token": desk.value[Role.REVIEW]}, headers)
    assert "; Secure" in signed.headers["set-cookie"]


Tried = Callable[[FakeDesk], Any]


def _signed(desk: FakeDesk) -> Browser:
    ann = Browser(desk, Role.REVIEW)
    ann.get("/desk/")
    return ann


def _fixation(desk: FakeDesk) -> int:
    ann = Browser(desk)
    ann.cookies["lockgate_desk"] = "chosen-by-somebody-else"
    ann.sign_in(desk.value[Role.REVIEW])
    assert ann.cookies["lockgate_desk"] != "chosen-by-somebody-else"
    thief = Browser(desk)
    thief.cookies["lockgate_desk"] = "chosen-by-somebody-else"
    return thief.get("/desk/").status


def _fixation_by_an_old_session(desk: FakeDesk) -> int:
    ann = _signed(desk)
    old = dict(ann.cookies)
    ann.sign_in(desk.value[Role.REVIEW])
    thief = Browser(desk)
    thief.cookies = old
    return thief.get("/desk/").status


def _two_cookies(desk: FakeDesk) -> int:
    value = _signed(desk).cookies["lockgate_desk"]
    return desk.ask("GET", "/desk/", headers=[("cookie", f"lockgate_desk=x; lockgate_desk={value}")]).status


def _cookie_for_the_api(desk: FakeDesk) -> int:
    value = _signed(desk).cookies["lockgate_desk"]
    return desk.ask("GET", "/api/version", headers=[("cookie", f"lockgate_desk={value}")]).status


def _guessed(desk: FakeDesk) -> int:
    ann = Browser(desk)
    for _ in range(10):
        assert ann.sign_in("lockgate_wrong").status == 401
    assert ann.sign_in("lockgate_wrong").headers["retry-after"] == "60"
    assert "Known" not in ann.page and "lockgate_wrong" not in ann.page
    return ann.sign_in("lockgate_wrong").status


def _revoked_or_unknown(desk: FakeDesk) -> int:
    """An answer does not tell whom there is: a wrong token names nobody."""
    ann = Browser(desk)
    told = ann.sign_in("lockgate_" + "a" * 43)
    assert not re.search(r"\w+-er", ann.page.partition("<main")[2].replace("answer", ""))
    return told.status


def _login_csrf(desk: FakeDesk) -> int:
    """Another site signs somebody in as somebody else: it has no cookie of the form."""
    return Browser(desk).send("/desk/sign-in", {"token": desk.value[Role.REVIEW], "csrf": "x"}).status


def _login_csrf_of_another(desk: FakeDesk) -> int:
    mine = Browser(desk)
    mine.get("/desk/sign-in")
    hers = Browser(desk)
    hers.get("/desk/sign-in")
    hers.page = mine.page
    return hers.send("/desk/sign-in", {"token": desk.value[Role.REVIEW]}).status


def _sent(fields: dict[str, str], *headers: tuple[str, str]) -> Tried:
    def tried(desk: FakeDesk) -> int:
        ann = _signed(desk)
        given = [("host", "desk"), *headers]
        status = ann.send("/desk/sign-out", fields, given).status
        assert ann.get("/desk/").status == 200, "nothing was done"
        return status

    return tried


def _csrf_of_another(desk: FakeDesk) -> int:
    ann, bob = _signed(desk), _signed(desk)
    ann.page = bob.page
    return ann.send("/desk/sign-out", {}).status


def _raw(content: bytes, kind: str = FORM[1]) -> Tried:
    def tried(desk: FakeDesk) -> int:
        ann = _signed(desk)
        csrf = re.findall(r'name="csrf" value="([^"]+)"', ann.page)[0].encode()
        headers = [("content-type", kind), *ann._cookie()]
        status = desk.ask("POST", "/desk/sign-out", headers=headers, content=content.replace(b"CSRF", csrf)).status
        assert ann.get("/desk/").status == 200, "nothing was done"
        return status

    return tried


def _redirected(place: str) -> Tried:
    def tried(desk: FakeDesk) -> str:
        ann = Browser(desk)
        ann.get("/desk/sign-in")
        return ann.send("/desk/sign-in", {"token": desk.value[Role.REVIEW], "next": place}).headers["location"]

    return tried


def _got(path: str) -> Tried:
    return lambda desk: _signed(desk).get(path).status


def _script_in_next(desk: FakeDesk) -> bool:
    ann = Browser(desk)
    ann.get("/desk/sign-in?next=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    return "<script>alert" in ann.page


def _script_in_a_title(desk: FakeDesk) -> bool:
    run = paused("review", HOSTILE)
    desk.runs[run["id"]] = run
    ann = _signed(desk)
    assert "&lt;script&gt;alert(1)" in ann.page and "{{7*7}}" in ann.page and "49" not in ann.page
    return "<script>alert" in ann.page or "<img" in ann.page or "\u202e" in ann.page


ATTACKS: tuple[tuple[str, Tried, Any], ...] = (
    ("a session that was chosen before signing in", _fixation, 303),
    ("the session that was there before", _fixation_by_an_old_session, 303),
    ("two cookies of one name", _two_cookies, 303),
    ("the desk's cookie at the API", _cookie_for_the_api, 401),
    ("guessing tokens", _guessed, 429),
    ("a wrong token tells of nobody", _revoked_or_unknown, 401),
    ("signing somebody in from another site", _login_csrf, 403),
    ("with a form of one's own", _login_csrf_of_another, 403),
    ("no token of the page", _sent({"csrf": ""}), 403),
    ("a made-up one", _sent({"csrf": "x" * 43}), 403),
    ("one that is no ASCII", _sent({"csrf": "ü"}), 403),
    ("one of another session", _csrf_of_another, 403),
    ("from another site", _sent({}, ("origin", "https://evil.example")), 403),
    ("from a page without a site", _sent({}, ("origin", "null")), 403),
    ("from another site, by the browser's word", _sent({}, ("sec-fetch-site", "cross-site")), 403),
    ("from a neighbour", _sent({}, ("sec-fetch-site", "same-site")), 403),
    ("two origins", _sent({}, ("origin", "http://desk"), ("origin", "https://evil.example")), 403),
    ("deciding by GET", _got("/desk/sign-out"), 404),
    ("deciding by GET with a query", _got("/desk/sign-out?csrf=x"), 404),
    ("as JSON", _raw(b'{"csrf": "CSRF"}', "application/json"), 415),
    ("as plain text", _raw(b"csrf=CSRF", "text/plain"), 415),
    ("as a file", _raw(b"csrf=CSRF", "multipart/form-data; boundary=x"), 415),
    ("a field twice", _raw(b"csrf=CSRF&csrf=CSRF"), 400),
    ("no UTF-8", _raw(b"csrf=CSRF&a=%ff"), 400),
    ("very many fields", _raw(b"csrf=CSRF" + b"".join(b"&a%d=" % n for n in range(600))), 400),
    ("to another site after signing in", _redirected("https://evil.example"), "/desk/"),
    ("to another site without a scheme", _redirected("//evil.example"), "/desk/"),
    ("to another site by a backslash", _redirected("/\\evil.example"), "/desk/"),
    ("to another site below the desk", _redirected("/desk/..//evil.example"), "/desk/"),
    ("to a script", _redirected("javascript:alert(1)"), "/desk/"),
    ("a header in the address", _redirected("/desk/\r\nset-cookie: a=b"), "/desk/"),
    ("to the API", _redirected("/api/admin/settings"), "/desk/"),
    ("a file beside the desk's own", _got("/desk/static/app.py"), 404),
    ("a file above", _got("/desk/static/..%2fapp.py"), 400),
    ("a script in the address", _script_in_next, False),
    ("a script in the title of a run", _script_in_a_title, False),
)


@pytest.mark.parametrize(("tried", "wanted"), [each[1:] for each in ATTACKS], ids=[each[0] for each in ATTACKS])
def test_what_is_tried_does_not_work(desk: FakeDesk, tried: Tried, wanted: Any) -> None:
    assert tried(desk) == wanted


def test_every_page_forbids_what_is_not_its_own(desk: FakeDesk) -> None:
    ann = _signed(desk)
    for answer in (ann.get("/desk/"), ann.get("/desk/nowhere"), Browser(desk).get("/desk/sign-in"),
                   Browser(desk).get("/desk/"), ann.get("/desk/static/desk.css")):  # fmt: skip
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        told = answer.content.decode()
        assert not re.search(r"""(?:src|href|action)=["']?(?:https?:)?//|style=|\son\w+=|<script>""", told)


def test_pages_while_the_ledger_is_away(tmp_path: Path) -> None:
    desk = FakeDesk(tmp_path)
    ann = Browser(desk, Role.REVIEW)
    desk.tokens = desk.tokens._replace(url=f"sqlite:///{tmp_path}/ledger.db/nowhere/ledger.db")
    assert ann.get("/desk/").status == 503, "without it nobody is known"


# ── screens ──


def test_what_waits_is_listed_oldest_first(desk: FakeDesk) -> None:
    assert "Nothing waits" in _signed(desk).page
    frozen = paused("another", "A frozen one", 90)
    frozen["state"] |= {"type": "FAILED", "name": "Frozen", "message": "frozen, a person must decide: no scanner"}
    for run in (paused("review", "A review", 5), paused("questions", "A question", 3000), frozen,
                paused("window", "It goes on by itself", 7)):  # fmt: skip
        desk.runs[run["id"]] = run
    desk.ledger.record("people", "held", "1", Holding(environment="shop", reason="A sale", by="ann", signed_in=True))
    page = _signed(desk).page
    assert re.findall(r'class="kind \w+">([^<]+)<', page)[-1] == "held environment" and "A sale" in page
    desk.ledger.record("people", "opened", "2", Holding(environment="shop", reason="It is over", by="ann"))
    page = _signed(desk).page
    assert "A sale" not in page
    assert re.findall(r">(A [a-z ]+)</a>", page) == ["A question", "A frozen one", "A review"]
    assert re.findall(r'class="age"[^>]*>([^<]+)<', page) == ["2 days", "1 h", "5 min"]
    assert "It goes on by itself" not in page and "no scanner" in page
