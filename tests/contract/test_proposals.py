"""Acceptance tests that an agent proposes: proven red on base in the sandbox, approved by a person, then as if that
person had written them. By real steps here; at the issue, with the fake forges."""

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.exceptions import FailedRun
from prefect.runtime import flow_run
from prefect.states import Paused

from blocks.agents.command import Command
from blocks.catalogue import unusable_agents
from blocks.workshop import Workshop
from domain.agent_scope import AgentScope
from domain.brief import Brief
from domain.proposal import AgreedAcceptance, Proposal, ProvenProposal, digest_for
from domain.records import BILL, PROPOSAL
from domain.task import BillLine, Outcome, Prepared, Verdict
from flows import forge_watch
from flows.agent_task import _turns
from flows.forge_watch import wake_decided
from flows.report import ended
from kits.briefs import ACCEPTANCE, GOOD, git, repository
from kits.briefs import brief as of_sums
from tasks.people import acceptance as asking
from tasks.people.acceptance import LOOK, heard_at_issue
from tasks.people.asking import A_CLAIM
from tasks.people.questions import Answers
from tasks.propose import _left_s
from tasks.review_gate import Review
from tests.contract.by_steps import WORKSHOP, a_workshop, in_a_run
from tests.contract.hosted import WORLDS, World
from tests.contract.test_issues import Intake
from tests.unit.policy_cases import prepared as a_prepared

