"""How each test runner is asked for a report of its own, and how that is read. What is not known says an exit code."""

import io
import itertools
import json
import re
import shlex
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from packaging.utils import canonicalize_name

from domain.commands import argv_of, is_for_shell
from domain.detect.metadata import read as read_metadata
from domain.detect.reading import View
from domain.errors import AgentError, InputError
from domain.paths import matches
from domain.ports import Completed, Workspace
from domain.program_reports import read_cargo, read_go, read_programs
from domain.project import ProjectSettings
from domain.reports import Report, by_file, by_id, read_junit, read_tap
from domain.task import CaseOutcome
from domain.trees import LINK, Tree
from tasks.room.room import in_directory
from tasks.running.canaries import PLATFORM, PYTEST, REPORT, UNITTEST, WORK, Canaries, release
from tasks.running.program_canaries import ProgramCanaries, program_canaries

MAX_REPORT_BYTES = 50_000_000
EXIT_CODE = "exit code"
PROGRAMS = "programs"
"""What a run is called until its reports say which programs they are."""

_PYTEST = (
    "-p", "no:cacheprovider", "-p", "lockgate_inside", f"--junitxml={REPORT}", "-o", "junit_family=xunit1",
    "--continue-on-collection-errors", "--maxfail=0",
)  # fmt: skip
"""xunit1 keeps the id that the plugin gives a test. No file that does not import, and no canary, may keep the others
from running."""
_PROGRAMS = f"{PLATFORM}/bin"
"""Where `node`, `go` and `cargo` are that ask for reports."""
_REPORTS = "/lockgate/reports"
_INSIDE = Path(__file__).with_name("inside_programs")


class RunnerCommand(NamedTuple):
    """One way to run a project's tests. `codes`: exit codes with which the report may be believed."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    read: Callable[[Workspace, Completed], Report]
    canaries: Canaries | ProgramCanaries | None = None
    files: Mapping[str, bytes] = {}
    codes: tuple[int, ...] = ()


def run_of(
    tree: Tree,
    settings: ProjectSettings,
    *,
    beside: str,
    only: Sequence[str] = (),
    without: Sequence[str] = (),
    base: Tree | None = None,
) -> RunnerCommand:
    """How the project's tests are run. `beside`: the directory that canaries are put into; `only`, `without`: paths
    of test files, for runners that `can_choose`. `base`: the tree that says how the runner must be guarded, where that
    is not `tree` itself. Raises InputError for a report that the tree brings along.
    """
    run = _run_of(tree, settings, beside, only, without, tree if base is None else base)
    return run._replace(argv=in_directory(settings, run.argv))


def _run_of(
    tree: Tree, settings: ProjectSettings, beside: str, only: Sequence[str], without: Sequence[str], base: Tree
) -> RunnerCommand:
    words = argv_of(settings.test)
    env = environment(tree, settings)
    tests = [path for path in sorted(tree) if tree[path].mode != LINK and matches(path, settings.test_paths)]
    if kind := settings.report:
        return _told(kind, words, env, tree, settings.directory)
    if is_pytest(settings):
        extra = (*_PYTEST, *(f"--ignore={WORK}/{path}" for path in without))
        canaries = release(PYTEST)
        files = canaries.files("inside_pytest", beside, roots(env), only, tests)
        read = _xml(lambda content: read_junit(content, by_id))
        guard = dict(_GUARD)
        if _has_early_plugin(base, settings):
            guard["PYTHONPATH"] = ":".join((PLATFORM, *roots(env)))
        return RunnerCommand("pytest", (*words, *extra), {**env, **guard}, read, canaries, files, (0, 1, 2, 5))
    for at, (flag, module) in enumerate(itertools.pairwise(words)):
        if flag == "-m" and module == "unittest" and re.fullmatch(r"python[\d.]*", Path(words[0]).name):
            canaries = release(UNITTEST)
            files = canaries.files("inside_unittest", beside, roots(env), tests=tests)
            read = _xml(lambda content: read_junit(content, by_id))
            argv = (*words[:at], f"{PLATFORM}/lockgate_inside.py", *words[at + 2 :])
            return RunnerCommand("unittest", argv, {**env, **_GUARD}, read, canaries, files, (0, 1, 5))
    return _programs(settings.test, words, env, tree, base)


def can_choose(settings: ProjectSettings) -> bool:
    """Whether single test files can be run, and left out."""
    return is_pytest(settings) and settings.report is None


def is_pytest(settings: ProjectSettings) -> bool:
    return not is_for_shell(settings.test) and any(
        Path(word).name in ("pytest", "py.test") for word in shlex.split(settings.test)
    )


def environment(tree: Tree, settings: ProjectSettings) -> dict[str, str]:
    """Variables for the project's own commands."""
    own = settings.directory
    source = f"{own}/src" if own else "src"
    places = [own, *([source] if any(path.startswith(f"{source}/") for path in tree) else []), *settings.sources]
    roots = dict.fromkeys(f"/work/{place}".rstrip("/") for place in places)
    return {"PYTHONPATH": ":".join(roots), **settings.environment}


