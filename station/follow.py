"""A run followed to its end on a terminal."""

import time
from collections.abc import Callable
from typing import Any

from domain.errors import InputError, LockgateError
from domain.records import OUTCOME, QUESTION
from domain.task import End, Outcome, Question
from station import api, inbox, settings
from station.processes import log_of
from station.status import DELETED, console, ledger_of, print_line, read_run, say

SILENCE_S = 150
"""A server that is started again answers sooner than this, and so does one that waits for a database of its own."""
FINAL = ("COMPLETED", "FAILED", "CANCELLED")
LOOK_S, ASK_S = 0.4, 1.2
"""Between two looks at the ledger; and at the server. That is asked at once if the ledger has something new, and with
each look while that is a question for our `reviewer`: the run is about to suspend."""

Reviewer = Callable[[Question], tuple[str, str, str]]
"""Answers a question with (decision, reviewer, comment)."""


def follow(run_id: str, quiet: bool = False, reviewer: Reviewer | None = None) -> Outcome:
    """Print the run's timeline until it ends; its outcome. `reviewer` is asked when a review waits."""
    seen, phase, since, answered, told = 0, "", time.monotonic(), time.monotonic(), ""
    next_question, asks = since, False
    ledger = ledger_of(read_run(run_id))
    with console.status("waiting for the worker") as spinner:
        if quiet:
            spinner.stop()
        while True:
            entries = ledger.entries(run_id, after=seen)
            for entry in entries:
                seen, asks = entry.number, reviewer is not None and entry.kind == QUESTION.kind
                if not quiet:
                    say(entry)
            if not entries and time.monotonic() < next_question:
                time.sleep(LOOK_S)
                continue
            next_question = time.monotonic() + (0 if asks else ASK_S)
            try:
                run = read_run(run_id)
                is_shown = console.is_terminal and not quiet
                now = f"{run['state_name']} · {_step(run_id)}" if is_shown else run["state_name"]
                answered = time.monotonic()
            except api.NoAnswer as err:
                if time.monotonic() - answered > SILENCE_S:
                    raise LockgateError(
                        f"the server at {settings.url()} has not answered for {SILENCE_S} s: was it stopped? "
                        f"After `lockgate up` the run goes on: lockgate status {run_id}"
                    ) from err
                spinner.update("the server does not answer; waiting for it")
                time.sleep(1)
                continue
            if now != phase:
                phase, since = now, time.monotonic()
                if run["state_name"] == "Late" and not quiet:
                    print_line(f"         no worker has taken the run yet: {log_of('worker')} says why")
            spinner.update(f"{phase} · {time.monotonic() - since:.0f} s")
            if told != (told := inbox.asked_by(run)) and told and not quiet:
                print_line(_how_to_answer(run_id, told.partition("-")[0]))
            if reviewer and run["state_type"] == "PAUSED":
                spinner.stop()
                _review(run_id, reviewer)
                asks = False
                spinner.start()
            if run["state_type"] in FINAL or run["state_name"] == DELETED:
                return outcome_of(run)
            time.sleep(LOOK_S)


def _how_to_answer(run_id: str, kind: str) -> str:
    """What it waits for, where that is answered, and by which command."""
    asks, command = inbox.KINDS[kind]
    answer = {"review": " --approve --as NAME", "questions": " 'TEXT' --as NAME"}.get(kind, "")
    return (
        f"         it waits for {asks}: answer at {settings.desk_url()}review/{run_id}\n"
        f"         or: {settings.COMMAND} {command.format(run=run_id).removeprefix('lockgate ')}{answer}"
    )


def _review(run_id: str, reviewer: Reviewer) -> None:
    from station import answers

    try:
        decision, name, comment = reviewer(answers.question(run_id))
        answers.review(run_id, decision, name, comment)
    except (InputError, api.NoAnswer) as err:  # somebody else was faster, in the UI say, or the server is busy
        print_line(f"         {err}")
        time.sleep(1)


def outcome_of(run: dict[str, Any]) -> Outcome:
    """The recorded outcome; for a run that ended without one (cancelled, say), Prefect's own words."""
    for entry in ledger_of(run).entries(run["id"], (OUTCOME.kind,)):
        return Outcome.model_validate(entry.body)
    name = run["state_name"] or "unknown"
    message = (run["state"] or {}).get("message") or name
    end = End.REFUSED if name.lower() == End.REFUSED else End.FROZEN
    sentence = message if end is End.REFUSED else f"{name}: {message}"
    return Outcome(run_id=run["id"], title=run["name"], end=end, sentence=sentence)


def _step(run_id: str) -> str:
    """The step that runs now, from the API."""
    wanted = {"flow_runs": {"id": {"any_": [run_id]}}, "task_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
    return ", ".join(sorted(task["name"] for task in api.post("/task_runs/filter", wanted))) or "between steps"
