"""One connection: requests in, answers out, and what breaks on purpose."""

import gzip
import json
import re
import select
import socket
import threading
import zlib
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from domain.models import Api, TokenUsage
from kits.fake_model import anthropic, chat, gemini, responses
from kits.fake_model.ask import ModelDialect, ModelRequest, estimate
from kits.fake_model.play import ServedCall


class Route(NamedTuple):
    """One path that is answered. `counts`: it counts tokens only, and this is the field that tells how many."""

    pattern: str
    api: Api
    dialect: ModelDialect
    counts: str | None = None


ROUTES = (
    Route(r"(/v1)?/messages", Api.ANTHROPIC, anthropic),
    Route(r"(/v1)?/messages/count_tokens", Api.ANTHROPIC, anthropic, "input_tokens"),
    Route(r"(/v1)?/responses", Api.OPENAI, responses),
    Route(r"(/v1)?/chat/completions", Api.OPENAI, chat),
    Route(r"/v1(beta)?/models/[^/:]+:(generateContent|streamGenerateContent)", Api.GEMINI, gemini),
    Route(r"/v1(beta)?/models/[^/:]+:countTokens", Api.GEMINI, gemini, "totalTokens"),
)
MAX_BODY = 64_000_000


class ModelHandler(BaseHTTPRequestHandler):
    """Made by the server for each connection. `server` has play, key, context, connections and ended."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Any

    def setup(self) -> None:
        self._is_open(self.request)
        if self.server.context:
            self.request.settimeout(30)
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
            self.request.settimeout(None)
            self._is_open(self.request)
        super().setup()

    def _is_open(self, connection: socket.socket) -> None:
        """Let the server's end be this connection's end."""
        self.server.connections[threading.current_thread()] = connection
        if self.server.ended.is_set():
            raise ConnectionAbortedError("the server ends")

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.connection.close()
            self.server.connections.pop(threading.current_thread(), None)

    def log_message(self, *_: Any) -> None:
        """The record is at /served."""

    def do_HEAD(self) -> None:
        self._send(200, {})

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/served":
            self._send(200, {"calls": [call.model_dump(mode="json") for call in self.server.play.served]})
        elif not re.fullmatch(r"(/v1|/v1beta)?/models(/[^/]+)?", path):
            self._send(404, chat.failure(404, f"{path}: no such path"))
        elif not self._is_admitted():
            self._send(401, chat.failure(401, "wrong key"))
        else:
            self._send(200, _models(self.server.play.script.models, path, self._client()))

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        raw = self._body()
        route = next((route for route in ROUTES if re.fullmatch(route.pattern, path)), None)
        if raw is None or route is None:
            status, problem = (404, f"{path}: no such path") if route is None else (413, f"more than {MAX_BODY} bytes")
            return self._send(status, chat.failure(status, problem))
        if not self._is_admitted():
            return self._refuse(route, path, 401, "wrong key")
        try:
            body = json.loads(gzip.decompress(raw) if self.headers.get("content-encoding") == "gzip" else raw)
            ask = route.dialect.read(body, path)._replace(size=len(raw))
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as err:
            return self._refuse(route, path, 400, f"not a request of this protocol: {type(err).__name__}: {err}")
        if route.counts is None:
            return self._play(route, path, ask, body)
        self.server.play.record(ServedCall(api=route.api, path=path, model=ask.model, status=200), body)
        return self._send(200, {route.counts: estimate(ask.size)})

    def _client(self) -> Api:
        """Whose client asks, where the path does not tell."""
        if "anthropic-version" in self.headers:
            return Api.ANTHROPIC
        is_google = "x-goog-api-key" in self.headers or self.path.startswith("/v1beta")
        return Api.GEMINI if is_google else Api.OPENAI

    def _is_admitted(self) -> bool:
        given = [self.headers.get("x-api-key"), self.headers.get("x-goog-api-key")]
        given.append(str(self.headers.get("authorization", "")).removeprefix("Bearer "))
        given += parse_qs(urlsplit(self.path).query).get("key", [])
        return self.server.key is None or self.server.key in given

    def _refuse(self, route: Route, path: str, status: int, message: str) -> None:
        self.server.play.record(ServedCall(api=route.api, path=path, status=status), {})
        self._send(status, route.dialect.failure(status, message))

    def _play(self, route: Route, path: str, ask: ModelRequest, body: dict[str, Any]) -> None:
        scene = self.server.play.next(ask)
        turn, selected = scene.turn, scene.conversation
        served = ServedCall(
            api=route.api,
            path=path,
            model=ask.model,
            stream=ask.stream,
            status=turn.status or 200,
            side=selected.side,
            conversation=selected.match,
            turn=scene.number,
        )
        if turn.status:
            self.server.play.record(served, body)
            message = turn.message or f"the script says {turn.status}"
            self._send(turn.status, route.dialect.failure(turn.status, message), turn.retry_after_s)
            return
        reply = self.server.play.reply(ask, turn)
        if route.api is Api.GEMINI:  # its usage has no word for them
            reply = reply._replace(tokens=reply.tokens.model_copy(update={"cache_write": 0}))
        if ask.stream:
            pieces = [(event.sent.encode(), event.told) for event in route.dialect.events(ask, reply)]
        else:
            pieces = _halves(json.dumps(route.dialect.whole(ask, reply)).encode(), reply.tokens)
        if turn.fails:
            pieces = pieces[: len(pieces) // 2] if turn.text or turn.all_calls or turn.structured else []
            served = served.model_copy(update={"whole": False, "status": 200 if pieces else None})
        told = pieces[-1][1] if pieces else TokenUsage()
        place = self.server.play.record(served.model_copy(update={"tokens": told}), body)
        self._stream(place, pieces, "text/event-stream" if ask.stream else "application/json", ends=not turn.fails)
        if turn.hang:
            self._hang()

    def _stream(self, place: int, pieces: list[tuple[bytes, TokenUsage]], kind: str, *, ends: bool) -> None:
        """Send the pieces, each as one chunk. Without an end, the connection is closed in the middle of the answer."""
        told = TokenUsage()
        self.close_connection = not ends
        packer = zlib.compressobj(wbits=31) if self._takes_gzip() else None
        try:
            if pieces:
                self._headers(200, kind, {"Transfer-Encoding": "chunked", "Cache-Control": "no-cache"})
            for piece, said in pieces:
                packed = packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH) if packer else piece
                self._chunk(packed)
                told = said
            if ends:
                self._chunk(packer.flush() if packer else b"")
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True
            self.server.play.broke_off(place, told)

    def _chunk(self, data: bytes) -> None:
        if data:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _hang(self) -> None:
        """Until the client leaves, or the server ends."""
        self.connection.settimeout(1)
        while not self.server.ended.is_set():
            if select.select([self.connection], [], [], 0.1)[0]:
                try:
                    if not self.connection.recv(1):
                        return
                except OSError:
                    return

    def _send(self, status: int, data: dict[str, Any], retry_after_s: int | None = None) -> None:
        content = json.dumps(data).encode()
        more = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        if self._takes_gzip():
            content = gzip.compress(content)
        self._headers(status, "application/json", {"Content-Length": str(len(content)), **more})
        if self.command != "HEAD":
            self.wfile.write(content)

    def _headers(self, status: int, kind: str, more: dict[str, str]) -> None:
        self.send_response(status)
        coding = {"Content-Encoding": "gzip"} if self._takes_gzip() else {}
        for name, value in {"Content-Type": kind, **coding, **more}.items():
            self.send_header(name, value)
        self.end_headers()

    def _takes_gzip(self) -> bool:
        return bool(self.server.play.script.gzip) and "gzip" in self.headers.get("accept-encoding", "")

    def _body(self) -> bytes | None:
        """The request's body; None if it is too large."""
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            size = int(self.headers.get("content-length", 0))
            self.close_connection = size > MAX_BODY
            return None if size > MAX_BODY else self.rfile.read(size)
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            if len(body) + size > MAX_BODY:
                self.close_connection = True
                return None
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body


def _halves(content: bytes, tokens: TokenUsage) -> list[tuple[bytes, TokenUsage]]:
    """An answer that is not streamed, in two pieces: its usage is told only by both."""
    middle = len(content) // 2
    return [(content[:middle], TokenUsage()), (content[middle:], tokens)]


def _models(names: tuple[str, ...], path: str, api: Api) -> dict[str, Any]:
    """The list of models, or the one that the path names, in the words of who asks."""
    wanted = path.rpartition("/models")[2].lstrip("/")
    forms: dict[Api, dict[str, Any]] = {
        Api.ANTHROPIC: {"type": "model", "created_at": "2026-01-01T00:00:00Z"},
        Api.OPENAI: {"object": "model", "created": 0, "owned_by": "fake"},
        Api.GEMINI: {"supportedGenerationMethods": ["generateContent", "countTokens"]},
    }
    made = [
        {"id": name, "name": f"models/{name}", "display_name": name, **forms[api]}
        for name in ([wanted] if wanted else names)
    ]
    return made[0] if wanted else {"object": "list", "data": made, "models": made, "has_more": False}
