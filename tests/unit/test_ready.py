"""Before the merge: whatever merge and release need is there, or the run waits and a person is told what is missing."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from blocks.ledger.ledger import Ledger
from domain.errors import ForgeError, InputError, TargetError
from domain.notices import Notices
from domain.project import Migrations, ProjectSettings
from domain.task import Answer, Approval, Merged
from tasks.people import ready
from tasks.people.asking import KnownBy
from tasks.people.ready import Lacking, Mended, Ready, lacking, until_ready
from tests.unit.policy_cases import evidence, prepared

APPROVAL = Approval(answer=Answer.APPROVE, reviewer="ann", fingerprint="f")
NO_RELEASE = prepared()
PLAIN = NO_RELEASE.model_copy(update={"brief": NO_RELEASE.brief.model_copy(update={"environment": "shop"})})
MIGRATES = PLAIN.model_copy(
    update={"settings": ProjectSettings(run="serve", migrate=Migrations(up="alembic upgrade head"))}
)


class FakeShop:
    """A workshop of which single parts can be broken. `paged`: what its pager was told."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.pager, self.notices = ledger, "pager/on-call", Notices()
        self.errors: dict[str, Exception] = {}
        self.problem: str | None = None
        self.migrates = True
        self.forge = SimpleNamespace(base=lambda repository, branch: self._tell("forge") or "b" * 40)

    def target(self, environment: str) -> SimpleNamespace:
        self._tell("target")
        return SimpleNamespace(preflight=lambda: self.problem, migrates=self.migrates)

    def database(self, environment: str) -> None:
        self._tell("database")

    def _tell(self, part: str) -> None:
        if part in self.errors:
            raise self.errors[part]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeShop:
    made = FakeShop(Ledger(url=SecretStr(f"sqlite:///{tmp_path}/ledger.db")))
    monkeypatch.setattr(ready, "workshop_of", lambda brief: made)
    monkeypatch.setattr(ready, "until_open", lambda prepared, evidence: None)
    monkeypatch.setattr(ready, "until_allowed", lambda prepared, mark, stands: None)
    monkeypatch.setattr(ready, "taken_back", lambda shop, run, approval: None)
    return made


@pytest.mark.parametrize(
    ("broken", "task", "why"),
    [
        ({}, PLAIN, None),
        ({"target": InputError("there is no block 'process-target/shop'")}, PLAIN, "no block 'process-target/shop'"),
        ({"target": TargetError("no engine answers")}, PLAIN, "no engine answers"),
        ({"database": InputError("there is no block 'sqlite-database/shop'")}, PLAIN, "'sqlite-database/shop'"),
        ({"forge": ForgeError("the repository is gone")}, PLAIN, "the repository is gone"),
        ({"problem": "port 80 is taken"}, PLAIN, "port 80 is taken"),
        ({"migrates": False}, PLAIN, None),
        ({"migrates": False}, MIGRATES, "name its database"),
    ],
)
def test_what_is_lacking_is_told_before_anything_is_merged(
    shop: FakeShop, broken: dict[str, Any], task: Any, why: str | None
) -> None:
    for name, value in broken.items():
        if isinstance(value, Exception):
            shop.errors[name] = value
        else:
            setattr(shop, name, value)
    said = lacking(task)
    assert (said is None) if why is None else (why in (said or ""))


def test_a_change_that_ends_with_a_merge_needs_no_target(shop: FakeShop) -> None:
    shop.errors["target"] = InputError("no target")
    assert lacking(NO_RELEASE) is None


def test_the_run_waits_until_it_is_mended_and_pages_for_each_try_once(
    shop: FakeShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    paged: list[str] = []

    def answered(form: type[Mended], text: str, key: str) -> Mended | None:
        asked.append(text)
        if len(asked) == 1:
            return None  # the process went, and the run was started again
        shop.errors.clear()
        return form(mended_by="ann")

    monkeypatch.setattr(ready, "answered", answered)
    monkeypatch.setattr(ready, "known_by", lambda run, key, form: KnownBy(signed_in=True, way="token"))
    monkeypatch.setattr(ready, "page", lambda pager, subject, body: paged.append(body))
    shop.errors["target"] = InputError("there is no block 'process-target/shop'")
    until_ready(PLAIN, evidence(), APPROVAL)
    assert len(asked) == len(paged) == 2
    assert all("process-target/shop" in text and "Nothing was merged" in text for text in asked)
    kept = shop.ledger.entries(run_id=PLAIN.run_id)
    assert [entry.kind for entry in kept] == ["lacking", "lacking", "ready"]
    assert Lacking.model_validate(kept[0].body).environment == "shop"
    assert Ready.model_validate(kept[2].body) == Ready(by="ann", signed_in=True, way="token")


def test_a_run_that_is_resumed_after_its_merge_does_not_wait_for_it(
    shop: FakeShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(ready, "answered", lambda form, text, key: asked.append(text))
    seen = evidence()
    shop.ledger.record(PLAIN.run_id, "merged", str(seen.attempt.commit), Merged(commit=seen.attempt.commit))
    shop.errors["target"] = TargetError("no engine answers")
    until_ready(PLAIN, seen, APPROVAL)
    assert asked == []


def test_who_took_the_approval_back_is_asked_again_before_the_window_opens(
    shop: FakeShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opens(*_: object) -> None:
        raise AssertionError("suspended for days, and nothing stands that could be merged then")

    monkeypatch.setattr(ready, "until_open", opens)
    monkeypatch.setattr(ready, "taken_back", lambda shop, run, approval: "ann may not write there")
    until_ready(PLAIN, evidence(), APPROVAL)