_GUARD = {"PYTHONPATH": PLATFORM, "PYTHONSAFEPATH": "1"}
"""While the interpreter and the runner start, nothing of the tree is on `sys.path`: no sitecustomize, no pytest.py, no
plugin by its metadata. https://docs.python.org/3/using/cmdline.html#envvar-PYTHONSAFEPATH"""


def roots(env: Mapping[str, str]) -> list[str]:
    """What is importable once the runner has started: as `python -m` has it, the work tree first."""
    return list(dict.fromkeys(["/work", *filter(None, env.get("PYTHONPATH", "").split(":"))]))


_EARLY = re.compile(r"(?<![\w-])-p[\s=\"',]*(?!no\b)([A-Za-z_][\w.]*)")
_CONFIGURES = ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "pyproject.toml", "tox.ini", "setup.cfg")

_UNDER_PYTEST = ("pytest", "pluggy", "iniconfig", "packaging", "pygments", "exceptiongroup", "tomli", "colorama")
"""What pytest imports as it starts: https://github.com/pytest-dev/pytest/blob/main/pyproject.toml"""
_TELLS = ("pyproject.toml", "setup.cfg", "setup.py")


def _has_early_plugin(tree: Tree, settings: ProjectSettings) -> bool:
    """Whether the command or the configuration loads a plugin of the tree's by `-p`: before a plugin of ours could make
    the tree importable. Then it is so from the start, and only the rules over the change keep shadows out."""
    texts = [settings.test, settings.environment.get("PYTEST_ADDOPTS", "")]
    texts += [tree[path].content.decode("utf-8", "replace") for path in _CONFIGURES if path in tree]
    told = [tree[path].content for path in _TELLS if path in tree]
    if settings.install and any(b"pytest11" in content for content in told):
        return True  # the project is a plugin of pytest itself: its entry point is installed, its code is the tree's
    if settings.install and canonicalize_name(read_metadata(View(tree, settings.directory)).name) in _UNDER_PYTEST:
        return True  # pytest itself imports the project: its metadata is installed, its code is the tree's
    named = [name for text in texts for name in _EARLY.findall(text)]
    named += settings.environment.get("PYTEST_PLUGINS", "").split(",")
    places = [f"{root}{name.strip().replace('.', '/')}" for name in named if name.strip() for root in ("", "src/")]
    return any(f"{place}.py" in tree or f"{place}/__init__.py" in tree for place in places)


