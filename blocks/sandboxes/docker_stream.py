"""Raw streams of a Docker Engine, which its SDK has not whole."""

import contextlib
import json
import socket as sockets
from typing import Any

from blocks.host.docker import TIMEOUT_S, Engine


def open_stream(engine: Engine, path: str, body: dict[str, Any] | None = None) -> "Stream":
    """The connection that a POST to `path` turns into: stdin there, stdout and stderr back.

    By hand: the SDK hands out the socket below its own buffer, and loses what came with the answer's header.
    https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach
    """
    data = json.dumps(body).encode() if body is not None else b""
    head = (
        f"POST /v{engine.api.api_version}{path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    with engine.errors("attach"):
        connection = sockets.socket(sockets.AF_UNIX)
        try:
            connection.settimeout(TIMEOUT_S)
            connection.connect(engine.path)
            connection.sendall(head.encode() + data)
            answer = b""
            while b"\r\n\r\n" not in answer:
                piece = connection.recv(65536)
                if not piece:
                    raise ConnectionError("the connection was closed")
                answer += piece
            header, _, rest = answer.partition(b"\r\n\r\n")
            if header.split(b" ", 2)[1] not in (b"101", b"200"):
                raise ConnectionError((rest or header).decode(errors="replace").strip()[-300:])
        except BaseException:
            connection.close()
            raise
    return Stream(connection, rest)


class Stream:
    """A hijacked connection. What comes in is in frames: stream, three zeros, length in four bytes."""

    def __init__(self, connection: sockets.socket, early: bytes) -> None:
        self.connection = connection
        self._data = bytearray(early)

    def fileno(self) -> int:
        return self.connection.fileno()

    @property
    def has_frame(self) -> bool:
        """Whether there is something to take already, which no select sees: it came with the header."""
        return len(self._data) >= 8 and len(self._data) - 8 >= int.from_bytes(self._data[4:8], "big")

    def take(self) -> bytes | None:
        """What one recv brings, stdout and stderr together; None at the end. Partial frames wait for their rest."""
        if not self.has_frame:
            piece = self.connection.recv(1 << 18)
            if not piece:
                return None
            self._data += piece
        out = bytearray()
        at = 0
        while len(self._data) - at >= 8:
            size = int.from_bytes(self._data[at + 4 : at + 8], "big")
            if len(self._data) - at - 8 < size:
                break
            out += self._data[at + 8 : at + 8 + size]
            at += 8 + size
        del self._data[:at]
        return bytes(out)

    def send(self, data: memoryview) -> int:
        """As much to the other side's stdin as it takes now; how much that was."""
        try:
            return self.connection.send(data, sockets.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def send_end(self) -> None:
        """Close the other side's stdin."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(sockets.SHUT_WR)

    def close(self) -> None:
        self.connection.close()
