"""Answers to suspended runs, by the API call that the UI's form makes."""

import re
from collections.abc import Mapping
from typing import Any

from domain.errors import InputError
from domain.policy.reviewers import may_approve
from domain.records import ANSWERS, APPROVAL, ATTEMPT, PLAN, QUESTION, kinds_of
from domain.task import Plan, Question
from station import api, settings
from station.status import ledger_of, read_run


def question(run_id: str) -> Question:
    """The open question of a run. Raises InputError if nothing waits."""
    if settings.is_signed_in():
        mark, text = _waiting(run_id, "review")
        return Question(fingerprint=mark, attempt=0, commit="", text=text)
    run = read_run(run_id)
    entries = ledger_of(run).entries(run["id"], kinds_of(QUESTION, APPROVAL))
    answered = {e.key for e in entries if e.kind == APPROVAL.kind}
    waiting = [e for e in entries if e.kind == QUESTION.kind and e.key not in answered]
    if not waiting or run["state_type"] != "PAUSED":
        raise InputError(f"run {run_id} does not wait for a review: it is {run['state_name']}")
    return Question.model_validate(waiting[-1].body)


def review(run_id: str, decision: str, reviewer: str, comment: str) -> None:
    """Answer the review. Raises InputError if nothing waits, or this reviewer may not approve."""
    asked = question(run_id)
    if settings.is_signed_in():  # the name is the token's
        _resume(run_id, {"decision": decision, "reviewer": reviewer, "comment": comment, "mark": asked.fingerprint})
        return
    if decision == "approve" and asked.signed_in:
        raise InputError("only who is signed in may approve this change: `lockgate login` at the door, with a token")
    if decision == "approve" and not may_approve(asked.needs, reviewer, asked.made_by):
        who = ", ".join(asked.reviewers) or f"anybody else than {', '.join(asked.made_by)}, who made it"
        raise InputError(f"{reviewer} may not approve this change; who may: {who}")
    _resume(run_id, {"decision": decision, "reviewer": reviewer, "comment": comment, "mark": asked.fingerprint[:16]})


def questions(run_id: str) -> tuple[str, ...]:
    """What the agent asks now. Raises InputError if it has no open questions."""
    if settings.is_signed_in() or proposal_of(run := read_run(run_id)):
        return (_waiting(run_id, "questions")[1],)
    entries = ledger_of(run).entries(run["id"], kinds_of(PLAN, ATTEMPT, ANSWERS))
    answered = {e.key for e in entries if e.kind == ANSWERS.kind}
    asked = {e.key: Plan.model_validate(e.body).questions for e in entries if e.kind == PLAN.kind}
    asked |= {
        f"help-{e.body['number']}": (e.body["help"],) for e in entries if e.kind == ATTEMPT.kind and e.body["help"]
    }
    still_open = [points for key, points in asked.items() if points and key not in answered]
    if not still_open or run["state_type"] != "PAUSED":
        raise InputError(f"run {run_id} has no open questions: it is {run['state_name']}")
    return still_open[-1]


def proposal_of(run: Mapping[str, Any]) -> str:
    """The digest of the acceptance test whose approval the run waits for; empty: it waits for no such thing."""
    key = str(((run.get("state") or {}).get("state_details") or {}).get("pause_key") or "")
    found = re.match(r"questions-acceptance-([0-9a-f]{16})-", key)
    return found[1] if found and run["state_type"] == "PAUSED" else ""


def answer(run_id: str, text: str, by: str) -> None:
    """Answer the agent's questions. Raises InputError if it has none open."""
    questions(run_id)
    _resume(run_id, {"answers": text, "answered_by": by})


def _resume(run_id: str, content: dict[str, Any]) -> None:
    """Prefect tells in the body, not by the HTTP code, whether it took the answer."""
    try:
        taken = api.post(f"/flow_runs/{run_id}/resume", {"run_input": content}) or {}
    except api.Refused as err:
        raise InputError(f"the answer was not taken: {err}") from err
    if taken.get("status") != "ACCEPT":
        reason = (taken.get("details") or {}).get("reason") or taken.get("status") or "the run is gone"
        raise InputError(f"the answer was not taken: {reason}")


def _waiting(run_id: str, kind: str) -> tuple[str, str]:
    """What a suspended run asks, from Prefect alone: the mark of the question, and its text."""
    run = api.run(run_id)
    details = (run["state"] or {}).get("state_details") or {}
    asked, _, rest = str(details.get("pause_key") or "").partition("-")
    if run["state_type"] != "PAUSED" or asked != kind:
        raise InputError(f"run {run_id} does not wait for {kind}: it is {run['state_name']}")
    place = (details.get("run_input_keyset") or {}).get("description")
    text = api.get(f"/flow_runs/{run['id']}/input/{place}") if place else None
    return rest.partition("-")[0], str(text or "")
