"""Change rules over the tests: the change cannot judge itself."""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from domain.detect.pip_files import is_requirements_file
from domain.paths import matches
from domain.policy.change import Change, is_python, table_of, text_of
from domain.policy.change_other_code import OTHER_PERSON_RULES, changed_functions, replaces
from domain.policy.change_paths import DEPENDENCY_FILES, different_sections, different_tables
from domain.policy.python_code import parsed
from domain.policy.rule import Hit, Rule
from domain.task import Severity

PYTEST_FILES = ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "conftest.py")
PYTEST_TABLES = (("tool", "pytest"), ("tool", "pytest_env"), ("project", "entry-points", "pytest11"))
PYTEST_SECTIONS = ("pytest", "tool:pytest", "options.entry_points")
MIXED_FILES = ("setup.cfg", "tox.ini", "pyproject.toml")

RUNNERS = frozenset(("pytest", "_pytest", "unittest", "pluggy"))
TEST_TOOLS = frozenset(
    ("iniconfig", "doctest", "coverage", "hypothesis", "mock", "nose", "xdist", "py", "pytest_asyncio", "anyio")
)
START_FILES = frozenset(("sitecustomize.py", "usercustomize.py", "conftest.py"))
IMPORTABLE = (".py", ".pyc", ".so", ".pyd")
STDLIB = frozenset(sys.stdlib_module_names) - {"test", "this", "antigravity", "idlelib", "turtledemo"}

RECORDED = (
    "**/__snapshots__/**", "**/snapshots/**", "**/*.snap", "**/*.ambr", "**/golden/**", "**/goldens/**", "**/*.golden",
    "**/cassettes/**", "**/*.approved.*",
)  # fmt: skip
"""Where tests keep what they expect: jest, syrupy, vcrpy, approval tests, and by custom."""

DATA = (
    ".json", ".jsonl", ".xml", ".txt", ".csv", ".tsv", ".yaml", ".yml", ".html", ".svg", ".out", ".expected", ".dat",
    ".bin", ".pickle", ".pkl", ".npy", ".npz", ".parquet", ".sql", ".png", ".jpg", ".pdf", ".md", ".rst",
)  # fmt: skip
"""What a test may compare with."""
_ABOUT = re.compile(r"README|CHANGE|CHANGELOG|HISTORY|NEWS|LICEN[CS]E|AUTHORS|CONTRIBUTING", re.IGNORECASE)

SKIP = re.compile(
    r"\bmark\.(?:skip|skipif|xfail)\b|\bpytest\.(?:skip|xfail|importorskip|exit)\s*\(|\bcollect_ignore(?:_glob)?\b"
    r"|\bunittest\.(?:skip|skipIf|skipUnless|expectedFailure)\b|^\s*@(?:skip\w*|xfail|expectedFailure)\b"
    r"|\.skipTest\s*\(|\bSkipTest\b|\b__test__\s*=\s*False\b"
)
SKIP_ELSEWHERE = re.compile(
    r"\b(?:it|test|describe)\.(?:skip|todo|only)\s*\(|^\s*(?:x(?:it|test|describe)|f(?:it|describe))\s*\(|\bt\.Skip(?:f|Now)?\s*\("
)
"""JavaScript, TypeScript and Go; in Python `model.fit(` is something else."""


def _acceptance(change: Change) -> Iterator[Hit]:
    for path in change.changed:
        if path in change.acceptance and not change.is_as_given(path):
            yield Hit("this acceptance file is not what the brief says", path)


def _deleted(change: Change) -> Iterator[Hit]:
    for path in _closed(change):
        if path not in change.head:
            yield Hit("an existing test file is gone", path)


def _changed(change: Change) -> Iterator[Hit]:
    for path in _closed(change):
        if path in change.head:
            yield Hit("an existing test file is changed", path)


