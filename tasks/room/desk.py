"""What the platform lays on the agent's desk, and how much is left for it to use."""

from collections.abc import Callable, Sequence

from blocks.memory import Memory
from blocks.workshop import Workshop
from domain import records
from domain.egress import MODEL_HOSTS, Phase
from domain.ports import Assignment
from domain.prompts import HELP, MEMORY, SCRATCHPAD, Material, edit_prompt, plan_prompt, review_prompt
from domain.records import ATTEMPT, BILL
from domain.task import Attempt, BillLine, Feedback, Plan, Prepared
from tasks.pages.bill import bill_of
from tasks.room.redaction import redacted
from tasks.room.room import Room, usd_of

__all__ = ["HELP", "MEMORY", "SCRATCHPAD", "as_text", "desk_for", "is_repetition", "time_left_s", "used_up"]
PROMPTS = {"plan": plan_prompt, "edit": edit_prompt, "review": review_prompt}


def desk_for(
    shop: Workshop,
    prepared: Prepared,
    opened: Room,
    phase: Phase,
    reference: str,
    *,
    bounds: tuple[str, ...] = (),
    plan: Plan | None = None,
    attempt: int = 1,
    feedback: Sequence[Feedback] = (),
    change: Attempt | None = None,
    on_output: Callable[[str], None] | None = None,
    stop: Callable[[], str | None] | None = None,
    timeout_s: float | None = None,
    asks: Callable[[Material], str] | None = None,
) -> Assignment:
    """Lay the task out as files under /lockgate, and say the same as a prompt. `change` is what a reviewer reads,
    `bounds` the globs that the agent may touch; `asks` makes another prompt than the phase's own.

    No text holds a secret of the repository: reports quote what the tests printed, and they see the real tree.
    """
    brief, workspace, hidden = prepared.brief, opened.workspace, opened.hidden

    def lay(path: str, text: str) -> None:
        workspace.write(path, hidden.text(text).encode("utf-8", "replace"))

    feedback = [each.model_copy(update={"points": tuple(map(hidden.text, each.points))}) for each in feedback]
    scratchpad = _kept(shop, prepared, "scratchpad", reference) if phase == "edit" else b""
    notes = {
        SCRATCHPAD: hidden.text(scratchpad.decode("utf-8", "replace")),
        MEMORY: hidden.text(Memory.read(brief.repository, reference)),
    }
    # Conventions are base's, also where a change of them is under review.
    base = redacted(shop, prepared, shop.forge.tree(brief.repository, prepared.base)) if change else hidden
    diff = shop.forge.diff(brief.repository, change.base, change.commit) if change and change.commit else ""
    material = Material(
        prepared=prepared,
        tree=base.tree,
        attempt=attempt,
        plan=plan,
        feedback=feedback,
        scratchpad=notes[SCRATCHPAD],
        memory=notes[MEMORY],
        diff=hidden.patch(diff),
        redacted=hidden.hides,
        bounds=bounds,
    )
    prompt = hidden.text((asks or PROMPTS[phase])(material))
    lay("/lockgate/brief.md", prompt)
    for file in (file for file in brief.acceptance.files if file.keep):
        lay(f"/lockgate/acceptance/{file.path}", file.content)
    if plan:
        lay("/lockgate/plan.json", plan.model_dump_json(indent=2))
    if feedback:
        lay("/lockgate/feedback.md", "\n\n".join(map(as_text, feedback)))
        if patch := _last_patch(shop, prepared, feedback[-1]):
            lay("/lockgate/last-attempt.patch", hidden.patch(patch))
    for path, content in notes.items():
        if content:
            lay(path, content)
    model = opened.model
    return Assignment(
        brief=brief,
        prompt=prompt,
        attempt=attempt,
        plan=plan,
        feedback=feedback,
        model=model,
        model_url=f"https://{model.partition('/')[0]}.{MODEL_HOSTS}" if model else "",
        token=opened.token,
        session=(_kept(shop, prepared, "session", reference) or None) if phase == "edit" and brief.race == 1 else None,
        timeout_s=timeout_s or time_left_s(shop, prepared),
        on_output=on_output,
        stop=stop,
    )


def as_text(feedback: Feedback) -> str:
    """Feedback as Markdown."""
    points = "\n".join(f"- {point}" for point in feedback.points)
    return f"## Attempt {feedback.attempt} did not get through ({feedback.source})\n{points}"


def time_left_s(shop: Workshop, prepared: Prepared) -> float:
    """Seconds of the budget's minutes that are left. Sandbox time counts; waiting for people does not."""
    lines = [BillLine.model_validate(e.body) for e in shop.ledger.entries(run_id=prepared.run_id, kind=BILL.kind)]
    return prepared.brief.budget.minutes * 60 - sum(line.sandbox_s for line in lines)


def used_up(shop: Workshop, prepared: Prepared) -> str | None:
    """Why nothing more may be tried: no minutes or no dollars are left. None if there is some of both."""
    if time_left_s(shop, prepared) <= 0:
        return "the budget's minutes are used up"
    budget, spent = usd_of(shop, prepared), bill_of(shop.ledger, prepared.run_id).usd
    if spent and spent >= budget:
        return f"the budget's dollars are used up: {spent:.2f} of {budget:.2f} USD"
    return None


def is_repetition(attempt: Attempt, earlier: Sequence[Attempt]) -> bool:
    """Whether the agent made a tree again that was already turned down."""
    return attempt.tree is not None and attempt.tree in {a.tree for a in earlier}


def _kept(shop: Workshop, prepared: Prepared, kind: str, reference: str) -> bytes:
    """What this agent kept of that kind in an earlier attempt; notes are read by whoever comes next."""
    entries = shop.ledger.entries(run_id=prepared.run_id, kind=kind)
    mine = [e for e in entries if kind == records.SCRATCHPAD.kind or e.body.get("agent") == reference]
    return shop.store.get(mine[-1].body["content"]) if mine else b""


def _last_patch(shop: Workshop, prepared: Prepared, last: Feedback) -> str | None:
    made = [Attempt.model_validate(e.body) for e in shop.ledger.entries(run_id=prepared.run_id, kind=ATTEMPT.kind)]
    found = next((a for a in made if a.commit and a.commit == last.last_commit), None)
    if found is None or found.commit is None:
        return None
    return shop.forge.diff(prepared.brief.repository, found.base, found.commit)
