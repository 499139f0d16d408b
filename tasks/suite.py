"""Runs a project's tests and checks once, in a fresh sandbox with no agent, no secrets and no network."""

import base64
import hashlib
import json
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from xml.etree.ElementTree import ParseError

from defusedxml.ElementTree import fromstring

from blocks.workshop import Workshop
from domain.brief import Brief
from domain.errors import AgentError
from domain.paths import matches
from domain.ports import Tree, TreeEntry, Workspace
from domain.project import ProjectSettings
from domain.task import CaseOutcome, Prepared, Suite
from domain.value import canonical
from tasks.room import room

REPORT = "/lockgate/report.xml"
ACCEPTANCE_COMMAND = "acceptance command"
_PYTEST = (
    "-p", "no:cacheprovider", f"--junitxml={REPORT}", "-o", "junit_family=xunit1", "--continue-on-collection-errors",
)  # fmt: skip
"""xunit1 carries the file of a test; a file that does not import must not keep the others from running."""


def tree_digest(tree: Tree) -> str:
    """SHA-256 over paths, modes and contents: equal trees, equal digest."""
    whole = hashlib.sha256()
    for path, entry in sorted(tree.items()):
        whole.update(f"{entry.mode:o} {hashlib.sha256(entry.content).hexdigest()} {path}\0".encode("utf-8", "replace"))
    return whole.hexdigest()


def locked(tree: Tree, brief: Brief, settings: ProjectSettings) -> Tree:
    """The contract: what base has under the test paths, with the acceptance files of the brief on top."""
    kept = {
        path: entry
        for path, entry in tree.items()
        if matches(path, settings.test_paths) and not matches(path, brief.may_change_tests)
    }
    acceptance = {f.path: TreeEntry(0o100644, f.content.encode()) for f in brief.acceptance.files}
    return {**kept, **acceptance}


def pack(tree: Tree) -> bytes:
    """A tree as canonical JSON, for the store."""
    return canonical({p: [e.mode, base64.b64encode(e.content).decode()] for p, e in tree.items()}).encode()


def unpack(data: bytes) -> Tree:
    """The tree that `pack` wrote."""
    return {p: TreeEntry(mode, base64.b64decode(content)) for p, (mode, content) in json.loads(data).items()}


Rooms = Callable[[], AbstractContextManager[Workspace]]
"""Opens one fresh workspace with the tree under test."""


def rooms(shop: Workshop, prepared: Prepared, tree: Tree) -> Rooms:
    """Workspaces for the code under test: no agent, no secrets, and no way out but what the project's tests name."""

    @contextmanager
    def opened() -> Iterator[Workspace]:
        with room(shop, prepared, "test", tree) as made:
            yield made.workspace

    return opened


def run_suite(shop: Workshop, tree: Tree, brief: Brief, settings: ProjectSettings, opened: Rooms) -> Suite:
    """Tests, acceptance command, build, lint and types of one tree, each in a workspace of its own: what one of them
    runs can change nothing for the next. The caller has put the locked files on the tree."""
    started = time.monotonic()
    with opened() as workspace:
        env = environment(tree, settings)
        argv = shlex.split(settings.test)
        is_pytest = any(Path(word).name in ("pytest", "py.test") for word in argv)
        extra = _PYTEST if is_pytest else []
        done = workspace.run([*argv, *extra], timeout_s=settings.test_timeout_s, env=env)
        output = done.output
        problem = done.problem
        if is_pytest:
            cases, messages, unread = _read_report(workspace, tree)
            if not problem and done.exit_code not in (0, 1, 2, 5):
                problem = f"pytest ended with exit code {done.exit_code}: {done.output[-400:]}"
            problem = problem or unread
            failing = any(o in (CaseOutcome.FAILED, CaseOutcome.ERROR) for o in cases.values())
            if not problem and failing != (done.exit_code in (1, 2)):
                problem = f"the report and exit code {done.exit_code} contradict each other"
        else:
            passed = done.exit_code == 0 and not problem
            cases = {settings.test: CaseOutcome.PASSED if passed else CaseOutcome.FAILED}
            messages = {} if passed else {settings.test: done.output[-1500:]}
        checks = {}
        commands = {
            ACCEPTANCE_COMMAND: brief.acceptance.command,
            "build": settings.build,
            "lint": settings.lint,
            "types": settings.types,
        }
        for name, command in commands.items():
            if command:
                with opened() as fresh:
                    check = fresh.run(shlex.split(command), timeout_s=settings.test_timeout_s, env=env)
                checks[name] = check.exit_code if not check.problem else 124
                output += f"\n$ {command}\n{check.output}"
                if check.exit_code:
                    messages[name] = check.output[-1500:]
        return Suite(
            cases=cases,
            messages=messages,
            exit_code=done.exit_code,
            checks=checks,
            problem=problem,
            output=shop.store.put(output.encode("utf-8", "replace")),
            sandbox=workspace.kind,
            seconds=round(time.monotonic() - started, 3),
        )


