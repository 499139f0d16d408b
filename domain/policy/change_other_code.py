"""Change rules over code in Go, Rust and JavaScript that knows it is tested or puts itself in the place of assertions,
and over tests that stand in product code: functions of Rust, examples in documentation."""

import ast
import doctest
import re
from bisect import bisect
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import PurePosixPath

from domain.paths import matches
from domain.policy.change import Change, text_of
from domain.policy.change_native import native_knows
from domain.policy.change_paths import CHECK_FILES
from domain.policy.python_code import nodes_of, parsed
from domain.policy.rule import Hit, Rule
from domain.task import Severity

_JAVASCRIPT = (".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx")
_KINDS = {".go": "go", ".rs": "rust", **dict.fromkeys(_JAVASCRIPT, "javascript")}
_COMMENT = re.compile(r"\s*(//(?!go:)|\*|/\*)")

_DETECTS = {
    "go": re.compile(
        r"\btesting\.Testing\(\)|\bflag\.Lookup\(\"test\.|\"-?-?test\.(?:v|run|timeout|paniconexit0)\b|\bos\.Args\[0\].*\btest\b"
        r"|//go:linkname\s+\w+\s+testing\."
    ),
    "rust": re.compile(
        r"\bcfg!\s*\(\s*(?:any\s*\(|not\s*\(|all\s*\()?\s*test\b|\bnot\s*\(\s*(?:any\s*\(\s*|all\s*\(\s*)?test\b"
        r"|\"(?:RUST_TEST_\w+|NEXTEST\w*)\""
    ),
    "javascript": re.compile(
        r"\b(?:JEST_WORKER_ID|VITEST(?:_\w+)?|NODE_TEST_CONTEXT|MOCHA_\w+|AVA_PATH)\b"
        r"|\btypeof[\s(]+(?:(?:jest|describe)\b|(?:vi|it|test|expect)[\s)]*[!=]==?\s*['\"`]undefined\b)"
        r"|['\"`]undefined['\"`]\s*[!=]==?\s*typeof[\s(]+(?:vi|it|test|expect)\b(?!\s*\??[.\[])"
        r"|\bglobal(?:This)?\.(?:jest|vi|describe|it|expect)\b(?!\s*=[^=])"
    ),
}
"""What a program is told when a test runner starts it: https://pkg.go.dev/testing#Testing,
https://doc.rust-lang.org/reference/conditional-compilation.html#test, https://vitest.dev/guide/migration.html#envs"""
_ASKED = {
    "go": re.compile(
        r"^\s*(?:import\s+)?(?:\w+\s+)?\"testing\"\s*$|\bdebug\.(?:Stack|PrintStack)\(|\bruntime\.(?:Stack|Callers?|FuncForPC)\("
        r"|\bos\.Executable\(|\"/?go-build"
    ),
    "rust": re.compile(
        r"\bcfg!?\s*\(\s*debug_assertions\b|\bthread::current\(\)\.name\(\)|\bcurrent_exe\s*\(|\bBacktrace::"
        r"|\bvar(?:_os)?\s*\(\s*\"CARGO"
    ),
    "javascript": re.compile(
        r"^(?=.*\bNODE_ENV\b)(?=.*['\"`]test['\"`])|\bimport\.meta\.vitest\b"
        r"|\btypeof[\s(]+(?:vi|it|test|expect)\b(?!\s*\??\.\s*(?!only|skip|each|todo|fn|mock)\w|\[Symbol)"
        r"|\bError\([^()]{0,60}\)\.stack\b|\b(?:e|err|error)\.stack\s?\??\.\s?(?:includes|match|split|indexOf|search)\b|\bprepareStackTrace\b"
        r"|\b(?:require\.main|process\.mainModule|module\.parent)\s?\??\.\s?(?:filename|id|path|paths|children)\b"
        r"|\bprocess\.argv\[1\]\s?\??\.\s?(?:includes|match|indexOf|search|endsWith)\b"
    ),
}
"""What a test runner decides, or may. `it` and `test` are names of variables, too."""
_CFG_ATTR = r"#!?\[\s*cfg_attr\s*\([\w\s=\"(),-]{0,200},\s*"
_LEVEL = r"(?:warn|deny|forbid|allow)\s*\([\w:,\s]{0,200}\)\s*+"
_LEVELS = re.compile(rf"{_CFG_ATTR}{_LEVEL}(?:,\s*{_LEVEL}){{0,9}},?\s*\)\s*\]")
"""Lint levels of Rust: no code is another with them."""
_NO_STD = re.compile(rf"{_CFG_ATTR}no_std\s*,?\s*\)\s*\]")
_SET_UPS = ("**/*.setup.*", "**/setupTests.*", "**/svelte.config.*", "**/nuxt.config.*", "**/next.config.*")
"""Files by these names set up tests, or may differ under test by their purpose."""
_REPLACES = {
    "rust": re.compile(r"\bmacro_rules!\s*(?:assert|assert_eq|assert_ne|debug_assert(?:_eq|_ne)?|panic|unreachable)\b"),
    "javascript": re.compile(
        r"\bglobal(?:This)?\.(?:describe|it|test|expect|assert)\s*=[^=]|\bassert(?:\.\w+)+\s*=[^=>]"
        r"|\brequire\(\s*['\"](?:node:)?assert(?:/strict)?['\"]\s*\)(?:\.\w+)*\s*=[^=]"
        r"|\bObject\.(?:assign|defineProperty|defineProperties)\(\s*(?:require\(\s*['\"](?:node:)?assert|assert\b|globalThis\.)"
    ),
}


