"""Rate limits: the hourly one, and the one on writes.

https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

import collections
import threading
import time

from kits.fake_forge.access import Actor
from kits.fake_forge.answers import Refusal

SECONDARY = (
    "You have exceeded a secondary rate limit. Please wait a few minutes before you try again. If you reach out to "
    "GitHub Support for help, please include the request ID."
)


class RateLimits:
    """Requests an hour and content writes a minute, each by who asks."""

    def __init__(self, hourly: int = 5000, anonymous: int = 60, writes_a_minute: int = 80) -> None:
        self.hourly, self.anonymous, self.writes_a_minute = hourly, anonymous, writes_a_minute
        self._used: collections.Counter[str] = collections.Counter()
        self._reset: dict[str, int] = {}
        self._writes: dict[str, collections.deque[float]] = collections.defaultdict(collections.deque)
        self._lock = threading.Lock()

    def headers(self, actor: Actor) -> dict[str, str]:
        limit, used, reset = self.state(actor)
        return {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(max(0, limit - used)),
            "X-RateLimit-Reset": str(reset),
            "X-RateLimit-Used": str(min(used, limit)),
            "X-RateLimit-Resource": "core",
        }

    def state(self, actor: Actor) -> tuple[int, int, int]:
        """(limit, used, when it begins anew, in seconds since 1970)."""
        with self._lock:
            who, now = actor.limited_as, int(time.time())
            if self._reset.get(who, 0) <= now:
                self._reset[who], self._used[who] = now + 3600, 0
            return self.hourly if actor.login else self.anonymous, self._used[who], self._reset[who]

    def count(self, actor: Actor, method: str) -> None:
        """Take one request. Refuses 403 what is over a limit."""
        limit, used, _ = self.state(actor)
        if used >= limit:
            whom = f"user ID {actor.login}" if actor.login else "127.0.0.1"
            raise Refusal(403, f"API rate limit exceeded for {whom}.")
        with self._lock:
            self._used[actor.limited_as] += 1
            if method == "GET":
                return
            writes, now = self._writes[actor.limited_as], time.monotonic()
            while writes and writes[0] < now - 60:
                writes.popleft()
            if len(writes) >= self.writes_a_minute:
                raise Refusal(403, SECONDARY, Retry_After=str(int(60 - (now - (writes[0] if writes else now))) + 1))
            writes.append(now)

    def give_back(self, actor: Actor) -> None:
        """A 304 costs nothing."""
        with self._lock:
            self._used[actor.limited_as] -= 1

    def spend(self, login: str, remaining: int, reset_s: int) -> None:
        """For tests: leave somebody so many requests for so many seconds."""
        with self._lock:
            self._used[login], self._reset[login] = self.hourly - remaining, int(time.time()) + reset_s
