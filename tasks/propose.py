"""propose: an acceptance test for a brief that has none, proven red on base before a person is asked about it."""

import time

from blocks.workshop import Workshop, workshop_of
from domain.brief import Acceptance, AcceptanceFile, Brief
from domain.errors import AgentError, InputError
from domain.policy.baseline import base_refusals
from domain.policy.proposals import red_on_base, why_unfit
from domain.prompts import propose_prompt
from domain.proposal import SHARE, Proposal, ProvenProposal, digest_for
from domain.records import BILL, PROPOSAL
from domain.task import BillLine, Feedback, Prepared
from tasks.pages import show
from tasks.room.desk import desk_for, time_left_s, used_up
from tasks.room.redaction import printable
from tasks.room.room import room
from tasks.running.baseline import measured
from tasks.running.suite import locked, pack
from tasks.step import step

NONE = Proposal(path="", content="", why="")


@step("propose", "propose-{number}")
def propose(prepared: Prepared, answers: tuple[Feedback, ...], number: int) -> ProvenProposal:
    """The `number`th proposal, and what the platform saw of it. Once per run and number. `answers`: why the ones before
    it were refused. Raises AgentError if nothing is left to spend on proposals."""
    shop, run = workshop_of(prepared.brief), prepared.run_id
    if known := shop.ledger.find(run, *PROPOSAL.at(number), ProvenProposal):
        return known
    small = _with_less(prepared)
    left_s = min(_left_s(shop, prepared), time_left_s(shop, prepared))
    if why := used_up(shop, small) if left_s > 0 else "its minutes are used up":
        raise AgentError(f"no acceptance test was proposed with {SHARE:.0%} of the brief's budget: {why}")
    try:
        proposal = _asked(shop, small, answers, number, left_s)
    except AgentError as err:
        made = ProvenProposal(number=number, mark=digest_for(run, number, NONE), proposal=NONE, refusals=(str(err),))
    else:
        made = _proven(shop, prepared, proposal, number)
    show.proposal(made)
    return shop.ledger.record(run, *PROPOSAL.at(number), made)


def with_acceptance(brief: Brief, acceptance: Acceptance) -> Brief:
    """The brief as if a person had given it this acceptance."""
    return brief.model_copy(update={"acceptance": acceptance, "propose_acceptance": False})


def acceptance_of(proposal: Proposal) -> Acceptance:
    """What it becomes if it is approved."""
    return Acceptance(files=(AcceptanceFile(path=proposal.path, content=proposal.content),))


def _asked(
    shop: Workshop, prepared: Prepared, answers: tuple[Feedback, ...], number: int, timeout_s: float
) -> Proposal:
    brief = prepared.brief
    reference = brief.roles.plan or brief.agent
    agent = shop.agent(reference)
    started = time.monotonic()
    tree = shop.forge.tree(brief.repository, prepared.base)
    try:
        with room(shop, prepared, "plan", tree, agent=agent, reference=reference, attempt=number) as opened:
            desk = desk_for(
                shop, prepared, opened, "plan", reference,
                attempt=number, feedback=answers, timeout_s=timeout_s, asks=propose_prompt,
            )  # fmt: skip
            return agent.propose(desk, opened.workspace)
    finally:
        seconds = round(time.monotonic() - started, 3)
        line = BillLine(run_id=prepared.run_id, step="propose", attempt=number, agent=agent.name, sandbox_s=seconds)
        shop.ledger.record(prepared.run_id, *BILL.at("propose", number), line)


def _proven(shop: Workshop, prepared: Prepared, proposal: Proposal, number: int) -> ProvenProposal:
    """Judged as a person's acceptance is, and more: an agent may not know better, or may not want to."""
    brief, settings, run = prepared.brief, prepared.settings, prepared.run_id
    tree = shop.forge.tree(brief.repository, prepared.base)
    refusals, red = why_unfit(proposal, tree, settings), tuple[str, ...]()
    if not refusals:
        tried = with_acceptance(brief, acceptance_of(proposal))
        contract = shop.store.put(pack(locked(tree, tried, settings)))
        trial = prepared.model_copy(update={"brief": tried, "contract": contract})
        try:
            suite = measured(shop, trial, tree, number, step="prove")
        except InputError as err:
            refusals = (str(err),)
        else:
            red, by_itself = red_on_base(proposal, suite, tree, settings)
            refusals = base_refusals(tried, settings, suite) or by_itself
            if not refusals and not red:
                refusals = ("none of its tests is red on base by the name of its file, so nothing is known of them",)
    shown = printable(shop, prepared, tree)
    return ProvenProposal(
        number=number,
        mark=digest_for(run, number, proposal),
        proposal=proposal,
        refusals=tuple(map(shown, refusals)),
        red=tuple(map(shown, red)),
    )


def _with_less(prepared: Prepared) -> Prepared:
    """With the dollars that proposals may cost."""
    budget = prepared.brief.budget
    less = budget.model_copy(update={"usd": budget.usd * SHARE})
    return prepared.model_copy(update={"brief": prepared.brief.model_copy(update={"budget": less})})


def _left_s(shop: Workshop, prepared: Prepared) -> float:
    """Seconds of sandbox time that agents may still take to propose. What proves a proposal is of the whole budget: a
    suite that takes long leaves no fewer proposals."""
    lines = [BillLine.model_validate(e.body) for e in shop.ledger.entries(run_id=prepared.run_id, kind=BILL.kind)]
    return prepared.brief.budget.minutes * 60 * SHARE - sum(line.sandbox_s for line in lines if line.step == "propose")
