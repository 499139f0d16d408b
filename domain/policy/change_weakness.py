"""Change rules over new code of kinds that let strangers in, or tell them too much."""

import ast
import functools
import json
import re
from collections.abc import Iterator

from domain.policy.change import Change, base_names, text_of
from domain.policy.change_compiled import compiled_weak
from domain.policy.change_other_code import new_script_lines
from domain.policy.change_patterns import is_slow
from domain.policy.change_protection import FINDS
from domain.policy.change_strangers import chosen_by_strangers, guessable, powers_of_one
from domain.policy.python_code import Found, Nodes, dotted, newly, nodes_of, text_in
from domain.policy.python_names import assigned, names_of, standing_for
from domain.policy.rule import Hit, Rule
from domain.task import Severity

_SECRET = re.compile(
    r"(?:^|_)(?:signature|hmac|secret|secret_?key|api_?key|private_?key|signing_?key|csrf|passw(?:or)?d|passphrase|otp"
    r"|(?:access|auth|session|bearer|refresh|api|csrf|reset|id)_?token|authorization|credentials?)s?$",
    re.IGNORECASE,
)
_ABOUT_ACCESS = re.compile(r"\b(?:auth\w*|bearer|jwt|oauth\w*|log_?in|password|session)\b", re.IGNORECASE)
_ABOUT_GRAMMAR = re.compile(r"\b(?:lexer|parser|tokeni[sz]e\w*|grammar|syntax)\b", re.IGNORECASE)
_SHOWS = frozenset(("write", "debug", "info", "warn", "warning", "error", "exception", "critical", "log", "print"))
_OF_A_REQUEST = re.compile(r"(?:^|\.)_?(?:request|req)\.(?:headers|cookies|META|environ|form|json|data|body|POST)$")
_ANSWERS = re.compile(r"(?:^|\.)(?:jsonify|make_response|\w*Response|HTTPException|send|write|abort)$")
_BROAD = frozenset(("Exception", "BaseException"))
_A_NO = re.compile(
    r"(?i)err|exc|fail|den(?:y|ied)|forbid|invalid|unauth|anonym|default|empty|no(?:ne|t|body)?_|response|result"
)
"""Names of what a failed check is answered with."""
_VERIFIES = re.compile(
    r"(?:^|\.)_?(?:verify|authenticate|authorize|check_(?:password|permission|auth|csrf|access|signature|token)|require_"
    r"|ensure_|assert_may)\w*$"
)

LONG_S = 300
"""From so many seconds on a pause is one that nobody waits for. Of 8,000 commits of eight projects none adds one."""

# --- Python


def _compared(module: ast.Module) -> Found:
    """A secret that is compared character by character, or with one that is written down."""
    full = names_of(module)
    computed = Nodes(module).holding(lambda node: isinstance(node, ast.Call) and full(node.func).startswith("hmac."))
    macs = assigned(module, lambda node: id(node) in computed)
    words = _words_of(module)
    is_of_a_text = bool(_ABOUT_GRAMMAR.search(words)) and not _ABOUT_ACCESS.search(words)
    secrets = _other_names(module)
    alike = {id(one) for node in nodes_of(module) for one in _of_two_alike(node)}
    for node in nodes_of(module):
        is_in_part = isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("startswith", "__eq__")
        if is_in_part and isinstance(node, ast.Call) and any(map(_is_secret, node.args)):
            yield node, "a secret is compared in part, or in a time that tells how much of a guess is right"
        for sides in _pairs(node):
            is_secret = [
                _is_secret(one) or dotted(one) in macs or id(one) in computed or id(one) in secrets for one in sides
            ]
            texts = [one.value for one in sides if isinstance(one, ast.Constant)]
            names = [secrets.get(id(one)) or _name_of(one) for one in sides]
            is_of_grammar = is_of_a_text and any(one.endswith("id_token") for one in names)
            if not any(is_secret) or _are_typed_twice(names) or is_of_grammar or id(sides[0]) in alike:
                continue
            if not texts and not any(isinstance(one, ast.Call) and full(one.func) == "len" for one in sides):
                yield node, "a secret is compared by ==, which tells by its time how much of a guess is right"
                break
            if any(isinstance(text, (str, bytes)) and len(text) > 3 for text in texts):
                yield node, "a secret is compared with one that is written down"
                break


