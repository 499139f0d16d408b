"""Pull requests that somebody else opened go through the lock: who may ask for it, what is judged, who lets it pass."""

import logging
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prefect import Task
from prefect.states import Running
from pydantic import SecretStr

from blocks.ledger.ledger import Ledger
from domain.brief import Brief
from domain.errors import ForgeError, InputError, NotYet
from domain.policy.elsewhere import Unfit
from domain.pull_request import LineRemark
from domain.task import Answer, End, Feedback, Finding, Outcome, Severity
from flows.forge_watch import waits_for_a_push, wake_decided
from tasks import merge as merging
from tasks import prepare as preparing
from tasks import pull_request as pulls
from tasks import review_gate as gate
from tasks.people import elsewhere
from tasks.people.elsewhere import on_base, until_pushed, where
from tasks.review_gate import Review
from tests.contract.hosted import REPOSITORY, WORLDS, World, world
from tests.contract.test_hosted_review import Run, Unanswered
from tests.contract.test_issues import BODY, GOAL, HOSTILE, Intake
from tests.unit.policy_cases import evidence

AnyTask = Task[..., Any]


class Theirs:
    """A pull request of somebody's, from a branch there or from a fork of theirs."""

    def __init__(self, at: World, by: str, branch: str, body: str = BODY, *, fork: bool = False) -> None:
        self.at, self.by, self.branch = at, by, branch
        token = at._tokens.setdefault(by, at.fake.token(by))
        if fork:
            at.fork(by)
        name = f"{by}/shop" if fork else REPOSITORY
        address = f"{at.fake.url}/{name}.git".replace("://", f"://{by}:{token}@")
        self.copy = at.folder / f"theirs-{branch}"
        self._git("clone", "-q", address, str(self.copy))
        self._git("-C", str(self.copy), "checkout", "-q", "-B", branch)
        self.heads: list[str] = []
        self.push("def search(text):\n    return ['first']\n")
        self.push("def search(text):\n    return [text]\n")
        self.number = at.open_pull(by, branch, "Search by name", body, fork=fork)

    def _git(self, *words: str) -> str:
        who = ("-c", f"user.name={self.by}", "-c", f"user.email={self.by}@example.org")
        return subprocess.run(["git", *who, *words], check=True, capture_output=True, text=True).stdout.strip()

    def push(self, text: str) -> str:
        """Another commit, of a file that no other pull request has."""
        at = ("-C", str(self.copy))
        (self.copy / f"search_{self.branch}.py").write_text(text)
        self._git(*at, "add", "--all")
        self._git(*at, "commit", "-qm", "mine")
        self._git(*at, "push", "-q", "-f", "origin", f"HEAD:{self.branch}")
        self.heads.append(self._git(*at, "rev-parse", "HEAD"))
        return self.heads[-1]

    def merge(self) -> None:
        asked = {"sha": self.heads[-1], "merge_method": "squash"}
        self.at.as_("ann", "PUT", f"/pulls/{self.number}/merge", asked)


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("theirs")) as made:
        for name in ("ann", "bob", "eve"):
            made.person(name)
        made.person("carl", "read")
        yield made


@pytest.fixture(autouse=True)
def a_second_passes(at: World) -> None:
    at.fake.forge.skew_s += 2


# ── who asks for it ──


@pytest.fixture
def intake(at: World, tmp_path: Path) -> Intake:
    return Intake(at, tmp_path, closes=True, may_change_tests=("tests/test_app.py",))


