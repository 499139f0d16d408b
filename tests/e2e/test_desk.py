"""Somebody signs in at the desk with a real browser: what a hostile agent made is read and approved by keyboard, and a
review that waits is told, seen, and declined if nobody answers it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from domain.task import Approval, End
from kits.briefs import FILES, GOOD, SETTINGS, brief, repository
from kits.product.station import Station
from station.desk import pages
from tests.browser import chromium_started
from tests.contract.test_notices import Hook, hook
from tests.e2e.test_door import Guest, waits

STATIC = Path(pages.__file__).parent / "static"
HOSTILE = r'''
printf '\n\ndef double(a):\n    """<script>alert(1)</script> {{7*7}}"""\n    return 2 * a\n' >> sums.py
cat > 'notes <img src=x onerror=alert(1)>.md' <<'X'
[click](javascript:alert(1)) ![x](http://127.0.0.1:9/pixel) <img src=http://127.0.0.1:9/pixel> "'><b>
<script>document.forms[0].submit()</script><form action=http://127.0.0.1:9/><input autofocus onfocus=alert(1)>
--- a/sums.py
X
'''


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with chromium_started() as browser:
        yield browser


class Seen:
    """A page of somebody's own browser, and what happened in it that should not."""

    def __init__(self, chromium: Browser, url: str) -> None:
        self.page: Page = chromium.new_context(viewport={"width": 1280, "height": 800}).new_page()
        self.wrong: list[str] = []
        self.page.on("dialog", lambda dialog: self.wrong.append(dialog.message))
        self.page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        self.page.on("request", lambda asked: None if asked.url.startswith(url) else self.wrong.append(asked.url))


WATCHED = """() => {
  document.body.innerHTML = `<div class="diff" id="a"></div><div class="diff" id="b"></div>
    <form data-looked="/looked"><input name="csrf"><input name="mark"></form>`;
  window.told = [];
  window.fetch = (place, { body }) => { told.push(body.get("what")); return Promise.resolve(); };
  window.IntersectionObserver = class {
    constructor(seen) {
      window.move = (moves) => seen(moves.split(" ").map(
        ([sign, id]) => ({ target: document.getElementById(id), isIntersecting: sign === "+" })));
    }
    observe() {}
  };
}"""


@pytest.mark.parametrize(
    ("moves", "is_opened"),
    [
        (["+b", "+a", "-a"], True),
        (["+a +b", "-a"], True),
        (["+a", "+b -a"], True),
        (["+a", "-a", "+b"], True),
        (["+a", "-a"], False),
        (["-a -b"], False),
    ],
)
def test_a_change_is_opened_while_lines_of_any_file_are_in_view(
    chromium: Browser, moves: list[str], *, is_opened: bool
) -> None:
    """Files come (+) into the middle of the window and leave it (-), all within its second; then that passes."""
    page = chromium.new_page()
    page.clock.install()
    page.evaluate(WATCHED)
    page.add_script_tag(path=STATIC / "desk.js")
    page.evaluate("(moves) => moves.forEach(move)", moves)
    page.clock.run_for(1500)
    assert page.evaluate("told") == ["shown", *(["opened"] if is_opened else [])]
    page.close()


def test_a_line_is_commented_by_keyboard_and_folded_lines_are_passed_over(chromium: Browser) -> None:
    page, script = chromium.new_page(), (STATIC / "desk.js").read_text()
    line = """<tr class="{0}"><td><button type="button" tabindex="-1" data-at="at:{2}:{1}"
        aria-label="Comment at line {1}">{1}</button></td></tr>"""
    file = "<details class='file'{}><summary>{}</summary><table class='diff'>{}</table></details>"
    body = "".join(
        file.format(is_open, name, "".join(line.format(kind, n, name) for n, kind in enumerate(("same", "add", "add"))))
        for name, is_open in (("uv.lock", ""), ("a.py", " open"))
    )
    page.set_content(f"{body}<form id='answer'><input type='radio' name='decision' value='reject'></form>")
    page.add_script_tag(content=script)
    page.add_style_tag(path=STATIC / "desk.css")
    page.set_viewport_size({"width": 390, "height": 844})  # the old lines' numbers are hidden there
    page.keyboard.type("llhlm")
    page.keyboard.type("why ll?")
    page.keyboard.press("Escape")
    page.keyboard.type("hm")
    page.keyboard.type("and this?")
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    typed = page.evaluate("[...new FormData(document.getElementById('answer'))]")
    assert sorted(typed) == [["at:a.py:1", "and this?"], ["at:a.py:2", "why ll?"], ["decision", "reject"]]
    page.close()


