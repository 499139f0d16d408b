"""Asks an address for its health, once, within a time that no answer can stretch."""

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Mapping

from domain.health import Clean, HealthState, Reading, read_health, said_release

PROBE_TIMEOUT_S = 2.0
_BODY_BYTES = 64_000


def probe(address: str, path: str, revision: str, clean: Clean) -> Reading:
    """What `revision` says at http://ADDRESS PATH, on a new connection, past any proxy. No answer is sick."""
    try:
        code, body = _get(address, path)
    except (OSError, http.client.HTTPException) as err:
        return Reading(state=HealthState.SICK, reason=f"no answer from {address}{path}: {err or type(err).__name__}")
    return read_health(code, body, revision, clean)


def serving(address: str, path: str) -> str | None:
    """The releaseId that the address says, well or not; asked up to three times. None where it says none."""
    for _ in range(3):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return said_release(_get(address, path)[1])
        time.sleep(0.1)
    return None


def answer_of(connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Code and body of one GET, whole within PROBE_TIMEOUT_S, then the connection is closed. One that is not open yet
    is opened within that time."""
    late = threading.Event()
    line: socket.socket | None = connection.sock

    def give_up() -> None:
        """A socket's own timeout starts anew with each byte; this one does not."""
        late.set()
        if sock := connection.sock or line:  # the connection lets go of it before the body is read
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # below TLS, which another thread reads

    clock = threading.Timer(PROBE_TIMEOUT_S, give_up)
    clock.start()
    try:
        if line is None:
            connection.connect()
            line = connection.sock
        wanted = {"Accept": "application/health+json", "Connection": "close", **headers}
        connection.request("GET", path, headers=wanted)
        answer = connection.getresponse()
        body = answer.read(_BODY_BYTES)
        if late.is_set():
            raise TimeoutError(f"no whole answer within {PROBE_TIMEOUT_S:g} s")
        return answer.status, body
    except (OSError, http.client.HTTPException) as err:
        if late.is_set():
            raise TimeoutError(f"no whole answer within {PROBE_TIMEOUT_S:g} s") from err
        raise
    finally:
        clock.cancel()
        connection.close()


def _get(address: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, timeout=PROBE_TIMEOUT_S)
    connection.connect()
    return answer_of(connection, path, {})
