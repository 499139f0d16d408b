"""What is on the screen of environments: what serves where, since when, by which brief, and what was there before."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from blocks.ledger.reading import Reader
from domain.entry import Entry
from domain.policy.holding import KINDS, live_before, why_held
from domain.records import LIVE, OUTCOME, PREPARED, ROLLED_BACK, sentence_of
from station import holding

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
    ledger: str
    """Its URL."""
    target: str
    """Block, as kind/name."""
    revision: str | None
    """What was last seen serving; None: nothing was."""
    since: datetime | None
    url: str
    made_by: str | None
    """The run that released it; None: none did."""
    title: str
    run_id: str | None
    """The same, if there is a page of it."""
    held: str | None
    back_to: str | None
    """The release that a rollback would bring back; None: there is none."""
    back_title: str
    history: list[Happened]


def environments() -> list[Serving]:
    """Those of all workshops, by name."""
    places = {
        (name, str(shop["ledger"]["url"])): str(target)
        for shop in holding.shops()
        for name, target in shop["targets"].items()
    }
    ledgers = {url: Reader(url) for _, url in places}
    known = {url: ledger.entries(kinds=KINDS) for url, ledger in ledgers.items()}
    return [_serving(name, url, target, ledgers[url], known[url]) for (name, url), target in sorted(places.items())]


def _titles(ledger: Reader, entries: Iterable[Entry]) -> dict[str, str]:
    """Run → its title, of those runs alone."""
    runs = {entry.run_id for entry in entries if entry.kind == LIVE.kind}
    titles = {e.run_id: str(e.body["title"]) for e in ledger.entries(kinds=(OUTCOME.kind,), runs=runs)}
    for entry in ledger.entries(kinds=(PREPARED.kind,), runs=runs - set(titles)):
        titles[entry.run_id] = str(entry.body["brief"]["title"])
    return titles


def _serving(name: str, url: str, target: str, ledger: Reader, all_entries: Sequence[Entry]) -> Serving:
    entries = [entry for entry in all_entries if entry.body["environment"] == name]
    lives = [entry for entry in entries if entry.kind == LIVE.kind]
    by_revision = {str(entry.body["revision"]): entry for entry in lives}
    newest = next((entry for entry in reversed(entries) if entry.kind in (LIVE.kind, ROLLED_BACK.kind)), None)
    revision = None
    if newest is not None:
        revision = newest.body["revision" if newest.kind == LIVE.kind else "serving"]
    made = by_revision.get(str(revision))
    back_to = next(iter(live_before([str(entry.body["revision"]) for entry in lives], revision)), None)
    back = by_revision.get(str(back_to))
    titles = _titles(ledger, [*entries[-HISTORY:], *filter(None, (made, back))])
    return Serving(
        name=name,
        ledger=url,
        target=target,
        revision=revision,
        since=newest.at if newest else None,
        url=str(made.body["url"]) if made else "",
        made_by=made.run_id if made else None,
        title=titles.get(made.run_id, "") if made else "",
        run_id=made.run_id if made and made.run_id in titles else None,
        held=why_held(name, entries),
        back_to=back_to,
        back_title=titles.get(back.run_id, "") if back else "",
        history=[_happened(entry, titles) for entry in reversed(entries[-HISTORY:])],
    )


def _happened(entry: Entry, titles: dict[str, str]) -> Happened:
    title = titles.get(entry.run_id, "")
    return Happened(entry.at, sentence_of(entry.kind, entry.body) or entry.kind, title, entry.run_id if title else None)
