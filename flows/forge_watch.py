"""Asks hosted forges what people decided there about runs that wait, and wakes those. It decides nothing: the run asks
the forge itself. A read that changed nothing is free (ETag), and a run that waits costs no process.

A change that was made elsewhere is asked about in the same round: whether its branch, hosted or not, has moved.
"""

import logging
import time
from datetime import UTC, datetime

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun

from blocks.workshop import Workshop
from domain.brief import Brief
from domain.errors import LedgerError, reason_of
from domain.policy.reviewers import canonical_name
from domain.ports import HostedForge
from domain.pull_request import Proposed
from domain.records import APPROVAL, PULL_REQUEST, QUESTION, REVERT, WAITS_FOR_PUSH
from domain.task import Approval, Question
from tasks.people.acceptance import ASKS as ACCEPTANCE
from tasks.people.acceptance import LOOK as LOOK_AT_ISSUE
from tasks.people.acceptance import heard_at_issue
from tasks.people.elsewhere import PUSH, where
from tasks.pull_request import AWAY, heard, pause_s
from tasks.review_gate import LOOK, taken_back

LEASE, LEASE_S = "forges/poll", 120.0
WAITING = FlowRunFilter.model_validate({"state": {"type": {"any_": ["PAUSED"]}}, "tags": {"any_": ["lockgate"]}})
PAGE = 200
MOST_PAUSE_S = 300.0
"""An answer at an issue is heard after that at the latest, however long nobody gave one."""
log = logging.getLogger("lockgate")
_looked = dict[str, float]()
"""When an issue was last read for a run with a proposed acceptance test. Another machine reads it once more."""


def wake_decided(client: SyncPrefectClient, shop: Workshop, holder: str) -> list[str]:
    """One round, by one machine at a time; what was done, as sentences. Safe to repeat: a run that goes on is not
    woken again. One that cannot be looked at keeps no other waiting. The lease is in the ledger of `shop`."""
    if shop.ledger.lease(LEASE, holder, LEASE_S) is None:
        return []
    waiting: list[FlowRun] = []
    while page := client.read_flow_runs(flow_run_filter=WAITING, limit=PAGE, offset=len(waiting)):
        waiting += page
        if len(page) < PAGE:
            break
    for gone in _looked.keys() - {str(run.id) for run in waiting}:
        del _looked[gone]
    done = []
    over: dict[tuple[str, str], str | None] = {}
    for run in waiting:
        try:
            if line := _woken(client, shop, run, over):
                done.append(line)
        except Exception as err:  # whatever one forge answered, the runs behind this one are asked about
            log.warning("run %s: the forge could not be asked: %s", run.id, reason_of(err))
    return done


def _woken(
    client: SyncPrefectClient, shop: Workshop, run: FlowRun, over: dict[tuple[str, str], str | None]
) -> str | None:
    """`over`: what is known in this round of repositories in which nothing can be done any more."""
    if run.state is None:
        return None
    asks, _, about = str(run.state.state_details.pause_key or "").partition("-")
    mark = about.partition("-")[0]
    is_proposal = asks == "questions" and mark == ACCEPTANCE
    if asks not in (AWAY, "forge", "review", PUSH) and not is_proposal:
        return None
    brief = run.parameters["brief"]
    if (own := brief.get("workshop", "default")) != "default":
        shop = Workshop.saved(own)
    if asks == PUSH:
        return _pushed(client, shop, run, Brief.model_validate(brief))
    waited_s = (datetime.now(UTC) - run.state.timestamp).total_seconds()
    if is_proposal:
        if not _is_time(str(run.id), waited_s):
            return None
        return _answered_at_issue(client, shop, run, Brief.model_validate(brief), about.split("-")[1])
    host = shop.forge.hosted(brief["repository"])
    if host is None:
        return None
    if asks == "forge" and (turn := int(about.rpartition("-")[2])) and waited_s < pause_s(turn):
        return None  # it was woken before, and the forge refused what it had said it allows
    if asks == AWAY:
        is_back = waited_s >= pause_s(int(about)) and host.is_answering(brief["repository"])
        return _goes_on(client, run, f"{host.host} answers", _look_by(host)) if is_back else None
    entries = [shop.ledger.last(kind, run_id=str(run.id)) for kind in (PULL_REQUEST.kind, REVERT.kind)]
    proposed = next((entry for entry in entries if entry and mark and entry.key.startswith(mark)), None)
    if proposed is None:
        return None
    at = Proposed.model_validate(proposed.body)
    number, place = at.number, (host.host, at.repository)
    look = {"decision": LOOK, "reviewer": host.host, "comment": "", "mark": mark}
    if place not in over:
        over[place] = host.why_over(at.repository)
    if why := over[place]:
        return _goes_on(client, run, why, _look_by(host) if asks == "forge" else look)
    if asks == "forge":
        if why := _why_on(shop, run, host, at, proposed.key):
            return _goes_on(client, run, why, _look_by(host))
        return None
    said = _decided(shop, run, proposed.key)
    return _goes_on(client, run, f"{host.host} says {said} to pull request {number}", look) if said else None


