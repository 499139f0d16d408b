"""Planted faults at the desk: shown as any review, told at once when they are answered. They move nothing."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from blocks.ledger.reading import Reader
from blocks.ledger.writing import record
from domain.access import Role, Token
from domain.entry import Entry
from domain.planted import OPEN_DAYS, RUN, Planted, PlantedAnswer, PlantedFault, with_fault
from domain.policy.reviewers import canonical_name
from domain.records import PLANTED, PLANTED_ANSWER, PREPARED
from domain.task import Prepared
from station import holding
from station.desk import reviews, tasks
from station.desk.answers import answer_of
from station.desk.reviews import ForgeOf
from station.desk.waiting import WaitingRow
from station.door.reading import DoorDenied


class PlantedReview(NamedTuple):
    """One that waits for the person who looks, or did."""

    url: str
    entry: Entry
    planted: Planted
    is_over: bool

    @property
    def mark(self) -> str:
        """As the mark of any question is: what an answer is bound to."""
        return self.planted.question[:16]


def of(token: Token) -> Iterator[PlantedReview]:
    """Those of one person, oldest first; nothing is read where no workshop has turned it on."""
    if not token.may(Role.REVIEW):
        return
    since = datetime.now(UTC) - timedelta(days=OPEN_DAYS)
    for url in sorted({str(shop["ledger"]["url"]) for shop in holding.shops() if _is_on(shop)}):
        entries = Reader(url).entries(run_id=RUN)
        answered = {entry.key for entry in entries if entry.kind == PLANTED_ANSWER.kind}
        for entry in entries:
            if entry.kind != PLANTED.kind or canonical_name(str(entry.body["reviewer"])) != canonical_name(token.name):
                continue
            is_over = entry.key in answered or entry.at < since
            yield PlantedReview(url, entry, Planted.model_validate(entry.body), is_over)


def find(address: str, token: Token) -> PlantedReview | None:
    """The one at an address, if it is this person's."""
    return next((one for one in of(token) if one.planted.id == address), None)


def waits(token: Token) -> list[WaitingRow]:
    """As lines of the first screen."""
    return [
        WaitingRow("review", "review", _prepared(one).brief.title, one.entry.at, f"/review/{one.planted.id}")
        for one in of(token)
        if not one.is_over
    ]


def review_of(here: PlantedReview, forge_of: ForgeOf) -> reviews.WaitingReview:
    """The page: that of the change it was made of, when that was asked about, with the line made wrong."""
    if here.is_over:
        raise DoorDenied(409, "The run does not wait for an answer: it was answered, or is over.")
    planted = here.planted
    run = {"id": planted.run_id, "parameters": {"brief": {"workshop": _prepared(here).brief.workshop}}}
    found = reviews.review_of(run, here.mark, forge_of)
    fault = PlantedFault(planted.path, planted.line, planted.was, planted.now)
    changed = with_fault([shown.file for shown in found.files], fault)
    if changed is None:
        raise DoorDenied(409, "The change cannot be shown any more.")
    files = [shown._replace(file=file) for shown, file in zip(found.files, changed, strict=True)]
    text = found.question.text.replace(f"+{fault.was}\n", f"+{fault.now}\n")
    question = found.question.model_copy(update={"text": text, "needs": (), "reviewers": ()})
    return found._replace(run_id=planted.id, files=files, question=question, missing=[], given=[])


def task_of(here: PlantedReview, token: Token) -> tasks.TaskRow:
    """Its whole story: that of the change it was made of, up to the question."""
    if here.is_over:
        raise DoorDenied(409, "The run does not wait for an answer: it was answered, or is over.")
    entries = Reader(here.url).entries(here.planted.run_id)
    asked = [entry.number for entry in entries if (entry.kind, entry.key) == ("question", here.planted.question)]
    brief = _prepared(here).brief
    run = {
        "id": here.planted.id, "name": brief.title, "state_type": "PAUSED", "state_name": "Suspended",
        "state": {"state_details": {"pause_key": "review-1"}}, "parameters": {"brief": brief.model_dump(mode="json")},
    }  # fmt: skip
    return tasks.task_of(run, token, [entry for entry in entries if entry.number <= max(asked, default=0)])._replace(
        may_stop=False
    )


def answered(here: PlantedReview, token: Token, form: Mapping[str, str]) -> tuple[str, str]:
    """Record the answer; (title, what is told). Raises Denied for one that is none, or a second one."""
    given = answer_of(form)
    if here.is_over or given.get("mark") != here.mark:
        raise DoorDenied(409, "Your answer was not taken: the run does not wait with this question any more.")
    planted = here.planted
    answer = PlantedAnswer(by=token.name, answer=given["decision"])
    record(here.url, RUN, *PLANTED_ANSWER.at(here.entry.key), answer)
    seen = "You caught it." if answer.is_caught else "It got past you."
    return (
        f"This change was planted. {seen}",
        "It was never real: there is no run and no commit of it, and nothing of it can be merged. Your team turned "
        f"this on (`planted` of the workshop). The fault is in {planted.path}, line {planted.line}:\n\n"
        f"{planted.now.strip()}\n\nwhere the change that it was made of has:\n\n{planted.was.strip()}\n\n"
        f"You answered: {answer.answer}. Team shows what was caught, and is no ranking.",
    )


def _is_on(shop: Mapping[str, object]) -> bool:
    planted = shop.get("planted")
    return isinstance(planted, Mapping) and bool(planted.get("per_week"))


def _prepared(here: PlantedReview) -> Prepared:
    entries = Reader(here.url).entries(here.planted.run_id, (PREPARED.kind,))
    if not entries:
        raise DoorDenied(409, "The change cannot be shown any more.")
    return Prepared.model_validate(entries[-1].body)
