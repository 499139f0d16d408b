"""A secret goes where its scope says, and nowhere else; what a server echoes of it does not come back."""

import base64
import gzip
import json
import socket
import threading
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import pytest
import websockets.sync.client
import websockets.sync.server
from websockets.exceptions import ConnectionClosed, WebSocketException

from domain.egress import Passport
from kits.product.gateway import (
    VALUE,
    Authority,
    RecordingUpstream,
    Running,
    SandboxedProgram,
    chunked,
    head,
    passport,
    plain_answer,
    reply,
    rule,
    running,
    secret,
    told,
)

HOST, OTHER = "api.example.com", "other.example.com"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("home"), authority) as made:
        made.secrets = {
            "API_TOKEN": secret(),
            "FIELD_TOKEN": secret("FIELD_TOKEN", paths=("/v1/login",), field="token"),
            "KEY": secret("KEY", header="x-api-key", methods=("GET",)),
        }
        yield made


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[RecordingUpstream]:
    made = RecordingUpstream(authority.server_context())
    yield made
    made.close()


@pytest.fixture
def upstream(server: RecordingUpstream) -> RecordingUpstream:
    server.answer = plain_answer
    server.requests.clear()
    return server


@pytest.fixture
def who(upstream: RecordingUpstream, request: pytest.FixtureRequest) -> Passport:
    names = ("API_TOKEN", "FIELD_TOKEN", "KEY")
    return passport(rule(upstream.port, HOST, OTHER), secrets=names, run_id=request.node.name)


@pytest.fixture
def inside(gateway: Running, upstream: RecordingUpstream, who: Passport) -> Iterator[SandboxedProgram]:
    with gateway.block.admit(who) as egress:
        assert egress is not None
        yield SandboxedProgram(egress, upstream.port)


@pytest.fixture
def token(inside: SandboxedProgram) -> str:
    return inside.egress.environment["API_TOKEN"]


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


# ── in ──


def test_no_value_is_where_a_sandbox_can_see_it(inside: SandboxedProgram) -> None:
    seen = [*inside.egress.environment.values(), inside.egress.token]
    seen += [path.read_text() for path in inside.egress.directory.iterdir() if path.is_file()]
    assert not any(VALUE in text or "PRIVATE KEY" in text for text in seen)
    assert sorted(path.name for path in inside.egress.directory.iterdir()) == ["ca.pem", "gateway.sock"]


@pytest.mark.parametrize("written", ["Bearer {}", "token {}", "{}"])
def test_the_header_carries_the_value(
    inside: SandboxedProgram, upstream: RecordingUpstream, token: str, written: str
) -> None:
    assert inside.ask(HOST, "/v1/x", headers=[f"AUTHORIZATION: {written.format(token)}"]).status == 200
    assert upstream.requests[0].headers["authorization"] == written.format(VALUE)
    assert upstream.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("pair", ["x-access-token:{}", "{}:x-oauth-basic"])
def test_basic_credentials_are_decoded_and_encoded_again(
    inside: SandboxedProgram, upstream: RecordingUpstream, token: str, pair: str
) -> None:
    inside.ask(HOST, "/v1/x", headers=[f"Authorization: {basic(pair.format(token))}"])
    assert upstream.requests[0].headers["authorization"] == basic(pair.format(VALUE))


def test_another_header_carries_the_value_where_the_scope_names_it(
    inside: SandboxedProgram, upstream: RecordingUpstream
) -> None:
    inside.ask(HOST, "/v1/x", headers=[f"X-API-Key: {inside.egress.environment['KEY']}"])
    assert upstream.requests[0].headers["x-api-key"] == VALUE


@pytest.mark.parametrize(
    ("kind", "body", "sent"),
    [
        ("application/json", '{"a": 1, "token": "TOKEN"}', json.dumps({"a": 1, "token": VALUE})),
        ("application/x-www-form-urlencoded", "a=1&token=TOKEN", urlencode({"a": 1, "token": VALUE})),
    ],
)
def test_a_field_of_the_body_carries_the_value(
    inside: SandboxedProgram, upstream: RecordingUpstream, kind: str, body: str, sent: str
) -> None:
    filled = body.replace("TOKEN", inside.egress.environment["FIELD_TOKEN"]).encode()
    assert inside.ask(HOST, "/v1/login", "POST", [f"Content-Type: {kind}"], filled).status == 200
    assert upstream.requests[0].body.decode() == sent


