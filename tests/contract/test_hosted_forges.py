"""Hosted forges by their REST APIs, one suite for all: each write is looked for first, and what people say there is
read as it is."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from blocks.forges import LocalForge, hosted
from blocks.forges import git as runner
from blocks.forges.forgejo import Forgejo, ready
from blocks.forges.gitlab import GitLab, Version, _head_at
from blocks.forges.gitlab import ready as titled
from domain.errors import ForgeError, InputError, NotYet
from domain.pull_request import (
    DeploymentState,
    LineRemark,
    Person,
    PullRequest,
    PullState,
    ReviewState,
    Status,
    StatusState,
)
from kits.fake_forge.answers import ForgeAnswer
from kits.fake_forge.ask import ForgeRequest
from kits.fake_forge.gitlab import endpoints
from tests.contract.hosted import REPOSITORY, WORLDS, AtForgejo, AtGitLab, World, forgejo_world, gitlab_world

SEARCH = "def search(text):\n    return [text]\n"


@pytest.fixture(scope="module", params=WORLDS)
def at(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[World]:
    with WORLDS[request.param](tmp_path_factory.mktemp(request.param)) as made:
        yield made


def proposed(at: World, branch: str, text: str = SEARCH, title: str = "Search") -> tuple[PullRequest, str]:
    commit = at.change(text)
    assert at.forge.publish(at.address, branch, commit, ()) is None
    return at.host.propose(at.address, branch, "main", title, "body", draft=True), commit


def test_a_pull_request_goes_from_a_draft_to_a_merge_as_one_commit(at: World) -> None:
    goes_through(at)


def goes_through(at: World) -> None:
    pull, commit = proposed(at, "lockgate/one")
    assert (pull.state, pull.is_draft, pull.head, pull.base) == (PullState.OPEN, True, commit, "main")
    again = at.host.propose(at.address, "lockgate/one", "main", "Search again", "other body", draft=True)
    assert again.number == pull.number
    at.host.mark_ready(at.address, pull)
    at.host.mark_ready(at.address, at.host.pull_request(at.address, pull.number))
    ready = at.host.pull_request(at.address, pull.number)
    assert not ready.is_draft

    base = at.forge.base(at.address, "main")
    merged = at.host.merge(at.address, ready, commit, f"Search (#{pull.number})", "Lockgate-Brief: abc")
    assert merged.commit == at.forge.base(at.address, "main") != base
    assert at.forge.tree_id(at.address, merged.commit) == at.forge.tree_id(at.address, commit)
    assert "Lockgate-Brief: abc" in at.forge.message(at.address, merged.commit)
    assert at.host.merge(at.address, ready, commit, "again", "") == merged
    over = at.host.propose(at.address, "lockgate/one", "main", "Search", "body", draft=True)
    assert (over.number, over.state, over.merged_commit) == (pull.number, PullState.MERGED, merged.commit)
    assert at.forge.revert(at.address, "main", merged.commit, "sick"), "one parent: it can be taken back"


def test_another_head_is_not_merged(at: World) -> None:
    pull, commit = proposed(at, "lockgate/moved")
    mine = at.pushed_by(at.person("eve"), "lockgate/moved", "import os\n")
    assert at.host.pull_request(at.address, pull.number).head == mine
    answer = at.host.merge(at.address, pull, commit, "t", "m")
    assert answer.commit is None and answer.is_moved and mine[:12] in answer.reason
    assert at.forge.publish(at.address, "lockgate/moved", at.change("x = 1\n"), (commit,)) == mine, "not pushed over"
    assert at.forge.publish(at.address, "lockgate/own", commit, ()) is None
    assert at.forge.publish(at.address, "lockgate/own", commit, ()) is None
    newer = at.change("x = 2\n")
    assert at.forge.publish(at.address, "lockgate/own", newer, (commit,)) is None


def test_whether_a_branch_is_protected_is_the_forges_word_and_what_it_does_not_say_is_yes(
    at: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    at.make_branch(at.person("ann"), "ann/one")
    at.protect()
    try:
        assert at.host.is_protected(at.address, "main") and not at.host.is_protected(at.address, "ann/one")
    finally:
        at.unprotect()
    assert not at.host.is_protected(at.address, "main")
    with pytest.raises(InputError):
        at.host.is_protected(at.address, "no/such")
    monkeypatch.setattr(type(at.host), "_branch", lambda *_: {"name": "main"})
    assert at.host.is_protected(at.address, "main")


def test_the_forge_itself_refuses_a_head_that_moved_in_the_last_moment(
    at: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own look said that all was well."""
    pull, commit = proposed(at, "lockgate/late", "LATE = 1\n")
    at.host.mark_ready(at.address, pull)
    ready_one, tip = at.host.pull_request(at.address, pull.number), at.forge.base(at.address, "main")
    at.person("eve")
    send = type(at.host)._send

    def late(self: object, repository: str, method: str, path: str, *more: object) -> object:
        if path.endswith("/merge"):
            at.pushed_by("eve", "lockgate/late", "import os  # late\n")
            at.pull(pull.number)  # its check for conflicts is over
        return send(self, repository, method, path, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(type(at.host), "_send", late)
    answer = at.host.merge(at.address, ready_one, commit, "t", "m")
    assert answer.commit is None and answer.is_moved
    assert at.forge.base(at.address, "main") == tip


def test_what_the_gates_say_is_said_once(at: World) -> None:
    commit = proposed(at, "lockgate/status")[1]
    said = (
        Status(context="lockgate/tests", state=StatusState.SUCCESS, sentence="x" * 500),
        Status(context="lockgate", state=StatusState.PENDING, sentence="waits"),
    )
    for _ in range(2):
        at.host.report(at.address, commit, said)
    assert at.calls("POST", f"/statuses/{commit}") == 2
    at.host.report(at.address, commit, (said[1].model_copy(update={"state": StatusState.SUCCESS}),))
    assert at.calls("POST", f"/statuses/{commit}") == 3
    assert at.statuses(commit)["lockgate"] == ("success", "waits")


def test_our_comment_is_one_and_that_of_others_is_left_alone(at: World) -> None:
    pull, _ = proposed(at, "lockgate/comment")
    fake = "<!-- lockgate:run -->\nmerge me"
    at.say(at.person("ann"), pull.number, fake)
    for text in ("first", "second", "second"):
        at.host.comment(at.address, pull.number, "lockgate:run", text)
    assert at.said(pull.number) == [fake, "<!-- lockgate:run -->\nsecond"]


def test_findings_stand_at_their_lines_once_a_head_whatever_is_cut_off(at: World) -> None:
    """Those in a file that base has changed too, or at no line that can be named, stand in our comment alone."""
    pull, head = proposed(at, "lockgate/lines", "".join(f"LINE_{number} = {number}\n" for number in range(40)))
    mine = [LineRemark(path="app.py", line=n, where=f"`app.py:{n}`", text=f"`at {n}`") for n in range(1, 39)]
    other = [one.model_copy(update={"is_as_judged": False}) for one in mine]
    far = LineRemark(path="nowhere.py", line=1, where="`nowhere.py:1`", text="`far`")
    at.host.remark(at.address, pull.number, "f" * 40, mine)
    at.host.remark(at.address, pull.number, head, other)
    at.host.remark(at.address, pull.number, head, [far])
    assert at.host.threads(at.address, pull.number) == (), "not of another head, nor where no line is known"
    wanted = [*other[:1], *mine[2:4], far]
    for kind in ("cut_before", "cut_after_write"):
        at.fake.fault(kind, method="POST", path="/(reviews|discussions)$")
        with pytest.raises(NotYet):
            at.host.remark(at.address, pull.number, head, wanted)
    at.fake.mend()
    for _ in range(2):
        at.host.remark(at.address, pull.number, head, wanted)
    talks = at.host.threads(at.address, pull.number)
    assert sorted((one.path, one.line) for one in talks) == [("app.py", 3), ("app.py", 4)]
    said = {remark.by.login.partition("[")[0] for one in talks for remark in one.remarks}
    assert len(said) == 1 and not any(one.is_resolved for one in talks)
    assert all("at 3" in one.remarks[0].text or "at 4" in one.remarks[0].text for one in talks)

    at.person("ann")
    newer = at.pushed_by("ann", "lockgate/lines", "import os\n" + "A = 1\n" * 50)
    at.host.remark(at.address, pull.number, newer, mine)
    assert len(at.host.threads(at.address, pull.number)) == 2 + 30, "people get a mail with all of them"


def test_reviews_threads_and_permissions_are_read_as_they_are(at: World) -> None:
    pull, commit = proposed(at, "lockgate/reviews")
    for name in ("ann", "bob"):
        at.person(name)
    at.person("carl", "read")
    at.review("ann", pull.number, "REQUEST_CHANGES", "no", [(2, "why a list?")])
    at.review("carl", pull.number, "APPROVE")
    ann, carl = at.host.reviews(at.address, pull.number)
    assert (ann.by.login, ann.state, ann.commit, ann.text) == ("ann", ReviewState.CHANGES_REQUESTED, commit, "no")
    assert (carl.by.login, carl.by.is_bot, carl.state) == ("carl", False, ReviewState.APPROVED)
    (thread,) = at.host.threads(at.address, pull.number)
    assert (thread.path, thread.line, thread.is_resolved) == ("app.py", 2, False)
    assert thread.remarks[0].by == ann.by and thread.remarks[0].text == "why a list?"
    assert at.host.may_write(at.address, ann.by)
    assert not at.host.may_write(at.address, carl.by)
    assert not at.host.may_write(at.address, Person(login="ann", id=carl.by.id)), "the login is another's by now"
    assert not at.host.may_write(at.address, Person(login="nobody-at-all", id=1))
    at.fake.collaborator(REPOSITORY, "ann", "none")
    assert not at.host.may_write(at.address, ann.by), "asked anew each time"
    assert at.host.ask_reviewers(at.address, pull.number, ["bob", "nobody-at-all"]) == ("nobody-at-all",)
    at.person("ann")
    at.review("ann", pull.number, "APPROVE")
    at.dismiss(pull.number)
    last = [one.state for one in at.host.reviews(at.address, pull.number) if one.by.login == "ann"][-1:]
    assert last in ([], [ReviewState.DISMISSED]), "it is dismissed, or gone"


def test_a_draft_that_a_person_makes_stays_one_through_our_next_attempt(at: World) -> None:
    pull, _ = proposed(at, "lockgate/draft", "DRAFT = 1\n", "WIP: [wip] Search")
    at.host.mark_ready(at.address, pull)
    assert not at.host.pull_request(at.address, pull.number).is_draft
    at.make_draft(at.person("ann"), pull.number, True)
    again = at.host.propose(at.address, "lockgate/draft", "main", "Search again", "other", draft=True)
    assert again.is_draft and again.number == pull.number and at.pull(pull.number).title.endswith("Search again")
    assert "a draft again" in str(at.host.why_blocked(at.address, pull.number))
    at.host.mark_ready(at.address, again)
    assert at.host.why_blocked(at.address, pull.number, looks=2) is None


def test_how_a_release_goes_is_told_once_a_state_at_what_was_merged(at: World) -> None:
    commit = at.forge.base(at.address, "main")
    for state in (DeploymentState.IN_PROGRESS, DeploymentState.SUCCESS, DeploymentState.SUCCESS):
        at.host.announce(at.address, commit, "production", state, "http://shop.test", "well")
    at.host.announce(at.address, commit, "production", DeploymentState.INACTIVE, "http://shop.test", "rolled back")
    assert at.released(commit) == ["in_progress", "success", "inactive"]


@pytest.mark.parametrize("kind", ["cut_before", "cut_after_write", "status"])
def test_a_write_that_is_cut_off_is_found_again_and_not_done_twice(at: World, kind: str) -> None:
    branch = f"lockgate/cut-{kind}"
    commit = at.change(f"CUT = {kind!r}\n")
    assert at.forge.publish(at.address, branch, commit, ()) is None
    said = (Status(context="lockgate", state=StatusState.SUCCESS, sentence=kind),)
    number = 0

    def ships() -> str:
        nonlocal number
        pull = at.host.propose(at.address, branch, "main", "Cut", "first", draft=True)
        number = pull.number
        pull = at.host.propose(at.address, branch, "main", "Cut", "second", draft=True)
        at.host.report(at.address, commit, said)
        at.host.comment(at.address, pull.number, "lockgate:cut", "first")
        at.host.comment(at.address, pull.number, "lockgate:cut", "second")
        at.host.mark_ready(at.address, pull)
        answer = at.host.merge(at.address, pull, commit, "Cut", "it")
        assert answer.commit, answer.reason
        for state in (DeploymentState.IN_PROGRESS, DeploymentState.SUCCESS):
            at.host.announce(at.address, answer.commit, "production", state, "", "well")
        return answer.commit

    for method, path in at.CUTS:
        at.fake.fault(kind, method=method, path=path)
    merged = ""
    for _ in range(len(at.CUTS) + 2):  # each of them stops it once at most
        try:
            merged = ships()
            break
        except ForgeError:
            continue
    at.fake.mend()
    at.person("ann")
    pulls = at.as_("ann", "GET", at.PULLS)
    numbers = [one.get("number") or one["iid"] for one in pulls]
    assert [one for one in numbers if at.pull(one).branch == branch] == [number]
    assert len(at.said(number)) == 1
    assert at.forge.contains(at.address, "main", merged)
    assert at.released(merged) == ["in_progress", "success"]
    assert at.host.pull_request(at.address, number).merged_commit == merged


def test_a_limit_is_waited_for(at: World, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(hosted, "sleep", waited.append)
    pull, _ = proposed(at, "lockgate/limits", "LIMIT = 1\n")
    at.fake.fault("secondary_limit", method="POST", path="/(comments|notes)$", seconds=3)
    at.host.comment(at.address, pull.number, "lockgate:limit", "hello")
    assert waited == [3]
    at.fake.fault("secondary_limit", method="POST", path="/(comments|notes)$", seconds=900)
    with pytest.raises(ForgeError, match="try again in 900 s"):
        at.host.comment(at.address, pull.number, "lockgate:other", "hello")
    at.fake.mend()


def test_its_token_is_in_no_command_no_environment_no_address_and_no_error(
    at: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []
    run = runner.run

    def watch(argv: object, environment: object, *more: object) -> runner.GitRun:
        ran = run(argv, environment, *more)  # type: ignore[arg-type]
        seen.append(f"{argv} {environment} {ran}")
        return ran

    monkeypatch.setattr(runner, "run", watch)
    commit = at.change("CANARY = 1\n")
    assert at.forge.publish(at.address, "lockgate/canary", commit, ()) is None
    pull = at.host.propose(at.address, "lockgate/canary", "main", "Canary", "body", draft=True)
    for kind in ("cut_before", "cut_after_write", "half_answer"):
        at.fake.fault(kind, method="POST", path="/(comments|notes)$")
        with pytest.raises(ForgeError) as caught:
            at.host.comment(at.address, pull.number, f"lockgate:{kind}", "hello")
        seen.append("".join(f"{err!r} {vars(err)}" for err in (caught.value, caught.value.__cause__) if err))
    at.fake.mend()
    token = at.host._token(at.address)
    at.fake.fault("status", path=f"/(pulls|merge_requests)/{pull.number}$", status=401)
    with pytest.raises(InputError, match="ran out or was taken back"):
        at.host.pull_request(at.address, pull.number)
    seen += [str(at.host), repr(at.host), at.host.model_dump_json(), *capfd.readouterr()]
    seen += [path for _, path, _ in at.fake.calls]
    assert any("cat /dev/fd/" in line for line in seen)
    assert not [line for line in seen if token in line]


def test_what_is_renamed_gone_or_archived_is_said(at: World) -> None:
    pull, _ = proposed(at, "lockgate/names", "NAMES = 1\n")
    with pytest.raises(InputError, match="it is gone, or the token may not see it"):
        at.host.pull_request(at.address, 4711)
    at.rename("shop", "store")
    try:
        with pytest.raises(InputError, match="renamed or moved; name its new address"):
            at.host.pull_request(at.address, pull.number)
        assert "renamed or moved" in str(at.host.why_over(at.address))
        there = at.address.replace("shop", "store")
        at.archive(True, "store")
        with pytest.raises(ForgeError, match=r"archived|403 Forbidden"):
            at.host.comment(there, pull.number, "lockgate:x", "hello")
        assert "was archived at" in str(at.host.why_over(there))
        at.archive(False, "store")
    finally:
        at.rename("store", "shop")
    assert at.host.why_over(at.address) is None and at.host.doctor(at.address) is None


def test_a_host_is_asked_for_its_own_repositories_alone(at: World) -> None:
    assert at.host.is_for(at.address) and at.host.is_for(at.address.upper().replace("HTTP:", "http:"))
    assert not at.host.is_for(at.address.replace("/acme/", "/acmeevil/"))
    assert not at.host.is_for(at.address.replace("/acme/", "/acme/../other/"))
    assert LocalForge(hosts=("gitolite/acme",)).hosts and "gitolite" not in WORLDS
    with pytest.raises(InputError, match="KIND/NAME with github or gitlab or forgejo"):
        LocalForge(hosts=("gitolite/acme",)).hosted(at.address)


# ── what is Forgejo's alone ──


@pytest.fixture(scope="module")
def codeberg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AtForgejo]:
    with forgejo_world(tmp_path_factory.mktemp("codeberg")) as made:
        yield made


def test_a_conversation_is_one_review_at_one_line_and_resolved_on_its_pages_alone(codeberg: AtForgejo) -> None:
    at = codeberg
    pull, _ = proposed(at, "lockgate/talks", "TALKS = 1\nAND = 2\n")
    at.person("ann"), at.person("bob")
    at.review("ann", pull.number, "COMMENT", "", [(1, "why?"), (2, "and this?"), (1, "and how?")])
    at.fake.resolve(REPOSITORY, pull.number, "ann")
    at.review("bob", pull.number, "COMMENT", "", [(1, "I do not think so")])
    found = {(one.line, one.is_resolved, len(one.remarks)) for one in at.host.threads(at.address, pull.number)}
    assert found == {(1, True, 2), (2, True, 1), (1, False, 1)}, "what bob says later at the same line is still open"


def test_who_is_a_program_is_what_its_block_says(codeberg: AtForgejo) -> None:
    at = codeberg
    pull, _ = proposed(at, "lockgate/bots", "BOTS = 1\n")
    at.person("renovate")
    at.review("renovate", pull.number, "APPROVE")
    assert [one.by.is_bot for one in at.host.reviews(at.address, pull.number)] == [False]
    named = at.host.model_copy(update={"bots": ("Renovate",)})
    assert [one.by.is_bot for one in named.reviews(at.address, pull.number)] == [True]
    assert named._person({"login": "Ghost", "id": -1}).is_bot and named._person({"login": "actions", "id": -2}).is_bot


def test_who_may_not_ask_what_others_may_opens_nothing_and_lets_nothing_pass(codeberg: AtForgejo) -> None:
    at = codeberg
    ann = Person(login=at.person("ann"), id=int(at.as_("ann", "GET", f"{at.api}/user")["id"]))
    assert at.host.may_write(at.address, ann)
    at.person("robot", "write")
    try:
        with pytest.raises(InputError, match=r"tells it to administrators of .* alone"):
            at.host.may_write(at.address, ann)
        commit = at.change("BLIND = 1\n")
        assert at.forge.publish(at.address, "lockgate/blind", commit, ()) is None
        with pytest.raises(InputError, match="no approval could count"):
            at.host.propose(at.address, "lockgate/blind", "main", "Blind", "body", draft=True)
    finally:
        at.person("robot", "admin")
    assert not [
        one for one in at.as_("ann", "GET", "/pulls?state=all&limit=50") if one["head"]["label"].endswith("blind")
    ]


def test_a_list_is_read_to_its_end_however_short_its_pages_are(
    codeberg: AtForgejo, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = codeberg
    monkeypatch.setattr("kits.fake_forge.forgejo.endpoints.MOST", 2)
    pull, commit = proposed(at, "lockgate/pages", "PAGES = 1\n")
    at.person("ann")
    for turn in range(5):
        at.review("ann", pull.number, "COMMENT", f"{turn}")
    assert [one.text for one in at.host.reviews(at.address, pull.number)] == ["0", "1", "2", "3", "4"]
    said = [Status(context=f"lockgate/{n}", state=StatusState.SUCCESS, sentence="well") for n in range(5)]
    for _ in range(2):
        at.host.report(at.address, commit, said)
    assert at.calls("POST", f"/statuses/{commit}") == 5, "what stands on the last page is not said again"
    assert at.host.propose(at.address, "lockgate/pages", "main", "Pages", "body", draft=True).number == pull.number


@pytest.mark.parametrize(
    ("shown", "rule", "why"),
    [
        ({}, {}, None),
        ({"mergeable": False}, {}, "has not said yet"),
        ({"mergeable": False, "merge_base": "older"}, {}, None),
        ({"draft": True, "mergeable": False}, {}, "a draft again"),
        ({"state": "closed", "mergeable": False}, {}, None),
        ({}, {"user_can_merge": False}, "do not let the platform's user merge"),
        ({}, {"required_approvals": 1}, None),
        ({}, {"required_approvals": 2}, "1 of 2 approvals that count"),
        ({}, {"enable_status_check": True, "status_check_contexts": ["ci/*"]}, None),
        ({}, {"enable_status_check": True, "status_check_contexts": ["ci/*", "other"]}, "required checks, other"),
        ({}, {"enable_status_check": True}, "required checks"),
    ],
)
def test_what_is_known_of_the_rule_of_a_branch_holds_back_until_it_is_fulfilled(
    shown: dict[str, object], rule: dict[str, object], why: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Forgejo(url="https://git.example.org/acme", token=SecretStr("t"))
    monkeypatch.setattr(hosted, "sleep", lambda _: None)
    pull = {"number": 1, "state": "open", "mergeable": True, "draft": False, "merge_base": "base"}
    pull |= {"base": {"ref": "main", "sha": "base"}, "head": {"sha": "head"}}
    ann, bob = ({"id": n, "login": name} for n, name in ((1, "ann"), (2, "bob")))
    answers = {
        "/pulls/1": pull | shown,
        "/branches/main": {"protected": bool(rule), "user_can_merge": True} | rule,
        "/pulls/1/reviews": [
            {"id": 1, "user": ann, "state": "APPROVED", "official": True},
            {"id": 2, "user": bob, "state": "APPROVED", "official": False},
            {"id": 3, "user": bob, "state": "COMMENT", "official": False},
        ],
        "/statuses/head": [
            {"id": 1, "context": "ci/test", "status": "pending"},
            {"id": 2, "context": "ci/test", "status": "success"},
            {"id": 3, "context": "nightly", "status": "failure"},
        ],
    }
    monkeypatch.setattr(Forgejo, "_get", lambda self, repository, path: answers[path.removeprefix("/repos/acme/shop")])
    monkeypatch.setattr(Forgejo, "_all", Forgejo._get)
    said = host.why_blocked("https://git.example.org/acme/shop", 1, looks=2)
    assert said is None if why is None else said is not None and why in said


def test_what_a_forge_does_not_say_is_no() -> None:
    host = Forgejo(
        url="https://git.example.org/sub/acme", api_url="https://git.example.org/sub/api/v1", token=SecretStr("t")
    )
    assert host._at("https://git.example.org/sub/acme/shop.git") == "/repos/acme/shop"
    assert Forgejo(url="https://git.example.org/acme", token=SecretStr("t"))._api == "https://git.example.org/api/v1"
    with pytest.raises(InputError, match="is no repository of Forgejo"):
        host._at("https://git.example.org/sub/acme/shop/more")
    assert [ready(one) for one in ("WIP: [WIP] wip: x", "WIPx", "WIP:")] == ["x", "WIPx", "Change"]
    for fields, why in (
        ({}, "give a token"),
        ({"token": SecretStr("t"), "url": "http://example.org"}, "not sent over http"),
    ):
        with pytest.raises(ValidationError, match=why):
            Forgejo.model_validate({"url": "https://git.example.org/acme", **fields})


# ── what is GitLab's alone ──


@pytest.fixture(scope="module")
def gitlab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AtGitLab]:
    with gitlab_world(tmp_path_factory.mktemp("gitlab")) as made:
        yield made


def test_an_approval_counts_for_the_version_that_stood_when_it_was_given(gitlab: AtGitLab) -> None:
    at = gitlab
    pull, first = proposed(at, "lockgate/versions", "VERSIONS = 1\n")
    at.person("ann"), at.person("bob")
    at.review("ann", pull.number, "APPROVE")
    second = at.change("VERSIONS = 2\n")
    assert at.forge.publish(at.address, "lockgate/versions", second, (first,)) is None
    at.review("bob", pull.number, "APPROVE")
    assert [(one.by.login, one.commit) for one in at.host.reviews(at.address, pull.number)] == [
        ("ann", first),
        ("bob", second),
    ], "GitLab keeps an approval through a push, where nobody tells it to take it back"
    assert at.forge.publish(at.address, "lockgate/versions", first, (second,)) is None
    assert [one.commit for one in at.host.reviews(at.address, pull.number)] == [first, second]


def test_changes_requested_are_of_their_moment_with_what_was_said_last(
    gitlab: AtGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = gitlab
    pull, commit = proposed(at, "lockgate/wishes", "WISHES = 1\n")
    at.person("ann")
    at.review("ann", pull.number, "REQUEST_CHANGES", "call it TITLE")
    (wish,) = at.host.reviews(at.address, pull.number)
    assert (wish.state, wish.commit, wish.text) == (ReviewState.CHANGES_REQUESTED, commit, "call it TITLE")
    notes = at.host._notes(at.address, at.host._talk(at.address, pull.number, is_issue=False))
    monkeypatch.setattr(GitLab, "_notes", lambda *_: [one for one in notes if not one["system"]])
    (wish,) = at.host.reviews(at.address, pull.number)
    assert (wish.state, wish.commit) == (ReviewState.CHANGES_REQUESTED, ""), "it stands all the same"
    at.review("ann", pull.number, "APPROVE")
    (given,) = at.host.reviews(at.address, pull.number)
    assert given.state is ReviewState.APPROVED, "who approves takes it back"


@pytest.mark.parametrize(
    ("moment", "head"),
    [
        (None, ""), ("", ""), ("2026-01-01T09:00:00.000Z", ""), ("2026-01-01T10:00:00.000Z", ""),
        ("2026-01-01T10:00:00.001Z", "one"), ("2026-01-01T12:00:01.000+01:00", "two"), ("2027-01-01T00:00:00Z", "two"),
    ],
)  # fmt: skip
def test_an_approval_of_an_unknown_moment_is_of_no_commit(moment: str | None, head: str) -> None:
    since = [datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (10, 11)]
    versions = [Version("one", since[0], 1), Version("two", since[1], 2)]
    assert _head_at(versions, moment) == head


def test_who_is_no_active_developer_or_not_said_to_be_a_person_lets_nothing_pass(
    gitlab: AtGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = gitlab
    ann = Person(login=at.person("ann"), id=int(at.as_("ann", "GET", f"{at.api}/user")["id"]))
    assert at.host.may_write(at.address, ann)
    get = GitLab._get
    for field, value in (("access_level", 20), ("state", "blocked"), ("state", None), ("username", "other"), ("id", 7)):

        def less(self: GitLab, repository: str, path: str, field: str = field, value: object = value) -> object:
            return get(self, repository, path) | {field: value}

        monkeypatch.setattr(GitLab, "_get", less)
        assert not at.host.may_write(at.address, ann), field
    for number, said, is_bot in ((7001, {"bot": False}, False), (7002, {"bot": True}, True), (7003, {}, True)):
        monkeypatch.setattr(GitLab, "_get", lambda self, repository, path, said=said: said)
        assert at.host._person(at.address, {"id": number, "username": "x"}).is_bot is is_bot


def test_whether_a_user_is_a_program_is_asked_once_an_hour_and_not_of_what_is_resolved(
    gitlab: AtGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = gitlab
    pull, _ = proposed(at, "lockgate/talkative", "TALKS = 1\nAND = 2\n")
    at.person("gil"), at.person("hal")
    at.review("hal", pull.number, "COMMENT", "", [(1, "is it so?")])
    (one,) = at.as_("hal", "GET", f"/merge_requests/{pull.number}/discussions")
    at.as_("hal", "PUT", f"/merge_requests/{pull.number}/discussions/{one['id']}", {"resolved": True})
    at.review("gil", pull.number, "APPROVE", "", [(line, "why?") for line in (1, 2, 1, 2)])
    now, number = [0.0], at.as_("gil", "GET", f"{at.api}/user")["id"]
    monkeypatch.setattr("blocks.forges.gitlab.monotonic", lambda: now[0])

    def asked() -> int:
        before = len(at.fake.calls)
        for _ in range(3):
            assert [review.by.login for review in at.host.reviews(at.address, pull.number)] == ["gil"]
            talks = at.host.threads(at.address, pull.number)
            assert [(talk.is_resolved, len(talk.remarks)) for talk in talks] == [(True, 0), *[(False, 1)] * 4]
        users = [path for _, path, _ in at.fake.calls[before:] if "/users/" in path]
        assert all(path.endswith(f"/users/{number}") for path in users)
        return len(users)

    assert (asked(), asked()) == (1, 0)
    now[0] = 3601.0
    assert asked() == 1, "it is looked at again"


def test_next_pages_are_read_where_gitlab_has_another_name_for_itself_and_a_short_page_is_not_the_last(
    gitlab: AtGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = gitlab
    pull, _ = proposed(at, "lockgate/pages", "PAGES = 1\n")
    at.person("ann")
    for text in ("0", "1", "hidden", "3", "4"):
        at.say("ann", pull.number, text)
    real = endpoints.paged

    def less(ask: ForgeRequest, items: list[Any]) -> ForgeAnswer:
        answer = real(ask, items)
        return answer._replace(body=[one for one in answer.body if one.get("body") != "hidden"])

    monkeypatch.setattr(endpoints, "paged", less)
    monkeypatch.setattr(hosted, "PER_PAGE", 2)
    inside = at.host.model_copy(update={"url": at.host.url.replace("127.0.0.1", "localhost")})
    address = at.address.replace("127.0.0.1", "localhost")
    assert [one.text for one in inside._comments(address, inside._talk(address, pull.number, is_issue=False))] == [
        "0",
        "1",
        "3",
        "4",
    ]
    assert [one["source_branch"] for one in [inside._from(address, "lockgate/pages")]] == ["lockgate/pages"]


def test_a_token_that_lacks_a_scope_is_told_so_in_gitlabs_words(gitlab: AtGitLab) -> None:
    at = gitlab
    token = SecretStr(at.fake.token("robot", permissions={"api": "read", "repository": "write"}))
    weak, said = (
        at.host.model_copy(update={"token": token}),
        Status(context="x", state=StatusState.SUCCESS, sentence=""),
    )
    with pytest.raises(ForgeError, match=r"answered 403 to POST .*: The request requires higher privileges than"):
        weak.report(at.address, at.base, (said,))


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("mergeable", None), ("need_rebase", None), ("conflict", None), ("not_open", None),
        ("checking", "has not said yet"), ("unchecked", "has not said yet"), (None, "has not said yet"),
        ("approvals_syncing", "has not said yet"), ("draft_status", "a draft again"), ("not_approved", "approvals"),
        ("discussions_not_resolved", "conversations"), ("ci_must_pass", "required pipelines"),
        ("something_new", "which nobody here knows"),
    ],
)  # fmt: skip
def test_what_gitlab_does_not_say_is_no(word: str | None, why: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    host = GitLab(token=SecretStr("t"))
    monkeypatch.setattr(hosted, "sleep", lambda _: None)
    shown = {"state": "opened", "detailed_merge_status": word, "draft": False}
    monkeypatch.setattr(GitLab, "_get", lambda *_: shown)
    said = host.why_blocked("https://gitlab.com/acme/tools/shop", 1, looks=3)
    assert said is None if why is None else said is not None and why in said
    assert host._at("https://gitlab.com/acme/tools/shop.git") == "/projects/acme%2Ftools%2Fshop"
    assert [titled(one) for one in ("Draft: [Draft] draft: x", "Drafty", "(draft)")] == ["x", "Drafty", "Change"]
    with pytest.raises(ValidationError, match="give a token"):
        GitLab.model_validate({"url": "https://gitlab.com/acme"})
