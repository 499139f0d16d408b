"""edit: the agent works in a sandbox; what leaves it is a commit that the platform made."""

import time
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from blocks.memory import Memory
from blocks.workshop import Workshop, workshop_of
from domain import records
from domain.brief import Brief
from domain.errors import AgentError
from domain.ignored import Ignored
from domain.ports import Completed, Workspace
from domain.task import Attempt, BillLine, Feedback, Packed, Plan, Prepared, Raced, Scratchpad
from domain.trees import Tree, TreeEntry
from tasks.pages import show
from tasks.room.desk import HELP, MEMORY, SCRATCHPAD, desk_for, time_left_s, used_up
from tasks.room.room import Room, room
from tasks.step import step

MAX_NOTE_BYTES = 100_000
ASKED_EVERY_S = 2.0


@step("edit", "edit-{number}")
def edit(prepared: Prepared, plan: Plan, number: int, feedback: tuple[Feedback, ...], reference: str) -> Attempt:
    """One attempt, once per run and number. What the agent could not do is in `problem`, never an exception."""
    brief, run = prepared.brief, prepared.run_id
    shop = workshop_of(brief)
    if known := shop.ledger.find(run, *records.ATTEMPT.at(number), Attempt):
        return known
    if over := used_up(shop, prepared):
        return Attempt(number=number, base=prepared.base, commit=None, problem=over, agent=reference)
    agent = shop.agent(reference)
    started = time.monotonic()
    tree = shop.forge.tree(brief.repository, prepared.base)
    logger = show.Output(number if brief.race > 1 else None)
    stop = _Stop(shop, prepared, number)
    remembered = Memory.read(brief.repository, reference).encode()
    with room(shop, prepared, "edit", tree, agent=agent, reference=reference, attempt=number) as opened:
        workspace = opened.workspace
        desk = desk_for(
            shop, prepared, opened, "edit", reference, bounds=agent.scope.paths, plan=plan, attempt=number,
            feedback=feedback, on_output=logger, stop=stop, timeout_s=time_left_s(shop, prepared),
        )  # fmt: skip
        session, output = None, ""
        try:
            worked = agent.edit(desk, workspace)
            session, output = worked.session, worked.completed.output
            attempt = _result(shop, prepared, number, opened, worked.completed, Ignored(tree))
        except AgentError as err:
            attempt = Attempt(number=number, base=prepared.base, commit=None, problem=str(err))
        logger.flush()
        key = str(number)
        if pad := _kept(shop, number, reference, _note(workspace, SCRATCHPAD)):
            shop.ledger.record(run, *records.SCRATCHPAD.at(key), pad)
        learned = _kept(shop, number, reference, _note(workspace, MEMORY))
        given = shop.store.put(remembered)
        if learned and learned.content != given:
            shop.ledger.record(run, *records.MEMORY.at(key), learned.model_copy(update={"given": given}))
        if state := _kept(shop, number, reference, session):
            shop.ledger.record(run, *records.SESSION.at(key), state)
    seconds = round(time.monotonic() - started, 3)
    transcript = shop.store.put((output or attempt.problem or "").encode("utf-8", "replace"))
    by = {"agent": reference, "version": agent.version, "bounds": agent.scope.paths}
    attempt = attempt.model_copy(update={"seconds": seconds, "transcript": transcript, **by})
    line = BillLine(run_id=run, step="edit", attempt=number, agent=agent.name, sandbox_s=seconds)
    shop.ledger.record(run, *records.BILL.at("edit", number), line)
    if attempt.commit:
        pack_commit(shop, prepared, attempt.commit)
    attempt = shop.ledger.record(run, *records.ATTEMPT.at(number), attempt)
    diff = shop.forge.diff(brief.repository, prepared.base, attempt.commit) if attempt.commit else ""
    show.attempt(attempt, opened.hidden.patch(diff))
    return attempt


def stop_others(prepared: Prepared, passed: Attempt) -> None:
    """An attempt passed every gate: those beside it that still run may stop. Safe to repeat."""
    turn = turn_of(prepared, passed.number)
    won = Raced(turn=turn, passed=passed.number)
    workshop_of(prepared.brief).ledger.record(prepared.run_id, *records.RACED.at(turn), won)


def turn_of(prepared: Prepared, number: int) -> int:
    """Which turn of the loop an attempt belongs to: `race` of them run side by side."""
    return (number - 1) // prepared.brief.race + 1


class _Stop:
    """Whether this attempt should stop because another one passed; asked often, looked up now and then."""

    def __init__(self, shop: Workshop, prepared: Prepared, number: int) -> None:
        self._ledger, self._prepared, self._number = shop.ledger, prepared, number
        self._next = 0.0

    def __call__(self) -> str | None:
        now = time.monotonic()
        if self._prepared.brief.race == 1 or now < self._next:
            return None
        self._next = now + ASKED_EVERY_S
        turn = str(turn_of(self._prepared, self._number))
        won = self._ledger.find(self._prepared.run_id, *records.RACED.at(turn), Raced)
        return f"attempt {won.passed} passed every gate first" if won else None


