"""What a hostile sandbox could learn or hide at the gateway, and cannot."""

import pytest

from blocks.gateway import audit
from blocks.gateway.audit import Audit, Note
from blocks.gateway.redaction import Redactor, forms
from domain.egress import Decisions, EgressDecision, Passport
from domain.value import Value

SECRET = b"sk-live-4f9Qx7Lm2Zt8"


def ends(*pieces: bytes) -> list[int]:
    """How much is given out after each piece."""
    redactor = Redactor(forms(SECRET))
    return [len(redactor.feed(piece)) for piece in pieces]


@pytest.mark.parametrize("size", range(1, len(SECRET)))
def test_where_pieces_end_does_not_tell_a_right_guess_from_a_wrong_one(size: int) -> None:
    right, wrong = SECRET[:size], SECRET[: size - 1] + b"#"
    for before in (b"", b"a", b"x" * 100, b"x" * 100 + b"\n"):
        assert ends(before + right, b"more") == ends(before + wrong, b"more")


def test_a_value_that_is_split_anywhere_is_redacted() -> None:
    text = b"before " + SECRET + b" after\n"
    for cut in range(len(text)):
        redactor = Redactor(forms(SECRET))
        out = redactor.feed(text[:cut]) if cut else b""
        out += redactor.feed(text[cut:]) + redactor.feed(b"")
        assert out == text.replace(SECRET, b"*" * len(SECRET))


def test_a_line_that_has_ended_is_given_out_at_once() -> None:
    assert Redactor(forms(SECRET)).feed(b"data: 1\n\n") == b"data: 1\n\n"


def test_a_decision_has_its_answer_where_that_came_before_it_was_written() -> None:
    written: list[EgressDecision] = []

    def record(run: str, kind: str, key: str, value: Value) -> None:
        assert isinstance(value, Decisions)
        written.extend(value.decisions)

    desk = Audit(Passport(run_id="r", phase="edit"), record)
    for path in ("/soon", "/late"):
        note = desk.add(Note("good.example.com", "GET", path, True, "a rule"))
        note.status = 200 if path == "/soon" else None
    desk.flush()
    note.status = 200
    desk.flush()
    assert [(d.path, d.status, d.count) for d in written] == [("/soon", 200, 1), ("/late", None, 1)]


def test_no_decision_is_dropped_whatever_is_piled_on_top(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MOST", 10)
    written: list[EgressDecision] = []

    def record(run: str, kind: str, key: str, value: Value) -> None:
        assert isinstance(value, Decisions)
        written.extend(value.decisions)

    desk = Audit(Passport(run_id="r", phase="edit"), record)
    desk.add(Note("good.example.com", "POST", "/upload", True, "a rule"))
    for number in range(1200):
        desk.add(Note(f"n{number}.example.com", "CONNECT", "", False, "no rule"))
    desk.flush()
    assert sum(decision.count for decision in written) == 1201
    assert [d.path for d in written if d.host == "good.example.com"] == ["/upload"]
    assert len(written) < 50
