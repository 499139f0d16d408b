"""What Node's test runners are asked for, by the program that is loaded into each Node process."""

import json
import os
import subprocess
from pathlib import Path

import pytest

INSIDE = Path(__file__).parents[2] / "tasks" / "running" / "inside_programs"


def run(directory: Path, program: str, source: str, *words: str) -> dict[str, str]:
    """Files that are in the directory of reports after `node PROGRAM WORDS…`."""
    path = directory / program
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    reports = directory / "reports"
    env = {
        **os.environ, "LOCKGATE_REPORTS": str(reports), "NODE_OPTIONS": f"--require {INSIDE / 'node_loaded.cjs'}",
    }  # fmt: skip
    subprocess.run(["node", str(path), *words], env=env, cwd=directory, check=True, capture_output=True, timeout=60)
    return {file.name: file.read_text() for file in reports.iterdir()}


AGAIN = """\
const told = process.argv.filter(word => /^--output-?[fF]ile/.test(word))
if (process.env.COVERED) require('fs').writeFileSync(told.at(-1).split('=')[1], 'ok 1 - all\\n')
else {
  const env = { ...process.env, COVERED: '1' }
  require('child_process').spawnSync(process.execPath, process.argv.slice(1), { env, stdio: 'inherit' })
}
"""


@pytest.mark.parametrize("program", ["tap/bin/run.js", "vitest/dist/cli-wrapper.js"])
def test_a_runner_that_starts_itself_again_writes_one_report(tmp_path: Path, program: str) -> None:
    files = run(tmp_path, f"node_modules/{program}", AGAIN, "test/*.js")
    [begun] = [json.loads(text) for name, text in files.items() if name.endswith(".begun")]
    assert files[begun["report"]] == "ok 1 - all\n"


OWN = """\
import { run } from 'node:test'
const stream = run({ files: [process.argv[2]] })
stream.on('test:fail', () => {})
stream.resume()
"""


def test_a_program_that_calls_nodes_runner_is_read_test_by_test(tmp_path: Path) -> None:
    test = tmp_path / "a.test.js"
    test.write_text(
        "const { test, describe, it } = require('node:test')\n"
        "test('one', () => {})\n"
        "describe('group', () => { it('two', () => { throw new Error('no') }); it.skip('three', () => {}) })\n"
    )
    files = run(tmp_path, "tool/run.mjs", OWN, str(test))
    [begun] = [json.loads(text) for name, text in files.items() if name.endswith(".begun")]
    assert begun["runner"] == "node"
    cases = [(names, outcome) for _, names, outcome, _ in json.loads(files[begun["report"]])]
    assert cases == [(["one"], "passed"), (["group", "two"], "failed"), (["group", "three"], "skipped")]


def test_an_assertion_that_is_another_one_at_the_end_is_told_and_one_that_was_put_back_is_not(tmp_path: Path) -> None:
    swap = "const a = require('assert')\nconst old = a.strictEqual\na.strictEqual = () => {}\n"
    files = run(tmp_path, "replaces.js", f"{swap}require('util').isDeepStrictEqual = () => true\n")
    [told] = [json.loads(text) for name, text in files.items() if name.endswith(".replaced")]
    assert told == ["assert.strictEqual", "util.isDeepStrictEqual"]
    again = tmp_path / "again"
    (again / "reports").mkdir(parents=True)
    assert run(again, "puts_back.js", f"{swap}a.strictEqual = old\n") == {}
