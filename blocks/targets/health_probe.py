"""Asks an address for its health, once, within a time that no answer can stretch."""

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Mapping

from domain.health import Clean, HealthCheck, HealthReading, HealthState, HttpAnswer, Sight, read_health, said_release

PROBE_TIMEOUT_S = 2.0
PROBE = "X-Lockgate-Probe"
"""A question with our proxy's own secret in this header is no user's: the proxy says in `UPSTREAM` who answered. It
takes the header away from every request, so no release sees the secret."""
UPSTREAM = "X-Lockgate-Upstream"
_BODY_BYTES = 64_000

Connect = Callable[[], http.client.HTTPConnection]
See = Callable[[HttpAnswer], Sight | None]
"""What the platform sees of who gave an answer; None: nothing."""


def unseen(_: HttpAnswer) -> Sight | None:
    """Where the platform sees nothing of who answers."""
    return None


def probe(
    address: str, check: HealthCheck, revision: str, clean: Clean, see: See = unseen, **headers: str
) -> HealthReading:
    """What `revision` says at http://ADDRESS PATH, on a new connection, past any proxy. No answer is sick."""
    return probe_by(lambda: _to(address), address, check, revision, clean, see, **headers)


def probe_by(
    connect: Connect, where: str, check: HealthCheck, revision: str, clean: Clean, see: See = unseen, **headers: str
) -> HealthReading:
    """What `revision` says, on a new connection. No answer is sick. `where` is for the reader."""
    try:
        answer = _asked(connect, check, headers)
    except (OSError, http.client.HTTPException) as err:
        why = err or type(err).__name__
        return HealthReading(state=HealthState.SICK, reason=f"no answer from {where}{check.path}: {why}")
    return read_health(answer, check, revision, clean, see(answer))


def serving(
    address: str, check: HealthCheck, seen: Callable[[HttpAnswer], str | None] = lambda _: None, **headers: str
) -> str | None:
    """The releaseId that the address says, well or not, else the release that was `seen` to answer."""
    return serving_by(lambda: _to(address), check, seen, **headers)


def serving_by(
    connect: Connect, check: HealthCheck, seen: Callable[[HttpAnswer], str | None] = lambda _: None, **headers: str
) -> str | None:
    """The same on any connection; asked up to three times. None if nobody says or sees one."""
    for _ in range(3):
        with contextlib.suppress(OSError, http.client.HTTPException):
            answer = _asked(connect, check, headers)
            return said_release(answer.body) or seen(answer)
        time.sleep(0.1)
    return None


def _to(address: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(address, timeout=PROBE_TIMEOUT_S)
    connection.connect()
    return connection


def _asked(connect: Connect, check: HealthCheck, more: Mapping[str, str]) -> HttpAnswer:
    return answer_of(connect(), check.path, {**check.headers, **more})


def answer_of(connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str]) -> HttpAnswer:
    """The answer to one GET, whole within PROBE_TIMEOUT_S, then the connection is closed. One that is not open yet
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
        connection.request("GET", path, headers={"Connection": "close", **headers})
        answer = connection.getresponse()
        body = answer.read(_BODY_BYTES)
        if late.is_set():
            raise TimeoutError(f"no whole answer within {PROBE_TIMEOUT_S:g} s")
        return HttpAnswer(answer.status, body, {name.lower(): value for name, value in answer.getheaders()})
    except (OSError, http.client.HTTPException) as err:
        if late.is_set():
            raise TimeoutError(f"no whole answer within {PROBE_TIMEOUT_S:g} s") from err
        raise
    finally:
        clock.cancel()
        connection.close()
