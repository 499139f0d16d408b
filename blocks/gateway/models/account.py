"""The account: no call goes out unless its worst case fits into what is left. The ledger is the truth."""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Protocol

from domain.agent_scope import week_of
from domain.errors import LedgerError
from domain.models import Metered, ModelPolicy, Reserved
from domain.records import METERED, RESERVED
from domain.value import Value

"""Kinds of the two ledger entries of a call; their key is the call's id."""
ROUNDING_USD = 1e-9

log = logging.getLogger(__name__)


class LedgerLine(Protocol):
    """What the account reads of a ledger entry."""

    @property
    def number(self) -> int: ...
    @property
    def at(self) -> datetime: ...
    @property
    def body(self) -> dict[str, object]: ...


class Entries(Protocol):
    """`Ledger.entries`."""

    def __call__(self, *, kind: str, after: int) -> Iterable[LedgerLine]: ...


class Account:
    """What every run, day and environment has spent and may still spend. Safe from threads.

    It starts from the ledger and looks for new lines before each decision, so a gateway that comes after one that was
    killed knows all that was reserved. A reservation without its metered line counts in full, for ever.
    Raises LedgerError if the ledger does not answer: then nothing may go out.
    """

    def __init__(
        self,
        record: Callable[..., Value],
        entries: Entries,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._record, self._entries, self._now = record, entries, now
        self._lock = threading.Lock()
        self._seen = {RESERVED.kind: 0, METERED.kind: 0}
        self._open: dict[str, tuple[Reserved, datetime]] = {}
        self._early: dict[str, Metered] = {}
        self._usd: defaultdict[tuple[str, ...], float] = defaultdict(float)
        self._catch_up()

    def reserve(
        self,
        wanted: Reserved,
        run_usd: float,
        policy: ModelPolicy,
        week_usd: float | None = None,
        token: int | None = None,
    ) -> str | None:
        """None: the worst case is on record and the call may go out. Else why it may not, and what to do.

        `run_usd` is what the whole run may spend, `week_usd` what the agent may in a week. `token`: of the process that
        calls, where the run is one's; in the transaction that reserves it has to be the newest of the run. Raises
        Superseded if it is not.
        """
        with self._lock:
            self._catch_up()
            if refusal := self._refusal(wanted, wanted.usd, run_usd, policy, week_usd):
                return refusal
            self._record(wanted.run_id, *RESERVED.at(wanted.call), wanted, *([token] if token is not None else ()))
            self._catch_up()
            # Another gateway on this ledger may have reserved between the look and the line. Both may give way.
            if refusal := self._refusal(wanted, 0, run_usd, policy, week_usd):
                unsent = wanted.model_dump() | {"usd": 0, "note": "not sent: another gateway took what was left"}
                self._record(wanted.run_id, *METERED.at(wanted.call), Metered(**unsent))
                return refusal
        return None

    def settle(self, metered: Metered) -> None:
        """Put what the call did cost in place of its worst case. Safe to repeat: the first one stands.

        Where the ledger does not answer, the reservation goes on counting in full, here as there.
        """
        try:
            self._record(metered.run_id, *METERED.at(metered.call), metered)
            with self._lock:
                self._catch_up()
        except LedgerError as err:
            log.error("call %s of run %s may stay at its worst case: %s", metered.call, metered.run_id, err)

    def spent(self, run_id: str) -> float:
        """US dollars that a run has spent or reserved."""
        with self._lock:
            self._catch_up()
            return self._usd["run", run_id]

    def left(self, wanted: Reserved, run_usd: float, policy: ModelPolicy, week_usd: float | None = None) -> float:
        """US dollars that this call may cost now, by the tightest cap."""
        with self._lock:
            self._catch_up()
            return min(cap - self._usd[key] for cap, _, key in self._caps(wanted, run_usd, policy, week_usd))

    def _caps(
        self, wanted: Reserved, run_usd: float, policy: ModelPolicy, week_usd: float | None
    ) -> list[tuple[float, str, tuple[str, ...]]]:
        environment = wanted.environment
        run, day, there, week = _sums(wanted, self._now())
        caps = [(run_usd, "this task", run)]
        if policy.usd_per_task is not None:
            caps.append((policy.usd_per_task, "any task (usd_per_task)", run))
        if policy.usd_per_day is not None:
            caps.append((policy.usd_per_day, "all tasks today (usd_per_day)", day))
        if (cap := policy.usd_per_environment_day.get(environment or "")) is not None:
            caps.append((cap, f"tasks for {environment} today (usd_per_environment_day)", there))
        if week_usd is not None:
            caps.append((week_usd, f"{wanted.reference} this week (usd_per_week of its scope)", week))
        return caps

    def _refusal(
        self, wanted: Reserved, more_usd: float, run_usd: float, policy: ModelPolicy, week_usd: float | None
    ) -> str | None:
        for cap, whose, key in self._caps(wanted, run_usd, policy, week_usd):
            left = cap - self._usd[key]
            if more_usd > left + ROUNDING_USD:
                return (
                    f"this call may cost up to ${wanted.usd:.4f}, and ${max(0.0, left):.4f} is left of the "
                    f"${cap:.2f} for {whose}: ask for less output or send less, or let a person raise the budget"
                )
        return None

    def _catch_up(self) -> None:
        """Read each line of the ledger once; the caller has the lock."""
        for line in self._new(RESERVED.kind):
            reserved = Reserved.model_validate(line.body)
            self._open[reserved.call] = reserved, line.at
            self._add(reserved, line.at, reserved.usd)
            if reserved.call in self._early:
                self._close(self._early.pop(reserved.call))
        for line in self._new(METERED.kind):
            self._close(Metered.model_validate(line.body))

    def _new(self, kind: str) -> Iterator[LedgerLine]:
        for line in self._entries(kind=kind, after=self._seen[kind]):
            yield line
            self._seen[kind] = line.number

    def _close(self, metered: Metered) -> None:
        """A call counts on the day and in the week in which it was reserved."""
        if metered.call not in self._open:  # its reservation was written between the two looks
            self._early[metered.call] = metered
            return
        reserved, at = self._open.pop(metered.call)
        self._add(reserved, at, metered.usd - reserved.usd)

    def _add(self, reserved: Reserved, at: datetime, usd: float) -> None:
        for key in _sums(reserved, at):
            self._usd[key] += usd


def _sums(call: Reserved, at: datetime) -> tuple[tuple[str, ...], ...]:
    """The sums that a call counts in: its run's, its day's, its environment's on that day, and its agent's in that
    week."""
    day = at.astimezone(UTC).date().isoformat()
    of_agent = "agent", call.reference, week_of(at).isoformat()
    return ("run", call.run_id), ("day", day), ("environment", call.environment or "", day), of_agent
