"""review_gate: whose approval it needs decides on exactly what they saw. While the question is open, nothing runs.

Suspending ends the process; the answer starts the run again from the top, with every finished step taken from its
stored result. The answer goes into our ledger before anything else, under the run and the fingerprint, and is looked
for there first. Where one person is not enough, each approval is kept and the run waits for the rest.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from prefect import get_run_logger
from prefect.input import RunInput
from pydantic import Field

from blocks.ledger import history
from blocks.ledger.ledger import Ledger
from blocks.ledger.rows import Entry
from blocks.workshop import Workshop, workshop_of
from domain.errors import ForgeError, LedgerError, Unapproved
from domain.history import History
from domain.policy.baseline import least_passing
from domain.policy.baseline import standing as base_standing
from domain.policy.by_record import RecordStanding, second_person, standing
from domain.policy.change import Change
from domain.policy.feedback import one_line
from domain.policy.passing import passes
from domain.policy.reviewers import POLICY, canonical_name, from_base, may_approve, missing, needs, owners_of
from domain.pull_request import PullState
from domain.records import APPROVAL, QUESTION, ROLLED_BACK, SECOND_PERSON
from domain.task import (
    AGAIN,
    Answer,
    Approval,
    Attempt,
    Evidence,
    Need,
    Prepared,
    Question,
    Rehearsed,
    Verdict,
    asking_key,
)
from domain.value import Value, digest_of
from tasks.pages import show
from tasks.people.asking import A_CLAIM, answered, has_signed, known_by
from tasks.pull_request import approval_of, heard, propose, proposed_at
from tasks.rehearse import report_of
from tasks.step import step

LOOK = "look at the forge"
MOST_ASKINGS, MOST_ANSWERS = 50, 100
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
    stands = _standing(shop, prepared, attempt)
    way, held = passes(change, evidence, verdict, owners, _interventions(shop, prepared.run_id), stands)
    diff = shop.forge.diff(repository, prepared.base, commit)
    migration = report_of(shop, prepared, evidence.rehearsed) if evidence.rehearsed else ""
    if way:
        show.review(prepared, evidence, verdict, diff, mark, migration)
        return _passed(shop, change, evidence, way, mark, stands)
    asked = needs(prepared, owners, attempt.changed_paths, _second(shop, prepared, mark))
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
        made_by=(proposed.by,) if (proposed := proposed_at(shop, prepared.run_id, mark)[0]) and proposed.by else (),
    )
    shop.ledger.record(prepared.run_id, *QUESTION.at(mark), question)
    return question  # who must approve comes from base, not from what a version that knew less has asked


def review_gate(prepared: Prepared, evidence: Evidence, verdict: Verdict) -> Approval:
    """What a person answered, or the policy. Suspends the flow run until there is an answer, and until everybody whose
    approval is needed gave it; never asks twice for one fingerprint. At a hosted forge people answer there, too."""
    propose(prepared, evidence, verdict, fingerprint(prepared, evidence))
    question = ask(prepared, evidence, verdict)
    if isinstance(question, Approval):
        again = _asked(workshop_of(prepared.brief).ledger, prepared.run_id, question.fingerprint)
        if again is None or again.turn == 1:
            return question
        question = again.question  # it was the policy's, and is not enough any more
    return _decided(prepared, question)


@step("review_gate", "review_gate-base")
def ask_of_base(prepared: Prepared) -> Question | None:
    """The question whether to begin at all, on record, where too few of base's tests pass; None if enough do."""
    shop, stands = workshop_of(prepared.brief), base_standing(prepared)
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
    shop.ledger.record(prepared.run_id, *QUESTION.at(question.fingerprint), question)
    return question


