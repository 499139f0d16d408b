"""Whose word at a hosted forge counts: of exactly what was judged, by somebody known by id who may write there now."""

from typing import Any

import pytest

from domain.policy.pull_review import Heard, hear
from domain.pull_request import Person, Proposed, PullRequest, PullReview, PullState, Remark, ReviewState, Thread
from domain.task import Answer, Need, Question

HEAD, OTHER = "a" * 40, "b" * 40
ANN, BOB, EVE = Person(login="ann", id=1), Person(login="bob", id=2), Person(login="Eve", id=3)
OUTSIDER, BOT, ME = Person(login="mallory", id=9), Person(login="ci", id=8, is_bot=True), Person(login="robot", id=7)
PROPOSED = Proposed(host="github.com", repository="r", number=1, url="u", branch="lockgate/run", head=HEAD)
OPEN = PullRequest(number=1, url="u", branch="lockgate/run", base="main", head=HEAD, state=PullState.OPEN)
ANYBODY = Question(fingerprint="f", attempt=1, commit=HEAD, text="")
TWO = ANYBODY.model_copy(
    update={"needs": (Need(names=("ann",), why="w", paths=("a",)), Need(names=("bob", "eve"), why="w", paths=("b",)))}
)


def said(by: Person, state: str = "APPROVED", commit: str = HEAD, number: int = 1, text: str = "") -> PullReview:
    return PullReview(id=number, by=by, state=ReviewState(state), commit=commit, text=text)


def talk(by: Person, *, resolved: bool = False, line: int | None = 3) -> Thread:
    return Thread(path="app.py", line=line, is_resolved=resolved, remarks=(Remark(by=by, text="why?"),))


def heard(*reviews: PullReview, question: Question = ANYBODY, pull: PullRequest = OPEN, **more: Any) -> Heard:
    threads = more.pop("threads", ())
    writers = more.pop("writers", {ANN.id, BOB.id, EVE.id, ME.id, BOT.id})
    proposed = PROPOSED.model_copy(update={"base": more.pop("leads_to", "")})
    return hear(
        question, proposed, pull, reviews, threads, may_write=lambda p: p.id in writers, me="robot", **more
    )  # fmt: skip


def test_an_approval_of_the_judged_head_by_somebody_who_may_write_lets_it_pass() -> None:
    passed = heard(said(ANN))
    assert (passed.answer, passed.by) == (Answer.APPROVE, (ANN,))


@pytest.mark.parametrize(
    ("review", "more", "why"),
    [
        (said(OUTSIDER), {}, "may not write there"),
        (said(BOT), {}, "is a bot"),
        (said(ME), {}, "is the platform itself"),
        (said(Person(login="ROBOT", id=70)), {"writers": {70}}, "is the platform itself"),
        (said(ANN), {"writers": set()}, "may not write there"),
        (said(ANN, commit=OTHER), {}, f"saw {OTHER[:12]}"),
        (said(ANN, commit=""), {}, "saw an unknown commit"),
        (said(EVE), {"question": TWO.model_copy(update={"needs": TWO.needs[:1]})}, "not among those whom"),
        (said(ANN, "COMMENTED"), {}, "an approval by somebody who may write there"),
        (said(ANN, "DISMISSED"), {}, "an approval by somebody who may write there"),
        (said(ANN, "PENDING"), {}, "an approval by somebody who may write there"),
        (said(OUTSIDER, "CHANGES_REQUESTED"), {}, "may not write there"),
        (said(BOT, "CHANGES_REQUESTED"), {}, "is a bot"),
        (said(ANN, "CHANGES_REQUESTED", OTHER), {}, f"saw {OTHER[:12]}"),
        (said(ANN), {"threads": (talk(BOB),)}, "1 conversations are not resolved, the first at app.py:3"),
        (said(ANN), {"pull": OPEN.model_copy(update={"head": OTHER})}, "which nobody judged"),
        (said(ANN), {"pull": OPEN.model_copy(update={"base": "b"}), "leads_to": "main"}, "leads to b now, and main"),
        (said(ANN), {"pull": OPEN.model_copy(update={"is_draft": True})}, "made it a draft again"),
        (said(ANN), {"question": TWO}, "bob or eve must approve b"),
    ],
)
def test_what_does_not_count_is_named_and_nothing_is_decided(review: PullReview, more: Any, why: str) -> None:
    nothing = heard(review, **more)
    assert nothing.answer is None
    assert why in "; ".join(nothing.waits_for)


