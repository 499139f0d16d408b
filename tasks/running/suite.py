"""Runs a project's tests and checks once, each in a fresh sandbox with no agent, no secrets and no network."""

import configparser
import functools
import io
import json
import re
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import tomli_w

from blocks.workshop import Workshop
from domain.brief import Brief
from domain.errors import AgentError, InputError
from domain.paths import matches
from domain.policy.baseline import ACCEPTANCE_COMMAND
from domain.policy.change_paths import RUN_FILES
from domain.ports import Completed, Workspace
from domain.project import ProjectSettings
from domain.reports import Report
from domain.task import Prepared, Suite
from domain.trees import LINK, Tree, TreeEntry
from domain.trees import pack as pack
from domain.trees import tree_digest as tree_digest
from domain.trees import unpack as unpack
from tasks.room.room import room
from tasks.running.abreast import a_place, abreast
from tasks.running.canaries import REPORT, WORK, Canaries, canary_problem
from tasks.running.checks import run_checks
from tasks.running.program_canaries import ProgramCanaries
from tasks.running.runners import EXIT_CODE, PROGRAMS, RunnerCommand, replaced_in, run_of


def locked(tree: Tree, brief: Brief, settings: ProjectSettings) -> Tree:
    """The contract: what base has under the test paths, with the acceptance files of the brief on top."""
    kept = {
        path: entry
        for path, entry in tree.items()
        if matches(path, settings.test_paths) and not matches(path, brief.may_change_tests)
    }
    acceptance = {f.path: TreeEntry(0o100644, f.content.encode()) for f in brief.acceptance.files}
    return {**kept, **acceptance}


def under_contract(head: Tree, base: Tree, contract: Tree, brief: Brief) -> Tree:
    """The change's product code under the contract. What a change adds or alters to configure its own tests is left
    out, unless the brief opens the file by its name. `put_back` says what that was."""

    def is_open(path: str) -> bool:
        name = PurePosixPath(path).name
        return matches(path, [glob for glob in brief.may_change_tests if PurePosixPath(glob).name == name])

    kept: Tree = {}
    for path, entry in head.items():
        name = PurePosixPath(path).name
        if path in base and not is_open(path):
            kept[path] = _with_settings_of(base[path], entry, path)
        elif path in base or is_open(path) or not (_CONFIGURES.fullmatch(name) or matches(path, RUN_FILES)):
            kept[path] = entry
    mixed = [path for path in contract if PurePosixPath(path).name in _FREE and path in base and path in head]
    return {**kept, **contract, **{path: _with_settings_of(base[path], head[path], path) for path in mixed}}


def put_back(head: Tree, base: Tree, tested: Tree, brief: Brief) -> dict[str, str]:
    """Path → how it was tested, for all that `under_contract` made `tested` out of another `head`.

    Acceptance files are left out: they are the brief's.
    """
    given = {file.path for file in brief.acceptance.files}
    told: dict[str, str] = {}
    for path in sorted((head.keys() | tested.keys()) - given):
        if head.get(path) == tested.get(path):
            continue
        if path not in tested:
            told[path] = "tested without this file, which says how tests run and is not on base"
        elif path not in head:
            told[path] = "tested with base's file, which the change has no more"
        elif parts := _different(base[path], head[path], path):
            told[path] = f"tested with base's settings {', '.join(parts)}, which say how tests run"
        else:
            told[path] = "tested with base's whole file: it is a test or says how tests run, and differs"
    return told


_CONFIGURES = re.compile(r"conftest\.py|\.?pytest\.(ini|toml)|(site|user)customize\.py|.*\.pth")
"""Names of files that decide how Python's tests run, as RUN_FILES do for other languages."""
_TABLES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "pyproject.toml": (("tool", "pytest"), ("tool", "pytest_env")),
    "package.json": (
        ("scripts",), ("jest",), ("vitest",), ("mocha",), ("ava",), ("tap",), ("c8",), ("nyc",), ("babel",), ("tsd",),
    ),
    "Cargo.toml": (
        ("test",), ("lib", "harness"), ("lib", "test"), ("lib", "doctest"), ("package", "autotests"), ("patch",),
        ("replace",),
    ),
}  # fmt: skip
"""Files with settings of the test run among others → those settings."""
_FREE: Mapping[str, tuple[str, ...]] = {
    "setup.cfg": (
        "metadata", "options", "options.*", "extras", "files", "entry_points", "egg_info", "build*", "bdist*", "sdist",
        "wheel", "bumpversion*", "upload*", "*_catalog", "*_messages", "*_requirements",
    ),
    "tox.ini": ("gh", "gh-actions*", "travis*"),
}  # fmt: skip
"""Files that test_paths has by default → sections of them that say nothing of tests and checks, as globs."""
_WHOLE = (
    "**/.npmrc", "**/.yarnrc", "**/.yarnrc.yml", "**/.yarn/releases/**", "**/.yarn/plugins/**", "**/.cargo/config",
    "**/.cargo/config.toml", "**/rust-toolchain", "**/rust-toolchain.toml", "**/bunfig.toml", "**/.babelrc*",
    "**/babel.config.*", "**/.swcrc",
)  # fmt: skip
"""Files that are nothing but that. An .npmrc names the shell that scripts run in, a .yarnrc the file that is run as
yarn, .cargo/config what a test is run by: https://docs.npmjs.com/cli/using-npm/config#script-shell"""


