"""Who did what and how it was reviewed, counted from entries of the ledger: tables of small histories."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.bill import bill
from domain.entry import Entry
from domain.history import KINDS, History, look_at, words_of
from domain.review_health import ReviewHealth, health
from domain.share import Share, could_be_equal
from domain.task import asking_key
from domain.track_record import RecordLine, TrackRecord, by_agent, records, total

BEGIN = datetime(2026, 11, 30, 9, 0, tzinfo=UTC)
DIFF = "# Review\n\n```diff\n--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n-old line here\n+{}\n same\n```\n\nYour answer"


class Told:
    """A ledger's entries, written one after another."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.at = BEGIN

    def add(self, run: str, kind: str, key: str, **body: Any) -> "Told":
        self.entries.append(Entry(
            number=len(self.entries) + 1, at=self.at, run_id=run, kind=kind, key=key, type="", body=body, hash="h"
        ))  # fmt: skip
        return self

    def later(self, **time: float) -> "Told":
        self.at += timedelta(**time)
        return self

    def task(self, run: str, agent: str = "codex/mine", edit: tuple[str, ...] = (), asked_by: str = "") -> "Told":
        if asked_by:
            self.add(run, "submitted", "submitted", by=asked_by, signed_in=True)
        brief = {"title": f"Task {run}", "repository": "/srv/a.git", "agent": agent, "roles": {"edit": list(edit)}}
        return self.add(run, "prepared", "prepared", brief=brief)

    def attempt(
        self, run: str, number: int, decision: str | None, rules: tuple[str, ...] = (), agent: str = "codex/mine",
        lines: int = 40, paths: int = 1,
    ) -> "Told":  # fmt: skip
        commit = None if decision is None else f"{run}-{number}"
        self.add(
            run, "attempt", str(number), number=number, agent=agent, version="1.2", commit=commit, added_lines=lines,
            removed_lines=0, changed_paths=["p"] * paths,
        )  # fmt: skip
        if decision:
            self.add(run, "verdict", str(commit), decision=decision, rules=list(rules), reasons=[])
        return self

    def call(self, run: str, kind: str, call: str, usd: float, attempt: int = 1, model: str = "x/large") -> "Told":
        return self.add(
            run, kind, call, run_id=run, call=call, usd=usd, attempt=attempt, agent="codex", step="edit", model=model
        )

    def ask(self, run: str, number: int = 1, words: int = 300, turn: int = 1) -> "Told":
        text, mark = DIFF.format(" ".join(["word"] * (words - 3))), f"m-{run}-{number}"
        return self.add(
            run, "question", asking_key(mark, turn), fingerprint=mark, attempt=number, commit=f"{run}-{number}",
            text=text,
        )  # fmt: skip

    def look(self, run: str, by: str, what: str, number: int = 1, turn: int = 1) -> "Told":
        key = look_at(asking_key(f"m-{run}-{number}", turn), by, what).key
        return self.add(run, "looked", key, by=by, what=what)

    def answer(self, run: str, by: str, answer: str = "approve", number: int = 1, **more: Any) -> "Told":
        return self.add(
            run, "approval", f"m-{run}-{number}", fingerprint=f"m-{run}-{number}", reviewer=by, answer=answer,
            **{"comment": "", "signed_in": True, **more},
        )  # fmt: skip

    def merge(self, run: str, number: int = 1, *, live: bool = True) -> "Told":
        self.add(run, "merged", f"{run}-{number}", commit=f"{run}-{number}")
        return self.add(run, "live", "shop", revision=f"{run}-{number}", environment="shop") if live else self

    def back(self, run: str, by_run: str, revert: str | None = None, number: int = 1) -> "Told":
        return self.add(by_run, "rolled_back", "shop", failed=f"{run}-{number}", revert=revert, environment="shop")

    @property
    def history(self) -> History:
        made = History()
        made.take(self.entries)
        return made


