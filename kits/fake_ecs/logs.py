"""CloudWatch Logs over what containers printed: GetLogEvents, for the streams that `awslogs` names."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from kits.fake_ecs.containers import TaskContainers
from kits.fake_ecs.refusal import EcsRefusal
from kits.fake_ecs.state import StateFile

Members = dict[str, Any]
_MOST = 10_000


class Logs:
    """A stream is PREFIX/CONTAINER/TASK: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html"""

    def __init__(self, memory: StateFile, containers: TaskContainers) -> None:
        self._state, self._containers = memory.state, containers
        self.table: dict[str, Callable[[Members], Members]] = {"GetLogEvents": self._get}

    def _get(self, asked: Members) -> Members:
        group, stream = asked.get("logGroupName"), asked["logStreamName"]
        prefix, _, rest = stream.partition("/")
        name, _, task_id = rest.rpartition("/")
        printed = self._containers.printed(task_id, name) if self._is_stream(group, prefix, name, task_id) else None
        if printed is None:
            raise EcsRefusal("The specified log stream does not exist.", "ResourceNotFoundException")
        events = [_event(line) for line in printed.splitlines() if b" " in line or line]
        size = min(asked.get("limit", _MOST), _MOST)
        page = events[:size] if asked.get("startFromHead") else events[-size:]
        return {"events": page, "nextForwardToken": f"f/{len(events)}", "nextBackwardToken": "b/0"}

    def _is_stream(self, group: str | None, prefix: str, name: str, task_id: str) -> bool:
        """Whether the task's definition sends that container's output there."""
        arn = next((task.definition for task in self._state.tasks if task.id == task_id), None)
        for one in self._state.definitions:
            if one["taskDefinition"]["taskDefinitionArn"] == arn:
                for container in one["taskDefinition"]["containerDefinitions"]:
                    logs = container.get("logConfiguration", {})
                    options = logs.get("options", {})
                    if container["name"] == name and logs.get("logDriver") == "awslogs":
                        return (options.get("awslogs-group"), options.get("awslogs-stream-prefix")) == (group, prefix)
        return False


def _event(line: bytes) -> Members:
    """A line of docker logs, which begins with its time in nanoseconds."""
    at, _, message = line.decode(errors="replace").partition(" ")
    try:
        when = int(datetime.fromisoformat(at[:26].rstrip("Z") + "+00:00").timestamp() * 1000)
    except ValueError:
        when, message = 0, f"{at} {message}"
    return {"timestamp": when, "message": message, "ingestionTime": when}
