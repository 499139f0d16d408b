"""What runs did, as tables and timelines on a terminal."""

import json
import time
from collections.abc import Callable
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from rich.console import Console
from rich.table import Table
from rich.text import Text

from blocks.catalogue import names
from blocks.ledger.ledger import Ledger
from blocks.ledger.rows import Entry
from blocks.workshop import workshop
from domain.errors import InputError, LockgateError
from domain.story import told
from domain.task import End, Outcome, Question
from flows.report import STATE_NAMES
from station import settings
from station.processes import log_of
from station.submit import run_url

console = Console(highlight=False, soft_wrap=True)
SILENCE_S = 60
"""A server that is started again answers sooner than this."""


def ledger_of(run: FlowRun | None) -> Ledger:
    """The ledger of the run's workshop; of the default one where it names none, or none that exists."""
    brief = run.parameters.get("brief") if run else None
    name = brief.get("workshop", "default") if isinstance(brief, dict) else "default"
    try:
        return workshop(name).ledger
    except InputError:
        return workshop("default").ledger


DELETED = "Deleted"
"""The state of a run that is gone from Prefect, and that the ledger still tells of."""


def read_run(run_id: str) -> FlowRun:
    """A run by id; one that was deleted in Prefect as far as the ledger knows it, without a state.

    Raises InputError for one that neither knows.
    """
    try:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(UUID(run_id))
    except (ObjectNotFound, ValueError) as err:
        if isinstance(err, ObjectNotFound) and (known := _from_ledgers(run_id)):
            return known
        raise InputError(f"there is no run {run_id!r}: `lockgate status` lists them") from err


def _from_ledgers(run_id: str) -> FlowRun | None:
    """The run as its first entry tells of it, from the ledger of whichever workshop has it."""
    for name in names("workshop"):
        if entries := workshop(name).ledger.entries(run_id=run_id):
            told_at_prepare = (entry.body["brief"] for entry in entries if entry.kind == "prepared")
            brief = next(told_at_prepare, {"title": run_id, "workshop": name})
            parameters = {"brief": brief}
            return FlowRun(
                id=UUID(run_id), flow_id=UUID(int=0), name=brief["title"], parameters=parameters, state_name=DELETED
            )
    return None


Reviewer = Callable[[Question], tuple[str, str, str]]
"""Answers a question with (decision, reviewer, comment)."""


def follow(run_id: str, quiet: bool = False, reviewer: Reviewer | None = None) -> Outcome:
    """Print the run's timeline until it ends; its outcome. `reviewer` is asked when a review waits."""
    seen, phase, since, answered = 0, "", time.monotonic(), time.monotonic()
    ledger = ledger_of(read_run(run_id))
    with console.status("waiting for the worker") as spinner:
        if quiet:
            spinner.stop()
        while True:
            entries = ledger.entries(run_id=run_id, after=seen)
            for entry in entries:
                seen = entry.number
                if not quiet:
                    _say(entry)
            try:
                run = read_run(run_id)
                now = f"{run.state_name} · {_step(run_id)}"
                answered = time.monotonic()
            except httpx.HTTPError as err:
                if time.monotonic() - answered > SILENCE_S:
                    raise LockgateError(
                        f"the server at {settings.url()} has not answered for {SILENCE_S} s: was it stopped? "
                        f"After `make up` the run goes on: lockgate status {run_id}"
                    ) from err
                spinner.update("the server does not answer; waiting for it")
                time.sleep(1)
                continue
            if now != phase:
                phase, since = now, time.monotonic()
                if run.state_name == "Late" and not quiet:
                    _print(f"         no worker has taken the run yet: {log_of('worker')} says why")
            spinner.update(f"{phase} · {time.monotonic() - since:.0f} s")
            if reviewer and run.state and run.state.is_paused():
                spinner.stop()
                _review(run_id, reviewer)
                spinner.start()
            if run.state_name == DELETED or (run.state and run.state.is_final() and not run.state.is_crashed()):
                return outcome_of(run)
            time.sleep(0.4)


def _review(run_id: str, reviewer: Reviewer) -> None:
    from station import answers

    try:
        decision, name, comment = reviewer(answers.question(run_id))
        answers.review(run_id, decision, name, comment)
    except InputError as err:  # somebody else was faster, in the UI say
        _print(f"         {err}")
        time.sleep(1)


def outcome_of(run: FlowRun) -> Outcome:
    """The recorded outcome; for a run that ended without one (cancelled, say), Prefect's own words."""
    found = ledger_of(run).find(str(run.id), "outcome", "outcome", Outcome)
    if found:
        return found
    message = (run.state.message if run.state else None) or run.state_name or "unknown"
    end = End.REFUSED if run.state_name == STATE_NAMES[End.REFUSED] else End.FROZEN
    return Outcome(
        run_id=str(run.id),
        title=run.name,
        end=end,
        sentence=message if end is End.REFUSED else f"{run.state_name}: {message}",
    )


def show_run(run_id: str, as_json: bool) -> None:
    """State and timeline of one run."""
    run = read_run(run_id)
    entries = ledger_of(run).entries(run_id=str(run.id))
    if as_json:
        story = [{"at": e.at.isoformat(), "kind": e.kind, "line": told(e.kind, e.body)} for e in entries]
        message = run.state.message if run.state else None
        print(json.dumps({"run_id": str(run.id), "state": run.state_name, "message": message, "timeline": story}))
        return
    console.print(f"[bold]{run.name}[/] · {run.state_name}\n{run_url(str(run.id))}")
    for entry in entries:
        _say(entry)


def show_runs(as_json: bool, limit: int = 20) -> None:
    """The newest runs."""
    wanted = FlowRunFilter.model_validate({"tags": {"all_": ["lockgate"]}})
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=limit)
    rows = [
        {"run_id": str(r.id), "title": r.name, "state": r.state_name, "message": r.state.message if r.state else None}
        for r in runs
    ]
    if as_json:
        print(json.dumps(rows))
        return
    table = Table("run", "title", "state", "message")
    for row in rows:
        table.add_row(*(str(value or "") for value in row.values()))
    console.print(table)


def _step(run_id: str) -> str:
    """The step that runs now, from the API."""
    wanted = FlowRunFilter.model_validate({"id": {"any_": [run_id]}})
    with get_client(sync_client=True) as client:
        tasks = client.read_task_runs(flow_run_filter=wanted, limit=50)
    return ", ".join(sorted(t.name for t in tasks if t.state and t.state.is_running())) or "between steps"


def _say(entry: Entry) -> None:
    if line := told(entry.kind, entry.body):
        _print(line, at=f"{entry.at.astimezone():%H:%M:%S} ")


def _print(line: str, at: str = "") -> None:
    """In one go, or the spinner wipes the first part away; agents' words without what commands a terminal."""
    shown = "".join(c if c.isprintable() or c == "\n" else "�" for c in line)
    console.print(Text.assemble((at, "dim"), shown))
