"""The bill on a terminal: one table a column, with bars."""

import json
from collections.abc import Sequence
from datetime import date

from rich import box
from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from domain.bill import KINDS, Bill, By, ChargeSum, bill, dollars, unmetered
from domain.errors import InputError
from domain.text import one_line
from station.status import ledger_of, read_run

OF_A_RUN = (By.STEP, By.MODEL)
WIDE = 120
OF_ALL = (By.DAY, By.MODEL, By.TASK)


def show_bill(
    run_id: str | None = None, by: str | None = None, since: str | None = None, as_json: bool = False
) -> None:
    """Print the bill of a run, or of all. Raises InputError for a run, column or day that is none."""
    columns = (_column(by),) if by else OF_A_RUN if run_id else OF_ALL
    first_day = _day(since) if since else None
    made = bill(ledger_of(read_run(run_id) if run_id else None).entries(run_id, KINDS), first_day)
    if as_json:
        print(json.dumps(as_data(made, columns)))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE  # for a file or a pipe: nothing is cut
    if not made.charges:
        console.print("nothing was used" + (f" since {since}" if since else ""))
        return
    for column in columns:
        console.print(table(made.by(column), made.total, column, bars=min(24, max(4, console.width - 80))))
    if made.total.unmetered:
        console.print(f"* {unmetered(made.total)}")


def as_data(made: Bill, columns: Sequence[By]) -> dict[str, object]:
    """The bill as one JSON object: the sums of each column, and the total."""
    sums = {str(column): [line.model_dump(mode="json") for line in made.by(column)] for column in columns}
    return {"by": sums, **made.total.model_dump(mode="json", exclude={"name"})}


def table(lines: Sequence[ChargeSum], total: ChargeSum, column: By, bars: int = 16) -> Table:
    """Sums as a table whose bars compare money, or sandbox time where none was spent."""
    made = Table(box=box.SIMPLE_HEAD, show_footer=True, pad_edge=False)
    made.add_column(str(column), Text("total", style="bold"), overflow="fold", min_width=10)
    tokens = total.tokens
    for name, footer in (("calls", f"{total.calls:,}"), ("input", short(tokens.input)),
                         ("cached", short(tokens.cache_read)), ("output", short(tokens.output)),
                         ("sandbox s", f"{total.sandbox_s:,.1f}")):  # fmt: skip
        made.add_column(name, footer, justify="right", no_wrap=True)
    made.add_column("USD", Text(dollars(total.usd), style="bold"), justify="right", no_wrap=True)
    made.add_column("", no_wrap=True)
    sizes = [line.usd if total.usd else line.sandbox_s for line in lines]
    for line, size in zip(lines, sizes, strict=True):
        made.add_row(
            Text(one_line(line.name)),
            f"{line.calls:,}{'*' if line.unmetered else ''}",
            short(line.tokens.input),
            short(line.tokens.cache_read),
            short(line.tokens.output),
            f"{line.sandbox_s:,.1f}",
            dollars(line.usd),
            Bar(max(sizes) or 1, 0, size, width=bars, color="cyan"),
        )
    return made


def short(count: int) -> str:
    """A count of tokens in at most five characters: 999, 12.3k, 4.5M."""
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:.0f}{unit}" if count >= 100 * size else f"{count / size:.1f}{unit}"
    return str(count)


def _column(name: str) -> By:
    try:
        return By(name)
    except ValueError:
        raise InputError(f"--by {name!r} is none of {', '.join(By)}") from None


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"--since {text!r} is not a day such as 2026-01-31") from None
