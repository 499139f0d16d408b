"""One service of Amazon ECS: which task definition has the traffic, and how a deployment goes on or back.

Nothing here believes that a service is stable: the PRIMARY deployment of one that ECS rolled back is of the old task
definition and looks stable, so every wait ends by saying whose it is.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from blocks.targets.ecs.api import aws_errors
from domain.errors import Fenced, TargetError

_ONGOING = {"PENDING", "IN_PROGRESS", "STOP_REQUESTED", "ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS"}
_BACK = {"ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS", "ROLLBACK_SUCCESSFUL", "ROLLBACK_FAILED"}
_LISTED = 20


class Progress(NamedTuple):
    """How far a service deployment is."""

    arn: str
    status: str
    reason: str
    target: str
    """The arn of the task definition that it brings."""
    source: str | None
    weight: float | None
    """Percent of the production traffic at the target; None: a rolling deployment, which has no such number."""
    hook: str | None
    """The pause that waits for an answer."""

    @property
    def is_ongoing(self) -> bool:
        return self.status in _ONGOING

    @property
    def is_over(self) -> bool:
        """Whether PRIMARY says who has the traffic. One that was stopped leaves the traffic split as it was."""
        return self.status in ("SUCCESSFUL", "ROLLBACK_SUCCESSFUL")

    @property
    def goes_back(self) -> bool:
        return self.status in _BACK

    @property
    def has_all(self) -> bool:
        """Whether all of the traffic is at the target."""
        return self.status == "SUCCESSFUL" or (not self.goes_back and (self.weight or 0) >= 100)


class EcsService:
    """By cluster and name."""

    def __init__(self, ecs: Any, cluster: str, name: str, poll_s: float) -> None:
        self._ecs, self.cluster, self.name, self._poll_s = ecs, cluster, name, poll_s
        self._definitions: dict[str, str] = {}

    def shape(self) -> dict[str, Any]:
        """As DescribeServices has it, with tags. Raises TargetError if there is none."""
        with aws_errors(f"describe the service {self.name}"):
            said = self._ecs.describe_services(cluster=self.cluster, services=[self.name], include=["TAGS"])
        if not said["services"]:
            raise TargetError(
                f"no service {self.name!r} in cluster {self.cluster!r}: make it first, see docs/targets-ecs.md"
            )
        shape: dict[str, Any] = said["services"][0]
        if shape["status"] != "ACTIVE":
            raise TargetError(f"the service {self.name!r} is {shape['status']}, not ACTIVE")
        return shape

    def tags(self) -> dict[str, str]:
        return {one["key"]: one.get("value", "") for one in self.shape().get("tags", [])}

    def tag(self, **tags: str) -> None:
        """Each `name` as lockgate:name."""
        arn = self.shape()["serviceArn"]
        with aws_errors(f"tag the service {self.name}"):
            self._ecs.tag_resource(
                resourceArn=arn, tags=[{"key": f"lockgate:{key}", "value": value} for key, value in tags.items()]
            )

    def place(self) -> dict[str, Any]:
        """Where its tasks run, in the words of RunTask."""
        shape = self.shape()
        given = {name: shape[name] for name in ("networkConfiguration", "platformVersion") if shape.get(name)}
        kind = "capacityProviderStrategy" if shape.get("capacityProviderStrategy") else "launchType"
        return given | ({kind: shape[kind]} if shape.get(kind) else {})

    def fence(self, token: int, environment: str) -> None:
        """Note that `token` acts now. Raises Fenced if a newer one did.

        ECS has no compare-and-set for tags: two that ask in the same moment are kept apart by the lease.
        """
        newest = int(self.tags().get("lockgate:token") or 0)
        if token < newest:
            raise Fenced(
                f"a newer run has taken over environment {environment!r}: nothing more is done there by this one"
            )
        if token > newest:
            self.tag(token=str(token))

    def primary(self) -> str:
        """The task definition of the PRIMARY deployment."""
        shape = self.shape()
        primaries = [str(one["taskDefinition"]) for one in shape["deployments"] if one["status"] == "PRIMARY"]
        return primaries[0] if primaries else str(shape["taskDefinition"])

    def serves(self) -> str | None:
        """The task definition that has the traffic, or the most of it; None if no task shall run.

        PRIMARY names the newest deployment, also while all of the traffic is still at the one before.
        """
        shape = self.shape()
        if shape["desiredCount"] == 0:
            return None
        progress = self.newest()
        if progress is None or progress.is_over:
            return self.primary()
        return progress.target if progress.has_all or progress.source is None else progress.source

    def newest(self, definition: str | None = None) -> Progress | None:
        """The newest service deployment; with `definition`, the newest that brings it."""
        with aws_errors(f"list the deployments of {self.name}"):
            listed = self._ecs.list_service_deployments(cluster=self.cluster, service=self.name, maxResults=_LISTED)
        for brief in sorted(listed["serviceDeployments"], key=lambda one: one["createdAt"], reverse=True):
            if definition is None or self._definition(brief["targetServiceRevisionArn"]) == definition:
                return self.progress(brief["serviceDeploymentArn"])
        return None

    def progress(self, arn: str) -> Progress:
        with aws_errors("describe a deployment"):
            said = self._ecs.describe_service_deployments(serviceDeploymentArns=[arn])["serviceDeployments"]
        if not said:
            raise TargetError(f"ECS no longer knows the deployment {arn}")
        return self._read(said[0])

    def update(self, definition: str, configuration: Mapping[str, Any], count: int) -> Progress:
        """Begin to deploy a task definition; where that is under way already, the same."""
        now = self.newest()
        if now and now.target == definition and now.is_ongoing and not now.goes_back:
            return now
        with aws_errors(f"update the service {self.name}"):
            self._ecs.update_service(
                cluster=self.cluster,
                service=self.name,
                taskDefinition=definition,
                desiredCount=count,
                deploymentConfiguration=configuration,
                forceNewDeployment=self.primary() == definition,
            )
        return self._appeared(definition, now.arn if now else None)

    def scale(self, count: int) -> None:
        with aws_errors(f"scale the service {self.name}"):
            self._ecs.update_service(cluster=self.cluster, service=self.name, desiredCount=count)

    def go_on(self, progress: Progress) -> None:
        """Past the pause where it stands, unless it is past it meanwhile."""
        try:
            with aws_errors("continue a deployment"):
                self._ecs.continue_service_deployment(
                    serviceDeploymentArn=progress.arn, hookId=progress.hook, action="CONTINUE"
                )
        except TargetError:
            if self.progress(progress.arn).hook == progress.hook:
                raise

    def stop(self, progress: Progress) -> None:
        """Ask for the way back, unless it is over meanwhile."""
        with aws_errors("stop a deployment"), contextlib.suppress(self._ecs.exceptions.ConflictException):
            self._ecs.stop_service_deployment(serviceDeploymentArn=progress.arn, stopType="ROLLBACK")

    def wait(self, arn: str, until: Callable[[Progress], bool], within_s: float) -> Progress:
        """Look until it is so, or `within_s` are over; the last look."""
        deadline = time.monotonic() + within_s
        while not until(now := self.progress(arn)) and time.monotonic() < deadline:
            time.sleep(self._poll_s)
        return now

    def _appeared(self, definition: str, before: str | None) -> Progress:
        """The deployment that an update began. ECS shows it a moment later."""
        for _ in range(20):
            now = self.newest(definition)
            if now and now.arn != before:
                return now
            time.sleep(self._poll_s)
        raise TargetError(f"ECS took the update of {self.name}, and shows no deployment of {definition}")

    def _read(self, shape: Mapping[str, Any]) -> Progress:
        hooks = [one for one in shape.get("lifecycleHookDetails", []) if one.get("status") == "AWAITING_ACTION"]
        sources = shape.get("sourceServiceRevisions", [])
        target = shape["targetServiceRevision"]
        return Progress(
            arn=shape["serviceDeploymentArn"],
            status=shape["status"],
            reason=shape.get("statusReason", ""),
            target=self._definition(target["arn"]),
            source=self._definition(sources[0]["arn"]) if sources else None,
            weight=target.get("requestedProductionTrafficWeight"),
            hook=hooks[0]["hookId"] if hooks else None,
        )

    def _definition(self, revision: str) -> str:
        """The task definition of a service revision. Both never change."""
        if revision not in self._definitions:
            with aws_errors("describe a service revision"):
                said = self._ecs.describe_service_revisions(serviceRevisionArns=[revision])["serviceRevisions"]
            if not said:
                raise TargetError(f"ECS no longer knows the service revision {revision}")
            self._definitions[revision] = str(said[0]["taskDefinition"])
        return self._definitions[revision]
