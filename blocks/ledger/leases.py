"""Leases: who has a name for a while, and above all who runs a run.

Each process that starts a run takes the lease `run/ID` with a token above those of all before it. What an earlier one
then wants to write, lease or give back for that run is refused in the same transaction: of two processes of one run
only the newest can act. Without Prefect: for the front door too.
"""

import os
import time
from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import text, update
from sqlmodel import Session, col, select

from blocks.host import alive
from blocks.ledger.database import transaction
from blocks.ledger.rows import LeaseRow
from domain.errors import Superseded

_PREFIX = "run/"
_begun: dict[tuple[int, str, str], int] = {}
"""(Process, ledger's url, run) → the token with which this process runs it. A forked child has begun nothing."""


class RunHolder(NamedTuple):
    """Who has begun a run last."""

    name: str
    """The machine's name and the process, for people."""
    is_running: bool
    """Its lease holds: it renews it. One that ended, or was seen dead from here, does not."""
    has_ended: bool = False
    """It gave its lease back, or was made to; its time did not just run out."""


def begin(url: str, run_id: str, machine: str, seconds: float) -> int:
    """This process runs `run_id` from now on; the token, above those of all before it.

    What the run holds, an environment say, is this process's too, with a higher token, and no earlier process's.
    """
    mine = alive.mark_of_this()
    with transaction(url, write=True) as session:
        row = _next(session, run_id)
        row.holder, row.process, row.expires_at = f"{machine} {mine}", mine, now_of(session) + seconds
        token = row.token
    _begun[os.getpid(), url, run_id] = token
    return token


def stop(url: str, run_id: str) -> None:
    """No process that has begun the run can do more for it: a supervisor ends it."""
    with transaction(url, write=True) as session:
        _next(session, run_id).holder = None


def token_of(url: str, run_id: str) -> int | None:
    """With which this process runs the run; None if it has not begun it."""
    return _begun.get((os.getpid(), url, run_id))


def check(url: str, session: Session, run_id: str, token: int | None = None) -> None:
    """Raises Superseded if `token`, or this process's, is not the newest of the run. Who has none acts for nobody's
    process: a person at the door, or a supervisor."""
    token = token_of(url, run_id) if token is None else token
    if token is None:
        return
    row = session.get(LeaseRow, _PREFIX + run_id)
    if row is None or row.token != token:
        who = row.holder if row and row.holder else "another process"
        raise Superseded(f"run {run_id} was begun anew by {who}: this process does nothing more for it")


def renew(url: str, run_id: str, seconds: float) -> None:
    """Say that this process still runs the run, also after its time ran out. Raises Superseded.

    One statement, which waits for no writer of entries on PostgreSQL: who lives is not missed because others write.
    """
    with transaction(url, write=False) as session:
        until = now_of(session) + seconds
        ours = (col(LeaseRow.name) == _PREFIX + run_id, col(LeaseRow.token) == token_of(url, run_id))
        if not session.exec(update(LeaseRow).where(*ours).values(expires_at=until)).rowcount:
            check(url, session, run_id)


def end(url: str, run_id: str) -> None:
    """This process does not run it any more: it ends, or waits for a person. Its token stays the newest. Safe to
    repeat; does nothing if another process has begun it."""
    with transaction(url, write=True) as session:
        row = session.get(LeaseRow, _PREFIX + run_id)
        if row is not None and row.token == token_of(url, run_id):
            row.holder = None
            session.add(row)


def end_dead(url: str, run_id: str) -> None:
    """Free the lease of a run whose process was seen dead from this machine, so that others need not wait for it."""
    with transaction(url, write=False) as session:
        row = session.get(LeaseRow, _PREFIX + run_id)
        if row is None or row.holder is None or not (row.process and alive.is_dead(row.process)):
            return
    with transaction(url, write=True) as session:
        row = session.get(LeaseRow, _PREFIX + run_id)
        if row is not None and row.process and alive.is_dead(row.process):
            row.holder = None
            session.add(row)


def _next(session: Session, run_id: str) -> LeaseRow:
    """The run's lease with its next token, and with it all that the run holds."""
    name = _PREFIX + run_id
    row = session.get(LeaseRow, name) or LeaseRow(name=name, token=0, expires_at=0.0, process=None)
    for one in (row, *session.exec(select(LeaseRow).where(LeaseRow.holder == run_id))):
        one.token += 1
        session.add(one)
    return row


def runners(url: str, run_ids: Collection[str]) -> dict[str, RunHolder]:
    """Run → who has begun it last, of those that were begun."""
    names = [_PREFIX + run_id for run_id in run_ids]
    with transaction(url, write=False) as session:
        rows, now = session.exec(select(LeaseRow).where(col(LeaseRow.name).in_(names))), now_of(session)
        return {
            row.name.removeprefix(_PREFIX): RunHolder(
                row.holder or "a process that ended", is_held(row, now), has_ended=row.holder is None
            )
            for row in rows
        }


def held_by(url: str, holder: str) -> tuple[str, ...]:
    """Names of the leases that `holder` has now."""
    with transaction(url, write=False) as session:
        rows, now = session.exec(select(LeaseRow).where(LeaseRow.holder == holder)), now_of(session)
        return tuple(row.name for row in rows if is_held(row, now))


def is_held(row: LeaseRow, now: float) -> bool:
    """Whether somebody has it: not where its time is over, or the process is dead that it was taken for."""
    is_over = row.holder is None or row.expires_at <= now
    return not is_over and not (row.process and alive.is_dead(row.process))


def now_of(session: Session) -> float:
    """Unix seconds by the one clock that all holders share: the server's, or this machine's for a file."""
    if session.connection().dialect.name == "sqlite":
        return time.time()
    return float(session.connection().execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
