"""One model call, from the sandbox's request to the line on the bill.

request → whose is it, is it known → may it be called → what can it cost, does that fit → on record → out
answer → read while it goes through → on record
"""

import asyncio
import json
import logging
import uuid
from collections.abc import Callable, Iterable

from mitmproxy.connection import Server
from mitmproxy.http import HTTPFlow, Response
from mitmproxy.tls import TlsData

from blocks.gateway.exchange import Sent, exchange_of
from blocks.gateway.models import trust
from blocks.gateway.models.account import Account
from blocks.gateway.models.apis import error_body, route_of
from blocks.gateway.models.ask import ModelCallDenied, ProviderRequest
from blocks.gateway.models.call import Call, is_good
from blocks.gateway.models.meter import Meter
from blocks.gateway.models.pricing import HIDDEN_TOKENS, IMAGE_TOKENS, Rates, rates
from blocks.gateway.models.provider import ModelProvider
from blocks.gateway.models.request import check_model, json_of, passport_of, path_and_query, send_to
from domain.egress import MODEL_HOSTS, Passport
from domain.errors import InputError, LockgateError, Superseded
from domain.models import Api, ModelPolicy, Reserved
from domain.paths import matches

KEY_REFUSED = (401, 403)
SHARE = 0.5
"""Of what is left, the part that one call may reserve before its output limit is lowered."""

log = logging.getLogger(__name__)


def provider_name(host: str) -> str | None:
    """The provider that a host name stands for, or None if it is none of ours."""
    name, _, rest = host.lower().rstrip(".").partition(".")
    return name if name and rest == MODEL_HOSTS else None


class Models:
    """The mitmproxy addon for the hosts NAME.models.lockgate.internal.

    Reads the exchange's `passport` and `token`, which the gate put there before, and adds the bytes that it puts in
    to `redact`. A request that may go out has its new address, host and port, in `upstream`. `provider(name)` raises
    InputError for an unknown name.
    """

    def __init__(
        self, provider: Callable[[str], ModelProvider], account: Account, policy: Callable[[], ModelPolicy]
    ) -> None:
        self._provider, self._account, self._policy = provider, account, policy
        self._authorities: dict[tuple[str, int], str] = {}

    # ── the request ──

    async def request(self, flow: HTTPFlow) -> None:
        """Answer it here, or send it to the provider with the key in and its worst case on record."""
        name = provider_name(flow.request.host)
        if name is None or flow.response is not None:
            return
        try:
            await asyncio.to_thread(self._let_through, flow, name)
        except ModelCallDenied as denied:
            _answer(flow, denied.status, denied.sentence)
        except (InputError, Superseded) as err:
            _answer(flow, 403, str(err))
        except RecursionError:
            _answer(flow, 400, "the request is nested too deeply")
        except Exception as err:  # the ledger or a block could not be read: nothing goes out
            log.error("a call to %s was stopped: %s", name, err if isinstance(err, LockgateError) else repr(err))
            _answer(flow, 503, f"the gateway could not account for a call to {name}, so it was not made: try again")

    def _let_through(self, flow: HTTPFlow, name: str) -> None:
        passport = passport_of(flow)
        if not any(matches(name, [glob.partition("/")[0]]) for glob in passport.models):
            raise ModelCallDenied(403, f"this sandbox may call no model of provider {name!r}")
        provider = self._provider(name)
        exchange = exchange_of(flow)
        exchange.api = provider.api
        path, query = path_and_query(flow.request)
        route, path_model = route_of(provider.api, flow.request.method, path)
        body, call = b"", None
        if route.read is not None:
            policy = self._policy()
            ask = route.read(json_of(flow.request), path_model, provider, policy.max_output_tokens)
            check_model(name, ask.model, passport, policy)
            body = _as_bytes(ask)
            if route.bills:
                price = rates(name, provider, ask.model, policy)
                if price is None:
                    raise ModelCallDenied(
                        403,
                        f"nobody knows the price of {name}/{ask.model}, so it may not be called: "
                        "a person can write one into the model policy, under prices",
                    )
                # A token is at least a byte: the bytes of the text bound its tokens, whatever the provider's tokenizer.
                most = len(body) - ask.image_bytes + ask.images * IMAGE_TOKENS + HIDDEN_TOKENS
                wanted = _reserved(passport, f"{name}/{ask.model}", 0)
                bounds = passport.usd, policy, passport.usd_per_week
                ask = _affordable(ask, price, most, self._account.left(wanted, *bounds))
                body = _as_bytes(ask)
                reserved = wanted.model_copy(update={"usd": price.worst(most, ask.output_tokens)})
                if refusal := self._account.reserve(reserved, *bounds, passport.token):
                    raise ModelCallDenied(402, refusal)
                call = Call(reserved, price, route, ask)
        exchange.sent = Sent(name, provider.api, call)
        upstream = exchange.upstream = (provider.upstream.host, provider.upstream.port)
        if provider.extra_ca is not None:
            self._authorities[upstream] = provider.extra_ca
        send_to(flow, provider, path, query, body)

    def tls_start_server(self, data: TlsData) -> None:
        """To a provider with an authority of its own, TLS trusts that one."""
        server = data.conn
        if isinstance(server, Server) and server.sni and server.address:
            authority = self._authorities.get((server.sni, server.address[1]))
            if authority is not None:
                data.ssl_conn = trust.connection(server.sni, authority)

    # ── the answer ──

    def responseheaders(self, flow: HTTPFlow) -> None:
        """Let a good answer through as it comes, read on the way. One that is packed is read when it is whole."""
        sent, response = exchange_of(flow).sent, flow.response
        if sent is None or response is None:
            return
        if response.status_code in KEY_REFUSED:
            response.stream = False  # `response` puts another in its place
        if sent.call is None or not is_good(response.status_code):
            return
        streamed = response.headers.get("content-type", "").lower().startswith("text/event-stream")
        meter = sent.call.meter = Meter(sent.call.route.told, streamed=streamed)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            return
        sent_on = response.stream

        def through(chunk: bytes) -> bytes | Iterable[bytes]:
            meter.feed(chunk)
            return sent_on(chunk) if callable(sent_on) else chunk

        response.stream = through

    async def response(self, flow: HTTPFlow) -> None:
        """The answer has ended: its cost is on record before the sandbox sees the end."""
        sent, response = _take_sent(flow), flow.response
        if sent is None or response is None:
            return
        status, note = response.status_code, ""
        if status in KEY_REFUSED:
            note = f"the provider answered {status} to the key of provider block {sent.provider!r}"
            flow.response = None
            _answer(flow, 403, f"{note}: the key is wrong, has expired or may not do this; a person has to mend it")
        if sent.call is None:
            return
        if sent.call.meter is not None:
            if not response.stream:
                sent.call.meter.feed(response.get_content(strict=False) or b"")
            sent.call.meter.close()
        await asyncio.to_thread(self._account.settle, sent.call.metered(status, note))

    async def error(self, flow: HTTPFlow) -> None:
        """The client or the provider broke off, or the provider was never reached."""
        sent = _take_sent(flow)
        if sent is None or sent.call is None:
            return
        status = flow.response.status_code if flow.response else None
        reached = flow.server_conn.timestamp_tcp_setup is not None
        note = "" if reached else "the provider was not reached"
        await asyncio.to_thread(self._account.settle, sent.call.metered(status, note, reached=reached))


