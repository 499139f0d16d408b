"""The desk: signing in and what is tried against it, and its screens over a real ledger."""

import html
import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from blocks.forges.local import LocalForge
from blocks.ledger import spending
from blocks.ledger.reading import Reader
from domain.access import Holding, Role, answer_digest
from domain.brief import Brief
from domain.errors import ForgeError
from domain.models import Metered, Reserved
from domain.project import ProjectSettings
from domain.task import (
    Answer,
    Approval,
    Attempt,
    BillLine,
    CaseOutcome,
    CaseRow,
    Decision,
    End,
    Finding,
    Need,
    Opinion,
    Outcome,
    Prepared,
    Question,
    Release,
    Scanned,
    Severity,
    Tested,
    Verdict,
    asking_key,
)
from domain.value import Value
from kits.briefs import brief as a_brief
from kits.briefs import repository
from station import api, scopes
from station.desk import app, pages
from station.desk.pictures import picture
from tasks.people.elsewhere import WaitsForPush
from tasks.pull_request import WaitsForForge
from tests.contract.desk import FORM, Browser, FakeDesk
from tests.contract.door import DEPLOYMENTS, MARK, QUESTIONS, STARTED

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(1)</script>{{7000*7001}}\u202e'


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
    desk.schedules.clear()
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
    assert {"HttpOnly", "SameSite=Strict"} <= set(cookie.split("; ")) and "Secure" not in cookie
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


def test_a_release_on_another_port_of_the_host_gets_no_session(desk: FakeDesk) -> None:
    """Cookies know no port: what a page at another one leads the browser to goes along as if it were the desk's."""
    ann = _signed(desk)
    assert ann.sent_to(ann.at("/desk/review/x")), "the desk itself gets it"
    places = (
        "/",
        "/desk",
        "/desk/",
        "/desk/x",
        f"/desk/review/{RUN}",
        "/desk/at-x/",
        "/desk/sign-in",
        "/desk/static/x",
    )
    for address in places:
        told = ann.sent_to(address)
        assert all("lockgate_desk=" not in value for _, value in told), address
        assert desk.ask("GET", "/desk/tasks", headers=told).status == 303
    assert len(ann.place.removeprefix("/desk/at-")) >= 43, "nobody guesses it"
    for page in ("/desk/", "/desk/nowhere"):
        assert ann.get(page).headers["referrer-policy"] == "same-origin", "no other port is told where this is"


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
    thief.place, thief.cookies["lockgate_desk"] = ann.place, "chosen-by-somebody-else"
    return thief.get("/desk/").status


def _cookie_without_its_place(desk: FakeDesk) -> int:
    ann, thief = _signed(desk), Browser(desk)
    thief.cookies = ann.cookies
    return thief.get("/desk/").status


def _cookie_at_another_place(desk: FakeDesk) -> int:
    ann, thief = _signed(desk), _signed(desk)
    thief.cookies = ann.cookies
    return thief.get("/desk/").status


def _two_cookies(desk: FakeDesk) -> int:
    ann = _signed(desk)
    both = f"lockgate_desk=x; lockgate_desk={ann.cookies['lockgate_desk']}"
    return desk.ask("GET", ann.at("/desk/"), headers=[("cookie", both)]).status


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
        headers = [("content-type", kind), *ann.cookie("/desk/sign-out")]
        status = desk.ask(
            "POST", ann.at("/desk/sign-out"), headers=headers, content=content.replace(b"CSRF", csrf)
        ).status
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
    assert "&lt;script&gt;alert(1)" in ann.page and "{{7000*7001}}" in ann.page and "49007000" not in ann.page
    return "<script>alert" in ann.page or "<img" in ann.page or "\u202e" in ann.page


ATTACKS: tuple[tuple[str, Tried, Any], ...] = (
    ("a session that was chosen before signing in", _fixation, 303),
    ("the cookie without its place", _cookie_without_its_place, 303),
    ("the cookie at another session's place", _cookie_at_another_place, 303),
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


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [("/desk/static/desk.css", 5_000_000, 404), ("/desk/brief", 5_000_000, 401), ("/desk/sign-in", 70_000, 413)],
)
def test_nobody_sends_much_before_it_is_known_who_it_is(desk: FakeDesk, path: str, size: int, status: int) -> None:
    browser = Browser(desk)
    browser.get("/desk/sign-in")
    assert browser.send(path, {"token": "x" * size}).status == status


def test_every_page_forbids_what_is_not_its_own(desk: FakeDesk) -> None:
    ann = _signed(desk)
    for answer in (ann.get("/desk/"), ann.get("/desk/nowhere"), Browser(desk).get("/desk/sign-in"),
                   Browser(desk).get("/desk/"), ann.get("/desk/static/desk.css")):  # fmt: skip
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin", "else a browser's own form has no origin"
        told = answer.content.decode()
        assert not re.search(r"""(?:src|href|action)=["']?(?:https?:)?//|style=|\son\w+=|<script>""", told)


def test_pages_while_the_ledger_is_away(tmp_path: Path) -> None:
    desk = FakeDesk(tmp_path)
    ann = Browser(desk, Role.REVIEW)
    desk.tokens = desk.tokens._replace(url=f"sqlite:///{tmp_path}/ledger.db/nowhere/ledger.db")
    assert ann.get("/desk/").status == 503, "without it nobody is known"


# ── screens ──


def test_what_waits_is_listed_oldest_first_for_me_and_for_others_with_what_it_costs(desk: FakeDesk) -> None:
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
    assert re.findall(r"<h2>([^<]+)</h2>|>(A [a-z ]+)</a>", page) == [
        ("For you", ""), ("", "A review"), ("For others", ""), ("", "A question"), ("", "A frozen one"),
    ]  # fmt: skip
    assert re.findall(r'class="age"[^>]*>([^<]+)<', page) == ["5 min", "2 days", "1 h"]
    assert re.findall(r'"dim">((?:Declined|The) [^<]+)<', page) == [
        "Declined if nobody has answered after 7 days.", "The agent does nothing until then.",
        "The task is not done, and does not go on by itself.",
    ]  # fmt: skip
    of_all = Browser(desk, Role.ADMINISTER).get("/desk/").content.decode()
    assert "For others" not in of_all and re.findall(r">(A [a-z ]+)</a>", of_all)[0] == "A question"
    assert "It goes on by itself" not in page and "no scanner" in page


