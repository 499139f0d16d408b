"""What a call can cost at most, and what it did cost: the team's own price, else the table of genai-prices."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from genai_prices import Usage, extract_usage
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, Provider

from blocks.gateway.models.provider import ModelProvider
from domain.models import ModelPolicy, Price, Tokens

MTOK = 1_000_000
HIDDEN_TOKENS = 5_000
"""Providers put words of their own before a request: at most some 700 tokens for each of Anthropic's own tools.
https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview#pricing"""
IMAGE_TOKENS = 50_000
"""The dearest image: 8 tiles at high detail in gpt-4o-mini, 2833 + 8 × 5667 tokens.
https://platform.openai.com/docs/guides/images-vision#calculating-costs"""
INPUTS = (None, "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "input_image_tokens")
OUTPUTS = (None, "output_reasoning_tokens", "output_image_tokens", "output_audio_tokens")


class Rates(ABC):
    """The price of one model at one moment."""

    @abstractmethod
    def usd(self, usage: Usage) -> float:
        """US dollars. Raises ValueError for a usage that contradicts itself."""

    def worst(self, input_tokens: int, output_tokens: int) -> float:
        """The most that so many tokens can cost, whatever kind the provider counts them as."""
        return max(
            self.usd(Usage(input_tokens=input_tokens, output_tokens=output_tokens, **counted))
            for as_input in INPUTS
            for as_output in OUTPUTS
            for counted in [_counted(as_input, input_tokens) | _counted(as_output, output_tokens)]
        )


@dataclass(frozen=True)
class OwnRates(Rates):
    """A price that the team gave."""

    price: Price

    def usd(self, usage: Usage) -> float:
        tokens, price = tokens_of(usage), self.price
        plain = tokens.input - tokens.cache_read - tokens.cache_write
        an_hour = int(usage.cache_write_1h_tokens)
        if plain < 0 or an_hour > tokens.cache_write:
            raise ValueError(f"{tokens.input} input tokens are told, and more cached ones among them")
        parts = (
            (plain, price.input),
            (tokens.cache_read, price.input if price.cache_read is None else price.cache_read),
            (tokens.cache_write - an_hour, price.dearest if price.cache_write is None else price.cache_write),
            (an_hour, price.dearest if price.cache_write_1h is None else price.cache_write_1h),
            (tokens.output, price.output),
        )
        return float(sum((count * Decimal(str(usd)) for count, usd in parts), Decimal(0)) / MTOK)


@dataclass(frozen=True)
class TableRates(Rates):
    """A price of genai-prices' table, as it was when the call began."""

    table: Provider
    model: ModelInfo
    at: datetime

    def usd(self, usage: Usage) -> float:
        return float(self.model.calc_price(usage, self.table, genai_request_timestamp=self.at).total_price)


def _counted(kind: str | None, tokens: int) -> dict[str, int]:
    if kind is None:
        return {}
    return {kind: tokens} | ({"cache_write_tokens": tokens} if kind == "cache_write_1h_tokens" else {})


def rates(name: str, provider: ModelProvider, model: str, policy: ModelPolicy) -> Rates | None:
    """The price of `model` at the provider block `name`; None if nobody knows it."""
    own = policy.prices.get(f"{name}/{model}")
    if own is not None:
        return OwnRates(own)
    snapshot = get_snapshot()
    try:
        table, found = snapshot.find_provider_model(model, None, provider.price_table, None)
    except LookupError:
        return None
    now = datetime.now(UTC)
    price = found.get_prices(now)
    if price.input_mtok is None or price.output_mtok is None:
        return None
    return TableRates(table, found, now)


def usage_of(maker: str, flavor: str, told: Mapping[str, Any]) -> Usage | None:
    """The usage in a provider's own words; None if it cannot be read. `maker` and `flavor` are genai-prices'."""
    root = "usageMetadata" if maker == "google" else "usage"
    try:
        return extract_usage({root: told}, provider_id=maker, api_flavor=flavor).usage
    except (ValueError, TypeError):
        return None


def tokens_of(usage: Usage) -> Tokens:
    """The four counts that are kept."""
    return Tokens(
        input=int(usage.input_tokens),
        output=int(usage.output_tokens),
        cache_read=int(usage.cache_read_tokens),
        cache_write=int(usage.cache_write_tokens),
    )
