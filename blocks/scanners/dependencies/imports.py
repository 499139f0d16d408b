"""New imports of modules that nothing declares, in Python and in JavaScript."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from packaging.utils import canonicalize_name

from blocks.scanners.dependencies import js_imports, python_imports
from blocks.scanners.dependencies.npm_files import workspace
from blocks.scanners.dependencies.reading import SHOWN, TreeReading
from domain.dependencies import DependencySight, Ecosystem
from domain.trees import LINK, Tree

MAX_BYTES = 2_000_000
"""Larger files are left to a person: what is generated or vendored is not read by its shape."""

Provides = Callable[[Iterable[str], str], bool | None]
"""Whether the wheel of one of these distributions brings a module; None if nobody can say."""


def undeclared(
    base: TreeReading, head: TreeReading, changed: Sequence[str], provides: Provides
) -> Iterator[DependencySight]:
    """Sights of imports in changed files that base has nowhere and that no declaration is known to bring."""
    python, script = _Python(base.tree, head, provides), _JavaScript(base.tree, head)
    for path in changed:
        entry = head.tree.get(path)
        if entry is None or entry.mode == LINK:
            continue
        of = (
            python
            if python_imports.is_source(head.tree, path)
            else script
            if path.endswith(js_imports.SUFFIXES)
            else None
        )
        if of is not None and len(entry.content) > MAX_BYTES:
            yield _sight("import-unknown", path, None, f"imports of a file over {MAX_BYTES:,} bytes are not read")
        elif of is not None:
            yield from (_of_example(sight) if _is_example(path) else sight for sight in of.of(path, entry.content))


_EXAMPLES = frozenset(
    ("example", "examples", "sample", "samples", "demo", "demos", "doc", "docs", "benchmark", "benchmarks")
)


def _is_example(path: str) -> bool:
    """Whether it lies below a directory of programs that show the project, and often need more than it declares."""
    return not _EXAMPLES.isdisjoint(path.split("/")[:-1])


def _of_example(sight: DependencySight) -> DependencySight:
    if sight.kind != "dependencies/undeclared-import":
        return sight
    return sight._replace(kind="dependencies/import-unknown", message=f"{sight.message}; it is an example")


def _sight(kind: str, path: str, line: int | None, message: str) -> DependencySight:
    return DependencySight(f"dependencies/{kind}", f"{path} {message}", message, path, line)


class _Python:
    def __init__(self, base: Tree, head: TreeReading, provides: Provides) -> None:
        self._base, self._head, self._provides = base, head, provides
        self._locals = python_imports.PythonLocals(head.tree)
        self._known = python_imports.distributions()
        own = [one for one in head.declared if one.ecosystem is Ecosystem.PYPI]
        self._declared = {one.name for one in own if not one.is_locked} | _outside(head, Ecosystem.PYPI)
        self._locked = {one.name for one in own if one.is_locked}
        self._is_whole = head.is_whole[Ecosystem.PYPI] and bool(self._declared)

    def of(self, path: str, content: bytes) -> Iterator[DependencySight]:
        for one in python_imports.imports(content):
            if one.module in python_imports.STANDARD or self._locals.has(one.module, path):
                continue
            if one.module in _RUNNER or (one.module == "setuptools" and path.endswith("setup.py")):
                continue
            names = {canonicalize_name(one.module)} | self._known.get(one.module, frozenset())
            if _any(names, self._declared) or self._base_has(one.module):
                continue
            if sight := self._judged(path, one, names):
                yield sight

    def _judged(self, path: str, one: python_imports.PythonImport, names: set[str]) -> DependencySight | None:
        said = f"imports {one.module[:SHOWN]}"
        locked = {name for name in self._locked if _is_like(name, one.module)}
        if _any(names, self._locked) or (locked and self._provides(sorted(locked), one.module)):
            return _sight("import-unknown", path, one.line, f"{said}, which is locked and not declared")
        if one.is_optional:
            return _sight("import-unknown", path, one.line, f"{said} where it is there, and nothing declares it")
        if not self._is_whole:
            return _sight("import-unknown", path, one.line, f"{said}, and not all that is declared could be read")
        brought = self._provides(sorted(self._declared), one.module)
        if brought is None:
            return _sight("import-unknown", path, one.line, f"{said}, and what brings it could not be found out")
        if brought:
            return None
        hint = sorted(self._known.get(one.module, ()))
        more = f" ({' or '.join(hint)})" if hint else ""
        return _sight("undeclared-import", path, one.line, f"{said}{more}, which nothing declares")

    def _base_has(self, module: str) -> bool:
        return any(
            module.encode() in entry.content
            and python_imports.is_source(self._base, path)
            and len(entry.content) <= MAX_BYTES
            and any(one.module == module for one in python_imports.imports(entry.content))
            for path, entry in self._base.items()
        )


_RUNNER = frozenset(("pytest", "_pytest"))
"""The platform brings it where it runs tests by it."""


class _JavaScript:
    def __init__(self, base: Tree, head: TreeReading) -> None:
        self._base, self._head = base, head
        self._locals = js_imports.JsLocals(head.tree)
        own = [one for one in head.declared if one.ecosystem is Ecosystem.NPM]
        members = workspace(head)
        self._declared = {one.name for one in own if not one.is_locked} | _outside(head, Ecosystem.NPM) | members.keys()
        self._locked = {one.name for one in own if one.is_locked}
        self._is_whole = head.is_whole[Ecosystem.NPM] and any(path.endswith("package.json") for path in head.tree)

    def of(self, path: str, content: bytes) -> Iterator[DependencySight]:
        for one in js_imports.imports(content):
            types = f"@types/{one.package.removeprefix('@').replace('/', '__')}"
            if {one.package, types} & self._declared or self._locals.has(one.specifier) or self._base_has(one.package):
                continue
            said = f"imports {one.package[:SHOWN]}"
            if one.package.startswith("http"):
                yield _sight("source", path, one.line, f"{said} from an address")
            elif one.package in self._locked:
                yield _sight("import-unknown", path, one.line, f"{said}, which is locked and not declared")
            elif not self._is_whole:
                yield _sight("import-unknown", path, one.line, f"{said}, and not all that is declared could be read")
            else:
                yield _sight("undeclared-import", path, one.line, f"{said}, which no package.json declares")

    def _base_has(self, package: str) -> bool:
        return any(
            package.encode() in entry.content
            and path.endswith(js_imports.SUFFIXES)
            and len(entry.content) <= MAX_BYTES
            and any(one.package == package for one in js_imports.imports(entry.content))
            for path, entry in self._base.items()
        )


def _is_like(name: str, module: str) -> bool:
    """Whether a distribution of that name may bring the module: markdown-it-py and markdown_it, pyyaml and yaml."""
    one, other = name.replace("-", ""), canonicalize_name(module).replace("-", "")
    return other in one or (len(one) > 3 and one in other)


def _outside(head: TreeReading, ecosystem: Ecosystem) -> set[str]:
    return {name for kind, name in head.outside if kind is ecosystem}


def _any(names: Iterable[str], present: set[str]) -> bool:
    """`google-*` stands for every name that begins so: namespaces have many distributions."""
    return any(
        name in present or (name.endswith("*") and any(one.startswith(name[:-1]) for one in present)) for name in names
    )
