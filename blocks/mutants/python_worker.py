"""The program that parses Python and makes mutants: `python -I python_worker.py`, a request as JSON on its input, one
JSON line for each file on its output. Source is parsed, never run. The platform itself does not import this file.

Operators: mutmut's table (https://github.com/boxed/mutmut), and two that it has not: `return None`, and a call that is
left out. mutmut's own visitor is not used: it passes over decorated functions, and obeys comments in the source.
"""

import ast
import json
import re
import resource
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from difflib import SequenceMatcher
from itertools import islice
from typing import Any, NamedTuple

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider, WhitespaceInclusivePositionProvider
from mutmut.mutation import mutators

MAX_BYTES = 2 << 30
"""Memory of this program."""
PER_LINE = 4
SHOWN_CHARS = 160


def _return_nothing(node: cst.Return) -> Iterator[cst.Return]:
    if node.value and not (isinstance(node.value, cst.Name) and node.value.value == "None"):
        yield node.with_changes(value=cst.Name("None"), whitespace_after_return=cst.SimpleWhitespace(" "))


def _leave_out(node: cst.Expr) -> Iterator[cst.Pass]:
    value = node.value.expression if isinstance(node.value, cst.Await) else node.value
    if isinstance(value, cst.Call):
        yield cst.Pass(semicolon=node.semicolon)


def _other_string(node: cst.BaseString) -> Iterator[cst.BaseString]:
    """One a string: the other two of mutmut's are its upper and lower case."""
    yield from islice(mutators.operator_string(node), 1)


OPERATORS: tuple[tuple[type[cst.CSTNode], Callable[[Any], Iterable[cst.CSTNode]], int], ...] = (
    (cst.CSTNode, mutators.operator_swap_op, 0),
    (cst.CSTNode, mutators.operator_keywords, 0),
    (cst.UnaryOperation, mutators.operator_remove_unary_ops, 0),
    (cst.IfExp, mutators.operator_if_exp, 0),
    (cst.Name, mutators.operator_name, 0),
    (cst.Return, _return_nothing, 1),
    (cst.BaseNumber, mutators.operator_number, 1),
    (cst.AugAssign, mutators.operator_augmented_assignment, 1),
    (cst.Expr, _leave_out, 1),
    (cst.Assign, mutators.operator_assignment, 2),
    (cst.AnnAssign, mutators.operator_assignment, 2),
    (cst.Lambda, mutators.operator_lambda, 2),
    (cst.Call, mutators.operator_symmetric_string_methods_swap, 2),
    (cst.Call, mutators.operator_unsymmetrical_string_methods_swap, 2),
    (cst.BaseString, _other_string, 3),
    (cst.Call, mutators.operator_dict_arguments, 3),
    (cst.Call, mutators.operator_arg_removal, 3),
)
"""Node, operator, rank: of one line's mutants those with the lowest rank come first, for they tell most."""

_LOGS = re.compile(r"(?i)(?:^|[._])(?:\w*log|\w*logger|logging|warnings)\.(?:debug|info|warn|warning|error|exception"
                   r"|critical|fatal|log|trace)$")  # fmt: skip
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+")
_MAKES_LOG = re.compile(r"(?:^|\.)get_?[lL]ogger$")
_LEFT_ALONE = ("len", "isinstance", "issubclass", "super", "TypeVar")


class Mutant(NamedTuple):
    """`start` to `end` of the file's characters become `text`. `before` and `after`: the lines, as people read them."""

    line: int
    start: int
    end: int
    text: str
    before: str
    after: str
    rank: int


