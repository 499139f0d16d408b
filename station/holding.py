"""Holds and opens environments, from the command line."""

from blocks.workshop import workshop
from tasks import breaker


def hold(environment: str, reason: str, by: str) -> str:
    """One line of what holds now. Raises InputError for an environment that nobody set up."""
    shop = workshop("default")
    shop.target(environment)
    breaker.hold(shop.ledger, environment, reason, by)
    return f"nothing is released to {environment} until it is opened: lockgate open {environment} REASON --as NAME"


def open_again(environment: str, reason: str, by: str) -> str:
    """The same, for opening it."""
    shop = workshop("default")
    shop.target(environment)
    if breaker.held(shop.ledger, environment) is None:
        return f"{environment} is open already"
    breaker.open_again(shop.ledger, environment, reason, by)
    return f"releases may go to {environment} again"
