"""How rollbacks, downgrades, rounds of the platform's own and runs that crash again and again end."""

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from httpx import ReadTimeout, Request, Response
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Cancelled, Completed, Failed

from blocks.ledger.ledger import Ledger
from domain.access import Cancelled as Cancels
from domain.brief import Brief
from domain.errors import GatewayAway, InputError, LedgerError, TargetError
from domain.notices import Notices
from domain.task import End, Merged, Outcome
from flows import endings, report, resume
from flows.endings import concluded, round_of
from tasks.people import asking
from tasks.people.questions import Answers
from tasks.releasing import lease
from tests.unit.test_outcome import BRIEF

Act = Callable[[], State]


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    sent: list[str] = []
    shop = SimpleNamespace(pager="slack-webhook/oncall", notices=Notices())
    for module in (endings, resume):
        monkeypatch.setattr(module, "page", lambda pager, subject, body: sent.append(f"{pager} {subject}: {body}"))
        monkeypatch.setattr(module, "workshop", lambda name: shop)
    monkeypatch.setattr("flows.report.page", lambda pager, subject, body: sent.append(f"{pager} {subject}: {body}"))
    monkeypatch.setattr(endings, "LEDGER_PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(endings, "get_run_logger", lambda: logging.getLogger("test"))
    return sent


def acts(*ends: State | Exception) -> Act:
    left = list(ends)

    def act() -> State:
        end = left.pop(0)
        if isinstance(end, Exception):
            raise end
        return end

    return act


REQUEST = Request("POST", "http://127.0.0.1/api")
BUSY = Response(503, request=REQUEST)
DONE = Completed(name="Rolled back", message="done")
DOWN = LedgerError("the ledger is down")


@pytest.mark.parametrize(
    ("act", "name", "kind", "paged"),
    [
        (acts(DONE), "Rolled back", StateType.COMPLETED, 0),
        (acts(DOWN, DOWN, DONE), "Rolled back", StateType.COMPLETED, 0),
        (acts(DOWN, DOWN, DOWN), "Crashed", StateType.CRASHED, 0),
        (acts(ReadTimeout("the server is slow")), "Crashed", StateType.CRASHED, 0),
        (acts(PrefectHTTPStatusError("503", request=REQUEST, response=BUSY)), "Crashed", StateType.CRASHED, 0),
        (acts(InputError("no such environment")), "Refused", StateType.FAILED, 0),
        (acts(DOWN, TargetError("the port is taken")), "Frozen", StateType.FAILED, 1),
        (acts(KeyError("a bug")), "Frozen", StateType.FAILED, 1),
    ],
)
def test_a_persons_act_ends_in_a_word_or_crashes_and_is_resumed(
    act: Act, name: str, kind: StateType, paged: int, pages: list[str]
) -> None:
    state = concluded("roll back shop", "default", "a-run", lambda _: act())
    assert (state.name, state.type, len(pages)) == (name, kind, paged)
    assert all("could not roll back shop" in page for page in pages)


def test_a_round_of_the_platforms_own_that_fails_is_nobodys_failure(pages: list[str]) -> None:
    assert round_of(acts(DOWN, DONE)).is_completed()
    for end in (DOWN, OSError("the disk is full")):
        state = round_of(acts(*[end] * 3))
        assert state.is_crashed() and "the next round comes by itself" in (state.message or "")
    assert pages == []


class Client:
    def __init__(self, *runs: Any) -> None:
        self.runs, self.set = runs, list[tuple[Any, str, str]]()

    def read_flow_runs(self, flow_run_filter: Any, **_: Any) -> list[Any]:
        kinds, names = flow_run_filter.state.type, flow_run_filter.state.name
        return (
            [run for run in self.runs if run.state.type in kinds.any_]
            if kinds
            else [run for run in self.runs if run.state.name in names.any_]
        )

    def set_flow_run_state(self, run: Any, state: State, force: bool) -> Any:
        self.set.append((run, str(state.name), str(state.message)))
        return SimpleNamespace(status=SimpleNamespace(value="ACCEPT"))


def crashed(starts: int, parameters: dict[str, Any]) -> Any:
    state = SimpleNamespace(type=StateType.CRASHED, timestamp=datetime.now(UTC) - timedelta(minutes=1))
    return SimpleNamespace(id=uuid4(), name="a run", state=state, run_count=starts, parameters=parameters, labels={})


def test_a_run_that_crashes_again_and_again_ends_frozen_on_record_and_is_paged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: list[str]
) -> None:
    ledger = Ledger(url=f"sqlite:///{tmp_path}/ledger.db")
    shop: Any = SimpleNamespace(ledger=ledger, pager="slack-webhook/oncall", notices=Notices())
    monkeypatch.setattr(resume, "workshop_of", lambda brief: shop)
    brief = {"brief": BRIEF.model_dump(mode="json")}
    task, again, act = crashed(21, brief), crashed(20, brief), crashed(21, {"environment": "shop"})
    lease.take(ledger, "shop", str(task.id))
    client = Client(task, again, act)
    resume.resume_crashed(client, ledgers=lambda _: ledger)  # type: ignore[arg-type]
    assert [(run, name) for run, name, _ in client.set] == [
        (task.id, "Frozen"), (again.id, "AwaitingRetry"), (act.id, "Frozen"),
    ]  # fmt: skip
    outcome = ledger.find(str(task.id), "outcome", "outcome", Outcome)
    assert outcome and outcome.end is End.FROZEN and "crashed again after 21 starts" in outcome.reasons[0]
    assert lease.holder(ledger, "shop") is None
    assert len(pages) == 2 and "Add a search" in pages[0] and "a run: it crashed again" in pages[1]

    live = crashed(21, brief)
    made = outcome.model_copy(update={"run_id": str(live.id), "end": End.LIVE, "sentence": "live in shop"})
    ledger.record(str(live.id), "outcome", "outcome", made)
    client = Client(live)
    resume.resume_crashed(client, ledgers=lambda _: ledger)  # type: ignore[arg-type]
    assert client.set == [(live.id, "Live", "live in shop")], "it had ended before it crashed"
    assert len(pages) == 2

    monkeypatch.setattr(resume, "workshop_of", lambda brief: (_ for _ in ()).throw(DOWN))
    client = Client(crashed(21, brief))
    assert "could not be recorded yet" in resume.resume_crashed(client, ledgers=lambda _: ledger)[0]  # type: ignore[arg-type]
    assert client.set == [], "it is tried again with the next round"


