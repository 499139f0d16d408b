"""review_gate: a person decides on exactly what they saw. While the question is open, nothing runs.

Suspending ends the process; the answer starts the run again from the top, with every finished step taken from its
stored result. The answer goes into our ledger before anything else, under the run and the fingerprint, and is looked
for there first.
"""

from typing import Literal

from prefect import get_run_logger
from prefect.input import RunInput
from pydantic import Field

from blocks.workshop import workshop_of
from domain.task import Answer, Approval, Evidence, Prepared, Question, Verdict
from domain.value import digest_of
from tasks import show
from tasks.asking import answered
from tasks.step import step


class Review(RunInput):
    """The form in the UI under ⋮ → Resume. Nothing that decides has a default: an empty answer is no answer."""

    decision: Literal["approve", "ask for changes", "reject", "expired"] = Field(
        description="`expired` is for the platform's housekeeping"
    )
    reviewer: str = Field(min_length=1, description="Your name, for the record")
    comment: str = Field("", description="What should change, or why not")
    mark: str = Field("", description="Leave it: names the change that you saw, so that no other one gets your answer")


def fingerprint(prepared: Prepared, evidence: Evidence) -> str:
    """What an approval is bound to: brief, tree and evidence. It dies when any of them changes.

    Seconds are left out: the same tests run again give the same evidence.
    """
    return digest_of(
        {
            "brief": prepared.brief.digest,
            "base": prepared.base,
            "tree": evidence.attempt.tree,
            "commit": evidence.attempt.commit,
            "tests": [row.model_dump(mode="json", exclude={"message"}) for row in evidence.tested.rows],
            "findings": [f.digest for f in (*evidence.tested.findings, *evidence.scanned.findings)],
        }
    )


@step("review_gate", "review_gate-{evidence.attempt.number}")
def ask(prepared: Prepared, evidence: Evidence, verdict: Verdict) -> Question:
    """Put the question on record and show what it is about."""
    shop = workshop_of(prepared.brief)
    mark = fingerprint(prepared, evidence)
    attempt = evidence.attempt
    diff = shop.forge.diff(prepared.brief.repository, prepared.base, attempt.commit or prepared.base)
    question = Question(
        fingerprint=mark,
        attempt=attempt.number,
        commit=attempt.commit or "",
        text=show.review(prepared, evidence, verdict, diff, mark),
        reviewers=prepared.settings.reviewers,
    )
    return shop.ledger.record(prepared.run_id, "question", mark, question)


def review_gate(prepared: Prepared, evidence: Evidence, verdict: Verdict) -> Approval:
    """What a person answered. Suspends the flow run until there is an answer; never asks twice for one fingerprint."""
    ledger = workshop_of(prepared.brief).ledger
    run = prepared.run_id
    question = ask(prepared, evidence, verdict)
    for turn in range(100):
        known = ledger.find(run, "approval", question.fingerprint, Approval)
        if known:
            return known
        key = f"review-{question.fingerprint[:16]}-{turn}"
        answer = answered(Review, question.text, key, mark=question.fingerprint[:16])
        if answer and _may_answer(prepared, question, answer):
            approval = Approval(
                answer=Answer(answer.decision),
                reviewer=answer.reviewer,
                comment=answer.comment,
                fingerprint=question.fingerprint,
            )
            return ledger.record(run, "approval", question.fingerprint, approval)
    raise RuntimeError("a hundred answers were not usable; the run stops asking")


def _may_answer(prepared: Prepared, question: Question, answer: Review) -> bool:
    """Whether this reviewer may give this answer. Anyone may reject; `reviewers` on base says who may approve."""
    if not question.fingerprint.startswith(answer.mark):
        get_run_logger().warning("the answer is about another change (%s); asking again", answer.mark)
        return False
    allowed = prepared.settings.reviewers
    if answer.decision != "approve" or not allowed or answer.reviewer in allowed:
        return True
    get_run_logger().warning("%s may not approve (reviewers: %s); asking again", answer.reviewer, ", ".join(allowed))
    return False
