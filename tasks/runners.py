"""How each test runner is asked for a report of its own, and how that is read. What is not known says an exit code."""

import itertools
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from domain.errors import AgentError, InputError
from domain.ports import Completed, Tree, Workspace
from domain.project import ProjectSettings
from domain.reports import Report, by_file, by_id, read_jest, read_junit, read_tap
from domain.task import CaseOutcome
from tasks.canaries import PLATFORM, PYTEST, REPORT, UNITTEST, WORK, Canaries, release

MAX_REPORT_BYTES = 50_000_000
EXIT_CODE = "exit code"

_PYTEST = (
    "-p", "no:cacheprovider", "-p", "lockgate_inside", f"--junitxml={REPORT}", "-o", "junit_family=xunit1",
    "--continue-on-collection-errors", "--maxfail=0",
)  # fmt: skip
"""xunit1 keeps the id that the plugin gives a test. No file that does not import, and no canary, may keep the others
from running."""
_NODE = ("--test-reporter=junit", f"--test-reporter-destination={REPORT}")
_JEST = ("--json", f"--outputFile={REPORT}")
_VITEST = ("--reporter=default", "--reporter=json", f"--outputFile.json={REPORT}")


class Run(NamedTuple):
    """One way to run a project's tests. `codes`: exit codes with which the report may be believed."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    read: Callable[[Workspace, Completed], Report]
    canaries: Canaries | None = None
    files: Mapping[str, bytes] = {}
    codes: tuple[int, ...] = ()


def run_of(
    tree: Tree, settings: ProjectSettings, *, beside: str, only: Sequence[str] = (), without: Sequence[str] = ()
) -> Run:
    """How the project's tests are run. `beside`: the directory that canaries are put into; `only`, `without`: paths
    of test files, for runners that `can_choose`. Raises InputError for a report that the tree brings along.
    """
    words = shlex.split(settings.test)
    env = environment(tree, settings)
    if kind := settings.report:
        return _told(kind, words, env, tree)
    if is_pytest(settings):
        extra = (*_PYTEST, *(f"--ignore={WORK}/{path}" for path in without))
        canaries = release(PYTEST)
        files = canaries.files("inside_pytest", beside, roots(env), only)
        read = _xml(lambda content: read_junit(content, by_id))
        guard = dict(_GUARD)
        if _has_early_plugin(tree, settings):
            guard["PYTHONPATH"] = ":".join((PLATFORM, *roots(env)))
        return Run("pytest", (*words, *extra), {**env, **guard}, read, canaries, files, (0, 1, 2, 5))
    for at, (flag, module) in enumerate(itertools.pairwise(words)):
        if flag == "-m" and module == "unittest" and re.fullmatch(r"python[\d.]*", Path(words[0]).name):
            canaries = release(UNITTEST)
            files = canaries.files("inside_unittest", beside, roots(env))
            read = _xml(lambda content: read_junit(content, by_id))
            argv = (*words[:at], f"{PLATFORM}/lockgate_inside.py", *words[at + 2 :])
            return Run("unittest", argv, {**env, **_GUARD}, read, canaries, files, (0, 1, 5))
    return _node(words, env, tree) or Run(EXIT_CODE, tuple(words), env, _by_exit_code(settings.test))


def can_choose(settings: ProjectSettings) -> bool:
    """Whether single test files can be run, and left out."""
    return is_pytest(settings) and settings.report is None


def is_pytest(settings: ProjectSettings) -> bool:
    return any(Path(word).name in ("pytest", "py.test") for word in shlex.split(settings.test))


def environment(tree: Tree, settings: ProjectSettings) -> dict[str, str]:
    """Variables for the project's own commands."""
    roots = ["/work", *(["/work/src"] if any(path.startswith("src/") for path in tree) else [])]
    return {"PYTHONPATH": ":".join(roots), **settings.environment}


_GUARD = {"PYTHONPATH": PLATFORM, "PYTHONSAFEPATH": "1"}
"""While the interpreter and the runner start, nothing of the tree is on `sys.path`: no sitecustomize, no pytest.py, no
plugin by its metadata. https://docs.python.org/3/using/cmdline.html#envvar-PYTHONSAFEPATH"""


def roots(env: Mapping[str, str]) -> list[str]:
    """What is importable once the runner has started: as `python -m` has it, the work tree first."""
    return list(dict.fromkeys(["/work", *filter(None, env.get("PYTHONPATH", "").split(":"))]))


_EARLY = re.compile(r"(?<![\w-])-p[\s=\"',]*(?!no\b)([A-Za-z_][\w.]*)")
_CONFIGURES = ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "pyproject.toml", "tox.ini", "setup.cfg")


def _has_early_plugin(tree: Tree, settings: ProjectSettings) -> bool:
    """Whether the command or the configuration loads a plugin of the tree's by `-p`: before a plugin of ours could make
    the tree importable. Then it is so from the start, and only the rules over the change keep shadows out."""
    texts = [settings.test, settings.environment.get("PYTEST_ADDOPTS", "")]
    texts += [tree[path].content.decode("utf-8", "replace") for path in _CONFIGURES if path in tree]
    named = [name for text in texts for name in _EARLY.findall(text)]
    named += settings.environment.get("PYTEST_PLUGINS", "").split(",")
    places = [f"{root}{name.strip().replace('.', '/')}" for name in named if name.strip() for root in ("", "src/")]
    return any(f"{place}.py" in tree or f"{place}/__init__.py" in tree for place in places)


def _told(kind: str, words: list[str], env: dict[str, str], tree: Tree) -> Run:
    """A report that the settings name."""
    if kind == "tap":
        return Run("tap", tuple(words), env, lambda _, done: read_tap(done.output))
    path = kind.removeprefix("junit:")
    if path in tree:
        raise InputError(f"the report {path} is a file of the repository: take it out, so that it can be told apart")
    read = _xml(lambda content: read_junit(content, by_file), f"/work/{path}")
    return Run("junit", tuple(words), env, read)


def _node(words: list[str], env: dict[str, str], tree: Tree) -> Run | None:
    """Node's own runner, jest or vitest: called by themselves, by npx, or by the `test` script of package.json."""
    script = _script(words, tree)
    called = script or words
    program = next((Path(word).name for word in called if Path(word).name != "npx"), "")
    dashes = ("--",) if script and Path(words[0]).name == "npm" else ()
    if program in ("jest", "vitest"):
        extra = _JEST if program == "jest" else _VITEST
        return Run(program, (*words, *dashes, *extra), env, _xml(read_jest))
    if program == "node" and "--test" in called:
        read = _xml(lambda content: read_junit(content, by_file))
        if not script:
            return Run("node", (*words[:1], *_NODE, *words[1:]), env, read)
        options = " ".join(filter(None, (env.get("NODE_OPTIONS", ""), *_NODE)))
        return Run("node", tuple(words), {**env, "NODE_OPTIONS": options}, read)
    return None


def _script(words: list[str], tree: Tree) -> list[str] | None:
    """The words of package.json's test script where `words` run it, and it is one plain command."""
    if words[1:] not in (["test"], ["run", "test"]) or Path(words[0]).name not in ("npm", "pnpm", "yarn"):
        return None
    try:
        script = json.loads(tree["package.json"].content)["scripts"]["test"]
        return shlex.split(script) if not re.search(r"[;&|<>`$()\n]", script) else None
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


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
        report = Report({}, {})
        is_fine = done.exit_code == 0 and not done.problem
        report.add(command, CaseOutcome.PASSED if is_fine else CaseOutcome.FAILED, done.output)
        return report

    return reader
