"""Test programs are asked for their reports however deep a command calls them: the real ones, in real sandboxes."""

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from blocks.sandboxes.bubblewrap import Bubblewrap
from domain.ports import Workspace
from domain.task import CaseOutcome, Suite
from tasks.running.suite import Rooms, SuiteRequest
from tests.contract.test_contract_of_tests import Bench, brief
from tests.unit.policy_cases import tree

PASSED, FAILED, ERROR, SKIPPED = CaseOutcome.PASSED, CaseOutcome.FAILED, CaseOutcome.ERROR, CaseOutcome.SKIPPED
RUNNERS = {"mocha": "11.7.5", "ava": "6.4.1", "vitest": "4.1.12", "jest": "30.5.2", "cross-env": "10.1.0"}


class Alone(Bench):
    """Runs a project's tests without a toolchain, over what its setup made."""

    def __init__(self, root: Path, test: str, layer: Path | None = None) -> None:
        super().__init__(Bubblewrap(root=root / "sandboxes"), root, test=test, requirements=())
        self.layer = layer

    def seen(self, files: Mapping[str, str]) -> Suite:
        laid = tree(files)

        @contextlib.contextmanager
        def room() -> Iterator[Workspace]:
            with contextlib.closing(self.sandbox.open(laid, label="test", layer=self.layer)) as workspace:
                yield workspace

        opened: Rooms = room
        self.opened = lambda files: opened  # type: ignore[method-assign]
        return self.run(laid, brief(), SuiteRequest())


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("installed")
    (place / "package.json").write_text(json.dumps({"dependencies": RUNNERS}))
    words = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
    subprocess.run(words, cwd=place, check=True, capture_output=True, timeout=300)
    (place / "package.json").unlink()
    for path in (place.parent, place):
        path.chmod(0o755)
    yield place
    shutil.rmtree(place, ignore_errors=True)


def package(test: str) -> str:
    return json.dumps({"scripts": {"test": test}})


DESCRIBED = "describe('sums', () => { it('adds', () => {}); it('fails', () => { throw new Error('no') }) })\n"
PROJECT = {
    "package.json": package("make test"),
    # a shell in make in npm: all of them run, whatever fails
    "Makefile": "test:\n\tfor d in api web lib old node; do (cd $$d && CI=1 npm test) || bad=1; done; "
    '[ -z "$$bad" ]\n',
    "api/package.json": package("mocha --reporter dot 'test/*.js'"), "api/test/a.js": DESCRIBED,
    "web/package.json": package("../node_modules/.bin/vitest run --globals"), "web/a.test.js": DESCRIBED,
    # NODE_OPTIONS set anew, as jest asks for with ES modules
    "lib/package.json": package("cross-env NODE_OPTIONS=--experimental-vm-modules jest --rootDir ."),
    "lib/a.test.js": DESCRIBED,
    "old/package.json": json.dumps({"type": "module", "scripts": {"test": "ava"}}),
    "old/test.js": "import test from 'ava'\ntest('adds', t => t.pass())\ntest('fails', t => t.fail('no'))\n",
    "node/package.json": package("node --test --test-reporter=dot"),
    "node/test/a.js": "const {describe, it} = require('node:test')\n" + DESCRIBED,
    "node/test/b.js": "require('./not-there')\n",
}  # fmt: skip


def test_a_workspace_behind_make_is_read_test_by_test(tmp_path: Path, installed: Path) -> None:
    bench = Alone(tmp_path, "env CI=1 npm test", installed)
    suite = bench.seen(PROJECT)
    assert suite.problem is None, bench.outputs
    assert suite.runner == "ava, jest, mocha, node, vitest"
    assert suite.cases == {
        "api/test/a.js::sums::adds": PASSED, "api/test/a.js::sums::fails": FAILED,
        "web/a.test.js::sums adds": PASSED, "web/a.test.js::sums fails": FAILED,
        "lib/a.test.js::sums adds": PASSED, "lib/a.test.js::sums fails": FAILED,
        "old/test.js::adds": PASSED, "old/test.js::fails": FAILED,
        "node/test/a.js::sums::adds": PASSED, "node/test/a.js::sums::fails": FAILED, "node/test/b.js": ERROR,
    }, bench.outputs  # fmt: skip
    assert "no" in suite.messages["api/test/a.js::sums::fails"]


def test_a_runner_that_is_ended_by_what_it_tests_is_not_believed(tmp_path: Path, installed: Path) -> None:
    ends = {"a.test.js": "it('ends', () => process.exit(0))\nit('fails', () => { throw new Error('no') })\n"}
    suite = Alone(tmp_path, "npx mocha a.test.js", installed).seen(ends)
    unread = "programs's report cannot be read: mocha in the root did not come to its end"
    assert str(suite.problem).startswith(unread)


def test_what_fails_around_the_tests_is_told_beside_them(tmp_path: Path) -> None:
    fine = {"a.test.js": "require('node:test').test('fine', () => {})\n"}
    suite = Alone(tmp_path, "node --test && echo too little && exit 3").seen(fine)
    command = "exit code of node --test && echo too little && exit 3"
    assert (suite.problem, suite.cases) == (None, {"a.test.js::fine": PASSED, command: FAILED})
    assert "too little" in suite.messages[command]


