"""A release's own network: a loopback device, one door in, and exactly the ways out that its environment names.

The door is a unix socket in the release's directory. We make it and listen on it, the release only gets it as a
descriptor, so nothing inside can put another file in its place. A relay inside brings each connection to the port that
the release listens on. A way out is a loopback address inside, from where the relay leads to a unix socket, and that
one to an address of the host's or to the egress gateway; `outside.py` is the program at its other end.
"""

import contextlib
import fcntl
import inspect
import ipaddress
import json
import os
import re
import secrets
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from blocks.host import processes, relay, sockets
from blocks.host.confine import Bind
from blocks.host.gateway_variables import variables
from blocks.host.listeners import connections
from blocks.host.memory import in_memory
from blocks.targets.releases import DOOR
from domain.egress import Passport
from domain.errors import InputError, TargetError
from domain.ports import RELAY_PORT

PORT = 8000
"""What a release in a network of its own listens on, if nothing else that it reaches has that number."""
_RELAY, _REACH, _GATEWAY = "/run/lockgate-relay.py", "/run/reach", "/run/lockgate"
_BACKLOG = 1024
_PORTS = {
    "postgresql": 5432, "postgres": 5432, "mysql": 3306, "mariadb": 3306, "mssql": 1433, "redis": 6379, "rediss": 6379,
    "valkey": 6379, "valkeys": 6379, "mongodb": 27017, "amqp": 5672, "amqps": 5671, "nats": 4222, "memcached": 11211,
    "clickhouse": 9000, "kafka": 9092, "mqtt": 1883, "mqtts": 8883, "smtp": 25, "smtps": 465, "ldap": 389, "ldaps": 636,
}  # fmt: skip
"""Schemes of URLs whose address a release reaches if its environment gives it such a URL, and their usual ports."""
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?")


class Address(NamedTuple):
    """One address of the host's or of another machine, reached as it is."""

    host: str
    port: int


class OwnNetwork(NamedTuple):
    """What a confined program needs of its network, to be given to `confinement`."""

    launcher: tuple[str, ...]
    mounts: tuple[Bind, ...]
    files: Mapping[str, str]
    descriptors: tuple[int, ...]
    environment: Mapping[str, str]
    door: int | None
    """The inode of the socket at which it listens."""


class Ways(NamedTuple):
    """What a release may reach: addresses as they are, and what the gateway lets through."""

    addresses: tuple[Address, ...] = ()
    passport: Passport | None = None
    gateway: Path = Path()

    @property
    def port(self) -> int:
        """What the release listens on."""
        taken = {RELAY_PORT, *(address.port for address in self.addresses)}
        return next(port for port in range(PORT, 65536) if port not in taken)

    def as_seen_inside(self, value: str) -> str:
        """A variable whose URL names a machine by its address: with the loopback address that leads there."""
        scheme, is_url, rest = value.partition("://")
        if not is_url or scheme.lower().partition("+")[0] not in _PORTS:
            return value
        netloc = _netloc(rest)
        user, at, hosts = netloc.rpartition("@")
        places = {address.host: place for address, place in _inside(self.addresses).items()}
        seen = ",".join(_moved(one, places) for one in hosts.split(","))
        return f"{scheme}://{user}{at}{seen}{rest[len(netloc) :]}"


@contextlib.contextmanager
def own(folder: Path, python: Path, ways: Ways, mark: str | None) -> Iterator[OwnNetwork]:
    """A network for what is started within the context; afterwards only that holds it. `folder`: the release's; `mark`:
    the word by which a service is found, None for what serves nobody.

    Raises TargetError if it cannot be made.
    """
    with contextlib.ExitStack() as stack:
        try:
            yield _made(stack, folder, python, ways, mark)
        except OSError as err:
            raise TargetError(f"the network of the release cannot be made in {folder}: {err}") from err


def requests(pids: Sequence[int], port: int) -> int:
    """How many connections are open to the port, in the network that these processes are in."""
    for pid in pids:
        with contextlib.suppress(OSError):
            return connections([("127.0.0.1", port)], Path(f"/proc/{pid}/net/tcp"))
    return 0