@pytest.mark.parametrize(
    ("part", "of", "shown"),
    [
        (0, 0, "–"),
        (2, 3, "2 of 3"),
        (9, 9, "9 of 9"),
        (10, 10, "10 of 10, 100 % (72 to 100)"),
        (0, 10, "0 of 10, 0 % (0 to 28)"),
        (5, 10, "5 of 10, 50 % (24 to 76)"),
        (12, 20, "12 of 20, 60 % (39 to 78)"),
        (600, 1000, "600 of 1,000, 60 % (57 to 63)"),
    ],
)
def test_a_share_is_told_with_its_n_and_in_percent_from_ten_on(part: int, of: int, shown: str) -> None:
    """The intervals are those of R's `prop.test(x, n, correct = FALSE)`."""
    assert Share(part, of).shown == shown


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ((19, 19), (0, 19), True),
        ((20, 20), (0, 20), False),
        ((15, 20), (10, 20), True),
        ((95, 100), (60, 100), False),
        ((20, 20), (0, 10), True),
    ],
)
def test_nothing_is_called_better_below_twenty_or_while_intervals_meet(
    one: tuple[int, int], other: tuple[int, int], equal: bool
) -> None:
    assert could_be_equal(Share(*one), Share(*other)) is equal is could_be_equal(Share(*other), Share(*one))


def only(told: Told) -> TrackRecord:
    (record,) = records([told.history])
    return record


def test_what_an_agent_did_is_counted_by_tasks() -> None:
    told = Told()
    told.task("a").attempt("a", 1, "accepted").merge("a")
    told.task("b").attempt("b", 1, "refused", ("weakness", "secrets")).attempt("b", 2, "needs a person").merge("b", 2)
    told.task("c").attempt("c", 1, None).attempt("c", 2, "refused", ("weakness",)).attempt(
        "c", 3, "refused", ("weakness",)
    )
    told.task("d").attempt("d", 1, "accepted").merge("d", live=False)
    told.task("e")
    told.back("b", by_run="rollback", revert="r", number=2).back("d", by_run="d")
    assert [(each.line, each.asked) for each in records([told.history])] == [
        (RecordLine("codex/mine", "none called", "1.2", "/srv/a.git"), 4),
        (RecordLine("codex/mine", "none called", "not on record", "/srv/a.git"), 1),
    ]
    everything = total([told.history])
    assert everything is not None
    counts = ("asked", "attempts", "judged", "at_first", "merged", "live", "released", "rolled_back", "reverted")
    assert [getattr(everything, name) for name in counts] == [5, 7, 4, 2, 3, 2, 3, 2, 1]
    assert [(each.rule, each.times, each.runs) for each in everything.reasons] == [
        ("weakness", 3, ("c", "b")), ("secrets", 1, ("b",)),
    ]  # fmt: skip
    assert everything.first_try.shown == "2 of 4"


@pytest.mark.parametrize(
    ("decisions", "judged", "at_first"),
    [
        ((), 0, 0),
        (("accepted",), 1, 1),
        (("needs a person",), 1, 1),
        (("refused", "accepted"), 1, 0),
        ((None, "accepted"), 1, 0),
        (("accepted", "refused"), 1, 1),
    ],
)
def test_the_first_try_is_the_first_whether_or_not_there_was_a_change(
    decisions: tuple[str | None, ...], judged: int, at_first: int
) -> None:
    told = Told().task("a")
    for number, decision in enumerate(decisions, 1):
        told.attempt("a", number, decision)
    whole = total([told.history])
    assert whole is not None and (whole.judged, whole.at_first) == (judged, at_first)


def test_the_verdict_after_the_rehearsal_is_the_one_that_counts() -> None:
    told = Told().task("a").attempt("a", 1, "accepted")
    told.add("a", "verdict", "a-1/rehearsed", decision="refused", rules=["blocks-users"], reasons=[])
    assert only(told).at_first == 0