def test_of_very_many_the_oldest_are_shown_and_the_others_counted(desk: FakeDesk) -> None:
    for number in range(130):
        id_ = f"bbbbbbbb-0000-4000-9000-{number:012}"
        desk.runs[id_] = paused("review", f"Number {number}", 200 - number) | {"id": id_}
    page = _signed(desk).page
    assert re.findall(r">Number (\d+)</a>", page) == [str(number) for number in range(100)]
    assert "And 30 more" in page and "<title>130 waiting" in page


# ── a review ──

RUN, KEY = QUESTIONS["review"]
TASK = DEPLOYMENTS["agent-task/agent-task"]
EVIL = '"><script>alert(1)</script>'


class Change(NamedTuple):
    """A change that waits for a review, in a real repository and on a real ledger."""

    base: str
    commit: str
    question: Question


@pytest.fixture(scope="module")
def change(desk: FakeDesk, tmp_path_factory: pytest.TempPathFactory) -> Change:
    folder = tmp_path_factory.mktemp("repository")
    at = repository(folder / "sums.git")
    forge = LocalForge(root=folder / "forge")
    base = forge.base(str(at), "main")
    tree = dict(forge.tree(str(at), base))
    sums = tree["sums.py"]
    evil = f"\n\ndef double(a):\n    # {EVIL} {{{{7000*7001}}}}\n"
    tree["sums.py"] = sums._replace(content=sums.content + evil.encode())
    tree[f"notes {EVIL.replace('/', '')}.md"] = sums._replace(
        content=b"--- a/sums.py\n+++ b/other.py\n@@ -1 +1 @@\n\x0c\xe2\x80\xa8x\n"
    )
    tree["uv.lock"] = sums._replace(content=b"a\nb\n")
    commit, tree_id = forge.commit(str(at), base, tree, "m", "agent")
    desk.app.desk.forge_of = lambda name: forge
    brief = Brief.model_validate(a_brief(at, "command/x", title=f"Add {EVIL}", branch="main", environment="shop"))
    question = Question(
        fingerprint=MARK + "f" * 48, attempt=1, commit=commit, text=EVIL, reviewers=("review-er",),
        needs=(Need(names=("review-er",), why=f"CODEOWNERS {EVIL}", paths=("sums.py",)),),
    )  # fmt: skip
    found = (
        Finding(gate="ruff", rule="S102", severity=Severity.PERSON, message=f"exec {EVIL}", path="sums.py", line=5),
        Finding(gate="x", rule="far-away", severity=Severity.NOTE, message="m", path="sums.py", line=4000),
        Finding(gate="x", rule="nowhere", severity=Severity.NOTE, message="m"),
    )
    rows = (
        CaseRow(test=f"t::{EVIL}", kind="existing", base=CaseOutcome.PASSED, head=CaseOutcome.FAILED, message="m"),
        CaseRow(test="t::b", kind="existing", base=CaseOutcome.PASSED, head=CaseOutcome.PASSED),
    )
    values: tuple[tuple[str, str, Value], ...] = (
        ("prepared", "1", Prepared(run_id=RUN, brief=brief, base=base, settings=ProjectSettings(), contract="c",
                                   settings_source="detected", requirements=())),
        ("attempt", "1", Attempt(number=1, base=base, commit=commit, tree=tree_id)),
        ("tested", commit, Tested(commit=commit, rows=rows, sandbox="none")),
        ("scanned", commit, Scanned(commit=commit, findings=found, suppressed=(EVIL,), scanners=())),
        ("verdict", commit, Verdict(decision=Decision.NEEDS_PERSON, reasons=(f"look at {EVIL}",))),
        ("opinion", commit, Opinion(summary=EVIL, concerns=(EVIL,))),
        ("question", question.fingerprint, question),
    )  # fmt: skip
    for kind, key, value in values:
        desk.ledger.record(RUN, kind, key, value)
    return Change(base, commit, question)


def _waits(desk: FakeDesk, role: Role = Role.REVIEW) -> Browser:
    desk.runs[RUN] = paused("review", f"Add {EVIL}")
    return Browser(desk, role)


def test_a_review_that_is_asked_again_says_why(desk: FakeDesk, change: Change) -> None:
    again = change.question.model_copy(update={"again": "ann may not write there any more"})
    desk.ledger.record(RUN, "question", f"{again.fingerprint}#2", again)
    ann = _waits(desk)
    ann.get(f"/desk/review/{RUN}")
    assert "It is asked again: ann may not write there any more" in ann.page


def test_a_review_shows_the_change_that_was_judged_and_nothing_of_it_is_html(desk: FakeDesk, change: Change) -> None:
    ann = _waits(desk)
    assert ann.get(f"/desk/review/{RUN}").status == 200
    page = ann.page
    assert "<script>alert" not in page and "49007000" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 10, "in the title, the brief, tests, findings, the diff and so on"
    assert f"Decide on commit {change.commit[:12]}" in page and f'name="mark" value="{MARK}"' in page
    files = re.findall(r'<details class="file card"( open)?>\s*<summary><code>([^<]+)</code>', page)
    assert [(html.unescape(path), bool(is_open)) for is_open, path in files] == [
        (f"notes {EVIL.replace('/', '')}.md", True), ("sums.py", True), ("uv.lock", False),
    ]  # fmt: skip
    at_lines = re.search(r'aria-label="Comment at line 5".*?S102', page, re.DOTALL)
    assert at_lines and "Comment at line 6" not in at_lines[0], "a finding stands below its line"
    assert page.index("far-away") < page.index("Comment at line 5") and "nowhere" in page
    assert "1 of 2" in page and "CODEOWNERS" in page


