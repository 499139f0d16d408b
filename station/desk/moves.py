"""Tells the page of a task that something moved, by server-sent events: the script reads the page again then.

However many look at a run, the server is asked about it once in `EVERY_S` or so. Who is signed out, or whose token was
taken back, is told nothing more from the next round on.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import NamedTuple

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from domain.errors import LockgateError
from station.desk import pages
from station.door.reading import DoorDenied

EVERY_S = 2.0
AGAIN_MS = 5000
"""How long a browser waits before it comes again after a stream broke off."""
ALIVE_S = 15.0
"""So often something is sent, so that no proxy takes the stream for dead, and one that nobody reads is noticed."""
LONGEST_S = 600.0
"""Then the stream ends, and the browser comes again."""
MOST, MOST_OF_ONE = 40, 8
"""So many streams at a time, and of one person. A page that gets none reads itself again by the clock."""


class Stand(NamedTuple):
    """Where a run is: another mark means that something moved."""

    mark: str
    is_over: bool


class Moves:
    """The streams that are open."""

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()
        self._watched: Counter[str] = Counter()
        self._seen: dict[str, tuple[float, Stand]] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._thread = ThreadPoolExecutor(1, "moves")
        """Looks at one run after another: a server that hangs keeps no page waiting."""

    def stream(
        self, run_id: str, whose: str, seen: str, look: Callable[[], Stand], still_in: Callable[[], Awaitable[bool]]
    ) -> StreamingResponse:
        """An answer that goes on: `moved` with the mark of each new stand, and `over` at the end. `seen`: the mark that
        the browser has. Raises Denied if there are too many."""
        if self._of.total() >= MOST or self._of[whose] >= MOST_OF_ONE:
            raise DoorDenied(429, "too many pages of tasks are open: this one reads itself again by the clock")
        headers = {**pages.HEADERS, "content-type": "text/event-stream", "x-accel-buffering": "no"}
        return _Stream(self._events(run_id, whose, seen, look, still_in), headers)

    async def _events(
        self, run_id: str, whose: str, seen: str, look: Callable[[], Stand], still_in: Callable[[], Awaitable[bool]]
    ) -> AsyncGenerator[str]:
        self._of[whose] += 1
        self._watched[run_id] += 1
        begun = said = time.monotonic()
        try:
            yield f"retry: {AGAIN_MS}\n\n"
            while time.monotonic() < begun + LONGEST_S and await still_in():
                stand = await self._stand(run_id, look)
                if stand and stand.mark != seen:
                    seen, said = stand.mark, time.monotonic()
                    yield f"id: {seen}\nevent: moved\ndata: {seen}\n\n"
                if stand and stand.is_over:
                    yield "event: over\ndata: over\n\n"
                    return
                if time.monotonic() > said + ALIVE_S:
                    said = time.monotonic()
                    yield ": still here\n\n"
                await asyncio.sleep(EVERY_S)
        finally:
            self._of -= Counter({whose: 1})
            self._watched -= Counter({run_id: 1})
            if not self._watched[run_id]:
                self._seen.pop(run_id, None)
                self._turns.pop(run_id, None)

    async def _stand(self, run_id: str, look: Callable[[], Stand]) -> Stand | None:
        """As it was not quite `EVERY_S` ago at most; None while it cannot be seen."""
        async with self._turns.setdefault(run_id, asyncio.Lock()):
            at, stand = self._seen.get(run_id, (float("-inf"), None))
            if stand is None or time.monotonic() > at + EVERY_S * 0.9:
                try:
                    stand = await asyncio.get_running_loop().run_in_executor(self._thread, look)
                except LockgateError:
                    return None
                self._seen[run_id] = (time.monotonic(), stand)
            return stand


class _Stream(StreamingResponse):
    """One whose events end with it, whatever ends it."""

    def __init__(self, events: AsyncGenerator[str], headers: dict[str, str]) -> None:
        super().__init__(events, 200, headers)
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)