def _of_two_alike(node: ast.AST) -> Iterator[ast.AST]:
    """What `__eq__` compares of two objects of one class, `self.a == other.a`: who asks has both."""
    if isinstance(node, ast.FunctionDef) and node.name in ("__eq__", "__ne__") and len(node.args.args) == 2:
        mine, other = (one.arg for one in node.args.args)
        for one, two in (pair for part in ast.walk(node) for pair in _pairs(part)):
            (owner, _, name), (its, _, named) = dotted(one).partition("."), dotted(two).partition(".")
            if {owner, its} == {mine, other} and name == named:
                yield one


def _pairs(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """What is compared for being equal: also of `a == b == c`, and of `a in (b, c)`."""
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        for one, how, two in zip(sides, node.ops, node.comparators, strict=False):
            if isinstance(how, (ast.Eq, ast.NotEq)):
                yield one, two
            elif isinstance(how, (ast.In, ast.NotIn)) and isinstance(two, (ast.Tuple, ast.List, ast.Set)):
                yield from ((one, inner) for inner in two.elts)


def _name_of(node: ast.AST) -> str:
    return dotted(node).rpartition(".")[2] or _key_of(node)


def _is_secret(node: ast.AST) -> bool:
    return bool(_SECRET.search(_key_of(node) or dotted(node).rpartition(".")[2]))


@functools.lru_cache(maxsize=400)
def _other_names(module: ast.Module) -> dict[int, str]:
    """Ids of names that were given a secret → the secret's own name."""
    return {node: _name_of(value) for node, value in standing_for(module, _is_secret).items()}


def _key_of(node: ast.AST) -> str:
    """`a` of `x["a"]`, `x.get("a")` and `os.getenv("a")`."""
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("get", "getenv")
        and node.args
    ):
        return text_in(node.args[0]) or ""
    return text_in(node.slice) or "" if isinstance(node, ast.Subscript) else ""


def _are_typed_twice(names: list[str]) -> bool:
    """A form's password and its confirmation, or the old one and the new one."""
    one, two = names
    if not re.search(r"(?i)passw(?:or)?d|passphrase", one) or not re.search(
        r"(?i)passw(?:or)?d|passphrase|confirm", two
    ):
        return bool(re.search(r"(?i)^confirm", one) and re.search(r"(?i)passw(?:or)?d$", two))
    is_again = re.compile(r"(?i)(?:^|_)(?:confirm\w*|repeat\w*|again|retyped?)(?:_|$)")
    is_old, is_new = re.compile(r"(?i)(?:^|_)(?:old|current|previous)_"), re.compile(r"(?i)(?:^|_)new_")
    return (
        bool(is_again.search(one)) is not bool(is_again.search(two))
        or bool(is_old.search(one) and is_new.search(two))
        or bool(is_new.search(one) and is_old.search(two))
    )


def _words_of(module: ast.Module) -> str:
    said = " ".join(str(getattr(node, field, "")) for node in nodes_of(module) for field in ("id", "name", "arg"))
    return said.replace("_", " ")


def _errors_are_yes(module: ast.Module) -> Found:
    """A check that fails, and is taken for a yes or for nothing."""
    for node in nodes_of(module):
        if isinstance(node, (ast.With, ast.AsyncWith)) and _verifies(node.body):
            calls = [one.context_expr for one in node.items if isinstance(one.context_expr, ast.Call)]
            if any(dotted(one.func).endswith("suppress") and any(map(_is_broad, one.args)) for one in calls):
                yield node, "what a check in here raises is suppressed, and it goes on"
        if not isinstance(node, ast.Try):
            continue
        verifies = _verifies(node.body)
        checks = verifies or any(
            isinstance(one, ast.If) and any(isinstance(x, ast.Raise) for x in one.body) for one in node.body
        )
        if checks and any(isinstance(one, ast.Return) and _is_a_yes(one.value) for one in node.finalbody):
            yield node, "whatever fails in here is taken for a yes"
        for handler in node.handlers:
            last = handler.body[-1]
            says_yes = isinstance(last, ast.Return) and _is_true(last.value)
            if not _is_broad(handler.type):
                if verifies and says_yes:
                    yield handler, "a check that fails in here is taken for a yes"
                continue
            says_yes = says_yes or (verifies and isinstance(last, ast.Return) and _is_a_yes(last.value))
            ends = any(isinstance(part, (ast.Raise, ast.Return)) for one in handler.body for part in ast.walk(one))
            set_to = [getattr(one.value, "value", None) for one in handler.body if isinstance(one, ast.Assign)]
            if says_yes or (checks and True in set_to):
                yield handler, "whatever fails in here is taken for a yes"
            elif checks and not ends and not set_to:
                yield handler, "what a check in here raises is caught, and it goes on"


