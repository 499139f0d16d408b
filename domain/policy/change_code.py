"""Change rules over new Python product code: what makes tests pass without doing the work. Parsed, never run."""

import ast
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from domain.policy.change import Change
from domain.policy.rule import Hit, Rule
from domain.ports import Tree
from domain.task import Severity

TEST_VARIABLES = re.compile(r"PYTEST_(?:CURRENT_TEST|VERSION|XDIST_\w+)?|_called_from_test|JEST_WORKER_ID|VITEST")
RUNNERS = frozenset(("pytest", "_pytest", "unittest", "nose", "conftest", "py.test"))
EXITS = frozenset(("exit", "quit", "sys.exit", "SystemExit"))
STACKS = frozenset(
    ("inspect.stack", "inspect.currentframe", "sys._getframe", "sys._current_frames", "traceback.extract_stack")
)

Found = Iterator[tuple[ast.AST, str]]


def _parse(tree: Tree, path: str) -> ast.Module | None:
    entry = tree.get(path)
    if entry is None:
        return ast.Module(body=[], type_ignores=[])
    source = entry.content.decode("utf-8", "replace").removeprefix("\ufeff")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _new(find: Callable[[ast.Module], Found], except_names: tuple[str, ...] = ()) -> Callable[[Change], Iterator[Hit]]:
    """A check that gives what `find` sees in the head's product code and not, as often, in base's."""

    def check(change: Change) -> Iterator[Hit]:
        for path in change.product_python:
            module = _parse(change.head, path)
            if module is None or PurePosixPath(path).name in except_names:
                continue
            known = Counter(_said(node) for node, _ in find(_parse(change.base, path) or ast.Module([], [])))
            for node, message in find(module):
                if known[_said(node)]:
                    known[_said(node)] -= 1
                else:
                    yield Hit(message, path, getattr(node, "lineno", None))

    return check


def _said(node: ast.AST) -> str:
    return ast.dump(node)


def _name(node: ast.AST | None) -> str:
    """`sys.exit` for an attribute or a name; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = _name(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def _unparsed(change: Change) -> Iterator[Hit]:
    for path in change.product_python:
        if _parse(change.head, path) is None:
            yield Hit("this Python source cannot be parsed, so the rules over code did not see it", path)


def _hard_exit(module: ast.Module) -> Found:
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and _name(node) in ("os._exit", "os.abort"):
            yield node, f"{_name(node)} ends the process without a word to the test runner"
        elif (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and {a.name for a in node.names} & {"_exit", "abort"}
        ):
            yield node, "os._exit ends the process without a word to the test runner"
        elif isinstance(node, ast.Call) and _name(node.func) in ("getattr", "attrgetter", "operator.attrgetter"):
            if any(isinstance(arg, ast.Constant) and arg.value == "_exit" for arg in node.args):
                yield node, "os._exit, by its name in a string, ends the process without a word to the test runner"
        elif isinstance(node, ast.Call) and _name(node.func) == "os.kill" and _calls(node.args[:1], "os.getpid"):
            yield node, "the process kills itself"


def _calls(nodes: list[ast.expr], name: str) -> bool:
    return any(isinstance(node, ast.Call) and _name(node.func) == name for node in nodes)


def _exit_at_import(module: ast.Module) -> Found:
    for node in _at_import(module.body):
        call: ast.AST | None = node.value if isinstance(node, ast.Expr) else getattr(node, "exc", None)
        if isinstance(node, ast.Raise) and _name(node.exc) == "SystemExit":
            yield node, "the process ends, as a success, when this module is imported"
        elif isinstance(call, ast.Call) and _name(call.func) in EXITS:
            codes = [arg.value for arg in call.args if isinstance(arg, ast.Constant)]
            if not call.args or (codes and not codes[0]):
                yield node, "the process ends, as a success, when this module is imported"


def _at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run on import: not those of functions, nor below `if __name__ == "__main__"`."""
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.If) and any(_name(part) == "__name__" for part in ast.walk(node.test)):
            waiting += node.orelse
            continue
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                waiting.append(child)
            elif isinstance(child, (ast.ExceptHandler, ast.match_case)):
                waiting += child.body


