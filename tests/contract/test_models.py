"""Model calls through a real mitmproxy to a server that says what it served: nothing goes out unpaid for."""

import gzip
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import httpx
import pytest
from genai_prices import Usage, calc_price

from domain.models import Price, TokenUsage
from kits.fake_model import FakeModel
from tests.contract.gateway_of_models import (
    KEY,
    PASSPORT,
    POLICY,
    PRICE,
    TOKEN,
    bench,
    client_of,
    killable_gateway,
    providers,
)

USED = TokenUsage(input=1200, output=34, cache_read=800, cache_write=200)
UNCACHED = TokenUsage(input=1200, output=34, cache_read=800)


class Ask(NamedTuple):
    """How a client of one API asks."""

    provider: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    used: TokenUsage = USED

    @property
    def url(self) -> str:
        return f"https://{self.provider}.models.lockgate.internal{self.path}"


HI = [{"role": "user", "content": "hi"}]
MESSAGES = {"model": "fake", "max_tokens": 500, "messages": HI}
CHAT = {"model": "fake", "messages": HI}
RESPONSES = {"model": "fake", "input": HI}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
ANTHROPIC_KEY, OPENAI_KEY, GEMINI_KEY = (
    {"x-api-key": TOKEN},
    {"authorization": f"Bearer {TOKEN}"},
    {"x-goog-api-key": TOKEN},
)
GENERATE, STREAM = "/v1beta/models/fake:generateContent", "/v1beta/models/fake:streamGenerateContent?alt=sse"
ASKS = {
    "messages": Ask("anthropic", "/v1/messages", ANTHROPIC_KEY, MESSAGES),
    "messages, streamed": Ask("anthropic", "/v1/messages?beta=true", ANTHROPIC_KEY, MESSAGES | {"stream": True}),
    "messages, by bearer": Ask("anthropic", "/v1/messages", OPENAI_KEY, MESSAGES),
    "chat": Ask("openai", "/v1/chat/completions", OPENAI_KEY, CHAT),
    "chat, streamed": Ask("openai", "/v1/chat/completions", OPENAI_KEY, CHAT | {"stream": True}),
    "responses": Ask("openai", "/v1/responses", OPENAI_KEY, RESPONSES),
    "responses, streamed": Ask("openai", "/v1/responses", OPENAI_KEY, RESPONSES | {"stream": True}),
    "gemini": Ask("gemini", GENERATE, GEMINI_KEY, GEMINI, UNCACHED),
    "gemini, streamed": Ask("gemini", STREAM, GEMINI_KEY, GEMINI, UNCACHED),
}
SCRIPT = {"turns": [{"text": "Hello to you, too.", "usage": USED.model_dump(), "times": 1}]}


def usd(tokens: TokenUsage, price: Price = PRICE) -> float:
    """By hand, from the list price."""
    plain = tokens.input - tokens.cache_read - tokens.cache_write
    return (
        plain * price.input
        + tokens.cache_read * (price.cache_read or 0)
        + tokens.cache_write * (price.cache_write or 0)
        + tokens.output * price.output
    ) / 1e6


@pytest.fixture
def fake() -> Iterator[FakeModel]:
    with FakeModel(SCRIPT, key=KEY) as server:
        yield server


def post(client: httpx.Client, ask: Ask, **body: Any) -> httpx.Response:
    return client.post(ask.url, headers=ask.headers, json=ask.body | body)


@pytest.mark.parametrize("name", ASKS)
def test_the_bill_is_what_the_provider_served(name: str, fake: FakeModel, tmp_path: Path) -> None:
    ask = ASKS[name]
    with bench(tmp_path, providers(fake.url)) as gate, gate.proxy.client() as client:
        answer = post(client, ask)
        assert answer.status_code == 200 and "Hello" in answer.text
        (served,), (reserved,), (metered,) = fake.served, gate.reserved, gate.metered
    assert served.tokens == ask.used == metered.tokens
    assert metered.usd == pytest.approx(usd(ask.used), abs=1e-9) and metered.note == ""
    assert reserved.usd > metered.usd and reserved.call == metered.call
    assert (metered.run_id, metered.step, metered.attempt, metered.agent, metered.environment, metered.model) == (
        "run-1", "edit", 2, "codex/one", "production", f"{ask.provider}/fake",
    )  # fmt: skip


