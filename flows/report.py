"""How a task ends: one sentence, the same in the ledger, the UI and the CLI."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Crashed, Failed

from blocks.home import joined, machine
from blocks.workshop import Workshop, workshop_of
from domain.brief import Brief
from domain.errors import (
    AgentError,
    ForgeError,
    GatewayAway,
    LedgerError,
    LockgateError,
    NotYet,
    SandboxError,
    Superseded,
    Withdrawn,
    reason_of,
)
from domain.notices import Class
from domain.policy import judge
from domain.progress import no_progress
from domain.records import ATTEMPT, OUTCOME, VERDICT, sentence_of
from domain.task import (
    Approval,
    Attempt,
    End,
    Evidence,
    Feedback,
    Outcome,
    Prepared,
    Verdict,
)
from flows.acting import Acting
from flows.elsewhere import leave_to_its_machine
from flows.endings import AWAY, STATE_NAMES, patiently
from tasks.edit import bring_commits
from tasks.pages import show
from tasks.pages.bill import bill_of, publish
from tasks.people.pager import page
from tasks.people.questions import HELP
from tasks.pull_request import tell_end, wait_for_forge
from tasks.releasing import checkpoint, lease
from tasks.room.desk import is_repetition, used_up
from tasks.room.memory import remember


def ended(run: str, brief: Brief, attempts: Callable[[str, Brief], State]) -> State:
    """How `attempts` ends, whatever happens in it.

    Where the ledger fails, the run goes on from its last finished step once the ledger is back; if it does not come
    back, or without the server or the gateway, the run crashes, and is resumed by the supervisor. Without its hosted
    forge it is suspended, and woken by the supervisor. Where another process has begun the run meanwhile, this one
    ends without a word.
    """
    with Acting(run) as acting:
        try:
            return patiently(lambda: _ended(run, brief, attempts, acting))
        except AWAY as trouble:
            return Crashed(message=f"{reason_of(trouble)}; the run is resumed when the server answers")
        except GatewayAway as trouble:
            return Crashed(message=f"{trouble}; the run is resumed by itself")
        except LedgerError as trouble:
            try:  # one that can be written, and still does not give what was asked for, will not do so later
                return end(run, brief, End.FROZEN, (str(trouble),))
            except LedgerError:
                return Crashed(message=f"{trouble}; the run is resumed when the ledger is back")


def _ended(run: str, brief: Brief, attempts: Callable[[str, Brief], State], acting: Acting) -> State:
    """How `attempts` ends. Raises LedgerError if the ledger failed."""
    try:
        shop = workshop_of(brief)
        leave_to_its_machine(run, shop, brief.environment, brief.repository)
        acting.begin(shop.ledger)
        bring_commits(shop, run)
        return attempts(run, brief)
    except (*AWAY, LedgerError, GatewayAway, Superseded):
        raise
    except AgentError as broken:
        return end(run, brief, End.GAVE_UP, (str(broken),))
    except Withdrawn as cancelled:
        return end(run, brief, End.DECLINED, (str(cancelled),))
    except NotYet as trouble:
        wait_for_forge(run, brief, trouble)
        return end(run, brief, End.FROZEN, (str(trouble),))
    except (ForgeError, SandboxError) as trouble:
        if joined():  # it may be this machine's own, and ends nothing
            return Crashed(message=f"on machine {machine()}: {trouble}; the run is resumed, maybe elsewhere")
        return end(run, brief, End.FROZEN, (str(trouble),))
    except LockgateError as trouble:
        return end(run, brief, End.FROZEN, (str(trouble),))
    except Exception as bug:
        get_run_logger().exception("an error that is none of ours")
        return end(run, brief, End.FROZEN, (f"{type(bug).__name__}: {bug}",))


def end(
    run: str,
    brief: Brief,
    how: End,
    reasons: Sequence[str] = (),
    *,
    commit: str | None = None,
    url: str | None = None,
) -> State:
    """Record the outcome, show it, page a person where only a person can go on. Safe to repeat per run."""
    try:
        shop = workshop_of(brief)
    except LockgateError as err:
        return Failed(name=STATE_NAMES[End.REFUSED], message=f"refused: {err}")
    outcome = recorded(shop, run, brief, how, reasons, commit=commit, url=url)
    if outcome.end in (End.LIVE, End.MERGED):
        remember(shop, brief.repository, outcome)
    story = [
        f"{entry.at:%H:%M:%S} {line}"
        for entry in shop.ledger.entries(run_id=run)
        if (line := sentence_of(entry.kind, entry.body))
    ]
    show.outcome(outcome, story)
    if outcome.end is End.FROZEN:
        page_frozen(shop, outcome)
    publish(bill_of(shop.ledger, run))
    tell_end(shop, brief, outcome)
    make = Completed if outcome.end in (End.LIVE, End.MERGED, End.DECLINED) else Failed
    return make(name=STATE_NAMES[outcome.end], message=outcome.sentence)


def recorded(
    shop: Workshop,
    run: str,
    brief: Brief,
    how: End,
    reasons: Sequence[str] = (),
    *,
    commit: str | None = None,
    url: str | None = None,
) -> Outcome:
    """The outcome, on record and sealed; the environment is free for others. Safe to repeat: the first one stands."""
    bill = bill_of(shop.ledger, run)
    attempts = len(shop.ledger.entries(run_id=run, kind=ATTEMPT.kind))
    outcome = Outcome(
        run_id=run,
        title=brief.title,
        end=how,
        sentence=sentence(how, brief, attempts, reasons, url),
        reasons=tuple(reasons),
        attempts=attempts,
        commit=commit,
        url=url,
        environment=brief.environment,
        usd=bill.usd,
    )
    with lease.free_when_done(shop.ledger, brief.environment, run):
        outcome = shop.ledger.record(run, *OUTCOME.at(), outcome)
        checkpoint.seal(shop, brief.repository if outcome.commit else None)
    return outcome


def page_frozen(shop: Workshop, outcome: Outcome) -> None:
    """A person must decide. Where notices have a route for it, the supervisor reads it off the ledger and tells it."""
    if not shop.notices.route(Class.FROZEN):
        page(shop.pager, f"Lockgate: {outcome.title}", "\n".join([outcome.sentence, *outcome.reasons]))


def sentence(how: End, brief: Brief, attempts: int, reasons: Sequence[str], url: str | None) -> str:
    """The one line that everybody reads."""
    tries = f"{attempts} attempt{'s' if attempts != 1 else ''}"
    first, *more = [" ".join(reason.split()) for reason in reasons] or [""]
    why = f": {first}" if first else ""
    last = f" (the last reason: {more[0]})" if more and more[0] not in first else ""
    return {
        End.LIVE: f"live in {brief.environment} at {url} after {tries}",
        End.MERGED: f"merged into {brief.branch} after {tries}",
        End.DECLINED: f"declined after {tries}{why}",
        End.GAVE_UP: f"gave up{why}{last}",
        End.FROZEN: f"frozen, a person must decide{why}",
        End.REFUSED: f"refused{why}",
    }[how]


def all_used(brief: Brief) -> str:
    """Why no further attempt is made."""
    most = brief.budget.attempts
    return f"{most} attempts are used up" if most > 1 else "its one attempt is used up"


def judged(prepared: Prepared, evidence: Evidence) -> Verdict:
    """The judge's verdict, on record."""
    verdict = judge(prepared, evidence)
    key = evidence.tested.commit + ("/rehearsed" if evidence.rehearsed else "")
    return workshop_of(prepared.brief).ledger.record(prepared.run_id, *VERDICT.at(key), verdict)


