"""What is GitHub's alone: Apps, check runs, deployments, GraphQL, limits, and what a second look costs there."""

import base64
import contextlib
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from blocks.forges import github, hosted
from blocks.forges.github import GitHub
from domain.errors import ForgeError, InputError, NotYet
from domain.pull_request import (
    Annotation,
    DeploymentState,
    Level,
    ReviewState,
    Status,
    StatusState,
)
from tasks import pull_request as pulls
from tests.contract.hosted import LEAST, REPOSITORY, AtGitHub, world
from tests.contract.test_hosted_forges import goes_through, proposed
from tests.unit.policy_cases import evidence


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AtGitHub]:
    with world(tmp_path_factory.mktemp("github")) as made:
        yield made


def test_an_app_that_may_says_it_by_check_runs_with_annotations_and_no_cut_doubles_one(tmp_path: Path) -> None:
    with world(tmp_path, as_app=True, checks=True) as at:
        commit, ann = proposed(at, "lockgate/checks")[1], at.person("ann")
        notes = [
            Annotation(path="app.py", line=1 + n % 2, level=Level.WARNING, title="rule", message=f"{n}")
            for n in range(120)
        ]
        said = (
            Status(
                context="lockgate/security",
                state=StatusState.SUCCESS,
                sentence="s" * 300,
                text="- `x`",
                annotations=tuple(notes),
            ),
            Status(context="lockgate", state=StatusState.PENDING, sentence="waits"),
        )
        for kind in ("cut_before", "cut_after_write"):
            for method, path in (("POST", "/check-runs$"), ("PATCH", r"/check-runs/\d+$")):
                at.fake.fault(kind, method=method, path=path)
        for _ in range(8):
            with contextlib.suppress(NotYet):
                at.host.report(at.address, commit, said)
        runs = at.as_(ann, "GET", f"/commits/{commit}/check-runs?filter=all")["check_runs"]
        found = {one["name"]: one for one in runs}
        assert len(found) == len(runs) == 2, "one each, and nothing is said again"
        gate, summary = found["lockgate/security"], found["lockgate"]
        assert (gate["conclusion"], summary["status"], summary["conclusion"]) == ("success", "in_progress", None)
        assert len(gate["output"]["title"]) <= 140 and gate["output"]["annotations_count"] == 120
        shown = at.as_(ann, "GET", f"{gate['output']['annotations_url']}?per_page=100&page=2")
        assert (shown[-1]["message"], shown[-1]["start_line"], shown[-1]["annotation_level"]) == ("119", 2, "warning")
        at.host.report(at.address, commit, (said[1].model_copy(update={"state": StatusState.FAILURE}),))
        (summary,) = at.as_(ann, "GET", f"/commits/{commit}/check-runs?check_name=lockgate")["check_runs"]
        assert (summary["status"], summary["conclusion"]) == ("completed", "failure")
        assert at.as_(ann, "GET", f"/commits/{commit}/statuses") == []
        before = {"state": "pending", "context": "lockgate", "description": "said before checks might be written"}
        at.as_(ann, "POST", f"/statuses/{commit}", before)
        at.host.report(at.address, commit, (said[1].model_copy(update={"state": StatusState.SUCCESS}),))
        told = at.as_(ann, "GET", f"/commits/{commit}/status")["statuses"]
        assert {one["context"]: one["state"] for one in told} == {"lockgate": "success"}


def test_an_app_does_a_whole_round_and_renews_its_token(tmp_path: Path) -> None:
    """One that is not taken any more is renewed once, by the API as well as by git."""
    with world(tmp_path, as_app=True) as at:
        goes_through(at)
        for ask in (
            lambda: at.host.pull_request(at.address, 1),
            lambda: at.host.comment(at.address, 1, "lockgate:x", "hello"),
            lambda: at.forge.base(at.address, "main"),
            lambda: at.forge.publish(at.address, "lockgate/renewed", at.change("RENEWED = 1\n"), ()),
        ):
            at.fake.expire_all("lockgate[bot]")
            ask()
        at.fake.fault("status", path="/pulls/1$", status=401, times=2)
        with pytest.raises(InputError, match="ran out or was taken back"):
            at.host.pull_request(at.address, 1)


def test_how_a_release_goes_is_told_once_a_state(at: AtGitHub) -> None:
    commit = at.forge.base(at.address, "main")
    for state in (DeploymentState.IN_PROGRESS, DeploymentState.SUCCESS, DeploymentState.SUCCESS):
        at.host.announce(at.address, commit, "production", state, "http://shop.test", "well")
    at.host.announce(at.address, commit, "production", DeploymentState.INACTIVE, "http://shop.test", "rolled back")
    at.person("ann")
    (deployment,) = at.as_("ann", "GET", f"/deployments?sha={commit}")
    told = at.as_("ann", "GET", f"/deployments/{deployment['id']}/statuses")
    assert sorted(one["state"] for one in told) == ["in_progress", "inactive", "success"]
    others = {"ref": commit, "environment": "production", "auto_merge": False, "required_contexts": []}
    at.as_("ann", "POST", "/deployments", {**others, "description": "by hand"})
    for state in (DeploymentState.IN_PROGRESS, DeploymentState.IN_PROGRESS, DeploymentState.SUCCESS):
        at.host.announce(at.address, commit, "production", state, "http://shop.test", "once more")
    second, hand, first = at.as_("ann", "GET", f"/deployments?sha={commit}")
    states = [[one["state"] for one in at.as_("ann", "GET", one["statuses_url"])] for one in (second, hand, first)]
    assert states == [["success", "in_progress"], [], ["inactive", "success", "in_progress"]], "it is released anew"


