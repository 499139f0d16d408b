"""What the fake remembers, on disk after every change: a killed one goes on where it was."""

import os
import secrets
import threading
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

ACCOUNT = "000000000000"
ONGOING = ("PENDING", "IN_PROGRESS", "STOP_REQUESTED", "ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS")
"""Statuses of a service deployment that is not over."""


class StateRecord(BaseModel):
    """Something that changes. Names and words are those of the API."""

    model_config = ConfigDict(extra="forbid")


class Container(StateRecord):
    name: str
    image: str
    digest: str | None = None
    essential: bool = True
    exit_code: int | None = None
    reason: str | None = None
    health: str = "UNKNOWN"


class Task(StateRecord):
    """A group of containers with one address. `service` and `revision` are empty for a task that runs alone."""

    id: str
    cluster: str
    service: str
    revision: str
    definition: str
    containers: list[Container]
    started_by: str = ""
    token: str | None = None
    commands: dict[str, list[str]] = {}
    """Commands that RunTask gave, by container."""
    created_at: float
    started_at: float | None = None
    stopped_at: float | None = None
    status: str = "PROVISIONING"
    desired: str = "RUNNING"
    address: str | None = None
    checks: int = 0
    """Health checks of the load balancer in a row: passed where positive, failed where negative."""
    was_healthy: bool = False
    is_healthy: bool = False
    stop_code: str | None = None
    stopped_reason: str | None = None
    version: int = 1

    @property
    def is_up(self) -> bool:
        """Whether it runs or will."""
        return self.desired == "RUNNING" and self.status != "STOPPED"


class Revision(StateRecord):
    """A service revision: what a deployment deploys."""

    arn: str
    deployment_id: str
    definition: str
    created_at: float
    group: str | None = None
    """The target group of the load balancer that its tasks are in."""
    failed: int = 0


class Hook(StateRecord):
    """A pause. `expires_at` is when its timeout's action is taken."""

    id: str
    action: str
    expires_at: float
    status: str = "AWAITING_ACTION"


class Deployment(StateRecord):
    """A service deployment on its way from `source` to `target`, both arns of service revisions."""

    arn: str
    source: str | None
    target: str
    configuration: dict[str, Any]
    created_at: float
    status: str = "PENDING"
    reason: str | None = None
    at: int = 0
    """Which of its stages it is in, as stages.py counts them."""
    since: float = 0.0
    hook: Hook | None = None
    weight: float = 0.0
    """Percent of the production traffic at the target."""
    failures: int = 0
    is_triggered: bool = False
    rollback_reason: str | None = None
    rollback_at: float | None = None
    finished_at: float | None = None
    updated_at: float = 0.0

    @property
    def is_ongoing(self) -> bool:
        return self.status in ONGOING


class Service(StateRecord):
    cluster: str
    name: str
    request: dict[str, Any]
    """What CreateService and UpdateService said, without the fields below."""
    definition: str
    desired: int
    configuration: dict[str, Any]
    created_at: float
    port: int
    """Where the load balancer listens on 127.0.0.1."""
    tags: dict[str, str] = {}
    token: str | None = None
    primary: str = ""
    """The arn of the newest revision."""
    completed: str | None = None
    """The arn of the last one whose deployment was completed."""
    revisions: list[Revision] = []
    deployments: list[Deployment] = []
    events: list[tuple[str, float, str]] = []
    status: str = "ACTIVE"

    @property
    def deployment(self) -> Deployment | None:
        """The newest one."""
        return self.deployments[-1] if self.deployments else None

    def revision(self, arn: str) -> Revision:
        return next(one for one in self.revisions if one.arn == arn)

    def say(self, message: str) -> None:
        self.events.insert(0, (secrets.token_hex(8), time.time(), f"(service {self.name}) {message}"))
        del self.events[100:]


class State(StateRecord):
    """All of it."""

    region: str
    clusters: list[str] = []
    definitions: list[dict[str, Any]] = []
    """As DescribeTaskDefinition shows them, with `tags` beside."""
    services: list[Service] = []
    tasks: list[Task] = []

    def arn(self, kind: str, *path: str) -> str:
        return f"arn:aws:ecs:{self.region}:{ACCOUNT}:{kind}/{'/'.join(path)}"

    def tasks_of(self, service: Service, revision: str | None = None) -> list[Task]:
        return [
            task
            for task in self.tasks
            if (task.cluster, task.service) == (service.cluster, service.name) and revision in (None, task.revision)
        ]


def new_task(cluster: str, definition: dict[str, Any]) -> Task:
    """A task of a task definition, which nobody started yet."""
    containers = [
        Container(name=one["name"], image=one["image"], essential=one.get("essential", True))
        for one in definition["containerDefinitions"]
    ]
    return Task(
        id=secrets.token_hex(16),
        cluster=cluster,
        service="",
        revision="",
        definition=definition["taskDefinitionArn"],
        containers=containers,
        created_at=time.time(),
    )


class StateFile:
    """The state with its lock and its file."""

    def __init__(self, directory: Path, region: str, clusters: list[str]) -> None:
        self._file = directory / "state.json"
        self.lock = threading.RLock()
        if self._file.exists():
            self.state = State.model_validate_json(self._file.read_bytes())
        else:
            self.state = State(region=region)
        self.state.clusters = list(dict.fromkeys((*self.state.clusters, *clusters)))
        self._written = b""
        self.save()

    def save(self) -> None:
        """Write what changed."""
        data = self.state.model_dump_json().encode()
        if data != self._written:
            beside = self._file.with_suffix(".tmp")
            with open(beside, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._file)
            self._written = data
