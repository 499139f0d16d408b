"""The gateway's process: listeners that come and go, one proxy behind them, and the socket that steps ask at."""

import asyncio
import contextlib
import fcntl
import itertools
import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from mitmproxy import http, options
from mitmproxy.addons import proxyserver, tlsconfig
from mitmproxy.master import Master
from pydantic import ValidationError

from blocks.gateway import authority
from blocks.gateway.answers import AnswerRedaction
from blocks.gateway.audit import Audit, Record
from blocks.gateway.connecting import Connecting, Resolve, system_resolve
from blocks.gateway.gate import Gate
from blocks.gateway.http1 import Stack
from blocks.gateway.listener import Listener, SandboxServer
from blocks.gateway.placeholders import HeldSecret, new_placeholder
from blocks.host.gateway_variables import variables
from blocks.host.sockets import bind
from domain.egress import Passport, SecretScope
from domain.errors import GatewayError, InputError, LedgerError

log = logging.getLogger("lockgate.gateway")
FLUSH_S = 1.0
FLUSH_RELEASES_S = 600.0
"""A release asks for as long as it lives: the ledger gets what it asked for in few entries."""
LONGEST_LINE = 4_000_000
_ENDING_S = 0.2
"""A process that is killed loses its sockets a moment before its locks, or after."""


class SecretSource(Protocol):
    """What is needed of a secret block."""

    @property
    def scope(self) -> SecretScope: ...
    def reveal(self) -> str: ...
    def is_for(self, passport: Passport) -> bool: ...


