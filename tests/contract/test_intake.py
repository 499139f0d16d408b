"""The inbox takes what lies in it, and nothing else of this machine."""

import inspect
import logging
from pathlib import Path

import pytest

from flows import intake as module
from flows.endings import NOTHING

BRIEF = 'title = "Add a search"\ngoal = "x"\nrepository = "/x"\n[acceptance]\ncommand = "true"\n'


def test_only_plain_files_of_the_inbox_are_taken_and_nothing_outside_is_read_or_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    submitted: list[dict[str, object]] = []
    monkeypatch.setattr(module, "run_deployment", lambda _, parameters, **__: submitted.append(parameters["brief"]))
    monkeypatch.setattr(module, "get_run_logger", lambda: logging.getLogger("test"))
    inbox, elsewhere = tmp_path / "inbox", tmp_path / "elsewhere"
    inbox.mkdir()
    elsewhere.mkdir()
    key = tmp_path / "encryption-key"
    key.write_text("s3cret")
    foreign = elsewhere / "foreign.toml"
    foreign.write_text(BRIEF)
    (inbox / "good.toml").write_text(BRIEF)
    (inbox / "link.toml").symlink_to(foreign)
    (inbox / "folder.toml").mkdir()
    added = '[[acceptance.files]]\npath = "tests/test_a.py"\nfrom = "../encryption-key"\n'
    (inbox / "greedy.toml").write_text(BRIEF + added)
    ended = module.intake.fn()
    assert {name: what.split(":")[0] for name, what in ended.data.items()} == {
        "good.toml": "submitted", "link.toml": "refused", "folder.toml": "refused", "greedy.toml": "refused",
    }  # fmt: skip
    assert [brief["title"] for brief in submitted] == ["Add a search"] and ended.message != NOTHING
    assert module.intake.fn().message == NOTHING
    assert foreign.read_text() == BRIEF
    assert key.read_text() == "s3cret"
    assert "lies outside" in (inbox / "refused" / "greedy.toml.reason.txt").read_text()
    assert not any("s3cret" in path.read_text() for path in inbox.rglob("*.txt"))


def test_whoever_starts_it_can_name_no_folder() -> None:
    assert not inspect.signature(module.intake.fn).parameters