def test_the_use_of_a_secret_is_in_the_ledger_before_the_request_leaves(
    inside: SandboxedProgram, upstream: RecordingUpstream, token: str, gateway: Running, who: Passport
) -> None:
    known: list[tuple[str, ...]] = []

    def look(_: object, line: socket.socket) -> None:
        known.extend(d.secrets for d in gateway.decisions(who.run_id))
        line.sendall(reply())

    upstream.answer = look
    inside.ask(HOST, "/v1/x", headers=[f"Authorization: Bearer {token}"])
    login = json.dumps({"token": inside.egress.environment["FIELD_TOKEN"]}).encode()
    inside.ask(HOST, "/v1/login", "POST", ["Content-Type: application/json"], login)
    assert known == [("API_TOKEN",), ("API_TOKEN",), ("FIELD_TOKEN",)]
    assert VALUE not in str(gateway.ledger.entries(run_id=who.run_id))


# ── nowhere else ──


@pytest.mark.parametrize(
    ("host", "path", "method", "header", "body"),
    [
        (OTHER, "/v1/x", "GET", "Authorization: Bearer {}", ""),
        (HOST, "/v2/x", "GET", "Authorization: Bearer {}", ""),
        (HOST, "/v1/x", "GET", "X-Other: {}", ""),
        (HOST, "/v1/x", "GET", "{}: x", ""),
        (HOST, "/v1/x", "GET", "Cookie: a={}", ""),
        (HOST, "/v1/x", "GET", f"X-Other: {basic('a:PLACEHOLDER')}", ""),
        (HOST, "/v1/{}", "GET", "X: y", ""),
        (HOST, "/v1/x?a={}", "GET", "X: y", ""),
        (HOST, "/v1/x", "POST", "X: y", "here is {}"),
        (HOST, "/v1/x", "POST", "Authorization: Bearer {}", "and again {}"),
        (OTHER, "/v1/x", "POST", "Content-Type: application/json", '{{"token": "{}"}}'),
    ],
)
def test_a_placeholder_anywhere_else_is_denied_and_audited(
    inside: SandboxedProgram, upstream: RecordingUpstream, token: str, gateway: Running, who: Passport,
    host: str, path: str, method: str, header: str, body: str,
) -> None:  # fmt: skip
    header = f"X-Other: {basic(f'a:{token}')}" if "Basic" in header else header.format(token)
    answered = inside.ask(host, path.format(token), method, [header], body.format(token).encode())
    assert answered.status == 403
    assert upstream.requests == []
    login = [d for d in gateway.decisions(who.run_id) if d.secrets]
    assert login == []


@pytest.mark.parametrize(
    "body",
    ['{"token": "x", "a": "TOKEN"}', '{"token": {"token": "TOKEN"}}', '["TOKEN"]', '{"token": "TOKEN", "TOKEN": 1}',
     '{"token": "TOKEN"', '{"token": "x", "a": "TOKEN", "token": "TOKEN"}'],
)  # fmt: skip
def test_a_placeholder_in_another_field_is_denied(
    inside: SandboxedProgram, upstream: RecordingUpstream, body: str
) -> None:
    filled = body.replace("TOKEN", inside.egress.environment["FIELD_TOKEN"]).encode()
    assert inside.ask(HOST, "/v1/login", "POST", ["Content-Type: application/json"], filled).status == 403
    assert upstream.requests == []


def test_a_compressed_body_gets_no_secret(inside: SandboxedProgram, upstream: RecordingUpstream) -> None:
    body = json.dumps({"token": inside.egress.environment["FIELD_TOKEN"]}).encode()
    headers = ["Content-Type: application/json", "Content-Encoding: gzip"]
    assert inside.ask(HOST, "/v1/login", "POST", headers, body).status == 415
    assert inside.ask(HOST, "/v1/login", "POST", headers, gzip.compress(body)).status == 200
    assert VALUE.encode() not in gzip.decompress(upstream.requests[0].body)


