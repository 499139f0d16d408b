"""Change rules over new Python product code that knows it is tested, or has the answers written into it."""

import ast
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from domain.policy.change import Change
from domain.policy.change_guards import GUARD_RULES
from domain.policy.change_other_code import detects
from domain.policy.change_protection import PROTECTION_RULES
from domain.policy.change_surroundings import SURROUNDINGS_RULES
from domain.policy.change_weakness import WEAKNESS_RULES
from domain.policy.python_code import Found, Old, dotted, newly, nodes_of, parsed, parsed_source, text_in
from domain.policy.rule import Hit, Rule
from domain.task import Severity

TEST_VARIABLES = re.compile(r"PYTEST_(?:CURRENT_TEST|VERSION|XDIST_\w+)?|_called_from_test|JEST_WORKER_ID|VITEST")
RUNNERS = frozenset(("pytest", "_pytest", "unittest", "nose", "conftest", "py.test"))
STACKS = frozenset(
    (
        "inspect.stack", "inspect.currentframe", "inspect.trace", "inspect.getouterframes", "sys._getframe",
        "sys._current_frames", "sys._getframemodulename", "sys.settrace", "sys.setprofile", "threading.settrace",
        "threading.setprofile", "sys.monitoring.register_callback", "traceback.extract_stack", "traceback.walk_stack",
        "traceback.format_stack", "traceback.print_stack", "inspect.getframeinfo", "inspect.getinnerframes",
        "gc.get_objects", "gc.get_referrers",
    )
)  # fmt: skip
FRAMES = frozenset(("tb_frame", "gi_frame", "cr_frame", "ag_frame", "f_back", "f_locals", "f_globals"))
"""Attributes that lead to frames, and from there to who is calling: https://docs.python.org/3/library/inspect.html"""
_ALL_CLASSES = frozenset(("object", "type", "BaseException", "Exception", "AssertionError", "Warning"))
PLATFORM = re.compile(r"/(?:opt/|run/|etc/)?lockgate(?:[-_./].*)?|/work/?|LOCKGATE_\w*|lockgate_inside")
"""What only a sandbox of the platform has."""
OF_TESTS = re.compile(r"(?:^|[^a-z])(?:py|unit|conf)?tests?(?:[^a-z]|$)", re.IGNORECASE)

LONG = 12
"""Characters of source from which on a value that stands in a test and in product code is no coincidence."""


def _detection(module: ast.Module) -> Found:
    for node in nodes_of(module):
        text = text_in(node)
        if text and TEST_VARIABLES.fullmatch(text):
            yield node, f"product code asks for {text}, which only a test run has"
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)):
            where = dotted(node.comparators[0]) or dotted(getattr(node.comparators[0], "value", None))
            if where in ("sys.modules", "modules", "sys.argv", "argv") and _is_runner(node.left, where):
                yield node, "product code asks whether tests are running"
            elif _asks_the_command(node):
                yield node, "product code asks which program was started"
        elif isinstance(node, ast.Call) and dotted(node.func) == "sys.modules.get" and node.args:
            if _is_runner(node.args[0], "modules"):
                yield node, "product code asks whether tests are running"
        elif (
            isinstance(node, ast.Subscript)
            and dotted(node.value) == "sys.modules"
            and _is_runner(node.slice, "modules")
        ):
            yield node, "product code reaches into the test runner"
        elif any(_walks_modules(loop.iter) for loop in _loops(node)):
            if any(text_in(part) in RUNNERS for part in ast.walk(node)):
                yield node, "product code looks for a test runner among the modules"
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and (asked := _asks_who_calls(node)):
            yield node, f"product code looks for {asked!r} among who is calling"


def _is_runner(node: ast.AST, where: str) -> bool:
    words = RUNNERS | ({"test", "tests"} if "argv" in where else set())
    text = text_in(node) or ""
    return text in words or ("argv" not in where and text.partition(".")[0] in RUNNERS)


def _asks_the_command(node: ast.AST) -> bool:
    """Whether the words of Python's own command line are compared with a test runner's name."""
    parts = list(ast.walk(node))
    is_asked = any(dotted(part) in ("sys.orig_argv", "orig_argv") for part in parts)
    return is_asked and any(text_in(part) in RUNNERS for part in parts)


