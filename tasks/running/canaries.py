"""Canaries: tests of the platform's own among the project's, most of which must fail. What makes every test green, ends
the process early or writes the report itself does not get them right."""

import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from domain.policy.test_rules import EQUAL, PUT
from domain.reports import Report
from domain.task import CaseOutcome

PLATFORM = "/lockgate/platform"
"""Where the platform's own files are in a sandbox; written before anything runs."""
REPORT = "/lockgate/report.xml"
WORK = "/work"
"""The repository in a sandbox; test ids have paths below it."""

FILE = "the file "
"""What stands before a file of the tests that was changed, among what was replaced."""

_DUE = {
    "assert": CaseOutcome.FAILED,
    "raises": CaseOutcome.FAILED,
    "unit": CaseOutcome.FAILED,
    "fixture": CaseOutcome.ERROR,
    "passes": CaseOutcome.PASSED,
    "same": CaseOutcome.PASSED,
}
PYTEST = {f"{which}.{kind}": str(outcome) for which in "ab" for kind, outcome in _DUE.items()}
UNITTEST = {name: due for name, due in PYTEST.items() if name.split(".")[1] in ("unit", "passes", "same")}
"""Canary → how it must end; `a` comes before the project's tests, `b` after."""
_TELLS = ("assert", "unit", "fixture")
"""Those whose failure says the token."""

_SOURCE = """\
import unittest

import pytest

TOKEN = "{token}"


def test_{mark}_assert():
    assert TOKEN == "", TOKEN


def test_{mark}_raises():
    with pytest.raises(LookupError):
        pass


@pytest.fixture
def fixture_{mark}():
    raise RuntimeError(TOKEN)


def test_{mark}_fixture(fixture_{mark}):
    pass


def test_{mark}_passes():
    pass


def test_{mark}_same():
    from lockgate_inside import unchanged

    unchanged()


class Test_{mark}(unittest.TestCase):
    def test_{mark}_unit(self):
        self.assertEqual(TOKEN, "", TOKEN)
"""


class Canaries(NamedTuple):
    """The canaries of one run: nobody knows their names before it."""

    nonce: str
    token: str
    due: Mapping[str, str]

    def files(
        self, inside: str, directory: str, roots: Sequence[str], only: Sequence[str] = (), tests: Sequence[str] = ()
    ) -> dict[str, bytes]:
        """Absolute path in the sandbox → content: the program `inside`, what it is told, and canaries for pytest.

        `directory`: of the tests, relative to the repository root. `only`: the files to collect instead of all.
        `tests`: files that nobody may write while the tests run.
        """
        first, last = (f"{WORK}/{directory}/test_{self.nonce}{which}.py".replace("//", "/") for which in "ab")
        told = {
            "nonce": self.nonce, "token": self.token, "report": REPORT, "roots": list(roots), "work": WORK,
            "first": first, "last": last, "only": [f"{WORK}/{path}" for path in only],
            "tests": [f"{WORK}/{path}" for path in tests],
        }  # fmt: skip
        files = programs(inside) | {f"{PLATFORM}/told.json": json.dumps(told).encode()}
        if inside == "inside_pytest":
            files |= {path: _source(self, which) for path, which in ((first, "a"), (last, "b"))}
        return files

    def taken_out(self, report: Report) -> tuple[Report, dict[str, str]]:
        """The report without canaries, and how each of them ended: an outcome, `missing`, or what was replaced."""
        seen = dict.fromkeys(self.due, str(CaseOutcome.MISSING))
        rest = Report({}, {})
        for test, outcome in report.cases.items():
            message = report.messages.get(test, "")
            if self.nonce not in test:
                rest.add(test, outcome, message)
            elif match := re.search(rf"test_{self.nonce}([ab])_([a-z]+)$", test):
                which, kind = match.groups()
                if kind in _TELLS and self.token not in message:
                    seen[f"{which}.{kind}"] = f"{outcome} without its reason"
                elif kind == "same" and (names := re.findall(r"replaced: ([^\n]*)", message)):
                    seen[f"{which}.{kind}"] = names[-1]  # a traceback before it may show the line that says it
                else:
                    seen[f"{which}.{kind}"] = str(outcome)
        return rest, seen

    def seal_problem(self, output: str, report: bytes) -> str | None:
        """Why this report is not the one that the runner wrote when the tests ended; None if it is."""
        seals = re.findall(rf"^{self.nonce} ([0-9a-f]{{64}})$", output.replace("\r", ""), re.MULTILINE)
        if not seals:
            return "the run did not come to its end"
        if seals != [hashlib.sha256(report).hexdigest()]:
            return "the report was changed after the tests ended"
        return None


def programs(inside: str) -> dict[str, bytes]:
    """Absolute path in the sandbox → what of the platform's runs beside the tests there: `inside`, and what it uses."""
    own = {"lockgate_inside": inside, "lockgate_collect": "inside_collect", "lockgate_process": "inside_process"}
    return {f"{PLATFORM}/{name}.py": Path(__file__).with_name(f"{file}.py").read_bytes() for name, file in own.items()}


def _source(canaries: Canaries, which: str) -> bytes:
    return _SOURCE.format(mark=f"{canaries.nonce}{which}", token=canaries.token).encode()


def release(due: Mapping[str, str]) -> Canaries:
    return Canaries(secrets.token_hex(5), secrets.token_hex(8), due)


def canary_problem(
    seen: Mapping[str, str], wanted: Mapping[str, str], proper: Mapping[str, str] | None = None
) -> str | None:
    """Why a run whose canaries ended like `seen` is not believed; None if they ended as wanted, or as is `proper`.

    `wanted` is how they ended on base: where the project's own set-up skips them there, they may be skipped here.
    """
    for name, due in wanted.items():
        got = seen.get(name, "missing")
        if got == due or got == (proper or {}).get(name) or (name.endswith(".same") and got == "passed"):
            continue
        if not name.endswith(".same") or got in list(CaseOutcome):
            return f"a test of the platform's that must be {due if due in list(CaseOutcome) else 'passed'} is {got}"
        names = sorted(set(got.split(", ")) - set(due.split(", ")))
        names = [one for one in names if not one.startswith((PUT, EQUAL))]  # rules of their own ask for these
        if files := [one.removeprefix(FILE).removeprefix(f"{WORK}/") for one in names if one.startswith(FILE)]:
            return f"files of the tests were changed while they ran: {', '.join(files[:5])}"
        if names:
            return f"parts of Python or of the test runner are replaced while the tests run: {', '.join(names)}"
    return None
