"""Change rules over new Python product code: what ends or replaces the test run. Parsed, never run."""

import ast
from collections.abc import Iterator

from domain.policy.change import Change
from domain.policy.change_evasion import RUNNERS
from domain.policy.change_surroundings_js import imports_runner_script
from domain.policy.python_code import Found, Old, dotted, newly, nodes_of, parsed, text_in
from domain.policy.rule import Hit, Rule
from domain.task import Severity

EXITS = frozenset(("exit", "quit", "sys.exit", "SystemExit"))


def _unparsed(change: Change) -> Iterator[Hit]:
    for path in change.product_python:
        if parsed(change.head, path) is None:
            yield Hit(
                "this Python source cannot be parsed, or is nested too deep, so the rules over code did not see it",
                path,
            )


def _hard_exit(module: ast.Module) -> Found:
    for node in nodes_of(module):
        if isinstance(node, ast.Attribute) and dotted(node) in ("os._exit", "os.abort"):
            yield node, f"{dotted(node)} ends the process without a word to the test runner"
        elif (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and {a.name for a in node.names} & {"_exit", "abort"}
        ):
            yield node, "os._exit ends the process without a word to the test runner"
        elif isinstance(node, ast.Call) and dotted(node.func) in ("getattr", "attrgetter", "operator.attrgetter"):
            if any(isinstance(arg, ast.Constant) and arg.value == "_exit" for arg in node.args):
                yield node, "os._exit, by its name in a string, ends the process without a word to the test runner"
        elif isinstance(node, ast.Call) and dotted(node.func) == "os.kill" and _calls(node.args[:1], "os.getpid"):
            yield node, "the process kills itself"


def _calls(nodes: list[ast.expr], name: str) -> bool:
    return any(isinstance(node, ast.Call) and dotted(node.func) == name for node in nodes)


def _exit_at_import(module: ast.Module) -> Found:
    for node in _at_import(module.body):
        call: ast.AST | None = node.value if isinstance(node, ast.Expr) else getattr(node, "exc", None)
        if isinstance(node, ast.Raise) and dotted(node.exc) == "SystemExit":
            yield node, "the process ends, as a success, when this module is imported"
        elif isinstance(call, ast.Call) and dotted(call.func) in EXITS:
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
        if isinstance(node, ast.If) and any(dotted(part) == "__name__" for part in ast.walk(node.test)):
            waiting += node.orelse
            continue
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                waiting.append(child)
            elif isinstance(child, (ast.ExceptHandler, ast.match_case)):
                waiting += child.body


def _imports_runner(module: ast.Module) -> Found:
    for node in nodes_of(module):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        if isinstance(node, ast.Call) and dotted(node.func).split(".")[-1] in ("import_module", "__import__"):
            names = [name for arg in node.args[:1] if (name := text_in(arg))]
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
        newly(_hard_exit, old=Old.THERE),
    ),
    Rule(
        "exit-at-import", "change", REFUSE,
        "sys.exit, exit, quit or SystemExit with a success code that runs when a product module is imported; "
        "`__main__.py` and `if __name__ == \"__main__\"` are free.",
        "It ends a test run before it can fail.",
        'put it below if __name__ == "__main__"',
        newly(_exit_at_import, lambda base, path: path.split("/")[-1] == "__main__.py", old=Old.THERE),
    ),
)  # fmt: skip

CODE_PERSON_RULES: tuple[Rule[Change], ...] = (
    Rule(
        "test-import", "change", PERSON,
        "Product code that newly imports pytest, unittest or nose, by a statement or by a call, or asks for a test "
        "runner of Node.",
        "It can replace parts of the runner, or tell that tests are running.",
        "keep test code in the tests, or let a reviewer agree",
        lambda change: (*newly(_imports_runner)(change), *imports_runner_script(change)),
    ),
    Rule(
        "unparsed", "change", PERSON,
        "A changed Python product file that the platform's own Python cannot parse, or that is nested very deep.",
        "The rules over code did not see it, and unknown is not a pass.",
        "mend the syntax; a reviewer agrees where it is for a newer Python",
        _unparsed,
    ),
)  # fmt: skip
