"""`lockgate rollback` while Prefect's server is down: by blocks that were kept, under the lease, on the record."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from blocks import kept
from blocks.base import LockgateBlock
from blocks.ledger.ledger import Ledger
from blocks.workshop import Workshop
from domain.errors import InputError
from domain.value import Value
from flows.rollback import workshop_that_released
from station import credentials
from tasks.releasing import lease
from tests.contract.environment import CANARY
from tests.contract.environments_of_processes import ProcessEnvironment

PROJECT = Path(__file__).resolve().parents[2]


class Named(Value):
    """Of a brief."""

    workshop: str


class Prepared(Value):
    """Of what a run was prepared with."""

    brief: Named


def fields(block: LockgateBlock) -> Any:
    """As Prefect's API gives them with `include_secrets`."""
    return block.model_dump(mode="json", context={"include_secrets": True})


def test_an_environment_goes_back_although_the_server_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    credentials.encryption_key()
    environment = ProcessEnvironment(tmp_path / "targets")
    try:
        first, second = environment.released(), environment.released()
        ledger = environment.ledger
        ledger.record("run", "prepared", "", Prepared(brief=Named(workshop="team")))
        for made in (first, second):
            ledger.record("run", "live", made.revision, made)
        shop = Workshop(ledger=ledger, targets={"shop": "process-target/shop"})
        documents = {
            "lockgate-workshop/default": fields(Workshop(ledger=ledger, targets={"shop": "process-target/another"})),
            "lockgate-workshop/idle": fields(Workshop(ledger=ledger)),
            "lockgate-workshop/team": fields(shop),
            "lockgate-process-target/shop": fields(environment.target),
        }
        with pytest.raises(InputError, match="no blocks were kept"):
            kept.fields("lockgate-workshop", "default")
        kept.keep(documents)
        file = tmp_path / "home" / "prefect" / "blocks.kept"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert CANARY.encode() not in file.read_bytes(), "it is encrypted"
        written = file.stat().st_ino
        kept.keep(documents)
        assert file.stat().st_ino == written, "nothing has changed"

        code = "from station.cli import main\nmain()"
        env = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:1/api", "PREFECT_API_AUTH_STRING": "me:secret"}
        done = subprocess.run(
            [sys.executable, "-c", code, "rollback", "shop", "--reason", "it is sick"],
            env=env, cwd=PROJECT, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "rolling back without it" in done.stderr
        assert f"shop was seen serving {first.revision[:12]} again" in done.stdout
        assert environment.target.current() == first.revision
        (back,) = ledger.entries(kind="rolled_back")
        assert (back.body["failed"], back.body["serving"]) == (second.revision, first.revision)
        assert ledger.holder_of("environment/shop") is None
    finally:
        environment.target.stop()


class Live(Value):
    """Of a release that was seen live."""

    environment: str
    revision: str


def test_the_workshop_is_the_one_in_whose_ledger_the_environment_is_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workshops with a ledger each release to it: who rolls back fences off the one that releases now."""
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    credentials.encryption_key()
    documents, ledgers = {}, {}
    for name in ("default", "team"):
        ledgers[name] = Ledger(url=SecretStr(f"sqlite:///{tmp_path}/{name}.db"))
        shop = Workshop(ledger=ledgers[name], targets={"shop": "process-target/shop"})
        documents[f"lockgate-workshop/{name}"] = fields(shop)
        ledgers[name].record("run", "prepared", "", Prepared(brief=Named(workshop=name)))
        ledgers[name].record("run", "live", "1", Live(environment="shop", revision="1" * 40))
    kept.keep(documents)
    with kept.used():
        assert workshop_that_released("shop") == "team", "the last one that released"
        lease.take(ledgers["default"], "shop", "another run")
        assert workshop_that_released("shop") == "default", "it releases now"
        lease.give_back(ledgers["default"], "shop", "another run")
        assert workshop_that_released("shop") == "team"
