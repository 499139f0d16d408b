"""The bill: what tasks used, summed from the ledger's metered calls and sandbox seconds."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from enum import StrEnum

from pydantic import Field

from domain.entry import Entry
from domain.models import Metered, Reserved, TokenUsage
from domain.records import BILL, METERED, OUTCOME, RESERVED, kinds_of
from domain.task import BillLine, Outcome
from domain.value import Value

KINDS = kinds_of(BILL, METERED, RESERVED, OUTCOME)
"""What a bill is made of. Outcomes give tasks their titles, and say what they were for."""


NOWHERE = "merged alone"
NOT_KNOWN = "not known yet"
"""What a task without a model call is for is on record when it ends."""


class By(StrEnum):
    """What a bill can be broken down by. `day` is in UTC, as the budget's days are."""

    TASK = "task"
    STEP = "step"
    AGENT = "agent"
    MODEL = "model"
    ENVIRONMENT = "environment"
    DAY = "day"


class Charge(Value):
    """One model call or one step's sandbox; or what one agent used for one attempt on one day."""

    at: datetime = Field(description="When it was recorded, in UTC")
    run_id: str
    title: str = ""
    step: str = Field("", description="Empty: of several")
    attempt: int
    agent: str | None = None
    model: str | None = None
    environment: str | None = Field(None, description="Where its task releases to; empty: nowhere; None: not known yet")
    calls: int = 0
    unmetered: int = Field(0, description="Calls that count as their worst case: nobody saw what they used")
    tokens: TokenUsage = TokenUsage()
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
            case By.ENVIRONMENT:
                return NOT_KNOWN if self.environment is None else self.environment or NOWHERE
            case By.DAY:
                return f"{self.at:%Y-%m-%d}"


class ChargeSum(Value):
    """A sum of charges."""

    name: str
    run_id: str | None = Field(None, description="The task's, where a bill is broken down by task")
    calls: int
    unmetered: int
    tokens: TokenUsage
    sandbox_s: float
    usd: float


class Bill(Value):
    """Every charge, in the order of the ledger."""

    charges: tuple[Charge, ...]

    @property
    def total(self) -> ChargeSum:
        return _sum("total", self.charges)

    @property
    def usd(self) -> float:
        return self.total.usd

    def by(self, column: By) -> tuple[ChargeSum, ...]:
        """The sums of one column: days in their order, everything else dearest first."""
        rows: dict[str, list[Charge]] = {}
        for charge in self.charges:
            rows.setdefault(charge.under(column), []).append(charge)
        is_task = column is By.TASK
        lines = [_sum(name, charges, charges[0].run_id if is_task else None) for name, charges in rows.items()]
        if column is By.DAY:
            return tuple(sorted(lines, key=lambda line: line.name))
        return tuple(sorted(lines, key=lambda line: (-line.usd, -line.sandbox_s, line.name)))


def bill(entries: Iterable[Entry], since: date | None = None) -> Bill:
    """The bill that these entries of `KINDS` make. A reserved call that was never metered counts in full.

    `since`: only what was recorded on that day (UTC) or later.
    """
    charges, reserved, metered = list[Charge](), dict[str, Charge](), dict[str, Charge]()
    titles = dict[str, str]()
    places = dict[str, str]()
    for entry in sorted(entries, key=lambda entry: entry.number):
        match entry.kind:
            case "bill":
                charges.append(_step(entry))
            case "reserved":
                reserved.setdefault(_call(entry), _worst_case(entry))
            case "metered":
                metered.setdefault(_call(entry), _call_charge(entry))
            case "outcome":
                outcome = Outcome.model_validate(entry.body)
                titles[entry.run_id] = outcome.title
                places[entry.run_id] = outcome.environment or ""
    charges += (reserved | metered).values()
    charges.sort(key=lambda charge: charge.at)
    for charge in charges:
        if charge.environment is not None:
            places.setdefault(charge.run_id, charge.environment)
    told = (
        charge.model_copy(update={"title": titles.get(charge.run_id, ""), "environment": places.get(charge.run_id)})
        for charge in charges
    )
    return Bill(charges=tuple(charge for charge in told if since is None or charge.at.date() >= since))


def dollars(usd: float) -> str:
    """`$12.34`, with more digits for less than a cent."""
    return f"${usd:,.2f}" if usd >= 0.01 or usd == 0 else f"${usd:.4f}"


def unmetered(line: ChargeSum) -> str:
    """What calls without a meter reading mean for the sum."""
    return f"{calls(line.unmetered, 'call')} not seen to the end: counted as the most that could have come of it."


def calls(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _sum(name: str, charges: Sequence[Charge], run_id: str | None = None) -> ChargeSum:
    return ChargeSum(
        name=name,
        run_id=run_id,
        calls=sum(c.calls for c in charges),
        unmetered=sum(c.unmetered for c in charges),
        tokens=TokenUsage(
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
        environment=call.environment or "", calls=1, unmetered=1, usd=call.usd,
    )  # fmt: skip


def _call_charge(entry: Entry) -> Charge:
    call = Metered.model_validate(entry.body)
    return Charge(
        at=entry.at, run_id=call.run_id, step=call.step, attempt=call.attempt, agent=call.agent, model=call.model,
        environment=call.environment or "", calls=1, tokens=call.tokens, usd=call.usd,
    )  # fmt: skip
