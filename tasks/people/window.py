"""Waits, before the merge, until an environment is open. A waiting run costs no process."""

from datetime import UTC, datetime

from prefect.input import RunInput
from pydantic import Field

from blocks.workshop import workshop_of
from domain.records import OPENED_WINDOW, WAITS_FOR_WINDOW
from domain.task import Evidence, Prepared
from domain.value import Value
from domain.windows import closed
from tasks.pages.show import quote
from tasks.people.asking import answered, known_by
from tasks.releasing import breaker
from tasks.review_gate import fingerprint

OVER = "lockgate housekeeping"
"""Who answers when a window is over."""


class Open(RunInput):
    """The form in the UI under ⋮ → Resume."""

    opened_by: str = Field(min_length=1, description="Your name, for the record: the release goes out at once")
    why: str = Field("", description="Why it cannot wait")


class Waits(Value):
    """A release waits for the end of a freeze window."""

    environment: str
    until: datetime
    reason: str


class Opened(Value):
    """Who let a release go."""

    by: str
    why: str
    signed_in: bool = False
    way: str = ""


def until_open(prepared: Prepared, evidence: Evidence) -> None:
    """Suspend while the change's environment is frozen. Housekeeping goes on when the window is over, a person at any
    time; who it was is on record. Raises Held if nothing may be released there at all."""
    brief, run = prepared.brief, prepared.run_id
    if brief.environment is None:
        return
    shop = workshop_of(brief)
    breaker.check(shop.ledger, brief.environment)
    mark = fingerprint(prepared, evidence)
    for turn in range(100):
        found = closed(shop.freezes, brief.environment, datetime.now(UTC))
        key = f"window-{mark[:16]}-{turn}"
        if found is None or shop.ledger.find(run, *OPENED_WINDOW.at(mark), Opened):
            return
        waits = Waits(environment=brief.environment, until=found.until, reason=found.reason)
        shop.ledger.record(run, *WAITS_FOR_WINDOW.at(key), waits)
        text = (
            f"# {quote(brief.title)}: approved, and waits\n\nNothing is released to {quote(brief.environment)} until "
            f"{found.until:%Y-%m-%d %H:%M} UTC: {quote(found.reason)}. It goes on by itself then."
        )
        form = answered(Open, text, key)
        if form and form.opened_by != OVER:
            opened = Opened(by=form.opened_by, why=form.why, **known_by(run, key, form)._asdict())
            shop.ledger.record(run, *OPENED_WINDOW.at(mark), opened)
            return
    raise RuntimeError("a hundred windows in a row; the run stops waiting")
