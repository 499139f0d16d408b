"""Change rules over what decides who may do what, and what is let through: functions of Python that are others now."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property

from domain.policy.change import Change, is_python, text_of
from domain.policy.python_code import dotted, nodes_of, parsed, text_in
from domain.policy.rule import Hit, Rule
from domain.task import Severity
from domain.trees import Tree

_NAME = re.compile(
    r"verif|authenti|authori[sz]|(?:^|_)(?:require|check|need|ensure)s?_?(?:auth|role|login|admin|user|staff|owner|token)"
    r"|(?:auth|admin|roles?|user|staff|owner|token)_required|^(?:\w+_)?auth(?:_\w+)?$|permission|(?:^|_)(?:is|has|can|may|check)_\w*(?:allowed|access|admin|safe|trusted)"
    r"|(?:is|are)_(?:safe|secure|valid_(?:token|signature|host|origin|redirect))|csrf|nonce|pkce|code_challenge|redirect_uri"
    r"|^(?:generate|make|new)_(?:\w+_)?(?:token|nonce|secret|salt|key|password)$|^unsign(?:_\w+)?$|signature|compare_digest|sanit|escape|login|password|credential|secure_filename|safe_join"
)
_SIGNS = re.compile(r"sign(?:_\w+)?")
_SIGNED_WITH = re.compile(r"(?:^|_)(?:key|secret|private|payload|message|token|digest|claims)(?:_|$)")
"""A function that signs, and no sign of a number: by what it is given."""
_KINDS = re.compile(r"Sign(?:er|ature)|Sanitiz|Authenti|Authori[sz]|Permission|Verifier|RequestValidator|Csrf|CSRF")
"""Classes of which every method counts."""
_SETTING = re.compile(
    r"(?:^|_)(?:allow(?:ed|list)?|authentication|den(?:y|ied|ylist)|whitelist|blacklist|blocklist|trusted|safe|secure|forbidden|csrf"
    r"|algorithms?|protocols|schemes|key_derivation|digest_method|hash_method|permissions?|verify|strict|autoescape"
    r"|escape|check_hostname|min_length|min_version|ciphers|leeway|lifetime|iterations|rounds|key_size|httponly"
    r"|samesite|max_(?:\w+_)?(?:age|size|length|bytes|fields|files|redirects))(?:_|$)",
    re.IGNORECASE,
)
"""Values that say what is let through, and how hard it is to forge. Only one that base has and is another one now."""
_SAFER = {
    False: re.compile(r"(?:^|_)allow(?:ed)?(?:_|$)", re.IGNORECASE),
    True: re.compile(
        r"(?:^|_)(?:verify|secure|strict|httponly|check_hostname|autoescape|csrf|forbid\w*)(?:_|$)", re.IGNORECASE
    ),
}
"""Yes or no by such a name lets no more through than the other one did."""
_CALLS = re.compile(r"(?:^|\.)(?:compare_digest|check_password\w*|verify(?:_\w+)?|check_csrf\w*)$")
_DENIES = re.compile(
    r"(?:^|\.)(?:PermissionDenied|PermissionError|Forbidden|HTTPForbidden|Unauthorized|HTTPUnauthorized|NotAuthenticated"
    r"|AccessDenied|SecurityError|Invalid(?:Signature|Token|Audience|Issuer|Key)\w*|SuspiciousOperation|BadSignature)$"
)
_SAYS = re.compile(
    r"\b(?:cryptographically|constant[- ]time (?:compar|equal|check|string)\w*|timing attack|malicious|attackers?"
    r"|(?:path|directory) traversal"
    r"|injection)\b",
    re.IGNORECASE,
)
"""What people write, in a comment or a docstring, where something is kept out."""
Function = ast.FunctionDef | ast.AsyncFunctionDef
_Definition = Function | ast.ClassDef
_CODES = frozenset((401, 403))
_CREDENTIAL = re.compile(r"(?:\w+_)?auth")
"""A property of this name may give what is sent, and decide nothing."""


def _guards(change: Change) -> Iterator[Hit]:
    code = _Code(change)
    for path, base, head in code.files:
        yield from _other_settings(base, head, path)
        yield from _settings_gone(base, head, path, code)
        yield from _unguarded(base, head, path, code)
        yield from _refuses_less(base, head, path, code)
        before, now = functions_by_name(base), functions_by_name(head)
        lines = (text_of(change.base, path) or "").splitlines()
        for name, functions in before.items():
            why = next((why for one in functions if (why := _is_guard(one, lines))), None)
            if _KINDS.search(name.rpartition(".")[0]):
                why = why or "is of a class that by its name decides what is let through"
            after = now.get(name, [])
            if why and Counter(map(_code, functions)) != Counter(map(_code, after)):
                line = after[0].lineno if after else None
                yield Hit(f"{name}, which {why}, {'is another one' if after else 'is gone'}", path, line)


class _Code:
    """Files of Python that differ, and what is new in any of them: it may have been moved there."""

    def __init__(self, change: Change) -> None:
        self.files: list[tuple[str, ast.Module, ast.Module]] = []
        for path in change.changed:
            if is_python(path) and not change.is_test(path):
                base, head = parsed(change.base, path), parsed(change.head, path)
                if base is not None and head is not None:
                    self.files.append((path, base, head))

    @cached_property
    def refusals(self) -> frozenset[str]:
        """Conditions on which something raises now."""
        functions = (one for _, _, head in self.files for _, one in functions_of(head))
        return frozenset(ast.dump(test) for one in functions for test in refusals_of(one))

    @cached_property
    def new_settings(self) -> Counter[tuple[str, str]]:
        """(name, value) of settings that a file has now and had not."""
        found: Counter[tuple[str, str]] = Counter()
        for _, base, head in self.files:
            before, now = (
                Counter((_last(n), ast.dump(v)) for n, vs in _settings(m).items() for v in vs) for m in (base, head)
            )
            found += now - before
        return found

    @cached_property
    def new_definitions(self) -> dict[str, list[_Definition]]:
        """Name → functions and classes that a file has now and had not."""
        found: dict[str, list[_Definition]] = {}
        for _, base, head in self.files:
            before, now = _definitions(base), _definitions(head)
            for name in now.keys() - before.keys():
                found.setdefault(_last(name), []).append(now[name])
        return found


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _other_settings(base: ast.Module, head: ast.Module, path: str) -> Iterator[Hit]:
    """Values by such a name, defaults of such parameters, and constants that are handed on by it, that base has and
    that are others now."""
    before, now = _settings(base), _settings(head)
    for name, values in before.items():
        after = now.get(name, [])
        old, new = (Counter(ast.dump(value) for value in some) for some in (values, after))
        if old - new and new - old and not _is_safer(name, [one for one in after if not old[ast.dump(one)]]):
            yield Hit(f"{name}, which by its name says what is let through, is another value", path, after[0].lineno)


def _is_safer(name: str, values: list[ast.expr]) -> bool:
    given = [one.value for one in values if isinstance(one, ast.Constant)]
    kind = _SAFER.get(given[0]) if given and isinstance(given[0], bool) else None
    said = name.rpartition("(")[2].strip(")=")
    return bool(kind and kind.search(_last(said)) and len(given) == len(values) and set(given) == {given[0]})


def _settings_gone(base: ast.Module, head: ast.Module, path: str, code: _Code) -> Iterator[Hit]:
    """What a module or a class that still stands says no more: a framework has a default of its own."""
    now, places = (
        _settings(head),
        {"", *(name for name, one in _definitions(head).items() if isinstance(one, ast.ClassDef))},
    )
    read = {
        getattr(n, "id", getattr(n, "attr", ""))
        for n in nodes_of(base)
        if isinstance(getattr(n, "ctx", None), ast.Load)
    }
    if not head.body:
        return
    for name, values in _settings(base).items():
        is_there = name in now or "(" in name or name.endswith("=") or name.rpartition(".")[0] not in places
        is_moved = all(code.new_settings[_last(name), ast.dump(value)] for value in values)
        has_a_new_name = _last(name) in read and any(
            ast.dump(one) in map(ast.dump, values)
            for other in now.keys() - _settings(base).keys()
            for one in now[other]
        )
        if not is_there and not is_moved and not has_a_new_name:
            yield Hit(f"{name}, which by its name says what is let through, is gone", path)


def _unguarded(base: ast.Module, head: ast.Module, path: str, code: _Code) -> Iterator[Hit]:
    """Functions and classes that still stand, here or in another file, without what kept somebody out: a decorator, a
    parent or a dependency by such a name."""
    now = _definitions(head)
    for name, definition in _definitions(base).items():
        before = _kept_by(definition)
        after = [now[name]] if name in now else code.new_definitions.get(_last(name), []) if before else []
        for one in after[:1]:
            if lost := before - _kept_by(one):
                yield Hit(f"{name} is no more kept by {next(iter(lost))[:100]}", path, one.lineno)


def _definitions(module: ast.Module) -> dict[str, _Definition]:
    found: dict[str, _Definition] = {}
    waiting: list[tuple[str, ast.AST]] = [("", module)]
    while waiting:
        place, node = waiting.pop()
        for inner in ast.iter_child_nodes(node):
            if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                found[f"{place}{inner.name}"] = inner
            if isinstance(inner, ast.ClassDef):
                waiting.append((f"{place}{inner.name}.", inner))
            elif isinstance(inner, (ast.If, ast.Try)):
                waiting.append((place, inner))
    return found


def _kept_by(definition: _Definition) -> Counter[str]:
    """What guards it by its name, with what it is given: `login_required`, `permission_required('x')`."""
    around: list[ast.expr] = list(definition.decorator_list)
    if isinstance(definition, ast.ClassDef):
        around += definition.bases
    else:
        arguments = definition.args
        given = [
            *arguments.defaults,
            *arguments.kw_defaults,
            *(one.annotation for one in [*arguments.args, *arguments.kwonlyargs]),
        ]
        calls = [part for one in given if one for part in ast.walk(one) if isinstance(part, ast.Call)]
        around += [one for one in calls if _last(dotted(one.func)) in _ASKS_FOR]
    found: Counter[str] = Counter()
    waiting: list[ast.AST] = list(around)
    while waiting:
        node = waiting.pop()
        name = _last(dotted(node.func if isinstance(node, ast.Call) else node))
        if name and (_NAME.search(name.lower()) or _KINDS.search(name)):
            found[ast.unparse(node)] += 1
        else:
            waiting += ast.iter_child_nodes(node)
    return found


_ASKS_FOR = frozenset(("Depends", "Security"))


def _refuses_less(base: ast.Module, head: ast.Module, path: str, code: _Code) -> Iterator[Hit]:
    """Conditions on which a function raised, in one that is still there, if nothing that changed has them now and no
    new condition stands for them."""
    before, now = functions_by_name(base), functions_by_name(head)
    for name, functions in before.items():
        after = now.get(name, [])
        gone = (
            [test for one in functions for test in refusals_of(one) if ast.dump(test) not in code.refusals]
            if after
            else []
        )
        if not gone:
            continue
        new = _new_conditions(functions, after)
        is_fewer = _raises(after) < _raises(functions)
        for test in gone:
            if not _is_of_versions(test) and not any(_stands_for(one, test, is_fewer) for one in new):
                yield Hit(f"{name} raised if {ast.unparse(test)[:100]}, and does so no more", path, after[0].lineno)
                break


def _new_conditions(before: list[Function], after: list[Function]) -> list[ast.expr]:
    old, found = conditions_of(before), list[ast.expr]()
    for node in (node for one in after for node in ast.walk(one) if isinstance(node, _ASKING)):
        if old[said := ast.dump(node.test)]:
            old[said] -= 1
        else:
            found.append(node.test)
    return found


def _stands_for(new: ast.expr, gone: ast.expr, is_fewer: bool) -> bool:
    """Whether a new condition may be a refusal's in another wording: it asks about the same names, and is neither the
    old one with something more to it nor, where fewer raise now, anything but the old one or something else."""
    olds, news = _parts(gone, ast.And), _parts(new, ast.And)
    if olds < news:
        return False
    if _parts(gone, ast.Or) <= _parts(new, ast.Or):
        return True
    return not is_fewer and bool(_names_in(new) & _names_in(gone))


def _names_in(test: ast.expr) -> set[str]:
    return {dotted(node) for node in ast.walk(test) if isinstance(node, (ast.Name, ast.Attribute))}


def _parts(test: ast.expr, joined: type[ast.And | ast.Or]) -> set[str]:
    if isinstance(test, ast.BoolOp) and isinstance(test.op, joined):
        return {said for one in test.values for said in _parts(one, joined)}
    return {ast.dump(test)}


def _raises(functions: list[Function]) -> int:
    return sum(isinstance(node, ast.Raise) for one in functions for node in ast.walk(one))


def _is_of_versions(test: ast.expr) -> bool:
    """Support of an old Python that is given up."""
    names = _names_in(test)
    return bool(names) and names <= {
        "sys",
        "sys.version_info",
        "version_info",
        "sys.version_info.major",
        "six.PY2",
        "six",
    }


_ASKING = (ast.If, ast.IfExp, ast.While, ast.Assert)


def refusals_of(function: Function) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        if isinstance(node, ast.If) and any(isinstance(inner, ast.Raise) for inner in node.body):
            yield node.test


def conditions_of(functions: list[Function]) -> Counter[str]:
    return Counter(ast.dump(n.test) for one in functions for n in ast.walk(one) if isinstance(n, _ASKING))


def _settings(module: ast.Module) -> dict[str, list[ast.expr]]:
    """Name with its classes and functions → values. What a function assigns is its own."""
    found: dict[str, list[ast.expr]] = {}
    for name, value in _handed_on(module):
        if _SETTING.search(name) and (isinstance(value, ast.Constant) or _is_list(value)):
            found.setdefault(f"{name}=", []).append(value)
    waiting: list[tuple[str, ast.AST]] = [("", module)]
    while waiting:
        place, node = waiting.pop()
        for inner in ast.iter_child_nodes(node):
            if isinstance(inner, (ast.Assign, ast.AnnAssign)) and inner.value is not None:
                for target in inner.targets if isinstance(inner, ast.Assign) else [inner.target]:
                    if isinstance(target, ast.Name) and _SETTING.search(target.id):
                        found.setdefault(f"{place}{target.id}", []).append(inner.value)
            elif isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for name, value in _defaults(inner):
                    if _SETTING.search(name):
                        found.setdefault(f"{place}{inner.name}({name})", []).append(value)
            elif isinstance(inner, ast.ClassDef):
                waiting.append((f"{place}{inner.name}.", inner))
            elif isinstance(inner, (ast.If, ast.Try)):
                waiting.append((place, inner))
    return found


def _is_list(value: ast.expr) -> bool:
    """`algorithms=["HS256"]`, also where one of them is computed."""
    return isinstance(value, (ast.List, ast.Tuple, ast.Set))


def _handed_on(module: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """`{"verify": True}` and `get(verify=True)`, wherever they stand."""
    for node in nodes_of(module):
        if isinstance(node, ast.Dict):
            yield from ((text_in(key) or "", value) for key, value in zip(node.keys, node.values, strict=True) if key)
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg, node.value


def _defaults(function: Function) -> Iterator[tuple[str, ast.expr]]:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args]
    if arguments.defaults:
        named = every[-len(arguments.defaults) :]
        yield from ((one.arg, value) for one, value in zip(named, arguments.defaults, strict=True))
    for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is not None:
            yield one.arg, default


def functions_by_name(module: ast.Module) -> dict[str, list[Function]]:
    """A name can have more functions than one: a property and its setter, the two sides of an `if`."""
    found: dict[str, list[Function]] = {}
    for name, function in functions_of(module):
        found.setdefault(name, []).append(function)
    return found


def functions_of(module: ast.Module) -> Iterator[tuple[str, Function]]:
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


def _is_guard(function: Function, lines: list[str]) -> str | None:
    name = function.name.lower()
    if _NAME.search(name) and not (_CREDENTIAL.fullmatch(name) and _gives_an_attribute(function)):
        return "by its name decides what is let through"
    every = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    if _SIGNS.fullmatch(name) and any(_SIGNED_WITH.search(one.arg) for one in every):
        return "by its name signs"
    if said := _SAYS.search("\n".join(lines[function.lineno - 1 : function.end_lineno])):
        return f"says {said[0]!r}"
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and _CALLS.search(dotted(node.func)):
            return f"asks {dotted(node.func)}"
        denied = node.exc if isinstance(node, ast.Raise) else node.value if isinstance(node, ast.Return) else None
        if denied is not None and _DENIES.search(dotted(denied.func if isinstance(denied, ast.Call) else denied)):
            return "refuses some"
        given = [*node.args, *(one.value for one in node.keywords)] if isinstance(node, ast.Call) else []
        if any(isinstance(one, ast.Constant) and one.value in _CODES for one in given):
            return "refuses some"
    return None


def _gives_an_attribute(function: Function) -> bool:
    """Whether it does nothing but `return self._auth`."""
    body = _without_docstring(function)
    return (
        len(body) == 1 and isinstance(body[0], ast.Return) and bool(re.fullmatch(r"self\.\w+", dotted(body[0].value)))
    )


def _without_docstring(function: Function) -> list[ast.stmt]:
    body = function.body
    is_told = body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
    return body[1:] if is_told else body


def _code(function: Function) -> str:
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


_TRUSTED = re.compile(
    r"(?:.*/)?(?:[^/]*\.(?:pem|crt|cer|der|p12|pfx|pub|asc|gpg|rego|cedar)|known_hosts|allowed_signers|authorized_keys"
    r"|[^/]*(?:allow|deny|block|white|black)_?-?list[^/]*\.(?:txt|csv|json|ya?ml|toml|dat|list)"
    r"|(?:roles?|permissions?|policy|policies|acl|rbac|scopes)\.(?:txt|csv|json|ya?ml|toml|conf))",
    re.IGNORECASE,
)


def _trusted(change: Change) -> Iterator[Hit]:
    for path in change.changed:
        if _TRUSTED.fullmatch(path) and not change.is_test(path):
            yield Hit("what is trusted, or who may do what, is another one", path)


_CODE = re.compile(
    r".*\.(?:[cm]?[jt]sx?|go|rs|rb|php|java|kt|cs|ex|scala|swift|vue|svelte|html?|jinja2?|j2|ejs|hbs|erb|twig|conf|sql)"
    r"|(?:.*/)?(?:Caddyfile|\.htaccess)"
)
_REFUSES = re.compile(
    r"\b(?:40[13]|Unauthori[sz]ed|Forbidden|PermissionDenied|AccessDenied)\b|timingSafeEqual|ConstantTimeCompare"
    r"|\b\w*(?:[vV]erify|[sS]anitiz|[eE]scape(?:d|Html|HTML|String)?|[cC]srf|authenti|Authenti|authoriz|Authoriz)\w*\s*\("
    r"|\brequire[A-Z_]\w*(?:Auth|Login|Admin|Role|User)\b|\bis(?:Safe|Allowed|Trusted|Admin)\w*\s*\(|__proto__|\bhelmet\b"
    r"|\bcsrf_?(?:token|field|meta_tags)\b|^deny\s|\b(?:auth_basic|auth_request|limit_req|ssl_verify\w*|proxy_ssl_verify|basicauth"
    r"|Content-Security-Policy|Strict-Transport-Security|X-Frame-Options)\b|\bROW LEVEL SECURITY\b"
    r"|\bPOLICY\b|\bREVOKE\b|\bSECURITY INVOKER\b"
    r"|\b(?:httpOnly|rejectUnauthorized|sameSite|secure)\b\s*:\s*true|(?:^|[^\w])\.\.[/\\]?['\"`]"
)


def _refused_elsewhere(change: Change) -> Iterator[Hit]:
    for path in change.changed:
        if path not in change.base or change.is_test(path) or not _CODE.fullmatch(path):
            continue
        before, now = (Counter(_lines_of(tree, path)) for tree in (change.base, change.head))
        for line in before - now:
            if len(line) < 2_000 and _REFUSES.search(line) and not line.startswith(("//", "*", "#", "/*")):
                yield Hit(f"this line refuses or verifies, and is gone or another one: {line[:100]!r}", path)


_OPENS = re.compile(
    r"^\s*GRANT\b|\bSECURITY DEFINER\b|\bDISABLE ROW LEVEL SECURITY\b|\bDROP POLICY\b"
    r"|\b(?:allow|satisfy)\s+(?:all|any)\s*;|\bRequire all granted\b|\bproxy_ssl_verify\s+off\b",
    re.IGNORECASE,
)
_OPENED_IN = re.compile(r".*\.(?:sql|conf|nginx)|(?:.*/)?(?:Caddyfile|\.htaccess)")


def _opened_elsewhere(change: Change) -> Iterator[Hit]:
    for path in change.present:
        if _OPENED_IN.fullmatch(path) and not change.is_test(path):
            for number, line in change.added(path):
                if _OPENS.search(line[:2_000]):
                    yield Hit(f"this line lets more through: {line.strip()[:100]!r}", path, number)


_SETTINGS_IN = re.compile(r".*\.(?:ya?ml|toml|ini|cfg|json|properties)|(?:.*/)?\.env[\w.]*")
_LOOSE = re.compile(
    r"(?:trusted\w*|cors\w*|origins?|hosts)[\"']?\s*[:=]\s*\[?\s*[\"']?\*|allow\w*[\"']?\s*[:=]\s*\[?\s*[\"']?\*(?!\.\w)"
    r"|(?:verify|secure|csrf|auth|authentication|ssl|tls|https|rate_?limit\w*)(?:[_-]\w+)?[\"']?\s*[:=]"
    r"\s*[\"']?(?:false|off|no|none|disabled)[\"']?\s*(?:[,;#/}\]]|$)"
    r"|(?:debug|insecure|anonymous|skip_verify)(?:[_-]\w+)?[\"']?\s*[:=]\s*[\"']?(?:true|on|yes|enabled)[\"']?\s*(?:[,;#/}\]]|$)",
    re.IGNORECASE,
)


def _loosened_settings(change: Change) -> Iterator[Hit]:
    """Data that a program is set by, where it says to verify nothing, or to let everybody in."""
    for path in change.present:
        if _SETTINGS_IN.fullmatch(path) and not change.is_test(path) and not path.startswith("docs/"):
            for number, line in change.added(path):
                if _LOOSE.search(line[:2_000]):
                    yield Hit(f"this setting lets more through: {line.strip()[:100]!r}", path, number)


def _lines_of(tree: Tree, path: str) -> list[str]:
    return [" ".join(line.split()) for line in (text_of(tree, path) or "").split("\n")]


GUARD_RULES: tuple[Rule[Change], ...] = (
    Rule(
        "guards", "change", Severity.PERSON,
        "A function of Python that base has, which is another one or gone, alone or with its file: by its name, or its "
        "class's, it signs, verifies, authenticates, escapes or says what is safe, it asks compare_digest and its "
        "like, it refuses with 401, 403 or an error of permission, or its text speaks of attackers, injection or "
        "traversal. A value or a default of Python that by its name says what is allowed, trusted or safe, or how it "
        "is signed, and is another one, or is gone where its class or module still stands. A function or a class "
        "without the decorator, the parent or the Depends(…) that by its name kept somebody out. A function that "
        "raised on some condition, and does so no more or on that and something more. Data of such a name, and "
        "certificates and public keys. A line of another language than Python, of a template, a proxy's "
        "configuration or SQL that refuses or verifies and is gone, one of SQL or a proxy that grants, and a setting "
        "in YAML, TOML, JSON or .env that verifies nothing or lets all in.",
        "A condition that is a little wider lets strangers in, and tests seldom try what must not work.",
        "keep what refuses as it is, or let a reviewer agree that nothing more is let through",
        lambda change: (
            *_guards(change), *_trusted(change), *_refused_elsewhere(change), *_opened_elsewhere(change),
            *_loosened_settings(change),
        ),
    ),
)  # fmt: skip