def test_what_was_typed_goes_along_to_the_other_view_once(chromium: Browser) -> None:
    page, script = chromium.new_page(), (STATIC / "desk.js").read_text()
    body = """<a data-keeps href="/{}">the other view</a><table><tr><td><button type="button" data-at="at:a.py:3"
        aria-label="Comment at line 3">3</button></td></tr></table>
        <form id="answer"><input type="hidden" name="mark" value="m">
        <input type="radio" name="decision" value="reject"><textarea id="comment" name="comment"></textarea></form>
        <script>{}</script>"""
    page.route(
        "http://desk.test/**",
        lambda route: route.fulfill(
            content_type="text/html", body=body.format("two" if route.request.url.endswith("one") else "one", script)
        ),
    )
    page.goto("http://desk.test/one")
    page.click("button[data-at]")
    page.keyboard.type("why three?")
    page.fill("#comment", "read")
    page.check("input[value=reject]")

    def typed() -> list[object]:
        at = page.locator("textarea.at")
        return [at.count() and at.input_value(), page.input_value("#comment"), page.is_checked("input[value=reject]")]

    for place in ("two", "one"):
        page.click("a")
        page.wait_for_url(f"http://desk.test/{place}")
        assert typed() == ["why three?", "read", True]
    page.goto("http://desk.test/two")
    assert typed() == [0, "", False], "another look begins empty"
    page.close()


def test_a_hostile_change_is_read_and_approved_by_keyboard(station: Station, tmp_path: Path, chromium: Browser) -> None:
    at = repository(tmp_path / "sums.git", {**FILES, "lockgate.toml": f"{SETTINGS}[review]\nsigned_in = true\n"})
    mounts = tmp_path / "agents"
    mounts.mkdir()
    station.command("hostile", HOSTILE, mounts)
    title = "Add <img src=x onerror=alert(1)> double"
    run_id = station.submit(brief(at, "command/hostile", title=title))
    waits(station, run_id)
    carl = Guest(station, "carl", "review")
    value = carl.headers["Authorization"].partition(" ")[2]
    seen = Seen(chromium, carl.url)
    page = seen.page

    page.goto(f"{carl.url}/desk/review/{run_id}")
    page.keyboard.press("Tab")  # past the name, which stays empty
    page.keyboard.type(value)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{carl.url}/desk/at-*/review/{run_id}")
    assert page.locator("h1").inner_text() == title
    told = page.locator("main").inner_text()
    assert "<script>alert(1)</script> {{7*7}}" in told and "![x](http://127.0.0.1:9/pixel)" in told
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), "on a phone"

    page.keyboard.press("j")
    assert page.locator(".file.here").count() == 1
    page.keyboard.press("a")
    assert page.evaluate("document.activeElement.value") == "approve"
    page.keyboard.press("Tab")
    page.keyboard.type("read, and run")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Your answer is given")

    outcome = station.wait(run_id, approve=False)
    assert outcome.end is End.MERGED, outcome.sentence
    (given,) = [Approval.model_validate(entry.body) for entry in station.entries(run_id, "approval")]
    assert (given.reviewer, given.comment, given.signed_in) == ("carl", "read, and run", True)
    page.goto(f"{carl.url}/desk/review/{run_id}")
    page.wait_for_url(f"{carl.url}/desk/at-*/review/{run_id}")  # from an address without the session's place
    assert "carl answered: approve" in page.locator("main").inner_text(), "who comes later is told"
    station.lockgate("token", "revoke", "carl", check=True)
    page.goto(f"{carl.url}/desk/")
    page.wait_for_selector("#token")
    assert page.url.startswith(f"{carl.url}/desk/sign-in")
    assert [each for each in seen.wrong if "409" not in each] == []


