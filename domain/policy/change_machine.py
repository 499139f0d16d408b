"""What new Python code asks of the machine, of chance and of its own past, and which of a user's files it names."""

import ast
import functools
import math
import operator
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from domain.policy.change import Change, base_names, base_product_names
from domain.policy.python_code import Found, Nodes, dotted, newly, nodes_of, text_in
from domain.policy.python_names import Full, assigned, names_of
from domain.policy.rule import Hit

_MACHINE = frozenset(
    (
        "os.getuid", "os.geteuid", "os.getgid", "os.getegid", "os.getgroups", "os.getpid", "os.getpgid", "os.getpgrp",
        "os.getsid", "os.cpu_count", "os.process_cpu_count", "multiprocessing.cpu_count", "os.sched_getaffinity",
        "os.getloadavg", "os.sysconf", "os.statvfs", "os.ttyname", "os.ctermid", "os.times", "os.get_terminal_size",
        "shutil.get_terminal_size", "shutil.disk_usage", "resource.getrlimit", "resource.getrusage",
        "socket.if_nameindex", "threading.active_count", "threading.get_ident", "threading.get_native_id",
        "gc.get_count", "gc.get_stats", "gc.get_threshold", "gc.isenabled", "sys.getallocatedblocks",
        "sys.getrecursionlimit", "sys.getrefcount", "site.getsitepackages", "sysconfig.get_path", "sysconfig.get_paths",
    )
)  # fmt: skip
"""What a sandbox, a laptop and a server have otherwise."""
_CHANCE = frozenset(
    (
        "random.random", "random.randint", "random.randrange", "random.uniform", "random.choice", "random.getrandbits",
        "secrets.randbelow", "secrets.randbits", "secrets.choice", "secrets.token_hex",
        "secrets.token_bytes", "secrets.token_urlsafe", "os.urandom", "uuid.uuid4", "uuid.uuid1",
    )
)  # fmt: skip
_MACHINE_FILES = re.compile(
    r"/proc(?:/|$)|/sys/(?:class|fs|devices|block|kernel|hypervisor|module|bus)\b|/?\.dockerenv$"
    r"|/(?:var/)?run/(?:secrets|systemd|user|docker|containerd|\.containerenv)\b"
    r"|/etc/(?:machine-id|hostname|resolv\.conf|hosts|os-release)\b"
)
_STATS = frozenset(("os.stat", "os.lstat", "os.path.getmtime", "os.path.getctime", "os.path.getatime", "os.access"))
_EXISTS = frozenset(("os.path.exists", "os.path.isdir", "os.access", "os.stat", "os.listdir", "os.scandir"))
_METHODS = frozenset(("exists", "is_dir", "stat", "lstat", "iterdir"))
_JOINS = frozenset(("joinpath", "join", "Path", "PurePath", "PosixPath"))


def asks_the_machine(module: ast.Module) -> Found:
    """What is compared with a number or asked for yes or no, where a sandbox may answer otherwise than a server; and
    files by which the two can be told apart."""
    full, known = names_of(module), _numbers(module)
    nodes = Nodes(module)
    asked = _asked_for(module, nodes, lambda node: isinstance(node, ast.Call) and _is_of_machine(node, full))
    chance = nodes.holding(lambda node: isinstance(node, ast.Call) and full(node.func) in _CHANCE)
    moments = assigned(module, lambda node: isinstance(node, ast.Call) and bool(CLOCKS.search(full(node.func))))
    clock = _asked_for(module, nodes, lambda node: _is_part_of_a_day(node, full, moments))
    shown = nodes.holding(lambda node: _is_shown_time(node, full, moments))
    home = nodes.holding(lambda node: _is_home(node, full))
    turns = nodes.holding(lambda node: isinstance(node, ast.BinOp) and _turns(node, full))
    itself = nodes.holding(lambda node: isinstance(node, ast.Name) and node.id == "__file__")
    for node in nodes.all:
        compared = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
        if any(_has_a_number(side, known) for side in compared):
            if id(node) in asked:
                yield node, "it asks the machine for a number, which is another one elsewhere"
            elif id(node) in clock:
                yield node, "it is another one at another time of the day, the week or the year"
            elif id(node) in turns:
                yield node, "it is another one by turns, in a fixed share of all cases"
            elif id(node) in chance and not _is_sampling(compared, full, known):
                yield node, "it is another one by chance, in a fixed share of all cases"
        elif any(text_in(side) for side in compared) and (id(node) in chance or id(node) in shown):
            yield node, "it is another one by chance, or at another time of the day"
        elif any(text_in(side) for side in compared) and id(node) in home:
            yield node, "it asks whose home directory it is"
        elif isinstance(node, ast.Call) and _begins_with(node, chance | shown):
            yield node, "it is another one by chance, or at another time of the day"
        elif (test := _asked_outright(node)) is not None and full(test.func) in _MACHINE - _COUNTS:
            yield node, f"{full(test.func)} tells where it runs"
        elif isinstance(node, ast.Call):
            yield from _asks_files(node, full, itself)
        if (text := _path_in(node)) is not None and _MACHINE_FILES.match(text):
            yield node, f"{text[:60]!r} tells where it runs"


