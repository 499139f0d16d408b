"""How what is no task ends: a rollback, a downgrade, a round of the platform's own.

A ledger that fails for some seconds ends none of them; what a person must decide is paged; what cannot be said now is
said when it is resumed.
"""

import time
from collections.abc import Callable

from httpx import HTTPError
from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.exceptions import PrefectException
from prefect.states import Crashed, Failed

from blocks.workshop import workshop
from domain.errors import InputError, LedgerError, LockgateError, Superseded, reason_of
from domain.task import End
from flows.acting import Acting
from tasks.people.pager import page

STATE_NAMES = {
    End.LIVE: "Live",
    End.MERGED: "Merged",
    End.DECLINED: "Declined",
    End.GAVE_UP: "Gave up",
    End.FROZEN: "Frozen",
    End.REFUSED: "Refused",
}
AWAY = (HTTPError, PrefectException)
"""Prefect's server did not answer, or not in time. A flow that raised them would end as failed, and not be resumed."""
LEDGER_PAUSES_S = (1.0, 3.0, 10.0, 30.0)
"""How long a run waits for a ledger that fails, before each of its next tries."""


def patiently(act: Callable[[], State]) -> State:
    """What `act` gives, which is done again where the ledger failed meanwhile: it goes on from its last finished step.

    Raises LedgerError if the ledger did not come back.
    """
    for pause_s in LEDGER_PAUSES_S:
        try:
            return act()
        except LedgerError as trouble:
            get_run_logger().warning("%s; the run goes on in %.0f s", trouble, pause_s)
            time.sleep(pause_s)
    return act()


def concluded(what: str, workshop_name: str, run: str, act: Callable[[Acting], State]) -> State:
    """How a person's act ends, whatever happens in it: by itself, refused or frozen; or it crashes, and is resumed.
    `act` begins the run where its ledger is known. Where another process began it since, this one ends without a word.
    """
    with Acting(run) as acting:
        return _concluded(what, workshop_name, lambda: act(acting))


def _concluded(what: str, workshop_name: str, act: Callable[[], State]) -> State:
    try:
        return patiently(act)
    except Superseded:
        raise
    except LedgerError as trouble:
        return Crashed(message=f"could not {what}: {trouble}; it is resumed when the ledger is back")
    except InputError as wrong:
        return Failed(name=STATE_NAMES[End.REFUSED], message=f"could not {what}: {wrong}")
    except LockgateError as trouble:
        return _frozen(what, workshop_name, str(trouble))
    except AWAY as trouble:
        return Crashed(message=f"could not {what}: {reason_of(trouble)}; it is resumed when the server answers")
    except Exception as bug:
        get_run_logger().exception("an error that is none of ours")
        return _frozen(what, workshop_name, f"{type(bug).__name__}: {bug}")


NOTHING = "nothing was to be done"
"""What a round of the platform says then: such a one is soon taken from the list of runs."""


def round_of(act: Callable[[], State]) -> State:
    """How a round of the platform's own ends: one that fails is no failure of anybody's, for the next one comes."""
    try:
        return patiently(act)
    except Exception as err:
        get_run_logger().error("this round was cut short: %s", reason_of(err))
        return Crashed(message=f"cut short, the next round comes by itself: {reason_of(err)}")


def _frozen(what: str, workshop_name: str, why: str) -> State:
    try:
        pager = workshop(workshop_name).pager
    except LockgateError:
        pager = None
    page(pager, f"Lockgate: could not {what}", why)
    return Failed(name=STATE_NAMES[End.FROZEN], message=f"could not {what}: {why}")
