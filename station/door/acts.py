"""What the door does by itself, for Prefect's server knows nothing of it: holding, opening, and noting who cancels."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from blocks.ledger.writing import record
from domain.access import Cancelled, Token
from domain.errors import InputError, LockgateError
from domain.history import Submitted
from domain.records import SUBMITTED
from station import api, cancelling, holding
from station.door.reading import DoorDenied

R = TypeVar("R")


class Acts:
    """On record in the ledgers of workshops. Every method raises Denied if it cannot be; nothing is done then."""

    def __init__(self, ledgers: Callable[[], Mapping[str, str]] = api.ledger_urls) -> None:
        self._ledgers = ledgers
        """() → workshop → where its ledger is."""

    def look(self, environment: str) -> dict[str, str | None]:
        """Whether an environment is held, and why."""
        return {"environment": environment, "held": _tried(lambda: holding.held(environment))}

    def hold(self, word: str, environment: str, reason: str, token: Token) -> str:
        """`hold` or `open` it; what holds now, as a sentence."""
        act = {"hold": holding.hold, "open": holding.open_again}[word]
        return _tried(lambda: act(environment, reason, token.name, signed_in=True, way=token.way))

    def submitted(self, run_id: str, workshop: str, token: Token) -> None:
        """Note who has asked for a task, in the ledger of its workshop. Safe to repeat: the first one stays."""
        ledgers = _tried(self._ledgers)
        if url := ledgers.get(workshop) or ledgers.get("default"):
            _tried(lambda: record(url, run_id, *SUBMITTED.at(), Submitted(by=token.name, way=token.way)))

    def cancel(self, run: Mapping[str, Any], who: Cancelled) -> None:
        """Note who asks to cancel a run. Raises Denied if it merges or releases right now."""
        ledgers = _tried(self._ledgers)
        _tried(lambda: cancelling.note(run, who, ledgers))


def _tried(act: Callable[[], R]) -> R:
    try:
        return act()
    except cancelling.Busy as err:
        raise DoorDenied(409, str(err)) from err
    except InputError as err:
        raise DoorDenied(404, str(err)) from err
    except holding.HalfDone as err:
        raise DoorDenied(503, str(err)) from err
    except LockgateError as err:
        raise DoorDenied(503, f"this cannot be noted now, so it was not done: {err}") from err
