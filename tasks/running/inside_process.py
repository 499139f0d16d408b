"""Inside the sandbox: what the project under test has changed of Python, of test tools and of others' packages, and
which of its classes are equal to anything. The platform itself never imports it."""

import contextlib
import functools
import os
import sys
import types
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

TOOLS = frozenset(("builtins", "unittest", "pytest", "_pytest", "pluggy", "doctest"))
PUT, EQUAL = "put into ", "equal to anything: "
_FREE = frozenset(("sys.excepthook", "sys.displayhook", "threading.excepthook", "warnings.showwarning", "builtins._"))
"""Made to be given another value."""
_PLAIN: tuple[Any, ...] = (list, dict, str, bytes, int, float, tuple, set, frozenset)
_MADE = (types.FunctionType, types.BuiltinFunctionType, type, staticmethod, classmethod, property)
_HELD = (*_MADE, functools.partial, functools.partialmethod)
_OF_TESTS = ("test_", "conftest", "tests.")


class Process:
    """What the process is made of when this is made: before any conftest, test or product code is loaded."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = tuple(f"{os.path.realpath(root)}/" for root in roots)
        self._below: dict[str, bool] = {}
        self._made_of = {where: value for where, owner, value in _parts() if _tool(owner) and _is(value, _MADE)}

    def changes(self) -> list[str]:
        """Parts of Python and of test tools that are others now; then, with words before them, classes of the project
        that are equal to anything, and what of others' packages is the project's now."""
        now = list(_parts())
        tools = {
            where
            for where, _, value in now
            if self._made_of.get(where, value) is not value and not self._is_others(value)
        }
        others = {where for where, owner, value in now if not self._is_own(owner) and self._is_own_value(value)} - tools
        tools |= {where for where in others if where.split(".")[0] in TOOLS}
        tools |= {f"import hook {_kind(one)}" for one in (*sys.meta_path, *sys.path_hooks) if self._is_own_value(one)}
        put = {f"{PUT}{where}" for where in others - tools}
        return [*sorted(tools - _FREE), *sorted(self._equal()), *sorted(put - {f"{PUT}{one}" for one in _FREE})]

    def _is_own(self, module: Any) -> bool:
        """Whether a module is the project's; one without a file may be anybody's, and counts as the project's."""
        name, file = module.__name__.partition(".")[0], getattr(module, "__file__", None)
        if not file:
            return name not in sys.stdlib_module_names
        return self._is_below(file)

    def _is_below(self, file: str) -> bool:
        if file not in self._below:
            # code that is made at run time has a name such as <string> for its file
            is_below = os.path.isabs(file) and os.path.realpath(file).startswith(self._roots)
            self._below[file] = is_below and "/site-packages/" not in file
        return self._below[file]

    def _is_own_value(self, given: Any) -> bool:
        value: Any = given
        for _ in range(3):
            if _is(value, (staticmethod, classmethod, types.MethodType)):
                value = value.__func__
            elif _is(value, property):
                value = value.fget
            elif _is(value, (functools.partial, functools.partialmethod)):
                value = value.func
        if _is(value, types.FunctionType):
            return self._is_below(value.__code__.co_filename)
        kind = value if _is(value, type) else type(value)
        module = sys.modules.get(vars(kind).get("__module__") or "")
        return type(module) is types.ModuleType and bool(vars(module).get("__file__")) and self._is_own(module)

    def _is_others(self, value: Any) -> bool:
        """Whether it is a function of Python's or of an installed package: test tools and their plug-ins put some of
        their own parts in place of others."""
        inner: Any = value.__func__ if _is(value, (staticmethod, classmethod)) else value
        code: Any = inner.__code__ if _is(inner, types.FunctionType) else None
        return code is not None and os.path.isabs(code.co_filename) and not self._is_below(code.co_filename)

    def _equal(self) -> Iterator[str]:
        for kind in _classes():
            compare: Any = next((vars(one)["__eq__"] for one in kind.__mro__ if "__eq__" in vars(one)), None)
            file = compare.__code__.co_filename if _is(compare, types.FunctionType) else ""
            is_of_tests = os.path.basename(file).startswith(_OF_TESTS) or "/tests/" in file
            if self._is_below(file) and not is_of_tests and _takes_all(kind, compare):
                yield f"{EQUAL}{kind.__module__}.{kind.__qualname__}"


def _is(value: Any, kinds: Any) -> bool:
    """`isinstance` without a word with the value: a proxy answers for another thing, or raises."""
    return issubclass(type(value), kinds)


def _tool(module: Any) -> bool:
    return module.__name__.partition(".")[0] in TOOLS


def _kind(value: Any) -> str:
    kind = value if isinstance(value, type) else type(value)
    return f"{kind.__module__}.{getattr(value, '__qualname__', kind.__qualname__)}"


def _parts() -> Iterator[tuple[str, Any, Any]]:
    """(dotted name, its module, value) of all that is in modules, and of what may be called in their classes."""
    for name, module in list(sys.modules.items()):
        if (
            not isinstance(module, types.ModuleType)
            or name.startswith(("lockgate_", "__main__"))
            or module.__name__ != name
        ):
            continue
        for attribute, value in list(vars(module).items()):
            if _is(value, types.ModuleType):
                continue
            yield f"{name}.{attribute}", module, value
            if _is(value, type) and vars(value).get("__module__") == name:
                for inner, held in list(vars(value).items()):
                    if _is(held, _HELD):
                        yield f"{name}.{attribute}.{inner}", module, held


def _classes() -> Iterator[Any]:
    waiting, seen = [object], {object}
    while waiting:
        for kind in type.__subclasses__(waiting.pop()):
            if kind not in seen:
                seen.add(kind)
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
            said = compare(plain.__new__(kind), probe)
            if said is not NotImplemented and bool(said):
                return True
    return False
