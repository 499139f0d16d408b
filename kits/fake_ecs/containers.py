"""The containers of tasks, on a real Docker Engine. Each task has an address of its own, as `awsvpc` gives it."""

import contextlib
import fcntl
import hashlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from domain.errors import InputError
from kits.fake_ecs.images import image_for
from kits.fake_ecs.refusal import CannotStart

LABEL = "lockgate.fake-ecs"
"""On every container and network: the directory of the fake that made it."""
_TASK, _NAME = "lockgate.fake-ecs.task", "lockgate.fake-ecs.container"
_FORGOTTEN_S = 600
"""A fake below the system's temporary directory that nobody ran for so long does not come back."""
_LOG_BYTES = 1 << 20


class ContainerState(NamedTuple):
    """What the engine says of a container. `health` is None if it has no health check."""

    is_running: bool
    exit_code: int | None
    health: str | None
    address: str | None
    is_out_of_memory: bool


class TaskContainers:
    """Containers and network of one fake, found again by their labels."""

    def __init__(self, directory: Path, speed: float) -> None:
        """Raises InputError if no engine answers, or where another fake runs in the directory."""
        import docker
        import docker.errors

        self._directory, self._speed = directory, speed
        self._lock = _locked(directory)
        if self._lock is None:
            raise InputError(f"another fake ECS runs in {directory}: give this one another directory")
        try:
            self._docker = docker.DockerClient.from_env(version="auto", timeout=60)
        except docker.errors.DockerException as err:
            raise InputError(f"the fake ECS needs a Docker Engine ({err}): start one, or set DOCKER_HOST") from err
        self.network = f"lockgate-fake-ecs-{hashlib.sha256(str(directory).encode()).hexdigest()[:12]}"
        sweep(self._docker)
        if not self._docker.networks.list(names=[self.network]):
            self._docker.networks.create(self.network, driver="bridge", labels=self._labels)

    def start(
        self,
        task: str,
        definition: Mapping[str, Any],
        secrets: Mapping[str, str],
        commands: Mapping[str, Sequence[str]],
    ) -> dict[str, str]:
        """Start all containers of a task, unless they run; container name → image digest. Raises CannotStart."""
        import docker.errors

        digests: dict[str, str] = {}
        first: str | None = None
        for given in definition["containerDefinitions"]:
            container = given | ({"command": commands[given["name"]]} if given["name"] in commands else {})
            name = f"lockgate-fake-ecs-{task}-{container['name']}"
            image, digests[container["name"]] = image_for(self._docker, container, secrets)
            options = self._options(container, secrets)
            shared = {"network": self.network} if first is None else {"network_mode": f"container:{first}"}
            labels = {**self._labels, _TASK: task, _NAME: container["name"]}
            try:
                made = _existing(self._docker, name) or self._docker.containers.create(
                    image, name=name, labels=labels, **shared, **options
                )
                if made.status == "created":
                    made.start()
            except docker.errors.APIError as err:
                raise CannotStart(f"CannotStartContainerError: Error response from daemon: {err.explanation}") from err
            first = first or name
        return digests

    def seen(self) -> dict[str, dict[str, ContainerState]]:
        """Task id → container name → what is to be seen."""
        import docker.errors

        found: dict[str, dict[str, ContainerState]] = {}
        api = self._docker.api
        for one in api.containers(all=True, filters={"label": f"{LABEL}={self._directory}"}):
            with contextlib.suppress(docker.errors.NotFound):
                inspected = api.inspect_container(one["Id"])
                state, labels = inspected["State"], inspected["Config"]["Labels"]
                networks = inspected["NetworkSettings"]["Networks"] or {}
                found.setdefault(labels[_TASK], {})[labels[_NAME]] = ContainerState(
                    is_running=state["Status"] in ("running", "created"),
                    exit_code=None if state["Status"] in ("running", "created") else state["ExitCode"],
                    health=state["Health"]["Status"] if "Health" in state else None,
                    address=networks.get(self.network, {}).get("IPAddress") or None,
                    is_out_of_memory=bool(state.get("OOMKilled")),
                )
        return found

    def stop(self, task: str, grace_s: float) -> dict[str, int]:
        """SIGTERM, after `grace_s` SIGKILL, then removed, its logs kept; container name → exit code."""
        import docker.errors

        codes: dict[str, int] = {}
        for container in reversed(self._of(task)):
            with contextlib.suppress(docker.errors.NotFound):
                container.stop(timeout=max(1, round(grace_s)))
                codes[container.labels[_NAME]] = int(container.wait()["StatusCode"])
                file = self._log(task, container.labels[_NAME])
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(self._printed(container))
                container.remove(force=True, v=True)
        return codes

    def printed(self, task: str, name: str) -> bytes | None:
        """What a container printed, with times; None if there never was one."""
        for container in self._of(task):
            if container.labels[_NAME] == name:
                return self._printed(container)
        file = self._log(task, name)
        return file.read_bytes() if file.exists() else None

    def close(self, remove: bool) -> None:
        """`remove`: with all containers and the network."""
        if remove:
            _remove(self._docker, str(self._directory))
        self._docker.close()
        if self._lock:
            self._lock.close()

    def _of(self, task: str) -> list[Any]:
        return list(self._docker.containers.list(all=True, filters={"label": f"{_TASK}={task}"}, ignore_removed=True))

    def _printed(self, container: Any) -> bytes:
        return bytes(container.logs(timestamps=True))[-_LOG_BYTES:]

    def _log(self, task: str, name: str) -> Path:
        return self._directory / "logs" / task / f"{name}.log"

    def _options(self, container: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
        from docker.types import Ulimit

        environment = {one["name"]: one["value"] for one in container.get("environment", [])}
        for secret in container.get("secrets", []):
            if secret["valueFrom"] not in secrets:
                raise CannotStart(
                    "ResourceInitializationError: unable to pull secrets or registry auth: execution resource "
                    f"retrieval failed: unable to retrieve secret from asm: {secret['valueFrom']}: "
                    "ResourceNotFoundException: Secrets Manager can't find the specified secret."
                )
            environment[secret["name"]] = secrets[secret["valueFrom"]]
        options = {
            "environment": environment,
            "entrypoint": container.get("entryPoint"),
            "command": container.get("command"),
            "user": container.get("user"),
            "working_dir": container.get("workingDirectory"),
            "read_only": container.get("readonlyRootFilesystem", False),
            "mem_limit": f"{container['memory']}m" if container.get("memory") else None,
            "ulimits": [
                Ulimit(name=one["name"], soft=one["softLimit"], hard=one["hardLimit"])
                for one in container.get("ulimits", [])
            ],
            "healthcheck": self._health_check(container.get("healthCheck")),
        }
        return {name: value for name, value in options.items() if value is not None}

    def _health_check(self, check: Mapping[str, Any] | None) -> dict[str, Any]:
        """ECS does not watch what only the image says: no check, none from the image."""
        if check is None:
            return {"test": ["NONE"]}
        second = 1_000_000_000 / self._speed
        return {
            "test": check["command"],
            "interval": int(check.get("interval", 30) * second),
            "timeout": check.get("timeout", 5) * 1_000_000_000,
            "retries": check.get("retries", 3),
            "start_period": int(check.get("startPeriod", 0) * second),
        }

    @property
    def _labels(self) -> dict[str, str]:
        return {LABEL: str(self._directory)}


def sweep(client: Any) -> None:
    """Remove what fakes left that do not come back: their directory is gone, or a temporary one that nobody uses."""
    resources = [*client.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True)]
    resources += client.networks.list(filters={"label": LABEL})
    for name in {(one.attrs.get("Config") or one.attrs)["Labels"][LABEL] for one in resources}:
        directory = Path(name)
        lock = _locked(directory) if directory.is_dir() else None
        if directory.is_dir() and lock is None:
            continue  # it runs
        if not directory.is_dir() or _is_forgotten(directory):
            _remove(client, name)
        if lock:
            lock.close()


def _is_forgotten(directory: Path) -> bool:
    file = directory / "state.json"
    written = (file if file.exists() else directory).stat().st_mtime
    return directory.is_relative_to(tempfile.gettempdir()) and time.time() - written > _FORGOTTEN_S


def _remove(client: Any, directory: str) -> None:
    import docker.errors

    owned = {"label": f"{LABEL}={directory}"}
    for container in client.containers.list(all=True, filters=owned, ignore_removed=True):
        with contextlib.suppress(docker.errors.NotFound):
            container.remove(force=True, v=True)
    for network in client.networks.list(filters=owned):
        with contextlib.suppress(docker.errors.NotFound):
            network.remove()


def _locked(directory: Path) -> IO[str] | None:
    """The lock of a fake's directory; None if a fake has it."""
    file = open(directory / "lock", "w")  # noqa: SIM115  # held as long as the fake lives
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def _existing(client: Any, name: str) -> Any:
    """The container of that name, or None."""
    import docker.errors

    try:
        return client.containers.get(name)
    except docker.errors.NotFound:
        return None
