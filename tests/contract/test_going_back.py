"""A live release that keeps dying goes back to the one before by itself, with a real proxy and real processes."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from blocks.artifacts.signing_key import SigningKey
from blocks.stores.local import LocalStore
from domain.errors import LedgerError
from domain.rollout import Rollout
from domain.task import Release
from flows import serving
from flows.going_back import go_back
from tasks.releasing import breaker, checkpoint, lease
from tests.contract.environment import ROLLOUT
from tests.contract.environments_of_processes import ProcessEnvironment


class Station:
    """An environment with two releases that were live, and the watch over it."""

    def __init__(self, folder: Path) -> None:
        self.environment = ProcessEnvironment(folder)
        self.first, self.second = self.environment.released(), self.environment.released()
        self.ledger = self.environment.ledger
        for made in (self.first, self.second):
            self.live(made)
        lease.give_back(self.ledger, "shop", str(lease.holder(self.ledger, "shop")))
        self.target = self.environment.target
        self.said: list[str] = []
        self.watch = serving.EnvironmentWatch("shop", self.said.append)
        self.shop: Any = SimpleNamespace(
            ledger=self.ledger,
            store=LocalStore(root=folder / "store"),
            pager="slack-webhook/oncall",
            checkpoints_in_repository=False,
            target=lambda _: self.target,
            database=lambda _: None,
        )

    def live(self, made: Release) -> None:
        self.ledger.record(f"run of {made.revision}", "live", made.revision, made)

    def looks(self) -> None:
        """Once, and its pages are sent."""
        self.watch.look(self.shop)
        if self.watch._pages._sending:
            self.watch._pages._sending.join(30)

    def dies(self, made: Release, times: int = 3) -> None:
        for _ in range(times):
            self.environment.kill(made.revision)
            until = time.monotonic() + 60
            while self.target.trouble(made.revision) is None and time.monotonic() < until:
                time.sleep(0.02)  # what was around it ends a moment later
            self.looks()


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    sent: list[str] = []
    monkeypatch.setattr(serving, "page", lambda pager, subject, body: sent.append(f"{subject}\n{body}") or True)
    return sent


@pytest.fixture
def station(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: list[str]) -> Iterator[Station]:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    key = SigningKey()
    monkeypatch.setattr(SigningKey, "ensure", classmethod(lambda cls, name="default": key))
    monkeypatch.setattr(checkpoint, "can_sign", lambda: True)
    made = Station(tmp_path)
    try:
        yield made
    finally:
        made.target.stop()


def test_it_goes_back_once_is_paged_once_and_never_back_and_forth(station: Station, pages: list[str]) -> None:
    first, second = station.first.revision, station.second.revision
    station.dies(station.second, times=2)
    assert station.target.current() == second and pages == []
    station.dies(station.second, times=1)
    assert station.target.current() == first, pages[0][-400:]
    (page,) = pages
    assert "shop went down 3 times in 5 minutes, and was taken back" in page and "lockgate bundle" in page
    (entry,) = station.ledger.entries(kind="rolled_back")
    assert (entry.run_id, entry.key) == (f"run of {second}", second), "it is part of the story of the run that made it"
    assert "went down 3 times" in entry.body["by_itself"]
    assert b"kept dying" in station.shop.store.get(entry.body["bundle"])
    assert lease.holder(station.ledger, "shop") is None
    assert len(station.ledger.entries(kind="checkpoint")) == 1
    assert breaker.held(station.ledger, "shop") is None

    station.dies(station.first)
    assert station.target.current() == first, "the one that kept dying does not come again"
    assert len(pages) == 2 and "nothing goes back twice by itself" in pages[1]
    assert len(station.ledger.entries(kind="rolled_back")) == 1


def test_where_the_release_before_does_not_serve_either_the_traffic_stays(station: Station, pages: list[str]) -> None:
    first, second = station.first.revision, station.second.revision
    station.environment.kill(first)
    station.environment.change(first, second)
    station.dies(station.second)
    assert station.target.pointed() == second
    assert station.target.current() == second, "never are both lost"
    assert f"{first[:12]} does not serve either" in pages[0]
    assert go_back(station.shop, "shop", "again")[1] == "going back was tried before, and failed"
    assert station.ledger.entries(kind="rolled_back") == ()


def test_what_cannot_even_start_goes_back_too(station: Station, pages: list[str]) -> None:
    station.environment.change(station.second.revision, station.first.revision)
    station.dies(station.second)
    assert station.target.current() == station.first.revision
    assert len(pages) == 1 and "shop does not serve, and was taken back" in pages[0]


def test_what_went_back_is_recorded_and_told_whatever_ended_before_that(
    station: Station, pages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = station.first.revision, station.second.revision

    def out(*_: object) -> str:
        raise LedgerError("the store is full")

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "put_json", out)
        station.dies(station.second)
    assert station.target.current() == first
    assert station.ledger.entries(kind="rolled_back") == ()
    (page,) = pages
    assert "taken back" in page and "not on record yet" in page and "the store is full" in page
    station.watch._finish_at = 0.0
    for _ in range(2):
        station.looks()
    (entry,) = station.ledger.entries(kind="rolled_back")
    assert (entry.run_id, entry.key, entry.body["serving"]) == (f"run of {second}", second, first)
    assert b"kept dying" in station.shop.store.get(entry.body["bundle"])
    assert len(pages) == 1 and len(station.ledger.entries(kind="checkpoint")) == 1
    assert lease.holder(station.ledger, "shop") is None


def test_a_supervisor_that_is_killed_once_the_traffic_is_back_leaves_that_to_the_next(
    station: Station, pages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> str:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("flows.going_back._record", killed)
        patch.setattr(lease, "give_back", lambda *_: None)
        with pytest.raises(SystemExit):
            station.dies(station.second)
    assert station.target.current() == station.first.revision and pages == []
    assert lease.holder(station.ledger, "shop")
    station.watch = serving.EnvironmentWatch("shop", station.said.append)
    for _ in range(2):
        station.looks()
    (page,) = pages
    assert "shop was taken back" in page and "lockgate bundle" in page
    assert [entry.key for entry in station.ledger.entries(kind="rolled_back")] == [station.second.revision]
    assert lease.holder(station.ledger, "shop") is None


def test_it_stays_where_policy_says_so_or_somebody_else_is_at_it(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    def why_not() -> str:
        is_back, told = go_back(station.shop, "shop", "it kept dying")
        assert not is_back
        return told

    serves = station.target
    station.target = station.environment.again(rollout=Rollout(**{**ROLLOUT.model_dump(), "back_within_s": 0}))
    assert "`back_within_s` of the target's rollout allows 0.0" in why_not()
    station.target = serves
    lease.take(station.ledger, "shop", "a-deploy")
    assert "run a-deploy releases there right now" in why_not()
    lease.give_back(station.ledger, "shop", "a-deploy")
    monkeypatch.setattr("flows.going_back.why_not_back", lambda *_: "it cannot run on the database")
    assert why_not() == "no release before it can take its place; it cannot run on the database"
    assert station.target.current() == station.second.revision

    for _ in range(3):
        station.target._caddy.stop(grace_s=0)
        station.looks()
    assert station.target.current() == station.second.revision, "a proxy that dies is not the release's fault"
    assert station.ledger.entries(kind="rolled_back") == ()
