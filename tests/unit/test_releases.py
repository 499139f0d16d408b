"""Which release an environment goes back to, and what a change must not touch to be judged by it."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from blocks.ledger.rows import Entry
from domain.brief import Acceptance, Brief
from domain.project import ProjectSettings
from domain.trees import Tree, TreeEntry
from tasks.deploy import live_before
from tasks.prepare import _release_refusals, with_locked_commands


def shop(*live: str) -> object:
    """A workshop whose ledger saw these go live, oldest first, as environment:revision."""
    entries = []
    for number, name in enumerate(live):
        environment, _, revision = name.partition(":")
        body = {"environment": environment, "revision": revision}
        entries.append(
            Entry(
                number=number,
                at=datetime.now(UTC),
                run_id="r",
                kind="live",
                key=revision,
                type="Release",
                body=body,
                hash="",
            )
        )
    return SimpleNamespace(ledger=SimpleNamespace(entries=lambda kind: tuple(entries)))


@pytest.mark.parametrize(
    ("live", "now", "wanted"),
    [
        (("a:1", "a:2", "a:3"), "3", ("2", "1")),
        (("a:1", "a:2", "a:3"), "2", ("1",)),  # rolled back once: a second time goes further back, never forward
        (("a:1", "a:2", "a:3"), "1", ()),
        (("a:1", "b:9", "a:2"), "2", ("1",)),
        (("a:1", "a:2"), "sick", ("2", "1")),  # what serves was never seen live
        (("a:1", "a:2", "a:1"), "1", ("2",)),
        ((), "1", ()),
        (("b:1",), None, ()),
    ],
)
def test_going_back_is_always_to_an_earlier_release(
    live: tuple[str, ...], now: str | None, wanted: tuple[str, ...]
) -> None:
    assert live_before(shop(*live), "a", now) == wanted  # type: ignore[arg-type]


BRIEF = Brief(title="abc", goal="x", repository="x", acceptance=Acceptance(tests=("t",)))
TREE: Tree = {
    name: TreeEntry(0o100644, b"")
    for name in (
        "check.sh",
        "Makefile",
        "shop/app.py",
        "tools/test.py",
        "mypy.ini",
        "sub/Makefile",
        "ci.mk",
        "justfile",
    )
}


@pytest.mark.parametrize(
    ("settings", "command", "locked"),
    [
        ({}, "sh check.sh", {"check.sh"}),
        ({}, "./check.sh --fast", {"check.sh"}),
        ({"test": "make test"}, None, {"Makefile"}),
        ({"test": "python tools/test.py"}, None, {"tools/test.py"}),
        ({"types": "mypy --config-file mypy.ini shop/app.py"}, None, {"mypy.ini"}),
        ({"lint": "ruff check shop/app.py"}, None, set()),
        ({"lint": "cd tools && uv run python -W error -m test"}, None, {"tools/test.py"}),
        ({"build": "make -f ci.mk all", "types": "poetry run just types"}, None, {"Makefile", "ci.mk", "justfile"}),
        ({"test": "python -m tools.test"}, "python -m tools.test", set()),
        ({}, None, set()),
    ],
)
def test_what_a_checking_command_is_made_of_is_locked(
    settings: dict[str, str], command: str | None, locked: set[str]
) -> None:
    before = ProjectSettings(**settings)
    brief = BRIEF.model_copy(update={"acceptance": Acceptance(tests=("t",), command=command)})
    after = with_locked_commands(before, brief, TREE)
    assert set(after.test_paths) - set(before.test_paths) == locked


def test_a_release_without_a_run_command_is_refused_before_anything_is_merged() -> None:
    released = BRIEF.model_copy(update={"environment": "production"})
    assert "no `run`" in _release_refusals(released, ProjectSettings(), TREE)[0]
    assert _release_refusals(released, ProjectSettings(run="x {port}"), TREE) == ()
    assert _release_refusals(BRIEF, ProjectSettings(), TREE) == ()
