"""What a call can cost at most, and what it did cost: the team's own price, else the table of genai-prices."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from genai_prices import Usage, extract_usage
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, Provider

from blocks.gateway.models.provider import ModelProvider
from domain.models import ModelPolicy, Price, TokenUsage

MTOK = 1_000_000
HIDDEN_TOKENS = 5_000
"""Providers put words of their own before a request: at most some 700 tokens for each of Anthropic's own tools.
https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview#pricing"""
IMAGE_TOKENS = 50_000
"""The dearest image: 8 tiles at high detail in gpt-4o-mini, 2833 + 8 × 5667 tokens.
https://platform.openai.com/docs/guides/images-vision#calculating-costs"""
INPUTS = (None, "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "input_image_tokens")
OUTPUTS = (None, "output_reasoning_tokens", "output_image_tokens", "output_audio_tokens")
DEAR_INPUTS = ("input_audio_tokens", "input_video_tokens")
DEAR_OUTPUTS = ("output_audio_tokens", "output_video_tokens", "output_image_tokens")
"""Kinds that cost more than text at some provider. No request that goes through asks for one."""
KNOWN = frozenset({
    "input_tokens", "output_tokens", "prompt_tokens", "completion_tokens", "total_tokens", "text_tokens",
    "image_tokens", "cached_tokens", "num_cached_tokens", "cache_creation_input_tokens", "cache_read_input_tokens",
    "cache_write_tokens", "prompt_cache_hit_tokens", "prompt_cache_miss_tokens", "reasoning_tokens",
    "thinking_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens", "promptTokenCount",
    "candidatesTokenCount", "totalTokenCount", "cachedContentTokenCount", "thoughtsTokenCount",
    "toolUsePromptTokenCount", "TEXT", "IMAGE", "DOCUMENT",
})  # fmt: skip
"""Counts of tokens that are read, or that say once more what another count says."""


class Unread(NamedTuple):
    """Tokens of kinds that nobody here knows a price of."""

    input: int = 0
    """Among the input tokens that were read."""
    output: int = 0
    """Among the output tokens that were read."""
    beside: int = 0
    """In none of the counts that were read."""


class Rates(ABC):
    """The price of one model at one moment."""

    @abstractmethod
    def usd(self, usage: Usage) -> float:
        """US dollars. Raises ValueError for a usage that contradicts itself."""

    def usd_of_all(self, usage: Usage, unread: Unread) -> float:
        """`usd`, and tokens of unknown kinds count as the dearest kind."""
        parts = (
            self.usd(usage),
            self.worst(unread.input, 0) - self.usd(Usage(input_tokens=unread.input, output_tokens=0)),
            self.worst(0, unread.output) - self.usd(Usage(input_tokens=0, output_tokens=unread.output)),
            max(self.worst(unread.beside, 0), self.worst(0, unread.beside)),
        )
        return sum(parts)

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
        dear = min(plain, _sum(usage, DEAR_INPUTS))
        dear_output = min(tokens.output, _sum(usage, DEAR_OUTPUTS))
        an_hour = int(usage.cache_write_1h_tokens)
        if plain < 0 or an_hour > tokens.cache_write:
            raise ValueError(f"{tokens.input} input tokens are told, and more cached ones among them")
        parts = (
            (plain - dear, price.input),
            (dear, price.dearest),
            (tokens.cache_read, price.input if price.cache_read is None else price.cache_read),
            (tokens.cache_write - an_hour, price.dearest if price.cache_write is None else price.cache_write),
            (an_hour, price.dearest if price.cache_write_1h is None else price.cache_write_1h),
            (tokens.output - dear_output, price.output),
            (dear_output, max(price.dearest, price.output)),
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
        usage = extract_usage({root: told}, provider_id=maker, api_flavor=flavor).usage
    except (ValueError, TypeError):
        return None
    written = told.get("cache_creation")
    if isinstance(written, Mapping) and written:  # whatever is not for five minutes counts as written for an hour
        short = int(usage.cache_write_5m_tokens)
        usage.cache_write_1h_tokens = max(int(usage.cache_write_1h_tokens), int(usage.cache_write_tokens) - short)
    return usage


def unread(told: Mapping[str, Any], usage: Usage) -> Unread:
    """The tokens in a provider's own words that `usage` has no price for. Where a total is told, what it has more than
    input and output is beside them; else every count is whose name is unknown."""
    counts = {True: 0, False: 0}
    for name, value in told.items():
        if name != "cache_creation":
            counts[any(word in name for word in ("output", "completion", "candidates"))] += _inside(value)
    beside = sum(_tokens(name, value) for name, value in told.items() if name not in KNOWN)
    total = next((told[name] for name in ("total_tokens", "totalTokenCount") if isinstance(told.get(name), int)), None)
    if total is not None:
        beside = max(0, total - int(usage.input_tokens) - int(usage.output_tokens))
    return Unread(
        min(int(usage.input_tokens), max(0, counts[False] - _sum(usage, DEAR_INPUTS))),
        min(int(usage.output_tokens), max(0, counts[True] - _sum(usage, DEAR_OUTPUTS))),
        beside,
    )


def _inside(value: object) -> int:
    """Tokens of unknown kinds in the details of a count: fields, or Gemini's list of modalities."""
    if isinstance(value, list):
        return sum(map(_inside, value))
    if not isinstance(value, Mapping):
        return 0
    if "modality" in value:
        return 0 if value["modality"] in KNOWN else _tokens("tokens", value.get("tokenCount"))
    return sum(_tokens(name, count) for name, count in value.items() if name not in KNOWN)


def _tokens(name: str, value: object) -> int:
    """The value, if it is a count of tokens by its name."""
    return max(0, value) if isinstance(value, int) and name.lower().endswith(("tokens", "tokencount")) else 0


def _sum(usage: Usage, kinds: tuple[str, ...]) -> int:
    return sum(int(getattr(usage, kind)) for kind in kinds)


def tokens_of(usage: Usage) -> TokenUsage:
    """The four counts that are kept."""
    return TokenUsage(
        input=int(usage.input_tokens),
        output=int(usage.output_tokens),
        cache_read=int(usage.cache_read_tokens),
        cache_write=int(usage.cache_write_tokens),
    )
