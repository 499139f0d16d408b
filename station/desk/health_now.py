"""What environments say of their health now, asked at their public addresses, as any user could ask.

No block is loaded and no credential is used: the address, and how a release is asked, are on the ledger.
"""

import asyncio
import functools
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from blocks import kept
from blocks.home import STATION, machine
from blocks.ledger.reading import Reader
from blocks.targets.asking import connection_to
from blocks.targets.health_probe import probe_by
from domain.errors import InputError
from domain.health import HealthCheck, HealthState, IdentitySource, Sight
from domain.records import PREPARED
from station.desk.environments import Serving
from station.roles import StationRole, roles

AT_ONCE = 8
"""So many addresses are asked at the same time; one that hangs takes two seconds."""
SHARED_S = 3.0
"""All who look within this time share one answer: a thousand open pages ask no service a thousand times."""
_NOBODY_SEES = Sight(is_it=True, how="from the public address")


class HealthNow(NamedTuple):
    """What the page says of an environment."""

    state: str
    """`healthy`, `sick`, `another release`, or `not known`."""
    line: str


class Asker:
    """Asks for those who look at the page, off the threads that make pages."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, "health")
        self._asked: dict[tuple[str, str], tuple[float, Future[HealthNow]]] = {}

    async def ask(self, found: Sequence[Serving]) -> list[dict[str, Any]]:
        """Of each that serves something: `name`, `revision`, `state` and `line`. From one thread."""
        some = [(one, self._answer(one)) for one in found if one.revision]
        told = [await asyncio.shield(asyncio.wrap_future(answer)) for _, answer in some]  # others may wait for it, too
        return [
            {"name": one.name, "revision": one.revision, **now._asdict()}
            for (one, _), now in zip(some, told, strict=True)
        ]

    def _answer(self, one: Serving) -> Future[HealthNow]:
        now = time.monotonic()
        self._asked = {key: known for key, known in self._asked.items() if now - known[0] < SHARED_S}
        key = one.name, f"{one.ledger} {one.revision}"
        if key not in self._asked:
            self._asked[key] = now, self._threads.submit(health_now, one)
        return self._asked[key][1]


def health_now(one: Serving) -> HealthNow:
    """Asks once, for two seconds at most. Unknown is said as such."""
    if not one.url or one.made_by is None:
        return HealthNow("not known", "what serves there was not released by a task, so how to ask it is not on record")
    check = _check_of(one.ledger, one.made_by)
    if check is None:
        return HealthNow("not known", "how it is asked for its health is not on record")
    try:
        return _asked(one, check)
    except ValueError as err:
        return HealthNow("not known", f"{one.url} is no address that can be asked: {err}")


def _asked(one: Serving, check: HealthCheck) -> HealthNow:
    if _is_loopback(one.url) and not _is_here(one.target):
        return HealthNow("not known", f"{one.url} is asked on the machine of {one.name} alone, which is not this")
    connect, begun = functools.partial(connection_to, one.url), time.monotonic()
    reading = probe_by(connect, one.url.rstrip("/"), check, str(one.revision), str, lambda _: _NOBODY_SEES)
    if reading.state is not HealthState.HEALTHY:
        return HealthNow(reading.state.value, reading.reason)
    took_ms = 1000 * (time.monotonic() - begun)
    says = "says that it is this release" if reading.identity is IdentitySource.SAID else "does not say which it is"
    return HealthNow("healthy", f"{reading.reason} in {took_ms:.0f} ms; it {says}")


@functools.lru_cache(maxsize=256)
def _check_of(ledger: str, run_id: str) -> HealthCheck | None:
    found = Reader(ledger).entries(kinds=(PREPARED.kind,), runs={run_id})
    return HealthCheck.model_validate(found[-1].body["settings"].get("health", {})) if found else None


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback or ip_address(host).is_unspecified
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_here(target: str) -> bool:
    """Whether a target lives on the machine of this desk."""
    kind, _, name = target.partition("/")
    try:
        place = kept.fields(f"lockgate-{kind}", name).get("machine") or STATION
    except (InputError, ValueError):
        place = STATION
    return place == machine() or (place == STATION and StationRole.SERVICES in roles())
