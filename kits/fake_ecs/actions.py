"""All actions of the API by their names: here those on clusters, tasks and tags."""

from collections.abc import Callable
from typing import Any

from kits.fake_ecs import rollout, views
from kits.fake_ecs.refusal import EcsRefusal
from kits.fake_ecs.services import Services
from kits.fake_ecs.state import StateFile, Task, new_task

Members = dict[str, Any]


class Actions(Services):
    """Each takes the members of a request and gives those of its answer. Called with the memory's lock held."""

    def __init__(self, memory: StateFile) -> None:
        super().__init__(memory)
        self.table: dict[str, Callable[[Members], Members]] = {
            **self.of_definitions,
            **self.of_services,
            "CreateCluster": self._create_cluster,
            "DescribeClusters": self._describe_clusters,
            "ListTasks": self._list_tasks,
            "DescribeTasks": self._describe_tasks,
            "StopTask": self._stop_task,
            "RunTask": self._run_task,
            "TagResource": self._tag,
            "UntagResource": self._untag,
            "ListTagsForResource": self._list_tags,
        }

    def _create_cluster(self, asked: Members) -> Members:
        name = asked.get("clusterName", "default")
        if name not in self.state.clusters:
            self.state.clusters.append(name)
        return {"cluster": self._cluster_shape(name)}

    def _describe_clusters(self, asked: Members) -> Members:
        names = [name.rpartition("/")[2] for name in asked.get("clusters") or ["default"]]
        known = [name for name in names if name in self.state.clusters]
        missing = [{"arn": self.state.arn("cluster", name), "reason": "MISSING"} for name in names if name not in known]
        return {"clusters": [self._cluster_shape(name) for name in known], "failures": missing}

    def _list_tasks(self, asked: Members) -> Members:
        cluster, status = self._cluster(asked), asked.get("desiredStatus", "RUNNING")
        name = self._service(asked | {"service": asked["serviceName"]}).name if "serviceName" in asked else None
        if "family" in asked:
            family = f"/{asked['family']}:"
        arns = [
            views.task_arn(self.state, task)
            for task in self.state.tasks
            if task.cluster == cluster
            and task.desired == status
            and name in (None, task.service)
            and ("family" not in asked or family in task.definition)
        ]
        return {"taskArns": arns[-asked.get("maxResults", 100) :]}

    def _describe_tasks(self, asked: Members) -> Members:
        cluster, found, failures = self._cluster(asked), [], []
        for reference in asked["tasks"]:
            if task := self._task(cluster, reference):
                found.append(views.task_shape(self.state, task))
            else:
                failures.append({"arn": reference, "reason": "MISSING"})
        return {"tasks": found, "failures": failures}

    def _stop_task(self, asked: Members) -> Members:
        task = self._task(self._cluster(asked), asked["task"])
        if task is None:
            raise EcsRefusal("The referenced task was not found.")
        rollout.stop(task, "UserInitiated", asked.get("reason", "Task stopped by user"))
        return {"task": views.task_shape(self.state, task)}

    def _run_task(self, asked: Members) -> Members:
        cluster, definition = self._cluster(asked), self.definition(asked["taskDefinition"])["taskDefinition"]
        token = asked.get("clientToken")
        if made := [task for task in self.state.tasks if token and task.token == token]:
            return {"tasks": [views.task_shape(self.state, task) for task in made], "failures": []}
        tasks = [new_task(cluster, definition) for _ in range(asked.get("count", 1))]
        overrides = asked.get("overrides", {}).get("containerOverrides", [])
        for task in tasks:
            task.started_by, task.token = asked.get("startedBy", ""), token
            task.commands = {one["name"]: one["command"] for one in overrides if "command" in one}
        self.state.tasks += tasks
        return {"tasks": [views.task_shape(self.state, task) for task in tasks], "failures": []}

    def _tag(self, asked: Members) -> Members:
        self._tags(asked["resourceArn"]).update({one["key"]: one["value"] for one in asked["tags"]})
        return {}

    def _untag(self, asked: Members) -> Members:
        for key in asked["tagKeys"]:
            self._tags(asked["resourceArn"]).pop(key, None)
        return {}

    def _list_tags(self, asked: Members) -> Members:
        return {"tags": [{"key": key, "value": value} for key, value in self._tags(asked["resourceArn"]).items()]}

    def _tags(self, arn: str) -> dict[str, str]:
        for service in self.state.services:
            if views.service_arn(self.state, service) == arn:
                return service.tags
        for one in self.state.definitions:
            if one["taskDefinition"]["taskDefinitionArn"] == arn:
                tags: dict[str, str] = one["tags"]
                return tags
        raise EcsRefusal("The specified resource was not found.")

    def _cluster_shape(self, name: str) -> Members:
        tasks = [task for task in self.state.tasks if task.cluster == name and task.is_up]
        return {
            "clusterArn": self.state.arn("cluster", name),
            "clusterName": name,
            "status": "ACTIVE",
            "registeredContainerInstancesCount": 0,
            "runningTasksCount": sum(task.status == "RUNNING" for task in tasks),
            "pendingTasksCount": sum(task.status != "RUNNING" for task in tasks),
            "activeServicesCount": sum(service.cluster == name for service in self.state.services),
        }

    def _task(self, cluster: str, reference: str) -> Task | None:
        id = reference.rpartition("/")[2]
        return next((task for task in self.state.tasks if (task.cluster, task.id) == (cluster, id)), None)