def _opened(change: Change) -> Iterator[Hit]:
    for path in change.changed:
        name = PurePosixPath(path).name
        is_open = change.is_named(path) if name in PYTEST_FILES else change.may_change(path)
        if path in change.base and change.is_test(path) and is_open and path not in change.acceptance:
            what = "changed" if path in change.head else "gone"
            yield Hit(f"an existing test that the brief opens is {what}", path)


def _recorded(change: Change) -> Iterator[Hit]:
    for path in change.changed:
        if path in change.base and not change.is_test(path) and matches(path, RECORDED):
            yield Hit("an answer that was recorded is another one now", path)
        elif path in change.base and _is_named_by_tests(change, path):
            yield Hit("a test on base names this file, and it is another one now", path)


def _is_named_by_tests(change: Change, path: str) -> bool:
    """Whether it is data beside the product that a test of base has by its name."""
    name = PurePosixPath(path).name
    is_data = PurePosixPath(name).suffix.lower() in DATA and not is_requirements_file(path)
    if not is_data or change.is_test(path) or _ABOUT.match(name) or matches(path, DEPENDENCY_FILES):
        return False
    spelled = re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-])".encode())
    return any(change.is_test(test) and spelled.search(entry.content) for test, entry in change.base.items())


def _closed(change: Change) -> Iterator[str]:
    """Existing tests that differ and that the brief does not open; configuration and acceptance have own rules."""
    for path in change.changed:
        name = PurePosixPath(path).name
        is_elsewhere = name in PYTEST_FILES or name in MIXED_FILES or path in change.acceptance
        if path in change.base and change.is_test(path) and not is_elsewhere and not change.may_change(path):
            yield path


def _skipped(change: Change) -> Iterator[Hit]:
    for path in change.present:
        marker = SKIP if is_python(path) else SKIP_ELSEWHERE
        if path in change.base and change.is_test(path):
            for number, line in change.added(path):
                if marker.search(line) and not line.lstrip().startswith(("#", "//")):
                    yield Hit(f"an existing test is skipped or taken out: {line.strip()[:100]!r}", path, number)


def _config(change: Change) -> Iterator[Hit]:
    for path in change.changed:
        name = PurePosixPath(path).name
        if change.is_named(path):
            continue
        if name in PYTEST_FILES and (path in change.base or name != "conftest.py") and _may_be_read(change, path):
            yield Hit("how pytest runs is changed", path)
        elif name == "pyproject.toml":
            if path in change.head and text_of(change.head, path) is None:
                yield Hit("this file cannot be read", path)
            for table in different_tables(change, path, PYTEST_TABLES):
                yield Hit(f"[{table}] is changed", path)
        elif name in MIXED_FILES:
            for section in different_sections(change, path, PYTEST_SECTIONS):
                yield Hit(f"[{section}] is changed", path)


def _may_be_read(change: Change, path: str) -> bool:
    """Whether pytest may read this file: it looks in the directory that it is started in, in those that it is given,
    and above these. In `recipes/pytest.toml`, beside no program and no test, nobody starts it.
    https://docs.pytest.org/en/stable/reference/customize.html#finding-the-rootdir"""
    folder = str(PurePosixPath(path).parent)
    settings = change.settings
    if path in change.base or folder == "." or change.is_test(path) or folder in f"{settings.test} {settings.lint}":
        return True
    if f"{settings.directory}/".startswith(f"{folder}/"):
        return True
    below = f"{folder}/"
    return any(
        one.startswith(below) and (change.is_test(one) or PurePosixPath(one).suffix in _PROGRAMS)
        for one in {*change.base, *change.head, *change.acceptance}
        if one != path
    )


_PROGRAMS = (".py", ".pyi", ".pyx", ".ipynb", ".rst", ".md", ".txt")
"""What pytest may collect, doctests too."""