PATH = "tests/acceptance/test_double.py"
FITS = {"path": PATH, "content": ACCEPTANCE, "why": "<b>@all</b> `double` is asked for"}
GREEN = {**FITS, "content": "import sums\n\n\ndef test_add():\n    assert sums.add(1, 1) == 2\n"}
BY_ITSELF = {**FITS, "content": "import sums\n\n\ndef test_it():\n    x = int('x')\n    assert sums.add(1, x) == 2\n"}
CONFTEST = {**FITS, "path": "tests/conftest.py"}
AGENT = f"""
case "$LOCKGATE_PHASE" in
propose) cat /agent/proposal-$LOCKGATE_ATTEMPT.json > /lockgate/proposal.json ;;
edit) {GOOD} [ $LOCKGATE_ATTEMPT = 2 ] || {{ mkdir -p tests/acceptance; echo 'def test_double(): pass' > {PATH}; }} ;;
esac
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with a_workshop(tmp_path_factory.mktemp("proposals")) as made:
        yield made


class Killed(BaseException):
    """As kill -9 at this place."""


class Loop:
    """One run. Each time that it waits for an answer to a proposal the next of `answers` is given; carl approves the
    change."""

    def __init__(self, patch: pytest.MonkeyPatch, at: Path, *proposals: Any) -> None:
        self.at, self.patch = at, patch
        self.answers: list[str | Callable[[str], str] | type[BaseException]] = []
        self.keys: list[str] = []
        self.shown: list[str] = []
        self.given: dict[str, Answers] = {}
        self.run = ""
        folder = at.with_name("agent")
        folder.mkdir()
        (folder / "agent.sh").write_text(AGENT)
        for number, one in enumerate(proposals, 1):
            (folder / f"proposal-{number}.json").write_text(one if isinstance(one, str) else json.dumps(one))
        Command(command="/bin/sh /agent/agent.sh", mounts={str(folder): "/agent"}).keep("proposer")
        patch.setattr("tasks.people.acceptance.answered", self._answered)
        patch.setattr("tasks.people.acceptance.known_by", lambda *_: A_CLAIM)
        patch.setattr("tasks.review_gate.answered", self._review)
        patch.setattr("tasks.review_gate.known_by", lambda *_: A_CLAIM)

    def _answered(self, form: type[Any], text: str, key: str, **_: str) -> Answers:
        """As Prefect keeps it: an answer that was given to this key is found again."""
        if key in self.given:
            return self.given[key]
        self.keys.append(key)
        self.shown.append(text)
        answer = self.answers.pop(0)
        if isinstance(answer, type):
            raise answer
        said = answer if isinstance(answer, str) else answer(self.proposals()[-1].mark)
        self.given[key] = Answers(answers=said, answered_by="ann")
        return self.given[key]

    def _review(self, form: type[Any], text: str, key: str, mark: str) -> Review:
        return Review(decision="approve", reviewer="carl", mark=mark)

    def proposals(self) -> list[ProvenProposal]:
        return [ProvenProposal.model_validate(e.body) for e in self.entries("proposal")]

    def entries(self, *kinds: str) -> list[Any]:
        return [e for e in self.shop.ledger.entries(run_id=self.run) if e.kind in kinds]

    def goes(self, shop: Workshop, **fields: Any) -> Outcome | None:
        self.shop = shop
        given = {"acceptance": {}, "propose_acceptance": True, "workshop": WORKSHOP, **fields}
        told = Brief.model_validate(of_sums(self.at, "command/proposer", **given))

        def it() -> object:
            self.run = self.run or str(flow_run.id)
            return ended(self.run, told, _turns)

        try:
            with contextlib.suppress(FailedRun):  # it did not end live, or merged
                in_a_run(it)
        except Killed:
            return None
        (outcome,) = self.entries("outcome")
        return Outcome.model_validate(outcome.body)


def accepts(mark: str) -> str:
    return f"accept {mark}"


def test_what_is_red_by_itself_is_not_asked_about_and_what_is_approved_is_the_acceptance(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = Loop(monkeypatch, repository(tmp_path / "sums.git"), GREEN, BY_ITSELF, FITS)

    def nothing_is_written_yet(mark: str) -> str:
        assert not loop.entries("attempt", "plan")
        return f"accept {digest_for(loop.run, 1, Proposal(**GREEN))}"  # of another text

    loop.answers = [nothing_is_written_yet, "yes, accept it", accepts]
    outcome = loop.goes(shop, budget={"attempts": 2})
    assert outcome and outcome.end == "merged", outcome
    verdict = Verdict.model_validate(loop.entries("verdict")[0].body)
    assert verdict.is_refused and "is not what the brief says" in verdict.reasons[0], "the agent altered it, in vain"
    green, by_itself, fits = loop.proposals()
    assert "already passes on base" in green.refusals[0]
    assert "line 5" not in fits.red[0] and "has no attribute 'double'" in fits.red[0]
    assert "is red by itself" in by_itself.refusals[0] and "int('x')" not in by_itself.red
    assert not fits.refusals and len(loop.keys) == 3 and len(set(loop.keys)) == 3, (
        "one proposal, asked until it is named"
    )
    assert "&lt;b&gt;" not in loop.shown[0] and "```text\n<b>@all</b>" in loop.shown[0], "data, in a fence"
    (agreed,) = [AgreedAcceptance.model_validate(e.body) for e in loop.entries("agreed")]
    assert (agreed.mark, agreed.by, agreed.signed_in) == (fits.mark, "ann", False)
    first = Prepared.model_validate(next(e.body for e in loop.entries("prepared") if e.key == "1"))
    assert [f.content for f in first.brief.acceptance.files] == [ACCEPTANCE] and not first.brief.propose_acceptance
    assert git(loop.at, "show", f"main:{PATH}").strip() == ACCEPTANCE.strip(), (
        "the agent's own text of it does not count"
    )
    assert {(e.body["step"], e.body["attempt"]) for e in loop.entries("bill") if e.body["step"] == "propose"} == {
        ("propose", 1), ("propose", 2), ("propose", 3),
    }  # fmt: skip


def test_three_that_nobody_takes_end_the_run_with_the_reason(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = Loop(monkeypatch, repository(tmp_path / "sums.git"), "no json", CONFTEST, FITS)
    loop.answers = [lambda mark: f"refuse {mark}: ask for negative numbers too"]
    outcome = loop.goes(shop)
    assert outcome and outcome.end == "gave_up" and "ask for negative numbers too" in outcome.sentence
    unreadable, conftest, _ = loop.proposals()
    assert "is not a proposal" in unreadable.refusals[0] and "no test file" in conftest.refusals[0]
    assert not loop.entries("attempt", "plan", "agreed")


def test_the_proposals_have_a_budget_of_their_own(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = Loop(monkeypatch, repository(tmp_path / "sums.git"), FITS)
    outcome = loop.goes(shop, budget={"attempts": 1, "minutes": 0.001})
    assert outcome and outcome.end == "gave_up" and "20% of the brief's budget" in outcome.sentence
    assert not loop.proposals() and not loop.keys, "what base's own tests took is more than that"


def test_a_suite_that_takes_long_leaves_as_much_time_for_the_next_proposal(shop: Workshop) -> None:
    ready = a_prepared().model_copy(update={"run_id": "long"})
    for step, seconds in (("propose", 100.0), ("prove", 2000.0)):
        shop.ledger.record("long", *BILL.at(step, 1), BillLine(run_id="long", step=step, attempt=1, sandbox_s=seconds))
    minutes = ready.brief.budget.minutes
    assert minutes == 60 and _left_s(shop, ready) == 12 * 60 - 100


def test_a_brief_that_cannot_be_worked_on_is_refused_before_an_agent_is_asked(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = Loop(monkeypatch, repository(tmp_path / "sums.git"), FITS)
    outcome = loop.goes(shop, goal="Improve everything")
    assert outcome and outcome.end == "refused" and not loop.proposals()
    assert [e.key for e in loop.entries("prepared")] == ["0"], "nothing is prepared for work that is refused"


def test_an_agent_whose_week_is_spent_proposes_nothing_and_the_run_says_why(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = Loop(monkeypatch, repository(tmp_path / "sums.git"), FITS)
    Command(command="/bin/sh /agent/agent.sh", scope=AgentScope(usd_per_week=0)).keep("proposer")
    monkeypatch.setattr("tasks.prepare.unusable_agents", unusable_agents)
    outcome = loop.goes(shop)
    assert outcome and outcome.end == "refused" and "usd_per_week" in f"{outcome.sentence} {outcome.reasons}"
    assert not loop.proposals() and not loop.entries("bill"), "nothing was paid for it"


def test_killed_around_question_and_answer_it_is_asked_once_and_used_once(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = Loop(monkeypatch, repository(tmp_path / "sums.git"), FITS)
    record, dies = type(shop.ledger).record, ["before", "after"]

    def killed(self: Any, run: str, kind: str, key: str, value: Any) -> Any:
        if kind == "agreed" and dies and dies[0] == "before":
            raise Killed(dies.pop(0))
        made = record(self, run, kind, key, value)
        if kind == "agreed" and dies:
            raise Killed(dies.pop(0))
        return made

    monkeypatch.setattr(type(shop.ledger), "record", killed)
    loop.answers = [Killed, accepts]
    assert loop.goes(shop) is None, "as it asks"
    assert loop.goes(shop) is None, "with the answer, before it is on record"
    assert loop.goes(shop) is None, "after that"
    outcome = loop.goes(shop)
    assert outcome and outcome.end == "gave_up" and len(loop.entries("attempt")) == 1, "on with the work"
    assert len(set(loop.keys)) == 1 and len(loop.keys) == 2, "the same question again, and answered once"
    assert len(loop.proposals()) == len(loop.entries("agreed")) == 1


# ── at the issue ──


@pytest.fixture(scope="module", params=sorted(WORLDS))
def at(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with WORLDS[request.param](tmp_path_factory.mktemp("proposed")) as made:
        for name in ("ann", "bob"):
            made.person(name)
        made.person("carl", "read")
        yield made


class Watched:
    """Prefect's, with the run suspended for an approval; `answers` is what it was woken with."""

    def __init__(self, run: Any, mark: str) -> None:
        self.run, self.mark, self.answers = run, mark, list[dict[str, str]]()
        self.waited_s = 0.0

    def read_flow_runs(self, **_: Any) -> list[Any]:
        details = SimpleNamespace(pause_key=f"questions-acceptance-{self.mark}-0")
        state = SimpleNamespace(state_details=details, timestamp=datetime.now(UTC) - timedelta(seconds=self.waited_s))
        return [SimpleNamespace(id=self.run.id, parameters=self.run.parameters, state=state)]

    def resume_flow_run(self, run_id: str, run_input: dict[str, str]) -> Any:
        self.answers.append(run_input)
        return SimpleNamespace(status=SimpleNamespace(value="ACCEPT"))


