"""Holds and opens environments, in the ledger of each workshop that has them: for the command line and the front door.

It asks Prefect's server nothing while there is a copy of the blocks, so that an environment can be held while the
server is down.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from blocks import kept
from blocks.ledger.reading import Reader
from blocks.ledger.writing import record
from domain.access import Holding
from domain.errors import InputError, LockgateError
from domain.policy.holding import KINDS, STOPS, why_held
from domain.records import HELD, OPENED
from station import api, settings

WORKSHOP = "lockgate-workshop"
WITHIN_S = 2.0
PEOPLE = "people"
"""The ledger's run for what people do to environments."""


class HalfDone(LockgateError):
    """Some ledgers have it, and others do not."""


def hold(environment: str, reason: str, by: str, *, signed_in: bool = False, way: str = "") -> str:
    """One line of what holds now. Raises InputError for an environment that nobody set up."""
    value = Holding(environment=environment, reason=reason, by=by, signed_in=signed_in, way=way)
    _in_each(
        ledgers_of(environment),
        lambda url: record(url, PEOPLE, *HELD.at(str(uuid4())), value),
        f"{environment} is held",
    )
    return f"nothing is released to {environment} until it is opened: lockgate open {environment} REASON --as NAME"


def open_again(environment: str, reason: str, by: str, *, signed_in: bool = False, way: str = "") -> str:
    """The same, for opening it."""
    value = Holding(environment=environment, reason=reason, by=by, signed_in=signed_in, way=way)
    closed = [url for url in ledgers_of(environment) if _why(url, environment)]
    _in_each(closed, lambda url: record(url, PEOPLE, *OPENED.at(str(uuid4())), value), f"{environment} is opened")
    return f"releases may go to {environment} again" if closed else f"{environment} is open already"


def at_the_door(word: str, environment: str, reason: str) -> str | None:
    """`hold` or `open`, done by the door where this process is signed in there; else None, and nothing is done."""
    if not settings.is_signed_in():
        return None
    try:
        told = api.at_the_door(f"/door/environments/{quote(environment, safe='')}/{word}", {"reason": reason})
    except api.Refused as err:
        raise InputError(f"the door refused it: {err}") from err
    if told is None:
        raise InputError(f"the door knows no environment {environment!r}")
    return str(told["message"])


def held(environment: str) -> str | None:
    """Why nothing is released there; None if something may be."""
    return next((why for url in ledgers_of(environment) if (why := _why(url, environment))), None)


def ledgers_of(environment: str) -> tuple[str, ...]:
    """URLs of the ledgers of all workshops that have the environment. Raises InputError if none has."""
    known: set[str] = set()
    for shops in (_kept, _made_since):
        found = shops()
        urls = [str(shop["ledger"]["url"]) for shop in found if environment in shop["targets"]]
        if urls:
            return tuple(dict.fromkeys(urls))
        known.update(name for shop in found for name in shop["targets"])
    raise InputError(f"no environment {environment!r} in any workshop (known: {', '.join(sorted(known)) or 'none'})")


def shops() -> list[Mapping[str, Any]]:
    """What the blocks of all workshops hold, by the copy, which is some seconds old at most; without one, by the
    server, to which decrypting them is no small work."""
    return _kept() or [*api.workshops()]


def _in_each(urls: Sequence[str], note: Callable[[str], object], what: str) -> None:
    for done, url in enumerate(urls):
        try:
            note(url)
        except LockgateError as err:
            if not done:
                raise
            raise HalfDone(
                f"{what} in {done} of {len(urls)} ledgers only, so not all workshops know: do it again ({err})"
            ) from err


def _kept() -> list[Mapping[str, Any]]:
    return [kept.fields(WORKSHOP, name) for name in kept.names(WORKSHOP)]


def _made_since() -> list[Mapping[str, Any]]:
    """What the server has, if it is there: one that was just made is not in the copy. Nobody waits for a server that
    does not answer, where there is a copy."""
    return [*api.workshops()] if not kept.names(WORKSHOP) or api.answers(within_s=WITHIN_S) else []


def _why(url: str, environment: str) -> str | None:
    ledger = Reader(url)
    if not why_held(environment, ledger.entries(kinds=STOPS)):
        return None
    return why_held(environment, ledger.entries(kinds=KINDS))
