"""What the API shows of the state, in the shapes of botocore's service model."""

from typing import Any

from kits.fake_ecs.rollout import pools
from kits.fake_ecs.stages import is_rolling, stages, threshold
from kits.fake_ecs.state import Deployment, Revision, Service, State, Task

Shape = dict[str, Any]


def service_shape(state: State, service: Service, with_tags: bool = False) -> Shape:
    tasks = [task for task in state.tasks_of(service) if task.is_up]
    deployment = service.deployment
    shown = {
        "serviceArn": service_arn(state, service),
        "serviceName": service.name,
        "clusterArn": state.arn("cluster", service.cluster),
        "status": service.status,
        "desiredCount": service.desired,
        "runningCount": sum(task.status == "RUNNING" for task in tasks),
        "pendingCount": sum(task.status != "RUNNING" for task in tasks),
        "taskDefinition": service.definition,
        "deploymentConfiguration": service.configuration,
        "deployments": _deployments(state, service),
        "events": [{"id": id, "createdAt": at, "message": message} for id, at, message in service.events],
        "createdAt": service.created_at,
        "currentServiceDeployment": deployment.arn if deployment and deployment.is_ongoing else None,
        "currentServiceRevisions": [
            {"arn": one.arn, **_counts(state, service, one.arn)}
            for one in service.revisions
            if one.arn == service.primary or state_up(state, service, one.arn)
        ],
        "deploymentController": {"type": "ECS"},
        "launchType": service.request.get("launchType", "FARGATE"),
        "schedulingStrategy": "REPLICA",
        "loadBalancers": service.request.get("loadBalancers", []),
        "serviceRegistries": [],
        "placementConstraints": [],
        "placementStrategy": [],
        "networkConfiguration": service.request.get("networkConfiguration"),
        "healthCheckGracePeriodSeconds": service.request.get("healthCheckGracePeriodSeconds", 0),
        "enableECSManagedTags": False,
        "propagateTags": service.request.get("propagateTags", "NONE"),
        "enableExecuteCommand": False,
        "tags": _tags(service.tags) if with_tags else None,
    }
    return _given(shown)


def deployment_shape(state: State, service: Service, deployment: Deployment) -> Shape:
    hook, breaker = deployment.hook, deployment.configuration.get("deploymentCircuitBreaker", {})
    status = "MONITORING" if deployment.status == "IN_PROGRESS" else "MONITORING_COMPLETE"
    source = [_weighed(state, service, deployment, deployment.source)] if deployment.source else []
    shown = {
        **deployment_brief(state, service, deployment),
        "sourceServiceRevisions": source,
        "targetServiceRevision": _weighed(state, service, deployment, deployment.target),
        "stoppedAt": deployment.finished_at if deployment.status == "STOPPED" else None,
        "updatedAt": deployment.updated_at or deployment.created_at,
        "lifecycleStage": stages(deployment.configuration)[deployment.at].name,
        "lifecycleHookDetails": [
            {
                "hookId": hook.id,
                "targetType": "PAUSE",
                "status": hook.status,
                "expiresAt": hook.expires_at,
                "timeoutAction": hook.action,
            }
        ]
        if hook
        else None,
        "deploymentConfiguration": deployment.configuration,
        "rollback": {
            "reason": deployment.rollback_reason,
            "startedAt": deployment.rollback_at,
            "serviceRevisionArn": deployment.source,
        }
        if deployment.rollback_at
        else None,
        "deploymentCircuitBreaker": {
            "status": "TRIGGERED" if deployment.is_triggered else status if breaker.get("enable") else "DISABLED",
            "failureCount": deployment.failures,
            "threshold": threshold(deployment.configuration, service.desired),
        },
    }
    return _given(shown)


def deployment_brief(state: State, service: Service, deployment: Deployment) -> Shape:
    shown = {
        "serviceDeploymentArn": deployment.arn,
        "serviceArn": service_arn(state, service),
        "clusterArn": state.arn("cluster", service.cluster),
        "createdAt": deployment.created_at,
        "startedAt": deployment.created_at,
        "finishedAt": deployment.finished_at,
        "status": deployment.status,
        "statusReason": deployment.reason,
    }
    return _given(shown)


def brief_in_list(state: State, service: Service, deployment: Deployment) -> Shape:
    return {**deployment_brief(state, service, deployment), "targetServiceRevisionArn": deployment.target}


def revision_shape(state: State, service: Service, revision: Revision) -> Shape:
    images = {
        container.name: {"containerName": container.name, "image": container.image, "imageDigest": container.digest}
        for task in state.tasks_of(service, revision.arn)
        for container in task.containers
        if container.digest
    }
    balancers = service.request.get("loadBalancers", [])
    listener = balancers[0].get("advancedConfiguration", {}).get("productionListenerRule") if balancers else None
    resolved = _given({"targetGroupArn": revision.group, "productionListenerRule": listener})
    shown = {
        "serviceRevisionArn": revision.arn,
        "serviceArn": service_arn(state, service),
        "clusterArn": state.arn("cluster", service.cluster),
        "taskDefinition": revision.definition,
        "launchType": service.request.get("launchType", "FARGATE"),
        "loadBalancers": balancers,
        "containerImages": list(images.values()),
        "createdAt": revision.created_at,
        "resolvedConfiguration": {"loadBalancers": [resolved]} if resolved else None,
    }
    return _given(shown)


