"""prepare: the base commit is fixed, the contract is locked, and the brief is refused here if it cannot be judged."""

import itertools
import re
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from posixpath import join, normpath

from pydantic import ValidationError

from blocks.catalogue import unusable_agents
from blocks.ledger import history
from blocks.ledger.spending import this_week
from blocks.workshop import Workshop, workshop_of
from domain.agent_choice import CHEAPEST, ChosenAgent
from domain.agent_scope import outside, used_up
from domain.bait import bait_in
from domain.brief import Brief
from domain.commands import argv_of, commands_in
from domain.detect import detect
from domain.errors import InputError, NotYet
from domain.paths import is_among, matches
from domain.policy import lint_brief
from domain.policy.baseline import base_refusals, base_warnings, proves_nothing
from domain.policy.by_record import cheapest
from domain.policy.elsewhere import ACCEPTED_BY_ITSELF, MADE_ELSEWHERE, NO_TESTS, Unfit, own_tests
from domain.ports import Joined
from domain.project import ProjectSettings
from domain.pull_request import PullState
from domain.records import CHOSEN, PREPARED
from domain.services import looked_for
from domain.task import Prepared
from domain.trees import Tree, is_pointer
from tasks.pages import show
from tasks.room.redaction import spotted
from tasks.room.requirements import installation, wheels_of, with_sources
from tasks.running.abreast import abreast
from tasks.running.baseline import measured
from tasks.running.runners import run_of
from tasks.running.suite import locked, pack
from tasks.step import step


@step("prepare", "prepare-{attempt}")
def prepare(run_id: str, brief: Brief, attempt: int, moved_to: str | None = None) -> Prepared:
    """Fix base, settings and contract for one attempt. What is wrong with the brief comes back in `refusals`.

    Attempt 0 is what a test is proposed on, for a brief that has none yet. `moved_to`: the branch moved under an
    approved change, so the same attempt starts again from a new base.
    """
    shop = workshop_of(brief)
    key = f"{attempt}-{moved_to}" if moved_to else str(attempt)
    if known := shop.ledger.find(run_id, *PREPARED.at(key), Prepared):
        return known
    missing: tuple[str, ...] = ()
    try:
        check_repository(shop, brief)
        brief = with_agent(shop, run_id, brief)
        if wrong := unusable_agents(brief, (lambda agent: _spent(shop, agent)) if attempt <= 1 else None):
            raise InputError("; ".join(wrong))
        if not brief.branch:
            brief = brief.model_copy(update={"branch": shop.forge.default_branch(brief.repository)})
        base = shop.forge.base(brief.repository, brief.branch)
        tree = shop.forge.tree(brief.repository, base)
        missing = left_out(shop, brief.repository, base, tree)
        settings, source = project_settings(shop, brief, tree)
        settings = with_locked_commands(settings, brief, tree)
        _check_commands(brief, settings, source)
        run_of(tree, settings, beside="")
        change, own, asked = None, False, brief
        if brief.change:
            change = _stands(shop, run_id, brief, attempt if moved_to else None)
            try:
                if not moved_to:
                    _check_where_it_leads(shop, brief, change)
                brief, own = with_own_tests(brief, tree, shop.forge.join(brief.repository, base, change), settings)
            except Unfit as err:
                unfit = Prepared(
                    run_id=run_id, brief=brief, base=base, settings=settings, settings_source=source, contract="",
                    requirements=(), refusals=lint_brief(brief, environments=shop.targets), source=change,
                    unfit=str(err),
                )  # fmt: skip
                return shop.ledger.record(run_id, *PREPARED.at(key), unfit)
        installed = installation(shop, settings, tree)
        settings = with_sources(settings, installed.projects)
        shop.claim_store()
        contract = shop.store.put(pack(locked(tree, brief, settings)))
        wheels = wheels_of(shop, installed.projects)
        shop.toolchains.ensure(installed.requirements, shop.sandbox, python=settings.python, wheels=wheels)
    except InputError as err:
        empty = Prepared(
            run_id=run_id, brief=brief, base="", settings=ProjectSettings(), settings_source="none", contract="",
            requirements=(), refusals=(*lint_brief(brief, environments=shop.targets), str(err), *missing),
        )  # fmt: skip
        return shop.ledger.record(run_id, *PREPARED.at(key), empty)
    prepared = Prepared(
        run_id=run_id,
        brief=brief,
        base=base,
        settings=settings,
        settings_source=source,
        contract=contract,
        requirements=installed.requirements,
        projects=installed.projects,
        refusals=(
            *lint_brief(_as_begun(asked, attempt), environments=shop.targets),
            *_release_refusals(brief, settings, tree),
        ),
        source=change,
        own_tests=own,
    )
    is_tested = not prepared.refusals
    seen, ran = abreast(
        lambda: (*spotted(shop, tree, settings.example_secrets).findings, *bait_in(tree, brief)),
        lambda: measured(shop, prepared, tree, attempt) if is_tested else None,
    )
    warnings = (
        *_of_elsewhere(prepared),
        *missing,
        *(finding.sentence for finding in seen.result()),
    )
    prepared = prepared.model_copy(update={"warnings": warnings})
    try:
        baseline = ran.result()
    except InputError as err:  # its setup fails, a service does not start
        baseline = None
        prepared = prepared.model_copy(update={"refusals": (*prepared.refusals, str(err), *missing)})
    if baseline:
        refusals = base_refusals(brief, settings, baseline, _test_files(tree, settings))
        warnings = (*warnings, *base_warnings(prepared, baseline), *_ended(settings))
        if own and refusals == (proved := proves_nothing(brief, settings, baseline)):
            refusals, prepared = (), prepared.model_copy(update={"unfit": "; ".join(proved)})
        elif refusals:
            refusals = (*refusals, *looked_for(baseline.messages.values(), settings.services), *missing)
        prepared = prepared.model_copy(update={"baseline": baseline, "refusals": refusals, "warnings": warnings})
    show.prepared(prepared, attempt)
    return shop.ledger.record(run_id, *PREPARED.at(key), prepared)


