"""Our agent mends what the gates refused of a branch that was made elsewhere, where lockgate.toml of base names one.

It works on the change as it was judged. What it makes is judged before anybody sees it, and then put on that branch as
one commit on top of what stands there; never over it. There it is the next attempt, and judged like any other. A branch
that others build on is nobody's own: it puts nothing there.
"""

from collections.abc import Callable

from prefect import get_run_logger
from pydantic import Field

from blocks.catalogue import unusable_agents
from blocks.ledger.spending import this_week
from blocks.workshop import Workshop, workshop_of
from domain.errors import AgentError, ForgeError, GatewayAway, GatewayError, InputError, NotYet, SandboxError
from domain.ignored import Ignored
from domain.paths import matches
from domain.project import SHARED_BRANCHES
from domain.records import BILL, MEND, PACKED, PREPARED
from domain.task import Attempt, BillLine, Feedback, Plan, Prepared
from domain.text import one_line
from domain.trees import Tree
from domain.value import Value
from tasks.edit import commit_attempt, pack_commit
from tasks.room.desk import desk_for, time_left_s, used_up
from tasks.room.room import room
from tasks.step import step

IN_PLACE = "the change is in your files already: mend what is refused here, and leave all else of it as it is"
OURS = "lockgate/"
"""How the name begins that an agent of ours commits under; kind/name of it follows."""
WHAT = Plan(steps=("Mend what the gates refused of a change that somebody else made.",))


class Mend(Value):
    """What our agent made of a change that was refused."""

    attempt: Attempt = Field(description="The change as it is mended, on base; its `problem`: why there is none")
    commit: str | None = Field(None, description="The same, as a commit on top of what stands on its branch")


def mends(prepared: Prepared, refused: Attempt, feedback: Feedback) -> bool:
    """Whether an agent of ours mends this: base names one, the gates refused it, and it stands on a branch of the
    repository itself, where it was not looked at since. One that passed, and was refused on a base that moved, is left
    to its author: the agent would work on what was not refused."""
    is_branch = bool(prepared.brief.change) and prepared.brief.pull is None
    is_it = feedback.source == "gates" and refused.commit is not None and feedback.last_commit == refused.commit
    if not (is_branch and prepared.settings.elsewhere.mend and is_it):
        return False
    after = PREPARED.at(feedback.attempt + 1)
    return workshop_of(prepared.brief).ledger.find(prepared.run_id, *after, Prepared) is None


def try_to_mend(prepared: Prepared, refused: Attempt, feedback: Feedback) -> Mend:
    """As `mend`. Where a sandbox or the repository still fails after its repetitions, the run goes on as if nobody
    mended: it waits for a push."""
    try:
        return mend(prepared, refused, feedback)
    except (GatewayAway, NotYet):
        raise
    except (SandboxError, GatewayError, ForgeError) as err:
        get_run_logger().warning("%s did not mend attempt %d: %s", _agent(prepared), refused.number, err)
        return _nothing(prepared, refused, str(err))


@step("edit", "mend-{refused.number}")
def mend(prepared: Prepared, refused: Attempt, feedback: Feedback) -> Mend:
    """Once per run and attempt. Why it cannot be done is in the attempt's `problem`: the change breaks the project's
    setup, say."""
    shop, run = workshop_of(prepared.brief), prepared.run_id
    if known := shop.ledger.find(run, *MEND.at(refused.number), Mend):
        return known
    try:
        made = _work(shop, prepared, refused, feedback)
    except (AgentError, InputError) as err:
        made = _nothing(prepared, refused, str(err))
    for commit in filter(None, (made.attempt.commit, made.commit)):
        pack_commit(shop, prepared, commit)
    return shop.ledger.record(run, *MEND.at(refused.number), made)


def why_shared(shop: Workshop, prepared: Prepared) -> str:
    """Why the branch of the change is not its author's alone: what is put there reaches others without a person.
    Empty: nothing says so. Raises InputError or ForgeError if it cannot be found out."""
    brief, settings = prepared.brief, prepared.settings
    change = brief.change

    def here(repository: str) -> bool:
        return _plain(repository) == _plain(brief.repository)

    host = shop.forge.hosted(brief.repository)
    packed = (entry.body for entry in shop.ledger.entries(kind=PACKED.kind))
    reasons: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("it is where the change is to go", lambda: change == brief.branch),
        (
            "branches of such a name are shared (`shared` under [elsewhere] of lockgate.toml names more)",
            lambda: matches(change.casefold(), (*SHARED_BRANCHES, *map(str.casefold, settings.elsewhere.shared))),
        ),
        (
            "issues are worked on for it",
            lambda: any(one.branch == change and here(one.repository) for one in shop.issues),
        ),
        ("it is the default branch", lambda: change == shop.forge.default_branch(brief.repository)),
        (
            "other runs merge into it",
            lambda: any(one["branch"] == change and here(one["repository"]) for one in packed),
        ),
        ("it is protected", lambda: host is not None and host.is_protected(brief.repository, change)),
    )
    return next((f"nothing is put on {change}: {why}" for why, holds in reasons if holds()), "")


