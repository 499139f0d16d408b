"""Blocks name nothing of the machine that saved them: another home of the same station reads them as its own."""

import json
from pathlib import Path
from typing import Any

import pytest

from blocks.base import LockgateBlock
from blocks.databases.sqlite import SqliteDatabase
from blocks.forges.local import LocalForge
from blocks.home import portable, resolved
from blocks.ledger.ledger import Ledger
from blocks.stores.local import LocalStore
from blocks.targets.command.target import CommandTarget
from blocks.targets.command.words import Commands
from blocks.targets.machine.process import ProcessTarget
from blocks.workshop import Workshop


def saved(block: LockgateBlock) -> Any:
    """As Prefect keeps it."""
    return block._to_block_document(name="x", block_schema_id=ID, block_type_id=ID, include_secrets=True).data


ID = "00000000-0000-0000-0000-000000000001"


def test_what_one_home_saves_another_reads_as_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    monkeypatch.setenv("LOCKGATE_HOME", str(one))
    outside = tmp_path / "outside"
    blocks: list[LockgateBlock] = [
        Workshop(),
        ProcessTarget(name="shop", port=1),
        CommandTarget(
            name="shop",
            address="http://127.0.0.1:1",
            commands=Commands(start=("x",), promote=("x",), rollback=("x",), current=("x",)),
        ),
        SqliteDatabase(path=one / "data" / "shop.db"),
        LocalStore(root=outside),
        LocalForge(root=tmp_path / "one-and-more"),
    ]
    documents = [saved(block) for block in blocks]
    text = json.dumps(documents, default=str)
    assert f"{one}/" not in text and f'"{one}"' not in text
    monkeypatch.setenv("LOCKGATE_HOME", str(other))
    shop, process, command, database, store, forge = (
        type(block).model_validate(document) for block, document in zip(blocks, documents, strict=True)
    )
    assert isinstance(shop, Workshop) and shop.ledger.url.get_secret_value() == f"sqlite:///{other}/ledger.db"
    for part in Workshop.model_fields:
        if root := getattr(getattr(shop, part), "root", None):
            assert Path(root).is_relative_to(other), part
    assert process.root == command.root == other / "targets"  # type: ignore[attr-defined]
    assert database.path == other / "data" / "shop.db" and database.copies == other / "databases"  # type: ignore[attr-defined]
    assert store.root == outside and forge.root == tmp_path / "one-and-more"  # type: ignore[attr-defined]


def test_only_a_place_below_the_home_stands_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", "/srv/lockgate")
    given = {
        "a": "/srv/lockgate/x", "b": ["/srv/lockgate"], "c": "/srv/lockgates/x", "d": "see /srv/lockgate/x",
        "e": "sqlite:////srv/lockgate/l.db", "f": 1, "g": None, "h": ("postgresql://u:p@h/srv/lockgate",),
    }  # fmt: skip
    kept = portable(given)
    changed = {"a": "$LOCKGATE_HOME/x", "b": ["$LOCKGATE_HOME"], "e": "sqlite:///$LOCKGATE_HOME/l.db"}
    assert kept == {**given, **changed}
    assert resolved(kept) == given
    assert Ledger(url="sqlite:///$LOCKGATE_HOME/l.db").url.get_secret_value() == "sqlite:////srv/lockgate/l.db"  # type: ignore[arg-type]
