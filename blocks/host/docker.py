"""The one client of a Docker Engine at a unix socket. What goes wrong there is raised as its caller's kind of error."""

import contextlib
import functools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from domain.errors import LockgateError, TargetError

if TYPE_CHECKING:
    from docker import APIClient

TIMEOUT_S = 60.0
_INSTALL = "install one (Debian: apt-get install docker.io) and start it, or set the path of its socket"
_FULL = "no space left on device"
_PATH = "/usr/local/bin:/usr/bin:/bin"


def default_socket() -> str:
    """$DOCKER_HOST if it is a unix socket, else the usual path."""
    host = os.environ.get("DOCKER_HOST", "")
    return host.removeprefix("unix://") if host.startswith("unix://") else "/run/docker.sock"


class Engine:
    """One engine on this machine. Mounts are paths of this machine, so an engine elsewhere is of no use."""

    def __init__(self, path: str, failure: type[LockgateError] = TargetError) -> None:
        """`failure`: what its errors are to the caller. Raises it if nothing answers at the path."""
        import docker

        self.path, self._failure = path, failure
        if not Path(path).is_socket():
            raise failure(f"no Docker Engine at {path}: {_INSTALL}")
        with self.errors("say its version"):
            self.api: APIClient = docker.APIClient(f"unix://{path}", version="auto", timeout=TIMEOUT_S)

    @staticmethod
    def at(path: str | None, failure: type[LockgateError] = TargetError) -> "Engine":
        """The engine at a socket's path, connected once a process. Raises `failure` if none answers."""
        return _engine(path or default_socket(), failure, os.getpid())  # type: ignore[arg-type] # mypy asks for a class's hash of its instances

    @contextlib.contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Raise `failure` for what the engine, or the way to it, refuses meanwhile."""
        import docker.errors
        import requests

        try:
            yield
        except docker.errors.APIError as err:
            raise self.refused(doing, err.explanation or str(err)) from err
        except (docker.errors.DockerException, requests.RequestException, OSError) as err:
            raise self._failure(f"the engine does not answer ({doing}): {err}. Is dockerd running?") from err

    def refused(self, doing: str, said: str) -> LockgateError:
        """What the engine said, with the fix if we know one."""
        fix = ": make room on its disk, `docker system df` says what it is used for" if _FULL in said else ""
        return self._failure(f"the engine cannot {doing}: {said.strip()[-600:]}{fix}")

    def unusable(self) -> str | None:
        """Why a user of this machine is another one inside containers; None if it is the same."""
        with self.errors("describe itself"):
            options = " ".join(self.api.info().get("SecurityOptions") or [])
        for word, what in {"name=rootless": "is rootless", "name=userns": "maps users (userns-remap)"}.items():
            if word in options:
                return f"the engine {what}, so a release could not write its data: use an engine that does neither"
        return None

    def image(self, name: str) -> dict[str, Any] | None:
        """What is known of an image by name or ID, or None if the engine has none."""
        import docker.errors

        with self.errors(f"look at the image {name}"), contextlib.suppress(docker.errors.ImageNotFound):
            return dict(self.api.inspect_image(name))
        return None

    def tag(self, image: str, name: str) -> None:
        """One more name, as repository:tag. Safe to repeat."""
        repository, _, tag = name.rpartition(":")
        with self.errors(f"name an image {name}"):
            self.api.tag(image, repository, tag, force=True)

    def untag(self, name: str) -> bool:
        """Remove a name of an image, and the image with its last name. Safe to repeat.

        False if there was no such name, or if a container is made of the image: then it stays.
        """
        import docker.errors

        with self.errors(f"remove the image {name}"), contextlib.suppress(docker.errors.ImageNotFound):
            try:
                self.api.remove_image(name)
                return True
            except docker.errors.APIError as err:
                if err.status_code != 409:  # another container is made of it
                    raise
        return False

    def search_path(self, image: str) -> str:
        """PATH as the image has it."""
        with self.errors(f"look at the image {image}"):
            variables = self.api.inspect_image(image)["Config"]["Env"] or []
        return next((line.partition("=")[2] for line in variables if line.startswith("PATH=")), _PATH)

    def import_image(self, tar: IO[bytes], name: str, changes: Sequence[str]) -> None:
        """Make an image of one layer from a tar."""
        repository, _, tag = name.partition(":")
        with self.errors(f"import {name}"):
            parameters = {"fromSrc": "-", "repo": repository, "tag": tag, "changes": list(changes)}
            url = self.api._url("/images/create")
            said = self.api._result(self.api._post(url, data=tar, params=parameters, timeout=600))
        if '"error"' in str(said):
            raise self.refused(f"import {name}", str(said))

    def discard(self, image: str) -> None:
        """Remove an image that has no name and that nothing is made of. Safe to repeat."""
        found = self.image(image)
        if found and not found["RepoTags"]:
            self.untag(image)

    def containers(self, label: str, value: str) -> list[dict[str, Any]]:
        """What is known of the containers with a label, running or not, newest first."""
        import docker.errors

        found = []
        with self.errors("list its containers"):
            for listed in self.api.containers(all=True, filters={"label": f"{label}={value}"}):
                with contextlib.suppress(docker.errors.NotFound):
                    found.append(dict(self.api.inspect_container(listed["Id"])))
        return found

    def stop(self, container: str, grace_s: int) -> None:
        """SIGTERM, and SIGKILL after so many seconds; it stays as it ended. Safe to repeat."""
        import docker.errors

        with self.errors("stop a container"), contextlib.suppress(docker.errors.NotFound):
            self.api.stop(container, timeout=grace_s)

    def kill(self, container: str) -> None:
        """Kill all that runs in it; when this returns, nothing does. Safe to repeat."""
        import docker.errors

        with self.errors("kill a container"), contextlib.suppress(docker.errors.NotFound):
            try:
                self.api.kill(container)
            except docker.errors.APIError as err:
                if err.status_code != 409:  # it does not run
                    raise
            self.api.wait(container, timeout=TIMEOUT_S, condition="not-running")

    def remove(self, container: str) -> None:
        """Kill all that runs in it, and remove it; when this returns, both are done. Safe to repeat."""
        import docker.errors

        with self.errors("remove a container"):
            try:
                self.api.remove_container(container, force=True, v=True)
            except docker.errors.NotFound:
                return
            except docker.errors.APIError as err:
                if err.status_code != 409:  # another one is removing it: wait with it
                    raise
                with contextlib.suppress(docker.errors.NotFound):
                    self.api.wait(container, timeout=TIMEOUT_S, condition="removed")

    def remove_volume(self, volume: str) -> None:
        """Safe to repeat."""
        import docker.errors

        with self.errors("remove a volume"), contextlib.suppress(docker.errors.NotFound):
            self.api.remove_volume(volume, force=True)

    def tail(self, container: str, size: int) -> bytes:
        """The last bytes of what it printed. Where the engine rotates logs, that is what is read at most."""
        import docker.errors

        with self.errors("read a container's log"), contextlib.suppress(docker.errors.NotFound):
            return bytes(self.api.logs(container, stdout=True, stderr=True, tail=2000))[-size:]
        return b""

    def exit_codes(self, container: str) -> list[int]:
        """How it ended each time that the engine still knows of, oldest first."""
        return [int(event["Actor"]["Attributes"]["exitCode"]) for event in self._events(container, "die")]

    def ran_out_of_memory(self, container: str) -> bool:
        """Whether that was its end, the last time that it ended. Its state forgets this when it is started again."""
        ends = [int(event["timeNano"]) for event in self._events(container, "die")]
        before = ends[-2] if len(ends) > 1 else 0
        return bool(ends) and any(int(event["timeNano"]) > before for event in self._events(container, "oom"))

    def _events(self, container: str, kind: str) -> list[Mapping[str, Any]]:
        filters = {"container": container, "event": kind}
        with self.errors("tell its events"):
            return list(self.api.events(since=0, until=int(time.time()) + 1, filters=filters, decode=True))

    def network(self, name: str, label: str) -> str:
        """The bridge of that name, made unless it is there."""
        with self.errors(f"make the network {name}"):
            if not self.has_network(name):
                self.api.create_network(name, driver="bridge", check_duplicate=True, labels={label: name})
        return name

    def gateways(self, name: str) -> tuple[str, ...]:
        """Where this machine stands in a network; none if there is no such network."""
        with self.errors("list its networks"):
            found = [network for network in self.api.networks(names=[name]) if network["Name"] == name]
        parts = (part for network in found for part in network["IPAM"]["Config"] or ())
        return tuple(f"{part['Gateway']}/32" for part in parts if "." in part.get("Gateway", ""))

    def has_network(self, name: str) -> bool:
        with self.errors("list its networks"):
            return any(network["Name"] == name for network in self.api.networks(names=[name]))


@functools.lru_cache(maxsize=8)
def _engine(path: str, failure: type[LockgateError], pid: int) -> Engine:
    return Engine(path, failure)
