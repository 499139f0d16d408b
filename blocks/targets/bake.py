"""Watches the public address over the bake window, and reads from the access log who answered."""

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from blocks.targets.health_probe import probe
from domain.health import Clean, HealthState

LEAST_OBSERVATIONS = 12
_FLAPS_ALLOWED = 1
_LEAST_SAMPLE = 20
"""Fewer requests of users say nothing about an error rate."""

Say = Callable[[str], None]


class Baked(NamedTuple):
    """What was seen. `reason` None: healthy all the time."""

    observations: int
    reason: str | None


def bake(address: str, path: str, revision: str, bake_s: float, interval_s: float, say: Say, clean: Clean) -> Baked:
    """Observe until it is clear. One sick answer is looked at again at once; two in a row, or two in all, are sick."""
    deadline = time.monotonic() + bake_s
    observations = sick = 0
    last: HealthState | None = None
    while observations < LEAST_OBSERVATIONS or time.monotonic() < deadline:
        reading = probe(address, path, revision, clean)
        observations += 1
        if reading.state is not last:
            say(f"{address}{path}: {reading.reason}")
            last = reading.state
        if reading.is_healthy:
            time.sleep(interval_s)
            continue
        sick += 1
        if sick > _FLAPS_ALLOWED:
            return Baked(observations, f"{reading.state}, {sick} of {observations} observations: {reading.reason}")
    return Baked(observations, None)


def settle(
    address: str,
    path: str,
    revision: str,
    wanted: int,
    within_s: float,
    interval_s: float,
    clean: Clean,
    can_still_come: Callable[[], bool] = lambda: True,
) -> str | None:
    """None when `wanted` answers in a row were healthy and of `revision`, else what the last one said."""
    deadline, row = time.monotonic() + within_s, 0
    while True:
        reading = probe(address, path, revision, clean)
        row = row + 1 if reading.is_healthy else 0
        if row == wanted:
            return None
        if time.monotonic() > deadline or (row == 0 and not can_still_come()):
            return reading.reason
        time.sleep(interval_s)


class Traffic(NamedTuple):
    """What one upstream answered: all requests, those of users, and how many of those were 5xx."""

    requests: int
    of_users: int
    errors: int

    def problem(self, most_errors: float) -> str | None:
        """None where there is traffic and, in a sample that says anything, few enough errors."""
        if self.requests == 0:
            return "the access log shows no request that this release answered"
        if self.of_users >= _LEAST_SAMPLE and self.errors > most_errors * self.of_users:
            share = f"{100 * self.errors / self.of_users:.0f} %, of which {100 * most_errors:g} % are allowed"
            return f"{self.errors} of {self.of_users} requests of users ended in HTTP 5xx ({share})"
        return None


def traffic(access_log: Path, since: float, upstream: str, health_path: str) -> Traffic:
    """What `upstream` answered since a Unix time, from the log and the newest one rolled away."""
    requests = of_users = errors = 0
    rolled = sorted(access_log.parent.glob(f"{access_log.stem}-*.log"))[-1:]
    for file in (*rolled, access_log):
        with contextlib.suppress(FileNotFoundError), open(file, "rb") as lines:
            for line in lines:
                with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                    entry = json.loads(line)
                    if entry["upstream"] != upstream or entry["ts"] < since:
                        continue
                    requests += 1
                    if entry["request"]["uri"].partition("?")[0] != health_path:
                        of_users += 1
                        errors += entry["status"] >= 500
    return Traffic(requests, of_users, errors)
