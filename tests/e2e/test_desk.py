"""Somebody signs in at the desk with a real browser, reads what a hostile agent made, and approves it by keyboard."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from domain.task import Approval, End
from tests.e2e.briefs import FILES, SETTINGS, brief, repository
from tests.e2e.station import Station
from tests.e2e.test_door import Guest, waits

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
    with sync_playwright() as played:
        browser = played.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        browser.close()


class Seen:
    """A page of somebody's own browser, and what happened in it that should not."""

    def __init__(self, chromium: Browser, url: str) -> None:
        self.page: Page = chromium.new_context(viewport={"width": 1280, "height": 800}).new_page()
        self.wrong: list[str] = []
        self.page.on("dialog", lambda dialog: self.wrong.append(dialog.message))
        self.page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        self.page.on("request", lambda asked: None if asked.url.startswith(url) else self.wrong.append(asked.url))


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
