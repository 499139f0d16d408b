"""One run at a time in an environment: a lease in the ledger, which a resumed run has again at once."""

import time

from blocks.ledger.ledger import Ledger
from domain.errors import LedgerError

LEASE_S = 3600.0
"""How long an environment stays reserved for a run that says nothing more; a resumed run takes it over at once."""

WAIT_S = 1800.0
"""How long a run waits for another run's deploy to the same environment."""


def take(ledger: Ledger, environment: str, run: str) -> int:
    """Reserve an environment; waits for its holder. Raises LedgerError after `WAIT_S`."""
    until = time.monotonic() + WAIT_S
    while True:
        token = ledger.lease(_name(environment), run, LEASE_S)
        if token is not None:
            return token
        if time.monotonic() > until:
            raise LedgerError(
                f"environment {environment!r} is still busy with run {holder(ledger, environment)} after {WAIT_S:.0f} s"
            )
        time.sleep(2)


def give_back(ledger: Ledger, environment: str, run: str) -> None:
    """Free it, if it is this run's. Safe to repeat."""
    ledger.release(_name(environment), run)


def holder(ledger: Ledger, environment: str) -> str | None:
    """The run that has it now, or None."""
    return ledger.holder_of(_name(environment))


def _name(environment: str) -> str:
    return f"environment/{environment}"