def test_the_change_stands_side_by_side_if_that_is_asked_for(desk: FakeDesk, change: Change) -> None:
    ann = _waits(desk)
    assert ann.get(f"/desk/review/{RUN}").status == 200
    assert (
        f'data-keeps href="/desk/review/{RUN}?view=side-by-side"' in ann.page and 'class="diff split"' not in ann.page
    )
    one = ann.page
    assert ann.get(f"/desk/review/{RUN}?view=side-by-side").status == 200
    assert 'class="diff split"' in ann.page and f'href="/desk/review/{RUN}"' in ann.page
    for what in ('data-at="at:sums.py:', "<b>S102</b>", "&lt;script&gt;alert(1)"):
        assert ann.page.count(what) == one.count(what) > 0, "the same lines, findings and comments"
    assert "<script>alert" not in ann.page


RENAMED = "diff --git a/sums.py b/adds.py\nsimilarity index 100%\nrename from sums.py\nrename to adds.py\n"
OTHER = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"


@pytest.mark.parametrize("diff", ["", RENAMED, OTHER, None], ids=["no lines", "renamed", "another file", "no diff"])
def test_every_finding_is_shown_wherever_it_is(
    desk: FakeDesk, change: Change, monkeypatch: pytest.MonkeyPatch, diff: str | None
) -> None:
    def shown(*_: str) -> str:
        if diff is None:
            raise ForgeError("the mirror is away")
        return diff

    monkeypatch.setattr(desk.app.desk, "forge_of", lambda name: SimpleNamespace(diff=shown))
    ann = _waits(desk)
    assert ann.get(f"/desk/review/{RUN}").status == 200
    assert sorted(re.findall(r'<div class="finding \w+"><b>([^<]+)', ann.page)) == ["S102", "far-away", "nowhere"]
    assert "sums.py:5" in ann.page and f"3 findings; {2 if diff == RENAMED else 0} of them" in ann.page


def test_an_approval_goes_the_way_of_the_door_in_the_name_of_who_is_signed_in(desk: FakeDesk, change: Change) -> None:
    desk.answers = "ACCEPT"
    ann = _waits(desk)
    ann.get(f"/desk/review/{RUN}")
    done = ann.send(f"/desk/review/{RUN}", {"decision": "approve", "comment": "as asked"})
    assert done.status == 200 and "goes on" in ann.page
    (sent,) = [each for each in desk.changes() if each.url.path.endswith("/resume")]
    answer = json.loads(sent.content)["run_input"]
    assert answer == {"decision": "approve", "mark": MARK, "comment": "as asked", "reviewer": "review-er"}
    assert desk.tokens.signed(RUN, KEY, answer_digest(answer)) == ("review-er", "token"), "so `signed_in` counts it"


def _looks(desk: FakeDesk) -> list[tuple[str, str, str]]:
    return [(e.key, e.body["by"], e.body["what"]) for e in desk.ledger.entries(run_id=RUN, kind="looked")]


def test_a_look_is_noted_once_for_each_person_and_kind_and_never_by_reading_a_page(
    desk: FakeDesk, change: Change
) -> None:
    ann, mark = _waits(desk), desk.ledger.entries(run_id=RUN, kind="question")[-1].key
    ann.get(f"/desk/review/{RUN}", headers=[("sec-purpose", "prefetch")])
    ann.get(f"/desk/review/{RUN}")
    assert f'data-looked="/desk/review/{RUN}/looked"' in ann.page and _looks(desk) == []
    place = f"/desk/review/{RUN}/looked"
    for what in ("shown", "shown", "opened", "shown"):
        assert ann.send(place, {"what": what}).status == 204
    assert _looks(desk) == [(f"{mark}/review-er/{what}", "review-er", what) for what in ("shown", "opened")]
    assert desk.changes() == [], "it decides nothing"
    again = asking_key(change.question.fingerprint, 9)
    desk.ledger.record(RUN, "question", again, change.question)
    assert ann.send(place, {"what": "shown"}).status == 204
    assert _looks(desk)[2:] == [(f"{again}/review-er/shown", "review-er", "shown")], "it is asked again"
    refused = (
        ({"what": "approved"}, 400), ({"what": "shown", "mark": "f" * 16}, 409), ({"what": "shown", "mark": ""}, 409),
        ({"what": "shown", "csrf": ""}, 403),
    )  # fmt: skip
    for fields, status in refused:
        assert ann.sent(place, fields).status == status, fields
    other = [("origin", "http://evil"), ("host", "desk")]
    assert ann.sent(place, {"what": "opened"}, other).status == 403
    bob = Browser(desk, Role.SUBMIT)
    bob.get("/desk/")
    assert bob.send(place, {"what": "opened", "mark": MARK}).status == 400, "who may not review"
    desk.runs[RUN] |= {"state_type": "RUNNING", "state_name": "Running"}
    assert ann.sent(place, {"what": "opened"}).status == 409
    assert len(_looks(desk)) == 3


def test_the_team_is_counted_from_the_ledger_for_who_reviews(desk: FakeDesk, change: Change) -> None:
    ann, bob = Browser(desk, Role.REVIEW), Browser(desk, Role.SUBMIT)
    assert bob.get("/desk/team").status == 403
    assert ann.get("/desk/team").status == 200 and "Nobody has answered a review yet" in ann.page
    row = re.findall(r'data-is="([\w ]+)">([^<\n]*)', ann.page)
    assert row[:4] == [("asked", "1"), ("attempts", "1"), ("passed at first try", "1 of 1"), ("merged", "0")]
    bad = Verdict(decision=Decision.REFUSED, reasons=("no",), rules=(EVIL,))
    desk.ledger.record(RUN, "verdict", f"{change.commit}/rehearsed", bad)
    assert '<td data-is="passed at first try">0 of 1' in ann.get("/desk/team").content.decode(), "read on from there"
    assert f'href="/desk/task/{RUN}"' in ann.page and EVIL not in ann.page
    approval = Approval(answer=Answer.APPROVE, reviewer=EVIL, fingerprint=change.question.fingerprint)
    desk.ledger.record(RUN, "approval", f"{change.question.fingerprint}/x", approval)
    ann.get("/desk/team")
    assert "1 answers" in ann.page or "The newest 1" in ann.page
    assert EVIL not in ann.page and "not on record" in ann.page