def unapproved(prepared: Prepared, evidence: Evidence, approval: Approval, run: str) -> str | None:
    """Why the ledger does not say that `run` may merge exactly this; None if it does.

    What an approval needs is looked at once more, by the question that was recorded: Prefect's database, where the
    steps' results lie, is no witness.
    """
    ledger, mark = workshop_of(prepared.brief).ledger, fingerprint(prepared, evidence)
    if older := ledger.why_older():
        return older
    if prepared.run_id != run:
        return f"it was prepared for run {prepared.run_id}, and this is run {run}"
    asked = _asked(ledger, run, mark)
    known = ledger.find(run, *APPROVAL.at(asked.key if asked else mark), Approval)
    if known is None:
        return f"the ledger has no approval of run {run} for exactly this change and evidence ({mark[:16]})"
    if known != approval or not known.is_approved or known.fingerprint != mark:
        return f"the ledger's approval is another one: {known.reviewer} answered {known.answer} to {mark[:16]}"
    if known.rule:
        return None if known.reviewer == POLICY else f"{known.reviewer} is not the policy"
    if asked is None or asked.question.commit != evidence.attempt.commit:
        return f"the ledger has no question of run {run} about commit {(evidence.attempt.commit or 'none')[:12]}"
    question, before = asked.question, _given(ledger.entries(run_id=run, kind=APPROVAL.kind), mark)
    there = (known.reviewer, *known.others) if known.forge else ()
    if rest := missing(question.needs, (*before, known.reviewer, *there)):
        return "; ".join(map(_told, rest))
    if not question.signed_in:
        return None
    names = before if known.forge else (known.reviewer, *known.others)
    claims = [name for name in names if not has_signed(run, f"review-{mark[:16]}-", name)]
    return f"{claims[0]} has not approved it at the door: {SIGNED_IN}" if claims else None


def taken_back(shop: Workshop, run: str, approval: Approval) -> str | None:
    """Why the approval does not stand now at the hosted forge; None if it does, or was merged by it.

    What was approved elsewhere stands until its pull request is closed there. Raises ForgeError if the forge at
    which it was approved is not named any more.
    """
    asked = _asked(shop.ledger, run, approval.fingerprint)
    if asked and approval.asking < asked.turn:
        return asked.question.again  # this was found out before, and the run was killed then
    proposed, host = proposed_at(shop, run, approval.fingerprint)
    if proposed is None or host is None:
        if approval.forge:
            raise ForgeError("the hosted forge at which it was approved is not named any more")
        return None
    pull = host.pull_request(proposed.repository, proposed.number)
    if pull.state is PullState.MERGED and pull.head == proposed.head:
        return None  # by us, before we were killed; or by hand, after it was approved
    before = _given(shop.ledger.entries(run_id=run, kind=APPROVAL.kind), approval.fingerprint)
    said = heard(shop, run, asked.question if asked else _bare(approval), before)
    answer = said.answer if said else None
    stands = answer is Answer.APPROVE if approval.forge else answer is not Answer.REJECT
    if stands:
        return None
    why = "; ".join(said.waits_for) or said.comment or str(said.answer) if said else ""
    return f"the approval does not stand any more at {host.host}: {one_line(why)}"


def ask_again(prepared: Prepared, evidence: Evidence, approval: Approval, why: str) -> None:
    """The same question is open once more, and `approval` is none any more. Safe to repeat per approval.

    Raises Unapproved if that was done `MOST_ASKINGS` times.
    """
    shop, run, mark = workshop_of(prepared.brief), prepared.run_id, approval.fingerprint
    asked = _asked(shop.ledger, run, mark) or OpenReview(mark, _of_policy(shop, prepared, evidence, approval), 1)
    if approval.asking < asked.turn:
        return
    if asked.turn >= MOST_ASKINGS:
        raise Unapproved(f"nothing was merged, and it was asked for {MOST_ASKINGS} times: {why}")
    first = shop.ledger.find(run, *QUESTION.at(mark), Question) or asked.question
    text = f"{first.text}\n\n## Asked again\n{show.quote(why)}"
    again = first.model_copy(update={"text": text, "again": one_line(why)})
    shop.ledger.record(run, *QUESTION.at(asking_key(mark, asked.turn + 1)), again)


