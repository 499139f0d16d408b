"""`lockgate bundle`: all that is known of a release that had to leave, or that nobody could judge."""

import json
from collections.abc import Iterator
from typing import Any

from prefect.client.schemas.objects import FlowRun
from rich.console import Console
from rich.text import Text

from blocks.workshop import Workshop, workshop
from domain.errors import InputError
from domain.records import ROLLED_BACK, WATCHED
from domain.task import RolledBack
from domain.text import one_line
from flows.elsewhere import workshop_name
from station.runs import read_run


def show_bundle(run_id: str, release: str | None = None, as_json: bool = False) -> None:
    """Print the bundle of a run's newest rollback, or of the named release.

    Raises InputError for a run or a release that has none, LedgerError where the store has lost it.
    """
    run = read_run(run_id)
    found = bundle_in(_shop_of(run), str(run.id), release)
    if as_json:
        print(json.dumps(found))
        return
    console = Console(highlight=False, soft_wrap=True)
    for line in lines_of(found):
        console.print(Text(one_line(line)))


def bundle_in(shop: Workshop, run_id: str, release: str | None = None) -> dict[str, Any]:
    """The bundle, from ledger and store. Of a release that was left as it is: what was seen of it."""
    for entry in reversed(shop.ledger.entries(run_id=run_id, kind=ROLLED_BACK.kind)):
        back = RolledBack.model_validate(entry.body)
        if back.failed.startswith(release or ""):
            bundle: dict[str, Any] = json.loads(shop.store.get(back.bundle))
            return bundle
    for entry in reversed(shop.ledger.entries(run_id=run_id, kind=WATCHED.kind)):
        if entry.key.startswith(release or ""):
            return {"phase": f"{entry.body['share']} % of the traffic, and left there", "watched": entry.body}
    what = f"of release {release!r} " if release else ""
    raise InputError(f"run {run_id} rolled nothing {what}back: there is no bundle")


def lines_of(bundle: dict[str, Any]) -> Iterator[str]:
    """The bundle for a person, most important first."""
    release, watched = bundle.get("release") or {}, bundle.get("watched") or {}
    health, state = bundle.get("health") or {}, dict(bundle.get("state") or {})
    for name, value in (
        ("phase", bundle["phase"]),
        ("reason", bundle.get("reason")),
        ("release", release.get("revision") or watched.get("revision")),
        ("before it", release.get("previous")),
        ("identity", health.get("identity")),
        ("exit code", bundle.get("exit_code")),
        ("numbers", _numbers(watched.get("new"))),
        ("beside", _numbers(watched.get("old"))),
    ):
        if value is not None:
            first, *more = str(value).splitlines() or [""]
            yield f"{name:<10} {first}"
            yield from (f"{'':<10} {line}" for line in more)
    answers = [*(state.pop("answers_at_start", None) or ()), *(watched.get("answers") or ())]
    yield from _part("answers to health checks", [line for answer in answers for line in _answer(answer)])
    yield from _part(
        "timeline", [*release.get("timeline", ()), *health.get("timeline", ()), *bundle.get("rollback", ())]
    )
    for rehearsal in (bundle.get("migration") or {}).get("rehearsals", ()):
        yield from _part("migration, on copies", list(rehearsal["timeline"]))
    yield from _part("state", [f"{name}: {json.dumps(value)}" for name, value in state.items()])
    yield from _part("log", bundle.get("log_tail", "").splitlines())


def _part(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield ""
        yield title
        yield from (f"  {line}" for line in lines)


def _numbers(numbers: dict[str, Any] | None) -> str | None:
    return f"{numbers['errors']} of {numbers['requests']} requests failed" if numbers else None


def _answer(answer: dict[str, Any]) -> Iterator[str]:
    reading = answer["reading"]
    code = f"HTTP {reading['code']}, " if reading["code"] else ""
    who = f" ({reading['identity']})" if reading.get("identity") else ""
    yield f"{answer['at'][11:19]} {answer['where']}, {answer['times']} times: {code}{reading['reason']}{who}"
    yield from (f"  {line}" for line in reading["body"].splitlines())


def _shop_of(run: FlowRun) -> Workshop:
    return workshop(workshop_name(run) or "default")
