"""Where the gateway connects: to what a request was cleared for, at an address that was looked up once."""

import asyncio
import functools
import socket
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from mitmproxy import connection, http
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from blocks.gateway.audit import Note
from blocks.gateway.exchange import exchange_of
from blocks.gateway.http1 import answer, listener_of
from domain.egress_rules import is_reachable

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class _Refused(Exception):
    """Nothing is connected, for this reason."""


async def system_resolve(host: str, port: int) -> list[str]:
    """Addresses of a name, best first, as getaddrinfo(3) orders them. Raises OSError if there are none. A name
    server that is busy, as while a package manager opens fifty connections, is asked again."""
    loop, pauses = asyncio.get_running_loop(), iter(PAUSES_S)
    while True:
        try:
            look_up = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
            found = await loop.run_in_executor(_LOOK_UPS, look_up)
            return [str(address[0]) for *_, address in found]
        except socket.gaierror as err:
            pause_s = next(pauses, None) if err.errno == socket.EAI_AGAIN else None
            if pause_s is None:
                raise
            await asyncio.sleep(pause_s)


_LOOK_UPS = ThreadPoolExecutor(64, thread_name_prefix="look-up")
"""Threads of their own: names that hang keep neither the audit nor a new sandbox waiting."""
PAUSES_S = (0.2, 1.0, 3.0)
"""Before each further question to a name server that said that it could not answer just now."""


class Connecting:
    """The addon that guards connections. It comes after those that send model calls to their providers."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._cleared: defaultdict[str, dict[tuple[str, int], bool]] = defaultdict(dict)
        self._named: dict[str, tuple[str, int]] = {}

    def clear(self, flow: http.HTTPFlow, host: str, port: int, *, private: bool) -> None:
        """Let one client connect to one host and port, for as long as it is there itself."""
        self._cleared[flow.client_conn.id][host, port] = private

    def request(self, flow: http.HTTPFlow) -> None:
        """Model calls go where their addon says, which may be in one's own network."""
        exchange = exchange_of(flow)
        if not exchange.is_for_model or flow.response:
            return
        upstream = exchange.upstream
        if upstream is not None and upstream == (flow.request.host, flow.request.port):
            self.clear(flow, *upstream, private=True)
        else:
            flow.response = answer(403, "no such model provider")

    # ── connections ──

    async def server_connect(self, data: ServerConnectionHookData) -> None:
        """Look the name up once and connect to what was found. The name stays the connection's address for all else."""
        host, port = (data.server.address or ("", 0))[:2]
        try:
            async with listener_of(data.client).asking:
                address = await self._address(host, port, self._cleared[data.client.id].get((host, port)))
        except Exception as err:
            reason = str(err) if isinstance(err, _Refused) else "its name cannot be looked up"
            data.server.error = f"{host}: {reason}"
            listener_of(data.client).audit.add(Note(host, "CONNECT", "", False, reason))
        else:
            self._named[data.server.id] = (host, port)
            data.server.address = (address, port)

    async def _address(self, host: str, port: int, private: bool | None) -> str:
        if private is None:
            raise _Refused("nothing was cleared to go there")
        addresses = list(await self._resolve(host, port))
        if not all(is_reachable(address, private) for address in addresses):
            raise _Refused("its name resolves to an address that is not public")
        return addresses[0]

    def server_connected(self, data: ServerConnectionHookData) -> None:
        """The name is back, because mitmproxy finds connections to use again by it: with the address in its place, it
        opens one for every request and stops at the fifth."""
        named = self._named.pop(data.server.id, data.server.address)
        object.__setattr__(data.server, "address", named)  # Server refuses to: the connection is open already

    server_connect_error = server_connected

    def client_disconnected(self, client: connection.Client) -> None:
        self._cleared.pop(client.id, None)