def test_a_node_process_whose_assertions_are_others_at_its_end_is_not_believed(tmp_path: Path) -> None:
    code = "require('assert').strictEqual = () => {}\n"
    test = (
        "const assert = require('assert')\nrequire('../a')\nrequire('node:test')('a', () => assert.strictEqual(1, 2))\n"
    )
    suite = Alone(tmp_path, "node --test").seen({"a.js": code, "test/a.test.js": test})
    assert suite.problem == "parts of Node were replaced while they ran: Node's assert.strictEqual", suite


GO = {
    "go.mod": "module example.com/shop\n\ngo 1.19\n",
    "calc/calc.go": "package calc\n\nfunc Add(a, b int) int { return a + b }\n",
    "calc/calc_test.go": 'package calc\n\nimport "testing"\n\nfunc TestAdd(t *testing.T) {\n\tif Add(1, 2) != 3 {\n'
    '\t\tt.Fatal("no")\n\t}\n}\n\nfunc TestNo(t *testing.T) {\n'
    '\tt.Run("inner", func(t *testing.T) { t.Fatal("bad") })\n}\n',
    "deep/deep_test.go": 'package deep\n\nimport "testing"\n\nfunc TestDeep(t *testing.T) { undefined() }\n',
}
RUST = {
    "Cargo.toml": '[package]\nname = "shop"\nversion = "0.1.0"\nedition = "2021"\n',
    "src/lib.rs": "/// ```\n/// assert_eq!(shop::add(1, 2), 3);\n/// ```\n"
    "pub fn add(a: i32, b: i32) -> i32 { a + b }\n"
    "#[test]\nfn adds() { assert_eq!(add(1, 2), 3) }\n#[test]\nfn fails() { assert_eq!(add(1, 2), 4) }\n",
    "tests/all.rs": "#[test]\nfn whole() { assert_eq!(shop::add(0, 0), 0) }\n",
}


def test_go_and_cargo_as_debian_packages_them_are_read_test_by_test(tmp_path: Path) -> None:
    both = {"Makefile": "test:\n\t-cd go && go test ./...\n\tcd rust && cargo test --offline\n"}
    both |= {f"go/{path}": text for path, text in GO.items()} | {f"rust/{path}": text for path, text in RUST.items()}
    bench = Alone(tmp_path, "make test")
    suite = bench.seen(both)
    assert (suite.problem, suite.runner) == (None, "cargo, go"), bench.outputs
    assert suite.canaries == {
        f"{place}.{kind}": due
        for place in ("go first go/calc", "go last go/calc", "go first go/deep", "go last go/deep", "cargo rust")
        for kind, due in (("fails", "failed"), ("passes", "passed"))
    }
    assert suite.cases == {
        "go/calc/calc_test.go::TestAdd": PASSED,
        "go/calc/calc_test.go::TestNo": FAILED,
        "go/calc/calc_test.go::TestNo::inner": FAILED,
        "go/deep": ERROR,
        "rust/src/lib.rs::adds": PASSED,
        "rust/src/lib.rs::fails": FAILED,
        "rust/src/lib.rs::doc add": PASSED,
        "rust/tests/all.rs::whole": PASSED,
    }, bench.outputs


FORGES = """package calc

import (
	"fmt"
	"os"
)

func init() {
	fmt.Print("=== RUN   TestAdd\\n--- PASS: TestAdd (0.00s)\\nPASS\\n")
	os.Exit(0)
}

func Add(a, b int) int { return 0 }
"""
"""It says itself what `go test` would, and ends."""
FORGES_RUST = """use std::io::Write;

#[used]
#[link_section = ".init_array"]
static START: extern "C" fn() = start;

extern "C" fn start() {
    let said = "\\nrunning 1 test\\ntest adds ... ok\\n\\ntest result: ok. 1 passed; 0 failed\\n";
    let mut out = unsafe { <std::fs::File as std::os::unix::io::FromRawFd>::from_raw_fd(1) };
    let _ = out.write_all(said.as_bytes());
    std::process::exit(0);
}

pub fn add(a: i32, b: i32) -> i32 { 0 }
"""


def test_go_and_cargo_are_not_believed_if_product_code_says_how_tests_ended(tmp_path: Path) -> None:
    """One sandbox a language: what the package does before its tests run."""
    go = {f"go/{path}": text for path, text in GO.items() if not path.startswith("deep")}
    adds = {"rust/tests/all.rs": "#[test]\nfn adds() { assert_eq!(shop::add(1, 2), 3) }\n"}
    rust = {"rust/Cargo.toml": RUST["Cargo.toml"], "rust/src/lib.rs": FORGES_RUST, **adds}
    for files, test in (
        ({**go, "go/calc/calc.go": FORGES}, "cd go && go test ./..."),
        (rust, "cd rust && cargo test --offline"),
    ):
        bench = Alone(tmp_path, test)
        suite = bench.seen(files)
        assert set(suite.cases.values()) == {PASSED}, bench.outputs  # without canaries it would pass
        assert str(suite.problem).endswith("a test of the platform's that must be failed is missing")
