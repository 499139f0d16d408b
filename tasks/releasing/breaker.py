"""Whether anything may be released to an environment. Three rollbacks in a row, or a person, hold it until a person
opens it again."""

from blocks.ledger.ledger import Ledger
from domain.errors import Held
from domain.policy.holding import KINDS, why_held


def check(ledger: Ledger, environment: str) -> None:
    """Raises Held if nothing may be released there."""
    if why := held(ledger, environment):
        raise Held(f"{why}; look at what happened, then `lockgate open {environment}`")


def held(ledger: Ledger, environment: str) -> str | None:
    """Why nothing may be released there, or None."""
    return why_held(environment, (entry for kind in KINDS for entry in ledger.entries(kind=kind)))
