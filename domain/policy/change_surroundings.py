"""Change rules over what new Python product code newly looks at, reaches and hides: where it runs, other machines and
programs, names and data that nobody can read."""

import ast
import builtins
import functools
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from domain.policy.change import ENOUGH, Change, base_names, is_beside, is_python
from domain.policy.change_compiled import compiled_reaches
from domain.policy.change_machine import CLOCKS, asks_for_a_terminal, asks_the_machine, counts, ended, names_user_files
from domain.policy.change_native import native_reaches
from domain.policy.change_surroundings_js import hides_script, looks_around_script, reaches_script
from domain.policy.python_code import Found, Nodes, Old, dotted, newly, nodes_of, parsed, text_in
from domain.policy.python_names import Full, assigned, names_of
from domain.policy.rule import Hit, Rule
from domain.task import Severity
from domain.trees import Tree

# --- where it runs

FACTS = frozenset(
    (
        "sys.meta_path", "sys.path_hooks", "sys.path_importer_cache", "sys.gettrace", "sys.getprofile", "sys.orig_argv",
        "os.getppid", "os.getlogin", "os.uname", "platform.node", "platform.uname", "socket.gethostname",
        "socket.getfqdn", "getpass.getuser", "uuid.getnode", "sys.stdout.__class__", "sys.stderr.__class__",
        "warnings.filters", "logging.root.handlers", "threading.enumerate", "threading.main_thread", "sys.flags",
        "sys.warnoptions", "warnings.showwarning", "__debug__", "sys.__stdin__", "sys.__stdout__", "sys.__stderr__",
        "sys.__excepthook__",
        "sys.getallocatedblocks", "sys.getrecursionlimit", "faulthandler.is_enabled", "linecache.cache",
        "threading.active_count", "atexit._ncallbacks", "os.ttyname", "traceback.extract_stack",
        "traceback.format_stack", "signal.getsignal", "os.getloadavg", "os.ctermid", "time.tzname", "locale.getlocale",
        "locale.getdefaultlocale", "sys.stdin.closed", "sys.stdin.fileno", "os.getuid", "os.geteuid", "os.getgid",
        "os.getegid", "os.getgroups", "os.getsid", "os.getpgrp", "resource.getrusage",
    )
)  # fmt: skip
"""What a test run has otherwise than a customer's process, or one machine otherwise than another."""
PLACES = frozenset(("os.getcwd", "os.getcwdb", "pathlib.Path.cwd", "sys.executable", "sys.path", "sys.prefix"))
VARIABLES = re.compile(
    r"CI|CONTINUOUS_INTEGRATION|GITHUB_\w+|GITLAB_CI|TOX_\w+|NOX_\w+|COV_CORE\w*|COVERAGE_\w+|PYTHON[A-Z]+|VIRTUAL_ENV"
    r"|CONDA_\w+|HYPOTHESIS_\w+|PWD|OLDPWD|KUBERNETES_\w+|SERVER_SOFTWARE|HOSTNAME|LOGNAME|USERNAME|DYNO"
    r"|AWS_(?:LAMBDA|EXECUTION)\w*|FUNCTION_\w+|K_SERVICE|INVOCATION_ID|JOURNAL_STREAM|SSH_\w+|npm_\w+"
)
"""What those set who test, build, install and run it: https://docs.python.org/3/using/cmdline.html#environment-variables"""
STOPWATCHES = frozenset(
    f"time.{name}{end}" for name in ("monotonic", "perf_counter", "process_time", "thread_time") for end in ("", "_ns")
)
TOOLS_OF_TESTS = frozenset(("pytest", "_pytest", "unittest", "nose", "hypothesis", "coverage", "tox", "nox", "pluggy"))
ASKS_FOR_PACKAGES = frozenset(
    ("importlib.util.find_spec", "importlib.metadata.version", "importlib.metadata.distribution", "shutil.which",
     "pkgutil.find_loader", "pkg_resources.get_distribution", "find_spec")
)  # fmt: skip
PRODUCTION = frozenset(("production", "prod", "live", "staging", "release"))
OF_TESTS = re.compile(r"(?:^|[^a-z])(?:py|unit|conf)?tests?(?:[^a-z]|$)", re.IGNORECASE)
_CLIMBS = frozenset(("os.path.dirname", "os.path.split"))


def _looks_around(change: Change) -> Iterator[Hit]:
    yield from newly(_facts, _is_of_packaging, old=Old.MOVED)(change)
    for path in change.product_python:
        if _is_of_packaging(change.base, path):
            continue
        depth = _depth(change.head, path)
        yield from _new(change, path, functools.partial(_around, most=depth))


