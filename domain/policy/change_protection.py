"""Change rules over what protects inside of functions that still stand: calls that clean or harden, refusals that are
reached no more, marks of secret fields, and what asks whose something is."""

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import chain
from typing import NamedTuple

from domain.policy.change import Change, is_python
from domain.policy.change_guards import Function, conditions_of, functions_by_name, refusals_of
from domain.policy.python_code import dotted, nodes_of, parsed
from domain.policy.rule import Hit, Rule
from domain.task import Severity

_CLEANS = re.compile(
    r"(?:^|\.)_?(?:(?:html_?)?escape\w*|quote(?:_plus|_identifier)?|sanit\w+|clean_html|secure_filename|safe_join|resolve"
    r"|realpath|is_relative_to|commonpath|token_(?:hex|bytes|urlsafe)|urandom|SystemRandom|randbits|randbelow"
    r"|create_default_context|pbkdf2_hmac|scrypt|gensalt|hashpw|generate_private_key|mkstemp|O_NOFOLLOW|fullmatch)$"
)
"""Calls that clean what comes in, or harden what goes out."""
_HARDENED_BY = re.compile(
    r"(?:^|\.)(?:token_(?:hex|bytes|urlsafe)|urandom|randbits|pbkdf2_hmac|scrypt|gensalt|generate_private_key|f?chmod|open"
    r"|mkdir|makedirs|umask)$"
)
"""Calls whose numbers say how hard it is, or who may read it."""
_WHOSE = re.compile(
    r"\b(?:\w+_)?(?:owner|user|tenant|account|organi[sz]ation|org|team|created_by|author|customer|workspace)(?:_id)?\b"
)
FINDS = frozenset(("filter", "filter_by", "where", "get_object_or_404", "get_or_404", "exclude", "find", "find_one"))
_MARKS = {"repr": False, "exclude": True, "write_only": True, "load_only": True, "hidden": True}
"""Keywords of a field that keep it out of what is shown."""
_KEPT_SECRET = re.compile(r"\bSecret(?:Str|Bytes|\b)")


class _File(NamedTuple):
    path: str
    base: ast.Module
    head: ast.Module


class _Files:
    def __init__(self, change: Change) -> None:
        self.all: list[_File] = []
        for path in change.changed:
            if is_python(path) and not change.is_test(path):
                base, head = parsed(change.base, path), parsed(change.head, path)
                if base is not None and head is not None:
                    self.all.append(_File(path, base, head))

    @cached_property
    def total(self) -> tuple[Counter[str], Counter[str]]:
        """How often base and head have each of what protects, in all files that differ: it may have been moved."""
        return _all_that_protects(file.base for file in self.all), _all_that_protects(file.head for file in self.all)

    @cached_property
    def new_functions(self) -> dict[str, list[Function]]:
        """Functions of a name that base has in none of these files."""
        old = {name.rpartition(".")[2] for file in self.all for name in functions_by_name(file.base)}
        found: dict[str, list[Function]] = {}
        for file in self.all:
            for name, functions in functions_by_name(file.head).items():
                if (last := name.rpartition(".")[2]) not in old:
                    found.setdefault(last, []).extend(functions)
        return found


def _protects(node: ast.AST) -> Iterator[str]:
    """What a call does for safety, as a text that two calls of the same kind share."""
    if not isinstance(node, ast.Call):
        return
    name = _called(node)
    last = name.rpartition(".")[2]
    if _CLEANS.search(name):
        yield f"{last}()"
        yield from (f"{last}({one.arg}=False)" for one in node.keywords if _is(one.value, False))
    if _HARDENED_BY.search(name):
        given = _mode_of(node) if last == "open" else [*node.args, *(one.value for one in node.keywords)]
        numbers = [one.value for one in given if isinstance(one, ast.Constant) and type(one.value) is int]
        yield from (f"{last}({number:#o})" for number in numbers if number > 1)
    if last in FINDS:
        for one in (*node.args, *node.keywords):
            said = f"{one.arg} {ast.unparse(one.value)}" if isinstance(one, ast.keyword) else ast.unparse(one)
            how = "others than " if _asks_for_more(one) else ""
            yield from (f"{last}(… {how}{found} …)" for found in sorted(set(_WHOSE.findall(said))))


def _asks_for_more(question: ast.AST) -> bool:
    """Whether something else may be so as well: `or_(owner == user, True)`, `owner != user`, `~Q(owner=user)`."""
    return any(
        isinstance(part, (ast.NotEq, ast.Invert, ast.BitOr, ast.Or, ast.Not))
        or (isinstance(part, ast.Call) and _called(part).rpartition(".")[2] in ("or_", "not_"))
        for part in ast.walk(question)
    )


def _mode_of(node: ast.Call) -> list[ast.expr]:
    """Who may read what `os.open(path, flags, mode)` makes. After `"w"` comes a buffer's size."""
    is_of_text = any(isinstance(one, ast.Constant) and isinstance(one.value, str) for one in node.args[1:2])
    return [] if is_of_text else [*node.args[2:3], *(one.value for one in node.keywords if one.arg == "mode")]


