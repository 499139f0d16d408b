"""What Node's runners, go and cargo wrote. The outputs are those of the real programs, shortened."""

import json

import pytest

from domain.program_reports import read_cargo, read_go, read_nested_tap, read_programs
from domain.reports import Report
from domain.task import CaseOutcome
from tests.unit.policy_cases import tree

PASSED, FAILED, ERROR, SKIPPED = CaseOutcome.PASSED, CaseOutcome.FAILED, CaseOutcome.ERROR, CaseOutcome.SKIPPED

# --- many programs


def begun(name: str, runner: str, kind: str, cwd: str = "/work") -> dict[str, bytes]:
    told = {"runner": runner, "kind": kind, "cwd": cwd, "report": f"{name}.{kind}"}
    return {f"{name}.begun": json.dumps(told).encode()}


CASES = json.dumps([["/work/api/a.js", ["sums", "adds"], "passed", ""], ["/work/api/b.js", [], "error", "no import"]])


def test_the_reports_of_all_programs_are_one() -> None:
    jest = {"success": True, "testResults": [{"name": "/work/web/a.js", "status": "passed", "assertionResults": [
        {"fullName": "is", "status": "passed"}]}]}  # fmt: skip
    files = {
        **begun("1", "mocha", "cases"), "1.cases": CASES.encode(),
        **begun("2", "vitest", "jest"), "2.jest": json.dumps(jest).encode(),
        "of": b"make test",
    }  # fmt: skip
    report = read_programs(files, {})
    assert report.cases == {"api/a.js::sums::adds": PASSED, "api/b.js": ERROR, "web/a.js::is": PASSED}
    assert (report.runner, report.messages) == ("mocha, vitest", {"api/b.js": "no import"})
    assert read_programs({"of": b"make test"}, {}).runner == "", "nobody began"


def test_a_file_of_node_that_ended_before_its_tests_did_not_pass() -> None:
    ended = json.dumps([["/work/a.test.js", [], "passed", ""], ["/work/plain.js", [], "passed", ""]])
    files = {**begun("1", "node", "cases"), "1.cases": ended.encode()}
    sources = tree(
        {"a.test.js": "const {test} = require('node:test')\ntest('x', () => {})\n", "plain.js": "assert(1)\n"}
    )
    assert read_programs(files, sources).cases == {"plain.js": PASSED}


