"""Python projects: how the tests are run, what they need, and which Python, from a project's files as data.

In this order: what tox, nox or hatch say of the test run; else extras, groups and requirements files by their usual
names. A lock, where there is one, says the versions.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from domain.detect import locks, pip_files
from domain.detect.metadata import Metadata, expanded, grouped, read, tests_require
from domain.detect.python_runs import SuiteRun, suite_run
from domain.detect.reading import Detected, Found, Missing, View
from domain.errors import InputError
from domain.project import ProjectSettings

LOCKS = ("uv.lock", "pylock.toml", "poetry.lock", "pdm.lock", "Pipfile.lock")
"""The first that is there counts."""
_IS_TEST = re.compile(r"(^|[-_.])(tests?|testing|pytest|unittest)([-_.]|$)", re.IGNORECASE)
_IS_DEV = re.compile(r"^(dev|devel|develop|development|all)$", re.IGNORECASE)
_FILES = (
    "requirements/*.txt", "requirements/*.in", "requirements*.txt", "*requirements.txt", "requirements*.in",
    "tests/requirements*.txt", "test/requirements*.txt", "reqs/*.txt",
)  # fmt: skip


def detect(view: View) -> Detected | None:
    """Settings of a Python project; None if no file looks like its tests."""
    run = suite_run(view)
    others = ("**/*test*.py",) if run.path else ()  # what runs them says by which names it finds them
    tests = next(view.find("**/test_*.py", "**/*_test.py", "**/tests.py"), None) or next(view.find(*others), None)
    if tests is None:
        return None
    try:
        metadata = read(view)
    except InputError as err:
        metadata = Metadata()
        view.unread.append(str(err))
    found: list[Found] = []

    def tell(what: str, value: str, path: str) -> None:
        found.append(Found(what=what, value=value, path=path if "/" in path or path in view.tree else view.full(path)))

    tell(
        "tests",
        run.command or " ".join([run.program, *run.arguments]),
        view.full(run.path) if run.path else view.full(tests),
    )
    lock = next((path for path in _lock_places(view)), None)
    extras, groups, files, lines = _wanted(view, metadata, run, tell)
    if lock:
        tell("lock", lock, view.full(lock))
        files = () if _is_whole(lock) else files
    elif lock := view.first(
        "requirements.txt", "requirements/base.txt", "requirements/main.txt", "requirements/prod.txt"
    ):
        tell("requirements", lock, view.full(lock))
        files = tuple(path for path in files if path != lock)
    python, told_by = _python(view, metadata)
    if python:
        tell("Python", python, view.full(told_by))
    if metadata.is_package:
        tell("the project itself", metadata.name or "name known when it is built", metadata.path)
    missing = [Missing(what=problem, how="mend the file, or write the settings by hand") for problem in view.unread]
    if run.command:
        how = "only its exit code is known, and a person has to agree to each change; pytest and unittest are read so"
        missing.append(Missing(what="tests one by one", how=how))
    settings = ProjectSettings(
        directory=view.directory,
        lock=lock,
        install=metadata.is_package,
        python=python,
        extras=extras,
        groups=groups,
        requirement_files=files,
        requirements=lines,
        test=run.command or " ".join(["python", "-m", run.program, *run.arguments]),
        environment=dict(run.environment),
    )
    kind = run.command or run.program
    return Detected(settings=settings, kind=kind, found=tuple(found), missing=tuple(missing))


def _lock_places(view: View) -> Iterator[str]:
    """Whole locks in the directory, then that of the workspace above it."""
    for lock in (*LOCKS, *(path for path in view.paths if re.fullmatch(r"pylock\..+\.toml", path))):
        if lock in view:
            yield lock
    depth = len(view.directory.split("/")) if view.directory else 0
    for up in range(1, depth + 1):
        if (path := "../" * up + locks.UV) in view:
            yield path


def _is_whole(lock: str) -> bool:
    return lock.rpartition("/")[2] == locks.UV or locks.reader_of(lock) is not None


def _wanted(
    view: View, metadata: Metadata, run: SuiteRun, tell: Callable[[str, str, str], None]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """(extras, groups, requirements files, requirement lines) that the tests need."""
    extras = [name for name in run.extras if _has(metadata.extras, name) or metadata.is_computed]
    groups = [name for name in run.groups if _has(metadata.groups, name)]
    files = [path for path in run.files if path in view]
    lines = list(run.lines)
    for name in (*extras, *groups, *files, *lines):
        tell("for tests", name, view.full(run.path))
    if not (extras or groups or files or lines) or not _brings_runner(view, metadata, run, extras, groups, files):
        more_extras = [name for name in _by_name(metadata.extras) if name not in extras]
        more_groups = [name for name in _by_name(metadata.groups) if name not in groups]
        more_files = [path for path in _by_name({path: path for path in view.find(*_FILES)}) if path not in files]
        more_lines = [line for line in tests_require(view) if line not in lines]
        for name in more_extras:
            tell("extra for tests", name, metadata.path)
        for name in more_groups:
            tell("group for tests", name, metadata.path)
        for path in more_files:
            tell("requirements for tests", path, view.full(path))
        for line in more_lines:
            tell("for tests", line, view.full("setup.py" if "setup.py" in view else "setup.cfg"))
        extras, groups, files, lines = (
            [*extras, *more_extras],
            [*groups, *more_groups],
            [*files, *more_files],
            [*lines, *more_lines],
        )
    groups += [name for name in metadata.default_groups if name not in groups and not _has(dict.fromkeys(groups), name)]
    return tuple(extras), tuple(groups), tuple(files), tuple(_readable(lines))


def _brings_runner(
    view: View, metadata: Metadata, run: SuiteRun, extras: list[str], groups: list[str], files: list[str]
) -> bool:
    """Whether what is named brings pytest, where pytest runs the tests; what cannot be read might."""
    if run.command or run.program != "pytest":
        return True
    try:
        lines = [*run.lines, *expanded(metadata, extras), *grouped(metadata, groups)]
        lines += [line for path in files for line in pip_files.read(view, path).lines]
    except InputError:
        return True
    return (metadata.is_computed and bool(extras)) or any(re.match(r"pytest\b", line.lower()) for line in lines)


def _by_name(names: Mapping[str, object]) -> list[str]:
    """Those that are for tests by their names, else those for development. A file that another includes is enough."""
    stems = {
        name: re.sub(r"^(requirements|reqs|tests?)/|requirements|\.(txt|in)$", "", name).strip("-_./") for name in names
    }
    for wanted in (_IS_TEST, _IS_DEV):
        chosen = [name for name, stem in stems.items() if stem and wanted.search(stem)]
        chosen += (
            [name for name in names if re.fullmatch(r"tests?/requirements\.txt", name)] if wanted is _IS_TEST else []
        )
        compiled = {name.removesuffix(".txt") for name in chosen if name.endswith(".txt")}
        if chosen := [name for name in chosen if not (name.endswith(".in") and name.removesuffix(".in") in compiled)]:
            return chosen
    return []


def _has(names: Mapping[str, object], name: str) -> bool:
    return name in names or name.lower().replace("_", "-") in {one.lower().replace("_", "-") for one in names}


def _readable(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if pip_files.is_requirement(line))


def _python(view: View, metadata: Metadata) -> tuple[str | None, str]:
    """Which Python it runs on, and the file that tells it."""
    if pinned := re.match(r"\s*(?:cpython[-@])?(\d+\.\d+)(?:\.\d+)?\s*(?:$|\n)", view.text(".python-version")):
        return pinned[1], ".python-version"
    if ".python-version" in view and (text := view.text(".python-version").strip()):
        view.unread.append(f"{view.full('.python-version')} asks for {text[:40]!r}, which is no version of CPython")
    spec = metadata.requires_python.replace(" ", "")
    if re.fullmatch(r"[0-9<>=!~.,*]+", spec):
        return spec, metadata.path.removeprefix(view.prefix)
    return None, ""