def _shadow(change: Change) -> Iterator[Hit]:
    for path in change.changed:
        name = PurePosixPath(path).name
        if (path in change.base and name != "entry_points.txt") or path not in change.head or change.is_named(path):
            continue
        if name in START_FILES or name.endswith(".pth"):
            yield Hit("this file would run before the tests and could change how they run", path)
        elif matches(path, ("**/*.dist-info/**", "**/*.egg-info/**")):
            yield Hit("package metadata in the tree can load a pytest plugin", path)
        elif path.endswith("_test.go") and _GO_MAIN.search(text_of(change.head, path) or "") and _beside(change, path):
            yield Hit("its TestMain would run in place of the tests that base has in this package", path)
        elif other := _in_place_of(change, path):
            yield Hit(f"this file would be imported in place of {other}", path)
        elif name == "__init__.py" and change.is_test(path) and _runs_before_tests(change, path):
            yield Hit("its code would run before the tests that base has in this directory", path)
        elif (module := _shadowed(change, path)) and not _had(change, path):
            yield Hit(f"this file would be imported in place of the module {module!r}", path)


COMMANDS = frozenset(
    ("pytest", "py.test", "python", "python3", "pip", "pip3", "uv", "uvx", "tox", "nox", "coverage", "hatch", "poetry",
     "pdm", "mypy", "ruff", "flake8", "pylint", "git", "sh", "bash", "env", "make", "node", "npm", "npx", "pnpm",
     "yarn", "go", "cargo", "sudo", "ssh", "curl", "docker")
)  # fmt: skip


def _commands(change: Change) -> Iterator[Hit]:
    """Commands that an installation of the project puts in the place of others'."""
    for path in change.present:
        if PurePosixPath(path).name == "pyproject.toml":
            base, head = table_of(change.base, path) or {}, table_of(change.head, path) or {}
            new = _scripts(head) - _scripts(base)
            yield from (Hit(f"it installs a command of its own as {name!r}", path) for name in sorted(new & COMMANDS))


def _scripts(data: Mapping[str, Any]) -> set[str]:
    project = data.get("project")
    tables = (project.get(name) for name in ("scripts", "gui-scripts")) if isinstance(project, Mapping) else ()
    return {name for table in tables if isinstance(table, Mapping) for name in table}


def _shadowed(change: Change, path: str) -> str | None:
    """The module of a test tool or of Python that an import finds here first."""
    pure = PurePosixPath(path)
    if pure.suffix not in IMPORTABLE:
        return None
    place = pure.parent if pure.name.startswith("__init__.") else pure
    module, folder = place.name.split(".")[0], str(place.parent)
    if module in RUNNERS:
        return module
    # pytest puts a test's directory first on sys.path, unless that directory is a package
    first = folder in (".", "src", "lib") or (change.is_test(path) and f"{folder}/__init__.py" not in change.head)
    return module if first and module in STDLIB | TEST_TOOLS | _required(change) else None


def _in_place_of(change: Change, path: str) -> str | None:
    """The module of base that an import finds here first: a package goes before a module of its name, an extension
    before both, and what stands at the root before what stands in src or lib."""
    pure = PurePosixPath(path)
    if pure.suffix not in IMPORTABLE:
        return None
    place = pure.parent if pure.name.startswith("__init__.") else pure.with_name(pure.name.split(".")[0])
    is_first = place != pure.with_suffix("") or pure.suffix != ".py"
    beside = f"{place}.py"
    if is_first and beside in change.base and beside in change.head and beside != path:
        return beside
    if str(place.parent) == ".":
        inner = (f"{above}/{place}{end}" for above in ("src", "lib") for end in (".py", "/__init__.py"))
        return next((one for one in inner if one in change.base and one in change.head), None)
    return None


def _runs_before_tests(change: Change, path: str) -> bool:
    """Whether a package's file has code, and base has tests below it."""
    below = f"{PurePosixPath(path).parent}/"
    module = parsed(change.head, path)
    has_code = module is None or any(not _is_text(node) for node in module.body)
    return has_code and any(one.startswith(below) and change.is_test(one) and is_python(one) for one in change.base)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _required(change: Change) -> set[str]:
    """Modules of what is installed on base, by the names of the packages."""
    names = (re.match(r"[\w.-]+", line) for line in change.prepared.requirements)
    return {re.sub(r"[-.]", "_", name[0]).lower() for name in names if name}