def _take_sent(flow: HTTPFlow) -> Sent | None:
    """What was sent, for the one who puts its cost on record: nobody else finds it after that."""
    exchange = exchange_of(flow)
    sent, exchange.sent = exchange.sent, None
    return sent


def _as_bytes(ask: ProviderRequest) -> bytes:
    return json.dumps(ask.body, separators=(",", ":")).encode()


def _affordable(ask: ProviderRequest, price: Rates, most: int, left: float) -> ProviderRequest:
    """The request with as much output as one call may reserve: a long limit must not make a small budget useless.

    Half of what is left at most, so that a call beside it has something too; never below the least that makes sense.
    """
    before, whole = price.worst(most, 0), price.worst(most, ask.output_tokens)
    if whole <= left * SHARE or whole <= before:
        return ask
    tokens = int((left * SHARE - before) / (whole - before) * ask.output_tokens)
    tokens = max(tokens, ask.least_output)
    return ask.limited(tokens) if tokens < ask.output_tokens else ask


def _reserved(passport: Passport, model: str, usd: float) -> Reserved:
    return Reserved(
        run_id=passport.run_id,
        call=uuid.uuid4().hex,
        step=passport.phase,
        attempt=passport.attempt,
        agent=passport.agent,
        reference=passport.reference,
        environment=passport.environment,
        model=model,
        usd=usd,
    )


def _answer(flow: HTTPFlow, status: int, sentence: str) -> None:
    api = exchange_of(flow).api or _api_of(flow.request.path)
    body = json.dumps(error_body(api, status, sentence)).encode()
    flow.response = Response.make(status, body, {"content-type": "application/json"})


def _api_of(path: str) -> Api:
    """Whose errors a client is likely to read, where no provider is known yet."""
    if path.startswith("/v1/messages"):
        return Api.ANTHROPIC
    return Api.GEMINI if path.startswith("/v1beta/") or ":" in path else Api.OPENAI
