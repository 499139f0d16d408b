"""The story of one request: who asks, may it, with which secret. Nothing connects that did not pass here.

mitmproxy goes on when a hook fails. So a hook here that fails refuses, and `connecting.py` connects to nothing that no
request was cleared for.
"""

import asyncio
import functools
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from mitmproxy import http
from mitmproxy.net.http.url import hostport, parse_authority

from blocks.gateway.answers import redactor
from blocks.gateway.audit import Note
from blocks.gateway.connecting import Connecting
from blocks.gateway.exchange import exchange_of
from blocks.gateway.http1 import answer, listener_of
from blocks.gateway.listener import Listener
from blocks.gateway.placeholders import HeldSecret, Misplaced, basic, fill_field, fill_header, found
from blocks.gateway.streams import PlaceholderWatch
from domain.egress import MODEL_HOSTS, Passport
from domain.egress_rules import is_model_host, judge, misuse, normal_host, reach, readings
from domain.errors import LedgerError

log = logging.getLogger("lockgate.gateway")
SMALL_BODY = 1_000_000
"""Bytes. A body up to here is looked into before anything leaves; a larger one while it leaves."""
_HOP = ("proxy-authorization", "proxy-connection", "http2-settings", "keep-alive", "te")
_OVERRIDES = (
    "x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url", "forwarded",
    "x-forwarded-host", "x-forwarded-prefix", "x-host",
)  # fmt: skip
_PORTS = {"https": 443, "http": 80}


