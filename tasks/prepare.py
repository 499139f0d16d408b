"""prepare: the base commit is fixed, the contract is locked, and the brief is refused here if it cannot be judged."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from blocks.catalogue import unusable_agents
from blocks.workshop import Workshop, workshop_of
from domain.bait import bait_in
from domain.brief import Brief
from domain.detect import detect
from domain.errors import InputError
from domain.policy import lint_brief
from domain.ports import Tree
from domain.project import ProjectSettings
from domain.reports import BAD
from domain.task import CaseOutcome, Prepared, Suite
from domain.trees import shown
from tasks import show
from tasks.abreast import abreast
from tasks.baseline import measured
from tasks.redaction import spotted
from tasks.requirements import project_requirements
from tasks.runners import run_of
from tasks.step import step
from tasks.suite import ACCEPTANCE_COMMAND, locked, pack


@step("prepare", "prepare-{attempt}")
def prepare(run_id: str, brief: Brief, attempt: int, moved_to: str | None = None) -> Prepared:
    """Fix base, settings and contract for one attempt. What is wrong with the brief comes back in `refusals`.

    `moved_to`: the branch moved under an approved change, so the same attempt starts again from a new base.
    """
    shop = workshop_of(brief)
    key = f"{attempt}-{moved_to}" if moved_to else str(attempt)
    if known := shop.ledger.find(run_id, "prepared", key, Prepared):
        return known
    try:
        if wrong := unusable_agents(brief):
            raise InputError("; ".join(wrong))
        base = shop.forge.base(brief.repository, brief.branch)
        tree = shop.forge.tree(brief.repository, base)
        _check_names(brief, tree)
        settings, source = project_settings(shop, brief, tree)
        settings = with_locked_commands(settings, brief, tree)
        _check_commands(brief, settings, source)
        run_of(tree, settings, beside="")
        requirements = project_requirements(settings, tree)
        contract = shop.store.put(pack(locked(tree, brief, settings)))
        shop.toolchains.ensure(requirements, shop.sandbox)
    except InputError as err:
        empty = Prepared(
            run_id=run_id, brief=brief, base="", settings=ProjectSettings(), settings_source="none", contract="",
            requirements=(), refusals=(*lint_brief(brief, environments=shop.targets), str(err)),
        )  # fmt: skip
        return shop.ledger.record(run_id, "prepared", key, empty)
    prepared = Prepared(
        run_id=run_id,
        brief=brief,
        base=base,
        settings=settings,
        settings_source=source,
        contract=contract,
        requirements=requirements,
        refusals=(*lint_brief(brief, environments=shop.targets), *_release_refusals(brief, settings)),
    )
    is_tested = not prepared.refusals
    seen, ran = abreast(
        lambda: (*spotted(shop, tree, settings.example_secrets).findings, *bait_in(tree, brief)),
        lambda: measured(shop, prepared, tree, attempt) if is_tested else None,
    )
    warnings = tuple(finding.sentence for finding in seen.result())
    prepared = prepared.model_copy(update={"warnings": warnings})
    if baseline := ran.result():
        refusals = _contract_refusals(brief, baseline)
        warnings = (*warnings, *base_warnings(prepared, baseline))
        prepared = prepared.model_copy(update={"baseline": baseline, "refusals": refusals, "warnings": warnings})
    show.prepared(prepared, attempt)
    return shop.ledger.record(run_id, "prepared", key, prepared)


def _contract_refusals(brief: Brief, baseline: Suite) -> tuple[str, ...]:
    """Why this acceptance cannot tell a done change from an undone one."""
    if baseline.problem:
        return (f"the tests cannot be run on base: {baseline.problem}",)
    green = (CaseOutcome.PASSED, CaseOutcome.SKIPPED)
    items: dict[str, tuple[set[str], tuple[str, ...]]] = {f.path: ({f.path}, ()) for f in brief.acceptance.files}
    items |= {test: (set[str](), (test,)) for test in brief.acceptance.tests}
    found = {
        name: [outcome for test, outcome in baseline.cases.items() if is_acceptance(test, files, tests)]
        for name, (files, tests) in items.items()
    }
    passing = [name for name, outcomes in found.items() if outcomes and all(o in green for o in outcomes)]
    if baseline.checks.get(ACCEPTANCE_COMMAND) == 0:
        passing.append(brief.acceptance.command or ACCEPTANCE_COMMAND)
    if passing:
        names = ", ".join(passing)
        return (f"the acceptance already passes on base ({names}): nothing is left to do, or it tests something else",)
    if not any(found.values()) and not brief.acceptance.tests and brief.acceptance.command is None:
        return ("no acceptance test was found by the project's test command: check their paths and names",)
    return ()


def base_warnings(prepared: Prepared, baseline: Suite) -> tuple[str, ...]:
    """What fails on base already and is not counted. Acceptance and known failures are meant to."""
    acceptance = prepared.brief.acceptance
    files, known = {file.path for file in acceptance.files}, prepared.settings.known_failures
    failing = [
        test
        for test, outcome in baseline.cases.items()
        if outcome in BAD and test not in known and not is_acceptance(test, files, acceptance.tests)
    ]
    told = []
    if failing:
        more = f" and {len(failing) - 5} more" if len(failing) > 5 else ""
        told.append(
            f"tests fail on base, and do not count for the change: {', '.join(failing[:5])}{more} (mend them, or name "
            "them under known_failures)"
        )
    for name, code in baseline.checks.items():
        if code and name != ACCEPTANCE_COMMAND:
            told.append(f"{name} fails on base (exit code {code}), so only what it says anew counts for the change")
    return tuple(told)


def is_acceptance(test: str, files: set[str], tests: tuple[str, ...]) -> bool:
    """Whether a test id belongs to the acceptance: in one of its files, or named by it."""
    return test.split("::")[0] in files or any(
        test == named or test.startswith((f"{named}::", f"{named}[")) for named in tests
    )


def _release_refusals(brief: Brief, settings: ProjectSettings) -> tuple[str, ...]:
    """Why it could be merged and then not be released, which is better known before."""
    if brief.environment is None or settings.run:
        return ()
    return (f"the project settings have no `run`, so nothing can be released to {brief.environment!r}: add it",)


def with_locked_commands(settings: ProjectSettings, brief: Brief, tree: Tree) -> ProjectSettings:
    """Settings whose locked paths hold what the checking commands are made of: a change must not judge itself.

    `sh check.sh` would otherwise run the change's own check.sh.
    """
    commands = [settings.test, settings.build, settings.lint, settings.types, brief.acceptance.command]
    named = {path for command in commands if command for path in _made_of(shlex.split(command)) if path in tree}
    return settings.model_copy(update={"test_paths": (*settings.test_paths, *sorted(named))})


_INTERPRETERS = re.compile(r"sh|bash|dash|zsh|python[\d.]*|node|perl|ruby|env")
_READ_BY = {"make": ("Makefile", "makefile", "GNUmakefile"), "nox": ("noxfile.py",), "just": ("justfile",)}


def _made_of(words: list[str]) -> Iterator[str]:
    """Paths that decide what a command does: its program, an interpreter's script, and configuration files."""
    program = Path(words[0]).name
    yield words[0].removeprefix("./")
    yield from _READ_BY.get(program, ())
    if _INTERPRETERS.fullmatch(program):
        yield from (word.removeprefix("./") for word in words[1:] if not word.startswith("-"))
    yield from (word for word in words[1:] if word.endswith((".sh", ".cfg", ".ini", ".toml", ".mk")))