def _facts(module: ast.Module) -> Found:
    full = names_of(module)
    held = _Held(module, full)
    yield from _taken(module, full)
    yield from counts(module)
    yield from asks_the_machine(module)
    for node in nodes_of(module):
        if name := _told_by(node, full, held):
            yield node, name
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(map(held.is_clock, sides)) and any(map(held.is_moment, sides)):
                yield node, "it is another one at another time: the clock is compared with a fixed moment"
            if id(node) in held.place and any(text_in(side) for side in sides):
                yield node, "it asks where it was started, and by what"
            if name := _variable(node, full):
                yield node, f"{name} tells where it runs"
            if isinstance(node.ops[0], (ast.In, ast.NotIn)) and full(node.comparators[0]) == "sys.modules":
                yield node, "it asks which modules are loaded"
            if any(_HOST_OF.search(dotted(side)) for side in sides) and any(map(_is_a_host, sides)):
                yield node, "it is another one at one address"
        elif name := _variable(node, full):
            yield node, f"{name} tells where it runs"
        elif isinstance(node, (ast.Attribute, ast.Name)) and full(node) in FACTS:
            yield node, f"{full(node)} tells where it runs"
        elif isinstance(node, ast.Attribute) and node.attr == "handlers" and _is_root_logger(node.value, full):
            yield node, "the handlers of all logging tell where it runs"
        elif isinstance(node, (ast.For, ast.GeneratorExp, ast.ListComp, ast.SetComp)) and _seeks_a_module(node, full):
            yield node, "it asks which modules are loaded"
        elif isinstance(node, (ast.For, ast.comprehension)) and _all_variables(node.iter, full):
            yield node.iter, "it looks at the names of all variables of the environment"
        elif isinstance(node, ast.Call) and _asks_the_place(node, held):
            yield node, "it asks where it was started, and by what"
        elif isinstance(node, ast.Call) and _is_at_a_host(node):
            yield node, "it is another one at one address"
        elif isinstance(node, ast.Call) and _reads_all(node, full):
            yield node, "it looks at the names of all variables of the environment"
        elif (isinstance(node, (ast.Call, ast.Subscript)) and _is_main(node, full)) or (
            isinstance(node, ast.Import) and any(one.name == "__main__" for one in node.names)
        ):
            yield node, "it asks which program was started"


_HOST_OF = re.compile(r"(?:^|\.)(?:host|hostname|netloc|server_name|get_host|http_host|remote_addr|origin)$")


def _is_a_host(node: ast.AST) -> bool:
    text = text_in(node) or ""
    return bool(_HOST.fullmatch(text.lstrip(".")) and not _LOCAL.match(text.lstrip(".")))


def _seeks_a_module(node: ast.For | ast.GeneratorExp | ast.ListComp | ast.SetComp, full: Full) -> bool:
    """A loop over all modules that has a word to compare with."""
    loops = [node.iter] if isinstance(node, ast.For) else [one.iter for one in node.generators]
    words = (re.search(r"\w{3}", text_in(part) or "") for part in ast.walk(node))
    return any(full(one) == "sys.modules" for one in loops) and any(words)


def _is_at_a_host(call: ast.Call) -> bool:
    """`request.host.endswith(".shop.com")`."""
    where = call.func.value if isinstance(call.func, ast.Attribute) and call.func.attr in _MATCHES else None
    where = where.func if isinstance(where, ast.Call) else where
    return bool(where is not None and _HOST_OF.search(dotted(where)) and any(map(_is_a_host, call.args)))


class _Held:
    """What nodes of a module are or hold, by their ids; each node is asked once, however deep it stands."""

    def __init__(self, module: ast.Module, full: Full) -> None:
        nodes = Nodes(module)
        holding = nodes.holding

        def own(but: Collection[str]) -> frozenset[int]:
            return holding(lambda node: isinstance(node, ast.Name) and full.is_own(node.id) and node.id not in but)

        texts = {id(node): text for node in nodes.all if (text := text_in(node))}
        self.place = holding(lambda node: _is_place(node, full))
        self.stopwatch = holding(lambda node: isinstance(node, ast.Call) and full(node.func) in STOPWATCHES)
        self.number = holding(_has_number)
        self.variable = holding(lambda node: bool(_asked_variable(node, full)))
        self.production = holding(lambda node: texts.get(id(node), "").lower() in PRODUCTION)
        self.of_tests = holding(lambda node: bool(OF_TESTS.search(texts.get(id(node), ""))))
        self.of_module = holding(
            lambda node: isinstance(node, ast.Attribute) and node.attr in ("__module__", "__qualname__")
        )
        self._clock = holding(lambda node: isinstance(node, ast.Call) and bool(CLOCKS.search(full(node.func))))
        any_own = own(())
        clocks = assigned(module, lambda node: id(node) in self._clock and id(node) not in any_own)
        self._clock_or_name = self._clock | holding(lambda node: isinstance(node, ast.Name) and node.id in clocks)
        self._besides_clocks = own(clocks)
        self._unknown = own(full.constants)
        self._moment = holding(lambda node: _tells_a_moment(node, full))
        started = assigned(module, lambda node: id(node) in self.stopwatch, ast.iter_child_nodes(module))
        self.besides_starts = own(started.keys() | full.constants.keys())

    def is_clock(self, side: ast.AST) -> bool:
        """Whether a side of a comparison has the clock and else only constants: `now - start` has another name."""
        return id(side) in self._clock_or_name and id(side) not in self._besides_clocks

    def is_moment(self, side: ast.AST) -> bool:
        """A moment that is written down: a large number, a date as text, or a date made of constants."""
        return id(side) in self._moment and id(side) not in self._clock and id(side) not in self._unknown


