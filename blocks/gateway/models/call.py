"""A call that is out, and what goes on the bill when it has ended."""

from dataclasses import dataclass

from genai_prices import Usage

from blocks.gateway.models.apis import ModelRoute
from blocks.gateway.models.ask import ProviderRequest
from blocks.gateway.models.meter import Meter
from blocks.gateway.models.pricing import Rates, Unread, tokens_of, unread, usage_of
from domain.models import Metered, Reserved, TokenUsage


@dataclass
class Call:
    """One call on record whose metered line is still to be written."""

    reserved: Reserved
    rates: Rates
    route: ModelRoute
    ask: ProviderRequest
    meter: Meter | None = None
    """Reads the answer; None until one has begun that costs something."""

    def metered(self, status: int | None, note: str = "", *, reached: bool = True) -> Metered:
        """The line on the bill. What is not known is charged at its worst case.

        An answer that broke off told its input but not all of its output: how much a provider then charges, nobody
        says, and a sandbox that hangs up just before the end must not have had it for nothing.
        """
        if not reached or (status is not None and not is_good(status)):
            return self._line(status, TokenUsage(), 0.0, note)
        usage = self._usage()
        if usage is None:
            return self._line(
                status, TokenUsage(), self.reserved.usd, note or "no usage was told: charged its worst case"
            )
        if self.meter is None or not self.meter.ended:
            usage.output_tokens = max(int(usage.output_tokens), self.ask.output_tokens)
            note = "it broke off: output charged at its limit"
        odd = unread(self.meter.usage or {}, usage) if self.meter else Unread()
        if any(odd):
            note = "; ".join(filter(None, (note, f"{sum(odd)} tokens of a kind without a price: as the dearest")))
        try:
            return self._line(status, tokens_of(usage), self.rates.usd_of_all(usage, odd), note)
        except ValueError as err:
            return self._line(status, TokenUsage(), self.reserved.usd, f"{err}: charged its worst case")

    def _usage(self) -> Usage | None:
        told = self.meter.usage if self.meter else None
        return usage_of(*self.route.table, told) if told else None

    def _line(self, status: int | None, tokens: TokenUsage, usd: float, note: str) -> Metered:
        left_out = f"left out: {', '.join(self.ask.left_out)}"[:300] if self.ask.left_out else ""
        who = self.reserved.model_dump(exclude={"usd"})
        return Metered(**who, tokens=tokens, usd=usd, status=status, note="; ".join(filter(None, (note, left_out))))


def is_good(status: int) -> bool:
    """Whether an answer of this status is one that costs something."""
    return 200 <= status < 300
