"""The ledger's head is signed and kept outside of it: what a cut, a rewrite and a swap look like then."""

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from blocks.artifacts import checkpoints
from blocks.artifacts.signing_key import SigningKey
from blocks.forges.local import CHECKPOINTS
from blocks.ledger.ledger import Ledger
from blocks.ledger.rows import EntryRow
from blocks.workshop import Workshop
from domain.checkpoint import newest_of
from domain.errors import InputError, LedgerError
from domain.task import End, Outcome
from station import verify
from tasks.releasing import checkpoint


class Place:
    """A workshop with a ledger, a store and a repository of its own, and the hands of who has its database."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.file, self.repository = folder / "ledger.db", folder / "repository.git"
        git = ("git", "init", "--quiet", "--bare", str(self.repository))
        subprocess.run(git, check=True)
        self.shop = Workshop(ledger=Ledger(url=f"sqlite:///{self.file}"))
        self.runs: list[str] = []

    def ends(self, repository: bool = True) -> str:
        """A run that ends and is sealed."""
        run = str(uuid4())
        outcome = Outcome(
            run_id=run, title="t", end=End.MERGED, sentence="s", reasons=(), attempts=1, commit=None, url=None,
            environment=None, usd=0.0,
        )  # fmt: skip
        self.shop.ledger.record(run, "outcome", "outcome", outcome)
        checkpoint.seal(self.shop, str(self.repository) if repository else None)
        self.runs.append(run)
        return run

    def problems(self) -> tuple[str, ...]:
        return checkpoint.compare(self.shop, [str(self.repository)]).problems

    def write(self, *statements: str) -> None:
        """As somebody who owns the database: triggers are no hindrance."""
        with closing(sqlite3.connect(self.file)) as intruder, intruder:
            for (name,) in intruder.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                intruder.execute(f"DROP TRIGGER {name}")
            for statement in statements:
                intruder.execute(statement)

    def rechain(self) -> None:
        """Make the chain whole again after a change."""
        with closing(sqlite3.connect(self.file)) as intruder, intruder:
            previous = "0" * 64
            columns = ("id", "at", "run_id", "kind", "key", "type", "body")
            for values in intruder.execute(f"SELECT {', '.join(columns)} FROM entries ORDER BY id").fetchall():
                row = EntryRow(**dict(zip(columns, values, strict=True)), previous=previous, hash="")
                row.hash = row.computed_hash()
                intruder.execute("UPDATE entries SET previous = ?, hash = ? WHERE id = ?", (previous, row.hash, row.id))
                previous = row.hash

    @property
    def sealed(self) -> Path:
        return Path(self.shop.store.root) / "checkpoints"  # type: ignore[union-attr]


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> Callable[[], SigningKey]:
    """The platform's key; called, it makes another one the platform's."""

    def renew() -> SigningKey:
        made = SigningKey()
        monkeypatch.setattr(SigningKey, "ensure", classmethod(lambda cls, name="default": made))
        return made

    monkeypatch.setattr(checkpoint, "can_sign", lambda: True)
    renew()
    return renew


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: object) -> Place:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    made = Place(tmp_path)
    for _ in range(3):
        made.ends()
    assert made.problems() == ()
    return made


def test_each_end_is_sealed_in_the_store_and_in_the_repository(place: Place) -> None:
    assert len(list(place.sealed.iterdir())) == 3
    log = subprocess.run(
        ["git", f"--git-dir={place.repository}", "log", "--format=%s", CHECKPOINTS],
        check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    assert len(log) == 3 and all(json.loads(line)["payload"] for line in log)
    assert place.shop.ledger.verify() is None
    seen = checkpoint.compare(place.shop, [str(place.repository)])
    assert f"in the store and in {place.repository}" in seen.proof
    assert checkpoint.unsealed(place.shop) is None
    assert checkpoint.seal_rest(place.shop) == []
    assert checkpoint.repositories_of(place.shop) == (str(place.repository),)


def test_a_cut_and_a_rewrite_leave_a_whole_chain_and_are_seen(place: Place) -> None:
    last = place.shop.ledger.last_number()
    shutil.copy(place.file, whole := place.file.with_suffix(".whole"))
    place.write(f"DELETE FROM entries WHERE id > {last - 2}")
    assert place.shop.ledger.verify() is None, "the chain alone does not show it"
    (problem,) = place.problems()
    assert f"ends at entry {last - 2}, and {last - 1} entries were signed" in problem and "restore a backup" in problem

    shutil.copy(whole, place.file)
    place.write("UPDATE entries SET body = replace(body, 'merged', 'live') WHERE id = 3")
    place.rechain()
    assert place.shop.ledger.verify() is None, "the chain alone does not show it"
    (problem,) = place.problems()
    assert "rewritten between entry 2 and entry 3" in problem

    place.write("UPDATE entries SET at = '2020-01-01T00:00:00+00:00' WHERE id = 1")
    place.rechain()
    assert "rewritten between entry 1 and entry 1" in place.problems()[0], "a new ledger at the place of the old one"


def test_a_ledger_that_contradicts_what_was_signed_is_not_signed_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever rewrites it need only wait until the platform has signed a hundred times more."""
    paged: list[str] = []
    monkeypatch.setattr(checkpoint, "page", lambda pager, subject, body: paged.append(body))
    last = place.shop.ledger.last_number()
    shutil.copy(place.file, whole := place.file.with_suffix(".whole"))
    for intrusion in (f"DELETE FROM entries WHERE id > {last - 2}", "UPDATE entries SET at = at || ' ' WHERE id = 3"):
        shutil.copy(whole, place.file)
        place.write(intrusion)
        place.rechain()
        for _ in range(3):  # the end that was cut is grown over
            place.ends()
        assert place.shop.ledger.verify() is None and place.shop.ledger.last_number() > last - 1
        assert len(list(place.sealed.iterdir())) == 3, "nothing more was signed"
        with pytest.raises(LedgerError, match=f"entry {last - 1} of the ledger is not the one that was signed"):
            checkpoint.seal_rest(place.shop)
        assert any("was rewritten" in problem for problem in place.problems())
    assert len(paged) == 1 and "lockgate verify" in paged[0], "once a day"
    shutil.copy(whole, place.file)
    place.ends()
    assert len(list(place.sealed.iterdir())) == 4 and place.problems() == ()


