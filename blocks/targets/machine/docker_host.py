"""Releases as containers of a Docker Engine on this machine, behind one Caddy, which is a process of the host."""

from pydantic import Field, PrivateAttr

from blocks.host.docker import Engine
from blocks.targets.machine.container import ContainerService
from blocks.targets.machine.containers import ContainerLimits, ReleaseContainers
from blocks.targets.machine.proxied import ProxiedTarget, ProxiedWatch
from blocks.targets.machine.release_image import FIX, image_of
from domain.errors import TargetError
from domain.ports import ReleaseBuild
from domain.value import digest_of


class DockerHostTarget(ProxiedTarget):
    """One environment of containers on this machine. Its data is a directory of the host's, as with processes."""

    _block_type_name = "Lockgate docker host target"
    _block_type_slug = "lockgate-docker-host-target"
    _description = "Runs releases as containers of this machine's Docker Engine behind a Caddy that drops no request."

    socket: str | None = Field(None, description="The engine's unix socket; default: $DOCKER_HOST, /run/docker.sock")
    image: str = Field("lockgate-base", description="Base image of releases; it has a shell and Python")
    network: str | None = Field(
        None, description="A network of the engine for releases, with their database say; default: one of their own"
    )
    memory_mb: int = Field(1024, gt=0, description="Memory of one release, without swap")
    cpus: float = Field(2.0, gt=0, description="Processors of one release")
    processes: int = Field(512, gt=0, description="Processes and threads of one release")
    tmp_mb: int = Field(256, gt=0, description="Size of its /tmp, which is memory; new with each start")

    _restarts: int = PrivateAttr(0)

    @property
    def runs_images(self) -> bool:
        return True

    def observe(self, revision: str) -> ProxiedWatch:
        watched = self.model_copy()
        watched._restarts = self._service(revision).restarts()
        return super(DockerHostTarget, watched).observe(revision)

    def trouble(self, revision: str) -> str | None:
        service = self._service(revision)
        if service.restarts() > self._restarts:
            return f"{service.ended()}, and the engine started it again"
        if not service.is_running():
            return service.ended()
        if service.artifact() != self._releases.place(revision).get().artifact:
            return "what runs is not the image that was released"
        return self.trouble_at_proxy()

    def _missing(self) -> str | None:
        try:
            engine = Engine.at(self.socket)
            if reason := engine.unusable():
                return reason
            if engine.image(self.image) is None:
                return f"the engine has no image {self.image}: {FIX}"
            if self.network and not engine.has_network(self.network):
                return f"the engine has no network {self.network}: docker network create {self.network}"
        except TargetError as err:
            return str(err)
        return None

    def _service(self, revision: str) -> ContainerService:
        engine, place = Engine.at(self.socket), self._releases.place(revision)
        one = f"lockgate-{self.name}-{digest_of(str(self._folder))[:8]}"
        containers = ReleaseContainers(
            engine=engine,
            mark=place.mark,
            name=f"{one}-{revision[:12]}",
            labels={"lockgate.environment": self.name, "lockgate.revision": revision},
            network=self.network or one,
            limits=ContainerLimits(self.memory_mb, self.cpus, self.processes, self.tmp_mb),
        )

        def made(tag: str, build: ReleaseBuild, keep: bool) -> str:
            return image_of(engine, self.image, revision, build, tag, keep=keep)

        return ContainerService(
            releases=self._releases,
            place=place,
            containers=containers,
            image_of=made,
            data=self.data,
            settings={**self.environment, **self._secrets},
            start_timeout_s=self.start_timeout_s,
            migrate_timeout_s=self.migrate_timeout_s,
            grace_s=self.stop_s,
            clean=self._redactor,
        )