def _as_begun(brief: Brief, attempt: int) -> Brief:
    """Attempt 0 is before any: a test may still be proposed then. No other one begins without acceptance."""
    return brief if attempt == 0 else brief.model_copy(update={"propose_acceptance": False})


def check_repository(shop: Workshop, brief: Brief) -> None:
    """Raises InputError, before anything of it is read, for a repository that the workshop is not for."""
    if shop.repositories and not is_among(brief.repository, shop.repositories):
        raise InputError(
            f"the workshop {brief.workshop!r} is not for {brief.repository}: its `repositories` names "
            f"{', '.join(shop.repositories)}"
        )


def with_agent(shop: Workshop, run_id: str, brief: Brief) -> Brief:
    """The brief with the agent that the record chooses, where it leaves that to the team; on record, with the reasons.
    Safe to repeat. Raises InputError where the record of none passes."""
    if brief.agent != CHEAPEST or brief.change:
        return brief
    known = shop.ledger.find(run_id, *CHOSEN.at(), ChosenAgent)
    if known is None:
        ledger = shop.ledger.url.get_secret_value()
        found = cheapest(history.read(ledger), shop.choice, lambda agent: _why_not(shop, brief, agent))
        if found.agent is None:
            raise InputError(
                f"no agent was chosen, so name one in `agent`: {'; '.join(found.reasons) or '`choice` names none'}"
            )
        known = shop.ledger.record(run_id, *CHOSEN.at(), ChosenAgent(agent=found.agent, reasons=found.reasons))
    return brief.model_copy(update={"agent": known.agent})


def _why_not(shop: Workshop, brief: Brief, agent: str) -> str | None:
    """Why an agent is not for this brief, whatever its record."""
    try:
        scope = shop.agent(agent).scope
    except InputError as err:
        return str(err)
    wrong = [one.sentence for one in outside(brief, "edit", agent, scope)]
    if scope.usd_per_week is not None and (over := used_up(agent, scope, _spent(shop, agent))):
        wrong.append(over)
    return "; ".join(wrong) or None


def _spent(shop: Workshop, agent: str) -> float:
    """What an agent's calls cost this week."""
    return this_week(shop.ledger.url.get_secret_value()).get(agent, 0.0)