def _told_by(node: ast.AST, full: Full, held: _Held) -> str | None:
    """What a comparison or a call tells tests, production or a process's age by."""
    at = id(node)
    if isinstance(node, ast.Compare):
        if at in held.stopwatch and at in held.number and at not in held.besides_starts:
            return "it is another one when the process is older: a stopwatch is compared with a fixed time"
        if at in held.variable and at in held.production:
            return "it is another one in production"
    if isinstance(node, ast.Call) and full(node.func) in ASKS_FOR_PACKAGES and node.args:
        package = text_in(node.args[0]) or ""
        return f"it asks whether {package} is installed" if package.partition(".")[0] in TOOLS_OF_TESTS else None
    compares = isinstance(node, ast.Compare) or (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _MATCHES
    )
    return (
        "it tells tests by the name of their module"
        if (compares and at in held.of_module and at in held.of_tests)
        else None
    )


def _is_root_logger(node: ast.AST, full: Full) -> bool:
    return isinstance(node, ast.Call) and full(node.func) == "logging.getLogger" and not any(map(text_in, node.args))


_MATCHES = frozenset(("startswith", "endswith", "find", "index", "count", "match", "search", "fullmatch"))


def _has_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and node.value > 0


def _taken(module: ast.Module, full: Full) -> Found:
    """All variables of the environment at once, but for a program that is started with them."""
    above = {id(inner): node for node in nodes_of(module) for inner in ast.iter_child_nodes(node)}
    as_env, otherwise = _reads(module, above)
    for node in nodes_of(module):
        if isinstance(node, ast.Attribute) and full(node) == "os.environ" and isinstance(node.ctx, ast.Load):
            owner = above.get(id(node))
            is_whole = isinstance(owner, (ast.Dict, ast.keyword)) or (
                isinstance(owner, ast.Call) and node in owner.args
            )
            if isinstance(owner, ast.Attribute) and owner.attr in ("copy", "items"):
                owner, is_whole = above.get(id(owner)), True
            kept = _kept_in(owner, above) if is_whole and owner is not None else frozenset()
            is_for_a_program = kept is None or bool(kept & as_env and not kept & otherwise)
            if is_whole and owner is not None and not is_for_a_program:
                yield node, "it takes all variables of the environment at once"


def _kept_in(node: ast.AST, above: Mapping[int, ast.AST]) -> frozenset[str] | None:
    """The names that a value is kept in; None: a program is given it as it is."""
    at: ast.AST | None = node
    while at is not None and not isinstance(at, ast.stmt):
        if isinstance(at, ast.keyword) and at.arg == "env":
            return None
        at = above.get(id(at))
    if not isinstance(at, (ast.Assign, ast.AnnAssign)):
        return frozenset()
    targets = at.targets if isinstance(at, ast.Assign) else [at.target]
    return frozenset(target.id for target in targets if isinstance(target, ast.Name))


def _reads(module: ast.Module, above: Mapping[int, ast.AST]) -> tuple[set[str], set[str]]:
    """(names that a program is given as its variables, names that are read as a whole for something else)."""
    as_env, otherwise = set[str](), set[str]()
    for node in nodes_of(module):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            owner = above.get(id(node))
            if isinstance(owner, ast.keyword) and owner.arg == "env":
                as_env.add(node.id)
            elif not isinstance(owner, (ast.Subscript, ast.Attribute)):
                otherwise.add(node.id)
    return as_env, otherwise


def _asks_the_place(call: ast.Call, held: _Held) -> bool:
    """A method of the working directory's name that is given a text: `os.getcwd().endswith("x")`."""
    around = call.func.value if isinstance(call.func, ast.Attribute) else None
    return id(around) in held.place and any(map(text_in, call.args))


def _is_place(node: ast.AST, full: Full) -> bool:
    if isinstance(node, ast.Subscript) and full(node.value) == "sys.argv":
        return isinstance(node.slice, ast.Constant) and node.slice.value == 0
    return full(node) in PLACES


def _variable(node: ast.AST, full: Full) -> str | None:
    """The name of a variable that is asked for, where those set it who test, build and install."""
    name = _asked_variable(node, full)
    return name if name and VARIABLES.fullmatch(name) else None


