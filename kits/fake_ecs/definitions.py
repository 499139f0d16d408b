"""The actions of the API on task definitions."""

import re
import time
from collections.abc import Callable
from typing import Any

from kits.fake_ecs.refusal import EcsRefusal
from kits.fake_ecs.state import State, StateFile

Members = dict[str, Any]


class Definitions:
    """Families of numbered revisions."""

    def __init__(self, memory: StateFile) -> None:
        self.state: State = memory.state
        self.of_definitions: dict[str, Callable[[Members], Members]] = {
            "RegisterTaskDefinition": self._register,
            "DescribeTaskDefinition": self._describe,
            "ListTaskDefinitions": self._list,
            "DeregisterTaskDefinition": self._deregister,
        }

    def definition(self, reference: str) -> Members:
        """By arn, `family:revision`, or `family`: its newest active one. Raises Refusal."""
        name = reference.rpartition("/")[2]
        family, _, revision = name.partition(":")
        one: Members
        for one in reversed(self.state.definitions):
            shown = one["taskDefinition"]
            is_meant = str(shown["revision"]) == revision if revision else shown["status"] == "ACTIVE"
            if shown["family"] == family and is_meant:
                return one
        raise EcsRefusal("Unable to describe task definition.", "ClientException")

    def _register(self, asked: Members) -> Members:
        family = asked["family"]
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", family):
            raise EcsRefusal(
                "Invalid family name. It can have up to 255 letters, numbers, underscores and hyphens.",
                "ClientException",
            )
        names = [container.get("name") for container in asked["containerDefinitions"]]
        if not names or len(set(names)) < len(names) or not all(names):
            raise EcsRefusal("Container names must be there, and unique.", "ClientException")
        for container in asked["containerDefinitions"]:
            _check(container)
        families = [
            one["taskDefinition"] for one in self.state.definitions if one["taskDefinition"]["family"] == family
        ]
        revision = 1 + max((one["revision"] for one in families), default=0)
        shown = {
            "networkMode": "awsvpc",
            "volumes": [],
            "placementConstraints": [],
            "compatibilities": ["EC2", "FARGATE"],
            **{name: value for name, value in asked.items() if name != "tags"},
            "containerDefinitions": [
                {
                    "cpu": 0,
                    "essential": True,
                    "environment": [],
                    "mountPoints": [],
                    "volumesFrom": [],
                    "portMappings": [],
                    **one,
                }
                for one in asked["containerDefinitions"]
            ],
            "taskDefinitionArn": self.state.arn("task-definition", f"{family}:{revision}"),
            "revision": revision,
            "status": "ACTIVE",
            "registeredAt": time.time(),
            "registeredBy": self.state.arn("user", "fake"),
        }
        tags = {one["key"]: one["value"] for one in asked.get("tags", [])}
        self.state.definitions.append({"taskDefinition": shown, "tags": tags})
        return {"taskDefinition": shown, "tags": asked.get("tags", [])}

    def _describe(self, asked: Members) -> Members:
        one = self.definition(asked["taskDefinition"])
        tags = [{"key": key, "value": value} for key, value in one["tags"].items()]
        with_tags = "TAGS" in asked.get("include", [])
        return {"taskDefinition": one["taskDefinition"], **({"tags": tags} if with_tags else {})}

    def _list(self, asked: Members) -> Members:
        prefix, status = asked.get("familyPrefix"), asked.get("status", "ACTIVE")
        found = [
            (one["family"], one["revision"], one["taskDefinitionArn"])
            for one in (each["taskDefinition"] for each in self.state.definitions)
            if one["status"] == status and prefix in (None, one["family"])
        ]
        arns = [arn for _, _, arn in sorted(found, reverse=asked.get("sort") == "DESC")]
        start, size = int(asked.get("nextToken", 0)), asked.get("maxResults", 100)
        more = {"nextToken": str(start + size)} if start + size < len(arns) else {}
        return {"taskDefinitionArns": arns[start : start + size], **more}

    def _deregister(self, asked: Members) -> Members:
        shown = self.definition(asked["taskDefinition"])["taskDefinition"]
        shown["status"], shown["deregisteredAt"] = "INACTIVE", time.time()
        return {"taskDefinition": shown}


def _check(container: Members) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html"""
    if not container.get("image"):
        raise EcsRefusal("Container.image should not be null or empty.", "ClientException")
    check = container.get("healthCheck", {})
    for name, least, most in (("interval", 5, 300), ("timeout", 2, 60), ("retries", 1, 10), ("startPeriod", 0, 300)):
        if not least <= check.get(name, most) <= most:
            raise EcsRefusal(f"Health check {name} must be from {least} to {most}.", "ClientException")