def ended(state: State, parameters: dict[str, Any]) -> Any:
    return SimpleNamespace(id=uuid4(), name="a run", state=state, run_count=1, parameters=parameters, labels={})


def test_what_ends_in_a_word_of_prefects_ends_in_one_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: list[str]
) -> None:
    ledger = Ledger(url=f"sqlite:///{tmp_path}/ledger.db")
    shop: Any = SimpleNamespace(ledger=ledger, pager="slack-webhook/oncall", notices=Notices())

    def shop_of(brief: Brief) -> Any:
        if brief.workshop == "away":
            raise LedgerError("its database is gone")
        return shop

    monkeypatch.setattr(resume, "workshop_of", shop_of)
    monkeypatch.setattr(resume, "workshop", lambda name: shop)
    brief = {"brief": BRIEF.model_dump(mode="json")}
    odd = {"brief": {**brief["brief"], "acceptance": {"files": [{"path": "/etc/passwd", "content": ""}]}}}
    stopped, unsaid, releasing, merged, away = (ended(Cancelled(), brief) for _ in range(5))
    wrong, bug, broken = (ended(Failed(message="a traceback"), what) for what in (odd, brief, {"environment": "shop"}))
    act = ended(Failed(message="Validation of flow parameters failed with error: …"), {"environment": 1})
    known = ended(Cancelled(), brief)
    said = (
        "Flow run encountered an exception: PrefectHTTPStatusError: {} error '{}' for url 'http://127.0.0.1:4200/api'"
    )
    untold, half = (ended(Failed(message=said.format("Server", "503 Busy")), brief) for _ in range(2))
    refused = ended(Failed(message=said.format("Client", "413 Too Large")), brief)
    live = Outcome(run_id=str(untold.id), title="t", end=End.LIVE, sentence="live in shop")
    ledger.record(str(untold.id), "outcome", "outcome", live)
    ledger.record(str(stopped.id), "cancelled", "ann", Cancels(by="ann", why="not now", signed_in=True))
    lease.take(ledger, "shop", str(releasing.id))
    first = Outcome(run_id=str(known.id), title="t", end=End.LIVE, sentence="live in shop")
    ledger.record(str(known.id), "outcome", "outcome", first)
    ledger.record(str(merged.id), "merged", "c" * 40, Merged(commit="c" * 40))
    away.parameters = {"brief": {**brief["brief"], "workshop": "away"}}
    client = Client(
        away,
        stopped,
        unsaid,
        releasing,
        merged,
        broken,
        wrong,
        bug,
        act,
        known,
        untold,
        half,
        refused,
        ended(Failed(name="Refused"), brief),
    )
    for _ in range(2):
        assert "could not be recorded yet: its database is gone" in resume.conclude(client)[0]  # type: ignore[arg-type]
    outcomes = {entry.run_id: Outcome.model_validate(entry.body) for entry in ledger.entries(kind="outcome")}
    assert {run: outcome.end for run, outcome in outcomes.items()} == {
        str(stopped.id): End.DECLINED, str(unsaid.id): End.DECLINED, str(releasing.id): End.DECLINED,
        str(wrong.id): End.REFUSED, str(bug.id): End.FROZEN, str(known.id): End.LIVE,
        str(merged.id): End.MERGED, str(untold.id): End.LIVE, str(refused.id): End.FROZEN,
    }  # fmt: skip
    assert outcomes[str(merged.id)].commit == "c" * 40 and "after it was merged" in outcomes[str(merged.id)].reasons[0]
    assert "ann (signed in) asks to cancel it: not now" in outcomes[str(stopped.id)].sentence
    assert "past the door" in outcomes[str(unsaid.id)].sentence
    assert "acceptance.files.0.path" in outcomes[str(wrong.id)].sentence
    assert lease.holder(ledger, "shop") is None
    said = {run: name for run, name, _ in client.set}
    assert said == {
        wrong.id: "Refused", bug.id: "Frozen", act.id: "Refused", broken.id: "Frozen",
        untold.id: "Live", half.id: "Crashed",  # which is resumed
        refused.id: "Frozen",
    }  # fmt: skip
    assert len(set(pages)) == 4 and "cancelled while it released to shop" in pages[0] and "a traceback" in pages[1]


