"""Inside the sandbox: what the project under test has changed of Python, of test tools and of others' packages, and
which of its classes are equal to anything. The platform itself never imports it."""

import contextlib
import functools
import hashlib
import os
import stat
import sys
import types
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

TOOLS = frozenset(("builtins", "unittest", "pytest", "_pytest", "pluggy", "doctest"))
PUT, EQUAL = "put into ", "equal to anything: "
_FREE = frozenset(
    ("sys.excepthook", "sys.displayhook", "threading.excepthook", "warnings.showwarning", "builtins._",
     "sys.last_type", "sys.last_value", "sys.last_exc", "sys.last_traceback")
)  # fmt: skip
"""Made to be given another value."""
_ROOM = {"": 400, EQUAL: 200, PUT: 300}
"""Characters that a report has for names with such words before them: what one kind says moves nothing of another."""
_MOST_OF_ONE = 100
_MOST_READ = 64 << 20
"""Bytes of the tests' data that are read before the tests; what is beyond counts as code does."""
_CODE = (
    ".py", ".pyi", ".pyc", ".pyx", ".so", ".pth", ".js", ".cjs", ".mjs", ".jsx", ".ts", ".tsx", ".go", ".rs", ".sh",
    ".ini", ".cfg", ".toml",
)  # fmt: skip
_PLAIN: tuple[Any, ...] = (list, dict, str, bytes, int, float, tuple, set, frozenset)
_MADE = (types.FunctionType, types.BuiltinFunctionType, type, staticmethod, classmethod, property)
_HELD = (*_MADE, functools.partial, functools.partialmethod)
_AROUND = (staticmethod, classmethod, types.MethodType, property, functools.partial, functools.partialmethod)
_OF_TESTS = ("test_", "conftest", "tests.")


def listed(names: Iterable[str]) -> str:
    """All of them, as far as a report has room; a long name ends in its digest, and so do those that have no room."""
    kept: dict[str, list[str]] = {lead: [] for lead in _ROOM}
    cut: dict[str, list[str]] = {lead: [] for lead in _ROOM}
    for name in names:
        lead = next(one for one in (EQUAL, PUT, "") if name.startswith(one))
        fits = len(", ".join([*kept[lead], _short(name)])) <= _ROOM[lead]
        (kept if fits and not cut[lead] else cut)[lead].append(_short(name))
    for lead, more in cut.items():
        kept[lead] += [f"{lead}and {len(more)} more ({_digest(', '.join(more))})"] if more else []
    return ", ".join(name for lead in kept for name in kept[lead])


def _short(name: str) -> str:
    """On one line, without a comma, and not long: by any of them a name could hide others."""
    plain = "".join(char if char.isprintable() and char != "," else "?" for char in name)
    return name if plain == name and len(name) <= _MOST_OF_ONE else f"{plain[:80]}~{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


