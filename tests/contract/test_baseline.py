"""What is kept of a run of the tests, and when base is not run again: a real repository, sandboxes and scanners."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from blocks.workshop import Workshop
from domain.brief import Brief
from domain.redaction import REPLACEMENT
from domain.task import Prepared, Suite
from domain.trees import TreeEntry
from kits.briefs import FILES, git, repository
from tasks.room import redaction
from tasks.running import baseline
from tests.contract.by_steps import Gated, a_workshop, brief, entry, gated, prepared_by

TOKEN = "gh" + "p_" + "Zx7Kq2Wm9Rt4Yb6Nc8Vd3Lf5Js1Hg0Pa2Bu4"
SAYS = f"""import sys

TOKEN = "{TOKEN}"


def add(a, b):
    print("calling with", TOKEN)
    if sys.argv[-1] == "a lint":
        sys.exit(f"sums.py:3: hard-coded: {{TOKEN}}")
    return a + b
"""
FAILS = "\n\ndef double(a):\n    raise RuntimeError(f'no answer for {TOKEN}')\n"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with a_workshop(tmp_path_factory.mktemp("home")) as made:
        yield made


# --- base is not run again


class Counted:
    """Runs suites and counts them."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, *given: Any, **named: Any) -> Suite:
        self.runs += 1
        return RUN_SUITE(*given, **named)


RUN_SUITE = baseline.run_suite


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counter = Counted()
    monkeypatch.setattr(baseline, "run_suite", counter)
    return counter


def test_equal_inputs_are_not_run_again_and_any_other_is(shop: Workshop, tmp_path: Path, counted: Counted) -> None:
    at = repository(tmp_path / "sums", bare=False)
    first = prepared_by("first", brief(at))
    assert first.baseline and first.refusals == ()
    again = prepared_by("second", brief(at, title="Another title", budget={"attempts": 2}))
    assert (counted.runs, again.baseline) == (1, first.baseline)
    assert [entry.run_id for entry in shop.ledger.entries(kind="bill")] == ["first"], "nobody pays for it twice"

    git(at, "commit", "--allow-empty", "--message", "the same files")
    moved = prepared_by("moved", brief(at))
    assert (counted.runs, moved.baseline) == (1, first.baseline)
    assert moved.base != first.base

    acceptance = {"files": [{"path": "tests/test_more.py", "content": "def test_it():\n    assert 0\n"}]}
    prepared_by("another acceptance", brief(at, acceptance=acceptance))
    assert counted.runs == 2
    (at / "sums.py").write_text(FILES["sums.py"] + "# a word\n")
    git(at, "commit", "--all", "--message", "other files")
    prepared_by("another tree", brief(at))
    assert counted.runs == 3


def changed(ready: Prepared, **fields: Any) -> Prepared:
    return ready.model_copy(update=fields)


def with_brief(ready: Prepared, **fields: Any) -> Prepared:
    return changed(ready, brief=Brief.model_validate({**ready.brief.model_dump(), **fields}))


