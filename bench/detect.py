"""Detection on projects that nobody here wrote: source archives of the package index, as they are.

Each archive is a repository without lockgate.toml. It is detected, installed and its suite run in a sandbox. Beside it
the project's own instructions (`detect_projects.py`) are followed in a plain virtual environment. What passes there
must pass here, test by test. The last line is JSON: {"projects", "ran_as_plain", "refused_with_reason", "wrong"}.

`python bench/detect.py [--only NAME] [--again] [--write]`. Each row is kept in $LOCKGATE_HOME as soon as it is there,
so a run that was stopped goes on where it was, and two runs at once share the work. A row is made anew if the archive,
the instructions or what was detected changed, and with --again. The plain side runs the projects' code with your
rights: use a machine that you can throw away.
"""

import argparse
import fcntl
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from uv import find_uv_bin

from bench.detect_projects import PROJECTS, Project
from blocks.workshop import Workshop
from domain.detect import detect
from domain.detect.reading import Detected
from domain.errors import LockgateError
from domain.policy.feedback import cause_of
from domain.task import CaseOutcome, Suite
from domain.trees import Tree, TreeEntry
from domain.value import digest_of
from kits import sdists
from station.init import missing_of
from tasks.running.prove import Proof, prove
from tasks.running.runners import EXIT_CODE

PAGE = Path(__file__).parent.parent / "docs" / "detect-bench.md"
INSTALL_S = 900
SUITE_S = 900
COUNTED = ("passed", "failed", "error")
LOST = 0.02
"""Share of the tests that pass plainly and may miss here, for tests that pass by chance."""


class Row(NamedTuple):
    """One project. `verdict`: as plain, refused, or wrong."""

    project: str
    verdict: str
    detected: str
    here: str
    plain: str
    reason: str = ""
    lost: tuple[str, ...] = ()
    """Some of the tests that pass plainly and not here, with what they said."""
    key: str = ""


