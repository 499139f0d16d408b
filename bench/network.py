"""What a network of its own costs a release of the `process` target: the same service with and without, side by side.

    make bench-network

Two targets, each with its Caddy, are asked in turn over one kept connection, so that both meet the same load; then both
stream a large body. The last line is one JSON object.
"""

import http.client
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from blocks.targets.machine.process import ProcessTarget
from domain.health import HealthCheck
from domain.ports import ReleaseBuild
from domain.rollout import Rollout
from domain.trees import TreeEntry
from kits.servers import free_port
from kits.tiny_service import toolchain

ROUNDS, REQUESTS = int(os.environ.get("ROUNDS", "10")), 500
STREAM = 64 << 20
SERVICE = f"""
import socketserver, sys
BODY = bytes(1 << 20)
class Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    def handle(self):
        while (line := self.rfile.readline()):
            while self.rfile.readline().strip():
                pass
            if b"/stream" in line:
                self.wfile.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: {STREAM}\\r\\n\\r\\n")
                for _ in range({STREAM >> 20}):
                    self.wfile.write(BODY)
            else:
                self.wfile.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
Server((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""
REVISION = "a" * 40


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as folder:
        targets = {
            kind: ProcessTarget(
                name=kind, root=Path(folder), port=free_port(), rollout=Rollout(shares=(), bake_s=0), network=kind
            )
            for kind in ("host", "own")
        }
        try:
            for target in targets.values():
                serve(target)
            compare(targets)
        finally:
            for target in targets.values():
                target.stop()


def serve(target: ProcessTarget) -> None:
    tree = {"service.py": TreeEntry(0o100644, SERVICE.encode())}
    run = "python service.py {host} {port}"
    target.prepare(REVISION, ReleaseBuild(tree, toolchain(), run, HealthCheck(path="/"), None, {}, None))
    if problem := target.start(REVISION):
        raise SystemExit(problem)
    target.promote(REVISION)


def compare(targets: dict[str, ProcessTarget]) -> None:
    seconds: dict[str, list[float]] = {kind: [] for kind in targets}
    rates: dict[str, list[float]] = {kind: [] for kind in targets}
    for _ in range(ROUNDS):
        for kind, target in targets.items():
            connection = http.client.HTTPConnection("127.0.0.1", target.port)
            for _ in range(REQUESTS):
                seconds[kind].append(timed(connection, "/"))
            rates[kind].append(STREAM / timed(connection, "/stream") / 1e6)
            connection.close()
    load = round(os.getloadavg()[0], 1)
    result = {"load": load, **{kind: figures(seconds[kind], rates[kind]) for kind in targets}}
    for kind in targets:
        print(f"{kind:5} {result[kind]}")
    print(json.dumps(result))


def timed(connection: http.client.HTTPConnection, path: str) -> float:
    begun = time.perf_counter()
    connection.request("GET", path)
    connection.getresponse().read()
    return time.perf_counter() - begun


def figures(seconds: list[float], rates: list[float]) -> dict[str, float]:
    order = sorted(seconds)
    return {
        "p50_ms": round(1000 * statistics.median(order), 2),
        "p95_ms": round(1000 * order[int(0.95 * len(order))], 2),
        "stream_mb_s": round(statistics.median(rates)),
    }


if __name__ == "__main__":
    main()
