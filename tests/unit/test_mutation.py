"""Mutants as data: which lines, which tests, what a sandbox's answer is worth, and what the rules make of it."""

import json
from collections.abc import Mapping

import pytest

from blocks.mutants.python_worker import PER_LINE, changed_lines, mutants
from domain import task as values
from domain.mutation import (
    MAX_MUTANTS,
    CoveredLines,
    LinesRun,
    Made,
    MadeOf,
    Mutant,
    MutationPlan,
    diff_coverage,
    made_of,
    mutation_of,
    plan_of,
    read_tried,
    read_watched,
)
from domain.policy.mutation_rules import MUTATION_RULES, Noticed, ranges
from domain.policy.rule import apply
from domain.task import DiffCoverage, Mutation, Survivor
from tasks.pages.show import noticed
from tasks.running.mutate import is_time_to_try

# --- lines and mutants

LINES: dict[str, tuple[str, str, set[int]]] = {
    "nothing": ("a\nb\n", "a\nb\n", set()),
    "a new file": ("", "a\nb\n", {1, 2, 3}),
    "one in the middle": ("a\nb\nc\n", "a\nB\nc\n", {2}),
    "one more of the same": ("a\na\n", "a\na\na\n", {3}),
    "taken out": ("a\nb\nc\n", "a\nc\n", set()),
    "two apart": ("a\nb\nc\nd\n", "A\nb\nc\nD\n", {1, 4}),
    "no newline at the end": ("a\nb", "a\nb\nc", {3}),
    "only the line ends": ("a\r\nb\r\n", "a\nb\n", set()),
    "moved down": ("a\nb\n", "x\na\nb\n", {1}),
}


@pytest.mark.parametrize("name", LINES)
def test_changed_lines_are_those_that_a_diff_adds(name: str) -> None:
    base, head, lines = LINES[name]
    assert changed_lines(base, head) == lines


def made(source: str, lines: set[int] | None = None) -> list[tuple[int, str]]:
    """(line, the line with its mutant), sorted."""
    chosen = lines if lines is not None else set(range(1, source.count("\n") + 1))
    return sorted((mutant.line, mutant.after) for mutant in mutants(source, chosen))


MADE: dict[str, tuple[str, list[str]]] = {
    "a comparison": ("x = a < b\n", ["x = None", "x = a <= b"]),
    "a membership": ("if a in b:\n    c\n", ["if a not in b:"]),
    "a condition": ("if a and not b:\n    c\n", ["if a and b:", "if a or not b:"]),
    "a number": ("f(3)\n", ["f(4)", "f(None)", "pass"]),
    "a returned value": ("def f():\n    return a\n", ["return None"]),
    "a returned None": ("def f():\n    return None\n", []),
    "a call": ("db.commit()\n", ["pass"]),
    "a call of many lines": ("if a:\n    f(\n        b,\n    )\n", ["f( None, )", "pass"]),
    "a string": ('x = "a"\n', ['x = "XXaXX"', "x = None"]),
    "a truth": ("x = True\n", ["x = False", "x = None"]),
    "below a decorator": ("@app.get\ndef f():\n    return a + b\n", ["return None", "return a - b"]),
    "a default": ("def f(a: int = 1):\n    ...\n", ["def f(a: int = 2):"]),
    "a type hint": ("def f(a: Literal[1]) -> Literal['b']:\n    ...\n", []),
    "a docstring": ('def f():\n    "a"\n', []),
    "a log": ("log.info('a %s', b + 1)\nself._logger.error('c')\n", []),
    "a logger": ("logger = logging.getLogger(__name__)\n", []),
    "what is raised": ("raise ValueError('a' + b)\n", []),
    "an assertion": ("assert a == 1, 'b'\n", []),
    "for type checkers": ("if TYPE_CHECKING:\n    a = 1\n", []),
    "when it is a program": ("if __name__ == '__main__':\n    main(1)\n", []),
    "a dunder name": ("__version__ = '1'\n__all__ = ['a']\n", []),
    "an import": ("import a\nfrom b import c\n", []),
    "told to leave it": ("x = 1  # pragma: no mutate\n", ["x = 2 # pragma: no mutate", "x = None # pragma: no mutate"]),
}


@pytest.mark.parametrize("name", MADE)
def test_mutants_are_what_a_test_should_notice_and_nothing_else(name: str) -> None:
    source, expected = MADE[name]
    assert sorted(after for _, after in made(source)) == expected