def project_settings(shop: Workshop, brief: Brief, tree: Tree) -> tuple[ProjectSettings, str]:
    """Settings and where they came from. Raises InputError for malformed ones, or where nothing tells how to test."""
    if entry := tree.get("lockgate.toml"):
        try:
            return ProjectSettings.model_validate(tomllib.loads(entry.content.decode())), "lockgate.toml"
        except (ValidationError, ValueError) as err:
            raise InputError(f"lockgate.toml on {brief.branch} is not valid: {err}") from err
    if isinstance(brief.project, ProjectSettings):
        return brief.project, "the brief"
    if brief.project:
        return shop.project(brief.project), f"block {brief.project}"
    detected = detect(tree)
    if not detected.kind:
        raise InputError(
            "nothing tells how this repository is tested: add lockgate.toml on the branch, or project "
            "settings to the brief"
        )
    return detected.settings, f"detected: {detected.kind}"


def _check_names(brief: Brief, tree: Tree) -> None:
    """Raises InputError for a name that neither the ledger nor a reviewer's screen can show."""
    for path in tree:
        try:
            path.encode()
        except UnicodeEncodeError:
            raise InputError(f"{shown(path)} on {brief.branch}: the name is not UTF-8; rename the file first") from None


def _check_commands(brief: Brief, settings: ProjectSettings, source: str) -> None:
    """Raises InputError for a command that cannot be split into words."""
    commands = {f"{name} ({source})": getattr(settings, name) for name in ("setup", "build", "lint", "types")}
    commands |= {f"test ({source})": settings.test or " ", "acceptance.command (the brief)": brief.acceptance.command}
    for name, command in commands.items():
        try:
            if command and not shlex.split(command):
                raise ValueError("it is empty")
        except ValueError as err:
            raise InputError(f"{name} is not a command line: {err}") from err
