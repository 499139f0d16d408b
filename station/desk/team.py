"""What is on the screen of the team: what agents did and how people review, by the ledgers of all workshops."""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from blocks.ledger import history
from domain.bill import Bill, By, ChargeSum, dollars
from domain.errors import LockgateError
from domain.history import History
from domain.review_health import ReviewAnswer, ReviewHealth, health
from domain.team_bill import team_bill
from domain.track_record import TrackRecord, records, total
from station import holding

NEWEST = 30
"""So many answers are listed."""
DAYS = 30
"""Of so many days, today among them, the bill is broken down."""
DEAREST = 10
"""So many tasks are listed on the bill."""


class Spending(NamedTuple):
    """The bill of the last `DAYS` days, by days in UTC as budgets count them."""

    total: ChargeSum
    before: ChargeSum
    days: tuple[ChargeSum, ...]
    """Each day, those without a charge too."""
    agents: tuple[ChargeSum, ...]
    environments: tuple[ChargeSum, ...]
    tasks: tuple[ChargeSum, ...]
    """The `DEAREST`."""
    others: int
    """Tasks that are not listed."""

    @property
    def used(self) -> tuple[ChargeSum, ...]:
        """The days with a charge, newest first."""
        return tuple(line for line in reversed(self.days) if line.calls or line.sandbox_s)

    @property
    def names(self) -> list[str]:
        """What the column of each day tells."""
        return [f"{line.name}: {dollars(line.usd)}, {line.sandbox_s / 60:.1f} min of sandbox" for line in self.days]

    def sizes(self, lines: Iterable[ChargeSum]) -> list[float]:
        """What bars compare: money, or sandbox time where no model was paid."""
        return [line.usd if self.total.usd else line.sandbox_s for line in lines]


def spending(histories: Iterable[History], today: date) -> Spending:
    """Counted up to the day `today`, in UTC."""
    charges = team_bill(histories).charges
    first = today - timedelta(days=DAYS - 1)
    newer = Bill(charges=tuple(charge for charge in charges if charge.at.date() >= first))
    older = Bill(charges=tuple(charge for charge in charges if charge.at.date() < first))
    known = {line.name: line for line in newer.by(By.DAY)}
    empty = Bill(charges=()).total
    days = [(first + timedelta(days=number)).isoformat() for number in range(DAYS)]
    tasks = newer.by(By.TASK)
    return Spending(
        newer.total, older.total, tuple(known.get(day, empty.model_copy(update={"name": day})) for day in days),
        newer.by(By.AGENT), newer.by(By.ENVIRONMENT), tasks[:DEAREST], len(tasks[DEAREST:]),
    )  # fmt: skip


class Team(NamedTuple):
    """Everything on the page."""

    whole: TrackRecord | None
    records: tuple[TrackRecord, ...]
    health: ReviewHealth
    newest: tuple[ReviewAnswer, ...]
    spent: Spending
    ledgers: int
    problems: list[str]


class Books:
    """What was read of each ledger: a page reads what came since. One thread reads, for the first time takes seconds
    where a ledger is large, and keeps no other page waiting."""

    def __init__(self) -> None:
        self._known: dict[str, History] = {}
        self._stands: tuple[tuple[str, str], ...] = ()
        self._day: date | None = None
        self._counted: Team | None = None
        """What was counted when the ledgers stood there, on that day."""
        self._thread = ThreadPoolExecutor(1, "books")
        self._next: Future[Team] | None = None

    def team(self) -> Future[Team]:
        """As it is now, once it is read. All who ask before that reading begins share it. From one thread."""
        if self._next is None or self._next.running() or self._next.done():
            self._next = self._thread.submit(self._read)
        return self._next

    def _read(self) -> Team:
        """A ledger that cannot be read is named, and what was read of it before counts."""
        problems = []
        urls = {str(shop["ledger"]["url"]) for shop in holding.shops()}
        for url in sorted(urls):
            try:
                self._known[url] = history.read(url, self._known.get(url))
            except LockgateError as err:
                problems.append(f"Not all can be shown: {err}")
        found = [self._known[url] for url in sorted(urls) if url in self._known]
        stands = tuple((url, self._known[url].hash) for url in sorted(urls) if url in self._known)
        today = datetime.now(UTC).date()
        if (stands, today) != (self._stands, self._day) or self._counted is None:
            reviews = health(found)
            newest = tuple(reversed(reviews.reviews[-NEWEST:]))
            spent = spending(found, today)
            self._counted = Team(total(found), records(found), reviews, newest, spent, len(found), [])
            self._stands, self._day = stands, today
        return self._counted._replace(problems=list(dict.fromkeys(problems)))