def _walks_modules(node: ast.expr) -> bool:
    parts = {dotted(part) for part in ast.walk(node)}
    return bool(parts & {"sys.modules", "modules", "sys.orig_argv", "orig_argv"})


def _loops(node: ast.AST) -> list[ast.For] | list[ast.comprehension]:
    return [node] if isinstance(node, ast.For) else getattr(node, "generators", [])


def _asks_who_calls(function: ast.AST) -> str | None:
    """What a function that looks at its call stack compares with, where that is a word of tests."""
    nodes = list(ast.walk(function))
    if not any(isinstance(node, ast.Call) and dotted(node.func) in STACKS for node in nodes):
        return None
    told = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}  # a docstring compares nothing
    texts = (text_in(node) for node in nodes if id(node) not in told)
    return next((text for text in texts if text and OF_TESTS.search(text)), None)


def _stack(module: ast.Module) -> Found:
    for node in nodes_of(module):
        if isinstance(node, ast.Call) and dotted(node.func) in STACKS:
            yield node, f"{dotted(node.func)} looks at who is calling"
        elif isinstance(node, ast.Attribute) and node.attr in FRAMES:
            yield node, f"{node.attr} leads to who is calling"
        elif isinstance(node, ast.Attribute) and node.attr == "__subclasses__" and dotted(node.value) in _ALL_CLASSES:
            yield node, f"{dotted(node.value)}.__subclasses__ leads to every class that is loaded"


def _platform(module: ast.Module) -> Found:
    for node in nodes_of(module):
        if (text := text_in(node)) and PLATFORM.fullmatch(text):
            yield node, f"product code names {text!r}, which only a sandbox of the platform has"


def _reads_tests(change: Change) -> Iterator[Hit]:
    tests = {path for path in (*change.base, *change.acceptance) if change.is_test(path) or path in change.acceptance}
    names = {PurePosixPath(path).name for path in tests} - {"__init__.py", "conftest.py"}
    names = {name for name in names if OF_TESTS.search(name.replace("_", "-"))}

    def find(module: ast.Module) -> Found:
        for node in nodes_of(module):
            text = text_in(node)
            if text and "\n" not in text and (PurePosixPath(text).name in names or _TEST_GLOB.search(text)):
                yield node, f"product code names the tests' files: {text[:80]!r}"

    yield from newly(find)(change)


_TEST_GLOB = re.compile(r"(?:^|/)tests?/|(?:^|/)test_\w*\*[\w*]*\.py$|(?:^|/)\*_test\.py$")


VALUES = frozenset(
    ("str", "bytes", "int", "float", "complex", "list", "tuple", "dict", "set", "frozenset", "UserDict", "UserList",
     "UserString", "OrderedDict", "defaultdict", "Counter")
)  # fmt: skip
_COMPARE = frozenset(("__eq__", "__ne__", "__contains__"))
_KINDS = frozenset(("__instancecheck__", "__subclasscheck__"))
"""By which a class says what is of its kind, such as the error that a test waits for."""


def _odd_equality(module: ast.Module) -> Found:
    functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    for node in nodes_of(module):
        if isinstance(node, ast.ClassDef):
            is_value = any(dotted(base).split(".")[-1] in VALUES for base in node.bases)
            for inner in (one for one in node.body if isinstance(one, ast.FunctionDef)):
                if (is_value and inner.name in _COMPARE and not _hands_on(inner)) or inner.name in _KINDS:
                    yield inner, f"{node.name}.{inner.name} says in its own way what a test compares with"
        for name, value in _equalities(node, ("__eq__", "__ne__")):
            function = functions.get(value.id) if isinstance(value, ast.Name) else value
            if function is not None and _reads_one_alone(function):
                yield node, f"{name} compares without a look at one of the two"


def _hands_on(function: ast.FunctionDef) -> bool:
    """Whether it says what its parent says, or the opposite of what it says itself elsewhere."""
    answers = [node.value for node in ast.walk(function) if isinstance(node, ast.Return)]
    return bool(answers) and all(
        (isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.func.attr in _COMPARE)
        or (isinstance(one, ast.UnaryOp) and isinstance(one.op, ast.Not) and function.name == "__ne__")
        for one in answers
    )


