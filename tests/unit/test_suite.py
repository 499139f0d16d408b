"""One run of a project's tests: what is locked, what pytest's report says, and what cannot be believed."""

import contextlib
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from blocks.workshop import Workshop
from domain.brief import Acceptance, AcceptanceFile, Brief
from domain.errors import AgentError, SandboxError
from domain.ports import Completed
from domain.project import ProjectSettings
from domain.task import CaseOutcome, Suite
from domain.trees import Tree, TreeEntry
from tasks.room.room import setup_said
from tasks.running import canaries
from tasks.running.canaries import REPORT
from tasks.running.runners import environment
from tasks.running.suite import (
    Rooms,
    SuiteRequest,
    locked,
    own_tests,
    pack,
    put_back,
    run_suite,
    tree_digest,
    under_contract,
    unpack,
)
from tests.unit.policy_cases import tree

PASSED, FAILED, ERROR, SKIPPED = CaseOutcome.PASSED, CaseOutcome.FAILED, CaseOutcome.ERROR, CaseOutcome.SKIPPED


class FakeWorkspace:
    """Answers commands from a table of their first words, and holds one report, with canaries as they are due."""

    kind = "fake"

    def __init__(
        self, answers: Mapping[str, Completed | Exception], report: bytes | Exception | None, *, sealed: bool = True
    ) -> None:
        self.answers = answers
        self.report = report
        self.sealed = sealed
        self.ran: list[tuple[str, ...]] = []
        self.env: dict[str, str] = {}
        self.told: dict[str, str] = {}
        self.is_open = True

    def write(self, path: str, content: bytes) -> None:
        if path.endswith("told.json"):
            self.told = json.loads(content)

    def run(self, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str]) -> Completed:
        self.ran.append(tuple(argv))
        self.env = self.env or dict(env)
        words = list(argv)[2:] if str(argv[1:2]).endswith("/start',)") else list(argv)
        answer = self.answers.get(words[0], ended(1 if len(self.ran) == 1 and self.told else 0))
        if isinstance(answer, Exception):
            raise answer
        report = self.report
        if len(self.ran) > 1 or not self.told or not isinstance(report, bytes):
            return answer
        due = [self._canary(*name.split("."), outcome) for name, outcome in canaries.PYTEST.items()]  # type: ignore[call-arg]
        self.report = report.replace(b"<!-- canaries -->", "".join(due).encode())
        seal = f"\n{self.told['nonce']} {hashlib.sha256(self.report).hexdigest()}\n" if self.sealed else ""
        return answer.model_copy(update={"output": answer.output + seal})

    def _canary(self, which: str, kind: str, outcome: str) -> str:
        tag = {"failed": "failure", "error": "error"}.get(outcome)
        inside = f'<{tag} message="{self.told["token"]}"/>' if tag else ""
        return case(f"test_{self.told['nonce']}{which}_{kind}", inside)

    def save(self, directory: str, max_bytes: int) -> bytes:
        empty = io.BytesIO()
        tarfile.open(fileobj=empty, mode="w").close()
        return empty.getvalue()

    def read(self, path: str, max_bytes: int) -> bytes | None:
        if isinstance(self.report, Exception):
            raise self.report
        return self.report if path == REPORT else None

    def close(self) -> None:
        self.is_open = False