def detects(change: Change) -> Iterator[Hit]:
    """New product code that asks whether a test runner started it."""
    new = _new_anywhere(change)
    for path, number, line, kind in new_code_lines(change):
        if _knows(line, kind) and not _is_a_persons(path, line, new):
            yield Hit(f"product code asks whether tests are running: {line.strip()[:100]!r}", path, number)


def replaces(change: Change) -> Iterator[Hit]:
    """New product code that puts something of its own in the place of assertions."""
    for path, number, line, kind in new_code_lines(change):
        if kind in _REPLACES and _REPLACES[kind].search(line) and not matches(path, _SET_UPS):
            yield Hit(f"this would stand in place of what tests assert with: {line.strip()[:100]!r}", path, number)


def _asks(change: Change) -> Iterator[Hit]:
    new = _new_anywhere(change)
    for path, number, line, kind in new_code_lines(change):
        is_known = _knows(line, kind) and _is_a_persons(path, line, new)
        is_replaced = matches(path, _SET_UPS) and kind in _REPLACES and _REPLACES[kind].search(line)
        if is_known or is_replaced or _ASKED[kind].search(line):
            yield Hit(f"it can be otherwise under test than elsewhere: {line.strip()[:100]!r}", path, number)


_BEFORE_TESTS = re.compile(
    r"^func\s+init\s*\(\s*\)|^var\s+(?:\((?:\n(?!\)).{0,300}){0,50}?\n\t)?\w+[^=(\n]{0,80}=\s*\(?\s*(?:func\b|[A-Za-z_]\w*\()",
    re.MULTILINE,
)
_GO_VARIABLE = re.compile(r"^(?:var\s+|\t)(\w+)\b[^\n:=]{0,200}=", re.MULTILINE)
_GO_ASSIGNED = re.compile(r"(?<![.\w])(\w+)(?:\[[^\]\n]{0,80}\]|\.\w+)?\s*=[^=]")


def _before_tests(change: Change) -> Iterator[Hit]:
    """In Go the tests of a package and its code are one program, whichever file a line stands in."""
    for path in change.present:
        lines = list(change.added(path)) if path.endswith("_test.go") else []
        if not _BEFORE_TESTS.search("\n".join(line for _, line in lines)):
            continue
        names: set[str] = set()
        for other in change.head:
            beside = PurePosixPath(other).parent == PurePosixPath(path).parent
            if beside and other.endswith(".go") and not other.endswith("_test.go"):
                names.update(_GO_VARIABLE.findall(text_of(change.head, other) or ""))
        for number, line in lines:
            if names.intersection(_GO_ASSIGNED.findall(line)):
                yield Hit(f"before the tests run, it may change the product: {line.strip()[:100]!r}", path, number)


def _knows(line: str, kind: str) -> bool:
    return bool(_DETECTS[kind].search(_LEVELS.sub("", line) if kind == "rust" else line))


def _is_a_persons(path: str, line: str, new: Counter[str]) -> bool:
    """Whether what knows of tests may be meant: in a set-up, at the head of a crate, or moved from another file."""
    return matches(path, _SET_UPS) or line.strip() not in new or not _knows(_NO_STD.sub("", line), _kind(path) or "")


