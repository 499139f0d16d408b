"""Connections that `health_probe` asks through: over TLS, or through a unix socket; and asking until it is settled."""

import http.client
import os
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from blocks.targets.health_probe import PROBE_TIMEOUT_S
from domain.health import HealthReading


class UnixConnection(http.client.HTTPConnection):
    """HTTP through a socket in the file system, whatever the length of its path.

    The kernel takes 107 bytes: https://man7.org/linux/man-pages/man7/unix.7.html
    """

    def __init__(self, path: Path, timeout_s: float = PROBE_TIMEOUT_S, host: str = "localhost") -> None:
        super().__init__(host, timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(f"/proc/self/fd/{folder}/{self._path.name}")
        finally:
            os.close(folder)


class TlsConnection(http.client.HTTPConnection):
    """HTTPS whose handshake can be given up on: the standard one is not reached before it is over."""

    default_port = http.client.HTTPS_PORT

    def connect(self) -> None:
        super().connect()
        context = ssl.create_default_context()
        self.sock = context.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
        self.sock.do_handshake()


def connection_to(url: str) -> http.client.HTTPConnection:
    """A connection, not open yet, to the server of an http or https address."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return TlsConnection(parts.netloc, timeout=PROBE_TIMEOUT_S)
    return http.client.HTTPConnection(parts.netloc, timeout=PROBE_TIMEOUT_S)


def settle_by(
    ask: Callable[[], HealthReading],
    wanted: int,
    within_s: float,
    interval_s: float,
    gone: Callable[[], str | None] = lambda: None,
) -> str | None:
    """None when `wanted` answers in a row were healthy, else what the last one said, or why none can come any more."""
    deadline, row = time.monotonic() + within_s, 0
    while True:
        reading = ask()
        row = row + 1 if reading.is_healthy else 0
        if row == wanted:
            return None
        if row == 0 and (why := gone()):
            return why
        if time.monotonic() > deadline:
            return reading.reason
        time.sleep(interval_s)
