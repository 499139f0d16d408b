"""Inside the sandbox: the platform's pytest plugin, loaded there by `-p`. The platform itself never imports it.

It keeps the tree under test off `sys.path` until pytest and its plugins are loaded, puts the canaries first and last
whatever selects and orders the project's tests, remembers what Python and the runner are made of, and seals the report.
"""

import builtins
import datetime
import functools
import hashlib
import json
import os
import sys
import time
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _pytest.assertion.rewrite
import _pytest.junitxml
import _pytest.python
import _pytest.reports
import _pytest.runner
import pluggy
import pytest
from lockgate_collect import tests_of
from lockgate_process import PristineProcess, listed

if not hasattr(pytest, "version_tuple"):
    sys.exit(f"Lockgate reads tests of pytest 7.0 and newer, and this is {pytest.__version__}: ask for a newer one")

TOLD: dict[str, Any] = json.loads(Path(__file__).with_name("told.json").read_text())
NONCE, REPORT, ROOTS, WORK = TOLD["nonce"], TOLD["report"], TOLD["roots"], TOLD["work"]
OUT = os.dup(1)

os.environ["PYTHONPATH"] = os.pathsep.join(ROOTS)  # programs that tests start see the project as ever
os.environ.pop("PYTHONSAFEPATH", None)

_OWNERS: dict[str, Any] = {
    "builtins": builtins, "time": time, "datetime": datetime, "TestCase": unittest.TestCase, "pytest": pytest,
    "pytest.Function": _pytest.python.Function, "pytest.runner": _pytest.runner,
    "pytest.TestReport": _pytest.reports.TestReport, "pytest.LogXML": _pytest.junitxml.LogXML,
    "pytest.rewrite": _pytest.assertion.rewrite, "pluggy.HookCaller": pluggy.HookCaller,
    "pluggy.PluginManager": pluggy.PluginManager,
}  # fmt: skip
_MADE_OF = {
    (owner, name): value
    for owner in _OWNERS
    for name, value in vars(_OWNERS[owner]).items()
    if callable(value) or isinstance(value, (classmethod, staticmethod, property))
}


_HOOKS = ("pytest_runtest_protocol", "pytest_runtest_setup", "pytest_runtest_call", "pytest_runtest_makereport",
          "pytest_runtest_logreport", "pytest_pyfunc_call", "pytest_sessionfinish")  # fmt: skip
"""Where an outcome can be turned."""
_hooked: dict[str, Any] = {}
_known: set[tuple[str, str]] = set()
"""(hook, plugin) of those that were there when the session began."""
_tests: list[tuple[Any, Any]] = []
"""(function, its code) of every test that was collected."""


def replaced() -> list[str]:
    """What is no longer what it was when this file was loaded, before any conftest, test or product code; hooks that
    came after the session began and are no conftest's; and tests whose code is no longer what was collected."""
    names = [
        f"{owner}.{name}"
        for (owner, name), value in _MADE_OF.items()
        if name != "_" and vars(_OWNERS[owner]).get(name) is not value
    ]
    late = [f"hook {hook}" for hook, plugin in _hooks() - _known if not _is_conftest(plugin)]
    other = ["the code of a test" for function, code in _tests if function.__code__ is not code]
    return [*sorted({*names, *late, *other}), *_PROCESS.changes()]


def unchanged() -> None:
    """What the canaries ask. Raises AssertionError with all that is another now, as far as a report has room for it."""
    __tracebackhide__ = True
    if names := listed(replaced()):
        raise AssertionError(f"replaced: {names}\n")


_PROCESS = PristineProcess([WORK, *ROOTS], TOLD["tests"])


def _is_conftest(plugin: str) -> bool:
    return os.path.basename(plugin) == "conftest.py" and os.path.isfile(plugin)


def _hooks() -> set[tuple[str, str]]:
    return {(name, found.plugin_name) for name, hook in _hooked.items() for found in hook.get_hookimpls()}


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: Any) -> None:
    _hooked.update((name, getattr(session.config.hook, name)) for name in _HOOKS)
    _known.update(_hooks())


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_load_initial_conftests() -> Iterator[None]:
    sys.path[:0] = [root for root in ROOTS if root not in sys.path]
    yield


_xml: Any = None
_rootdir = Path()


@pytest.hookimpl(trylast=True)
def pytest_configure(config: Any) -> None:
    global _xml, _rootdir
    _xml = config.stash.get(_pytest.junitxml.xml_key, None)  # workers of xdist have none
    _rootdir = config.rootpath
    if _xml:
        _xml._opentestcase = functools.partial(_with_id, _xml._opentestcase)
    if TOLD["only"]:
        config.args = TOLD["only"]


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return True if NONCE in collection_path.name else None


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_collection_modifyitems(session: Any, items: list[Any]) -> Iterator[None]:
    yield
    first, last = (tests_of(session, Path(TOLD[which]), items) for which in ("first", "last"))
    items[:] = [*first, *items, *last]
    functions: list[Any] = [getattr(item, "function", None) for item in items if isinstance(item, pytest.Function)]
    _tests.extend((function, function.__code__) for function in functions if hasattr(function, "__code__"))


def _with_id(opened: Callable[[Any], Any], report: Any) -> Any:
    """Every line of the report; a test that fails and then fails to clean up has two."""
    reporter = opened(report)
    reporter.add_attribute("id", _id(report.nodeid))
    return reporter


def _id(node: str) -> str:
    """A node id with its path below the repository: pytest's own is below its rootdir."""
    path, colons, rest = node.partition("::")
    place = os.path.relpath(_rootdir / path, WORK)
    return f"{place}{colons}{rest}"


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_sessionfinish(session: Any) -> Iterator[None]:
    yield
    if not hasattr(session.config, "workerinput") and os.path.exists(REPORT):
        digest = hashlib.sha256(Path(REPORT).read_bytes()).hexdigest()
        os.write(OUT, f"\n{NONCE} {digest}\n".encode())
