"""`lockgate diff` and `lockgate log`: the change that an attempt made, and what its run has logged."""

import time
from typing import Any

from rich.console import Console
from rich.text import Text

from domain.errors import InputError
from domain.records import ATTEMPT, PREPARED
from domain.task import Attempt, Prepared
from domain.text import block
from station import api

COLOURS = {"+": "green", "-": "red", "@": "cyan"}
LOOK_S = 1.0
FINAL = ("COMPLETED", "FAILED", "CANCELLED")


def show_diff(run_id: str, number: int | None) -> None:
    """The change of an attempt, the newest by default, in colours on a terminal. Raises InputError without one."""
    from station.runs import read_run, shop_of

    run = read_run(run_id)
    shop = shop_of(run)
    entries = shop.ledger.entries(run_id=str(run.id))
    made = [Attempt.model_validate(entry.body) for entry in entries if entry.kind == ATTEMPT.kind]
    wanted = [one for one in made if one.commit and number in (None, one.number)]
    prepared = [Prepared.model_validate(entry.body) for entry in entries if entry.kind == PREPARED.kind]
    if not wanted or not prepared:
        which = f"attempt {number} of run {run_id}" if number else f"run {run_id}"
        raise InputError(f"there is no change of {which}: `lockgate status {run_id}` tells what it did")
    change = wanted[-1]
    diff = shop.forge.diff(prepared[-1].brief.repository, change.base, str(change.commit))
    console = Console(highlight=False, soft_wrap=True)
    for line in diff.split("\n"):
        is_head = line.startswith(("diff ", "+++ ", "--- "))
        console.print(Text(block(line), style="bold" if is_head else COLOURS.get(line[:1], "")))


def show_log(run_id: str, follow: bool) -> None:
    """The lines of a run's log, oldest first; `follow`: until the run ends."""
    console = Console(highlight=False, soft_wrap=True)
    shown = 0
    while True:
        is_over = api.run(run_id)["state_type"] in FINAL
        while found := _lines(run_id, shown):
            shown += len(found)
            for line in found:
                console.print(Text.assemble((str(line["timestamp"])[11:19], "dim"), " ", block(str(line["message"]))))
        if is_over or not follow:
            return
        time.sleep(LOOK_S)


def _lines(run_id: str, after: int) -> list[dict[str, Any]]:
    wanted = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC", "limit": api.PAGE, "offset": after}
    return list(api.post("/logs/filter", wanted) or [])
