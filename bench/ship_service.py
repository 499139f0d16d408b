"""The service that `bench/ship.py` releases: GET, POST, slow answers and a WebSocket echo, by the standard library.

It runs as a release, never here. `bad.txt` beside it holds the share of answers that fail, as 0.3.
"""

import asyncio
import base64
import hashlib
import json
import os
import random
import signal
import sys
from pathlib import Path

RELEASE = os.environ["RELEASE_ID"]
BAD = float((Path(__file__).with_name("bad.txt")).read_text())
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # https://www.rfc-editor.org/rfc/rfc6455#section-1.3
_sockets: set[asyncio.StreamWriter] = set()
_over = asyncio.Event()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, kept alive."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            line, *rest = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
            method, path, _ = line.split(" ", 2)
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            if path == "/ws":
                await echo(reader, writer, headers["sec-websocket-key"])
                return
            if path == "/slow":
                await asyncio.sleep(0.7)
            code = 500 if path != "/health" and random.random() < BAD else 200
            said = {"status": "pass", "releaseId": RELEASE, "method": method, "got": len(body)}
            answer = json.dumps(said).encode()
            close = "Connection: close\r\n" if _over.is_set() else ""
            writer.write(f"HTTP/1.1 {code} X\r\nContent-Length: {len(answer)}\r\n{close}\r\n".encode() + answer)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
    """Short frames, back as they came, with the release in front."""
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
    upgrade = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    writer.write(f"{upgrade}Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())
    _sockets.add(writer)
    try:
        while True:
            first, length = await reader.readexactly(2)
            mask, data = await reader.readexactly(4), await reader.readexactly(length & 127)
            text = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
            if first & 15 == 8:
                writer.write(b"\x88\x00")
                return
            payload = RELEASE[:8].encode() + text
            writer.write(bytes((0x81, len(payload))) + payload)
            await writer.drain()
    finally:
        _sockets.discard(writer)


async def main() -> None:
    """Until SIGTERM: then WebSockets are told that it goes, and what is under way is answered."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, _over.set)
    server = await asyncio.start_server(serve, os.environ.get("HOST", "127.0.0.1"), int(sys.argv[1]), backlog=1024)
    await _over.wait()
    server.close()
    for writer in _sockets:
        writer.write(b"\x88\x02\x03\xe9")  # 1001, going away
    await asyncio.sleep(1.0)


asyncio.run(main())
