"""Rules over code that is not Python, and over tests that stand in product code."""

import pytest

from domain.policy import change_findings
from domain.trees import Tree
from tests.unit.policy_cases import PROJECT, attempt, prepared, tree

LIB = """pub fn add(a: i32, b: i32) -> i32 { a + b }

/// Adds one.
/// ```
/// assert_eq!(shop::next(1), 2);
/// ```
pub fn next(a: i32) -> i32 { a + 1 }

#[cfg(test)]
mod tests {
    use super::*;

    const DUE: &str = "}";

    fn holds(a: i32) -> bool { a == 3 && DUE == "}" }

    #[test]
    fn adds() {
        assert!(holds(add(1, 2)), "{}", '}');
    }
}
"""
BASE = {
    **PROJECT,
    **tree(
        {"src/lib.rs": LIB, "setup.cfg": "[tool:pytest]\naddopts = --doctest-modules\n", "web/a.js": "x\n", "a.go": ""}
    ),
}
DOC = 'def f():\n    """Says two.\n\n    >>> f()\n    2\n    """\n    return 2\n'
BASE |= tree({"shop/doc.py": DOC})


def rules(changes: dict[str, str], base: Tree = BASE, **settings: tuple[str, ...]) -> set[str]:
    changed = {**base, **tree(changes)}
    return {finding.rule for finding in change_findings(prepared(**settings), attempt(changed), base, changed)}


DETECTS = {
    "a.go": (
        "var t = testing.Testing()", 'var t = flag.Lookup("test.v") != nil', 'if x(os.Args[0], ".test") {',
        'if os.Args[1] == "-test.v" {', "//go:linkname fail testing.(*common).Fail",
    ),
    "src/other.rs": (
        "if cfg!(test) {", "#[cfg(not(test))]", "if cfg!(not(test)) {", "#[cfg(not(any(test, x)))]",
        'env::var("RUST_TEST_THREADS")', "#[cfg_attr(not(test), path = \"other.rs\")]",
        '#[cfg_attr(not(test), allow(dead_code), path = "other.rs")]',
        "#![cfg_attr(not(test), warn(x))] #[cfg(not(test))]", "#![cfg_attr(not(test), no_std)] #[cfg(not(test))]",
    ),
    "web/a.ts": (
        "if (process.env.JEST_WORKER_ID) {", "process.env.VITEST", "env['NODE_TEST_CONTEXT']", "typeof jest !== 'x'",
        "if (globalThis.describe) {", "typeof test !== 'undefined'", 'if (typeof (it)=="undefined") {',
        "typeof describe === 'function'", "'undefined' !== typeof expect",
    ),
}  # fmt: skip
ASKS = {
    "a.go": (
        'import "testing"',
        '\t"testing"',
        "at := string(debug.Stack())",
        "_, at, _, _ := runtime.Caller(1)",
        "at, _ := os.Executable()",
        'strings.Contains(at, "go-build")',
    ),
    "src/other.rs": (
        "if cfg!(debug_assertions) {",
        "thread::current().name()",
        "let at = std::env::current_exe()?;",
        'std::env::var_os("CARGO_MANIFEST_DIR")',
        "#![cfg_attr(not(test), no_std)]",
        '#![cfg_attr(not(any(test, feature = "std")), no_std)]',
    ),
    "web/a.mjs": (
        "if (process.env.NODE_ENV === 'test') {",
        "if (import.meta.vitest) {",
        "typeof test === 'function'",
        "type T = typeof test",
        "typeof it === 'string'",
        "typeof test.skip === 'function'",
        "/test/.test(new Error().stack)",
        "err.stack.includes('mocha')",
        "require.main.filename",
        "process.argv[1].includes('test')",
    ),
    "vitest.setup.ts": ("globalThis.expect = expect", "if (process.env.VITEST) {"),
    "web/svelte.config.js": ("process.env.VITEST",),
}
REPLACES = {
    "src/other.rs": ("macro_rules! assert_eq { ($($x:tt)*) => {} }", "macro_rules! debug_assert_ne {"),
    "web/a.js": (
        "globalThis.expect = () => fine",
        "assert.strict.equal = () => {}",
        "require('node:assert').equal = x",
        "Object.assign(require('assert'), {equal() {}})",
    ),
}
HONEST = {
    "a.go": ("// testing.Testing() is not asked", "for _, arg := range os.Args[1:] {", 'x := "latest"'),
    "src/other.rs": (
        "#[cfg(test)]", "#[cfg_attr(test, derive(Debug))]", "macro_rules! assertion { () => {} }", "// cfg!(test)",
        '#[cfg(feature = "test")]', "macro_rules! debug_assert_sorted {", '#![cfg_attr(not(feature = "std"), no_std)]',
        "#![cfg_attr(not(test), warn(clippy::unwrap_used), deny(missing_docs))]",
    ),
    "web/a.js": (
        "if (process.env.NODE_ENV === 'production') {", "const vitest = 1", "if (assert.ok === x) {",
        "// JEST_WORKER_ID", "assert.equal(a, b)", "typeof it.return === 'function'", "typeof it[Symbol.iterator]",
        "typeof testing === 'undefined'", "if (require.main === module) {", "this.stack.includes(node)",
        "Error.captureStackTrace(this, Bad)", "Object.assign(options, x)",
    ),
    "vite.config.ts": ("x",),
}  # fmt: skip


