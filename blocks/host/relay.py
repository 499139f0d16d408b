"""Brings connections from one address to another, byte by byte: into a network that has no other way in or out.

    python -I -S relay.py [--above] [--tie=FD] LISTEN=DIAL ... [MARK] [-- COMMAND ARGUMENT ...]

LISTEN is HOST:PORT, or fd:NUMBER for a socket that listens already. DIAL is HOST:PORT, or the path of a unix socket.

With a command: listens, leaves itself behind as a child of the namespace's first process, and becomes the command, so
exit code, signals and descriptors are the command's own. With `--above` it stays the command's parent and ends with it.
Where it is the first process of the namespace, all of that ends when it does. Without a command: until it is killed.
`--tie`: it also ends when the other end of this socket is closed. MARK is a word by which others find it.

It runs inside by `python -I -S`, without another module. There it has no rights that the command lacks, and nothing of
value: who listens at the other end decides.
"""

import os
import resource
import select
import signal
import socket
import sys
from collections import deque
from collections.abc import Sequence

ROOM = 1 << 18
"""Bytes held for one direction of a connection; its sender waits while they are not taken."""
MOST_DESCRIPTORS = 65_536
"""Two for each connection, as far as the limit of the process allows; further connections wait in the backlog."""


NO_ADDRESS = (OSError, UnicodeError)
"""What looking a name up raises: UnicodeError for one that no DNS could have, such as a label of 64 characters."""
Address = tuple[int, tuple[object, ...] | str]
"""Family, and what a socket of it connects to."""


class RelayWay:
    """Where connections come from, and where each of them goes."""

    def __init__(self, listener: socket.socket, dial: str) -> None:
        self.listener = listener
        self.dial = dial


class Half:
    """One direction of a connection: what came from `source` and is not yet in `sink`."""

    def __init__(self, source: socket.socket, sink: socket.socket, *, is_from_client: bool) -> None:
        self.source = source
        self.sink = sink
        self.is_from_client = is_from_client
        self.data = b""
        self.ended = False
        self.closed = False
        self.is_unheard = False  # the sink takes no more
        self.is_gone = False  # the source has closed both directions: it hears nothing more

    def flush(self) -> None:
        """Hand on what the sink takes now, and the end after the last byte."""
        if self.is_unheard:
            self.data, self.closed = b"", self.ended
        if self.data:
            try:
                self.data = self.data[self.sink.send(self.data) :]
            except BlockingIOError:
                return
        if self.ended and not self.data and not self.closed:
            self.closed = True
            self.sink.shutdown(socket.SHUT_WR)


class Names:
    """Looks names of hosts up beside the relay: a slow answer keeps nothing waiting but what goes there."""

    def __init__(self) -> None:
        self.waiting: dict[str, list[socket.socket]] = {}  # dial → clients; a name is asked for once at a time
        self.found: deque[tuple[str, Address | None]] = deque()
        self.bell, self._ring = os.pipe()

    def ask(self, dial: str, client: socket.socket) -> None:
        """The bell rings once the answer is there."""
        self.waiting.setdefault(dial, []).append(client)
        if len(self.waiting[dial]) == 1:
            import threading  # most relays know where they go, and start faster without it

            try:
                threading.Thread(target=self._look_up, args=(dial,), daemon=True).start()
            except RuntimeError:  # there may be no more threads: whoever waits is told
                self._answer(dial, None)

    def answers(self) -> list[tuple[socket.socket, Address | None]]:
        """Clients whose name was looked up, each with the address; None: there is none."""
        os.read(self.bell, 1)
        dial, address = self.found.popleft()
        return [(client, address) for client in self.waiting.pop(dial)]

    def _look_up(self, dial: str) -> None:
        try:
            self._answer(dial, addressed(dial))
        except NO_ADDRESS:
            self._answer(dial, None)

    def _answer(self, dial: str, address: Address | None) -> None:
        self.found.append((dial, address))
        os.write(self._ring, b".")


