"""What is on the screen of environments: what serves where, since when, by which brief, and what was there before."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from blocks.ledger.reading import Reader
from domain.entry import Entry
from domain.policy.holding import KINDS, live_before, why_held
from domain.story import told
from station import api

HISTORY = 30


class Happened(NamedTuple):
    """One line of an environment's history."""

    at: datetime
    line: str
    title: str
    run_id: str | None


class Serving(NamedTuple):
    """An environment as the ledger last saw it."""

    name: str
    revision: str | None
    """What was last seen serving; None: nothing was."""
    since: datetime | None
    url: str
    title: str
    run_id: str | None
    held: str | None
    back_to: str | None
    """The release that a rollback would bring back; None: there is none."""
    back_title: str
    history: list[Happened]


def environments() -> list[Serving]:
    """Those of all workshops, by name."""
    places = {(name, str(shop["ledger"]["url"])) for shop in api.workshops() for name in shop["targets"]}
    known = {url: _read(url) for _, url in places}
    return [_serving(name, *known[url]) for name, url in sorted(places)]


def _read(url: str) -> tuple[tuple[Entry, ...], dict[str, str]]:
    """What a ledger says of environments, and run → its title."""
    ledger = Reader(url)
    entries = ledger.entries(kinds=KINDS)
    titles = {entry.run_id: str(entry.body["title"]) for entry in ledger.entries(kinds=("outcome",))}
    for run_id in {entry.run_id for entry in entries if entry.kind == "live"} - set(titles):
        for entry in ledger.entries(run_id, ("prepared",)):
            titles[run_id] = str(entry.body["brief"]["title"])
    return entries, titles


def _serving(name: str, all_entries: Sequence[Entry], titles: dict[str, str]) -> Serving:
    entries = [entry for entry in all_entries if entry.body["environment"] == name]
    lives = [entry for entry in entries if entry.kind == "live"]
    by_revision = {str(entry.body["revision"]): entry for entry in lives}
    newest = next((entry for entry in reversed(entries) if entry.kind in ("live", "rolled_back")), None)
    revision = None
    if newest is not None:
        revision = newest.body["revision" if newest.kind == "live" else "serving"]
    made = by_revision.get(str(revision))
    back_to = next(iter(live_before([str(entry.body["revision"]) for entry in lives], revision)), None)
    back = by_revision.get(str(back_to))
    return Serving(
        name=name,
        revision=revision,
        since=newest.at if newest else None,
        url=str(made.body["url"]) if made else "",
        title=titles.get(made.run_id, "") if made else "",
        run_id=made.run_id if made and made.run_id in titles else None,
        held=why_held(name, entries),
        back_to=back_to,
        back_title=titles.get(back.run_id, "") if back else "",
        history=[_happened(entry, titles) for entry in reversed(entries[-HISTORY:])],
    )


def _happened(entry: Entry, titles: dict[str, str]) -> Happened:
    title = titles.get(entry.run_id, "")
    return Happened(entry.at, told(entry.kind, entry.body) or entry.kind, title, entry.run_id if title else None)
