"""What the tests on base say before anybody is paid: whether they run at all, how many of them pass, and whether the
acceptance tells a done change from an undone one."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from domain.brief import Acceptance, Brief
from domain.policy.feedback import cause_of, one_line
from domain.project import ProjectSettings, ReviewPolicy
from domain.reports import BAD
from domain.task import CaseOutcome, Prepared, Suite

ACCEPTANCE_COMMAND = "acceptance command"
NAMES_ALONE = ("", "exit code", "tap", "junit")
"""Reports in which a test need not begin with the path of its file."""
_NOT_STARTED = (126, 127)
"""A shell's word for a program that cannot be run, or is not there:
https://pubs.opengroup.org/onlinepubs/9699919799/utilities/V3_chap02.html#tag_18_08_02"""
GREEN = (CaseOutcome.PASSED, CaseOutcome.SKIPPED)


class BaseStanding(NamedTuple):
    """How the project's own tests stand on base. Acceptance, known failures and skipped tests are not counted."""

    passing: int
    failing: tuple[str, ...]

    @property
    def share(self) -> float:
        total = self.passing + len(self.failing)
        return self.passing / total if total else 1.0

    @property
    def sentence(self) -> str:
        """One line where some fail; empty if none does."""
        if not self.failing:
            return ""
        total = self.passing + len(self.failing)
        return f"on base only {self.passing} of {total} tests pass ({int(100 * self.share)} %)"


def standing(prepared: Prepared) -> BaseStanding:
    """Of a prepared task; nothing fails where no baseline is known."""
    cases = _own(prepared.brief, prepared.settings, prepared.baseline) if prepared.baseline else {}
    failing = tuple(test for test, outcome in cases.items() if outcome in BAD)
    return BaseStanding(sum(outcome is CaseOutcome.PASSED for outcome in cases.values()), failing)


def least_passing(prepared: Prepared, from_base: bool) -> float:
    """The share below which a person is asked before the agent starts. A brief or a block can only raise it."""
    wanted = prepared.settings.review.least_passing
    return wanted if from_base else max(wanted, ReviewPolicy().least_passing)


def base_refusals(
    brief: Brief, settings: ProjectSettings, baseline: Suite, test_files: Collection[str] = ()
) -> tuple[str, ...]:
    """Why the work cannot begin; empty means go. `test_files`: of the project's own, as far as their names tell."""
    if baseline.problem:
        return (f"the tests cannot be run on base: {baseline.problem}",)
    return _does_not_run(brief, settings, baseline, test_files) or proves_nothing(brief, settings, baseline)


def _does_not_run(
    brief: Brief, settings: ProjectSettings, baseline: Suite, test_files: Collection[str]
) -> tuple[str, ...]:
    cases = _own(brief, settings, baseline)
    if baseline.runner == "exit code" and baseline.exit_code in _NOT_STARTED:
        said = next((why for test in baseline.messages if (why := _why(baseline, test))), "no reason is reported")
        return (
            f"`{settings.test}` does not start where the tests run: {said}; install what it needs (setup or "
            "requirements in lockgate.toml), name an image that has it, or change `test`",
        )
    if baseline.runner not in NAMES_ALONE:
        asked = {test.split("::")[0] for test in brief.acceptance.tests}
        has_tests = {test.split("::")[0] for test in cases if "::" in test}
        whole_files = [test for test, outcome in cases.items() if outcome in BAD and "::" not in test]
        if broken := [path for path in whole_files if path not in asked | has_tests]:
            return (
                f"{broken[0]} cannot be imported on base{_more(broken)}: {_why(baseline, broken[0])}; see that what it "
                "needs is installed (requirements or lock in lockgate.toml) and in the repository, or name the file "
                "under known_failures if it is not meant to run here",
            )
        missed = [path for path in test_files if path not in {file.path for file in brief.acceptance.files} | asked]
        if not baseline.cases.keys() - _asked_for(brief.acceptance, baseline) and missed:
            return (
                f"`{settings.test}` runs no test of the project's own on base, and {missed[0]}{_more(missed)} looks "
                "like one: set `test` in lockgate.toml to a command that runs them",
            )
    if cases and CaseOutcome.PASSED not in cases.values():
        failing = [test for test, outcome in cases.items() if outcome in BAD]
        first = f"{failing[0]}: {_why(baseline, failing[0])}" if failing else f"{next(iter(cases))} is skipped"
        return (
            f"none of {len(cases)} tests passes on base, so nothing would be known of a change: {first}; see "
            f"that `{settings.test}` passes with what lockgate.toml installs",
        )
    return ()