def test_a_limit_is_waited_for_and_a_break_of_pages_is_no_shorter_list(
    at: AtGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(hosted, "sleep", waited.append)
    pull, _ = proposed(at, "lockgate/limits", "LIMIT = 1\n")
    at.fake.fault("secondary_limit", method="POST", path="/comments$", seconds=3)
    at.host.comment(at.address, pull.number, "lockgate:limit", "hello")
    assert waited == [3]
    at.fake.fault("secondary_limit", method="POST", path="/comments$", seconds=900)
    with pytest.raises(ForgeError, match="try again in 900 s"):
        at.host.comment(at.address, pull.number, "lockgate:other", "hello")
    at.fake.mend()
    at.fake.issues(REPOSITORY, "ann", 120)
    at.fake.fault("status", method="GET", path="/comments", times=0)
    with pytest.raises(ForgeError, match="answered 502"):
        at.host.comment(at.address, pull.number, "lockgate:more", "hello")
    at.fake.mend()


def test_a_read_that_changed_nothing_costs_nothing(at: AtGitHub) -> None:
    pull, _ = proposed(at, "lockgate/etag", "ETAG = 1\n")
    at.host.reviews(at.address, pull.number)
    before = len(at.fake.calls)
    assert at.host.reviews(at.address, pull.number) == ()
    assert [code for _, path, code in at.fake.calls[before:] if path.endswith("/reviews")] == [304]
    at.review(at.person("ann"), pull.number, "APPROVE")
    assert len(at.host.reviews(at.address, pull.number)) == 1


def test_a_full_page_that_is_as_it_was_hides_no_next_page(at: AtGitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted, "PER_PAGE", 3)
    pull, _ = proposed(at, "lockgate/pages", "PAGES = 1\n")
    ann = at.person("ann")
    for turn in range(3):
        at.review(ann, pull.number, "COMMENT", f"{turn}")
    assert len(at.host.reviews(at.address, pull.number)) == 3
    at.review(ann, pull.number, "APPROVE")
    before = len(at.fake.calls)
    assert at.host.reviews(at.address, pull.number)[3].state is ReviewState.APPROVED
    assert [code for _, path, code in at.fake.calls[before:] if path.endswith("/reviews")] == [304, 200]


def test_a_long_conversation_is_read_to_its_end(at: AtGitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    pull, _ = proposed(at, "lockgate/talk", "TALK = 1\n")
    at.person("carl", "read")
    line = {"path": "app.py", "line": 1, "side": "RIGHT", "body": "0"}
    at.review("carl", pull.number, "COMMENT", "", comments=[line])
    (first,) = at.as_("carl", "GET", f"/pulls/{pull.number}/comments")
    for turn in range(1, 5):
        said = {"body": f"{turn}", "in_reply_to": first["id"]}
        at.as_("carl" if turn < 4 else at.person("ann"), "POST", f"/pulls/{pull.number}/comments", said)
    for name in ("_THREADS", "_MORE_REMARKS"):
        query = (
            getattr(github, name).replace("comments(first: 50", "comments(first: 2").replace("first: 100", "first: 2")
        )
        monkeypatch.setattr(github, name, query)
    (thread,) = at.host.threads(at.address, pull.number)
    assert [one.text for one in thread.remarks] == ["0", "1", "2", "3", "4"]
    assert thread.remarks[-1].by.login == "ann", "whoever may write makes the conversation count, also late"


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("clean", None), ("unstable", None), ("has_hooks", None), ("behind", None), ("dirty", None),
        ("blocked", "the rules of its branch"), ("unknown", "has not said yet"), (None, "has not said yet"),
        ("", "has not said yet"), ("something_new", "calls its state something_new"), ("draft", "calls its state"),
    ],
)  # fmt: skip
def test_what_the_forge_does_not_say_is_no(word: str | None, why: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    host, slept = GitHub(token=SecretStr("t")), list[float]()
    shown = {"state": "open", "mergeable_state": word, "draft": False}
    monkeypatch.setattr(GitHub, "_get", lambda *_: shown)
    monkeypatch.setattr(hosted, "sleep", slept.append)
    said = host.why_blocked("https://github.com/acme/shop", 1, looks=5)
    assert said is None if why is None else said is not None and why in said
    assert len(slept) == (4 if why == "has not said yet" else 0), "it is waited for, and not for ever"
    shown["draft"] = True
    assert "a draft again" in str(host.why_blocked("https://github.com/acme/shop", 1))
    shown["state"] = "closed"
    assert host.why_blocked("https://github.com/acme/shop", 1) is None, "that it is over is asked another way"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "give a token, or app_id"),
        ({"token": SecretStr("t"), "app_id": "1", "private_key": SecretStr("k")}, "give a token, or app_id"),
        ({"token": SecretStr("t"), "url": "http://example.org/acme"}, "not sent over http"),
        ({"token": SecretStr("t"), "api_url": "http://example.org"}, "not sent over http"),
        ({"app_id": "1"}, "give a token, or app_id"),
    ],
)
def test_a_block_that_cannot_work_is_refused(fields: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        GitHub.model_validate(fields)


def test_an_enterprise_server_is_asked_under_its_own_address() -> None:
    host = GitHub(url="https://git.example.org/acme", token=SecretStr("t"))
    assert host._api == "https://git.example.org/api/v3"
    assert host.is_for("https://git.example.org/acme/shop.git")
    assert not host.is_for("https://git.example.org/acmeevil/shop.git")
    assert host.is_for("https://git.example.org/ACME/shop"), "it is the same to GitHub"
    assert not host.is_for("https://git.example.org/acme/../other/shop.git")
    assert not host.is_for("https://git.example.org/acme/%2e%2e/other/shop.git")
    assert GitHub(token=SecretStr("t"))._api == "https://api.github.com"


def test_findings_go_to_code_scanning_where_that_is_wanted_and_may_be(at: AtGitHub, tmp_path: Path) -> None:
    pull, commit = proposed(at, "lockgate/listed")
    ref, log = f"refs/pull/{pull.number}/head", b'{"version": "2.1.0", "runs": []}'
    assert at.host.scan_results(at.address, commit, ref, log) is None and not at.fake.forge.store.find("sarif"), "off"
    wants = at.host.model_copy(update={"code_scanning": True})
    why = wants.scan_results(at.address, commit, ref, log)
    assert why and "answered 403 to POST" in why and not at.fake.forge.store.find("sarif"), "this token may not"
    more = at.fake.token("robot", permissions=LEAST | {"security_events": "write"}, repositories=[REPOSITORY])
    may = wants.model_copy(update={"token": SecretStr(more)})
    for _ in range(2):  # as after kill -9: it is sent again, and takes the place of the first
        assert may.scan_results(at.address, commit, ref, log) is None
    (kept, again) = at.fake.forge.store.find("sarif")
    assert kept["sha"] == commit and kept["sarif"] == again["sarif"], "the same bytes"
    assert gzip.decompress(base64.b64decode(kept["sarif"])) == log
    at.fake.fault("status", method="POST", path="/code-scanning/sarifs$", status=404)
    assert "answered 404" in str(may.scan_results(at.address, commit, ref, log)), "not switched on"


def test_an_app_asks_for_security_events_only_where_findings_are_to_go_there(tmp_path: Path) -> None:
    with world(tmp_path, as_app=True) as at:
        asked = GitHub._as_app
        given: list[Any] = []

        def seen(self: GitHub, method: str, path: str, body: Any = None) -> Any:
            given.append(body)
            made = asked(self, method, path, body and {**body, "permissions": LEAST})
            return made | {"permissions": {**made["permissions"], "security_events": "write"}}

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(GitHub, "_as_app", seen)
            at.host.forget_token(at.address)
            for host in (at.host, at.host.model_copy(update={"code_scanning": True})):
                assert host._token(at.address) == host._token(at.address), "kept, each for itself"
    plain, wants = [body["permissions"] for body in given if body]
    assert "security_events" not in plain and wants["security_events"] == "write"


@pytest.mark.parametrize("fails", ["", "no", "break"])
def test_a_list_of_findings_that_takes_none_stops_no_run_and_is_told_once(
    at: AtGitHub, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    sent: list[tuple[str, str, bytes]] = []
    told: list[str] = []

    def scan_results(self: GitHub, repository: str, commit: str, ref: str, sarif: bytes) -> str | None:
        sent.append((commit, ref, sarif))
        if fails == "break":
            raise NotYet("it answered 503")
        return "it answered 403" if fails else None

    monkeypatch.setattr(GitHub, "scan_results", scan_results)
    monkeypatch.setattr(pulls, "_not_listed", set())
    monkeypatch.setattr(pulls, "_log_that", told.append)
    for _ in range(2):
        pulls._list_findings(at.host, at.address, 7, "a" * 40, evidence())
    assert len(told) == bool(fails) and {one[:2] for one in sent} == {("a" * 40, "refs/pull/7/head")}
    (run,) = json.loads(sent[0][2])["runs"]
    assert run["tool"]["driver"]["name"] == "Lockgate"
