"""Watches what serves: a proxy or live release that ends is brought back at once, on record; flapping is paged."""

import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

from blocks import kept
from blocks.home import STATION, places
from blocks.targets.machine.process import ProcessTarget
from blocks.workshop import Workshop
from domain.errors import LockgateError, NotServing, reason_of
from domain.ports import Target
from domain.records import BROUGHT_BACK
from domain.value import Value
from flows.going_back import finish, go_back
from tasks.people.pager import page

LOOK_S = 1.0
LOOK_AT_ENGINE_S = 10.0
"""Between two looks where an engine restarts releases by itself, and a look is a request to it."""
FLAPS = 3
WITHIN_S = 300.0
"""So many returns within that time are flapping: a person is paged, once until it has been quiet for as long."""
MAX_PAUSE_S = 60.0
FINISH_S = 10.0
"""After that, what could not be recorded of a way back is tried again."""
PAGE_AGAIN_S = 60.0
"""After that a page that could not be sent is tried again."""
PROXY = "proxy started"
"""What a target says of its proxy: all else is about the release."""


class BroughtBack(Value):
    """What was down in an environment, and serves again."""

    environment: str
    lines: tuple[str, ...]
    seconds: float


class Pages:
    """What one environment's person has to hear. Each page is sent beside the watch, for a pager may hang, and is tried
    again until it was sent. Blocks come from the copy: none of it needs the server."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._waiting: deque[tuple[str, str]] = deque(maxlen=20)
        self._sending: threading.Thread | None = None
        self._not_before = float("-inf")

    def add(self, subject: str, body: str) -> None:
        """It is sent by the next `send`."""
        self._waiting.append((subject, f"{body}\nAt {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."))
        self._not_before = float("-inf")  # what is new is not kept waiting by what could not be sent

    def send(self, pager: str | None) -> None:
        """Begin to send what waits, unless that is under way or was tried a moment ago. Waits for nothing."""
        if not self._waiting or (self._sending and self._sending.is_alive()) or time.monotonic() < self._not_before:
            return
        if pager is None:
            self._say("nobody is paged, for the workshop has no pager")
            self._waiting.clear()
            return
        self._not_before = time.monotonic() + PAGE_AGAIN_S
        self._sending = threading.Thread(target=self._send, args=(pager,), name="page", daemon=True)
        self._sending.start()

    def _send(self, pager: str) -> None:
        while self._waiting:
            subject, body = one = self._waiting[0]
            with kept.used():
                if not page(pager, subject, body):
                    self._say(f"nobody could be paged ({subject}): it is tried again in {PAGE_AGAIN_S:.0f} s")
                    return
            self._say(f"a person was paged: {subject}")
            if self._waiting and self._waiting[0] is one:
                self._waiting.popleft()


class EnvironmentWatch:
    """One environment, looked at by one thread. Blocks come from the copy: no look waits for the server."""

    def __init__(self, environment: str, say: Callable[[str], None]) -> None:
        self.environment = environment
        self._say = say
        self._returns: deque[float] = deque(maxlen=50)
        self._lines: deque[tuple[str, ...]] = deque(maxlen=FLAPS)
        self._problem = ""
        self._failures = 0
        self._paged_at = float("-inf")
        self._pages = Pages(say)
        self._finish_at: float | None = float("-inf")
        self._has_told = False
        self._known: tuple[Workshop, Target] | None = None

    def look(self, shop: Workshop) -> float:
        """Bring back what is down; seconds until the next look, more and more where it keeps going down."""
        with kept.used():
            pause_s = self._look(shop)
            if self._failures == 0 and self._finish_at is not None and time.monotonic() >= self._finish_at:
                self._finish(shop)
        self._pages.send(shop.pager)
        return pause_s

    def _finish(self, shop: Workshop) -> None:
        """A way back that an earlier supervisor took, or that could not be recorded, ends on record."""
        try:
            told = finish(shop, self.environment)
        except Exception as err:  # ledger or store may be gone for longer
            self._say(f"whether {self.environment} went back could not be recorded: {type(err).__name__}: {err}")
            self._finish_at = time.monotonic() + FINISH_S
            return
        self._finish_at = None
        if told:
            self._say(told)
            if not self._has_told:
                self._pages.add(f"Lockgate: {self.environment} was taken back", told)

    def _look(self, shop: Workshop) -> float:
        started = time.monotonic()
        try:
            target = self._target(shop)
            lines = target.ensure()
        except Exception as err:  # whatever it is, what serves is looked at again
            return self._failed(shop, reason_of(err), died=isinstance(err, NotServing))
        self._problem, self._failures = "", 0
        quiet_s = LOOK_S if isinstance(target, ProcessTarget) else LOOK_AT_ENGINE_S
        if not lines:
            return quiet_s
        now = time.monotonic()
        self._returns.append(now)
        back = BroughtBack(environment=self.environment, lines=lines, seconds=round(now - started, 2))
        self._say(f"{self.environment} is back after {back.seconds} s: {'; '.join(lines)}")
        shop.ledger.record("watch", *BROUGHT_BACK.at(self.environment, datetime.now(UTC).isoformat()), back)
        lately = sum(now - at < WITHIN_S for at in self._returns)
        if lately >= FLAPS:
            died = all(any(not line.startswith(PROXY) for line in each) for each in (*self._lines, lines)[-FLAPS:])
            what = f"{self.environment} went down {lately} times in {WITHIN_S / 60:.0f} minutes"
            if self._flaps(shop, what, lines, died=died):
                return quiet_s
        self._lines.append(lines)
        return quiet_s if lately < FLAPS else min(MAX_PAUSE_S, 2.0 ** (lately - FLAPS + 1))

    def _target(self, shop: Workshop) -> Target:
        """Its block is read as often as the workshop's. One that was deleted is not the end of what serves: it is
        looked after as it was, and that is said."""
        if self._known is None or self._known[0] is not shop:
            try:
                self._known = shop, shop.target(self.environment)
            except LockgateError as err:
                if self._known is None:
                    raise
                self._known = shop, self._known[1]
                self._say(f"{self.environment} is looked after as it was set up before: {err}")
        return self._known[1]

    def _failed(self, shop: Workshop, problem: str, *, died: bool) -> float:
        self._failures += 1
        if problem != self._problem:
            self._say(f"{self.environment} does not serve: {problem}")
        self._problem = problem
        if self._failures >= FLAPS and self._flaps(shop, f"{self.environment} does not serve", (problem,), died=died):
            return LOOK_S
        return min(MAX_PAUSE_S, 2.0 ** min(self._failures, 10))

    def _flaps(self, shop: Workshop, what: str, lines: tuple[str, ...], *, died: bool) -> bool:
        """A person is paged, once; a release that `died` goes back first, if it may. Whether it did."""
        is_back, told = go_back(shop, self.environment, what) if died else (False, "")
        if died:
            self._finish_at = time.monotonic() + FINISH_S
        if not is_back:
            self._page(what, (*lines, *([told] if told else [])))
            return False
        self._say(told)
        self._has_told = True
        self._pages.add(f"Lockgate: {what}, and was taken back", "\n".join([what, told, *lines]))
        self._returns.clear()
        self._lines.clear()
        self._failures, self._problem = 0, ""
        self._paged_at = float("-inf")  # should the other one keep dying too, that is news
        return True

    def _page(self, what: str, lines: tuple[str, ...]) -> None:
        now = time.monotonic()
        if now - self._paged_at < WITHIN_S:
            self._paged_at = now  # it goes on: nothing new
            return
        self._paged_at = now
        self._say(what)
        self._pages.add(f"Lockgate: {what}", "\n".join([what, *lines]))


class OwnEnvironments:
    """Which environments this machine looks after: those whose releases live here, and on the station's own machine
    also those of platforms. Blocks come from the copy, and are read as often as the workshop's."""

    def __init__(self) -> None:
        self._known: tuple[Workshop, frozenset[str]] | None = None

    def of(self, shop: Workshop) -> frozenset[str]:
        if self._known is None or self._known[0] is not shop:
            with kept.used():
                found = {environment: shop.place_of(environment) for environment in shop.targets}
            ours = places()
            self._known = shop, frozenset(one for one, place in found.items() if (place or STATION) in ours)
        return self._known[1]


def watch(shop: Callable[[], Workshop], over: threading.Event, say: Callable[[str], None]) -> None:
    """Look after the workshop's environments here until `over`; each in a thread of its own, for some are slow."""
    known: dict[str, threading.Thread] = {}
    here = OwnEnvironments()
    while not over.is_set():
        for environment in here.of(shop()):
            if environment not in known or not known[environment].is_alive():
                known[environment] = threading.Thread(
                    target=_watch_one, args=(environment, shop, over, say), name=f"watch {environment}", daemon=True
                )
                known[environment].start()
        over.wait(5)


def _watch_one(
    environment: str, shop: Callable[[], Workshop], over: threading.Event, say: Callable[[str], None]
) -> None:
    one, here = EnvironmentWatch(environment, say), OwnEnvironments()
    while not over.is_set() and environment in here.of(now := shop()):
        over.wait(one.look(now))
