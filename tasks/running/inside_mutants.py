"""Inside the sandbox: a pytest plugin of the platform's, loaded there by `-p`. The platform itself never imports it.

Told to watch, it lets the tests run and writes down which lines of the changed files each of them runs. Told to try, it
stays in a process in which pytest and the packages of others are loaded, but nothing of the tree: a mutant is put into
its file, and a fork of that process runs the tests.
"""

import ast
import contextlib
import importlib
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import pytest
from lockgate_collect import tests_of

TOLD: dict[str, Any] = json.loads(Path(__file__).with_name("told.json").read_text())
END = time.monotonic() + TOLD["seconds"]
ENVIRONMENT = dict(os.environ)
OWN = str(Path(__file__).parent)
FILES: dict[str, int] = {path: number for number, path in enumerate(TOLD["files"])}
"""The changed files → their numbers, by which they are told of."""
_KNOWN = frozenset(sys.modules)


def say(record: object) -> None:
    with open(TOLD["out"], "a") as file:
        file.write(json.dumps(record) + "\n")


open(TOLD["out"], "a").close()

# --- watch


_loaded: list[set[int]] = [set() for _ in FILES]
_lines: list[set[int]] = [set() for _ in FILES]
"""By the number of the file: lines run on import, and by the test at hand."""
_OPTIMIZED = 0x1
"""On the code of functions, and not of modules and classes. https://docs.python.org/3/library/inspect.html"""


def _called(frame: FrameType, event: str, arg: object) -> Any:
    number = FILES.get(frame.f_code.co_filename)
    if number is None:
        return None
    return _runs((_lines if frame.f_code.co_flags & _OPTIMIZED else _loaded)[number], frame)


def _runs(lines: set[int], frame: FrameType) -> Any:
    def ran(frame: FrameType, event: str, arg: object) -> Any:
        lines.add(frame.f_lineno)
        return ran

    return ran(frame, "call", None)


@contextlib.contextmanager
def _watching() -> Iterator[None]:
    """Only what is the tree's is watched: each call in between costs time, and a runner and its rewriting of asserts
    make many."""
    before = sys.gettrace()
    threading.settrace(_called)
    sys.settrace(_called)
    try:
        yield
    finally:
        sys.settrace(before)


_exec_module = SourceFileLoader.exec_module


def _watched_import(loader: SourceFileLoader, module: ModuleType) -> None:
    with _watching() if loader.path in FILES else contextlib.nullcontext():
        _exec_module(loader, module)


def _numbered(lines: list[set[int]]) -> dict[int, list[int]]:
    return {number: sorted(some) for number, some in enumerate(lines) if some}


def _statements(path: str) -> list[list[int]]:
    """First and last line of each statement of a file that there is code for; of one with a body, of its head."""
    try:
        source = Path(path).read_bytes()
        module, code = ast.parse(source), compile(source, path, "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    with_code = set(_code_lines(code))
    spans = []
    for node in ast.walk(module):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None) or getattr(node, "cases", None)
            last = _first_line(body[0]) - 1 if body else node.end_lineno or node.lineno
            spans.append([_first_line(node), max(last, node.lineno)])
    return sorted(span for span in spans if not with_code.isdisjoint(range(span[0], span[1] + 1)))


def _first_line(node: Any) -> int:
    node = getattr(node, "pattern", node)
    lines: list[int] = [node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))]
    return min(lines)


def _code_lines(code: CodeType) -> Iterator[int]:
    yield from (line for _, _, line in code.co_lines() if line)
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _code_lines(part)


def _others() -> list[str]:
    """Modules that were imported meanwhile and are not the tree's, the parent of each before it."""
    files = ((name, getattr(module, "__file__", None)) for name, module in list(sys.modules.items()))
    return [
        name
        for name, file in files
        if isinstance(file, str) and name not in _KNOWN and not _is_the_trees(file) and name != "__main__"
    ][:5000]


def _is_the_trees(file: str) -> bool:
    return file.startswith(("/work/", OWN))


# --- try


_stamps = itertools.count(1_000_000_000)
"""Every content that a file gets has a time of its own, or Python would take the bytecode of the one before."""


def _tried() -> dict[str, Any]:
    """Tries every job in a fork, and ends the process. It returns in a fork alone: the job that the fork is there for.

    The first job has no mutant: a test that does not pass in it cannot tell anything of one.
    """
    for name in TOLD["modules"]:
        if time.monotonic() < END - TOLD["seconds"] / 2:
            with contextlib.suppress(BaseException):
                importlib.import_module(name)
    control, *jobs = TOLD["jobs"]
    started = time.monotonic()
    if _ended_by_itself(control, (END - started) / 2, patience=1) is None:
        return dict(control)
    passes, limit = set(_answer().get("passed", ())), 0.5 + 2 * (time.monotonic() - started)
    for job in jobs:
        if END - time.monotonic() < 0.1:
            break
        source, known = Path(job["path"]).read_bytes(), [test for test in job["tests"] if test in passes]
        mutated = _mutated(source, job)
        if mutated is None or not known:
            say([job["id"], "unclear" if mutated else "invalid"])
            continue
        _put(job["path"], mutated)
        is_over = _ended_by_itself(job, limit)
        if is_over is None:
            return {**job, "tests": known}
        _put(job["path"], source)
        if is_over or time.monotonic() < END:
            survives = is_over and set(known) <= set(_answer().get("passed", ()))
            say([job["id"], "killed" if not survives else "survived" if known == job["tests"] else "unclear"])
    os._exit(0)