def test_somebody_who_may_write_approves_it_at_the_issue(at: World, tmp_path: Path) -> None:
    at.fake.forge.skew_s += 2
    intake = Intake(at, tmp_path, propose_acceptance=True)
    number, run = intake.asked(body="`double(a)` of `sums.py` returns twice its argument.")
    brief = Brief.model_validate(run.parameters["brief"])
    assert brief.is_to_propose
    told = Proposal(
        path=PATH, content=ACCEPTANCE + "# ``` @ann closes #1 <img src=x>\n", why="![x](http://x.test) @bob"
    )
    made = ProvenProposal(number=1, mark=digest_for(str(run.id), 1, told), proposal=told, red=(f"{PATH}: no `double`",))
    intake.ledger.record(str(run.id), *PROPOSAL.at(1), made)
    run.state = Paused()
    intake.looks()
    shown = intake.told(number)
    assert f"/lockgate accept {made.mark}" in shown and "double(4) == 8" in shown and "Waits for people" in shown
    assert "````python" in shown and "```text\n![x]" in shown, "it stands there as code"
    watched = Watched(run, made.mark)

    def looks() -> list[dict[str, str]]:
        wake_decided(watched, intake.shop, "one")  # type: ignore[arg-type]
        return watched.answers

    intake.say(number, "carl", f"/lockgate accept {made.mark}")
    intake.say(number, "ann", f"/lockgate accept {'0' * 16}")
    intake.say(number, "ann", f"accept {made.mark}")
    intake.say(number, "ann", f"/lockgate accept {made.mark} if it is green")
    comment = intake.say(number, "bob", f"/lockgate accept {made.mark}")
    at.fake.forge.skew_s += 2
    at.edit_said("bob", number, comment, f"/lockgate  accept {made.mark}")
    other = intake.issue(body=told.why)
    intake.say(other, "ann", f"/lockgate accept {made.mark}")

    assert looks() == [], "who may not write, another text, more words, an edited one, another issue"
    at.fake.forge.skew_s += 2
    intake.say(number, "ann", f"/lockgate accept {made.mark}")
    assert looks() == [{"answers": LOOK, "answered_by": at.host.host}]
    heard = heard_at_issue(intake.shop, str(run.id), brief, made.mark)
    assert heard and (heard[0].login, heard[1]) == ("ann", at.host.host)