def _asked_variable(node: ast.AST, full: Full) -> str | None:
    asked: ast.AST | None = None
    if isinstance(node, ast.Subscript) and full(node.value) == "os.environ" and isinstance(node.ctx, ast.Load):
        asked = node.slice
    elif isinstance(node, ast.Call) and full(node.func) in ("os.environ.get", "os.getenv") and node.args:
        asked = node.args[0]
    elif isinstance(node, ast.Compare) and full(node.comparators[0]) == "os.environ":
        asked = node.left
    return text_in(asked) if asked is not None else None


def _tells_a_moment(node: ast.AST, full: Full) -> bool:
    value: object = None
    if isinstance(node, ast.Constant):
        value = node.value
    elif isinstance(node, ast.Name):
        value = full.constants.get(node.id)
    return (isinstance(value, (int, float)) and value >= 1900) or (isinstance(value, str) and bool(_DATE.search(value)))


_DATE = re.compile(r"\b(?:19|20)\d\d\b")


def _all_variables(node: ast.AST, full: Full) -> bool:
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("keys", "items", "values")
    ):
        node = node.func.value
    if (
        isinstance(node, ast.Call)
        and full(node.func) in ("sorted", "list", "tuple", "set", "iter", "reversed")
        and node.args
    ):
        return _all_variables(node.args[0], full)
    return full(node) in ("os.environ", "os.environb")


def _reads_all(call: ast.Call, full: Full) -> bool:
    """A text or a set of all variables, in which parts of names are looked for. A copy for a program is none."""
    is_whole = full(call.func) in ("str", "repr", "sorted", "list", "tuple", "set", "frozenset", "len", "map", "filter")
    is_joined = isinstance(call.func, ast.Attribute) and call.func.attr == "join"
    return (is_whole or is_joined) and any(_all_variables(arg, full) for arg in call.args)


def _is_main(node: ast.Call | ast.Subscript, full: Full) -> bool:
    if isinstance(node, ast.Subscript):
        return full(node.value) == "sys.modules" and text_in(node.slice) == "__main__"
    named = full(node.func) in ("importlib.import_module", "__import__", "sys.modules.get")
    return named and bool(node.args) and text_in(node.args[0]) == "__main__"


def _depth(tree: Tree, path: str) -> int:
    """Steps from a file to the directory that its top package stands in; a plain module's own directory is one."""
    folder, steps = PurePosixPath(path).parent, 1
    while folder.name and f"{folder}/__init__.py" in tree:
        folder, steps = folder.parent, steps + 1
    return steps


def _around(module: ast.Module, most: int) -> Found:
    """Paths that are built from the module's own file and lead out of the directory that its package stands in, or to
    other things in there than the package."""
    full = names_of(module)
    climbed: dict[str, int] = {}
    for node in nodes_of(module):
        if isinstance(node, ast.Assign) and (steps := _steps(node.value, full, climbed)) is not None:
            climbed.update({target.id: steps for target in node.targets if isinstance(target, ast.Name)})
    told: set[int] = set()
    starts = Nodes(module).holding(
        lambda node: isinstance(node, ast.Name) and (node.id == "__file__" or node.id in climbed)
    )
    for node in nodes_of(module):
        if (
            isinstance(node, ast.expr)
            and id(node) in starts
            and id(node) not in told
            and (steps := _steps(node, full, climbed)) is not None
        ):
            told.update(id(part) for part in ast.walk(node))
            if (steps >= most and most > 1) or steps > most:
                yield node, "it looks at what lies around its own package, which an installation does not have"


def _steps(node: ast.AST, full: Full, climbed: Mapping[str, int]) -> int | None:
    """How many directories up from the module's own file a path leads; None for what is no such path."""
    parts = list(ast.walk(node))
    starts = [
        climbed.get(part.id, 0)
        for part in parts
        if isinstance(part, ast.Name) and (part.id == "__file__" or part.id in climbed)
    ]
    if not starts:
        return None
    steps = max(starts)
    for part in parts:
        if (isinstance(part, ast.Attribute) and part.attr == "parent") or (
            isinstance(part, ast.Call) and full(part.func) in _CLIMBS
        ):
            steps += 1
        elif isinstance(part, ast.Subscript) and isinstance(part.value, ast.Attribute) and part.value.attr == "parents":
            steps += (
                part.slice.value + 1
                if isinstance(part.slice, ast.Constant) and isinstance(part.slice.value, int)
                else 9
            )
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            steps += part.value.split("/").count("..")
        elif isinstance(part, ast.Attribute) and full(part) in ("os.pardir", "os.path.pardir"):
            steps += 1
    return steps


# --- what it reaches

