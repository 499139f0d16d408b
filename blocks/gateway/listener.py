"""One sandbox's way in: a unix socket that nobody else has. What comes through it is that sandbox."""

import asyncio
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mitmproxy.connection import Address
from mitmproxy.proxy import layers, mode_servers, mode_specs
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import Layer

from blocks.gateway.audit import Audit
from blocks.gateway.placeholders import HeldSecret
from blocks.gateway.redaction import forms
from blocks.host.sockets import bind
from domain.egress import Passport
from domain.egress_rules import names

MAX_CONNECTIONS = 128
"""At once, for one sandbox. npm opens 15, a browser 6 a host."""
MAX_BUFFERED = 64_000_000
"""Bytes of request bodies in memory at once, for one sandbox. Anthropic takes 32 MB a request."""
MAX_LOOK_UPS = 8
"""Names that are looked up at once for one sandbox: one whose names hang keeps no other from its own."""

SEND_BUFFER = 1_000_000
"""Bytes on their way into a sandbox, as far as net.core.wmem_max allows. A unix socket's own 200 kB slow streams."""


@dataclass(eq=False)
class Listener:
    """Who speaks through one socket, and all that it may do."""

    id: str
    passport: Passport
    token: str
    secrets: tuple[HeldSecret, ...]
    audit: Audit
    connections: int = 0
    buffered: int = 0
    asking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_LOOK_UPS))
    """Held while a name is looked up."""
    _patterns: dict[str, tuple[bytes, ...]] = field(default_factory=dict)

    def patterns(self, host: str) -> tuple[bytes, ...]:
        """What to redact in answers of this (normal) host: secrets that it may have been sent, whenever that was."""
        if host not in self._patterns:
            sent = (held.value.encode() for held in self.secrets if names(held.scope.hosts, host))
            self._patterns[host] = tuple(form for value in sent for form in forms(value))
        return self._patterns[host]


@dataclass(frozen=True)
class SandboxMode(mode_specs.ProxyMode):
    """A regular HTTP proxy on the socket of one listener. `data` is its id."""

    listener: Listener | None = field(default=None, compare=False)
    description = "sandbox"
    transport_protocol: Literal["tcp"] = "tcp"

    def __post_init__(self) -> None:
        pass


class SandboxServer(mode_servers.ServerInstance[SandboxMode]):
    """Listens on `gateway.sock` in a directory that is there already and stays, because a sandbox has it mounted."""

    _server: asyncio.Server | None = None
    listen_addrs: tuple[Address, ...] = ()

    def __init__(self, listener: Listener, manager: mode_servers.ServerManager, directory: Path) -> None:
        mode = SandboxMode(f"sandbox:{listener.id}", listener.id, None, None, listener)
        super().__init__(mode, manager)
        self.listener, self.directory = listener, directory

    @property
    def is_running(self) -> bool:
        return self._server is not None

    async def _start(self) -> None:
        bound = bind(self.directory, "gateway.sock", 0o666)
        self._server = await asyncio.start_unix_server(self._take, sock=bound, backlog=256)

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        (self.directory / "gateway.sock").unlink(missing_ok=True)

    def make_top_layer(self, context: Context) -> Layer:
        return layers.modes.HttpProxy(context)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.listener.connections >= MAX_CONNECTIONS:
            writer.close()
            return
        self.listener.connections += 1
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        try:
            await self.handle_stream(reader, _Named(writer, self.listener.id))  # type: ignore[arg-type]
        finally:
            self.listener.connections -= 1


class _Named:
    """A connection with a name where mitmproxy looks for an address: clients of unix sockets have none."""

    def __init__(self, writer: asyncio.StreamWriter, name: str) -> None:
        self._writer, self._name = writer, name

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name in ("peername", "sockname"):
            return (self._name, 0)
        return self._writer.get_extra_info(name, default)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)
