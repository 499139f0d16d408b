"""The door between a trial and its PostgreSQL database: who comes through is one role, at one database of one server.

Where the server trusts this machine, or the user that we run as, no password would keep a migration from being another
role. So the first message of each session is read here. Encryption ends here too: a trial holds no certificates.
https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Self

from blocks.targets.trial.database import TrialServer

_SSL_REQUEST, _GSS_REQUEST, _CANCEL = 80877103, 80877104, 80877102
_SASL = (10).to_bytes(4)
_GREETING_BYTES = 10_000
"""What PostgreSQL takes as a first message, and more than it answers."""
_CONNECT_WITHIN_S = 10
_GREET_WITHIN_S = 60
_SESSIONS = 100
_PIECE = 1 << 16


class _Refused(Exception):
    """The text is for the client."""


class TrialDoor:
    """Serves until it is closed, each session in a thread of its own."""

    def __init__(self, listener: socket.socket, server: TrialServer) -> None:
        self._listener, self._server = listener, server
        self._open: set[socket.socket] = set()
        self._lock, self._closed = threading.Lock(), False
        self._threads: list[threading.Thread] = []
        self._room = threading.BoundedSemaphore(_SESSIONS)
        self._thread = threading.Thread(target=self._serve, name="trial-door", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closed = True
            for sock in (self._listener, *self._open):
                _shut(sock)
        self._thread.join()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _serve(self) -> None:
        self._listener.setblocking(True)
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            if not self._room.acquire(blocking=False):
                client.close()
                continue
            thread = threading.Thread(target=self._session, args=(client,), daemon=True)
            self._threads = [each for each in self._threads if each.is_alive()] + [thread]
            thread.start()

    def _session(self, client: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self._room.release)
            stack.enter_context(self._kept(client))
            try:
                client.settimeout(_GREET_WITHIN_S)
                packet = _greeting(client, self._server)
                line, said = self._line(packet, stack)
                client.sendall(said)
                _carry(client, line)
            except _Refused as err:
                with contextlib.suppress(OSError):
                    client.sendall(_fatal(str(err)))
            except OSError as err:
                with contextlib.suppress(OSError):
                    client.sendall(_fatal(f"the database server cannot be reached: {err}"))

    def _line(self, packet: bytes, stack: contextlib.ExitStack) -> tuple[socket.socket, bytes]:
        """A session with the server that has had the first message, and what it said to it.

        As libpq does, the next way is tried where one fails or is turned down.
        """
        for way in self._server.ways[:-1]:
            with contextlib.suppress(OSError), contextlib.ExitStack() as attempt:
                line = self._dial(way, attempt)
                line.sendall(packet)
                if not (said := _answer(line)).startswith(b"E"):
                    stack.enter_context(attempt.pop_all())
                    return line, said
        line = self._dial(self._server.ways[-1], stack)
        line.sendall(packet)
        return line, _answer(line)

    def _dial(self, encrypted: bool, stack: contextlib.ExitStack) -> socket.socket:
        server = self._server
        if server.is_local:
            plain = socket.socket(socket.AF_UNIX)
            stack.enter_context(self._kept(plain))
            plain.settimeout(_CONNECT_WITHIN_S)
            plain.connect(f"{server.address}/.s.PGSQL.{server.port}")
            return plain
        plain = socket.create_connection((server.address, server.port), _CONNECT_WITHIN_S)
        stack.enter_context(self._kept(plain))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not encrypted or server.context is None:
            return plain
        plain.sendall((8).to_bytes(4) + _SSL_REQUEST.to_bytes(4))
        if plain.recv(1) != b"S":  # one byte: what else is there was not said by the server that we verify
            raise ssl.SSLError("it does not offer encryption, and the url asks for it")
        line = server.context.wrap_socket(plain, server_hostname=server.host, do_handshake_on_connect=False)
        stack.enter_context(self._kept(line))
        line.do_handshake()
        return line

    @contextlib.contextmanager
    def _kept(self, sock: socket.socket) -> Iterator[None]:
        """Known for as long as it is open, so that closing the door ends who waits for it."""
        with self._lock:
            self._open.add(sock)
            if self._closed:
                _shut(sock)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(sock)
                sock.close()


def _greeting(client: socket.socket, server: TrialServer) -> bytes:
    """The first message of a session, once it is one that may pass."""
    for _ in range(3):  # encryption of either kind may be asked for before it
        size = int.from_bytes(head := _exactly(client, 4))
        if not 8 <= size <= _GREETING_BYTES:
            raise _Refused("this is no session of PostgreSQL")
        body = _exactly(client, size - 4)
        code = int.from_bytes(body[:4])
        if code in (_SSL_REQUEST, _GSS_REQUEST):
            client.sendall(b"N")
            continue
        if code != _CANCEL and not _may_pass(code, body[4:], server):
            raise _Refused("a trial may only ask for the database and the role of its url")
        return head + body
    raise _Refused("this is no session of PostgreSQL")


def _may_pass(code: int, body: bytes, server: TrialServer) -> bool:
    """Names and values, each ended by a zero byte, then one more: read as the server reads it, or not at all."""
    words = body.split(b"\0")
    if code >> 16 != 3 or len(words) % 2 or words[-2:] != [b"", b""]:
        return False
    names, values = words[:-2:2], words[1:-2:2]
    said = dict(zip(names, values, strict=True))
    is_plain = b"" not in names and len(said) == len(names) and b"replication" not in said
    user = server.user.encode()
    return is_plain and said.get(b"user") == user and said.get(b"database", user) == server.database.encode()


def _answer(line: socket.socket) -> bytes:
    """What the server says to the first message, up to how the client shall authenticate; nothing to a cancellation.

    Channel binding is not offered on: it is to the certificate, and a client without encryption takes the offer for an
    attack. https://www.postgresql.org/docs/current/sasl-authentication.html
    """
    said = b""
    with contextlib.suppress(_Refused):
        while True:
            head = _exactly(line, 5)
            size = int.from_bytes(head[1:]) - 4
            if not 0 <= size <= _GREETING_BYTES:
                return said + head
            body = _exactly(line, size)
            if head[:1] == b"R" and body[:4] == _SASL:
                body = body.replace(b"SCRAM-SHA-256-PLUS\0", b"")
            said += head[:1] + (len(body) + 4).to_bytes(4) + body
            if head[:1] != b"v":  # what it does not know of the protocol's version; the answer follows
                break
    return said


def _exactly(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        if not (piece := client.recv(count - len(data))):
            raise _Refused("the session ended before its first message was whole")
        data += piece
    return data


def _carry(client: socket.socket, line: socket.socket) -> None:
    """Both ways, until either end is through. One thread: a TLS session takes no second one."""
    for sock in (client, line):
        sock.setblocking(False)
    ways = {client: (line, bytearray()), line: (client, bytearray())}
    poll = select.poll()
    asked: set[socket.socket] = set()
    while True:
        moved, wanted = False, {client: 0, line: 0}
        for source, (sink, data) in ways.items():
            if not data:
                try:
                    if not (piece := source.recv(_PIECE)):
                        return
                    data += piece
                    moved = True
                except (BlockingIOError, ssl.SSLWantReadError):
                    wanted[source] |= select.POLLIN
                except ssl.SSLWantWriteError:
                    wanted[source] |= select.POLLOUT
            if data:
                try:
                    del data[: sink.send(data)]
                    moved = True
                except (BlockingIOError, ssl.SSLWantWriteError):
                    wanted[sink] |= select.POLLOUT
                except ssl.SSLWantReadError:
                    wanted[sink] |= select.POLLIN
        if moved:
            continue
        for sock, events in wanted.items():
            if events:
                poll.register(sock, events)
            elif sock in asked:
                poll.unregister(sock)  # else it would be told again and again that the other end is gone
        asked = {sock for sock, events in wanted.items() if events}
        poll.poll()


def _fatal(text: str) -> bytes:
    """An ErrorResponse, which drivers show as they show the server's own."""
    fields = b"SFATAL\0VFATAL\0C08006\0M" + text.encode(errors="replace").replace(b"\0", b"") + b"\0\0"
    return b"E" + (len(fields) + 4).to_bytes(4) + fields


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # below TLS, which another thread reads