def test_who_takes_an_approval_back_has_not_approved() -> None:
    assert heard(said(ANN), said(ANN, "DISMISSED", number=2)).answer is None
    assert heard(said(ANN), said(ANN, "COMMENTED", number=2)).answer is Answer.APPROVE
    assert heard(said(ANN), said(ANN, "CHANGES_REQUESTED", number=2)).answer is Answer.CHANGES
    assert heard(said(ANN, "CHANGES_REQUESTED"), said(ANN, number=2)).answer is Answer.APPROVE


def test_a_wish_for_changes_weighs_more_than_an_approval_and_brings_what_was_said_at_lines() -> None:
    wish = said(BOB, "CHANGES_REQUESTED", number=2, text="not like this")
    threads = (talk(ANN), talk(BOB, line=None), talk(OUTSIDER), talk(ANN, resolved=True))
    changes = heard(said(ANN), wish, threads=threads)
    assert (changes.answer, changes.by, changes.comment) == (Answer.CHANGES, (BOB,), "bob: not like this")
    assert changes.points == ("app.py:3: ann: why?", "app.py: bob: why?"), "no outsider gives the agent orders"


def test_a_wish_for_changes_in_an_unknown_commit_holds_back_until_it_is_taken_back() -> None:
    wish = said(ANN, "CHANGES_REQUESTED", commit="", number=0)
    held = heard(wish, said(BOB))
    assert (held.answer, held.by) == (None, (BOB,))
    assert held.waits_for == ("ann asks for changes in an unknown commit: ann has to approve, or to take that back",)
    assert heard(wish, said(BOB), pull=over("merged")).answer is Answer.REJECT
    assert heard(wish, said(BOB), said(ANN)).answer is Answer.APPROVE
    assert heard(said(OUTSIDER, "CHANGES_REQUESTED", commit=""), said(BOB)).answer is Answer.APPROVE


def test_everybody_whom_the_base_branch_names_must_approve_here_or_elsewhere() -> None:
    assert heard(said(ANN), said(EVE, number=2), question=TWO).answer is Answer.APPROVE
    assert heard(said(EVE), question=TWO, given=("ann",)).answer is Answer.APPROVE
    assert heard(said(EVE), question=TWO).answer is None


def over(state: str, **more: Any) -> PullRequest:
    return OPEN.model_copy(update={"state": PullState(state), "ended_by": ANN, **more})


def test_what_was_closed_by_hand_says_who_did_it() -> None:
    closed = heard(pull=over("closed"))
    assert (closed.answer, closed.by, closed.comment) == (
        Answer.REJECT,
        (ANN,),
        "its pull request was closed without a merge",
    )
    gone = heard(pull=over("closed", is_branch_gone=True, ended_by=None))
    assert (gone.by, gone.comment.endswith("its branch lockgate/run was deleted")) == ((), True)


def test_who_merges_exactly_what_was_judged_has_approved_it() -> None:
    merged = heard(pull=over("merged"))
    assert (merged.answer, merged.by, merged.comment) == (Answer.APPROVE, (ANN,), "merged there by hand")
    both = heard(said(EVE), pull=over("merged"), question=TWO)
    assert (both.answer, both.by) == (Answer.APPROVE, (EVE, ANN))
    assert heard(said(ANN), pull=over("merged", ended_by=ME)).by == (ANN,), "by us, before the run was killed"


@pytest.mark.parametrize(
    ("pull", "more", "why"),
    [
        (over("merged", head=OTHER), {}, f"it stood at {OTHER[:12]}, which nobody judged"),
        (over("merged", base="other"), {"leads_to": "main"}, "it leads to other now, and main was judged"),
        (over("merged"), {"question": TWO}, "bob or eve must approve b"),
        (over("merged", ended_by=BOT), {}, "ci is a bot"),
        (over("merged", ended_by=OUTSIDER), {}, "mallory may not write there"),
        (over("merged", ended_by=ME), {}, "robot is the platform itself"),
        (over("merged", ended_by=None), {}, "nobody approved it there"),
        (over("merged", ended_by=EVE), {"reviews": (said(BOB, "CHANGES_REQUESTED"),)}, "bob had asked for changes"),
    ],
)
def test_nothing_is_released_from_any_other_merge_by_hand(pull: PullRequest, more: Any, why: str) -> None:
    ended = heard(*more.pop("reviews", ()), pull=pull, **more)
    assert ended.answer is Answer.REJECT
    assert "merged at the forge by hand, and nothing was released from it" in ended.comment and why in ended.comment