def _asked_for(module: ast.Module, nodes: Nodes, is_meant: Callable[[ast.AST], bool]) -> frozenset[int]:
    """Ids of what is meant and of all that holds it, also by a name that it is given."""
    held = nodes.holding(is_meant)
    names = assigned(module, lambda node: id(node) in held and (is_meant(node) or not isinstance(node, ast.Call)))
    return held | nodes.holding(lambda node: isinstance(node, ast.Name) and node.id in names)


def _is_of_machine(call: ast.Call, full: Full) -> bool:
    """A number of the machine, or how many modules are loaded and words were given."""
    return full(call.func) in _MACHINE or (full(call.func) == "len" and any(full(one) in _LOADED for one in call.args))


_LOADED = frozenset(("sys.modules", "sys.argv", "sys.orig_argv", "sys.path"))
_PARTS = frozenset(
    ("hour", "minute", "second", "microsecond", "day", "month", "tm_hour", "tm_min", "tm_mday", "tm_wday", "tm_mon")
)
_DAYS = frozenset(("weekday", "isoweekday", "isocalendar"))
CLOCKS = re.compile(
    r"(?:^|\.)(?:time\.(?:time|time_ns|localtime|gmtime|strftime|ctime|asctime)"
    r"|(?:datetime|date|pendulum|arrow)\.(?:now|utcnow|today)|timezone\.now)$"
)


def _begins_with(call: ast.Call, meant: Collection[int]) -> bool:
    """`uuid.uuid4().hex.startswith("00")`."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in ("startswith", "endswith"):
        return False
    return id(call.func.value) in meant and any(map(text_in, call.args))


def _is_shown_time(node: ast.AST, full: Full, moments: Collection[str]) -> bool:
    """The clock as a text: `time.strftime("%H")`, `datetime.now().isoformat()`."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    of_now = isinstance(node.func.value, ast.Call) and bool(CLOCKS.search(full(node.func.value.func)))
    of_now = of_now or dotted(node.func.value) in moments
    return full(node.func) == "time.strftime" or (of_now and node.func.attr in ("strftime", "isoformat", "ctime"))


def _is_part_of_a_day(node: ast.AST, full: Full, moments: Collection[str]) -> bool:
    """`datetime.now().hour`, `date.today().weekday()`, also by a name of the moment."""
    asked: ast.AST | None = None
    if isinstance(node, ast.Attribute) and node.attr in _PARTS:
        asked = node.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _DAYS:
        asked = node.func.value
    if isinstance(asked, ast.Name):
        return asked.id in moments
    return isinstance(asked, ast.Call) and bool(CLOCKS.search(full(asked.func)))


def _turns(node: ast.BinOp, full: Full) -> bool:
    """What is left of the clock, an address or a hash of nothing, such as `int(time.time()) % 97`, or one bit of it."""
    calls = [part for part in ast.walk(node.left) if isinstance(part, ast.Call)]
    by_chance = any(
        full(call.func) in ("id", "hash", "time.perf_counter_ns", "time.monotonic_ns") or CLOCKS.search(full(call.func))
        for call in calls
    )
    return isinstance(node.op, (ast.Mod, ast.BitAnd)) and by_chance


_COUNTS = frozenset(("os.cpu_count", "os.process_cpu_count", "multiprocessing.cpu_count"))


def _asked_outright(node: ast.AST) -> ast.Call | None:
    """A call whose answer decides by itself: `if os.getuid():`, `not os.getuid()`."""
    test = node.test if isinstance(node, (ast.If, ast.IfExp, ast.While)) else None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        test = node.operand
    return test if isinstance(test, ast.Call) else None