def test_the_team_sees_what_was_paid_for_whom_and_what_for(desk: FakeDesk, change: Change) -> None:
    ann = Browser(desk, Role.REVIEW)
    ann.get("/desk/team")
    assert "Nothing was used in the last 30 days" in ann.page
    call = {
        "run_id": RUN,
        "call": "a",
        "step": "edit",
        "attempt": 1,
        "agent": EVIL,
        "environment": "shop",
        "model": "x",
    }
    desk.ledger.record(RUN, "reserved", "lost", Reserved(**call | {"call": "lost"}, usd=2.0))  # type: ignore[arg-type]
    desk.ledger.record(RUN, "metered", "a", Metered(**call, usd=0.5))  # type: ignore[arg-type]
    desk.ledger.record(RUN, "bill", "edit/1", BillLine(run_id=RUN, step="edit", attempt=1, agent=EVIL, sandbox_s=90))
    ann.get("/desk/team")
    page = " ".join(ann.page.split())
    assert "the last 30 days: <b>$2.50</b>" in page and "today: <b>$2.50</b>" in page and EVIL not in page
    sums = '<td data-is="paid">$2.50</td> <td data-is="model calls">2*</td><td data-is="sandbox time">1.5 min</td>'
    assert page.count(sums) == 4, "by day, agent, environment and task"
    assert page.count(f'<a href="/desk/task/{RUN}">') >= 1 and "1 call not seen to the end" in page


def test_comments_at_lines_become_feedback_with_path_and_line(desk: FakeDesk, change: Change) -> None:
    desk.answers = "ACCEPT"
    ann = _waits(desk)
    ann.get(f"/desk/review/{RUN}")
    at = {"at:sums.py:5": "no\nexec", "at:a:b/c.py:7": "why?", "at:sums.py:6": " ", "at:sums.py:x": "no line"}
    ann.send(f"/desk/review/{RUN}", {"decision": "ask for changes", "comment": "See below", **at})
    (sent,) = desk.changes()
    assert json.loads(sent.content)["run_input"]["comment"] == "See below\nsums.py:5: no exec\na:b/c.py:7: why?"


def test_of_two_people_one_wins_and_the_other_is_told(desk: FakeDesk, change: Change) -> None:
    ann = _waits(desk)
    ann.get(f"/desk/review/{RUN}")
    approval = Approval(answer=Answer.REJECT, reviewer="bob", fingerprint=change.question.fingerprint, signed_in=True)
    desk.ledger.record(RUN, "approval", change.question.fingerprint, approval)
    desk.answers = "ACCEPT"
    desk.runs[RUN]["state"] |= {"type": "RUNNING", "name": "Running"}
    late = ann.send(f"/desk/review/{RUN}", {"decision": "approve", "comment": ""})
    assert late.status == 409 and "bob answered: reject" in ann.page and not desk.changes()
    desk.runs[RUN] = {**paused("review", "x"), "state_name": "Running", "state_type": "RUNNING"}
    assert ann.get(f"/desk/review/{RUN}").status == 409 and "bob answered: reject" in ann.page


def test_of_two_answers_in_one_moment_one_reaches_the_server(desk: FakeDesk, change: Change) -> None:
    ann, bob = _waits(desk), Browser(desk, Role.ADMINISTER)
    for browser in (ann, bob):
        browser.get(f"/desk/review/{RUN}")
    done = desk.at_once(
        lambda: ann.sent(f"/desk/review/{RUN}", {"decision": "reject", "comment": "no"}),
        lambda: bob.sent(f"/desk/review/{RUN}", {"decision": "reject", "comment": "never"}),
        lambda: desk.ask("POST", f"/api/flow_runs/{RUN}/resume", Role.REVIEW,
                         {"run_input": {"decision": "approve", "mark": MARK, "comment": ""}}),
    )  # fmt: skip
    assert len(desk.changes()) == 1
    given = [each.status == 200 and b"ABORT" not in each.content for each in done]
    assert sum(given) == 1, "and the others are told"


REFUSED: tuple[tuple[str, Role, dict[str, str], int], ...] = (
    ("without the role", Role.SUBMIT, {"decision": "approve"}, 403),
    ("no decision", Role.REVIEW, {"comment": "hm"}, 400),
    ("changes, and not which", Role.REVIEW, {"decision": "ask for changes"}, 400),
    ("housekeeping's", Role.REVIEW, {"decision": "expired"}, 403),
    ("another change", Role.REVIEW, {"decision": "approve", "mark": "f" * 16}, 409),
    ("no change", Role.REVIEW, {"decision": "approve", "mark": ""}, 400),
    ("an answer to another question", Role.REVIEW, {"kind": "questions", "answers": "x"}, 400),
    ("too much", Role.REVIEW, {"decision": "approve", "comment": "x" * 30_000}, 400),
    ("without a token of the page", Role.REVIEW, {"decision": "approve", "csrf": ""}, 403),
)


@pytest.mark.parametrize(
    ("role", "fields", "status"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED]
)
def test_answers_that_are_none(desk: FakeDesk, change: Change, role: Role, fields: dict[str, str], status: int) -> None:
    bob = _waits(desk, role)
    bob.get("/desk/")
    if role is Role.REVIEW:
        bob.get(f"/desk/review/{RUN}")
    else:
        assert bob.get(f"/desk/review/{RUN}").status == 403, "the brief is not this token's"
        bob.get("/desk/")
    assert bob.send(f"/desk/review/{RUN}", {"mark": MARK, **fields}).status == status
    assert desk.changes() == []


def test_who_may_answer_what_waits_sees_that_question_and_nothing_else(desk: FakeDesk) -> None:
    id_ = QUESTIONS["window"][0]
    desk.runs[id_] = paused("window", "Add a search")
    bob = Browser(desk, Role.RELEASE)
    assert bob.get(f"/desk/review/{id_}").status == 200 and "may not" not in bob.page
    assert bob.get(f"/desk/task/{id_}").status == 403
    assert Browser(desk, Role.SUBMIT).get(f"/desk/review/{id_}").status == 403
    desk.runs[id_] |= {"state_type": "RUNNING", "state_name": "Running"}
    assert bob.get(f"/desk/review/{id_}").status == 403, "it waits no more"