def _bare(approval: Approval) -> Question:
    """What the policy let pass was never asked about."""
    return Question(fingerprint=approval.fingerprint, attempt=0, commit="", text="")


def _of_policy(shop: Workshop, prepared: Prepared, evidence: Evidence, approval: Approval) -> Question:
    """What a person is asked where the policy's word does not do any more."""
    owners = owners_of(shop.forge.tree(prepared.brief.repository, prepared.base))
    asked = needs(prepared, owners, evidence.attempt.changed_paths, _second(shop, prepared, approval.fingerprint))
    return Question(
        fingerprint=approval.fingerprint,
        attempt=evidence.attempt.number,
        commit=evidence.attempt.commit or "",
        text=f"# {show.quote(prepared.brief.title)}\n\nThe policy had let it pass: {show.quote(approval.comment)}",
        reviewers=tuple(dict.fromkeys(name for need in asked for name in need.names)),
        needs=asked,
        signed_in=prepared.settings.review.signed_in,
    )


class OpenReview(NamedTuple):
    """A question as it is open now: `turn` 1 is the first time."""

    key: str
    """Its answer is on record under the same."""
    question: Question
    turn: int


def _asked(ledger: Ledger, run: str, mark: str) -> OpenReview | None:
    """The newest asking of one question; None if it was never asked."""
    keys = [e.key for e in ledger.entries(run_id=run, kind=QUESTION.kind) if e.key.partition(AGAIN)[0] == mark]
    if not keys or (question := ledger.find(run, *QUESTION.at(keys[-1]), Question)) is None:
        return None
    return OpenReview(keys[-1], question, int(keys[-1].partition(AGAIN)[2] or 1))


def base_gate(prepared: Prepared) -> tuple[str, ...]:
    """Why the agent does not start: what a person answered where too few of base's tests pass; empty means go."""
    question = ask_of_base(prepared)
    answer = _decided(prepared, question) if question else None
    if answer is None or answer.is_approved:
        return ()
    return (f"{answer.reviewer}: {answer.comment or answer.answer}", base_standing(prepared).sentence)


def _decided(prepared: Prepared, question: Question) -> Approval:
    """The answer of everybody whose approval is needed. Suspends the flow run until it is there."""
    ledger, run = workshop_of(prepared.brief).ledger, prepared.run_id
    mark = question.fingerprint
    asked = _asked(ledger, run, mark) or OpenReview(mark, question, 1)
    question = asked.question if asked.turn > 1 else question
    for turn in range((asked.turn - 1) * MOST_ANSWERS, asked.turn * MOST_ANSWERS):
        known = ledger.find(run, *APPROVAL.at(asked.key), Approval)
        if known:
            return known
        given = _given(ledger.entries(run_id=run, kind=APPROVAL.kind), mark)
        text = question.text + _so_far(question, given)
        key = f"review-{mark[:16]}-{turn}"
        answer = answered(Review, text, key, mark=mark[:16])
        if answer and answer.decision == LOOK:
            if there := _at_forge(prepared, question, given, asked.turn):
                _must_know(ledger, run, mark)
                ledger.record(run, *APPROVAL.at(asked.key), there)
            continue
        name = known_by(run, key, answer) if answer else A_CLAIM
        if not answer or not _may_answer(question, answer, name.signed_in):
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
            signed_in=name.signed_in,
            way=name.way,
            asking=asked.turn,
        )
        own = f"{mark}/{canonical_name(answer.reviewer)}"
        ledger.record(run, *APPROVAL.at(own if rest else asked.key), approval)
    raise RuntimeError("a hundred answers were not usable; the run stops asking")


def _must_know(ledger: Ledger, run: str, mark: str) -> None:
    """Raises LedgerError if an older ledger was put back: no answer is written into it."""
    if older := ledger.why_older():
        raise LedgerError(older)
    if _asked(ledger, run, mark) is None:
        raise LedgerError(
            f"this ledger does not know run {run} and what it asked: an older copy was put back beside a newer "
            "Prefect. Nothing is merged from it; restore the ledger that belongs to it, or send the brief anew"
        )


