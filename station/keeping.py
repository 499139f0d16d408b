"""Keeps the platform's processes there: started again when they end, and replaced when they hang."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from station import processes

log = logging.getLogger("lockgate")
LONG_S = 60.0
"""A process that ran for so long ended for a reason of its own: it is started again at once."""
MAX_PAUSE_S = 60.0
MAX_PATIENCE = 4
"""Times `silent_for_s`. A machine that is too busy to answer in time is not helped by one that begins anew."""


class KeptProgram(NamedTuple):
    """What is kept running, and how it is asked whether it is well."""

    name: str
    argv: Sequence[str]
    environment: Callable[[], Mapping[str, str]]
    folder: Path
    ask: Callable[[], str | None]
    """By its own protocol, with a time limit: None if it answers, else what is wrong."""
    starts_within_s: float = 240.0
    silent_for_s: float = 60.0
    """A process that has not answered for so long hangs: it is killed, and started anew."""
    alone: bool = False
    """Whether only it is killed when it hangs, not what it has started."""


class Keeper:
    """One program. `keep` and `question` come round again and again, from any thread each."""

    def __init__(self, program: KeptProgram, clock: Callable[[], float] = time.monotonic) -> None:
        self.program = program
        self.is_wanted = True
        """Whether it is started again when it ends."""
        self._clock = clock
        self._watched = clock()
        self._started = self._watched - processes.age_s(program.name)  # an earlier supervisor may have started it
        self._heard: float | None = None
        self._patience_s = program.silent_for_s
        self._pause_s = 0.0
        self._not_before = clock()

    def keep(self) -> None:
        """Start it unless it runs. One that ends soon after each start is started less and less often."""
        program, now = self.program, self._clock()
        if not self.is_wanted or processes.running(program.name) or now < self._not_before:
            return
        log.info("starting the %s", program.name)
        processes.start(program.name, program.argv, program.environment(), program.folder)
        soon = self._pause_s and now - self._started < LONG_S + self._pause_s
        self._pause_s = min(MAX_PAUSE_S, self._pause_s * 2) if soon else 1.0
        self._watched = self._started = now
        self._heard, self._not_before = None, now + self._pause_s

    def question(self) -> None:
        """Ask whether it is well; kill it when it has been silent for too long, so that it is started anew.

        After each kill the next one is waited for twice as long, until one has been well for a while.
        """
        program = self.program
        if not processes.running(program.name):
            return
        started = self._started
        problem = program.ask()
        now = self._clock()
        if self._started != started:
            return  # another one by now
        if problem is None:
            self._heard = now
            if now - started > LONG_S + self._patience_s:
                self._patience_s = program.silent_for_s
            return
        is_starting = self._heard is None and now - started <= program.starts_within_s
        if now - (self._heard or self._watched) > self._patience_s and not is_starting:
            self._patience_s = min(2 * self._patience_s, MAX_PATIENCE * program.silent_for_s)
            log.warning("the %s hangs (%s): it is killed and started anew", program.name, problem)
            processes.kill(program.name, alone=program.alone)
