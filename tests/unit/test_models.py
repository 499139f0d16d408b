"""What bounds a model call: the account, the prices, and how requests and answers are read."""

import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from genai_prices import Usage
from hypothesis import given, settings
from hypothesis import strategies as st
from mitmproxy.http import Request
from pydantic import SecretStr, ValidationError

from blocks.gateway.models import anthropic, gemini, openai
from blocks.gateway.models.account import Account
from blocks.gateway.models.ask import ModelCallDenied, ProviderRequest
from blocks.gateway.models.doctor import checks
from blocks.gateway.models.meter import Meter
from blocks.gateway.models.pricing import OwnRates, Rates, rates, tokens_of, unread, usage_of
from blocks.gateway.models.provider import ModelProvider
from blocks.gateway.models.request import json_of
from domain.brief import Acceptance, Brief, Scope
from domain.errors import InputError, LedgerError
from domain.models import Api, Metered, ModelPolicy, Price, Reserved, TokenUsage, model_for
from domain.records import METERED, RESERVED
from domain.value import Value

# ── the account ──

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
TOMORROW = datetime(2026, 5, 5, 0, 0, 1, tzinfo=UTC)


class Line(NamedTuple):
    number: int
    at: datetime
    body: dict[str, Any]
    kind: str
    key: tuple[str, str, str]