def _with_settings_of(base: TreeEntry, head: TreeEntry, path: str) -> TreeEntry:
    """The change's file with base's settings of the test run in it. Base's whole file where it is nothing else, or
    where one of the two cannot be read."""
    name = PurePosixPath(path).name
    is_mixed = name in _TABLES or name in _FREE
    if base == head or not (is_mixed or matches(path, _WHOLE)):
        return head
    old, new = _data(base, path), _data(head, path)
    if not is_mixed or old is None or new is None:
        return base
    if not _different(base, head, path):
        return head
    for table in _parts(old, new, path):
        _put(new, table, _inner(old, table))
    if new == old:
        return base
    return TreeEntry(head.mode, _written(new, path).encode())


def _different(base: TreeEntry, head: TreeEntry | None, path: str) -> list[str]:
    """Names of the settings of the test run that differ in two files of this name; none where one cannot be read."""
    old, new = _data(base, path), _data(head, path)
    if old is None or new is None:
        return []
    return [".".join(table) for table in _parts(old, new, path) if _inner(old, table) != _inner(new, table)]


def _parts(old: dict[str, Any], new: dict[str, Any], path: str) -> Iterable[tuple[str, ...]]:
    """The settings of the test run in two files of this name."""
    name = PurePosixPath(path).name
    if name in _TABLES:
        return _TABLES[name]
    return [(one,) for one in (old | new) if not any(fnmatchcase(one, free) for free in _FREE[name])]


def _data(entry: TreeEntry | None, path: str) -> dict[str, Any] | None:
    """A file with settings of the test run among others, as tables whose settings can be taken and put; else None. None
    too if it cannot be written again: Python reads longer numbers, and deeper arrays, than it writes."""
    name = PurePosixPath(path).name
    if entry is None or entry.mode == LINK or not (name in _TABLES or name in _FREE):
        return None
    try:
        text = entry.content.decode("utf-8-sig")
        data = _sections(text) if name in _FREE else tomllib.loads(text) if name.endswith(".toml") else json.loads(text)
        _written(data, path)
        above = [data, *(data.get(table[0], {}) for table in _TABLES.get(name, ()) if len(table) > 1)]
    except (ValueError, AttributeError, RecursionError, configparser.Error):
        return None
    return data if all(isinstance(table, dict) for table in above) else None


_BREAKS = re.compile("[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]|\r(?!\n)")


def _ini() -> configparser.RawConfigParser:
    ini = configparser.RawConfigParser(strict=False, allow_no_value=True, default_section="")
    ini.optionxform = str  # type: ignore[assignment, method-assign]
    return ini


def _sections(text: str) -> dict[str, Any]:
    if _BREAKS.search(text):
        raise ValueError("pytest sees lines there that others do not")
    ini = _ini()
    ini.read_string(text)
    return {name: dict(ini[name]) for name in ini.sections()}


def _written(data: dict[str, Any], path: str) -> str:
    if PurePosixPath(path).name not in _FREE:
        return tomli_w.dumps(data) if path.endswith(".toml") else json.dumps(data, indent=2)
    ini, text = _ini(), io.StringIO()
    ini.read_dict(data)
    ini.write(text)
    return text.getvalue()


def _inner(data: dict[str, Any], keys: Sequence[str]) -> Any:
    for key in keys:
        data = (data or {}).get(key)  # type: ignore[assignment]
    return data