def test_mutants_are_spliced_in_where_they_were_made() -> None:
    source = "def f(a):\r\n\tb = 'é' + a  # …\r\n\treturn (b)\r\n\r\n\r\ndef g(x):\r\n    return [x, 1]\r\n"
    every = {source[: m.start] + m.text + source[m.end :] for m in mutants(source, set(range(1, 9)))}
    assert source.replace("'é' + a", "'é' - a") in every
    assert source.replace("[x, 1]", "[x, 2]") in every
    assert source.replace("return (b)", "return None") in every
    for mutated in every:
        compile(mutated, "m", "exec")


def test_only_the_lines_that_are_asked_for_are_mutated() -> None:
    source = "a = 1\n\n\n@dec\ndef f():\n    b = 1\n    c = 2\n    return c\n"
    assert {line for line, _ in made(source, {7})} == {7}


def test_each_line_has_its_turn_before_one_has_its_second() -> None:
    source = "x = a + b - c * d / e\ny = 1\nz = f(1, 2)\n"
    lines = [mutant.line for mutant in mutants(source, {1, 2, 3})]
    assert set(lines[:3]) == {1, 2, 3}
    assert max(map(lines.count, {1, 2, 3})) <= PER_LINE


def test_files_take_turns_too_and_there_are_no_more_than_can_be_read() -> None:
    many = tuple((n, 0, 1, "", "", "") for n in range(MAX_MUTANTS))
    whole = made_of([MadeOf(path="a.py", lines=frozenset({1}), mutants=many),
                     MadeOf(path="b.py", lines=frozenset({1}), mutants=many[:1]),
                     MadeOf(path="c.py", lines=frozenset({1}), problem="it cannot be parsed")])  # fmt: skip
    assert [mutant.path for mutant in whole.mutants[:3]] == ["a.py", "b.py", "a.py"]
    assert len(whole.mutants) == MAX_MUTANTS
    assert whole.problem == "c.py: it cannot be parsed"


# --- what the sandbox wrote


