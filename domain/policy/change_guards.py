"""Change rules over what decides who may do what, and what is let through: functions of Python that are others now."""

import ast
import re
from collections.abc import Iterator

from domain.policy.change import Change, text_of
from domain.policy.python_code import dotted, parsed
from domain.policy.rule import Hit, Rule
from domain.task import Severity

_NAME = re.compile(
    r"verif|authenti|authori[sz]|(?:^|_)(?:require|check|need)s?_?(?:auth|role|login)|permission|(?:^|_)(?:is|has|can|may|check)_\w*(?:allowed|access|admin|safe|trusted)"
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
_CODES = frozenset((401, 403))


def _guards(change: Change) -> Iterator[Hit]:
    for path in change.product_python:
        base, head = parsed(change.base, path), parsed(change.head, path)
        if base is None or head is None:
            continue
        now = {name: _body(function) for name, function in _functions(head)}
        lines = (text_of(change.base, path) or "").splitlines()
        for name, function in _functions(base):
            if (why := _is_guard(function, lines)) and now.get(name) != _body(function):
                line = next((one.lineno for other, one in _functions(head) if other == name), None)
                what = "is another one" if name in now else "is gone"
                yield Hit(f"{name}, which {why}, {what}", path, line)


def _functions(module: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
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


def _is_guard(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> str | None:
    if _NAME.search(function.name.lower()):
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


def _body(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Its code, without its docstring and its annotations."""
    body = function.body
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return "\n".join(ast.dump(node) for node in (*body, *function.decorator_list, *function.args.defaults))


GUARD_RULES: tuple[Rule[Change], ...] = (
    Rule(
        "guards", "change", Severity.PERSON,
        "A function of Python that base has, which is another one or gone: by its name it verifies, authenticates, "
        "escapes or says what is safe, it asks compare_digest and its like, it refuses with 401, 403 or an error of "
        "permission, or its text speaks of attackers, injection or traversal.",
        "A condition that is a little wider lets strangers in, and tests seldom try what must not work.",
        "keep what refuses as it is, or let a reviewer agree that nothing more is let through",
        _guards,
    ),
)  # fmt: skip
