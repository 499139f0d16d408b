"""What policy makes of the record: tables of small histories, counted from entries of a ledger."""

import pytest

from domain.agent_choice import AgentChoice
from domain.history import History
from domain.policy.by_record import cheapest, second_person, standing
from domain.policy.reviewers import may_approve, missing, needs, owners_of
from domain.project import RecordBar
from domain.task import Need
from tests.unit.policy_cases import prepared, tree
from tests.unit.test_record_of_a_team import Told

ME = "codex/mine"


def changes(
    told: Told, count: int, agent: str = ME, back: tuple[int, ...] = (), refused: tuple[int, ...] = (), usd: float = 1.0
) -> Told:
    """So many tasks that were merged and released; `back`: those that were taken back, `refused` at their first try."""
    for number in range(count):
        run = f"{agent.replace('/', '-')}-{number}"
        told.task(run, agent).later(minutes=1).call(run, "metered", run, usd)
        told.attempt(run, 1, "refused" if number in refused else "accepted", agent=agent)
        if number in refused:
            told.attempt(run, 2, "accepted", agent=agent)
        commit = f"{run}-{2 if number in refused else 1}"
        told.add(run, "merged", "merged", commit=f"m-{run}", head=commit).add(run, "live", "live", revision=f"m-{run}")
        if number in back:
            told.later(minutes=1).add(run, "rolled_back", "back", failed=f"m-{run}", revert=None)
        told.add(run, "outcome", "outcome", end="live").later(minutes=1)
    return told


def history(told: Told) -> History:
    read = History()
    read.take(told.entries)
    return read


BAR = RecordBar(window=10, rollbacks=0)
STANDINGS = {
    "too few": (Told, 9, (), (), BAR, False, "has 9 changes that were released, and 10 are asked for"),
    "none taken back": (Told, 10, (), (), BAR, True, "newest 10 changes of codex/mine that were released, 0 were"),
    "the last one was": (Told, 30, (29,), (), BAR, False, "1 were rolled back, and at most 0 may be"),
    "an old one was": (Told, 30, (3,), (), BAR, True, "0 were rolled back"),
    "one may be": (Told, 12, (11,), (), RecordBar(window=10, rollbacks=1), True, "1 were rolled back"),
    "first tries": (Told, 20, (), (0,), RecordBar(window=20, first_try=70), True, "19 of 20, 95 % (76 to 99)"),
    "not surely": (Told, 20, (), (0, 1), RecordBar(window=20, first_try=70), False, "not known to be 70 % or more"),
}


@pytest.mark.parametrize("name", STANDINGS)
def test_an_agent_stands_by_its_newest_released_changes(name: str) -> None:
    make, count, back, refused, bar, is_met, said = STANDINGS[name]
    stands = standing(history(changes(make(), count, back=back, refused=refused)), ME, bar)
    assert (stands.is_met, said in stands.sentence) == (is_met, True), stands.sentence


def test_the_record_of_one_agent_is_no_others() -> None:
    read = history(changes(changes(Told(), 20), 3, agent="codex/other"))
    assert standing(read, ME, BAR).is_met
    assert not standing(read, "codex/other", BAR).is_met
    assert not standing(read, "codex/nobody", BAR).is_met


def approvals(count: int, stamps: int) -> History:
    """So many approvals by people who saw the page; `stamps` of them in a second, unread."""
    told = Told()
    text = "```diff\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n+" + "word " * 300 + "\n```\n"
    for number in range(count):
        run, mark = f"r{number}", f"f{number}"
        told.task(run).attempt(run, 1, "accepted")
        told.add(run, "question", mark, fingerprint=mark, attempt=1, commit=f"{run}-1", text=text)
        told.add(run, "looked", f"{mark}/ann/shown", by="ann", what="shown")
        told.later(seconds=1 if number < stamps else 120)
        told.add(run, "approval", mark, fingerprint=mark, answer="approve", reviewer="ann", comment="")
    return history(told)


SECOND = {
    "nobody has approved anything": (0, 0, "known of 0 approvals alone"),
    "too few": (9, 0, "known of 9 approvals alone"),
    "none of ten may still be many": (10, 0, "0 of 10, 0 % (0 to 28) of the newest approvals, and at most 20 %"),
    "none of twenty": (20, 0, None),
    "many": (20, 10, "10 of 20, 50 %"),
    "some": (100, 15, "15 of 100"),
    "few": (100, 10, None),
}


@pytest.mark.parametrize("name", SECOND)
def test_a_second_person_is_asked_unless_stamps_are_known_to_be_few(name: str) -> None:
    count, stamps, said = SECOND[name]
    why = second_person(approvals(count, stamps), 20)
    assert why is None if said is None else said in str(why)


def test_two_people_are_any_two_or_two_of_those_who_may() -> None:
    anybody = needs(prepared(), owners_of(tree({})), ("a.py",), "stamps")
    assert [(need.names, need.count) for need in anybody] == [((), 2)]
    assert "2 people must approve a.py (stamps)" in anybody[0].sentence
    assert may_approve(anybody, "zoe")
    assert missing(anybody, ("ann",)) == anybody == missing(anybody, ("ann", "@Ann"))
    assert missing(anybody, ("ann", "zoe")) == ()
    owned = needs(prepared(), owners_of(tree({"CODEOWNERS": "a.py @ann\n"})), ("a.py",), "stamps")
    assert not missing(owned, ("zoe", "ann"))
    assert [need.names for need in missing(owned, ("zoe", "bob"))] == [("ann",)]
    two = needs(prepared(reviewers=("ann", "bob")), owners_of(tree({})), ("a.py",), "stamps")
    assert {need.names for need in two} == {("ann", "bob")}
    assert not may_approve(two, "zoe")
    assert missing(two, ("ann",)) == (Need(names=("ann", "bob"), count=2, why="stamps", paths=("a.py",)),)


def test_the_cheapest_is_chosen_of_those_whose_record_passes() -> None:
    read = history(
        changes(changes(changes(changes(Told(), 12, usd=2.0), 12, "codex/dear", usd=3.0), 12, "codex/bad", back=(11,),
        usd=0.5), 3, "codex/new", usd=0.1)
    )  # fmt: skip
    choice = AgentChoice(agents=("codex/dear", "codex/bad", ME, "codex/new", "codex/none"), bar=BAR)
    found = cheapest(read, choice, lambda _: None)
    assert found.agent == ME
    assert found.reasons[0].startswith("$2.00 a merged change: of the newest 10 changes")
    assert [reason.partition(":")[0] for reason in found.reasons[1:]] == [
        "not codex/dear", "not codex/bad", "not codex/new", "not codex/none"
    ]  # fmt: skip
    assert cheapest(read, choice, lambda agent: "out of scope" if agent == ME else None).agent == "codex/dear"
    assert cheapest(read, AgentChoice(agents=("codex/new",), bar=BAR), lambda _: None).agent is None