def written(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def seen(test: str = "t.py::a", passed: bool = True, lines: Mapping[str, list[int]] | None = None) -> dict[str, object]:
    return {"seen": {"test": test, "file": "/work/t.py", "seconds": 0.1, "passed": passed, "lines": lines or {}}}


START = {"collected": 2, "statements": {"0": [[1, 1], [3, 4]]}, "loaded": {"0": [1]}, "modules": ["json"]}


def test_a_watched_run_is_read_with_the_last_line_cut_off() -> None:
    text = written(START, seen(lines={"0": [3]}), {**seen("t.py::b"), "loaded": {"0": [9]}})
    watched = read_watched(text + '{"seen": {"te', ["a.py"])
    assert [(test.test, test.lines) for test in watched.tests] == [("t.py::a", {"a.py": {3}}), ("t.py::b", {})]
    assert (watched.loaded, watched.modules, watched.is_whole) == ({"a.py": {1, 9}}, ("json",), True)
    assert not read_watched(written(START, seen()), ["a.py"]).is_whole
    assert not watched._replace(is_choice=True).is_whole


RUBBISH = {
    "nothing": "",
    "no JSON": "hello\n",
    "an array": "[]\n",
    "another field": written({**START, "more": 1}),
    "no statements": written(seen()),
    "a file that was not asked for": written({**START, "statements": {"7": [[1, 1]]}}),
    "lines that are none": written({**START, "loaded": {"0": ["a"]}}),
    "a test without a name": written(START, {"seen": {"test": None}}),
    "a name without an end": written(START, seen("t" * 3000)),
    "a negative time": written(START, {"seen": {**dict(seen()["seen"]), "seconds": -1}}),  # type: ignore[call-overload]
    "deep": "[" * 100_000 + "\n",
}


@pytest.mark.parametrize("name", RUBBISH)
def test_anything_else_in_a_watched_run_is_no_answer(name: str) -> None:
    with pytest.raises(ValueError, match="the watched run"):
        read_watched(RUBBISH[name], ["a.py"])


TRIED = {
    "no JSON": "hello\n",
    "an object": "{}\n",
    "a mutant that was not asked for": "[7, 'killed']\n".replace("'", '"'),
    "another end": '[0, "fine"]\n',
    "more": '[0, "killed", 1]\n',
    "a list in a list": '[[], "killed"]\n',
    "deep": "[" * 100_000 + "\n",
}


@pytest.mark.parametrize("name", TRIED)
def test_anything_else_than_answers_about_mutants_is_no_answer(name: str) -> None:
    with pytest.raises(ValueError, match="the run of the mutants"):
        read_tried(TRIED[name], {0, 1})


def test_the_first_answer_about_a_mutant_counts() -> None:
    assert read_tried('[0, "survived"]\n[1, "killed"]\n[0, "killed"]\n[1, "kil', {0, 1}) == {0: "survived", 1: "killed"}


# --- coverage and plan


def watched(*tests: LinesRun, loaded: set[int] | None = None, whole: bool = True) -> CoveredLines:
    collected = len(tests) if whole else len(tests) + 1
    spans = {"a.py": [(1, 1), (3, 5), (7, 7), (9, 9)]}
    return CoveredLines(tests, collected, {"a.py": frozenset(loaded or set())}, spans)


def one(test: str, lines: set[int], seconds: float = 0.1, passed: bool = True) -> LinesRun:
    return LinesRun(test, test.split("::")[0], seconds, passed, {"a.py": frozenset(lines)})


def test_a_changed_line_is_covered_with_its_statement_and_comments_do_not_count() -> None:
    changed = {"a.py": frozenset({1, 2, 4, 5, 7, 9})}
    got = diff_coverage(changed, watched(one("t::a", {3}), one("t::b", {7}, passed=False), loaded={1}))
    assert (got.lines, got.uncovered, got.percent, got.tests, got.is_whole) == (5, {"a.py": (9,)}, 80, 2, True)


def test_coverage_without_lines_is_whole_and_never_rounded_up() -> None:
    assert DiffCoverage(lines=0).percent == 100
    assert DiffCoverage(lines=1000, uncovered={"a.py": (1,)}).percent == 99


def mutant(line: int, path: str = "a.py") -> Mutant:
    return Mutant(path, line, 0, 1, "", "before", "after")


def chosen(line: int, run: CoveredLines, first: tuple[str, ...] = ()) -> list[str] | str:
    plan = plan_of([mutant(line)], run, first)
    return [seen.test for seen in plan.jobs[0].tests] if plan.jobs else "untouched" if plan.untouched else "not known"


def test_a_mutant_is_tried_by_the_tests_that_run_its_statement_and_pass() -> None:
    run = watched(one("t.py::a", {3}), one("t.py::b", {7}), one("t.py::c", {5}, passed=False), loaded={1})
    assert chosen(4, run) == ["t.py::a"]
    assert chosen(9, run) == "untouched"


def test_a_line_that_runs_on_import_is_tried_by_whatever_uses_its_file_or_else_by_all() -> None:
    assert chosen(1, watched(one("t.py::a", {3}), one("t.py::b", set()), loaded={1})) == ["t.py::a"]
    assert chosen(1, watched(one("t.py::a", set()), one("t.py::b", set()), loaded={1})) == ["t.py::a", "t.py::b"]


def test_lines_that_run_on_import_come_after_those_that_a_test_runs() -> None:
    plan = plan_of([mutant(1), mutant(3)], watched(one("t.py::a", {3}), loaded={1}), ())
    assert [job.mutant for job in plan.jobs] == [1, 0]


def test_where_not_all_tests_were_watched_a_line_that_none_ran_is_not_known() -> None:
    assert chosen(9, watched(one("t.py::a", {3}), whole=False)) == "not known"


def test_tests_made_for_the_change_come_first_then_files_that_are_quick() -> None:
    run = watched(one("s.py::a", {3}, 5), one("q.py::a", {3}, 1), one("new.py::a", {3}, 9), one("q.py::b", {3}, 0.1))
    assert chosen(3, run, ("new.py",)) == ["new.py::a", "q.py::a", "q.py::b", "s.py::a"]


@pytest.mark.parametrize(
    ("left", "took", "is_time"),
    [(3.0, 3.0, True), (2.0, 3.0, False), (0.4, 0.1, False), (2.0, 11.0, True), (1.0, 11.0, False)],
)
def test_a_mutant_is_begun_with_where_its_tests_could_run_in_the_time_that_is_left(
    left: float, took: float, is_time: bool
) -> None:
    run = watched(one("t.py::needed", {1}), one("t.py::other", {9}, seconds=max(0.0, took - 2) if took > 3 else 0.0))
    assert is_time_to_try(left, took, plan_of([mutant(1)], run, ()), run) is is_time


def test_the_end_counts_survivors_and_leaves_out_what_does_not_compile() -> None:
    every = tuple(mutant(line) for line in (9, 3, 1, 1, 7, 7))
    ends = {1: "killed", 2: "survived", 3: "invalid", 4: "unclear"}
    got = mutation_of(Made(mutants=every), MutationPlan(untouched=frozenset({0})), ends)
    assert (got.made, got.tried) == (5, 3)
    assert [(s.line, s.is_run) for s in got.survivors] == [(1, True), (9, False)]
    assert got.sentence == (
        "tried 3 of 5 mutants of the changed lines, tests notice 1; there was no time for the others"
    )


# --- rules

ONE = Survivor(path="a.py", line=4, before="x = 1", after="x = 2")
DARK = Survivor(path="a.py", line=9, before="y = 1", after="y = 2", is_run=False)

RULES: dict[str, tuple[Mutation, DiffCoverage | None, list[tuple[str, str, int | None]]]] = {
    "all noticed": (Mutation(made=5, tried=5), DiffCoverage(lines=5), []),
    "cut off": (Mutation(made=31, tried=7), DiffCoverage(lines=5), []),
    "left out": (Mutation(left_out="switched off"), None, []),
    "one survives": (Mutation(made=5, tried=5, survivors=(ONE,)), None, [("mutant-survives", "note", 4)]),
    "three of more": (Mutation(made=9, tried=3, survivors=(ONE,) * 3), None, [("mutant-survives", "note", 4)] * 3),
    "six of more": (
        Mutation(made=9, tried=6, survivors=(ONE,) * 6),
        None,
        [("every-mutant-survives", "person", None), *[("mutant-survives", "note", 4)] * 6],
    ),
    "six of more, and no test runs them": (Mutation(made=9, tried=6, survivors=(DARK,) * 6), None, []),
    "all of three": (
        Mutation(made=3, tried=3, survivors=(ONE,) * 3),
        None,
        [("every-mutant-survives", "person", None), *[("mutant-survives", "note", 4)] * 3],
    ),
    "all of two": (Mutation(made=2, tried=2, survivors=(ONE,) * 2), None, [("mutant-survives", "note", 4)] * 2),
    "all, and no test runs them": (
        Mutation(made=3, tried=3, survivors=(DARK,) * 3),
        DiffCoverage(lines=3, uncovered={"a.py": (7, 8, 9)}),
        [("every-mutant-survives", "person", None), ("line-not-run", "note", 7)],
    ),
    "not all tests watched": (
        Mutation(made=5, tried=5),
        DiffCoverage(lines=5, uncovered={"a.py": (7,)}, is_whole=False),
        [],
    ),
    "nothing made in time": (Mutation(is_late=True), None, [("mutants-not-tried", "note", None)]),
    "nothing tried": (Mutation(made=31), None, [("mutants-not-tried", "note", None)]),
    "not known": (Mutation(made=3, tried=3, problem="it broke"), None, [("mutation-unknown", "person", None)]),
}


@pytest.mark.parametrize("name", RULES)
def test_what_the_rules_make_of_it(name: str) -> None:
    mutation, coverage, expected = RULES[name]
    found = apply(MUTATION_RULES, Noticed(mutation, coverage))
    assert [(f.rule, str(f.severity), f.line) for f in found] == expected


def test_no_rule_about_mutants_refuses() -> None:
    assert {str(rule.severity) for rule in MUTATION_RULES} == {"person", "note"}


def test_line_numbers_are_written_as_people_do() -> None:
    assert ranges((3, 4, 5, 9, 11, 12)) == "3–5, 9, 11–12"


def test_what_is_shown_says_lines_mutants_and_coverage_and_renders_none_of_it() -> None:
    evil = Survivor(path="a.py", line=3, before="x = '<img src=x>' | `y`", after="pass")
    value = values.Tested(
        commit="c" * 40, rows=(), sandbox="bubblewrap", mutation=Mutation(made=2, tried=2, survivors=(evil, DARK)),
        coverage=DiffCoverage(lines=4, uncovered={"a.py": (9, 10)}, tests=3),
    )  # fmt: skip
    text = noticed(value)
    assert "tried 2 of 2 mutants" in text
    assert r"| x = '\<img src=x\>' \| \`y\` | pass |" in text
    assert "a.py:9 (no test runs it)" in text
    assert "50 % of 4 changed lines are run by a test" in text
    assert "a.py: 9–10" in text


def test_evidence_of_before_is_still_evidence() -> None:
    old = values.Tested.model_validate({"commit": "c" * 40, "rows": [], "sandbox": "bubblewrap"})
    assert (old.mutation, old.coverage, noticed(old)) == (None, None, "")