def _new_anywhere(change: Change) -> Counter[str]:
    """Lines of product code that the changed files together have more of than base, without the space around them."""
    base, head = Counter[str](), Counter[str]()
    for path in change.changed:
        if _is_product(change, path):
            base.update(line.strip() for line in (text_of(change.base, path) or "").splitlines())
            head.update(line.strip() for line in (text_of(change.head, path) or "").splitlines())
    return head - base


def _kind(path: str) -> str | None:
    return _KINDS.get(PurePosixPath(path).suffix)


def _is_product(change: Change, path: str) -> bool:
    return _kind(path) is not None and not change.is_test(path) and not matches(path, CHECK_FILES)


def new_code_lines(change: Change) -> Iterator[tuple[str, int, str, str]]:
    """(path, line number, line, language) of new lines of product code that are no comment."""
    for path in change.present:
        kind = _kind(path)
        if kind is None or not _is_product(change, path):
            continue
        inside = _test_lines(text_of(change.head, path) or "") if kind == "rust" else set()
        for number, line in change.added(path):
            if not _COMMENT.match(line) and number not in inside:
                yield path, number, line, kind


def new_script_lines(change: Change) -> Iterator[tuple[str, int, str]]:
    """(path, line number, line) of new lines of JavaScript and TypeScript of the product."""
    yield from ((path, number, line) for path, number, line, kind in new_code_lines(change) if kind == "javascript")


# --- tests of Rust beside the code

_TEST = re.compile(r"#\[\s*(?:\w+::)*(?:test|rstest|test_case|quickcheck)\b")
_MODULE = re.compile(
    r"#\[\s*cfg\s*\(\s*test\s*\)\s*\]\s*(?:#\[[^\]\n]{0,200}\]\s*){0,9}(?:pub(?:\([^)\n]{0,99}\))?\s+)?mod\s+\w+\s*\{"
)
_MASKED = re.compile(
    r"//[^\n]*|/\*(?:.*?\*/|.*)|\bb?r(#*)\"(?:.*?\"\1|.*)|\"(?:\\.|[^\"\\])*(?:\"|\\?\Z)|'(?:\\.[^'\n]{0,9}|[^'\\\n])'",
    re.DOTALL,
)
"""What does not end goes to the end of the file: so each character is looked at once."""
_BRACE = re.compile(r"[{}]")
_PLAIN = re.compile(
    r"use (?:super|crate|std|core|alloc)\b(?!.*\b(?:assert|panic|debug_assert))|#\[cfg\(test\)\]$|mod \w+ ?\{?$"
)
"""Lines around a first test that say nothing of others."""


def changed_functions(change: Change) -> Iterator[Hit]:
    """Test functions of Rust that base has in product code, and the change has not as they are."""
    for path in change.changed:
        base = text_of(change.base, path)
        if not path.endswith(".rs") or base is None or change.is_test(path) or change.may_change(path):
            continue
        gone = Counter(_functions(base)) - Counter(_functions(text_of(change.head, path) or ""))
        for function in gone:
            name = re.search(r"\bfn\s+(\w+)", function)
            yield Hit(f"the existing test {name[1] if name else function[:60]} is changed or gone", path)


def _in_source(change: Change) -> Iterator[Hit]:
    """What else of tests in product code is another now."""
    for path in change.present:
        base, head = text_of(change.base, path), text_of(change.head, path)
        if base is None or head is None or change.is_test(path):
            continue
        if path.endswith(".rs"):
            old, new = _around(path, base), _around(path, head)
            added = [line for line in new - old if not _PLAIN.match(line)]
            if lines := [*(old - new), *added]:
                yield Hit(f"beside the test functions, {lines[0][:80]!r} is new, changed or gone", path)
            if gone := _doc_lines(base) - _doc_lines(head):
                yield Hit(f"an example that is run as a test changed: {next(iter(gone))[:80]!r}", path)
        elif path.endswith(".py") and _runs_doctests(change) and (lost := _doctests(change, path)):
            yield Hit(f"an example that is run as a test changed: {lost[:80]!r}", path)


def _masked(text: str) -> str:
    """The same length, with comments and strings blank: what braces are counted in."""
    return _MASKED.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def _functions(text: str) -> list[str]:
    return [" ".join(text[start:end].split()) for start, end in _spans(_masked(text), _TEST)]