def _reads_one_alone(function: ast.AST) -> bool:
    """Whether an `__eq__` or `__ne__` never reads one of the two that it compares."""
    if not isinstance(function, (ast.FunctionDef, ast.Lambda)) or len(function.args.args) != 2:
        return False
    body = function.body if isinstance(function, ast.FunctionDef) else [function.body]
    read = {part.id for one in body for part in ast.walk(one) if isinstance(part, ast.Name)}
    answers = [part.value for one in body for part in ast.walk(one) if isinstance(part, ast.Return) and part.value]
    raises = not answers and isinstance(function, ast.FunctionDef)
    is_no = bool(answers) and all(_is_no(answer) for answer in answers)
    itself, other = (argument.arg for argument in function.args.args)
    return not raises and not is_no and not ({itself, "super"} & read and other in read)


def _mocks(module: ast.Module) -> Iterator[str]:
    """What `unittest.mock` is called in it."""
    yield from ("mock", "unittest.mock")
    for node in nodes_of(module):
        if isinstance(node, ast.Import):
            yield from (one.asname for one in node.names if one.name in ("mock", "unittest.mock") and one.asname)
        if isinstance(node, ast.ImportFrom) and node.module == "unittest":
            yield from (one.asname for one in node.names if one.name == "mock" and one.asname)


def _always_equal(module: ast.Module) -> Found:
    any_of_mock = {f"{name}.ANY" for name in _mocks(module)}
    functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    for node in nodes_of(module):
        is_mock = isinstance(node, ast.ImportFrom) and node.module in ("unittest.mock", "mock")
        is_any = isinstance(node, ast.ImportFrom) and any(one.name in ("ANY", "*") for one in node.names)
        if (is_any and is_mock) or dotted(node) in any_of_mock:
            yield node, "unittest's ANY is equal to anything"
        for name, value in _equalities(node):
            function = functions.get(value.id) if isinstance(value, ast.Name) else value
            if function is not None and _never_compares(function):
                yield node, f"{name} is equal to anything"


def _equalities(node: ast.AST, methods: tuple[str, ...] = ("__eq__",)) -> Iterator[tuple[str, ast.AST]]:
    """(of what, function) for each of `methods` that a class, an assignment, setattr or type() gives."""
    if isinstance(node, ast.ClassDef):
        for inner in node.body:
            if isinstance(inner, ast.FunctionDef) and inner.name in methods:
                yield node.name, inner
            elif isinstance(inner, ast.Assign) and any(dotted(target) in methods for target in inner.targets):
                yield node.name, inner.value
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            owner, _, method = dotted(target).rpartition(".")
            if owner and method in methods:
                yield owner, node.value
    elif isinstance(node, ast.Call) and dotted(node.func) == "setattr" and len(node.args) == 3:
        if text_in(node.args[1]) in methods:
            yield dotted(node.args[0]) or "an object", node.args[2]
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if key is not None and text_in(key) in methods:
                yield "a class", value


def _never_compares(function: ast.AST) -> bool:
    """Whether an `__eq__` never reads what it is compared with, and yet says something other than no."""
    if isinstance(function, ast.Call) and function.args and dotted(function.func).split(".")[-1] in _WRAPS:
        return _never_compares(function.args[0])  # `__eq__ = staticmethod(lambda other: True)`
    if not isinstance(function, (ast.FunctionDef, ast.Lambda)) or len(function.args.args) not in (1, 2):
        return False
    answers = (
        [function.body]
        if isinstance(function, ast.Lambda)
        else [node.value for node in ast.walk(function) if isinstance(node, ast.Return)]
    )
    if answers and all(isinstance(answer, ast.Constant) and answer.value is True for answer in answers):
        return True
    other = function.args.args[-1].arg
    reads = any(isinstance(node, ast.Name) and node.id == other for node in ast.walk(function))
    return not reads and any(answer is not None and not _is_no(answer) for answer in answers)


_WRAPS = frozenset(("staticmethod", "classmethod", "partial", "partialmethod"))


def _is_no(answer: ast.expr) -> bool:
    return dotted(answer) == "NotImplemented" or (isinstance(answer, ast.Constant) and not answer.value)


def _hard_coded(change: Change) -> Iterator[Hit]:
    told = _told(change)
    if told:
        yield from newly(lambda module: _answers(module, told))(change)
        yield from _new_tables(change, told)
        yield from _new_data(change, told)


