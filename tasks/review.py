"""review: another agent reads the change and tells the person who decides where to look. It decides nothing."""

import time

from blocks.workshop import workshop_of
from domain.errors import AgentError
from domain.records import BILL, OPINION
from domain.task import BillLine, Evidence, Opinion, Plan, Prepared
from tasks.pages import show
from tasks.room.desk import desk_for
from tasks.room.room import room
from tasks.step import step


def review(prepared: Prepared, intent: Plan, evidence: Evidence) -> Evidence:
    """Evidence with the reviewing agent's opinion, where the brief names one."""
    if prepared.brief.roles.review is None:
        return evidence
    return evidence.model_copy(update={"opinion": opinion(prepared, intent, evidence)})


@step("review", "review-{evidence.attempt.number}")
def opinion(prepared: Prepared, intent: Plan, evidence: Evidence) -> Opinion:
    """What the reviewing agent says, once per commit. One that cannot be read is said to be so: it stops nothing."""
    brief, run, attempt = prepared.brief, prepared.run_id, evidence.attempt
    shop = workshop_of(brief)
    reference, commit = brief.roles.review or brief.agent, attempt.commit or prepared.base
    if known := shop.ledger.find(run, *OPINION.at(commit), Opinion):
        return known
    agent = shop.agent(reference)
    started = time.monotonic()
    tree = shop.forge.tree(brief.repository, commit)
    with room(shop, prepared, "review", tree, agent=agent, reference=reference, attempt=attempt.number) as opened:
        desk = desk_for(
            shop, prepared, opened, "review", reference, plan=intent, attempt=attempt.number, change=attempt
        )
        try:
            said = agent.review(desk, opened.workspace)
        except AgentError as err:
            said = Opinion(summary=f"{agent.name} gave no review: {err}", concerns=("it gave no review",))
    seconds = round(time.monotonic() - started, 3)
    line = BillLine(run_id=run, step="review", attempt=attempt.number, agent=agent.name, sandbox_s=seconds)
    shop.ledger.record(run, *BILL.at("review", commit), line)
    said = shop.ledger.record(run, *OPINION.at(commit), said)
    show.opinion(said, agent.name)
    return said