def test_of_a_race_the_task_is_the_winners_and_attempts_and_money_are_each_ones_own() -> None:
    told = Told().task("a", edit=("codex/mine", "aider/other"))
    told.call("a", "metered", "plan", 0.5, attempt=0)
    told.attempt("a", 1, "refused", ("weakness",)).call("a", "metered", "1", 1.0)
    told.attempt("a", 2, "accepted", agent="aider/other").call("a", "metered", "2", 2.0, attempt=2, model="y/small")
    told.merge("a", 2)
    other, mine = records([told.history])
    assert (other.line.agent, other.line.model, other.asked, other.attempts, other.live, other.usd) == (
        "aider/other", "y/small", 1, 1, 1, 2.5,
    )  # fmt: skip
    assert (mine.line.agent, mine.asked, mine.attempts, mine.live, mine.usd) == ("codex/mine", 0, 1, 0, 1.0)
    assert mine.reasons[0].rule == "weakness" and other.reasons == ()
    assert [each.line.agent for each in records([told.history], by=by_agent)] == ["aider/other", "codex/mine"]


@pytest.mark.parametrize("known_by", ["question", "bill"])
def test_what_was_put_on_a_branch_that_moved_is_its_attempts(known_by: str) -> None:
    """Such a commit has no attempt of its own: the question names it, and the bill of its tests, which there is also
    where the policy let it pass."""
    told = Told().task("a", edit=("codex/mine", "aider/other"))
    told.attempt("a", 1, "accepted").attempt("a", 2, "accepted", agent="aider/other")
    if known_by == "question":
        told.add("a", "question", "m", fingerprint="m", attempt=1, commit="moved", text="")
    else:
        told.add("a", "bill", "test-moved", run_id="a", step="test", attempt=1, usd=0.0, sandbox_s=1.0)
    told.add("a", "merged", "there", commit="there", head="moved")
    told.add("a", "live", "shop", revision="there", environment="shop")
    other, mine = records([told.history])
    assert (other.line.agent, other.asked, other.attempts, other.live) == ("aider/other", 0, 1, 0)
    assert (mine.line.agent, mine.asked, mine.attempts, mine.merged, mine.live) == ("codex/mine", 1, 1, 1, 1)


def test_what_died_before_it_was_live_was_rolled_back_too() -> None:
    told = Told()
    for number in range(10):
        run = f"r{number}"
        told.task(run).attempt(run, 1, "accepted").merge(run, live=number < 5)
        if number >= 5:
            told.back(run, by_run=run)
    told.task("merged").attempt("merged", 1, "accepted").merge("merged", live=False)
    found = only(told)
    assert (found.live, found.taken_back, found.stayed) == (5, Share(5, 10), 5)


@pytest.mark.parametrize(("model", "lines"), [(None, 1), ("x/large", 1), ("y/small", 2)])
def test_the_first_try_of_an_agent_counts_whatever_model_it_called(model: str | None, lines: int) -> None:
    told = Told().task("a").attempt("a", 1, "refused", ("weakness",))
    if model:
        told.call("a", "metered", "1", 1.0, model=model)
    told.attempt("a", 2, "accepted").call("a", "metered", "2", 1.0, attempt=2).merge("a", 2)
    found = {record.line.model: record for record in records([told.history])}
    assert len(found) == lines
    assert (found["x/large"].asked, found["x/large"].first_try) == (1, Share(0, 1))


def test_money_is_that_of_the_bill_and_counts_what_came_to_nothing() -> None:
    told = Told()
    for run in ("a", "b"):
        told.task(run).attempt(run, 1, "accepted")
        told.call(run, "reserved", f"{run}1", 9.0).call(run, "metered", f"{run}1", 1.0).call(
            run, "metered", f"{run}1", 5.0
        )
        told.call(run, "reserved", f"{run}2", 2.0)
        told.add(
            run,
            "bill",
            "edit-1",
            run_id=run,
            step="edit",
            attempt=1,
            agent="codex",
            model=None,
            usd=0.0,
            sandbox_s=90.0,
        )
    told.merge("a")
    whole = total([told.history])
    assert whole is not None
    calls = [
        entry.model_copy(update={"body": {**entry.body, "environment": None} if entry.kind != "bill" else entry.body})
        for entry in told.entries if entry.kind in ("bill", "metered", "reserved")
    ]  # fmt: skip
    assert whole.usd == bill(calls).usd == 6.0
    assert (whole.usd_per_live, whole.minutes, whole.minutes_per_live) == (6.0, 3.0, 3.0)
    told.back("a", by_run="x")
    whole = total([told.history])
    assert whole is not None and whole.usd_per_live is None, "what was taken back is no live change"


