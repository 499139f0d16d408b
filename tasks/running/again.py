"""Tests that run again because two runs of one tree may disagree: ids that are new each time, outcomes by chance."""

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from domain.policy.baseline import is_named, is_named_alone
from domain.policy.test_rules import Again
from domain.project import ProjectSettings
from domain.reports import BAD
from domain.suppressions import Quarantine
from domain.task import CaseOutcome, CaseRow, Suite
from domain.trees import Tree
from tasks.running.abreast import abreast

MAX_RERUN = 20
"""Of more failures than this only those that pass when the change runs again are looked at any further."""
MOST_SUITES = 3
"""So often the whole suite runs again where the runner cannot choose files: once on base, twice on the change."""
MISSED = (*BAD, CaseOutcome.SKIPPED)
"""A test may also skip itself by chance, where what it needs is not there in time."""

_WORST_FIRST = (CaseOutcome.ERROR, CaseOutcome.FAILED, CaseOutcome.MISSING, CaseOutcome.PASSED, CaseOutcome.SKIPPED)


class Runs(Protocol):
    """Runs the tests of base, or of the change where no tree is given."""

    base: Tree

    def run(self, tree: Tree | None = None, *, only: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> Suite:
        """Those files alone, or all but those; all where the runner cannot choose."""
        ...

    def accepts(self) -> bool:
        """Whether the acceptance command passes on the change when it runs once more."""
        ...


# --- ids


def function_of(test: str) -> str:
    """The id without its parameters."""
    return test.partition("[")[0]


def unstable(runs: Runs, baseline: Suite, head: Suite) -> dict[str, str]:
    """Test functions whose parameters have other ids in each run of one tree → what was seen. Base runs again for it,
    where tests with parameters are gone on the change."""
    lost = {function_of(test) for test in baseline.cases.keys() - head.cases.keys() if "[" in test}
    files = _files(lost, runs.base)
    if not files:
        return {}
    again = runs.run(runs.base, only=files)
    if again.problem:
        return {}
    before, after = (_by_function(suite) for suite in (baseline, again))
    return {
        name: f"{len(before[name] - after[name])} of its {len(before[name])} ids on base are others when it runs again"
        for name in sorted(lost)
        if after.get(name) and after[name] != before[name]
    }


def by_function(baseline: Suite, head: Suite, names: Iterable[str]) -> tuple[Suite, Suite]:
    """Both suites with one case for each of these functions: its worst outcome. It is missing on the change where that
    has fewer cases of it than base."""
    before, after = (_by_function(suite) for suite in (baseline, head))
    fewer = {name for name in names if len(after.get(name, ())) < len(before.get(name, ()))}
    folded = _folded(head, names)
    missing = {name: CaseOutcome.MISSING for name in fewer if folded.cases.get(name) not in BAD}
    return _folded(baseline, names), folded.model_copy(update={"cases": {**folded.cases, **missing}})


def _by_function(suite: Suite) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for test in suite.cases:
        found.setdefault(function_of(test), set()).add(test)
    return found


def _folded(suite: Suite, names: Iterable[str]) -> Suite:
    cases, messages, wanted = dict[str, CaseOutcome](), dict(suite.messages), set(names)
    for test, outcome in suite.cases.items():
        name = function_of(test)
        if name not in wanted:
            cases[test] = outcome
            continue
        cases[name] = min(outcome, cases.get(name, outcome), key=_WORST_FIRST.index)
        if test in suite.messages:
            messages.setdefault(name, suite.messages[test])
    return suite.model_copy(update={"cases": cases, "messages": messages})


# --- outcomes


def seen_again(
    runs: Runs,
    settings: ProjectSettings,
    rows: Sequence[CaseRow],
    today: datetime.date,
    brought: tuple[str, ...] = (),
    command: str | None = None,
    can_choose: bool = True,
    suites_left: float = MOST_SUITES,
) -> Again:
    """What is known of existing tests that pass on base and not on the change, and of the acceptance where it fails.

    `brought`: test files of the change's own, which the contract's run leaves out. `command`: that of the acceptance.
    Where the runner cannot choose files, all tests run again; if the brief's minutes are enough for so many runs of
    them: `suites_left`.
    """
    fails = [row.test for row in rows if row.kind == "existing" and _is_lost(row)]
    fails = [test for test in fails if not is_named_alone(test, settings.known_failures)]
    quarantined = {
        test: f"{one.reason} ({one.owner}, until {one.until})"
        for test in fails
        for one in counted(settings.quarantine, today)
        if is_named(test, (one.test,))
    }
    fails = [test for test in fails if test not in quarantined]
    if not can_choose and suites_left < MOST_SUITES:
        return Again(quarantined=quarantined)
    asked = [row.test for row in rows if row.kind == "acceptance" and row.head in BAD]
    accepted = [test for test in asked if test == command and any(runs.accepts() for _ in range(2))]
    asked = [test for test in asked if test != command]
    flaky, steady = _in_other_runs(runs, fails, asked, brought, can_choose) if fails or asked else ({}, [])
    return Again(flaky, dict.fromkeys((*steady, *accepted), "failed and passed on the change"), quarantined)


def _in_other_runs(
    runs: Runs, fails: Sequence[str], asked: Sequence[str], brought: tuple[str, ...], can_choose: bool
) -> tuple[dict[str, str], list[str]]:
    """(what fails on base too → what was seen, what passes on the change as well). `asked` fails on base anyway."""

    def files_of(tests: Sequence[str]) -> tuple[str, ...]:
        return _files(tests, runs.base) if can_choose else ()

    if can_choose and not files_of((*fails, *asked)):
        return {}, []
    if len(fails) > MAX_RERUN:
        again = runs.run(only=files_of(fails))
        fails = [test for test in fails if not again.problem and again.cases.get(test) is CaseOutcome.PASSED]
        if not (fails or asked):
            return {}, []
    files = files_of((*fails, *asked))
    flaky: dict[str, str] = {}
    if fails:
        head, base = abreast(lambda: runs.run(only=files), lambda: runs.run(runs.base, only=files_of(fails)))
        first, on_base = head.result(), base.result()
        failing = [test for test in fails if not on_base.problem and on_base.cases.get(test) in MISSED]
        by_chance = _by_chance(failing, runs, files_of(failing))
        flaky = {test: f"passed on base, then {on_base.cases[test]}" for test in by_chance}
    else:
        first = runs.run(only=files)
    left = [test for test in (*fails, *asked) if test not in flaky]
    passing = _passing(left, (lambda _: first, lambda some: runs.run(only=files_of(some))))
    if not files:
        return flaky, passing
    # One that fails among all others and passes without them may be broken by the change all the same.
    return flaky, _passing(passing, (lambda _: runs.run(without=brought), lambda _: runs.run(without=brought)))


def _by_chance(tests: Sequence[str], runs: Runs, files: tuple[str, ...]) -> list[str]:
    """Which of the tests that failed on base without the other files fail there by chance, or with all of them too. One
    that fails by itself each time and passes among all others needs them: the change may break it all the same."""
    if not tests or not files:  # all others ran with them
        return list(tests)
    again = runs.run(runs.base, only=files)
    alone = [test for test in tests if again.problem or again.cases.get(test) is not CaseOutcome.PASSED]
    whole = runs.run(runs.base) if alone else again
    broken = {test for test in alone if not whole.problem and whole.cases.get(test) in MISSED}
    return [test for test in tests if test not in alone or test in broken]


def _passing(tests: Sequence[str], runs: Iterable[Callable[[Sequence[str]], Suite]]) -> list[str]:
    """Which of them pass in one of the runs at least; each run is for those that did not yet."""
    left, passing = list(tests), list[str]()
    for run in runs:
        suite = run(left) if left else None
        if suite and not suite.problem:
            passing += [test for test in left if suite.cases.get(test) is CaseOutcome.PASSED]
            left = [test for test in left if test not in passing]
    return passing


def _is_lost(row: CaseRow) -> bool:
    return row.base is CaseOutcome.PASSED and row.head in MISSED


def _files(tests: Iterable[str], tree: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(sorted({test.split("::")[0] for test in tests} & tree.keys()))


def counted(quarantine: Iterable[Quarantine], today: datetime.date) -> list[Quarantine]:
    """Those that count today."""
    return [one for one in quarantine if one.problem(today) is None]
