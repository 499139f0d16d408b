"""Whether anything may be released to an environment. Three rollbacks in a row, or a person, hold it until a person
opens it again."""

from uuid import uuid4

from blocks.ledger.ledger import Ledger
from domain.errors import Held
from domain.value import Value

IN_A_ROW = 3
"""So many releases in a row that had to leave are no accident: something else is wrong."""


class Holding(Value):
    """Why an environment is held or opened, and by whom."""

    environment: str
    reason: str
    by: str


def check(ledger: Ledger, environment: str) -> None:
    """Raises Held where nothing may be released there."""
    if why := held(ledger, environment):
        raise Held(f"{why}; look at what happened, then `lockgate open {environment}`")


def held(ledger: Ledger, environment: str) -> str | None:
    """Why nothing may be released there, or None."""
    kinds = ("live", "rolled_back", "held", "opened")
    entries = sorted((entry for kind in kinds for entry in ledger.entries(kind=kind)), key=lambda entry: entry.number)
    why, row = None, 0
    for entry in entries:
        if entry.body["environment"] != environment:
            continue
        if entry.kind == "held":
            why = f"{environment!r} is held by {entry.body['by']}: {entry.body['reason']}"
        elif entry.kind == "opened":
            why, row = None, 0
        elif entry.kind == "live":
            row = 0
        elif entry.key != environment:  # else a person asked for it
            row += 1
            if row >= IN_A_ROW:
                why = f"{environment!r} is held: {row} releases in a row were rolled back"
    return why


def hold(ledger: Ledger, environment: str, reason: str, by: str) -> Holding:
    """Nothing is released there from now on; what serves goes on, and can be rolled back."""
    return ledger.record("people", "held", str(uuid4()), Holding(environment=environment, reason=reason, by=by))


def open_again(ledger: Ledger, environment: str, reason: str, by: str) -> Holding:
    """Releases may go there again."""
    return ledger.record("people", "opened", str(uuid4()), Holding(environment=environment, reason=reason, by=by))