def test_of_a_task_that_ended_only_calls_without_an_end_are_kept_one_by_one() -> None:
    told = Told().task("a").attempt("a", 1, "accepted")
    for call in ("1", "2", "3"):
        told.call("a", "reserved", call, 9.0)
    told.call("a", "metered", "1", 1.0).add("a", "outcome", "outcome", end="merged")
    task = told.history.tasks["a"]
    assert (task.closed, set(task.reserved), only(told).usd) == (set(), {"2", "3"}, 19.0)
    told.call("a", "metered", "2", 2.0)
    assert (set(told.history.tasks["a"].reserved), only(told).usd) == ({"3"}, 12.0), "it was told late"


def test_a_history_that_comes_in_parts_or_twice_is_the_same_and_what_cannot_be_read_is_left_out() -> None:
    told = Told()
    told.task("a").attempt("a", 1, "refused", ("weakness",)).add("a", "attempt", "2", number="?")
    told.add("b", "approval", "x").attempt("a", 3, "accepted").merge("a", 3)
    parts = History()
    for entry in told.entries:
        parts.take([entry])
    parts.take(told.entries)
    assert records([parts]) == records([told.history]) and parts.last == len(told.entries)
    assert total([History()]) is None
    assert {entry.kind for entry in told.entries} <= set(KINDS)


# ── reviews ──


def checked(told: Told) -> ReviewHealth:
    return health([told.history], UTC)


STAMPS: tuple[tuple[str, dict[str, Any], float, tuple[str, ...], bool | None], ...] = (
    ("at once, and never seen", {}, 10, (), True),
    ("at once, and shown", {}, 10, ("shown",), True),
    ("at once, and opened", {}, 10, ("shown", "opened"), False),
    ("at once, with a comment", {"comment": "well done"}, 10, ("shown",), False),
    ("at once, with a comment of spaces", {"comment": "  "}, 10, ("shown",), True),
    ("at once, with a comment at a line", {"points": ["x.py:1: why?"]}, 10, (), False),
    ("as long as it takes, and shown", {}, 61, ("shown",), False),
    ("as long as it takes, and never seen: it may be read elsewhere", {}, 61, (), None),
    ("at a forge", {"forge": "github.com"}, 10, (), None),
    ("a claim", {"signed_in": False}, 10, (), True),
    ("changes asked for", {"answer": "ask for changes"}, 10, (), None),
)


@pytest.mark.parametrize(("why", "given", "seconds", "looks", "stamp"), STAMPS, ids=[each[0] for each in STAMPS])
def test_a_stamp_is_faster_than_reading_without_a_comment_by_who_never_opened_it(
    why: str, given: dict[str, Any], seconds: float, looks: tuple[str, ...], stamp: bool | None
) -> None:
    told = Told().task("a").attempt("a", 1, "needs a person").ask("a")
    for what in looks:
        told.look("a", "ann", what)
    told.later(seconds=seconds).answer("a", "Ann", **given)
    (review,) = checked(told).reviews
    assert (review.words, review.reading_s, review.is_stamp) == (300, 60.0, stamp), why


def test_time_begins_when_the_page_was_shown_to_that_person() -> None:
    told = (
        Told().task("a").attempt("a", 1, "needs a person").ask("a").look("a", "bob", "shown").look("a", "bob", "opened")
    )
    told.later(hours=5).look("a", "ann", "shown").later(seconds=5).answer("a", "ann")
    told.later(seconds=1).look("a", "ann", "opened")
    (review,) = checked(told).reviews
    assert (review.seconds, review.was_shown, review.was_opened, review.is_stamp) == (5.0, True, False, True)


@pytest.mark.parametrize("sees", [True, False])
def test_what_is_asked_again_is_timed_from_then_and_was_opened_only_if_since_then(sees: bool) -> None:
    told = Told().task("a").attempt("a", 1, "needs a person").ask("a")
    told.look("a", "ann", "shown").look("a", "ann", "opened").later(minutes=5).answer("a", "ann")
    told.later(days=3).ask("a", turn=2)
    if sees:
        told.later(hours=1).look("a", "ann", "shown", turn=2)
    told.later(seconds=5).answer("a", "ann", asking=2)
    first, again = checked(told).reviews
    assert (first.seconds, first.was_opened, first.is_stamp) == (300.0, True, False)
    assert (again.seconds, again.was_shown, again.was_opened, again.is_stamp) == (5.0, sees, False, True)


