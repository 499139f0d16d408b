"""The public address of a Swarm's releases: one Caddy in their network, on the manager that we speak to.

The routing mesh and virtual addresses need IPVS, which some kernels have not, and they share the traffic out by
connection. So the services have names only (dnsrr), and the proxy looks them up as it dials.
https://docs.docker.com/engine/swarm/networking/#configure-service-discovery
"""

import contextlib
import json
import os
import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocks.host.docker import Engine
from blocks.host.files import trim, write_atomically
from blocks.host.listeners import connections
from blocks.targets.asking import UnixConnection
from blocks.targets.health_probe import probe_by
from blocks.targets.machine.caddy import Caddy, caddy_binary
from blocks.targets.swarm.engine import Swarm
from domain.errors import TargetError
from domain.health import Clean, HealthCheck, HealthReading, HttpAnswer, Sight
from domain.value import digest_of

_INSIDE = Path("/target")
_PORT = 8080
_ASKED, _SCHEME = "X-Lockgate-Asked", "X-Lockgate-Scheme"
_MADE = "lockgate.configuration"
_STARTED_WITHIN_S = 20.0
_NO_NETWORK = re.compile("network .* not found")
_TAKEN = ("port is already allocated", "address already in use")


@dataclass(frozen=True)
class SwarmProxy(Caddy):
    """The target's folder is mounted into it: there it reads who gets the traffic, and writes who answered."""

    engine: Engine
    name: str
    network: str

    def ensure(self) -> bool:
        trim(self.folder / "caddy.log")
        image = Swarm(self.engine).proxy_image(caddy_binary())
        wanted = json.dumps(self._configuration(), indent=1)
        made, there = digest_of([wanted, image, self.host, self.port, self.network]), self._container()
        if there and there["State"]["Running"] and there["Config"]["Labels"].get(_MADE) == made:
            return False
        if there:
            self.engine.remove(there["Id"])
        for folder in (self._pointers, self.folder / "caddy"):
            folder.mkdir(parents=True, exist_ok=True)
        if self._read("percent") is None:
            self._write("percent", "0")
        self._socket.unlink(missing_ok=True)
        write_atomically(self._file, wanted.encode(), 0o600)
        self._start(image, made)
        deadline = time.monotonic() + _STARTED_WITHIN_S
        while not self._answers():
            if time.monotonic() > deadline or not self.is_running():
                said = self._said()
                self.stop(grace_s=0)
                raise TargetError(f"the proxy does not come up at {self.host}:{self.port}: {said}")
            time.sleep(0.05)
        return True

    def is_running(self) -> bool:
        container = self._container()
        return container is not None and bool(container["State"]["Running"])

    def is_taken(self) -> bool:
        """The engine publishes the port for one container only: what is taken is said when the proxy starts."""
        return False

    def stop(self, grace_s: float) -> bool:
        if (container := self._container()) is None:
            return False
        self.engine.stop(container["Id"], max(1, round(grace_s)))
        self.engine.remove(container["Id"])
        return True

    def ask(self, upstream: str, check: HealthCheck, revision: str, clean: Clean) -> HealthReading:
        """What a release says when it is asked past the public address. Only who may open the socket can ask so."""

        def see(_: HttpAnswer) -> Sight:
            return Sight(is_it=True, how=f"from {upstream}, which is the name of its service alone")

        headers = {_ASKED: upstream, _SCHEME: check.scheme}
        return probe_by(lambda: UnixConnection(self._socket), upstream, check, revision, clean, see, **headers)

    def requests(self, addresses: Collection[tuple[str, int]]) -> int | None:
        """How many connections it has to any of these; None: its network cannot be looked into from here."""
        container = self._container()
        pid = container["State"]["Pid"] if container else 0
        with contextlib.suppress(OSError):
            return connections(addresses, Path(f"/proc/{pid}/net/tcp")) if pid else 0
        return None

    def _start(self, image: str, made: str) -> None:
        """A node lets go of an overlay that nothing uses, and for a moment it can be had by nobody."""
        import docker.errors

        deadline = time.monotonic() + _STARTED_WITHIN_S
        with self.engine.errors(f"start the proxy {self.name}"):
            while True:
                container = self._create(image, made)
                try:
                    self.engine.api.start(container)
                    return
                except docker.errors.APIError as err:
                    self.engine.remove(container)
                    said = str(err.explanation)
                    if any(word in said for word in _TAKEN):
                        raise TargetError(self.taken) from err
                    if _NO_NETWORK.search(said) is None or time.monotonic() > deadline:
                        raise
                time.sleep(0.2)

    def _create(self, image: str, made: str) -> str:
        api, home = self.engine.api, str(_INSIDE / "caddy")
        config = api.create_host_config(
            network_mode=self.network,
            port_bindings={_PORT: (self.host, self.port)},
            binds={str(self.folder): {"bind": str(_INSIDE), "mode": "rw"}},
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true"],
            restart_policy={"Name": "unless-stopped"},
            log_config={"type": "json-file", "config": {"max-size": "5m", "max-file": "2"}},
        )
        made_now = api.create_container(
            image,
            command=["/caddy", "run", "--config", str(_INSIDE / self._file.name)],
            name=self.name,
            user=f"{os.geteuid()}:{os.getegid()}",
            environment={"HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home},
            ports=[_PORT],
            labels={_MADE: made, "lockgate.proxy": self.name},
            host_config=config,
        )
        return str(made_now["Id"])

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            connection = UnixConnection(self._socket)
            connection.connect()
            connection.close()
            return True
        return False

    def _container(self) -> dict[str, Any] | None:
        return next(iter(self.engine.containers("lockgate.proxy", self.name)), None)

    def _said(self) -> str:
        container = self._container()
        return self.engine.tail(container["Id"], 500).decode(errors="replace").strip() if container else "it is gone"

    @property
    def _socket(self) -> Path:
        return self.folder / "private.sock"

    def _configuration(self) -> dict[str, Any]:
        """The one of any target, as it looks from inside; and a socket at which one names whom to ask.

        A connection that is kept would stay with its task: a new one goes to any of those that the name has now.
        """
        inside = Caddy(_INSIDE, "0.0.0.0", _PORT, self.trusted)._configured(self._secret)  # noqa: S104  # of the container alone
        inside["apps"]["http"]["servers"]["private"] = {
            "listen": [f"unix/{_INSIDE / self._socket.name}|0600"],
            "automatic_https": {"disable": True},
            "routes": [
                {
                    "handle": [
                        {
                            "handler": "reverse_proxy",
                            "upstreams": [{"dial": f"{{http.request.header.{_ASKED}}}"}],
                            "headers": {
                                "request": {"set": {"X-Forwarded-Proto": [f"{{http.request.header.{_SCHEME}}}"]}}
                            },
                        }
                    ]
                }
            ],
        }
        _dial_anew(inside)
        return inside


def _dial_anew(part: Any) -> None:
    """https://caddyserver.com/docs/json/apps/http/servers/routes/handle/reverse_proxy/transport/http/"""
    if isinstance(part, dict) and part.get("handler") == "reverse_proxy":
        part["transport"] = {"protocol": "http", "keep_alive": {"enabled": False}}
    for below in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _dial_anew(below)
