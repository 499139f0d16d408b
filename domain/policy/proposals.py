"""Whether a test that an agent proposes may be shown to a person: it is one new test file in Python, and it is red on
base for want of what the goal asks, not by itself.

Its text is read and never run here. Whether a test asks anything of the product is followed from name to name: what is
imported from the product, and what comes of it, does; a constant does not. A test that is red whatever the product does
is not believed; what only looks as if it asked is for the person to see, who is shown why each test fails.
"""

import ast
import builtins
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from domain.paths import matches
from domain.policy.baseline import is_named
from domain.policy.feedback import cause_of, one_line
from domain.project import ProjectSettings
from domain.proposal import MOST_CHARS, Proposal
from domain.reports import BAD
from domain.task import Suite
from domain.text import block
from domain.trees import Tree, check_path

_NAME = re.compile(r"test_[\w.-]*\.py|[\w.-]+_test\.py")
_DRAWN_AS_NOTHING = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U00016fe4\U0001d159\U000e0100-\U000e01ef]"
)
"""Letters and marks without a shape. Python takes some of them for letters of a name:
https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt, Default_Ignorable_Code_Point"""
_LINE, _BLANK, _EMPTY_LINES = 200, 40, 8
"""Columns of a line and of blanks in it, and empty lines in a row: what is behind more of them may not be on the
screen."""
_SKIPS = ("skip", "skipif", "skipIf", "skipUnless", "skipTest", "xfail", "importorskip", "expectedFailure", "SkipTest")
_BUILT_IN_FIXTURES = frozenset(
    re.findall(
        r"\w+",
        "tmp_path tmp_path_factory tmpdir tmpdir_factory monkeypatch capsys capfd capsysbinary capfdbinary caplog "
        "recwarn request pytestconfig record_property record_testsuite_property cache doctest_namespace subtests",
    )
)
_ASKS_NOTHING = frozenset(vars(builtins)) - {"open", "__import__", "exec", "eval", "compile"}
_FAILS = ("fail", "exit", "_exit", "abort")
_MOST_NODES, _MOST_NESTED, _MOST_ROUNDS = 6_000, 50, 20
"""Of what is judged. Names are followed in rounds over all nodes; a node is looked at as often as it is nested."""
_OF_IMPORT = re.compile(
    r"(?:No module named|from) '([\w.]+)'|cannot import name '[^']+' from (?:partially initialized module )?'([\w.]+)'"
)


def why_unfit(proposal: Proposal, tree: Tree, settings: ProjectSettings) -> tuple[str, ...]:
    """Why it is not run at all; empty: it is a new test file that asks something of the product."""
    wrong = [*_wrong_place(proposal.path, tree, settings)]
    if len(proposal.content) > MOST_CHARS:
        wrong.append(f"it has {len(proposal.content):,} characters, and people read all of it: {MOST_CHARS:,} at most")
    elif hidden := [*_hidden(proposal.content)]:
        wrong += hidden
    else:
        wrong += _wrong_text(proposal, tree, settings)
    return tuple(wrong)


