"""Who listens on a port of this machine, and who is connected, as the kernel tells it."""

import contextlib
import os
import socket
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

_LISTENING = "0A"  # TCP_LISTEN in /proc/net/tcp
_ESTABLISHED = "01"
_ANY = {"00000000", "0" * 32}


def listeners(host: str, port: int) -> set[str]:
    """Inodes of the sockets that listen on that port, at that IPv4 host or at any address."""
    addresses = {*_ANY, _as_in_proc(host)}
    everywhere = _as_in_proc(host) in _ANY
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError):
            for fields in map(str.split, Path(table).read_text().splitlines()[1:]):
                address, _, number = fields[1].partition(":")
                if fields[3] == _LISTENING and int(number, 16) == port and (everywhere or address in addresses):
                    found.add(fields[9])
    return found


def connections(to: Collection[tuple[str, int]], table: Path = Path("/proc/net/tcp")) -> int:
    """How many connections are open to any of these IPv4 addresses and ports, as one network's table has it."""
    wanted = {f"{_as_in_proc(host)}:{port:04X}" for host, port in to}
    lines = table.read_text().splitlines()[1:]
    return sum(fields[3] == _ESTABLISHED and fields[2] in wanted for fields in map(str.split, lines))


def sockets_of(pids: Iterable[int]) -> set[str]:
    """Inodes of the sockets that these processes have open."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    found.add(os.readlink(descriptor).removeprefix("socket:[").rstrip("]"))
    return found


def _as_in_proc(host: str) -> str:
    """The address of an IPv4 host as /proc/net/tcp writes it; empty if it has none."""
    with contextlib.suppress(OSError):
        packed = socket.inet_aton(socket.gethostbyname(host))
        return f"{int.from_bytes(packed, sys.byteorder):08X}"
    return ""
