"""The bill of a team: what all tasks used, as it was read of their ledgers once (`domain/history.py`)."""

from collections.abc import Iterable
from datetime import UTC, datetime, time

from domain.bill import Bill, Charge
from domain.history import History, Paid, TaskHistory, Used


def team_bill(histories: Iterable[History]) -> Bill:
    """The sums by task, agent, environment and day are those of `domain.bill.bill` over the same entries."""
    charges = list[Charge]()
    for task in (task for history in histories for task in history.tasks.values()):
        charges += [_charge(task, paid, used) for paid, used in task.used.items()]
        charges += [_charge(task, paid, Used(usd, calls=1), unmetered=1) for paid, usd in task.reserved.values()]
    return Bill(charges=tuple(sorted(charges, key=lambda charge: charge.at)))


def _charge(task: TaskHistory, paid: Paid, used: Used, unmetered: int = 0) -> Charge:
    return Charge(
        at=datetime.combine(paid.day, time(), UTC), run_id=task.run_id, title=task.title, environment=task.environment,
        attempt=paid.attempt, agent=paid.agent or None, usd=used.usd, sandbox_s=used.sandbox_s, calls=used.calls,
        unmetered=unmetered,
    )  # fmt: skip