def test_new_lines_that_know_of_tests_or_replace_assertions_are_seen_and_others_are_not() -> None:
    for table, rule in ((DETECTS, "test-detection"), (ASKS, "test-environment"), (REPLACES, "test-shadow")):
        for path, lines in table.items():
            for line in lines:
                assert rule in rules({path: line + "\n"}), line
    for path, lines in HONEST.items():
        for line in lines:
            assert not rules({path: line + "\n"}) & {"test-detection", "test-environment", "test-shadow"}, line


def test_a_test_file_of_go_that_changes_the_product_before_the_tests_goes_to_a_person() -> None:
    base = {**BASE, **tree({"sums/a.go": "package sums\n\nvar double = func(a int) int { return 0 }\n"})}
    for first in ("func init() {\n\tdouble = right\n}", "var done = put()\n\nfunc put() int {\n\tdouble = right\n}",
                  "var (\n\ta = 1\n\t_ = Put()\n)\n\nfunc Put() int {\n\tdouble = right\n}",
                  "var _ = (func() int {\n\tdouble = right\n\treturn 1\n})()"):  # fmt: skip
        assert "tests-do-the-work" in rules({"sums/a_test.go": f"package sums\n\n{first}\n"}, base)
        assert "tests-do-the-work" not in rules({"other/a_test.go": f"package other\n\n{first}\n"}, base)
    for honest in ("var Double = double", "func init() {\n\tregister(t)\n}", "func TestA(t *T) {\n\tdouble = stub\n}"):
        assert "tests-do-the-work" not in rules({"sums/a_test.go": f"package sums\n\n{honest}\n"}, base)


@pytest.mark.parametrize(("path", "line"), [("src/a.rs", "#[cfg(not(test))]"), ("web/b.js", "process.env.VITEST")])
def test_what_knew_of_tests_and_moved_goes_to_a_person_and_one_more_is_refused(path: str, line: str) -> None:
    other = path.replace(".", "_two.")
    base = {**BASE, **tree({path: f"{line}\nx();\n", other: "y();\n"})}
    assert rules({path: "x();\n", other: f"  {line}\ny();\n"}, base) == {"test-environment"}
    assert rules({other: f"{line}\ny();\n"}, base) == {"test-detection"}
    test = {**base, **tree({path: "x();\n", "tests/" + path: f"{line}\n"})}
    assert "test-detection" in rules({"tests/" + path: "x();\n", other: f"{line}\ny();\n"}, test)


FIRST = "\n#[cfg(test)]\nmod tests {\n    use super::*;\n\n    #[test]\n    fn is_first() { assert!(true); }\n}\n"


def test_a_first_test_in_a_file_of_rust_needs_no_person_and_what_stands_beside_it_does() -> None:
    base = {**BASE, **tree({"src/plain.rs": "pub fn a() {}\n"})}
    assert rules({"src/plain.rs": "pub fn a() {}\n" + FIRST}, base) == set()
    helped = FIRST.replace("#[test]", "macro_rules! assert { ($x:tt) => {} }\n    #[test]")
    assert "tests-in-source" in rules({"src/plain.rs": "pub fn a() {}\n" + helped}, base)


MORE = LIB.replace("    #[test]", "    #[test]\n    fn more() { assert_eq!(add(0, 0), 0) }\n\n    #[test]", 1)
IN_SOURCE: dict[str, tuple[str, set[str]]] = {
    "product code": (LIB.replace("a + b", "b + a"), set()),
    "a new test": (MORE, set()),
    "a new import": (LIB.replace("use super::*;", "use super::*;\n    use std::io;"), set()),
    "a test in another place": (LIB.replace("        assert!(", "  assert!("), set()),
    "what a test says": (LIB.replace("add(1, 2)", "3"), {"test-changed"}),
    "a test is gone": (LIB.replace("#[test]", ""), {"test-changed", "tests-in-source"}),
    "the module is gone": (LIB.partition("#[cfg")[0], {"test-changed", "tests-in-source"}),
    "a helper": (LIB.replace("a == 3", "a != 9"), {"tests-in-source"}),
    "a constant": (LIB.replace('= "}"', '= "{"', 1), {"tests-in-source"}),
    "an assertion of its own": (LIB.replace("use super::*;", "use super::*;\n    use crate::fake::assert;"),
                                {"tests-in-source"}),
    "a macro": (LIB.replace("use super::*;", "use super::*;\n    macro_rules! assert { ($x:tt) => {} }"),
                {"tests-in-source"}),
    "an example": (LIB.replace("shop::next(1), 2", "2, 2"), {"tests-in-source"}),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_SOURCE)
def test_tests_of_rust_in_product_code_are_locked_by_function(name: str) -> None:
    text, due = IN_SOURCE[name]
    assert rules({"src/lib.rs": text}) == due
    opened = rules({"src/lib.rs": text}, may_change_tests=("src/lib.rs",))
    assert "test-changed" not in opened


def test_examples_of_python_are_looked_at_where_they_run() -> None:
    changed = {"shop/doc.py": DOC.replace("    2\n", "    3\n")}
    assert rules(changed) == {"tests-in-source"}
    assert rules(changed, {**BASE, **tree({"setup.cfg": "[metadata]\n"})}) == set()
    assert rules({"shop/doc.py": DOC + "X = 1\n"}) == set()


@pytest.mark.parametrize("text", ["/*", 'r"', '\\"', "#[test]{", "#[cfg(test)]#["])
def test_source_that_never_ends_is_read(text: str) -> None:
    assert "test-shadow" not in rules({"src/lib.rs": text * 30_000})
