"""What the gateway costs: time to first byte against direct, and stream throughput beside plain mitmproxy.

    make bench-gateway

A TLS server, plain mitmproxy without addons of ours, and the gateway run as processes of their own on this machine.
Every round asks each way in turn over connections that stay open; `secret` is the gateway with a secret put in and its
echo looked for. The ratio of stream speeds is the median of what each round says. The last line is one JSON object.
"""

import asyncio
import json
import multiprocessing
import operator
import socket
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from kits.product.gateway import Authority, RecordingUpstream, Request, Running, head, passport, reply, rule, secret

HOST, PLAIN_HOST = "api.example.com", "localhost"
ROUNDS, REQUESTS, STREAMS, STREAM_MB = 5, 100, 9, 200
BLOCK = b"data: some text of a stream that is neither short nor secret\n" * 4096
SPAWN = multiprocessing.get_context("spawn")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as name:
        folder = Path(name)
        Authority(folder, (HOST, PLAIN_HOST))
        ports, stop = SPAWN.Queue(), SPAWN.Event()
        server = SPAWN.Process(target=serve, args=(folder, ports, stop))
        server.start()
        port: int = ports.get(timeout=60)
        plain = SPAWN.Process(target=plain_mitmproxy, args=(folder, ports, stop))
        gateway = SPAWN.Process(target=our_gateway, args=(folder, ports, stop))
        plain.start()
        plain_port: int = ports.get(timeout=60)
        gateway.start()
        ready = ports.get(timeout=60)
        assert ready == 0
        try:
            compare(folder, port, plain_port)
        finally:
            stop.set()
            for process in (gateway, plain, server):
                process.join(30)


# ── processes ──