def _put(data: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """Sets what `_inner` gets. None takes it out."""
    *above, last = keys
    for key in above:
        data = data.get(key, {}) if value is None else data.setdefault(key, {})
    if value is None:
        data.pop(last, None)
    else:
        data[last] = value


def own_tests(head: Tree, base: Tree, contract: Tree, settings: ProjectSettings) -> tuple[str, ...]:
    """Python test files that the change brings or, where the brief opens them, alters; sorted."""
    return tuple(
        path
        for path in sorted(head)
        if path not in contract and head[path] != base.get(path) and matches(path, settings.test_paths)
        and re.fullmatch(r"test_.*\.py|.*_test\.py", PurePosixPath(path).name)
    )  # fmt: skip


Rooms = Callable[[], AbstractContextManager[Workspace]]
"""Opens one fresh workspace with the tree under test."""


def rooms(shop: Workshop, prepared: Prepared, tree: Tree) -> Rooms:
    """Workspaces for the code under test: no agent, no secrets, and no way out but what the project's tests name."""

    @contextmanager
    def opened() -> Iterator[Workspace]:
        with room(shop, prepared, "test", tree) as made:
            yield made.workspace

    return opened


class SuiteRequest(NamedTuple):
    """What of the suite is run, and what is known of it. The default is all, as on base for the first time."""

    canaries: Mapping[str, str] = {}
    """How they ended on base; empty: they must end as they are due."""
    only: tuple[str, ...] = ()
    """Test files to run alone, and no checks; for runners that can choose."""
    without: tuple[str, ...] = ()
    """Test files to leave out."""
    checks: bool = True
    """Whether the acceptance command, build, lint and types run too."""
    base: Tree | None = None
    """What says how the runner is guarded; None: the tree under test, which is base then."""
    rewritten: tuple[str, ...] = ()
    """Files of the tests that base's own run writes anew, such as tests/_version.py: no change does that."""


def run_suite(
    shop: Workshop,
    tree: Tree,
    brief: Brief,
    settings: ProjectSettings,
    opened: Rooms,
    ask: SuiteRequest | None = None,
    shown: Callable[[str], str] = str,
) -> Suite:
    """Tests, acceptance command, build, lint and types of one tree, each in a workspace of its own: what one of them
    runs can change nothing for the next. The caller has put the locked files on the tree.

    Without `ask` this is base: canaries that its set-up keeps from running are no problem, and are told in `canaries`.
    `shown`: what may be kept of a text that the code under test printed.
    """
    ask, is_base = ask or SuiteRequest(), ask is None
    beside = _beside(tree, brief, settings)
    run = run_of(tree, settings, beside=beside, only=ask.only, without=ask.without, base=ask.base)
    commands = {
        ACCEPTANCE_COMMAND: brief.acceptance.command,
        "build": settings.build,
        "lint": settings.lint,
        "types": settings.types,
    }
    tests, checks = abreast(
        functools.partial(_run_tests, run, settings, opened, tree),
        functools.partial(
            run_checks,
            commands if ask.checks and not ask.only else {},
            tree,
            settings,
            opened,
            product=(ACCEPTANCE_COMMAND,),
        ),
    )
    (done, report, seen, problem, rewritten, kind, seconds), said = tests.result(), checks.result()
    if not problem and not is_base and (other := [path for path in rewritten if path not in ask.rewritten]):
        parts = [path for path in other if path.startswith(PART)]
        what = "parts of Node were replaced" if parts else "files of the tests were changed"
        problem = f"{what} while they ran: {', '.join((parts or other)[:5])}"
    due = run.canaries.due if run.canaries else {}
    wanted = ask.canaries or due
    if isinstance(run.canaries, ProgramCanaries):  # a package that the change takes out has none; its tests are missed
        wanted = {name: how for name, how in wanted.items() if name in due}
    if not problem and not is_base and (why := canary_problem(seen, wanted, due)):
        problem = f"the report cannot be believed: {why}"
    output = done.output.replace(run.canaries.nonce, "canary") if run.canaries else done.output
    return Suite(
        cases=report.cases,
        messages={name: shown(message) for name, message in {**report.messages, **said.messages}.items()},
        exit_code=done.exit_code,
        checks=said.codes,
        problems={
            name: tuple(one.model_copy(update={"message": shown(one.message)}) for one in problems)
            for name, problems in said.problems.items()
        },
        problem=problem and shown(problem),
        runner=report.runner or run.name,
        canaries=seen,
        rewritten=rewritten if is_base else (),
        output=shop.store.put(shown(output + said.output).encode("utf-8", "replace")),
        sandbox=kind,
        seconds=round(seconds + said.seconds, 3),
    )


class _Ran(NamedTuple):
    """What one run of the tests left: `_read`'s three, what `_rewritten` says, the kind of sandbox, and the seconds
    that it was open."""

    done: Completed
    report: Report
    canaries: dict[str, str]
    problem: str | None
    rewritten: tuple[str, ...]
    kind: str
    seconds: float


def _run_tests(run: RunnerCommand, settings: ProjectSettings, opened: Rooms, tree: Tree) -> _Ran:
    with a_place():
        started = time.monotonic()
        with opened() as workspace:
            try:
                for path, content in run.files.items():
                    workspace.write(path, content)
            except AgentError as err:
                raise InputError(f"the platform's tests cannot be put beside the project's: {err}") from err
            done = workspace.run(run.argv, timeout_s=settings.test_timeout_s, env=run.env)
            report, seen, problem = _read(workspace, run, done)
            rewritten = () if problem else _rewritten(workspace, report, tree)
            if run.name == PROGRAMS and not problem:
                try:
                    rewritten += tuple(f"{PART}{name}" for name in replaced_in(workspace))
                except (ValueError, TypeError) as err:
                    problem = f"what Node's tests say things by cannot be looked at: {err}"
            if run.canaries and problem:
                problem = problem.replace(run.canaries.nonce, "canary")
            kind = workspace.kind
        return _Ran(done, report, seen, problem, rewritten, kind, time.monotonic() - started)


def _read(workspace: Workspace, run: RunnerCommand, done: Completed) -> tuple[Report, dict[str, str], str | None]:
    """The report, how the canaries in it ended, and why it cannot be believed."""
    problem = done.problem
    try:
        report = run.read(workspace, done)
        unread = None
    except ValueError as err:
        report, unread = Report({}, {}), f"{run.name}'s report cannot be read: {err}"
        if said := " ".join(done.output[-400:].split()):
            unread += f"; it ended with exit code {done.exit_code}: {said}"
    seen: dict[str, str] = {}
    is_failing = report.is_failing
    if run.canaries:
        report, seen = run.canaries.taken_out(report)
        is_failing = is_failing if isinstance(run.canaries, Canaries) else report.is_failing
    if not problem and run.codes and done.exit_code not in run.codes:
        problem = f"{run.name} ended with exit code {done.exit_code}: {done.output[-400:]}"
    problem = problem or unread
    if isinstance(run.canaries, Canaries) and not problem:
        content = workspace.read(REPORT, max_bytes=50_000_000) or b""
        if why := run.canaries.seal_problem(done.output, content):
            problem = f"the report cannot be believed: {why}"
    if not problem and (report.runner or run.name) != EXIT_CODE and is_failing != (done.exit_code not in (0, 5)):
        problem = f"the report and exit code {done.exit_code} contradict each other"
    return report, seen, problem


_CODE = re.compile(r".*\.(?:py|[cm]?[jt]sx?|go|rs)")


def _rewritten(workspace: Workspace, report: Report, tree: Tree) -> tuple[str, ...]:
    """Files of the tests that ran, and code beside them, that are others now: a product can write them anew before
    they are loaded."""
    ran = {test.split("::")[0] for test in report.cases} & tree.keys()
    places = {PurePosixPath(path).parent for path in ran if matches(path, _APART)}
    beside = {path for path in tree if _CODE.fullmatch(path) and PurePosixPath(path).parent in places}
    changed = []
    for path in sorted(ran | beside):
        if tree[path].mode != LINK:
            try:
                is_same = workspace.read(f"{WORK}/{path}", max_bytes=len(tree[path].content)) == tree[path].content
            except AgentError:  # it is larger now
                is_same = False
            changed += [] if is_same else [path]
    return tuple(changed)


PART = "Node's "
_APART = ("tests/**", "test/**", "**/tests/**", "**/test/**", "**/__tests__/**")
"""Where what stands beside a test is a test's, too."""


def _beside(tree: Tree, brief: Brief, settings: ProjectSettings) -> str:
    """The directory of the tests that matter most: the acceptance, else the first of the project's own."""
    acceptance = brief.acceptance
    named = [*(file.path for file in acceptance.files), *(test.split("::")[0] for test in acceptance.tests)]
    own = sorted(path for path in tree if matches(path, settings.test_paths) and "test" in PurePosixPath(path).name)
    path = next((path for path in (*named, *own) if path.endswith(".py") and path in tree), "")
    return path.rpartition("/")[0]