def _at_forge(prepared: Prepared, question: Question, given: Sequence[str], asking: int) -> Approval | None:
    """What was decided at the hosted forge, asked there now: who wakes a run decides nothing."""
    shop = workshop_of(prepared.brief)
    host = shop.forge.hosted(prepared.brief.repository)
    if host and (why := host.why_over(prepared.brief.repository)):
        raise ForgeError(why)
    said = heard(shop, prepared.run_id, question, given)
    if host is None or said is None:
        get_run_logger().warning("this change is at no hosted forge; asking again")
        return None
    for why in said.waits_for:
        get_run_logger().info("%s: %s", host.host, one_line(why))
    return approval_of(said, question.fingerprint, host.host, asking)


def _passed(
    shop: Workshop, change: Change, evidence: Evidence, way: str, mark: str, stands: RecordStanding | None
) -> Approval:
    """The policy's approval, on record; a person's that was there before stands."""
    count, reviewer = len(change.changed), change.prepared.brief.roles.review
    where = f"{count} file{'s' if count != 1 else ''}"
    comment = f"{change.attempt.changed_lines} changed lines in {where}, and nothing holds it back"
    if evidence.opinion:
        comment += f"; {reviewer} has no concerns"
    if stands:
        comment += f"; {stands.sentence}"
    approval = Approval(answer=Answer.APPROVE, reviewer=POLICY, comment=f"{way}: {comment}", fingerprint=mark, rule=way)
    return shop.ledger.record(change.prepared.run_id, *APPROVAL.at(mark), approval)


def _standing(shop: Workshop, prepared: Prepared, attempt: Attempt) -> RecordStanding | None:
    """The record of the agent that made a change, where policy asks for it."""
    bar = prepared.settings.review.record
    return standing(_history(shop), attempt.agent, bar) if bar and attempt.agent else None


class Second(Value):
    """Whether two people must approve a change, as it was found when it was asked for the first time."""

    why: str | None


def _second(shop: Workshop, prepared: Prepared, mark: str) -> str | None:
    """Why two people must approve; None if policy does not ask for that, or how people review is known to be well. It
    stays so for one question, whatever others answer meanwhile."""
    most, run = prepared.settings.review.most_stamps, prepared.run_id
    if most is None:
        return None
    known = shop.ledger.find(run, *SECOND_PERSON.at(mark), Second)
    if known is None:
        known = shop.ledger.record(run, *SECOND_PERSON.at(mark), Second(why=second_person(_history(shop), most)))
    return known.why


def _history(shop: Workshop) -> History:
    return history.read(shop.ledger.url.get_secret_value())


def _interventions(shop: Workshop, run: str) -> tuple[str, ...]:
    """Where this run was stopped before: by a person, or by production."""
    answers = [Approval.model_validate(entry.body) for entry in shop.ledger.entries(run_id=run, kind=APPROVAL.kind)]
    stops = [f"{a.reviewer} answered in this run: {a.answer}" for a in answers if a.answer is not Answer.APPROVE]
    back = shop.ledger.entries(run_id=run, kind=ROLLED_BACK.kind)
    return (*stops, *(f"release {str(entry.body['failed'])[:12]} of this run was sick" for entry in back))


def _may_answer(question: Question, answer: Review, signed_in: bool) -> bool:
    """Whether this reviewer may give this answer. Anyone may reject; the question says whose approval counts."""
    if not question.fingerprint.startswith(answer.mark):
        get_run_logger().warning("the answer is about another change (%s); asking again", answer.mark)
        return False
    if answer.decision == "approve" and question.signed_in and not signed_in:
        get_run_logger().warning("%s only claims this name: %s; asking again", answer.reviewer, SIGNED_IN)
        return False
    if answer.decision != "approve" or may_approve(question.needs, answer.reviewer, question.made_by):
        return True
    who = ", ".join(question.reviewers) or f"anyone not called {' or '.join(map(repr, (POLICY, *question.made_by)))}"
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