class Plain(NamedTuple):
    """The plain side. `passed`: how often each test function passed; "" where only the number is known."""

    passed: dict[str, int]
    counts: dict[str, int]
    problem: str = ""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    home = Path(os.environ.setdefault("LOCKGATE_HOME", str(Path.home() / ".lockgate" / "bench-detect")))
    rows = home / "rows"
    rows.mkdir(parents=True, exist_ok=True)
    shop = Workshop(sandboxes="bubblewrap")
    for name, project in PROJECTS.items():
        if arguments.only and name not in arguments.only:
            continue
        with open(rows / f"{name}.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # another run has it
            try:
                measure(shop, name, project, rows, again=arguments.again)
            except (LockgateError, OSError) as err:  # trouble of this machine is no row: the next run tries again
                print(f"no row    {name}: {err}", flush=True)
    known = [row for name in PROJECTS if (row := kept(rows / f"{name}.json"))]
    if arguments.write:
        PAGE.write_text(page(known))
    print(json.dumps(result(known)))


def measure(shop: Workshop, name: str, project: Project, rows: Path, *, again: bool) -> None:
    started, place = time.monotonic(), rows / f"{name}.json"
    files = sdists.files(name, project.sha256)
    tree: Tree = {path: TreeEntry(0o100644, files[path]) for path in files if ".git" not in path.split("/")}
    detected = detect(tree)
    settings = detected.settings.model_dump(mode="json", exclude_defaults=True)
    key = digest_of([project.sha256, project.install, project.test, project.environment, settings])
    known = kept(place)
    if known and known.key == key and not again:
        return
    row = compared(shop, name, project, tree, detected, rows)._replace(key=key)
    write(place, row._asdict())
    print(
        f"{row.verdict:9} {name}: {row.here} | plain {row.plain} {row.reason} ({time.monotonic() - started:.0f} s)",
        flush=True,
    )


def compared(shop: Workshop, name: str, project: Project, tree: Tree, detected: Detected, rows: Path) -> Row:
    """One project in the sandbox and in a plain environment."""
    said = ", ".join(f"{found.value} ({found.path})" for found in detected.found)
    with ThreadPoolExecutor(1) as pool:
        planned = pool.submit(plain_of, name, project, tree, rows)
        proof = prove(shop, name, tree, detected.settings) if detected.kind else Proof()
        beside = planned.result()
    plainly = counted(beside.counts) if beside.counts else f"nothing ran: {' '.join(beside.problem.split())[:200]}"
    if not detected.kind:
        return Row(name, "refused", "", "nothing detected", plainly, detected.missing[0].how)
    if proof.suite and proof.suite.runner == EXIT_CODE:
        return by_exit_code(name, proof.suite, beside)._replace(detected=said, plain=plainly)
    cases = {test: outcome.value for test, outcome in proof.suite.cases.items()} if proof.suite else {}
    here = Counter(_function(test) for test, outcome in cases.items() if outcome == "passed")
    lost = missed(beside.passed, here)
    reason = proof.problem or (proof.suite.problem if proof.suite else None) or ""
    if not reason and not here:
        reason = first_of(proof, cases)
    if not reason and sum(lost.values()) > LOST * sum(beside.passed.values()):
        reason = "; ".join(missing_of(proof, detected.settings, tree)) if _is_told(lost, cases) else ""
        verdict = "refused" if reason else "wrong"
    else:
        verdict = "refused" if reason else "as plain"
    shown = tuple(f"{test}: {_said(proof, cases, test)}" for test in list(lost)[:40])
    return Row(name, verdict, said, counted(Counter(cases.values())), plainly, " ".join(reason.split())[:400], shown)


def by_exit_code(name: str, suite: Suite, beside: Plain) -> Row:
    """Where a script of the project's own runs its tests, it must end well here if nothing fails plainly."""
    outcome = next(iter(suite.cases.values()))
    if outcome is not CaseOutcome.PASSED:
        why = next(iter(suite.messages.values()), suite.problem or "")
        return Row(name, "refused", "", EXIT_CODE, "", cause_of(why).why)
    fails = beside.counts.get("failed", 0) + beside.counts.get("error", 0)
    return Row(name, "wrong" if fails or not beside.passed else "as plain", "", f"{EXIT_CODE} 0", "")


def missed(plainly: dict[str, int], here: dict[str, int]) -> dict[str, int]:
    """How many passes of which function there are plainly and not here."""
    if plainly.keys() == {""}:
        lost = {"": plainly[""] - sum(here.values())}
    else:
        lost = {function: count - here.get(function, 0) for function, count in plainly.items()}
    return {function: count for function, count in lost.items() if count > 0}


def _is_told(lost: Iterable[str], cases: dict[str, str]) -> bool:
    """Whether all that is missed failed here, by itself or with its module, and is not just absent."""
    failing = {_function(test) for test, outcome in cases.items() if outcome in ("failed", "error")}
    modules = {function.partition("::")[0] for function in failing if function.endswith("::")}
    return all(not one or one in failing or one.partition("::")[0] in modules for one in lost)


def first_of(proof: Proof, cases: dict[str, str]) -> str:
    messages = proof.suite.messages if proof.suite else {}
    return next((messages[test] for test in cases if messages.get(test)), "no test was found")


def _said(proof: Proof, cases: dict[str, str], function: str) -> str:
    tests = [test for test in cases if _function(test) == function]
    messages = proof.suite.messages if proof.suite else {}
    said = next((messages[test] for test in tests if test in messages), "")
    outcomes = counted(Counter(cases[test] for test in tests), ("passed", "failed", "error", "skipped"))
    return f"{outcomes if tests else 'absent'} {' '.join(said.split())[-300:]}"


def _function(test: str) -> str:
    """`tests/test_a.py::TestB::test_c[1]` → `test_a.py::TestB::test_c`: rootdir and parameters may differ."""
    path, _, rest = test.partition("::")
    return f"{path.rpartition('/')[2]}::{rest.partition('[')[0].partition('(')[0]}"


# --- the plain side


def plain_of(name: str, project: Project, tree: Tree, rows: Path) -> Plain:
    """What passes in a plain environment by the project's own instructions. Kept, for it does not change."""
    key = digest_of([project.sha256, project.install, project.test, project.environment])
    place = rows / f"{name}.plain.json"
    if place.exists() and (known := json.loads(place.read_text()))["key"] == key:
        return Plain(*known["plain"])
    found = run_plainly(project, tree)
    write(place, {"key": key, "plain": list(found)})
    return found


REPORTER = """
import json, pathlib
outcomes = {}

def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        known = outcomes.get(report.nodeid)
        outcome = "error" if report.failed and report.when != "call" else report.outcome
        if known in (None, "passed") or outcome in ("failed", "error"):
            outcomes[report.nodeid] = outcome

def pytest_collectreport(report):
    if report.failed:
        outcomes[report.nodeid] = "error"

def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        pathlib.Path(__file__).with_name("plain_report.json").write_text(json.dumps(outcomes))
"""


UNITTEST = """
import json, pathlib, sys, unittest

counts = {"passed": 0, "failed": 0, "error": 0}

class Result(unittest.TextTestResult):
    def addSuccess(self, test):
        super().addSuccess(test)
        counts["passed"] += 1

    def addFailure(self, test, err):
        super().addFailure(test, err)
        counts["failed"] += 1

    def addError(self, test, err):
        super().addError(test, err)
        counts["error"] += 1

class Runner(unittest.TextTestRunner):
    resultclass = Result

unittest.main(module=None, argv=["python -m unittest", *sys.argv[1:]], testRunner=Runner, exit=False)
pathlib.Path(__file__).with_name("plain_unittest.json").write_text(json.dumps(counts))
"""


def run_plainly(project: Project, tree: Tree) -> Plain:
    with tempfile.TemporaryDirectory(prefix="plain-") as directory:
        work, venv = Path(directory, "work"), Path(directory, "venv")
        for path, entry in tree.items():
            target = work / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(entry.content)
        environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("LOCKGATE", "PYTEST", "VIRTUAL_ENV", "UV_PROJECT"))
            },
            **project.environment,
            "VIRTUAL_ENV": str(venv),
            "PATH": f"{venv}/bin:{os.environ['PATH']}",
            "SETUPTOOLS_SCM_PRETEND_VERSION": _version(tree),
        }
        uv = find_uv_bin()
        words = shlex.split(project.install)
        if words[0] == "sync":
            install = [uv, "sync", "-q", "--frozen", "--active", *words[1:]]
        else:
            install = [uv, "pip", "install", "-q", *words]
        for argv in ([uv, "venv", "-q", "--seed", "--python", sys.executable, str(venv)], install):
            if said := _failed(argv, work, environment, INSTALL_S):
                return Plain({}, {}, f"cannot be installed: {said}")
        packages = next(venv.glob("lib/python3*/site-packages"))
        (packages / "plain_report.py").write_text(REPORTER)
        (packages / "plain_unittest.py").write_text(UNITTEST)
        test = re.sub(r"^pytest\b", "pytest -p plain_report", project.test)
        test = test.replace("-m unittest", "-m plain_unittest")
        try:
            done = subprocess.run(
                shlex.split(test),
                cwd=work,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=SUITE_S,
                check=False,
            )
        except (subprocess.TimeoutExpired, OSError) as err:
            return Plain({}, {}, f"{type(err).__name__}: {str(err)[-200:]}")
        output = done.stdout.decode("utf-8", "replace")
        report = packages / "plain_report.json"
        if report.exists():
            outcomes = json.loads(report.read_text())
            passed = Counter(_function(test) for test, outcome in outcomes.items() if outcome == "passed")
            return Plain(dict(passed), dict(Counter(outcomes.values())), "" if passed else output[-300:])
        tally = packages / "plain_unittest.json"
        counts = json.loads(tally.read_text()) if tally.exists() else of_text(output)
        return Plain({"": counts["passed"]} if counts.get("passed") else {}, counts, output[-300:])