def _detection(module: ast.Module) -> Found:
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
            if TEST_VARIABLES.fullmatch(node.value):
                yield node, f"product code asks for {node.value}, which only a test run has"
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)):
            where = _name(node.comparators[0]) or _name(getattr(node.comparators[0], "value", None))
            if where in ("sys.modules", "modules", "sys.argv", "argv") and _is_runner(node.left, where):
                yield node, "product code asks whether tests are running"
        elif isinstance(node, ast.Call) and _name(node.func) == "sys.modules.get" and node.args:
            if _is_runner(node.args[0], "modules"):
                yield node, "product code asks whether tests are running"
        elif (
            isinstance(node, ast.Subscript) and _name(node.value) == "sys.modules" and _is_runner(node.slice, "modules")
        ):
            yield node, "product code reaches into the test runner"


def _is_runner(node: ast.AST, where: str) -> bool:
    words = RUNNERS | ({"test", "tests"} if "argv" in where else set())
    return isinstance(node, ast.Constant) and node.value in words


def _always_equal(module: ast.Module) -> Found:
    for owner in ast.walk(module):
        if not isinstance(owner, ast.ClassDef):
            continue
        for node in owner.body:
            constant: ast.AST | None = None
            if isinstance(node, ast.FunctionDef) and node.name == "__eq__":
                body = [s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
                constant = body[0].value if len(body) == 1 and isinstance(body[0], ast.Return) else None
            elif isinstance(node, ast.Assign) and any(_name(target) == "__eq__" for target in node.targets):
                constant = node.value.body if isinstance(node.value, ast.Lambda) else None
            if isinstance(constant, ast.Constant) and constant.value is True:
                yield owner, f"{owner.name} is equal to anything"


def _stack(module: ast.Module) -> Found:
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and _name(node.func) in STACKS:
            yield node, f"{_name(node.func)} looks at who is calling"


def _imports_runner(module: ast.Module) -> Found:
    for node in ast.walk(module):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            if name.split(".")[0] in RUNNERS:
                yield node, f"product code imports {name}"


REFUSE, PERSON = Severity.REFUSE, Severity.PERSON

CODE_RULES: tuple[Rule[Change], ...] = (
    Rule(
        "process-exit", "change", REFUSE,
        "New os._exit, os.abort or a kill of the own process in product code.",
        "It ends a test run before it can fail.",
        "raise an exception, or return",
        _new(_hard_exit),
    ),
    Rule(
        "exit-at-import", "change", REFUSE,
        "sys.exit, exit, quit or SystemExit with a success code that runs when a product module is imported; "
        "`__main__.py` and `if __name__ == \"__main__\"` are free.",
        "It ends a test run before it can fail.",
        'put it below if __name__ == "__main__"',
        _new(_exit_at_import, except_names=("__main__.py",)),
    ),
    Rule(
        "test-detection", "change", REFUSE,
        "Product code that asks for PYTEST_CURRENT_TEST and its like, or for a test runner in sys.modules or sys.argv.",
        "Code that behaves otherwise under test is not tested.",
        "behave the same everywhere; pass differences in as settings",
        _new(_detection),
    ),
    Rule(
        "always-equal", "change", REFUSE,
        "A product class whose __eq__ returns True whatever it is compared with.",
        "Every assertion about it holds.",
        "compare the fields",
        _new(_always_equal),
    ),
)  # fmt: skip

CODE_PERSON_RULES: tuple[Rule[Change], ...] = (
    Rule(
        "test-import", "change", PERSON,
        "Product code that newly imports pytest, unittest or nose.",
        "It can replace parts of the runner, or tell that tests are running.",
        "keep test code in the tests, or let a reviewer agree",
        _new(_imports_runner),
    ),
    Rule(
        "stack-inspection", "change", PERSON,
        "Product code that newly looks at its call stack: inspect.stack, sys._getframe and their like.",
        "It can tell a test from a customer.",
        "pass what is needed as an argument, or let a reviewer agree",
        _new(_stack),
    ),
    Rule(
        "unparsed", "change", PERSON,
        "A changed Python product file that the platform's own Python cannot parse.",
        "The rules over code did not see it, and unknown is not a pass.",
        "mend the syntax; a reviewer agrees where it is for a newer Python",
        _unparsed,
    ),
)  # fmt: skip
