"""A home that was moved, and a ledger that is gone: said, and never taken for a new one."""

from pathlib import Path

import pytest

from blocks.ledger import database
from blocks.ledger.ledger import Ledger
from domain.errors import LedgerError
from domain.task import BillLine
from station import moved


def recorded(url: str) -> int:
    ledger = Ledger(url=url)
    ledger.record("run", "bill", "edit", BillLine(run_id="run", step="edit", attempt=1, usd=0.25))
    return ledger.last_number()


def test_a_home_that_was_moved_is_found_and_its_ledger_is_not_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    monkeypatch.setenv("LOCKGATE_HOME", str(old))
    assert moved.problem() is None, "it is new"
    moved.note()
    url = f"sqlite:///{old}/ledger.db"
    assert recorded(url) == 1
    assert moved.problem() is None

    old.rename(new)
    monkeypatch.setenv("LOCKGATE_HOME", str(new))
    database._engine.cache_clear()
    assert f"`ln -s {new} {old}`" in str(moved.problem())
    with pytest.raises(LedgerError, match="was there and is gone"):
        recorded(url)
    assert not old.exists(), "no empty ledger appears at the old path"

    old.symlink_to(new)
    monkeypatch.setenv("LOCKGATE_HOME", str(old))
    assert moved.problem() is None, "that is how it is mended"
    assert recorded(url) == 1


def test_a_ledger_that_was_emptied_is_not_taken_for_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    url = f"sqlite:///{tmp_path}/ledger.db"
    assert recorded(url) == 1
    for left in tmp_path.glob("ledger.db*"):
        left.unlink()
    (tmp_path / "ledger.db").touch()
    database._engine.cache_clear()
    with pytest.raises(LedgerError, match="To begin a new one on purpose, remove"):
        recorded(url)
    (known,) = (tmp_path / "ledgers").iterdir()
    known.unlink()
    assert recorded(url) == 1


@pytest.mark.parametrize("place", ["/work", "/work/home", "/lockgate/home", "/dev/shm/home"])
def test_a_home_that_no_sandbox_could_show_is_refused_before_anything_is_made(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", place)
    assert "Set LOCKGATE_HOME to a directory that is not there" in str(moved.problem())
