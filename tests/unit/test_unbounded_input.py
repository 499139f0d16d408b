"""Input of any length is read in a time that grows with it, and a number of any length is no crash. Where a pattern
is slow, a test here runs for minutes."""

import json
from collections.abc import Callable, ValuesView
from typing import Any

import pytest

from blocks.scanners.dependencies import js_imports, python_imports
from blocks.scanners.dependencies.pyproject import pep440
from domain.brief import Acceptance, AcceptanceFile
from domain.detect import detect
from domain.policy import change_findings
from domain.policy.brief_lint import lint_brief
from domain.policy.features import separate_features
from domain.policy.feedback import cause_of
from domain.policy.reviewers import parse
from domain.program_reports import read_cargo, read_go, read_programs
from domain.reports import read_tap
from domain.schema import widens
from domain.trees import TreeEntry
from tests.unit.policy_cases import PROJECT, attempt, prepared, tree

LONG = 200_000
DIGITS = "9" * 5_000
"""More than Python makes a number of."""


@pytest.mark.parametrize("gap", [" ", "\n", "\t\n", "/ "])
def test_a_brief_of_spaces_asks_for_as_much_as_without(gap: str) -> None:
    assert separate_features(f"Fix the parser{gap * (LONG // len(gap))}of dates") == ()
    asked = f"Fix the parser of dates{gap * (LONG // len(gap))} and add a search box"
    assert bool(separate_features(asked)) == ("\n" not in gap)


def _knows(line: str) -> set[str]:
    changed = {**PROJECT, **tree({"web/a.js": line})}
    return {finding.rule for finding in change_findings(prepared(), attempt(changed), PROJECT, changed)}


