"""A ledger as one file, and back: of either database, and never an older one over a newer."""

import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlmodel import Session

from blocks.ledger import copies, database, rows, seen
from blocks.ledger.database import parse
from blocks.ledger.ledger import Ledger
from blocks.ledger.passwords import Passwords
from blocks.ledger.tokens import Tokens
from domain.access import Role
from domain.errors import LedgerError
from domain.value import Value
from tests.postgres import new_database


class Note(Value):
    """What the entries of these tests hold."""

    text: str


def written(url: str, *keys: str) -> Ledger:
    ledger = Ledger(url=url)
    for key in keys:
        ledger.record("run", "note", key, Note(text=f"of {key} – ü"))
    return ledger


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a ledger that is not there yet."""
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    if request.param == "postgres":
        return new_database(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path}/ledger.db"


def lose(url: str) -> None:
    """What a lost machine leaves: no file, an empty database, and a home that knows of nothing."""
    seen.mark_of(seen.place_of(parse(url))).unlink()
    if url.startswith("sqlite"):
        for end in ("", "-wal", "-shm", ".lock"):
            Path(url.removeprefix("sqlite:///") + end).unlink(missing_ok=True)
        return
    with create_engine(parse(url)).begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    database._engine.cache_clear()  # as in a process that starts


def test_what_was_lost_comes_back_whole_and_goes_on(place: str, tmp_path: Path) -> None:
    ledger = written(place, "a", "b")
    token = ledger.lease("door", "me", 600)
    Tokens(place).add("ann", {Role.REVIEW})
    Passwords(place).set("ann", "four plain old words")
    before = ledger.entries()
    copies.copy(place, tmp_path / "copy.db")
    lose(place)
    assert place.partition(":")[0] in copies.put_back(tmp_path / "copy.db", place)
    assert ledger.entries() == before
    assert ledger.lease("door", "me", 600) == token, "a token never goes back"
    assert Passwords(place).of("ann", "four plain old words") is not None, "who signs in by name still does"
    written(place, "c")
    assert [entry.key for entry in ledger.entries()] == ["a", "b", "c"]
    assert ledger.verify() is None
    assert [mark.read_text().splitlines()[0] for mark in (tmp_path / "home" / "ledgers").iterdir()] == [
        seen.place_of(parse(place))
    ], "the home remembers its ledger, and no copy"


def test_a_copy_has_every_table_but_the_counts_of_tries() -> None:
    made = {row for row in vars(rows).values() if hasattr(row, "__tablename__") and hasattr(row, "__table__")}
    assert len(made) > 4 and made - set(copies.TABLES) == {rows.SignInRow}


def test_a_ledger_that_is_there_and_goes_as_far_is_left_as_it_is(place: str, tmp_path: Path) -> None:
    ledger = written(place, "a")
    copies.copy(place, tmp_path / "copy.db")
    written(place, "b")
    assert "left as it is" in copies.put_back(tmp_path / "copy.db", place)
    assert [entry.key for entry in ledger.entries()] == ["a", "b"]


def test_an_older_ledger_and_another_one_are_refused_beside_a_newer_prefect(place: str, tmp_path: Path) -> None:
    ledger = written(place, "a")
    copies.copy(place, tmp_path / "older.db")
    written(place, "b")
    copies.copy(place, tmp_path / "newer.db")
    lose(place)
    copies.put_back(tmp_path / "older.db", place)
    with pytest.raises(LedgerError, match="ends with entry 1 and does not hold entry 2"):
        copies.put_back(tmp_path / "newer.db", place)
    written(place, "another")
    with pytest.raises(LedgerError, match="an older or another ledger would stand beside a newer Prefect"):
        copies.put_back(tmp_path / "newer.db", place)
    assert [entry.key for entry in ledger.entries()] == ["a", "another"]


def test_a_copy_is_of_mode_600_and_takes_no_file_s_place(place: str, tmp_path: Path) -> None:
    written(place, "a")
    copies.copy(place, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    with pytest.raises((LedgerError, FileExistsError)):
        copies.copy(place, tmp_path / "copy.db")


def test_a_copy_is_made_while_the_machine_is_slow_with_its_file(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(place, "a")
    real = database.transaction

    def slow(url: str, *, write: bool) -> AbstractContextManager[Session]:
        if "copy.db" in url:
            time.sleep(1.5)
        return real(url, write=write)

    monkeypatch.setattr(copies, "transaction", slow)
    monkeypatch.setattr(database, "IDLE_S", 1)
    copies.copy(place, tmp_path / "copy.db")
    monkeypatch.undo()
    assert [entry.key for entry in Ledger(url=copies._url_of(tmp_path / "copy.db")).entries()] == ["a"]
