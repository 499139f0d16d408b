"""The one comment that tells at an issue how its run goes. What people or agents wrote stands in it as code."""

from collections.abc import Sequence

from prefect.client.schemas.objects import FlowRun

from blocks.ledger.rows import Entry
from domain.issues import COMMAND, Decided, TriggerOutcome
from domain.prompts import fence
from domain.proposal import ACCEPT, REFUSE, ProvenProposal
from domain.pull_request import Proposed
from domain.records import (
    AGREED,
    ANSWERS,
    ATTEMPT,
    CANCELLED,
    MERGED,
    OUTCOME,
    PREPARED,
    PROPOSAL,
    PULL_REQUEST,
    ROLLED_BACK,
)
from domain.task import Outcome
from tasks.pull_request import inert

FINAL = ("COMPLETED", "FAILED", "CANCELLED")
HOW = (
    "A brief says what should be true afterwards, and has tests that fail today and pass then: under a heading "
    "`### Acceptance` a code block whose first line is the file's path, such as `# tests/acceptance/test_search.py`, "
    "ids of tests, one a line, or a code block of the language `sh` with a command that fails today."
)


def comment_of(
    decided: Decided, run_id: str | None, run: FlowRun | None, entries: Sequence[Entry], desk_url: str
) -> str:
    """The whole text, without its marker. The same for the same state of things."""
    parts = [_headline(decided, run_id, run, entries)]
    links = _links(run_id, entries, desk_url)
    parts += [" · ".join(links)] if links else []
    trigger = decided.trigger
    asked = "a comment" if trigger.is_comment else "an assignment" if trigger.is_assignment else "the label"
    parts.append(f"Asked for by {inert(trigger.by.shown)} with {asked}, {trigger.at:%Y-%m-%d %H:%M:%S} UTC.")
    if decided.hidden:
        shown = "\n".join(f"- {inert(one)}" for one in decided.hidden)
        parts.append(f"Left out, for no reader of this page sees it:\n\n{shown}")
    if decided.shown:
        parts.append(f"What is asked for:\n\n{fence(decided.shown, 'text')}")
    if decided.brief:
        files = [f"- {inert(file.path)}" for file in decided.brief.acceptance.files]
        tests = [f"- {inert(test)}" for test in decided.brief.acceptance.tests]
        command = decided.brief.acceptance.command
        tests += [f"- the command {inert(command)}"] if command else []
        if not (files or tests):
            tests = [
                "- a test that the agent proposes and you approve"
                if decided.brief.is_to_propose
                else "- its own new tests"
            ]
        text = "\n\n".join((fence(decided.brief.goal, "text"), "Accepted by", "\n".join([*files, *tests])))
        parts.append(f"<details><summary>What counts: the text as it was then</summary>\n\n{text}\n\n</details>")
    return "\n\n".join(parts)


def _headline(decided: Decided, run_id: str | None, run: FlowRun | None, entries: Sequence[Entry]) -> str:
    if decided.answer is TriggerOutcome.REFUSED:
        reasons = "\n".join(f"- {inert(one)}" for one in decided.reasons)
        again = f"Nothing was started. When it is mended, take the label off and put it on again, or write `{COMMAND}`."
        return f"**Not started**\n\n{reasons}\n\n{again} {HOW}"
    ended = next((one for one in reversed(entries) if one.kind == OUTCOME.kind), None)
    if ended is not None:
        outcome = Outcome.model_validate(ended.body)
        reasons = "".join(f"\n- {inert(one)}" for one in outcome.reasons)
        return f"**{outcome.end}**: {inert(outcome.sentence)}{reasons}"
    state = run.state if run else None
    if run is None or state is None:
        return "**Ended**: its run is not there any more" if run_id else "**Queued**"
    if state.type.value in FINAL:
        cancelled = next((str(one.body["why"]) for one in reversed(entries) if one.kind == CANCELLED.kind), "")
        said = cancelled or state.message or state.name or ""
        return f"**{'Cancelled' if state.type.value == 'CANCELLED' else 'Ended'}**: {inert(said)}"
    if state.type.value == "CANCELLING":
        return "**Being cancelled**"
    newest = entries[-1].kind if entries else ""
    if state.type.value == "PAUSED" and newest == "waits-for-push":
        return f"**Waits for a push that mends it**{_so_far(entries)}"
    about = next((one for one in reversed(entries) if one.kind in (PROPOSAL.kind, ANSWERS.kind, AGREED.kind)), None)
    if state.type.value == "PAUSED" and about is not None and about.kind == PROPOSAL.kind:
        return _proposed(ProvenProposal.model_validate(about.body))
    if state.type.value == "PAUSED":
        return f"**Waits for people**{_so_far(entries)}"
    return (
        f"**Under way**{_so_far(entries)}"
        if entries and any(one.kind == PREPARED.kind for one in entries)
        else "**Queued**"
    )


def _proposed(made: ProvenProposal) -> str:
    """The whole test: whoever approves it here has read it here."""
    red = "\n".join(f"- {inert(one)}" for one in made.red)
    told = made.proposal
    return (
        f"**Waits for people**: an acceptance test is proposed, {inert(told.path)}\n\n"
        f"{fence(told.content, 'python')}\n\n{fence(told.why, 'text')}\n\nOn base it fails:\n\n{red}\n\n"
        f"Somebody who may write here approves exactly this text by a comment `/lockgate {ACCEPT} {made.mark}` with "
        f"nothing else in it, or refuses it by `/lockgate {REFUSE} {made.mark}` and why. No code is "
        "written before that."
    )


def _so_far(entries: Sequence[Entry]) -> str:
    attempts = max((int(one.body["number"]) for one in entries if one.kind == ATTEMPT.kind), default=0)
    back = sum(one.kind == ROLLED_BACK.kind for one in entries)
    said = [f"attempt {attempts}"] if attempts else []
    said += [f"rolled back {'once' if back == 1 else f'{back} times'}"] if back else []
    newest = next(
        (one.kind for one in reversed(entries) if one.kind in (ATTEMPT.kind, MERGED.kind, ROLLED_BACK.kind)), ""
    )
    said += ["merged, and being released"] if newest == MERGED.kind else []
    return f": {', '.join(said)}" if said else ""


def _links(run_id: str | None, entries: Sequence[Entry], desk_url: str) -> list[str]:
    """Addresses are the forge's own, or the block's."""
    proposed = next((one for one in reversed(entries) if one.kind == PULL_REQUEST.kind), None)
    links = []
    if proposed is not None and not proposed.body.get("judged"):
        pull = Proposed.model_validate(proposed.body)
        links.append(f"pull request #{pull.number}")
    if run_id is not None:
        links.append(f"[the desk]({desk_url.rstrip('/')}/desk/task/{run_id})" if desk_url else f"run {inert(run_id)}")
    url = next(
        (str(one.body["url"]) for one in reversed(entries) if one.kind == OUTCOME.kind and one.body.get("url")), ""
    )
    links += [inert(url)] if url else []
    return links
