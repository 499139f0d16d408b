"""What the door does by itself, for Prefect's server knows nothing of it: holding, opening, and noting who cancels."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from blocks.ledger.writing import record
from domain.access import Cancelled, Token
from domain.errors import InputError, LockgateError
from station import api, cancelling, holding
from station.door.reading import Denied

R = TypeVar("R")


class Acts:
    """On record in the ledgers of workshops. Every method raises Denied where it cannot be; nothing is done then."""

    def __init__(self, ledgers: Callable[[], Mapping[str, str]] = api.ledger_urls) -> None:
        self._ledgers = ledgers
        """() → workshop → where its ledger is."""

    def look(self, environment: str) -> dict[str, str | None]:
        """Whether an environment is held, and why."""
        return {"environment": environment, "held": _tried(lambda: holding.held(environment))}

    def hold(self, word: str, environment: str, reason: str, token: Token) -> str:
        """`hold` or `open` it; what holds now, as a sentence."""
        act = {"hold": holding.hold, "open": holding.open_again}[word]
        return _tried(lambda: act(environment, reason, token.name, signed_in=True))

    def cancel(self, run: Mapping[str, Any], who: Cancelled) -> None:
        """Note who asks to cancel a run. Raises Denied where it has an environment now, before or after that is noted:
        nothing stops a release half-way."""
        run_id, ledgers = str(run["id"]), _tried(self._ledgers)
        url = ledgers.get(api.workshop_of(dict(run))) or ledgers.get("default")
        if url is None:
            raise Denied(503, "there is no workshop block 'default': `make up` makes it")
        _check_idle(run_id, ledgers)
        _tried(lambda: record(url, run_id, "cancelled", who.by, who))
        _check_idle(run_id, ledgers)


def _check_idle(run_id: str, ledgers: Mapping[str, str]) -> None:
    """In every ledger: a rollback chooses by itself whose environment it takes."""
    taken = _tried(lambda: cancelling.environment_of(run_id, ledgers))
    if taken is not None:
        raise Denied(
            409,
            f"the run releases to {taken} right now, and is not stopped half-way: wait for it, or roll {taken} back, "
            "which goes first",
        )


def _tried(act: Callable[[], R]) -> R:
    try:
        return act()
    except InputError as err:
        raise Denied(404, str(err)) from err
    except holding.HalfDone as err:
        raise Denied(503, str(err)) from err
    except LockgateError as err:
        raise Denied(503, f"this cannot be noted now, so it was not done: {err}") from err