def test_an_issue_at_which_nobody_answers_is_read_less_often_each_time(
    at: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake = Intake(at, tmp_path, propose_acceptance=True)
    number, run = intake.asked(body="`double(a)` of `sums.py` returns twice its argument.")
    told = Proposal(**FITS)
    made = ProvenProposal(number=1, mark=digest_for(str(run.id), 1, told), proposal=told, red=("x",))
    intake.ledger.record(str(run.id), *PROPOSAL.at(1), made)
    watched, clock, reads = Watched(run, made.mark), [0.0], list[float]()
    host = type(at.host)
    read = host.issue_comments

    def counted(*told: Any) -> Any:
        reads.append(clock[0])
        return read(*told)

    monkeypatch.setattr(host, "issue_comments", counted)
    monkeypatch.setattr(forge_watch, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def looks(until: float) -> None:
        while clock[0] < until:
            clock[0] += 15
            watched.waited_s = clock[0]
            wake_decided(watched, intake.shop, "one")  # type: ignore[arg-type]

    looks(285)
    assert len(reads) == 19, "each round at first"
    looks(900)
    assert len(reads) < 40, f"not 60 times in a quarter of an hour: {len(reads)}"
    clock[0] = 86_400.0
    looks(clock[0] + 15)
    at.fake.forge.skew_s += 2
    intake.say(number, "ann", f"/lockgate accept {made.mark}")
    count = len(reads)
    looks(clock[0] + 285)
    assert (len(reads), watched.answers) == (count, []), "nineteen rounds read nothing"
    looks(clock[0] + 15)
    assert watched.answers == [{"answers": LOOK, "answered_by": at.host.host}], "heard after five minutes"
    clock[0], watched.waited_s = clock[0] + 15, 0.0
    wake_decided(watched, intake.shop, "one")  # type: ignore[arg-type]
    assert len(reads) == count + 2, "what is asked anew is looked at at once"
    watched.run = SimpleNamespace(id="another", parameters=run.parameters)
    wake_decided(watched, intake.shop, "one")  # type: ignore[arg-type]
    assert str(run.id) not in forge_watch._looked, "nothing is kept of a run that waits no more"


def test_the_run_takes_the_name_from_the_issue_itself(
    at: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at.fake.forge.skew_s += 2
    intake = Intake(at, tmp_path, propose_acceptance=True)
    number, run = intake.asked(body="`double(a)` of `sums.py` returns twice its argument.")
    brief, told = Brief.model_validate(run.parameters["brief"]), Proposal(**FITS)
    made = ProvenProposal(number=1, mark=digest_for(str(run.id), 1, told), proposal=told, red=("x",))
    intake.ledger.record(str(run.id), *PROPOSAL.at(1), made)
    answers = iter([Answers(answers=LOOK, answered_by="mallory"), Answers(answers=LOOK, answered_by="mallory")])
    said = [lambda: None, lambda: intake.say(number, "ann", f"/lockgate refuse {made.mark}\nask for `0`")]

    def answered(*_: Any) -> Answers:
        said.pop(0)()
        return next(answers)

    monkeypatch.setattr(asking, "answered", answered)
    monkeypatch.setattr(asking, "workshop_of", lambda _: intake.shop)
    monkeypatch.setattr(asking, "get_run_logger", lambda: SimpleNamespace(warning=lambda *_: None))
    no = asking._approved(a_prepared().model_copy(update={"brief": brief, "run_id": str(run.id)}), made)
    assert no.points == (f"ann (a user of {at.host.host}) refused the acceptance test {PATH}: ask for `0`",)  # type: ignore[union-attr]