def _told(change: Change) -> frozenset[str]:
    """Every value that is written out in the acceptance: its files, and those of the tests that it names."""
    sources = [content for path, content in change.acceptance.items() if path.endswith(".py")]
    modules = [parsed_source(source) for source in sources]
    named = {test.split("::")[0] for test in change.prepared.brief.acceptance.tests}
    modules += [parsed(change.base, path) for path in sorted(named) if path.endswith(".py")]
    values = (node for module in modules if module for node in nodes_of(module))
    return frozenset(ast.dump(node) for node in values if _is_written_out(node))


def _answers(module: ast.Module, told: frozenset[str]) -> Found:
    """A value of the acceptance's that is asked for, and answered by another one of its values."""
    for node in nodes_of(module):
        if isinstance(node, ast.If):
            asked = [part for part in ast.walk(node.test) if _is_told(part, told) and _is_long(part)]
            given = [part.value for part in node.body if isinstance(part, (ast.Return, ast.Assign)) and part.value]
            answers = [value for value in given if _is_told(value, told) and not _is_empty(value)]
            if asked and answers and not (_turns_a_kind(node) and all(map(_is_word, (*asked, *answers)))):
                yield node, f"what the acceptance asks for, {_shown(asked[0])}, has its answer written down"


def _new_tables(change: Change, told: frozenset[str]) -> Iterator[Hit]:
    """Tables with two or more pairs of question and answer that no table of base's file has."""
    for path in change.product_python:
        module = parsed(change.head, path)
        if module is None:
            continue
        known = {pair for _, pairs in _tables(parsed(change.base, path) or ast.Module([], []), told) for pair in pairs}
        for table, pairs in _tables(module, told):
            new = [question for pair, question in pairs.items() if pair not in known]
            if len(new) > 1:
                message = f"a table holds what the acceptance asks for, such as {new[0]}, with the answers"
                yield Hit(message, path, getattr(table, "lineno", None))


_MOST_DATA = 1_000_000
"""Bytes of data that are looked through: more is no table of answers that somebody wrote."""


def _new_data(change: Change, told: frozenset[str]) -> Iterator[Hit]:
    """The same in data beside the product, which a program reads as it runs."""
    for path in change.present:
        if not path.endswith(".json") or change.is_test(path) or len(change.head[path].content) > _MOST_DATA:
            continue
        known, now = (
            {pair for _, pairs in _tables(_as_python(tree[path].content), told) for pair in pairs}
            if path in tree
            else set()
            for tree in (change.base, change.head)
        )
        if len(new := sorted(now - known)) > 1:
            yield Hit(f"data holds what the acceptance asks for with the answers, such as {new[0][:80]}", path)


def _as_python(content: bytes) -> ast.Module:
    """JSON as the Python that says the same; empty if it is none."""
    try:
        return ast.parse(repr(json.loads(content)))
    except (ValueError, RecursionError, SyntaxError, MemoryError):
        return ast.Module([], [])


def _tables(module: ast.Module, told: frozenset[str]) -> Iterator[tuple[ast.AST, dict[str, str]]]:
    """(table, its pairs of values of the acceptance's as source → the question as people are shown it)."""
    for node in nodes_of(module):
        if isinstance(node, (ast.Dict, ast.List, ast.Tuple, ast.Set)):
            pairs = {
                f"{ast.unparse(question)}: {ast.unparse(answer)}": _shown(question)
                for question, answer in _pairs(node)
                if _is_told(question, told) and _is_told(answer, told) and not _is_empty(answer)
                and (_is_long(question) or _is_long(answer))
            }  # fmt: skip
            if pairs:
                yield node, pairs


def _is_told(node: ast.AST, told: frozenset[str]) -> bool:
    return _is_written_out(node) and ast.dump(node) in told


_WORD = re.compile(r"[a-z]+(?:[_-][a-z]+)*")


def _turns_a_kind(node: ast.If) -> bool:
    """Whether it compares an attribute and sets the same one: `if one.kind == "a": one.kind = "b"`, and no answer."""
    test, done = node.test, node.body[0]
    if not (
        isinstance(test, ast.Compare) and isinstance(done, ast.Assign) and len(node.body) == len(done.targets) == 1
    ):
        return False
    return isinstance(test.left, ast.Attribute) and dotted(test.left) == dotted(done.targets[0]) != ""


def _is_word(node: ast.AST) -> bool:
    """The name of a kind, such as `text_special`, of which a program turns one into another."""
    return bool(_WORD.fullmatch(text_in(node) or ""))


