"""The way from a sandbox's 127.0.0.1 to the gateway's socket. Runs inside, by `python -I -S`, without another module.

    python -I -S relay.py SOCKET PORT [COMMAND ARGUMENT ...]

With a command: listens, leaves itself behind as a child of the namespace's first process, and becomes the command, so
exit code, signals and descriptors are the command's own. Without one: relays until it is killed.
It has no rights that the command lacks, and nothing of value: the socket decides.
"""

import os
import select
import signal
import socket
import sys

ROOM = 1 << 18
"""Bytes held for one direction of a connection; its sender waits while they are not taken."""
CONNECTIONS = 400
"""At a time, two descriptors each, below the usual limit of 1024; further ones wait in the backlog."""


class Half:
    """One direction of a connection: what came from `source` and is not yet in `sink`."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source = source
        self.sink = sink
        self.data = b""
        self.ended = False
        self.closed = False
        self.is_unheard = False  # the sink takes no more

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


class Relay:
    """Every connection to `listener`, brought to the socket at `gateway`, in one thread."""

    def __init__(self, listener: socket.socket, gateway: str) -> None:
        self.listener = listener
        self.gateway = gateway
        self.poll = select.epoll()
        self.halves: dict[int, tuple[Half, Half]] = {}  # descriptor → (reads from it, writes to it)
        self.asked: dict[int, int] = {}

    def serve(self) -> None:
        self.listener.setblocking(False)
        while True:
            self._ask(self.listener.fileno(), select.EPOLLIN if len(self.halves) < 2 * CONNECTIONS else 0)
            for fd, events in self.poll.poll():
                if fd == self.listener.fileno():
                    self._accept()
                elif fd in self.halves:  # not closed by the event before
                    self._move(fd, events)

    def _accept(self) -> None:
        try:
            client = self.listener.accept()[0]
        except OSError:
            return
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(self.gateway)  # blocks while the gateway's backlog is full
        except OSError:
            client.close()
            server.close()
            return
        client.setblocking(False)
        server.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        there, back = Half(client, server), Half(server, client)
        self.halves[client.fileno()], self.halves[server.fileno()] = (there, back), (back, there)
        self._settle(client.fileno())

    def _move(self, fd: int, events: int) -> None:
        reading, writing = self.halves[fd]
        try:
            if events & ~select.EPOLLOUT and not reading.ended and len(reading.data) < ROOM:
                piece = reading.source.recv(ROOM - len(reading.data))
                reading.data += piece
                reading.ended = not piece
        except BlockingIOError:
            pass
        except OSError:
            if reading.source.family == socket.AF_INET:  # the client is gone: the gateway must not wait for it
                self._close(fd)
                return
            reading.ended = True  # the gateway closed with something unread; what it said before is here
        for half in (reading, writing):
            try:
                half.flush()
            except OSError:
                if half.sink.family == socket.AF_INET:  # the client is gone
                    self._close(fd)
                    return
                # the gateway has answered before the end: the client gets that, where its own words are taken to the
                # last one; closed on unread data, TCP would throw the answer away
                half.is_unheard = True
                half.flush()
        self._settle(fd)

    def _settle(self, fd: int) -> None:
        """Ask for what may come next, or close what is done."""
        halves = self.halves[fd]
        if all(half.closed for half in halves):
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


def become(command: list[str]) -> None:
    """Run `command` in this process as if nothing had been here."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and a command would inherit that
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 (that is the point)
    except OSError as err:
        print(f"{command[0]}: {err.strerror}", file=sys.stderr)
        os._exit(127 if isinstance(err, FileNotFoundError) else 126)


def main(gateway: str, port: str, *command: str) -> None:
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=128)
    if command:
        child = os.fork()
        if child:
            listener.close()
            os.waitpid(child, 0)
            become(list(command))
        if os.fork():
            os._exit(0)  # so that it is no child of the command's, which might wait for it
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(nothing, fd)
    Relay(listener, gateway).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
