"""Answers to suspended runs, by the API call that the UI's form makes."""

from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.responses import SetStateStatus

from domain.errors import InputError
from domain.policy.reviewers import may_approve
from domain.task import Plan, Question
from station.follow import ledger_of, read_run


def question(run_id: str) -> Question:
    """The open question of a run. Raises InputError where nothing waits."""
    run = read_run(run_id)
    ledger = ledger_of(run)
    entries = ledger.entries(run_id=str(run.id), kind="question")
    answered = {e.key for e in ledger.entries(run_id=str(run.id), kind="approval")}
    waiting = [e for e in entries if e.key not in answered]
    if not waiting or not (run.state and run.state.is_paused()):
        raise InputError(f"run {run_id} does not wait for a review: it is {run.state_name}")
    return Question.model_validate(waiting[-1].body)


def review(run_id: str, decision: str, reviewer: str, comment: str) -> None:
    """Answer the review. Raises InputError where nothing waits, or this reviewer may not approve."""
    asked = question(run_id)
    if decision == "approve" and not may_approve(asked.needs, reviewer):
        raise InputError(f"{reviewer} may not approve this change; who may: {', '.join(asked.reviewers)}")
    _resume(run_id, {"decision": decision, "reviewer": reviewer, "comment": comment, "mark": asked.fingerprint[:16]})


def answer(run_id: str, text: str, by: str) -> None:
    """Answer the agent's questions. Raises InputError where it has none open."""
    run = read_run(run_id)
    ledger = ledger_of(run)
    plans = ledger.entries(run_id=str(run.id), kind="plan")
    attempts = ledger.entries(run_id=str(run.id), kind="attempt")
    asked = [e.key for e in plans if Plan.model_validate(e.body).questions]
    asked += [f"help-{e.body['number']}" for e in attempts if e.body["help"]]
    if not any(ledger.last("answers", key, str(run.id)) is None for key in asked) or not (
        run.state and run.state.is_paused()
    ):
        raise InputError(f"run {run_id} has no open questions: it is {run.state_name}")
    _resume(run_id, {"answers": text, "answered_by": by})


def _resume(run_id: str, content: dict[str, Any]) -> None:
    """Prefect tells in the body, not by the HTTP code, whether it took the answer."""
    with get_client(sync_client=True) as client:
        taken = client.resume_flow_run(UUID(run_id), run_input=content)
    if taken.status is not SetStateStatus.ACCEPT:
        reason = getattr(taken.details, "reason", None) or taken.status.value
        raise InputError(f"the answer was not taken: {reason}")