def _is(node: ast.AST, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _all_that_protects(places: Iterable[ast.AST]) -> Counter[str]:
    found: Counter[str] = Counter()
    for place in places:
        nodes = [*ast.walk(place)]
        undone = _undone(nodes)
        found.update(said for node in nodes if id(node) not in undone for said in _protects(node))
    return found


_UNDOES = re.compile(r"(?:^|\.)_?(?:html_?)?(?:unescape|unquote(?:_plus)?)$")


def _undone(nodes: list[ast.AST]) -> set[int]:
    """Ids of calls that clean something, and nobody has it: the result is thrown away, cut short or undone."""
    used = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    found: set[int] = set()
    for node in nodes:
        given: list[ast.AST] = []
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
            given = [node.value]
        elif isinstance(node, ast.Call) and _UNDOES.search(dotted(node.func)):
            given = list(ast.walk(node))
        elif isinstance(node, ast.Expr) or (
            isinstance(node, ast.Assign)
            and all(isinstance(one, ast.Name) and one.id not in used for one in node.targets)
        ):
            given = [node.value]
        found.update(id(one) for one in given if isinstance(one, ast.Call) and _CLEANS.search(_called(one)))
    return found


def _called(call: ast.Call) -> str:
    return dotted(call.func) or str(getattr(call.func, "attr", ""))


def _calls(files: _Files) -> Iterator[Hit]:
    before, now = files.total
    for file in files.all:
        after = functions_by_name(file.head)
        for name, functions in functions_by_name(file.base).items():
            standing = after.get(name, [])
            if not standing:
                continue
            old, new = _all_that_protects(functions), _all_that_protects(standing)
            kept = _all_that_protects(_new_helpers(files, standing))
            lost = [s for s in old - new if now[s] < before[s] and not s.endswith("=False)") and not kept[s]]
            weaker = [said for said in new - old if said.endswith("=False)") and now[said] > before[said]]
            for said in [*lost, *weaker][:1]:
                what = "calls" if said in weaker else "no more calls"
                yield Hit(f"{name} {what} {said}, which protects", file.path, standing[0].lineno)


def _new_helpers(files: _Files, functions: list[Function]) -> Iterator[Function]:
    """Functions that these call, and that no changed file had."""
    called = {_last(node.func) for one in functions for node in ast.walk(one) if isinstance(node, ast.Call)}
    for name in called & files.new_functions.keys():
        yield from files.new_functions[name]


def _last(node: ast.AST) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


# --- refusals that are there, and are reached no more


def _unreached(files: _Files) -> Iterator[Hit]:
    for file in files.all:
        after = functions_by_name(file.head)
        for name, functions in functions_by_name(file.base).items():
            standing = after.get(name, [])
            if not any(map(_refuses, functions)) or [*map(ast.dump, functions)] == [*map(ast.dump, standing)]:
                continue
            known = conditions_of(functions)
            before, now = (_places(some) for some in (functions, standing))
            for test in before.keys() & now.keys():
                if len(now[test]) > len(before[test]):
                    continue
                later = frozenset[str]().union(*(one.calls(later=True) for one in before[test]))
                why = next((why for place in now[test] if (why := _why_not(place, before[test], later, known))), None)
                if why:
                    yield Hit(f"{name} still refuses, and {why}", file.path, now[test][0].line)


def _refuses(function: Function) -> bool:
    return next(refusals_of(function), None) is not None


_OF_ACCESS = re.compile(
    r"\b(?:\w+_)?(?:may|can|allow\w*|permi\w+|auth\w*|owner\w*|users?|roles?|admin\w*|log_?in|tokens?|signature|signed"
    r"|verif\w+|trusted|safe|forbid\w*|denied|access|secrets?|csrf|quota|password|session|tenant|origin)(?:_\w+)?\b"
    r"|Permission|Forbidden|Denied|Unauthor|Suspicious",
    re.IGNORECASE,
)
"""A refusal of somebody, and not of a text that cannot be parsed."""


_OF_A_TEXT = re.compile(r"(?:^|\.)\w*(?:Syntax|Pars(?:e|er|ing)|Lexer?|Tokeni[sz]e)(?:Error|Exception)?$")


def _is_of_access(refusal: ast.If) -> bool:
    words = {found[0].lower() for found in _OF_ACCESS.finditer(ast.unparse(refusal))}
    raised = [one.exc for one in refusal.body if isinstance(one, ast.Raise)]
    is_of_a_text = all(_OF_A_TEXT.search(dotted(one.func if isinstance(one, ast.Call) else one)) for one in raised)
    return bool(words) and not (is_of_a_text and words <= {"token", "tokens", "next_token"})


class _Place(NamedTuple):
    """Where a refusal stands: conditions around it that have to hold, and calls that are made beside it."""

    around: tuple[str, ...]
    beside: tuple[tuple[list[str], int], ...]
    """(what the statements of a block call, which of them it stands in), of each block around it."""
    is_dead: bool
    is_of_access: bool
    line: int

    def calls(self, *, later: bool) -> frozenset[str]:
        parts = (work[at + 1 :] if later else work[:at] for work, at in self.beside)
        return frozenset(chain.from_iterable(parts)) - {""}


def _why_not(place: _Place, old: list[_Place], later: frozenset[str], known: Mapping[str, int]) -> str | None:
    if place.is_dead and not any(one.is_dead for one in old):
        return "nothing comes there"
    if not place.is_of_access:
        return None
    if all(any(one not in before.around and not known[one] for one in place.around) for before in old):
        return "only if something more is so"
    if later & place.calls(later=False):
        return "after the work is done"
    return None


def _places(functions: list[Function]) -> dict[str, list[_Place]]:
    found: dict[str, list[_Place]] = {}
    for function in functions:
        tests = {id(test) for test in refusals_of(function)}
        _visit(function.body, (), (), False, tests, found)
    return found


def _visit(
    block: list[ast.stmt], around: tuple[str, ...], beside: tuple[tuple[list[str], int], ...], is_dead: bool,
    tests: set[int], found: dict[str, list[_Place]],
) -> None:  # fmt: skip
    work = [_work(node) for node in block]
    for at, node in enumerate(block):
        here = (*beside, (work, at))
        if isinstance(node, ast.If) and id(node.test) in tests:
            place = _Place(around, here, is_dead, _is_of_access(node), node.lineno)
            found.setdefault(ast.dump(node.test), []).append(place)
        for inner, more in _blocks(node):
            dead = is_dead or "never" in more
            _visit(inner, (*around, *more), here, dead, tests, found)
        is_dead = is_dead or isinstance(node, (ast.Return, ast.Raise, ast.Continue, ast.Break))


def _blocks(node: ast.stmt) -> Iterator[tuple[list[ast.stmt], tuple[str, ...]]]:
    """(statements in it, what has to hold for them)."""
    if isinstance(node, (ast.If, ast.While)):
        yield node.body, ("never",) if _is_never(node.test) else (ast.dump(node.test),)
        yield node.orelse, ()
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        yield node.body, (f"def {node.name}",)
    else:
        for name in ("body", "orelse", "finalbody"):
            inner = getattr(node, name, None)
            if isinstance(inner, list) and inner and isinstance(inner[0], ast.stmt):
                yield inner, ()


def _is_never(test: ast.expr) -> bool:
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return any(map(_is_never, test.values))
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return isinstance(test.operand, ast.Constant) and bool(test.operand.value)
    return isinstance(test, ast.Constant) and not test.value


_WRITES_A_LOG = re.compile(
    r"(?:^|\.)_?log(?:ger|ging)?\.(?:debug|info|warn(?:ing)?|error|exception|critical|log)$|^print$", re.IGNORECASE
)


def _work(node: ast.stmt) -> str:
    """The call that a statement is, or that its value is; empty: it is none."""
    value = (
        getattr(node, "value", None) if isinstance(node, (ast.Expr, ast.Assign, ast.Return, ast.AnnAssign)) else None
    )
    is_work = isinstance(value, ast.Call) and not _WRITES_A_LOG.search(dotted(value.func))
    return ast.dump(value) if is_work and value is not None else ""


# --- marks of secret fields


def _marks(files: _Files) -> Iterator[Hit]:
    for file in files.all:
        now = _fields(file.head)
        for name, (is_kept, _) in _fields(file.base).items():
            if is_kept and name in now and not now[name][0]:
                yield Hit(
                    f"{name} is shown now: its type or its field kept it out of what is printed",
                    file.path,
                    now[name][1],
                )


def _fields(module: ast.Module) -> dict[str, tuple[bool, int]]:
    """Field with its class → (whether it is kept out of what is shown, line)."""
    found: dict[str, tuple[bool, int]] = {}
    for place in nodes_of(module):
        for node in place.body if isinstance(place, ast.ClassDef) else ():
            if isinstance(node, (ast.Assign, ast.AnnAssign)):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                said = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
                keywords = node.value.keywords if isinstance(node.value, ast.Call) else []
                is_marked = any(one.arg in _MARKS and _is(one.value, _MARKS[one.arg]) for one in keywords)
                found[f"{getattr(place, 'name', '')}.{dotted(target)}"] = (
                    is_marked or bool(_KEPT_SECRET.search(said)),
                    node.lineno,
                )
    return found


def _protection(change: Change) -> Iterator[Hit]:
    files = _Files(change)
    checks: tuple[Callable[[_Files], Iterator[Hit]], ...] = (_calls, _unreached, _marks)
    for check in checks:
        yield from check(files)


PROTECTION_RULES: tuple[Rule[Change], ...] = (
    Rule(
        "protection", "change", Severity.PERSON,
        "What protects inside of a Python function that still stands, and is gone or weaker: a call that escapes, "
        "cleans, resolves a path, makes random numbers or a TLS context, with fewer bytes, another mode or "
        "`quote=False`; a question that asks for the owner or the tenant; a refusal that is still there and reached no "
        "more, or, if it is about who may do what, only on a condition more or after the work; a field that was kept "
        "out of what is printed.",
        "The name of what checks is still there, so neither tests nor a quick look see that it does not check.",
        "keep it as it was, or let a reviewer agree that nothing more is let through",
        _protection,
    ),
)  # fmt: skip
