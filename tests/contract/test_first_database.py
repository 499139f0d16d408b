"""A new home is given what was made at the install: a database that the server need not migrate, and compiled rules.

What is there is left as it is."""

import sqlite3
from pathlib import Path

import pytest

from blocks.scanners import kingfisher
from domain.ports import TreeEntry
from station import first_database


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    return tmp_path / "prefect" / "prefect.db"


def test_a_new_home_is_given_every_table_and_no_row_of_anybody(at: Path) -> None:
    first_database.place()
    database = sqlite3.connect(at)
    assert database.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
    for table in ("flow_run", "deployment", "block_document", "block_type", "configuration", "variable"):
        assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table


def test_what_is_there_stays_and_without_one_at_hand_the_server_makes_its_own(
    at: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at.parent.mkdir()
    at.write_text("another")
    first_database.place()
    assert at.read_text() == "another"
    at.unlink()
    monkeypatch.setattr(first_database, "kept", lambda: at.with_name("none"))
    first_database.place()
    assert not at.exists()


def test_a_new_home_scans_with_the_rules_that_the_install_compiled_and_without_them_compiles_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = {"a.txt": TreeEntry(0o100644, b"nothing")}
    scanner = kingfisher.Kingfisher()
    compiled = tmp_path / "installed" / "kingfisher"
    monkeypatch.setattr(kingfisher, "installed", lambda: compiled.parent)
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "one"))
    scanner.prepare()
    (made,) = compiled.iterdir()
    cache = tmp_path / "one" / "cache" / "kingfisher"
    assert scanner.scan_all(tree) == ()
    assert [(rules.name, rules.read_bytes()) for rules in cache.iterdir()] == [(made.name, made.read_bytes())]

    kept = made.stat().st_ino, (cache / made.name).stat().st_ino
    assert scanner.scan_all(tree) == ()
    assert (made.stat().st_ino, (cache / made.name).stat().st_ino) == kept, "nothing is compiled or copied twice"