class PristineProcess:
    """What the process is made of when this is made: before any conftest, test or product code is loaded."""

    def __init__(self, roots: Sequence[str], tests: Sequence[str] = ()) -> None:
        self._stat, self._open, self._read, self._close = os.stat, os.open, os.read, os.close
        self._hash, self._left = hashlib.sha256, _MOST_READ
        self._written = {path: (self._when(path), self._made_of_bytes(path)) for path in tests}
        self._roots = tuple(f"{os.path.realpath(root)}/" for root in roots)
        self._below: dict[str, bool] = {}
        self._before = {id(kind): kind for kind in _classes()}
        self._kinds: dict[int, tuple[Any, bool]] = {}
        self._calls: dict[int, tuple[Any, str]] = {}
        self._tools = {name: one for name, one in _modules().items() if _tool(name)}
        self._made_of = {
            _where(name, attribute, inner): value
            for name, module in self._tools.items()
            for attribute, inner, value in _parts(name, module)
            if _is(value, _MADE)
        }

    def changes(self) -> list[str]:
        """Parts of Python and of test tools that are others now, and files of the tests that were written, be it that
        they were put back; then, with words before them, classes of the project that are equal to anything, and what
        of others' packages is the project's now."""
        self._kinds, self._calls = {}, {}
        tools, others = set[str](), set[str]()
        # a tool that has another name now, or none, is still looked at
        for name, module in {**_modules(), **self._tools}.items():
            is_own, is_tool = self._is_own(module), _tool(name)
            for attribute, inner, value in _parts(name, module):  # some ten thousand: a name is made where it is told
                if is_tool:
                    where = _where(name, attribute, inner)
                    if self._made_of.get(where, value) is not value and not self._is_others(value):
                        tools.add(where)
                if not is_own and self._is_own_value(value):
                    others.add(_where(name, attribute, inner))
        others -= tools
        tools |= {where for where in others if where.split(".")[0] in TOOLS}
        hooks = (*sys.meta_path, *sys.path_hooks)
        tools |= {f"import hook {_kind(one)}" for one in hooks if any(map(self._is_own_value, (one, *_held(one))))}
        put = {f"{PUT}{where}" for where in others - tools} - {f"{PUT}{one}" for one in _FREE}
        self._left = _MOST_READ
        files = [f"the file {path}" for path in self._written if self._is_another(path)]
        return [*sorted(tools - _FREE), *files, *sorted(self._equal()), *sorted(put)]

    def _when(self, path: str) -> int | None:
        """When a file was last written, put in its place or given another mode; nobody can set that back."""
        try:
            return self._stat(path, follow_symlinks=False).st_ctime_ns
        except OSError:
            return None

    def _is_another(self, path: str) -> bool:
        """Code must not be written at all: it could be put back once it was loaded. Data may be touched, linked or
        opened for writing, and is another one by what it holds."""
        when, held = self._written[path]
        if self._when(path) == when:
            return False
        return held is None or self._made_of_bytes(path) != held

    def _made_of_bytes(self, path: str) -> str | None:
        """The digest of data; None for code, and for what is too large to be read or no file."""
        if path.endswith(_CODE):
            return None
        try:
            facts = self._stat(path, follow_symlinks=False)
            if not stat.S_ISREG(facts.st_mode) or facts.st_size > self._left:
                return None
            self._left -= facts.st_size
            file, digest = self._open(path, os.O_RDONLY | os.O_NOFOLLOW), self._hash()
            try:
                while part := self._read(file, 1 << 20):
                    digest.update(part)
            finally:
                self._close(file)
        except OSError:
            return None
        return digest.hexdigest()

    def _is_own(self, module: Any) -> bool:
        """Whether a module is the project's; one without a file may be anybody's, and counts as the project's."""
        facts = _dict(module)
        name, file = str(facts.get("__name__")).partition(".")[0], facts.get("__file__")
        if not file or not _is(file, str):
            return name not in sys.stdlib_module_names
        return self._is_below(file)

    def _is_below(self, file: str) -> bool:
        if file not in self._below:
            # code that is made at run time has a name such as <string> for its file
            is_packages = "/site-packages/" in file or not os.path.isabs(file)
            self._below[file] = not is_packages and os.path.realpath(file).startswith(self._roots)
        return self._below[file]

    def _is_own_value(self, given: Any) -> bool:
        """Whether it is made of code in the project's files. What a class says of its module counts only if it has
        no code: anybody can say anything there."""
        value = _unwrapped(given)
        if type(value) is types.FunctionType:
            return self._is_below(value.__code__.co_filename)
        kind = value if _is(value, type) else type(value)
        if id(kind) not in self._kinds:  # the class is kept, so that no other one gets its id
            self._kinds[id(kind)] = (kind, id(kind) not in self._before and self._is_own_class(kind))
        return self._kinds[id(kind)][1]

    def _is_own_class(self, kind: Any) -> bool:
        files = next(filter(None, (list(self._files(one)) for one in _mro(kind))), [])
        if any(map(self._is_below, files)):
            return True
        module = sys.modules.get(str(_dict(kind).get("__module__")))
        has_file = _is(module, types.ModuleType) and bool(_dict(module).get("__file__"))
        return not any(map(os.path.isabs, files)) and has_file and self._is_own(module)

    def _files(self, kind: Any) -> Iterator[str]:
        """Where the code of a class is written, that of callable instances which it holds included."""
        for value in map(_unwrapped, _dict(kind).values()):
            if type(value) is types.FunctionType:
                yield value.__code__.co_filename
            elif file := self._file_of_call(type(value)):
                yield file

    def _file_of_call(self, kind: Any) -> str:
        """Where it is written what an instance of a class does if it is called; "" for what is written in C."""
        if id(kind) not in self._calls:
            call = _unwrapped(_dict(kind).get("__call__"))
            self._calls[id(kind)] = (kind, call.__code__.co_filename if type(call) is types.FunctionType else "")
        return self._calls[id(kind)][1]

    def _is_others(self, value: Any) -> bool:
        """Whether it is a function of Python's or of an installed package: test tools and their plug-ins put some of
        their own parts in place of others."""
        inner: Any = value.__func__ if _is(value, (staticmethod, classmethod)) else value
        code: Any = inner.__code__ if _is(inner, types.FunctionType) else None
        return code is not None and os.path.isabs(code.co_filename) and not self._is_below(code.co_filename)

    def _equal(self) -> Iterator[str]:
        for kind in _classes():
            compare: Any = next((_dict(one)["__eq__"] for one in _mro(kind) if "__eq__" in _dict(one)), None)
            inner = _unwrapped(compare)
            file = inner.__code__.co_filename if _is(inner, types.FunctionType) else ""
            is_of_tests = os.path.basename(file).startswith(_OF_TESTS) or "/tests/" in file
            is_others = os.path.isabs(file) and not self._is_below(file)
            if not is_others and not is_of_tests and not _is_usual(compare) and _takes_all(kind, compare):
                yield f"{EQUAL}{_dict(kind).get('__module__')}.{kind.__qualname__}"