def test_a_longer_ledger_in_the_same_store_takes_no_checkpoint_from_a_shorter_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints lie in the order of their numbers, whichever ledger they are of."""
    monkeypatch.setattr(newest_of, "__defaults__", (2,))
    monkeypatch.setattr(checkpoint, "page", lambda *_: None)
    other = Place(place.file.parent / "other")
    for _ in range(10):
        other.ends(repository=False)
    assert other.shop.store.root == place.shop.store.root  # type: ignore[union-attr]
    assert len(list(place.sealed.iterdir())) == 13
    for one in (place, other):
        seen = checkpoint.compare(one.shop)
        assert seen.problems == () and f"entry {one.shop.ledger.last_number() - 1} of" in seen.proof
    assert checkpoint.compare(place.shop, [str(place.repository)]).problems == ()
    place.write("UPDATE entries SET at = at || ' ' WHERE id = 5")
    place.rechain()
    place.ends()
    assert len(list(place.sealed.iterdir())) == 13, "its own last checkpoint is looked at"
    assert "was rewritten" in checkpoint.compare(place.shop).problems[0]


def test_who_has_the_store_as_well_cannot_reach_the_repository(place: Place) -> None:
    last = place.shop.ledger.last_number()
    place.write(f"DELETE FROM entries WHERE id > {last - 2}")
    for one in sorted(place.sealed.iterdir())[-1:]:
        one.unlink()
    (problem,) = checkpoint.compare(place.shop).problems
    assert "which this home has seen in the ledger, is not there" in problem
    Path(problem.rpartition(" remove ")[2]).unlink()  # and whoever has the home as well …
    assert checkpoint.compare(place.shop).problems == (), "this is what the store alone does not show"
    (problem,) = place.problems()
    assert f"ends at entry {last - 2}" in problem and str(place.repository) in problem
    shutil.rmtree(place.sealed)
    assert "none of this ledger is to be found" in checkpoint.compare(place.shop).problems[0]


def test_what_is_lost_odd_or_another_keys_is_said(place: Place, key: Callable[[], SigningKey]) -> None:
    names = sorted(place.sealed.iterdir())
    names[1].unlink()
    (problem,) = checkpoint.compare(place.shop).problems
    assert "that are nowhere (of entries 3)" in problem
    names[0].chmod(0o600)
    names[0].write_bytes(names[0].read_bytes()[:-20])
    (place.sealed / "zzz").write_text("[[[")
    said = checkpoint.compare(place.shop).problems
    assert sum("is no checkpoint, or was changed" in one for one in said) == 2

    renewed = key()
    place.ends()
    mark = checkpoints.fingerprint(renewed.public_key())
    (unknown,) = [one for one in place.problems() if "--trust" in one]
    assert mark in unknown
    checkpoints.trust(renewed.public_key())
    checkpoints.trust(renewed.public_key())
    assert len(checkpoints.trusted()) == 2
    assert not [one for one in place.problems() if "--trust" in one]


def test_a_store_or_a_repository_that_is_gone_ends_no_run_and_is_made_up_for(place: Place) -> None:
    shutil.rmtree(place.repository)
    place.ends()
    assert checkpoint.unsealed(place.shop) is None, "the store has it"
    assert "could not be asked" in checkpoint.compare(place.shop, [str(place.repository)]).proof
    place.sealed.rename(place.sealed.with_name("away"))
    place.sealed.write_text("no directory")
    run = place.ends()
    left = checkpoint.unsealed(place.shop)
    assert left and left.run_id == run
    place.sealed.unlink()
    place.sealed.with_name("away").rename(place.sealed)
    assert "had no checkpoint" in checkpoint.seal_rest(place.shop)[0]
    assert checkpoint.unsealed(place.shop) is None


def test_a_ledger_that_was_never_sealed_is_no_alarm_until_it_is_overdue(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    another = Workshop(ledger=Ledger(url=f"sqlite:///{tmp_path}/another.db"), store=place.shop.store)

    def said() -> str:
        return "\n".join(link.problem for link in verify._chain(another) if link.problem)

    assert said() == "", "a new and empty one, beside one that was sealed"
    outcome = place.shop.ledger.find(place.runs[0], "outcome", "outcome", Outcome)
    assert outcome
    another.ledger.record("run", "outcome", "outcome", outcome)
    assert said() == "", "its first outcome is sealed in a moment"
    keys = checkpoints._file()
    os.utime(keys, (0, 0))
    monkeypatch.setattr(checkpoint, "UNSEALED", timedelta(minutes=-1))
    assert "none of this ledger is to be found" in said() and "entry 1 (outcome) has no checkpoint after" in said()
    monkeypatch.setattr(checkpoint, "UNSEALED", timedelta(minutes=30))
    outcome_at = datetime.now(UTC) - timedelta(days=9)
    monkeypatch.setattr(checkpoint, "unsealed", lambda _: SimpleNamespace(at=outcome_at, number=1, kind="outcome"))
    assert "has no checkpoint after 0:30:00" in said()
    os.utime(keys)
    assert said() == "", "the station has begun to sign a moment ago, and housekeeping seals what older versions left"
    keys.unlink()
    shutil.rmtree(place.sealed)
    assert said() == "", "nothing was ever signed here: an older version made all of it"


ODD = (
    *("", "null", "[]", "{", '"x"', "{}", '{"brief": null}', '{"number": "x"}', "[" * 100_000, "1e999"),
    '{"a": "\\ud800"}',
)
KINDS = (
    *("outcome", "prepared", "attempt", "tested", "approval", "live", "rolled_back", "deployed", "checkpoint"),
    "future",
)
CHANGES = (
    ("body", '\'{"commit": "abc", "end": "live"}\''),
    *(("type", "''"), ("at", "x'ff'"), ("hash", "''"), ("kind", "kind || ' '"), ("run_id", "run_id || id")),
)


def test_verify_ends_with_a_sentence_whatever_stands_in_the_database(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = place.runs[0]
    brief = {"title": "t", "workshop": "default"}
    monkeypatch.setattr(verify, "read_run", lambda _: SimpleNamespace(id=run, parameters={"brief": brief}))
    monkeypatch.setattr("station.runs.workshop", lambda _: place.shop)
    assert [link.problem for link in verify.verify(run)] == [None, None, None]
    columns = "id, at, run_id, kind, key, type, body, previous, hash"
    number = place.shop.ledger.last_number()
    place.write("UPDATE entries SET id = id")
    shutil.copy(place.file, whole := place.file.with_suffix(".whole"))
    tried = 0
    for body in ODD:
        for n, kind in enumerate(KINDS):
            at = "x" if n % 2 else "2026-01-01T00:00:00"
            values = f"{number + 1 + n}, '{at}', '{run}', '{kind}', 'k{n}', 'Nothing', '{body}', '', ''"
            place.write(f"INSERT INTO entries ({columns}) VALUES ({values})")
        assert any(link.problem for link in verify.verify(run)), body
        tried += 1
        shutil.copy(whole, place.file)
        for column, value in (("body", f"'{body}'"), *CHANGES):
            place.write(f"UPDATE entries SET {column} = {value} WHERE kind IN ('outcome', 'checkpoint')")
            assert any(link.problem for link in verify.verify(run)), (column, body)
            shutil.copy(whole, place.file)
            tried += 1
    assert tried == 8 * len(ODD)


def test_a_key_is_trusted_by_its_fingerprint_alone(
    place: Place, key: Callable[[], SigningKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "workshop", lambda _: place.shop)
    mark = checkpoints.fingerprint(key().public_key())
    with pytest.raises(InputError, match="no checkpoint is signed by a key 'abc'; there are "):
        verify.trust("abc")
    assert mark in verify.trust(mark)
    assert mark in map(checkpoints.fingerprint, checkpoints.trusted())


def test_a_release_that_went_back_by_hand_is_no_broken_one(place: Place) -> None:
    left: Any = verify._left
    ledger = place.shop.ledger
    from domain.task import Release, RolledBack

    def live(revision: str) -> None:
        made = Release(environment="shop", revision=revision, artifact="", url="", previous=None)
        ledger.record(f"run {revision}", "live", revision, made)

    live("one")
    live("two")
    assert left(place.shop, "shop", "two") is None
    assert left(place.shop, "shop", "one") == "superseded by a later release"
    back = RolledBack(environment="shop", failed="two", serving="one", revert=None, bundle="", is_asked_for=True)
    ledger.record("by hand", "rolled_back", "shop", back)
    assert "rolled back by a person" in left(place.shop, "shop", "two")
    assert left(place.shop, "shop", "one") is None, "it serves again"
