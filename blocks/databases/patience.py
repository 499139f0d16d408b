"""One migration with its tries: each asks for its locks for a short time, and so does the last."""

import time
from collections.abc import Callable
from typing import Protocol

from domain.health import Clean
from domain.migration import Migrate, MigrationEnd, MigrationRun, Patience

_SHOWN = 1000
"""Characters at the end of what a command printed."""
_LOCK_WORDS = ("LockNotAvailable", "55P03", "lock timeout", "DeadlockDetected", "40P01", "deadlock detected",
               "database is locked", "database table is locked", "SQLITE_BUSY")  # fmt: skip
"""What drivers print where a lock was not to be had. It decides only whether there is another try, of a bounded number.
https://www.postgresql.org/docs/current/errcodes-appendix.html"""


class Watcher(Protocol):
    """Looks on while a command runs."""

    def end_try(self) -> bool:
        """Sessions that the command left are ended; whether it was cut off since it waited too long for a lock."""

    @property
    def concurrent(self) -> bool:
        """Whether it was seen at work on an index CONCURRENTLY, which waits for others and keeps nobody out."""

    def drop_invalid(self) -> tuple[str, ...]:
        """What became of the invalid indexes that a try made and left, in sentences; empty: it left none."""


def run_patiently(
    migrate: Migrate,
    url_for: Callable[[bool], str],
    patience: Patience,
    watcher: Watcher,
    clean: Clean,
    *,
    concurrent: bool = False,
    pause: Callable[[float], None] = time.sleep,
) -> MigrationRun:
    """Run the command until it is through, fails for another reason than a lock, or its tries are used up.

    `url_for` gives the URL with the lock timeout, every try gets it; True: with that of what keeps nobody out. That one
    is for what builds an index concurrently, as was known before (`concurrent`) or is seen in a try. Invalid indexes
    that a try left are dropped: the next would fail on them, or take them for done. What is measured is added by who
    watches.
    """
    began, longest_s, timeline = time.monotonic(), 0.0, []
    for tried in range(1, patience.tries + 1):
        started = time.monotonic()
        ran = migrate(url_for(concurrent))
        was_cut = watcher.end_try()
        concurrent = concurrent or watcher.concurrent
        seconds = time.monotonic() - started
        longest_s = max(longest_s, seconds)
        problem, locked_out = _why(ran, clean), was_cut or _says_lock(ran)
        dropped = watcher.drop_invalid() if problem else ()
        if problem is None:
            timeline.append(f"try {tried}: through after {seconds:.2f} s")
            break
        if not locked_out:
            timeline += [f"try {tried}: failed after {seconds:.2f} s", *dropped]
            break
        timeline += [f"try {tried}: did not get a lock, given up after {seconds:.2f} s", *dropped]
        if tried < patience.tries:
            pause(patience.pause_s(tried))
    return MigrationRun(
        tries=tried,
        seconds=time.monotonic() - began,
        longest_try_s=longest_s,
        problem=problem,
        locked_out=problem is not None and locked_out,
        concurrent=concurrent,
        timeline=tuple(timeline),
    )


def once(migrate: Migrate, url: str, watcher: Watcher, clean: Clean) -> str | None:
    """Run the command one time on a copy that nobody else uses: None if it ended well, else why not."""
    ran = migrate(url)
    watcher.end_try()
    return _why(ran, clean)


def _why(ran: MigrationEnd, clean: Clean) -> str | None:
    if ran.exit_code == 0:
        return None
    how = "it was stopped" if ran.exit_code is None else f"exit code {ran.exit_code}"
    return f"{how}; it said: {clean(ran.output).strip()[-_SHOWN:] or 'nothing'}"


def _says_lock(ran: MigrationEnd) -> bool:
    return ran.exit_code != 0 and any(word in ran.output for word in _LOCK_WORDS)