@pytest.mark.parametrize("name", [name for name in ASKS if "streamed" in name])
def test_a_stream_goes_through_unchanged_and_other_addons_see_it(name: str, fake: FakeModel, tmp_path: Path) -> None:
    ask = ASKS[name]
    asked = ask.body | ({"stream_options": {"include_usage": True}} if "chat" in name else {})
    key = {header: value.replace(TOKEN, KEY) for header, value in ask.headers.items()}
    direct = httpx.post(fake.url + ask.path, headers=key, json=asked, trust_env=False)
    with bench(tmp_path, providers(fake.url)) as gate, gate.proxy.client() as client:
        through = post(client, ask)
        assert gate.redacted.redact == [[KEY.encode()]] and gate.redacted.streamed == len(through.content)
    assert [line.partition(":")[0] for line in through.text.splitlines()] == [
        line.partition(":")[0] for line in direct.text.splitlines()
    ]
    assert through.headers["content-type"].startswith("text/event-stream")


def test_prices_of_the_table_are_the_ones_of_genai_prices(fake: FakeModel, tmp_path: Path) -> None:
    with bench(tmp_path, providers(fake.url)) as gate, gate.proxy.client() as client:
        assert post(client, ASKS["messages, streamed"], model="claude-sonnet-4-6").status_code == 200
        (metered,) = gate.metered
    usage = Usage(input_tokens=1200, output_tokens=34, cache_read_tokens=800, cache_write_tokens=200)
    assert metered.usd == pytest.approx(
        float(calc_price(usage, "claude-sonnet-4-6", provider_id="anthropic").total_price), abs=1e-9
    )


def test_what_costs_nothing_passes_and_is_not_billed(fake: FakeModel, tmp_path: Path) -> None:
    body = {"model": "fake", "messages": HI}
    with bench(tmp_path, providers(fake.url), PASSPORT.model_copy(update={"usd": 0})) as gate:
        with gate.proxy.client() as client:
            for ask in (
                Ask("anthropic", "/v1/messages/count_tokens?beta=true", ANTHROPIC_KEY, body),
                Ask("gemini", "/v1beta/models/fake:countTokens", GEMINI_KEY, GEMINI),
            ):
                assert post(client, ask).status_code == 200, ask
            for name, path, key in (
                ("anthropic", "/v1/models", ANTHROPIC_KEY),
                ("openai", "/v1/models", OPENAI_KEY),
                ("gemini", "/v1beta/models", GEMINI_KEY),
            ):
                assert "fake" in client.get(f"https://{name}.models.lockgate.internal{path}", headers=key).text
        assert gate.reserved == [] and gate.metered == []


