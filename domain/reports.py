"""What test runners report, read as data: JUnit XML, TAP, and the JSON of jest and vitest."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, ParseError

from defusedxml.ElementTree import fromstring

from domain.task import CaseOutcome

MAX_MESSAGE = 1500
"""Characters kept of why a test failed: the end, where the assertion is."""
BAD = (CaseOutcome.FAILED, CaseOutcome.ERROR)


class Report(NamedTuple):
    """Test id → outcome, and test id → why it failed. `runner`: who says so, where only the report tells."""

    cases: dict[str, CaseOutcome]
    messages: dict[str, str]
    runner: str = ""

    @property
    def is_failing(self) -> bool:
        return any(outcome in BAD for outcome in self.cases.values())

    def add(self, test: str, outcome: CaseOutcome, message: str = "") -> None:
        """A test that is reported twice keeps its failure: it passed, and then failed in its teardown.

        JSON may hold half of a surrogate pair, which no database and no digest takes: it becomes a `?`.
        """
        test, message = (text.encode("utf-8", "replace").decode() for text in (test, message))
        if self.cases.get(test) in BAD:
            return
        self.cases[test] = outcome
        if outcome in BAD:
            self.messages[test] = message[-MAX_MESSAGE:]


Namer = Callable[[Element, tuple[str, ...]], str]
"""The test id of a JUnit case, given the names of the suites around it."""


def read_junit(content: bytes, name: Namer) -> Report:
    """JUnit XML. Raises ValueError if it is none."""
    try:
        root = fromstring(content)
    except (ParseError, LookupError) as err:  # LookupError: an encoding that nobody knows
        raise ValueError(str(err)) from err
    report = Report({}, {})
    for case, suites in _cases(root, ()):
        outcome, message = CaseOutcome.PASSED, ""
        for child in case:
            if child.tag in ("failure", "error"):
                outcome = CaseOutcome.FAILED if child.tag == "failure" else CaseOutcome.ERROR
                message = f"{child.get('message') or ''}\n{child.text or ''}".strip()
            elif child.tag == "skipped":
                xfail = child.get("type") == "pytest.xfail"
                outcome, message = CaseOutcome.PASSED if xfail else CaseOutcome.SKIPPED, ""
        if test := name(case, suites):
            report.add(test, outcome, message)
    return report


def _cases(root: Element, suites: tuple[str, ...]) -> Iterator[tuple[Element, tuple[str, ...]]]:
    waiting = [(root, suites)]
    while waiting:
        element, around = waiting.pop()
        if element.tag == "testcase":
            yield element, around
            continue
        inner = (*around, element.get("name") or "") if element.tag == "testsuite" else around
        waiting += [(child, inner) for child in reversed(element)]


def by_file(case: Element, suites: tuple[str, ...]) -> str:
    """file::suite::name, with what of it there is; for runners that are not pytest."""
    file = (case.get("file") or "").removeprefix("/work/")
    classname = case.get("classname") or ""
    inner = [name for name in suites if name] or ([classname] if classname not in ("", "test") else [])
    name = case.get("name") or ""
    if name.removeprefix("/work/") == file:
        return file  # node's word for a file that does not import
    return "::".join(part for part in (file, *inner, name) if part)


def by_id(case: Element, suites: tuple[str, ...]) -> str:
    """The id that the platform's plugin gave the test; none where a test did not come to its end."""
    return case.get("id") or "::".join(filter(None, (case.get("classname"), case.get("name"))))


_TAP = re.compile(r"(not )?ok\b\s*(\d*)\s*(?:-\s*)?(.*?)\s*(?:#\s*(skip|todo)\b.*)?", re.IGNORECASE)
_TAP_PLAN = re.compile(r"1\.\.(\d{1,9})\b.*")


def read_tap(text: str) -> Report:
    """TAP as a program prints it (https://testanything.org), its top level. Raises ValueError if it is not whole."""
    report, count, planned = Report({}, {}), 0, None
    last = ""
    for line in text.splitlines():
        if line.startswith("Bail out!"):
            raise ValueError(line[:200])
        if (plan := _TAP_PLAN.fullmatch(line)) and planned is None:
            planned = int(plan[1])
        elif match := _TAP.fullmatch(_short(line)):
            count += 1
            bad, number, name, directive = match.groups()
            last = name or f"test {number or count}"
            if directive:
                outcome = CaseOutcome.SKIPPED if directive.lower() == "skip" else CaseOutcome.PASSED
            else:
                outcome = CaseOutcome.FAILED if bad else CaseOutcome.PASSED
            report.add(last, outcome)
        elif last in report.messages and line.startswith((" ", "#")):
            report.messages[last] = (report.messages[last] + line.strip(" #") + "\n")[:MAX_MESSAGE]
    if planned is None or planned != count:
        raise ValueError(f"{count} tests are reported, and the plan says {'nothing' if planned is None else planned}")
    return report


def _short(line: str) -> str:
    """A line of TAP with its white space put together, cut: the pattern takes time by the square of its length."""
    return line if line[:1].isspace() else " ".join(line[:4000].split())


_JEST = {"passed": CaseOutcome.PASSED, "failed": CaseOutcome.FAILED}


def read_jest(content: bytes) -> Report:
    """The JSON of jest, which vitest writes too. Raises ValueError if it is none, or does not fit together."""
    report = Report({}, {})
    try:
        data: dict[str, Any] = json.loads(content)
        for file in data["testResults"]:
            path = str(file["name"]).removeprefix("/work/")
            cases = file["assertionResults"]
            for case in cases:
                test = f"{path}::{case.get('fullName') or case.get('title')}"
                outcome = _JEST.get(case["status"], CaseOutcome.SKIPPED)
                report.add(test, outcome, "\n".join(map(str, case.get("failureMessages") or ())))
            if file["status"] == "failed" and not any(case["status"] == "failed" for case in cases):
                report.add(path, CaseOutcome.ERROR, str(file.get("message") or ""))
        is_fine = data["success"]
    except (KeyError, TypeError, AttributeError, RecursionError) as err:
        raise ValueError(f"not what jest writes: {err!r}") from err
    if is_fine is not True and not report.is_failing:
        raise ValueError("it says that something failed, and not what")
    return report
