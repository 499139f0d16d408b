"""Mutation of the changed lines, and diff coverage: what the tests that judge a change notice of it. In sandboxes of
their own, within a time that is a share of what the suite took; what there was no time for is said."""

import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import NamedTuple

from blocks.mutants.python import mutants_of
from domain.errors import AgentError
from domain.mutation import (
    CoveredLines,
    End,
    Made,
    MutantJob,
    MutationPlan,
    diff_coverage,
    mutation_of,
    plan_of,
    read_tried,
    read_watched,
)
from domain.policy.change import Change, text_of
from domain.policy.mutation_rules import Noticed
from domain.ports import Completed, Workspace
from domain.task import Mutation
from domain.trees import Tree
from tasks.running.canaries import PLATFORM, programs
from tasks.running.runners import can_choose, environment, roots, run_of
from tasks.running.suite import Rooms

LEAST_S, SHARE = 3.0, 0.4
"""The time for all of it: so many seconds, and so much of what the suite took."""
WATCHING = 0.6
"""Of this time, for the run that is watched; what it does not need is for mutants."""
LEAST_TRY_S, AGAIN = 0.5, 0.8
"""With less time than this nothing is tried, nor with less than this share of what the watched run took for the tests
that are needed: the first try is these without a mutant, and there were no time for one with."""
STARTING_S = 0.25
"""What a test command takes until the plugin is loaded, about."""
MOST_WORKERS = 4
MAX_ANSWER_BYTES = 20_000_000
_WATCHED, _TRIED = "/lockgate/watched.jsonl", "/lockgate/tried.jsonl"


class Bench(NamedTuple):
    """What is tried, on what, and for how long."""

    change: Change
    tree: Tree
    """The change under the contract, as the suite ran it."""
    opened: Rooms
    first: tuple[str, ...]
    """Test files that were made for this change: the acceptance, and those that the change brings."""
    own: tuple[str, ...]
    """Of these the ones that the command may not collect by itself."""
    suite_s: float
    """How long the suite took."""

    @property
    def seconds(self) -> float:
        wanted = self.change.settings.mutation_s
        return wanted if wanted is not None else LEAST_S + SHARE * self.suite_s


def mutate(bench: Bench, shown: Callable[[str], str] = str) -> Noticed:
    """Watches the tests, then tries mutants until the time is up. Safe to repeat. Raises SandboxError as the suite.

    `shown`: what may be kept of a text that is the tree's or that its code printed.
    """
    started = time.monotonic()
    sources = _sources(bench)
    if why := _why_not(bench, sources):
        return Noticed(Mutation(left_out=why))
    end = started + bench.seconds
    with ThreadPoolExecutor(1) as beside, bench.opened() as workspace:
        making = beside.submit(mutants_of, sources, bench.seconds + LEAST_S)
        try:
            begun = time.monotonic()
            watched = _watch(bench, workspace, list(sources), end)
            took = time.monotonic() - begun
            made, problem = making.result(), None
            plan = plan_of(made.mutants, watched, [f"/work/{path}" for path in bench.first])
            is_time = is_time_to_try(end - time.monotonic(), took, plan, watched)
            ends = _try(bench, workspace, made, plan, watched, end) if is_time else {}
        except (AgentError, ValueError) as err:
            made, problem = making.result(), f"the mutants could not be tried: {err}"
            watched, plan, ends = CoveredLines(), MutationPlan(), {}
    mutation = mutation_of(made, plan, ends)
    seconds = round(time.monotonic() - started, 3)
    mutation = Mutation(
        made=mutation.made,
        tried=mutation.tried,
        survivors=tuple(
            one.model_copy(update={"before": shown(one.before), "after": shown(one.after)})
            for one in mutation.survivors
        ),
        problem=shown(problem or mutation.problem or "") or None,
        is_late=mutation.is_late,
        seconds=seconds,
    )
    return Noticed(mutation, diff_coverage(made.lines, watched) if watched.tests else None)


def _sources(bench: Bench) -> dict[str, tuple[str, str]]:
    """Changed product files in Python, as text: path → (base, head)."""
    change = bench.change
    paths = [path for path in change.product_python if path.endswith(".py") and path in bench.tree]
    texts = {path: (text_of(change.base, path) or "", text_of(bench.tree, path)) for path in paths}
    return {path: (base, head) for path, (base, head) in texts.items() if head is not None and head != base}


def _why_not(bench: Bench, sources: Mapping[str, object]) -> str:
    if not bench.seconds:
        return "switched off by mutation_s"
    if not can_choose(bench.change.settings):
        return "the test command is not pytest"
    return "" if sources else "no product code in Python is changed"


# --- watch