def test_a_label_at_a_forks_pull_request_has_it_judged_from_the_text_as_it_was(at: World, intake: Intake) -> None:
    theirs = Theirs(at, "carl", "fork", fork=True)
    intake.label(theirs.number, "ann", "bug")
    intake.say(theirs.number, "carl")  # who may not write
    assert intake.looks() == []
    intake.label(theirs.number)
    (run,) = intake.looks()
    brief = Brief.model_validate(run.parameters["brief"])
    assert (brief.change, brief.pull, brief.agent) == (f"refs/pull/{theirs.number}/head", theirs.number, "")
    assert (brief.title, brief.goal, brief.may_change_tests) == ("Search by name", GOAL, ("tests/test_app.py",))
    assert [(one.path, one.keep) for one in brief.acceptance.files] == [("tests/acceptance/test_search.py", False)]
    assert (brief.budget.attempts, brief.environment, brief.repository) == (20, None, at.address)
    intake.edit(theirs.number, body=HOSTILE)
    assert intake.looks() == intake.begins_anew() == [run], "what is edited now changes nothing"
    assert at.forge.source(at.address, brief.change) == theirs.heads[-1]
    asked = intake.ledger.entries(run_id=str(run.id), kind="asked-for")[0].body
    assert (asked["number"], asked["closes"]) == (theirs.number, False)
    at.as_("ann", "PATCH", f"/pulls/{theirs.number}", {"state": "closed"})
    run.state = Running()
    intake.looks()
    assert run.state.type.value == "CANCELLING"


def test_a_text_that_was_edited_after_the_label_starts_nothing(at: World, intake: Intake) -> None:
    theirs = Theirs(at, "eve", "edited")
    intake.label(theirs.number)
    at.fake.forge.skew_s += 2
    at.as_("eve", "PATCH", f"/pulls/{theirs.number}", {"body": "### Goal\n\nsomething else"})
    assert intake.looks() == []
    assert "edited after that" in intake.told(theirs.number)


def test_a_command_is_enough_and_a_text_without_acceptance_leaves_it_to_the_changes_own_tests(
    at: World, intake: Intake
) -> None:
    theirs = Theirs(at, "eve", "command", "Refactor everything, and improve it")
    intake.say(theirs.number, "ann")
    (run,) = intake.looks()
    assert Brief.model_validate(run.parameters["brief"]).acceptance.is_empty
    assert "its own new tests" in intake.told(theirs.number)
    run.state = Running()
    at.as_("ann", "PUT", f"/pulls/{theirs.number}/merge", {"sha": theirs.heads[-1], "merge_method": "squash"})
    intake.looks()
    assert run.state.type.value == "RUNNING", "a run knows by itself what becomes of what was merged without it"


def test_where_it_is_switched_off_and_before_it_was_on_nothing_starts(at: World, tmp_path: Path) -> None:
    theirs = Theirs(at, "eve", "off")
    off = Intake(at, tmp_path, pull_requests=False)
    off.label(theirs.number)
    at.assign("ann", theirs.number, "robot")
    assert off.looks() == []
    at.fake.forge.skew_s += 2
    off.intake = off.intake.model_copy(update={"pull_requests": True})
    off.shop.issues = (off.intake,)
    off.say(theirs.number, "carl", "what now?")
    assert off.begins_anew() == [], "the label and the assignment are older"
    off.say(theirs.number, "ann")
    assert len(off.looks()) == 1