def _stands(shop: Workshop, run: str, brief: Brief, attempt: int | None) -> str:
    """Where the brief's change stands; where it stood, if this attempt was prepared before. Raises InputError if it is
    not there."""
    if attempt and (known := shop.ledger.find(run, *PREPARED.at(attempt), Prepared)) and known.source:
        if not shop.forge.has(brief.repository, known.source):
            shop.forge.source(brief.repository, brief.change)  # another machine: with its branch it comes here
        return known.source
    if brief.change == brief.branch:
        raise InputError(f"the change is {brief.branch}, the branch that it would go to: name another one")
    return shop.forge.source(brief.repository, brief.change)


def _check_where_it_leads(shop: Workshop, brief: Brief, source: str) -> None:
    """Of a pull request, which has to be open. Raises Unfit if it leads to another branch; NotYet where the forge and
    git do not agree where it stands, as right after a push."""
    host = shop.forge.hosted(brief.repository) if brief.pull else None
    if host is None or brief.pull is None:
        return
    pull = host.pull_request(brief.repository, brief.pull)
    if pull.state is not PullState.OPEN:
        raise InputError(f"pull request {brief.pull} is {pull.state}: only an open one can be merged")
    if pull.base != brief.branch:
        raise Unfit(
            f"pull request {brief.pull} leads to {pull.base}, and the branch here is {brief.branch}: lead it there and "
            "push, or name its branch as `branch` of the brief"
        )
    if pull.head != source:
        raise NotYet(f"{pull.url} stands at {pull.head[:12]}, and git still has it at {source[:12]}")


def with_own_tests(brief: Brief, base: Tree, change: Joined, settings: ProjectSettings) -> tuple[Brief, bool]:
    """The brief of a change that was made elsewhere, and whether the change's own new tests are its acceptance: if it
    names none. Those that base took out since the change parted from it are none of its own. Raises Unfit if there
    are none either. A pull request is merged without what the brief adds."""
    is_own, files = brief.acceptance.is_empty, brief.acceptance.files
    if is_own:
        if change.tree is None:
            raise Unfit(change.problem)
        files = own_tests(base, change.tree, settings, brief.may_change_tests)
        if not files:
            raise Unfit(NO_TESTS)
    if brief.pull:
        files = tuple(file.model_copy(update={"keep": False}) for file in files)
    acceptance = brief.acceptance.model_copy(update={"files": files})
    return brief.model_copy(update={"acceptance": acceptance}), is_own


def _of_elsewhere(prepared: Prepared) -> tuple[str, ...]:
    """What is to be known of a change that none of our agents made. What is warned of passes no gate alone."""
    files = ", ".join(file.path for file in prepared.brief.acceptance.files[:10])
    own = (ACCEPTED_BY_ITSELF.format(files),) if prepared.own_tests else ()
    return (MADE_ELSEWHERE, *own) if prepared.source else ()


def _ended(settings: ProjectSettings) -> list[str]:
    """Quarantines that do not count, and why."""
    problems = [(one.test, one.problem(datetime.now(UTC).date())) for one in settings.quarantine]
    return [f"the quarantine of {test} does not count: {problem}" for test, problem in problems if problem]


def _test_files(tree: Tree, settings: ProjectSettings) -> list[str]:
    """Test files in Python, as their names tell."""
    named = [path for path in sorted(tree) if re.fullmatch(r"test_.*\.py|.*_test\.py", PurePosixPath(path).name)]
    return [path for path in named if matches(path, settings.test_paths)]


def left_out(shop: Workshop, repository: str, commit: str, tree: Tree) -> tuple[str, ...]:
    """What of the repository neither the agent nor the tests see, as sentences: where tests need it, that is why they
    fail."""
    reasons = shop.forge.left_out(repository, commit)
    pointers = [path for path in sorted(tree) if is_pointer(tree[path])]
    told = (
        ("left out of the work, and kept as it is", reasons),
        ("only a pointer of Git LFS is here, not the content", pointers),
    )
    more = {what: f" and {len(names) - 10} more" if len(names) > 10 else "" for what, names in told}
    return tuple(f"{what}: {'; '.join(names[:10])}{more[what]}" for what, names in told if names)