def _watch(bench: Bench, workspace: Workspace, paths: Sequence[str], end: float) -> CoveredLines:
    """One run of the tests. Of a long suite only the tests that are likeliest to be about the change.

    Raises ValueError if what it wrote is not what it should, AgentError if it cannot be read.
    """
    share = (end - time.monotonic()) * WATCHING
    first = [f"/work/{path}" for path in bench.first]
    only = sorted({*first, *(f"/work/{path}" for path in _about(bench, paths))}) if bench.suite_s > 1.5 * share else []
    told = {"first": first, "only": only, "also": [f"/work/{path}" for path in bench.own], "out": _WATCHED}
    done = _run(bench, workspace, paths, told, share)
    written = workspace.read(_WATCHED, MAX_ANSWER_BYTES)
    if written:
        return read_watched(written.decode(), paths)._replace(is_choice=bool(only))
    if done.timed_out:
        return CoveredLines()
    raise ValueError(f"the tests did not start: {done.output[-400:]}")


def _about(bench: Bench, paths: Sequence[str]) -> list[str]:
    """Test files that name a changed module, or the package of a changed `__init__`."""
    places = (PurePosixPath(path) for path in paths)
    names = {place.parent.name if place.stem == "__init__" else place.stem for place in places} - {""}
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(names)))})\b".encode()) if names else None
    tests = [path for path in bench.tree if re.fullmatch(r"test_.*\.py|.*_test\.py", PurePosixPath(path).name)]
    return [
        path for path in tests if pattern and bench.change.is_test(path) and pattern.search(bench.tree[path].content)
    ]


# --- try


def is_time_to_try(left: float, took: float, plan: MutationPlan, watched: CoveredLines) -> bool:
    """Whether what is left may be enough for a mutant, as long as the watched run `took`."""
    needed = {seen.test for job in plan.jobs for seen in job.tests}
    without = sum(seen.seconds for seen in watched.tests if seen.test not in needed)
    return left > max(LEAST_TRY_S, AGAIN * (took - without))


def _try(
    bench: Bench, workspace: Workspace, made: Made, plan: MutationPlan, watched: CoveredLines, end: float
) -> dict[int, End]:
    """How the mutants ended that there was time for; each worker has a sandbox of its own. Raises as `_watch`."""
    cpus = len(os.sched_getaffinity(0))
    workers = max(1, min(MOST_WORKERS, cpus, len(plan.jobs) // 2))

    def work(number: int) -> dict[int, End]:
        mine = plan.jobs[number::workers]
        if number == 0:
            return _try_some(bench, workspace, made, mine, watched, end)
        with bench.opened() as fresh:
            return _try_some(bench, fresh, made, mine, watched, end)

    ends: dict[int, End] = {}
    with ThreadPoolExecutor(workers) as pool:
        for some in pool.map(work, range(workers)):
            ends |= some
    return ends


def _try_some(
    bench: Bench, workspace: Workspace, made: Made, jobs: Sequence[MutantJob], watched: CoveredLines, end: float
) -> dict[int, End]:
    left = end - time.monotonic()
    if not jobs or left < LEAST_TRY_S:
        return {}
    tests = list(dict.fromkeys((seen.test, seen.file) for job in jobs for seen in job.tests))
    numbers = {test: number for number, (test, _) in enumerate(tests)}
    orders = [
        {"id": job.mutant, "path": f"/work/{m.path}", "start": m.start, "end": m.end, "text": m.text,
         "tests": [numbers[seen.test] for seen in job.tests]}
        for job in jobs for m in (made.mutants[job.mutant],)
    ]  # fmt: skip
    control = {"id": -1, "tests": list(range(len(tests))), "seconds": left * 0.4}
    told = {"jobs": [control, *orders], "tests": tests, "modules": watched.modules, "out": _TRIED}
    done = _run(bench, workspace, list(made.lines), told, left)
    written = workspace.read(_TRIED, MAX_ANSWER_BYTES)
    if written is None and not done.timed_out:
        raise ValueError(f"the tests did not start again: {done.output[-400:]}")
    return read_tried((written or b"").decode(), {job.mutant for job in jobs})


def _run(
    bench: Bench, workspace: Workspace, paths: Sequence[str], told: Mapping[str, object], left: float
) -> Completed:
    """The test command with the plugin `inside_mutants` and what it is told."""
    run = run_of(bench.tree, bench.change.settings, beside="", base=bench.change.base)
    usual: dict[str, object] = {"first": [], "only": [], "also": [], "jobs": [], "tests": [], "modules": []}
    usual |= {"roots": roots(environment(bench.tree, bench.change.settings))}
    told = {**usual, "files": [f"/work/{path}" for path in paths], "seconds": max(0.1, left - STARTING_S), **told}
    workspace.write(f"{PLATFORM}/told.json", json.dumps(told).encode())
    for path, content in programs("inside_mutants").items():
        workspace.write(path, content)
    env = {"PYTHONDONTWRITEBYTECODE": "", **run.env}  # tests are compiled once, and not for every mutant
    return workspace.run(run.argv, timeout_s=max(0.5, left), env=env)
