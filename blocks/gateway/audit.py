"""Every decision goes to the ledger: names, never values, paths without queries; equal ones are counted."""

import logging
import secrets
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from domain.egress import Decisions, EgressDecision, Passport
from domain.errors import LedgerError
from domain.records import EGRESS
from domain.value import Value

log = logging.getLogger("lockgate.gateway")
Record = Callable[[str, str, str, Value], object]
MOST = 200
"""Different decisions in one flush. What is beyond is counted by host and verdict: no sandbox floods the ledger."""
LONGEST_PATH = 200
MOST_USES = 10_000


@dataclass
class Note:
    """One decision while its answer may still come."""

    host: str
    method: str
    path: str
    allowed: bool
    reason: str
    secrets: tuple[str, ...] = ()
    status: int | None = None

    @property
    def use(self) -> tuple[object, ...]:
        """What was done with which secrets; how it was answered does not count."""
        return self.host, self.method, self.path, self.reason, self.secrets


class Audit:
    """What one listener decided. Safe from threads."""

    def __init__(self, passport: Passport, record: Record) -> None:
        self._passport, self._record = passport, record
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._notes: list[Note] = []
        self._folded: Counter[tuple[str, bool]] = Counter()
        self._part, self._number = secrets.token_hex(8), 0
        self._uses: set[tuple[object, ...]] = set()
        self.is_broken = False

    def add(self, note: Note) -> Note:
        """Keep a decision for the next flush; its status may be set until then."""
        note.host, note.method, note.path = _plain(note.host, 253), _plain(note.method, 20), _plain(note.path)
        with self._lock:
            if len(self._notes) < 50 * MOST:
                self._notes.append(note)
            else:
                host = note.host if len(self._folded) < 50 * MOST else "*"
                self._folded[host, note.allowed] += 1
        return note

    def has_use(self, note: Note) -> bool:
        """Whether an equal use of secrets is in the ledger already: then this one is only counted."""
        return note.use in self._uses

    def flush(self) -> None:
        """Write what there is. Raises LedgerError if that fails: it is kept, and `is_broken` until it is written."""
        with self._writing:
            with self._lock:
                notes, self._notes = self._notes, []
                folded, self._folded = self._folded, Counter()
            if not notes and not folded:
                return
            counted = Counter(self._decision(note) for note in notes)
            order = sorted(
                counted.items(), key=lambda line: (bool(line[0].secrets), line[0].allowed, line[1]), reverse=True
            )
            first = dict(order[:MOST])
            for decision, count in counted.items():
                if decision not in first:
                    folded[decision.host, decision.allowed] += count
            lines = [decision.model_copy(update={"count": count}) for decision, count in first.items()]
            hosts = sorted(folded.items(), key=lambda line: (line[0][1], line[1]), reverse=True)
            lines += [self._rest(host, allowed, count) for (host, allowed), count in hosts[:MOST]]
            beyond: Counter[bool] = Counter()
            for (_, allowed), count in hosts[MOST:]:
                beyond[allowed] += count
            lines += [self._rest("*", allowed, count) for allowed, count in beyond.items()]
            at = EGRESS.at(self._part, self._number)
            self._number += 1
            try:
                self._record(self._passport.run_id, *at, Decisions(decisions=tuple(lines)))
            except Exception as err:
                with self._lock:
                    self._notes = notes + self._notes
                    self._folded += folded
                self.is_broken = True
                raise LedgerError(f"decisions of run {self._passport.run_id} cannot be written: {err}") from err
            self.is_broken = False
            if len(self._uses) < MOST_USES:
                self._uses |= {note.use for note in notes if note.secrets}

    def _decision(self, note: Note) -> EgressDecision:
        who = self._passport
        return EgressDecision(
            run_id=who.run_id,
            phase=who.phase,
            attempt=who.attempt,
            host=note.host,
            method=note.method,
            path=note.path,
            allowed=note.allowed,
            reason=note.reason,
            secrets=note.secrets,
            status=note.status,
        )

    def _rest(self, host: str, allowed: bool, count: int) -> EgressDecision:
        note = Note(host, "*", "*", allowed, "more of the same, counted together")
        return self._decision(replace(note)).model_copy(update={"count": count})


def _plain(text: str, longest: int = LONGEST_PATH) -> str:
    shown = text.encode("ascii", "backslashreplace").decode()
    return "".join(c if c.isprintable() else "?" for c in shown)[:longest]
