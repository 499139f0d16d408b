"""The bill of tasks, read from the ledger and shown in the Prefect UI."""

import base64
from collections.abc import Sequence
from datetime import UTC, date, datetime, time

from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext, TaskRunContext

from blocks.ledger.ledger import Ledger
from domain.bill import KINDS, Bill, By, ChargeSum, bill, calls, dollars, unmetered
from tasks.pages import bill_plot
from tasks.pages.show import quote

MAX_BARS = 31


def bill_of(ledger: Ledger, run_id: str | None = None, since: date | None = None) -> Bill:
    """The bill of one run, or of all. Raises LedgerError if the ledger cannot be read."""
    begins = datetime.combine(since, time(), UTC) if since else None
    return bill([e for kind in KINDS for e in ledger.entries(run_id=run_id, kind=kind, since=begins)], since)


def markdown(made: Bill) -> str:
    """The bill for the Prefect UI: what it comes to, a picture, and tables."""
    total = made.total
    parts = [f"# {dollars(total.usd)}", _sentence(total)]
    if made.charges:
        parts.append(_image(made))
    tasks = made.by(By.TASK)
    for column in By if len(tasks) > 1 else (By.STEP, By.MODEL, By.AGENT):
        parts.append(f"## By {column}\n\n{_table(made.by(column), total)}")
    return "\n\n".join(parts)


def publish(made: Bill, key: str = "bill") -> None:
    """The bill as an artifact of the run; outside of one there is nobody to show it to."""
    if TaskRunContext.get() or FlowRunContext.get():
        create_markdown_artifact(key=key, markdown=markdown(made), description=f"Bill: {dollars(made.usd)}")


def _image(made: Bill) -> str:
    try:
        picture = base64.b64encode(_picture(made)).decode()
    except Exception as err:  # a plot that cannot be drawn must not hide the bill, nor end the task
        return f"No plot: {quote(repr(err))}"
    return f"![Cost by day, step and model](data:image/svg+xml;base64,{picture})"


def _picture(made: Bill) -> bytes:
    """Dollars by model, or sandbox seconds by agent where no model was paid; a bar a day, or a step within one day."""
    days = len(made.by(By.DAY)) > 1
    paid = made.usd > 0
    bars, layers = By.DAY if days else By.STEP, By.MODEL if paid else By.AGENT
    parts: dict[str, dict[str, float]] = {line.name: {} for line in made.by(layers)}
    for charge in made.charges:
        if size := charge.usd if paid else charge.sandbox_s:
            part, bar = parts[charge.under(layers)], charge.under(bars)
            part[bar] = part.get(bar, 0.0) + size
    parts = {name: sizes for name, sizes in parts.items() if sizes}
    names = [line.name for line in made.by(bars)]
    return bill_plot.bars(names[-MAX_BARS:] if days else names[:MAX_BARS], parts, "US dollars" if paid else "sandbox s")


def _sentence(total: ChargeSum) -> str:
    said = f"{calls(total.calls, 'model call')} and {total.sandbox_s:,.1f} s of sandbox time."
    return f"{said} {unmetered(total)}" if total.unmetered else said


def _table(lines: Sequence[ChargeSum], total: ChargeSum) -> str:
    rows = ["| | USD | calls | input | of it cached | output | sandbox s |", "|---|---:|---:|---:|---:|---:|---:|"]
    rows += [f"| {quote(line.name)} {_cells(line)}" for line in lines]
    return "\n".join([*rows, f"| **total** {_cells(total)}"])


def _cells(line: ChargeSum) -> str:
    tokens = line.tokens
    return (
        f"| {line.usd:.4f} | {line.calls:,} | {tokens.input:,} | {tokens.cache_read:,} | {tokens.output:,} "
        f"| {line.sandbox_s:,.1f} |"
    )
