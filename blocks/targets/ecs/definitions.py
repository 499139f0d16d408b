"""Task definitions of releases: made from a template, known again by what they say of themselves."""

import contextlib
import re
import shlex
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from blocks.targets.ecs.api import aws_errors
from domain.errors import TargetError
from domain.health import HealthCheck
from domain.ports import ReleaseBuild
from domain.value import digest_of

REVISION, HEALTH, CONTENT = "lockgate.revision", "lockgate.health", "lockgate.content"
MIGRATE, NAMES = "lockgate.migrate", "lockgate.variables"
"""Docker labels of a release's container. Tags of AWS do not take every character; labels do."""

_COPIED = (
    "taskRoleArn", "executionRoleArn", "networkMode", "volumes", "placementConstraints", "requiresCompatibilities",
    "cpu", "memory", "pidMode", "ipcMode", "proxyConfiguration", "ephemeralStorage", "runtimePlatform",
)  # fmt: skip
_LOOKED_AT = 50
"""Newest task definitions of a family among which a release is looked for."""
_DIGEST = re.compile(r"@sha256:([0-9a-f]{64})$")


class Definition(NamedTuple):
    """A task definition. `revision` None: it is no release of ours."""

    arn: str
    revision: str | None
    health: HealthCheck
    content: str
    migrate: str
    """The command that brings the data to its schema; empty: none."""
    port: int
    shape: Mapping[str, Any]

    @property
    def name(self) -> str:
        """family:number"""
        return self.arn.rpartition("/")[2]

    def pinned(self, container: str) -> str | None:
        """The digest that the image of a container is pinned to."""
        images = [one["image"] for one in self.shape["containerDefinitions"] if one["name"] == container]
        found = _DIGEST.search(images[0]) if images else None
        return found[1] if found else None


