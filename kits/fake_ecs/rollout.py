"""How a deployment goes on: through its stages, or back. Decides on the state alone; the scheduler acts."""

import secrets
import time

from kits.fake_ecs.balancer import Pools, ServingTask
from kits.fake_ecs.stages import is_rolling, pause, stages, threshold
from kits.fake_ecs.state import Deployment, Hook, Service, State, Task

_BACK = ("ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS")


def advance(state: State, service: Service, speed: float) -> None:
    """As far as the newest deployment can go now."""
    deployment = service.deployment
    if deployment is None or not deployment.is_ongoing:
        return
    match deployment.status:
        case "PENDING":
            _become(deployment, "IN_PROGRESS")
        case "STOP_REQUESTED":
            _end(deployment, "STOPPED", "Service deployment stopped by a user.")
        case "ROLLBACK_REQUESTED":
            back(service, deployment, "Service deployment rolled back by a user.")
    if deployment.status == "IN_PROGRESS" and not _is_broken(service, deployment):
        _go_on(state, service, deployment, speed)
    if deployment.status == "ROLLBACK_IN_PROGRESS":
        _go_back(state, service, deployment)  # before any task is stopped: the traffic leaves it first


def wanted(state: State, service: Service) -> dict[str, int]:
    """How many tasks each revision shall have."""
    deployment, desired = service.deployment, service.desired
    if service.status != "ACTIVE":
        return {}
    if deployment is None or deployment.status in ("SUCCESSFUL", "ROLLBACK_SUCCESSFUL"):
        return {service.primary: desired}
    old, new = deployment.source, deployment.target
    fresh, up = _healthy(state, service, new), len(_up(state, service, new))
    if not deployment.is_ongoing:  # stopped or failed: nothing new is launched for it
        stay = max(0, desired - fresh) if is_rolling(deployment.configuration) else desired
        return {new: min(up, desired)} | ({old: stay} if old else {})
    if deployment.status in _BACK:
        ready = _healthy(state, service, old) if old else 0
        stays = 0 if ready >= desired else min(fresh, desired)
        return {new: stays} | ({old: desired} if old else {})
    if is_rolling(deployment.configuration):
        return {new: desired} | ({old: max(0, desired - fresh)} if old else {})
    stage = stages(deployment.configuration)[deployment.at].name
    count = 0 if stage in ("RECONCILE_SERVICE", "PRE_SCALE_UP") else desired
    return {new: count} | ({old: 0 if stage == "CLEAN_UP" else desired} if old else {})


def pools(state: State, service: Service) -> Pools:
    """Who takes the production traffic. If nobody is healthy, everybody who runs: so does ELB."""
    deployment = service.deployment
    is_split = (
        deployment is not None
        and deployment.source is not None
        and not is_rolling(deployment.configuration)
        and deployment.status not in ("SUCCESSFUL", "ROLLBACK_SUCCESSFUL")
    )
    if not is_split or deployment is None or deployment.source is None:
        return [(100.0, _places(state, service, None))]
    return [
        (100.0 - deployment.weight, _places(state, service, deployment.source)),
        (deployment.weight, _places(state, service, deployment.target)),
    ]


def fail(state: State, service: Service, task: Task, code: str, reason: str) -> None:
    """The task goes, and the deployment that started it knows."""
    stop(task, code, reason)
    service.say(f"has stopped 1 running tasks: (task {task.id}). {reason}")
    service.revision(task.revision).failed += 1
    deployment = service.deployment
    if deployment and deployment.is_ongoing and task.revision == deployment.target:
        deployment.failures += 1


def succeed(service: Service, task: Task) -> None:
    """A task reached a healthy state."""
    service.revision(task.revision).failed = 0
    deployment = service.deployment
    if deployment and deployment.is_ongoing and task.revision == deployment.target:
        breaker = deployment.configuration.get("deploymentCircuitBreaker", {})
        deployment.failures = 0 if breaker.get("resetOnHealthyTask", True) else deployment.failures


def stop(task: Task, code: str, reason: str) -> None:
    if task.desired != "STOPPED":
        task.desired, task.stop_code, task.stopped_reason, task.is_healthy = "STOPPED", code, reason, False
        task.version += 1


def back(service: Service, deployment: Deployment, reason: str) -> None:
    """Begin to go back to the source; the PRIMARY deployment is one of the source's from now on."""
    if deployment.source is None:
        _end(deployment, "ROLLBACK_FAILED", f"{reason} There is no service revision to roll back to.")
        return
    _become(deployment, "ROLLBACK_IN_PROGRESS", reason)
    deployment.rollback_reason, deployment.rollback_at = reason, time.time()
    deployment.hook = None
    source, target = service.revision(deployment.source), service.revision(deployment.target)
    source.deployment_id, source.failed = f"ecs-svc/{secrets.randbelow(10**19):019d}", 0
    service.primary, service.definition = source.arn, source.definition
    service.say(f"rolling back to deployment {source.deployment_id} from {target.deployment_id}.")