def waits_for_a_push(shop: Workshop) -> bool:
    """Whether a run of this workshop may wait for one: a question to the ledger alone. One that is away keeps nobody
    else's push from being seen: then it is looked."""
    try:
        return bool(shop.ledger.still_open(WAITS_FOR_PUSH.kind))
    except LedgerError:
        return True


def _pushed(client: SyncPrefectClient, shop: Workshop, run: FlowRun, brief: Brief) -> str | None:
    """A run goes on whose change stands elsewhere now, or can move no more."""
    waits = shop.ledger.last(WAITS_FOR_PUSH.kind, run_id=str(run.id))
    stands, over = where(shop, brief)
    if waits is None or (stands == waits.body["source"] and not over):
        return None
    why = over or f"{brief.change} is at {str(stands)[:12]}"
    return _goes_on(client, run, why, {"looked_by": f"lockgate, which asked {brief.repository}"})


def _answered_at_issue(
    client: SyncPrefectClient, shop: Workshop, run: FlowRun, brief: Brief, digest: str
) -> str | None:
    """A run goes on whose proposed acceptance test somebody has approved or refused at its issue. The run asks there
    itself who it was."""
    heard = heard_at_issue(shop, str(run.id), brief, digest)
    if heard is None:
        return None
    person, forge, _ = heard
    return _goes_on(client, run, f"{person.login} answers at {forge}", {"answers": LOOK_AT_ISSUE, "answered_by": forge})


def _is_time(run: str, waited_s: float) -> bool:
    """Whether an issue is read again: not every forge says for nothing that there is no new comment. The pause is a
    twentieth of the time that nobody answered."""
    now, last = time.monotonic(), _looked.get(run)
    if last is not None and now - last < min(waited_s / 20, MOST_PAUSE_S):
        return False
    _looked[run] = now
    return True


def _why_on(shop: Workshop, run: FlowRun, host: HostedForge, at: Proposed, mark: str) -> str | None:
    """Why a run goes on that waits for the rules of its branch; None if it waits on."""
    if host.why_blocked(at.repository, at.number) is None:  # that it is over, too
        return f"{host.host} lets pull request {at.number} be merged"
    given = [Approval.model_validate(e.body) for e in shop.ledger.entries(run_id=str(run.id), kind=APPROVAL.kind)]
    whole = [one for one in given if one.fingerprint == mark and one.is_approved]
    return taken_back(shop, str(run.id), whole[-1]) if whole else None


def _look_by(host: HostedForge) -> dict[str, str]:
    return {"looked_by": f"lockgate, which asked {host.host}"}


def _decided(shop: Workshop, run: FlowRun, mark: str) -> str | None:
    """What people there answer to this question; None: nothing yet."""
    question = shop.ledger.find(str(run.id), *QUESTION.at(mark), Question)
    if question is None:
        return None
    approvals = [Approval.model_validate(e.body) for e in shop.ledger.entries(run_id=str(run.id), kind=APPROVAL.kind)]
    given = tuple(canonical_name(one.reviewer) for one in approvals if one.fingerprint == mark and one.waits_for)
    said = heard(shop, str(run.id), question, given)
    return str(said.answer) if said and said.answer else None


def _goes_on(client: SyncPrefectClient, run: FlowRun, why: str, answer: dict[str, str]) -> str | None:
    """Prefect refuses an answer to a run that somebody else has just woken."""
    status = client.resume_flow_run(run.id, run_input=answer).status.value
    return f"run {run.id} goes on: {why}" if status == "ACCEPT" else None
