"""What only a real browser shows of the desk: streams that it keeps open, cookies that it sends or not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from blocks.ledger.identities import Identities
from domain.access import Role
from domain.history import Submitted
from domain.sign_in import OpenId
from station import api, sign_in
from station.desk import moves
from tests.browser import chromium_started
from tests.contract.desk import FakeDesk
from tests.contract.door import RUNS, served
from tests.contract.openid_provider import CLIENT, SECRET, provider

RUN = RUNS["submit-er"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with chromium_started() as browser:
        yield browser


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDesk]:
    made = FakeDesk(tmp_path_factory.mktemp("desk"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(api, "_once", made.once)
        patched.setattr(moves, "EVERY_S", 0.05)
        yield made


@pytest.fixture(scope="module")
def url(desk: FakeDesk) -> Iterator[str]:
    with served(desk.app) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def page(chromium: Browser, desk: FakeDesk, url: str) -> Iterator[Page]:
    """Of who reviews, and is signed in."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(f"{url}/desk/sign-in")
    page.fill("#token", desk.value[Role.REVIEW])
    page.keyboard.press("Enter")
    page.wait_for_url(f"{url}/desk/at-*/")
    yield page
    context.close()


def running(desk: FakeDesk) -> None:
    state = {"type": "RUNNING", "name": "Running", "timestamp": "2030-01-01T00:00:00+00:00"}
    desk.runs[RUN] = {
        "id": RUN, "name": "a task", "labels": {}, "parameters": {"brief": {"title": "a task"}}, "state": state,
        "state_type": "RUNNING", "state_name": "Running",
    }  # fmt: skip


def test_the_page_of_a_task_moves_by_itself_and_is_read_no_more_once_it_is_over(
    desk: FakeDesk, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    running(desk)
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url.rpartition("/")[2].partition("?")[0]))
    place = page.url
    page.goto(f"{place}task/{RUN}")
    page.locator("summary").click()
    expect(page.locator("#live details")).to_have_attribute("open", "")
    page.wait_for_timeout(500)
    assert asked.count(RUN) == 1, "nothing moved: nothing is read again"
    desk.ledger.record(RUN, "submitted", "submitted", Submitted(by="ann"))
    expect(page.locator(".story")).to_contain_text("ann")
    expect(page.locator("#live details")).to_have_attribute("open", "")
    assert (asked.count(RUN), asked.count("moves")) == (2, 1)

    monkeypatch.setattr(moves, "MOST", 0)
    page.reload()  # it gets no stream, and reads itself by the clock
    desk.ledger.record(RUN, "submitted", "again", Submitted(by="bob"))
    expect(page.locator(".story")).to_contain_text("bob", timeout=20_000)
    monkeypatch.setattr(moves, "MOST", 40)

    page.reload()
    desk.runs[RUN] |= {"state_type": "COMPLETED", "state_name": "Completed"}
    expect(page.locator(".kind.completed")).to_be_visible()
    expect(page.locator("[data-again]")).to_have_count(0)


def test_who_signs_out_elsewhere_is_led_to_the_sign_in(desk: FakeDesk, page: Page, url: str) -> None:
    running(desk)
    page.goto(f"{page.url}task/{RUN}")
    desk.app.desk.sessions._known.clear()
    page.wait_for_url(f"{url}/desk/sign-in?next=/desk/task/{RUN}", timeout=30_000)


def test_somebody_comes_in_by_an_openid_provider_on_another_site(
    chromium: Browser, desk: FakeDesk, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider is at another site (127.0.0.1, and the desk at localhost): strict cookies do not come along."""
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    address = url.replace("127.0.0.1", "localhost")
    with provider() as idp:
        sign_in.keep_openid(OpenId(issuer=idp.issuer, client_id=CLIENT, address=address), SECRET)
        idp.returns_to = f"{address}/desk/sign-in/openid/back"
        desk.tokens.add("ann", {Role.REVIEW})
        Identities(desk.tokens.url).set("ann", idp.issuer, "248289761001")
        context = chromium.new_context()
        page = context.new_page()
        page.goto(f"{url}/desk/sign-in?next=/desk/team")
        found = Axe().run(page).response["violations"]
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
        page.click("text=Sign in at")
        page.wait_for_url(f"{address}/desk/at-*/team")
        expect(page.locator(".who")).to_contain_text("ann")
        context.close()


def test_a_brief_is_judged_while_it_is_typed_and_its_test_comes_from_a_file(
    chromium: Browser, desk: FakeDesk, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {"lockgate-command/mine": {}, "lockgate-workshop/default": desk.workshop}
    monkeypatch.setattr("blocks.kept._read", lambda: kept)
    file = tmp_path / "test_double.py"
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{url}/desk/sign-in?next=/desk/brief")
    page.fill("#token", desk.value[Role.SUBMIT])
    page.keyboard.press("Enter")
    page.wait_for_url(f"{url}/desk/at-*/brief")
    page.fill("#title", "Make search better")
    page.fill("#repository", "/srv/git/sums.git")
    page.fill("#goal", "Improve it")
    expect(page.locator("#wrong-goal")).to_be_visible(timeout=20_000)
    expect(page.locator("#goal")).to_have_attribute("aria-describedby", "wrong-goal")
    assert page.locator("#wrong-test_path").count() == 0, "nobody was there yet"
    page.fill("#title", "Add a double function")
    page.fill("#goal", "Add `double(a)` to `sums.py`, which returns twice its argument")
    expect(page.locator("#wrong-goal")).to_have_count(0, timeout=20_000)
    file.write_text("x = 1\n")
    page.set_input_files("#test_file", file)
    expect(page.locator("#wrong-test_content")).to_be_visible(timeout=20_000)
    file.write_text("def test_double():\n    assert False\n")
    page.set_input_files("#test_file", file)
    expect(page.locator("#wrong-test_content")).to_have_count(0, timeout=20_000)
    assert page.input_value("#test_content") == file.read_text()
    assert page.input_value("#test_path") == "tests/acceptance/test_double.py"
    assert desk.changes() == []
    found = Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    context.close()