def proves_nothing(brief: Brief, settings: ProjectSettings, baseline: Suite) -> tuple[str, ...]:
    """Why the acceptance does not tell a done change from an undone one; empty: it does."""
    red, green = items(brief, settings, baseline)
    acceptance = brief.acceptance
    if brief.is_to_propose:
        return ()  # there is none yet: `prepare` lets nothing begin without one
    if green and not red and not _waits(acceptance, baseline):
        names = ", ".join(green)
        return (f"the acceptance already passes on base ({names}): nothing is left to do, or it tests something else",)
    if not red and not acceptance.tests and acceptance.command is None:
        return ("no acceptance test was found by the project's test command: check their paths and names",)
    return ()


def items(brief: Brief, settings: ProjectSettings, baseline: Suite) -> tuple[list[str], list[str]]:
    """(red, green) of what the brief accepts by: files, test ids and the command. What did not run is in neither."""
    acceptance = brief.acceptance
    red: list[str] = []
    green: list[str] = []
    for name in (*(file.path for file in acceptance.files), *acceptance.tests):
        outcomes = [
            outcome
            for test, outcome in baseline.cases.items()
            if is_named(test, (name,)) and not (outcome in BAD and is_named(test, settings.known_failures))
        ]
        if outcomes:
            (green if all(outcome in GREEN for outcome in outcomes) else red).append(name)
    if (code := baseline.checks.get(ACCEPTANCE_COMMAND)) is not None:
        (red if code else green).append(acceptance.command or ACCEPTANCE_COMMAND)
    return red, green


def _waits(acceptance: Acceptance, baseline: Suite) -> bool:
    """Whether a test that the brief names is not there yet, which is red."""
    return any(not any(is_named(test, (name,)) for test in baseline.cases) for name in acceptance.tests)


def base_warnings(prepared: Prepared, baseline: Suite) -> tuple[str, ...]:
    """What fails on base already and is not counted; the share comes first."""
    told = []
    stands = standing(prepared.model_copy(update={"baseline": baseline}))
    if stands.failing:
        more = f" and {len(stands.failing) - 5} more" if len(stands.failing) > 5 else ""
        told.append(
            f"{stands.sentence}; these do not count for the change: {', '.join(stands.failing[:5])}{more} (mend them, "
            "or name them under known_failures)"
        )
    _, green = items(prepared.brief, prepared.settings, baseline)
    if green:
        told.append(f"of the acceptance, {', '.join(green)} passes on base already: it must go on passing")
    for name, code in baseline.checks.items():
        if code and name != ACCEPTANCE_COMMAND:
            told.append(f"{name} fails on base (exit code {code}), so only what it says anew counts for the change")
    return tuple(told)


def is_named(test: str, names: Iterable[str]) -> bool:
    """Whether a test is one of these: by its id, by its function without parameters, its class or its file."""
    return any(test == name or test.startswith((f"{name}::", f"{name}[")) for name in names)


def is_named_alone(test: str, names: Iterable[str]) -> bool:
    """Whether it is named by its id or its function: not by a file or a class, of which others pass."""
    return any(test == name or test.startswith(f"{name}[") for name in names)


def is_acceptance(test: str, acceptance: Acceptance) -> bool:
    """Whether a test belongs to the acceptance: in one of its files, or named by it."""
    return is_named(test, (*(file.path for file in acceptance.files), *acceptance.tests))


def _own(brief: Brief, settings: ProjectSettings, baseline: Suite) -> dict[str, CaseOutcome]:
    """The project's own tests on base, without known failures. A command that knows no single tests may be red by the
    acceptance files alone, so it tells nothing if there are some."""
    if baseline.runner == "exit code" and brief.acceptance.files:
        return {}
    return {
        test: outcome
        for test, outcome in baseline.cases.items()
        if not is_acceptance(test, brief.acceptance) and not is_named(test, settings.known_failures)
    }


def _asked_for(acceptance: Acceptance, baseline: Suite) -> set[str]:
    return {test for test in baseline.cases if is_acceptance(test, acceptance)}


def _why(baseline: Suite, test: str) -> str:
    return one_line(cause_of(baseline.messages.get(test, "")).why) or "no reason is reported"


def _more(paths: Collection[str]) -> str:
    return f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
