"""How a task ends: the same words in the ledger, the UI and the CLI, for each of its ends."""

import logging
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from httpx import ReadTimeout
from prefect.client.schemas.objects import State, StateType
from pydantic import SecretStr

from blocks.ledger.ledger import Ledger
from domain.brief import Acceptance, Brief, Budget
from domain.errors import InputError, NotYet
from domain.notices import Notices
from domain.task import Answer, Approval, BillLine, End, Feedback, Outcome
from flows import endings, report
from flows.report import STATE_NAMES, all_used, end, ended, review_feedback, sentence, turned_down
from tasks import pull_request
from tasks.pages.bill import bill_of
from tasks.pull_request import MOST_WAITS, pause_s
from tests.unit.policy_cases import PROJECT, attempt

BRIEF = Brief(
    title="Add a search",
    goal="Search finds things",
    repository="shop.git",
    acceptance=Acceptance(command="true"),
    environment="shop",
)
COMMIT, URL, WHY = "c" * 40, "http://127.0.0.1:8080", ("the first reason", "the second")

ENDS: dict[End, tuple[int, str, StateType, str]] = {
    End.LIVE: (0, "Live", StateType.COMPLETED, f"live in shop at {URL} after 2 attempts"),
    End.MERGED: (0, "Merged", StateType.COMPLETED, "merged into main after 2 attempts"),
    End.DECLINED: (1, "Declined", StateType.COMPLETED, "declined after 2 attempts: the first reason"),
    End.REFUSED: (2, "Refused", StateType.FAILED, "refused: the first reason"),
    End.GAVE_UP: (3, "Gave up", StateType.FAILED, "gave up: the first reason (the last reason: the second)"),
    End.FROZEN: (4, "Frozen", StateType.FAILED, "frozen, a person must decide: the first reason"),
}


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger of its own, in a workshop that has nothing else."""
    ledger = Ledger(url=SecretStr(f"sqlite:///{tmp_path}/ledger.db"))
    monkeypatch.setattr(
        report,
        "workshop_of",
        lambda brief: SimpleNamespace(ledger=ledger, pager=None, notices=Notices(), place_of=lambda environment: None),
    )
    for number in (1, 2):
        ledger.record("run", "attempt", str(number), attempt(PROJECT, number=number))
        ledger.record("run", "bill", f"edit-{number}", BillLine(run_id="run", step="edit", attempt=number, usd=0.25))
    return ledger


def test_each_end_is_in_the_table() -> None:
    assert set(ENDS) == set(End) == set(STATE_NAMES)
    assert len(set(STATE_NAMES.values())) == len(End)


@pytest.mark.parametrize("how", End)
def test_each_end_has_its_exit_code_state_and_sentence(ledger: Ledger, how: End) -> None:
    code, name, kind, line = ENDS[how]
    state = end(
        "run",
        BRIEF.model_copy(update={"branch": "main"}),
        how,
        () if how in (End.LIVE, End.MERGED) else WHY,
        commit=COMMIT,
        url=URL,
    )
    assert how.exit_code == code
    assert (state.name, state.type, state.message) == (name, kind, line)
    kept = ledger.find("run", "outcome", "outcome", Outcome)
    assert kept is not None
    assert (kept.end, kept.sentence, kept.attempts, kept.usd, kept.commit) == (how, line, 2, 0.5, COMMIT)


@pytest.mark.parametrize("how", End)
def test_a_sentence_without_reasons_attempts_or_address_is_still_one(how: End) -> None:
    for reasons in ((), WHY, ("2 validation errors for Plan\nsteps\n  Field required",)):
        line = sentence(how, BRIEF, 1, reasons, URL)
        assert "None" not in line
        assert "1 attempts" not in line
        assert "\n" not in line


@pytest.mark.parametrize(("most", "line"), [
    (1, "gave up: its one attempt is used up (the last reason: a test fails)"),
    (3, "gave up: 3 attempts are used up (the last reason: a test fails)"),
])  # fmt: skip
def test_who_gives_up_says_why_the_last_attempt_was_refused(most: int, line: str) -> None:
    brief = BRIEF.model_copy(update={"budget": Budget(attempts=most)})
    assert sentence(End.GAVE_UP, brief, most, (all_used(brief), "a test fails"), None) == line


def test_a_task_ends_once_whatever_is_said_later(ledger: Ledger) -> None:
    first = end("run", BRIEF, End.LIVE, commit=COMMIT, url=URL)
    again = end("run", BRIEF, End.FROZEN, ("it was resumed",))
    assert (again.name, again.type, again.message) == (first.name, first.type, first.message)
    assert len(ledger.entries(run_id="run", kind="outcome")) == 1


def test_an_end_frees_the_environment_for_the_next_run(ledger: Ledger) -> None:
    assert ledger.lease("environment/shop", "run", 3600) is not None
    assert ledger.lease("environment/shop", "other", 3600) is None
    end("run", BRIEF, End.GAVE_UP, WHY)
    assert ledger.lease("environment/shop", "other", 3600) is not None


def test_an_end_leaves_what_another_run_holds(ledger: Ledger) -> None:
    ledger.lease("environment/shop", "other", 3600)
    end("run", BRIEF, End.REFUSED, WHY)
    assert ledger.holder_of("environment/shop") == "other"


def test_a_brief_for_a_workshop_that_nobody_made_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(brief: Brief) -> None:
        raise InputError("there is no workshop block 'mars'")

    monkeypatch.setattr(report, "workshop_of", missing)
    state = end("run", BRIEF, End.FROZEN, ("there is no workshop block 'mars'",))
    assert (state.name, state.type) == ("Refused", StateType.FAILED)
    assert "mars" in (state.message or "")


def test_the_bill_is_read_in_the_order_in_which_it_was_used(ledger: Ledger) -> None:
    assert [(line.step, line.attempt) for line in bill_of(ledger, "run").charges] == [("edit", 1), ("edit", 2)]
    assert bill_of(ledger, "another run").charges == ()


def test_the_commands_help_and_the_exit_codes_agree() -> None:
    text = (Path(__file__).parents[2] / "station" / "cli.py").read_text()
    found = re.search(r"With --wait: (.*)\.\"", text)
    assert found
    codes = {word: int(code) for code, words in re.findall(r"(\d) ([a-z ]+)", found[1]) for word in words.split(" or ")}
    assert codes == {"live": 0, "merged": 0, "declined": 1, "refused": 2, "wrong use": 2, "gave up": 3, "frozen": 4}


def test_an_attempt_that_is_no_progress_is_not_tested() -> None:
    first = attempt(PROJECT, number=1, tree="t1")
    again = attempt(PROJECT, number=2, tree="t1")
    nothing = attempt(PROJECT, number=2, commit=None, problem="the agent changed nothing")
    assert turned_down(attempt(PROJECT, number=2, tree="t2"), [first]) is None
    assert turned_down(first, []) is None
    stuck, empty = turned_down(again, [first]), turned_down(nothing, [first, nothing])
    assert stuck is not None and "no progress" in stuck.points[0] and stuck.last_commit == again.commit
    assert empty is not None and empty.points == ("the agent changed nothing",) and empty.last_commit is None


def test_a_reviewers_wish_reaches_the_agent_with_the_name() -> None:
    asked = Approval(answer=Answer.CHANGES, reviewer="ann", comment="shorter, please", fingerprint="f")
    told = review_feedback(asked, attempt(PROJECT))
    assert (told.source, told.points) == ("reviewer", ("ann asks for changes: shorter, please",))


def test_a_ledger_that_fails_for_a_while_delays_a_run_and_ends_none(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Outside of a step: the flow's own reads and writes, those of its end among them."""
    file, away, waited = tmp_path / "ledger.db", tmp_path / "away.db", []

    def fail() -> None:
        file.rename(away)
        file.mkdir()

    def back(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            file.rmdir()
            away.rename(file)

    began = []

    def attempts(run: str, brief: Brief) -> State[Any]:
        began.append(run)
        if len(began) == 1:
            fail()
        return end(run, brief, End.GAVE_UP, WHY)

    monkeypatch.setattr(report, "get_run_logger", lambda: logging.getLogger("test"))
    monkeypatch.setattr(endings, "get_run_logger", lambda: logging.getLogger("test"))
    monkeypatch.setattr(endings, "time", SimpleNamespace(sleep=back))
    state = ended("run", BRIEF, attempts)
    assert (state.name, state.type) == ("Gave up", StateType.FAILED)
    assert (len(began), waited) == (2, [1.0, 3.0])  # the try between them failed before it began
    assert len(ledger.entries(run_id="run", kind="outcome")) == 1


def test_a_run_whose_ledger_stays_away_is_left_to_be_resumed(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def attempts(run: str, brief: Brief) -> State[Any]:
        return end(run, brief, End.FROZEN, WHY)

    (tmp_path / "ledger.db").unlink()
    (tmp_path / "ledger.db").mkdir()
    monkeypatch.setattr(report, "get_run_logger", lambda: logging.getLogger("test"))
    monkeypatch.setattr(endings, "get_run_logger", lambda: logging.getLogger("test"))
    monkeypatch.setattr(endings, "time", SimpleNamespace(sleep=lambda _: None))
    state = ended("run", BRIEF, attempts)
    assert state.type is StateType.CRASHED, "the supervisor resumes what crashed, and nothing that failed"
    assert "the run is resumed when the ledger is back" in (state.message or "")


def test_a_run_whose_forge_does_not_answer_is_suspended_until_it_has_waited_for_an_hour(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[str] = []

    class Suspended(BaseException):
        """As Prefect's own: no step sees it as an error."""

    def answered(form: type, text: str, key: str) -> object:
        if key in answers:
            return form(looked_by="the supervisor")
        assert "github.com answered 502" in text
        raise Suspended(key)

    def attempts(run: str, brief: Brief) -> State[Any]:
        raise NotYet("github.com answered 502")

    monkeypatch.setattr(pull_request, "answered", answered)
    monkeypatch.setattr(
        pull_request, "workshop_of", lambda brief: SimpleNamespace(ledger=ledger, place_of=lambda environment: None)
    )
    for _ in range(MOST_WAITS):
        with pytest.raises(Suspended) as asked:
            ended("run", BRIEF, attempts)
        answers.append(str(asked.value))
    assert answers[:2] == ["away-0", "away-1"] and len(set(answers)) == MOST_WAITS
    assert len(ledger.entries(run_id="run", kind="waits-for-forge")) == MOST_WAITS, "the story tells of each"
    state = ended("run", BRIEF, attempts)
    assert (state.name, state.message) == ("Frozen", "frozen, a person must decide: github.com answered 502")
    assert [pause_s(0), pause_s(1), pause_s(11)] == [15, 30, 600]
    assert sum(map(pause_s, range(MOST_WAITS))) > 3600


def test_a_run_whose_server_does_not_answer_in_time_is_left_to_be_resumed(ledger: Ledger) -> None:
    def attempts(run: str, brief: Brief) -> State[Any]:
        raise ReadTimeout("nothing for a minute")

    state = ended("run", BRIEF, attempts)
    assert state.type is StateType.CRASHED
    assert "nothing for a minute; the run is resumed when the server answers" in (state.message or "")
    assert ledger.entries(kind="outcome") == ()


def test_a_ledger_that_has_something_else_there_is_for_a_person(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attempts(run: str, brief: Brief) -> State[Any]:
        ledger.record(run, "attempt", "1", Feedback(attempt=1, source="policy", points=()))
        raise AssertionError("a value of another type stands there")

    monkeypatch.setattr(report, "get_run_logger", lambda: logging.getLogger("test"))
    monkeypatch.setattr(endings, "get_run_logger", lambda: logging.getLogger("test"))
    monkeypatch.setattr(endings, "time", SimpleNamespace(sleep=lambda _: None))
    state = ended("run", BRIEF, attempts)
    assert (state.name, state.type) == ("Frozen", StateType.FAILED)
