"""What must hold whatever happened, looked at from outside: git, the ledger's rows, the public addresses, the pager."""

import json
from collections import Counter
from collections.abc import Iterator

from blocks.host.alive import started
from domain.task import End
from kits.briefs import git
from tests.chaos.world import LONGEST_SILENCE_S, Task, World

WORDS = {str(end) for end in End}
CHECKED = 2
"""So many runs, or some more, are verified: each checks the whole chain, and takes seconds."""


def broken(world: World) -> Iterator[str]:
    """Each thing that does not hold, in a sentence; what takes long comes last."""
    for look in (_runs, _served, _pages, _left, _rows):
        yield from look(world)


def _runs(world: World) -> Iterator[str]:
    """Each run ends in a word, once, and main has what the word says."""
    outcomes: dict[str, list[str]] = {}
    for run, body in world.rows("SELECT run_id, body FROM entries WHERE kind = 'outcome'"):
        outcomes.setdefault(run, []).append(json.loads(body)["end"])
    logs = {place: git(place, "log", "--format=%s", "main").splitlines() for place in world.repositories.values()}
    merged = Counter(run for (run,) in world.rows("SELECT run_id FROM entries WHERE kind = 'merged'"))
    back = Counter(run for (run,) in world.rows("SELECT run_id FROM entries WHERE kind = 'rolled_back'"))
    called_sick = world.rows("SELECT run_id, body FROM entries WHERE kind = 'sick'")
    for task in world.tasks:
        ends = outcomes.get(task.run_id, [])
        log = logs[task.repository]
        commits, reverts = log.count(task.title), log.count(f'Revert "{task.title}"')
        if task.deleted:
            if commits:
                yield f"{task.name} was deleted while it waited, and is merged"
            continue
        if len(ends) != 1 or ends[0] not in WORDS:
            state = world.state(task)
            yield f"{task.name} ended {len(ends)} times ({ends}); Prefect says {state and state['name']}"
            continue
        if commits > 1 or merged[task.run_id] > 1:
            yield f"{task.name} was merged {commits} times, {merged[task.run_id]} on record"
        if reverts > 1 or back[task.run_id] > 1:
            yield f"{task.name} was taken back {reverts} times, {back[task.run_id]} on record"
        yield from _as_it_should(task, ends[0], commits, reverts)
        sick = {json.loads(body)["revision"] for run, body in called_sick if run == task.run_id}
        if ends[0] == "gave_up" and not task.is_sick and not sick & world.killed:
            yield f"{task.name} gave up, is not sick, and its release was not killed"


def _as_it_should(task: Task, end: str, commits: int, reverts: int) -> Iterator[str]:
    """A fault may freeze a run, and says so; it may not make a sick release live, nor lose a merge."""
    if end in ("live", "merged") and (commits, reverts) != (1, 0):
        yield f"{task.name} is said to be {end}, and main has {commits} commits and {reverts} reverts of it"
    if task.is_sick and end in ("live", "merged"):
        yield f"{task.name} is sick, and is said to be {end}"
    if not task.is_sick and end in ("refused", "declined"):
        yield f"{task.name} is {end}, and nobody did that"


def _rows(world: World) -> Iterator[str]:
    """The record is whole, as the product itself sees it. That an entry is there once, its key demands."""
    whole = [task for task in world.tasks if not task.deleted]  # who was deleted while it waited has no outcome
    for task in whole[:: max(1, len(whole) // CHECKED)]:
        done = world.station.lockgate("verify", task.run_id)  # with its imports done, which take long here
        if done.returncode:
            yield f"lockgate verify {task.name}: {done.stdout[-500:]}{done.stderr[-500:]}"


def _served(world: World) -> Iterator[str]:
    """Both environments serve what is on record, and were never away for long."""
    for environment in world.ports:
        now = world.served(environment)
        if now is None:
            yield f"{environment} serves nothing"
        yield from _wrongly_served(world, environment, now)
        for silence in world.users[environment].silences:
            slower = world.control.stretch(silence.since, silence.until)
            if silence.seconds > LONGEST_SILENCE_S * slower:
                yield (
                    f"{environment} was down for {silence.seconds:.1f} s until {silence.when}; a plain server took "
                    f"{slower:.1f} times its best to come back then"
                )


def _wrongly_served(world: World, environment: str, now: str | None) -> Iterator[str]:
    """What main has; or, where it went back by itself or a run froze after its merge, what is on record instead."""
    repository = world.repositories[environment]
    if now is None or git(repository, "rev-parse", f"{now}^{{tree}}") == git(repository, "rev-parse", "main^{tree}"):
        return
    told = world.rows("SELECT kind, body FROM entries WHERE kind IN ('live', 'rolled_back') ORDER BY id")
    there = [body for kind, text in told if (body := {"kind": kind, **json.loads(text)})["environment"] == environment]
    recorded = there[-1]["revision" if there[-1]["kind"] == "live" else "serving"] if there else None
    if now != recorded:
        yield f"{environment} serves {now[:12]}, which main has not, and the record says {recorded}"
        return
    merged = {run for (run,) in world.rows("SELECT run_id FROM entries WHERE kind = 'merged'")}
    ends = world.rows("SELECT run_id, body FROM entries WHERE kind = 'outcome'")
    frozen = {run for run, body in ends if json.loads(body)["end"] == "frozen"} & merged
    if not there[-1].get("by_itself") and not any(
        task.run_id in frozen for task in world.tasks if task.environment == environment
    ):
        yield f"{environment} serves {now[:12]}, which is not what main has, and nothing there went back or froze"


def _pages(world: World) -> Iterator[str]:
    """Nobody is told the same three times: a kill between sending and noting may send once more."""
    for page, count in Counter(world.pager.pages).items():
        if count > 2:
            yield f"{count} times the same page: {page[:200]}"


def _left(world: World) -> Iterator[str]:
    """Nothing of a run is left behind."""
    for left in sorted((world.home / "sandboxes").iterdir()):
        yield f"a sandbox is left: {left.name}"
    for note in sorted((world.home / "run" / "flow-runs").glob("*.json")):
        told = json.loads(note.read_text())
        if started(told["pid"]) == told["started"]:
            yield f"run {note.stem} is over, and its process {told['pid']} is there"
