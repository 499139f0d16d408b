"""The bill: what tasks used, summed from the ledger's metered calls and sandbox seconds."""

import base64
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from enum import StrEnum

from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext, TaskRunContext
from pydantic import Field

from blocks.ledger.ledger import Ledger
from blocks.ledger.rows import Entry
from domain.models import Metered, Reserved, Tokens
from domain.task import BillLine, Outcome
from domain.value import Value
from tasks import bill_plot
from tasks.show import quote

KINDS = ("bill", "metered", "reserved", "outcome")
"""What a bill is made of. Outcomes give tasks their titles."""
MAX_BARS = 31


class By(StrEnum):
    """What a bill can be broken down by. `day` is in UTC, as the budget's days are."""

    TASK = "task"
    STEP = "step"
    AGENT = "agent"
    MODEL = "model"
    DAY = "day"


class Charge(Value):
    """One model call or one step's sandbox."""

    at: datetime = Field(description="When it was recorded, in UTC")
    run_id: str
    title: str = ""
    step: str
    attempt: int
    agent: str | None = None
    model: str | None = None
    calls: int = 0
    unmetered: int = Field(0, description="Calls that count as their worst case: nobody saw what they used")
    tokens: Tokens = Tokens()
    sandbox_s: float = 0.0
    usd: float = 0.0

    def under(self, column: By) -> str:
        """Its row where a bill is broken down by `column`."""
        match column:
            case By.TASK:
                return f"{self.title} ({self.run_id[:8]})" if self.title else self.run_id
            case By.STEP:
                return self.step
            case By.AGENT:
                return self.agent or "no agent"
            case By.MODEL:
                return self.model or "sandbox"
            case By.DAY:
                return f"{self.at:%Y-%m-%d}"


class Line(Value):
    """A sum of charges."""

    name: str
    calls: int
    unmetered: int
    tokens: Tokens
    sandbox_s: float
    usd: float


class Bill(Value):
    """Every charge, in the order of the ledger."""

    charges: tuple[Charge, ...]

    @property
    def total(self) -> Line:
        return _sum("total", self.charges)

    @property
    def usd(self) -> float:
        return self.total.usd

    def by(self, column: By) -> tuple[Line, ...]:
        """The sums of one column: days in their order, everything else dearest first."""
        rows: dict[str, list[Charge]] = {}
        for charge in self.charges:
            rows.setdefault(charge.under(column), []).append(charge)
        lines = [_sum(name, charges) for name, charges in rows.items()]
        if column is By.DAY:
            return tuple(sorted(lines, key=lambda line: line.name))
        return tuple(sorted(lines, key=lambda line: (-line.usd, -line.sandbox_s, line.name)))


def bill_of(ledger: Ledger, run_id: str | None = None, since: date | None = None) -> Bill:
    """The bill of one run, or of all. Raises LedgerError where the ledger cannot be read."""
    return bill([entry for kind in KINDS for entry in ledger.entries(run_id=run_id, kind=kind)], since)


def bill(entries: Iterable[Entry], since: date | None = None) -> Bill:
    """The bill that these entries of `KINDS` make. A reserved call that was never metered counts in full.

    `since`: only what was recorded on that day (UTC) or later.
    """
    charges, reserved, metered, titles = list[Charge](), dict[str, Charge](), dict[str, Charge](), dict[str, str]()
    for entry in sorted(entries, key=lambda entry: entry.number):
        match entry.kind:
            case "bill":
                charges.append(_step(entry))
            case "reserved":
                reserved.setdefault(_call(entry), _worst_case(entry))
            case "metered":
                metered.setdefault(_call(entry), _call_charge(entry))
            case "outcome":
                titles[entry.run_id] = Outcome.model_validate(entry.body).title
    charges += (reserved | metered).values()
    charges.sort(key=lambda charge: charge.at)
    titled = (charge.model_copy(update={"title": titles.get(charge.run_id, "")}) for charge in charges)
    return Bill(charges=tuple(charge for charge in titled if since is None or charge.at.date() >= since))


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


def dollars(usd: float) -> str:
    """`$12.34`, with more digits for less than a cent."""
    return f"${usd:,.2f}" if usd >= 0.01 or usd == 0 else f"${usd:.4f}"


def _image(made: Bill) -> str:
    try:
        picture = base64.b64encode(_picture(made)).decode()
    except Exception as err:  # a plot that cannot be drawn must not hide the bill, nor end the task
        return f"No plot: {quote(repr(err))}"
    return f"![Cost by day, step and model](data:image/png;base64,{picture})"


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


def unmetered(line: Line) -> str:
    """What calls without a meter reading mean for the sum."""
    return f"{_calls(line.unmetered, 'call')} not seen to the end: counted as the most that could have come of it."


def _sum(name: str, charges: Sequence[Charge]) -> Line:
    return Line(
        name=name,
        calls=sum(c.calls for c in charges),
        unmetered=sum(c.unmetered for c in charges),
        tokens=Tokens(
            input=sum(c.tokens.input for c in charges),
            output=sum(c.tokens.output for c in charges),
            cache_read=sum(c.tokens.cache_read for c in charges),
            cache_write=sum(c.tokens.cache_write for c in charges),
        ),
        sandbox_s=round(sum(c.sandbox_s for c in charges), 3),
        usd=round(sum(c.usd for c in charges), 9),
    )


def _step(entry: Entry) -> Charge:
    line = BillLine.model_validate(entry.body)
    return Charge(
        at=entry.at, run_id=line.run_id, step=line.step, attempt=line.attempt, agent=line.agent, model=line.model,
        sandbox_s=line.sandbox_s, usd=line.usd,
    )  # fmt: skip


def _call(entry: Entry) -> str:
    return f"{entry.body['run_id']}\0{entry.body['call']}"


def _worst_case(entry: Entry) -> Charge:
    call = Reserved.model_validate(entry.body)
    return Charge(
        at=entry.at, run_id=call.run_id, step=call.step, attempt=call.attempt, agent=call.agent, model=call.model,
        calls=1, unmetered=1, usd=call.usd,
    )  # fmt: skip


def _call_charge(entry: Entry) -> Charge:
    call = Metered.model_validate(entry.body)
    return Charge(
        at=entry.at, run_id=call.run_id, step=call.step, attempt=call.attempt, agent=call.agent, model=call.model,
        calls=1, tokens=call.tokens, usd=call.usd,
    )  # fmt: skip


def _sentence(total: Line) -> str:
    said = f"{_calls(total.calls, 'model call')} and {total.sandbox_s:,.1f} s of sandbox time."
    return f"{said} {unmetered(total)}" if total.unmetered else said


def _calls(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _table(lines: Sequence[Line], total: Line) -> str:
    rows = ["| | USD | calls | input | of it cached | output | sandbox s |", "|---|---:|---:|---:|---:|---:|---:|"]
    rows += [f"| {quote(line.name)} {_cells(line)}" for line in lines]
    return "\n".join([*rows, f"| **total** {_cells(total)}"])


def _cells(line: Line) -> str:
    tokens = line.tokens
    return (
        f"| {line.usd:.4f} | {line.calls:,} | {tokens.input:,} | {tokens.cache_read:,} | {tokens.output:,} "
        f"| {line.sandbox_s:,.1f} |"
    )
