"""The Docker Engine that images go to, by its unix socket."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import docker
import docker.errors
import requests

from blocks.artifacts.image import Base
from domain.errors import TargetError

_TIMEOUT_S = 60
_LOAD_S = 900


class ImageEngine:
    """One engine. Raises TargetError where it does not answer."""

    def __init__(self, socket: str | None) -> None:
        host = os.environ.get("DOCKER_HOST", "")
        usual = host.removeprefix("unix://") if host.startswith("unix://") else "/run/docker.sock"
        with _errors("say its version"):
            self._api: Any = docker.APIClient(f"unix://{socket or usual}", version="auto", timeout=_TIMEOUT_S)

    def base(self, name: str) -> Base:
        """What is below an image of ours. Raises TargetError where the engine has none of that name."""
        found = self._found(name)
        if found is None:
            raise TargetError(f"the engine has no image {name} to build on: lockgate image build, or pull it")
        return Base(
            id=str(found["Id"]),
            architecture=str(found["Architecture"]),
            layers=tuple(found["RootFS"]["Layers"]),
            environment=tuple(found["Config"].get("Env") or ()),
        )

    def has(self, digest: str, name: str) -> bool:
        """Whether the image with that ID is there; then it has that name too."""
        found = self._found(f"sha256:{digest}")
        if found is None:
            return False
        if name not in (found["RepoTags"] or ()):
            repository, _, tag = name.rpartition(":")
            with _errors(f"tag {name}"):
                self._api.tag(f"sha256:{digest}", repository, tag, force=True)
        return True

    def load(self, archive: Iterator[bytes], digest: str, name: str) -> None:
        """Take an image whole, or not at all. Safe to repeat."""
        with _errors(f"load {name}"):
            said = list(self._api.load_image(archive))
        if problem := next((str(line["error"]) for line in said if "error" in line), None):
            raise TargetError(f"the engine cannot load {name}: {problem.strip()[-300:]}; see its disk and its images")
        if not self.has(digest, name):
            raise TargetError(f"the engine has loaded {name} under another ID: does it keep images as containerd does?")

    def names(self, repository: str) -> list[str]:
        """Every image of that repository, as repository:tag, sorted."""
        with _errors(f"list the images {repository}"):
            return sorted(name for found in self._api.images(repository) for name in found["RepoTags"] or ())

    def remove(self, name: str) -> bool:
        """Take the name away, and the image with its last name; False where a container needs it. Safe to repeat."""
        try:
            with _errors(f"remove the image {name}"):
                self._api.remove_image(name)
        except TargetError as err:
            if isinstance(err.__cause__, docker.errors.APIError) and err.__cause__.status_code in (404, 409):
                return False
            raise
        return True

    def _found(self, name: str) -> dict[str, Any] | None:
        with _errors(f"look at the image {name}"), contextlib.suppress(docker.errors.ImageNotFound):
            found: dict[str, Any] = self._api.inspect_image(name)
            return found
        return None


@contextlib.contextmanager
def _errors(doing: str) -> Iterator[None]:
    try:
        yield
    except docker.errors.APIError as err:
        said = str(err.explanation or err).strip()[-300:]
        raise TargetError(f"the engine cannot {doing}: {said}") from err
    except (docker.errors.DockerException, requests.RequestException) as err:
        raise TargetError(f"the engine does not answer ({doing}): {str(err)[:300]}. Is dockerd running?") from err
