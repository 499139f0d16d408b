"""The pipeline: one brief to a live, healthy release, through every step. Read this first."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from domain.brief import Brief
from domain.task import Answer, Approval, Attempt, End, Evidence, Feedback, Merged, Plan, Prepared
from flows.report import end, ended, judged, refused, review_feedback
from tasks.deploy import deploy, first_release
from tasks.edit import edit
from tasks.health_check import health_check
from tasks.merge import conflict, merge, rebase
from tasks.prepare import prepare
from tasks.questions import agreed_plan
from tasks.review_gate import review_gate
from tasks.rollback import production_feedback, rollback
from tasks.security_scan import security_scan
from tasks.test import test


@flow(name="agent-task", flow_run_name="{brief.title}", persist_result=True, result_serializer="json")
def agent_task(brief: Brief) -> State:
    """A brief goes in; it ends live, merged, declined, gave_up, frozen or refused, each with its reasons."""
    return ended(str(flow_run.id), brief, _attempts)


def _attempts(run: str, brief: Brief) -> State:
    feedback: list[Feedback] = []
    earlier: list[Attempt] = []
    intent: Plan | None = None
    for number in range(1, brief.budget.attempts + 1):
        prepared = prepare(run, brief, number)
        if prepared.refusals:
            return end(run, brief, End.REFUSED, prepared.refusals)
        if intent is None:
            first_release(prepared)
            intent = agreed_plan(prepared)
        attempt = edit(prepared, intent, number, tuple(feedback))
        passed = _gates(prepared, attempt, earlier)
        earlier.append(attempt)
        if isinstance(passed, Feedback):
            feedback.append(passed)
            continue
        if isinstance(passed, Approval):
            return end(run, brief, End.DECLINED, (f"{passed.reviewer}: {passed.comment or passed.answer}",))
        prepared, merged = passed
        if brief.environment is None:
            return end(run, brief, End.MERGED, commit=merged.commit)
        release = deploy(prepared, merged)
        health = health_check(prepared, release)
        if health.healthy:
            return end(run, brief, End.LIVE, commit=merged.commit, url=release.url)
        rollback(prepared, release, health)
        feedback.append(production_feedback(number, release, health))
    return end(run, brief, End.GAVE_UP, (f"{brief.budget.attempts} attempts are used up", *feedback[-1].points))


def _gates(
    prepared: Prepared, attempt: Attempt, earlier: list[Attempt]
) -> tuple[Prepared, Merged] | Approval | Feedback:
    """Merged, and on which base; or a person's no; or what the agent has to mend."""
    if stuck := refused(attempt, earlier):
        return stuck
    scan = security_scan.submit(prepared, attempt)
    evidence = Evidence(attempt=attempt, tested=test(prepared, attempt), scanned=scan.result())
    verdict = judged(prepared, evidence)
    if verdict.is_refused:
        return Feedback(attempt=attempt.number, source="gates", points=verdict.reasons, last_commit=attempt.commit)
    approval = review_gate(prepared, evidence, verdict)
    if approval.answer is Answer.CHANGES:
        return review_feedback(approval, attempt)
    if not approval.is_approved:
        return approval
    merged = merge(prepared, evidence, approval)
    if merged.commit is None:
        again = prepare(prepared.run_id, prepared.brief, attempt.number, merged.new_base)
        moved = rebase(again, attempt)
        return conflict(moved) if moved.problem else _gates(again, moved, earlier)
    return prepared, merged
