"""Plan rules: what would be refused later is said before the agent edits."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from domain.paths import matches
from domain.policy.change_tests import PYTEST_FILES, START_FILES
from domain.policy.rule import Hit, Rule, apply
from domain.task import Finding, Plan, Prepared, Severity
from domain.trees import check_path

MAX_STEPS = 20
MAX_PATHS = 40


class Intent(NamedTuple):
    """A plan and what it is for."""

    plan: Plan
    prepared: Prepared


def judge_plan(plan: Plan, prepared: Prepared) -> tuple[Finding, ...]:
    """What policy has to say to a plan; empty means go."""
    return apply(PLAN_RULES, Intent(plan, prepared))


def _empty(intent: Intent) -> Iterator[Hit]:
    if not any(step.strip() for step in intent.plan.steps) and not intent.plan.questions:
        yield Hit("the plan has no steps")


def _large(intent: Intent) -> Iterator[Hit]:
    for count, most, what in (
        (len(intent.plan.steps), MAX_STEPS, "steps"),
        (len(intent.plan.paths), MAX_PATHS, "paths"),
    ):
        if count > most:
            yield Hit(f"{count} {what} are more than {most}")


def _path(intent: Intent) -> Iterator[Hit]:
    for path in intent.plan.paths:
        if reason := check_path(path.removesuffix("/")):
            yield Hit(f"not a path of the repository: {reason}")


def _out_of_scope(intent: Intent) -> Iterator[Hit]:
    brief = intent.prepared.brief
    allowed = (*brief.scope.paths, *brief.may_change_tests)
    for path in intent.plan.paths:
        is_inside = matches(path, allowed) or matches(f"{path.rstrip('/')}/any", allowed)  # a plan may name a directory
        if brief.scope.paths and not is_inside:
            yield Hit(f"planned outside of the scope {', '.join(brief.scope.paths)}", path)


def _contract(intent: Intent) -> Iterator[Hit]:
    brief = intent.prepared.brief
    acceptance = {file.path for file in brief.acceptance.files}
    for path in intent.plan.paths:
        if path in acceptance:
            yield Hit("an acceptance file is planned to be changed", path)
        elif path.split("/")[-1] in (*PYTEST_FILES, *START_FILES) and not matches(path, brief.may_change_tests):
            yield Hit("the tests' configuration is planned to be changed", path)


def _sensitive(intent: Intent) -> Iterator[Hit]:
    for path in intent.plan.paths:
        if matches(path, (*intent.prepared.settings.sensitive_paths, "lockgate.toml")):
            yield Hit("a sensitive path is planned to be changed", path)


def _dependency(intent: Intent) -> Iterator[Hit]:
    known = {_project(line) for line in intent.prepared.requirements}
    brief = intent.prepared.brief
    for line in intent.plan.dependencies:
        name = _project(line)
        if name and name not in known and not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", brief.goal, re.I):
            yield Hit(f"a new dependency that the brief does not name: {line.strip()[:100]!r}")


def _migration(intent: Intent) -> Iterator[Hit]:
    if intent.plan.migrations and intent.prepared.settings.migrate is None:
        yield Hit("a migration is planned, and the settings do not say how to migrate")


def _project(line: str) -> str:
    """The normalised project name of a requirement line."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;@]", line.strip(), maxsplit=1)[0]).lower()


REFUSE, PERSON, NOTE = Severity.REFUSE, Severity.PERSON, Severity.NOTE

PLAN_RULES: tuple[Rule[Intent], ...] = (
    Rule(
        "plan-empty", "plan", REFUSE,
        "A plan without steps and without questions.",
        "Nobody can see what is coming.",
        "say the steps",
        _empty,
    ),
    Rule(
        "plan-path", "plan", REFUSE,
        "A planned path that is absolute, leaves the repository or is no plain name.",
        "It could not be committed.",
        "use POSIX paths relative to the repository root",
        _path,
    ),
    Rule(
        "plan-out-of-scope", "plan", REFUSE,
        "A planned path that no glob of scope.paths (or may_change_tests) matches.",
        "The change would be refused as out-of-scope.",
        "stay inside the scope, or ask a question",
        _out_of_scope,
    ),
    Rule(
        "plan-contract", "plan", REFUSE,
        "A planned change of an acceptance file, conftest.py, pytest.ini or a start-up file.",
        "The change would be refused: it cannot judge itself.",
        "leave the file as it is; put fixtures into new test files",
        _contract,
    ),
    Rule(
        "plan-too-large", "plan", REFUSE,
        f"More than {MAX_STEPS} steps or {MAX_PATHS} paths.",
        "It is more than one change.",
        "do only what the brief asks",
        _large,
    ),
    Rule(
        "plan-dependency", "plan", PERSON,
        "A planned dependency that neither the project has nor the brief names.",
        "A dependency is other people's code with this project's rights.",
        "do without it, or say in the plan why it is needed",
        _dependency,
    ),
    Rule(
        "plan-migration", "plan", PERSON,
        "A planned migration in a project whose settings have no migrate command.",
        "The platform could neither rehearse nor apply it.",
        "add [migrate] to lockgate.toml first",
        _migration,
    ),
    Rule(
        "plan-sensitive", "plan", NOTE,
        "A planned path that the settings' sensitive_paths match.",
        "The change will go to a named reviewer.",
        "nothing to do; keep the change there small",
        _sensitive,
    ),
)  # fmt: skip
