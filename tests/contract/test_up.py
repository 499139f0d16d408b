"""`lockgate up` asks the server that it has started, whatever another station on this machine listens on."""

import os
from pathlib import Path

import pytest

from blocks import workshop
from domain.errors import InputError
from station import cli, supervisor


def test_the_workshop_is_asked_for_at_the_port_that_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "LOCKGATE_HOME": str(tmp_path)})
    os.environ["PREFECT_API_URL"] = "http://127.0.0.1:4200/api"  # as it was before, where another station is

    def start() -> bool:
        (tmp_path / "port").write_text("4299")
        return True

    def ask(name: str) -> None:
        raise InputError(os.environ["PREFECT_API_URL"])

    monkeypatch.setattr(supervisor, "up", start)
    monkeypatch.setattr(workshop, "workshop", ask)
    with pytest.raises(InputError, match=":4299/api"):
        cli.up(foreground=False)