def _verifies(body: list[ast.stmt]) -> bool:
    calls = (call for one in body for call in ast.walk(one) if isinstance(call, ast.Call))
    return any(_VERIFIES.search(dotted(call.func)) for call in calls)


def _is_broad(kind: ast.expr | None) -> bool:
    """Whether an `except` of it catches everything."""
    if isinstance(kind, ast.Tuple):
        return any(map(_is_broad, kind.elts))
    return kind is None or (bool(dotted(kind)) and dotted(kind).rpartition(".")[2] in _BROAD)


def _is_true(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is True


def _is_a_yes(value: ast.expr | None) -> bool:
    """True, or something that was there before and does not say by its name that it is a no."""
    return _is_true(value) or (isinstance(value, (ast.Name, ast.Attribute)) and not _A_NO.search(dotted(value)))


def _told(module: ast.Module) -> Found:
    """Secrets in the text of an error, what a request brings in a log, and where an error was in an answer."""
    full = names_of(module)
    words = _words_of(module)
    is_about_access = bool(_ABOUT_ACCESS.search(words)) and not _ABOUT_GRAMMAR.search(words)
    traces = Nodes(module).holding(
        lambda node: (
            isinstance(node, ast.Call) and full(node.func) in ("traceback.format_exc", "traceback.format_exception")
        )
    )
    for node in nodes_of(module):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            given = [*node.exc.args, *(one.value for one in node.exc.keywords)]
            parts = [part for one in given for part in _said_in(one)]
            if any(_is_secret(one) or (is_about_access and dotted(one).endswith("token")) for one in parts):
                yield node.exc, "the text of an error has the name of a secret in it"
        elif isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in _SHOWS:
            given = [*node.args, *(one.value for one in node.keywords)]
            if any(_OF_A_REQUEST.search(dotted(part)) for one in given for part in _said_in(one)):
                yield node, "what a request brings, with its secrets, is written down"
        if (isinstance(node, ast.Return) and node.value is not None and id(node.value) in traces) or (
            isinstance(node, ast.Call) and _ANSWERS.search(dotted(node.func)) and id(node) in traces
        ):
            yield node, "where an error was is answered"


def _said_in(node: ast.AST) -> Iterator[ast.AST]:
    """What a text is made of: parts of an f-string, of `%`, `+`, format(), str() and repr()."""
    if isinstance(node, ast.JoinedStr):
        yield from (part.value for part in node.values if isinstance(part, ast.FormattedValue))
    elif isinstance(node, ast.BinOp):
        for side in (node.left, node.right):
            yield from _said_in(side)
    elif isinstance(node, (ast.Tuple, ast.Dict)):
        for one in ast.iter_child_nodes(node):
            yield from _said_in(one)
    elif isinstance(node, ast.Call):
        is_text = dotted(node.func) in ("str", "repr", "dict") or getattr(node.func, "attr", "") == "format"
        for one in node.args if is_text else ():
            yield from _said_in(one)
    elif isinstance(node, (ast.Name, ast.Attribute)):
        yield node


_FALLS_BACK = frozenset(("get", "getenv", "setdefault", "getattr"))
_OF_SETTINGS = re.compile(r"env|setting|conf|cfg|option|args|param|secret|vault", re.IGNORECASE)
_NONE = frozenset(("none", "null", "unset"))


def _fallbacks(module: ast.Module) -> Found:
    """A secret of which there is one that everybody knows, if nobody sets it."""
    secrets = _other_names(module)
    for node in nodes_of(module):
        given: list[ast.expr] = []
        for target, value in _set_if_missing(node):
            text = text_in(value) or ""
            is_secret = _is_secret(target) or dotted(target) in _named_in(node, secrets)
            if is_secret and len(text) > 3 and text.lower() not in _NONE:
                yield value, "a secret has a value that everybody knows, if none is set"
        if isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in _FALLS_BACK:
            given = node.args[-2:] if len(node.args) > 1 else []
        elif isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) and len(node.values) == 2:
            given = node.values
        elif isinstance(node, ast.IfExp):
            given = sorted((node.body, node.orelse), key=lambda one: isinstance(one, ast.Constant))
        where, _, last = dotted(node.func).rpartition(".") if isinstance(node, ast.Call) else ("", "", "")
        is_label = last == "get" and not _OF_SETTINGS.search(where)
        text = text_in(given[1]) or "" if len(given) == 2 else ""
        if len(text) > 3 and not is_label and text.lower() not in _NONE:
            named = text_in(given[0]) or ""
            if (_SECRET.search(named) and " " not in named) or _is_secret(given[0]) or id(given[0]) in secrets:
                yield node, "a secret has a value that everybody knows, if none is set"