class GatewayService:
    """One gateway. Its collaborators come as arguments; they are called in threads.

    `record` is the ledger's. `secret(name)` raises InputError for one that nobody set up. `admitted(passport)` is
    called before a listener is opened and raises InputError for what nobody set up. `addons` are mitmproxy's: they
    see requests after the gate has let them in, and send those to model hosts on to their providers.
    `trust`: a PEM file of authorities instead of the system's.
    """

    def __init__(
        self,
        root: Path,
        *,
        record: Record,
        secret: Callable[[str], SecretSource],
        admitted: Callable[[Passport], None] = lambda _: None,
        addons: Sequence[object] = (),
        resolve: Resolve = system_resolve,
        trust: Path | None = None,
    ) -> None:
        self._root, self._record, self._secret, self._admitted = root, record, secret, admitted
        self._addons, self._resolve, self._trust = addons, resolve, trust
        self._open: dict[str, SandboxServer] = {}
        self._closing: set[SandboxServer] = set()
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._master: Master | None = None
        self._proxy = proxyserver.Proxyserver()

    # ── life ──

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop`. Raises GatewayError if another gateway serves from the same place."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(32, thread_name_prefix="gateway"))
        with _alone(self._root):
            self._certificate = authority.own_authority(self._root / "ca")
            _sweep(self._root / "listeners")
            self._master = self._proxy_master()
            bound = bind(self._root, "control.sock", 0o600)
            control = await asyncio.start_unix_server(self._greet, sock=bound, limit=LONGEST_LINE)
            flushing = asyncio.create_task(self._keep_flushing())
            asyncio.get_running_loop().call_soon(ready)
            try:
                await self._master.run()
            finally:
                control.close()
                flushing.cancel()
                for listener in list(self._open):
                    await self._close(listener)
                for writer in self._clients.values():
                    writer.transport.abort()  # they see it and look for the next gateway
                await asyncio.gather(*self._clients, return_exceptions=True)
                (self._root / "control.sock").unlink(missing_ok=True)

    def stop(self) -> None:
        """End `run`; from any thread."""
        if self._master is not None:
            self._master.shutdown()

    def _proxy_master(self) -> Master:
        logging.getLogger("mitmproxy").setLevel(logging.ERROR)  # what is below repeats what agents and servers sent
        master = Master(options.Options(), event_loop=asyncio.get_running_loop())
        master._legacy_log_events.uninstall()  # log lines of every thread would go through the loop, also a closed one
        connecting = Connecting(self._resolve)
        master.addons.add(
            self._proxy,
            Stack(),
            Gate(connecting, self._drop),
            *self._addons,
            connecting,
            AnswerRedaction(self._drop),
            tlsconfig.TlsConfig(),
        )
        cafile, capath = (str(self._trust), None) if self._trust else authority.system_store()
        master.options.update(
            mode=[],  # listeners are opened one by one, not by options
            confdir=str(self._root / "ca"),
            connection_strategy="lazy",  # nothing connects before a request was judged
            http2=False,
            http3=False,
            rawtcp=False,
            upstream_cert=False,
            ssl_verify_upstream_trusted_ca=cafile,
            ssl_verify_upstream_trusted_confdir=capath,
        )
        return master

    def _drop(self, flow: http.HTTPFlow) -> None:
        """Close a client's connection, and with it the server's, before anything more passes."""
        if handler := self._proxy.connections.get(flow.client_conn.id):
            handler.close_connection(handler.client)

    async def _keep_flushing(self) -> None:
        rounds = itertools.count(1)
        while True:
            await asyncio.sleep(FLUSH_S)
            of_releases = next(rounds) % round(FLUSH_RELEASES_S / FLUSH_S) == 0
            for server in list(self._open.values()):
                if of_releases or server.listener.passport.phase != "serve":
                    await _flush(server.listener)

    # ── listeners ──

    async def _admit(self, asked: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Open a listener, or the one that a client had at a gateway before this one; its id, and what it is told."""
        passport = Passport.model_validate(asked["passport"])
        known = {str(name): str(held) for name, held in asked.get("placeholders", {}).items()}
        name, token = _id(asked["id"]), str(asked.get("token") or f"lockgate-run-{secrets.token_hex(24)}")
        if name in self._open:
            raise GatewayError(f"listener {name} is open already")
        await asyncio.to_thread(self._admitted, passport)
        held = tuple([h for s in passport.secrets if (h := await asyncio.to_thread(self._hold, passport, s, known))])
        if name in self._open:  # it was asked for twice, and the first was admitted meanwhile
            raise GatewayError(f"listener {name} is open already")
        directory = self._root / "listeners" / name
        if not directory.is_dir():
            raise GatewayError(f"the listener's directory {directory} is gone")
        (directory / "ca.pem").write_bytes(self._certificate)
        (directory / "ca.pem").chmod(0o644)
        listener = Listener(name, passport, token, held, Audit(passport, self._record))
        server = SandboxServer(listener, self._proxy, directory)
        self._open[name] = server
        try:
            await server.start()
        except BaseException:
            del self._open[name]
            raise
        placeholders = {h.scope.name: h.placeholder for h in held}
        return name, {"token": token, "placeholders": placeholders, "environment": variables(placeholders)}

    def _hold(self, passport: Passport, name: str, known: dict[str, str]) -> HeldSecret | None:
        source = self._secret(name)
        if not source.is_for(passport):
            return None
        return HeldSecret(source.scope, known.get(name) or new_placeholder(name), source.reveal())

    async def _close(self, name: str) -> bool:
        """False: it is closed already, or being closed."""
        server = self._open.get(name)
        if server is None or server in self._closing:
            return False
        self._closing.add(server)
        try:
            await server.stop()
        finally:
            self._closing.discard(server)
            del self._open[name]  # only now: one that is opened anew has its socket at the same place
        for handler in list(self._proxy.connections.values()):
            if handler.client.proxy_mode is server.mode and handler.client in handler.transports:
                handler.close_connection(handler.client)
        await _flush(server.listener)
        return True

    # ── the control socket: one JSON object a line; a listener lives as long as the connection that asked for it ──

    def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._clients[task] = writer
        task.add_done_callback(self._clients.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine: str | None = None
        try:
            while line := await reader.readline():
                asked = json.loads(line)
                try:
                    if asked["do"] == "admit" and mine is None:
                        mine, told = await self._admit(asked)
                    elif asked["do"] == "ping":
                        told = {"pid": os.getpid(), "listeners": len(self._open)}
                    else:
                        raise GatewayError("the gateway does not know what was asked")
                except (InputError, GatewayError, ValidationError, OSError, LedgerError) as err:
                    told = {"error": str(err), "kind": type(err).__name__}
                writer.write(json.dumps(told).encode() + b"\n")
                await writer.drain()
        except (ValueError, KeyError, TypeError, ConnectionError) as err:
            log.warning("a client of the control socket said something strange: %s", type(err).__name__)
        finally:
            is_over = mine is not None and await self._close(mine)
            writer.close()
            if mine is not None and is_over:
                await _remove(self._root / "listeners" / mine)


async def _flush(listener: Listener) -> None:
    try:
        await asyncio.to_thread(listener.audit.flush)
    except Exception as err:
        log.error("decisions of run %s are not in the ledger yet: %s", listener.passport.run_id, err)


def _id(text: object) -> str:
    if not isinstance(text, str) or not text.isalnum() or not text.isascii() or len(text) > 64:
        raise GatewayError("a listener's id is up to 64 letters and digits")
    return text


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    held = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as err:
        raise GatewayError(f"another gateway serves from {root}: stop it first") from err
    finally:
        os.close(held)


def _sweep(folder: Path) -> None:
    """Remove directories whose client is gone: it holds a lock on its own."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for directory in folder.iterdir():
        _is_removed(directory)


async def _remove(directory: Path) -> None:
    """Unless its client lives, such as a release that gave up asking and asks again: it has the directory mounted."""
    if not await asyncio.to_thread(_is_removed, directory):
        await asyncio.sleep(_ENDING_S)
        await asyncio.to_thread(_is_removed, directory)


def _is_removed(directory: Path) -> bool:
    """False: somebody holds the lock on it."""
    try:
        held = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(directory, ignore_errors=True)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(held)
