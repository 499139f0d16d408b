"""A run that is followed: how soon a question is seen to wait."""

from types import SimpleNamespace
from typing import Any

import pytest

from station import answers, follow


def test_after_a_question_the_server_is_asked_until_the_run_is_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    states = iter([("RUNNING", "Running")] * 4 + [("PAUSED", "Suspended"), ("COMPLETED", "Live")])
    told = [[SimpleNamespace(number=1, kind="question", body={})]]
    reviewed: list[str] = []

    def read_run(run_id: str) -> dict[str, Any]:
        kind, name = next(states)
        return {"id": run_id, "name": "it", "state_type": kind, "state_name": name, "state": None}

    def entries(*_: object, **__: object) -> list[Any]:
        return told.pop() if told else []

    monkeypatch.setattr(follow, "ledger_of", lambda _: SimpleNamespace(entries=entries))
    monkeypatch.setattr(follow, "read_run", read_run)
    monkeypatch.setattr(follow, "LOOK_S", 0.0)
    monkeypatch.setattr(follow, "ASK_S", 0.2)
    monkeypatch.setattr(answers, "question", lambda run_id: f"of {run_id}")
    monkeypatch.setattr(answers, "review", lambda run_id, *answer: reviewed.append(f"{run_id}: {' '.join(answer)}"))
    waits = iter([False] * 4)
    monkeypatch.setattr(follow.time, "sleep", lambda _: next(waits))  # fewer looks than time would take

    outcome = follow.follow("run", quiet=True, reviewer=lambda asked: ("approve", "ann", str(asked)))

    assert reviewed == ["run: approve ann of run"]
    assert outcome.sentence == "Live: Live"


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("review-abc-0", ["it waits for review", "/desk/review/r1", "lockgate review r1 --approve --as NAME"]),
        ("questions-1-0", ["it waits for questions", "lockgate answer r1 'TEXT' --as NAME"]),
        ("ready-jkl-0", ["it waits for something that is lacking", "lockgate status r1"]),
        ("window-ghi-0", []),
    ],
)
def test_whatever_a_run_waits_for_is_told_once_with_the_command_that_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str, wanted: list[str]
) -> None:
    paused = ("PAUSED", "Suspended", {"state_details": {"pause_key": key}})
    states = iter([("RUNNING", "Running", {}), paused, paused, ("COMPLETED", "Live", {})])

    def read_run(run_id: str) -> dict[str, Any]:
        kind, name, state = next(states)
        return {"id": run_id, "name": "it", "state_type": kind, "state_name": name, "state": state}

    monkeypatch.setattr(follow, "ledger_of", lambda _: SimpleNamespace(entries=lambda *_, **__: []))
    monkeypatch.setattr(follow, "read_run", read_run)
    for name in ("LOOK_S", "ASK_S"):
        monkeypatch.setattr(follow, name, 0.0)
    follow.follow("r1")
    told = capsys.readouterr().out
    assert [part for part in wanted if part not in told] == [] and told.count("it waits for") == bool(wanted), told
