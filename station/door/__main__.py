"""The door's process, `python -m station.door`: it alone, beside the server, holds the admin credential for others."""

import asyncio
import errno
import logging
import os
import socket
import sys
import threading
import time

import uvicorn

from blocks.home import home
from blocks.ledger.tokens import Tokens
from domain.errors import LockgateError
from station import api, credentials, settings
from station.door.app import Door
from station.door.connections import bounds, protocols
from station.door.guests import Guests
from station.door.upstream import Upstream

log = logging.getLogger("lockgate")
FRESH_S = 30.0
AGAIN_S = 5.0
"""How long it is remembered where the ledger is, and how soon that is asked again."""
TRIES = 50
UNTAKEN_MS = 60_000
"""After so long the kernel ends a connection whose other side takes nothing; its accepted sockets inherit that."""


class TokenLedger:
    """Where tokens are: the ledger of the default workshop, as it was last known while the server does not answer."""

    def __init__(self) -> None:
        self._url, self._read_at = "", float("-inf")
        self._reading = threading.Lock()

    def tokens(self) -> Tokens:
        """Raises LedgerError or NoAnswer if it was never known."""
        if not self._url:
            self._read()
        elif time.monotonic() - self._read_at > FRESH_S and self._reading.acquire(blocking=False):
            threading.Thread(target=self._read_again, daemon=True).start()
        return Tokens(self._url)

    def _read(self) -> None:
        self._url = api.ledger_url()
        self._read_at = time.monotonic()

    def _read_again(self) -> None:
        """Beside those who ask: a server that hangs keeps none of them waiting."""
        try:
            self._read()
        except LockgateError:
            self._read_at = time.monotonic() - FRESH_S + AGAIN_S
        finally:
            self._reading.release()


async def serve() -> None:
    """Until SIGTERM or SIGINT."""
    upstream = Upstream(settings.url(), credentials.api_credential())
    listening = bound()
    http, socket_ = protocols(bounds())
    config = uvicorn.Config(
        Door(upstream, Guests(TokenLedger().tokens)),
        http=http,  # h11 is the strictest of its parsers; what it read is all that is read
        ws=socket_,
        ws_max_size=4_000_000,
        lifespan="off",
        proxy_headers=False,  # an address that a caller could claim
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=3,
    )
    log.info("the door is at %s", settings.door_url())
    await uvicorn.Server(config).serve(sockets=[listening])
    await upstream.close()


def bound() -> socket.socket:
    """The socket that it listens on: at the port that was asked for, else at the first free one; noted for others."""
    host, wanted = settings.door_host(), settings.door_port()
    for port in range(wanted, wanted + (1 if settings.is_door_port_fixed() else TRIES)):
        listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNTAKEN_MS)
        try:
            listening.bind((host, port))
            listening.listen(1024)
        except OSError as err:
            listening.close()
            if err.errno != errno.EADDRINUSE:
                raise
            continue
        draft = home() / "run" / "door-port.new"
        draft.write_text(str(port))
        draft.replace(home() / "run" / "door-port")
        return listening
    raise SystemExit(f"no free port for the door at {host}:{wanted}: set LOCKGATE_DOOR_PORT to another one")


if __name__ == "__main__":
    settings.use(always=True)
    sys.setswitchinterval(0.0005)  # who waits for a server is soon on again, though a ledger is read beside it
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    for name in ("httpx", "alembic", "uvicorn", "websockets"):
        logging.getLogger(name).setLevel(logging.WARNING)
    asyncio.run(serve())