class Relay:
    """Every connection to a listener, brought to where its way leads, in one thread."""

    def __init__(self, ways: Sequence[RelayWay], tie: Sequence[int] = ()) -> None:
        self.ways = {way.listener.fileno(): way for way in ways}
        self.tie = tie
        self.poll = select.epoll()
        self.halves: dict[int, tuple[Half, Half]] = {}  # descriptor → (reads from it, writes to it)
        self.asked: dict[int, int] = {}
        self.names = Names()
        self.most = max(2, _descriptors() - len(ways) - 64)

    def serve(self) -> None:
        """Until the other end of the tie is closed."""
        for fd in self.tie:
            self._ask(fd, select.EPOLLIN)
        self._ask(self.names.bell, select.EPOLLIN)
        for way in self.ways.values():
            way.listener.setblocking(False)
        while True:
            for fd in self.ways:
                self._ask(fd, select.EPOLLIN if self._has_room() else 0)
            for fd, events in self.poll.poll():
                if fd in self.tie:
                    return
                if fd == self.names.bell:
                    for client, address in self.names.answers():
                        self._join(client, address)
                elif fd in self.ways:
                    if self._has_room():  # another way's may have come in this turn
                        self._accept(self.ways[fd])
                elif fd in self.halves:  # not closed by the event before
                    self._move(fd, events)

    def _has_room(self) -> bool:
        return len(self.halves) + 2 * sum(map(len, self.names.waiting.values())) < self.most

    def _accept(self, way: RelayWay) -> None:
        try:
            client = way.listener.accept()[0]
        except OSError:
            return
        try:
            self._join(client, addressed(way.dial, socket.AI_NUMERICHOST))
        except NO_ADDRESS:
            self.names.ask(way.dial, client)

    def _join(self, client: socket.socket, address: Address | None) -> None:
        """To a server at an address; None: there is none."""
        try:
            server = dialled(address) if address else None
        except OSError:
            server = None
        if server is None:
            client.close()
            return
        for side in (client, server):
            side.setblocking(False)
            if side.family != socket.AF_UNIX:
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                side.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        there, back = Half(client, server, is_from_client=True), Half(server, client, is_from_client=False)
        self.halves[client.fileno()], self.halves[server.fileno()] = (there, back), (back, there)
        self._settle(client.fileno())

    def _move(self, fd: int, events: int) -> None:
        reading, writing = self.halves[fd]
        # a client that is gone, on a unix socket: on TCP this looks like the end of what it says
        reading.is_gone |= bool(events & select.EPOLLHUP) and reading.source.family == socket.AF_UNIX
        try:
            if events & ~select.EPOLLOUT and not reading.ended and len(reading.data) < ROOM:
                piece = reading.source.recv(ROOM - len(reading.data))
                reading.data += piece
                reading.ended = not piece
        except BlockingIOError:
            pass
        except OSError:
            if reading.is_from_client:  # the client is gone: the server must not wait for it
                self._close(fd)
                return
            reading.ended = True  # the server closed with something unread; what it said before is here
        for half in (reading, writing):
            try:
                half.flush()
            except OSError:
                if not half.is_from_client:  # the client is gone
                    self._close(fd)
                    return
                # the server has answered before the end: the client gets that, where its own words are taken to the
                # last one; closed on unread data, TCP would throw the answer away
                half.is_unheard = True
                half.flush()
        self._settle(fd)

    def _settle(self, fd: int) -> None:
        """Ask for what may come next, or close what is done."""
        halves = self.halves[fd]
        is_alone = any(half.is_from_client and half.is_gone and half.closed for half in halves)
        if is_alone or all(half.closed for half in halves):
            self._close(fd)
            return
        for half, other in (halves, halves[::-1]):
            wanted = select.EPOLLIN if not half.ended and len(half.data) < ROOM else 0
            self._ask(half.source.fileno(), wanted | (select.EPOLLOUT if other.data else 0))

    def _ask(self, fd: int, events: int) -> None:
        """Nothing to ask for: nothing to hear either, not even that the other end is gone."""
        before = self.asked.get(fd, 0)
        if events and not before:
            self.poll.register(fd, events)
        elif events != before:
            self.poll.modify(fd, events) if events else self.poll.unregister(fd)
        self.asked[fd] = events

    def _close(self, fd: int) -> None:
        for half in self.halves[fd]:
            number = half.source.fileno()
            self._ask(number, 0)
            del self.halves[number], self.asked[number]
            half.source.close()