class FakeLedger:
    """A ledger in memory whose clock stands still. `before` happens once, just before the next line is written."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.now = NOON
        self.before: Callable[[], object] | None = None

    def record(self, run_id: str, kind: str, key: str, value: Value) -> Value:
        if self.before is not None:
            happens, self.before = self.before, None
            happens()
        if all(line.key != (run_id, kind, key) for line in self.lines):
            body = value.model_dump(mode="json")
            self.lines.append(Line(len(self.lines) + 1, self.now, body, kind, (run_id, kind, key)))
        return value

    def entries(self, *, kind: str, after: int) -> list[Line]:
        return [line for line in self.lines if line.kind == kind and line.number > after]

    def account(self) -> Account:
        return Account(self.record, self.entries, lambda: self.now)


def call(name: str, usd: float = 1.0, run: str = "run-1", environment: str | None = "production") -> Reserved:
    return Reserved(
        run_id=run, call=name, step="edit", attempt=1, agent="a/b", environment=environment, model="p/m", usd=usd
    )


def bill(reserved: Reserved, usd: float) -> Metered:
    return Metered(**reserved.model_dump() | {"usd": usd})


def test_a_call_fits_to_the_last_cent_and_not_beyond() -> None:
    account = FakeLedger().account()
    assert account.reserve(call("one", 1.1), 3.3, ModelPolicy()) is None
    assert account.reserve(call("two", 2.2), 3.3, ModelPolicy()) is None
    refusal = account.reserve(call("three", 0.0001), 3.3, ModelPolicy())
    assert refusal is not None and "$0.0000 is left of the $3.30 for this task" in refusal
    assert account.spent("run-1") == pytest.approx(3.3)


def test_what_was_reserved_and_not_spent_is_free_again() -> None:
    account = FakeLedger().account()
    for number in range(50):
        wanted = call(str(number), 0.9)
        assert account.reserve(wanted, 1.0, ModelPolicy()) is None
        account.settle(bill(wanted, 0.001))
        account.settle(bill(wanted, 0.9))  # the first one stands
    assert account.spent("run-1") == pytest.approx(0.05)


def test_a_call_that_cost_more_than_its_worst_case_counts_as_it_is() -> None:
    account = FakeLedger().account()
    account.reserve(call("one", 1), 2, ModelPolicy())
    account.settle(bill(call("one", 1), 1.5))
    assert account.reserve(call("two", 0.6), 2, ModelPolicy()) is not None


def test_an_account_that_comes_after_a_killed_one_knows_all() -> None:
    ledger = FakeLedger()
    before = ledger.account()
    for name, usd in (("open", 2.0), ("settled", 3.0)):
        before.reserve(call(name, usd), 10, ModelPolicy())
    before.settle(bill(call("settled", 3.0), 0.5))
    after = ledger.account()
    assert after.spent("run-1") == before.spent("run-1") == 2.5
    assert after.reserve(call("next", 7.6), 10, ModelPolicy()) is not None
    assert after.reserve(call("next", 7.5), 10, ModelPolicy()) is None


CAPS = {
    "task": (ModelPolicy(usd_per_task=1.5), call("x"), "any task"),
    "day": (ModelPolicy(usd_per_day=1.5), call("x", run="run-2"), "all tasks today"),
    "environment": (ModelPolicy(usd_per_environment_day={"production": 1.5}), call("x", run="run-2"), "for production"),
}


@pytest.mark.parametrize("name", CAPS)
def test_caps_of_the_policy_hold_beside_the_tasks_own_budget(name: str) -> None:
    policy, wanted, words = CAPS[name]
    ledger = FakeLedger()
    account = ledger.account()
    assert account.reserve(call("first"), 100, policy) is None
    assert words in str(account.reserve(wanted, 100, policy))
    elsewhere = wanted.model_copy(update={"run_id": "run-3", "environment": "staging"})
    ledger.now = TOMORROW if name == "day" else NOON
    assert account.reserve(elsewhere, 100, policy) is None


def test_a_call_counts_on_the_day_on_which_it_was_reserved() -> None:
    ledger = FakeLedger()
    account, policy = ledger.account(), ModelPolicy(usd_per_day=1)
    account.reserve(call("late", 1), 100, policy)
    ledger.now = TOMORROW
    account.settle(bill(call("late", 1), 1))
    assert account.reserve(call("early", 1), 100, policy) is None
    assert ledger.account().reserve(call("more", 0.1), 100, policy) is not None


def test_two_gateways_on_one_ledger_never_pass_a_cap_together() -> None:
    ledger = FakeLedger()
    one, other = ledger.account(), ledger.account()
    policy = ModelPolicy(usd_per_day=1)
    ledger.before = lambda: other.reserve(call("other", 0.6, run="run-2"), 100, policy)
    assert one.reserve(call("one", 0.6), 100, policy) is not None
    assert one.spent("run-1") == 0 and one.spent("run-2") == 0.6
    notes = [line.body["note"] for line in ledger.entries(kind=METERED.kind, after=0)]
    assert notes == ["not sent: another gateway took what was left"]


def test_a_metered_line_that_is_seen_before_its_reservation_is_not_counted_twice() -> None:
    ledger = FakeLedger()
    account = ledger.account()
    ledger.record("run-1", *METERED.at("one"), bill(call("one"), 0.25))
    assert account.spent("run-1") == 0
    ledger.record("run-1", *RESERVED.at("one"), call("one"))
    assert account.spent("run-1") == 0.25


def test_a_reservation_that_cannot_be_written_stops_the_call() -> None:
    ledger = FakeLedger()
    account = ledger.account()

    def fails() -> None:
        raise LedgerError("gone")

    ledger.before = fails
    with pytest.raises(LedgerError):
        account.reserve(call("one"), 10, ModelPolicy())
    assert account.spent("run-1") == 0
    account.reserve(call("two"), 10, ModelPolicy())
    ledger.before = fails
    account.settle(bill(call("two"), 0))
    assert account.spent("run-1") == 1


# ── prices ──

ANTHROPIC = ModelProvider(api=Api.ANTHROPIC, key=SecretStr("key-of-tests"))
TABLED = {
    "claude-sonnet-4-5": ANTHROPIC,
    "claude-opus-5": ANTHROPIC,
    "gpt-5.4": ModelProvider(api=Api.OPENAI, key=SecretStr("key-of-tests")),
    "gemini-2.5-pro": ModelProvider(api=Api.GEMINI, key=SecretStr("key-of-tests")),
    "own": ANTHROPIC,
}
OWN = ModelPolicy(prices={"p/own": Price(input=1, output=2, cache_write=5)})


def rates_of(model: str) -> Rates:
    found = rates("p", TABLED[model], model, OWN)
    assert found is not None
    return found


@pytest.mark.parametrize("model", TABLED)
@settings(derandomize=True, deadline=None)
@given(st.integers(0, 400_000), st.integers(0, 50_000), st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_no_usage_within_the_bound_costs_more_than_the_worst_case(
    model: str, input_tokens: int, output_tokens: int, cached: float, written: float, hour: bool
) -> None:
    rate = rates_of(model)
    read = int(input_tokens * cached)
    write = int((input_tokens - read) * written)
    usage = Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=read,
        cache_write_tokens=write,
        **({"cache_write_1h_tokens": write} if hour else {}),
    )
    assert rate.usd(usage) <= rate.worst(input_tokens, output_tokens) + 1e-12


def test_the_worst_case_of_anthropic_is_the_long_cache() -> None:
    assert rates_of("claude-opus-5").worst(1_000_000, 1_000_000) == pytest.approx(10 + 25)


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        (Price(input=3, output=15, cache_read=0.3, cache_write=3.75), 6.0),
        (Price(input=3, output=15, cache_write=7), 7.0),
        (Price(input=3, output=15, cache_write=3.75, cache_write_1h=4.5), 4.5),
    ],
)
def test_an_hour_of_cache_without_a_price_of_its_own_counts_as_the_dearest(price: Price, expected: float) -> None:
    hour = Usage(input_tokens=10**6, output_tokens=0, cache_write_tokens=10**6, cache_write_1h_tokens=10**6)
    assert OwnRates(price).usd(hour) == expected
    assert OwnRates(price).worst(10**6, 0) >= expected


def test_a_price_of_the_teams_goes_before_the_tables_and_an_unknown_one_is_none() -> None:
    assert isinstance(rates_of("own"), OwnRates)
    policy = ModelPolicy(prices={"p/claude-opus-5": Price(input=0, output=0)})
    free = rates("p", ANTHROPIC, "claude-opus-5", policy)
    assert free is not None and free.worst(10**6, 10**6) == 0
    for unknown in ("mystery-1", "text-embedding-3-small"):
        assert rates("p", TABLED["gpt-5.4"], unknown, OWN) is None


USAGES: dict[str, tuple[str, str, dict[str, Any], TokenUsage]] = {
    "anthropic": (
        "anthropic", "default",
        {"input_tokens": 10, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 30, "output_tokens": 4},
        TokenUsage(input=60, output=4, cache_read=30, cache_write=20),
    ),
    "chat": (
        "openai", "chat",
        {"prompt_tokens": 60, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 30}},
        TokenUsage(input=60, output=4, cache_read=30),
    ),
    "responses": (
        "openai", "responses",
        {"input_tokens": 60, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 30}},
        TokenUsage(input=60, output=4, cache_read=30),
    ),
    "gemini, thoughts are output": (
        "google", "default",
        {"promptTokenCount": 60, "candidatesTokenCount": 4, "thoughtsTokenCount": 6, "cachedContentTokenCount": 30},
        TokenUsage(input=60, output=10, cache_read=30),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", USAGES)
def test_usage_is_read_with_cached_tokens_in_the_input(name: str) -> None:
    maker, flavor, told, tokens = USAGES[name]
    usage = usage_of(maker, flavor, told)
    assert usage is not None and tokens_of(usage) == tokens


@pytest.mark.parametrize("told", [{}, {"input_tokens": "many", "output_tokens": 1}, {"input_tokens": -1}])
def test_a_usage_that_cannot_be_read_is_unknown(told: dict[str, Any]) -> None:
    assert usage_of("anthropic", "default", told) is None


ODD_USAGES: dict[str, tuple[str, str, dict[str, Any], float]] = {
    "audio and video at an own price": (
        "openai", "chat",
        {"prompt_tokens": 100, "completion_tokens": 10,
         "prompt_tokens_details": {"audio_tokens": 60, "cached_tokens": 20, "video_tokens": 5},
         "completion_tokens_details": {"audio_tokens": 5, "reasoning_tokens": 2}},
        15 * 3 + 20 * 0.3 + 65 * 6 + 10 * 15,
    ),
    "audio where the table's reader looks for none": (
        "openai", "responses",
        {"input_tokens": 100, "output_tokens": 0, "total_tokens": 100, "input_tokens_details": {"audio_tokens": 60}},
        40 * 3 + 60 * 6,
    ),
    "a cache for a day": (
        "anthropic", "default",
        {"input_tokens": 10, "output_tokens": 0, "cache_creation_input_tokens": 70,
         "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_24h_input_tokens": 50}},
        10 * 3 + 20 * 3.75 + 50 * 6,
    ),
    "a count beside the others": (
        "anthropic", "default", {"input_tokens": 10, "output_tokens": 0, "scent_input_tokens": 50}, 10 * 3 + 50 * 15,
    ),
    "more in the total than in input and output": (
        "openai", "chat", {"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 60}, 10 * 3 + 50 * 15,
    ),
    "a modality": (
        "google", "default",
        {"promptTokenCount": 100, "candidatesTokenCount": 0, "totalTokenCount": 100,
         "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 60}, {"modality": "SCENT", "tokenCount": 30}]},
        10 * 3 + 90 * 6,
    ),
    "nothing odd: each count says again what others say": (
        "openai", "chat",
        {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "prompt_cache_miss_tokens": 10,
         "prompt_cache_hit_tokens": 0, "prompt_tokens_details": {"text_tokens": 10}, "queue_time": 0.2},
        10 * 3 + 2 * 15,
    ),
}  # fmt: skip


PLAIN_TOKEN = Usage(input_tokens=1, output_tokens=0)


@pytest.mark.parametrize("name", ODD_USAGES)
def test_tokens_of_an_unknown_kind_count_as_the_dearest(name: str) -> None:
    maker, flavor, told, expected = ODD_USAGES[name]
    usage = usage_of(maker, flavor, told)
    assert usage is not None
    price = Price(input=3, output=15, cache_read=0.3, cache_write=3.75)
    assert OwnRates(price).usd_of_all(usage, unread(told, usage)) * 1e6 == pytest.approx(expected)
    odd = unread(told, usage)
    table = rates_of({"anthropic": "claude-opus-5", "google": "gemini-2.5-pro"}.get(maker, "gpt-5.4"))
    assert table.usd_of_all(usage, odd) >= table.usd(usage) + odd.beside * (table.usd(PLAIN_TOKEN))


# ── requests ──

HI: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]


def messages(*blocks: dict[str, Any], **more: Any) -> ProviderRequest:
    return anthropic.ask({"model": "m", "messages": [{"role": "user", "content": list(blocks)}]} | more, 100)


def chat(*parts: dict[str, Any], **more: Any) -> ProviderRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": list(parts)}]} | more
    return openai.chat(body, 100, "max_completion_tokens")


def responses(*items: dict[str, Any], **more: Any) -> ProviderRequest:
    return openai.responses({"model": "m", "input": list(items)} | more, 100)


def generate(*parts: dict[str, Any], **more: Any) -> ProviderRequest:
    return gemini.ask({"contents": [{"role": "user", "parts": list(parts)}]} | more, "m", 100)


WAYS_OUT: dict[str, Callable[[], ProviderRequest]] = {
    "anthropic image by url": lambda: messages(
        {"type": "image", "source": {"type": "url", "url": "https://e.example"}}
    ),
    "anthropic image in a tool result": lambda: messages(
        {"type": "tool_result", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}
    ),
    "anthropic document by url": lambda: messages({"type": "document", "source": {"type": "url", "url": "https://e"}}),
    "anthropic pdf": lambda: messages({"type": "document", "source": {"type": "base64", "data": ""}}),
    "anthropic container upload": lambda: messages({"type": "container_upload", "file_id": "f"}),
    "chat image by url": lambda: chat({"type": "image_url", "image_url": {"url": "https://e.example/?q"}}),
    "chat file": lambda: chat({"type": "file", "file": {"file_id": "f"}}),
    "chat audio": lambda: chat({"type": "input_audio", "input_audio": {"data": ""}}),
    "responses image by url": lambda: responses(
        {"role": "user", "content": [{"type": "input_image", "image_url": "https://e.example"}]}
    ),
    "responses image by id": lambda: responses(
        {"role": "user", "content": [{"type": "input_image", "file_id": "f", "image_url": "data:image/png;base64,"}]}
    ),
    "responses file": lambda: responses({"role": "user", "content": [{"type": "input_file", "file_url": "https://e"}]}),
    "responses image of a tool by url": lambda: responses(
        {"type": "function_call_output", "output": [{"type": "input_image", "image_url": "https://e.example"}]}
    ),
    "responses item by id": lambda: responses({"type": "item_reference", "id": "msg_1"}),
    "responses after another": lambda: responses(previous_response_id="resp_1"),
    "responses in a conversation": lambda: responses(conversation="conv_1"),
    "responses of a stored prompt": lambda: responses(prompt={"id": "pmpt_1"}),
    "responses in the background": lambda: responses(background=True),
    "gemini file": lambda: generate({"fileData": {"fileUri": "https://e.example"}}),
    "gemini file in snake_case": lambda: generate({"file_data": {"file_uri": "https://e.example"}}),
    "gemini file in a function's answer": lambda: generate({"functionResponse": {"parts": [{"fileData": {}}]}}),
    "gemini video": lambda: generate({"inlineData": {"mimeType": "video/mp4", "data": ""}}),
    "gemini cache": lambda: generate(cachedContent="cachedContents/1"),
    "gemini cache in snake_case": lambda: generate(cached_content="cachedContents/1"),
    "gemini twice": lambda: generate(generationConfig={"maxOutputTokens": 1, "max_output_tokens": 9}),
}


@pytest.mark.parametrize("name", WAYS_OUT)
def test_content_that_the_provider_would_fetch_or_that_nobody_here_sees_is_denied(name: str) -> None:
    with pytest.raises(ModelCallDenied) as denied:
        WAYS_OUT[name]()
    assert denied.value.status in (400, 403)


LEFT_OUT: dict[str, tuple[Callable[[], ProviderRequest], str]] = {
    "anthropic search": (lambda: messages(tools=[{"type": "web_search_20250305"}]), "tool web_search_20250305"),
    "anthropic fetch": (lambda: messages(tools=[{"type": "web_fetch_20250910"}]), "tool web_fetch_20250910"),
    "anthropic code": (lambda: messages(tools=[{"type": "code_execution_20250825"}]), "tool code_execution_20250825"),
    "anthropic servers": (lambda: messages(mcp_servers=[{"url": "https://e.example"}]), "field mcp_servers"),
    "anthropic speed": (lambda: messages(speed="fast"), "field speed"),
    "anthropic tier": (lambda: messages(service_tier="priority"), "field service_tier"),
    "anthropic compaction": (
        lambda: messages(context_management={"edits": [{"type": "compact_20260112"}]}),
        "context_management compact_20260112",
    ),
    "chat search": (lambda: chat(web_search_options={}), "field web_search_options"),
    "chat choices": (lambda: chat(n=20), "field n"),
    "chat fall-backs": (lambda: chat(models=["dear"]), "field models"),
    "chat tier": (lambda: chat(service_tier="priority"), "field service_tier"),
    "responses search": (lambda: responses(tools=[{"type": "web_search"}]), "tool web_search"),
    "responses servers": (lambda: responses(tools=[{"type": "mcp", "server_url": "https://e"}]), "tool mcp"),
    "responses in a namespace": (
        lambda: responses(tools=[{"type": "namespace", "name": "n", "tools": [{"type": "mcp"}]}]),
        "tool mcp",
    ),
    "responses added later": (
        lambda: responses({"type": "additional_tools", "tools": [{"type": "code_interpreter"}]}),
        "tool code_interpreter",
    ),
    "gemini search": (lambda: generate(tools=[{"googleSearch": {}}]), "tool googleSearch"),
    "gemini pages": (lambda: generate(tools=[{"url_context": {}}]), "tool urlContext"),
    "gemini choices": (lambda: generate(generation_config={"candidate_count": 8}), "generationConfig candidateCount"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_runs_at_the_provider_or_costs_beside_the_table_is_left_out_and_told(name: str) -> None:
    build, what = LEFT_OUT[name]
    ask = build()
    assert ask.left_out == (what,)
    assert f'"{what.split()[1]}"' not in json.dumps(ask.body)


def test_what_agents_send_goes_through() -> None:
    png = "data:image/png;base64,AAAA"
    source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    tools = [{"name": "f", "input_schema": {}}, {"type": "bash_20250124", "name": "bash"}]
    asks = (
        messages(
            {"type": "text", "text": "t"},
            {"type": "tool_result", "content": [{"type": "image", "source": source}]},
            tools=tools,
            thinking={"type": "adaptive"},
            context_management={"edits": [{"type": "clear_tool_uses_20250919"}]},
        ),
        chat({"type": "image_url", "image_url": {"url": png}}, tools=[{"type": "function", "function": {}}]),
        responses(
            {"role": "user", "content": [{"type": "input_text", "text": "t"}]},
            {"type": "reasoning", "encrypted_content": "…"},
            {"type": "function_call_output", "output": [{"type": "input_image", "image_url": png}]},
            tools=[{"type": "namespace", "name": "n", "tools": [{"type": "function"}]}, {"type": "local_shell"}],
        ),
        generate(
            {"text": "t"},
            {"inline_data": {"mime_type": "image/png", "data": "AAAA"}},
            tools=[{"functionDeclarations": [{"name": "f"}]}],
        ),
    )
    for ask in asks:
        assert ask.left_out == () and ask.images == 1 and ask.output_tokens == 100
    assert asks[0].body["tools"] == tools and len(asks[2].body["tools"][0]["tools"]) == 1


def test_the_limit_of_chat_stands_in_the_one_field_that_the_server_knows() -> None:
    body = {"model": "m", "messages": HI, "max_tokens": 7, "max_completion_tokens": 5}
    for field, other in (("max_tokens", "max_completion_tokens"), ("max_completion_tokens", "max_tokens")):
        ask = openai.chat(dict(body), 100, field)
        assert ask.output_tokens == ask.body[field] == 7 and other not in ask.body


def test_gemini_is_limited_in_either_spelling() -> None:
    ask = generate(generation_config={"max_output_tokens": 9})
    assert ask.output_tokens == 9 and ask.body["generationConfig"] == {"maxOutputTokens": 9}


# ── answers ──

STREAM = (
    b"event: message_start\r\n"
    b'data: {"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":1}}}\r\n\r\n'
    b": a comment\n\n"
    b'data: {"type":"content_block_delta",\ndata: "delta":{"text":"\xc3\xa9t\xc3\xa9"}}\n\n'
    b'data: {"type":"message_delta","usage":{"input_tokens":null,"output_tokens":42}}\n\n'
    b'data: {"type":"message_stop"}\n\n'
)


@settings(derandomize=True, deadline=None)
@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_a_stream_is_read_however_it_is_cut(cuts: list[int]) -> None:
    meter = Meter(anthropic.told, streamed=True)
    edges = [0, *sorted(cuts), len(STREAM)]
    for begin, end in itertools.pairwise(edges):
        meter.feed(STREAM[begin:end])
    assert meter.ended and meter.usage == {"input_tokens": 9, "output_tokens": 42}


@settings(derandomize=True, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_no_answer_breaks_the_meter(data: bytes, streamed: bool) -> None:
    for told in (anthropic.told, openai.told_by_chat, openai.told_by_responses, gemini.told):
        meter = Meter(told, streamed=streamed)
        meter.feed(b"data: " + data)
        meter.close()


ODD = ["[]", "1", "null", '"x"', '{"type":"message_start"}', '{"usage":3}', '{"candidates":[1]}', "[" * 100_000]


@pytest.mark.parametrize("data", ODD)
def test_an_odd_answer_leaves_the_usage_unknown(data: str) -> None:
    for told in (anthropic.told, openai.told_by_chat, openai.told_by_responses, gemini.told):
        meter = Meter(told, streamed=False)
        meter.feed(data.encode())
        meter.close()
        assert meter.usage is None


def test_an_error_in_a_stream_ends_it_with_the_usage_so_far() -> None:
    meter = Meter(anthropic.told, streamed=True)
    meter.feed(STREAM.partition(b": a comment")[0] + b'data: {"type":"error","error":{"type":"overloaded_error"}}\n\n')
    assert meter.ended and meter.usage == {"input_tokens": 9, "output_tokens": 1}


# ── policy, providers, doctor ──


def brief(lines: int) -> Brief:
    return Brief(
        title="Add x",
        goal="g",
        repository="r",
        acceptance=Acceptance(command="true"),
        scope=Scope(max_changed_lines=lines),
    )


CHOICES = [
    (ModelPolicy(), 10, "p/big"),
    (ModelPolicy(small_brief_lines=50, small_brief_model="p/small"), 50, "p/small"),
    (ModelPolicy(small_brief_lines=50, small_brief_model="p/small"), 51, "p/big"),
    (ModelPolicy(small_brief_lines=50), 10, "p/big"),
    (ModelPolicy(small_brief_model="p/small"), 1, "p/big"),
]


@pytest.mark.parametrize(("policy", "lines", "model"), CHOICES)
def test_small_briefs_get_the_model_for_small_briefs(policy: ModelPolicy, lines: int, model: str) -> None:
    assert model_for(policy, "p/big", "edit", brief(lines)) == model


def test_a_model_that_the_step_may_not_call_is_told_before_it_is_called() -> None:
    policy = ModelPolicy(plan=("p/small",))
    assert model_for(policy, "p/big", "edit", brief(10)) == "p/big"
    with pytest.raises(InputError, match="not allowed for the plan step"):
        model_for(policy, "p/big", "plan", brief(10))
    with pytest.raises(InputError, match="allowed: none"):
        model_for(policy, "p/big", "test", brief(10))


@pytest.mark.parametrize("url", ["ftp://h", "h:80", "https://u:p@h", "https://h/v1", "https://h/v1/", "https://h?k=v"])
def test_an_address_that_would_not_work_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        ModelProvider(api=Api.OPENAI, base_url=url)


def test_doctor_says_what_is_missing() -> None:
    blocks = {
        "full": ANTHROPIC,
        "keyless": ModelProvider(api=Api.OPENAI),
        "local": ModelProvider(api=Api.OPENAI, base_url="http://127.0.0.1:8000"),
    }

    def provider(name: str) -> ModelProvider:
        if name not in blocks:
            raise InputError(f"there is no block provider/{name}")
        return blocks[name]

    models = ["full/claude-opus-5", "keyless/gpt-5.4", "local/mine", "nobody/x", "bare"]
    found = dict(checks(models, provider, ModelPolicy()))
    assert found["model full/claude-opus-5"] is None
    assert "has no key" in str(found["model keyless/gpt-5.4"])
    assert "no known price" in str(found["model local/mine"])
    assert "there is no block" in str(found["model nobody/x"])
    assert "not provider/model" in str(found["model bare"])
    priced = ModelPolicy(prices={"local/mine": Price(input=0, output=0)})
    assert dict(checks(["local/mine"], provider, priced)) == {"model local/mine": None}


def test_a_key_is_in_no_text_of_its_block() -> None:
    block = ModelProvider(api=Api.OPENAI, key=SecretStr("top-secret"), headers={"X-Extra": SecretStr("also-secret")})
    assert "secret" not in repr(block).replace("SecretStr", "") + str(block.model_dump()).replace("SecretStr", "")
    assert block.credentials == {"authorization": "Bearer top-secret", "x-extra": "also-secret"}


def test_an_item_that_names_what_lies_at_the_provider_is_denied() -> None:
    with pytest.raises(ModelCallDenied, match="item_reference"):
        openai.responses({"model": "m", "input": [{"id": "msg_1"}]}, 100)
    assert openai.responses({"model": "m", "input": "hi", "store": True}, 100).body["store"] is False


def test_a_body_of_endless_parts_is_not_read() -> None:
    many = Request.make("POST", "https://x/v1/messages", b'{"a": [' + b"[]," * 1_000_001 + b"[]]}")
    with pytest.raises(ModelCallDenied, match="too many parts"):
        json_of(many)


@pytest.mark.parametrize("key", ["two\nlines", "tab\there", "späßchen", "x", "7 chars"])
def test_a_key_that_cannot_be_sent_or_redacted_is_none(key: str) -> None:
    with pytest.raises(ValidationError):
        ModelProvider(api="openai", key=key)


def test_an_agent_spends_no_more_than_its_week_in_all_its_runs() -> None:
    ledger = FakeLedger()
    account = ledger.account()
    mine = {"reference": "mini-swe/mine"}

    def wanted(name: str, run: str, usd: float = 1.0) -> Reserved:
        return call(name, usd, run=run).model_copy(update=mine)

    assert account.reserve(wanted("one", "run-1"), 100, ModelPolicy(), 2.0) is None
    assert account.reserve(wanted("two", "run-2"), 100, ModelPolicy(), 2.0) is None
    refusal = ledger.account().reserve(wanted("three", "run-3"), 100, ModelPolicy(), 2.0)
    assert refusal is not None and "mini-swe/mine this week (usd_per_week of its scope)" in refusal
    assert account.left(wanted("four", "run-4"), 100, ModelPolicy(), 2.0) == 0
    assert account.reserve(call("other", run="run-3"), 100, ModelPolicy(), None) is None  # another agent
    ledger.now += timedelta(days=7)
    assert account.reserve(wanted("next", "run-3"), 100, ModelPolicy(), 2.0) is None