class RealWorkspace(FakeWorkspace):
    """Runs pytest of this environment in a directory, for reports as pytest writes them."""

    def __init__(self, directory: Path) -> None:
        super().__init__({}, None)
        self.directory = directory

    def _here(self, text: str) -> str:
        return re.sub(r"/(lockgate|work)(?!\w)", rf"{self.directory}/\1", text)

    def write(self, path: str, content: bytes) -> None:
        place = Path(self._here(path))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(self._here(content.decode()))

    def run(self, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str]) -> Completed:
        words = [self._here(word) for word in argv]
        variables = {"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
        variables |= {name: self._here(value) for name, value in env.items()}
        done = subprocess.run(
            [sys.executable, *words[1:]],
            cwd=self.directory / "work",
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert Path(self._here(REPORT)).exists(), done
        self.report = Path(self._here(REPORT)).read_bytes()
        return ended(done.returncode, done.stdout + done.stderr)


class FakeStore:
    def __init__(self) -> None:
        self.kept: list[bytes] = []

    def put(self, data: bytes) -> str:
        self.kept.append(data)
        return f"digest-{len(self.kept)}"


def ended(exit_code: int, output: str = "", problem: str | None = None) -> Completed:
    return Completed(argv=("x",), exit_code=exit_code, output=output, seconds=1, problem=problem)


def brief(**fields: Any) -> Brief:
    accepted = {"acceptance": Acceptance(tests=("tests/test_a.py::test_new",)), **fields}
    return Brief(title="Search", goal="Add a search", repository="shop.git", **accepted)


def run(
    workspace: FakeWorkspace,
    told: Brief | None = None,
    files: Tree | None = None,
    ask: SuiteRequest | None = None,
    **settings: Any,
) -> tuple[Suite, FakeStore]:
    store = FakeStore()
    shop = cast(Workshop, SimpleNamespace(store=store))
    opened = cast(Rooms, lambda: contextlib.closing(workspace))
    suite = run_suite(shop, files or {}, told or brief(), ProjectSettings(**settings), opened, ask)
    assert not workspace.is_open
    return suite, store


def report(*cases: str) -> bytes:
    return f"<testsuites><testsuite>{''.join(cases)}<!-- canaries --></testsuite></testsuites>".encode()


def case(name: str, inside: str = "", file: str = "tests/test_a.py", classname: str = "tests.test_a") -> str:
    return f'<testcase id="{file}::{name}" classname="{classname}" name="{name}" file="{file}">{inside}</testcase>'


FAILING = '<failure message="no">why</failure>'

# --- pytest, as it is


FILES = {
    "tests/__init__.py": "",
    "tests/base.py": "class Shared:\n    def test_inherited(self): pass\n\ndef twice(test):\n"
    "    def test_twice(): test(); test()\n    return test_twice\n",
    "tests/test_all.py": """
import unittest
import pytest
from tests.base import Shared, twice

def test_function(): pass
def test_fails(): assert 1 == 2, "one is not two"

class TestGroup:
    def test_method(self): pass
    class TestInner:
        def test_deep(self): pass

class TestChild(Shared): pass

@twice
def test_decorated(): pass

class TestOld(unittest.TestCase):
    def test_unit(self): pass

@pytest.mark.parametrize("x", ["a", "b::c", "d.e/f", "[g]", "h i"])
def test_many(x): pass

@pytest.fixture
def broken(): raise RuntimeError("no database")
def test_setup(broken): pass

@pytest.fixture
def leaky():
    yield
    raise RuntimeError("cannot clean up")
def test_teardown(leaky): pass
def test_fails_twice(leaky): assert False, "the first reason"

@pytest.mark.xfail
def test_xfail(): assert False
@pytest.mark.xfail
def test_xpass(): pass
@pytest.mark.xfail(strict=True)
def test_strict_xpass(): pass
@pytest.mark.skip(reason="later")
def test_skipped(): pass
""",
    "tests/test_import.py": "import nowhere\n\ndef test_it(): pass\n",
    "tests/test_syntax.py": "def broken(:\n",
    "tests/test_wants.py": "import pytest\n\npytest.importorskip('nowhere')\n\ndef test_it(): pass\n",
    "more.dir/test_other.py": "def test_other(): pass\n",
}
HERE = "tests/test_all.py::"
EXPECTED = {
    f"{HERE}test_function": PASSED,
    f"{HERE}test_fails": FAILED,
    f"{HERE}TestGroup::test_method": PASSED,
    f"{HERE}TestGroup::TestInner::test_deep": PASSED,
    f"{HERE}TestChild::test_inherited": PASSED,
    f"{HERE}test_decorated": PASSED,
    f"{HERE}TestOld::test_unit": PASSED,
    f"{HERE}test_many[a]": PASSED,
    f"{HERE}test_many[b::c]": PASSED,
    f"{HERE}test_many[d.e/f]": PASSED,
    f"{HERE}test_many[[g]]": PASSED,
    f"{HERE}test_many[h i]": PASSED,
    f"{HERE}test_setup": ERROR,
    f"{HERE}test_teardown": ERROR,
    f"{HERE}test_fails_twice": FAILED,
    f"{HERE}test_xfail": PASSED,
    f"{HERE}test_xpass": PASSED,
    f"{HERE}test_strict_xpass": FAILED,
    f"{HERE}test_skipped": SKIPPED,
    "tests/test_import.py": ERROR,
    "tests/test_syntax.py": ERROR,
    "tests/test_wants.py": SKIPPED,
    "more.dir/test_other.py::test_other": PASSED,
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """One run of pytest over FILES."""
    directory = tmp_path_factory.mktemp("project")
    for path, content in FILES.items():
        (directory / "work" / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / "work" / path).write_text(content)
    return run(RealWorkspace(directory), files=tree(FILES))[0]


@pytest.mark.parametrize("test", EXPECTED)
def test_each_test_has_its_outcome_under_pytests_own_id(real: Suite, test: str) -> None:
    assert real.cases.get(test) is EXPECTED[test], sorted(real.cases)


def test_nothing_else_is_in_the_report_and_it_is_believed(real: Suite) -> None:
    assert set(real.cases) == set(EXPECTED)
    assert (real.exit_code, real.problem, real.canaries) == (1, None, canaries.PYTEST)


@pytest.mark.parametrize(
    ("test", "why"),
    [
        (f"{HERE}test_fails", "one is not two"),
        (f"{HERE}test_setup", "no database"),
        (f"{HERE}test_teardown", "cannot clean up"),
        (f"{HERE}test_fails_twice", "the first reason"),
        (f"{HERE}test_strict_xpass", "XPASS"),
        ("tests/test_import.py", "No module named 'nowhere'"),
        ("tests/test_syntax.py", "SyntaxError"),
    ],
)
def test_what_does_not_pass_says_why(real: Suite, test: str, why: str) -> None:
    assert why in real.messages[test]


def test_what_passes_says_nothing(real: Suite) -> None:
    assert set(real.messages) == {test for test, outcome in EXPECTED.items() if outcome in (FAILED, ERROR)}


# --- reports that cannot be believed


def test_a_test_without_an_id_of_ours_goes_by_its_names() -> None:
    xml = report('<testcase classname="tests.test_a.TestX" name="test_b"/>', '<testcase name="tests.test_c"/>',
                 '<testcase classname="elsewhere" name="test_d"/>')  # fmt: skip
    suite, _ = run(FakeWorkspace({}, xml), files=tree({"tests/test_a.py": ""}))
    assert set(suite.cases) == {"tests.test_a.TestX::test_b", "tests.test_c", "elsewhere::test_d"}


BELIEVED = [
    (1, report(case("a")), None),
    (1, report(case("a"), case("b", FAILING)), None),
    (2, report(case("a", "<error/>")), None),
    (1, report(), None),
    (0, report(case("a")), "contradict"),
    (0, report(case("a", FAILING)), "contradict"),
    (5, report(), "contradict"),
    (3, report(case("a")), "exit code 3: said"),
    (4, report(), "exit code 4: said"),
    (139, report(case("a")), "exit code 139: said"),
    (0, None, "there is none"),
    (0, b"", "there is none"),
    (0, b"\x89PNG", "cannot be read"),
    (0, b"<testsuites><testcase", "cannot be read"),
    (0, b'<?xml version="1.0" encoding="klingon"?><a/>', "cannot be read"),
    (0, b'<!DOCTYPE a [<!ENTITY b "bb">]><a>&b;</a>', "cannot be read"),
    (0, b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "cannot be read"),
    (0, AgentError("report.xml: 60 MB is over the limit"), "cannot be read"),
]


@pytest.mark.parametrize(("exit_code", "xml", "problem"), BELIEVED)
def test_a_report_is_believed_only_where_it_fits_the_exit_code(
    exit_code: int, xml: bytes | Exception | None, problem: str | None
) -> None:
    suite, _ = run(FakeWorkspace({"python": ended(exit_code, "said")}, xml))
    assert (suite.problem is None) if problem is None else (problem in (suite.problem or ""))
    assert suite.exit_code == exit_code


def test_a_report_without_its_seal_or_its_canaries_is_not_believed() -> None:
    unsealed, _ = run(FakeWorkspace({}, report(case("a")), sealed=False))
    assert "did not come to its end" in (unsealed.problem or "")
    bare = report(case("a", FAILING)).replace(b"<!-- canaries -->", b"")
    suite, _ = run(FakeWorkspace({}, bare), ask=SuiteRequest())
    assert "a test of the platform's that must be failed is missing" in (suite.problem or "")
    on_base, _ = run(FakeWorkspace({}, bare))
    assert on_base.problem is None, "base is trusted; what does not run there is told"
    assert set(on_base.canaries.values()) == {"missing"}
    again, _ = run(FakeWorkspace({}, bare), ask=SuiteRequest(on_base.canaries))
    assert again.problem is None


@pytest.mark.parametrize(
    ("seen", "wanted", "problem"),
    [
        ({}, {}, None),
        ({"a.unit": "passed"}, {"a.unit": "failed"}, "must be failed is passed"),
        ({"a.unit": "failed without its reason"}, {"a.unit": "failed"}, "must be failed is failed without"),
        ({"a.same": "time.time"}, {"a.same": "passed"}, "replaced while the tests run: time.time"),
        (
            {"a.same": "the file /work/tests/a.py, time.time"},
            {"a.same": "passed"},
            "changed while they ran: tests/a.py",
        ),
        ({"a.same": "time.time"}, {"a.same": "time.time"}, None),
        ({"a.same": "passed"}, {"a.same": "time.time"}, None),
        ({"a.same": "builtins.len, time.time"}, {"a.same": "time.time"}, "run: builtins.len"),
        ({"a.same": "missing"}, {"a.same": "passed"}, "must be passed is missing"),
        ({"a.same": "skipped"}, {"a.same": "time.time"}, "is skipped"),
        ({"a.same": "failed"}, {"a.same": "passed"}, "is failed"),
    ],
)
def test_canaries_end_as_they_did_on_base(seen: dict[str, str], wanted: dict[str, str], problem: str | None) -> None:
    said = canaries.canary_problem(seen, wanted)
    assert said is None if problem is None else problem in (said or ""), said


def test_why_the_platform_stopped_it_comes_before_what_follows_from_that() -> None:
    suite, _ = run(FakeWorkspace({"python": ended(137, problem="stopped after 900 s")}, None))
    assert suite.problem == "stopped after 900 s"


def test_a_test_that_is_reported_twice_keeps_its_failure() -> None:
    for cases in ([case("a"), case("a", FAILING)], [case("a", FAILING), case("a")]):
        suite, _ = run(FakeWorkspace({"python": ended(1)}, report(*cases)))
        assert suite.cases == {"tests/test_a.py::a": FAILED}


def test_a_long_message_keeps_its_end() -> None:
    xml = report(case("a", f'<failure message="">{"x" * 9000}the end</failure>'))
    suite, _ = run(FakeWorkspace({"python": ended(1)}, xml))
    assert suite.messages["tests/test_a.py::a"].endswith("the end")
    assert len(suite.messages["tests/test_a.py::a"]) == 1500


# --- other commands


def test_pytest_is_asked_for_a_report_and_other_commands_are_not() -> None:
    for command, is_read in (("python -m pytest -q", True), ("/opt/bin/pytest", True), ("make test", False)):
        workspace = FakeWorkspace({}, report(case("a")))
        suite, _ = run(workspace, test=command)
        assert any(word == f"--junitxml={REPORT}" for word in workspace.ran[0]) is is_read
        assert set(suite.cases) == ({"tests/test_a.py::a"} if is_read else {command})


@pytest.mark.parametrize(
    ("done", "outcome"),
    [
        (ended(0, "fine"), PASSED),
        (ended(2, "make: *** [test] Error 1"), FAILED),
        (ended(0, "fine", problem="stopped after 900 s"), FAILED),
    ],
)
def test_another_command_is_one_test(done: Completed, outcome: CaseOutcome) -> None:
    suite, _ = run(FakeWorkspace({"make": done}, None), test="make test")
    assert suite.cases == {"make test": outcome}
    assert suite.messages == ({} if outcome is PASSED else {"make test": done.output})
    assert suite.problem == done.problem


def test_checks_and_the_acceptance_command_run_beside_the_tests() -> None:
    answers = {"make": ended(3, "cannot build"), "mypy": ended(0, problem="stopped after 900 s"), "grep": ended(1)}
    workspace = FakeWorkspace(answers, report(case("a")))
    told = brief(acceptance=Acceptance(command="grep 'two words' README.md"))
    suite, store = run(workspace, told, build="make all", lint="ruff check", types="mypy .")
    assert suite.checks == {"acceptance command": 1, "build": 3, "lint": 0, "types": 124}
    assert suite.messages["build"] == "cannot build"
    assert "lint" not in suite.messages
    assert ("grep", "two words", "README.md") in workspace.ran
    ran = [words[0] for words in workspace.ran]
    assert sorted(ran) == ["grep", "make", "mypy", "python", "ruff"], "all of them run side by side"
    assert b"$ make all\ncannot build" in store.kept[0]
    assert (suite.output, suite.sandbox) == ("digest-1", "fake")


def test_a_sandbox_that_breaks_is_closed_and_is_no_result() -> None:
    workspace = FakeWorkspace({"python": SandboxError("the disk is full")}, None)
    with pytest.raises(SandboxError):
        run(workspace)
    assert not workspace.is_open


def test_the_projects_variables_win_and_src_is_importable() -> None:
    assert environment({}, ProjectSettings())["PYTHONPATH"] == "/work"
    laid_out = tree({"src/shop/__init__.py": ""})
    assert environment(laid_out, ProjectSettings())["PYTHONPATH"] == "/work:/work/src"
    assert environment(laid_out, ProjectSettings(environment={"PYTHONPATH": "/work/lib", "A": "1"})) == {
        "PYTHONPATH": "/work/lib",
        "A": "1",
    }
    workspace = FakeWorkspace({}, report())
    run(workspace, environment={"DEBUG": "1"})
    assert workspace.env == {"PYTHONPATH": "/lockgate/platform", "PYTHONSAFEPATH": "1", "DEBUG": "1"}
    assert workspace.told["roots"] == ["/work"]
    run(workspace := FakeWorkspace({}, report()), environment={"PYTHONPATH": "lib:/work/src"})
    assert workspace.told["roots"] == ["/work", "lib", "/work/src"]


# --- the contract

PROJECT = tree(
    {
        "shop/app.py": "x = 1\n",
        "shop/test_app.py": "beside the code",
        "tests/test_a.py": "old",
        "tests/data/logo.png": b"\x89PNG\0\xff",
        "conftest.py": "",
        "pytest.ini": "[pytest]\n",
        "README.md": "# Shop\n",
    }
)


def test_tests_and_their_configuration_are_locked_and_the_rest_is_not() -> None:
    kept = locked(PROJECT, brief(), ProjectSettings())
    assert set(kept) == {"shop/test_app.py", "tests/test_a.py", "tests/data/logo.png", "conftest.py", "pytest.ini"}


def test_the_briefs_files_are_locked_over_what_base_has() -> None:
    files = (AcceptanceFile(path="tests/test_a.py", content="new"), AcceptanceFile(path="checks/b.py", content="ü"))
    kept = locked(PROJECT, brief(acceptance=Acceptance(files=files)), ProjectSettings())
    assert kept["tests/test_a.py"] == TreeEntry(0o100644, b"new")
    assert kept["checks/b.py"] == TreeEntry(0o100644, "ü".encode())


def test_tests_that_may_change_are_not_locked_but_acceptance_always_is() -> None:
    free = brief(may_change_tests=("tests/**",))
    assert set(locked(PROJECT, free, ProjectSettings())) == {"shop/test_app.py", "conftest.py", "pytest.ini"}
    file = AcceptanceFile(path="tests/test_a.py", content="new")
    both = brief(may_change_tests=("tests/**",), acceptance=Acceptance(files=(file,)))
    assert locked(PROJECT, both, ProjectSettings())["tests/test_a.py"].content == b"new"


def test_a_project_may_say_where_its_tests_are() -> None:
    assert set(locked(PROJECT, brief(), ProjectSettings(test_paths=("*.md",)))) == {"README.md"}


def test_a_contract_comes_out_of_the_store_as_it_went_in() -> None:
    whole: Tree = {
        **PROJECT,
        "tests/link": TreeEntry(0o120000, b"../README.md"),
        "tests/run.sh": TreeEntry(0o100755, b"#!/bin/sh\n"),
        "tests/latin.txt": TreeEntry(0o100644, bytes(range(256))),
        "tests/ünï.txt": TreeEntry(0o100644, b""),
    }
    assert unpack(pack(whole)) == whole
    assert unpack(pack({})) == {}
    assert pack(whole) == pack(dict(reversed(whole.items()))), "the order in which a tree was read is not in it"


def test_the_digest_of_a_tree_knows_paths_modes_and_contents() -> None:
    digest = tree_digest(PROJECT)
    assert digest == tree_digest(dict(reversed(PROJECT.items())))
    others: list[Tree] = [
        {**PROJECT, "README.md": TreeEntry(0o100755, b"# Shop\n")},
        {**PROJECT, "README.md": TreeEntry(0o100644, b"# shop\n")},
        {**PROJECT, "empty": TreeEntry(0o100644, b"")},
        {path: entry for path, entry in PROJECT.items() if path != "README.md"},
    ]
    assert len({digest, *map(tree_digest, others)}) == len(others) + 1


# --- the change under the contract

SETTINGS = '[project]\nname = "shop"\n\n[tool.pytest.ini_options]\naddopts = "-q"\n'
TOX = "[tox]\nenvlist = py\n\n[testenv:py]\ncommands = pytest\n\n"
CONFIGURED = {
    **PROJECT,
    **tree({"pyproject.toml": SETTINGS, "package.json": '{"scripts": {"test": "jest"}}', ".npmrc": "audit=false\n"}),
    **tree({"Cargo.toml": '[package]\nname = "shop"\n', ".cargo/config.toml": "[net]\n"}),
    **tree({"setup.cfg": "[metadata]\nname = Shop\n", "tox.ini": TOX}),
}
NEW = (
    "go.work", "rust-toolchain", "web/.cargo/config", ".babelrc", "web/babel.config.js", ".swcrc", "bunfig.toml",
    ".pnp.cjs", ".yarn/releases/yarn.cjs", ".pnpmfile.mjs", "pnpm-workspace.yaml", ".config/nextest.toml",
)  # fmt: skip
UNDER: dict[str, tuple[dict[str, str | None], dict[str, str | None]]] = {
    "product code is the change's": (
        {"shop/app.py": "x = 2\n", "new.py": ""},
        {"shop/app.py": "x = 2\n", "new.py": ""},
    ),
    "tests are base's": ({"tests/test_a.py": "weak"}, {"tests/test_a.py": "old"}),
    "a deleted test is back": ({"tests/test_a.py": None}, {"tests/test_a.py": "old"}),
    "new tests are there": ({"tests/test_b.py": "new"}, {"tests/test_b.py": "new"}),
    "new configuration is not": (
        {"tests/conftest.py": "", "x/pytest.ini": "", "sitecustomize.py": "", "a.pth": ""},
        {"tests/conftest.py": None, "x/pytest.ini": None, "sitecustomize.py": None, "a.pth": None},
    ),
    "pytest's table is base's": ({"pyproject.toml": SETTINGS.replace("-q", "-k x")}, {"pyproject.toml": SETTINGS}),
    "a file that cannot be read is base's": ({"pyproject.toml": "["}, {"pyproject.toml": SETTINGS}),
    "one that is read and cannot be written is base's": (
        {"pyproject.toml": f"x = 0x{'F' * 5_000}\n[tool.pytest]\n"},
        {"pyproject.toml": SETTINGS},
    ),
    "so is one that is too deep": (
        {"pyproject.toml": f"x = {'[' * 300}{']' * 300}\n[tool.pytest]\n"},
        {"pyproject.toml": SETTINGS},
    ),
    "another table is the change's": ({"pyproject.toml": SETTINGS + "[a]\n"}, {"pyproject.toml": SETTINGS + "[a]\n"}),
    "what else is in setup.cfg is the change's": (
        {"setup.cfg": "[metadata]\nname = Shop\nversion = 2\n"},
        {"setup.cfg": "[metadata]\nname = Shop\nversion = 2\n"},
    ),
    "pytest's sections of it are base's": (
        {"setup.cfg": "[metadata]\nversion = 2\n[tool:pytest]\naddopts = -k x\n [x]\n[mypy-shop.*]\nA = 1\n"},
        {"setup.cfg": "[metadata]\nversion = 2\n\n"},
    ),
    "one with a line that pytest alone sees is base's": (
        {"setup.cfg": "[metadata]\nname = Shop\x0c[tool:pytest]\x0caddopts = -k x\n"},
        {"setup.cfg": "[metadata]\nname = Shop\n"},
    ),
    "a setup.cfg that cannot be read is base's": ({"setup.cfg": "x = 1\n"}, {"setup.cfg": "[metadata]\nname = Shop\n"}),
    "what tox runs is base's": (
        {"tox.ini": "[tox]\nenvlist = lint\n[testenv:py]\nsetenv = PYTEST_ADDOPTS=-p evil\n[testenv:b]\n[gh]\n"},
        {"tox.ini": TOX + "[gh]\n\n"},
    ),
    "npm's own settings are base's": (
        {".npmrc": "script-shell=./yes\n", "web/.npmrc": "script-shell=./yes\n"},
        {".npmrc": "audit=false\n", "web/.npmrc": None},
    ),
    "yarn's and Node's test runners' own, and files that make reads first, are not": (
        {
            ".yarnrc.yml": "yarnPath: y.js\n",
            "jest.config.js": "",
            "a/vitest.config.ts": "",
            "GNUmakefile": "",
            ".mocharc": "",
        },
        dict.fromkeys((".yarnrc.yml", "jest.config.js", "a/vitest.config.ts", "GNUmakefile", ".mocharc")),
    ),
    "compilers' and package managers' own are not": (
        dict.fromkeys(NEW, "x"),
        dict.fromkeys(NEW),
    ),
    "how cargo runs tests is base's": (
        {".cargo/config.toml": "[build]\nrustc-wrapper = 'yes'\n", "Cargo.toml": "[[test]]\nharness = false\n"},
        {".cargo/config.toml": "[net]\n", "Cargo.toml": ""},
    ),
    "what else is in that Cargo.toml is the change's": (
        {"Cargo.toml": '[[test]]\nname = "x"\n[lib]\nharness = false\n[package]\nname = "shop"\n[features]\na = []\n'},
        {"Cargo.toml": '[lib]\n\n[package]\nname = "shop"\n\n[features]\na = []\n'},
    ),
    "one that cannot be read is base's": (
        {"Cargo.toml": "lib = 1\n", "package.json": "[]"},
        {"Cargo.toml": '[package]\nname = "shop"\n', "package.json": '{"scripts": {"test": "jest"}}'},
    ),
    "what else is in Cargo.toml is the change's": (
        {"Cargo.toml": '[package]\nname = "shop2"\n'},
        {"Cargo.toml": '[package]\nname = "shop2"\n'},
    ),
    "npm's scripts are base's": (
        {"package.json": '{"scripts": {"test": "true"}}'},
        {"package.json": '{"scripts": {"test": "jest"}}'},
    ),
    "what is depended on beside changed scripts is the change's": (
        {"package.json": '{"dependencies": {"a": "1"}, "jest": {}, "scripts": {"test": "true", "b": "c"}}'},
        {
            "package.json": '{\n  "dependencies": {\n    "a": "1"\n  },\n  "scripts": {\n    "test": "jest"\n  }\n}',
        },
    ),
}


@pytest.mark.parametrize("name", UNDER)
def test_a_change_is_tested_under_what_base_says(name: str) -> None:
    changes, wanted = UNDER[name]
    head = {path: entry for path, entry in CONFIGURED.items() if changes.get(path, "") is not None}
    head |= tree({path: text for path, text in changes.items() if text is not None})
    made = under_contract(head, CONFIGURED, locked(CONFIGURED, brief(), ProjectSettings()), brief())
    assert {path: made[path].content.decode() if path in made else None for path in wanted} == wanted


def test_what_was_not_tested_as_the_change_has_it_is_told_by_path() -> None:
    changes = {
        "Cargo.toml": '[[test]]\nname = "x"\n[lib]\nharness = false\n', "package.json": "[]", "jest.config.js": "",
        ".npmrc": "audit=true\n", "tests/test_a.py": "weak", "shop/app.py": "x = 2\n", "new.py": "",
        "tests/test_new.py": "", "tests/test_given.py": "as the agent has it",
    }  # fmt: skip
    given = brief(acceptance=Acceptance(files=(AcceptanceFile(path="tests/test_given.py", content="as given"),)))
    head = {**CONFIGURED, **tree(changes)}
    gone = {path: entry for path, entry in head.items() if path != "tests/conftest.py"}
    before = {**CONFIGURED, **tree({"tests/conftest.py": ""})}

    made = under_contract(gone, before, locked(before, given, ProjectSettings()), given)
    told = put_back(gone, before, made, given)
    assert told == {
        ".npmrc": "tested with base's whole file: it is a test or says how tests run, and differs",
        "Cargo.toml": "tested with base's settings test, lib.harness, which say how tests run",
        "jest.config.js": "tested without this file, which says how tests run and is not on base",
        "package.json": "tested with base's whole file: it is a test or says how tests run, and differs",
        "tests/conftest.py": "tested with base's file, which the change has no more",
        "tests/test_a.py": "tested with base's whole file: it is a test or says how tests run, and differs",
    }
    opened = brief(may_change_tests=("Cargo.toml",))
    under = under_contract(gone, before, locked(before, opened, ProjectSettings()), opened)
    assert "Cargo.toml" not in put_back(gone, before, under, opened)


def test_configuration_that_the_brief_opens_by_its_name_is_the_changes() -> None:
    told = brief(may_change_tests=("tests/conftest.py", "tests/**"))
    head = {**PROJECT, **tree({"tests/conftest.py": "new", "tests/sub/conftest.py": "new"})}
    made = under_contract(head, PROJECT, locked(PROJECT, told, ProjectSettings()), told)
    assert "tests/conftest.py" in made
    assert "tests/sub/conftest.py" not in made


def test_the_changes_own_tests_are_those_it_brings_or_may_alter() -> None:
    head = {**PROJECT, **tree({"tests/test_a.py": "more", "tests/test_b.py": "", "tests/data.py": "", "b_test.py": ""})}
    closed = locked(PROJECT, brief(), ProjectSettings())
    assert own_tests(head, PROJECT, closed, ProjectSettings()) == ("b_test.py", "tests/test_b.py")
    opened = locked(PROJECT, brief(may_change_tests=("tests/test_a.py",)), ProjectSettings())
    assert own_tests(head, PROJECT, opened, ProjectSettings()) == ("b_test.py", "tests/test_a.py", "tests/test_b.py")


def test_of_a_setup_by_npm_the_reason_is_told_and_not_the_help() -> None:
    helped = "added\nnpm error code EUSAGE\nnpm error not in sync\n" + "npm error   --fund\n" * 500
    assert setup_said(helped).startswith("npm error code EUSAGE\nnpm error not in sync\n")
    assert setup_said("Resolving\n" * 500 + "not up to date").endswith("\nnot up to date")
    assert max(len(setup_said(helped)), len(setup_said("x" * 5_000))) == 1_500
