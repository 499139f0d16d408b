"""Where a sandbox's requests go, and where they don't."""

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.egress import Passport
from domain.errors import GatewayError, InputError
from kits.product.gateway import (
    Authority,
    ConnectRefused,
    GatewayAnswer,
    RecordingUpstream,
    Running,
    SandboxedProgram,
    head,
    passport,
    plain_answer,
    reply,
    rule,
    running,
    secret,
    told,
)

HOST = "api.example.com"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("home"), authority) as made:
        yield made


@pytest.fixture(scope="module")
def servers(authority: Authority) -> Iterator[tuple[RecordingUpstream, RecordingUpstream]]:
    both = RecordingUpstream(authority.server_context()), RecordingUpstream(None)
    yield both
    for server in both:
        server.close()


@pytest.fixture
def upstream(servers: tuple[RecordingUpstream, RecordingUpstream]) -> RecordingUpstream:
    servers[0].answer = plain_answer
    servers[0].requests.clear()
    return servers[0]


@pytest.fixture
def plain(servers: tuple[RecordingUpstream, RecordingUpstream]) -> RecordingUpstream:
    servers[1].requests.clear()
    return servers[1]


@pytest.fixture
def who(upstream: RecordingUpstream, request: pytest.FixtureRequest) -> Passport:
    rules = (rule(upstream.port, HOST, paths=("/v1/**",), methods=("GET", "POST")),)
    return passport(*rules, run_id=request.node.name)


@pytest.fixture
def inside(gateway: Running, upstream: RecordingUpstream, who: Passport) -> Iterator[SandboxedProgram]:
    with gateway.block.admit(who) as egress:
        assert egress is not None
        yield SandboxedProgram(egress, upstream.port)


def denied(
    inside: SandboxedProgram, host: str, path: str = "/v1/x", method: str = "GET", *headers: str
) -> GatewayAnswer:
    try:
        return inside.ask(host, path, method, headers)
    except ConnectRefused as no:
        return no.told


# ── allow and deny ──


def test_what_a_rule_allows_reaches_the_server(inside: SandboxedProgram, upstream: RecordingUpstream) -> None:
    assert inside.ask(HOST, "/v1/x?y=1", "POST", ["X-Mine: 1"], b"body")[0::2] == (200, b"fine")
    (seen,) = upstream.requests
    assert seen.line == "POST /v1/x?y=1 HTTP/1.1"
    assert seen.body == b"body"
    assert seen.headers["x-mine"] == "1"


@pytest.mark.parametrize(
    ("host", "path", "method"),
    [("other.example.com", "/v1/x", "GET"), (HOST, "/v2/x", "GET"), (HOST, "/v1/x", "DELETE"), (HOST, "/V1/x", "GET")],
)
def test_what_no_rule_allows_never_reaches_a_server(
    inside: SandboxedProgram, upstream: RecordingUpstream, gateway: Running, host: str, path: str, method: str
) -> None:
    connected = upstream.connections
    assert denied(inside, host, path, method).status == 403
    assert upstream.requests == []
    assert upstream.connections == connected


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0x7f000001", "2130706433", "127.1", "0177.0.0.1",
     "localhost", "x.localhost", "169.254.169.254", "metadata.google.internal"],
)  # fmt: skip
def test_addresses_localhost_and_metadata_are_denied_before_tls(
    inside: SandboxedProgram, gateway: Running, host: str
) -> None:
    before = len(gateway.lookups)
    with pytest.raises(ConnectRefused) as no:
        inside.open_tunnel(host)
    assert no.value.told.status == 403
    assert len(gateway.lookups) == before


