"""Build, lint and types under attack: the real programs in real sandboxes, and what a change puts in their way."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from blocks.sandboxes.bubblewrap import Bubblewrap
from domain.brief import Acceptance
from domain.policy.rule import apply
from domain.policy.test_rules import RAN_RULES, RanSuites
from domain.task import Suite
from tasks.running.suite import SuiteRequest, locked, under_contract
from tests.contract.test_contract_of_tests import Bench, brief
from tests.made_once import toolchains
from tests.unit.policy_cases import tree

TOOLS = ("ruff==0.15.0", "mypy==1.19.0", "flake8==7.3.0", "pylint==4.0.4", "setuptools==80.9.0", "build==1.3.0")
BASE = {
    "shop/__init__.py": "",
    "shop/app.py": "import os\n\n\ndef price(n: int) -> int:\n    return 2 * n\n",
    "tools/__init__.py": "",
    "tools/check.py": "import sys\nfrom shop.app import price\n\nsys.exit(price(2) != 4)\n",
    "tools/beside.py": "from words import WORD\n\nprint(WORD)\n",
    "tools/words.py": "WORD = 'beside'\n",
    "src/inner/__init__.py": "X = 1\n",
    "Makefile": "lint:\n\tpython -m flake8 --select=F shop\n",
    "pyproject.toml": '[project]\nname = "shop"\nversion = "1"\n\n[tool.setuptools]\npackages = ["shop"]\n\n'
    '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n',
    "tests/test_app.py": "def test_it():\n    assert True\n",
}
LIES = "import sys\nprint('All checks passed!')\nsys.exit(0)\n"


@pytest.fixture(scope="module")
def toolchain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toolchains().ensure(TOOLS, Bubblewrap(root=tmp_path_factory.mktemp("sandboxes")))


class Checks(Bench):
    """Runs the checks alone: the tests of these projects say nothing."""

    def seen(self, files: Mapping[str, str], command: str | None = None) -> Suite:
        base, head = tree(BASE), tree({**BASE, **files})
        told = brief(acceptance=Acceptance(command=command or "true"))
        return self.run(under_contract(head, base, locked(base, told, self.settings), told), told, SuiteRequest())


@pytest.fixture
def sandbox(tmp_path: Path) -> Bubblewrap:
    return Bubblewrap(root=tmp_path / "sandboxes")


def checks(sandbox: Bubblewrap, toolchain: Path, **settings: str) -> Checks:
    return Checks(sandbox, toolchain, test="true", **settings)


SHADOWS = {
    "ruff.py": LIES, "mypy.py": LIES, "flake8.py": LIES, "pylint.py": LIES, "mypy/__main__.py": LIES,
    "mypy/__init__.py": "", "ruff/__main__.py": LIES, "ruff/__init__.py": "", "flake8/__init__.py": LIES,
    "src/ruff.py": LIES, "src/mypy.py": LIES, "src/flake8.py": LIES, "src/pylint.py": LIES,
    "pyflakes.py": LIES, "pycodestyle.py": LIES,
    "sitecustomize.py": LIES, "usercustomize.py": LIES, "src/sitecustomize.py": LIES, "x.pth": "import os; os._exit(0)",
}  # fmt: skip
BAD = {"shop/app.py": "import os\n\n\ndef price(n: int) -> int:\n    return str(n) + undefined\n"}
COMMANDS = {
    "ruff": "python -m ruff check --no-cache --select F shop",
    "the program ruff": "ruff check --no-cache --select F shop",
    "mypy": "python -m mypy --no-incremental --cache-dir=/dev/null shop",
    "the program mypy": "mypy --no-incremental --cache-dir=/dev/null shop",
    "flake8": "python -m flake8 --select=F shop",
    "pylint": "python -m pylint --disable=all --enable=E shop",
    "make": "make lint",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_file_of_a_change_takes_the_place_of_a_checker(sandbox: Bubblewrap, toolchain: Path, name: str) -> None:
    seen = checks(sandbox, toolchain, lint=COMMANDS[name]).seen({**SHADOWS, **BAD})
    assert seen.checks["lint"] not in (0, 127), seen.messages
    assert "undefined" in seen.messages["lint"]
    assert [problem.path for problem in seen.problems["lint"] if "undefined" in problem.message.lower()]


def test_a_sitecustomize_that_base_has_cannot_be_turned_into_an_answer(sandbox: Bubblewrap, toolchain: Path) -> None:
    bench = checks(sandbox, toolchain, lint=COMMANDS["flake8"])
    told = brief(acceptance=Acceptance(command="python -c 'import shop.app; raise SystemExit(3)'"))
    files = tree({**BASE, **BAD, "sitecustomize.py": "import os\nos._exit(0)\n", "usercustomize.py": LIES})
    seen = bench.run(files, told, SuiteRequest())
    assert (seen.checks["lint"], seen.checks["acceptance command"]) == (1, 3)


HONEST = {
    "a module of the tree's": "python -m tools.check",
    "a script": "python tools/check.py",
    "a script that imports what is beside it": "python tools/beside.py",
    "with options of Python": "python -W error -X utf8 tools/beside.py",
    "a line of code": "python -c 'import shop.app, inner; assert shop.app.price(2) == 4'",
    "a package under src": "python -c 'import inner'",
    "below a shell": "sh -c 'cd tools && python beside.py && python -c \"import words\"'",
    "a build": "python -m build --no-isolation --outdir /tmp/dist",
    "a wheel by setuptools": "python -c 'from setuptools.build_meta import build_wheel; build_wheel(\"/tmp\")'",
    "compileall": "python -m compileall -q shop",
    "mypy": "python -m mypy --no-incremental --cache-dir=/dev/null shop",
    "mypy of a package": "python -m mypy --no-incremental --cache-dir=/dev/null -p shop",
    "pylint": "python -m pylint --disable=all --enable=E shop",
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_commands_work_as_they_do_without_us(sandbox: Bubblewrap, toolchain: Path, name: str) -> None:
    seen = checks(sandbox, toolchain, build=HONEST[name]).seen({}, command=HONEST[name])
    assert (seen.checks["build"], seen.checks["acceptance command"]) == (0, 0), seen.messages


def test_an_acceptance_command_tries_the_change_and_not_an_installed_release_of_it(
    sandbox: Bubblewrap, toolchain: Path
) -> None:
    product = {"pathspec/__init__.py": "MINE = True\n"}
    seen = checks(sandbox, toolchain).seen(product, command="python -c 'import pathspec; pathspec.MINE'")
    assert seen.checks == {"acceptance command": 0}, "mypy brings a pathspec of its own"


# --- only what is new


def compared(base: Suite, head: Suite) -> list[tuple[str, str, object, object]]:
    return [(f.rule, str(f.severity), f.path, f.line) for f in apply(RAN_RULES, RanSuites(base, head))
            if f.gate == "test" and f.rule not in ("exit-code-only",)]  # fmt: skip


@pytest.mark.parametrize("name", ["ruff", "flake8", "mypy", "pylint"])
def test_what_a_checker_says_on_base_too_refuses_nothing_and_what_is_new_does(
    sandbox: Bubblewrap, toolchain: Path, name: str
) -> None:
    bench = checks(sandbox, toolchain, lint=COMMANDS[name])
    moved = {"shop/app.py": "# a word\n# more\n" + BAD["shop/app.py"]}
    more = {"shop/new.py": "def more() -> int:\n    return missing\n"}
    fine = {**BAD, "shop/app.py": ""}
    bad, good = bench.seen(BAD), bench.seen(fine)
    assert compared(bad, bench.seen({**BAD, **moved})) == [("broken-on-base", "note", None, None)]
    fresh = compared(bad, bench.seen({**BAD, **moved, **more}))
    assert ("lint-broken", "refuse", "shop/new.py", 2) in fresh
    assert {rule for rule, *_ in fresh} == {"lint-broken"}
    assert ("lint-broken", "refuse", "shop/new.py", 2) in compared(good, bench.seen({**fine, **more}))
    assert compared(bad, good) == []


def test_checks_that_nobody_can_compare_go_to_a_person_with_both_outputs(sandbox: Bubblewrap, toolchain: Path) -> None:
    bench = checks(sandbox, toolchain, types="sh -c 'wc -c shop/app.py; exit 1'")
    base, head = bench.seen({}), bench.seen(BAD)
    (unclear,) = [f for f in apply(RAN_RULES, RanSuites(base, head)) if f.severity != "note"]
    assert (unclear.rule, str(unclear.severity)) == ("check-unclear", "person")
    assert str(len(BASE["shop/app.py"])) in unclear.message
    assert str(len(BAD["shop/app.py"])) in unclear.message
