"""An acceptance test that the agent proposes and a person approves, for a brief that has none. While it is open,
nothing runs. An approval names the digest of exactly the text that was shown; any other is none.
"""

from datetime import timedelta

from prefect import get_run_logger

from blocks.workshop import Workshop, workshop_of
from domain.brief import Brief
from domain.errors import AgentError
from domain.issues import AskedFor
from domain.policy.reviewers import canonical_name
from domain.ports import IssueForge
from domain.prompts import fence
from domain.proposal import ACCEPT, MOST_PROPOSALS, REFUSE, AgreedAcceptance, ProvenProposal, said_in
from domain.pull_request import Person
from domain.records import AGREED, ANSWERS, ASKED_FOR, PROPOSAL
from domain.task import Feedback, Prepared
from tasks.pages import show
from tasks.people.asking import A_CLAIM, answered, known_by
from tasks.people.questions import Answers
from tasks.prepare import prepare
from tasks.propose import acceptance_of, propose, with_acceptance

ASKS = "acceptance"
"""How the question goes on behind `questions-`, in the key of a run that waits for an approval."""
LOOK = "look at the issue"
"""What the supervisor answers where somebody has answered at the issue: the run asks there itself."""
_SKEW = timedelta(hours=1)
"""The forge's clock may be so far behind ours."""


def agreed_acceptance(run: str, brief: Brief) -> tuple[Brief, tuple[str, ...]]:
    """(the brief with the acceptance that a person approved, why it cannot be worked on). A brief that has one, or
    needs none, comes back as it is. Raises AgentError if no proposal is agreed on."""
    if not brief.is_to_propose:
        return brief, ()
    ledger = workshop_of(brief).ledger
    prepared = prepare(run, brief, 0)
    if prepared.refusals:
        return prepared.asked, prepared.refusals
    told: tuple[Feedback, ...] = ()
    for number in range(1, MOST_PROPOSALS + 1):
        if known := ledger.find(run, *AGREED.at(), AgreedAcceptance):
            return with_acceptance(prepared.brief, known.acceptance), ()
        made = propose(prepared, told, number)
        if made.refusals:
            told += (Feedback(attempt=0, source="policy", points=made.refusals),)
        elif isinstance(said := _approved(prepared, made), AgreedAcceptance):
            return with_acceptance(prepared.brief, said.acceptance), ()
        else:
            told += (said,)
    raise AgentError(f"no acceptance test was agreed on in {MOST_PROPOSALS} proposals: {told[-1].points[-1]}")


def question_of(made: ProvenProposal) -> str:
    """What a person reads. The agent's words and its test stand in it as data."""
    proposal = made.proposal
    return (
        f"The agent proposes this acceptance test, {show.quote(proposal.path)}:\n\n"
        f"{fence(proposal.content, 'python')}\n\n"
        f"What it says about it:\n\n{fence(proposal.why, 'text')}\n\nOn base it fails:\n\n{show.bullets(made.red)}\n\n"
        "If you approve it, a change is done when it passes, and nobody can alter it. Answer with exactly\n\n"
        f"    {ACCEPT} {made.mark}\n\nor with `{REFUSE} {made.mark}` and why: the agent proposes another one then."
    )


def _approved(prepared: Prepared, made: ProvenProposal) -> AgreedAcceptance | Feedback:
    """Suspend until a person approves or refuses it. The answer is in the ledger before the run goes on."""
    shop, run, key = workshop_of(prepared.brief), prepared.run_id, f"{ASKS}-{made.mark}"
    for turn in range(100):
        if known := shop.ledger.find(run, *ANSWERS.at(key), Feedback):
            return known
        asked = f"questions-{key}-{turn}"
        form = answered(Answers, f"# {show.quote(prepared.brief.title)}\n\n{question_of(made)}", asked)
        if form is None:
            continue
        by, known_as, forge = form.answered_by, A_CLAIM, ""
        said = said_in(form.answers)
        if form.answers == LOOK and (heard := heard_at_issue(shop, run, prepared.brief, made.mark)):
            person, forge, text = heard
            by, said = person.login, said_in(text)
        elif said:
            known_as = known_by(run, asked, form)
        if said is None or said.digest != made.mark:
            get_run_logger().warning("an answer names no proposal, or another one: it is asked again")
            continue
        how = f" (a user of {forge})" if forge else f" ({known_as})"
        if said.accepts:
            return shop.ledger.record(
                run,
                *AGREED.at(),
                AgreedAcceptance(
                    mark=made.mark,
                    acceptance=acceptance_of(made.proposal),
                    by=by,
                    forge=forge,
                    **known_as._asdict(),
                ),
            )
        point = f"{by}{how} refused the acceptance test {made.proposal.path}: {said.why or 'no reason is given'}"
        return shop.ledger.record(run, *ANSWERS.at(key), Feedback(attempt=0, source="reviewer", points=(point,)))
    raise RuntimeError("a hundred answers were not usable; the run stops asking")


def heard_at_issue(shop: Workshop, run: str, brief: Brief, digest: str) -> tuple[Person, str, str] | None:
    """(who, at which forge, their words): the first who may write there now and answers this proposal, in a comment of
    the issue that asked for the run. One that was edited does not count. None: nobody does, or no issue asked."""
    asked = shop.ledger.find(run, *ASKED_FOR.at(), AskedFor)
    entries = shop.ledger.entries(run_id=run, kind=PROPOSAL.kind)
    proposed = next((one for one in entries if one.body["mark"] == digest), None)
    host = shop.forge.hosted(brief.repository) if asked and proposed else None
    if asked is None or proposed is None or not isinstance(host, IssueForge):
        return None
    me = canonical_name(host.me(asked.repository))
    for one in host.issue_comments(asked.repository, proposed.at - _SKEW):
        if one.number != asked.number or one.is_pull or one.by is None or one.updated_at != one.at:
            continue
        said = said_in(one.text)
        if said is None or said.digest != digest or not one.text.lstrip().startswith("/lockgate"):
            continue
        is_a_person = not (one.by.is_bot or one.is_by_app or canonical_name(one.by.login) == me)
        if is_a_person and host.may_write(asked.repository, one.by):
            return one.by, host.host, one.text
    return None