@pytest.mark.parametrize("host", ["a\0b", "api.example.com%00.evil.net", "user@api.example.com", "*", "*.example.com"])
def test_what_is_no_host_is_malformed(inside: SandboxedProgram, host: str) -> None:
    for sent in (f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n", head("GET", f"http://{host}/", host)):
        assert inside.raw(sent if isinstance(sent, bytes) else sent.encode()).status == 400


@pytest.mark.parametrize("spelt", ["API.EXAMPLE.COM", "api.example.com.", "Api.Example.Com."])
def test_a_host_is_allowed_however_it_is_spelt(
    inside: SandboxedProgram, upstream: RecordingUpstream, spelt: str
) -> None:
    with inside.tunnel(spelt, sni=HOST) as line:
        line.sendall(head("GET", "/v1/x", f"{spelt}:{inside.port}"))
        assert told(line).status == 200
    assert upstream.requests[0].headers["host"] == f"{HOST}:{inside.port}"


@pytest.mark.parametrize(
    "path",
    ["/v1/../x", "/v1/%2e%2e/x", "/v1%2f..%2fx", "//v1/x", "/v1//x", "/v1/%00", "/v1/x%0a", "/v1/%252e%252e/x", 
     "/v1\\x", "/v1/..;/x", "*"],
)  # fmt: skip
def test_a_path_with_two_meanings_is_malformed(
    inside: SandboxedProgram, upstream: RecordingUpstream, path: str
) -> None:
    assert denied(inside, HOST, path).status == 400
    assert upstream.requests == []


@pytest.mark.parametrize(
    "header",
    ["X-HTTP-Method-Override: DELETE", "x-method-override: PUT", "X-Original-URL: /admin", "X-Rewrite-URL: /a"],
)
def test_headers_that_would_change_what_was_judged_are_denied(
    inside: SandboxedProgram, upstream: RecordingUpstream, header: str
) -> None:
    assert denied(inside, HOST, "/v1/x", "POST", header).status == 403
    assert upstream.requests == []


def test_a_websocket_needs_a_rule_that_allows_post(gateway: Running, upstream: RecordingUpstream) -> None:
    with gateway.block.admit(passport(rule(upstream.port, HOST, methods=("GET",)))) as egress:
        assert egress is not None
        inside = SandboxedProgram(egress, upstream.port)
        upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")
        assert denied(inside, HOST, "/v1/x", "GET", *upgrade).status == 403
        assert denied(inside, HOST, "/v1/x", "GET", *upgrade[2:]).status == 403
    assert upstream.requests == []


# ── one meaning for everybody ──


@pytest.mark.parametrize("named", ["other.example.com", "evil.example.net", "127.0.0.1", f"{HOST}:1", HOST])
def test_a_host_header_that_is_not_the_tunnels_is_misdirected(
    inside: SandboxedProgram, upstream: RecordingUpstream, named: str
) -> None:
    with inside.tunnel(HOST) as line:
        line.sendall(head("GET", "/v1/x", named))  # the last one lacks the port
        assert told(line).status == 421
    assert upstream.requests == []


def test_a_tls_name_that_is_not_the_tunnels_is_misdirected(
    inside: SandboxedProgram, upstream: RecordingUpstream
) -> None:
    with inside.tunnel(HOST, sni="other.example.com") as line:
        line.sendall(head("GET", "/v1/x", f"{HOST}:{inside.port}"))
        assert told(line).status == 421
    assert upstream.requests == []


def test_plain_http_in_a_tunnel_is_misdirected(inside: SandboxedProgram, upstream: RecordingUpstream) -> None:
    with inside.open_tunnel(HOST) as line:
        line.sendall(head("GET", "/v1/x", f"{HOST}:{inside.port}"))
        assert told(line).status == 421
    assert upstream.requests == []


@pytest.mark.parametrize(
    "sent",
    [
        "GET /v1/x HTTP/1.1\r\nHost: {at}\r\nHost: other.example.com\r\n\r\n",
        "GET /v1/x HTTP/1.1\r\nX: y\r\n\r\n",
        "GET https://other.example.com/v1/x HTTP/1.1\r\nHost: {at}\r\n\r\n",
        "POST /v1/x HTTP/1.1\r\nHost: {at}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/x HTTP/1.1\r\nHost: {at}\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
        "POST /v1/x HTTP/1.1\r\nHost: {at}\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "GET /v1/x HTTP/1.1\r\nHost: {at}\r\nX: a\0b\r\n\r\n",
        "GET /v1/x HTTP/1.1\r\nHost: {at}\r\nX: a\r\n folded\r\n\r\n",
        "GET /v1/x HTTP/1.1\r\nHost : {at}\r\n\r\n",
        "CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n\r\n",
        "GET /v1/x HTTP/2.0\r\nHost: other.example.com\r\nHost: {at}\r\n\r\n",
    ],
)
def test_a_head_that_two_servers_could_read_differently_is_malformed(
    inside: SandboxedProgram, upstream: RecordingUpstream, sent: str
) -> None:
    with inside.tunnel(HOST) as line:
        line.sendall(sent.format(at=f"{HOST}:{inside.port}").encode())
        assert told(line).status == 400
    assert upstream.requests == []


def test_https_without_a_tunnel_is_malformed(inside: SandboxedProgram, upstream: RecordingUpstream) -> None:
    at = f"{HOST}:{inside.port}"
    assert inside.raw(head("GET", f"https://{at}/v1/x", at)).status == 400
    assert upstream.requests == []


def test_plain_http_goes_without_a_tunnel_where_a_rule_says_http(gateway: Running, plain: RecordingUpstream) -> None:
    with gateway.block.admit(passport(rule(plain.port, HOST, scheme="http"))) as egress:
        assert egress is not None
        inside, at = SandboxedProgram(egress, plain.port), f"{HOST}:{plain.port}"
        assert inside.raw(head("GET", f"http://{at}/x", at, "Proxy-Authorization: Basic eDp5")).status == 200
        assert inside.raw(head("GET", f"http://{at}/x", "evil.example.net")).status == 421
    (seen,) = plain.requests
    assert seen.line == "GET /x HTTP/1.1"
    assert "proxy-authorization" not in seen.headers


def test_http2_is_not_spoken(inside: SandboxedProgram) -> None:
    context = ssl.create_default_context(cafile=str(inside.egress.directory / "ca.pem"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with context.wrap_socket(inside.open_tunnel(HOST), server_hostname=HOST) as line:
        assert line.selected_alpn_protocol() == "http/1.1"


def test_an_answer_belongs_to_its_request_on_a_pipelined_connection(
    inside: SandboxedProgram, upstream: RecordingUpstream
) -> None:
    upstream.answer = lambda request, line: line.sendall(reply(request.line.encode()))
    at = f"{HOST}:{inside.port}"
    with inside.tunnel(HOST) as line:
        line.sendall(head("GET", "/v1/a", at) + head("GET", "/v2/no", at) + head("GET", "/v1/b", at))
        with line.makefile("rb") as reading:
            answered = b"".join(iter(reading.readline, b""))
    assert b"/v1/a" in answered and b" 403 " in answered
    assert [seen.line for seen in upstream.requests] == ["GET /v1/a HTTP/1.1"]


# ── names and addresses ──


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["10.0.0.7"], ["93.184.216.34", "127.0.0.1"], ["::ffff:127.0.0.1"], ["fd00::1"]]
)
def test_an_allowed_name_that_resolves_to_a_private_address_is_denied(
    gateway: Running, upstream: RecordingUpstream, addresses: list[str]
) -> None:
    gateway.addresses[HOST] = addresses
    connected = upstream.connections
    try:
        with gateway.block.admit(passport(rule(upstream.port, HOST, private=False), run_id=str(addresses))) as egress:
            assert egress is not None
            answered = SandboxedProgram(egress, upstream.port).ask(HOST, "/v1/x")
        assert (answered.status, b"not public" in answered.body) == (403, True)
        assert [d.reason for d in gateway.decisions(str(addresses)) if not d.allowed] == [
            "its name resolves to an address that is not public"
        ]
        assert upstream.connections == connected
    finally:
        gateway.addresses.clear()


def test_metadata_addresses_are_denied_even_where_private_ones_are_not(
    inside: SandboxedProgram, gateway: Running
) -> None:
    gateway.addresses[HOST] = ["169.254.169.254"]
    try:
        assert inside.ask(HOST, "/v1/x").status == 403
    finally:
        gateway.addresses.clear()


def test_a_name_is_looked_up_once_for_a_connection(
    inside: SandboxedProgram, gateway: Running, upstream: RecordingUpstream
) -> None:
    before, connected = gateway.lookups.count(HOST), upstream.connections
    with inside.tunnel(HOST) as line:
        for _ in range(20):
            line.sendall(head("GET", "/v1/x", f"{HOST}:{inside.port}"))
            assert told(line).status == 200
    assert gateway.lookups.count(HOST) == before + 1
    assert upstream.connections == connected + 1


def test_a_server_whose_certificate_nobody_vouches_for_is_not_spoken_to(
    gateway: Running, tmp_path: Path, upstream: RecordingUpstream
) -> None:
    stranger = RecordingUpstream(Authority(tmp_path).server_context())
    try:
        with gateway.block.admit(passport(rule(stranger.port, HOST))) as egress:
            assert egress is not None
            answered = SandboxedProgram(egress, stranger.port).ask(HOST, "/v1/x")
        assert (answered.status, b"ertificate" in answered.body) == (502, True)
        assert stranger.requests == []
    finally:
        stranger.close()


def test_a_server_whose_certificate_is_for_another_name_is_not_spoken_to(
    gateway: Running, upstream: RecordingUpstream
) -> None:
    with gateway.block.admit(passport(rule(upstream.port, "unnamed.example.org"))) as egress:
        assert egress is not None
        assert SandboxedProgram(egress, upstream.port).ask("unnamed.example.org", "/v1/x").status == 502
    assert upstream.requests == []


def test_our_error_pages_repeat_nothing_of_the_server(inside: SandboxedProgram, upstream: RecordingUpstream) -> None:
    for garbage in (b"unheard of s3cr3t\r\n\r\n", b"HTTP/1.1 200 OK\r\nno colon s3cr3t\r\n\r\n", b"", b"HTTP/9 s3cr3t"):
        upstream.answer = lambda _, line, sent=garbage: (line.sendall(sent), line.shutdown(socket.SHUT_RDWR))  # type: ignore[misc]
        with inside.tunnel(HOST) as line:
            line.sendall(head("GET", "/v1/x", f"{HOST}:{inside.port}"))
            answered = told(line)
        assert answered.status == 502
        assert b"s3cr3t" not in answered.body


# ── bounds ──


def flood(line: socket.socket, piece: bytes, times: int) -> GatewayAnswer | None:
    """What is answered to so much, or None if the connection was cut before."""
    try:
        for _ in range(times):
            line.sendall(piece)
        return told(line)
    except (OSError, http.client.HTTPException):
        return None


def test_a_head_without_end_is_cut_off(inside: SandboxedProgram) -> None:
    with inside.tunnel(HOST) as line:
        line.sendall(b"GET /v1/x HTTP/1.1\r\n")
        answered = flood(line, b"X: " + b"x" * 10_000 + b"\r\n", 400)
    assert answered is None or answered.status == 431


def test_what_is_sent_before_its_turn_is_bounded(inside: SandboxedProgram, upstream: RecordingUpstream) -> None:
    hold = threading.Event()
    upstream.answer = lambda _, line: hold.wait(30) and None  # type: ignore[func-returns-value]
    try:
        with inside.tunnel(HOST) as line:
            line.sendall(head("GET", "/v1/x", f"{HOST}:{inside.port}"))
            answered = flood(line, b"x" * 10_000, 2000)
        assert answered is None or answered.status == 431
    finally:
        hold.set()


def test_a_large_upload_and_a_large_download_pass_whole(inside: SandboxedProgram, upstream: RecordingUpstream) -> None:
    body = bytes(range(256)) * 80_000
    upstream.answer = lambda request, line: line.sendall(reply(request.body))
    assert inside.ask(HOST, "/v1/x", "POST", (), body).body == body


# ── who may come in ──


def test_a_passport_that_allows_nothing_gets_no_listener(gateway: Running) -> None:
    with gateway.block.admit(passport()) as egress:
        assert egress is None


def test_a_secret_that_nobody_set_up_is_told_by_name(gateway: Running, upstream: RecordingUpstream) -> None:
    with (
        pytest.raises(InputError, match="MISSING"),
        gateway.block.admit(passport(rule(upstream.port, HOST), secrets=["MISSING"])),
    ):
        pass
    assert list((gateway.root / "listeners").iterdir()) == []


def test_a_secret_of_another_repository_is_refused(gateway: Running, upstream: RecordingUpstream) -> None:
    gateway.secrets["THEIRS"] = secret("THEIRS", repositories=("srv/git/other.git",))
    with (
        pytest.raises(InputError, match="may not use secret THEIRS"),
        gateway.block.admit(passport(rule(upstream.port, HOST), secrets=["THEIRS"])),
    ):
        pass


def test_a_secret_of_another_phase_is_not_handed_out(gateway: Running, upstream: RecordingUpstream) -> None:
    gateway.secrets["DEPLOY"] = secret("DEPLOY", phases=("setup",))
    with gateway.block.admit(passport(rule(upstream.port, HOST), secrets=["DEPLOY"])) as egress:
        assert egress is not None
        assert "DEPLOY" not in egress.environment


def test_without_a_gateway_no_sandbox_is_let_in(tmp_path: Path, who: Passport) -> None:
    from blocks.gateway.gateway import EgressGateway

    block = EgressGateway(root=tmp_path)
    assert "does not answer" in (block.doctor() or "")
    with pytest.raises(GatewayError, match="does not answer"), block.admit(who):
        pass


def test_model_hosts_are_denied_without_models_and_without_a_provider(
    gateway: Running, upstream: RecordingUpstream
) -> None:
    host = "anthropic.models.lockgate.internal"
    with gateway.block.admit(passport(rule(upstream.port, HOST))) as egress:
        assert egress is not None
        assert denied(SandboxedProgram(egress, 443), host).status == 403
    with gateway.block.admit(passport(models=("anthropic/*",), usd=1)) as egress:
        assert egress is not None
        inside = SandboxedProgram(egress, 443)
        with inside.tunnel(host) as line:
            line.sendall(head("GET", "/v1/models", host))
            assert told(line).status == 403


# ── audit ──


def test_every_decision_is_in_the_ledger_when_the_listener_closes_without_queries(
    gateway: Running, upstream: RecordingUpstream, who: Passport
) -> None:
    with gateway.block.admit(who) as egress:
        assert egress is not None
        inside = SandboxedProgram(egress, upstream.port)
        for query in ("a", "b", "c"):
            inside.ask(HOST, f"/v1/x?token={query}")
        denied(inside, HOST, "/v2/x?token=hidden")
        denied(inside, "other.example.com")
    decisions = gateway.decisions(who.run_id)
    asked = {(d.host, d.method, d.path, d.allowed, d.status): 0 for d in decisions}
    for d in decisions:
        asked[d.host, d.method, d.path, d.allowed, d.status] += d.count
    assert sum(count for (_, _, path, allowed, _), count in asked.items() if path == "/v1/x" and allowed) == 3
    assert asked[HOST, "GET", "/v2/x", False, None] == 1
    assert asked["other.example.com", "CONNECT", "", False, None] == 1
    assert gateway.ledger.verify() is None
    assert "token" not in str(gateway.ledger.entries(run_id=who.run_id))


def test_a_flood_of_decisions_is_counted_in_few_lines(
    gateway: Running, upstream: RecordingUpstream, who: Passport
) -> None:
    with gateway.block.admit(who) as egress:
        assert egress is not None
        inside = SandboxedProgram(egress, upstream.port)
        with inside.tunnel(HOST) as line:
            for number in range(700):
                line.sendall(head("GET", f"/v1/{number}", f"{HOST}:{inside.port}"))
                assert told(line).status == 200
    entries = gateway.ledger.entries(run_id=who.run_id, kind="egress")
    assert all(len(entry.body["decisions"]) <= 201 for entry in entries)
    assert sum(d.count for d in gateway.decisions(who.run_id)) == 700