def _is_empty(node: ast.AST) -> bool:
    """None, False, 0 and "": what many things are, and no answer. An empty list can be one."""
    return isinstance(node, ast.Constant) and not node.value


def _pairs(node: ast.Dict | ast.List | ast.Tuple | ast.Set) -> Iterable[tuple[ast.expr, ast.expr]]:
    if isinstance(node, ast.Dict):
        return ((key, value) for key, value in zip(node.keys, node.values, strict=True) if key is not None)
    inner = (one.elts for one in node.elts if isinstance(one, (ast.List, ast.Tuple)))
    return ((one[0], one[1]) for one in inner if len(one) == 2)


def _is_written_out(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return node.value is not Ellipsis
    if isinstance(node, ast.Dict):
        return all(key is not None and _is_written_out(key) for key in node.keys) and all(
            map(_is_written_out, node.values)
        )
    return isinstance(node, (ast.List, ast.Tuple, ast.Set)) and all(map(_is_written_out, node.elts))


def _is_long(node: ast.AST) -> bool:
    return len(ast.unparse(node)) >= LONG


def _shown(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else f"{text[:60]}…"


REFUSE, PERSON = Severity.REFUSE, Severity.PERSON

EVASION_RULES: tuple[Rule[Change], ...] = (
    Rule(
        "test-detection", "change", REFUSE,
        "Product code that asks for PYTEST_CURRENT_TEST and its like, for a test runner in sys.modules or sys.argv, or "
        "for a word of tests on its call stack; for the variables and globals of Node's test runners; for Go's "
        "testing.Testing or test flags; for Rust's cfg(not(test)).",
        "Code that behaves otherwise under test is not tested.",
        "behave the same everywhere; pass differences in as settings",
        lambda change: (*newly(_detection, old=Old.THERE)(change), *detects(change)),
    ),
    Rule(
        "always-equal", "change", REFUSE,
        "An __eq__ of product code that says yes without a look at what it is compared with, also one that is put into "
        "a class by assignment, setattr or type(), and ANY of unittest.mock.",
        "Every assertion about it holds.",
        "compare the fields",
        newly(_always_equal, old=Old.THERE),
    ),
)  # fmt: skip

EVASION_PERSON_RULES: tuple[Rule[Change], ...] = (
    Rule(
        "hard-coded", "change", PERSON,
        "Product code that asks for a value of the acceptance and answers with another one of its values, or a table "
        "with two or more such pairs that base's file does not have, in JSON too. Short values, None, False, 0 and "
        "\"\" do not count.",
        "It knows what the test asks, and may do nothing else.",
        "compute the answer, or let a reviewer agree that it is a table of facts",
        _hard_coded,
    ),
    Rule(
        "stack-inspection", "change", PERSON,
        "Product code that newly looks at its call stack or at objects of others: inspect.stack, sys._getframe, frames "
        "of tracebacks and generators, sys.settrace, gc.get_objects and their like.",
        "It can tell a test from a customer, and take the answer from it.",
        "pass what is needed as an argument, or let a reviewer agree",
        newly(_stack, old=Old.MOVED),
    ),
    Rule(
        "odd-equality", "change", PERSON,
        "An __eq__ or __ne__ of product code that never reads one of the two things that it compares, and does not "
        "always say no; one of its own, or a __contains__, in a class of texts, numbers, lists and their like; and an "
        "__instancecheck__ or __subclasscheck__.",
        "Assertions about it may hold whatever it is.",
        "compare the fields, or let a reviewer agree",
        newly(_odd_equality, old=Old.MOVED),
    ),
    Rule(
        "reads-tests", "change", PERSON,
        "Product code that newly names a file of tests, or a pattern of such: test_search.py, tests/, test_*.py.",
        "What a test wants can be read there, and answered without doing the work.",
        "keep data that the product needs outside of the tests, or let a reviewer agree",
        _reads_tests,
    ),
    Rule(
        "sandbox-detection", "change", PERSON,
        "Product code that newly names what only a sandbox of the platform has: /lockgate, /work, LOCKGATE_….",
        "Code that behaves otherwise where it is judged is not tested.",
        "behave the same everywhere, or let a reviewer agree",
        newly(_platform, old=Old.MOVED),
    ),
    *SURROUNDINGS_RULES,
    *GUARD_RULES,
    *PROTECTION_RULES,
    *WEAKNESS_RULES,
)  # fmt: skip
