"""review_gate: whose approval it needs decides on exactly what they saw. While the question is open, nothing runs.

Suspending ends the process; the answer starts the run again from the top, with every finished step taken from its
stored result. The answer goes into our ledger before anything else, under the run and the fingerprint, and is looked
for there first. Where one person is not enough, each approval is kept and the run waits for the rest.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

from prefect import get_run_logger
from prefect.input import RunInput
from pydantic import Field

from blocks.ledger.ledger import Ledger
from blocks.ledger.rows import Entry
from blocks.workshop import Workshop, workshop_of
from domain.errors import LedgerError
from domain.policy.baseline import least_passing, standing
from domain.policy.change import Change
from domain.policy.feedback import one_line
from domain.policy.passing import passes
from domain.policy.reviewers import POLICY, canonical_name, from_base, may_approve, missing, needs, owners_of
from domain.pull_request import Proposed, PullState
from domain.task import Answer, Approval, Evidence, Need, Prepared, Question, Rehearsed, Verdict
from domain.value import digest_of
from tasks.pages import show
from tasks.people.asking import answered, has_signed, is_signed_in
from tasks.pull_request import approval_of, heard, propose
from tasks.rehearse import report_of
from tasks.step import step

LOOK = "look at the forge"
SIGNED_IN = "only who came in at the door with a token may approve (signed_in of [review])"


class Review(RunInput):
    """The form in the UI under ⋮ → Resume. Nothing that decides has a default: an empty answer is no answer."""

    decision: Literal["approve", "ask for changes", "reject", "expired", "look at the forge"] = Field(
        description="`expired` is for the platform's housekeeping; `look at the forge`: what was decided there counts"
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
            **({"migration": _of_migration(evidence.rehearsed)} if evidence.rehearsed else {}),
        }
    )


def _of_migration(rehearsed: Rehearsed) -> dict[str, object]:
    """What it does and what stops it; the times in its sentences differ from one rehearsal to the next."""
    rules = sorted(finding.rule for finding in rehearsed.findings)
    return {"environment": rehearsed.environment, "class": rehearsed.migration_class, "rules": rules}


@step("review_gate", "review_gate-{evidence.attempt.number}")
def ask(prepared: Prepared, evidence: Evidence, verdict: Verdict) -> Question | Approval:
    """The policy's approval, where base allows one; else put the question on record and show what it is about."""
    shop = workshop_of(prepared.brief)
    repository, attempt = prepared.brief.repository, evidence.attempt
    mark = fingerprint(prepared, evidence)
    commit = attempt.commit or prepared.base
    base, head = shop.forge.tree(repository, prepared.base), shop.forge.tree(repository, commit)
    owners, change = owners_of(base), Change(prepared, attempt, base, head)
    way, held = passes(change, evidence, verdict, owners, _interventions(shop, prepared.run_id))
    diff = shop.forge.diff(repository, prepared.base, commit)
    migration = report_of(shop, prepared, evidence.rehearsed) if evidence.rehearsed else ""
    if way:
        show.review(prepared, evidence, verdict, diff, mark, migration)
        return _passed(shop, change, evidence, way, mark)
    asked = needs(prepared, owners, attempt.changed_paths)
    only = prepared.settings.review.signed_in
    why = (*verdict.reasons, *owners.problems, *map(_told, asked), *(f"{f.rule}: {f.sentence}" for f in held))
    why += (SIGNED_IN,) if only else ()
    told = verdict.model_copy(update={"reasons": tuple(map(one_line, why))})
    question = Question(
        fingerprint=mark,
        attempt=attempt.number,
        commit=attempt.commit or "",
        text=show.review(prepared, evidence, told, diff, mark, migration),
        reviewers=tuple(dict.fromkeys(name for need in asked for name in need.names)),
        needs=asked,
        signed_in=only,
    )
    shop.ledger.record(prepared.run_id, "question", mark, question)
    return question  # who must approve comes from base, not from what a version that knew less has asked


def review_gate(prepared: Prepared, evidence: Evidence, verdict: Verdict) -> Approval:
    """What a person answered, or the policy. Suspends the flow run until there is an answer, and until everybody whose
    approval is needed gave it; never asks twice for one fingerprint. At a hosted forge people answer there, too."""
    propose(prepared, evidence, verdict, fingerprint(prepared, evidence))
    question = ask(prepared, evidence, verdict)
    return question if isinstance(question, Approval) else _decided(prepared, question)


