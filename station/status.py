"""What runs did, and which are the newest: `lockgate status`."""

import json
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from blocks.ledger.reading import Reader
from domain.entry import Entry
from domain.errors import InputError
from domain.records import PREPARED, sentence_of
from domain.text import block, one_line
from station import api, settings
from station.inbox import age

console = Console(highlight=False, soft_wrap=True)
WIDE = 120
DELETED = "Deleted"
"""The state of a run that is gone from Prefect, and that the ledger still tells of."""


def read_run(run_id: str) -> dict[str, Any]:
    """A run by id; one that was deleted in Prefect as far as the ledger knows it, without a state.

    Raises InputError for one that neither knows.
    """
    try:
        return api.run(run_id)
    except InputError:
        for workshop, url in api.ledger_urls().items():
            if entries := Reader(url).entries(run_id):
                briefs = (entry.body["brief"] for entry in entries if entry.kind == PREPARED.kind)
                brief = next(briefs, {"title": run_id, "workshop": workshop})
                gone = {"state": None, "state_type": None, "state_name": DELETED, "parameters": {"brief": brief}}
                return {"id": run_id, "name": brief["title"], **gone}
        raise


def show_run(run_id: str, as_json: bool) -> None:
    """State and timeline of one run."""
    run = read_run(run_id)
    entries = ledger_of(run).entries(run_id=str(run["id"]))
    if as_json:
        story = [{"at": e.at.isoformat(), "kind": e.kind, "line": sentence_of(e.kind, e.body)} for e in entries]
        print(json.dumps({**_row(run), "timeline": story}))
        return
    console.print(f"[bold]{run['name']}[/] · {run['state_name']}\n{settings.url()}/runs/flow-run/{run['id']}")
    for entry in entries:
        say(entry)


def show_runs(as_json: bool, limit: int = 20) -> None:
    """The newest runs. Of their ids a narrow terminal shows the beginning, by which they are known, too."""
    rows = [
        {"run_id": row.pop("run_id"), "title": run["name"], **row, "since": (run["state"] or {}).get("timestamp")}
        for run in api.newest(limit, api.in_short)
        if (row := _row(run))
    ]
    if as_json:
        print(json.dumps(rows))
        return
    shown = Console(highlight=False)
    if not shown.is_terminal:
        shown.width = WIDE  # for a file or a pipe: nothing is cut
    table = Table("run", "title", "state", "for", "message", box=None, pad_edge=False)
    for row in rows:
        run_id, since = str(row["run_id"]), row["since"]
        ago = age(datetime.fromisoformat(since.replace("Z", "+00:00"))) if since else ""
        said = (one_line(str(row[name] or "")) for name in ("title", "state", "message"))
        title, state, message = map(Text, said)
        table.add_row(Text(run_id if shown.width >= WIDE else run_id[:8], no_wrap=True), title, state, ago, message)
    shown.print(table)


def ledger_of(run: dict[str, Any] | None) -> Reader:
    """The ledger of the run's workshop; of the default one for none."""
    return Reader(api.ledger_url(api.workshop_of(run) if run else "default"))


def say(entry: Entry) -> None:
    """The line of an entry, where it has one."""
    if line := sentence_of(entry.kind, entry.body):
        print_line(line, at=f"{entry.at.astimezone():%H:%M:%S} ")


def print_line(line: str, at: str = "") -> None:
    """In one go, or a spinner wipes the first part away; agents' words without what commands a terminal."""
    shown = block(line)
    console.print(Text.assemble((at, "dim"), shown))


def _row(run: dict[str, Any]) -> dict[str, Any]:
    return {"run_id": run["id"], "state": run["state_name"], "message": (run["state"] or {}).get("message")}
