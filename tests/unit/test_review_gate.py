"""The review gate: who is asked and why, how long it waits, and what the record says when nobody needs to be."""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prefect import Task
from prefect.serializers import JSONSerializer
from pydantic import SecretStr

from blocks.ledger.ledger import Ledger
from domain.access import Cancelled
from domain.brief import Roles, Scope
from domain.errors import Unapproved, Withdrawn
from domain.policy import judge
from domain.project import RecordBar, ReviewPolicy
from domain.task import (
    Answer,
    Approval,
    CaseOutcome,
    Decision,
    Evidence,
    Merged,
    Opinion,
    Prepared,
    Question,
    RolledBack,
    Suite,
    Verdict,
)
from domain.trees import Tree
from station import cancelling
from tasks import merge as merging
from tasks import review_gate as gate
from tasks.people.asking import KnownBy
from tasks.releasing import lease
from tasks.review_gate import Review, base_gate, fingerprint, review_gate
from tests.unit.policy_cases import BASE, COMMIT, PROJECT, attempt, evidence, head, prepared, tree

OWNERS = tree({"CODEOWNERS": "/shop/app.py @ann\n/shop/auth.py @bob @eve\n"})
BOTH = ("shop/app.py", "shop/auth.py")
AUTH = "def allowed(user):\n    return True\n"
APP = "import sys\n\n\ndef search(text):\n    return [text]\n"


