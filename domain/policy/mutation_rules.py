"""Rules over what the tests noticed of mutants of the change, and over its diff coverage. None of them refuses: a line
may have a mutant that means the same, and honest work has lines that no test runs."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from domain.policy.rule import Hit, Rule
from domain.task import DiffCoverage, Mutation, Severity

LEAST_MUTANTS, LEAST_OF_MORE = 3, 6
"""Which must all survive before a person is asked: one or two can mean the same as the change, and where there was no
time for the others, more than that."""


class Noticed(NamedTuple):
    """What came of a change that its tests pass. `coverage`: None if nothing was watched."""

    mutation: Mutation
    coverage: DiffCoverage | None = None


def _not_known(noticed: Noticed) -> Iterator[Hit]:
    if noticed.mutation.problem:
        yield Hit(f"it is not known what the tests notice of the change: {noticed.mutation.problem}")


def _all_survive(noticed: Noticed) -> Iterator[Hit]:
    mutation = noticed.mutation
    is_cut = mutation.tried < mutation.made
    telling = [one for one in mutation.survivors if one.is_run or not is_cut]
    if mutation.tried == len(mutation.survivors) and len(telling) >= (LEAST_OF_MORE if is_cut else LEAST_MUTANTS):
        yield Hit(f"all {mutation.tried} mutants of the changed lines that were tried survive: no test fails on any")


def _survivors(noticed: Noticed) -> Iterator[Hit]:
    for one in noticed.mutation.survivors:
        if one.is_run:
            yield Hit(f"no test fails when `{one.before}` is `{one.after}`", one.path, one.line)


def _uncovered(noticed: Noticed) -> Iterator[Hit]:
    if noticed.coverage and noticed.coverage.is_whole:
        for path, lines in noticed.coverage.uncovered.items():
            yield Hit(f"no test runs line{'s' if len(lines) > 1 else ''} {ranges(lines)}", path, lines[0])


def _nothing_tried(noticed: Noticed) -> Iterator[Hit]:
    mutation = noticed.mutation
    if mutation.problem:
        return
    if mutation.is_late:
        yield Hit("no mutants of the changed lines were made: there was no time for it")
    elif mutation.made and not mutation.tried:
        yield Hit(f"none of {mutation.made} mutants of the changed lines was tried: there was no time for it")


def ranges(lines: Sequence[int]) -> str:
    """Line numbers in order, as people write them: 3–5, 9."""
    runs: list[list[int]] = []
    for line in lines:
        if runs and line == runs[-1][1] + 1:
            runs[-1][1] = line
        else:
            runs.append([line, line])
    return ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in runs)


PERSON, NOTE = Severity.PERSON, Severity.NOTE

MUTATION_RULES: tuple[Rule[Noticed], ...] = (
    Rule(
        "every-mutant-survives", "test", PERSON,
        f"At least {LEAST_MUTANTS} mutants of the changed lines were tried, or {LEAST_OF_MORE} where there was no time "
        "for the others, and the tests pass on all of them. One whose line no test runs counts where all were tried.",
        "Tests that are green whatever the change does say nothing about it.",
        "add a test that fails when the new lines do something else",
        _all_survive,
    ),
    Rule(
        "mutation-unknown", "test", PERSON,
        "Mutants that could not be made or tried: a file that cannot be parsed, a run that wrote something else than "
        "it should. That there was no time for all of them is none of this.",
        "Unknown is not a pass.",
        "mend what the message says, or let a reviewer read the tests of these lines",
        _not_known,
    ),
    Rule(
        "mutant-survives", "test", NOTE,
        "A changed line that a test runs, and no test fails when it is a little wrong: another comparison, another "
        "number, `None` in place of a value, a call left out. Only Python, with pytest.",
        "A mistake in this line would not be noticed.",
        "add a test that fails with the mutant, or see that it means the same",
        _survivors,
    ),
    Rule(
        "line-not-run", "test", NOTE,
        "A changed line of Python that no test runs, where there was time to watch all of them. Programs that tests "
        "start are not watched.",
        "Nothing is known about it.",
        "add a test that runs it",
        _uncovered,
    ),
    Rule(
        "mutants-not-tried", "test", NOTE,
        "Mutants of which not one was made or tried within the time: `mutation_s` of the settings.",
        "The tests were not tested.",
        "set `mutation_s` in lockgate.toml on base",
        _nothing_tried,
    ),
)  # fmt: skip
