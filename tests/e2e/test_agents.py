"""What agents may do beyond one try: race, ask for help, remember, and use a project's own packages."""

import json
from pathlib import Path
from typing import Any

import pytest

from domain.task import Attempt, End
from kits.briefs import GOOD, brief, repository
from kits.product.station import Station


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    """A folder of agents' scripts that sandboxes can read: pytest keeps its own to itself."""
    folder = tmp_path / "agents"
    folder.mkdir(mode=0o755)
    return folder


BIG = GOOD + "printf '\\n\\n# A remark.\\n# Another.\\n# And one more.\\n' >> sums.py\n"


def attempts(station: Station, run: str) -> dict[int, Attempt]:
    made = [Attempt.model_validate(e.body) for e in station.entries(run, "attempt")]
    return {attempt.number: attempt for attempt in made}


def test_a_race_ends_with_the_first_that_passes_and_stops_the_rest(
    station: Station, tmp_path: Path, mounts: Path
) -> None:
    at = repository(tmp_path / "sums.git")
    station.command("hangs", "sleep 1200\n", mounts)
    station.command("small", GOOD, mounts)
    station.command("big", BIG, mounts)
    agents = ["command/hangs", "command/big", "command/small"]
    run = station.submit(brief(at, "command/small", race=3, roles={"edit": agents}))
    outcome = station.wait(run)
    assert outcome.end is End.MERGED, outcome.reasons
    made = attempts(station, run)
    assert made[1].problem == "the agent was stopped: attempt " + (made[1].problem or "").split("attempt ")[1]
    assert "passed every gate first" in (made[1].problem or "")
    asked = station.entries(run, "question")[-1].body["attempt"]
    good = {number: attempt.changed_lines for number, attempt in made.items() if attempt.commit}
    assert good[asked] == min(good.values())
    steps = {(e.body["step"], e.body["attempt"]) for e in station.entries(run, "bill")}
    assert {("edit", 1), ("edit", 2), ("edit", 3)} <= steps


def test_an_agent_that_asks_for_help_gets_an_answer_and_goes_on(station: Station, tmp_path: Path, mounts: Path) -> None:
    at = repository(tmp_path / "sums.git")
    script = (
        'if [ "$LOCKGATE_ATTEMPT" = 1 ]; then echo "Is double of a text a text?" > /lockgate/help.md; exit 0; fi\n'
        "grep -q 'numbers only' /lockgate/feedback.md || exit 9\n" + GOOD
    )
    station.command("asks", script, mounts)
    run = station.submit(brief(at, "command/asks", budget={"attempts": 2}))
    station.wait_for_state(run, "PAUSED")
    while station.answer(run, {"answers": "numbers only", "answered_by": "tester"}) == "BUSY":
        pass
    outcome = station.wait(run)
    assert outcome.end is End.MERGED, outcome.reasons
    assert attempts(station, run)[1].help == "Is double of a text a text?"


def test_what_a_shipped_attempt_wrote_down_is_there_for_the_next_task(
    station: Station, tmp_path: Path, mounts: Path
) -> None:
    at = repository(tmp_path / "sums.git")
    station.command("notes", f"echo 'Tests run with pytest -q.' > /lockgate/memory.md\n{GOOD}", mounts)
    first = station.wait(station.submit(brief(at, "command/notes")))
    assert first.end is End.MERGED, first.reasons
    more = "printf '\\n\\ndef triple(a):\\n    return 3 * a\\n' >> sums.py\n"
    station.command("notes", f"grep -q 'pytest -q' /lockgate/memory.md || exit 9\n{more}", mounts)
    acceptance = "import sums\n\n\ndef test_triple():\n    assert sums.triple(4) == 12\n"
    told = brief(
        at,
        "command/notes",
        title="Add a triple function",
        goal="Add `triple(a)` to `sums.py`, which returns three times its argument",
        acceptance={"files": [{"path": "tests/acceptance/test_triple.py", "content": acceptance}]},
    )
    second = station.wait(station.submit(told))
    assert second.end is End.MERGED, second.reasons


PACKAGE: dict[str, Any] = {
    "name": "sums",
    "version": "1.0.0",
    "private": True,
    "scripts": {"test": "node --test"},
    "dependencies": {"is-number": "7.0.0"},
}
LOCK: dict[str, Any] = {
    "name": "sums",
    "version": "1.0.0",
    "lockfileVersion": 3,
    "requires": True,
    "packages": {
        "": {"name": "sums", "version": "1.0.0", "dependencies": {"is-number": "7.0.0"}},
        "node_modules/is-number": {
            "version": "7.0.0",
            "integrity": "sha512-"
            "41Cifkg6e8TylSpdtTpeLVMqvSBEVzTttHvERD741+pnZ8ANv0004MRL43QKPDlK9cGvNp6NZWZUBlbGXYxxng==",
        },
    },
}
NODE_FILES = {
    "package.json": json.dumps(PACKAGE),
    "package-lock.json": json.dumps(LOCK),
    "sums.js": "const isNumber = require('is-number');\nexports.add = (a, b) => (isNumber(a) ? a + b : NaN);\n",
    "sums.test.js": (
        "const test = require('node:test');\nconst assert = require('node:assert');\n"
        "const { add } = require('./sums');\n"
        "test('add', () => assert.equal(add(2, 3), 5));\n"
    ),
}


def test_a_node_project_is_set_up_through_the_gateway_once_and_tested(
    station: Station, tmp_path: Path, mounts: Path
) -> None:
    at = repository(tmp_path / "sums.git", NODE_FILES)
    double = "printf 'exports.double = (a) => 2 * a;\\n' >> sums.js\n"
    station.command("node", double, mounts)
    check = "node -e \"if (require('./sums').double(4) !== 8) process.exit(1)\""
    told = brief(
        at, "command/node", goal="Add `double(a)` to `sums.js`, which returns twice its argument",
        acceptance={"command": check},
    )  # fmt: skip
    run = station.submit(told)
    outcome = station.wait(run)
    assert outcome.end is End.MERGED, outcome.reasons
    layers = [path for path in (station.home / "layers").iterdir() if path.is_dir()]
    assert [(path / "node_modules" / "is-number" / "package.json").is_file() for path in layers] == [True]
    denied = [d for e in station.entries(run, "egress") for d in e.body["decisions"] if not d["allowed"]]
    seen = [d for e in station.entries(run, "egress") for d in e.body["decisions"] if d["allowed"]]
    assert {d["phase"] for d in seen} == {"setup"}, denied


def test_a_host_that_nobody_allowed_is_denied_and_on_record(station: Station, tmp_path: Path, mounts: Path) -> None:
    at = repository(tmp_path / "sums.git")
    station.command(
        "online",
        f"python -c 'import urllib.request as u; u.urlopen(\"https://example.com\")' && exit 9\n{GOOD}",
        mounts,
    )
    run = station.submit(brief(at, "command/online"))
    outcome = station.wait(run)
    assert outcome.end is End.MERGED, outcome.reasons
    decisions = [d for e in station.entries(run, "egress") for d in e.body["decisions"]]
    assert [(d["host"], d["allowed"]) for d in decisions] == [("example.com", False)]
