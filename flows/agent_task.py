"""The pipeline: one brief to a live, healthy release, through every step. Read this first."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from domain.brief import Brief
from domain.task import NO_PLAN, Answer, Approval, Attempt, End, Evidence, Feedback, Merged, Plan, Prepared
from flows.race import answered, race
from flows.report import Passed, all_used, end, ended, judged, review_feedback, stuck, turned_back, turned_down
from tasks.deploy import deploy, first_release
from tasks.health_check import health_check
from tasks.merge import conflict, merge, rebase
from tasks.people.acceptance import agreed_acceptance
from tasks.people.elsewhere import until_pushed
from tasks.people.questions import agreed_plan
from tasks.people.ready import until_ready
from tasks.prepare import prepare
from tasks.rehearse import with_rehearsal
from tasks.review import review
from tasks.review_gate import base_gate, review_gate
from tasks.rollback import production_feedback, rollback
from tasks.security_scan import security_scan
from tasks.test import test


@flow(name="agent-task", flow_run_name="{brief.title}", persist_result=True, result_serializer="json")
def agent_task(brief: Brief) -> State:
    """A brief goes in; it ends live, merged, declined, gave_up, frozen or refused, each with its reasons."""
    return ended(str(flow_run.id), brief, _turns)


def _turns(run: str, brief: Brief) -> State:
    feedback, earlier = list[Feedback](), list[Attempt]()
    intent: Plan | None = None
    brief, refusals = agreed_acceptance(run, brief)  # refusals: those of attempt 0
    for turn in range(1, brief.budget.attempts + 1):
        until_pushed(run, brief, earlier, feedback)
        brief = (prepared := prepare(run, brief, 0 if refusals else turn)).asked  # now it names its branch
        if prepared.refusals:
            return end(run, brief, End.REFUSED, prepared.refusals)
        if why := stuck(prepared, earlier, feedback):
            return end(run, brief, End.GAVE_UP, (why, *feedback[-1].points))
        if intent is None and not prepared.unfit:
            if declined := base_gate(prepared):
                return end(run, brief, End.DECLINED, declined)
            first_release(prepared)
            intent = agreed_plan(prepared)
        passed = race(prepared, intent or NO_PLAN, turn, feedback, earlier, _gates)
        through = _through(prepared, passed, intent or NO_PLAN, earlier) if isinstance(passed, Passed) else passed
        if isinstance(through, list):
            feedback += answered(prepared, earlier, through, _gates)
            continue
        if isinstance(through, Approval):
            return end(run, brief, End.DECLINED, (f"{through.reviewer}: {through.comment or through.answer}",))
        prepared, merged = through
        if brief.environment is None:
            return end(run, brief, End.MERGED, commit=merged.commit)
        release = deploy(prepared, merged)
        if (health := health_check(prepared, release)).healthy:
            return end(run, brief, End.LIVE, commit=merged.commit, url=release.url)
        rollback(prepared, release, health)
        feedback.append(production_feedback(prepared, earlier[-1].number, release, health))
    return end(run, brief, End.GAVE_UP, (all_used(brief), *feedback[-1].points))


def _gates(prepared: Prepared, attempt: Attempt, earlier: list[Attempt]) -> Passed | Feedback:
    """Evidence and a verdict that is no refusal; or what the agent has to mend."""
    if unusable := turned_down(attempt, earlier):
        return unusable
    scan = security_scan.submit(prepared, attempt)
    evidence = Evidence(attempt=attempt, tested=test(prepared, attempt), scanned=scan.result())
    verdict = judged(prepared, evidence)
    return turned_back(evidence, verdict) if verdict.is_refused else Passed(evidence, verdict)


def _through(
    prepared: Prepared, passed: Passed, intent: Plan, earlier: list[Attempt]
) -> tuple[Prepared, Merged] | Approval | list[Feedback]:
    """Merged, and on which base; or a person's no; or what the agent has to mend."""
    evidence = with_rehearsal(prepared, passed.evidence)
    verdict = judged(prepared, evidence) if evidence.rehearsed else passed.verdict
    if verdict.is_refused:
        return [turned_back(evidence, verdict)]
    evidence = review(prepared, intent, evidence)
    merged = Merged(commit=None)
    while merged.asks_again:
        approval = review_gate(prepared, evidence, verdict)
        if approval.answer is Answer.CHANGES:
            return [review_feedback(approval, evidence.attempt)]
        if not approval.is_approved:
            return approval
        until_ready(prepared, evidence, approval)
        merged = merge(prepared, evidence, approval)
    if merged.commit:
        return prepared, merged
    again = prepare(prepared.run_id, prepared.asked, evidence.attempt.number, merged.new_base)
    moved = rebase(again, evidence.attempt)
    tested = conflict(moved) if moved.problem else _gates(again, moved, [])
    return _through(again, tested, intent, earlier) if isinstance(tested, Passed) else [tested]
