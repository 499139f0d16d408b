"""Prefect's API by plain HTTP, for commands that answer at once: importing Prefect takes seconds.

Only what can be asked twice is asked here, or what Prefect itself takes once.
"""

import base64
import contextlib
import http.client
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from blocks.home import resolved
from domain.errors import InputError, LockgateError
from station import settings

PATIENCE_S = 30.0
SILENCE_S = 3.0
"""After that long a person is told what is waited for."""
BUSY = (429, 500, 502, 503)
BROKEN = (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected, http.client.IncompleteRead)
"""The server, or what is before it, was there and let go: asked again, unlike an address if nobody listens."""
PAGE = 200
"""As many as Prefect gives at once."""
SHORT_PAGE = 1000
"""As many as it gives at once of runs in short."""
AHEAD = 200
"""So many runs of schedules are passed over: a server makes three of each ahead of time, and those of an hour."""
AMONG = 1000
"""So many runs are looked through for one whose id begins as a person said."""
LEAST = 4
"""So many characters of an id at least: with fewer a slip of the hand cancels whichever run there is."""
LOCKGATE = "lockgate"


class NoAnswer(LockgateError):
    """The server does not answer."""


class Refused(LockgateError):
    """The server answered that it will not: what was asked is wrong."""


def get(path: str) -> Any:
    """What stands there; None if there is nothing. Raises NoAnswer or Refused."""
    return _asked("GET", path, None)


def post(path: str, body: Any) -> Any:
    """The same for what is asked by POST."""
    return _asked("POST", path, body)


def at_the_door(path: str, body: Any) -> Any:
    """What the door itself answers, beside Prefect's API."""
    return _asked("POST", path, body, beside=True)


def run(run_id: str) -> dict[str, Any]:
    """A flow run by id. Raises InputError for one that does not exist."""
    try:
        found = get(f"/flow_runs/{UUID(run_id)}")
    except ValueError:
        found = None
    if found is None:
        raise InputError(f"there is no run {run_id!r}: `lockgate status` lists them")
    return dict(found)


def whole(given: str) -> str:
    """The id of the run that begins so, among the newest `AMONG`; an id that is whole as it is. Raises InputError if
    none does, or several do, or fewer than `LEAST` characters are given."""
    with contextlib.suppress(ValueError):
        return str(UUID(given))
    if not re.fullmatch(r"[0-9a-fA-F-]+", given):
        return given
    if len(given) < LEAST:
        raise InputError(
            f"{given!r} is not enough: at least the first {LEAST} characters of a run's id tell which is meant"
        )
    begins = given.lower()
    found = [str(one["id"]) for one in in_short({"tags": {"any_": [LOCKGATE]}}, "EXPECTED_START_TIME_DESC", AMONG)]
    mine = [one for one in found if one.startswith(begins)]
    if len(mine) == 1:
        return mine[0]
    if not mine:
        raise InputError(f"there is no run {given!r} among the newest {AMONG}: `lockgate status` lists them")
    raise InputError(f"{given!r} is not enough: {len(mine)} runs begin so, such as {', '.join(mine[:3])}")


def runs(wanted: dict[str, Any], sort: str, limit: int | None = None) -> list[dict[str, Any]]:
    """Flow runs that a filter finds; all of them without a limit."""
    return _pages("/flow_runs/filter", PAGE, wanted, sort, limit) or []


def in_short(wanted: dict[str, Any], sort: str, limit: int | None = None) -> list[dict[str, Any]]:
    """The same with id, name and state alone; whole ones of a server without that route (`station/in_short.py`)."""
    found = _pages("/lockgate/runs/filter", SHORT_PAGE, wanted, sort, limit)
    return runs(wanted, sort, limit) if found is None else found


def newest(limit: int, read: Callable[..., list[dict[str, Any]]] = runs) -> list[dict[str, Any]]:
    """The runs of briefs that were submitted last. What a schedule makes is not among them before it is due."""
    found = read({"tags": {"all_": ["lockgate"]}}, "EXPECTED_START_TIME_DESC", limit + AHEAD)
    return [run for run in found if not (run.get("auto_scheduled") and run["state_name"] == "Scheduled")][:limit]


def _pages(path: str, most: int, wanted: dict[str, Any], sort: str, limit: int | None) -> list[dict[str, Any]] | None:
    """None if there is nothing at that path."""
    found: list[dict[str, Any]] = []
    while limit is None or len(found) < limit:
        size = most if limit is None else min(most, limit - len(found))
        page = post(path, {"flow_runs": wanted, "sort": sort, "limit": size, "offset": len(found)})
        if page is None:
            return None
        found += page
        if len(page) < size:
            break
    return found