def _set_if_missing(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """(target, value) of what an `if` that asks for the target sets, or an `except`."""
    asked = {dotted(part) for part in ast.walk(node.test)} if isinstance(node, ast.If) else None
    for one in node.body if isinstance(node, (ast.If, ast.ExceptHandler)) else ():
        if isinstance(one, ast.Assign):
            for target in one.targets:
                if asked is None or dotted(target) in asked - {""} or isinstance(target, ast.Subscript):
                    yield target, one.value


def _named_in(node: ast.AST, secrets: dict[int, str]) -> set[str]:
    return {
        part.id for part in ast.walk(getattr(node, "test", node)) if isinstance(part, ast.Name) and id(part) in secrets
    }


_POWERFUL = re.compile(
    r"(?:^|_)(?:is_(?:admin|staff|superuser|root|trusted|verified)|skip_(?:auth|checks?|verification|permissions?)"
    r"|no_auth|insecure|unsafe|allow_(?:anonymous|unverified|unauthenticated|insecure|pickle|origin_all))$"
)
_CACHES = re.compile(r"(?:^|\.)(?:lru_cache|cache|cached|cached_property|memoize\w*)$")
_OF_SOMEBODY = frozenset(("request", "session", "current_user", "g", "tenant"))


def _is_made_here(value: ast.AST) -> bool:
    """A constant, or an object of a class: `requests.Session()`."""
    made = dotted(value.func).rpartition(".")[2] if isinstance(value, ast.Call) else ""
    return isinstance(value, ast.Constant) or made[:1].isupper()


def _given_away(module: ast.Module) -> Found:
    """Powers that are there unless somebody takes them away, and what is kept for all though it is one user's."""
    asked = {
        id(one)
        for node in nodes_of(module)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in FINDS
        for one in node.keywords
    }
    is_about_access = bool(_ABOUT_ACCESS.search(_words_of(module)))
    for node in nodes_of(module):
        named: list[tuple[str, ast.expr | None]] = []
        if isinstance(node, ast.keyword) and id(node) not in asked and (node.arg != "is_root" or is_about_access):
            named = [(node.arg or "", node.value)]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            every = [*node.args.posonlyargs, *node.args.args]
            defaults = node.args.defaults
            named = [(one.arg, value) for one, value in zip(every[len(every) - len(defaults) :], defaults, strict=True)]
            named += [(one.arg, value) for one, value in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
            is_cached = any(
                _CACHES.search(dotted(one.func if isinstance(one, ast.Call) else one)) for one in node.decorator_list
            )
            names = {part.id for one in node.body for part in ast.walk(one) if isinstance(part, ast.Name)}
            names -= {name for one in node.body for name in assigned(module, _is_made_here, ast.walk(one))}
            if is_cached and names & _OF_SOMEBODY and not names & _OF_SOMEBODY & {one.arg for one in every}:
                yield node, "what is somebody's is kept, and given to everybody"
        elif isinstance(node, ast.Assign):
            named = [(dotted(target).rpartition(".")[2], node.value) for target in node.targets]
        if any(_POWERFUL.search(name) and isinstance(one, ast.Constant) and one.value is True for name, one in named):
            yield node, "a power by such a name is given, or there unless somebody takes it away"


_OF_THE_STANDARD = re.compile(
    r"(?i)(?:accept|content|if|access-control|sec|origin|cache|upgrade|user|hx|www|proxy|te)(?:-[\w-]+)?"
    r"|(?:authorization|connection|cookie|date|expect|forwarded|from|host|pragma|range|referer|transfer-encoding|via|etag"
    r"|last-modified|location|retry-after|server|set-cookie|vary|link|age|allow|warning|prefer|traceparent|tracestate)"
)
"""Names of headers that every client sends, or every server: https://www.iana.org/assignments/http-fields/."""
_BEHIND_THE_DOOR = re.compile(
    r"(?i)(?:^|[_-])(?:debug|admin|internal|bypass|backdoor|skip|sudo|root|god|master|override|trusted?|no_?auth|unlock)(?:$|[_-])"
)


def _decides(node: ast.AST) -> ast.expr | None:
    """What is asked, or what a function answers by comparing."""
    if isinstance(node, (ast.If, ast.IfExp, ast.While)):
        return node.test
    answer = node.value if isinstance(node, ast.Return) else None
    return answer if isinstance(answer, (ast.Compare, ast.BoolOp)) else None


def _brought(part: ast.AST) -> str | None:
    """The name of what a request has to bring, if it is none that every client sends."""
    where, name = "", ""
    if isinstance(part, ast.Call) and getattr(part.func, "attr", "") == "get" and part.args:
        where, name = dotted(part.func).rpartition(".")[0], text_in(part.args[0]) or ""
    elif isinstance(part, ast.Subscript):
        where, name = dotted(part.value), text_in(part.slice) or ""
    elif isinstance(part, ast.Compare) and isinstance(part.ops[0], (ast.In, ast.NotIn)):
        where, name = dotted(part.comparators[0]), text_in(part.left) or ""
    is_header = where.endswith("headers") and bool(name) and not _OF_THE_STANDARD.fullmatch(name)
    is_word = re.search(r"(?:^|\.)(?:args|GET|query|query_params|params)$", where) and _BEHIND_THE_DOOR.search(name)
    return name if is_header or is_word or where.endswith("cookies") else None


def _special(change: Change) -> Iterator[Hit]:
    """A header, a cookie or a word of the address that nothing of base names, on which something is let through."""

    def find(module: ast.Module) -> Found:
        given = standing_for(module, lambda node: _brought(node) is not None)
        for node in nodes_of(module):
            for part in ast.walk(test) if (test := _decides(node)) is not None else ():
                name = _brought(given.get(id(part), part))
                if name is not None:
                    yield part, f"who sends {name!r} is treated otherwise, which nothing of base asks for"

    is_named = base_names(change)
    yield from (hit for hit in newly(find)(change) if not is_named(hit.message.split("'")[1]))


def _slow(module: ast.Module) -> Found:
    patterns = _patterns(module)
    for node in nodes_of(module):
        text = text_in(node) if isinstance(node, ast.expr) and id(node) in patterns else None
        if text and is_slow(text):
            yield node, "this pattern can take for ever on a text that somebody chose"


def _waits(module: ast.Module) -> Found:
    """A pause of minutes: whoever asked waits so long, and with some of them at once nobody else is served."""
    full = names_of(module)
    for node in nodes_of(module):
        if isinstance(node, ast.Call) and node.args and re.fullmatch(r"\w+\.sleep", full(node.func)):
            seconds = _number_of(node.args[0]) or 0
            if seconds >= LONG_S:
                yield node, f"this waits for {seconds:g} s, and whoever asked waits too"


def _number_of(node: ast.expr) -> float | None:
    """Of a number that is written down, or a product of such."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return float(node.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        one, two = _number_of(node.left), _number_of(node.right)
        return None if one is None or two is None else one * two
    return None


def _patterns(module: ast.Module) -> frozenset[int]:
    """Ids of what is given to `re`, or has the name of a pattern."""
    full = names_of(module)
    found: set[int] = set()
    texts = assigned(module, lambda node: text_in(node) is not None)
    for node in nodes_of(module):
        if isinstance(node, ast.Call) and re.match(r"(?:re|regex)\.", full(node.func)):
            given = [part for one in node.args[:1] for part in ast.walk(one)]
            found.update(map(id, given))
            found.update(id(texts[one.id]) for one in given if isinstance(one, ast.Name) and one.id in texts)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if re.search(r"(?i)re$|regex|pattern", dotted(target)):
                found.update(id(part) for part in ast.walk(node.value))
    return frozenset(found)


# --- JavaScript

_PROPS = r"(?:prev|next)(?:Props|State)\."
"""What a component of a page is given before or after: it is compared with what it has."""
_S = (
    rf"(?!{_PROPS})[\w.]*(?:[sS]ignature|[hH]mac|secret|Secret|[aA]pi_?[kK]ey|[pP]assword|authorization"
    r"|(?:csrf|access|auth|session|refresh|bearer|reset)_?[tT]oken)"
)
_SCRIPT = (
    (
        re.compile(
            rf"(?:(?<![\w.]){_S}\b\s*[!=]==?\s*"
            rf"(?!['\"`\d]|null\b|undefined\b|true\b|false\b|\w*[cC]onfirm|{_PROPS})[\w.]"
            rf"|(?<!typeof )(?<![\w.'\"`])"
            rf"(?!null|undefined|true|false|\w*[cC]onfirm|{_PROPS})[\w.]+\s*[!=]==?\s*{_S}\b)"
        ),
        "a secret is compared by ===, which tells by its time how much of a guess is right",
    ),
    (
        re.compile(
            r"process\.env\.\w*(?:SECRET|PASSWORD|TOKEN|API_?KEY|PRIVATE_?KEY)\w*\s*(?:\|\||\?\?)\s*['\"`][^'\"`]{4}"
        ),
        "a secret has a value that everybody knows, if none is set",
    ),
    (
        re.compile(
            r"\b(?:console|log(?:ger)?)\.\w+\([^)]*\b(?:req|request)\."
            r"(?:headers(?!\s*\[\s*['\"`](?![\w-]*(?i:auth|cookie|token|secret|pass|key|session))[\w-]+['\"`])|cookies|body|rawHeaders)\b"
        ),
        "what a request brings, with its secrets, is written down",
    ),
    (re.compile(r"\bres(?:ponse)?\.(?:send|json|end|write)\([^)]*\b\w+\.stack\b"), "where an error was is answered"),
    (re.compile(r"\bcatch\s*(?:\([^)]*\))?\s*\{\s*return\s+true\b"), "whatever fails in here is taken for a yes"),
    (
        re.compile(r"\.redirect\([^)]{0,300}\b(?:req|request)\.(?:query|body|params|headers|cookies)\b"),
        "a request chooses where somebody is sent to",
    ),
    (
        re.compile(
            r"\bObject\.assign\(\s*[\w.]+,\s*(?:req|request)\.(?:body|query)\b"
            r"|\bnew\s+[A-Z]\w*\(\s*(?:req|request)\.body\s*\)|\.(?:create|update)\(\s*(?:req|request)\.body\s*\)"
        ),
        "a request chooses which fields are set",
    ),
    (
        re.compile(
            r"(?i:token|secret|password|otp|nonce|session_?id)\w{0,40}\s{0,9}(?:=(?![=>])|=>|\()[^;]{0,200}\bMath\.random\("
        ),
        "a secret is made by `Math.random`, whose numbers can be foretold",
    ),
    (
        re.compile(r"\b(?:\w*[uU]ser|account)\.(?:id|email|login|username)\s*===?\s*(?:['\"`][^'\"`]{3}|\d\d)"),
        "somebody is written down here by name, and may do what others may not",
    ),
    (
        re.compile(r"(?<![\w.])(?:import|require)\(\s{0,9}(?!['\"`])[\w.]{1,99}\s{0,9}\)"),
        "what is imported is chosen when it runs",
    ),
    (
        re.compile(
            r"\b(?:local|session)Storage\.setItem\(\s*['\"`][^'\"`]{0,60}(?i:token|jwt|secret|password|api_?key)"
        ),
        "a secret is kept where every script of the page can read it",
    ),
    (re.compile(r"\.postMessage\([^;]{0,200},\s*['\"`]\*['\"`]"), "a message goes to whatever page is there"),
    (re.compile(r"\bNODE_TLS_REJECT_UNAUTHORIZED\b"), "TLS certificates are no longer verified"),
)
_ANOTHER = re.compile(r"(?!\d|null\b|undefined\b|true\b|false\b|\w*[cC]onfirm)\w")
_SIDES = re.compile(r"(?<![\w.])([\w.]+)\s*[!=]==?\s*(?=([\w.]+))")
_ANOTHER_NAME = re.compile(rf"\b(?:const|let|var)\s+(\w+)\s*=\s*{_S}\s*;?\s*$", re.MULTILINE)
_NAMED_TWICE = re.compile(r"\b\w+\[\s*(?=\w*[kK])\w+\s*\]\[\s*\w+\s*\]\s*=[^=]")
_GIVEN_NAMES = re.compile(
    r"\bfor\s*\([^)]{0,200}\b(?:in|of)\b|\bObject\.(?:keys|entries)\b|\b(?:req|request)\.|\bJSON\.parse\b"
)
"""Where a file of JavaScript may have names of keys from somebody else."""
_LITERAL = re.compile(
    r"(?<![\w)\]/*])/((?:[^/\\\n\[*]|\\.|\[(?:[^\]\\\n]|\\.)*\])(?:[^/\\\n\[]|\\.|\[(?:[^\]\\\n]|\\.)*\])*)/"
)
_MADE = re.compile(r"\bRegExp\(\s*(['\"`])((?:(?!\1).)*)\1")
_LISTENS = re.compile(r"(?:\bwindow\.|(?<![\w.]))(?:addEventListener\(\s*['\"`]message['\"`]|onmessage\s*=(?!=))")
_CATCH_YES = re.compile(r"\bcatch\s*(?:\([^)]*\))?\s*\{\s*return\s+true\b")


@functools.lru_cache(maxsize=1)
def _names_of_secrets(text: str) -> frozenset[str]:
    """Names in a file of JavaScript that are given a secret, and do not say so themselves."""
    return frozenset(one for one in _ANOTHER_NAME.findall(text) if not re.search(f"^{_S}$", one))


def _is_another_compared(line: str, names: frozenset[str]) -> bool:
    for found in _SIDES.finditer(line) if names else ():
        left, right = found.groups()
        is_quoted = line[found.start() - 1 : found.start()] in ("'", '"', "`")
        if left in names and _ANOTHER.match(right):
            return True
        if right.partition(".")[0] in names and _ANOTHER.match(left) and not is_quoted:
            return True
    return False


def _scripts(change: Change) -> Iterator[Hit]:
    before: dict[str, int] = {}
    for path, number, line in new_script_lines(change):
        said = line[:4_000]
        for pattern, why in _SCRIPT:
            if pattern.search(said):
                yield Hit(f"{why}: {said.strip()[:100]!r}", path, number)
        if _is_another_compared(said, _names_of_secrets(text_of(change.head, path) or "")):
            yield Hit(f"{_SCRIPT[0][1]}: {said.strip()[:100]!r}", path, number)
        if _NAMED_TWICE.search(said) and _GIVEN_NAMES.search(text_of(change.head, path) or ""):
            why = "names that somebody gives are written into an object, `__proto__` too"
            yield Hit(f"{why}: {said.strip()[:100]!r}", path, number)
        if _LISTENS.search(said) and not re.search(r"\.origin\b", text_of(change.head, path) or ""):
            yield Hit(f"whatever page sends a message is listened to: {said.strip()[:100]!r}", path, number)
        slow = [*_LITERAL.findall(said), *(text.replace("\\\\", "\\") for _, text in _MADE.findall(said))]
        if any(map(is_slow, slow)):
            yield Hit(
                f"this pattern can take for ever on a text that somebody chose: {said.strip()[:100]!r}", path, number
            )
        if path not in before:
            texts = (text_of(tree, path) or "" for tree in (change.base, change.head))
            old, new = (len(_CATCH_YES.findall(text)) for text in texts)
            before[path] = new - old
            if new > old and not any(_CATCH_YES.search(one) for _, one in change.added(path)):
                yield Hit("whatever fails in here is taken for a yes", path, number)


# --- templates

_TEMPLATE = re.compile(r".*\.(?:html?|jinja2?|j2|djhtml|ejs|hbs|vue|svelte|erb|twig|mako)")
_UNESCAPED = re.compile(
    r"\|\s*safe\b|\{%-?\s*autoescape\s+(?:false|off)|\{\{\{|<%-|\bv-html\b|\{@html\b|\|\s*raw\b|<script[^>]+src\s*=\s*['\"]?(?:https?:)?//"
)


def _templates(change: Change) -> Iterator[Hit]:
    for path in change.present:
        if _TEMPLATE.fullmatch(path) and not change.is_test(path):
            for number, line in change.added(path):
                if found := _UNESCAPED.search(line[:4_000]):
                    yield Hit(f"this page shows or runs what is not its own: {found[0][:80]!r}", path, number)


# --- notebooks

_CELL = re.compile(
    r"^\s*(?:!|%%(?:bash|sh|script|cmd|perl|ruby|system|writefile|javascript|js|html)\b|%(?:sx|system|pip|conda|run|load_ext|env)\b)"
    r"|\bget_ipython\s*\(|\b(?:subprocess|os\.(?:system|popen|exec\w+|environ)|socket|urllib|requests|httpx|ctypes)\b"
    r"|\b(?:exec|eval|__import__)\s*\("
)


def _notebooks(change: Change) -> Iterator[Hit]:
    for path in change.present:
        if path.endswith(".ipynb"):
            known = set(_cell_lines(text_of(change.base, path) or "{}"))
            for line in _cell_lines(text_of(change.head, path) or "{}"):
                if line not in known and _CELL.search(line):
                    yield Hit(f"a cell of this notebook runs programs, or reaches others: {line.strip()[:100]!r}", path)


def _cell_lines(text: str) -> list[str]:
    """Lines of the cells of code; all lines of what is no notebook."""
    try:
        cells = json.loads(text).get("cells", [])
        sources = ["".join(one["source"]) for one in cells if one.get("cell_type") == "code"]
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError):
        return text.split("\n")
    return [line for source in sources for line in source.split("\n")]


def _weakness(change: Change) -> Iterator[Hit]:
    finders = (_compared, _errors_are_yes, _told, _fallbacks, _slow, _waits, _given_away)
    for find in (*finders, chosen_by_strangers, guessable, powers_of_one):
        yield from newly(find)(change)
    yield from _special(change)
    yield from _scripts(change)
    yield from compiled_weak(change)
    yield from _templates(change)
    yield from _notebooks(change)


WEAKNESS_RULES: tuple[Rule[Change], ...] = (
    Rule(
        "weakness", "change", Severity.PERSON,
        "New product code of kinds that let strangers in or tell them too much: a secret that is compared by == or "
        "with a written one, or has a known value if none is set; an `except` of everything that says yes, or goes on "
        "after a check; a secret's name in the text of an error, a request's headers in a log, a traceback in an "
        "answer; a header or a cookie that decides and that base does not know; a regular expression that may take "
        "for ever; a power such as is_admin that is there by default, or of somebody whose name is in the code; a "
        "cache of what is one user's; an address, a template or fields that a request chooses; a token made by "
        "`random`; a pause of minutes; in a browser a secret in its storage, or messages of whatever page; text of a "
        "template that is not escaped, or a script of another site; a cell of a notebook that runs programs or "
        "reaches others. Python, JavaScript, templates and notebooks; Go, Rust, Ruby, Java, C# and PHP line by line.",
        "Tests try what must work; these are right until somebody looks for them.",
        "use what is made for it (compare_digest, a setting without a default), or let a reviewer agree",
        _weakness,
    ),
)  # fmt: skip
