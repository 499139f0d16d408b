"""Inside the sandbox: `python -m unittest` with canaries and a sealed JUnit report. The platform never imports it."""

import builtins
import datetime
import hashlib
import json
import os
import re
import sys
import time
import unittest
from pathlib import Path
from typing import Any
from unittest import case, loader, result, runner, suite
from xml.etree import ElementTree

from lockgate_process import PristineProcess, listed

TOLD: dict[str, Any] = json.loads(Path(__file__).with_name("told.json").read_text())
NONCE, ROOTS, WORK = TOLD["nonce"], TOLD["roots"], TOLD["work"]
OUT = os.dup(1)
os.environ["PYTHONPATH"] = os.pathsep.join(ROOTS)
os.environ.pop("PYTHONSAFEPATH", None)
sys.path[:0] = [root for root in ROOTS if root not in sys.path]

_OWNERS: dict[str, Any] = {
    "builtins": builtins, "time": time, "datetime": datetime, "TestCase": unittest.TestCase, "unittest.case": case,
    "TestResult": result.TestResult, "TextTestRunner": runner.TextTestRunner, "TestSuite": suite.TestSuite,
    "TestLoader": loader.TestLoader,
}  # fmt: skip
_MADE_OF = {
    (owner, name): value
    for owner in _OWNERS
    for name, value in vars(_OWNERS[owner]).items()
    if callable(value) or isinstance(value, (classmethod, staticmethod, property))
}


def replaced() -> list[str]:
    """What is no longer what it was before any test or product code was loaded."""
    names = sorted(
        f"{owner}.{name}"
        for (owner, name), value in _MADE_OF.items()
        if name != "_" and vars(_OWNERS[owner]).get(name) is not value
    )
    return [*names, *_PROCESS.changes()]


_PROCESS = PristineProcess([WORK, *ROOTS], TOLD["tests"])


class Recorder(runner.TextTestResult):
    """Keeps the first thing that went wrong with each test."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: dict[str, tuple[Any, str, str]] = {}

    def _keep(self, test: Any, kind: str, text: str = "") -> None:
        known = self.seen.get(test.id())
        if known is None or known[1] in ("passed", "skipped"):
            self.seen[test.id()] = (test, kind, text)

    def addSuccess(self, test: Any) -> None:
        super().addSuccess(test)
        self._keep(test, "passed")

    def addFailure(self, test: Any, err: Any) -> None:
        super().addFailure(test, err)
        self._keep(test, "failure", self.failures[-1][1])

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, err)
        self._keep(test, "error", self.errors[-1][1])

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            failed = issubclass(err[0], test.failureException)
            self._keep(test, "failure" if failed else "error", f"{subtest}: {err[1]}")

    def addSkip(self, test: Any, reason: str) -> None:
        super().addSkip(test, reason)
        self._keep(test, "skipped")

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        super().addExpectedFailure(test, err)
        self._keep(test, "passed")

    def addUnexpectedSuccess(self, test: Any) -> None:
        super().addUnexpectedSuccess(test)
        self._keep(test, "failure", "an expected failure passed")


def canary(which: str) -> unittest.TestSuite:
    """The same tests as the platform's for pytest, as far as unittest has them."""

    def test_unit(self: Any) -> None:
        self.assertEqual(TOLD["token"], "", TOLD["token"])  # noqa: PT009

    def test_passes(self: Any) -> None:
        pass

    def test_same(self: Any) -> None:
        names = listed(replaced())
        self.assertEqual("", names, f"replaced: {names}\n")  # noqa: PT009

    tests = {f"test_{NONCE}{which}_{test.__name__[5:]}": test for test in (test_unit, test_passes, test_same)}
    made = type(f"Test{NONCE}{which}", (unittest.TestCase,), {**tests, "__module__": "canary"})
    return unittest.TestSuite(made(name) for name in tests)


class Runner(runner.TextTestRunner):
    resultclass = Recorder


class Program(unittest.TestProgram):
    test: Any

    def createTests(self, *args: Any, **kwargs: Any) -> None:
        super().createTests(*args, **kwargs)
        self.test = unittest.TestSuite([canary("a"), self.test, canary("b")])


def _id(test: Any, name: str) -> str:
    """The test's id as pytest has it: a path below the repository, classes and the method."""
    if type(test).__name__ == "_FailedTest":  # a module that did not import
        module, inner = test._testMethodName, ""
    elif match := re.fullmatch(r"(?:setUp|tearDown)(Class|Module) \((.*)\)", name):
        module, _, inner = match[2].rpartition(".") if match[1] == "Class" else (match[2], "", "")
    else:
        module = type(test).__module__
        inner = name.removeprefix(f"{module}.")
    return "::".join([_place(module) or module, *filter(None, inner.split("."))])


def _place(module: str) -> str:
    """The path of a module's file below the repository; empty if it is not in there."""
    file = getattr(sys.modules.get(module), "__file__", None)
    inner = module.replace(".", "/")
    files = [file or "", *(f"{root}/{inner}{end}" for root in sys.path for end in (".py", "/__init__.py"))]
    found = next((os.path.realpath(path) for path in files if path and os.path.isfile(path)), "")
    return os.path.relpath(found, WORK) if found.startswith(f"{WORK}/") else ""


def write(seen: dict[str, tuple[Any, str, str]]) -> None:
    root = ElementTree.Element("testsuite")
    for name, (test, kind, text) in seen.items():
        element = ElementTree.SubElement(root, "testcase", id=_id(test, name))
        if kind != "passed":
            clean = "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
            ElementTree.SubElement(element, kind).text = clean
    content = ElementTree.tostring(root)
    Path(TOLD["report"]).write_bytes(content)
    os.write(OUT, f"\n{NONCE} {hashlib.sha256(content).hexdigest()}\n".encode())


if __name__ == "__main__":
    program = Program(None, argv=["python -m unittest", *sys.argv[1:]], exit=False, testRunner=Runner)
    write(program.result.seen)  # type: ignore[attr-defined]
    sys.exit(not program.result.wasSuccessful())