def ledger_url(workshop: str = "default") -> str:
    """Where the ledger of a workshop is; of `default` if that one does not exist."""
    for name in (workshop, "default"):
        path = f"/block_types/slug/lockgate-workshop/block_documents/name/{name}?include_secrets=true"
        found = get(path) if name.replace("-", "").isalnum() else None
        if found:
            return str(resolved(found["data"]["ledger"]["url"]))
    raise InputError("there is no workshop block 'default': `lockgate up` makes it")


def workshops() -> list[dict[str, Any]]:
    """What the blocks of all workshops hold."""
    found = get("/block_types/slug/lockgate-workshop/block_documents?include_secrets=true") or []
    return [resolved(one["data"]) for one in found if one["name"]]


def ledger_urls() -> dict[str, str]:
    """Workshop → where its ledger is."""
    found = get("/block_types/slug/lockgate-workshop/block_documents?include_secrets=true") or []
    return {one["name"]: str(resolved(one["data"]["ledger"]["url"])) for one in found if one["name"]}


def blocks() -> dict[str, Any]:
    """What all of Lockgate's blocks hold, and the pagers and channels that workshops name, as `slug/name` → fields,
    secrets and all."""
    found: dict[str, Any] = {}
    offset = 0
    while page := post("/block_documents/filter", {"include_secrets": True, "limit": PAGE, "offset": offset}):
        offset += len(page)
        for one in page:
            if one["name"]:
                found[f"{one['block_type']['slug']}/{one['name']}"] = one["data"]
    shops = [data for of, data in found.items() if of.startswith("lockgate-workshop/")]
    pagers = {channel for data in shops for channel in (data.get("pager"), *_channels(data.get("notices") or {}))}
    return {of: data for of, data in found.items() if of.startswith("lockgate-") or of in pagers}


def _channels(notices: dict[str, Any]) -> list[str]:
    routes = (notices.get("routes") or {}).values()
    named = [*(one for route in routes for one in route), *(notices.get("otherwise") or ())]
    return [*named, *(notices.get("escalate_to") or ())]


def answers(within_s: float) -> bool:
    """Whether the server answers at all, within a time."""
    try:
        return _once("GET", "/health", None, within_s)[0] not in BUSY
    except (OSError, http.client.HTTPException):
        return False


def workshop_of(flow_run: dict[str, Any]) -> str:
    """The workshop that the brief of a run names; of a run without a brief, the run itself, or that it found."""
    brief = flow_run["parameters"].get("brief")
    if isinstance(brief, dict):
        return str(brief.get("workshop", "default"))
    labels = flow_run.get("labels") or {}
    return str(flow_run["parameters"].get("workshop_name") or labels.get("lockgate.workshop") or "default")


def _asked(method: str, path: str, body: Any, *, beside: bool = False) -> Any:
    told = threading.Timer(SILENCE_S, _tell)
    told.daemon = True
    told.start()
    try:
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                status, content = _once(method, path, body, beside=beside)
                if status not in BUSY or time.monotonic() > until:
                    break
            except BROKEN:
                if time.monotonic() > until:
                    raise
            time.sleep(0.3)
    except (OSError, http.client.HTTPException) as err:
        why = f"nothing for {PATIENCE_S:.0f} s" if isinstance(err, TimeoutError) else str(err) or type(err).__name__
        raise NoAnswer(f"the server at {settings.url()} does not answer: is `lockgate up` running? ({why})") from err
    finally:
        told.cancel()
    if status == 404:
        return None
    if status >= 400:
        kind = NoAnswer if status in BUSY else Refused
        raise kind(f"the server at {settings.url()} answered {status}: {content.decode(errors='replace')[:300]}")
    return json.loads(content) if content else None


def _once(
    method: str, path: str, body: Any, timeout_s: float = PATIENCE_S, *, beside: bool = False
) -> tuple[int, bytes]:
    place = urlsplit(os.environ["PREFECT_API_URL"])  # of this station, or what the person set
    kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    headers = {"Content-Type": "application/json"}
    if credential := os.environ.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = f"Basic {base64.b64encode(credential.encode()).decode()}"
    connection = kind(place.hostname or "", place.port, timeout=timeout_s)
    try:
        connection.request(
            method, ("" if beside else place.path) + path, None if body is None else json.dumps(body), headers
        )
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _tell() -> None:
    print(f"lockgate: waiting for the server at {settings.url()}", file=sys.stderr)
