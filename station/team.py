"""What agents did and how people review, on a terminal: `lockgate team`."""

import json

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from blocks.ledger import history
from domain.review_health import Group, ReviewHealth, health
from domain.text import one_line
from domain.track_record import TrackRecord, records, total
from station import holding

WIDE = 180


def show(as_json: bool) -> None:
    """Print it, by the ledgers of all workshops. Raises LedgerError if one cannot be read: half is not all."""
    found = [history.read(url) for url in sorted({str(shop["ledger"]["url"]) for shop in holding.shops()})]
    whole, agents, reviews = total(found), records(found), health(found)
    if as_json:
        told = {"agents": [each.data for each in agents], "all": whole.data if whole else None, "reviews": reviews.data}
        print(json.dumps(told))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE  # for a file or a pipe: nothing is cut
    if whole is None:
        console.print("no agent has been asked for anything yet")
        return
    console.print(_agents([*agents, whole]))
    if reviews.reviews:
        console.print(_reviews(reviews))
    if reviews.caught.of:
        console.print(f"planted faults that were caught: {reviews.caught.shown}")
    console.print(
        "in brackets: where the share truly lies, in 95 of 100 cases. Two whose brackets overlap are not told apart"
    )


def _agents(rows: list[TrackRecord]) -> Table:
    table = _table(
        "agent",
        "asked",
        "attempts",
        "passed at first try",
        "merged",
        "live",
        "rolled back of released",
        "USD, min a live change",
    )
    for one in rows:
        named = " ".join(
            part for part in (one.line.agent, one.line.version, one.line.model, one.line.repository) if part
        )
        usd, minutes = one.usd_per_live, one.minutes_per_live
        costs = "–" if usd is None or minutes is None else f"{usd:.2f}, {minutes:.1f}"
        table.add_row(
            Text(one_line(named)), f"{one.asked}", f"{one.attempts}", one.first_try.shown, f"{one.merged}",
            f"{one.live}", one.taken_back.shown, costs,
        )  # fmt: skip
    return table


def _reviews(found: ReviewHealth) -> Table:
    table = _table(
        "reviewer", "answers", "lines", "took, in the middle", "with a comment", "opened", "rubber stamps", "taken back"
    )
    for one in (*found.reviewers, found.whole):
        table.add_row(Text(one_line(one.name)), *_cells(one))
    return table


def _cells(one: Group) -> tuple[str, ...]:
    minutes = "–" if one.minutes is None else f"{one.minutes:.1f} min"
    shares = (one.commented.shown, one.opened.shown, one.stamps.shown, one.taken_back.shown)
    return f"{one.answers}", f"{one.lines}", minutes, *shares


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold", min_width=5)
    return table