def serve(folder: Path, ports: "multiprocessing.Queue[int]", stop: Event) -> None:
    """`/first` answers at once, `/stream` sends STREAM_MB."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tests-pair.pem")

    def answer(request: Request, line: socket.socket) -> None:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if "/stream" not in request.line:
            line.sendall(reply())
            return
        count = STREAM_MB * 1_000_000 // len(BLOCK)
        line.sendall(f"HTTP/1.1 200 OK\r\ncontent-length: {count * len(BLOCK)}\r\n\r\n".encode())
        for _ in range(count):
            line.sendall(BLOCK)

    ports.put(RecordingUpstream(context, answer).port)
    stop.wait()


def plain_mitmproxy(folder: Path, ports: "multiprocessing.Queue[int]", stop: Event) -> None:
    from mitmproxy.options import Options
    from mitmproxy.tools.dump import DumpMaster

    class Ready:
        def running(self) -> None:
            ports.put(master.addons.get("proxyserver").listen_addrs()[0][1])

    async def run() -> None:
        nonlocal master
        options = Options(listen_host="127.0.0.1", listen_port=0, confdir=str(folder / "plain"))
        master = DumpMaster(options, with_termlog=False, with_dumper=False)
        trust = str(folder / "tests-ca.pem")
        master.options.update(stream_large_bodies="1k", ssl_verify_upstream_trusted_ca=trust, http2=False)
        master.addons.add(Ready())
        asyncio.get_running_loop().run_in_executor(None, lambda: (stop.wait(), master.shutdown()))
        await master.run()

    master: DumpMaster
    asyncio.run(run())


def our_gateway(folder: Path, ports: "multiprocessing.Queue[int]", stop: Event) -> None:
    from blocks.ledger.ledger import Ledger

    ledger = Ledger(url=f"sqlite:///{folder / 'ledger.db'}")  # type: ignore[arg-type]
    made = Running(folder / "gateway", ledger, folder / "tests-ca.pem", {"API_TOKEN": secret(paths=("/**",))})
    made.start()
    ports.put(0)
    stop.wait()
    made.stop()


# ── the measure ──


def compare(folder: Path, port: int, plain_port: int) -> None:
    from blocks.gateway.gateway import EgressGateway
    from blocks.host.sockets import connect

    gateway = EgressGateway(root=folder / "gateway")
    bare = passport(rule(port, HOST), run_id="bare")
    keyed = passport(rule(port, HOST), secrets=["API_TOKEN"], run_id="keyed")
    with gateway.admit(bare) as plain_egress, gateway.admit(keyed) as secret_egress:
        assert plain_egress is not None and secret_egress is not None
        ours, with_secret = plain_egress.directory, secret_egress.directory
        bearer = f"Authorization: Bearer {secret_egress.environment['API_TOKEN']}"
        theirs = folder / "plain" / "mitmproxy-ca-cert.pem"

        def loopback(to: int) -> socket.socket:
            made = socket.create_connection(("127.0.0.1", to))
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return made

        ways = {
            "direct": Way(lambda: loopback(port), PLAIN_HOST, port, folder / "tests-ca.pem", tunnel=False),
            "mitmproxy": Way(lambda: loopback(plain_port), PLAIN_HOST, port, theirs),
            "gateway": Way(lambda: connect(ours, "gateway.sock", 60), HOST, port, ours / "ca.pem"),
            "secret": Way(lambda: connect(with_secret, "gateway.sock", 60), HOST, port, with_secret / "ca.pem", bearer),
        }
        first: dict[str, list[float]] = {name: [] for name in ways}
        speed: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(ROUNDS + 1):
            for name, way in ways.items():
                times = way.first_bytes("GET", "/first")
                if number:  # the first round warms up
                    first[name] += times
        for _ in range(STREAMS):
            for name, way in ways.items():
                speed[name].append(way.megabytes_a_second("/stream"))
    table(first, speed)


class Way:
    """One way to the server."""

    def __init__(
        self, dial: Callable[[], socket.socket], host: str, port: int, ca: Path, *headers: str, tunnel: bool = True
    ) -> None:
        self.dial, self.at, self.host, self.ca, self.headers, self.tunnel = (
            dial,
            f"{host}:{port}",
            host,
            ca,
            headers,
            tunnel,
        )

    def open(self) -> ssl.SSLSocket:
        line = self.dial()
        if self.tunnel:
            line.sendall(f"CONNECT {self.at} HTTP/1.1\r\nHost: {self.at}\r\n\r\n".encode())
            answered = line.recv(4096)
            assert b" 200 " in answered, answered
        return ssl.create_default_context(cafile=str(self.ca)).wrap_socket(line, server_hostname=self.host)

    def first_bytes(self, method: str, path: str) -> list[float]:
        """Seconds from request to first byte, over one connection; the first of it is not counted."""
        times = []
        asked = head(method, path, self.at, *self.headers)
        with self.open() as line:
            for _ in range(REQUESTS + 1):
                started = time.perf_counter()
                line.sendall(asked)
                answered = line.recv(65536)
                times.append(time.perf_counter() - started)
                assert answered.startswith(b"HTTP/1.1 200"), answered
                while not answered.endswith(b"fine"):
                    answered += line.recv(65536)
        return times[1:]

    def megabytes_a_second(self, path: str) -> float:
        with self.open() as line:
            started, got = time.perf_counter(), 0
            line.sendall(head("GET", path, self.at, *self.headers))
            while got < STREAM_MB * 1_000_000 - len(BLOCK):
                got += len(line.recv(1_000_000))
            return got / 1e6 / (time.perf_counter() - started)


def table(first: dict[str, list[float]], speed: dict[str, list[float]]) -> None:
    middle = {name: statistics.median(times) * 1000 for name, times in first.items()}
    late = {name: statistics.quantiles(times, n=20)[-1] * 1000 for name, times in first.items()}
    fast = {name: statistics.median(speeds) for name, speeds in speed.items()}
    print(f"{'':<12}{'first byte p50 ms':>20}{'p95 ms':>10}{'added p50 ms':>15}{'stream MB/s':>14}")
    for name in first:
        added = middle[name] - middle["direct"]
        print(f"{name:<12}{middle[name]:>20.2f}{late[name]:>10.2f}{added:>15.2f}{fast[name]:>14.0f}")
    result = {
        "added_ms": round(middle["gateway"] - middle["direct"], 2),
        "added_with_secret_ms": round(middle["secret"] - middle["direct"], 2),
        "mitmproxy_added_ms": round(middle["mitmproxy"] - middle["direct"], 2),
        "stream_mb_s": round(fast["gateway"], 1),
        "stream_with_secret_mb_s": round(fast["secret"], 1),
        "mitmproxy_stream_mb_s": round(fast["mitmproxy"], 1),
        "stream_ratio": round(statistics.median(map(operator.truediv, speed["gateway"], speed["mitmproxy"])), 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
