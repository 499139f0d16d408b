"""The fake on loopback: the AWS JSON protocol on one port, each service's load balancer on another."""

import contextlib
import functools
import signal
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from domain.errors import InputError
from kits.fake_ecs import rollout, views
from kits.fake_ecs.actions import Actions
from kits.fake_ecs.balancer import AnsweredRequest, Balancer, Pools
from kits.fake_ecs.containers import TaskContainers
from kits.fake_ecs.handler import EcsServer, Failures
from kits.fake_ecs.logs import Logs
from kits.fake_ecs.scheduler import Scheduler
from kits.fake_ecs.state import Service, StateFile


class FakeEcs:
    """An ECS on 127.0.0.1 over a real Docker Engine, as a context manager.

    `directory`: where it remembers; one that is killed goes on from there. None: a temporary one. `speed`: how many
    times faster than those of AWS its clocks go (minutes of bake time, seconds of health checks). `key`, `secret`: what
    callers sign with; None takes any signature. `health_path`: what the load balancer asks of tasks. `secrets`:
    values by ARN, for `secrets` of task definitions.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        port: int = 0,
        speed: float = 1.0,
        key: str | None = None,
        secret: str = "",
        region: str = "eu-west-1",
        clusters: Sequence[str] = ("default",),
        health_path: str = "/",
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        self._temporary = None if directory else tempfile.TemporaryDirectory(prefix="lockgate-fake-ecs-")
        self.directory = directory or Path(self._temporary.name if self._temporary else "")
        self.directory.mkdir(parents=True, exist_ok=True)
        self.region = region
        self._containers = TaskContainers(self.directory, speed)
        self._memory = StateFile(self.directory, region, list(clusters))
        self._scheduler = Scheduler(self._memory, self._containers, speed, health_path, secrets or {})
        self._balancers: dict[tuple[str, str], Balancer] = {}
        self.failures = Failures()
        tables = {
            "AmazonEC2ContainerServiceV20141113": ("ecs", Actions(self._memory).table),
            "Logs_20140328": ("logs", Logs(self._memory, self._containers).table),
        }
        try:
            self._server = EcsServer(port, tables, self._memory, self.failures, (key, secret) if key else None, self)
        except OSError as err:
            self._containers.close(remove=True)
            raise InputError(f"port {port} of 127.0.0.1 cannot be listened on ({err}): choose another one") from err
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """What a client has as its `endpoint_url`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def calls(self) -> tuple[tuple[str, dict[str, Any]], ...]:
        """Every call so far that was carried out: action and members."""
        return tuple(self._server.calls)

    def address(self, service: str, cluster: str = "default") -> str:
        """Where the load balancer of a service listens, as host:port."""
        with self._memory.lock:
            return f"127.0.0.1:{self._service(cluster, service).port}"

    def answered(self, service: str, cluster: str = "default") -> tuple[AnsweredRequest, ...]:
        """What its load balancer answered so far."""
        balancer = self._balancers.get((cluster, service))
        return tuple(balancer.answered) if balancer else ()

    def fail(self, action: str, code: str, message: str = "Rate exceeded", times: int = 1) -> None:
        """The next `times` calls of an action are refused with an error code; nothing is done for them."""
        self.failures.add(action, code, message, times)

    def listen(self) -> None:
        """A load balancer for each service."""
        with self._memory.lock:
            services = {(one.cluster, one.name): one for one in self._memory.state.services}
        for name in self._balancers.keys() - services.keys():
            self._balancers.pop(name).stop()
        for name, service in services.items():
            if name not in self._balancers:
                self._balancers[name] = Balancer(service.port, functools.partial(self._pools, *name))

    def overview(self) -> dict[str, Any]:
        """What GET /state says."""
        with self._memory.lock:
            state = self._memory.state
            return {f"{one.cluster}/{one.name}": views.overview(state, one) for one in state.services}

    def stop(self, remove: bool = True) -> None:
        """End it. `remove`: with its containers; one that is started again in the directory starts them anew."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()
        self._scheduler.stop()
        while self._balancers:
            self._balancers.popitem()[1].stop()
        self._containers.close(remove)
        if self._temporary:
            self._temporary.cleanup()

    def __enter__(self) -> "FakeEcs":
        self.listen()
        self._scheduler.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _pools(self, cluster: str, name: str) -> Pools:
        with self._memory.lock:
            return rollout.pools(self._memory.state, self._service(cluster, name))

    def _service(self, cluster: str, name: str) -> Service:
        for service in self._memory.state.services:
            if (service.cluster, service.name) == (cluster, name):
                return service
        raise InputError(f"no service {name!r} in cluster {cluster!r}: make it with CreateService first")


def serve(
    directory: Path | None = None, port: int = 0, speed: float = 1.0, health_path: str = "/", key: str | None = None,
    secret: str = "",
) -> None:  # fmt: skip
    """Serve until interrupted or terminated. Raises InputError if no engine answers or a port is in use."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with FakeEcs(directory, port=port, speed=speed, health_path=health_path, key=key, secret=secret) as fake:
        print(f"fake ECS at {fake.url}, its services and their addresses at {fake.url}/state", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