FOREIGN, VARIABLE = "an attribute of another module", "a variable of the environment"
_FAMILIES: Mapping[str, frozenset[str]] = {
    "other machines": frozenset(
        ("socket", "socketserver", "http.client", "http.server", "urllib.request", "urllib3", "requests", "httpx",
         "aiohttp", "ftplib", "smtplib", "poplib", "imaplib", "nntplib", "telnetlib", "xmlrpc.client", "xmlrpc.server",
         "websockets", "websocket", "paramiko", "asyncio.open_connection", "asyncio.start_server",
         "asyncio.create_connection", "webbrowser")
    ),
    "other programs": frozenset(
        ("subprocess", "pty", "pexpect", "os.system", "os.popen", "os.fork", "os.forkpty", "os.execv", "os.execve",
         "os.execvp", "os.execl", "os.execlp", "os.spawnv", "os.spawnl", "os.posix_spawn", "os.posix_spawnp",
         "os.startfile", "asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell")
    ),
    "code from elsewhere": frozenset(
        ("importlib.machinery.SourceFileLoader", "importlib.machinery.SourcelessFileLoader",
         "importlib.machinery.ExtensionFileLoader", "importlib.machinery.FileFinder", "importlib.machinery.PathFinder",
         "importlib.util.spec_from_file_location", "importlib.util.spec_from_loader",
         "importlib.util.module_from_spec", "importlib.abc", "runpy", "imp", "zipimport", "code", "codeop", "marshal",
         "types.FunctionType", "types.CodeType", "compile", "exec", "eval", "builtins.exec", "builtins.eval",
         "builtins.compile")
    ),
    "what runs by itself, beside or after all else": frozenset(
        ("atexit.register", "threading.Timer", "threading.Thread", "_thread.start_new_thread", "multiprocessing",
         "signal.signal", "signal.setitimer", "signal.alarm", "sched.scheduler", "sys.addaudithook", "gc.callbacks")
    ),
    "what all code of the process has": frozenset(
        ("sys.setrecursionlimit", "sys.setswitchinterval", "sys.set_int_max_str_digits", "gc.disable", "gc.freeze",
         "codecs.register", "codecs.register_error", "copyreg.pickle", "copyreg.dispatch_table", "locale.setlocale",
         "os.chdir", "os.fchdir", "os.umask", "os.setuid", "os.setgid", "os.chroot",
         "logging.disable", "logging.setLoggerClass", "logging.setLogRecordFactory",
         "socket.setdefaulttimeout", "random.seed", "decimal.setcontext", "resource.setrlimit",
         "asyncio.set_event_loop_policy")
    ),
    "what all programs that it starts have": frozenset(("os.putenv", "os.unsetenv", VARIABLE)),
    "what all who use that module have": frozenset((FOREIGN,)),
    "what is loaded by others": frozenset(
        ("sys.path", "sys.modules", "__path__", "__globals__", "__builtins__", "__self__.__dict__")
    ),
    "the machine below Python": frozenset(("ctypes", "cffi", "_ctypes", "winreg", "fcntl", "mmap")),
}  # fmt: skip
"""What is reached → by what names."""


_FOREIGN_WORD = r"\.\w+\s*[-+*/|&]?=[^=]"
_WORDS: Mapping[str, str] = {VARIABLE: "environ", FOREIGN: _FOREIGN_WORD}
"""What stands in a file that does so, where it is not the last part of the name."""
_ITS_OWN = re.compile(
    r"(?:flask\.(?:g|session|request)|bottle\.(?:request|response)|django\.contrib\.admin\.site)(?:\..+)?"
)
"""Where a framework wants a product to keep what is its own."""


def _is_of_packaging(base: Tree, path: str) -> bool:
    """setup.py and noxfile.py where a project begins, and Sphinx's conf.py below its docs: other rules ask for these,
    and what they do is none of what the product does. Elsewhere such a name is a module's like any other."""
    place = PurePosixPath(path)
    folder = place.parent
    if place.name == "conf.py":
        folder = next((one.parent for one in place.parents if one.name in ("docs", "doc")), PurePosixPath("?"))
    elif place.name not in ("setup.py", "noxfile.py"):
        return False
    return folder == PurePosixPath() or any(f"{folder}/{name}" in base for name in ("pyproject.toml", "setup.cfg"))


def _reaches(change: Change) -> Iterator[Hit]:
    for family, names in _FAMILIES.items():

        def find(module: ast.Module, names: frozenset[str] = names, family: str = family) -> Found:
            for node in nodes_of(module):
                if name := next((one for one in _reached(node, module) if _is_below(one, names)), None):
                    yield node, f"{name} reaches {family}, which nothing of the product does on base"

        hits = list(newly(find, _is_of_packaging)(change))
        if hits and not _base_reaches(change, names):
            yield from hits