def _asks_files(call: ast.Call, full: Full, itself: Collection[int]) -> Found:
    method, around = "", None
    if isinstance(call.func, ast.Attribute):
        method, around = call.func.attr, call.func.value
    asked = call.args[:1] if full(call.func) in _STATS | _EXISTS else []
    if around is not None and method in _METHODS:
        asked = [around]
    if any(_is_home(one, full) for one in asked):
        yield call, "it asks whether there is a home directory"
    elif any(id(one) in itself for one in asked) and (full(call.func) in _STATS or method in ("stat", "lstat")):
        yield call, "it asks when and how its own file was made, which is another one after an installation"


def _is_home(node: ast.AST, full: Full) -> bool:
    if not isinstance(node, ast.Call):
        return False
    if full(node.func).endswith("Path.home"):
        return True
    is_expanded = full(node.func) == "os.path.expanduser" and bool(node.args)
    return is_expanded and text_in(node.args[0]) in ("~", "~/")


def _path_in(node: ast.AST) -> str | None:
    """A text that may be a path of the machine, also where it is joined: `Path("/") / "proc"`."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    parts: list[ast.expr] = []
    if isinstance(node, ast.Call) and dotted(node.func).split(".")[-1] in _JOINS | {""}:
        is_join = isinstance(node.func, ast.Attribute) and node.func.attr in _JOINS
        parts = [*([node.func.value] if is_join and node.func.attr == "joinpath" else []), *node.args]  # type: ignore[attr-defined]
    elif isinstance(node, ast.Call) and dotted(node.func).endswith("path.join"):
        parts = list(node.args)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Div, ast.Add)):
        parts, left = [node.right], node.left
        while isinstance(left, ast.BinOp) and isinstance(left.op, ast.Div):
            parts, left = [left.right, *parts], left.left
        parts = [left, *parts]
    texts = [_piece(part) for part in parts]
    begin = next((at for at, text in enumerate(texts) if text == "/"), None)
    if begin is None:
        return None
    rest = "/".join(text.strip("/") for text in texts[begin + 1 :] if text)
    return f"/{rest}"


def _piece(node: ast.AST) -> str:
    """A constant, or the one that a path is made of."""
    if isinstance(node, ast.Call) and node.args and dotted(node.func).split(".")[-1] in ("Path", "PurePath"):
        return _piece(node.args[0])
    return text_in(node) or ""


Numbers = Mapping[str, float]


def _has_a_number(node: ast.AST, known: Numbers) -> bool:
    """A number, or some of them to be among."""
    among = node.elts if isinstance(node, (ast.Tuple, ast.List, ast.Set)) else [node]
    return any(_number(one, known) is not None for one in among)


def _number(node: ast.AST, known: Numbers) -> float | None:
    """What a number comes to that is written down, or made of some by plain arithmetic."""
    if isinstance(node, ast.Constant):
        return float(min(node.value, sys.float_info.max)) if type(node.value) in (int, float) else None  # type: ignore[type-var,arg-type]
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.UnaryOp):
        inner = _number(node.operand, known)
        return -inner if inner is not None and isinstance(node.op, ast.USub) else inner
    if not isinstance(node, ast.BinOp):
        return None
    left, right = _number(node.left, known), _number(node.right, known)
    if left is None or right is None:
        return None
    make = _ARITHMETIC.get(type(node.op))
    try:
        return float(make(left, right)) if make and abs(right) <= sys.maxsize else math.inf
    except (ArithmeticError, ValueError, TypeError):
        return math.inf


_ARITHMETIC: Mapping[type, Callable[[float, float], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip


@functools.lru_cache(maxsize=400)
def _numbers(module: ast.Module) -> Numbers:
    """Names that are given a number, and nothing else, in a whole file."""
    given = [node for node in nodes_of(module) if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value]
    names = Counter(
        node.id if isinstance(node, ast.Name) else node.arg
        for node in nodes_of(module)
        if isinstance(node, ast.arg) or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    )
    found: dict[str, float] = {}
    for node in sorted(given, key=lambda one: one.lineno):
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if isinstance(target, ast.Name) and names[target.id] == 1 and node.value:
            value = _number(node.value, found)
            found.update({target.id: value} if value is not None else {})
    return found


def _is_sampling(compared: Sequence[ast.expr], full: Full, known: Numbers) -> bool:
    """A share of all cases that every test run meets: `random.random() < 0.1`. What is rare is met after it."""
    calls = {full(part.func) for side in compared for part in ast.walk(side) if isinstance(part, ast.Call)}
    shares = [value for side in compared if (value := _number(side, known)) is not None]
    return calls == {"random.random"} and all(_SELDOM <= share <= 1 - _SELDOM for share in shares)


_SELDOM = 0.05


# --- its own past


def counts(module: ast.Module) -> Found:
    """A count that the whole process keeps, of which a fixed number is another case."""
    of_module, known = _kept(module), _numbers(module)
    counters = {
        target.id
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and dotted(node.value.func) in _COUNTERS
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for function in _outermost(module):
        shared = {name for node in ast.walk(function) if isinstance(node, ast.Global) for name in node.names}
        kept = of_module - (_own_names(function) - shared)
        counted = {
            said
            for node in ast.walk(function)
            for target in _adds_to(node, known)
            if (said := ast.unparse(target)) in shared or _root(target) in kept
        }
        grown = {
            f"len({place})"
            for node in ast.walk(function)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _GROWS
            if (place := dotted(node.func.value)).partition(".")[0] in kept
        }
        asked = {f"next({name})" for name in counters}
        wanted = counted | grown | asked
        yield from _compares_a_count(function, wanted, known) if wanted else ()


_COUNTERS = frozenset(("itertools.count", "count", "iter", "range"))
_GROWS = frozenset(("append", "add", "extend", "update", "setdefault", "appendleft"))


def _kept(module: ast.Module) -> set[str]:
    """Names of a module that the whole process shares: what it assigns, and its functions and classes, which can have
    attributes."""
    found = {node.name for node in module.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    for node in module.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        found |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    return found


def _root(target: ast.AST) -> str:
    while isinstance(target, (ast.Attribute, ast.Subscript)):
        target = target.value
    return target.id if isinstance(target, ast.Name) else ""


def _adds_to(node: ast.AST, known: Numbers) -> Iterator[ast.expr]:
    """What is made larger by a fixed number: `n += 1`, `n = n + 1`, `f.calls = getattr(f, "calls", 0) + 1`."""
    if (
        isinstance(node, ast.AugAssign)
        and isinstance(node.op, (ast.Add, ast.Sub))
        and _number(node.value, known) is not None
    ):
        yield node.target
    elif isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp) and len(node.targets) == 1:
        target, value = node.targets[0], node.value
        is_place = isinstance(target, (ast.Name, ast.Attribute, ast.Subscript))
        is_sum = any(_number(side, known) is not None for side in (value.left, value.right))
        if is_place and is_sum and _speaks_of(value, target):
            yield target


def _speaks_of(value: ast.AST, target: ast.AST) -> bool:
    """Whether a value is made of what its target was before, also by getattr."""
    said, name = ast.unparse(target), getattr(target, "attr", None)
    return any(
        (isinstance(part, ast.expr) and ast.unparse(part) == said) or (name is not None and text_in(part) == name)
        for part in ast.walk(value)
    )


def _compares_a_count(function: ast.AST, counted: Collection[str], known: Numbers) -> Found:
    held = Nodes(function).holding(
        lambda node: (
            isinstance(node, (ast.Name, ast.Subscript, ast.Attribute, ast.Call)) and ast.unparse(node) in counted
        )
    )
    bounds = {id(node.test) for node in ast.walk(function) if held and _keeps_it_small(node, counted)}
    for node in ast.walk(function) if held else ():
        sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) and id(node) not in bounds else []
        if id(node) in held and any(_number(side, known) not in (None, 0, 1) for side in sides):
            yield node, "it is another one after a fixed number of calls"


def _keeps_it_small(node: ast.AST, counted: Collection[str]) -> TypeGuard[ast.If | ast.While]:
    """A cache that has a bound: what is counted gets smaller, and nothing else is done."""
    if not isinstance(node, (ast.If, ast.While)) or node.orelse:
        return False
    calls = [one.value if isinstance(one, ast.Expr) else None for one in node.body]
    return all(
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in _SHRINKS
        and f"len({dotted(call.func.value)})" in counted
        for call in calls
    )


_SHRINKS = frozenset(("clear", "pop", "popitem", "popleft"))
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp)


def _own_names(function: ast.AST) -> set[str]:
    """Names that a function itself gives a value, or is given by."""
    arguments = getattr(function, "args", None)
    found = {one.arg for one in ast.walk(arguments) if isinstance(one, ast.arg)} if arguments else set[str]()
    waiting = list(getattr(function, "body", ()))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        if not isinstance(node, (*_SCOPES, ast.GeneratorExp)):
            waiting += ast.iter_child_nodes(node)
    return found


def _outermost(module: ast.Module) -> Iterator[ast.AST]:
    """Functions that are in no other one; methods are in their class."""
    waiting: list[ast.AST] = [module]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node
        else:
            waiting += ast.iter_child_nodes(node)


# --- what it begins, and ends again

_BEGUN = frozenset(("threading.Timer", "threading.Thread"))


@functools.lru_cache(maxsize=400)
def ended(module: ast.Module) -> frozenset[int]:
    """Ids of the nodes that name a timer or a thread which the same block ends again, whatever happens in between but
    an error: nothing of it goes on by itself. A generator may never go on, so it has to be a context manager."""
    full = names_of(module)
    found: set[int] = set()
    for function in nodes_of(module):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)) and _comes_to_its_end(function, full):
            found.update(id(maker) for node in ast.walk(function) for maker in _ended_in(node, full))
    names = [node for node in nodes_of(module) if isinstance(node, ast.Name)]
    inside, outside = ({full(one) for one in names if (id(one) in found) is is_in} for is_in in (True, False))
    for node in nodes_of(module):
        if isinstance(node, ast.ImportFrom) and node.module == "threading":
            brought = {f"threading.{one.name}" for one in node.names}
            found.update({id(node)} if brought & _BEGUN <= inside - outside else ())
    return frozenset(found)


def _comes_to_its_end(function: ast.FunctionDef | ast.AsyncFunctionDef, full: Full) -> bool:
    waits = any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in ast.walk(function))
    return not waits or any(full(one).endswith("contextmanager") for one in function.decorator_list)


def _ended_in(node: ast.AST, full: Full) -> Iterator[ast.expr]:
    """What makes a timer or a thread in a block, with a name of its own that is ended further down in this block."""
    for block in (getattr(node, "body", None), getattr(node, "orelse", None), getattr(node, "finalbody", None)):
        for at, statement in enumerate(block if isinstance(block, list) else ()):
            value = statement.value if isinstance(statement, ast.Assign) else None
            if isinstance(value, ast.Call) and full(value.func) in _BEGUN and isinstance(block, list):
                names = [dotted(target) for target in statement.targets]
                after = [one for later in block[at + 1 :] for one in [later, *getattr(later, "finalbody", ())]]
                if len(names) == 1 and any(_ends(one, names[0]) for one in after):
                    yield value
                    yield value.func


def _ends(statement: ast.AST, name: str) -> bool:
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and not call.args and dotted(call.func) in (f"{name}.cancel", f"{name}.join")


# --- what it names and asks for the first time

USER_FILES = re.compile(
    r"(?:^|[/\\~])(?:\.ssh|authorized_keys|id_(?:rsa|dsa|ecdsa|ed25519)|\.aws|\.azure|\.netrc|_netrc|\.git-credentials"
    r"|\.gitconfig|\.gnupg|\.kube|\.npmrc|\.pypirc|\.pgpass|\.my\.cnf|\.bash(?:rc|_profile|_login|_logout)|\.profile"
    r"|\.z(?:shrc|shenv|profile)|\.xinitrc|\.vimrc|LaunchAgents|autostart|cron\.d|sudoers(?:\.d)?|Login Data)"
    r"(?:$|[/\\])"
    r"|[/\\]crontab(?:$|[/\\])|\.docker/config\.json|\.config/(?:gcloud|gh|fish|systemd|autostart)\b|/etc/(?:shadow|passwd|profile|ld\.so)"
)
"""Where people keep secrets, and what shells and desktops start by themselves."""


def names_user_files(change: Change) -> Iterator[Hit]:
    def find(module: ast.Module) -> Found:
        for node in nodes_of(module):
            text = _path_in(node) or ""
            if len(text) < 200 and "\n" not in text and (found := USER_FILES.search(text)):
                yield node, f"{found[0].strip('/~')!r} is a place of a user's secrets, or is started by itself"

    is_named = base_names(change)
    yield from (hit for hit in newly(find)(change) if not is_named(hit.message.split("'")[1]))


def asks_for_a_terminal(change: Change) -> Iterator[Hit]:
    def find(module: ast.Module) -> Found:
        for node in nodes_of(module):
            if (isinstance(node, ast.Attribute) and node.attr == "isatty") or text_in(node) == "isatty":
                yield node, "it asks whether somebody sits before it, which nothing of base does"

    if not base_product_names(change, b"isatty"):
        yield from newly(find)(change)