def _told(kind: str, words: list[str], env: dict[str, str], tree: Tree, directory: str) -> RunnerCommand:
    """A report that the settings name."""
    if kind == "tap":
        return RunnerCommand("tap", tuple(words), env, lambda _, done: read_tap(done.output))
    if kind in ("go", "cargo"):
        printed = read_go if kind == "go" else read_cargo
        return RunnerCommand(kind, tuple(words), env, lambda _, done: printed(done.output, tree, directory))
    path = kind.removeprefix("junit:")
    if path in tree:
        raise InputError(f"the report {path} is a file of the repository: take it out, so that it can be told apart")
    read = _xml(lambda content: read_junit(content, by_file), f"/work/{path}")
    return RunnerCommand("junit", tuple(words), env, read)


def _programs(command: str, words: list[str], env: dict[str, str], tree: Tree, base: Tree) -> RunnerCommand:
    """Whatever the command starts: Node's runners, `go test` and `cargo test` are each asked for a report, however deep
    they are called. Where none of them is, and where what is around them fails, the exit code is what is known."""
    options = " ".join(filter(None, (env.get("NODE_OPTIONS", ""), f"--require {_PROGRAMS}/node_loaded.cjs")))
    env = {"CI": "true", **env, "NODE_OPTIONS": options}
    files = {f"{_PROGRAMS}/{path.name}": path.read_bytes() for path in sorted(_INSIDE.iterdir())}
    start = files.pop(f"{_PROGRAMS}/start")
    canaries = program_canaries(tree, base)
    files |= {f"{PLATFORM}/start": start, f"{_REPORTS}/of": command.encode(), **canaries.files}
    argv = ("sh", f"{PLATFORM}/start", *words)
    return RunnerCommand(PROGRAMS, argv, env, _read_programs(command, tree, canaries), canaries, files)


def replaced_in(workspace: Workspace) -> tuple[str, ...]:
    """What Node's processes had another one of at their end than at their beginning, such as `assert.equal`."""
    names = set[str]()
    if (saved := workspace.save(_REPORTS, MAX_REPORT_BYTES)) is None:
        return ()
    with tarfile.open(fileobj=io.BytesIO(saved)) as tar:
        for member in tar:
            if member.name.endswith(".replaced") and (file := tar.extractfile(member)):
                names |= {str(name)[:100] for name in json.loads(file.read())}
    return tuple(sorted(names))


def _read_programs(command: str, tree: Tree, canaries: ProgramCanaries) -> Callable[[Workspace, Completed], Report]:
    def reader(workspace: Workspace, done: Completed) -> Report:
        saved = workspace.save(_REPORTS, MAX_REPORT_BYTES)
        if saved is None:
            raise ValueError(f"there are none in {_REPORTS}, more than {MAX_REPORT_BYTES >> 20} MB, or no plain files")
        with tarfile.open(fileobj=io.BytesIO(saved)) as tar:
            contents = {member.name: tar.extractfile(member) for member in tar if member.isreg()}
            report = read_programs({name: file.read() for name, file in contents.items() if file}, tree)
        if not report.runner:
            return _by_exit_code(command)(workspace, done)
        is_failing = canaries.taken_out(report)[0].is_failing
        if done.exit_code and not done.problem and not is_failing:
            # coverage below its limit, a linter after the tests: it has no test of its own
            report.add(f"exit code of {command}", CaseOutcome.FAILED, done.output)
        return report

    return reader


def _xml(read: Callable[[bytes], Report], path: str = REPORT) -> Callable[[Workspace, Completed], Report]:
    def reader(workspace: Workspace, done: Completed) -> Report:
        try:
            content = workspace.read(path, max_bytes=MAX_REPORT_BYTES)
        except AgentError as err:  # the code under test can write there too
            raise ValueError(str(err)) from err
        if not content:
            raise ValueError("there is none")
        return read(content)

    return reader


def _by_exit_code(command: str) -> Callable[[Workspace, Completed], Report]:
    def reader(workspace: Workspace, done: Completed) -> Report:
        report = Report({}, {}, EXIT_CODE)
        is_fine = done.exit_code == 0 and not done.problem
        report.add(command, CaseOutcome.PASSED if is_fine else CaseOutcome.FAILED, done.output)
        return report

    return reader
