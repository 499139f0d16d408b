"""The service scheduler: sees what tasks do, moves deployments on, starts and stops tasks until all is as wanted."""

import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kits.fake_ecs import rollout
from kits.fake_ecs.balancer import passes, under_way
from kits.fake_ecs.containers import ContainerState, TaskContainers
from kits.fake_ecs.refusal import CannotStart
from kits.fake_ecs.state import Container, Service, State, StateFile, Task, new_task

_PASSES, _FAILS = 2, -2
"""So many health checks of the load balancer in a row bring a task into service, or take it out."""
_CHECK_S = 5.0
_DRAINED_AFTER_S, _DRAIN_S = 0.2, 300.0
"""A task hears that it shall stop once its requests under way have ended, or the deregistration delay has:
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html#deregistration-delay
"""
_KEPT_S = 3600.0
"""How long a stopped task can be described: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTasks.html"""


class Scheduler:
    """Level-triggered: each turn looks at everything, so a fake that was killed goes on where it was."""

    def __init__(
        self, memory: StateFile, containers: TaskContainers, speed: float, health_path: str, values: Mapping[str, str]
    ) -> None:
        self._memory, self._containers = memory, containers
        self._speed, self._health_path, self._values = speed, health_path, values
        self._pool = ThreadPoolExecutor(6, thread_name_prefix="fake-ecs")
        self._busy: set[str] = set()
        self._checked: dict[str, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No more turns; what is under way ends first."""
        self._ended.set()
        if self._thread.ident:
            self._thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self) -> None:
        while not self._ended.wait(min(1.0, max(0.1, 2 / self._speed))):
            try:
                self.turn()
            except Exception:  # it must go on: the next turn looks at everything again
                traceback.print_exc(file=sys.stderr)

    def turn(self) -> None:
        """One look at everything, and what follows from it."""
        seen, checks = self._containers.seen(), self._checks()
        with self._memory.lock:
            state = self._memory.state
            for service in state.services:
                for task in state.tasks_of(service):
                    self._observe(state, service, task, seen.get(task.id, {}), checks.get(task.id))
                rollout.advance(state, service, self._speed)
                self._scale(state, service)
            for task in state.tasks:
                if not task.service:
                    self._observe_alone(task, seen.get(task.id, {}))
                self._act(state, task)
            state.tasks = [task for task in state.tasks if (task.stopped_at or time.time()) > time.time() - _KEPT_S]
            state.services = [
                one
                for one in state.services
                if one.status != "DRAINING" or any(t.stopped_at is None for t in state.tasks_of(one))
            ]
            self._memory.save()

    def _checks(self) -> dict[str, bool]:
        """Health checks of the load balancer that are due."""
        with self._memory.lock:
            state, now = self._memory.state, time.monotonic()
            due = {
                task.id: task.address
                for service in state.services
                if service.request.get("loadBalancers")
                for task in state.tasks_of(service)
                if task.address and task.is_up and now - self._checked.get(task.id, 0) > _CHECK_S / self._speed
            }
        self._checked.update(dict.fromkeys(due, now))
        return dict(
            zip(due, self._pool.map(lambda address: passes(address, self._health_path), due.values()), strict=True)
        )

    def _observe(
        self, state: State, service: Service, task: Task, seen: Mapping[str, ContainerState], check: bool | None
    ) -> None:
        if task.status == "STOPPED" or not task.is_up:
            task.is_healthy = False
            return
        for container in task.containers:
            if one := seen.get(container.name):
                container.exit_code = one.exit_code
                container.health = (one.health or "unknown").upper().replace("STARTING", "UNKNOWN")
                if one.is_out_of_memory:
                    container.reason = "OutOfMemoryError: Container killed due to memory usage"
        if task.status == "PENDING" and len(seen) == len(task.containers) and task.id not in self._busy:
            address = next((one.address for one in seen.values() if one.address), None)
            if address:
                task.address, task.started_at = f"{address}:{_port(state, service, task)}", time.time()
                _become(task, "RUNNING")
        gone = [c for c in task.containers if c.essential and (c.name not in seen or not seen[c.name].is_running)]
        if (task.status == "RUNNING" and gone) or any(c.name in seen for c in gone):
            rollout.fail(state, service, task, "EssentialContainerExited", "Essential container in task exited")
            return
        self._judge(state, service, task, check)

    def _observe_alone(self, task: Task, seen: Mapping[str, ContainerState]) -> None:
        """A task that runs to its end."""
        if task.desired == "STOPPED" or task.id in self._busy or len(seen) < len(task.containers):
            return
        _become(task, "RUNNING")
        task.started_at = task.started_at or time.time()
        for container in task.containers:
            container.exit_code = seen[container.name].exit_code
            if container.essential and not seen[container.name].is_running:
                rollout.stop(task, "EssentialContainerExited", "Essential container in task exited")

    def _judge(self, state: State, service: Service, task: Task, check: bool | None) -> None:
        """Whether it is healthy, as its containers' checks and the load balancer say."""
        watched = [c for c in task.containers if c.essential and _has_check(state, task, c)]
        if check is not None:
            task.checks = max(1, task.checks + 1) if check else min(-1, task.checks - 1)
        grace = service.request.get("healthCheckGracePeriodSeconds", 0) / self._speed
        is_judged = task.started_at is not None and time.time() - task.started_at > grace
        if is_judged and any(container.health == "UNHEALTHY" for container in watched):
            rollout.fail(state, service, task, "ServiceSchedulerInitiated", "Task failed container health checks")
        elif is_judged and task.checks <= _FAILS:
            group = service.revision(task.revision).group
            reason = f"Task failed ELB health checks in (target-group {group})"
            rollout.fail(state, service, task, "ServiceSchedulerInitiated", reason)
        else:
            balancer = not service.request.get("loadBalancers") or task.checks >= (1 if task.is_healthy else _PASSES)
            task.is_healthy = (
                task.status == "RUNNING" and all(c.health == "HEALTHY" for c in watched) and (balancer or _is_in(task))
            )
            if task.is_healthy and not task.was_healthy:
                task.was_healthy = True
                rollout.succeed(service, task)

    def _scale(self, state: State, service: Service) -> None:
        """Start what is missing, stop what is too much."""
        wanted = rollout.wanted(state, service)
        for revision in service.revisions:
            up = [task for task in state.tasks_of(service, revision.arn) if task.is_up]
            for _ in range(wanted.get(revision.arn, 0) - len(up)):
                task = new_task(service.cluster, _definition(state, revision.definition))
                task.service, task.revision = service.name, revision.arn
                task.started_by = revision.deployment_id
                state.tasks.append(task)
            for task in sorted(up, key=lambda one: one.was_healthy)[: max(0, len(up) - wanted.get(revision.arn, 0))]:
                rollout.stop(
                    task, "ServiceSchedulerInitiated", f"Scaling activity initiated by ({revision.deployment_id})"
                )

    def _act(self, state: State, task: Task) -> None:
        if task.id in self._busy or task.status == "STOPPED":
            return
        if task.desired == "STOPPED":
            self._do(task, self._stop)
        elif task.status in ("PROVISIONING", "PENDING") and task.started_at is None:
            _become(task, "PENDING")
            self._do(task, self._start)

    def _do(self, task: Task, job: Callable[[Task], None]) -> None:
        def run() -> None:
            try:
                job(task)
            except Exception:  # the next turn tries again
                traceback.print_exc(file=sys.stderr)
            finally:
                self._busy.discard(task.id)

        self._busy.add(task.id)
        self._pool.submit(run)

    def _start(self, task: Task) -> None:
        definition = _definition(self._memory.state, task.definition)
        try:
            digests = self._containers.start(task.id, definition, self._values, task.commands)
        except CannotStart as err:
            with self._memory.lock:
                services = self._memory.state.services
                own = next((s for s in services if (s.cluster, s.name) == (task.cluster, task.service)), None)
                if own:
                    rollout.fail(self._memory.state, own, task, "TaskFailedToStart", str(err))
                else:
                    rollout.stop(task, "TaskFailedToStart", str(err))
            return
        with self._memory.lock:
            for container in task.containers:
                container.digest = digests[container.name]

    def _stop(self, task: Task) -> None:
        definition = _definition(self._memory.state, task.definition)
        grace = max(one.get("stopTimeout", 30) for one in definition["containerDefinitions"])
        with self._memory.lock:
            _become(task, "DEPROVISIONING")
        self._drain(task.address)
        codes = self._containers.stop(task.id, grace / self._speed)
        with self._memory.lock:
            for container in task.containers:
                if container.exit_code is None:
                    container.exit_code = codes.get(container.name)
            task.stopped_at = time.time()
            _become(task, "STOPPED")
            self._memory.save()

    def _drain(self, address: str | None) -> None:
        """Nobody is sent there any more; who was, a moment ago, is answered."""
        if address is None:
            return
        deadline = time.monotonic() + _DRAIN_S / self._speed
        time.sleep(_DRAINED_AFTER_S)
        while under_way.any_to(address) and time.monotonic() < deadline:
            time.sleep(0.02)


def _become(task: Task, status: str) -> None:
    if task.status != status:
        task.status, task.version = status, task.version + 1


def _is_in(task: Task) -> bool:
    """A task in service stays in it until enough checks in a row failed."""
    return task.is_healthy and task.checks > _FAILS


def _definition(state: State, arn: str) -> dict[str, Any]:
    return next(one["taskDefinition"] for one in state.definitions if one["taskDefinition"]["taskDefinitionArn"] == arn)


def _has_check(state: State, task: Task, container: Container) -> bool:
    containers = _definition(state, task.definition)["containerDefinitions"]
    return any("healthCheck" in one for one in containers if one["name"] == container.name)


def _port(state: State, service: Service, task: Task) -> int:
    """Where its tasks listen: as the load balancer has it, else the first port of its containers."""
    for balancer in service.request.get("loadBalancers", []):
        return int(balancer["containerPort"])
    containers = _definition(state, task.definition)["containerDefinitions"]
    return int(next((port["containerPort"] for one in containers for port in one.get("portMappings", [])), 80))