DENIED: dict[str, tuple[Ask, int, str]] = {
    "no token": (ASKS["messages"]._replace(headers={}), 401, "run token"),
    "another's token": (ASKS["chat"]._replace(headers={"authorization": "Bearer of-another"}), 401, "run token"),
    "the real key": (ASKS["chat"]._replace(headers={"authorization": f"Bearer {KEY}"}), 401, "run token"),
    "unknown provider": (ASKS["chat"]._replace(provider="nobody"), 403, "no provider block 'nobody'"),
    "unknown path": (ASKS["messages"]._replace(path="/v1/files"), 403, "not one of the calls"),
    "batches": (ASKS["messages"]._replace(path="/v1/messages/batches"), 403, "not one of the calls"),
    "a path upwards": (ASKS["gemini"]._replace(path="/v1beta/models/../fake:generateContent"), 403, "not one of"),
    "an escaped path": (ASKS["messages"]._replace(path="/v1/messages%2Fbatches"), 403, "not one of the calls"),
    "another API's path": (ASKS["chat"]._replace(provider="anthropic"), 403, "not one of the calls"),
    "no model": (ASKS["chat"]._replace(body={"messages": HI}), 400, "names no model"),
    "unknown price": (ASKS["chat"]._replace(body=CHAT | {"model": "mystery-1"}), 403, "nobody knows the price"),
    "a model's name with a newline": (ASKS["chat"]._replace(body=CHAT | {"model": "fake\n"}), 400, "characters"),
    "no JSON object": (ASKS["messages"]._replace(body=[]), 400, "not a JSON object"),  # type: ignore[arg-type]
    "too deep": (
        ASKS["messages"]._replace(body=json.loads('{"model":"fake","messages":' + "[" * 800 + "]" * 800 + "}")),
        400, "not an object",
    ),
    "a limit that is none": (ASKS["messages"]._replace(body=MESSAGES | {"max_tokens": -1}), 400, "limit of output"),
    "gemini's other stream": (ASKS["gemini, streamed"]._replace(path=STREAM.partition("?")[0]), 403, "alt=sse"),
}  # fmt: skip


@pytest.mark.parametrize("case", DENIED)
def test_what_is_not_allowed_never_leaves_and_says_so_in_the_apis_words(
    case: str, fake: FakeModel, tmp_path: Path
) -> None:
    ask, status, reason = DENIED[case]
    with bench(tmp_path, providers(fake.url)) as gate, gate.proxy.client() as client:
        answer = post_raw(client, ask)
        assert answer.status_code == status and reason in answer.text
        assert gate.reserved == []
    assert fake.served == () and KEY not in answer.text
    error = answer.json()["error"]
    assert error["message"]
    if ask.provider == "anthropic" and case != "another API's path":
        assert answer.json()["type"] == "error" and error["type"].endswith("_error")
    if ask.provider == "gemini":
        assert error["code"] == status


def post_raw(client: httpx.Client, ask: Ask) -> httpx.Response:
    """Without httpx's tidying of paths."""
    request = client.build_request("POST", ask.url, headers=ask.headers, json=ask.body)
    request.url = request.url.copy_with(raw_path=ask.path.encode())
    return client.send(request)


def test_models_outside_passport_or_policy_are_refused(fake: FakeModel, tmp_path: Path) -> None:
    passport = PASSPORT.model_copy(update={"models": ("anthropic/fake",)})
    with bench(tmp_path, providers(fake.url), passport) as gate, gate.proxy.client() as client:
        assert post(client, ASKS["messages"]).status_code == 200
        assert post(client, ASKS["messages"], model="fake-2").status_code == 403
        other = post(client, ASKS["chat"])
        assert other.status_code == 403 and "may call no model of provider 'openai'" in other.text
        gate.policy = POLICY.model_copy(update={"edit": ("openai/**",)})
        late = post(client, ASKS["messages"])
        assert late.status_code == 403 and "may not be called for the edit step" in late.text
        assert len(gate.metered) == 1 == len(fake.served)


def test_the_key_goes_in_and_what_a_sandbox_chose_does_not(fake: FakeModel, tmp_path: Path) -> None:
    seen: list[dict[str, str]] = []

    class Look:
        def request(self, flow: Any) -> None:
            seen.append(dict(flow.request.headers) | {"path": flow.request.path})

    blocks = providers(fake.url, headers={"X-Team": "our-team"})
    with bench(tmp_path, blocks) as gate:
        gate.proxy._loop.call_soon_threadsafe(gate.proxy._master.addons.add, Look())
        with gate.proxy.client() as client:
            headers = ANTHROPIC_KEY | {"openai-organization": "theirs", "cookie": "a=b", "accept-encoding": "gzip"}
            answer = client.post(ASKS["messages"].url + "?beta=true&key=theirs", headers=headers, json=MESSAGES)
            assert answer.status_code == 200
        assert gate.redacted.redact == [[KEY.encode(), b"our-team"]]
    (sent,) = seen
    assert sent["x-api-key"] == KEY and sent["x-team"] == "our-team" and sent["accept-encoding"] == "identity"
    assert sent["path"] == "/v1/messages?beta=true" and TOKEN not in str(sent)
    assert not {"openai-organization", "cookie", "authorization"} & sent.keys()
    assert sent["host"] == f"127.0.0.1:{fake.port}"


