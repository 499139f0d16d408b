"""Mutants of a change: which tests run the line of one, what became of it, and what that says. Data in, values out.

What comes out of the sandbox is untrusted: it counts where it fits what was asked, and is never shown.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from domain.task import DiffCoverage, Mutation, Survivor

MAX_MUTANTS = 200
"""Of one change: more could not be tried, nor read."""
MAX_TESTS = 50_000
MAX_MODULES = 5_000

Lines = Mapping[str, frozenset[int]]
"""Path → line numbers, from 1."""


class Mutant(NamedTuple):
    """One line made wrong: characters `start` to `end` of the file become `text`. `before`, `after`: as it is shown."""

    path: str
    line: int
    start: int
    end: int
    text: str
    before: str
    after: str


class MadeOf(BaseModel):
    """What came out of one changed file. `lines`: the numbers of those that are new or changed."""

    model_config = ConfigDict(extra="forbid")

    path: str
    lines: frozenset[int]
    mutants: tuple[tuple[int, int, int, str, str, str], ...] = ()
    problem: str | None = None


class Made(NamedTuple):
    """What came out of all of them."""

    lines: Mapping[str, frozenset[int]] = {}
    mutants: tuple[Mutant, ...] = ()
    problem: str | None = None
    is_late: bool = False
    """The time was up before they were made."""


def made_of(files: Sequence[MadeOf]) -> Made:
    """All files together: the first mutant of each, then the second, at most MAX_MUTANTS."""
    turns = sorted((turn, n) for n, file in enumerate(files) for turn in range(len(file.mutants)))
    chosen = tuple(Mutant(files[n].path, *files[n].mutants[turn]) for turn, n in turns[:MAX_MUTANTS])
    problem = next((f"{file.path}: {file.problem}" for file in files if file.problem), None)
    return Made({file.path: file.lines for file in files}, chosen, problem)


# --- the run that is watched


class LinesRun(NamedTuple):
    """One test, and which lines of the changed files it ran. `file`: absolute, in the sandbox."""

    test: str
    file: str
    seconds: float
    passed: bool
    lines: Lines


class CoveredLines(NamedTuple):
    """What the tests did with the changed files."""

    tests: tuple[LinesRun, ...] = ()
    collected: int = 0
    loaded: Mapping[str, frozenset[int]] = {}
    """Run while a module was imported, whichever test was the first to import it."""
    statements: Mapping[str, Sequence[tuple[int, int]]] = {}
    """First and last line of each statement; of one with a body, of its head."""
    modules: tuple[str, ...] = ()
    """Modules outside of the tree that were imported, in this order."""
    is_choice: bool = False
    """Only some of the tests were asked for."""

    @property
    def is_whole(self) -> bool:
        return not self.is_choice and 0 < self.collected <= len(self.tests)

    def span(self, path: str, line: int) -> range:
        """The lines of the statement that this line belongs to."""
        spans = ((first, last) for first, last in self.statements.get(path, ()) if first <= line <= last)
        first, last = next(spans, (line, line))
        return range(first, last + 1)


class _SeenLine(BaseModel):
    model_config = ConfigDict(extra="forbid")

    test: str = Field(max_length=2000)
    file: str = Field(max_length=2000)
    seconds: float = Field(ge=0)
    passed: bool
    lines: dict[int, frozenset[int]]


class _WatchedLine(BaseModel):
    """One line of what the sandbox writes: one of these, by the number of the file."""

    model_config = ConfigDict(extra="forbid")

    seen: _SeenLine | None = None
    collected: int | None = None
    loaded: dict[int, frozenset[int]] = {}
    statements: dict[int, list[tuple[int, int]]] = {}
    modules: list[str] = []


def read_watched(text: str, paths: Sequence[str]) -> CoveredLines:
    """What the sandbox wrote about the files `paths`. Raises ValueError for anything else than what it should."""
    tests: dict[str, LinesRun] = {}
    loaded = {path: frozenset[int]() for path in paths}
    statements: dict[str, Sequence[tuple[int, int]]] = {}
    modules: list[str] = []
    collected = 0
    try:
        for told in map(_WatchedLine.model_validate_json, _whole_lines(text)):
            collected = told.collected if told.collected is not None else collected
            modules = told.modules or modules
            statements |= {paths[n]: spans for n, spans in told.statements.items()}
            for n, lines in told.loaded.items():
                loaded[paths[n]] |= lines
            if one := told.seen:
                lines_of = {paths[n]: lines for n, lines in one.lines.items()}
                tests.setdefault(one.test, LinesRun(one.test, one.file, one.seconds, one.passed, lines_of))
    except (ValidationError, IndexError, KeyError) as err:
        raise ValueError("the watched run wrote something else than it should") from err
    if not statements or len(tests) > MAX_TESTS:
        raise ValueError("the watched run did not write what it should")
    return CoveredLines(tuple(tests.values()), collected, loaded, statements, tuple(modules[:MAX_MODULES]))


def _whole_lines(text: str) -> Iterator[str]:
    """The lines; without the last one where the end of the time cut it off."""
    yield from text.split("\n")[:-1]


def diff_coverage(changed: Lines, watched: CoveredLines) -> DiffCoverage:
    """Which changed lines any test ran. A line goes with its statement; comments and empty lines do not count."""
    lines, uncovered = 0, {}
    for path, mine in sorted(changed.items()):
        seen = watched.loaded.get(path, frozenset()).union(*(test.lines.get(path, ()) for test in watched.tests))
        counted: set[int] = set()
        run: set[int] = set()
        for first, last in watched.statements.get(path, ()):
            span = range(first, last + 1)
            counted |= mine.intersection(span)
            run |= set() if seen.isdisjoint(span) else mine.intersection(span)
        lines += len(counted)
        if counted - run:
            uncovered[path] = tuple(sorted(counted - run))
    return DiffCoverage(lines=lines, uncovered=uncovered, tests=len(watched.tests), is_whole=watched.is_whole)


# --- which mutants are tried, by which tests


class MutantJob(NamedTuple):
    """A mutant, by its number, and the tests that run its line, the likeliest to fail first."""

    mutant: int
    tests: tuple[LinesRun, ...]


class MutationPlan(NamedTuple):
    """What is tried, and what need not be: numbers of mutants whose line no test runs."""

    jobs: tuple[MutantJob, ...] = ()
    untouched: frozenset[int] = frozenset()


def plan_of(mutants: Sequence[Mutant], watched: CoveredLines, first: Collection[str]) -> MutationPlan:
    """`first`: files of the acceptance and of the change's own tests. A mutant whose line no test was seen to run is
    left alone where not all tests were watched: nothing is known about it. Lines that run on import come last, for
    they take many tests."""
    tests = _in_order(watched, first)
    jobs, late, untouched = [], [], set()
    for number, mutant in enumerate(mutants):
        if chosen := _running(mutant, watched, tests):
            jobs.append(MutantJob(number, chosen))
        elif chosen := _using(mutant, watched, tests):
            late.append(MutantJob(number, chosen))
        elif watched.is_whole:
            untouched.add(number)
    return MutationPlan((*jobs, *late), frozenset(untouched))


def _in_order(watched: CoveredLines, first: Collection[str]) -> list[LinesRun]:
    """Those that passed; file by file, so that what the tests of a file share is set up once."""
    files: dict[str, list[LinesRun]] = {}
    for seen in watched.tests:
        if seen.passed:
            files.setdefault(seen.file, []).append(seen)
    ranked = sorted(files, key=lambda file: (file not in first, sum(seen.seconds for seen in files[file])))
    return [seen for file in ranked for seen in files[file]]


def _running(mutant: Mutant, watched: CoveredLines, tests: Sequence[LinesRun]) -> tuple[LinesRun, ...]:
    span = watched.span(mutant.path, mutant.line)
    return tuple(seen for seen in tests if not seen.lines.get(mutant.path, frozenset()).isdisjoint(span))


def _using(mutant: Mutant, watched: CoveredLines, tests: Sequence[LinesRun]) -> tuple[LinesRun, ...]:
    """For a constant or a class, made on import: the tests that run anything of its file, or else all."""
    if watched.loaded.get(mutant.path, frozenset()).isdisjoint(watched.span(mutant.path, mutant.line)):
        return ()
    return tuple(seen for seen in tests if seen.lines.get(mutant.path)) or tuple(tests)


# --- what became of them

End = Literal["killed", "survived", "invalid", "unclear"]
"""`invalid`: it does not compile. `unclear`: tests of it were not seen to pass without it in the same surroundings."""
_ENDED = TypeAdapter(tuple[int, End], config=ConfigDict(strict=True))


def read_tried(text: str, asked: Collection[int]) -> dict[int, End]:
    """Number of a mutant → how it ended. Raises ValueError for anything else than answers to what was asked."""
    ends: dict[int, End] = {}
    for line in _whole_lines(text):
        try:
            number, end = _ENDED.validate_json(line)
        except ValidationError as err:
            raise ValueError("the run of the mutants wrote something else than it should") from err
        if number not in asked:
            raise ValueError("the run of the mutants wrote of one that was not asked for")
        ends.setdefault(number, end)
    return ends


def mutation_of(made: Made, plan: MutationPlan, ends: Mapping[int, End]) -> Mutation:
    """What is known at the end. A mutant that does not compile is none; one that no test runs is tried and survives."""
    invalid = sum(end == "invalid" for end in ends.values())
    survivors = tuple(
        Survivor(path=m.path, line=m.line, before=m.before, after=m.after, is_run=number not in plan.untouched)
        for number, m in enumerate(made.mutants)
        if number in plan.untouched or ends.get(number) == "survived"
    )
    killed = sum(end == "killed" for end in ends.values())
    return Mutation(
        made=len(made.mutants) - invalid,
        tried=killed + len(survivors),
        survivors=tuple(sorted(survivors, key=lambda one: (one.path, one.line))),
        problem=made.problem,
        is_late=made.is_late,
    )
