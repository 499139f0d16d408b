"""edit: the agent works in a sandbox; what leaves it is a commit that the platform made."""

import time

from blocks.workshop import Workshop, workshop_of
from domain.errors import AgentError
from domain.ports import Completed, Tree, Workspace
from domain.task import Attempt, BillLine, Feedback, Plan, Prepared, Scratchpad
from tasks import show
from tasks.desk import SCRATCHPAD, lay_out, time_left_s
from tasks.prepare import toolchain_of
from tasks.step import step

MAX_SCRATCHPAD_BYTES = 100_000


@step("edit", "edit-{number}")
def edit(prepared: Prepared, plan: Plan, number: int, feedback: tuple[Feedback, ...]) -> Attempt:
    """One attempt, once per run and number. What the agent could not do is in `problem`, never an exception."""
    brief, run = prepared.brief, prepared.run_id
    shop = workshop_of(brief)
    if known := shop.ledger.find(run, "attempt", str(number), Attempt):
        return known
    agent = shop.agent(brief.agent)
    left_s = time_left_s(shop, prepared)
    if left_s <= 0:
        return Attempt(number=number, base=prepared.base, commit=None, problem="the budget's minutes are used up")
    started = time.monotonic()
    tree = shop.forge.tree(brief.repository, prepared.base)
    workspace = shop.sandbox.open(tree, label=run, toolchain=toolchain_of(shop, prepared), mounts=agent.mounts)
    try:
        lay_out(workspace, shop, prepared, feedback, plan)
        logger = show.Output()
        try:
            done = agent.edit(brief, plan, number, workspace, feedback, left_s, logger)
            attempt = _result(shop, prepared, number, workspace, done)
        except AgentError as err:
            attempt = Attempt(number=number, base=prepared.base, commit=None, problem=str(err))
            done = None
        logger.flush()
        _keep_scratchpad(shop, run, number, workspace)
    finally:
        workspace.close()
    seconds = round(time.monotonic() - started, 3)
    transcript = shop.store.put((done.output if done else attempt.problem or "").encode("utf-8", "replace"))
    attempt = attempt.model_copy(update={"seconds": seconds, "transcript": transcript})
    line = BillLine(run_id=run, step="edit", attempt=number, agent=agent.name, sandbox_s=seconds)
    shop.ledger.record(run, "bill", f"edit-{number}", line)
    attempt = shop.ledger.record(run, "attempt", str(number), attempt)
    diff = shop.forge.diff(brief.repository, prepared.base, attempt.commit) if attempt.commit else ""
    show.attempt(attempt, diff)
    return attempt


def _result(shop: Workshop, prepared: Prepared, number: int, workspace: Workspace, done: Completed) -> Attempt:
    base = prepared.base
    if done.problem or done.timed_out:
        why = f"it used up the time it had ({done.seconds:.0f} s)" if done.timed_out else done.problem
        return Attempt(number=number, base=base, commit=None, problem=f"the agent was stopped: {why}")
    if done.exit_code:
        tail = done.output[-800:].strip()
        return Attempt(
            number=number, base=base, commit=None, problem=f"the agent ended with exit code {done.exit_code}: {tail}"
        )
    return commit_attempt(shop, prepared, number, workspace.collect())


def commit_attempt(shop: Workshop, prepared: Prepared, number: int, tree: Tree) -> Attempt:
    """The tree as a commit on base. Raises AgentError where nothing changed."""
    brief = prepared.brief
    message = (
        f"{brief.title}\n\n{brief.goal.strip()}\n\n"
        f"Lockgate-Run: {prepared.run_id}\nLockgate-Attempt: {number}\nLockgate-Brief: {brief.digest}\n"
    )
    commit, tree_id = shop.forge.commit(brief.repository, prepared.base, tree, message, f"lockgate/{brief.agent}")
    changes = shop.forge.changes(brief.repository, prepared.base, commit)
    return Attempt(
        number=number,
        base=prepared.base,
        commit=commit,
        tree=tree_id,
        changed_paths=tuple(path for path, _, _ in changes),
        added_lines=sum(added for _, added, _ in changes),
        removed_lines=sum(removed for _, _, removed in changes),
    )


def _keep_scratchpad(shop: Workshop, run: str, number: int, workspace: Workspace) -> None:
    try:
        content = workspace.read(SCRATCHPAD, max_bytes=MAX_SCRATCHPAD_BYTES)
    except AgentError:
        content = None  # too large: the one before stays
    if content:
        pad = Scratchpad(attempt=number, content=shop.store.put(content))
        shop.ledger.record(run, "scratchpad", str(number), pad)
