"""Releases as services of a Docker Swarm, behind one Caddy in their network: for who outgrows one host."""

from pydantic import Field

from blocks.host.docker import Engine
from blocks.targets.machine.proxied import ProxiedTarget
from blocks.targets.machine.release_image import FIX, image_of
from blocks.targets.swarm.engine import Swarm
from blocks.targets.swarm.proxy import SwarmProxy
from blocks.targets.swarm.releases import SwarmReleases
from blocks.targets.swarm.service import SwarmService
from blocks.targets.swarm.spec import ServiceOptions
from domain.errors import TargetError
from domain.ports import ReleaseBuild
from domain.value import digest_of

_BRIDGE = "docker_gwbridge"
"""Through it a published port is reached: https://docs.docker.com/engine/swarm/networking/#customize-the-docker_gwbridge"""


class SwarmTarget(ProxiedTarget):
    """One environment in a Swarm, one service a release. This machine is a manager of it, and its public address."""

    _block_type_name = "Lockgate swarm target"
    _block_type_slug = "lockgate-swarm-target"
    _description = "Runs releases as services of a Docker Swarm behind a Caddy that drops no request."

    socket: str | None = Field(None, description="A manager's unix socket; default: $DOCKER_HOST, /run/docker.sock")
    image: str = Field("lockgate-base", description="Base image of releases; it has a shell and Python")
    registry: str | None = Field(
        None, description="Repository that every node reaches, as registry:5000/shop; without one, all run on this node"
    )
    network: str | None = Field(None, description="An attachable overlay network; default: one of their own")
    replicas: int = Field(2, ge=1, description="Tasks of each release")
    constraints: tuple[str, ...] = Field((), description="Where tasks may run, as node.labels.zone==a")
    memory_mb: int = Field(1024, gt=0, description="Memory of one task")
    cpus: float = Field(1.0, gt=0, description="Processors of one task")

    @property
    def runs_images(self) -> bool:
        return True

    @property
    def migrates(self) -> bool:
        return False

    def trouble(self, revision: str) -> str | None:
        return self._service(revision).trouble()

    def _missing(self) -> str | None:
        try:
            engine = Engine.at(self.socket)
            if reason := Swarm(engine).missing():
                return reason
            if engine.image(self.image) is None:
                return f"the engine has no image {self.image}: {FIX}"
            if self.network and not engine.has_network(self.network):
                return f"the Swarm has no network {self.network}: docker network create -d overlay --attachable NAME"
        except TargetError as err:
            return str(err)
        return None

    def _service(self, revision: str) -> SwarmService:
        swarm, place = self._swarm, self._releases.place(revision)

        def made(tag: str, build: ReleaseBuild) -> tuple[str, str]:
            image = image_of(swarm.engine, self.image, revision, build, tag)
            return image, swarm.push(image, self.registry, revision) if self.registry else image

        return SwarmService(
            place=place,
            swarm=swarm,
            name=f"{self._mark}-{revision[:12]}",
            options=ServiceOptions(
                network=self.network or self._mark,
                replicas=self.replicas,
                constraints=self.constraints,
                node=None if self.registry else lambda: swarm.node,
                memory_mb=self.memory_mb,
                cpus=self.cpus,
                grace_s=self.stop_s,
                start_timeout_s=self.start_timeout_s,
            ),
            image_of=made,
            ask=lambda one: self._caddy.ask(one.upstream, one.health, one.revision, self._redactor),
            requests_at=lambda addresses: self._caddy.requests(addresses),
            settings={**self.environment, **self._secrets},
            start_timeout_s=self.start_timeout_s,
            grace_s=self.stop_s,
            clean=self._redactor,
        )

    def _with_proxy(self) -> None:
        if self.network is None:
            self._swarm.network(self._mark)
        super()._with_proxy()

    @property
    def _releases(self) -> SwarmReleases:
        return SwarmReleases(self._folder / "releases")

    @property
    def _caddy(self) -> SwarmProxy:
        network, engine = self.network or self._mark, self._swarm.engine
        trusted = (*self.trusted_proxies, *engine.gateways(_BRIDGE))  # where this machine's own questions come from
        return SwarmProxy(self._folder, self.host, self.port, trusted, engine, f"{self._mark}-proxy", network)

    @property
    def _swarm(self) -> Swarm:
        return Swarm(Engine.at(self.socket))

    @property
    def _mark(self) -> str:
        """Of this target alone, whoever else uses the Swarm."""
        plain = "".join(c if c.isalnum() else "-" for c in self.name[:20])  # with a revision at most 63 characters
        return f"lockgate-{plain}-{digest_of(str(self._folder))[:8]}"