def resume(service: Service, deployment: Deployment, action: str) -> None:
    """What follows a pause."""
    if action == "ROLLBACK":
        _become(deployment, "ROLLBACK_REQUESTED")
    elif deployment.hook:
        deployment.hook.status = "SUCCEEDED"


def _is_broken(service: Service, deployment: Deployment) -> bool:
    """The circuit breaker: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html"""
    breaker = deployment.configuration.get("deploymentCircuitBreaker", {})
    if not breaker.get("enable") or deployment.failures < threshold(deployment.configuration, service.desired):
        return False
    deployment.is_triggered = True
    target = service.revision(deployment.target)
    service.say(f"(deployment {target.deployment_id}) deployment failed: tasks failed to start.")
    if breaker.get("rollback"):
        back(service, deployment, "Service deployment rolled back because the circuit breaker threshold was exceeded.")
    else:
        _end(deployment, "STOPPED", "Service deployment stopped because the circuit breaker threshold was exceeded.")
    return True


def _go_on(state: State, service: Service, deployment: Deployment, speed: float) -> None:
    plan = stages(deployment.configuration)
    while True:
        stage, now = plan[deployment.at], time.time()
        if not deployment.since:
            deployment.since = deployment.updated_at = now
            deployment.weight = deployment.weight if stage.weight is None else stage.weight
            if hook := pause(deployment.configuration, stage.name):
                timeout = hook.get("timeoutConfiguration", {})
                expires = now + timeout.get("timeoutInMinutes", 1440) * 60 / speed
                action = timeout.get("action", "ROLLBACK")
                deployment.hook = Hook(id=secrets.token_hex(8), action=action, expires_at=expires)
        if deployment.hook and deployment.hook.status == "AWAITING_ACTION":
            if now < deployment.hook.expires_at:
                return
            deployment.hook.status = "TIMED_OUT"
            if deployment.hook.action == "ROLLBACK":
                back(service, deployment, f"Service deployment rolled back because a hook timed out at {stage.name}.")
                return
        if not _is_done(state, service, deployment, stage.name) or now < deployment.since + stage.minutes * 60 / speed:
            return
        deployment.at, deployment.since, deployment.hook = deployment.at + 1, 0.0, None
        if deployment.at == len(plan):
            deployment.at -= 1
            deployment.weight = 100.0
            service.completed = deployment.target
            _end(deployment, "SUCCESSFUL", None)
            service.say("has reached a steady state.")
            return


def _is_done(state: State, service: Service, deployment: Deployment, stage: str) -> bool:
    others = deployment.source and _up(state, service, deployment.source)
    if stage == "SCALE_UP":
        is_up = _healthy(state, service, deployment.target) >= service.desired
        return is_up and not (others and is_rolling(deployment.configuration))
    return not others if stage == "CLEAN_UP" else True


def _go_back(state: State, service: Service, deployment: Deployment) -> None:
    """Traffic first: the source's tasks are still there, unless it was a rolling deployment or a late one."""
    source = deployment.source or ""
    if _healthy(state, service, source) >= min(1, service.desired):
        deployment.weight = 0.0
    if _healthy(state, service, source) >= service.desired and not _up(state, service, deployment.target):
        service.completed = source
        _end(deployment, "ROLLBACK_SUCCESSFUL", deployment.rollback_reason)
        service.say("has reached a steady state.")
    elif service.revision(source).failed >= threshold(deployment.configuration, service.desired):
        _end(deployment, "ROLLBACK_FAILED", "Service deployment rollback failed: tasks failed to start.")


def _become(deployment: Deployment, status: str, reason: str | None = None) -> None:
    deployment.status, deployment.reason, deployment.updated_at = status, reason, time.time()


def _end(deployment: Deployment, status: str, reason: str | None) -> None:
    _become(deployment, status, reason)
    deployment.finished_at, deployment.hook = time.time(), None


def _up(state: State, service: Service, revision: str) -> list[Task]:
    return [task for task in state.tasks_of(service, revision) if task.is_up]


def _healthy(state: State, service: Service, revision: str) -> int:
    return sum(task.is_healthy for task in _up(state, service, revision))


def _places(state: State, service: Service, revision: str | None) -> list[ServingTask]:
    running = [task for task in state.tasks_of(service, revision) if task.is_up and task.address]
    healthy = [task for task in running if task.is_healthy]
    return [ServingTask(task.revision, task.address or "") for task in healthy or running]
