"""A run that somebody deleted in Prefect is still told of: the ledger is the record, Prefect only ran it."""

from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr

from blocks.ledger.ledger import Ledger
from domain.errors import InputError
from domain.task import BillLine, End, Outcome
from station import api, follow, runs, status
from station.bundle import _shop_of
from tests.unit.policy_cases import prepared

RUN = str(uuid4())


class NoRuns:
    """Prefect's client, of a server that knows no run."""

    def __enter__(self) -> "NoRuns":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read_flow_run(self, run_id: object) -> None:
        raise ObjectNotFound(http_exc=Exception("404"))


@pytest.fixture
def ledgers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Ledger]:
    made = {name: Ledger(url=SecretStr(f"sqlite:///{tmp_path}/{name}.db")) for name in ("default", "other")}
    monkeypatch.setattr(runs, "get_client", lambda **_: NoRuns())
    monkeypatch.setattr(runs, "names", lambda kind: sorted(made))
    monkeypatch.setattr(runs, "workshop", lambda name: SimpleNamespace(ledger=made[name]))
    urls = {name: ledger.url.get_secret_value() for name, ledger in made.items()}
    monkeypatch.setattr(api, "get", lambda path: None)
    monkeypatch.setattr(api, "post", lambda path, body: [])
    monkeypatch.setattr(api, "ledger_urls", lambda: urls)
    monkeypatch.setattr(api, "ledger_url", lambda name: urls[name])
    return made


def test_the_ledger_of_whichever_workshop_has_it_tells_of_it(
    ledgers: dict[str, Ledger], capsys: pytest.CaptureFixture[str]
) -> None:
    told = prepared()
    told = told.model_copy(update={"brief": told.brief.model_copy(update={"workshop": "other"})})
    ledgers["other"].record(RUN, "bill", "prepare-1", BillLine(run_id=RUN, step="prepare", attempt=1))
    ledgers["other"].record(RUN, "prepared", "1", told)
    outcome = Outcome(run_id=RUN, title="t", end=End.MERGED, sentence="merged into main after 1 attempt")
    ledgers["other"].record(RUN, "outcome", "outcome", outcome)
    run = runs.read_run(RUN)
    assert (str(run.id), run.name, run.state_name) == (RUN, told.brief.title, status.DELETED)
    assert runs.ledger_of(run) == ledgers["other"]
    assert follow.follow(RUN, quiet=True) == outcome
    status.show_run(RUN, as_json=False)
    assert "merged into main after 1 attempt" in capsys.readouterr().out


def test_a_run_by_hand_without_a_brief_is_found_too(
    ledgers: dict[str, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledgers["other"].record(RUN, "bill", "x", BillLine(run_id=RUN, step="prepare", attempt=1))
    run = runs.read_run(RUN)
    assert status.read_run(RUN)["state_name"] == status.DELETED
    monkeypatch.setattr("station.bundle.workshop", lambda name: name)
    assert _shop_of(run) == "other"


def test_a_run_that_no_ledger_knows_does_not_exist(ledgers: dict[str, Ledger]) -> None:
    for run_id in (str(uuid4()), "nonsense"):
        for read in (runs.read_run, status.read_run):
            with pytest.raises(InputError, match="there is no run"):
                read(run_id)