class Station:
    """A workshop with a real ledger and one change, and the people who answer in their order."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(url=SecretStr(f"sqlite:///{folder}/ledger.db"))
        self.base: Tree = {**PROJECT, **OWNERS}
        self.head: Tree = {**head({"shop/app.py": APP, "shop/auth.py": AUTH}), **OWNERS}
        self.people: list[Review] = []
        self.shown: list[str] = []
        self.signed: list[tuple[str, str]] = []
        """(question, name) of the answers that came in at the door."""
        self.merged: list[str] = []
        self.forge = SimpleNamespace(
            tree=lambda repository, commit: {BASE: self.base, COMMIT: self.head}[commit],
            diff=lambda repository, base, commit: "+return True",
        )

    def answered(self, form: type[Review], text: str, key: str, **prefilled: str) -> Review | None:
        """The next answer. A run that nobody answers stays suspended, so to ask too often is an error here."""
        self.shown.append(text)
        return self.people.pop(0)

    def says(self, *reviewers: str, decision: str = "approve", **fields: str) -> None:
        self.people += [Review.model_validate({"decision": decision, "reviewer": r, **fields}) for r in reviewers]

    def questions(self) -> list[Question]:
        return [Question.model_validate(e.body) for e in self.ledger.entries(run_id="run", kind="question")]

    def approvals(self) -> list[Approval]:
        return [Approval.model_validate(e.body) for e in self.ledger.entries(run_id="run", kind="approval")]


@pytest.fixture
def station(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Station]:
    made = Station(tmp_path)
    monkeypatch.setattr(gate, "workshop_of", lambda brief: made)
    monkeypatch.setattr(gate, "answered", made.answered)
    monkeypatch.setattr(gate, "propose", lambda *_: None)  # its repository lives at no hosted forge
    signed = made.signed
    monkeypatch.setattr(
        gate, "known_by", lambda run, key, answer: KnownBy(signed_in=(key, answer.reviewer) in signed, way="")
    )
    monkeypatch.setattr(gate, "ask", cast("Task[..., Any]", gate.ask).fn)
    monkeypatch.setattr(gate, "ask_of_base", cast("Task[..., Any]", gate.ask_of_base).fn)
    monkeypatch.setattr(gate, "get_run_logger", lambda: logging.getLogger("review"))
    yield made
    assert made.people == [], "somebody answered and was not asked"


def seen(paths: tuple[str, ...] = BOTH) -> Evidence:
    return evidence(of=attempt(PROJECT, changed_paths=paths, agent="codex/e"), scanners=("lockgate rules", "ruff 1"))


VERDICT = Verdict(decision=Decision.NEEDS_PERSON, reasons=("shop/auth.py: sensitive",), rules=("sensitive-path",))


def test_the_question_says_who_must_answer_and_why(station: Station) -> None:
    station.says("ann", "bob")
    review_gate(prepared(), seen(), VERDICT)
    (question,) = station.questions()
    assert question.reviewers == ("ann", "bob", "eve")
    assert [(need.names, need.paths) for need in question.needs] == [
        (("ann",), ("shop/app.py",)),
        (("bob", "eve"), ("shop/auth.py",)),
    ]
    assert "bob or eve must approve shop/auth.py" in question.text.replace("\\", "")
    assert "CODEOWNERS line 2" in question.text


def test_two_owners_must_both_approve_and_each_approval_is_kept(station: Station) -> None:
    station.says("eve", "ann")
    approval = review_gate(prepared(), seen(), VERDICT)
    assert approval.is_approved
    assert (approval.reviewer, approval.others, approval.rule) == ("ann", ("eve",), None)
    first, last = station.approvals()
    assert (first.reviewer, first.is_approved, first.fingerprint) == ("eve", False, approval.fingerprint)
    assert first.waits_for == ("ann must approve shop/app.py (CODEOWNERS line 1)",)
    assert last == approval
    assert "still missing" not in station.shown[0]
    assert "Approved by eve; still missing" in station.shown[1]


def test_while_an_approval_is_missing_the_review_is_still_open(station: Station) -> None:
    station.says("eve")
    with pytest.raises(IndexError):
        review_gate(prepared(), seen(), VERDICT)
    open_ = {entry.key for entry in station.ledger.entries(kind="question")}
    closed = {entry.key for entry in station.ledger.entries(kind="approval")}
    assert open_ and not open_ & closed, "the CLI and housekeeping look for an approval under the question's key"
    station.says("eve", "ann")  # the run was killed: the answer that Prefect kept comes again, then the next one
    assert review_gate(prepared(), seen(), VERDICT).is_approved
    assert len(station.approvals()) == 2


@pytest.mark.parametrize("name", ["mallory", "policy", "eve", "@eve"])
def test_an_approval_of_one_who_may_not_or_did_already_brings_it_no_further(station: Station, name: str) -> None:
    station.says("eve", name, "ann")
    approval = review_gate(prepared(), seen(), VERDICT)
    assert (approval.reviewer, approval.others) == ("ann", ("eve",))
    assert len(station.approvals()) == 2


def test_where_base_asks_for_it_a_name_that_is_only_claimed_approves_nothing(station: Station) -> None:
    strict = prepared(review=ReviewPolicy(signed_in=True))
    mark = fingerprint(strict, seen())[:16]
    station.says("ann", "ann", "bob", "bob")
    station.signed += [(f"review-{mark}-1", "ann"), (f"review-{mark}-3", "bob"), (f"review-{mark}-2", "ann")]
    approval = review_gate(strict, seen(), VERDICT)
    assert (approval.reviewer, approval.others, approval.signed_in) == ("bob", ("ann",), True)
    assert all(each.signed_in for each in station.approvals())
    (question,) = station.questions()
    assert question.signed_in
    assert gate.SIGNED_IN in question.text.replace("\\", "")


def test_a_claim_may_say_no_and_is_on_record_as_one(station: Station) -> None:
    station.says("ann", decision="reject")
    answer = review_gate(prepared(review=ReviewPolicy(signed_in=True)), seen(), VERDICT)
    assert (answer.reviewer, answer.signed_in) == ("ann", False)


def test_an_answer_about_another_change_does_not_count(station: Station) -> None:
    station.says("ann", mark="0" * 16)
    station.says("ann", "bob")
    assert review_gate(prepared(), seen(), VERDICT).others == ("ann",)


@pytest.mark.parametrize("decision", ["reject", "ask for changes", "expired"])
def test_anybody_may_say_no_at_any_time(station: Station, decision: str) -> None:
    station.says("eve")
    station.says("mallory", decision=decision)
    approval = review_gate(prepared(), seen(), VERDICT)
    assert (approval.answer, approval.is_approved, approval.reviewer) == (Answer(decision), False, "mallory")
    assert review_gate(prepared(), seen(), VERDICT) == approval, "nobody is asked twice"


def test_the_settings_reviewers_are_asked_for_what_nobody_owns(station: Station) -> None:
    station.base, station.head = dict(PROJECT), head({"shop/app.py": APP})
    station.says("ann", "zoe")
    told = prepared(reviewers=("zoe", "kim"))
    assert review_gate(told, seen(("shop/app.py",)), VERDICT).reviewer == "zoe"
    assert station.questions()[0].reviewers == ("zoe", "kim")


def test_while_stamps_may_be_many_a_second_person_is_asked_and_it_stays_so_for_this_question(station: Station) -> None:
    station.base, station.head = dict(PROJECT), head({"shop/app.py": APP})
    told = prepared(review=ReviewPolicy(most_stamps=20))
    station.says("zoe", "@Zoe", "kim")
    approval = review_gate(told, seen(("shop/app.py",)), VERDICT)
    assert (approval.reviewer, approval.others) == ("kim", ("zoe",))
    said = station.shown[0].replace("\\", "")
    assert "2 people must approve shop/app.py (how people review is known of 0 approvals alone" in said
    (noted,) = station.ledger.entries(run_id="run", kind="second-person")
    assert "at most 20 % may be" in noted.body["why"]


def test_a_record_that_is_not_known_brings_the_change_before_a_person_and_says_why(station: Station) -> None:
    station.base, station.head = dict(PROJECT), head({"shop/app.py": APP})
    told = prepared(review=ReviewPolicy(agent=True, record=RecordBar()))
    station.says("zoe")
    review_gate(told, seen(("shop/app.py",)), VERDICT)
    assert "hold-record: codex/e has 0 changes that were released, and 30 are asked for" in station.shown[0]


def test_owners_are_those_of_base(station: Station) -> None:
    station.head = {**station.head, **tree({"CODEOWNERS": "* @mallory\n"})}
    station.says("mallory", "ann", "bob")
    review_gate(prepared(), seen(), VERDICT)
    assert station.questions()[0].reviewers == ("ann", "bob", "eve")


def test_a_question_that_named_nobody_yet_lets_nobody_else_in(station: Station) -> None:
    mark = fingerprint(prepared(), seen())
    station.ledger.record("run", "question", mark, Question(fingerprint=mark, attempt=1, commit=COMMIT, text="old"))
    station.says("mallory", "ann", "bob")
    assert review_gate(prepared(), seen(), VERDICT).others == ("ann",)


KEPT = (
    Question(fingerprint="f", attempt=1, commit="c", text="t"),
    Approval(answer=Answer.APPROVE, reviewer="policy", fingerprint="f", rule="alone"),
)


@pytest.mark.parametrize("value", KEPT)
def test_what_the_step_returns_is_kept_as_what_it_is(value: Question | Approval) -> None:
    serializer = JSONSerializer()
    assert serializer.loads(serializer.dumps(value)) == value


# --- what is merged


def merge_of(station: Station, monkeypatch: pytest.MonkeyPatch) -> "Callable[..., Merged]":
    """The step `merge`, with a forge that notes what was merged in `station.merged`."""
    station.forge.merge = lambda repository, branch, base, commit, *_: station.merged.append(commit)
    monkeypatch.setattr(merging, "workshop_of", lambda brief: station)
    monkeypatch.setattr(merging, "show", SimpleNamespace(merged=lambda *_: None))
    monkeypatch.setattr(gate, "has_signed", lambda run, begins, name: (begins, name) in station.signed)
    return cast("Callable[..., Merged]", cast("Task[..., Any]", merging.merge).fn)


def test_only_what_the_ledger_says_was_approved_is_merged(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Prefect keeps of a run, forged answers and doctored results of steps among it, merges nothing."""
    merge = merge_of(station, monkeypatch)
    mark = fingerprint(prepared(), seen())
    forged = Approval(answer=Answer.APPROVE, reviewer="ann", fingerprint=mark, others=("bob",))
    with pytest.raises(Unapproved, match="no approval of run run for exactly this change"):
        merge(prepared(), seen(), forged)
    station.says("ann", "bob")
    real = review_gate(prepared(), seen(), VERDICT)
    better = seen().model_copy(update={"scanned": seen().scanned.model_copy(update={"findings": ()})})
    other = attempt(PROJECT, changed_paths=BOTH, agent="codex/e", commit="9" * 40)
    doctored: tuple[tuple[Prepared, Evidence, Approval], ...] = (
        (prepared(), seen(), real.model_copy(update={"reviewer": "mallory"})),
        (prepared(), seen(), real.model_copy(update={"others": ()})),
        (prepared(), seen(), real.model_copy(update={"answer": Answer.CHANGES})),
        (prepared(), seen(), real.model_copy(update={"signed_in": True})),
        (prepared(), seen(), real.model_copy(update={"fingerprint": "0" * 64})),
        (prepared(), seen(), real.model_copy(update={"rule": "alone", "reviewer": "policy"})),
        (prepared(), evidence(of=other), real),
        (prepared().model_copy(update={"run_id": "another"}), seen(), real),
        (prepared().model_copy(update={"base": "8" * 40}), seen(), real),
        (prepared().model_copy(update={"brief": prepared().brief.model_copy(update={"branch": "x"})}), seen(), real),
        *(((prepared(), better, real),) if better != seen() else ()),
    )
    for ready, evidence_, approval in doctored:
        with pytest.raises(Unapproved, match="nothing was merged"):
            merge(ready, evidence_, approval)
    assert station.merged == []
    for _ in range(2):  # killed on either side of its record
        assert merge(prepared(), seen(), real).commit == COMMIT
    assert station.merged == [COMMIT] * 2


