"""Tells people what the ledger says that they have to hear. Runs wait for none of it: a round of the supervisor's own.

Before a message is sent the ledger says so, and afterwards how that ended. Who is killed between the two sends it once
more with the same key, and then no more.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from blocks.ledger.ledger import Ledger
from blocks.ledger.reading import Reader
from blocks.workshop import Workshop
from domain.brief import Brief
from domain.errors import LockgateError
from domain.notices import (
    KINDS,
    RUN,
    URGENT,
    WAITING,
    Class,
    Incident,
    Incidents,
    Message,
    Notified,
    Notifying,
    Step,
    due,
)
from domain.records import BILL, NOTIFIED, NOTIFYING, OUTCOME, PREPARED
from domain.task import BillLine
from tasks.pages.bill import bill_of
from tasks.people.pager import resolves, send

NEWS = timedelta(days=1)
"""What does not wait for anybody, and is older, is no news: nobody hears of it when notices are turned on."""
NEARLY = 0.8
"""Of a budget: then a person hears of it."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 30.0, 3600.0
"""A channel that failed is left alone for so long, then for twice as long, and so on."""
DIGEST = 3
"""More of what is not urgent than this, at once and for the same channels, goes as one message."""
MOST_BEGUN = 2
"""A message of which nobody saw how it ended was perhaps sent: it is begun so often at most."""


class Wait(NamedTuple):
    """How long a channel is left alone."""

    until: float
    pause_s: float


