"""Mutants of real changes, tried by a real pytest in real sandboxes: what is noticed, and what cannot be known."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from blocks.mutants.python import mutants_of
from blocks.sandboxes.bubblewrap import Bubblewrap
from domain.brief import Acceptance, AcceptanceFile, Brief
from domain.policy.change import Change
from domain.policy.mutation_rules import MUTATION_RULES, Noticed
from domain.policy.rule import apply
from domain.ports import Workspace
from domain.project import ProjectSettings
from domain.task import Attempt, Prepared
from tasks.running.mutate import Bench, mutate
from tasks.running.suite import locked, own_tests, under_contract
from tests.contract.test_contract_of_tests import GOOD, by_the_step
from tests.contract.test_contract_of_tests import Bench as Suites
from tests.made_once import toolchains
from tests.unit.policy_cases import tree

PYTEST = ("pytest==9.2.0", "iniconfig==2.3.1", "packaging==26.3", "pluggy==1.7.0", "pygments==2.21.0")
AMPLE_S = 300.0
"""Nothing is cut off by it: the run ends when every mutant was tried."""

BASE = {
    "shop/__init__.py": "",
    "shop/price.py": "def price(n):\n    return 2 * n\n",
    "tests/test_price.py": "from shop.price import price\n\n\ndef test_price():\n    assert price(2) == 4\n",
}
CODE = (
    BASE["shop/price.py"]
    + "\n\ndef rebate(n, member):\n    if n >= 10 and member:\n        return n - 1\n    return n\n"
)
ACCEPTANCE = (
    "import pytest\nfrom shop.price import rebate\n\n\n"
    "@pytest.mark.parametrize('n, member, due', [(10, True, 9), (9, True, 9), (10, False, 10), (11, True, 10)])\n"
    "def test_rebate(n, member, due):\n    assert rebate(n, member) == due\n"
)
WEAK = "from shop.price import rebate\n\n\ndef test_rebate():\n    assert rebate(10, True) is not NotImplemented\n"


@pytest.fixture(scope="module")
def toolchain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toolchains().ensure(PYTEST, Bubblewrap(root=tmp_path_factory.mktemp("sandboxes")))


Noticing = Callable[..., Noticed]


@pytest.fixture
def noticed(tmp_path: Path, toolchain: Path) -> Noticing:
    """What the tests notice of base with `files` put over it."""
    sandbox = Bubblewrap(root=tmp_path / "sandboxes")

    def run(
        files: Mapping[str, str],
        acceptance: str = ACCEPTANCE,
        base: Mapping[str, str] = BASE,
        suite_s: float = 1.0,
        **settings: Any,
    ) -> Noticed:
        told = Brief(
            title="Add a rebate",
            goal="Add `rebate`",
            repository="shop.git",
            acceptance=Acceptance(files=(AcceptanceFile(path="tests/test_rebate.py", content=acceptance),)),
        )
        project = ProjectSettings(**{"test": "python -m pytest", "mutation_s": AMPLE_S, **settings})
        before, head = tree(base), tree({**base, **files})
        contract = locked(before, told, project)
        own = own_tests(head, before, contract, project)
        under = under_contract(head, before, contract, told)
        prepared = Prepared(run_id="run", brief=told, base="b" * 40, settings=project, settings_source="the test",
                            contract="c" * 64, requirements=tuple(sorted(PYTEST)))  # fmt: skip
        change = Change(prepared, Attempt(number=1, base="b" * 40, commit="c" * 40), before, head)

        @contextlib.contextmanager
        def opened() -> Iterator[Workspace]:
            with contextlib.closing(sandbox.open(under, label="test", toolchain=toolchain)) as workspace:
                yield workspace

        return mutate(Bench(change, under, opened, ("tests/test_rebate.py", *own), own, suite_s))

    return run


def rules(seen: Noticed) -> list[tuple[str, str | None, int | None]]:
    return [(finding.rule, finding.path, finding.line) for finding in apply(MUTATION_RULES, seen)]


def survivors(seen: Noticed) -> list[tuple[int, str]]:
    return [(one.line, one.after) for one in seen.mutation.survivors]


# --- what is noticed


def test_good_tests_notice_every_mutant_and_run_every_line(noticed: Noticing) -> None:
    seen = noticed({"shop/price.py": CODE})
    assert rules(seen) == [], seen
    assert seen.mutation.tried == seen.mutation.made == 7
    assert seen.coverage is not None
    assert (seen.coverage.lines, seen.coverage.uncovered, seen.coverage.tests) == (4, {}, 5)


def test_what_weak_tests_miss_is_told_with_its_line_and_the_lines_that_none_runs(noticed: Noticing) -> None:
    own = "from shop.price import rebate\n\n\ndef test_small():\n    assert rebate(1, True) == 1\n"
    seen = noticed({"shop/price.py": CODE, "tests/test_small.py": own}, acceptance="def test_other():\n    pass\n")
    assert (6, "if n > 10 and member:") in survivors(seen)
    assert (8, "return None") not in survivors(seen)
    assert ("mutant-survives", "shop/price.py", 6) in rules(seen)
    assert ("line-not-run", "shop/price.py", 7) in rules(seen)
    assert "every-mutant-survives" not in {rule for rule, _, _ in rules(seen)}
    assert [one.is_run for one in seen.mutation.survivors if one.line == 7] == [False] * 3


def test_tests_that_notice_nothing_at_all_are_for_a_person(noticed: Noticing) -> None:
    seen = noticed({"shop/price.py": CODE}, acceptance=WEAK)
    assert rules(seen)[0] == ("every-mutant-survives", None, None)
    assert seen.mutation.tried == len(seen.mutation.survivors) == seen.mutation.made


def test_a_constant_is_tried_by_the_tests_that_use_its_file(noticed: Noticing) -> None:
    code = "LEAST = 10\n\n\ndef rebate(n, member):\n    return n - 1 if n >= LEAST and member else n\n"
    seen = noticed({"shop/price.py": BASE["shop/price.py"] + code})
    assert seen.mutation.tried == seen.mutation.made
    assert [line for line, _ in survivors(seen) if line == 3] == []


def test_a_mutant_that_never_ends_is_noticed(noticed: Noticing) -> None:
    code = "\n\ndef rebate(n, member):\n    left = n\n    while left > 0:\n        left -= 1\n    return left\n"
    acceptance = "from shop.price import rebate\n\n\ndef test_rebate():\n    assert rebate(3, True) == 0\n"
    seen = noticed({"shop/price.py": BASE["shop/price.py"] + code}, acceptance=acceptance)
    assert (8, "left = 1") not in survivors(seen)
    assert (8, "left += 1") not in survivors(seen)
    assert seen.mutation.tried == seen.mutation.made > 3


def test_a_mutant_that_waits_as_on_a_busy_machine_is_not_taken_for_one_that_never_ends(noticed: Noticing) -> None:
    code = "\n\nimport time\n\n\ndef rebate(n, member):\n    time.sleep(0 * n)\n"
    acceptance = "from shop.price import rebate\n\n\ndef test_rebate():\n    assert rebate(3, True) is None\n"
    seen = noticed({"shop/price.py": BASE["shop/price.py"] + code}, acceptance=acceptance)
    assert (9, "time.sleep(1 * n)") in survivors(seen)


def test_each_mutant_is_tried_by_itself_also_where_the_file_keeps_its_size(noticed: Noticing) -> None:
    code = "\n\ndef rebate(n, member):\n    unused = n - 2\n    due = n - 1\n    return due\n"
    acceptance = "from shop.price import rebate\n\n\ndef test_rebate():\n    assert rebate(10, True) == 9\n"
    seen = noticed({"shop/price.py": BASE["shop/price.py"] + code}, acceptance=acceptance)
    assert sorted(survivors(seen)) == [(6, "unused = None"), (6, "unused = n + 2"), (6, "unused = n - 3")]
    assert seen.mutation.tried == seen.mutation.made == 7


def test_a_change_of_two_files_is_watched_and_tried_in_both(noticed: Noticing) -> None:
    more = "from shop.price import rebate\n\n\ndef both(n):\n    return rebate(n, True) + rebate(n, False)\n"
    own = "from shop.more import both\n\n\ndef test_both():\n    assert both(10) == 19\n"
    seen = noticed({"shop/price.py": CODE, "shop/more.py": more, "tests/test_more.py": own})
    assert seen.mutation.problem is None
    assert seen.mutation.tried == seen.mutation.made > 9
    assert seen.coverage is not None
    assert seen.coverage.percent == 100


COMMANDS = {
    "-x": "python -m pytest -x --maxfail=1",
    "the program itself": "pytest -q",
    "a directory": "python -m pytest tests",
    "a keyword": "python -m pytest -k 'price or rebate'",
    "import mode": "python -m pytest --import-mode=importlib",
    "a plugin of the project's, loaded before ours": "python -m pytest -p shop.price",
    "warnings are errors": "python -m pytest -W error",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_mutants_are_noticed_whatever_the_command_is(noticed: Noticing, name: str) -> None:
    seen = noticed({"shop/price.py": CODE}, test=COMMANDS[name])
    assert rules(seen) == [], seen
    assert seen.mutation.tried == seen.mutation.made == 7


def test_tests_see_a_mutant_also_in_programs_that_they_start(noticed: Noticing) -> None:
    own = (
        "import subprocess, sys\nfrom shop.price import rebate\n\n\ndef test_program():\n    rebate(10, True)\n"
        "    code = 'from shop.price import rebate; print(rebate(10, True))'\n"
        "    assert subprocess.check_output([sys.executable, '-c', code]) == b'9\\n'\n"
    )
    seen = noticed({"shop/price.py": CODE, "tests/test_program.py": own}, acceptance="def test_other():\n    pass\n")
    assert (7, "return n - 2") not in survivors(seen)
    assert (7, "return n + 1") not in survivors(seen)


# --- the step


def test_the_step_keeps_what_was_noticed_of_a_change_that_passes(
    tmp_path: Path, toolchain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bubblewrap, wanted = Bubblewrap(root=tmp_path / "sandboxes"), tuple(sorted(PYTEST))
    suites = Suites(bubblewrap, toolchain, mutation_s=AMPLE_S, requirements=wanted)
    unused = GOOD.replace("    return [", "    unused = 1 + 2 + 3\n    return [")
    seen = by_the_step(suites, monkeypatch, {"shop/app.py": unused})
    assert seen.mutation is not None
    assert seen.mutation.tried == seen.mutation.made > len(seen.mutation.survivors) > 2
    assert {(finding.rule, finding.line) for finding in seen.findings} == {("mutant-survives", 6)}
    assert seen.coverage is not None
    assert seen.coverage.percent == 100
    assert seen.seconds > seen.mutation.seconds > 0


def test_the_step_tries_nothing_on_a_change_that_fails(
    tmp_path: Path, toolchain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bubblewrap, wanted = Bubblewrap(root=tmp_path / "sandboxes"), tuple(sorted(PYTEST))
    suites = Suites(bubblewrap, toolchain, mutation_s=AMPLE_S, requirements=wanted)
    seen = by_the_step(suites, monkeypatch, {"shop/app.py": GOOD.replace("apple", "pear")})
    assert (seen.mutation, seen.coverage) == (None, None)


# --- what is left out, and what is cut off

LEFT_OUT: dict[str, tuple[dict[str, str], dict[str, Any], str]] = {
    "switched off": ({"shop/price.py": CODE}, {"mutation_s": 0}, "switched off by mutation_s"),
    "another runner": (
        {"shop/price.py": CODE},
        {"test": "python -m unittest discover"},
        "the test command is not pytest",
    ),
    "no Python": ({"README.md": "# Shop\n"}, {}, "no product code in Python is changed"),
    "only tests": ({"tests/test_more.py": "def test_more(): pass\n"}, {}, "no product code in Python is changed"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_where_nothing_is_tried_it_says_why_and_is_no_finding(noticed: Noticing, name: str) -> None:
    files, settings, why = LEFT_OUT[name]
    seen = noticed(files, **settings)
    assert (seen.mutation.left_out, seen.mutation.sentence, seen.coverage) == (why, f"no mutants: {why}", None)
    assert rules(seen) == []


def test_lines_without_anything_to_make_wrong_are_watched_all_the_same(noticed: Noticing) -> None:
    seen = noticed(
        {"shop/price.py": CODE.replace("return n\n", "raise ValueError(n)\n")}, base={**BASE, "shop/price.py": CODE}
    )
    assert (seen.mutation.made, seen.mutation.problem) == (0, None)
    assert seen.coverage is not None
    assert seen.coverage.lines == 1


def test_what_there_was_no_time_for_is_said_and_is_no_doubt(noticed: Noticing) -> None:
    slow = ACCEPTANCE.replace("    assert", "    import time; time.sleep(60)\n    assert")
    seen = noticed({"shop/price.py": CODE}, acceptance=slow, mutation_s=8)
    assert seen.mutation.tried == 0 < seen.mutation.made
    assert "there was no time for the others" in seen.mutation.sentence
    assert ("mutants-not-tried", None, None) in rules(seen)
    assert "mutation-unknown" not in {rule for rule, _, _ in rules(seen)}
    assert seen.mutation.seconds < 60


def test_of_a_long_suite_the_tests_that_name_the_change_are_watched_and_nothing_is_said_of_the_others(
    noticed: Noticing,
) -> None:
    base = {**BASE, "tests/test_far.py": "def test_far():\n    import importlib\n"
            "    assert importlib.import_module('shop.' + 'pri' + 'ce').cents(1) == 100\n"}  # fmt: skip
    code = CODE + "\n\ndef cents(n):\n    return 100 * n\n"
    seen = noticed({"shop/price.py": code}, base=base, suite_s=10_000)
    assert seen.coverage is not None
    assert (seen.coverage.tests, seen.coverage.is_whole) == (5, False)
    assert "as many as there was time for" in seen.coverage.sentence
    assert seen.mutation.tried == 7 < seen.mutation.made
    assert seen.mutation.survivors == ()


# --- what a change may try

HOSTILE: dict[str, dict[str, str]] = {
    "a watched run that says what it likes": {
        "shop/price.py": CODE + "\nopen('/lockgate/watched.jsonl', 'a').write('{\"seen\": 7}\\n')\n",
    },
    "a watched run without an end of what it says": {
        "shop/price.py": CODE + "\nopen('/lockgate/watched.jsonl', 'a').write('x' * 30_000_000)\n",
    },
    "answers about mutants that nobody asked for": {
        "shop/price.py": CODE + "\nopen('/lockgate/tried.jsonl', 'a').write('[99999, \"killed\"]\\n')\n",
    },
    "a link in the place of the answer": {
        "shop/price.py": CODE + "\nimport os\nos.path.exists('/lockgate/watched.jsonl') and "
        "os.remove('/lockgate/watched.jsonl')\nos.symlink('/etc/passwd', '/lockgate/watched.jsonl')\n",
    },
    "source that is too deep to parse": {
        "shop/price.py": CODE,
        "shop/deep.py": "x = " + "(" * 5000 + ")" * 5000 + "\n",
    },
    "source that is too much": {"shop/price.py": CODE, "shop/much.py": "x = 1\n" * 200_000},
    "source of another Python": {"shop/price.py": CODE, "shop/later.py": "x = <3\n"},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_known_is_for_a_person(noticed: Noticing, name: str) -> None:
    seen = noticed(HOSTILE[name])
    assert ("mutation-unknown", None, None) in rules(seen), seen


def test_a_comment_cannot_keep_a_line_from_being_mutated(noticed: Noticing) -> None:
    new = re.sub(r"(?m)(?<=\S)$", "  # pragma: no mutate  # pragma: no cover", CODE.removeprefix(BASE["shop/price.py"]))
    seen = noticed({"shop/price.py": BASE["shop/price.py"] + "\n\n# pragma: no mutate start\n" + new}, acceptance=WEAK)
    assert rules(seen)[0] == ("every-mutant-survives", None, None)


def test_source_that_takes_too_long_to_parse_is_given_up(tmp_path: Path) -> None:
    made = mutants_of({"a.py": ("", "x = 1" + " + 1" * 20_000 + "\n")}, timeout_s=2)
    assert (made.mutants, made.problem, made.is_late) == ((), None, True)


def test_nothing_of_the_acceptance_is_in_what_is_found(noticed: Noticing) -> None:
    marked = ACCEPTANCE.replace("test_rebate", "test_hidden_marker") + "    assert 'hidden marker'\n"
    seen = noticed({"shop/price.py": CODE.replace("return n - 1", "return n + -1")}, acceptance=marked)
    told = repr(seen) + repr(apply(MUTATION_RULES, seen))
    assert "hidden" not in told