def put_on_branch(prepared: Prepared, refused: Attempt, made: Mend) -> None:
    """What passed the gates is the newest commit of its branch, if nobody pushed meanwhile. Safe to repeat."""
    brief, at = prepared.brief, refused.source
    if made.commit is None or at is None:
        return
    shop = workshop_of(brief)

    def is_allowed() -> None:
        if why := why_shared(shop, prepared):  # a rule or a brief may have come since
            raise ForgeError(why)

    try:
        stands = shop.forge.merge(brief.repository, brief.change, at, made.commit, is_allowed)
    except NotYet:
        raise
    except (ForgeError, InputError) as err:
        get_run_logger().warning("what %s mended is not on %s: %s", made.attempt.agent, brief.change, err)
        return
    if stands:
        get_run_logger().info("somebody pushed to %s meanwhile: that is the next attempt", brief.change)


def _work(shop: Workshop, prepared: Prepared, refused: Attempt, feedback: Feedback) -> Mend:
    """Raises AgentError if there is nothing to judge, InputError where the project's setup fails with the change."""
    brief, reference, commit = prepared.brief, _agent(prepared), refused.commit or ""
    if shared := why_shared(shop, prepared):
        raise AgentError(shared)
    asked = brief.model_copy(update={"change": "", "agent": reference})
    if wrong := unusable_agents(asked, lambda agent: this_week(shop.ledger.url.get_secret_value()).get(agent, 0.0)):
        raise AgentError("; ".join(wrong))
    if over := used_up(shop, prepared):
        raise AgentError(over)
    agent = shop.agent(reference)
    tree = shop.forge.tree(brief.repository, commit)
    told = feedback.model_copy(update={"points": (IN_PLACE, *feedback.points), "last_commit": None})
    with room(shop, prepared, "edit", tree, agent=agent, reference=reference, attempt=refused.number) as opened:
        desk = desk_for(
            shop, prepared, opened, "edit", reference, bounds=agent.scope.paths, plan=WHAT, attempt=refused.number,
            feedback=(told,), timeout_s=time_left_s(shop, prepared),
        )  # fmt: skip
        done = agent.edit(desk, opened.workspace).completed
        line = BillLine(
            run_id=prepared.run_id, step="mend", attempt=refused.number, agent=agent.name, sandbox_s=done.seconds
        )
        shop.ledger.record(prepared.run_id, *BILL.at("mend", refused.number), line)
        if done.problem or done.timed_out or done.exit_code:
            raise AgentError(f"the agent did not end well: {done.problem or one_line(done.output[-800:], 300)}")
        mended = opened.hidden.restored(opened.workspace.collect(Ignored(tree)))
    made = as_commits(shop, prepared, refused, mended, reference)
    by = {"version": agent.version, "bounds": agent.scope.paths}
    return made.model_copy(update={"attempt": made.attempt.model_copy(update=by)})


def as_commits(shop: Workshop, prepared: Prepared, refused: Attempt, mended: Tree, reference: str) -> Mend:
    """The mended tree on base, to be judged, and on top of what stands on the branch. Raises AgentError if nothing
    changed, or it does not fit there."""
    brief, commit = prepared.brief, refused.commit or ""
    who = f"{OURS}{reference}"
    message = f"{brief.title}: mend what the gates refused\n\nLockgate-Run: {prepared.run_id}\n"
    alone, _ = shop.forge.commit(brief.repository, commit, mended, message, who)
    on_branch = shop.forge.rebase(brief.repository, commit, alone, refused.source or "")
    if on_branch is None:
        raise AgentError("what the agent made does not fit on the branch, which base has moved away from")
    authors = (shop.forge.author(brief.repository, commit), who)
    attempt = commit_attempt(shop, prepared, refused.number, mended, authors, on_branch[0])
    return Mend(attempt=attempt.model_copy(update={"agent": reference, "source": on_branch[0]}), commit=on_branch[0])


def _nothing(prepared: Prepared, refused: Attempt, why: str) -> Mend:
    return Mend(
        attempt=Attempt(number=refused.number, base=prepared.base, commit=None, agent=_agent(prepared), problem=why)
    )


def _agent(prepared: Prepared) -> str:
    """As kind/name."""
    return prepared.settings.elsewhere.mend


def _plain(repository: str) -> str:
    return repository.rstrip("/").removesuffix(".git").casefold()