def test_a_provider_with_its_own_authority_is_reached_and_an_impostor_is_not(tmp_path: Path) -> None:
    with FakeModel(SCRIPT, tls_dir=tmp_path / "real", key=KEY) as real:
        with bench(tmp_path, providers(real.url, extra_ca=real.ca)) as gate, gate.proxy.client() as client:
            assert post(client, ASKS["messages"]).status_code == 200
            assert len(gate.metered) == 1
        with FakeModel(SCRIPT, tls_dir=tmp_path / "impostor", key=KEY) as impostor:
            (tmp_path / "second").mkdir()
            blocks = providers(impostor.url, extra_ca=real.ca)
            with bench(tmp_path / "second", blocks) as gate, gate.proxy.client() as client:
                assert post(client, ASKS["messages"]).status_code == 502
                assert [(line.usd, line.note) for line in gate.metered] == [(0, "the provider was not reached")]
            assert impostor.served == ()


class Packing(BaseHTTPRequestHandler):
    """A provider that compresses whatever it is asked."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        usage = {"prompt_tokens": 10, "completion_tokens": 5}
        body = gzip.compress(f"data: {json.dumps({'choices': [], 'usage': usage})}\n\ndata: [DONE]\n\n".encode())
        self.send_response(200)
        for name, value in (("type", "text/event-stream"), ("encoding", "gzip"), ("length", str(len(body)))):
            self.send_header(f"content-{name}", value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


def test_an_answer_that_is_packed_against_our_wish_is_metered_too(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Packing) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            with bench(tmp_path, providers(url)) as gate, gate.proxy.client() as client:
                assert "[DONE]" in post(client, ASKS["chat, streamed"]).text
                (line,) = gate.metered
        finally:
            server.shutdown()
            thread.join()
    assert line.usd == pytest.approx((10 * 3 + 5 * 15) / 1e6, abs=1e-9) and line.note == ""


# ── the budget ──


def test_over_budget_is_402_and_nothing_leaves(fake: FakeModel, tmp_path: Path) -> None:
    with bench(tmp_path, providers(fake.url), PASSPORT.model_copy(update={"usd": 0.001})) as gate:
        with gate.proxy.client() as client:
            for name, ask in ASKS.items():
                answer = post(client, ask)
                assert answer.status_code == 402, name
                assert "is left of the $0.00 for this task" in answer.json()["error"]["message"]
        assert gate.reserved == []
    assert fake.served == ()


LIMITS = {
    "messages": ("max_tokens",),
    "chat": ("max_completion_tokens",),
    "responses": ("max_output_tokens",),
    "gemini": ("generationConfig", "maxOutputTokens"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_long_limit_is_lowered_to_half_of_what_is_left(name: str, fake: FakeModel, tmp_path: Path) -> None:
    asked: dict[str, Any] = {LIMITS[name][0]: 100_000}
    if name == "gemini":
        asked = {"generationConfig": {"maxOutputTokens": 100_000}}
    with bench(tmp_path, providers(fake.url), PASSPORT.model_copy(update={"usd": 0.4})) as gate:
        with gate.proxy.client() as client:
            assert post(client, ASKS[name], **asked).status_code == 200
        (reserved,), (metered,) = gate.reserved, gate.metered
    got: Any = fake.requests[0]
    for field in LIMITS[name]:
        got = got[field]
    assert 1024 < got < 100_000
    assert 0.15 < reserved.usd <= 0.2
    assert metered.note == f"left out: output limit 100000 lowered to {got}"


def test_a_limit_is_never_lowered_into_the_thinking(fake: FakeModel, tmp_path: Path) -> None:
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 20_000}, "max_tokens": 30_000}
    small = PASSPORT.model_copy(update={"usd": 0.4})
    with bench(tmp_path, providers(fake.url), small) as gate, gate.proxy.client() as client:
        assert post(client, ASKS["messages"], **thinking).status_code == 200
    assert fake.requests[0]["max_tokens"] == 21_024


def test_twenty_parallel_calls_never_pass_the_budget(tmp_path: Path) -> None:
    script = {"turns": [{"text": "spent", "usage": {"input": 100, "output": 900}}]}
    body = MESSAGES | {"max_tokens": 1000}
    with FakeModel(script, key=KEY) as fake:
        with bench(tmp_path, providers(fake.url), PASSPORT.model_copy(update={"usd": 0.1})) as gate:
            with gate.proxy.client() as client, ThreadPoolExecutor(20) as pool:
                answers = list(pool.map(lambda _: post(client, ASKS["messages"], **body).status_code, range(40)))
                answers.append(post(client, ASKS["messages"], **body).status_code)
                while answers[-1] == 200:  # many may have been refused for what others had reserved, and did not spend
                    answers.append(post(client, ASKS["messages"], **body).status_code)
            spent = sum(line.usd for line in gate.metered)
            worst = gate.reserved[0].usd
        assert set(answers) == {200, 402} and answers.count(200) == len(fake.served)
        assert sum(usd(call.tokens) for call in fake.served) == pytest.approx(spent)
        assert 0.1 - worst < spent <= 0.1


def test_a_killed_gateways_call_counts_in_full(tmp_path: Path) -> None:
    with FakeModel({"turns": [{"text": "never ends", "hang": True}]}, key=KEY) as fake:
        ask = ASKS["messages, streamed"]
        with (
            killable_gateway(tmp_path, fake.url) as (process, port),
            client_of(port, tmp_path / "mitmproxy") as client,
            client.stream("POST", ask.url, headers=ask.headers, json=ask.body) as answer,
        ):
            pieces = answer.iter_bytes()
            assert next(pieces)
            process.kill()
            process.join()
            with pytest.raises(httpx.TransportError):
                list(pieces)
        with bench(tmp_path, providers(fake.url)) as gate:
            (reserved,) = gate.reserved
            assert gate.metered == [] and gate.account.spent("run-1") == reserved.usd > 0
            gate.stamp.passport = PASSPORT.model_copy(update={"usd": reserved.usd * 1.5})
            with gate.proxy.client() as client:
                assert post(client, ASKS["messages"]).status_code == 402


def test_a_call_without_a_limit_gets_the_one_of_the_policy(tmp_path: Path) -> None:
    with FakeModel(SCRIPT, key=KEY) as fake, bench(tmp_path, providers(fake.url)) as gate:
        with gate.proxy.client() as client:
            for name in ("messages", "chat", "responses", "gemini"):
                body = {field: value for field, value in ASKS[name].body.items() if field != "max_tokens"}
                assert post(client, ASKS[name]._replace(body=body)).status_code == 200
        messages, chat, responses, gemini = fake.requests
    assert messages["max_tokens"] == chat["max_completion_tokens"] == responses["max_output_tokens"] == 1000
    assert gemini["generationConfig"]["maxOutputTokens"] == 1000


# ── what goes wrong ──


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503, 529])
def test_an_error_of_the_providers_passes_as_it_is_and_costs_nothing(status: int, tmp_path: Path) -> None:
    script = {"turns": [{"status": status, "message": "said so", "retry_after_s": 3}, *SCRIPT["turns"]]}
    with FakeModel(script, key=KEY) as fake, bench(tmp_path, providers(fake.url)) as gate:
        with gate.proxy.client() as client:
            answer = post(client, ASKS["messages, streamed"])
            assert (answer.status_code, answer.headers["retry-after"]) == (status, "3") and "said so" in answer.text
            assert post(client, ASKS["messages, streamed"]).status_code == 200
        assert [(line.status, line.usd) for line in gate.metered] == [
            (status, 0),
            (200, pytest.approx(usd(USED), abs=1e-9)),
        ]


@pytest.mark.parametrize("name", ["messages", "chat, streamed", "gemini"])
def test_a_wrong_key_is_told_by_the_name_of_its_block(name: str, fake: FakeModel, tmp_path: Path) -> None:
    with bench(tmp_path, providers(fake.url, key="expired-key")) as gate, gate.proxy.client() as client:
        answer = post(client, ASKS[name])
        (line,) = gate.metered
    block = ASKS[name].provider
    assert answer.status_code == 403 and f"provider block '{block}'" in answer.json()["error"]["message"]
    assert "expired-key" not in answer.text and KEY not in answer.text
    assert line.usd == 0 and line.status == 401
    assert line.note == f"the provider answered 401 to the key of provider block '{block}'"


def test_a_provider_that_is_not_there_costs_nothing(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: every connection is refused
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        with bench(tmp_path, providers(url)) as gate, gate.proxy.client() as client:
            assert post(client, ASKS["chat"]).status_code == 502
            assert [(line.usd, line.status, line.note) for line in gate.metered] == [
                (0, None, "the provider was not reached")
            ]
            assert gate.account.spent("run-1") == 0


BROKEN = {
    "messages, streamed": "it broke off: output charged at its limit",
    "gemini, streamed": "it broke off: output charged at its limit",
    "responses, streamed": "no usage was told: charged its worst case",
    "chat, streamed": "no usage was told: charged its worst case",
    "messages": "no usage was told: charged its worst case",
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_answer_that_breaks_off_is_charged_what_it_told_and_the_rest_at_its_worst(name: str, tmp_path: Path) -> None:
    script = {"turns": [{"text": "half of a thing to say", "usage": UNCACHED.model_dump(), "cut": True}]}
    with FakeModel(script, key=KEY) as fake, bench(tmp_path, providers(fake.url)) as gate:
        with gate.proxy.client() as client, pytest.raises(httpx.TransportError):
            post(client, ASKS[name])
        (line,), (reserved,) = gate.wait_for_metered(1), gate.reserved
    limit = 500 if name.startswith("messages") else 1000
    known = UNCACHED.model_copy(update={"output": limit})
    assert line.note == BROKEN[name]
    assert line.usd == pytest.approx(usd(known) if "limit" in line.note else reserved.usd, abs=1e-9)


def test_a_sandbox_that_hangs_up_before_the_end_has_not_had_it_for_nothing(tmp_path: Path) -> None:
    script = {"turns": [{"text": "half of a thing to say", "usage": UNCACHED.model_dump(), "hang": True}]}
    ask = ASKS["messages, streamed"]
    with FakeModel(script, key=KEY) as fake, bench(tmp_path, providers(fake.url)) as gate:
        with (
            gate.proxy.client() as client,
            client.stream("POST", ask.url, headers=ask.headers, json=ask.body) as answer,
        ):
            assert next(answer.iter_bytes())
        (line,) = gate.wait_for_metered(1)
    assert line.usd == pytest.approx(usd(UNCACHED.model_copy(update={"output": 500})), abs=1e-9)


def test_the_ledger_out_of_reach_lets_nothing_out(fake: FakeModel, tmp_path: Path) -> None:
    with bench(tmp_path, providers(fake.url)) as gate, gate.proxy.client() as client:
        (tmp_path / "ledger.db").rename(tmp_path / "gone.db")
        (tmp_path / "ledger.db").mkdir()
        answer = post(client, ASKS["messages"])
        assert answer.status_code == 503 and "not made" in answer.text and str(tmp_path) not in answer.text
    assert fake.served == ()