@step("review_gate", "review_gate-base")
def ask_of_base(prepared: Prepared) -> Question | None:
    """The question whether to begin at all, on record, where too few of base's tests pass; None where enough do."""
    shop, stands = workshop_of(prepared.brief), standing(prepared)
    least = least_passing(prepared, from_base(prepared))
    if stands.share >= least:
        return None
    asked = needs(prepared, owners_of(shop.forge.tree(prepared.brief.repository, prepared.base)), ())
    question = Question(
        fingerprint=digest_of([prepared.brief.digest, prepared.base, stands]),
        attempt=0,
        commit=prepared.base,
        text=show.doubt(prepared, least),
        reviewers=tuple(dict.fromkeys(name for need in asked for name in need.names)),
        needs=asked,
        signed_in=prepared.settings.review.signed_in,
    )
    shop.ledger.record(prepared.run_id, "question", question.fingerprint, question)
    return question


def unapproved(prepared: Prepared, evidence: Evidence, approval: Approval, run: str) -> str | None:
    """Why the ledger does not say that `run` may merge exactly this; None where it does.

    What an approval needs is looked at once more, by the question that was recorded: Prefect's database, where the
    steps' results lie, is no witness.
    """
    ledger, mark = workshop_of(prepared.brief).ledger, fingerprint(prepared, evidence)
    if older := ledger.why_older():
        return older
    if prepared.run_id != run:
        return f"it was prepared for run {prepared.run_id}, and this is run {run}"
    known = ledger.find(run, "approval", mark, Approval)
    if known is None:
        return f"the ledger has no approval of run {run} for exactly this change and evidence ({mark[:16]})"
    if known != approval or not known.is_approved or known.fingerprint != mark:
        return f"the ledger's approval is another one: {known.reviewer} answered {known.answer} to {mark[:16]}"
    if known.rule:
        return None if known.reviewer == POLICY else f"{known.reviewer} is not the policy"
    question = ledger.find(run, "question", mark, Question)
    if question is None or question.commit != evidence.attempt.commit:
        return f"the ledger has no question of run {run} about commit {(evidence.attempt.commit or 'none')[:12]}"
    before = _given(ledger.entries(run_id=run, kind="approval"), mark)
    there = (known.reviewer, *known.others) if known.forge else ()
    if rest := missing(question.needs, (*before, known.reviewer, *there)):
        return "; ".join(map(_told, rest))
    if known.forge and (why := _not_there(prepared, question, before)):
        return why
    if not question.signed_in:
        return None
    names = before if known.forge else (known.reviewer, *known.others)
    claims = [name for name in names if not has_signed(run, f"review-{mark[:16]}-", name)]
    return f"{claims[0]} has not approved it at the door: {SIGNED_IN}" if claims else None


def _not_there(prepared: Prepared, question: Question, before: Sequence[str]) -> str | None:
    """Why what was approved at the hosted forge does not stand there now; None where it does, or was merged by it."""
    shop = workshop_of(prepared.brief)
    host = shop.forge.hosted(prepared.brief.repository)
    proposed = shop.ledger.find(prepared.run_id, "pull-request", question.fingerprint, Proposed)
    if host is None or proposed is None:
        return "the hosted forge at which it was approved is not named any more"
    pull = host.pull_request(proposed.repository, proposed.number)
    if pull.state is PullState.MERGED and pull.head == proposed.head:
        return None  # by us, before we were killed; or by hand, after it was approved
    if pull.base != prepared.brief.branch:
        return f"{pull.url} leads to {one_line(pull.base)} now, and {prepared.brief.branch} was judged"
    said = heard(shop, prepared.run_id, question, before)
    if said is None or said.answer is not Answer.APPROVE:
        why = "; ".join(said.waits_for) or said.comment or str(said.answer) if said else ""
        return f"the approval does not stand any more at {host.host}: {one_line(why)}"
    return None


def base_gate(prepared: Prepared) -> tuple[str, ...]:
    """Why the agent does not start: what a person answered where too few of base's tests pass; empty means go."""
    question = ask_of_base(prepared)
    answer = _decided(prepared, question) if question else None
    if answer is None or answer.is_approved:
        return ()
    return (f"{answer.reviewer}: {answer.comment or answer.answer}", standing(prepared).sentence)


