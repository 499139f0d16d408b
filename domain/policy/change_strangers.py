"""Change rules over new Python that lets a request choose what it should not, and over powers of one somebody."""

import ast
import re
from collections.abc import Iterable

from domain.policy.python_code import Found, dotted, nodes_of, text_in
from domain.policy.python_names import assigned, names_of, standing_for

_GIVEN = re.compile(
    r"(?:^|\.)_?(?:request|req)\.(?:args|GET|POST|form|values|query_params|params|json|data|cookies|body|get_json|files)\b"
)
_REDIRECTS = frozenset(("redirect", "HttpResponseRedirect", "HttpResponsePermanentRedirect", "RedirectResponse"))
_PAGES = re.compile(r"^(?:jinja2|mako|django\.template|chameleon|tornado\.template)\b.*\bTemplate$")
_ENGINES = re.compile(r"(?:^|[._])(?:(?:\w*_)?env(?:ironment)?|Environment|jinja\w*|(?:\w*_)?(?:templates?|engines?))$")
_MAKES_A_SECRET = re.compile(
    r"(?i)(?:^|_)(?:tokens?|secrets?|passw(?:or)?ds?|passphrase|otp|nonce|salt|session_?id|sid|api_?key|csrf)(?:_|$)"
)
_WHO = re.compile(r"(?i)(?:^|[._])(?:id|pk|uid|uuid|user_?id|user_?name|login|e?mail|subject|sub)$")
_POWER = re.compile(
    r"(?i)(?:^|[._])(?:is_?(?:admin\w*|staff|superuser|owner|root|allowed|trusted)|may\w*|can_\w+|has_(?:perm|access|role)\w*"
    r"|allow\w*|authori[sz]e\w*|authenticate\w*|check_(?:access|permission|login)\w*|permi\w+|log_?in)$"
)


def chosen_by_strangers(module: ast.Module) -> Found:
    """What a request brings, as an address to go to, a template, the names of fields, or entities of XML."""
    full = names_of(module)
    given = standing_for(module, _is_of_a_request)

    def is_given(node: ast.AST) -> bool:
        return _is_of_a_request(node) or any(id(part) in given for part in ast.walk(node))

    texts = assigned(module, lambda node: text_in(node) is not None)
    for node in nodes_of(module):
        if isinstance(node, (ast.For, ast.AsyncFor)) and is_given(node.iter):
            for call in (one for inner in node.body for one in ast.walk(inner) if isinstance(one, ast.Call)):
                if dotted(call.func) == "setattr" and len(call.args) == 3 and text_in(call.args[1]) is None:
                    yield call, "a request chooses which fields are set"
        if not isinstance(node, ast.Call):
            continue
        name = full(node.func) or str(getattr(node.func, "attr", ""))
        last, first = name.rpartition(".")[2], node.args[0] if node.args else None
        if last in _REDIRECTS and first is not None and is_given(first):
            yield node, "a request chooses where somebody is sent to"
        engine = getattr(node.func, "value", None)
        made_by = dotted(engine.func if isinstance(engine, ast.Call) else engine)
        is_page = last == "from_string" and bool(_ENGINES.search(made_by))
        is_page = is_page or last == "render_template_string" or bool(_PAGES.search(name))
        if is_page and first is not None and text_in(first) is None and getattr(first, "id", "") not in texts:
            yield node, "a template is made of a text that is not written here"
        for one in node.keywords:
            if one.arg is None and is_given(one.value) and not last.startswith(("render", "jsonify", "urlencode")):
                yield node, "a request chooses which fields are set"
            if one.arg in ("resolve_entities", "load_dtd", "huge_tree") and getattr(one.value, "value", None) is True:
                yield node, "XML may name files and addresses that are read into it"


def _is_of_a_request(node: ast.AST) -> bool:
    return any(_GIVEN.search(dotted(part)) for part in ast.walk(node))


def guessable(module: ast.Module) -> Found:
    """A token or a password that is made by `random`, whose numbers can be foretold."""
    full = names_of(module)

    def is_random(node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and bool(re.match(r"random\.(?!SystemRandom\b)\w", full(node.func)))

    for node in nodes_of(module):
        inside: Iterable[ast.AST] = ()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and _MAKES_A_SECRET.search(node.name):
            inside = ast.walk(node)
        elif isinstance(node, ast.Assign) and any(_MAKES_A_SECRET.search(dotted(one)) for one in node.targets):
            inside = ast.walk(node.value)
        if any(map(is_random, inside)):
            yield node, "a secret is made by `random`, whose numbers can be foretold"


def powers_of_one(module: ast.Module) -> Found:
    """Somebody who may do more, by a name or a number that is written in the code."""
    seen = set[int]()
    for place in nodes_of(module):
        is_about = isinstance(place, (ast.FunctionDef, ast.AsyncFunctionDef)) and bool(_POWER.search(place.name))
        is_either = isinstance(place, ast.BoolOp) and any(_POWER.search(_asked(one)) for one in place.values)
        for node in ast.walk(place) if is_about or is_either else ():
            if id(node) not in seen and _is_of_one(node):
                seen.add(id(node))
                yield node, "somebody is written down here by name, and may do what others may not"


def _asked(node: ast.AST) -> str:
    return dotted(node.func if isinstance(node, ast.Call) else node)


def _is_of_one(node: ast.AST) -> bool:
    """`user.id == 31337`, `user.email.endswith("@example.org")`, `name in ("root2",)`."""
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("endswith", "startswith") and node.args:
        who = dotted(getattr(node.func, "value", None))
        return bool(_WHO.search(who)) and bool(text_in(node.args[0]))
    if not isinstance(node, ast.Compare) or not isinstance(node.ops[0], (ast.Eq, ast.In)):
        return False
    sides = [node.left, *node.comparators]
    written = [
        part for one in sides for part in (one.elts if isinstance(one, (ast.Tuple, ast.List, ast.Set)) else [one])
    ]
    constants = [one.value for one in written if isinstance(one, ast.Constant)]
    is_one = any((type(one) is int and abs(one) > 1) or (isinstance(one, str) and len(one) > 2) for one in constants)
    return is_one and any(_WHO.search(dotted(one)) for one in sides)