def _spans(masked: str, pattern: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """(start, end) of each item that begins as `pattern` says, up to the brace that closes it."""
    at = 0
    while match := pattern.search(masked, at):
        opening = masked.find("{", match.start())
        at = _closing(masked, opening) if opening >= 0 else len(masked)
        yield match.start(), at


def _closing(masked: str, opening: int) -> int:
    depth = 0
    for brace in _BRACE.finditer(masked, opening):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.end()
    return len(masked)


def _around(path: str, text: str) -> Counter[str]:
    """Lines of the test modules of a file without their test functions."""
    masked = _masked(text)
    is_all = PurePosixPath(path).name in ("tests.rs", "test.rs")
    regions = [(0, len(text))] if is_all else list(_spans(masked, _MODULE))
    kept: Counter[str] = Counter()
    for start, end in regions:
        tests = [(start + one, start + other) for one, other in _spans(masked[start:end], _TEST)]
        edges = [start, *(edge for test in tests for edge in test), end]
        for one, other in list(pairwise(edges))[::2]:
            lines = (" ".join(line.split()) for line in text[one:other].splitlines())
            kept.update(line for line in lines if line.strip("{} "))
    return kept


def _test_lines(text: str) -> set[int]:
    """Numbers of the lines in test modules and test functions."""
    masked = _masked(text)
    spans = [*_spans(masked, _MODULE), *_spans(masked, _TEST)]
    ends = [match.start() for match in re.finditer("\n", masked)]
    numbers = (range(bisect(ends, start) + 1, bisect(ends, end) + 2) for start, end in spans)
    return {number for within in numbers for number in within}


_DOC = re.compile(r"\s*//[/!] ?(.*)")


def _doc_lines(text: str) -> Counter[str]:
    """Lines of the examples in Rust's documentation, which `cargo test` runs."""
    found: Counter[str] = Counter()
    is_code = False
    for line in text.splitlines():
        match = _DOC.match(line)
        if match is None:
            is_code = False
        elif match[1].lstrip().startswith("```"):
            is_code = not is_code
        elif is_code and match[1].strip():
            found[match[1].strip()] += 1
    return found


# --- examples in Python's documentation

_CONFIGURES = ("pyproject.toml", "setup.cfg", "tox.ini", "pytest.ini", ".pytest.ini", "pytest.toml")


def _runs_doctests(change: Change) -> bool:
    texts = [change.settings.test, *(text_of(change.base, path) or "" for path in _CONFIGURES)]
    return any("doctest" in text for text in texts)


def _doctests(change: Change, path: str) -> str:
    """An example of base that the change has not, with what it prints; empty: it has all."""
    base, head = (_examples(parsed(tree, path)) for tree in (change.base, change.head))
    lost = base - head
    return next(iter(lost), ("", ""))[0].strip()


def _examples(module: ast.Module | None) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for node in nodes_of(module) if module else ():
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            try:
                examples = doctest.DocTestParser().get_examples(ast.get_docstring(node) or "")
            except ValueError:
                continue
            found.update((one.source, one.want) for one in examples)
    return found


OTHER_PERSON_RULES: tuple[Rule[Change], ...] = (
    Rule(
        "tests-in-source", "tests", Severity.PERSON,
        "Around Rust's test functions in product code: a helper, a macro or an import of a `cfg(test)` module that is "
        "new, changed or gone. And an example in the documentation of Rust, or of Python where doctest runs, that is "
        "changed or gone.",
        "It decides what an existing test says, and stands in a file that the change may alter.",
        "leave it as it is, or let a reviewer compare it with the brief",
        _in_source,
    ),
    Rule(
        "tests-do-the-work", "change", Severity.PERSON,
        "A test file of Go with new code that runs before all tests (`func init()`, a variable that a function makes), "
        "and that gives a variable of the product's another value.",
        "It may put into the product what the product does not have: tests are green, and no program works.",
        "do it in the product, or in the test that needs it",
        _before_tests,
    ),
    Rule(
        "test-environment", "change", Severity.PERSON,
        "Product code that newly asks for NODE_ENV `test`, for Rust's debug_assertions or a thread's name, for its "
        "call stack, where its own program lies, which file was started or what Cargo says at run time, that "
        "imports Go's package testing, or asks for the type of `it`, `test` and their like, which may be variables. "
        "And code of C, Cython, Java and their like that names a variable of a test run; and what "
        "`test-detection` refuses, where it moved from another file, makes a crate `no_std`, or stands in a "
        "set-up of tests or a svelte, nuxt or next.config.",
        "It can tell a test from a customer.",
        "pass what differs as a setting, or let a reviewer agree",
        lambda change: (*_asks(change), *native_knows(change)),
    ),
)  # fmt: skip