def test_an_approval_that_is_too_few_or_only_claimed_merges_nothing_although_it_is_on_record(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge = merge_of(station, monkeypatch)
    mark = fingerprint(prepared(), seen())
    alone = Approval(answer=Answer.APPROVE, reviewer="ann", fingerprint=mark)
    gate.ask(prepared(), seen(), VERDICT)
    station.ledger.record("run", "approval", mark, alone)
    with pytest.raises(Unapproved, match="bob or eve must approve"):
        merge(prepared(), seen(), alone)

    strict = prepared(review=ReviewPolicy(signed_in=True)).model_copy(update={"base": BASE})
    station.ledger = Ledger(url=SecretStr(station.ledger.url.get_secret_value().replace("ledger.db", "other.db")))
    station.says("ann", "bob")
    key = f"review-{fingerprint(strict, seen())[:16]}-"
    station.signed += [(f"{key}0", "ann"), (f"{key}1", "bob")]
    both = review_gate(strict, seen(), VERDICT)
    with pytest.raises(Unapproved, match="bob has not approved it at the door"):
        merge(strict, seen(), both)
    station.signed += [(key, "ann"), (key, "bob")]
    assert merge(strict, seen(), both).commit == COMMIT


def test_what_somebody_has_asked_to_cancel_is_not_merged_any_more(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge, tip = merge_of(station, monkeypatch), list[str]()
    station.forge.contains = lambda repository, branch, commit: commit in tip
    station.says("ann", "bob")
    real = review_gate(prepared(), seen(), VERDICT)
    station.ledger.record("run", "cancelled", "eve", Cancelled(by="eve", why="not needed", signed_in=True))
    with pytest.raises(Withdrawn, match=r"nothing was merged: eve \(signed in\) asks to cancel it: not needed"):
        merge(prepared(), seen(), real)
    assert station.merged == [] and station.ledger.holder_of("merge/run") is None
    tip.append(COMMIT)  # it was killed after the branch had moved, and before that was on record
    assert merge(prepared(), seen(), real).commit == COMMIT


def test_a_request_to_cancel_that_was_refused_does_not_stand_and_the_next_one_does(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge, url = merge_of(station, monkeypatch), station.ledger.url.get_secret_value()
    station.says("ann", "bob")
    real, noted = review_gate(prepared(), seen(), VERDICT), cancelling.record
    run, eve = {"id": "run", "parameters": {}}, Cancelled(by="eve")

    def record(*what: Any) -> Any:  # it begins to release in that very moment
        station.ledger.lease("environment/shop", "run", 60)
        return noted(*what)

    monkeypatch.setattr(cancelling, "record", record)
    for _ in range(2):
        with pytest.raises(cancelling.Busy, match="releases to shop right now"):
            cancelling.note(run, eve, {"default": url})
        station.ledger.release("environment/shop", "run")
    assert merging.cancelled(cast("Any", station), "run") is None
    monkeypatch.setattr(cancelling, "record", noted)
    cancelling.note(run, eve, {"default": url})
    station.forge.contains = lambda *_: False
    with pytest.raises(Withdrawn, match="eve"):
        merge(prepared(), seen(), real)


def test_a_merge_that_takes_long_keeps_its_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(url=SecretStr(f"sqlite:///{tmp_path}/ledger.db"))
    renewed = threading.Event()
    real = Ledger.renew

    def renew(self: Ledger, name: str, token: int, seconds: float) -> bool:
        kept = real(self, name, token, seconds)
        renewed.set()
        return kept

    monkeypatch.setattr(Ledger, "renew", renew)
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.01)
    with lease.merging(ledger, "run"):
        assert renewed.wait(30)
        assert ledger.holder_of("merge/run") == "run"
    assert ledger.holder_of("merge/run") is None


def test_who_cancels_a_run_while_it_merges_is_told_so(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    merge = merge_of(station, monkeypatch)
    url = station.ledger.url.get_secret_value()
    run = {"id": "run", "parameters": {}}
    told = list[str]()

    def cancel_it(*_: str) -> None:
        with pytest.raises(cancelling.Busy, match="merges right now") as refused:
            cancelling.note(run, Cancelled(by="eve"), {"default": url})
        told.append(str(refused.value))

    station.forge.merge = cancel_it
    station.says("ann", "bob")
    merge(prepared(), seen(), review_gate(prepared(), seen(), VERDICT))
    assert told and not station.ledger.entries(run_id="run", kind="cancelled")


# --- without a person

AGENT = ReviewPolicy(agent=True)


def plain(station: Station, **fields: Any) -> Prepared:
    """A change that may pass: one line of a file that nobody owns."""
    station.base, station.head = dict(PROJECT), head({"shop/app.py": APP})
    told = prepared(scope=Scope(paths=("shop/**",)), **{"review": AGENT, **fields})
    baseline = Suite(cases={"tests/test_app.py::test_nothing": CaseOutcome.PASSED}, exit_code=1)
    brief = told.brief.model_copy(update={"roles": Roles(review="codex/r")})
    return told.model_copy(update={"baseline": baseline, "brief": brief})


def reviewed(*concerns: str) -> Evidence:
    opinion = Opinion(summary="It does what is asked", concerns=concerns)
    return seen(("shop/app.py",)).model_copy(update={"opinion": opinion})


def test_what_may_pass_passes_with_the_rule_on_record(station: Station) -> None:
    told, evidence_ = plain(station), reviewed()
    approval = review_gate(told, evidence_, judge(told, evidence_))
    assert approval.is_approved
    assert (approval.reviewer, approval.rule) == ("policy", "agent-review")
    assert approval.comment.startswith("agent-review: 10 changed lines in 1 file, and nothing holds it back")
    assert approval.fingerprint == fingerprint(told, evidence_)
    assert approval.fingerprint == fingerprint(told, evidence_.model_copy(update={"opinion": None}))
    assert station.questions() == []
    assert review_gate(told, evidence_, judge(told, evidence_)) == approval


def test_a_concern_asks_a_person_and_says_so(station: Station) -> None:
    told, evidence_ = plain(station), reviewed("It never ends")
    station.says("ann")
    approval = review_gate(told, evidence_, judge(told, evidence_))
    assert (approval.reviewer, approval.rule) == ("ann", None)
    assert "hold-concern: the reviewing agent says: It never ends" in station.questions()[0].text.replace("\\", "")


def test_once_a_person_stepped_in_a_person_decides_for_the_rest_of_the_run(station: Station) -> None:
    told, evidence_ = plain(station), reviewed()
    asked = Approval(answer=Answer.CHANGES, reviewer="ann", comment="shorter", fingerprint="0" * 64)
    station.ledger.record("run", "approval", "0" * 64, asked)
    station.says("ann")
    assert review_gate(told, evidence_, judge(told, evidence_)).reviewer == "ann"


def test_after_a_sick_release_a_person_decides(station: Station) -> None:
    told, evidence_ = plain(station), reviewed()
    back = RolledBack(environment="shop", failed="f" * 40, serving=None, revert=None, bundle="d")
    station.ledger.record("run", "rolled_back", "f" * 40, back)
    station.says("ann")
    assert review_gate(told, evidence_, judge(told, evidence_)).reviewer == "ann"


def test_without_a_word_of_base_a_person_decides(station: Station) -> None:
    told, evidence_ = plain(station, review=ReviewPolicy()), reviewed()
    station.says("ann")
    assert review_gate(told, evidence_, judge(told, evidence_)).reviewer == "ann"
    assert "Why a person" not in station.questions()[0].text


# --- before the agent starts


def test_where_too_little_passes_on_base_a_person_says_whether_to_begin(station: Station) -> None:
    cases = {f"tests/test_a.py::test_{n}": CaseOutcome.FAILED if n else CaseOutcome.PASSED for n in range(3)}
    ready = prepared().model_copy(update={"baseline": Suite(cases=cases, exit_code=1)})
    assert base_gate(prepared()) == ()
    station.says("ann")
    assert base_gate(ready) == base_gate(ready) == (), "it is asked once"
    assert station.shown[0].startswith("# Begin?")
    assert "on base only 1 of 3 tests pass" in station.shown[0].replace("\\", "")
    other = ready.model_copy(update={"base": BASE[::-1].replace("b", "c")})
    station.base, station.forge.tree = {}, lambda repository, commit: {}
    station.says("ann", decision="reject", comment="mend them first")
    assert base_gate(other)[0] == "ann: mend them first"
