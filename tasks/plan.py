"""plan: what the agent intends, seen by policy and by people before it edits."""

import time

from blocks.workshop import workshop_of
from domain.policy import judge_plan
from domain.records import BILL, PLAN
from domain.task import BillLine, Feedback, Plan, Prepared
from tasks.pages import show
from tasks.room.desk import desk_for
from tasks.room.room import room
from tasks.step import step


@step("plan", "plan-{asked}")
def plan(prepared: Prepared, answers: tuple[Feedback, ...], asked: int) -> Plan:
    """The agent's plan. `asked` counts how often it put questions; `answers` holds what people said to them."""
    brief = prepared.brief
    shop = workshop_of(brief)
    if known := shop.ledger.find(prepared.run_id, *PLAN.at(asked), Plan):
        return known
    reference = brief.roles.plan or brief.agent
    agent = shop.agent(reference)
    started = time.monotonic()
    tree = shop.forge.tree(brief.repository, prepared.base)
    with room(shop, prepared, "plan", tree, agent=agent, reference=reference, attempt=asked) as opened:
        bounds = agent.scope.paths if reference in (brief.roles.edit or (reference,)) else ()
        desk = desk_for(shop, prepared, opened, "plan", reference, bounds=bounds, feedback=answers)
        made = agent.plan(desk, opened.workspace)
    seconds = round(time.monotonic() - started, 3)
    line = BillLine(run_id=prepared.run_id, step="plan", attempt=asked, agent=agent.name, sandbox_s=seconds)
    shop.ledger.record(prepared.run_id, *BILL.at("plan", asked), line)
    made = shop.ledger.record(prepared.run_id, *PLAN.at(asked), made)
    show.plan(made, judge_plan(made, prepared), agent.name)
    return made