PATIENCE = 5
"""A mutant that never ends keeps a processor busy. One that only waits, for a processor on a busy machine or for
nothing, is given up after so many times as long."""


def _mutated(source: bytes, job: dict[str, Any]) -> bytes | None:
    """The file with its mutant; None if that does not compile."""
    try:
        text = source.decode()
        mutated = f"{text[: job['start']]}{job['text']}{text[job['end'] :]}".encode()
        compile(mutated, job["path"], "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return mutated


def _put(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)
    stamp = next(_stamps)
    os.utime(path, (stamp, stamp))


def _ended_by_itself(job: dict[str, Any], limit: float, patience: float = PATIENCE) -> bool | None:
    """Forks, and waits. None in the fork; False if it took so many seconds of a processor, or many times as long."""
    _ANSWER.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        for output in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), output)
        if any(_is_the_trees(getattr(module, "__file__", None) or "") for module in _LOADED_BEFORE):
            environment = {**ENVIRONMENT, "LOCKGATE_JOB": json.dumps(job)}
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606
        return None
    end = min(END, time.monotonic() + patience * limit)
    while not (is_over := os.waitpid(pid, os.WNOHANG)[0] == pid):
        if time.monotonic() > end or _processor_s(pid) > limit:
            break
        time.sleep(0.003)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    if not is_over:
        os.waitpid(pid, 0)
    return is_over


def _processor_s(pid: int) -> float:
    """What a process that is not yet waited for has used. The number of its clock: `man 3 clock_getcpuclockid`, and
    https://github.com/torvalds/linux/blob/master/include/linux/posix-timers_types.h"""
    return time.clock_gettime((~pid << 3) | 2)


def _answer() -> dict[str, Any]:
    """What the tests of a fork said; empty if they did not come to their end."""
    try:
        answer = json.loads(_ANSWER.read_text())
    except (OSError, ValueError):
        return {}
    return answer if isinstance(answer, dict) else {}


_ANSWER = Path(f"{TOLD['out']}.answer")
_LOADED_BEFORE = [module for name, module in sys.modules.items() if name != __name__]
"""A plugin of the tree's own that the command loads before this one: then a fork is not fresh, and starts again."""
JOB: dict[str, Any] | None = None
if told_job := os.environ.pop("LOCKGATE_JOB", None):
    JOB = json.loads(told_job)
elif TOLD["jobs"]:
    JOB = _tried()

os.environ["PYTHONPATH"] = os.pathsep.join(TOLD["roots"])  # programs that tests start see the project as ever
os.environ.pop("PYTHONSAFEPATH", None)
_passed: set[str] = set()
_failed: set[str] = set()
_STARTED = time.monotonic()


# --- both


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_load_initial_conftests() -> Iterator[None]:
    sys.path[:0] = [root for root in TOLD["roots"] if root not in sys.path]
    if JOB is None:
        SourceFileLoader.exec_module = _watched_import  # type: ignore[method-assign, assignment]
    yield


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: Any) -> None:
    if hasattr(config.option, "dist"):  # xdist: other processes would run the tests, and nobody would watch
        config.option.dist, config.option.tx = "no", []
    if JOB is not None:
        config.args = list(dict.fromkeys(TOLD["tests"][n][1] for n in JOB["tests"]))
    elif TOLD["only"]:
        config.args = TOLD["only"]


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_collection_modifyitems(session: Any, items: list[Any]) -> Iterator[None]:
    yield
    if JOB is None:
        known = {str(item.path) for item in items}
        for path in TOLD["also"]:
            items += tests_of(session, Path(path), items) if path not in known else []
        items.sort(key=lambda item: str(item.path) not in TOLD["first"])
        say({"collected": len(items), "loaded": _numbered(_loaded), "modules": _others(),
             "statements": {number: _statements(path) for path, number in FILES.items()}})  # fmt: skip
    else:
        found = {item.nodeid: item for item in items}
        items[:] = [found[test] for test in (TOLD["tests"][n][0] for n in JOB["tests"]) if test in found]


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: Any) -> Iterator[None]:
    started, before = time.monotonic(), sum(map(len, _loaded))
    for lines in _lines:
        lines.clear()
    yield
    now = time.monotonic()
    if JOB is None:
        seen = {"test": item.nodeid, "file": str(item.path), "seconds": now - started, "lines": _numbered(_lines)}
        grown = {"loaded": _numbered(_loaded)} if sum(map(len, _loaded)) > before else {}
        say({"seen": {**seen, "passed": item.nodeid in _passed - _failed}, **grown})
    if now - _STARTED > (TOLD["seconds"] if JOB is None else JOB.get("seconds", now)):
        item.session.shouldstop = "the time is up"


@pytest.hookimpl(hookwrapper=True, trylast=True)
def pytest_runtest_call() -> Iterator[None]:
    with _watching() if JOB is None else contextlib.nullcontext():
        yield


pytest_fixture_setup = pytest_runtest_teardown = pytest_runtest_call


def pytest_runtest_logreport(report: Any) -> None:
    if report.failed:
        _failed.add(report.nodeid)
        if JOB is not None and JOB["id"] >= 0:
            os._exit(1)  # one is enough
    elif report.passed and report.when == "call":
        _passed.add(report.nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    if JOB is not None:
        passed = [n for n in JOB["tests"] if TOLD["tests"][n][0] in _passed - _failed]
        _ANSWER.write_text(json.dumps({"passed": passed}))
        os._exit(0)