def _is(value: Any, kinds: Any) -> bool:
    """`isinstance` without a word with the value: a proxy answers for another thing, or raises."""
    return issubclass(type(value), kinds)


def _dict(value: Any) -> Mapping[str, Any]:
    """What a class or a module holds, whatever its own class says of `__dict__`."""
    owner: Any = type if _is(value, type) else types.ModuleType
    return owner.__dict__["__dict__"].__get__(value) or {}


def _mro(kind: Any) -> tuple[Any, ...]:
    return type.__dict__["__mro__"].__get__(kind)  # type: ignore[no-any-return]


def _held(value: Any) -> list[Any]:
    """What an instance holds, where it holds things as most do."""
    with contextlib.suppress(Exception):
        return list(object.__getattribute__(value, "__dict__").values())
    return []


def _unwrapped(given: Any) -> Any:
    """The function in a static method, a property, a partial and their like."""
    value: Any = given
    for _ in range(5):
        if not issubclass(type(value), _AROUND):  # nearly all: this is asked a hundred thousand times a run
            break
        if _is(value, (staticmethod, classmethod, types.MethodType)):
            value = value.__func__
        elif _is(value, property):
            value = value.fget
        elif _is(value, (functools.partial, functools.partialmethod)):
            value = value.func
    return value


def _is_usual(compare: Any) -> bool:
    """Whether it is the `__eq__` of a class that is written in C, or one of a mock's, which is made when asked."""
    if _is(compare, types.WrapperDescriptorType):
        return bool(compare.__name__ == "__eq__")
    mock = sys.modules.get("unittest.mock")
    return compare is None or (mock is not None and type(compare) is _dict(mock).get("MagicProxy"))


def _tool(name: str) -> bool:
    return name.partition(".")[0] in TOOLS


def _kind(value: Any) -> str:
    kind = value if _is(value, type) else type(value)
    name = value.__qualname__ if _is(value, types.FunctionType) else type.__dict__["__qualname__"].__get__(kind)
    return f"{_dict(kind).get('__module__')}.{name}"


def _modules() -> dict[str, Any]:
    return {
        name: module
        for name, module in list(sys.modules.items())
        if _is(module, types.ModuleType)
        and not name.startswith(("lockgate_", "__main__"))
        and _dict(module).get("__name__") == name
    }


def _parts(name: str, module: Any) -> Iterator[tuple[str, str | None, Any]]:
    """(attribute, attribute of its class or None, value) of all in a module, and of what its classes have to call."""
    for attribute, value in list(_dict(module).items()):
        if _is(value, types.ModuleType):
            continue
        yield attribute, None, value
        if _is(value, type) and _dict(value).get("__module__") == name:
            for inner, held in list(_dict(value).items()):
                if _is(held, _HELD):
                    yield attribute, inner, held


def _where(name: str, attribute: str, inner: str | None) -> str:
    return f"{name}.{attribute}" if inner is None else f"{name}.{attribute}.{inner}"


def _classes() -> Iterator[Any]:
    waiting, seen = [object], {id(object)}
    while waiting:
        for kind in type.__subclasses__(waiting.pop()):
            if id(kind) not in seen:  # a class that says what it is equal to may have no hash
                seen.add(id(kind))
                waiting.append(kind)
                yield kind


def _takes_all(kind: Any, compare: Any) -> bool:
    """Whether a new instance that nobody filled says that it is equal to things that it cannot know."""
    plain = next((one for one in _PLAIN if issubclass(kind, one)), object)
    made: dict[Any, Any] = {str: "lockgate", bytes: b"lockgate", int: 7919, float: 0.7919, dict: {object(): 1}}
    holds = (list, tuple, set, frozenset)
    for probe in (object(), made.get(plain, plain([object()]) if plain in holds else object())):
        with contextlib.suppress(Exception, SystemExit), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one = plain.__new__(kind)
            bind = getattr(type(compare), "__get__", None)
            said = (bind(compare, one, kind) if bind else compare)(probe)
            if said is not NotImplemented and bool(said):
                return True
    return False