def test_one_long_line_of_javascript_is_read() -> None:
    assert "test-environment" not in _knows("x(process.env.NODE_ENV, 'a'); " * (LONG // 30))
    assert "test-environment" not in _knows("if (x === 'test') { y() } " * (LONG // 26))
    assert "test-environment" in _knows("x(process.env.NODE_ENV, 'a'); " * (LONG // 30) + "y('test')")
    assert "test-environment" in _knows("'test' " * (LONG // 7) + "=== process.env.NODE_ENV")


def _rules(path: str, content: str) -> set[str]:
    changed = {**PROJECT, **tree({path: content})}
    return {finding.rule for finding in change_findings(prepared(), attempt(changed), PROJECT, changed)}


def test_many_lines_that_ask_for_variables_are_read() -> None:
    kept = "".join(f"x{number} = dict(os.environ)\n" for number in range(2_000))
    assert "surroundings" in _rules("shop/a.py", f"import os\n{kept}")


def test_comparisons_in_comparisons_are_read() -> None:
    nested = f"[{'1, ' * 5_000}]"
    for _ in range(60):
        nested = f"({nested} < 1)"
    assert "surroundings" not in _rules("shop/a.py", f"x = {nested}\n")


@pytest.mark.parametrize("part", ["Array[", "''.split(", "9", "... "])
def test_one_long_line_of_javascript_that_changes_nothing_is_read(part: str) -> None:
    assert "unreadable" in _rules("web/a.js", part * (LONG // len(part)))


@pytest.mark.parametrize("gap", ["\n", "# /// script\n", "# /// \t"])
def test_a_script_that_begins_to_say_what_it_needs_is_read(gap: str) -> None:
    assert "dependencies" not in _rules("a.py", f"# /// script\n#{gap * (LONG // len(gap))}")
    assert "dependencies" in _rules("a.py", f"# /// script\n# dependencies = []\n# ///{' ' * 9}\n{gap * 2_000}")


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("native/a.c", "getenv(a[{}]);\n"),
        ("web/a.js", "import {{a{}}} from 'child_process'\n"),
        ("web/a.js", "f('https://a{}.com')\n"),
        ("web/a.js", "import '@testing-library/a{}'\n"),
        ("shop/a.py", "f('https://a{}.com')\n"),
    ],
)
def test_what_many_lines_reach_is_looked_for_in_base_once(path: str, line: str) -> None:
    class Counted(dict[str, TreeEntry]):
        looks = 0

        def values(self) -> ValuesView[TreeEntry]:
            Counted.looks += 1
            return super().values()

        def __getitem__(self, path: str) -> TreeEntry:
            Counted.looks += path.startswith("long.")
            return super().__getitem__(path)

        def get(self, path: str, other: Any = None) -> Any:
            Counted.looks += path.startswith("long.")
            return super().get(path, other)

    base = Counted({**PROJECT, **tree({"long.c": "", "long.js": ""})})
    changed = {**base, **tree({path: "".join(map(line.format, range(1_000)))})}
    rules = {finding.rule for finding in change_findings(prepared(), attempt(changed), base, changed)}
    assert rules & {"reaches", "test-import"} and Counted.looks < 300


def test_what_a_very_long_line_of_javascript_does_is_seen() -> None:
    for before in range(3_500, 3_700, 20):
        assert "surroundings" in _rules("web/a.js", f"{' ' * before}x(process.env.A); y(Object.keys(process.env))")


SPACES = "\n" * LONG
LONG_FILES: dict[str, Callable[[], Any]] = {
    "a cause": lambda: cause_of(f"{SPACES}x"),
    "imports of Python": lambda: python_imports.imports(f"({SPACES}import os".encode())[0].module == "os",
    "Poetry's range": lambda: pep440(f"^1.2{' ' * LONG},<2") == ">=1.2,<2,<2",
    "a brief's tests": lambda: (
        not lint_brief(
            prepared().brief.model_copy(
                update={
                    "acceptance": Acceptance(files=(AcceptanceFile(path="a.py", content=f"{SPACES}def test(): ..."),))
                }
            ),
            environments=(),
        )
    ),
    "a module of Go": lambda: read_go("", tree({"go.mod": SPACES})),
    "a crate of Rust": lambda: read_cargo("", tree({"Cargo.toml": SPACES})),
    "tox": lambda: detect(tree({"tox.ini": f"[tox]\nenvlist = {'{1-50}' * 5_000}\n[testenv]\ncommands = pytest\n"})),
    "tox's many": lambda: detect(tree({"tox.ini": f"[tox]\nenvlist = {'{1-50}' * 9}\n[testenv]\ncommands = pytest\n"})),
}


@pytest.mark.parametrize("what", LONG_FILES)
def test_a_long_file_is_read(what: str) -> None:
    assert LONG_FILES[what]()


def _node(engines: str) -> Any:
    package = {"scripts": {"test": "node --test"}, "engines": {"node": engines}}
    return detect(tree({"package.json": json.dumps(package), "a.test.js": ""}))


def _poetry(python: str) -> Any:
    told = f'[tool.poetry]\nname = "a"\n[tool.poetry.dependencies]\npython = "{python}"\n'
    return detect(tree({"pyproject.toml": told}))


NUMBERS: dict[str, Callable[[], Any]] = {
    **{f"Node {spec}": lambda spec=spec: _node(f"{spec}{DIGITS}") for spec in ("", ">=", "1 - ", "^18 || <")},
    "Node, spaces": lambda: _node(f">={' ' * LONG}18"),
    **{f"Poetry {spec}": lambda spec=spec: _poetry(f"{spec}{DIGITS}") for spec in ("^", "~", "^3.")},
    "Poetry, no number": lambda: _poetry("^"),
    "tox": lambda: detect(tree({"tox.ini": f"[tox]\nenvlist = py{{{DIGITS}-{DIGITS}}}\n"})),
    "a dependency": lambda: pep440(f"^{DIGITS}") == f"^{DIGITS}",
    "owners": lambda: parse(f"[A][{DIGITS}] @a\n*\n"),
    "a type": lambda: not widens("varchar(3)", f"varchar({DIGITS})"),
    "an import": lambda: js_imports.imports(f"import(\"{DIGITS}'a'\nimport(\"7'a'\n".encode()) == [],
}


@pytest.mark.parametrize("what", NUMBERS)
def test_a_long_number_is_no_crash(what: str) -> None:
    assert NUMBERS[what]()


@pytest.mark.parametrize("plan", [f"1..{DIGITS}", "1..1"])
def test_a_plan_that_is_not_kept_is_not_believed(plan: str) -> None:
    with pytest.raises(ValueError, match="plan"):
        read_tap(f"{plan}\n")


def test_how_a_program_began_is_not_believed_where_it_is_too_deep() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read_programs({"1.begun": b"[" * 100_000}, {})
