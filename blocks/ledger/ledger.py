"""The ledger block: record once, read in order, prove the chain, hold a lease."""

import hashlib
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import ClassVar, TypeVar

from pydantic import Field, SecretStr
from sqlalchemy import sql
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, exists, select

from blocks.base import LockgateBlock
from blocks.home import home
from blocks.ledger import leases, seen
from blocks.ledger.database import parse, shown, transaction
from blocks.ledger.leases import RunHolder, is_held, now_of
from blocks.ledger.rows import GENESIS, Entry, EntryRow, LeaseRow, hash_of, utc_text
from blocks.ledger.writing import record, row_of, value_of
from domain.records import IDENTITY, OUTCOME
from domain.value import Value

V = TypeVar("V", bound=Value)
STREAMED = 500
"""So many rows are in memory where the whole ledger is read."""


OURS = "ledger"
"""Stands for a run in entries that the ledger makes about itself."""


class Identity(Value):
    """What tells a ledger from every other one."""

    id: str


def _default_url() -> SecretStr:
    return SecretStr(f"sqlite:///{home() / 'ledger.db'}")


class Ledger(LockgateBlock):
    """The one append-only, hash-chained record, and the leases that keep two workers off one thing.

    Safe from threads and processes at once. Every method raises LedgerError where the database does not answer.
    """

    _block_type_name: ClassVar[str] = "Lockgate Ledger"
    _block_type_slug: ClassVar[str] = "lockgate-ledger"
    _description: ClassVar[str] = "The append-only, hash-chained record of every step, on SQLite or PostgreSQL."

    url: SecretStr = Field(
        default_factory=_default_url,
        description="sqlite:///PATH on a local disk, or postgresql://USER:PASSWORD@HOST/DATABASE",
    )

    # ── entries ──

    def record(self, run_id: str, kind: str, key: str, value: V, token: int | None = None) -> V:
        """Write `value` under (run_id, kind, key) unless something stands there; returns what stands there.

        `token`: of the process of the run for which this is; None: of this one, if it has begun the run.
        Safe to repeat: the first write wins. Raises LedgerError if a value of another type stands there; Superseded,
        and writes nothing, where another process has begun the run since.
        """
        return record(self._url, run_id, kind, key, value, token)

    def find(self, run_id: str, kind: str, key: str, type_: type[V]) -> V | None:
        """The value under (run_id, kind, key), or None. Raises LedgerError if it is of another type."""
        with self._open() as session:
            row = row_of(session, run_id, kind, key)
            return None if row is None else value_of(row, type_)

    def entries(
        self, run_id: str | None = None, kind: str | None = None, after: int = 0, since: datetime | None = None
    ) -> tuple[Entry, ...]:
        """Entries whose number is above `after`, recorded at `since` or later, oldest first; of one run, one kind, or
        all."""
        wanted = select(EntryRow).where(EntryRow.id > after).order_by(col(EntryRow.id))
        if since is not None:
            wanted = wanted.where(EntryRow.at >= utc_text(since.timestamp()))
        if run_id is not None:
            wanted = wanted.where(EntryRow.run_id == run_id)
        if kind is not None:
            wanted = wanted.where(EntryRow.kind == kind)
        with self._open() as session:
            return tuple(row.entry() for row in session.exec(wanted))

    def last(self, kind: str, key: str | None = None, run_id: str | None = None) -> Entry | None:
        """The newest entry of a kind, of one key and one run where they are given."""
        wanted = select(EntryRow).where(EntryRow.kind == kind).order_by(col(EntryRow.id).desc()).limit(1)
        if key is not None:
            wanted = wanted.where(EntryRow.key == key)
        if run_id is not None:
            wanted = wanted.where(EntryRow.run_id == run_id)
        with self._open() as session:
            row = session.exec(wanted).first()
            return None if row is None else row.entry()

    def still_open(self, kind: str, answered_by: str | None = None) -> tuple[Entry, ...]:
        """Entries of a kind whose runs have no outcome, oldest first; `answered_by`: only those that no entry of that
        kind stands beside, under the same run and key. The database looks for them: nothing else is read."""
        asked, other = EntryRow, aliased(EntryRow)
        of_run = select(other.id).where(other.run_id == asked.run_id)
        wanted = select(asked).where(asked.kind == kind, ~exists(of_run.where(other.kind == OUTCOME.kind)))
        if answered_by is not None:
            wanted = wanted.where(~exists(of_run.where(other.kind == answered_by, other.key == asked.key)))
        with self._open() as session:
            return tuple(row.entry() for row in session.exec(wanted.order_by(col(asked.id))))

    def bodies(self) -> Iterator[str]:
        """What every entry holds, as JSON text, oldest first. Never more than a few are in memory."""
        wanted = select(EntryRow.body).order_by(col(EntryRow.id)).execution_options(yield_per=STREAMED)
        with self._open() as session:
            yield from session.exec(wanted)

    @property
    def place(self) -> str:
        """SHA-256 of where its database is, without a password."""
        return hashlib.sha256(shown(parse(self._url)).encode()).hexdigest()

    def why_older(self) -> str | None:
        """Why this is not the ledger that this home knows: an older copy was put back, say. None if it is."""
        with self._open() as session:
            return seen.why_older(session, seen.place_of(parse(self._url)))

    def identity(self) -> str:
        """Of this ledger, whatever its address is: it stands in the chain, and is made when it is first asked for."""
        known = self.find(OURS, *IDENTITY.at(), Identity)
        return (known or self.record(OURS, *IDENTITY.at(), Identity(id=uuid.uuid4().hex))).id

    def last_number(self) -> int:
        """Of the newest entry; 0 where it is empty."""
        newest = select(EntryRow.id).order_by(col(EntryRow.id).desc()).limit(1)
        with self._open() as session:
            return session.exec(newest).first() or 0

    def hashes(self, numbers: Iterable[int]) -> dict[int, str]:
        """Number → hash as it stands there, of those entries that are there."""
        wanted = select(EntryRow.id, EntryRow.hash).where(col(EntryRow.id).in_(sorted(set(numbers))))
        with self._open() as session:
            return {number: str(found) for number, found in session.exec(wanted)}

    def verify(self) -> str | None:
        """None if the chain is whole, else the first broken entry.

        Entries cut off the end leave a whole chain, and so does whoever writes all of them anew: checkpoints, which are
        kept elsewhere, show both.
        """
        number, previous = 0, GENESIS
        in_order = sql.select(EntryRow.__table__).order_by(col(EntryRow.id)).execution_options(yield_per=STREAMED)  # type: ignore[attr-defined]
        with self._open() as session, session.connection().execute(in_order) as rows:
            for row in rows.mappings():
                told = dict(row)
                follows, hash_ = told.pop("previous"), told.pop("hash")
                name = f"entry {told['id']} ({told['run_id']}, {told['kind']}, {told['key']})"
                if told["id"] != number + 1:
                    return f"{name} is broken: entry {number + 1} should stand before it and is missing"
                if follows != previous:
                    return f"{name} is broken: it does not follow the hash of entry {number}"
                try:
                    computed = hash_of(previous, told)
                except (TypeError, ValueError):
                    return f"{name} is broken: it holds what no entry holds"
                if hash_ != computed:
                    return f"{name} is broken: its content does not match its hash"
                number, previous = told["id"], hash_
        return None

    # ── leases ──

    def lease(self, name: str, holder: str, seconds: float, process: str | None = None) -> int | None:
        """A fencing token where `name` is free, expired, or held by `holder` (then renewed), else None.

        The token grows with each change of holder, so what a late old holder does can be told apart. `process`: whose
        end ends the lease at once, as `blocks.host.alive` marks it; None for what goes on in another process.
        Raises Superseded if `holder` is a run that another process has begun since this one did.
        """
        with self._open(write=True) as session:
            leases.check(self._url, session, holder)
            now = now_of(session)
            row = session.get(LeaseRow, name) or LeaseRow(name=name, token=0, expires_at=now, process=None)
            if row.holder != holder:
                if is_held(row, now):
                    return None
                row.holder, row.token = holder, row.token + 1
            row.expires_at, row.process = now + seconds, process
            session.add(row)
            return row.token

    def renew(self, name: str, token: int, seconds: float) -> bool:
        """Keep what was taken with this token, also where it ran out meanwhile.

        False, and nothing happens, where it was given back, or taken by another since.
        """
        with self._open(write=True) as session:
            row = session.get(LeaseRow, name)
            if row is None or row.holder is None or row.token != token:
                return False
            row.expires_at = now_of(session) + seconds
            session.add(row)
            return True

    def release(self, name: str, holder: str) -> None:
        """Free `name` if `holder` has it; does nothing if another has. Safe to repeat. Raises Superseded as `lease`
        does: it is the newer process's now."""
        with self._open(write=True) as session:
            leases.check(self._url, session, holder)
            row = session.get(LeaseRow, name)
            if row is not None and row.holder == holder:
                row.holder = None
                session.add(row)

    def holder_of(self, name: str) -> str | None:
        """Who has `name` now, or None."""
        with self._open() as session:
            row = session.get(LeaseRow, name)
            return row.holder if row is not None and is_held(row, now_of(session)) else None

    # ── who runs a run ──

    def begin(self, run_id: str, machine: str, seconds: float) -> int:
        """This process runs `run_id` from now on: its token, above those of all before it. What the run holds is this
        process's too; what an earlier one does for the run from now on is refused."""
        return leases.begin(self._url, run_id, machine, seconds)

    def still_runs(self, run_id: str, seconds: float) -> None:
        """Keep the run, also where its time ran out. Raises Superseded if another process has begun it."""
        leases.renew(self._url, run_id, seconds)

    def check(self, run_id: str) -> None:
        """Raises Superseded if another process has begun the run since this one did."""
        with self._open() as session:
            leases.check(self._url, session, run_id)

    def end(self, run_id: str) -> None:
        """This process runs it no more; nothing happens where another does. Safe to repeat."""
        leases.end(self._url, run_id)

    def stop(self, run_id: str) -> None:
        """No process that has begun the run does more for it, from now on: it is ended from outside. Safe to repeat."""
        leases.stop(self._url, run_id)

    def end_dead(self, run_id: str) -> None:
        """Free a run whose process was seen dead from this machine: another machine would wait for its time to run out.
        Safe to repeat."""
        leases.end_dead(self._url, run_id)

    def token_of(self, run_id: str) -> int | None:
        """With which this process runs the run; None if it does not."""
        return leases.token_of(self._url, run_id)

    def runners(self, run_ids: Collection[str]) -> dict[str, RunHolder]:
        """Run → who has begun it last, of those that were begun."""
        return leases.runners(self._url, run_ids)

    @property
    def _url(self) -> str:
        return self.url.get_secret_value()

    @contextmanager
    def _open(self, *, write: bool = False) -> Iterator[Session]:
        with transaction(self._url, write=write) as session:
            yield session
