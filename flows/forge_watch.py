"""Asks hosted forges what people decided there about runs that wait, and wakes those. It decides nothing: the run asks
the forge itself. A read that changed nothing is free (ETag), and a run that waits costs no process."""

import logging
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound

from blocks.workshop import Workshop
from domain.errors import LockgateError
from domain.policy.reviewers import canonical_name
from domain.pull_request import Proposed
from domain.task import Approval, Outcome, Prepared, Question
from tasks.pull_request import heard
from tasks.review_gate import LOOK

LEASE, LEASE_S = "forges/poll", 120.0
log = logging.getLogger("lockgate")


def wake_decided(client: SyncPrefectClient, shop: Workshop, holder: str) -> list[str]:
    """One round, by one machine at a time; what was done, as sentences. Safe to repeat: a run that goes on is not
    woken again."""
    if not shop.forge.hosts or shop.ledger.lease(LEASE, holder, LEASE_S) is None:
        return []
    done = []
    for run, mark, proposed in _newest(shop):
        try:
            if line := _woken(client, shop, run, mark, proposed):
                done.append(line)
        except LockgateError as err:
            log.warning("run %s: the forge could not be asked: %s", run, err)
    return done


def _newest(shop: Workshop) -> list[tuple[str, str, Proposed]]:
    """(run, fingerprint, its newest pull request) of the runs that are not over."""
    found = {
        e.run_id: (e.run_id, e.key, Proposed.model_validate(e.body)) for e in shop.ledger.entries(kind="pull-request")
    }
    return [one for one in found.values() if shop.ledger.find(one[0], "outcome", "outcome", Outcome) is None]


def _woken(client: SyncPrefectClient, shop: Workshop, run: str, mark: str, proposed: Proposed) -> str | None:
    try:
        state = client.read_flow_run(UUID(run)).state
    except ObjectNotFound:
        return None  # deleted in the UI
    if state is None or state.type is not StateType.PAUSED:
        return None
    asked, _, rest = str(state.state_details.pause_key or "").partition("-")
    if rest.partition("-")[0] != mark[:16]:
        return None
    host = shop.forge.hosted(proposed.repository)
    if host is None:
        return None
    if asked == "forge" and host.why_blocked(proposed.repository, proposed.number) is None:
        client.resume_flow_run(UUID(run), run_input={"looked_by": f"lockgate, which asked {host.host}"})
        return f"run {run} goes on: {host.host} lets pull request {proposed.number} be merged"
    question = shop.ledger.find(run, "question", mark, Question)
    if asked != "review" or question is None:
        return None
    prepared = Prepared.model_validate(shop.ledger.entries(run_id=run, kind="prepared")[-1].body)
    approvals = [Approval.model_validate(e.body) for e in shop.ledger.entries(run_id=run, kind="approval")]
    given = tuple(canonical_name(one.reviewer) for one in approvals if one.fingerprint == mark and one.waits_for)
    said = heard(shop, run, question, given, not_the_asker=prepared.settings.review.not_the_asker)
    if said is None or said.answer is None:
        return None
    look = {"decision": LOOK, "reviewer": host.host, "comment": "", "mark": mark[:16]}
    client.resume_flow_run(UUID(run), run_input=look)
    return f"run {run} goes on: {host.host} says {said.answer} to pull request {proposed.number}"
