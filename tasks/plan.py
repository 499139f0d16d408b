"""plan: what the agent intends, seen by policy and by people before it edits."""

import time

from blocks.workshop import workshop_of
from domain.policy import judge_plan
from domain.task import BillLine, Feedback, Plan, Prepared
from tasks import show
from tasks.desk import lay_out, time_left_s
from tasks.prepare import toolchain_of
from tasks.step import step


@step("plan", "plan-{asked}")
def plan(prepared: Prepared, answers: tuple[Feedback, ...], asked: int) -> Plan:
    """The agent's plan. `asked` counts how often it put questions; `answers` holds what people said to them."""
    brief = prepared.brief
    shop = workshop_of(brief)
    if known := shop.ledger.find(prepared.run_id, "plan", str(asked), Plan):
        return known
    agent = shop.agent(brief.agent)
    started = time.monotonic()
    workspace = shop.sandbox.open(
        shop.forge.tree(brief.repository, prepared.base),
        label=prepared.run_id,
        toolchain=toolchain_of(shop, prepared),
        mounts=agent.mounts,
    )
    try:
        lay_out(workspace, shop, prepared, answers, None)
        made = agent.plan(brief, workspace, answers, time_left_s(shop, prepared))
    finally:
        workspace.close()
    seconds = round(time.monotonic() - started, 3)
    line = BillLine(run_id=prepared.run_id, step="plan", attempt=asked, agent=agent.name, sandbox_s=seconds)
    shop.ledger.record(prepared.run_id, "bill", f"plan-{asked}", line)
    made = shop.ledger.record(prepared.run_id, "plan", str(asked), made)
    show.plan(made, judge_plan(made, prepared), agent.name)
    return made
