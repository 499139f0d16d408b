"""The contract of tests over the pytests that projects pin: what they collect, under which ids, and who is believed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.sandboxes.bubblewrap import Bubblewrap
from blocks.toolchains.wheels import WheelToolchains
from domain.brief import Acceptance, AcceptanceFile
from tasks.running import canaries
from tasks.running.suite import SuiteRequest
from tests.contract.test_contract_of_tests import BAD, ERROR, FAILED, PASSED, PRODUCT, Bench, brief
from tests.unit.policy_cases import tree

WITH = ("pytest-xdist==3.8.0", "pytest-cov==6.2.1", "coverage==7.10.6")
OLDER, NEWER = ("pytest-asyncio==0.23.8",), ("pytest-asyncio==1.3.0",)
VERSIONS = {"7.4.4": OLDER, "8.4.2": OLDER, "9.2.0": NEWER}
"""The last of each."""

FILES = {
    "shop/__init__.py": "",
    "shop/app.py": f'{BAD}\n\ndef half(n):\n    """\n    >>> half(4)\n    2\n    """\n    return n // 2\n',
    "tests/pytest.ini": "[pytest]\nasyncio_mode = auto\n",
    "tests/conftest.py": "import pytest\n\n\n@pytest.fixture(autouse=True)\ndef fresh():\n    yield\n",
    "tests/test_more.py": "import unittest\nfrom shop.app import price\n\n\n"
    "class TestMore(unittest.TestCase):\n    def test_none(self):\n        self.assertEqual(price(0), 0)\n",
    "tests/unit/test_deep.py": "import pytest\nfrom shop.app import price\n\n\nasync def test_later():\n"
    "    assert price(1) == 2\n\n\n@pytest.mark.parametrize('n', [1, 'a::b[c]/d'])\ndef test_each(n):\n    assert n\n",
    "tests/unit/test_broken.py": "import nowhere\n",
}
TESTS = {
    "tests/test_more.py::TestMore::test_none": PASSED,
    "tests/unit/test_deep.py::test_later": PASSED,
    "tests/unit/test_deep.py::test_each[1]": PASSED,
    "tests/unit/test_deep.py::test_each[a::b[c]/d]": PASSED,
    "tests/unit/test_broken.py": ERROR,
    "tests/unit/test_search.py::test_search": FAILED,
}
DOCTEST = {"shop/app.py::shop.app.half": PASSED}
COMMANDS = {
    "python -m pytest tests": TESTS,
    "python -m pytest -c tests/pytest.ini --rootdir . --doctest-modules --cov=shop tests shop": TESTS | DOCTEST,
    "python -m pytest -n 2 --import-mode=importlib tests": TESTS,
}
ACCEPTANCE = AcceptanceFile(
    path="tests/unit/test_search.py",
    content="from shop.app import search\n\n\ndef test_search():\n    assert search('a') == ['apple']\n",
)
HOSTILE = ("reports that always say passed", "one test's outcome replaced")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("programs")
    place.chmod(0o755)
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_project_with_this_pytest_is_run_whole_and_what_lies_is_not_believed(version: str, programs: Path) -> None:
    sandbox = Bubblewrap(root=programs / "sandboxes")
    requirements = (f"pytest=={version}", *WITH, *VERSIONS[version])
    toolchain = WheelToolchains(root=programs / "toolchains").ensure(requirements, sandbox)
    told = brief(acceptance=Acceptance(files=(ACCEPTANCE,)))
    files = {**FILES, ACCEPTANCE.path: ACCEPTANCE.content}
    for command, cases in COMMANDS.items():
        bench = Bench(sandbox, toolchain, test=command)
        suite = bench.base(files, told)
        assert (suite.problem, suite.cases, suite.canaries) == (None, cases, canaries.PYTEST), (command, bench.outputs)
    bench = Bench(sandbox, toolchain, test="python -m pytest tests")
    own = bench.run(tree(files), told, SuiteRequest(canaries.PYTEST, only=("tests/test_more.py",)))
    assert (own.problem, list(own.cases)) == (None, ["tests/test_more.py::TestMore::test_none"])
    for name in HOSTILE:
        seen = bench.run(
            tree({**files, "shop/app.py": f"{BAD}\n\n{PRODUCT[name][0]}"}), told, SuiteRequest(canaries.PYTEST)
        )
        assert seen.problem, (name, bench.outputs)


def test_an_older_pytest_is_refused_by_its_version(programs: Path) -> None:
    sandbox = Bubblewrap(root=programs / "sandboxes")
    toolchain = WheelToolchains(root=programs / "toolchains").ensure(("pytest==6.2.5",), sandbox)
    suite = Bench(sandbox, toolchain, test="python -m pytest tests").base(FILES, brief())
    assert str(suite.problem).endswith("pytest 7.0 and newer, and this is 6.2.5: ask for a newer one")