def test_a_parked_review_is_told_seen_on_record_accessible_and_declined_if_nobody_answers(
    station: Station, tmp_path: Path, chromium: Browser
) -> None:
    at = repository(tmp_path / "sums.git")
    mounts = tmp_path / "agents"
    mounts.mkdir()
    station.command("told", GOOD, mounts)
    with hook() as pager:
        _tell(station, pager.url)
        dora = Guest(station, "dora", "administer")
        checked = station.lockgate("doctor", "--page")
        assert "lockgate-pagerduty/desk" in checked.stdout and pager.told, checked.stdout
        run_id = station.submit(brief(at, "command/told"))
        waits(station, run_id)
        told = _event(pager, run_id, "trigger")
        text = told["payload"]["custom_details"]["text"]
        assert f"/desk/review/{run_id}" in text and told["dedup_key"].startswith(f"review/{run_id}")

        page = Seen(chromium, dora.url).page
        page.goto(text[text.index("http") :].split()[0])  # as who follows the message
        page.fill("#token", dora.headers["Authorization"].partition(" ")[2])
        _is_accessible(page)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{dora.url}/desk/at-*/review/{run_id}")
        assert _looks(station, run_id, 1) == ["shown"]
        page.locator(".diff .add").first.scroll_into_view_if_needed()
        page.evaluate("document.querySelector('.diff').scrollIntoView({block: 'center'})")
        assert _looks(station, run_id, 2) == ["shown", "opened"]
        page.reload()

        desk = page.url.partition("/review/")[0]
        for screen in ("/", "/tasks", f"/task/{run_id}", f"/review/{run_id}", "/environments", "/team", "/brief"):
            page.set_viewport_size({"width": 1280, "height": 800})
            page.goto(desk + screen)
            _is_accessible(page)
            page.set_viewport_size({"width": 360, "height": 740})
            assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), screen
        assert _looks(station, run_id, 2) == ["shown", "opened"], "once each"

        done = station.python(EXPIRE)
        assert f"declined the review of run {run_id}" in done
        assert station.wait(run_id, approve=False).end is End.DECLINED
        assert _event(pager, run_id, "resolve")["dedup_key"] == told["dedup_key"]
        _tell(station, None)
    team = json.loads(station.lockgate("team", "--json", check=True).stdout)
    (mine,) = [line for line in team["agents"] if line["agent"] == "command/told"]
    assert (mine["asked"], mine["merged"], mine["passed_gates_at_first_try"]["part"]) == (1, 0, 1)


EXPIRE = """
from prefect.client.orchestration import get_client
from blocks.workshop import workshop
from flows.housekeeping import expire_reviews
with get_client(sync_client=True) as client:
    print(expire_reviews(client, workshop('default').model_copy(update={'review_days': 0.0})))
"""


def _tell(station: Station, url: str | None) -> None:
    """People of the default workshop are told by a pager there; None: nobody is."""
    station.python(
        "from blocks.notices.pagerduty import PagerDuty\nfrom blocks.workshop import Workshop\n"
        "from domain.notices import Notices\n"
        + (f"PagerDuty(routing_key='secret-key', url={url!r}).keep('desk')\n" if url else "")
        + "shop = Workshop.saved('default')\n"
        f"shop.notices = Notices(otherwise={('lockgate-pagerduty/desk',) if url else ()!r})\n"
        "shop.keep('default')"
    )


def _event(pager: Hook, run_id: str, action: str) -> dict[str, Any]:
    """What the pager was told of a run, once it is."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        for event in list(pager.told):
            if event.get("event_action") == action and run_id in event["dedup_key"]:
                return event
        time.sleep(0.3)
    raise AssertionError(f"the pager never got a {action} of run {run_id}: {pager.told}")


def _looks(station: Station, run_id: str, count: int) -> list[str]:
    """What is on record of who saw the review, once it is so much."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = [str(entry.body["what"]) for entry in station.entries(run_id, "looked")]
        if len(found) >= count:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{found} is on record")


def _is_accessible(page: Page) -> None:
    """axe finds nothing serious."""
    found = Axe().run(page).response
    assert len(found["passes"]) > 10, "it looked"
    wrong = [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]
             if each["impact"] in ("serious", "critical")]  # fmt: skip
    assert wrong == [], page.url