@pytest.mark.parametrize("kind", ["forge", "away"])
def test_what_waits_for_its_forge_is_seen_with_its_reason_and_who_may_release_has_it_asked_again(
    desk: FakeDesk, kind: str
) -> None:
    id_ = QUESTIONS[kind][0]
    desk.runs[id_] = paused(kind, "A search")
    why = WaitsForForge(reason="github.com: required checks are missing")
    desk.ledger.record(id_, "waits-for-forge", f"{kind}-1", why)
    bob, sam = Browser(desk, Role.RELEASE), Browser(desk, Role.SUBMIT)
    for who, told in ((bob, why.reason), (sam, "")):  # a reason quotes what is private
        who.get("/desk/")
        shown = re.findall(r">(A search)</a>\s*(?:<div class=\"why\">([^<]+)<)?", who.page)
        assert shown == [("A search", told)]
    assert bob.get(f"/desk/review/{id_}").status == 200 and "Ask the forge again" in bob.page
    assert bob.send(f"/desk/review/{id_}", {}).status == 200
    (sent,) = desk.changes()
    assert json.loads(sent.content)["run_input"] == {"looked_by": "release-er"}


def test_what_waits_for_a_push_is_seen_with_its_reason_and_who_may_answer_ends_it(desk: FakeDesk) -> None:
    id_ = QUESTIONS["push"][0]
    desk.runs[id_] = paused("push", "A search")
    desk.ledger.record(id_, "waits-for-push", "push-1-0", WaitsForPush(change="x", source="c" * 40, reason="it is red"))
    bob = Browser(desk, Role.ANSWER)
    bob.get("/desk/")
    assert "it is red" in bob.page
    assert bob.get(f"/desk/review/{id_}").status == 200 and "It waits for a push" in bob.page
    assert bob.send(f"/desk/review/{id_}", {"stop": "it is done otherwise"}).status == 200
    (sent,) = desk.changes()
    assert json.loads(sent.content)["run_input"] == {"looked_by": "answer-er", "stop": "it is done otherwise"}


def test_a_proposed_acceptance_test_is_shown_as_it_is_and_approved_by_its_digits(desk: FakeDesk) -> None:
    id_, digest = QUESTIONS["questions"][0], "0123456789abcdef"
    run = paused("questions", "A search")
    details = {"pause_key": f"questions-acceptance-{digest}-0", "run_input_keyset": {"description": "shown"}}
    desk.runs[id_] = run | {"state": run["state"] | {"state_details": details}}
    bob, sam = Browser(desk, Role.ANSWER), Browser(desk, Role.SUBMIT)
    for shown in ({}, {"shown": "assert search('x'), accept 1123456789abcdef"}):
        desk.texts |= shown
        assert bob.get(f"/desk/review/{id_}").status == 200
        assert "cannot be shown now" in bob.page and "Approve this test" not in bob.page, "nobody approves unseen"
    desk.texts["shown"] = f"assert search('x')  # {EVIL}\n\n    accept {digest}"
    assert bob.get(f"/desk/review/{id_}").status == 200
    assert (
        "assert search(&#39;x&#39;)" in bob.page
        and EVIL not in bob.page
        and "Approve this test as answer-er" in bob.page
    )
    assert sam.get(f"/desk/review/{id_}").status == 403
    assert bob.send(f"/desk/review/{id_}", {}).status == 200
    (sent,) = desk.changes()
    assert json.loads(sent.content)["run_input"] == {"answers": f"accept {digest}", "answered_by": "answer-er"}