@pytest.mark.parametrize("method", ["POST"])
def test_a_secret_goes_with_no_other_method(inside: SandboxedProgram, upstream: RecordingUpstream, method: str) -> None:
    key = inside.egress.environment["KEY"]
    assert inside.ask(HOST, "/v1/x", method, [f"X-API-Key: {key}"]).status == 403
    assert upstream.requests == []


def test_a_placeholder_of_another_listener_is_worth_nothing(
    gateway: Running, inside: SandboxedProgram, upstream: RecordingUpstream, token: str, who: Passport
) -> None:
    with gateway.block.admit(who) as egress:
        assert egress is not None
        assert egress.environment["API_TOKEN"] != token
        assert (
            SandboxedProgram(egress, upstream.port).ask(HOST, "/v1/x", headers=[f"Authorization: {token}"]).status
            == 403
        )
    assert upstream.requests == []


def test_a_secret_never_goes_over_plain_http(gateway: Running) -> None:
    plain = RecordingUpstream(None)
    try:
        allowed = passport(rule(plain.port, HOST, scheme="http"), secrets=["API_TOKEN"])
        with gateway.block.admit(allowed) as egress:
            assert egress is not None
            at, token = f"{HOST}:{plain.port}", egress.environment["API_TOKEN"]
            sent = head("GET", f"http://{at}/v1/x", at, f"Authorization: Bearer {token}")
            assert SandboxedProgram(egress, plain.port).raw(sent).status == 403
        assert plain.requests == []
    finally:
        plain.close()


@pytest.mark.parametrize("split", [1, 20, 47])
def test_a_placeholder_in_a_streamed_body_breaks_the_request_off(
    inside: SandboxedProgram, upstream: RecordingUpstream, token: str, gateway: Running, who: Passport, split: int
) -> None:
    at = f"{HOST}:{inside.port}"
    with inside.tunnel(HOST) as line:
        line.sendall(head("POST", "/v1/x", at, "Transfer-Encoding: chunked"))
        for piece in (b"before ", token[:split].encode(), token[split:].encode(), b" after"):
            line.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        assert line.recv(1) == b""
    assert upstream.requests == []
    with inside.tunnel(HOST) as line:
        line.sendall(head("GET", "/v1/x", at))
        assert told(line).status == 200


# ── not back ──

ECHOES = {
    "as it is": VALUE.encode(),
    "in JSON": json.dumps({"seen": VALUE}).encode(),
    "in JSON with escaped slashes": json.dumps({"seen": VALUE}).replace("/", "\\/").encode(),
    "in a URL": quote(VALUE, safe="").encode(),
    "in hexadecimal": VALUE.encode().hex().encode(),
    **{f"in base64 after {size} bytes": base64.b64encode(b"x" * size + VALUE.encode() + b"tail") for size in range(4)},
    "in base64 for URLs": base64.urlsafe_b64encode(b"x" + VALUE.encode()),
    "in Basic credentials": base64.b64encode(f"user:{VALUE}".encode()),
}


def traces(seen: bytes) -> list[bytes]:
    """Parts of the value, in any form, that came back: none may be longer than chance and base64's edges allow."""
    forms = [VALUE.encode(), VALUE.encode().hex().encode(), quote(VALUE, safe="").encode()]
    forms += [base64.b64encode(b"x" * size + VALUE.encode())[4:-4] for size in range(3)]
    return [form[at : at + 8] for form in forms for at in range(len(form) - 8) if form[at : at + 8] in seen]


@pytest.mark.parametrize("how", ECHOES)
def test_an_echo_is_redacted(inside: SandboxedProgram, upstream: RecordingUpstream, token: str, how: str) -> None:
    echo = b"before " + ECHOES[how] + b" after"
    upstream.answer = lambda _, line: line.sendall(reply(echo))
    answered = inside.ask(HOST, "/v1/x", headers=[f"Authorization: Bearer {token}"])
    assert traces(answered.body) == []
    assert len(answered.body) == len(echo)
    assert answered.body.startswith(b"before ") and answered.body.endswith(b" after")