def test_a_task_without_the_gateway_crashes_and_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = SimpleNamespace(ledger=Ledger(url=f"sqlite:///{tmp_path}/ledger.db"), place_of=lambda environment: None)
    monkeypatch.setattr(report, "workshop_of", lambda brief: shop)

    def attempts(run: str, brief: Brief) -> State:
        raise GatewayAway("the gateway broke off: timed out")

    state = report.ended("run", BRIEF, attempts)
    assert state.is_crashed() and state.message == "the gateway broke off: timed out; the run is resumed by itself"


def test_a_run_that_the_server_does_not_let_ask_crashes_and_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = SimpleNamespace(ledger=Ledger(url=f"sqlite:///{tmp_path}/ledger.db"), place_of=lambda environment: None)
    monkeypatch.setattr(report, "workshop_of", lambda brief: shop)
    monkeypatch.setattr(asking, "read_flow_run_input", lambda key: None)
    monkeypatch.setattr(asking, "delete_flow_run_input", lambda key: None)
    monkeypatch.setattr(asking, "suspend_flow_run", called_crashed)

    def attempts(run: str, brief: Brief) -> State:
        asking.answered(Answers, "which one?", "help-1")
        raise AssertionError("it goes on without an answer")

    state = report.ended("run", BRIEF, attempts)
    assert state.is_crashed() and "in terminal state CRASHED" in str(state.message)


def called_crashed(**_: object) -> None:
    """As Prefect says it of a run whose process before this one was found dead only now."""
    raise RuntimeError("Flow run cannot be suspended: Run is already in terminal state CRASHED.")
