"""The settings of an ECS target, and the parts of ECS that they lead to."""

import functools
import os
from typing import Literal, NamedTuple

from pydantic import Field, SecretStr

from blocks.artifacts.ecr import login_of, region_of
from blocks.artifacts.registry import RegistryLogin, Repository
from blocks.base import LockgateBlock
from blocks.targets.ecs.api import Access
from blocks.targets.ecs.definitions import DefinitionFamily
from blocks.targets.ecs.service import EcsService
from blocks.targets.ecs.tasks import EcsTasks
from domain.errors import TargetError
from domain.rollout import Rollout


class EcsSettings(LockgateBlock):
    """One service of one cluster, and how it is reached."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the environment")
    cluster: str = Field("default", description="Cluster of the service")
    service: str = Field(min_length=1, description="The service, which exists, with its load balancer")
    container: str = Field(min_length=1, description="The container of the task definition that a release replaces")
    family: str | None = Field(
        None, description="Family of the releases' task definitions; default: the service's name"
    )
    template: str | None = Field(
        None, description="Task definition with roles, size and logs for releases; default: what the service runs"
    )
    public: str = Field(description="Public address, such as https://shop.example.com")
    endpoint_url: str | None = Field(None, description="Address of something other than AWS, such as the fake")
    region: str | None = Field(None, description="Empty: as the environment or profile says")
    access_key_id: SecretStr | None = Field(None, description="Empty: as boto3 finds it: environment, profile, role")
    secret_access_key: SecretStr | None = Field(None, description="Belongs to access_key_id")
    session_token: SecretStr | None = Field(None, description="For temporary credentials")
    attempts: int = Field(5, ge=1, le=10, description="Tries of one call, with growing pauses")
    repository: str | None = Field(
        None,
        pattern=r"^[^/@\s]*[.:][^/@\s]*(/[a-z0-9._-]+)+$",
        description="Where images are pushed to, as 000000000000.dkr.ecr.eu-west-1.amazonaws.com/shop",
    )
    registry_username: str | None = Field(
        None, description="Empty: for Amazon ECR a token by the keys above, else as `docker login` left it"
    )
    registry_password: SecretStr | None = Field(None, description="Belongs to registry_username")
    ecr_endpoint_url: str | None = Field(None, description="Where ECR tokens are given, other than AWS's own address")
    push_timeout_s: float = Field(900, gt=0, description="Seconds that the push of an image may take")
    environment: dict[str, str] = Field({}, description="Variables for releases here; they win over the project's own")
    secrets: dict[str, str] = Field(
        {}, description="Secret variables: name → ARN in Secrets Manager or Parameter Store"
    )
    runs_command: bool = Field(True, description="Give the container the project's `run`; False: the image has its own")
    strategy: Literal["canary", "rolling"] = Field(
        "canary", description="canary: share by share, needs a second target group; rolling: task by task"
    )
    rollout: Rollout = Field(Rollout(), description="How fast a release gets the traffic, and what it may do to it")
    count: int | None = Field(None, ge=1, description="Tasks of a release; default: as the service has it, at least 1")
    breaker_failures: int = Field(3, ge=1, le=200, description="Failed tasks after which ECS rolls back by itself")
    pause_minutes: int = Field(60, ge=1, le=1440, description="Minutes without our word after which ECS rolls back")
    ready_minutes: int = Field(
        15, ge=0, le=1440, description="Minutes that the old tasks stay ready after the last shift"
    )
    asks_tasks: bool = Field(True, description="Releases are asked at their tasks' addresses; needs a way into the VPC")
    start_timeout_s: float = Field(600, gt=0, description="Seconds in which a release must become healthy")
    migrate_timeout_s: float = Field(900, gt=0, description="Seconds that a migration may take")
    back_timeout_s: float = Field(600, gt=0, description="Seconds in which the way back must be done")
    poll_s: float = Field(3.0, gt=0, description="Seconds between two looks at ECS")
    keep_releases: int = Field(10, ge=2, description="Releases whose task definitions stay active for going back")

    def images(self, socket: str | None = None) -> Repository:
        """Where images of releases go, from the engine at that socket. Raises TargetError if nothing is set."""
        if self.repository is None:
            raise TargetError(f"the ECS target {self.name} has no `repository`: say where its images are pushed to")
        return Repository(self.repository, self._login, socket, self.push_timeout_s)

    def _login(self) -> RegistryLogin | None:
        if (self.registry_username is None) != (self.registry_password is None):
            raise TargetError("registry_username and registry_password belong together: give both, or neither")
        if self.registry_username is not None and self.registry_password is not None:
            return RegistryLogin(self.registry_username, self.registry_password)
        region = region_of(self.repository or "")
        if region or self.ecr_endpoint_url:
            access = self._access._replace(endpoint_url=self.ecr_endpoint_url, region=region or self.region)
            return login_of(access.client("ecr"))
        return None

    @property
    def _service(self) -> EcsService:
        return self._parts.service

    @property
    def _definitions(self) -> DefinitionFamily:
        return self._parts.definitions

    @property
    def _tasks(self) -> EcsTasks:
        return self._parts.tasks

    @property
    def _parts(self) -> "_Parts":
        family = self.family or self.service
        return _parts(os.getpid(), self._access, self.cluster, self.service, self.container, family, self.poll_s)

    @property
    def _access(self) -> Access:
        keys = (self.access_key_id, self.secret_access_key, self.session_token)
        return Access(self.endpoint_url, self.region, keys, self.attempts)


class _Parts(NamedTuple):
    service: EcsService
    definitions: DefinitionFamily
    tasks: EcsTasks


@functools.lru_cache(maxsize=16)
def _parts(pid: int, access: Access, cluster: str, service: str, container: str, family: str, poll_s: float) -> _Parts:
    """Made once a process: they know what never changes at AWS, and a block stays plain data."""
    ecs = access.client("ecs")
    return _Parts(
        EcsService(ecs, cluster, service, poll_s),
        DefinitionFamily(ecs, family, container),
        EcsTasks(access, cluster, service, container),
    )
