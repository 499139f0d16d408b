"""What the door does by itself, for Prefect's server knows nothing of it: holding, opening, and noting who cancels."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from blocks.ledger.writing import held_by, record
from domain.access import Cancelled, Token
from domain.errors import InputError, LockgateError
from station import api, holding
from station.door.reading import Denied

R = TypeVar("R")


class Acts:
    """On record in the ledgers of workshops. Every method raises Denied where it cannot be; nothing is done then."""

    def __init__(self, ledger_of: Callable[[str], str] = api.ledger_url) -> None:
        self._ledger_of = ledger_of
        """Workshop → where its ledger is."""

    def look(self, environment: str) -> dict[str, str | None]:
        """Whether an environment is held, and why."""
        return {"environment": environment, "held": _tried(lambda: holding.held(environment))}

    def hold(self, word: str, environment: str, reason: str, token: Token) -> str:
        """`hold` or `open` it; what holds now, as a sentence."""
        act = {"hold": holding.hold, "open": holding.open_again}[word]
        return _tried(lambda: act(environment, reason, token.name, signed_in=True))

    def cancel(self, run: Mapping[str, Any], who: Cancelled) -> None:
        """Note who cancels a run. Raises Denied where it has an environment now: nothing stops a release half-way."""
        url = _tried(lambda: self._ledger_of(api.workshop_of(dict(run))))
        if taken := _tried(lambda: held_by(url, str(run["id"]))):
            environment = taken[0].rpartition("/")[2]
            raise Denied(
                409,
                f"the run releases to {environment} right now, and is not stopped half-way: wait for it, or roll "
                f"{environment} back, which goes first",
            )
        _tried(lambda: record(url, str(run["id"]), "cancelled", who.by, who))


def _tried(act: Callable[[], R]) -> R:
    try:
        return act()
    except InputError as err:
        raise Denied(404, str(err)) from err
    except LockgateError as err:
        raise Denied(503, f"this cannot be noted now, so it was not done: {err}") from err