class Passed(NamedTuple):
    """A change that no gate refused."""

    evidence: Evidence
    verdict: Verdict


def stuck(prepared: Prepared, earlier: Sequence[Attempt], feedback: Sequence[Feedback]) -> str | None:
    """Why another turn is of no use: nothing is left to spend, or the last ones got nowhere."""
    if not earlier:
        return None
    over = used_up(workshop_of(prepared.brief), prepared)
    return over if over or prepared.brief.change else no_progress(earlier, feedback)  # who pushes knows when to stop


def turned_down(attempt: Attempt, earlier: Sequence[Attempt]) -> Feedback | None:
    """Feedback for an attempt that is not worth testing; None if it is."""
    if attempt.help:
        return Feedback(attempt=attempt.number, source=HELP, points=(attempt.help,))
    if attempt.problem:
        return Feedback(attempt=attempt.number, source="policy", points=(attempt.problem,))
    if attempt.source is None and is_repetition(attempt, earlier):  # who pushed it again wants it looked at again
        point = "this is the same change as an earlier attempt that was turned down: no progress"
        return Feedback(attempt=attempt.number, source="policy", points=(point,), last_commit=attempt.commit)
    return None


def turned_back(evidence: Evidence, verdict: Verdict) -> Feedback:
    """What the gates say of a change that they refuse, for the agent."""
    attempt = evidence.attempt
    return Feedback(attempt=attempt.number, source="gates", points=verdict.reasons, last_commit=attempt.commit)


def review_feedback(approval: Approval, attempt: Attempt) -> Feedback:
    """A reviewer's wish, for the agent."""
    point = f"{approval.reviewer} asks for changes: {approval.comment or 'no comment'}"
    points = (point, *approval.points)
    return Feedback(attempt=attempt.number, source="reviewer", points=points, last_commit=attempt.commit)
