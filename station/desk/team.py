"""What is on the screen of the team: what agents did and how people review, by the ledgers of all workshops."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from blocks.ledger import history
from domain.errors import LockgateError
from domain.history import History
from domain.review_health import ReviewAnswer, ReviewHealth, health
from domain.track_record import TrackRecord, records, total
from station import holding

NEWEST = 30
"""So many answers are listed."""


class Team(NamedTuple):
    """Everything on the page."""

    whole: TrackRecord | None
    records: tuple[TrackRecord, ...]
    health: ReviewHealth
    newest: tuple[ReviewAnswer, ...]
    problems: list[str]


class Books:
    """What was read of each ledger: a page reads what came since. One thread reads, for the first time takes seconds
    where a ledger is large, and keeps no other page waiting."""

    def __init__(self) -> None:
        self._known: dict[str, History] = {}
        self._stands: tuple[tuple[str, str], ...] = ()
        self._counted: Team | None = None
        """What was counted when the ledgers stood there."""
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
        if stands != self._stands or self._counted is None:
            reviews = health(found)
            newest = tuple(reversed(reviews.reviews[-NEWEST:]))
            self._stands, self._counted = stands, Team(total(found), records(found), reviews, newest, [])
        return self._counted._replace(problems=list(dict.fromkeys(problems)))