def _made(stack: contextlib.ExitStack, folder: Path, python: Path, ways: Ways, mark: str | None) -> OwnNetwork:
    words, mounts, held = [], [], []
    door = None
    if mark:
        listener = stack.enter_context(_listening(folder, DOOR, 0o600))
        door, held = os.fstat(listener.fileno()).st_ino, [listener.fileno()]
        words += [f"fd:{listener.fileno()}=127.0.0.1:{ways.port}", mark]
    beyond: list[str] = []
    kept: list[int] = []
    hosts = {"127.0.0.1 localhost": None}
    if ways.addresses:
        place = folder / "reach"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        place.chmod(0o755)
        mounts.append(Bind(place, _REACH))
        for number, (address, inside) in enumerate(_inside(ways.addresses).items()):
            listener = stack.enter_context(_listening(place, f"{number}.sock", 0o666))
            kept.append(listener.fileno())
            beyond.append(f"fd:{listener.fileno()}={address.host}:{address.port}")
            words.append(f"{inside}:{address.port}={_REACH}/{number}.sock")
            if not _is_address(address.host):
                hosts[f"{inside} {address.host}"] = None
    environment: Mapping[str, str] = {}
    gateway: dict[str, Any] | None = None
    if ways.passport and not ways.passport.is_idle:
        listeners = ways.gateway / "listeners"
        listeners.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = listeners / secrets.token_hex(8)
        directory.mkdir(mode=0o755)
        directory.chmod(0o755)
        lock = os.open(directory, os.O_RDONLY)
        stack.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)  # as long as the program outside has it, the gateway does not sweep it
        kept.append(lock)
        mounts.append(Bind(directory, _GATEWAY))
        words.append(f"127.0.0.1:{RELAY_PORT}={_GATEWAY}/gateway.sock")
        environment = variables({})
        gateway = {
            "root": str(ways.gateway),
            "id": directory.name,
            "passport": ways.passport.model_dump(mode="json"),
        }
    if kept:
        ours, theirs = socket.socketpair()
        stack.enter_context(ours)
        stack.enter_context(theirs)
        _start_outside(folder, {"ways": beyond, "gateway": gateway, "tie": theirs.fileno()}, [*kept, theirs.fileno()])
        held.append(ours.fileno())
        words.append(f"--tie={ours.fileno()}")
    launcher = (str(python), "-I", "-S", _RELAY, "--above", *words, "--")
    files = {_RELAY: inspect.getsource(relay), "/etc/hosts": "".join(f"{line}\n" for line in hosts)}
    return OwnNetwork(launcher, tuple(mounts), files, tuple(held), environment, door)


@contextlib.contextmanager
def _listening(folder: Path, name: str, mode: int) -> Iterator[socket.socket]:
    with sockets.bind(folder, name, mode) as listener:
        listener.listen(_BACKLOG)
        yield listener


def _start_outside(folder: Path, told: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    description = in_memory(json.dumps(told).encode())
    try:
        argv = [sys.executable, "-P", "-m", "blocks.targets.machine.outside", str(description)]
        environment = {"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
        processes.start(argv, environment, folder / "outside.log", Path("/"), [description, *descriptors])
    finally:
        os.close(description)


def _inside(addresses: Sequence[Address]) -> dict[Address, str]:
    """Where inside each of them is: itself on the loopback, else a loopback address of its host's own."""
    hosts = dict.fromkeys(address.host for address in addresses if not _is_loopback(address.host))
    places = {host: f"127.77.0.{number}" for number, host in enumerate(hosts, 1)}
    return {address: places.get(address.host, address.host) for address in addresses}


def addresses_of(reach: Sequence[str], granted: Mapping[str, str]) -> tuple[Address, ...]:
    """What `reach` names, and what the URLs among the variables of the environment name.

    Raises InputError for one that cannot be reached from a network of one's own.
    """
    found: dict[Address, None] = {}
    for word in reach:
        host, _, port = word.rpartition(":")
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise InputError(f"reach: {word!r} is not HOST:PORT, such as db.internal:5432")
        found[_address(host, int(port), f"reach: {word!r}", by_name=True)] = None
    for name, value in granted.items():
        for address in _named(value):
            found[_address(address.host, address.port, f"the variable {name}", by_name=False)] = None
    if len(found) > 200:
        raise InputError(f"{len(found)} addresses are more than a release's own network leads to: 200")
    return tuple(found)


def _netloc(rest: str) -> str:
    """Of what follows `://`. Newer `urlsplit` refuses all of a URL that has an IPv6 address after another host's."""
    return re.split(r"[/?#]", rest, maxsplit=1)[0]


def _named(value: str) -> Iterator[Address]:
    """The addresses in a URL of a database, queue or mail server: none, one, or more with commas between them."""
    scheme, is_url, rest = value.partition("://")
    usual = _PORTS.get(scheme.lower().partition("+")[0])
    if not is_url or usual is None:
        return
    with contextlib.suppress(ValueError):
        for one in _netloc(rest).rpartition("@")[2].split(","):
            parts = urlsplit(f"//{one}")
            if parts.hostname:  # else it is a socket in the file system, which a release does not see
                yield Address(parts.hostname, parts.port or usual)


def _address(host: str, port: int, who: str, *, by_name: bool) -> Address:
    host = host.removeprefix("[").removesuffix("]").lower()
    host = "127.0.0.1" if host == "localhost" else host
    if by_name and _is_address(host) and not _is_loopback(host):
        raise InputError(
            f"{who} names {host}, and from a network of its own a release reaches other machines by name: "
            f"give {host} a name in /etc/hosts, or set network = host"
        )
    if not _is_address(host) and not _NAME.fullmatch(host):
        raise InputError(f"{who}: {host!r} is no name of a host")
    if port == RELAY_PORT and _is_loopback(host):
        raise InputError(f"{who} names the port {RELAY_PORT} of the loopback, which is the way to the egress gateway")
    return Address(host, port)


def _is_address(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(host))
    return False


def _is_loopback(host: str) -> bool:
    """An IPv4 address that a release has too."""
    return _is_address(host) and ipaddress.ip_address(host) in ipaddress.ip_network("127.0.0.0/8")


def _moved(one: str, places: Mapping[str, str]) -> str:
    with contextlib.suppress(ValueError):
        parts = urlsplit(f"//{one}")
        host = (parts.hostname or "").lower()
        if _is_address(host) and host in places:
            return f"{places[host]}:{parts.port}" if parts.port else places[host]
    return one
