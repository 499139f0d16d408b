"""Users for `bench/ship.py`: keep-alive GET and POST, slow requests and open WebSockets, each answer looked at."""

import asyncio
import base64
import json
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

_BODY = b'{"n": 1}'


@dataclass
class Seen:
    """What users got. `errors`: answers that were no 200; `broken`: no answer at all; times in seconds."""

    requests: int = 0
    errors: int = 0
    broken: list[str] = field(default_factory=list)
    echoes: int = 0
    reconnects: int = 0
    seconds: list[float] = field(default_factory=list)
    releases: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        return self.errors + len(self.broken)

    def percentile_ms(self, share: float) -> float:
        times = sorted(self.seconds)
        return 1000 * times[int(share * (len(times) - 1))] if times else 0.0


class Users:
    """They ask in a thread of their own until the context closes. `seen` may be read at any time."""

    def __init__(self, port: int, *, getters: int = 12, posters: int = 6, slow: int = 4, sockets: int = 4) -> None:
        self.seen = Seen()
        self._port = port
        self._over = False
        self._kinds = {"GET": getters, "POST": posters, "SLOW": slow, "WS": sockets}
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()))

    def __enter__(self) -> "Users":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join()

    async def _all(self) -> None:
        tasks = []
        for kind, number in self._kinds.items():
            tasks += [self._socket() if kind == "WS" else self._ask(kind) for _ in range(number)]
        await asyncio.gather(*tasks)

    async def _ask(self, kind: str) -> None:
        path = {"GET": "/", "POST": "/orders", "SLOW": "/slow"}[kind]
        body = _BODY if kind == "POST" else b""
        method = "POST" if body else "GET"
        request = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        reader = writer = None
        while not self._over:
            started = time.perf_counter()
            try:
                if writer is None or reader is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.write(request)
                head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode("latin-1").lower()
                length = int(head.partition("content-length:")[2].partition("\r")[0])
                said = await reader.readexactly(length)
                self.seen.requests += 1
                self.seen.errors += " 200 " not in head.partition("\r")[0]
                if kind != "SLOW":
                    self.seen.seconds.append(time.perf_counter() - started)
                if " 200 " in head.partition("\r")[0]:
                    self.seen.releases[json.loads(said)["releaseId"][:8]] += 1
                if "connection: close" in head:
                    writer.close()
                    writer = None
            except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError) as err:
                self.seen.requests += 1
                self.seen.broken.append(f"{method} {path}: {err!r}")
                writer = None

    async def _socket(self) -> None:
        while not self._over:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                key = base64.b64encode(os.urandom(16)).decode()
                writer.write(
                    f"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
                )
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
                if b" 101 " not in head:
                    raise ValueError(head[:60])
                while not self._over:
                    writer.write(b"\x81\x84\x00\x00\x00\x00ping")
                    first, length = await asyncio.wait_for(reader.readexactly(2), 10)
                    data = await reader.readexactly(length)
                    if first & 15 == 8:
                        self.seen.reconnects += 1  # the release said that it goes
                        break
                    if not data.endswith(b"ping"):
                        raise ValueError(f"an echo that is none: {data!r}")
                    self.seen.echoes += 1
                    self.seen.requests += 1
                    await asyncio.sleep(0.05)
                writer.close()
            except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError) as err:
                self.seen.broken.append(f"websocket: {err!r}")
                await asyncio.sleep(0.05)