class NoticeBook:
    """One ledger, and what is known of it."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.incidents = ledger, Incidents()
        self._reader = Reader(ledger.url.get_secret_value())
        self._read, self._metered = 0, 0
        self._first = True
        self.titles: dict[str, tuple[str, str]] = {}

    def read(self, now: datetime) -> None:
        """What came since the last time; of the whole ledger never more than these kinds."""
        entries = self._reader.entries(kinds=KINDS, after=self._read)
        self.incidents.take(entries)
        self._read = max((entry.number for entry in entries), default=self._read)
        if self._first:
            self._metered, self._first = self._read, False
        spent = self._reader.entries(kinds=("metered", BILL.kind), after=self._metered)
        self._metered = max((entry.number for entry in spent), default=self._metered)
        for run_id in {entry.run_id for entry in spent}:
            self._look_at_budget(run_id, now)

    def _look_at_budget(self, run_id: str, now: datetime) -> None:
        found = self.ledger.last(PREPARED.kind, run_id=run_id)
        if found is None or self.ledger.last(OUTCOME.kind, run_id=run_id):
            return
        budget = Brief.model_validate(found.body["brief"]).budget
        usd = bill_of(self.ledger, run_id).usd
        lines = self._reader.entries(run_id, (BILL.kind,))
        minutes = sum(BillLine.model_validate(entry.body).sandbox_s for entry in lines) / 60
        parts = [f"{minutes:.0f} of {budget.minutes:g} minutes"] if minutes >= NEARLY * budget.minutes else []
        if budget.usd and usd >= NEARLY * budget.usd:
            parts.append(f"{usd:.2f} of {budget.usd:.2f} USD")
        if parts:
            self.incidents.begin(
                Incident(
                    key=f"{Class.BUDGET}/{run_id}",
                    kind=Class.BUDGET,
                    what="the budget is nearly used up",
                    why="; ".join(parts),
                    run_id=run_id,
                    since=now,
                )
            )

    def title(self, run_id: str) -> tuple[str, str]:
        """(title, workshop) of a run."""
        if run_id not in self.titles:
            found = self.ledger.last(PREPARED.kind, run_id=run_id)
            brief = found.body["brief"] if found else {}
            self.titles[run_id] = str(brief.get("title") or run_id), str(brief.get("workshop") or "default")
        return self.titles[run_id]


class Notifier:
    """Tells of what the ledgers of all workshops say; from one thread."""

    def __init__(self, say: Callable[[str], None], desk: str) -> None:
        self._say, self._desk = say, desk
        self._books: dict[str, NoticeBook] = {}
        self._resting: dict[str, Wait] = {}

    def look(self, shops: Mapping[str, Workshop], now: datetime | None = None) -> None:
        """One round. A ledger that cannot be read is read again in the next one."""
        now = now or datetime.now(UTC)
        by_ledger: dict[str, dict[str, Workshop]] = {}
        for name, shop in shops.items():
            by_ledger.setdefault(shop.ledger.url.get_secret_value(), {})[name] = shop
        for url, mine in by_ledger.items():
            if not any(shop.notices.channels for shop in mine.values()):
                continue
            book = self._books.setdefault(url, NoticeBook(next(iter(mine.values())).ledger))
            try:
                book.read(now)
                self._tell(book, mine, now)
            except LockgateError as err:
                self._say(f"what people have to hear could not be looked up: {err}")

    def _tell(self, book: NoticeBook, shops: Mapping[str, Workshop], now: datetime) -> None:
        quiet: dict[tuple[str, ...], list[Incident]] = {}
        for incident in list(book.incidents.known.values()):
            shop = _shop_of(incident, book, shops)
            step = due(incident, book.incidents, shop.notices, now)
            if step is None or (step == "first" and _is_old(incident, now)):
                continue
            is_urgent = incident.kind in URGENT
            if not is_urgent and step != "end" and shop.notices.is_quiet(now):
                continue
            route = shop.notices.escalate_to if step == "escalation" else shop.notices.route(incident.kind)
            desk = shop.notices.desk or self._desk
            if step == "end":
                self._end(book, incident)
            elif step == "first" and not is_urgent:
                quiet.setdefault((*route, desk), []).append(incident)
            else:
                self._deliver(book, step, [incident], route, _message(book, incident, step, desk))
        for (*channels, desk), found in quiet.items():
            if len(found) > DIGEST:
                self._deliver(book, "first", found, channels, _digest(book, found, desk))
                continue
            for incident in found:
                self._deliver(book, "first", [incident], channels, _message(book, incident, "first", desk))

    def _end(self, book: NoticeBook, incident: Incident) -> None:
        told = book.incidents.told[incident.key, "first"]
        took = next(one for one in reversed(told) if one.problem is None)
        message = Message(key=took.key, subject=f"Lockgate: over: {incident.what}", body="", is_over=True)
        if took.key == incident.key and resolves(took.channel):
            self._deliver(book, "end", [incident], (took.channel,), message)

    def _deliver(
        self, book: NoticeBook, step: Step, about: Sequence[Incident], route: Iterable[str], message: Message
    ) -> None:
        """To the first channel that takes it. What none takes is tried again when the first of them has rested."""
        keys = tuple(one.key for one in about)
        for channel in route:
            if any(one.kind is Class.PAGER and one.key.startswith(f"{Class.PAGER}/{channel}/") for one in about):
                continue  # that it is broken is not told to the broken one
            rest = self._resting.get(channel)
            if rest and time.monotonic() < rest.until:
                continue
            way = (message.key, step, channel)
            number = book.incidents.begun.get(way, 0)
            begun = Notifying(key=message.key, step=step, channel=channel, keys=keys)
            problem: str | None = None
            if number - book.incidents.seen.get(way, 0) < MOST_BEGUN:
                number += 1
                book.ledger.record(RUN, *NOTIFYING.at(*way, number), begun)
                problem = send(channel, message)
            ended = Notified(**begun.model_dump(), problem=problem)
            book.ledger.record(RUN, *NOTIFIED.at(*way, number), ended)
            if problem is None:
                self._resting.pop(channel, None)
                self._say(f"{channel} was told: {message.subject}")
                break
            pause_s = min(LONGEST_PAUSE_S, rest.pause_s * 2 if rest else FIRST_PAUSE_S)
            self._resting[channel] = Wait(time.monotonic() + pause_s, pause_s)
            self._say(f"{channel} could not be told: {problem}; it is left alone for {pause_s:.0f} s")
        book.read(datetime.now(UTC))


def _is_old(incident: Incident, now: datetime) -> bool:
    return incident.kind not in (*WAITING, Class.HELD) and now - incident.since > NEWS


def _shop_of(incident: Incident, book: NoticeBook, shops: Mapping[str, Workshop]) -> Workshop:
    """Whose incident it is: the brief's workshop; the one that has the environment; else any."""
    if incident.run_id and (name := book.title(incident.run_id)[1]) in shops:
        return shops[name]
    if incident.environment:
        for shop in shops.values():
            if incident.environment in shop.targets:
                return shop
    return shops.get("default") or next(iter(shops.values()))


def _message(book: NoticeBook, incident: Incident, step: Step, desk: str) -> Message:
    title = book.title(incident.run_id)[0] if incident.run_id else ""
    begins = {"reminder": "still: ", "escalation": "nobody answered: "}.get(step, "")
    subject = f"Lockgate: {title}: {begins}{incident.what}" if title else f"Lockgate: {begins}{incident.what}"
    page = "review" if incident.kind in WAITING else "task"
    place = f"{desk}{page}/{incident.run_id}" if incident.run_id else f"{desk}environments"
    parts = [incident.why, f"Since {incident.since:%Y-%m-%d %H:%M} UTC.", place if desk else ""]
    body = "\n\n".join(part for part in parts if part)
    return Message(key=incident.key, subject=subject, body=body, urgent=incident.kind in URGENT)


def _digest(book: NoticeBook, found: Sequence[Incident], desk: str) -> Message:
    """One message about many. Its key is the oldest one's, so that it is the same one when it is sent again."""
    lines = [f"- {book.title(one.run_id)[0] if one.run_id else ''}: {one.what}" for one in found]
    return Message(
        key=f"digest/{found[0].key}",
        subject=f"Lockgate: {len(found)} things to hear of",
        body="\n".join([*lines, "", desk]),
    )