class Maker(cst.CSTVisitor):
    """Makes the mutants of some lines of one file."""

    METADATA_DEPENDENCIES = (PositionProvider, WhitespaceInclusivePositionProvider)

    def __init__(self, source: str, module: cst.Module, lines: set[int]) -> None:
        super().__init__()
        self.made: dict[tuple[int, int, str], Mutant] = {}
        self._source, self._module, self._lines = source, module, lines
        self._starts = [0, *(match.end() for match in re.finditer(r"\r\n|\n|\r", source))]

    def on_visit(self, node: cst.CSTNode) -> bool:
        if self._is_left_alone(node):
            return False
        place = self.get_metadata(PositionProvider, node, None)
        if isinstance(place, CodeRange) and place.start.line in self._lines:
            for kind, operator, rank in OPERATORS:
                if isinstance(node, kind):
                    for mutated in operator(node):
                        self._add(node, mutated, place.start.line, rank)
        return True

    def _add(self, node: cst.CSTNode, mutated: cst.CSTNode, line: int, rank: int) -> None:
        whole = self.get_metadata(WhitespaceInclusivePositionProvider, node, None)
        if not isinstance(whole, CodeRange):
            return
        start = self._starts[whole.start.line - 1] + whole.start.column
        end = self._starts[whole.end.line - 1] + whole.end.column
        old, new = self._module.code_for_node(node), self._module.code_for_node(mutated)
        if _bare(self._source[start:end]) != _bare(old) or old == new:  # inside brackets the indent is not the node's
            return
        first, last = self._source.rfind("\n", 0, start) + 1, self._source.find("\n", end)
        last = len(self._source) if last < 0 else last
        before, after = self._source[first:last], self._source[first:start] + new + self._source[end:last]
        mutant = Mutant(line, start, end, new, _shown(before), _shown(after), rank)
        self.made.setdefault((start, end, new), mutant)

    def _is_left_alone(self, node: cst.CSTNode) -> bool:
        """Type hints, docstrings, logs, what is raised and asserted, and what no test run executes."""
        if isinstance(node, (cst.Annotation, cst.Raise, cst.Assert, cst.Import, cst.ImportFrom)):
            return True
        if isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1 and isinstance(node.body[0], cst.Expr):
            value = node.body[0].value
            return isinstance(value, cst.BaseString) or (isinstance(value, cst.Call) and self._is_log(value))
        if isinstance(node, cst.Call):
            return self._is_log(node) or (isinstance(node.func, cst.Name) and node.func.value in _LEFT_ALONE)
        if isinstance(node, cst.If):
            test = self._module.code_for_node(node.test)
            return test.rpartition(".")[2] == "TYPE_CHECKING" or "__name__" in test
        if isinstance(node, (cst.Assign, cst.AnnAssign)):
            if isinstance(node.value, cst.Call) and _MAKES_LOG.search(self._module.code_for_node(node.value.func)):
                return True
            target = node.targets[0].target if isinstance(node, cst.Assign) else node.target
            return isinstance(target, cst.Name) and target.value.startswith("__") and target.value.endswith("__")
        return False

    def _is_log(self, call: cst.Call) -> bool:
        return isinstance(call.func, cst.Attribute) and bool(_LOGS.search(self._module.code_for_node(call.func)))


def changed_lines(base: str, head: str) -> set[int]:
    """Numbers of the lines of `head` that a diff adds or changes."""
    old, new = (re.split(r"\r\n|\n|\r", text) if text else [] for text in (base, head))
    first = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    shorter = min(len(old), len(new)) - first
    same = next((n for n in range(shorter) if old[-1 - n] != new[-1 - n]), shorter)
    old, new = old[first : len(old) - same], new[first : len(new) - same]
    operations = SequenceMatcher(None, old, new).get_opcodes()
    return {first + n + 1 for kind, _, _, a, b in operations if kind in ("replace", "insert") for n in range(a, b)}


def mutants(source: str, lines: set[int]) -> list[Mutant]:
    """The mutants of these lines: first one of each line, then a second one, at most PER_LINE."""
    wrapper = MetadataWrapper(cst.parse_module(_only(source, lines)), unsafe_skip_copy=True)
    maker = Maker(source, wrapper.module, lines)
    wrapper.visit(maker)
    turn: Counter[int] = Counter()
    ordered: list[tuple[int, Mutant]] = []
    for mutant in sorted(maker.made.values(), key=lambda mutant: mutant.rank):
        turn[mutant.line] += 1
        if turn[mutant.line] <= PER_LINE:
            ordered.append((turn[mutant.line], mutant))
    return [mutant for _, mutant in sorted(ordered, key=lambda pair: (pair[0], pair[1].rank, pair[1].line))]


def _only(source: str, lines: set[int]) -> str:
    """The source with empty lines in the place of what stands at the top and has none of the lines: metadata of a
    large file takes seconds. As it is where this Python cannot parse it."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return source
    kept: set[int] = set()
    for node in body:
        first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
        span = range(first, (node.end_lineno or first) + 1)
        kept.update(span if any(line in lines for line in span) else ())
    return "".join(line if n in kept else "\n" for n, line in enumerate(re.findall(_LINE, source), start=1))


def _bare(code: str) -> str:
    return "".join(code.split())


def _shown(code: str) -> str:
    text = " ".join(code.split())
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    for path, (base, head) in json.load(sys.stdin).items():
        lines = changed_lines(base, head)
        try:
            answer: dict[str, Any] = {"mutants": [mutant[:-1] for mutant in mutants(head, lines)]}
        except (cst.ParserSyntaxError, cst.CSTValidationError, RecursionError, ValueError, MemoryError) as err:
            answer = {"problem": f"it cannot be parsed ({type(err).__name__})"}
        print(json.dumps({"path": path, "lines": sorted(lines), **answer}), flush=True)


if __name__ == "__main__":
    main()
