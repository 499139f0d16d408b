"""The actions of the API on services and their deployments."""

import secrets
import time
from collections.abc import Callable
from typing import Any

from kits.fake_ecs import rollout, views
from kits.fake_ecs.definitions import Definitions
from kits.fake_ecs.refusal import EcsRefusal
from kits.fake_ecs.stages import check
from kits.fake_ecs.state import Deployment, Revision, Service, StateFile
from kits.servers import free_port

Members = dict[str, Any]
_OWN = ("cluster", "service", "serviceName", "taskDefinition", "desiredCount", "deploymentConfiguration", "tags",
        "clientToken", "forceNewDeployment")  # fmt: skip
"""Members that a `Service` has as fields of its own."""


class Services(Definitions):
    """Services, which are found by cluster and name."""

    def __init__(self, memory: StateFile) -> None:
        super().__init__(memory)
        self.of_services: dict[str, Callable[[Members], Members]] = {
            "CreateService": self._create_service,
            "UpdateService": self._update_service,
            "DeleteService": self._delete_service,
            "DescribeServices": self._describe_services,
            "ListServices": self._list_services,
            "ListServiceDeployments": self._list_deployments,
            "DescribeServiceDeployments": self._describe_deployments,
            "DescribeServiceRevisions": self._describe_revisions,
            "StopServiceDeployment": self._stop_deployment,
            "ContinueServiceDeployment": self._continue_deployment,
        }

    def _create_service(self, asked: Members) -> Members:
        cluster, name = self._cluster(asked), asked["serviceName"]
        for service in self.state.services:
            if (service.cluster, service.name) == (cluster, name):
                if asked.get("clientToken") and service.token == asked["clientToken"]:
                    return {"service": views.service_shape(self.state, service)}
                raise EcsRefusal("Creation of service was not idempotent.")
        if "taskDefinition" not in asked:
            raise EcsRefusal("TaskDefinition cannot be blank.")
        definition = self.definition(asked["taskDefinition"])["taskDefinition"]
        service = Service(
            cluster=cluster,
            name=name,
            request={key: value for key, value in asked.items() if key not in _OWN},
            definition=definition["taskDefinitionArn"],
            desired=asked.get("desiredCount", 1),
            configuration=_configuration(asked, {}),
            created_at=time.time(),
            port=free_port(),
            tags={one["key"]: one["value"] for one in asked.get("tags", [])},
            token=asked.get("clientToken"),
        )
        _check(service)
        self.state.services.append(service)
        self._deploy(service)
        return {"service": views.service_shape(self.state, service, with_tags=True)}

    def _update_service(self, asked: Members) -> Members:
        service = self._service(asked)
        if service.status != "ACTIVE":
            raise EcsRefusal("Service was not ACTIVE.", "ServiceNotActiveException")
        definition = service.definition
        if "taskDefinition" in asked:
            definition = self.definition(asked["taskDefinition"])["taskDefinition"]["taskDefinitionArn"]
        changed = service.model_copy(
            update={
                "definition": definition,
                "desired": asked.get("desiredCount", service.desired),
                "configuration": _configuration(asked, service.configuration),
                "request": service.request | {key: value for key, value in asked.items() if key not in _OWN},
            }
        )
        _check(changed)
        is_new = definition != service.definition or asked.get("forceNewDeployment", False)
        for name in ("definition", "desired", "configuration", "request"):
            setattr(service, name, getattr(changed, name))
        if is_new:
            self._deploy(service)
        return {"service": views.service_shape(self.state, service)}

    def _deploy(self, service: Service) -> None:
        """A new revision, on its way to replace the last completed one."""
        now, id = time.time(), secrets.randbelow(10**19)
        before = service.deployment
        if before and before.is_ongoing:
            before.status, before.reason = "STOPPED", "Service deployment stopped because a newer one was started."
            before.finished_at, before.hook = now, None
        balancers = service.request.get("loadBalancers", [])
        groups = [balancers[0].get("targetGroupArn")] if balancers else []
        groups += [
            one["advancedConfiguration"]["alternateTargetGroupArn"]
            for one in balancers
            if "advancedConfiguration" in one
        ]
        old = next((one for one in service.revisions if one.arn == service.completed), None)
        group = next((one for one in groups if old is None or one != old.group), groups[0] if groups else None)
        revision = Revision(
            arn=self.state.arn("service-revision", service.cluster, service.name, f"{id:019d}"),
            deployment_id=f"ecs-svc/{id:019d}",
            definition=service.definition,
            created_at=now,
            group=group,
        )
        service.revisions.append(revision)
        service.primary = revision.arn
        service.deployments.append(
            Deployment(
                arn=self.state.arn("service-deployment", service.cluster, service.name, secrets.token_urlsafe(16)),
                source=service.completed,
                target=revision.arn,
                configuration=service.configuration,
                created_at=now,
            )
        )

    def _delete_service(self, asked: Members) -> Members:
        service = self._service(asked)
        if service.desired and not asked.get("force"):
            raise EcsRefusal("The service cannot be stopped while it is scaled above 0.")
        service.status, service.desired = "DRAINING", 0
        return {"service": views.service_shape(self.state, service)}

    def _describe_services(self, asked: Members) -> Members:
        cluster, found, failures = self._cluster(asked), [], []
        for name in asked["services"]:
            try:
                service = self._service({"cluster": cluster, "service": name})
            except EcsRefusal:
                arn = self.state.arn("service", cluster, name.rpartition("/")[2])
                failures.append({"arn": arn, "reason": "MISSING"})
            else:
                found.append(views.service_shape(self.state, service, "TAGS" in asked.get("include", [])))
        return {"services": found, "failures": failures}

    def _list_services(self, asked: Members) -> Members:
        cluster = self._cluster(asked)
        return {"serviceArns": [views.service_arn(self.state, s) for s in self.state.services if s.cluster == cluster]}

    def _list_deployments(self, asked: Members) -> Members:
        service, statuses = self._service(asked), asked.get("status") or None
        shown = [
            views.brief_in_list(self.state, service, one)
            for one in reversed(service.deployments)
            if statuses is None or one.status in statuses
        ]
        return {"serviceDeployments": shown[: asked.get("maxResults", 20)]}

    def _describe_deployments(self, asked: Members) -> Members:
        found, failures = [], []
        for arn in asked["serviceDeploymentArns"]:
            try:
                found.append(views.deployment_shape(self.state, *self._deployment(arn)))
            except EcsRefusal:
                failures.append({"arn": arn, "reason": "MISSING"})
        return {"serviceDeployments": found, "failures": failures}

    def _describe_revisions(self, asked: Members) -> Members:
        known = {one.arn: (service, one) for service in self.state.services for one in service.revisions}
        wanted = asked["serviceRevisionArns"]
        return {
            "serviceRevisions": [views.revision_shape(self.state, *known[arn]) for arn in wanted if arn in known],
            "failures": [{"arn": arn, "reason": "MISSING"} for arn in wanted if arn not in known],
        }

    def _stop_deployment(self, asked: Members) -> Members:
        service, deployment = self._deployment(asked["serviceDeploymentArn"])
        kind = asked.get("stopType", "ROLLBACK")
        if kind == "ROLLBACK" and deployment.status in ("ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS"):
            return {"serviceDeploymentArn": deployment.arn}
        if deployment.status not in ("PENDING", "IN_PROGRESS"):
            raise EcsRefusal(
                f"The service deployment is in the {deployment.status} status and cannot be stopped.",
                "ConflictException",
            )
        if kind == "ROLLBACK" and deployment.source is None:
            raise EcsRefusal("There is no service revision to roll back to.", "ClientException")
        deployment.status = "ROLLBACK_REQUESTED" if kind == "ROLLBACK" else "STOP_REQUESTED"
        deployment.hook, deployment.updated_at = None, time.time()
        service.say(f"deployment {deployment.arn} was asked to stop ({kind}).")
        return {"serviceDeploymentArn": deployment.arn}

    def _continue_deployment(self, asked: Members) -> Members:
        service, deployment = self._deployment(asked["serviceDeploymentArn"])
        hook = deployment.hook
        if hook is None or hook.id != asked["hookId"] or hook.status != "AWAITING_ACTION":
            raise EcsRefusal(f"The lifecycle hook {asked['hookId']} is not awaiting an action.")
        rollout.resume(service, deployment, asked.get("action", "CONTINUE"))
        return {"serviceDeploymentArn": deployment.arn}

    def _cluster(self, asked: Members) -> str:
        name = str(asked.get("cluster", "default")).rpartition("/")[2]
        if name not in self.state.clusters:
            raise EcsRefusal("Cluster not found.", "ClusterNotFoundException")
        return name

    def _service(self, asked: Members) -> Service:
        cluster, name = self._cluster(asked), asked["service"].rpartition("/")[2]
        for service in self.state.services:
            if (service.cluster, service.name) == (cluster, name):
                return service
        raise EcsRefusal("Service not found.", "ServiceNotFoundException")

    def _deployment(self, arn: str) -> tuple[Service, Deployment]:
        for service in self.state.services:
            for deployment in service.deployments:
                if deployment.arn == arn:
                    return service, deployment
        raise EcsRefusal("Service deployment not found.", "ServiceDeploymentNotFoundException")


def _configuration(asked: Members, before: Members) -> Members:
    """The configuration after a request; what it does not name stays. A new strategy drops the parts of the others."""
    given = dict(asked.get("deploymentConfiguration", {}))
    base = {
        "strategy": "ROLLING",
        "maximumPercent": 200,
        "minimumHealthyPercent": 100,
        "bakeTimeInMinutes": 0,
        **before,
    }
    if "strategy" in given:
        for part in ("lifecycleHooks", "linearConfiguration", "canaryConfiguration"):
            base.pop(part, None)
    return base | given


def _check(service: Service) -> None:
    balancers = service.request.get("loadBalancers", [])
    check(service.configuration, bool(balancers), all("advancedConfiguration" in one for one in balancers))