def of_text(output: str) -> dict[str, int]:
    """Counts of what a runner prints last that prints as unittest does."""
    ran = re.findall(r"^Ran (\d+) tests?", output, re.MULTILINE)
    if not ran:
        return {}
    parts = {word: int(number) for word, number in re.findall(r"(\w+)=(\d+)", output[output.rfind("Ran ") :])}
    failed, errors = parts.get("failures", 0), parts.get("errors", 0)
    passed = parts.get("successes", int(ran[-1]) - failed - errors - parts.get("skipped", 0))
    return {"passed": passed, "failed": failed, "error": errors}


def _version(tree: Tree) -> str:
    entry = tree.get("PKG-INFO")
    lines = entry.content.decode("utf-8", "replace").splitlines() if entry else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("Version:")), "0.0.0")


def _failed(argv: list[str], work: Path, environment: dict[str, str], timeout_s: float) -> str:
    """What a command that failed said last; empty if it went well."""
    try:
        done = subprocess.run(argv, cwd=work, env=environment, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return f"it took over {timeout_s} s"
    return " ".join(done.stderr.decode("utf-8", "replace").split())[-300:] or "failed" if done.returncode else ""


# --- rows and the page


def kept(place: Path) -> Row | None:
    return Row(**json.loads(place.read_text())) if place.exists() else None


def write(place: Path, content: Any) -> None:
    part = place.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1))
    part.replace(place)


