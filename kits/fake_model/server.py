"""The server: HTTP/1.1 on loopback, a thread a connection."""

import contextlib
import socket
import ssl
import sys
import threading
from collections.abc import Mapping, Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from domain.errors import InputError
from kits import certificate
from kits.fake_model.handler import ModelHandler
from kits.fake_model.play import Play, ServedCall
from kits.fake_model.script import Script, read_script


class FakeModel:
    """A model server on 127.0.0.1 that plays a script, as a context manager.

    `script`: values, or the path of a TOML or JSON file. `port` 0: a free one. `tls_dir`: speak TLS; its `ca.pem` is
    what clients shall trust. `key`: what clients have to send, else 401. `names`: more host names for the certificate.
    """

    def __init__(
        self,
        script: Script | Mapping[str, Any] | Path | str,
        *,
        port: int = 0,
        tls_dir: Path | None = None,
        key: str | None = None,
        names: Sequence[str] = (),
    ) -> None:
        self.play = Play(read_script(script))
        self._ca = tls_dir / "ca.pem" if tls_dir else None
        context = certificate.make(tls_dir, names) if tls_dir else None
        try:
            self._server = _Server(port, self.play, key, context)
        except OSError as err:
            raise InputError(f"port {port} of 127.0.0.1 cannot be listened on ({err}): choose another one") from err
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """Its base address, without a version path."""
        return f"{'https' if self._ca else 'http'}://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def ca(self) -> Path | None:
        """The certificate that clients shall trust; None without TLS."""
        return self._ca

    @property
    def served(self) -> tuple[ServedCall, ...]:
        """Every call so far, in the order of their answers; what GET /served says."""
        return self.play.served

    @property
    def requests(self) -> tuple[dict[str, Any], ...]:
        """The bodies of the same calls, as they came."""
        return self.play.bodies

    def wait(self, calls: int, timeout_s: float = 60) -> tuple[ServedCall, ...]:
        """`served`, once it has so many calls. Raises TimeoutError."""
        return self.play.wait(calls, timeout_s)

    def stop(self) -> None:
        """End it, with every connection. Safe to repeat."""
        self._server.stop(self._thread)

    def __enter__(self) -> "FakeModel":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve(script: Path, port: int = 0, tls_dir: Path | None = None, key: str | None = None) -> None:
    """Serve until interrupted. Raises InputError for a script that cannot be played or a port in use."""
    with FakeModel(script, port=port, tls_dir=tls_dir, key=key) as fake:
        trust = f"; clients shall trust {fake.ca}" if fake.ca else ""
        print(f"fake model at {fake.url}, what it served at {fake.url}/served{trust}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, play: Play, key: str | None, context: ssl.SSLContext | None) -> None:
        self.play, self.key, self.context = play, key, context
        self.connections: dict[threading.Thread, socket.socket] = {}
        self.ended = threading.Event()
        super().__init__(("127.0.0.1", port), ModelHandler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients leave when they like; anything else is an error of ours, and is printed."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def stop(self, serving: threading.Thread) -> None:
        """No more connections, and none that is left open."""
        self.ended.set()
        if serving.is_alive():
            self.shutdown()
            serving.join()
        self.server_close()
        for thread, connection in list(self.connections.items()):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(10)