def red_on_base(
    proposal: Proposal, suite: Suite, tree: Tree, settings: ProjectSettings
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(its tests that fail on base, each with the reason; why that is not believed)."""
    red: list[str] = []
    wrong: list[str] = []
    read = _Read(proposal.content, products(tree, settings))
    for test, outcome in suite.cases.items():
        if outcome not in BAD or not is_named(test, (proposal.path,)):
            continue
        message = suite.messages.get(test, "")
        cause = cause_of(message)
        red.append(f"{test}: {one_line(cause.why) or 'no reason is told'}")
        lines = [
            int(at) for at in re.findall(rf"^(?:/work/)?{re.escape(proposal.path)}:(\d{{1,9}}):", message, re.MULTILINE)
        ]
        if why := _by_itself(message, cause.why, lines, cause.path == proposal.path, read):
            wrong.append(f"{test} is red by itself: {one_line(why)}")
    return tuple(red), tuple(wrong)


def _wrong_place(path: str, tree: Tree, settings: ProjectSettings) -> Iterator[str]:
    pure = PurePosixPath(path)
    if problem := check_path(path):
        yield f"{path!r} is no path in the repository: {problem}"
        return
    if not _NAME.fullmatch(pure.name):
        yield f"{path} is no test file in Python by its name: one file test_….py is proposed, and nothing else"
    elif not matches(path, settings.test_paths):
        yield f"{path} is not where tests are ({', '.join(settings.test_paths[:4])}, …)"
    lower = {one.lower() for one in tree}
    if path.lower() in lower:
        yield f"{path} is there already: a proposal adds a file, and alters none"
    if above := next((str(one) for one in pure.parents if str(one).lower() in lower), None):
        yield f"{above} is a file, so nothing can be below it"


def _hidden(content: str) -> Iterator[str]:
    """Why a person might approve another text than they see. The first place of each kind is told."""
    told = set[str]()
    for number, line in enumerate(content.split("\n"), 1):
        wide = line.expandtabs(8)
        unseen = next((c for c in line if block(c) != c or _DRAWN_AS_NOTHING.match(c)), None)
        kinds = {
            "hide text": unseen and f"holds U+{ord(unseen):04X}: characters that hide text, are not drawn or look "
            "like a blank are written as escapes",
            "long": len(wide) > _LINE and f"has {len(wide)} columns, and {_LINE} are shown: break it",
            "blank": " " * (_BLANK + 1) in wide and f"has more than {_BLANK} blanks in a row, and people may not "
            "see what is behind them",
        }  # fmt: skip
        for kind, why in kinds.items():
            if why and kind not in told:
                told.add(kind)
                yield f"line {number} {why}"
    if re.search(rf"(?:\n[ \t]*){{{_EMPTY_LINES + 2}}}", content):
        yield f"it has more than {_EMPTY_LINES} empty lines in a row, and people may not see what is behind them"


def _wrong_text(proposal: Proposal, tree: Tree, settings: ProjectSettings) -> Iterator[str]:
    try:
        read = _Read(proposal.content, products(tree, settings))
        found = [*read.problems()]
    except _TooMuch as err:
        yield f"it cannot be judged: {err}"
        return
    except (SyntaxError, ValueError, RecursionError, MemoryError) as err:
        yield f"it cannot be read as Python: {one_line(str(err)) or type(err).__name__}"
        return
    if not read.tests:
        yield "there is no test in it: a function whose name begins with test"
    yield from found


# ── what is the product ──


def products(tree: Tree, settings: ProjectSettings) -> frozenset[str]:
    """Names by which a test may reach the product: what can be imported from the repository, and its files' paths."""
    found: set[str] = set()
    for path in tree:
        if matches(path, settings.test_paths) or path == "lockgate.toml":
            continue
        found.add(path)
        pure = PurePosixPath(path)
        if pure.suffix in (".py", ".pyi", ".pyx", ".so") and pure.name not in (
            "setup.py",
            "conftest.py",
            "__main__.py",
        ):
            found |= {part for part in pure.parts[:-1] if part.isidentifier() and part not in ("src", "lib")}
            found |= {pure.name.partition(".")[0]} - {"__init__"}
    return frozenset(found)


class _TooMuch(Exception):
    """More than is read in a second."""


class _Read:
    """A test file, read as data. Raises SyntaxError and the like if it is none, _TooMuch if it is too intricate."""

    def __init__(self, content: str, product: frozenset[str]) -> None:
        self.product = product
        self.module = ast.parse(content)
        _check_size(self.module)
        self.named: dict[ast.AST, bool] = {}
        """Nodes → whether they name the product themselves, whatever leads to it."""
        self.called_back: set[ast.AST] = set()
        self.asking: set[str] = set()
        """Names that lead to the product, and `self.name` of classes."""
        self.modules: set[str] = set()
        given = [node for node in ast.walk(self.module) if isinstance(node, ast.Assign)]
        names = [(one.id, node.value) for node in given for one in node.targets if isinstance(one, ast.Name)]
        self.constants = {name for name, value in names if isinstance(value, ast.Constant)}
        self.functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}
        self.tests = [*self._tests(self.module.body, is_class=False)]
        for node in ast.walk(self.module):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self.functions[node.name] = node
            elif isinstance(node, ast.Import):
                self.modules |= {
                    one.asname or one.name.partition(".")[0] for one in node.names if self._is_product(one.name)
                }
            elif isinstance(node, ast.ImportFrom) and self._is_product(node.module or "", node.level):
                self.asking |= {one.asname or one.name for one in node.names}
        self.asking |= self.modules
        self._fixtures()
        for _ in range(_MOST_ROUNDS):
            before = len(self.asking)
            for node in ast.walk(self.module):
                self._follow(node)
            if before == len(self.asking):
                return
        raise _TooMuch("too many names lead from one to the next: write it shorter")

    def _is_product(self, module: str, level: int = 0) -> bool:
        return level > 0 or module.partition(".")[0] in self.product

    def _tests(self, body: Iterable[ast.stmt], *, is_class: bool) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
                yield node
            elif isinstance(node, ast.ClassDef) and not is_class:
                yield from self._tests(node.body, is_class=True)

    def _fixtures(self) -> None:
        """Parameters of tests and fixtures: those of the project's conftest may be anything of the product."""
        given: set[str] = set()
        for function in self.functions.values():
            for mark in function.decorator_list:
                if isinstance(mark, ast.Call) and _last(mark.func) == "parametrize" and mark.args:
                    given |= set(re.findall(r"\w+", " ".join(_strings(mark.args[0]))))
        for function in self.functions.values():
            if function in self.tests or any(_last(_called(mark)) == "fixture" for mark in function.decorator_list):
                names = {one.arg for one in (*function.args.args, *function.args.kwonlyargs)}
                self.asking |= names - given - _BUILT_IN_FIXTURES - self.functions.keys() - {"self", "cls"}
            patched = [
                mark
                for mark in function.decorator_list
                if isinstance(mark, ast.Call) and "patch" in ast.dump(mark.func)
            ]
            if patched:
                self.asking |= {one.arg for one in function.args.args} - {"self", "cls"}

    def asks(self, node: ast.AST | None) -> bool:
        """Whether what is computed there may depend on the product."""
        if node is None:
            return False
        for one in ast.walk(node):
            if isinstance(one, ast.Name) and one.id in self.asking and not isinstance(one.ctx, ast.Store):
                return True
            if isinstance(one, ast.Attribute) and _dotted(one) in self.asking:
                return True
            if one not in self.named:
                self.named[one] = self._names_product(one)
            if self.named[one]:
                return True
        return False

    def _names_product(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Call):
            return self._names_it(node)
        if isinstance(node, ast.List | ast.Tuple):
            return any(map(self._is_named, node.elts))  # a command line that is put together
        return self._is_named(node) and bool(re.search(r"[/.]", _strings(node)[0]))  # a file's path

    def _names_it(self, call: ast.Call) -> bool:
        """A call that is told the product's name: a command line, a module to import, a file to read."""
        if isinstance(call.func, ast.Name) and call.func.id in _ASKS_NOTHING:
            return False
        said = [text for one in (*call.args, *(key.value for key in call.keywords)) for text in _strings(one)]
        words = {word for text in said for word in (text, *re.findall(r"[\w./-]+", text), *re.findall(r"\w+", text))}
        return not words.isdisjoint(self.product)

    def _is_named(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in self.product

    def _follow(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.NamedExpr) and self.asks(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            self._add(targets)
        elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension) and self.asks(node.iter):
            self._add([node.target])
        elif isinstance(node, ast.With | ast.AsyncWith):
            for item in node.items:
                if self.asks(item.context_expr) or (_is_raises(item.context_expr) and any(map(self.asks, node.body))):
                    self._add([item.optional_vars])
        elif isinstance(node, ast.Try):
            if any(map(self.asks, node.body)):
                self.asking |= {handler.name for handler in node.handlers if handler.name}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node not in self.tests and any(map(self.asks, node.body)):
                self.asking |= {node.name, f"self.{node.name}"}
            if any(isinstance(one, ast.Call) and self.asks(one) for part in node.body for one in ast.walk(part)):
                self.asking |= {one.arg for one in node.args.args if one.arg in _BUILT_IN_FIXTURES}
        elif isinstance(node, ast.ClassDef):
            if any(self.asks(base) for base in node.bases) or any(
                self.asks(one) for one in node.body if not isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
            ):
                self.asking.add(node.name)
        elif isinstance(node, ast.Call) and (self.asks(node.func) or any(map(self.asks, node.args))):
            may_be_filled = [one for one in node.args if isinstance(one, ast.Name) and one.id not in self.constants]
            self._add(may_be_filled)
            if isinstance(node.func, ast.Attribute):
                self._add([node.func.value])
            given = [self.functions.get(one.id) if isinstance(one, ast.Name) else one for one in node.args]
            for called in given:  # what the product calls back may fill something, too
                if called in self.called_back:
                    continue
                if isinstance(called, ast.Lambda | ast.FunctionDef | ast.AsyncFunctionDef):
                    self.called_back.add(called)
                    self._add([one.value for one in ast.walk(called) if isinstance(one, ast.Attribute)])

    def _add(self, targets: Iterable[ast.expr | None]) -> None:
        for target in targets:
            for one in ast.walk(target) if target else ():
                if isinstance(one, ast.Name) and one.id not in ("self", "cls"):
                    self.asking.add(one.id)
                elif isinstance(one, ast.Attribute) and _dotted(one).startswith("self."):
                    self.asking.add(_dotted(one))

    # ── what is wrong with it ──

    def problems(self) -> Iterator[str]:
        """In the order of lines, at most five."""
        found = sorted(set(self._problems()))
        for line, why in found[:5]:
            yield f"line {line}: {why}" if line else why

    def _problems(self) -> Iterator[tuple[int, str]]:
        for node in ast.walk(self.module):
            name = _last(node) if isinstance(node, ast.Attribute | ast.Name) else ""
            if name in _SKIPS or (isinstance(node, ast.alias) and node.name in _SKIPS):
                yield getattr(node, "lineno", 0), f"{name or 'skip'} lets a test say nothing: leave it out"
        for statement in self.module.body:
            ends = (
                isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call) and _is_check(statement.value)
            )
            if ends or isinstance(statement, ast.Assert | ast.Raise):
                yield statement.lineno, f"`{_shown(statement)}` runs outside of any test"
        for test in self.tests:
            if not any(map(self.asks, test.body)):
                yield test.lineno, f"{test.name} needs nothing of the product, so it says nothing of it"
                continue
            yield from self._checks(test.body, is_asked=False)

    def _checks(self, body: Iterable[ast.stmt], is_asked: bool) -> Iterator[tuple[int, str]]:
        """Checks that no product could ever satisfy. `is_asked`: whether they are reached depends on the product."""
        for node in body:
            if isinstance(node, ast.Assert) and not is_asked and not self._is_question(node.test):
                yield node.lineno, f"`{_shown(node)}` asks nothing of the product"
            elif isinstance(node, ast.Raise) and not is_asked:
                yield node.lineno, f"`{_shown(node)}` fails whatever the product does"
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and not is_asked:
                if _is_check(node.value) and not any(
                    map(self.asks, (*node.value.args, *(k.value for k in node.value.keywords)))
                ):
                    yield node.lineno, f"`{_shown(node)}` asks nothing of the product"
            elif isinstance(node, ast.If | ast.While):
                inner = is_asked or self.asks(node.test)
                yield from self._checks((*node.body, *node.orelse), inner)
            elif isinstance(node, ast.For | ast.AsyncFor):
                yield from self._checks((*node.body, *node.orelse), is_asked or self.asks(node.iter))
            elif isinstance(node, ast.Try):
                inner = is_asked or any(map(self.asks, node.body))
                yield from self._checks(node.body, is_asked or self._catches(node))
                yield from self._checks(node.orelse, inner)
                yield from self._checks(node.finalbody, is_asked)
                for handler in node.handlers:
                    yield from self._checks(handler.body, inner)
            elif isinstance(node, ast.With | ast.AsyncWith):
                raises = any(_is_raises(item.context_expr) for item in node.items)
                if raises and not is_asked and not any(map(self.asks, node.body)):
                    yield node.lineno, f"`{_shown(node)}` asks nothing of the product"
                yield from self._checks(node.body, is_asked or raises)
            elif isinstance(node, ast.Match):
                for case in node.cases:
                    yield from self._checks(case.body, is_asked or self.asks(node.subject))

    def _is_question(self, node: ast.expr) -> bool:
        """Whether the product can decide it. That a module is there was said by its import."""
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
            return all(map(self._is_question, node.values))
        used = {id(one.value) for one in ast.walk(node) if isinstance(one, ast.Attribute)}
        used |= {id(arg) for one in ast.walk(node) if isinstance(one, ast.Call) for arg in one.args}
        bare = [
            one
            for one in ast.walk(node)
            if isinstance(one, ast.Name) and one.id in self.modules and id(one) not in used
        ]
        return (
            self.asks(node)
            if not bare
            else any(self.asks(one) for one in ast.walk(node) if isinstance(one, ast.Attribute | ast.Call))
            or any(isinstance(one, ast.Name) and one.id in self.asking - self.modules for one in ast.walk(node))
        )

    def _catches(self, node: ast.Try) -> bool:
        """`try: product(); raise AssertionError …`: that the line is reached says something of the product."""
        return bool(node.handlers) and any(map(self.asks, node.body))

    def asks_at(self, line: int) -> bool:
        """Whether the statement at this line depends on the product."""
        inner: ast.stmt | None = None
        for node in ast.walk(self.module):
            if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno):
                inner = node if inner is None or node.lineno >= inner.lineno else inner
        if isinstance(inner, ast.Import):
            return any(self._is_product(one.name) for one in inner.names)
        if isinstance(inner, ast.ImportFrom):
            return self._is_product(inner.module or "", inner.level)
        if isinstance(inner, ast.With | ast.AsyncWith):
            return any(map(self.asks, (*(item.context_expr for item in inner.items), *inner.body)))
        return inner is None or self.asks(inner)

    def names_imports_of(self, told: str) -> bool | None:
        """Whether an error of an import is about the product; None: it is not about an import."""
        found = _OF_IMPORT.search(told)
        return None if found is None else self._is_product(found[1] or found[2])