def _reached(node: ast.AST, module: ast.Module) -> Iterator[str]:
    full = names_of(module)
    if id(node) in ended(module):
        return
    yield from _doors(node, full)
    if isinstance(node, ast.Import):
        yield from (one.name for one in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield from (f"{node.module}.{one.name}" for one in node.names)
    elif isinstance(node, ast.Attribute) and (name := full(node)) in _AS_VALUES:
        yield name  # also where it is handed on: `return os.system, ("true",)`
    elif isinstance(node, ast.Call):
        yield full(node.func)
        if full(node.func) in ("importlib.import_module", "__import__") and node.args:
            yield text_in(node.args[0]) or ""


_AS_VALUES = frozenset(name for family in _FAMILIES.values() for name in family if "." in name) - {
    "sys.path", "sys.modules", "__self__.__dict__", "http.client", "urllib.request", "http.server"
}  # fmt: skip
_CHANGES = frozenset(("insert", "append", "extend", "update", "setdefault", "pop", "clear"))
_LOADS = ("sys.path", "sys.modules", "__path__")
_PLACES = {**{name: name for name in _LOADS}, "os.environ": VARIABLE}


def _doors(node: ast.AST, full: Full) -> Iterator[str]:
    """What decides which code an import finds, where it is changed; and what leads to Python's own names."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGES:
        yield from (said for place, said in _PLACES.items() if full(node.func.value) == place)
    elif isinstance(node, (ast.Assign, ast.AugAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            place = target.value if isinstance(target, ast.Subscript) else target
            is_itself = isinstance(target, ast.Subscript) and dotted(target.slice) == "__name__"
            is_extended = isinstance(node.value, ast.Call) and full(node.value.func).endswith("extend_path")
            if (said := _PLACES.get(full(place))) and not is_itself and not is_extended:
                yield said
            is_others = isinstance(target, ast.Attribute) and full.is_imported(target.value)
            if is_others and full(place) not in _PLACES and not _ITS_OWN.fullmatch(full(target.value)):  # type: ignore[attr-defined]
                yield FOREIGN
    elif isinstance(node, ast.Attribute) and node.attr in ("__globals__", "__builtins__"):
        yield node.attr
    elif isinstance(node, ast.Name) and node.id == "__builtins__":
        yield node.id
    elif isinstance(node, ast.Attribute) and node.attr == "__self__" and dotted(node.value) in vars(builtins):
        yield "__self__.__dict__"


def _is_below(name: str, names: frozenset[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:count]) in names for count in range(1, len(parts) + 1))


def _base_reaches(change: Change, names: frozenset[str]) -> bool:
    words = re.compile("|".join(sorted({_WORDS.get(name, name.split(".")[-1]) for name in names})).encode())
    for path, entry in change.base.items():
        is_product = is_python(path) and not change.is_test(path) and not _is_of_packaging(change.base, path)
        if not is_product or is_beside(path) or not words.search(entry.content):
            continue
        module = parsed(change.base, path)
        if module and any(_is_below(one, names) for node in nodes_of(module) for one in _reached(node, module)):
            return True
    return False


def _addresses(change: Change) -> Iterator[Hit]:
    """Hosts in texts that no file of base names."""
    of_base = functools.cache(lambda: _modules(change.base))
    modules = functools.cache(lambda: of_base() | _modules(change.head))

    def bare_host(node: ast.expr) -> str:
        host = _bare_host(node)
        return "" if _A_WORD.search(host) and host in modules() else host

    def is_own(name: str) -> bool:
        """Whether a logger has the name of a package of base."""
        return name.partition(".")[0] in of_base()

    def find(module: ast.Module) -> Found:
        waiting: list[ast.AST] = [module]
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.expr) and (host := _host(_begin(node)) or bare_host(node)):
                yield node, f"it names {host}, which base does not"
            elif _names_logger(node) and isinstance(node, ast.Call) and is_own(text_in(node.args[0]) or ""):
                waiting += node.args[1:]
            elif not isinstance(node, ast.Raise) and not _is_said_only(node):
                waiting += ast.iter_child_nodes(node)

    is_named = base_names(change)
    yield from (hit for hit in newly(_plain_addresses, _is_of_packaging)(change) if is_named(hit.message.split()[0]))
    hits = newly(find, _is_of_packaging)(change)
    yield from islice((hit for hit in hits if not is_named(hit.message.split()[2].rstrip(","))), ENOUGH)


def _plain_addresses(module: ast.Module) -> Found:
    """`http://` before a host that base reaches by `https://`."""
    for node in nodes_of(module):
        text = _begin(node) if isinstance(node, ast.expr) else ""
        if text.startswith("http://") and (host := _host(text)):
            yield node, f"https://{host} was the address, and it is no more encrypted"


def _is_said_only(node: ast.AST) -> bool:
    """A docstring, or another text that nothing is done with."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _begin(node: ast.AST) -> str:
    """A text, or how a text that is put together begins."""
    if isinstance(node, ast.JoinedStr) and node.values:
        return _begin(node.values[0])
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Mod)):
        return text_in(node) or _begin(node.left)
    if isinstance(node, ast.Constant) and isinstance(node.value, bytes):
        return node.value.decode("latin-1")
    return text_in(node) or ""


_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}|(?:\d{1,3}\.){3}\d{1,3}", re.I)
_LOCAL = re.compile(
    r"127\.|0\.0\.0\.0$|.*\.(?:local|test|example|invalid)$|(?:.*\.)?(?:example\.(?:com|net|org)|w3\.org)$", re.I
)


