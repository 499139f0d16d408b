"""Changes that were made elsewhere, by people or by others' agents: a branch, or what a pull request holds.

Where it stands is fixed by `prepare`, as data; `take` puts it on base as one commit of its author's, and from there it
goes the way of every change. What is refused is told where it was made, and the run waits without a process until it
has moved: then it is the next attempt. Nobody's branch is pushed to, unless base
names an agent of ours that mends (`mending.py`).
"""

from collections.abc import Sequence

from prefect import get_run_logger
from prefect.input import RunInput
from pydantic import Field

from blocks.workshop import Workshop, workshop_of
from domain.brief import Brief
from domain.errors import AgentError, ForgeError, NotYet, Withdrawn
from domain.ports import HostedForge
from domain.pull_request import PullState
from domain.records import ATTEMPT, BILL, MEND, PREPARED, WAITS_FOR_PUSH
from domain.task import ELSEWHERE, Attempt, BillLine, Feedback, Prepared
from domain.text import one_line
from domain.value import Value
from tasks.edit import commit_attempt, pack_commit
from tasks.pages import show
from tasks.people.asking import answered
from tasks.people.mending import OURS
from tasks.pull_request import tell_refused
from tasks.room.redaction import printable
from tasks.step import step

PUSH = "push"
"""How the key of a run begins that waits for its change to move."""
MOST_WAITS = 1000
NOT_AS_GIT_WRITES = (
    "it, or base, holds directories or modes that git itself would not write so, and what is merged would not be what "
    "is judged: commit its files anew with git"
)


class WaitsForPush(Value):
    """A run is suspended until its change stands elsewhere."""

    change: str
    source: str = Field(description="The commit that was refused")
    reason: str


class Pushed(RunInput):
    """The form in the UI under ⋮ → Resume."""

    looked_by: str = Field(min_length=1, description="Your name, for the record: the branch is looked at again")
    stop: str = Field("", description="Why nobody waits any longer; empty: go on waiting")


@step("edit", "take-{number}")
def take(prepared: Prepared, number: int) -> Attempt:
    """What stood there when the attempt was prepared, on base. Once per run and number; `problem`: why it is none."""
    shop, run = workshop_of(prepared.brief), prepared.run_id
    if known := shop.ledger.find(run, *ATTEMPT.at(number), Attempt):
        return known
    attempt = on_base(shop, prepared, number, prepared.source or "")
    line = BillLine(run_id=run, step="edit", attempt=number, agent=attempt.agent)
    shop.ledger.record(run, *BILL.at("edit", number), line)
    diff = ""
    if attempt.commit:
        pack_commit(shop, prepared, attempt.commit)
        at = prepared.brief.repository
        shown = printable(shop, prepared, shop.forge.tree(at, attempt.commit))
        diff = shown(shop.forge.diff(at, prepared.base, attempt.commit))
    attempt = shop.ledger.record(run, *ATTEMPT.at(number), attempt)
    show.attempt(attempt, diff)
    return attempt


def on_base(shop: Workshop, prepared: Prepared, number: int, source: str) -> Attempt:
    """The change as one commit on `prepared.base`, by whoever wrote it, also if an agent of ours mended it. Same input,
    same ids."""
    brief = prepared.brief
    if not shop.forge.has(brief.repository, source):
        shop.forge.source(brief.repository, brief.change)  # another machine: with its branch it comes here
    joined = shop.forge.join(brief.repository, prepared.base, source)
    authors, by = _whose(shop, joined.authors or (shop.forge.author(brief.repository, source),))
    who = one_line(_name(authors[0]), 80)
    if by:
        who = f"{who}, mended by {by}"
    none = Attempt(number=number, base=prepared.base, commit=None, source=source, agent=f"{ELSEWHERE}: {who}")
    if joined.tree is None or prepared.unfit:
        return none.model_copy(update={"problem": f"{brief.change}: {prepared.unfit or joined.problem}"})
    try:
        made = commit_attempt(shop, prepared, number, joined.tree, authors, source)
    except AgentError as err:
        why = f"{brief.branch} has all of it already" if "changed nothing" in str(err) else str(err)
        return none.model_copy(update={"problem": f"{brief.change}: {why}"})
    if brief.pull and made.tree != joined.tree_id:  # the forge merges theirs, so that must be what is judged
        return none.model_copy(update={"problem": f"{brief.change}: {NOT_AS_GIT_WRITES}"})
    return made.model_copy(update={"source": source, "agent": none.agent, "version": source[:12]})


