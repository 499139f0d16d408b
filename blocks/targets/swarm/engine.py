"""A Swarm, through the engine of one of its managers: services, tasks, secrets and the network in between."""

import contextlib
import functools
import io
import tarfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, ParamSpec

from blocks.host.docker import Engine
from domain.errors import TargetError

_INIT = "make one with `docker swarm init --advertise-addr ADDRESS`, or use the socket of a manager"
_PROXY_IMAGE = "lockgate-caddy"
_STALE = "update out of sequence"  # the Swarm's words: it changed the service itself since we looked
_LOOKS = 5

P = ParamSpec("P")


def _looks_again(change: Callable[P, bool]) -> Callable[P, bool]:
    """A change that looks before it leaps does both again when the service became another one in between."""

    @functools.wraps(change)
    def until_it_fits(*args: P.args, **kwargs: P.kwargs) -> bool:
        for _ in range(_LOOKS - 1):
            try:
                return change(*args, **kwargs)
            except TargetError as err:
                if _STALE not in str(err):
                    raise
            time.sleep(0.2)
        return change(*args, **kwargs)

    return until_it_fits


@dataclass(frozen=True)
class Swarm:
    """What a target asks of it. All of it can be repeated."""

    engine: Engine

    def missing(self) -> str | None:
        """None if this engine can speak for a Swarm, else why not and what to do."""
        with self.engine.errors("describe itself"):
            told = self.engine.api.info()["Swarm"]
        if told["LocalNodeState"] != "active":
            return f"the engine is in no Swarm ({told['LocalNodeState']}): {_INIT}"
        if not told["ControlAvailable"]:
            return f"the engine is no manager of its Swarm: {_INIT}"
        return self.engine.unusable()

    @property
    def node(self) -> str:
        """The manager that we speak to."""
        with self.engine.errors("say its node"):
            return str(self.engine.api.info()["Swarm"]["NodeID"])

    def network(self, name: str) -> str:
        """The id of the overlay of that name, made unless it is there; containers of no service may join it."""
        with self.engine.errors(f"make the network {name}"):
            for network in self.engine.api.networks(names=[name]):
                if network["Name"] == name:
                    return str(network["Id"])
            return str(self.engine.api.create_network(name, driver="overlay", attachable=True)["Id"])

    def service(self, name: str) -> dict[str, Any] | None:
        import docker.errors

        with self.engine.errors(f"look at the service {name}"), contextlib.suppress(docker.errors.NotFound):
            return dict(self.engine.api.inspect_service(name))
        return None

    @_looks_again
    def apply(self, name: str, spec: Mapping[str, Any]) -> bool:
        """The service is there, and as it is wanted; whether anything had to be done."""
        there = self.service(name)
        if there is not None and covers(there["Spec"], spec):
            return False
        with self.engine.errors(f"make the service {name}"):
            if there is None:
                self.engine.api.create_service(name=name, **_arguments(spec))
            else:
                self.engine.api.update_service(there["ID"], there["Version"]["Index"], name=name, **_arguments(spec))
        return True

    @_looks_again
    def scale(self, name: str, replicas: int) -> bool:
        """Whether it had another number of replicas before."""
        there = self.service(name)
        if there is None or there["Spec"]["Mode"]["Replicated"]["Replicas"] == replicas:
            return False
        with self.engine.errors(f"scale the service {name}"):
            self.engine.api.update_service(
                there["ID"],
                there["Version"]["Index"],
                name=name,
                mode={"Replicated": {"Replicas": replicas}},
                fetch_current_spec=True,
            )
        return True

    def remove(self, name: str) -> None:
        import docker.errors

        with self.engine.errors(f"remove the service {name}"), contextlib.suppress(docker.errors.NotFound):
            self.engine.api.remove_service(name)

    def tasks(self, name: str) -> list[dict[str, Any]]:
        """Newest first, those that ended among them for as long as the Swarm remembers."""
        with self.engine.errors(f"list the tasks of {name}"):
            found = self.engine.api.tasks(filters={"service": name}) if self.service(name) else []
        return sorted(found, key=lambda task: str(task["CreatedAt"]), reverse=True)

    def container(self, task: Mapping[str, Any]) -> dict[str, Any] | None:
        """A task's container where it is on the node that we speak to, and not pruned yet."""
        import docker.errors

        found = (task["Status"].get("ContainerStatus") or {}).get("ContainerID")
        if found:
            with self.engine.errors("look at a container"), contextlib.suppress(docker.errors.NotFound):
                return dict(self.engine.api.inspect_container(found))
        return None

    def logs(self, name: str, lines: int) -> bytes:
        """The last lines of all its tasks, wherever they run; empty if there is no service."""
        import docker.errors

        with self.engine.errors("read a service's log"), contextlib.suppress(docker.errors.NotFound):
            said = self.engine.api.service_logs(name, stdout=True, stderr=True, tail=lines, is_tty=False)
            return b"".join(said) if not isinstance(said, bytes) else said
        return b""

    def secret(self, name: str, data: bytes) -> str:
        """The id of a secret whose name says its content; it is never changed."""
        with self.engine.errors(f"keep the secret {name}"):
            for known in self.engine.api.secrets(filters={"name": name}):
                if known["Spec"]["Name"] == name:
                    return str(known["ID"])
            return str(self.engine.api.create_secret(name, data, {"lockgate": "environment"})["ID"])

    def drop_secrets(self, prefix: str, keep: str = "") -> None:
        """Remove the secrets whose name begins so; one that a service still uses stays."""
        import docker.errors

        with self.engine.errors("remove a secret"):
            for known in self.engine.api.secrets(filters={"name": prefix}):
                if known["Spec"]["Name"].startswith(prefix) and known["Spec"]["Name"] != keep:
                    with contextlib.suppress(docker.errors.APIError):
                        self.engine.api.remove_secret(known["ID"])

    def push(self, image: str, repository: str, tag: str) -> str:
        """Give an image to a registry that every node reaches; its name there, by digest."""
        with self.engine.errors(f"push {repository}:{tag}"):
            self.engine.api.tag(image, repository, tag, force=True)
            said = list(self.engine.api.push(repository, tag, stream=True, decode=True))
        if problem := next((str(line["error"]) for line in said if "error" in line), None):
            raise TargetError(f"the engine cannot push {repository}:{tag}: {problem.strip()[-300:]}")
        digest = next((line["aux"]["Digest"] for line in said if "Digest" in (line.get("aux") or {})), None)
        if digest is None:
            raise TargetError(f"the registry of {repository} did not say the digest of what it was given")
        return f"{repository}@{digest}"

    def proxy_image(self, program: Path) -> str:
        """An image that holds one static program and nothing else; its name says which."""
        content = _read(program)
        name = f"{_PROXY_IMAGE}:{sha256(content).hexdigest()[:12]}"
        if self.engine.image(name) is None:
            with io.BytesIO() as file:
                with tarfile.open(fileobj=file, mode="w") as tar:
                    info = tarfile.TarInfo("caddy")
                    info.size, info.mode = len(content), 0o755
                    tar.addfile(info, io.BytesIO(content))
                repository, _, tag = name.partition(":")
                with self.engine.errors(f"import {name}"):
                    self.engine.api.import_image_from_data(file.getvalue(), repository=repository, tag=tag)
            if self.engine.image(name) is None:
                raise TargetError(f"the engine has not taken the image {name}: see its disk")
        return name


def covers(there: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there; the engine adds what it takes for granted."""
    if isinstance(wanted, Mapping):
        there = {} if there is None else there
        return isinstance(there, Mapping) and all(covers(there.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list | tuple):
        there = [] if there is None else there
        same = isinstance(there, list | tuple) and len(there) == len(wanted)
        return same and all(map(covers, there, wanted))
    return bool(there == wanted)


def _arguments(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "task_template": spec["TaskTemplate"],
        "labels": spec["Labels"],
        "mode": spec["Mode"],
        "update_config": spec["UpdateConfig"],
        "endpoint_spec": spec["EndpointSpec"],
    }


@functools.lru_cache(maxsize=1)
def _read(program: Path) -> bytes:
    return program.read_bytes()
