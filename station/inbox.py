"""What waits for a person, oldest first, with the command that answers it: `lockgate inbox`."""

import contextlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from blocks.ledger.reading import Reader
from domain.errors import LedgerError
from domain.records import WAITS_FOR_FORGE, WAITS_FOR_PUSH
from domain.text import one_line
from station import api, settings

KINDS = {
    "review": ("review", "lockgate review {run}"),
    "questions": ("questions", "lockgate answer {run}"),
    "ready": ("something that is lacking", "lockgate status {run}"),
    "forge": ("its forge's rules", "lockgate status {run}"),
    "push": ("a push that mends it", "lockgate status {run}"),
    "away": ("its forge to answer", "lockgate status {run}"),
}
"""How the key of a suspended run begins → what it waits for, and what shows that."""


class Waiting(NamedTuple):
    """A run that goes on once somebody has answered."""

    run_id: str
    title: str
    asks: str
    since: datetime
    command: str
    kind: str
    why: str = ""


FOR_MACHINE = {"tags": {"all_": ["lockgate"]}, "state": {"name": {"any_": ["Waits for its machine"]}}}
"""Runs that go on by themselves once the machine is there that they name."""
AT_FORGE = ("forge", "away", "push")
"""They go on by themselves, once somebody did something at the forge or the branch: the reason says what."""
SUSPENDED = {"tags": {"all_": ["lockgate"]}, "state": {"type": {"any_": ["PAUSED"]}}}


def waiting(most: int | None = None) -> list[Waiting]:
    """Oldest first; of very many, those that began first. Raises LockgateError if the server does not answer."""
    found = [one for run in api.in_short(SUSPENDED, "EXPECTED_START_TIME_ASC", most) if (one := _asked(run))]
    found += [_machine(run) for run in api.in_short(FOR_MACHINE, "EXPECTED_START_TIME_ASC", most)]
    said = _reasons([one.run_id for one in found if one.kind in AT_FORGE])
    return sorted((one._replace(why=said.get(one.run_id, one.why)) for one in found), key=lambda one: one.since)


def show(as_json: bool) -> None:
    """Print them."""
    found = waiting()
    if as_json:
        print(json.dumps([{**one._asdict(), "since": one.since.isoformat()} for one in found]))
        return
    console = Console(highlight=False)
    if not found:
        console.print("nothing waits for a person")
        return
    table = Table("waits", "for", "title", "look at it, and answer", box=None, pad_edge=False)
    for one in found:
        title = one_line(one.title) + (f": {one_line(one.why)}" if one.why else "")
        table.add_row(age(one.since), one.asks, Text(title), Text(one.command, no_wrap=True, overflow="fold"))
    if not console.is_terminal:
        console.width = 160  # for a file or a pipe: nothing is cut
    console.print(table)
    console.print(f"or at the desk: {settings.desk_url()}")


def asked_by(run: dict[str, Any]) -> str:
    """The key of the question that a run waits for, which begins with one of `KINDS`; empty if it waits for none."""
    key = str(((run["state"] or {}).get("state_details") or {}).get("pause_key") or "")
    return key if key.partition("-")[0] in KINDS else ""


def _asked(run: dict[str, Any]) -> Waiting | None:
    """None for what goes on by itself, such as a release that waits for the end of a freeze window."""
    state, kind = run["state"] or {}, asked_by(run).partition("-")[0]
    if not kind:
        return None
    since = datetime.fromisoformat(state["timestamp"].replace("Z", "+00:00"))
    asks, command = KINDS[kind]
    return Waiting(run["id"], run["name"], asks, since, command.format(run=run["id"]), kind)


def _machine(run: dict[str, Any]) -> Waiting:
    since = datetime.fromisoformat(run["state"]["timestamp"].replace("Z", "+00:00"))
    why = str(run["state"].get("message") or "")
    return Waiting(run["id"], run["name"], "its machine", since, f"lockgate status {run['id']}", "machine", why)


def _reasons(runs: Sequence[str]) -> dict[str, str]:
    """Run → why it waits for its forge, by the ledgers, each asked once. Nothing at a door: `status` tells it there."""
    if not runs or settings.is_signed_in():
        return {}
    said = {}
    for url in sorted(set(api.ledger_urls().values())):
        with contextlib.suppress(LedgerError):  # what waits is shown all the same
            for entry in Reader(url).entries(kinds=(WAITS_FOR_FORGE.kind, WAITS_FOR_PUSH.kind), runs=runs):
                said[entry.run_id] = str(entry.body["reason"])
    return said


def age(since: datetime) -> str:
    """How long ago, in one word: `3 min`, `5 h`, `4 days`."""
    minutes = int((datetime.now(UTC) - since).total_seconds() // 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"