def _release_refusals(brief: Brief, settings: ProjectSettings, tree: Tree) -> tuple[str, ...]:
    """Why it could be merged and then not be released, which is better known before."""
    if brief.environment is None:
        return ()
    refusals = []
    if not settings.run:
        refusals.append(
            f"the project settings have no `run`, so nothing can be released to {brief.environment!r}: add it"
        )
    pointers = [path for path in sorted(tree) if is_pointer(tree[path]) and not matches(path, settings.test_paths)]
    if pointers:
        refusals.append(
            f"a release would have pointers of Git LFS in place of {', '.join(pointers[:5])}: store what is released "
            "in git itself, or leave out `environment` and release the merged commit by your own means"
        )
    return tuple(refusals)


def with_locked_commands(settings: ProjectSettings, brief: Brief, tree: Tree) -> ProjectSettings:
    """Settings whose locked paths hold what the checking commands are made of: a change must not judge itself.

    `sh check.sh` would otherwise run the change's own check.sh.
    """
    tried = [re.sub(_MODULE, "", command) for command in (settings.test, brief.acceptance.command) if command]
    commands = [*tried, settings.build, settings.lint, settings.types]
    places = (f"{settings.directory}/", "") if settings.directory else ("",)
    words = [word for command in commands if command for word in _paths_of(command)]
    named = {place + path for path in words for place in places if place + path in tree}
    below = [f"{settings.directory}/{glob}" for glob in settings.test_paths] if settings.directory else []
    return settings.model_copy(update={"test_paths": (*settings.test_paths, *below, *sorted(named))})


_MODULE = r"\s-m\s+[\w.]+"
"""A module that a command runs. That of a test or of the acceptance may be the product itself, and is not locked."""
_INTERPRETERS = re.compile(r"sh|bash|dash|zsh|python[\d.]*|node|perl|ruby|php|deno|bun|env|time|nice")
_WRAPPERS = ("uv", "poetry", "pdm", "hatch", "pipenv", "rye", "pixi")
_READ_BY = {
    "make": ("Makefile", "makefile", "GNUmakefile"), "nox": ("noxfile.py",), "tox": ("tox.ini", "tox.toml"),
    "just": ("justfile", "Justfile", ".justfile"), "task": ("Taskfile.yml", "Taskfile.yaml"), "rake": ("Rakefile",),
    "invoke": ("tasks.py",),
}  # fmt: skip


def _paths_of(command: str) -> Iterator[str]:
    """The same for each command of a line, in the directory that `cd` went to."""
    directory = ""
    for words in commands_in(command):
        if words[0] == "cd" and len(words) > 1:
            directory = normpath(join(directory, words[1]))
        else:
            yield from (normpath(join(directory, path)) for path in _made_of(words))


def _made_of(words: list[str]) -> Iterator[str]:
    """Paths that decide what a command does: its program, an interpreter's script, and configuration files."""
    if words[0] in _WRAPPERS and words[1:2] == ["run"] and words[2:]:
        words = words[2:]
    program = Path(words[0]).name
    yield words[0].removeprefix("./")
    yield from _READ_BY.get(program, ())
    if _INTERPRETERS.fullmatch(program):
        yield from (word.removeprefix("./") for word in words[1:] if not word.startswith("-"))
    yield from (word for word in words[1:] if word.endswith((".sh", ".cfg", ".ini", ".toml", ".mk")))
    for option, module in itertools.pairwise(words):
        if option == "-m" and program.startswith("python"):
            place = module.replace(".", "/")
            yield from (f"{root}{place}{end}" for root in ("", "src/") for end in (".py", "/__main__.py"))


def project_settings(shop: Workshop, brief: Brief, tree: Tree) -> tuple[ProjectSettings, str]:
    """Settings and where they came from. Raises InputError for malformed ones, or if nothing tells how to test."""
    if entry := tree.get("lockgate.toml"):
        try:
            return ProjectSettings.model_validate(tomllib.loads(entry.content.decode())), "lockgate.toml"
        except (ValidationError, ValueError, RecursionError) as err:
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


def _check_commands(brief: Brief, settings: ProjectSettings, source: str) -> None:
    """Raises InputError for a command that cannot be split into words."""
    commands = {f"{name} ({source})": getattr(settings, name) for name in ("setup", "build", "lint", "types")}
    commands |= {f"test ({source})": settings.test or " ", "acceptance.command (the brief)": brief.acceptance.command}
    for name, command in commands.items():
        try:
            if command:
                argv_of(command)
        except ValueError as err:
            raise InputError(f"{name} is not a command line: {err}") from err