def _by_itself(message: str, why: str, lines: list[int], is_in_test: bool, read: _Read) -> str | None:
    """Why a test would fail whatever the product did; None if it is red for want of something there. `lines`: those of
    the test that led there; `is_in_test`: the last of them is where it was raised."""
    if re.search(r"\b(?:SyntaxError|IndentationError|TabError|UnicodeDecodeError)\b", why):
        return why
    if found := re.search(r"fixture '([^']+)' not found", message):
        return f"there is no fixture {found[1]!r}"
    if re.search(r"\b(?:ModuleNotFoundError|ImportError)\b", message):
        of_product = read.names_imports_of(message)
        if of_product is False:
            return f"it imports what is neither installed nor of the product: {why}"
        if of_product:
            return None
    if not lines:
        return None  # it was raised in the product's own code, or in what the product calls
    if is_in_test and re.search(r"\b(?:NameError|UnboundLocalError)\b", why):
        return f"line {lines[-1]}: {why}"
    return None if read.asks_at(lines[-1]) else f"line {lines[-1]} asks nothing of the product: {why}"


def _is_check(call: ast.Call) -> bool:
    name = _last(call.func)
    if isinstance(call.func, ast.Attribute) and _dotted(call.func).startswith("self."):
        return name.startswith("assert") or name in _FAILS
    return name in _FAILS


def _is_raises(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and _last(node.func) in ("raises", "assertRaises", "assertRaisesRegex", "warns")


def _called(node: ast.expr) -> ast.expr:
    return node.func if isinstance(node, ast.Call) else node


def _last(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _check_size(module: ast.Module) -> None:
    """Raises _TooMuch. A line of `a.b.c…` or `not not …` is as deep as it is long."""
    level, nodes = [*ast.iter_child_nodes(module)], 0
    for _ in range(_MOST_NESTED):
        if (nodes := nodes + len(level)) > _MOST_NODES:
            raise _TooMuch("there is too much in it: write fewer cases, or shorter ones")
        level = [below for one in level for below in ast.iter_child_nodes(one)]
    if level:
        raise _TooMuch(f"it is nested in more than {_MOST_NESTED} levels: take it apart")


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _strings(node: ast.AST) -> list[str]:
    return [one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)]


def _shown(node: ast.stmt) -> str:
    return ast.unparse(node).partition("\n")[0][:80].replace("`", "'")
