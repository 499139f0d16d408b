"""No answer stretches a look: headers at once, then a byte now and again, through a unix socket."""

import contextlib
import socket
import threading
from pathlib import Path

from blocks.targets.asking import UnixConnection
from blocks.targets.health_probe import probe_by
from domain.health import HealthCheck


def test_a_body_that_trickles_is_given_up_on(tmp_path: Path) -> None:
    path, over = tmp_path / "s", threading.Event()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    sent: list[bytes] = []

    def trickle() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\nConnection: close\r\n\r\n")
            while not over.wait(0.3):
                connection.sendall(b" ")
                sent.append(b" ")

    server = threading.Thread(target=trickle)
    server.start()
    try:
        reading = probe_by(lambda: UnixConnection(path), "there", HealthCheck(), "1" * 40, str)
    finally:
        over.set()
        server.join()
        listener.close()
    assert len(sent) < 25, "it was given up on while it was still sent"
    assert "no whole answer within 2 s" in reading.reason
