"""merge: what was tested, and nothing else, becomes the tip of the branch."""

from prefect.runtime import flow_run

from blocks.workshop import Workshop, workshop_of
from domain.brief import Brief
from domain.entry import Entry
from domain.errors import AgentError, Unapproved, Withdrawn
from domain.pull_request import Proposed
from domain.records import CANCELLED, MERGED, NOT_CANCELLED, PULL_REQUEST, sentence_of
from domain.task import Approval, Attempt, Evidence, Feedback, Merged, Prepared
from tasks.edit import commit_attempt, pack_commit
from tasks.pages import show
from tasks.people.elsewhere import on_base
from tasks.pull_request import is_merged, merge_there, tell_asked_again
from tasks.releasing import lease
from tasks.review_gate import ask_again, fingerprint, taken_back, unapproved
from tasks.step import step


@step("merge", "merge-{evidence.attempt.number}")
def merge(prepared: Prepared, evidence: Evidence, approval: Approval) -> Merged:
    """Fast-forward the branch, or merge the pull request where it lives at a hosted forge. Idempotent per commit: it is
    looked for on the branch, or at the forge, first.

    What was approved at a forge and does not stand there any more, or is not what was judged, is asked for again.
    Raises Unapproved if the ledger has no approval of exactly this: what Prefect keeps of a run counts for nothing;
    Withdrawn where somebody has asked to cancel the run. Who asks later is told that it merges.
    """
    brief, run = prepared.brief, prepared.run_id
    shop = workshop_of(brief)
    commit = evidence.attempt.commit
    if gone := taken_back(shop, run, approval):
        return _asks_again(prepared, evidence, approval, gone)
    why = unapproved(prepared, evidence, approval, str(flow_run.id or run))
    if why or commit is None:
        raise Unapproved(f"nothing was merged: {why or 'there is no change'}")
    proposed = shop.ledger.find(run, *PULL_REQUEST.at(fingerprint(prepared, evidence)), Proposed)
    with lease.merging(shop.ledger, run, brief.environment) as still:
        asked = cancelled(shop, run)
        if asked and not _is_there(shop, brief, commit, proposed):
            raise Withdrawn(f"nothing was merged: {sentence_of(asked.kind, asked.body)}")
        there: str | None = commit
        moved = None
        try:
            gone = taken_back(shop, run, approval)  # it may have waited long for its environment
            if proposed and not gone:
                there, moved = merge_there(shop, prepared, evidence, proposed, still)
        except Unapproved as err:
            gone = str(err)
        if not proposed and not gone:
            moved = shop.forge.merge(brief.repository, brief.branch, prepared.base, commit, still)
        if not moved and not gone:
            bound = Merged(
                commit=there,
                evidence=evidence.digest,
                approval=approval.digest,
                reviewer=approval.reviewer,
                head=None if there == commit else commit,
            )
            merged = shop.ledger.record(run, *MERGED.at(there or commit), bound)
    if gone:
        return _asks_again(prepared, evidence, approval, gone)
    if moved:
        with lease.free_when_done(shop.ledger, brief.environment, run):  # the next review may take days
            merged = Merged(commit=None, new_base=moved, reason=f"{brief.branch} moved to {moved[:12]} meanwhile")
    show.merged(merged, brief, evidence.attempt.number)
    return merged


def cancelled(shop: Workshop, run: str) -> Entry | None:
    """The newest request to cancel a run that was not refused."""
    refused = {entry.key for entry in shop.ledger.entries(run_id=run, kind=NOT_CANCELLED.kind)}
    asked = [entry for entry in shop.ledger.entries(run_id=run, kind=CANCELLED.kind) if entry.key not in refused]
    return asked[-1] if asked else None


def _asks_again(prepared: Prepared, evidence: Evidence, approval: Approval, why: str) -> Merged:
    """Nothing was merged; the review is open once more, and the environment free meanwhile."""
    brief = prepared.brief
    with lease.free_when_done(workshop_of(brief).ledger, brief.environment, prepared.run_id):
        ask_again(prepared, evidence, approval, why)
        tell_asked_again(prepared, approval.fingerprint, why)
    merged = Merged(commit=None, reason=f"nothing was merged, and a person is asked again: {why}")
    show.merged(merged, brief, evidence.attempt.number)
    return merged


def _is_there(shop: Workshop, brief: Brief, commit: str, proposed: Proposed | None) -> bool:
    """Whether it was merged already, before this run was killed."""
    if proposed:
        return is_merged(shop, proposed)
    return shop.forge.contains(brief.repository, brief.branch, commit)


@step("edit", "rebase-{attempt.number}")
def rebase(prepared: Prepared, attempt: Attempt) -> Attempt:
    """The same change on the branch's new tip, to be tested and reviewed again; `problem` where it conflicts."""
    shop = workshop_of(prepared.brief)
    tip = prepared.base
    if prepared.refusals:
        problem = f"{prepared.brief.branch} moved to {tip[:12]}: {prepared.refusals[0]}"
        return Attempt(number=attempt.number, base=tip, commit=None, problem=problem)
    if attempt.source:
        moved = on_base(shop, prepared, attempt.number, attempt.source)
        if moved.commit:
            pack_commit(shop, prepared, moved.commit)
        return moved
    rebased = shop.forge.rebase(prepared.brief.repository, attempt.base, attempt.commit or attempt.base, tip)
    if rebased is None:
        problem = f"{prepared.brief.branch} moved to {tip[:12]} and the change conflicts with it: make it again on top"
        return Attempt(number=attempt.number, base=tip, commit=None, problem=problem)
    tree = shop.forge.tree(prepared.brief.repository, rebased[0])
    try:
        moved = commit_attempt(shop, prepared, attempt.number, tree)
    except AgentError:
        problem = f"{prepared.brief.branch} moved to {tip[:12]}, which has this change already"
        return Attempt(number=attempt.number, base=tip, commit=None, problem=problem)
    if moved.commit:
        pack_commit(shop, prepared, moved.commit)
    return moved.model_copy(update={name: getattr(attempt, name) for name in ("agent", "version", "bounds")})


def conflict(attempt: Attempt) -> Feedback:
    """What the agent is told where a rebase was not possible."""
    return Feedback(attempt=attempt.number, source="merge", points=(attempt.problem or "the branch moved",))