def _decided(prepared: Prepared, question: Question) -> Approval:
    """The answer of everybody whose approval is needed. Suspends the flow run until it is there."""
    ledger, run = workshop_of(prepared.brief).ledger, prepared.run_id
    mark = question.fingerprint
    for turn in range(100):
        known = ledger.find(run, "approval", mark, Approval)
        if known:
            return known
        given = _given(ledger.entries(run_id=run, kind="approval"), mark)
        text = question.text + _so_far(question, given)
        key = f"review-{mark[:16]}-{turn}"
        answer = answered(Review, text, key, mark=mark[:16])
        if answer and answer.decision == LOOK:
            if there := _at_forge(prepared, question, given):
                _must_know(ledger, run, mark)
                ledger.record(run, "approval", mark, there)
            continue
        signed_in = answer is not None and is_signed_in(run, key, answer)
        if not answer or not _may_answer(question, answer, signed_in):
            continue
        _must_know(ledger, run, mark)
        approving = answer.decision == "approve"
        rest = missing(question.needs, (*given, answer.reviewer)) if approving else ()
        approval = Approval(
            answer=Answer(answer.decision),
            reviewer=answer.reviewer,
            comment=answer.comment,
            fingerprint=mark,
            others=tuple(name for name in given if canonical_name(name) != canonical_name(answer.reviewer)),
            waits_for=tuple(map(_told, rest)),
            signed_in=signed_in,
        )
        ledger.record(run, "approval", f"{mark}/{canonical_name(answer.reviewer)}" if rest else mark, approval)
    raise RuntimeError("a hundred answers were not usable; the run stops asking")


def _must_know(ledger: Ledger, run: str, mark: str) -> None:
    """Raises LedgerError where an older ledger was put back: no answer is written into it."""
    if older := ledger.why_older():
        raise LedgerError(older)
    if ledger.find(run, "question", mark, Question) is None:
        raise LedgerError(
            f"this ledger does not know run {run} and what it asked: an older copy was put back beside a newer "
            "Prefect. Nothing is merged from it; restore the ledger that belongs to it, or send the brief anew"
        )


def _at_forge(prepared: Prepared, question: Question, given: Sequence[str]) -> Approval | None:
    """What was decided at the hosted forge, asked there now: who wakes a run decides nothing."""
    shop = workshop_of(prepared.brief)
    host = shop.forge.hosted(prepared.brief.repository)
    said = heard(shop, prepared.run_id, question, given)
    if host is None or said is None:
        get_run_logger().warning("this change is at no hosted forge; asking again")
        return None
    for why in said.waits_for:
        get_run_logger().info("%s: %s", host.host, one_line(why))
    return approval_of(said, question.fingerprint, host.host)


def _passed(shop: Workshop, change: Change, evidence: Evidence, way: str, mark: str) -> Approval:
    """The policy's approval, on record; a person's that was there before stands."""
    count, reviewer = len(change.changed), change.prepared.brief.roles.review
    where = f"{count} file{'s' if count != 1 else ''}"
    comment = f"{change.attempt.changed_lines} changed lines in {where}, and nothing holds it back"
    if evidence.opinion:
        comment += f"; {reviewer} has no concerns"
    approval = Approval(answer=Answer.APPROVE, reviewer=POLICY, comment=f"{way}: {comment}", fingerprint=mark, rule=way)
    return shop.ledger.record(change.prepared.run_id, "approval", mark, approval)


def _interventions(shop: Workshop, run: str) -> tuple[str, ...]:
    """Where this run was stopped before: by a person, or by production."""
    answers = [Approval.model_validate(entry.body) for entry in shop.ledger.entries(run_id=run, kind="approval")]
    stops = [f"{a.reviewer} answered in this run: {a.answer}" for a in answers if a.answer is not Answer.APPROVE]
    back = shop.ledger.entries(run_id=run, kind="rolled_back")
    return (*stops, *(f"release {str(entry.body['failed'])[:12]} of this run was sick" for entry in back))


def _may_answer(question: Question, answer: Review, signed_in: bool) -> bool:
    """Whether this reviewer may give this answer. Anyone may reject; the question says whose approval counts."""
    if not question.fingerprint.startswith(answer.mark):
        get_run_logger().warning("the answer is about another change (%s); asking again", answer.mark)
        return False
    if answer.decision == "approve" and question.signed_in and not signed_in:
        get_run_logger().warning("%s only claims this name: %s; asking again", answer.reviewer, SIGNED_IN)
        return False
    if answer.decision != "approve" or may_approve(question.needs, answer.reviewer):
        return True
    who = ", ".join(question.reviewers) or f"anyone not called {POLICY!r}"
    get_run_logger().warning("%s may not approve (reviewers: %s); asking again", answer.reviewer, who)
    return False


def _given(approvals: Iterable[Entry], mark: str) -> tuple[str, ...]:
    """Who approved exactly this already, where others must as well."""
    found = [Approval.model_validate(entry.body) for entry in approvals]
    return tuple(each.reviewer for each in found if each.fingerprint == mark and each.waits_for)


def _told(need: Need) -> str:
    return one_line(need.sentence)


def _so_far(question: Question, given: Sequence[str]) -> str:
    """What is still missing, below the question, when it is asked again."""
    if not given:
        return ""
    rest = [_told(need) for need in missing(question.needs, given)]
    return f"\n\n## Approved by {show.quote(', '.join(given))}; still missing\n{show.bullets(rest)}"