class DefinitionFamily:
    """One family of them. They never change, so each is read once."""

    def __init__(self, ecs: Any, family: str, container: str) -> None:
        self._ecs, self._family, self._container = ecs, family, container
        self._known: dict[str, Definition] = {}

    def get(self, reference: str) -> Definition:
        """By arn or name. Raises TargetError."""
        if reference not in self._known:
            with aws_errors(f"describe the task definition {reference}"):
                shape = self._ecs.describe_task_definition(taskDefinition=reference)["taskDefinition"]
            self._known[reference] = self._known[shape["taskDefinitionArn"]] = self._read(shape)
        return self._known[reference]

    def find(self, revision: str, content: str | None = None) -> Definition | None:
        """The newest one of a release; with `content` only one that was made of the same."""
        with aws_errors(f"list the task definitions of {self._family}"):
            listed = self._ecs.list_task_definitions(familyPrefix=self._family, sort="DESC", maxResults=_LOOKED_AT)
        for arn in listed["taskDefinitionArns"]:
            one = self.get(arn)
            if one.revision == revision and content in (None, one.content):
                return one
        return None

    def of(self, revision: str) -> Definition:
        """Raises TargetError if a release was never prepared here."""
        found = self.find(revision)
        if found is None:
            raise TargetError(
                f"no task definition of {revision} among the newest {_LOOKED_AT} of {self._family}: release it anew"
            )
        return found

    def make(
        self, template: Definition, revision: str, image: str, build: ReleaseBuild, settings: "ReleaseSettings"
    ) -> tuple[Definition, bool]:
        """The release's task definition, registered unless one of the same content is there; and whether it was."""
        shape = self._shape(template, revision, image, build, settings)
        content = digest_of(shape)
        if found := self.find(revision, content):
            return found, False
        for container in shape["containerDefinitions"]:
            if container["name"] == self._container:
                container["dockerLabels"][CONTENT] = content
        tags = [{"key": REVISION.replace(".", ":"), "value": revision}]
        with aws_errors(f"register a task definition of {self._family}"):
            made = self._ecs.register_task_definition(family=self._family, tags=tags, **shape)["taskDefinition"]
        return self._known.setdefault(made["taskDefinitionArn"], self._read(made)), True

    def retire(self, keep: Collection[str], newest: int, primary: str) -> list[str]:
        """Deregister those of releases that are neither kept nor among the newest; their names. Safe to repeat."""
        with aws_errors(f"list the task definitions of {self._family}"):
            listed = self._ecs.list_task_definitions(familyPrefix=self._family, sort="DESC", maxResults=100)
        ours = [one for one in map(self.get, listed["taskDefinitionArns"]) if one.revision is not None]
        old = [one for one in ours[newest:] if one.revision not in keep and one.arn != primary]
        for one in old:
            with aws_errors(f"deregister {one.name}"):
                self._ecs.deregister_task_definition(taskDefinition=one.arn)
        return [one.name for one in old]

    def _shape(
        self, template: Definition, revision: str, image: str, build: ReleaseBuild, settings: "ReleaseSettings"
    ) -> dict[str, Any]:
        """What RegisterTaskDefinition takes. Only the release's own container differs from the template."""
        shape = {name: template.shape[name] for name in _COPIED if template.shape.get(name)}
        others = [one for one in template.shape["containerDefinitions"] if one["name"] != self._container]
        own = dict(self._own(template.shape))
        labels = dict(own.get("dockerLabels", {}))
        before = set(labels.get(NAMES, "").split(","))  # those of the release that the template is of
        inherited = {one["name"]: one["value"] for one in own.get("environment", []) if one["name"] not in before}
        kept = {one["name"]: one["valueFrom"] for one in own.get("secrets", []) if one["name"] not in before}
        port = template.port
        variables = {**build.environment, **settings.environment, "PORT": str(port), "RELEASE_ID": revision}
        for name in (CONTENT, MIGRATE):
            labels.pop(name, None)
        if build.migrate_up:
            labels[MIGRATE] = build.migrate_up.replace("{release}", revision)
        labels.update(
            {REVISION: revision, HEALTH: str(build.health), NAMES: ",".join(sorted({*variables, *settings.secrets}))}
        )
        secrets = kept | dict(settings.secrets)
        environment = inherited | variables
        own.update(
            image=image,
            dockerLabels=labels,
            environment=[
                {"name": name, "value": value} for name, value in sorted(environment.items()) if name not in secrets
            ],
            secrets=[{"name": name, "valueFrom": source} for name, source in sorted(secrets.items())],
        )
        if settings.runs_command:
            filled = build.run.replace("{port}", str(port)).replace("{host}", "0.0.0.0")  # noqa: S104  # its own address
            own["command"] = shlex.split(filled.replace("{release}", revision))
        return {**shape, "containerDefinitions": [own, *others]}

    def _read(self, shape: Mapping[str, Any]) -> Definition:
        with contextlib.suppress(TargetError):
            own = self._own(shape)
            labels = own.get("dockerLabels", {})
            port = next((int(one["containerPort"]) for one in own.get("portMappings", [])), 0)
            health = HealthCheck.read(labels.get(HEALTH, "/"))
            said = (labels.get(REVISION), health, labels.get(CONTENT, ""), labels.get(MIGRATE, ""))
            return Definition(shape["taskDefinitionArn"], *said, port, shape)
        return Definition(shape["taskDefinitionArn"], None, HealthCheck(path="/"), "", "", 0, shape)

    def _own(self, shape: Mapping[str, Any]) -> Mapping[str, Any]:
        """The container that the release is."""
        for container in shape["containerDefinitions"]:
            if container["name"] == self._container:
                return dict(container)
        names = ", ".join(one["name"] for one in shape["containerDefinitions"])
        raise TargetError(f"{shape['taskDefinitionArn']} has no container {self._container!r}, but {names}")


class ReleaseSettings(NamedTuple):
    """What the target adds to a release."""

    environment: Mapping[str, str]
    secrets: Mapping[str, str]
    runs_command: bool


def digest_in(image: str) -> str:
    """The digest that an image reference is pinned to. Raises TargetError if it is to a tag only."""
    found = _DIGEST.search(image)
    if found is None:
        raise TargetError(f"the image {image} is not pinned: give it as REPOSITORY@sha256:DIGEST, a tag may move")
    return found[1]