OTHERS: dict[str, Callable[[Prepared], Prepared]] = {
    "contract": lambda ready: changed(ready, contract="d" * 64),
    "a command": lambda ready: changed(ready, settings=ready.settings.model_copy(update={"lint": "ruff check"})),
    "variables": lambda ready: changed(ready, settings=ready.settings.model_copy(update={"environment": {"A": "1"}})),
    "requirements": lambda ready: changed(ready, requirements=("pytest==9.2.0", "iniconfig")),
    "acceptance command": lambda ready: with_brief(ready, acceptance={"command": "false"}),
    "acceptance tests": lambda ready: with_brief(ready, acceptance={"tests": ["tests/test_a.py::test_a"]}),
    "repository": lambda ready: with_brief(ready, repository="/elsewhere"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_the_record_is_of_everything_that_a_run_depends_on(shop: Workshop, tmp_path: Path, what: str) -> None:
    at = repository(tmp_path / "sums", bare=False)
    ready = prepared_by(f"keys of {what}", brief(at))
    tree = shop.forge.tree(str(at), ready.base)
    key = baseline.baseline_key(shop, ready, tree)
    assert key == baseline.baseline_key(shop, ready, dict(reversed(tree.items())))
    assert key != baseline.baseline_key(shop, OTHERS[what](ready), tree)
    assert key != baseline.baseline_key(shop, ready, {**tree, "new.py": TreeEntry(0o100644, b"")})
    other = shop.model_copy()
    other.__dict__["sandbox"] = shop.docker
    assert key != baseline.baseline_key(other, ready, tree)


def test_a_base_that_cannot_be_believed_is_not_kept(shop: Workshop, tmp_path: Path, counted: Counted) -> None:
    broken = {**FILES, "tests/conftest.py": "import os\nos._exit(0)\n"}
    at = repository(tmp_path / "sums", broken, bare=False)
    for run in ("broken once", "broken twice"):
        assert "cannot be run on base" in prepared_by(run, brief(at)).refusals[0]
    assert counted.runs == 4, "each time anew, and each time once more without the acceptance files"


# --- what is kept holds no secret of the repository


@pytest.fixture
def leaky(shop: Workshop, tmp_path: Path) -> Prepared:
    """A project that prints its own token in tests, lint and failures."""
    settings = FILES["lockgate.toml"] + "lint = \"python -c 'import sums; sums.add(1, 2)' 'a lint'\"\n"
    at = repository(tmp_path / "leaky", {**FILES, "sums.py": SAYS, "lockgate.toml": settings}, bare=False)
    return prepared_by(f"leaky {tmp_path}", brief(at))


def with_more(shop: Workshop, ready: Prepared, more: str) -> Gated:
    """What the gates say of sums.py with this at its end."""
    return gated(shop, ready, lambda base: {**base, "sums.py": entry(base["sums.py"].content + more.encode())})


def kept(shop: Workshop, ready: Prepared, suite_outputs: list[str]) -> str:
    """All that the ledger and the store have of this run."""
    entries = [str(e.body) for run in (ready.run_id, "baselines") for e in shop.ledger.entries(run_id=run)]
    return "\n".join([*entries, *(shop.store.get(digest).decode() for digest in suite_outputs)])


def test_what_tests_and_checks_print_is_kept_without_the_repositorys_secrets(shop: Workshop, leaky: Prepared) -> None:
    assert leaky.baseline and leaky.refusals == ()
    seen = with_more(shop, leaky, FAILS)
    tested = seen.tested
    outputs = [leaky.baseline.output, tested.output or ""]
    text = kept(shop, leaky, outputs)
    assert TOKEN not in text
    for digest in outputs:
        assert REPLACEMENT.search(shop.store.get(digest).decode()), "it was printed"
    double = next(row for row in tested.rows if row.test.endswith("test_double"))
    assert "no answer for redacted_" in double.message
    assert [f.rule for f in tested.findings] == ["broken-on-base"], "the lint says on both what it says of the token"
    reasons = " ".join(seen.verdict.reasons)
    assert "test_double is failed" in reasons
    assert TOKEN not in reasons


def test_a_secret_that_the_change_brings_is_not_kept_either(shop: Workshop, leaky: Prepared) -> None:
    own = TOKEN[:8] + TOKEN[:7:-1]
    tested = with_more(shop, leaky, f"\n\ndef double(a):\n    raise ValueError('{own}')\n").tested
    assert own not in kept(shop, leaky, [tested.output or ""])
    assert "ValueError" in next(row.message for row in tested.rows if row.kind == "acceptance")


def test_nothing_is_kept_of_what_was_printed_where_a_scanner_fails(
    shop: Workshop, leaky: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind = redaction.spotted(shop, {}).model_copy(
        update={"findings": shop.kingfisher.model_copy(update={"program": "/nowhere"}).scan_all({"a": ENTRY})}
    )
    monkeypatch.setattr(redaction, "spotted", lambda *_: blind)
    tested = with_more(shop, leaky, FAILS).tested
    assert shop.store.get(tested.output or "").decode() == redaction.WITHHELD
    assert {row.message for row in tested.rows} == {"", redaction.WITHHELD}


ENTRY = TreeEntry(0o100644, b"x\n")