_BARE = re.compile(
    r"\.?((?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+(?:com|net|org|ru|cn|xyz|top|dev|cloud|site|online))(?::\d+)?"
)


_A_WORD = re.compile(r"\.(?:top|dev|cloud|site|online)$")
"""Ends of hosts that are names of modules, too: `config.settings.dev`."""


def _names_logger(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and bool(node.args) and dotted(node.func).rpartition(".")[2] == "getLogger"


def _modules(tree: Tree) -> frozenset[str]:
    """Names of the packages and modules of a tree, also of one below `src`."""
    names = {
        path.removesuffix(".py").removesuffix("/__init__").removeprefix("src/").replace("/", ".")
        for path in tree
        if path.endswith(".py")
    }
    return frozenset(
        ".".join(parts[:end]) for parts in (one.split(".") for one in names) for end in range(1, len(parts) + 1)
    )


def _bare_host(node: ast.expr) -> str:
    """A host without a scheme, also at the end of a text: `f"{name}.shop.com"`."""
    text = text_in(node)
    if text is None and isinstance(node, ast.JoinedStr) and node.values:
        text = text_in(node.values[-1])
    found = _BARE.fullmatch(text or "")
    return found[1] if found and not _LOCAL.match(found[1]) else ""


def _host(text: str) -> str:
    if " " in text or len(text) > 300 or not text:
        return ""
    try:
        host = (urlsplit(text).hostname or "") if re.match(r"(?:https?|wss?|ftp|tcp)://", text, re.I) else ""
    except ValueError:
        return ""
    return host if host and _HOST.fullmatch(host) and not _LOCAL.match(host) else ""


# --- what nobody can read

DECODERS = frozenset(
    ("base64.b64decode", "base64.b32decode", "base64.b16decode", "base64.b85decode", "base64.a85decode",
     "base64.urlsafe_b64decode", "base64.standard_b64decode", "base64.decodebytes", "binascii.unhexlify",
     "binascii.a2b_base64", "binascii.a2b_hex", "bytes.fromhex", "bytearray.fromhex", "zlib.decompress",
     "gzip.decompress", "bz2.decompress", "lzma.decompress", "codecs.decode", "marshal.loads", "pickle.loads")
)  # fmt: skip
DIGESTS = re.compile(
    r"(?:^|\.)(?:crc32|adler32|hash|hash_file|hexdigest|digest|(?:hashlib\.)?(?:md5|sha\d+|blake2[bs]|new))$"
)
_UNREADABLE = re.compile(r"[A-Za-z0-9+/=_\-!#$%&()*;<>?@^`{|}~]{60,}|(?:\\x[0-9a-f]{2}){20,}")


def _joined(module: ast.Module) -> Found:
    """Names that are put together out of pieces, where one word would do: `"ex" + "ec"`, `"cexe"[::-1]`."""
    full = names_of(module)
    for node in nodes_of(module):
        asked: list[ast.expr] = []
        if isinstance(node, ast.Call):
            name = full(node.func)
            if name in ("getattr", "setattr", "delattr", "hasattr", "operator.attrgetter", "operator.methodcaller"):
                asked = node.args[1:2] if name.endswith("attr") and "." not in name else node.args[:1]
            elif name in (
                "__import__",
                "importlib.import_module",
                "importlib.reload",
                "sys.modules.get",
                "os.getenv",
                "os.environ.get",
            ):
                asked = node.args[:1]
        elif isinstance(node, ast.Subscript) and not isinstance(node.slice, ast.Slice):
            asked = [node.slice]
        yield from ((one, "a name is put together out of pieces") for one in asked if _is_in_pieces(one, full))


def _is_in_pieces(node: ast.expr, full: Full) -> bool:
    """Whether it is a text by nothing but constants, and yet no constant."""
    if isinstance(node, ast.Constant):
        return False
    is_text = any(isinstance(part, ast.Constant) and isinstance(part.value, (str, bytes)) for part in ast.walk(node))
    numbers = any(
        isinstance(part, ast.Call) and full(part.func) in ("chr", "bytes", "bytearray") for part in ast.walk(node)
    )
    plain = (ast.Constant, ast.BinOp, ast.Add, ast.Mod, ast.JoinedStr, ast.FormattedValue, ast.Call, ast.Attribute,
             ast.Subscript, ast.Slice, ast.UnaryOp, ast.USub, ast.List, ast.Tuple, ast.Load, ast.Name, ast.GeneratorExp,
             ast.ListComp, ast.comprehension, ast.Store)  # fmt: skip
    names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    bound = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
    if not (is_text or numbers) or not all(isinstance(part, plain) for part in ast.walk(node)):
        return False
    if not isinstance(node, (ast.BinOp, ast.JoinedStr, ast.Call, ast.Subscript)):
        return False
    free = names - bound - {"chr", "str", "bytes", "bytearray", "reversed", "map", "codecs", "base64", "binascii"}
    return not free


def _unreadable(change: Change) -> Iterator[Hit]:
    for path in change.product_python:
        module = parsed(change.head, path)
        if module is None:
            continue
        full = names_of(module)
        if any(
            isinstance(node, (ast.Call, ast.Attribute)) and full(getattr(node, "func", node)) in DECODERS
            for node in nodes_of(module)
        ):
            yield from _new(change, path, _long_texts)
    yield from newly(_asks_digests, old=Old.MOVED)(change)


def _long_texts(module: ast.Module) -> Found:
    for node in nodes_of(module):
        value = node.value if isinstance(node, ast.Constant) else None
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        if isinstance(text, str) and _is_unreadable(text):
            yield node, f"a text of {len(text)} characters that only a program can read, in a file that decodes"


def _is_unreadable(text: str) -> bool:
    if _UNREADABLE.search(text):
        return True
    odd = sum(not (char.isprintable() or char.isspace()) for char in text)
    return len(text) >= 40 and odd * 5 > len(text)


def _asks_digests(module: ast.Module) -> Found:
    """A digest that is compared with a constant, or that an answer is looked up by."""
    full = names_of(module)
    held = Nodes(module).holding(
        lambda node: (
            isinstance(node, ast.Call) and bool(DIGESTS.search(full(node.func) or getattr(node.func, "attr", "")))
        ),
    )
    digests = assigned(module, lambda node: id(node) in held)
    tables = assigned(
        module,
        lambda node: (
            isinstance(node, ast.Dict) and bool(node.keys) and all(isinstance(key, ast.Constant) for key in node.keys)
        ),
    )
    for node in nodes_of(module):
        key: ast.AST | None = None
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            table, key = node.value, node.slice
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and node.args
        ):
            table, key = node.func.value, node.args[0]
        is_table = key is not None and (isinstance(table, ast.Dict) or dotted(table) in tables)
        if key is not None and is_table and (id(key) in held or dotted(key) in digests):
            yield node, "what it answers is looked up by a digest of what is asked"
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            asked = any(id(side) in held or dotted(side) in digests for side in sides)
            if asked and any(_is_written(side) or dotted(side) in tables for side in sides):
                yield node, "a digest of what is asked is compared with one that is written down"