def test_another_attempt_is_another_review_and_whether_to_begin_is_none() -> None:
    told = Told().task("a").ask("a", 0).answer("a", "ann", number=0)
    told.attempt("a", 1, "needs a person").ask("a", 1).look("a", "ann", "opened").answer("a", "ann", "ask for changes")
    told.attempt("a", 2, "needs a person", lines=7, paths=2).ask("a", 2).answer("a", "ann", number=2)
    first, second = checked(told).reviews
    assert (first.was_opened, second.was_opened, second.lines, second.files) == (True, False, 7, 2)


@pytest.mark.parametrize(
    ("days", "revert", "live", "outcome", "taken_back"),
    [
        (None, None, True, "live", False),
        (None, None, False, "merged", None),
        (13, None, True, "rolled back", True),
        (13, "r", True, "reverted", True),
        (15, "r", True, "live", False),
        (1, "r", False, "reverted", True),
    ],
)
def test_what_came_of_it_within_two_weeks(
    days: float | None, revert: str | None, live: bool, outcome: str, taken_back: bool | None
) -> None:
    told = Told().task("a").attempt("a", 1, "needs a person").ask("a").answer("a", "ann").merge("a", live=live)
    if days is not None:
        told.later(days=days).back("a", by_run="rollback", revert=revert)
    (review,) = checked(told).reviews
    assert (review.outcome, review.was_taken_back) == (outcome, taken_back)


def test_a_team_is_told_by_name_and_size_with_its_n() -> None:
    told = Told()
    for number in range(12):
        run = f"r{number}"
        told.task(run, asked_by="Zoe" if number else "").attempt(run, 1, "needs a person", lines=10 if number else 500)
        told.ask(run).look(run, "zoe", "shown").later(seconds=1)
        if number == 1:
            told.answer(run, "bob", waits_for=["zoe"]).answer(run, "zoe", others=["bob"])
        else:
            told.answer(run, "zoe" if number % 2 else "@Zoe")
        told.merge(run)
    found = checked(told)
    assert [(each.name, each.answers) for each in found.reviewers] == [("bob", 1), ("zoe", 12)]
    assert found.whole.stamps == Share(13, 13) and found.reviewers[0].stamps.percent is None
    assert (found.single, found.own) == (Share(11, 12), Share(11, 12)), "of the first nobody knows who asked"
    assert [(each.name, each.answers) for each in found.sizes] == [
        ("0 to 50 lines", 12), ("51 to 200 lines", 0), ("201 to 400 lines", 0), ("more than 400 lines", 1),
    ]  # fmt: skip
    assert found.data["all"]["stamps"] == {"part": 13, "of": 13, "percent": 100.0, "low": 77.2, "high": 100.0}


@pytest.mark.parametrize(("hour", "night"), [(21, False), (22, True), (2, True), (5, True), (6, False), (12, False)])
def test_it_is_night_from_ten_to_six(hour: int, night: bool) -> None:
    told = Told().later(hours=(hour - 9) % 24).task("a").attempt("a", 1, "needs a person").ask("a").answer("a", "ann")
    assert checked(told).at_night == Share(int(night), 1)


def test_the_policy_and_housekeeping_are_no_reviewers() -> None:
    told = Told().task("a").attempt("a", 1, "needs a person").ask("a")
    told.answer("a", "policy", rule="small")
    told.answer("a", "lockgate housekeeping", "expired")
    assert checked(told).reviews == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nothing", 0),
        ("```diff\n+++ b/x\n--- a/x\n+two words\n-three more words\n context here\n```\n", 5),
        ("````diff\n+one\n```\n+two\n````\n", 2),
        ("~~~diff\n+a(b, c)\n~~~\n", 3),
        ("```\n+not a diff\n```\n", 0),
    ],
)
def test_words_are_those_of_changed_lines(text: str, words: int) -> None:
    assert words_of(text) == words