def test_a_review_is_made_beside_those_who_ask(desk: FakeDesk, change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    made, at = pages.page, []
    monkeypatch.setattr(pages, "page", lambda *a, **b: at.append(threading.current_thread().name) or made(*a, **b))
    ann = _waits(desk)
    at.clear()
    assert ann.get(f"/desk/review/{RUN}").status == ann.get(f"/desk/task/{RUN}").status == 200
    assert [name.partition("_")[0] for name in at] == ["desk", "desk"], "in a thread, and not where all are answered"


def test_the_forge_is_the_one_that_the_workshop_has_now(monkeypatch: pytest.MonkeyPatch) -> None:
    from blocks.workshop import Workshop

    versions, made = iter((1, 1, 2)), iter(("old", "new"))
    monkeypatch.setattr("blocks.kept.version", lambda: next(versions))
    monkeypatch.setattr(Workshop, "saved", lambda name: SimpleNamespace(forge=f"{next(made)} of {name}"))
    assert [app._forge_of("a-team") for _ in range(3)] == ["old of a-team"] * 2 + ["new of a-team"]


def test_a_question_that_the_ledger_does_not_know_is_not_shown(desk: FakeDesk, change: Change) -> None:
    run = paused("review", "x")
    run["state"]["state_details"] = {"pause_key": "review-ffffffffffffffff-0"}
    desk.runs[RUN] = run
    assert Browser(desk, Role.REVIEW).get(f"/desk/review/{RUN}").status == 409
    for path in ("nothing", "..%2f..", "99999999-0000-4000-8000-000000000000", "%20"):
        assert Browser(desk, Role.REVIEW).get(f"/desk/review/{path}").status in (400, 404), path


# ── a task ──


def test_a_task_shows_where_it_stands_and_nothing_of_it_is_html(desk: FakeDesk, change: Change) -> None:
    desk.said = f"agent │ {EVIL}"
    ann = _waits(desk)
    assert ann.get(f"/desk/task/{RUN}").status == 200
    assert "<script>alert" not in ann.page and ann.page.count("&lt;script&gt;alert(1)") >= 4
    assert "it waits at review" in ann.page and f'href="/desk/review/{RUN}"' in ann.page
    assert "data-again" in ann.page and "waiting for a review of attempt 1" in ann.page and "S102" in ann.page
    assert "Stop this run" not in ann.page, "who reviews stops nothing"
    desk.runs[RUN] |= {
        "state_type": "RUNNING",
        "state_name": "Running",
        "state": {"type": "RUNNING", "name": "Running"},
    }
    assert "it is at test" in ann.get(f"/desk/task/{RUN}").content.decode(), "by the step that runs now"
    desk.runs[RUN] |= {"state_type": "FAILED", "state_name": "Gave up"}
    assert "data-again" not in ann.get(f"/desk/task/{RUN}").content.decode()


@pytest.mark.parametrize(
    ("role", "own", "sees", "stops"),
    [
        (Role.REVIEW, False, 200, 403),
        (Role.SUBMIT, False, 403, 403),
        (Role.SUBMIT, True, 200, 303),
        (Role.RELEASE, False, 403, 303),
        (Role.ADMINISTER, False, 200, 303),
    ],
)
def test_who_sees_a_task_and_who_stops_it(
    desk: FakeDesk, change: Change, role: Role, own: bool, sees: int, stops: int
) -> None:
    bob = _waits(desk, role)
    desk.runs[RUN] |= {
        "labels": {"lockgate.started-by": f"{role}-er"} if own else {}, "deployment_id": TASK, "state_type": "RUNNING",
        "state": {"type": "RUNNING", "name": "Running"},
    }  # fmt: skip
    assert bob.get(f"/desk/task/{RUN}").status == sees
    assert ("Stop this run" in bob.page) == (sees == 200 and stops == 303)
    bob.get("/desk/")
    assert bob.send(f"/desk/task/{RUN}", {"why": "it is wrong"}).status == stops
    assert [json.loads(each.content)["state"]["type"] for each in desk.changes()] == ["CANCELLING"] * (stops == 303)
    desk.runs[RUN] |= {"state_type": "PAUSED", "state": paused("review", "", 1)["state"]}
    bob.get("/desk/")
    assert bob.send(f"/desk/task/{RUN}", {"why": "it is wrong"}).status == stops, "also one that waits"


def test_an_agent_has_a_picture_that_is_drawn_from_its_name(desk: FakeDesk, change: Change) -> None:
    made = Attempt(number=2, base="a" * 40, commit="b" * 40, agent=f"codex/{EVIL}")
    desk.ledger.record(RUN, "attempt", "2", made)
    ann = _waits(desk)
    ann.get(f"/desk/task/{RUN}")
    drawn = picture(made.agent)
    assert str(drawn) in ann.page and EVIL not in drawn
    many = {str(picture(f"{kind}/{number}")) for kind in ("codex", "aider") for number in range(200)}
    assert len(many) == 400 and len({each.count("M") for each in many}) > 5, "no two are alike"
    assert str(picture("codex/1")) in many, "and one is always the same"


# ── environments ──


def _lived(desk: FakeDesk) -> None:
    for number, revision in enumerate(("a" * 40, "b" * 40), 1):
        run = f"00000000-0000-4000-8000-00000000000{number}"
        outcome = Outcome(run_id=run, title=f"{number} {EVIL}", end=End.LIVE, sentence="live")
        desk.ledger.record(run, "outcome", "outcome", outcome)
        release = Release(environment="shop", revision=revision, artifact="x", url=f"http://127.0.0.1:1/{EVIL}")
        desk.ledger.record(run, "live", revision, release)


def test_environments_show_what_serves_and_a_rollback_says_where_to(desk: FakeDesk) -> None:
    _lived(desk)
    ann, bob = Browser(desk, Role.REVIEW), Browser(desk, Role.RELEASE)
    assert ann.get("/desk/environments").status == 200
    assert "<script>alert" not in ann.page and re.search(r"<code>b{12}</code> has served for", ann.page)
    assert "Roll back" not in ann.page and "2 &#34;" in ann.page, "by which brief"
    bob.get("/desk/environments")
    assert f"Roll shop back to {'a' * 12}" in bob.page
    old = {"revision": "a" * 40, "reason": "it is slow", "serving": "c" * 40}
    page = bob.page
    assert bob.send("/desk/environments/shop/rollback", old).status == 409 and desk.changes() == []
    assert "serves bbbbbbbbbbbb now" in bob.page
    bob.page = page
    asked = {"revision": "a" * 40, "reason": "it is slow"}
    assert ann.send("/desk/environments/shop/rollback", asked).status == 403 and desk.changes() == []
    assert bob.send("/desk/environments/shop/rollback", asked).headers["location"] == f"/desk/task/{STARTED}"
    (sent,) = desk.changes()
    assert json.loads(sent.content)["parameters"] == {"environment": "shop", **asked, "by": "release-er"}


def test_an_environment_is_held_and_opened_in_the_name_of_who_is_signed_in(
    desk: FakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = Browser(desk, Role.REVIEW), Browser(desk, Role.RELEASE)
    for browser in (ann, bob):
        browser.get("/desk/environments")
    monkeypatch.setattr("station.holding._kept", lambda: [desk.workshop])
    assert ann.send("/desk/environments/shop/hold", {"reason": "x"}).status == 403
    assert bob.send("/desk/environments/shop/hold", {"reason": ""}).status == 400
    bob.get("/desk/environments")
    assert bob.send("/desk/environments/shop/hold", {"reason": f"a sale {EVIL}"}).status == 303
    bob.get("/desk/environments")
    assert "release-er (signed in): a sale" in bob.page and "<script>alert" not in bob.page
    assert bob.send("/desk/environments/shop/open", {"reason": "it is over"}).status == 303
    bob.get("/desk/environments")
    assert "Hold it" in bob.page and "Open it again" not in bob.page


def test_the_newest_tasks_are_listed(desk: FakeDesk) -> None:
    desk.runs[RUN] = paused("review", f"Add {EVIL}")
    ann = Browser(desk, Role.REVIEW)
    ann.get("/desk/tasks")
    assert f'href="/desk/task/{RUN}"' in ann.page and "<script>alert" not in ann.page


# ── a new brief ──

GOOD = {
    "title": "Add a double function", "goal": "Add `double(a)` to `sums.py`", "repository": "/srv/git/sums.git",
    "agent": "command/mine", "environment": "shop", "test_path": "tests/test_double.py",
    "test_content": "def test_double():\r\n    assert False\r\n",
}  # fmt: skip


@pytest.fixture
def offers(desk: FakeDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks as the supervisor keeps a copy of them."""
    bounds = {"repositories": ["/srv/git/*"], "environments": ["shop"], "kinds": ["fix"], "paths": ["docs/**"]}
    kept = {
        "lockgate-command/mine": {}, f"lockgate-replay/{EVIL}": {}, "lockgate-workshop/default": desk.workshop,
        "lockgate-command/docs": {"scope": bounds}, "lockgate-command/poor": {"scope": {"usd_per_week": 0}},
    }  # fmt: skip
    monkeypatch.setattr("blocks.kept._read", lambda: kept)


@pytest.mark.usefixtures("offers")
def test_a_brief_is_submitted_in_the_name_of_who_is_signed_in(desk: FakeDesk) -> None:
    ann, bob = Browser(desk, Role.REVIEW), Browser(desk, Role.SUBMIT)
    assert bob.get("/desk/brief").status == 200
    assert "<option>command/mine</option>" in bob.page and "<option>shop</option>" in bob.page
    assert "<script>alert" not in bob.page and "may not submit" in ann.get("/desk/brief").content.decode()
    ann.get("/desk/")
    assert ann.send("/desk/brief", GOOD).status == 422 and desk.changes() == []
    bob.get("/desk/brief")
    assert "the agent proposes a test" in bob.page
    assert bob.send("/desk/brief", GOOD).headers["location"] == f"/desk/task/{STARTED}"
    bob.send("/desk/brief", GOOD)
    first, second = (json.loads(each.content) for each in desk.changes())
    assert first["idempotency_key"] == second["idempotency_key"], "sent twice, it is one run"
    brief = Brief.model_validate(first["parameters"]["brief"])
    assert (brief.agent, brief.environment, brief.title) == ("command/mine", "shop", first["name"])
    assert brief.acceptance.files[0].content == "def test_double():\n    assert False\n"
    assert first["labels"] == {"lockgate.started-by": "submit-er"}
    noted = Reader(desk.tokens.url).entries(STARTED, ("submitted",))
    known = {"by": "submit-er", "signed_in": True, "way": "token"}
    assert [entry.body for entry in noted] == [known], "once, and known by the token"
    assert bob.send("/desk/brief", {**GOOD, "test_path": "", "test_content": "", "propose": "1"}).status == 303
    assert Brief.model_validate(json.loads(desk.changes()[-1].content)["parameters"]["brief"]).is_to_propose


@pytest.mark.usefixtures("offers")
def test_a_brief_that_is_not_for_its_agent_is_refused_at_the_door_too_and_the_team_sees_the_scopes(
    desk: FakeDesk,
) -> None:
    way = f"/api/deployments/{DEPLOYMENTS['agent-task/agent-task']}/create_flow_run"
    asked = {"title": "Mend it", "goal": "g", "repository": "/srv/git/a.git", "acceptance": {"command": "false"}}
    for agent, kind, status in (("docs", "fix", 201), ("docs", "docs", 422), ("mine", "docs", 201)):
        brief = {**asked, "agent": f"command/{agent}", "kind": kind}
        told = desk.ask("POST", way, Role.SUBMIT, {"parameters": {"brief": brief}})
        assert told.status == status
        assert status == 201 or "command/docs takes no brief of the kind 'docs': its scope allows fix" in str(told.told)
    bob, ann = Browser(desk, Role.SUBMIT), Browser(desk, Role.REVIEW)
    bounds = "repositories /srv/git/*; paths docs/**; environments shop; kinds fix"
    assert f"command/docs is for {bounds}" in bob.get("/desk/brief").content.decode()
    page = ann.get("/desk/team").content.decode()
    assert bounds in page and "$0.00 of $0.00" in page and EVIL not in page


def test_what_an_agent_spent_stands_beside_its_cap_for_each_ledger_as_the_cap_bounds_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledgers = {"a": "x", "b": "y", "c": "y"}
    shops = {f"lockgate-workshop/{name}": {"ledger": {"url": url}} for name, url in ledgers.items()}
    agents = {"lockgate-command/one": {"scope": {"usd_per_week": 10}}, "lockgate-command/two": {}}
    spent = {"x": {"command/one": 8.0}, "y": {"command/one": 7.0, "command/two": 1.0}}
    monkeypatch.setattr("blocks.kept._read", lambda: {**shops, **agents})
    monkeypatch.setattr(spending, "this_week", spent.__getitem__)
    assert [(one.agent, one.spent) for one in scopes.bounds()] == [
        ("command/one", (("a", 8.0), ("b, c", 7.0))), ("command/two", (("b, c", 1.0),)),
    ]  # fmt: skip


@pytest.mark.usefixtures("offers")
def test_who_administers_makes_pauses_and_removes_the_schedule_of_a_brief(desk: FakeDesk) -> None:
    ann, bob, carl = (Browser(desk, role) for role in (Role.ADMINISTER, Role.SUBMIT, Role.REVIEW))
    weekly = {**GOOD, "title": f"Weekly {EVIL}", "repeat": "every Monday", "at": "03:05", "zone": "Europe/Berlin"}
    bob.get("/desk/brief")
    assert 'name="repeat"' not in bob.page
    assert bob.send("/desk/brief", weekly).status == 422 and "administer" in bob.page and desk.changes() == []
    ann.get("/desk/brief")
    form = ann.page
    assert ann.send("/desk/brief", weekly).headers["location"] == "/desk/brief#schedules"
    ann.page = form
    ann.send("/desk/brief", weekly)
    (one,) = desk.schedules
    assert (one["schedule"], one["active"]) == ({"cron": "5 3 * * 1", "timezone": "Europe/Berlin"}, True), "it is one"
    assert Brief.model_validate(one["parameters"]["brief"]).title == weekly["title"]
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", one["slug"]), "as Prefect wants it"
    desk.runs[RUN] = {
        **paused("review", "x"), "state_type": "SCHEDULED", "state_name": "Scheduled", "auto_scheduled": True,
        "created_by": {"id": one["id"]}, "expected_start_time": "2030-01-07T02:05:00Z", "name": "splendid-roadrunner",
        "state": {"type": "SCHEDULED", "name": "Scheduled"},
    }  # fmt: skip
    for browser in (ann, carl):
        browser.get("/desk/brief")
        assert "every Monday at 03:05 (Europe/Berlin)" in browser.page and "2030-01-07" in browser.page
        assert "<script>alert" not in browser.page
    assert "every Monday" not in bob.get("/desk/brief").content.decode(), "whose briefs are others' to see"
    assert "splendid-roadrunner" not in ann.get("/desk/tasks").content.decode(), "what is not due is no task yet"
    ann.get("/desk/brief")
    for word, active in (("pause", False), ("resume", True)):
        assert carl.send(f"/desk/brief/schedules/{one['id']}/{word}", {}).status == 403
        assert ann.send(f"/desk/brief/schedules/{one['id']}/{word}", {}).status == 303
        assert desk.schedules[0]["active"] is active and desk.schedules[0]["parameters"] == one["parameters"]
        ann.get("/desk/brief")
    assert ann.send(f"/desk/brief/schedules/{one['id']}/remove", {}).status == 303 and desk.schedules == []
    assert "every Monday at" not in ann.get("/desk/brief").content.decode()


WHEN: dict[str, tuple[dict[str, str], str]] = {
    "no repetition of the list": ({"repeat": "each blue moon"}, "repeat"),
    "no time": ({"repeat": "every day", "at": "25:00"}, "at"),
    "no zone": ({"repeat": "every day", "zone": "Mars/Base"}, "zone"),
    "four parts": ({"repeat": "by a cron line", "cron": "0 3 * *"}, "cron"),
    "a line that the server refuses": ({"repeat": "by a cron line", "cron": "99 3 * * *"}, "cron"),
}


@pytest.mark.usefixtures("offers")
@pytest.mark.parametrize(("fields", "field"), WHEN.values(), ids=WHEN)
def test_what_is_wrong_with_a_schedule_is_said_at_its_field(desk: FakeDesk, fields: dict[str, str], field: str) -> None:
    ann = Browser(desk, Role.ADMINISTER)
    ann.get("/desk/brief")
    assert ann.send("/desk/brief", {**GOOD, **fields}).status == 422 and desk.schedules == []
    assert re.findall(r'id="wrong-(\w*)"', ann.page) == [field]
    assert ("Invalid cron string" in ann.page) == (fields.get("cron", "")[:2] == "99")


@pytest.mark.usefixtures("offers")
@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ({"cron": "0 3 * * *"}, "every day at 03:00 (UTC)"),
        ({"cron": "30 16 * * 1-5", "timezone": "Asia/Tokyo"}, "Monday to Friday at 16:30 (Asia/Tokyo)"),
        ({"cron": "*/5 * * * *"}, "cron */5 * * * * (UTC)"),
        ({"interval": 3600.0, "timezone": "UTC"}, "every 3600.0 s"),
        ({"rrule": "FREQ=DAILY"}, "FREQ=DAILY"),
    ],
)
def test_a_schedule_that_was_made_elsewhere_is_told_too(desk: FakeDesk, schedule: dict[str, Any], words: str) -> None:
    desk.schedules = [{"id": "x", "active": False, "schedule": schedule, "parameters": {"brief": {"title": "t"}}},
                      {"id": "y", "active": True, "schedule": schedule, "parameters": {}}]  # fmt: skip
    ann = Browser(desk, Role.REVIEW)
    page = html.unescape(ann.get("/desk/brief").content.decode())
    assert page.count(words) == 1 and ">paused<" in page


WRONG: tuple[tuple[str, dict[str, str], str], ...] = (
    ("no title", {"title": ""}, "title"),
    ("a token in the address", {"repository": "https://x:y@example.org/a.git"}, "repository"),
    ("a goal that says nothing", {"title": "Make search better", "goal": "Improve it"}, "goal"),
    ("no acceptance", {"test_path": "", "test_content": ""}, "test_path"),
    ("a test file without a test", {"test_content": "x = 1"}, "test_content"),
    ("a path outside", {"test_path": "../x.py"}, "test_path"),
    ("an agent that is not there", {"agent": "command/other"}, "agent"),
    ("an environment that is not there", {"environment": "nowhere"}, "environment"),
    ("no number", {"usd": "much"}, "usd"),
    ("too many attempts", {"attempts": "1000"}, "attempts"),
    ("lines without an end", {"max_changed_lines": "1e400"}, "max_changed_lines"),
    ("a kind that is not the agent's", {"agent": "command/docs"}, "kind"),
    ("a place that is not the agent's", {"agent": "command/docs", "kind": "fix", "repository": "/a.git"}, "repository"),
    ("paths that are not the agent's", {"agent": "command/docs", "kind": "fix", "scope_paths": "**"}, "scope_paths"),
    ("a week that is used up", {"agent": "command/poor"}, "agent"),
)


@pytest.mark.usefixtures("offers")
@pytest.mark.parametrize(("fields", "field"), [each[1:] for each in WRONG], ids=[each[0] for each in WRONG])
def test_what_is_wrong_with_a_brief_is_said_at_its_field(desk: FakeDesk, fields: dict[str, str], field: str) -> None:
    bob = Browser(desk, Role.SUBMIT)
    bob.get("/desk/brief")
    linted = bob.sent("/desk/brief/lint", {**GOOD, **fields})
    assert list(json.loads(linted.content)) == [field], "while it is typed"
    assert bob.send("/desk/brief", {**GOOD, "branch": EVIL, **fields}).status == 422
    assert re.findall(r'id="wrong-(\w*)"', bob.page) == [field] and desk.changes() == []
    assert html.escape(EVIL, quote=False).replace('"', "&#34;") in bob.page, "what was typed is still there"