def counted(counts: dict[str, int], words: Iterable[str] = COUNTED) -> str:
    return ", ".join(f"{counts[word]} {word}" for word in words if counts.get(word)) or "nothing ran"


def result(rows: list[Row]) -> dict[str, int]:
    counts = Counter(row.verdict for row in rows)
    return {
        "projects": len(rows),
        "ran_as_plain": counts["as plain"],
        "refused_with_reason": counts["refused"],
        "wrong": counts["wrong"],
    }


RULE = """
# Detection on real projects

Written by `python bench/detect.py --write`; do not edit. Source archives of the package index, as they are, with no
lockgate.toml: detected, installed and tested in a bubblewrap sandbox of a machine with a C compiler, Cargo 1.65 and no
server running. Beside it what the project's own documents say was done in a plain virtual
environment: `bench/detect_projects.py` has it, written down by hand.

**How they were chosen**, before any of them was run: much used names of the index for each build backend (setuptools
with and without extension modules, hatchling, flit, poetry, pdm, uv_build, maturin, meson, scikit-build, backends of
the project's own), those that need a server, and those whose suites are no pytest. Of each the newest archive that
Python 3.11 may install, or the one that was pinned before. Left out are archives without tests, and those whose
suites are known to take over ten minutes. None was taken out for how it went.

Eight more were chosen later, for how their tests are run: by hatch, nox, pdm, tox, setup.py alone, unittest alone and
doctests. Their rows stand at the end of the table, and were measured on 30 November 2026 with the newest detection. All
other rows are older: they were measured on 29 and 30 November 2026, before that.

- **as plain**: of the tests that pass plainly, at most 2 % do not pass here, compared function by function. Where a
  script of the project's own runs them, it ends well here too.
- **refused**: Lockgate says why it cannot be run, or names what the tests miss.
- **wrong**: tests that pass plainly do not pass here, and nothing says so.
"""


def page(rows: list[Row]) -> str:
    lines = [
        RULE.strip(),
        "",
        f"`{json.dumps(result(rows))}`",
        "",
        "| project | built by | verdict | in the sandbox | plain | detected, or why not |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (row.project, backend_of(row.project), row.verdict, row.here, row.plain, row.reason or row.detected)
        lines.append("| " + " | ".join(cell_of(text) for text in cells) + " |")
    if rest := sorted(PROJECTS.keys() - {row.project for row in rows}):
        lines += ["", f"Not measured yet, and in none of the numbers: {', '.join(rest)}."]
    return "\n".join(lines) + "\n"


def cell_of(text: str) -> str:
    """A text for a table, without addresses and paths of the machine that measured."""
    plain = re.sub(r"\S*://\S+|\S+/packages/\S+|\(?/(?:tmp|var|root|home)/\S+", "…", text)
    return " ".join(plain.replace("|", "/").split())


def backend_of(name: str) -> str:
    content = sdists.files(name, PROJECTS[name].sha256).get("pyproject.toml", b"")
    backend = tomllib.loads(content.decode()).get("build-system", {}).get("build-backend", "setuptools")
    return "setuptools" if backend.startswith("setuptools") else backend.removesuffix(".build")


if __name__ == "__main__":
    main()
