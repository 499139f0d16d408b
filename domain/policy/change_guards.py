"""Change rules over what decides who may do what, and what is let through: functions of Python that are others now."""

import ast
import re
from collections import Counter
from collections.abc import Iterator

from domain.policy.change import Change, is_python, text_of
from domain.policy.python_code import dotted, parsed
from domain.policy.rule import Hit, Rule
from domain.task import Severity

_NAME = re.compile(
    r"verif|authenti|authori[sz]|(?:^|_)(?:require|check|need|ensure)s?_?(?:auth|role|login|admin|user|staff|owner|token)"
    r"|(?:auth|admin|roles?|user|staff|owner|token)_required|^(?:\w+_)?auth(?:_\w+)?$|permission|(?:^|_)(?:is|has|can|may|check)_\w*(?:allowed|access|admin|safe|trusted)"
    r"|is_safe|csrf|signature|compare_digest|sanit|escape|login|password|credential|secure_filename|safe_join"
)
_CALLS = re.compile(r"(?:^|\.)(?:compare_digest|check_password\w*|verify(?:_\w+)?|check_csrf\w*)$")
_DENIES = re.compile(
    r"(?:^|\.)(?:PermissionDenied|PermissionError|Forbidden|HTTPForbidden|Unauthorized|HTTPUnauthorized|NotAuthenticated"
    r"|AccessDenied|SecurityError|Invalid(?:Signature|Token|Audience|Issuer|Key)\w*|SuspiciousOperation|BadSignature)$"
)
_SAYS = re.compile(
    r"\b(?:cryptographically|constant[- ]time|timing attack|(?:path|directory) traversal|malicious|attackers?"
    r"|injection)\b",
    re.IGNORECASE,
)
"""What people write, in a comment or a docstring, where something is kept out."""
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_CODES = frozenset((401, 403))
_CREDENTIAL = re.compile(r"(?:\w+_)?auth")
"""A property of this name may give what is sent, and decide nothing."""


def _guards(change: Change) -> Iterator[Hit]:
    for path in change.changed:
        if not is_python(path) or change.is_test(path):
            continue
        base, head = parsed(change.base, path), parsed(change.head, path)
        if base is None or head is None:
            continue
        before, now = _by_name(base), _by_name(head)
        lines = (text_of(change.base, path) or "").splitlines()
        for name, functions in before.items():
            why = next((why for one in functions if (why := _is_guard(one, lines))), None)
            after = now.get(name, [])
            if why and Counter(map(_code, functions)) != Counter(map(_code, after)):
                line = after[0].lineno if after else None
                yield Hit(f"{name}, which {why}, {'is another one' if after else 'is gone'}", path, line)


def _by_name(module: ast.Module) -> dict[str, list[_Function]]:
    """A name can have more functions than one: a property and its setter, the two sides of an `if`."""
    found: dict[str, list[_Function]] = {}
    for name, function in _functions(module):
        found.setdefault(name, []).append(function)
    return found


def _functions(module: ast.Module) -> Iterator[tuple[str, _Function]]:
    """(name with its classes, function), without functions in functions."""
    waiting: list[tuple[str, ast.AST]] = [("", module)]
    while waiting:
        place, node = waiting.pop()
        for inner in ast.iter_child_nodes(node):
            if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f"{place}{inner.name}", inner
            elif isinstance(inner, ast.ClassDef):
                waiting.append((f"{place}{inner.name}.", inner))
            elif isinstance(inner, (ast.If, ast.Try)):
                waiting.append((place, inner))


def _is_guard(function: _Function, lines: list[str]) -> str | None:
    name = function.name.lower()
    if _NAME.search(name) and not (_CREDENTIAL.fullmatch(name) and _gives_an_attribute(function)):
        return "by its name decides what is let through"
    if said := _SAYS.search("\n".join(lines[function.lineno - 1 : function.end_lineno])):
        return f"says {said[0]!r}"
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and _CALLS.search(dotted(node.func)):
            return f"asks {dotted(node.func)}"
        denied = node.exc if isinstance(node, ast.Raise) else node.value if isinstance(node, ast.Return) else None
        if denied is not None and _DENIES.search(dotted(denied.func if isinstance(denied, ast.Call) else denied)):
            return "refuses some"
        if isinstance(node, ast.Call) and any(isinstance(a, ast.Constant) and a.value in _CODES for a in node.args):
            return "refuses some"
    return None


def _gives_an_attribute(function: _Function) -> bool:
    """Whether it does nothing but `return self._auth`."""
    body = _without_docstring(function)
    return (
        len(body) == 1 and isinstance(body[0], ast.Return) and bool(re.fullmatch(r"self\.\w+", dotted(body[0].value)))
    )


def _without_docstring(function: _Function) -> list[ast.stmt]:
    body = function.body
    is_told = body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
    return body[1:] if is_told else body


def _code(function: _Function) -> str:
    """What it does, without its docstring. Annotations that call something count: FastAPI asks `Depends(mfa)` in
    `Annotated[User, Depends(mfa)]`."""
    arguments = function.args
    defaults = [*arguments.defaults, *arguments.kw_defaults]
    every = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
    names = ", ".join(one.arg if one else "-" for one in every)
    told = [one.annotation for one in every if one and one.annotation]
    told = [one for one in told if any(isinstance(part, ast.Call) for part in ast.walk(one))]
    nodes = [*_without_docstring(function), *function.decorator_list, *(one for one in defaults if one), *told]
    return "\n".join([names, *(ast.dump(node) for node in nodes)])


GUARD_RULES: tuple[Rule[Change], ...] = (
    Rule(
        "guards", "change", Severity.PERSON,
        "A function of Python that base has, which is another one or gone, alone or with its file: by its name it "
        "verifies, authenticates, escapes or says what is safe, it asks compare_digest and its like, it refuses "
        "with 401, 403 or an error of permission, or its text speaks of attackers, injection or traversal.",
        "A condition that is a little wider lets strangers in, and tests seldom try what must not work.",
        "keep what refuses as it is, or let a reviewer agree that nothing more is let through",
        _guards,
    ),
)  # fmt: skip
