"""The tasks of a release on Amazon ECS: where they answer, what runs in them, why they stopped, what they printed."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from blocks.targets.ecs.api import Access, aws_errors
from blocks.targets.ecs.definitions import Definition
from blocks.targets.health_probe import probe
from domain.health import Clean, HealthReading, HealthState, HttpAnswer, IdentitySource, Sight

_LOG_EVENTS = 400
_LOG_CHARACTERS = 64_000
_SHOWN = 5


class EcsTasks:
    """Those of one service. ECS forgets stopped ones after an hour."""

    def __init__(self, access: Access, cluster: str, service: str, container: str) -> None:
        self._access, self._cluster, self._service, self._container = access, cluster, service, container
        self._ecs = access.client("ecs")

    def of(self, definition: Definition, *statuses: str) -> list[dict[str, Any]]:
        """Newest first. `statuses`: RUNNING and STOPPED, as they are desired."""
        found: list[dict[str, Any]] = []
        for status in statuses:
            with aws_errors("list the tasks"):
                pages = self._ecs.get_paginator("list_tasks").paginate(
                    cluster=self._cluster, serviceName=self._service, desiredStatus=status
                )
                arns = [arn for page in pages for arn in page["taskArns"]]
            found += [one for one in self._described(arns) if one["taskDefinitionArn"] == definition.arn]
        return sorted(found, key=lambda one: str(one.get("createdAt", "")), reverse=True)

    def run_once(
        self, definition: Definition, command: Sequence[str], place: Mapping[str, Any], within_s: float, poll_s: float
    ) -> str | None:
        """Run a command to its end in a task of its own; None if it succeeded, else why not. One that runs or has
        succeeded already is not run again, as long as ECS remembers it.
        """
        mark = f"lockgate-{definition.content[:48]}"
        known = self._once(definition, mark)
        arn = next((task["taskArn"] for task in known if self._result(task) in (None, "")), None)
        if arn is None:
            with aws_errors(f"run a task of {definition.name}"):
                said = self._ecs.run_task(
                    cluster=self._cluster,
                    taskDefinition=definition.arn,
                    startedBy=mark,
                    clientToken=f"{mark}-{len(known)}",
                    overrides={"containerOverrides": [{"name": self._container, "command": list(command)}]},
                    **place,
                )
            if not said["tasks"]:
                return f"ECS started no task: {said['failures']}"
            arn = said["tasks"][0]["taskArn"]
        deadline = time.monotonic() + within_s
        while (result := self._result(self._described([arn])[0])) is None:
            if time.monotonic() > deadline:
                with aws_errors("stop a task"):
                    self._ecs.stop_task(cluster=self._cluster, task=arn, reason="it took too long")
                return f"it did not end within {within_s:g} s"
            time.sleep(poll_s)
        return f"{result}\n{self._printed(definition, [arn])}".rstrip() if result else None

    def _result(self, task: Mapping[str, Any]) -> str | None:
        """None while a task runs; empty if it succeeded, else why not."""
        if task["lastStatus"] != "STOPPED":
            return None
        code = next((one.get("exitCode") for one in task["containers"] if one["name"] == self._container), None)
        if task.get("stopCode") == "EssentialContainerExited" and code == 0:
            return ""
        return f"{task.get('stoppedReason', 'its task stopped')}, exit code {code}"

    def _once(self, definition: Definition, mark: str) -> list[dict[str, Any]]:
        """Tasks that were run alone, under a mark. `startedBy` cannot be asked for together with a status."""
        arns = []
        for status in ("RUNNING", "STOPPED"):
            with aws_errors("list the tasks"):
                pages = self._ecs.get_paginator("list_tasks").paginate(
                    cluster=self._cluster, family=definition.name.partition(":")[0], desiredStatus=status
                )
                arns += [arn for page in pages for arn in page["taskArns"]]
        return [task for task in self._described(arns) if task.get("startedBy") == mark]

    def _described(self, arns: Sequence[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for start in range(0, len(arns), 100):
            with aws_errors("describe the tasks"):
                found += self._ecs.describe_tasks(cluster=self._cluster, tasks=arns[start : start + 100])["tasks"]
        return found

    def addresses(self, definition: Definition) -> tuple[str, ...]:
        """Where its running tasks listen."""
        running = [one for one in self.of(definition, "RUNNING") if one.get("lastStatus") == "RUNNING"]
        return tuple(f"{address}:{definition.port}" for task in running if (address := _address(task)))

    def ask(self, definition: Definition, revision: str, clean: Clean, addresses: Sequence[str]) -> HealthReading:
        """What its tasks say there; the first that is not well, if one is not."""

        def see(_: HttpAnswer) -> Sight:
            return Sight(is_it=True, how=f"from a task of {definition.name}, by ECS")

        readings = [probe(address, definition.health, revision, clean, see) for address in addresses]
        if not readings:
            reason = f"no task of {definition.name} runs: {self.why(definition)}"
            return HealthReading(state=HealthState.SICK, reason=reason)
        return next((one for one in readings if not one.is_healthy), readings[0])

    def said_by_ecs(self, definition: Definition) -> HealthReading:
        """What ECS says of its tasks, for who cannot reach their addresses. It does not say whose answers it saw."""
        words = [(t.get("lastStatus"), t.get("healthStatus")) for t in self.of(definition, "RUNNING")]
        is_well = bool(words) and all(word in (("RUNNING", "HEALTHY"), ("RUNNING", "UNKNOWN")) for word in words)
        said = ", ".join(f"{status} {health}" for status, health in words) or f"no task runs: {self.why(definition)}"
        state = HealthState.HEALTHY if is_well else HealthState.SICK
        return HealthReading(state=state, identity=IdentitySource.SEEN, reason=f"ECS says of {definition.name}: {said}")

    def why(self, definition: Definition) -> str:
        """Why its newest task stopped."""
        for task in self.of(definition, "STOPPED")[:1]:
            codes = [f"{one['name']} exit code {one['exitCode']}" for one in task["containers"] if "exitCode" in one]
            return "; ".join([task.get("stoppedReason", "no reason given"), *codes])
        return "ECS says of no task why it stopped"

    def digests(self, definition: Definition) -> set[str]:
        """Digests of the images that run now."""
        return {
            str(one["imageDigest"]).removeprefix("sha256:")
            for task in self.of(definition, "RUNNING")
            for one in task["containers"]
            if one["name"] == self._container and "imageDigest" in one
        }

    def evidence(self, definition: Definition) -> list[dict[str, Any]]:
        """State, health, stop reason and exit codes of its newest tasks."""
        kept = ("lastStatus", "desiredStatus", "healthStatus", "stopCode", "stoppedReason")
        of_container = ("name", "lastStatus", "healthStatus", "exitCode", "reason", "imageDigest")
        return [
            {
                "task": task["taskArn"],
                **_some(task, kept),
                **{name: task[name].isoformat() for name in ("createdAt", "startedAt", "stoppedAt") if name in task},
                "containers": [_some(one, of_container) for one in task["containers"]],
            }
            for task in self.of(definition, "RUNNING", "STOPPED")[:_SHOWN]
        ]

    def logs(self, definition: Definition) -> str:
        """The end of what its newest task printed, where `awslogs` has it."""
        return self._printed(
            definition, [task["taskArn"] for task in self.of(definition, "RUNNING", "STOPPED")[:_SHOWN]]
        )

    def _printed(self, definition: Definition, arns: Sequence[str]) -> str:
        """What the first of these tasks printed that printed anything."""
        own: Mapping[str, Any] = next(
            (one for one in definition.shape["containerDefinitions"] if one["name"] == self._container), {}
        )
        driver, options = (own.get("logConfiguration", {}).get(name) for name in ("logDriver", "options"))
        if driver != "awslogs" or not options:
            return ""
        client = self._access.client("logs")
        for arn in arns:
            stream = f"{options.get('awslogs-stream-prefix')}/{self._container}/{arn.rpartition('/')[2]}"
            if lines := _events(client, options["awslogs-group"], stream):
                return "\n".join(lines)[-_LOG_CHARACTERS:]
        return ""


def _events(client: Any, group: str, stream: str) -> Sequence[str]:
    with aws_errors(f"read the log stream {stream}"):
        try:
            said = client.get_log_events(
                logGroupName=group, logStreamName=stream, limit=_LOG_EVENTS, startFromHead=False
            )
        except ClientError as err:
            if err.response["Error"].get("Code") != "ResourceNotFoundException":
                raise
            return ()  # it has printed nothing yet
    return [event["message"] for event in said["events"]]


def _address(task: Mapping[str, Any]) -> str | None:
    """Its private address, as `awsvpc` gives it."""
    for attachment in task.get("attachments", []):
        for detail in attachment.get("details", []):
            if detail["name"] == "privateIPv4Address":
                return str(detail["value"])
    return None


def _some(shape: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: shape[name] for name in names if name in shape}