_GO_MAIN = re.compile(r"^func\s+TestMain\s*\(", re.MULTILINE)
"""https://pkg.go.dev/testing#hdr-Main"""


def _beside(change: Change, path: str) -> bool:
    """Whether base has tests of Go in the same package."""
    parent = PurePosixPath(path).parent
    return any(one.endswith("_test.go") and PurePosixPath(one).parent == parent for one in change.base)


def _had(change: Change, path: str) -> bool:
    """Whether base has this module already, as a file or as a package: then the project lives with it."""
    pure = PurePosixPath(path)
    place = pure.parent if pure.name.startswith("__init__.") else pure.with_suffix("")
    return f"{place}.py" in change.base or f"{place}/__init__.py" in change.base


TEST_RULES: tuple[Rule[Change], ...] = (
    Rule(
        "acceptance-changed", "tests", Severity.REFUSE,
        "An acceptance file of the brief that is in the change with another content.",
        "It is how the change is judged; the platform runs its own copy.",
        "take the file out, or put in exactly what the brief has",
        _acceptance,
    ),
    Rule(
        "test-skipped", "tests", Severity.REFUSE,
        "A new skip, xfail, ignore or only marker in an existing test file, also where the brief opens that file.",
        "A test that does not run proves nothing.",
        "take the marker out and make the test pass",
        _skipped,
    ),
    Rule(
        "test-deleted", "tests", Severity.REFUSE,
        "An existing file under the settings' test_paths that the change deletes or renames.",
        "Every test that passed on base must still pass.",
        "put the file back; a person can open it with may_change_tests",
        _deleted,
    ),
    Rule(
        "test-changed", "tests", Severity.REFUSE,
        "An existing file under the settings' test_paths that the change alters, or an existing test function of Rust "
        "in product code.",
        "The contract is what base says; new tests belong into new files.",
        "put it back and add tests in a new file or function; a person can open the file with may_change_tests",
        lambda change: (*_changed(change), *changed_functions(change)),
    ),
    Rule(
        "test-config", "tests", Severity.REFUSE,
        "A changed pytest.ini, pytest.toml, existing conftest.py, [tool.pytest], [tool:pytest], [pytest] or pytest11 "
        "entry point.",
        "Options and hooks decide which tests run and what counts as a pass.",
        "put it back; a person can open the file by its own name in may_change_tests",
        _config,
    ),
    Rule(
        "test-shadow", "tests", Severity.REFUSE,
        "A new conftest.py, sitecustomize.py, usercustomize.py, *.pth, package metadata; a module that is imported in "
        "place of pytest, unittest, a module of Python, a package that is installed or a module of base (a package "
        "beside a module of its name, a directory at the root beside src); code in a new __init__.py above tests of "
        "base; a TestMain beside tests of Go; a macro of Rust or a global of JavaScript by the name of an assertion; "
        "and a command of the project by the name of Python, a test runner or another tool.",
        "It runs inside the test process and can make any result green.",
        "use another name, or put fixtures into the test file itself",
        lambda change: (*_shadow(change), *_commands(change), *replaces(change)),
    ),
)  # fmt: skip

TEST_PERSON_RULES: tuple[Rule[Change], ...] = (
    Rule(
        "test-opened", "tests", Severity.PERSON,
        "An existing test, or a file beside it, that the brief opens by may_change_tests and the change alters.",
        "The change then says itself what is right.",
        "a reviewer compares the test with the brief",
        _opened,
    ),
    Rule(
        "recorded-answer", "tests", Severity.PERSON,
        "A changed or deleted snapshot, golden file or cassette outside of the locked test paths, or other data there "
        "that a test on base has by its name.",
        "A test that compares with it is green whatever the code now does.",
        "a reviewer compares the recording with the brief",
        _recorded,
    ),
    *OTHER_PERSON_RULES,
)  # fmt: skip
