"""A new home is given what was made at the install: a database that the server need not make, and compiled rules.

What is there is left as it is."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from blocks.scanners import kingfisher
from domain.trees import TreeEntry
from station import first_database, registered, settings


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    return tmp_path / "prefect" / "prefect.db"


def test_a_new_home_is_given_block_types_and_deployments_and_no_row_of_anybody(at: Path) -> None:
    first_database.place()
    with closing(sqlite3.connect(at)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in tables}
        named = {name for (name,) in database.execute("SELECT name FROM deployment")}
    assert {table for table, count in rows.items() if count} <= set(first_database.KEPT)
    assert rows["alembic_version"] == 1 and rows["block_type"] > 30
    told = yaml.safe_load((settings.PROJECT / "prefect.yaml").read_text())
    assert named == {one["name"] for one in told["deployments"]}


def test_what_the_install_registered_counts_for_this_very_code_alone(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = at.with_name("kept.db")
    kept.parent.mkdir()
    kept.write_bytes(first_database.kept().read_bytes())
    monkeypatch.setattr(first_database, "kept", lambda: kept)
    first_database.place()
    assert not registered.is_noted(registered.digest())  # nobody said which code it was
    at.unlink()
    kept.with_suffix(".code").write_text(registered.digest())
    first_database.place()
    assert registered.is_noted(registered.digest())
    assert not registered.is_noted("of other code")


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