@pytest.mark.parametrize("forge", ["forgejo", "gitlab"])
def test_at_other_forges_a_forks_change_is_asked_for_judged_and_merged_by_its_head(forge: str, tmp_path: Path) -> None:
    with WORLDS[forge](tmp_path) as there:
        for name in ("ann", "eve"):
            there.person(name)
        there.person("carl", "read")
        intake = Intake(there, tmp_path, closes=True)
        issue = there.open_issue("ann", "The same number", "nobody asked for this one")
        theirs = Theirs(there, "carl", "fork", fork=True)
        intake.say(theirs.number, "carl", pull=True)
        assert intake.looks() == [], "who may not write asks for nothing"
        intake.label(theirs.number, pull=True)
        if forge == "forgejo":  # it says of nobody's text when it was edited: this one is named by its version
            assert intake.looks() == []
            named = re.search("/lockgate run [0-9a-f]{40}", intake.told(theirs.number, pull=True))
            assert named
            intake.say(theirs.number, "ann", named[0], pull=True)
        (run,) = intake.looks()
        brief = Brief.model_validate(run.parameters["brief"])
        assert (brief.change, brief.agent, brief.goal) == (f"refs/pull/{theirs.number}/head", "", GOAL)
        assert "Queued" in intake.told(theirs.number, pull=True)
        if forge == "gitlab":
            assert issue == theirs.number == 1 and intake.told(issue) == "", "#1 is not !1"
        assert there.forge.source(there.address, brief.change) == theirs.heads[-1]
        pushed = theirs.push("def search(text):\n    return [text, text]\n")
        assert there.forge.stands(there.address, brief.change) == pushed
        pull = there.host.pull_request(there.address, theirs.number)
        assert (pull.head, pull.by and pull.by.login) == (pushed, "carl")
        for _ in range(2):
            there.host.why_blocked(there.address, theirs.number)
        stale = there.host.merge(there.address, pull, theirs.heads[0], "Search", "", one=True)
        assert stale.commit is None and stale.is_moved
        merged = there.host.merge(there.address, pull, pushed, "Search", "", one=True)
        assert merged.commit and there.forge.contains(there.address, "main", merged.commit)


# ── what is judged, and who lets it pass ──


class TheirRun(Run):
    """A run at the gate, or one that waits for a push, about a pull request of eve's."""

    def __init__(self, theirs: Theirs, folder: Path, name: str) -> None:
        super().__init__(theirs.at, folder, name)
        self.theirs, self.shown = theirs, list[str]()
        change = f"refs/pull/{theirs.number}/head"
        brief = self.prepared.brief.model_copy(update={"change": change, "agent": "", "environment": None})
        self.prepared = self.prepared.model_copy(update={"brief": brief})
        self.takes(1)

    def takes(self, number: int) -> None:
        """What stands there now is the attempt, and no gate refuses it."""
        brief = self.prepared.brief
        base = self.at.forge.base(self.at.address, "main")
        source = self.at.forge.source(self.at.address, brief.change)
        self.prepared = self.prepared.model_copy(update={"base": base, "source": source})
        self.ledger.record(self.name, "prepared", str(number), self.prepared)
        made = on_base(cast("Any", self.shop), self.prepared, number, source)
        self.ledger.record(self.name, "attempt", str(number), made)
        commit = made.commit or ""
        self.evidence = evidence(of=made, tested=commit, scanned=commit)
        self.ledger.record(self.name, "tested", commit, self.evidence.tested)
        self.ledger.record(self.name, "scanned", commit, self.evidence.scanned)

    def waits(self, form: type[Any], text: str, key: str, **_: str) -> Any:
        self.shown.append(key)
        if not self.waiting:
            raise Unanswered(text)
        self.waiting.pop(0)()
        return elsewhere.Pushed(looked_by="poll")

    def until_pushed(self, *then: Callable[[], object]) -> None:
        self.waiting = list(then)
        why = Feedback(attempt=1, source="gates", points=(f"app.py:1: {HOSTILE}",))
        until_pushed(self.name, self.prepared.brief, [self.evidence.attempt], [why])

    def comments(self) -> list[str]:
        found = self.at.as_("ann", "GET", f"/issues/{self.theirs.number}/comments?per_page=100")
        return [one["body"] for one in found if one["user"]["login"] == "robot"]

    def statuses(self, commit: str) -> dict[str, str]:
        told = self.at.as_("ann", "GET", f"/commits/{commit}/status")["statuses"]
        return {one["context"]: one["state"] for one in told}