def _is_written(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return (isinstance(node.value, (str, bytes)) and len(node.value) >= 6) or (
            isinstance(node.value, int) and abs(node.value) > 9999
        )
    return isinstance(node, (ast.Tuple, ast.List, ast.Set, ast.Dict)) and any(
        _is_written(one) for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr)
    )


def _new(change: Change, path: str, find: Callable[[ast.Module], Found]) -> Iterator[Hit]:
    """As `newly`, for one file."""
    module, base = parsed(change.head, path), parsed(change.base, path) or ast.Module([], [])
    if module is None:
        return
    known = Counter(ast.dump(node) for node, _ in find(base))
    for node, message in find(module):
        if known[said := ast.dump(node)]:
            known[said] -= 1
        else:
            yield Hit(message, path, getattr(node, "lineno", None))


PERSON = Severity.PERSON

SURROUNDINGS_RULES: tuple[Rule[Change], ...] = (
    Rule(
        "surroundings", "change", PERSON,
        "Product code of Python or JavaScript that newly asks where it runs: the clock against a fixed moment, the "
        "names of all variables, the working directory, what lies around its own package, which program was started, "
        "the machine's or the user's name, import hooks, and variables of CI, tox, coverage and Python itself; the age "
        "of its process, a number of calls, whether it is in production or test tools are installed; and all variables "
        "at once, but for a program that gets them.",
        "It can be right today, here or under test, and otherwise elsewhere.",
        "pass what differs as a setting, or let a reviewer agree",
        lambda change: (*_looks_around(change), *asks_for_a_terminal(change), *looks_around_script(change)),
    ),
    Rule(
        "reaches", "change", PERSON,
        "Product code that reaches other machines, other programs, code in files that are no "
        "modules, the machine below, or what decides which code others load (sys.path, sys.modules, the globals of a "
        "function), where nothing of base's product does; and the address of a host that no file "
        "of base names, docstrings and what is raised aside. Python and JavaScript; Go, Rust, C, Ruby, Java and their "
        "like line by line.",
        "It is a new power: a leak, a back door and code that no rule has read need it.",
        "do without it, or let a reviewer agree that the change needs it",
        lambda change: (
            *_reaches(change), *_addresses(change), *names_user_files(change), *reaches_script(change),
            *native_reaches(change), *compiled_reaches(change)
        ),
    ),
    Rule(
        "unreadable-code", "change", PERSON,
        "A name that product code of Python or JavaScript puts together out of pieces, a long text that only a program "
        "can read in a file that decodes, and answers that are looked up by a digest of what is asked.",
        "Neither rules nor people see what it does.",
        "write names and data as they are, or let a reviewer agree",
        lambda change: (*newly(_joined, old=Old.MOVED)(change), *_unreadable(change), *hides_script(change)),
    ),
)  # fmt: skip