def _whose(shop: Workshop, authors: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Who wrote a change, its author first, and which agent of ours mended it last. It stays the change of whoever made
    it, also if it was mended in another run, or rebased since. `authors`: the newest first."""
    if not authors[0].startswith(OURS):
        return authors, ""
    agents = {entry.body["attempt"]["agent"] for entry in shop.ledger.entries(kind=MEND.kind)}
    ours = {name: agent for name in authors if (agent := _name(name).removeprefix(OURS)) in agents}
    people = tuple(name for name in authors if name not in ours)
    if authors[0] not in ours or not people:
        return authors, ""
    return (*people, *ours), ours[authors[0]]


def _name(author: str) -> str:
    return author.partition("<")[0].strip() or author


def until_pushed(run: str, brief: Brief, earlier: Sequence[Attempt], feedback: Sequence[Feedback]) -> None:
    """Suspend while a change that was made elsewhere stands where it was refused. For others nothing is waited for.

    Raises Withdrawn if it is not there any more, or nobody waits any longer; AgentError if it can move no more.
    """
    if not brief.change or not earlier or not feedback:
        return
    shop, last, why = workshop_of(brief), earlier[-1], feedback[-1]
    if shop.ledger.find(run, *PREPARED.at(last.number + 1), Prepared):
        return  # this run was here before, and went on
    told = one_line(why.points[0] if why.points else why.source, 300)
    for turn in range(MOST_WAITS):
        try:
            stands, over = where(shop, brief)
        except NotYet:
            raise  # a hosted forge is waited for as everywhere
        except ForgeError as err:
            get_run_logger().warning("%s cannot be asked for: %s; it is asked for again", brief.change, err)
            stands, over = last.source, ""
        if over:
            raise (AgentError if stands else Withdrawn)(f"{over}; it was refused: {told}")
        if stands != last.source:
            return
        tell_refused(run, brief, last, why)
        key = f"{PUSH}-{last.number}-{turn}"
        waits = WaitsForPush(change=brief.change, source=last.source or "", reason=told)
        shop.ledger.record(run, *WAITS_FOR_PUSH.at(key), waits)
        text = (
            f"# {show.quote(brief.title)}: push to {show.quote(brief.change)}\n\nAttempt {last.number} was refused:\n\n"
            f"{show.bullets(why.points)}\n\nWhat is pushed there next is the next attempt. It is looked for by itself."
        )
        form = answered(Pushed, text, key)
        if form and form.stop:
            raise Withdrawn(f"{form.stop} ({form.looked_by}); it was refused: {told}")
    raise RuntimeError("a thousand times the change had not moved; the run stops waiting")


def where(shop: Workshop, brief: Brief) -> tuple[str | None, str]:
    """(where the change stands now, why it moves no more). No commit: it is gone, and so is who wanted it."""
    if brief.pull and (host := shop.forge.hosted(brief.repository)):
        return _of_pull(host, brief, brief.pull)
    stands = shop.forge.stands(brief.repository, brief.change)
    return stands, "" if stands else f"{brief.change} is not there any more"


def _of_pull(host: HostedForge, brief: Brief, number: int) -> tuple[str | None, str]:
    if over := host.why_over(brief.repository):
        return None, over
    pull = host.pull_request(brief.repository, number)
    if pull.state is PullState.MERGED:
        return pull.head, f"pull request {number} is merged and takes no more commits: open another one"
    by = f" by {pull.ended_by.login}" if pull.ended_by else ""
    return (pull.head, "") if pull.state is PullState.OPEN else (None, f"pull request {number} was closed{by}")