def test_an_echo_in_headers_is_redacted(inside: SandboxedProgram, upstream: RecordingUpstream, token: str) -> None:
    headers = [f"Location: https://x/?t={VALUE}", f"Set-Cookie: a={quote(VALUE, safe='')}", f"X-{VALUE[:6]}: {VALUE}"]
    upstream.answer = lambda _, line: line.sendall(reply(b"", *headers, status=f"302 {VALUE}"))
    answered = inside.ask(HOST, "/v1/x", headers=[f"Authorization: Bearer {token}"])
    assert answered.status == 302
    assert traces(str(answered.headers).encode()) == []


def test_an_echo_to_a_later_request_without_the_secret_is_redacted(
    inside: SandboxedProgram, upstream: RecordingUpstream
) -> None:
    upstream.answer = lambda _, line: line.sendall(reply(VALUE.encode()))
    assert traces(inside.ask(HOST, "/elsewhere").body) == []


@pytest.mark.parametrize("size", [1, 3, 16])
def test_an_echo_split_over_events_is_redacted(
    inside: SandboxedProgram, upstream: RecordingUpstream, token: str, size: int
) -> None:
    text = f"data: {VALUE}\n\ndata: {base64.b64encode(VALUE.encode()).decode()}\n\n".encode()
    pieces = chunked(*(text[at : at + size] for at in range(0, len(text), size)))

    def one_by_one(_: object, line: socket.socket) -> None:
        for piece in pieces:
            line.sendall(piece)

    upstream.answer = one_by_one
    answered = inside.ask(HOST, "/v1/x", headers=[f"Authorization: Bearer {token}"])
    assert traces(answered.body) == []
    assert answered.body.startswith(b"data: ***") and len(answered.body) == len(text)


def test_events_pass_as_they_come(inside: SandboxedProgram, upstream: RecordingUpstream, token: str) -> None:
    seen = threading.Event()

    def in_turn(_: object, line: socket.socket) -> None:
        first, second, *rest = chunked(b"data: one\n\n", b"data: two\n\n")
        line.sendall(first + second)
        assert seen.wait(30)
        for piece in rest:
            line.sendall(piece)

    upstream.answer = in_turn
    with inside.tunnel(HOST) as line:
        line.sendall(head("GET", "/v1/x", f"{HOST}:{inside.port}", f"Authorization: Bearer {token}"))
        got = b""
        while b"one" not in got:
            got += line.recv(4096)
        seen.set()
        while b"two" not in got:
            got += line.recv(4096)


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_an_echo_in_gzip_is_redacted(
    inside: SandboxedProgram, upstream: RecordingUpstream, token: str, how: str
) -> None:
    body = gzip.compress(f"before {VALUE} after".encode())
    whole = reply(body, "Content-Encoding: gzip")
    parts = b"".join(chunked(body[:9], body[9:], headers="content-encoding: gzip\r\n"))
    upstream.answer = lambda _, line: line.sendall(whole if how == "length" else parts)
    answered = inside.ask(HOST, "/v1/x", headers=[f"Authorization: Bearer {token}", "Accept-Encoding: gzip"])
    assert answered.body == b"before " + b"*" * len(VALUE) + b" after"
    assert "content-encoding" not in answered.headers


def test_an_answer_that_cannot_be_looked_into_is_withheld(
    inside: SandboxedProgram, upstream: RecordingUpstream, token: str
) -> None:
    for encoding in ("br", "zstd", "gzip, gzip", "rot13"):
        upstream.answer = lambda _, line, e=encoding: line.sendall(reply(b"opaque", f"Content-Encoding: {e}"))  # type: ignore[misc]
        answered = inside.ask(HOST, "/v1/x", headers=[f"Authorization: Bearer {token}"])
        assert (answered.status, b"opaque" in answered.body) == (502, False)
    packed = b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n6\r\nopaque\r\n0\r\n\r\n"
    upstream.answer = lambda _, line: line.sendall(packed)
    answered = inside.ask(HOST, "/v1/x", headers=[f"Authorization: Bearer {token}", "TE: gzip"])
    assert (answered.status, b"opaque" in answered.body) == (502, False)
    assert "te" not in upstream.requests[-1].headers
    upstream.answer = lambda _, line: line.sendall(reply(b"no gzip at all", "Content-Encoding: gzip"))
    with inside.tunnel(HOST) as line:
        line.sendall(head("GET", "/v1/x", f"{HOST}:{inside.port}", f"Authorization: Bearer {token}"))
        assert b"no gzip" not in told(line).body