def _result(
    shop: Workshop, prepared: Prepared, number: int, opened: Room, done: Completed, ignored: Ignored
) -> Attempt:
    none = Attempt(number=number, base=prepared.base, commit=None)
    if wish := _note(opened.workspace, HELP):
        return none.model_copy(update={"help": wish.decode("utf-8", "replace")[:4000].strip()})
    if done.problem or done.timed_out:
        why = f"it used up the time it had ({done.seconds:.0f} s)" if done.timed_out else done.problem
        return none.model_copy(update={"problem": f"the agent was stopped: {why}"})
    if done.exit_code:
        tail = done.output[-800:].strip()
        return none.model_copy(update={"problem": f"the agent ended with exit code {done.exit_code}: {tail}"})
    tree = opened.hidden.restored(opened.workspace.collect(ignored))
    show.left_behind(number, ignored.found)
    try:
        return commit_attempt(shop, prepared, number, tree)
    except AgentError as err:
        if not ignored.found:
            raise
        raise AgentError(f"{err} but {', '.join(ignored.found[:5])}, which .gitignore on base leaves out") from err


def commit_attempt(
    shop: Workshop, prepared: Prepared, number: int, tree: Tree, authors: Sequence[str] = (), source: str = ""
) -> Attempt:
    """The tree as a commit on base, with the acceptance files that the brief keeps. Raises AgentError if nothing
    changed but those. `authors`: who wrote it elsewhere, the first of them its author; `source`: the commit there.

    What a pull request holds is merged as it is: nothing is added to it.
    """
    brief = prepared.brief
    base = shop.forge.tree(brief.repository, prepared.base)
    tree = tree if tree == base or brief.pull else with_acceptance(tree, base, brief)
    elsewhere = [f"Co-authored-by: {name}\n" for name in authors[1:20]] + [f"Lockgate-Change: {source}\n"] * bool(
        source
    )
    message = (
        f"{brief.title}\n\n{brief.goal.strip()}\n\n"
        f"Lockgate-Run: {prepared.run_id}\nLockgate-Attempt: {number}\nLockgate-Brief: {brief.digest}\n"
        f"{''.join(elsewhere)}"
    )
    author = authors[0] if authors else f"lockgate/{brief.agent}"
    commit, tree_id = shop.forge.commit(brief.repository, prepared.base, tree, message, author)
    changes = shop.forge.changes(brief.repository, prepared.base, commit)
    given = {} if prepared.own_tests else {file.path: file.content.encode() for file in brief.acceptance.files}
    own = [(added, removed) for path, added, removed in changes if path not in given or _is_other(tree, path, given)]
    return Attempt(
        number=number,
        base=prepared.base,
        commit=commit,
        tree=tree_id,
        changed_paths=tuple(path for path, _, _ in changes),
        added_lines=sum(added for added, _ in own),
        removed_lines=sum(removed for _, removed in own),
    )


def pack_commit(shop: Workshop, prepared: Prepared, commit: str, base: str = "") -> None:
    """Into the store: until it is merged, the commit is nowhere else but in this machine's mirror. Safe to repeat.

    `base`: a commit of the branch below it, if that is not the run's base.
    """
    brief, run, base = prepared.brief, prepared.run_id, base or prepared.base
    if shop.ledger.find(run, *records.PACKED.at(commit), Packed) is None:
        pack = shop.store.put(shop.forge.pack(brief.repository, base, commit))
        packed = Packed(repository=brief.repository, branch=brief.branch or "", base=base, commit=commit, pack=pack)
        shop.ledger.record(run, *records.PACKED.at(commit), packed)


def bring_commits(shop: Workshop, run: str) -> None:
    """What the run made on another machine, to this one's mirror. Safe to repeat; asks nobody where all is here."""
    for entry in shop.ledger.entries(run_id=run, kind=records.PACKED.kind):
        packed = Packed.model_validate(entry.body)
        if not shop.forge.has(packed.repository, packed.commit):
            pack = shop.store.get(packed.pack)
            shop.forge.unpack(packed.repository, packed.branch, packed.base, packed.commit, pack)


def _is_other(tree: Tree, path: str, given: Mapping[str, bytes]) -> bool:
    return path not in tree or tree[path].content != given[path]


def with_acceptance(tree: Tree, base: Tree, brief: Brief) -> Tree:
    """The tree with the brief's acceptance files in it. Where the agent put something else in such a place it stays:
    the rules over the change say so."""
    given = {file.path: file.content.encode() for file in brief.acceptance.files if file.keep}
    below = {str(parent) for path in tree for parent in PurePosixPath(path).parents}

    def is_free(path: str) -> bool:
        parents = (str(parent) for parent in PurePosixPath(path).parents)
        return tree.get(path) == base.get(path) and path not in below and not any(parent in tree for parent in parents)

    mode = 0o100644
    return {**tree, **{path: TreeEntry(mode, content) for path, content in given.items() if is_free(path)}}


def _note(workspace: Workspace, path: str) -> bytes | None:
    try:
        return workspace.read(path, max_bytes=MAX_NOTE_BYTES) or None
    except AgentError:
        return None  # too large: the one before stays


def _kept(shop: Workshop, number: int, reference: str, content: bytes | None) -> Scratchpad | None:
    return Scratchpad(attempt=number, content=shop.store.put(content), agent=reference) if content else None
