"""What the platform lays on the agent's desk, and how much time is left for it."""

from collections.abc import Sequence

from blocks.workshop import Workshop
from domain.ports import Workspace
from domain.task import Attempt, BillLine, Feedback, Plan, Prepared

SCRATCHPAD = "/lockgate/scratchpad.md"


def lay_out(
    workspace: Workspace, shop: Workshop, prepared: Prepared, feedback: Sequence[Feedback], plan: Plan | None
) -> None:
    """Brief, feedback, plan, the last attempt's patch and the scratchpad, as files under /lockgate."""
    brief = prepared.brief
    acceptance = "\n".join(f"- `{f.path}` (added; do not change it)" for f in brief.acceptance.files)
    named = "\n".join(f"- `{test}`" for test in brief.acceptance.tests)
    limits = f"At most {brief.scope.max_changed_lines} changed lines, in {', '.join(brief.scope.paths) or 'any path'}."
    text = f"# {brief.title}\n\n{brief.goal}\n\n## Done when these pass\n{acceptance}\n{named}\n\n## Limits\n{limits}\n"
    workspace.write("/lockgate/brief.md", text.encode())
    for file in brief.acceptance.files:
        workspace.write(f"/lockgate/acceptance/{file.path}", file.content.encode())
    if plan:
        workspace.write("/lockgate/plan.json", plan.model_dump_json(indent=2).encode())
    if feedback:
        workspace.write("/lockgate/feedback.md", "\n\n".join(map(as_text, feedback)).encode())
        made = [Attempt.model_validate(e.body) for e in shop.ledger.entries(run_id=prepared.run_id, kind="attempt")]
        last = next((attempt for attempt in made if attempt.commit == feedback[-1].last_commit), None)
        if last and last.commit:
            patch = shop.forge.diff(brief.repository, last.base, last.commit)
            workspace.write("/lockgate/last-attempt.patch", patch.encode("utf-8", "surrogateescape"))
    pads = shop.ledger.entries(run_id=prepared.run_id, kind="scratchpad")
    if pads:
        workspace.write(SCRATCHPAD, shop.store.get(pads[-1].body["content"]))


def as_text(feedback: Feedback) -> str:
    """Feedback as Markdown."""
    points = "\n".join(f"- {point}" for point in feedback.points)
    return f"## Attempt {feedback.attempt} did not get through ({feedback.source})\n{points}"


def time_left_s(shop: Workshop, prepared: Prepared) -> float:
    """Seconds of the budget's minutes that are left. Sandbox time counts; waiting for people does not."""
    lines = [BillLine.model_validate(e.body) for e in shop.ledger.entries(run_id=prepared.run_id, kind="bill")]
    return prepared.brief.budget.minutes * 60 - sum(line.sandbox_s for line in lines)


def is_repetition(attempt: Attempt, earlier: Sequence[Attempt]) -> bool:
    """Whether the agent made a tree again that was already turned down."""
    return attempt.tree is not None and attempt.tree in {a.tree for a in earlier}