def addressed(where: str, flags: int = 0) -> Address:
    """Where a path or HOST:PORT is. Raises OSError; with AI_NUMERICHOST for every name, without asking anybody;
    UnicodeError for what is no name."""
    if where.startswith("/"):
        return socket.AF_UNIX, where
    host, _, port = where.rpartition(":")
    found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=flags)
    family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, address


def dialled(address: Address) -> socket.socket:
    """A connection; but to a path, it may still be on its way. Raises OSError."""
    family, place = address
    server = socket.socket(family, socket.SOCK_STREAM)
    if family != socket.AF_UNIX:
        server.setblocking(False)
    try:
        server.connect(place)  # to a path: blocks while the backlog there is full
    except BlockingIOError:
        pass  # what the client says waits for it, and its end when it fails
    except OSError:
        server.close()
        raise
    return server


def way_of(word: str) -> RelayWay:
    """LISTEN=DIAL, listening."""
    listen, _, dial = word.partition("=")
    host, _, port = listen.rpartition(":")
    if host == "fd":
        os.set_inheritable(int(port), False)
        return RelayWay(socket.socket(fileno=int(port)), dial)
    return RelayWay(socket.create_server((host, int(port)), backlog=128), dial)


def _descriptors() -> int:
    """How many this process may have open, after it asked for as many as it may ask for."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def become(command: Sequence[str]) -> None:
    """Run `command` in this process as if nothing had been here."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and a command would inherit that
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], list(command))  # noqa: S606 (that is the point)
    except OSError as err:
        print(f"{command[0]}: {err.strerror}", file=sys.stderr)
        os._exit(127 if isinstance(err, FileNotFoundError) else 126)


def stay_above(command: Sequence[str], ways: Sequence[RelayWay], tie: Sequence[int]) -> None:
    """Relay while the command or what it left behind runs; ends with the command's exit code."""
    child, codes = os.fork(), [1]
    if not child:
        become(command)

    def bury(*_: object) -> None:
        try:
            while ended := os.waitpid(-1, os.WNOHANG):
                if ended[0] == child:
                    codes[0] = os.waitstatus_to_exitcode(ended[1]) & 0xFF
                elif not ended[0]:
                    return
        except ChildProcessError:
            os._exit(codes[0])

    signal.signal(signal.SIGCHLD, bury)
    bury()  # it may have ended before
    Relay(ways, tie).serve()
    os._exit(1)


def leave_behind(command: Sequence[str], ways: Sequence[RelayWay]) -> None:
    """Become the command; what relays is no child of its."""
    child = os.fork()
    if child:
        for way in ways:
            way.listener.close()
        os.waitpid(child, 0)
        become(command)
    if os.fork():
        os._exit(0)  # so that it is no child of the command's, which might wait for it
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    Relay(ways).serve()


def main(*words: str) -> None:
    mine = words[: words.index("--")] if "--" in words else words
    command = words[len(mine) + 1 :]
    tie = [int(word.partition("=")[2]) for word in mine if word.startswith("--tie=")]
    for fd in tie:
        os.set_inheritable(fd, False)
    ways = [way_of(word) for word in mine if "=" in word and not word.startswith("--")]
    if command and "--above" in mine:
        stay_above(command, ways, tie)
    elif command:
        leave_behind(command, ways)
    else:
        Relay(ways, tie).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