def test_an_abort_in_the_middle_of_an_echo_withholds_what_was_held_back(
    inside: SandboxedProgram, upstream: RecordingUpstream, token: str
) -> None:
    def abort(_: object, line: socket.socket) -> None:
        half = f"before\n{VALUE[:20]}".encode()
        line.sendall(chunked(half)[0] + chunked(half)[1])
        line.shutdown(socket.SHUT_RDWR)

    upstream.answer = abort
    with inside.tunnel(HOST) as line:
        line.sendall(head("GET", "/v1/x", f"{HOST}:{inside.port}", f"Authorization: Bearer {token}"))
        got = b""
        while piece := line.recv(4096):
            got += piece
    assert b"before" in got
    assert VALUE[:8].encode() not in got


def test_a_head_request_and_an_empty_answer_pass(
    inside: SandboxedProgram, upstream: RecordingUpstream, token: str
) -> None:
    headers = [f"Authorization: Bearer {token}"]
    upstream.answer = lambda _, line: line.sendall(
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-encoding: br\r\n\r\n"
    )
    assert inside.ask(HOST, "/v1/x", "HEAD", headers).headers["content-length"] == "5"
    upstream.answer = lambda _, line: line.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert inside.ask(HOST, "/v1/x", headers=headers).status == 204


def test_what_belongs_to_no_secret_comes_back_as_it_is(inside: SandboxedProgram, upstream: RecordingUpstream) -> None:
    body = gzip.compress(b"any bytes at all")
    upstream.answer = lambda _, line: line.sendall(reply(body, "Content-Encoding: gzip"))
    assert inside.ask(OTHER, "/x").body == body


# ── WebSocket ──


@pytest.fixture
def sockets(authority: Authority) -> Iterator[int]:
    """The port of a server that echoes messages, and before that the header that it was called with."""

    def echo(line: websockets.sync.server.ServerConnection) -> None:
        assert line.request is not None
        line.send(f"called with {line.request.headers.get('Authorization')}")
        for message in line:
            line.send(message)

    with websockets.sync.server.serve(echo, "127.0.0.1", 0, ssl=authority.server_context()) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield served.socket.getsockname()[1]
        served.shutdown()


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_websocket_messages_are_redacted_and_watched(
    gateway: Running, sockets: int, compression: str | None, request: pytest.FixtureRequest
) -> None:
    who = passport(rule(sockets, HOST), secrets=["API_TOKEN"], run_id=request.node.name)
    with gateway.block.admit(who) as egress:
        assert egress is not None
        inside, token = SandboxedProgram(egress, sockets), egress.environment["API_TOKEN"]
        with (
            inside.tunnel(HOST) as line,
            websockets.sync.client.unix_connect(
                uri=f"ws://{HOST}:{sockets}/v1/socket", sock=line, compression=compression,
                additional_headers={"Authorization": f"Bearer {token}"},
            ) as talk,
        ):  # fmt: skip
            assert talk.recv(timeout=30) == f"called with Bearer {'*' * len(VALUE)}"
            talk.send("hello")
            assert talk.recv(timeout=30) == "hello"
            talk.send(base64.b64encode(VALUE.encode()))
            assert traces(talk.recv(timeout=30)) == []  # type: ignore[arg-type]
            talk.send(f"take this: {token}")
            with pytest.raises((ConnectionClosed, WebSocketException, OSError)):
                talk.recv(timeout=30)
    reasons = [d.reason for d in gateway.decisions(who.run_id) if not d.allowed]
    assert reasons == ["the placeholder of secret API_TOKEN was on its way out: the connection was closed"]