def task_shape(state: State, task: Task) -> Shape:
    arn = task_arn(state, task)
    definition = next(
        one["taskDefinition"]
        for one in state.definitions
        if one["taskDefinition"]["taskDefinitionArn"] == task.definition
    )
    watched = {one["name"] for one in definition["containerDefinitions"] if "healthCheck" in one}
    health = {one.name: one.health if one.name in watched else "UNKNOWN" for one in task.containers}
    essential = [health[one.name] for one in task.containers if one.essential]
    address = task.address.partition(":")[0] if task.address else None
    interface = {"id": task.id[:32], "type": "ElasticNetworkInterface", "status": "ATTACHED"}
    details = [{"name": "privateIPv4Address", "value": address}] if address else []
    shown = {
        "taskArn": arn,
        "clusterArn": state.arn("cluster", task.cluster),
        "taskDefinitionArn": task.definition,
        "lastStatus": task.status,
        "desiredStatus": task.desired,
        "healthStatus": next((word for word in ("UNHEALTHY", "UNKNOWN") if word in essential), "HEALTHY"),
        "createdAt": task.created_at,
        "startedAt": task.started_at,
        "stoppedAt": task.stopped_at,
        "stopCode": task.stop_code,
        "stoppedReason": task.stopped_reason,
        "group": f"service:{task.service}" if task.service else f"family:{definition['family']}",
        "startedBy": task.started_by,
        "launchType": "FARGATE",
        "version": task.version,
        "attachments": [{**interface, "details": details}],
        "containers": [
            _given(
                {
                    "containerArn": state.arn("container", task.cluster, task.id, one.name),
                    "taskArn": arn,
                    "name": one.name,
                    "image": one.image,
                    "imageDigest": one.digest,
                    "lastStatus": task.status if task.status in ("PENDING", "RUNNING", "STOPPED") else "PENDING",
                    "exitCode": one.exit_code,
                    "reason": one.reason,
                    "healthStatus": health[one.name],
                    "networkInterfaces": [{"privateIpv4Address": address}] if address else [],
                }
            )
            for one in task.containers
        ],
    }
    return _given(shown)


def service_arn(state: State, service: Service) -> str:
    return state.arn("service", service.cluster, service.name)


def task_arn(state: State, task: Task) -> str:
    return state.arn("task", task.cluster, task.id)


def state_up(state: State, service: Service, revision: str) -> int:
    return sum(task.is_up for task in state.tasks_of(service, revision))


def _deployments(state: State, service: Service) -> list[Shape]:
    """PRIMARY, and ACTIVE for every other revision with tasks. What is INACTIVE is not shown, as ECS does not."""
    shown = []
    for revision in reversed(service.revisions):
        is_primary = revision.arn == service.primary
        if is_primary or any(task.status != "STOPPED" for task in state.tasks_of(service, revision.arn)):
            rollout, reason = _rollout(service, revision)
            shown.append(
                {
                    "id": revision.deployment_id,
                    "status": "PRIMARY" if is_primary else "ACTIVE",
                    "taskDefinition": revision.definition,
                    "desiredCount": service.desired if is_primary else 0,
                    "runningCount": _counts(state, service, revision.arn)["runningTaskCount"],
                    "pendingCount": _counts(state, service, revision.arn)["pendingTaskCount"],
                    "failedTasks": revision.failed,
                    "createdAt": revision.created_at,
                    "updatedAt": revision.created_at,
                    "launchType": service.request.get("launchType", "FARGATE"),
                    "rolloutState": rollout,
                    "rolloutStateReason": reason,
                }
            )
    return sorted(shown, key=lambda one: one["status"] != "PRIMARY")


def _rollout(service: Service, revision: Revision) -> tuple[str, str]:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html"""
    deployment, id = service.deployment, revision.deployment_id
    if deployment and revision.arn == deployment.target:
        if deployment.is_triggered:
            return "FAILED", "ECS deployment circuit breaker: tasks failed to start."
        if deployment.rollback_at or deployment.status in ("STOPPED", "ROLLBACK_REQUESTED"):
            return "FAILED", f"ECS deployment {id} was stopped."
        if deployment.is_ongoing:
            return "IN_PROGRESS", f"ECS deployment {id} in progress."
    if deployment and deployment.rollback_at and revision.arn == deployment.source:
        word = "ECS deployment circuit breaker: rolling" if deployment.is_triggered else "Rolling"
        reason = f"{word} back to deploymentId {id}."
        return ("IN_PROGRESS" if deployment.is_ongoing else "COMPLETED"), reason
    return "COMPLETED", f"ECS deployment {id} completed."


def _weighed(state: State, service: Service, deployment: Deployment, revision: str) -> Shape:
    counts: Shape = {"arn": revision, **_counts(state, service, revision)}
    if is_rolling(deployment.configuration):
        return counts
    weight = deployment.weight if revision == deployment.target else 100.0 - deployment.weight
    return {**counts, "requestedProductionTrafficWeight": weight}


def _counts(state: State, service: Service, revision: str) -> dict[str, int]:
    up = [task for task in state.tasks_of(service, revision) if task.is_up]
    running = sum(task.status == "RUNNING" for task in up)
    return {"requestedTaskCount": len(up), "runningTaskCount": running, "pendingTaskCount": len(up) - running}


def overview(state: State, service: Service) -> Shape:
    """What GET /state says of a service, for people and tests."""
    return {
        "address": f"http://127.0.0.1:{service.port}",
        "task_definition": service.definition,
        "pools": [
            {"weight": weight, "tasks": [place.address for place in places]} for weight, places in pools(state, service)
        ],
        "deployment": service.deployment and deployment_shape(state, service, service.deployment),
    }


def _tags(tags: dict[str, str]) -> list[Shape]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def _given(shape: Shape) -> Shape:
    return {name: value for name, value in shape.items() if value is not None}
