"""HTTP/1.1 as sandboxes may speak it: bounded in memory, and with nothing of a server's in our own error pages.

Only HTTP/1.1, on both sides: one request at a time on a connection leaves no doubt which answer belongs to it.
"""

from mitmproxy import connection, http
from mitmproxy.net.http import http1
from mitmproxy.net.tls import starts_like_tls_record
from mitmproxy.proxy import commands, events, layer, layers
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HTTPMode
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    HttpEvent,
    RequestData,
    RequestHeaders,
    RequestProtocolError,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._http1 import Http1Server

from blocks.gateway.listener import MAX_BUFFERED, Listener, SandboxMode
from domain.errors import GatewayError

MAX_HEAD = 1_000_000
"""Bytes of a request's head, or of what comes before its turn."""
_MALFORMED = ("HTTP request has no host", "mitmproxy received an HTTP CONNECT", "Invalid request scheme")
_OURS = "Connection killed: "
_SAFE = (_OURS, "Certificate verify failed", "The remote server does not speak TLS", "[Errno ", "Multiple exceptions")


def answer(status: int, text: str) -> http.Response:
    """What a sandbox is told by the gateway itself."""
    headers = {"content-type": "text/plain; charset=utf-8", "x-lockgate": "gateway", "connection": "close"}
    return http.Response.make(status, f"lockgate gateway: {text}\n", headers)


class Stack:
    """The addon that says what is spoken on a connection: HTTP, and in a tunnel TLS and again HTTP. Nothing else."""

    def next_layer(self, chosen: layer.NextLayer) -> None:
        context = chosen.context
        if len(context.layers) == 1:
            chosen.layer = _http(context, HTTPMode.regular)
        elif context.client.tls_established:
            chosen.layer = _http(context, HTTPMode.transparent)
        elif len(chosen.data_client()) >= 3:
            if starts_like_tls_record(chosen.data_client()):
                outer = layers.ServerTLSLayer(context)
                outer.child_layer = layers.ClientTLSLayer(context)
                chosen.layer = outer
            else:
                chosen.layer = _http(context, HTTPMode.transparent)  # the gate answers 421


def _http(context: Context, mode: HTTPMode) -> layer.Layer:
    made = layers.HttpLayer(context, mode)
    made.connections[context.client] = BoundedServer(context.fork())
    return made


def listener_of(client: connection.Client) -> Listener:
    """Who speaks through a connection: whose socket it came through."""
    mode = client.proxy_mode
    if not isinstance(mode, SandboxMode) or mode.listener is None:
        raise GatewayError("a connection came from nowhere: nothing is known of who speaks")
    return mode.listener


class BoundedServer(Http1Server):
    """mitmproxy's HTTP/1 server, which by itself would take heads, pipelined data and bodies of any size."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._listener = listener_of(context.client)
        self._mine = 0

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        return super()._handle_event(event) if isinstance(event, HttpEvent) else self._receive(event)

    def _receive(self, event: events.Event) -> layer.CommandGenerator[None]:
        try:
            for command in super()._handle_event(event):
                if isinstance(command, ReceiveHttp):
                    if isinstance(command.event, RequestHeaders):
                        self._forget()
                    elif isinstance(command.event, RequestData) and not self._is_streamed():
                        self._mine += len(command.event.data)
                        self._listener.buffered += len(command.event.data)
                        if self._listener.buffered > MAX_BUFFERED:
                            yield from self._refuse(413, "the body is too large to be looked into")
                            return
                yield command
        except NotImplementedError:  # mitmproxy knows no trailers in HTTP/1
            yield from self._refuse(400, "trailers are not taken")
            return
        if isinstance(event, events.ConnectionClosed):
            self._forget()
        elif len(self.buf) > MAX_HEAD and self.state not in (self.passthrough, self.done):
            yield from self._refuse(431, "the request's head is too large")

    def send(self, event: HttpEvent) -> layer.CommandGenerator[None]:
        """Its own error pages repeat what a server sent; ours do not."""
        return self._send_error(event) if isinstance(event, ResponseProtocolError) else super().send(event)

    def _send_error(self, event: ResponseProtocolError) -> layer.CommandGenerator[None]:
        if self.conn.state & connection.ConnectionState.CAN_WRITE:
            if not self.response and event.message != "killed":
                yield commands.SendData(self.conn, http1.assemble_response(_error_page(event.message)))
            yield commands.CloseConnection(self.conn)

    def _is_streamed(self) -> bool:
        return bool(self.request and self.request.stream)

    def _forget(self) -> None:
        self._listener.buffered -= self._mine
        self._mine = 0

    def _refuse(self, status: int, why: str) -> layer.CommandGenerator[None]:
        self._forget()
        self.buf = type(self.buf)()
        self.state = self.done
        if not self.response:
            yield commands.SendData(self.conn, http1.assemble_response(answer(status, why)))
        yield commands.CloseConnection(self.conn)
        if self.request:
            yield ReceiveHttp(RequestProtocolError(self.stream_id, why))


def _error_page(message: str) -> http.Response:
    if message.startswith(_OURS):
        return answer(403, message.removeprefix(_OURS))
    if "from client, refusing" in message or message.startswith(_MALFORMED):
        return answer(400, "the request is malformed")
    if message.startswith(_SAFE):
        return answer(502, f"the server could not be reached: {message}")
    return answer(502, "the server did not answer, or did not answer in HTTP/1.1")