class EgressDenied(Exception):
    """The request does not leave, for this reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Destination(NamedTuple):
    """Where a request goes, in the one spelling."""

    scheme: str
    host: str
    port: int


def _closed_on_failure(
    hook: Callable[["Gate", http.HTTPFlow], Awaitable[None]],
) -> Callable[["Gate", http.HTTPFlow], Awaitable[None]]:
    @functools.wraps(hook)
    async def guarded(gate: "Gate", flow: http.HTTPFlow) -> None:
        try:
            await hook(gate, flow)
        except EgressDenied as no:
            gate.refuse(flow, no.status, no.reason)
        except Exception:
            log.exception("a hook failed")
            gate.refuse(flow, 500, "the gateway failed, so nothing was sent")

    return guarded


class Gate:
    """The addon that decides. `drop` closes a client's connection at once."""

    def __init__(self, connecting: Connecting, drop: Callable[[http.HTTPFlow], None]) -> None:
        self._connecting, self._drop = connecting, drop

    # ── before TLS ──

    @_closed_on_failure
    async def http_connect(self, flow: http.HTTPFlow) -> None:
        listener = _introduce(flow)
        host = _host(flow.request.host)
        if is_model_host(host):
            _model_access(listener.passport, host, flow.request.port)
        else:
            judgement, _ = reach(listener.passport.rules, "https", host, flow.request.port)
            if not judgement.allowed:
                raise EgressDenied(403, judgement.reason)

    # ── the head of a request ──

    @_closed_on_failure
    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        listener = _introduce(flow)
        if flow.error:  # mitmproxy has refused it already: a head that two servers could read differently
            raise EgressDenied(400, "the request is malformed")
        if listener.audit.is_broken and listener.passport.phase != "serve":  # users of a release do not wait for it
            raise EgressDenied(503, "the ledger cannot be written, so nothing leaves")
        to = self._destination(flow)
        _clean(flow.request)
        exchange = exchange_of(flow)
        exchange.host = flow.request.data.host = to.host
        flow.request.headers["host"] = hostport(to.scheme, to.host, to.port)
        if is_model_host(to.host):
            _model_access(listener.passport, to.host, to.port)
            exchange.is_for_model = True
            self._note(flow, f"goes to provider {to.host.removesuffix(f'.{MODEL_HOSTS}')}")
            return
        reason, private = _judge(flow.request, to, listener.passport)
        used = self._fill_head(flow.request, to, listener)
        self._connecting.clear(flow, to.host, to.port, private=private)
        exchange.reason, exchange.used = reason, used
        if listener.secrets:
            self._look_into_body(flow, to, listener)
        else:
            flow.request.stream = True
        if flow.request.stream:
            await self._let_out(flow)

    def _destination(self, flow: http.HTTPFlow) -> Destination:
        """Where it really goes. Raises Denied if names disagree on that."""
        request, client = flow.request, flow.client_conn
        in_tunnel = flow.server_conn.address is not None
        host, scheme = _host(request.host), "https" if in_tunnel else "http"
        if in_tunnel and not client.tls_established:
            raise EgressDenied(421, "a tunnel carries TLS alone; plain http goes without a tunnel")
        if in_tunnel and request.authority:
            raise EgressDenied(400, "a request within a tunnel names a path, not a URL")
        if not in_tunnel and request.scheme != "http":
            raise EgressDenied(400, "https goes through CONNECT")
        if in_tunnel and client.sni and _host(client.sni) != host:
            raise EgressDenied(421, "the TLS server name is not the host of the tunnel")
        hosts = request.headers.get_all("host")
        if len(hosts) != 1:
            raise EgressDenied(400, "there must be one Host header")
        try:
            named, port = parse_authority(hosts[0], check=True)
        except ValueError:
            raise EgressDenied(400, "the Host header is no host") from None
        if _host(named) != host or (port or _PORTS[scheme]) != request.port:
            raise EgressDenied(421, "the Host header is not where the request goes")
        return Destination(scheme, host, request.port)

    def _fill_head(self, request: http.Request, to: Destination, listener: Listener) -> tuple[str, ...]:
        """Put secrets in place of placeholders; their names. Raises Denied for a placeholder in any other place."""
        paths, used = readings(request.path), []
        if name := found(request.path.encode()) or found(request.method.encode()):
            raise EgressDenied(403, f"the placeholder of secret {name} stands in the address")
        for held in listener.secrets:
            header = held.scope.header
            if header is None or held.scope.field is not None or header not in request.headers:
                continue
            filled = [(value, fill_header(value, held)) for value in request.headers.get_all(header)]
            if all(new is None for _, new in filled):
                continue
            if problem := misuse(held.scope, to.scheme, request.method, to.host, paths):
                raise EgressDenied(403, problem)
            request.headers.set_all(header, [old if new is None else new for old, new in filled])
            used.append(held.scope.name)
        for key, value in request.headers.items(multi=True):
            if name := found(f"{key}: {value} {basic(value) or ''}".encode()):
                raise EgressDenied(
                    403, f"the placeholder of secret {name} may not stand in the header {key.lower()[:40]}"
                )
        if listener.patterns(to.host):
            request.headers["accept-encoding"] = "identity"
            request.headers.pop("range", None)
        return tuple(used)

    def _look_into_body(self, flow: http.HTTPFlow, to: Destination, listener: Listener) -> None:
        """Whether the body is held until `request` has seen it, or watched while it leaves."""
        request = flow.request
        paths = readings(request.path)
        fields = tuple(
            held for held in listener.secrets
            if held.scope.field and not misuse(held.scope, to.scheme, request.method, to.host, paths)
        )  # fmt: skip
        exchange_of(flow).fields = fields
        size = request.headers.get("content-length", "")
        if fields or (len(size) < 18 and size.isascii() and size.isdigit() and int(size) <= SMALL_BODY):
            return
        request.stream = PlaceholderWatch(lambda name: self._break_off(flow, f"the placeholder of secret {name}"))

    # ── the whole request, where it was held ──

    @_closed_on_failure
    async def request(self, flow: http.HTTPFlow) -> None:
        exchange = exchange_of(flow)
        if flow.response or flow.error or flow.request.stream or exchange.is_for_model:
            return
        body = flow.request.raw_content or b""
        if found(body):
            for held in exchange.fields:
                if held.placeholder.encode() in body:
                    body = _fill_body(flow.request, body, held)
                    exchange.used += (held.scope.name,)
            if name := found(body):
                raise EgressDenied(403, f"the placeholder of secret {name} may not stand in this body")
            flow.request.content = body
        await self._let_out(flow)

    # ── what a WebSocket carries ──

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        try:
            if flow.websocket is None:
                return
            message = flow.websocket.messages[-1]
            del flow.websocket.messages[:-1]
            if not message.from_client:
                message.content = redactor(flow).whole(message.content)
            elif (name := found(message.content)) is not None:
                message.drop()
                self._break_off(flow, f"the placeholder of secret {name}")
        except Exception:
            log.exception("a hook failed")
            self._drop(flow)

    # ── verdicts ──

    def refuse(self, flow: http.HTTPFlow, status: int, reason: str) -> None:
        """Answer in the server's place, and keep that in the audit."""
        exchange_of(flow).is_refused = True
        self._note(flow, reason, allowed=False)
        flow.request.stream = False
        flow.response = answer(status, reason)

    def _break_off(self, flow: http.HTTPFlow, what: str) -> None:
        self._note(flow, f"{what} was on its way out: the connection was closed", allowed=False)
        self._drop(flow)

    def _note(self, flow: http.HTTPFlow, reason: str, *, allowed: bool = True, used: tuple[str, ...] = ()) -> Note:
        exchange = exchange_of(flow)
        note = Note(
            exchange.host or flow.request.host,
            flow.request.method,
            flow.request.path.partition("?")[0],
            allowed,
            reason,
            used,
        )
        exchange.note = listener_of(flow.client_conn).audit.add(note)
        return note

    async def _let_out(self, flow: http.HTTPFlow) -> None:
        """Keep the decision; where a secret goes out, its use is in the ledger before that. Equal uses are counted."""
        exchange, audit = exchange_of(flow), listener_of(flow.client_conn).audit
        if exchange.reason is None:
            raise EgressDenied(500, "nothing has judged this request, so it was not sent")
        used = exchange.used
        note = self._note(flow, exchange.reason, used=used)
        if used and not audit.has_use(note):
            try:
                await asyncio.to_thread(audit.flush)
            except LedgerError:
                raise EgressDenied(503, "the ledger cannot be written, so no secret leaves") from None