@pytest.fixture
def run(at: World, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> TheirRun:
    name = f"run{abs(hash(request.node.name)) % 10**8}"
    made = TheirRun(Theirs(at, "eve", f"of-{name}"), tmp_path, name)
    for module in (gate, pulls, merging, elsewhere):
        monkeypatch.setattr(module, "workshop_of", lambda brief: made.shop)
    monkeypatch.setattr(gate, "answered", made.answered)
    monkeypatch.setattr(elsewhere, "answered", made.waits)
    monkeypatch.setattr(elsewhere, "tell_refused", cast("AnyTask", pulls.tell_refused).fn)
    for step in ("ask", "propose"):
        monkeypatch.setattr(gate, step, made.once(step, cast("AnyTask", getattr(gate, step)).fn))
    monkeypatch.setattr(gate, "get_run_logger", lambda: logging.getLogger("review"))
    return made


def test_it_is_judged_at_its_head_and_merged_there_as_exactly_that_in_one_commit(run: TheirRun) -> None:
    head, branches = run.theirs.heads[-1], run.at.as_("ann", "GET", "/branches?per_page=100")
    approval = run.at_the_gate(run.approves("ann"))
    assert run.statuses(head) == {"lockgate/tests": "success", "lockgate/security": "success", "lockgate": "pending"}
    (comment,) = run.comments()
    assert "elsewhere: eve" in comment and head in comment and "acceptance" in comment
    merged = run.merges(approval)
    assert merged == run.merges(approval), "killed after the merge and before the record: it is found"
    pull = run.at.as_("ann", "GET", f"/pulls/{run.number}")
    assert (pull["merged"], pull["head"]["sha"], pull["merged_by"]["login"]) == (True, head, "robot")
    assert run.number == run.theirs.number and merged.judged == run.evidence.attempt.commit != head
    message = run.at.forge.message(run.at.address, str(merged.commit))
    assert f"Lockgate-Change: {head}" in message and f"Lockgate-Brief: {run.prepared.brief.digest}" in message
    assert run.at.forge.tree_id(run.at.address, str(merged.commit)) == run.evidence.attempt.tree
    names = {one["name"] for one in run.at.as_("ann", "GET", "/branches?per_page=100")}
    assert names == {one["name"] for one in branches}, "nothing of ours was pushed"


def test_an_approval_from_before_the_gates_had_spoken_or_for_another_base_does_not_count(run: TheirRun) -> None:
    run.at.review("ann", run.theirs.number, "APPROVE")
    run.stays(lambda: None)
    approval = run.at_the_gate(run.approves("bob"))
    Theirs(run.at, "ann", f"base-{run.name}").merge()
    moved = run.merges(approval)
    assert (moved.commit, moved.new_base) == (None, run.at.forge.base(run.at.address, "main"))
    run.takes(1)
    assert run.evidence.attempt.base == moved.new_base and run.evidence.attempt.source == run.theirs.heads[-1]
    run.stays(lambda: None)
    assert run.at_the_gate(run.approves("bob")).is_approved


def test_whoever_opened_it_and_whoever_may_not_write_do_not_let_it_pass(run: TheirRun) -> None:
    run.at.fake.user("zoe")
    run.stays(
        lambda: run.at.review("carl", run.number, "APPROVE"),
        lambda: run.at.as_("eve", "POST", f"/issues/{run.number}/comments", {"body": "/approve"}),
    )
    question = gate._asked(run.ledger, run.name, run.mark)
    assert question and question.question.made_by == ("eve",)
    for name, may in (("eve", False), ("@Eve", False), ("ann", True)):
        answer = Review(decision="approve", reviewer=name, mark=run.mark[:16])
        assert gate._may_answer(question.question, answer, signed_in=True) is may, name
    run.at.as_("eve", "PUT", f"/pulls/{run.number}/merge", {"sha": run.theirs.heads[-1], "merge_method": "squash"})
    declined = run.at_the_gate(lambda: None)
    assert declined.answer is Answer.REJECT and "opened the pull request" in declined.comment


def test_a_push_after_the_approval_is_the_next_attempt_and_nothing_else_is_merged(run: TheirRun) -> None:
    approval = run.at_the_gate(run.approves("ann"))
    tip = run.at.forge.base(run.at.address, "main")
    head = run.theirs.push("import os\nos.system('evil')\n")
    merged = run.merges(approval)
    assert merged.asks_again and run.at.forge.base(run.at.address, "main") == tip
    again = run.at_the_gate(lambda: None)
    assert again.answer is Answer.CHANGES and head[:12] in again.comment
    assert run.at.forge.base(run.at.address, "main") == tip
    run.until_pushed()  # it has moved: nobody waits
    assert run.shown == []
    run.takes(2)
    assert run.evidence.attempt.source == head
    approval = run.at_the_gate(run.approves("bob"))
    assert run.merges(approval).commit == run.at.forge.base(run.at.address, "main")


def test_a_head_that_moves_between_look_and_merge_is_refused_by_the_forge(
    run: TheirRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    approval = run.at_the_gate(run.approves("ann"))
    tip, real = run.at.forge.base(run.at.address, "main"), type(run.at.host)._method

    def pushes(host: Any, repository: str) -> str:
        run.theirs.push("EVIL = 1\n")
        return real(host, repository)

    monkeypatch.setattr(type(run.at.host), "_method", pushes)
    assert run.merges(approval).asks_again
    assert run.at.forge.base(run.at.address, "main") == tip


def test_an_approval_counts_that_is_given_as_soon_as_the_first_gate_has_spoken(
    run: TheirRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, given = type(run.at.host).report, list[object]()

    def report(host: Any, *words: Any) -> None:
        real(host, *words)
        if not given:
            given.append(run.at.review("ann", run.theirs.number, "APPROVE"))

    monkeypatch.setattr(type(run.at.host), "report", report)
    assert run.at_the_gate(lambda: None).is_approved


def test_one_that_is_led_elsewhere_between_look_and_merge_is_not_merged_there(
    run: TheirRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    approval = run.at_the_gate(run.approves("ann"))
    other = f"other-{run.name}"
    run.at.forge.publish(run.at.address, other, run.prepared.base, ())
    real = type(run.at.host).merge

    def leads(host: Any, *given: Any, **named: Any) -> Any:
        run.at.lead_to("eve", run.number, other)
        return real(host, *given, **named)

    monkeypatch.setattr(type(run.at.host), "merge", leads)
    assert run.merges(approval).asks_again
    assert run.at.forge.base(run.at.address, other) == run.prepared.base


def test_what_is_refused_is_told_at_its_head_in_one_comment_and_waits_for_a_push(run: TheirRun) -> None:
    with pytest.raises(Unanswered, match="push to"):
        run.until_pushed()
    with pytest.raises(Unanswered):
        run.until_pushed(lambda: None)  # killed, and begun again; woken for nothing
    head = run.theirs.heads[-1]
    assert run.statuses(head)["lockgate"] == "failure"
    (comment,) = run.comments()
    outside = "".join(part for n, part in enumerate(comment.replace("``", "`").split("`")) if n % 2 == 0)
    assert "**Refused**" in comment and head in comment
    assert "@acme" not in outside and "closes" not in outside and "<script" not in outside
    asks = Watched(run, f"push-1-{len(run.shown) - 1}")
    assert waits_for_a_push(cast("Any", run.shop)), "so that the supervisor looks, also without a hosted forge"
    away = SimpleNamespace(ledger=Ledger(url=SecretStr("postgresql+psycopg://nobody@127.0.0.1:1/none")))
    assert waits_for_a_push(cast("Any", away)), "and where another workshop's ledger does not answer"
    assert asks.looks() == []
    second = run.theirs.push("def search(text):\n    return []\n")
    assert asks.looks() == [f"run {run.name} goes on: {run.prepared.brief.change} is at {second[:12]}"]
    assert elsewhere.Pushed.model_validate(asks.answers[0]).stop == ""
    run.until_pushed()
    run.takes(2)
    run.stays()
    (comment,) = run.comments()
    assert "**Refused**" not in comment and second in comment, "one comment, of the newest attempt"


def test_findings_stand_at_their_lines_once_a_head_as_a_review_that_decides_nothing(run: TheirRun) -> None:
    """Those at no line of the change are in its summary. What is cut off, before or after it is done, is made once."""
    mine, head = f"search_of-{run.name}.py", run.theirs.heads[-1]
    places = [(mine, 1), (mine, 2), (mine, 99), ("app.py", 1), (mine, 2), (mine, None), (None, None)]
    found = tuple(
        Finding(
            gate="security", rule=f"r{n}", severity=list(Severity)[n % 3], message=f"{n} {HOSTILE}", path=p, line=at
        )
        for n, (p, at) in enumerate(places)
    )
    scanned = run.evidence.scanned.model_copy(update={"findings": found})
    run.evidence = run.evidence.model_copy(update={"scanned": scanned})
    ways = {"number": run.theirs.number, "head": head, "evidence": run.evidence}
    at = f"/pulls/{run.theirs.number}"
    for kind in ("cut_before", "cut_after_write"):
        run.at.fake.fault(kind, method="POST", path=f"{at}/reviews$")
        with pytest.raises(NotYet):
            pulls._say_at_lines(cast("Any", run.shop), run.at.host, run.at.address, **cast("Any", ways))
    pulls._say_at_lines(cast("Any", run.shop), run.at.host, run.at.address, **cast("Any", ways))
    run.at.fake.mend()
    (review,) = run.at.as_("ann", "GET", f"{at}/reviews")
    assert (review["state"], review["commit_id"], review["user"]["login"]) == ("COMMENTED", head, "robot")
    comments = run.at.as_("ann", "GET", f"{at}/comments")
    assert {(one["path"], one["line"]) for one in comments} == {(mine, 1), (mine, 2)}
    assert {f"{mine}:99", "app.py:1"} <= set(re.findall(r"^- `(.+?)`: ", review["body"], re.MULTILINE))
    for text in [review["body"], *(one["body"] for one in comments)]:
        outside = "".join(part for n, part in enumerate(text.replace("``", "`").split("`")) if n % 2 == 0)
        assert "@acme" not in outside and "closes" not in outside and "<script" not in outside
    approval = run.at_the_gate(run.approves("ann"))
    assert approval.is_approved and len(run.at.as_("ann", "GET", f"{at}/comments")) == 2, "ours is nobody's answer"


def test_many_findings_make_one_review_of_thirty_and_a_head_that_moved_gets_none(run: TheirRun) -> None:
    head = run.theirs.push("".join(f"LINE_{n} = {n}\n" for n in range(100)))
    at, mine = f"/pulls/{run.theirs.number}", f"search_of-{run.name}.py"
    remarks = [LineRemark(path=mine, line=n, where=f"`{mine}:{n}`", text=f"`{n}`") for n in range(1, 101)]
    run.at.host.remark(run.at.address, run.theirs.number, run.theirs.heads[0], remarks)
    other = [one.model_copy(update={"is_as_judged": False}) for one in remarks]
    run.at.host.remark(run.at.address, run.theirs.number, head, other)
    assert run.at.as_("ann", "GET", f"{at}/reviews") == []
    fake = f"<!-- lockgate:lines/{head} -->"
    run.at.as_("ann", "POST", f"{at}/reviews", {"event": "COMMENT", "body": fake})
    for _ in range(2):
        run.at.host.remark(run.at.address, run.theirs.number, head, remarks)
    theirs, ours = run.at.as_("ann", "GET", f"{at}/reviews")
    assert (theirs["body"], ours["user"]["login"]) == (fake, "robot"), "another's mark is none"
    assert len(run.at.as_("ann", "GET", f"{at}/comments?per_page=100")) == 30
    assert "… and 40 more" in ours["body"]


class Watched:
    """Prefect's, with the run suspended under a key; `answers` is what it was woken with."""

    def __init__(self, run: TheirRun, key: str) -> None:
        self.run, self.key, self.answers = run, key, list[dict[str, str]]()

    def read_flow_runs(self, **_: Any) -> list[Any]:
        brief = self.run.prepared.brief.model_copy(update={"workshop": "default"}).model_dump(mode="json")
        details = SimpleNamespace(pause_key=self.key)
        state = SimpleNamespace(state_details=details, timestamp=datetime.now(UTC))
        return [SimpleNamespace(id=self.run.name, parameters={"brief": brief}, state=state)]

    def resume_flow_run(self, run_id: str, run_input: dict[str, str]) -> Any:
        self.answers.append(run_input)
        return SimpleNamespace(status=SimpleNamespace(value="ACCEPT"))

    def looks(self) -> list[str]:
        return wake_decided(cast("Any", self), cast("Any", self.run.shop), "one")


def test_a_branch_that_cannot_be_asked_for_is_waited_for(run: TheirRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> tuple[str, str]:
        raise ForgeError("git ls-remote failed (128): no route to host")

    real = elsewhere.where
    monkeypatch.setattr(elsewhere, "get_run_logger", lambda: logging.getLogger("push"))
    monkeypatch.setattr(elsewhere, "where", fails)
    run.theirs.push("def search(text):\n    return ['a']\n")
    run.until_pushed(lambda: monkeypatch.setattr(elsewhere, "where", real))
    assert len(run.shown) == 1


def test_one_that_is_closed_merged_or_leads_elsewhere_ends_with_a_sentence(run: TheirRun) -> None:
    brief, shop = run.prepared.brief, cast("Any", run.shop)
    at = f"/pulls/{run.theirs.number}"
    run.at.as_("ann", "PATCH", at, {"state": "closed"})
    assert where(shop, brief) == (None, f"pull request {run.theirs.number} was closed by ann")
    with pytest.raises(InputError, match="is closed"):
        preparing._check_where_it_leads(shop, brief, run.theirs.heads[-1])
    run.at.as_("ann", "PATCH", at, {"state": "open"})
    assert preparing._stands(shop, run.name, brief, None) == run.theirs.heads[-1]
    run.at.forge.publish(run.at.address, f"next-{run.name}", run.prepared.base, ())
    run.at.as_("ann", "PATCH", at, {"base": f"next-{run.name}"})
    with pytest.raises(Unfit, match=f"leads to next-{run.name}"):
        preparing._check_where_it_leads(shop, brief, run.theirs.heads[-1])
    run.at.as_("ann", "PATCH", at, {"base": "main"})
    with pytest.raises(NotYet, match="git still has it at"):
        preparing._check_where_it_leads(shop, brief, run.theirs.heads[0])
    with pytest.raises(InputError, match="has no refs/pull/4711/head"):
        preparing._stands(shop, run.name, brief.model_copy(update={"change": "refs/pull/4711/head"}), None)
    run.at.as_("ann", "PUT", f"{at}/merge", {"sha": run.theirs.heads[-1], "merge_method": "squash"})
    assert "takes no more commits" in where(shop, brief)[1]


def test_several_commits_are_not_merged_as_several(run: TheirRun, monkeypatch: pytest.MonkeyPatch) -> None:
    approval = run.at_the_gate(run.approves("ann"))
    monkeypatch.setattr(type(run.at.host), "_method", lambda *_: "rebase")
    with pytest.raises(ForgeError, match="no squash merge"):
        run.merges(approval)


def test_how_it_ended_is_told_beside_what_the_gates_said(run: TheirRun) -> None:
    run.stays()
    outcome = Outcome(run_id=run.name, title="x", end=End.DECLINED, sentence="declined: no")
    pulls.tell_end(cast("Any", run.shop), run.prepared.brief, outcome)
    first, last = run.comments()
    assert "Evidence" in first and "**declined**" in last
    assert run.statuses(run.theirs.heads[-1])["lockgate"] == "failure"
