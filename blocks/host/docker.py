"""The Docker Engine at a unix socket, as targets use it: what is there, found by label; TargetError for the rest."""

import contextlib
import functools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain.errors import TargetError

if TYPE_CHECKING:
    from docker import APIClient

_TIMEOUT_S = 60.0
_INSTALL = "install one (Debian: apt-get install docker.io) and start it, or set this target's socket"
_FULL = "no space left on device"


@contextlib.contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """What the engine, or the way to it, refuses is TargetError."""
    import docker.errors
    import requests

    try:
        yield
    except docker.errors.APIError as err:
        raise refused(doing, err.explanation or str(err)) from err
    except (docker.errors.DockerException, requests.RequestException, OSError) as err:
        raise TargetError(f"the engine does not answer ({doing}): {err}. Is dockerd running?") from err


def refused(doing: str, said: str) -> TargetError:
    """What the engine said, with the fix where there is one."""
    fix = ": make room on its disk, `docker system df` says what it is used for" if _FULL in said else ""
    return TargetError(f"the engine cannot {doing}: {said.strip()[-600:]}{fix}")


def default_socket() -> str:
    """$DOCKER_HOST where it is a unix socket, else the usual path."""
    host = os.environ.get("DOCKER_HOST", "")
    return host.removeprefix("unix://") if host.startswith("unix://") else "/run/docker.sock"


class Engine:
    """One engine on this machine. Mounts are paths of this machine, so an engine elsewhere is of no use."""

    def __init__(self, path: str) -> None:
        """Raises TargetError where nothing answers."""
        import docker

        if not Path(path).is_socket():
            raise TargetError(f"no Docker Engine at {path}: {_INSTALL}")
        with engine_errors("say its version"):
            self.api: APIClient = docker.APIClient(f"unix://{path}", version="auto", timeout=_TIMEOUT_S)

    @staticmethod
    def at(path: str | None) -> "Engine":
        """The engine at a socket's path, connected once a process. Raises TargetError where none answers."""
        return _engine(path or default_socket(), os.getpid())

    def unusable(self) -> str | None:
        """Why a user of this machine is another one inside containers; None where it is the same."""
        with engine_errors("describe itself"):
            options = " ".join(self.api.info().get("SecurityOptions") or [])
        for word, what in {"name=rootless": "is rootless", "name=userns": "maps users (userns-remap)"}.items():
            if word in options:
                return f"the engine {what}, so a release could not write its data: use an engine that does neither"
        return None

    def image(self, name: str) -> dict[str, Any] | None:
        """What is known of an image by name or ID, or None where the engine has none."""
        import docker.errors

        with engine_errors(f"look at the image {name}"), contextlib.suppress(docker.errors.ImageNotFound):
            return dict(self.api.inspect_image(name))
        return None

    def tag(self, image: str, name: str) -> None:
        """One more name, as repository:tag. Safe to repeat."""
        repository, _, tag = name.rpartition(":")
        with engine_errors(f"name an image {name}"):
            self.api.tag(image, repository, tag, force=True)

    def untag(self, name: str) -> None:
        """Remove a name of an image, and the image with its last one. One that is used stays. Safe to repeat."""
        import docker.errors

        with engine_errors(f"remove the image {name}"), contextlib.suppress(docker.errors.ImageNotFound):
            try:
                self.api.remove_image(name)
            except docker.errors.APIError as err:
                if err.status_code != 409:  # another container is made of it
                    raise

    def discard(self, image: str) -> None:
        """Remove an image that has no name and that nothing is made of. Safe to repeat."""
        found = self.image(image)
        if found and not found["RepoTags"]:
            self.untag(image)

    def containers(self, label: str, value: str) -> list[dict[str, Any]]:
        """What is known of the containers with a label, running or not, newest first."""
        import docker.errors

        found = []
        with engine_errors("list its containers"):
            for listed in self.api.containers(all=True, filters={"label": f"{label}={value}"}):
                with contextlib.suppress(docker.errors.NotFound):
                    found.append(dict(self.api.inspect_container(listed["Id"])))
        return found

    def stop(self, container: str, grace_s: int) -> None:
        """SIGTERM, and SIGKILL after so many seconds; it stays as it ended. Safe to repeat."""
        import docker.errors

        with engine_errors("stop a container"), contextlib.suppress(docker.errors.NotFound):
            self.api.stop(container, timeout=grace_s)

    def remove(self, container: str) -> None:
        """Kill all that runs in it, and remove it; when this returns, both are done. Safe to repeat."""
        import docker.errors

        with engine_errors("remove a container"):
            try:
                self.api.remove_container(container, force=True, v=True)
            except docker.errors.NotFound:
                return
            except docker.errors.APIError as err:
                if err.status_code != 409:  # another one is removing it: wait with it
                    raise
                with contextlib.suppress(docker.errors.NotFound):
                    self.api.wait(container, timeout=_TIMEOUT_S, condition="removed")

    def tail(self, container: str, size: int) -> bytes:
        """The last bytes of what it printed. Where the engine rotates logs, that is what is read at most."""
        import docker.errors

        with engine_errors("read a container's log"), contextlib.suppress(docker.errors.NotFound):
            return bytes(self.api.logs(container, stdout=True, stderr=True, tail=2000))[-size:]
        return b""

    def exit_codes(self, container: str) -> list[int]:
        """How it ended each time that the engine still knows of, oldest first."""
        filters = {"container": container, "event": "die"}
        with engine_errors("tell its events"):
            events = list(self.api.events(since=0, until=int(time.time()) + 1, filters=filters, decode=True))
        return [int(event["Actor"]["Attributes"]["exitCode"]) for event in events]

    def network(self, name: str, label: str) -> str:
        """The bridge of that name, made unless it is there."""
        with engine_errors(f"make the network {name}"):
            if not self.has_network(name):
                self.api.create_network(name, driver="bridge", check_duplicate=True, labels={label: name})
        return name

    def gateways(self, name: str) -> tuple[str, ...]:
        """Where this machine stands in a network; none where there is no such network."""
        with engine_errors("list its networks"):
            found = [network for network in self.api.networks(names=[name]) if network["Name"] == name]
        parts = (part for network in found for part in network["IPAM"]["Config"] or ())
        return tuple(f"{part['Gateway']}/32" for part in parts if "." in part.get("Gateway", ""))

    def has_network(self, name: str) -> bool:
        with engine_errors("list its networks"):
            return any(network["Name"] == name for network in self.api.networks(names=[name]))


@functools.lru_cache(maxsize=8)
def _engine(path: str, pid: int) -> Engine:
    return Engine(path)