def _introduce(flow: http.HTTPFlow) -> Listener:
    listener = listener_of(flow.client_conn)
    exchange = exchange_of(flow)
    exchange.passport, exchange.token, exchange.redact = listener.passport, listener.token, []
    return listener


def _host(text: str) -> str:
    try:
        return normal_host(text)
    except ValueError as err:
        raise EgressDenied(400, str(err)) from None


def _model_access(passport: Passport, host: str, port: int) -> None:
    if port != 443:
        raise EgressDenied(403, f"{host} is reached by https on port 443 alone")
    if not passport.models:
        raise EgressDenied(403, f"no model may be called in {passport.phase}")


def _judge(request: http.Request, to: Destination, passport: Passport) -> tuple[str, bool]:
    methods = [request.method]
    if "upgrade" in request.headers or "sec-websocket-version" in request.headers:
        methods.append("POST")  # it carries data up
    try:
        verdicts = [judge(passport.rules, to.scheme, method, to.host, to.port, request.path) for method in methods]
    except ValueError as err:
        raise EgressDenied(400, str(err)) from None
    for verdict in verdicts:
        if not verdict.allowed:
            raise EgressDenied(403, verdict.reason)
    return verdicts[0].reason, verdicts[0].private


def _clean(request: http.Request) -> None:
    """Take out what is for proxies. Raises Denied for what would have a server do another thing than was judged."""
    if request.data.method != request.method.encode():
        raise EgressDenied(400, "the method is not in capitals")
    for name, value in request.headers.fields:
        if re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", value):
            raise EgressDenied(400, "a header has control characters")
        if name.lower().decode("latin-1") in _OVERRIDES:
            raise EgressDenied(403, f"the header {name.decode('latin-1')[:40]} would change what was judged")
    _drop_headers(request, _HOP)
    if request.headers.get("upgrade", "websocket").lower() != "websocket":
        _drop_headers(request, ("upgrade", "connection"))


def _drop_headers(request: http.Request, headers: Iterable[str]) -> None:
    for name in headers:
        request.headers.pop(name, None)


def _fill_body(request: http.Request, body: bytes, held: HeldSecret) -> bytes:
    if "content-encoding" in request.headers:
        raise EgressDenied(415, "a body that a secret goes into cannot be compressed")
    try:
        return fill_field(body, request.headers.get("content-type", ""), str(held.scope.field), held)
    except Misplaced as err:
        raise EgressDenied(403, str(err)) from None
