"""Bounds what one caller can hold of the door: how many connections, and how long one of them may ask nothing.

uvicorn times only what comes after an answer. Who connects and says nothing, or a letter now and then, would stay for
ever, and five hundred of those would leave no room for anybody else.
"""

import asyncio
import resource
from collections import Counter
from collections.abc import MutableMapping
from ipaddress import IPv6Address, ip_address
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

REQUEST_S = 10.0
"""How long a connection may take until the headers of its next request are there."""
MOST, OF_ONE = 1000, 100
"""How many connections there may be, and how many of them from one address. Behind a proxy all have its address; those
that a proxy keeps open are as many as it has requests under way."""


class Connections:
    """Those that are open, by where they come from. If there are too many, one has to go: the longest that asks
    nothing, else the longest that has shown no token."""

    def __init__(self, most: int = MOST, of_one: int = OF_ONE) -> None:
        self.most, self.of_one = most, of_one
        self._open: dict[Any, str] = {}  # protocol → its peer, the oldest first
        self._idle: dict[Any, None] = {}
        self._of: Counter[str] = Counter()  # peer → how many

    def enter(self, one: Any, *, idle: bool) -> None:
        """Count a connection. One too many ends another one of its own peer, or of the peer with most; else itself."""
        peer = _peer(one.client)
        self._open[one] = peer
        self._of[peer] += 1
        if idle:
            self._idle[one] = None
        if self._of[peer] > self.of_one:
            self._end_one_of(peer, one)
        elif len(self._open) > self.most:
            self._end_one_of(max(self._of, key=self._of.__getitem__), one)

    def leave(self, one: Any) -> None:
        """Count it no more. Safe to repeat."""
        peer = self._open.pop(one, None)
        self._idle.pop(one, None)
        if peer is not None:
            self._of[peer] -= 1
            if not self._of[peer]:
                del self._of[peer]

    def note(self, one: Any, *, idle: bool) -> None:
        """Whether it asks something now."""
        if not idle:
            self._idle.pop(one, None)
        elif one in self._open:
            self._idle.setdefault(one)

    def _end_one_of(self, peer: str, newest: Any) -> None:
        others = [one for one, whose in self._open.items() if whose == peer and one is not newest]
        idle = (one for one in self._idle if self._open[one] == peer and one is not newest)
        gone = next(idle, None) or next((one for one in others if not is_signed(one.scope)), newest)
        self.leave(gone)
        gone.transport.abort()


def note_signed(scope: MutableMapping[str, Any]) -> None:
    """What is asked now was asked with a token that is known."""
    scope.setdefault("state", {})["signed"] = True


def is_signed(scope: Any) -> bool:
    """Whether a token was shown by what is asked now, or was asked last."""
    return bool(scope) and bool(scope.get("state", {}).get("signed"))


def protocols(connections: Connections) -> tuple[type[H11Protocol], type[WebSocketsSansIOProtocol]]:
    """What speaks HTTP and WebSocket at the door, under these bounds."""

    class Http(H11Protocol):
        """HTTP whose requests have to come in time."""

        deadline: asyncio.TimerHandle | None = None
        scope: Any

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait()
            connections.enter(self, idle=True)

        def data_received(self, data: bytes) -> None:
            if self.deadline is None and self._is_idle():
                self._wait()  # from the first byte on, however often more of them come
            super().data_received(data)
            if not self._is_idle():
                self._stop_waiting()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self._is_idle():
                connections.note(self, idle=True)

        def handle_websocket_upgrade(self, event: Any) -> None:
            self._stop_waiting()
            connections.leave(self)
            super().handle_websocket_upgrade(event)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            connections.leave(self)
            super().connection_lost(exc)

        def _is_idle(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _wait(self) -> None:
            self.deadline = self.loop.call_later(REQUEST_S, self.transport.abort)

        def _stop_waiting(self) -> None:
            connections.note(self, idle=False)
            if self.deadline is not None:
                self.deadline.cancel()
                self.deadline = None

    class Socket(WebSocketsSansIOProtocol):
        """WebSocket; what is said first there, and when, `sockets.py` looks after."""

        scope: Any = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            connections.enter(self, idle=False)

        def connection_lost(self, exc: Exception | None) -> None:
            connections.leave(self)
            super().connection_lost(exc)

    return Http, Socket


def bounds() -> Connections:
    """As many as this process may have descriptors for, after it asked for as many as it may ask for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * MOST
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    room = wanted if soft == resource.RLIM_INFINITY else soft
    return Connections(most=min(MOST, room // 2))


def _peer(client: "tuple[str, int] | None") -> str:
    """An address; of IPv6 the network, which is as easily had as one address."""
    host = client[0] if client else ""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or int(address) >> 64)
    return host