@pytest.mark.parametrize(
    ("line", "is_a_test"),
    [
        ("assert(/^a/.test(shop.id('x')))", False),
        ("assert(PATTERN.test('abc'))", False),
        ("assert(schema.describe('a price'))", False),
        ("test('x', () => {})", True),
        ("it.only('x', () => {})", True),
        ("runner.test('x', () => {})", True),
        ("const check = require('node:test')", True),
    ],
)
def test_a_plain_script_of_node_counts_and_one_with_tests_that_did_not_run_does_not(line: str, is_a_test: bool) -> None:
    ended = json.dumps([["/work/a.js", [], "passed", ""]])
    files = {**begun("1", "node", "cases"), "1.cases": ended.encode()}
    assert (read_programs(files, tree({"a.js": line})).cases == {}) == is_a_test


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (begun("1", "mocha", "cases", "/work/api"), "mocha in api did not come to its end"),
        ({**begun("1", "jest", "jest"), "1.jest": b"["}, "jest in the root: "),
        ({**begun("1", "mocha", "cases"), "1.cases": b"3"}, "not what our reporter writes"),
        ({**begun("1", "mocha", "cases"), "1.cases": b'[["a", [], "green", ""]]'}, "green"),
        ({"1.begun": b"{}"}, "cannot be read"),
        (begun("1", "mocha", "words"), "nobody knows"),
    ],
)
def test_a_program_that_did_not_tell_how_it_ended_is_not_believed(files: dict[str, bytes], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_programs(files, {})


# --- TAP with subtests

TAP = """# Subtest: test/a.test.js
    # Subtest: adds
        ok 1 - should be equal
        1..1
    ok 1 - adds # time=33.384ms
    # Subtest: fails
        not ok 1 - is it
          ---
          compare: ===
          ...
        1..1
    not ok 2 - fails # time=157.001ms
    ok 3 - later # SKIP
    # Subtest: group
        # Subtest: inner
            ok 1 - should be equal
            1..1
        ok 1 - inner # time=0.455ms
        1..1
    ok 4 - group # time=64.047ms
    1..4
not ok 1 - test/a.test.js # time=489.167ms
# Subtest: test/b.test.js
not ok 2 - test/b.test.js # time=20ms {
    # no import
    1..0
}
not ok 2 - test/b.test.js # time=20ms
"""


def test_nested_tap_is_read_by_its_tests() -> None:
    report = read_nested_tap(TAP, "api")
    assert report.cases == {
        "api/test/a.test.js::adds": PASSED,
        "api/test/a.test.js::fails": FAILED,
        "api/test/a.test.js::later": SKIPPED,
        "api/test/a.test.js::group::inner": PASSED,
        "api/test/a.test.js::group": PASSED,
        "api/test/b.test.js": ERROR,
    }
    assert "compare: ===" in report.messages["api/test/a.test.js::fails"]


@pytest.mark.parametrize("text", ["", "# Subtest: a\n", "Bail out! no\n", TAP.partition("    1..4")[0]])
def test_nested_tap_that_is_not_whole_is_not_believed(text: str) -> None:
    with pytest.raises(ValueError):
        read_nested_tap(text)


def test_what_a_test_prints_neither_holds_the_reader_up_nor_breaks_what_is_kept() -> None:
    lines = ("ok a" + " " * 20_000 + "b", "ok " + "# skip " * 20_000 + "\x0b")  # minutes, were each gap tried
    assert read_nested_tap("\n".join(f"# Subtest: a\n{line}" for line in lines)).cases == {"a": SKIPPED}
    report = Report({}, {})
    report.add("a \ud83d", FAILED, "half \ude00 a pair")
    assert report.messages == {"a ?": "half ? a pair"}


# --- Go


def events(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


def event(action: str, test: str = "", package: str = "example.com/shop/calc", output: str = "") -> str:
    told = {"Action": action, "Package": package, "Test": test, "Output": output}
    return json.dumps({name: value for name, value in told.items() if value})


GO_TREE = tree(
    {
        "go.mod": "module example.com/shop\n",
        "calc/calc_test.go": "package calc\n\nfunc TestAdd(t *testing.T) {}\nfunc TestTable(t *testing.T) {}\n",
        "tools/go.mod": 'module "example.com/shop/tools"\n',
        "tools/x/x_test.go": "func TestX(t *testing.T) {}\n",
    }
)


def test_gos_events_are_read_by_file_and_test() -> None:
    text = events(
        event("run", "TestAdd"), event("pass", "TestAdd"),
        event("run", "TestTable"), event("run", "TestTable/one"), event("output", "TestTable/one", output="bad one\n"),
        event("fail", "TestTable/one"), event("fail", "TestTable"),
        event("run", "TestGone"), event("skip", "TestGone"), event("fail"),
        event("run", "TestX", "example.com/shop/tools/x"), event("pass", "TestX", "example.com/shop/tools/x"),
        event("pass", "", "example.com/shop/tools/x"),
        "FAIL\texample.com/shop/deep [build failed]",
    )  # fmt: skip
    report = read_go(text, GO_TREE)
    assert report.cases == {
        "calc/calc_test.go::TestAdd": PASSED,
        "calc/calc_test.go::TestTable::one": FAILED,
        "calc/calc_test.go::TestTable": FAILED,
        "calc::TestGone": SKIPPED,
        "tools/x/x_test.go::TestX": PASSED,
        "deep": ERROR,
    }
    assert report.messages["calc/calc_test.go::TestTable::one"] == "bad one\n"


@pytest.mark.parametrize(
    ("directory", "package", "meant"),
    [
        ("", "example.com/m", "m_test.go"),  # the one that lies nearest: no testdata
        ("one", "example.com/tool", "one/m_test.go"),
        ("two", "example.com/tool", "two/m_test.go"),
        ("two/cmd", "example.com/tool/cmd", "two/cmd/m_test.go"),
        ("one/testdata/tool", "example.com/tool", "one/testdata/tool/m_test.go"),
    ],
)
def test_of_modules_with_one_name_the_one_that_ran_is_meant(directory: str, package: str, meant: str) -> None:
    places = {"": "m", "testdata/m": "m", "one": "tool", "one/testdata/tool": "tool", "two": "tool"}
    files = {f"{place}/go.mod".lstrip("/"): f"module example.com/{name}\n" for place, name in places.items()}
    tests = {f"{place}/m_test.go".lstrip("/"): "func TestOne(t *testing.T) {}\n" for place in (*places, "two/cmd")}
    text = events(event("run", "TestOne", package), event("pass", "TestOne", package), event("pass", "", package))
    begun = json.dumps({"runner": "go", "kind": "go", "cwd": f"/work/{directory}".rstrip("/"), "report": "r"})
    report = read_programs({"a.begun": begun.encode(), "r": text.encode()}, tree({**files, **tests}))
    assert report.cases == {f"{meant}::TestOne": PASSED}


@pytest.mark.parametrize("directory", ["one", "two"])
def test_of_crates_with_one_name_the_one_that_ran_is_meant(directory: str) -> None:
    files = {f"{place}/{path}": "" for place in ("one", "two") for path in ("src/lib.rs", "tests/all.rs")}
    manifests = {f"{place}/Cargo.toml": '[package]\nname = "calc"\n' for place in ("one", "two")}
    assert set(read_cargo(CARGO, tree({**files, **manifests}), directory).cases) == {
        f"{directory}/{test}"
        for test in (
            "src/lib.rs::tests::adds", "src/lib.rs::tests::later", "src/lib.rs::tests::panics",
            "src/lib.rs::tests::fails", "tests/all.rs::whole", "src/lib.rs::doc add",
        )
    }  # fmt: skip


def test_a_go_test_that_ends_the_process_is_an_error_and_a_package_without_an_end_is_not_believed() -> None:
    text = events(event("run", "TestAdd"), event("output", output="panic: no\n"), event("fail"))
    assert read_go(text, GO_TREE).cases == {"calc/calc_test.go::TestAdd": ERROR}
    with pytest.raises(ValueError, match="calc began and did not end"):
        read_go(event("start"), GO_TREE)


# --- Rust

CARGO = """   Compiling calc v0.1.0 (/work/calc)
    Finished test [unoptimized + debuginfo] target(s) in 4.39s
     Running unittests src/lib.rs (target/debug/deps/calc-4150386979d0e724)

running 4 tests
test tests::adds ... ok
test tests::later ... ignored
test tests::panics - should panic ... ok
test tests::fails ... FAILED

failures:

---- tests::fails stdout ----
assertion failed: left == right

failures:
    tests::fails

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.34s

error: test failed, to rerun pass `-p calc --lib`
     Running tests/all.rs (target/debug/deps/all-a4d329aa0ca01ec2)

running 1 test
test whole ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

     Running unittests src/lib.rs (target/debug/deps/web_app-3a2dba43b7f449c9)

running 0 tests

test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

   Doc-tests calc

running 1 test
test src/lib.rs - add (line 5) ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s
"""
CARGO_TREE = tree(
    {
        "calc/Cargo.toml": '[package]\nname = "calc"\n', "calc/src/lib.rs": "", "calc/tests/all.rs": "",
        "web-app/Cargo.toml": '[package]\nname = "web-app"\n', "web-app/src/lib.rs": "", "web-app/tests/all.rs": "",
    }
)  # fmt: skip


def test_cargos_output_is_read_by_file_and_test() -> None:
    report = read_cargo(CARGO, CARGO_TREE)
    assert report.cases == {
        "calc/src/lib.rs::tests::adds": PASSED,
        "calc/src/lib.rs::tests::later": SKIPPED,
        "calc/src/lib.rs::tests::panics": PASSED,
        "calc/src/lib.rs::tests::fails": FAILED,
        "calc/tests/all.rs::whole": PASSED,
        "calc/src/lib.rs::doc add": PASSED,
    }
    assert "left == right" in report.messages["calc/src/lib.rs::tests::fails"]


def test_a_crate_that_does_not_build_is_an_error_and_a_binary_that_ends_early_is_not_believed() -> None:
    assert read_cargo("error[E0425]: cannot find function\n", CARGO_TREE).cases == {"the build": ERROR}
    with pytest.raises(ValueError, match=r"3 tests of calc/src/lib\.rs have no outcome"):
        read_cargo(CARGO.partition("test tests::later")[0] + CARGO.partition("process\n")[2], CARGO_TREE)