def environment(tree: Tree, settings: ProjectSettings) -> dict[str, str]:
    """Variables for the project's own commands."""
    roots = ["/work", *(["/work/src"] if any(path.startswith("src/") for path in tree) else [])]
    return {"PYTHONPATH": ":".join(roots), **settings.environment}


def _read_report(workspace: Workspace, tree: Tree) -> tuple[dict[str, CaseOutcome], dict[str, str], str | None]:
    try:
        content = workspace.read(REPORT, max_bytes=50_000_000)
    except AgentError as err:  # the code under test can write there too
        return {}, {}, f"pytest's report cannot be read: {err}"
    if not content:
        return {}, {}, "pytest wrote no report"
    try:
        root = fromstring(content)
    except (ParseError, ValueError, LookupError) as err:  # LookupError: an encoding that nobody knows
        return {}, {}, f"pytest's report cannot be read: {err}"
    cases: dict[str, CaseOutcome] = {}
    messages: dict[str, str] = {}
    for case in root.iter("testcase"):
        test = _test_id(tree, case.get("file"), case.get("classname") or "", case.get("name") or "")
        outcome, message = CaseOutcome.PASSED, ""
        for child in case:
            if child.tag in ("failure", "error"):
                outcome = CaseOutcome.FAILED if child.tag == "failure" else CaseOutcome.ERROR
                message = f"{child.get('message') or ''}\n{child.text or ''}".strip()
            elif child.tag == "skipped":
                xfail = child.get("type") == "pytest.xfail"
                outcome, message = CaseOutcome.PASSED if xfail else CaseOutcome.SKIPPED, child.get("message") or ""
        if cases.get(test) in (CaseOutcome.FAILED, CaseOutcome.ERROR):
            continue  # a test that passed and then failed in its teardown is reported twice
        cases[test] = outcome
        if outcome in (CaseOutcome.FAILED, CaseOutcome.ERROR):
            messages[test] = message[-1500:]
    return cases, messages, None


def _test_id(tree: Tree, file: str | None, classname: str, name: str) -> str:
    """pytest's node id from a JUnit case of the xunit1 family, where `classname` is the dotted module and class.

    `file` is where the function was written: for an inherited or a decorated test that is another one.
    """
    if not classname:
        return file or f"{name.replace('.', '/')}.py"  # a whole file: it did not import, or it skips itself
    module = (file or "").removesuffix(".py").replace("/", ".")
    if file and f"{classname}.".startswith(f"{module}."):
        inner = classname[len(module) :].strip(".")
        return "::".join([file, *(inner.split(".") if inner else []), name])
    parts = classname.split(".")
    for end in range(len(parts), 0, -1):
        if (path := f"{'/'.join(parts[:end])}.py") in tree:
            return "::".join([path, *parts[end:], name])
    return f"{classname}::{name}"
