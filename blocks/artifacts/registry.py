"""A repository in a registry: images of the local engine are pushed there, and pinned to what the registry says.

https://distribution.github.io/distribution/spec/api/
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import docker.errors
import requests
import urllib3.exceptions
from pydantic import SecretStr

from blocks.artifacts.engine import ImageEngine
from domain.errors import TargetError

_ENVIRONMENT = "io.lockgate.environment"
_TAG = re.compile(r"^[0-9a-f]{40,64}-[0-9a-f]{12}$")
"""Commit and image ID. Other names in the repository are of people."""
_QUIET_S = 120.0
"""An engine that says nothing for so long while it pushes waits for something that does not come."""
_FIXES = {
    "name unknown": "make the repository first, the registry does not do it by itself",
    "no basic auth credentials": "it wants a user name and a password: give them to the target, or `docker login`",
    "unauthorized": "check user name and password, and that they may push",
    "authentication required": "check user name and password, and that they may push",
    "denied": "check user name and password, that they may push, and that the repository exists",
    "server gave http response to https client": "it has no TLS: name it in the engine's insecure-registries",
    "x509": "the engine does not trust its certificate: put its CA into /etc/docker/certs.d",
    "no such host": "check its name",
    "connection refused": "is it running?",
    "timeout": "it does not answer: is it running, and is there a way to it?",
    "no space left": "make room on its disk",
    "toomanyrequests": "it limits the rate: try again later",
}
"""What an engine says, in small letters → what to do. The first that fits."""


class RegistryLogin(NamedTuple):
    """What a registry is told of who pushes."""

    username: str
    password: SecretStr


@dataclass(frozen=True)
class Repository:
    """One repository, with who may push to it."""

    name: str
    """As registry.example.com/team/shop, without a tag"""
    login: Callable[[], RegistryLogin | None] = lambda: None
    """Asked once a push, for some are short-lived. None: as `docker login` left it"""
    socket: str | None = None
    """The engine's; default: $DOCKER_HOST, /run/docker.sock"""
    timeout_s: float = 900.0
    """In which a push must be done"""

    def push(self, image: str, revision: str) -> str:
        """NAME@sha256:DIGEST of an image that the engine has, pullable from there from now on.

        Safe to repeat: its tag is made of revision and image ID, and what the engine itself gave the registry under it
        is not given again. Raises TargetError if engine or registry refuse, or are not done in time.
        """
        engine = _Engine(self.socket)
        known, usual = engine.known(image), self.name.removeprefix("docker.io/")  # as the engine writes it
        tag = f"{revision}-{known['Id'].removeprefix('sha256:')[:12]}"
        login = self.login()
        auth = {"username": login.username, "password": login.password.get_secret_value()} if login else None
        there = engine.look(f"{self.name}:{tag}", auth)
        if there is None or f"{usual}@{there}" not in (known["RepoDigests"] or ()):
            engine.name(known["Id"], self.name, tag)
            there = engine.push(self.name, tag, auth, self.timeout_s)
        for old in engine.pushed(usual, known):
            if old != f"{usual}:{tag}":
                engine.untag(old)  # or the engine would keep every image that was ever pushed
        return f"{self.name}@{there}"


class _Engine(ImageEngine):
    """What an engine does with registries."""

    def known(self, name: str) -> dict[str, Any]:
        found = self.image(name)
        if found is None:
            raise TargetError(f"the engine has no image {name} to push: build it, or load it from the store")
        return found

    def name(self, image: str, repository: str, tag: str) -> None:
        with _errors(repository, f"name an image {repository}:{tag}"):
            self.api.tag(image, repository, tag, force=True)

    def look(self, name: str, auth: dict[str, str] | None) -> str | None:
        """The digest that a registry has under a name. None: it has not, or does not tell; then a push says why."""
        with contextlib.suppress(docker.errors.APIError), _gone(f"ask for {name}"):
            return str(self.api.inspect_distribution(name, auth_config=auth)["Descriptor"]["digest"])
        return None

    def push(self, repository: str, tag: str, auth: dict[str, str] | None, timeout_s: float) -> str:
        """The digest of what the registry has taken."""
        until, doing = time.monotonic() + timeout_s, f"push {repository}:{tag}"
        self.api.timeout = min(_QUIET_S, timeout_s)
        digest: str | None = None
        with _errors(repository, doing):
            lines = self.api.push(repository, tag, stream=True, decode=True, auth_config=auth)
            with contextlib.closing(lines):
                for line in lines:
                    if "error" in line:
                        raise _refused(repository, doing, str(line["error"]))
                    digest = (line.get("aux") or {}).get("Digest") or digest
                    if time.monotonic() > until:
                        raise TargetError(f"the engine could not {doing} within {timeout_s:g} s; what is there stays")
        if digest is None:
            raise TargetError(f"the engine could not {doing}, and does not say why: was it restarted? Try again")
        return digest

    def pushed(self, repository: str, like: dict[str, Any]) -> list[str]:
        """Names that a push gave to images of the same environment: others may be pushed right now."""
        with _errors(repository, f"list the images {repository}"):
            listed = self.api.images(repository)
        environment = (like["Config"]["Labels"] or {}).get(_ENVIRONMENT)
        names = [
            str(name)
            for found in listed
            if (found["Labels"] or {}).get(_ENVIRONMENT) == environment
            for name in found["RepoTags"] or ()
        ]
        return [name for name in names if _TAG.match(name.removeprefix(f"{repository}:"))]


@contextlib.contextmanager
def _errors(repository: str, doing: str) -> Iterator[None]:
    try:
        with _gone(doing):
            yield
    except docker.errors.APIError as err:
        raise _refused(repository, doing, str(err.explanation or err)) from err


@contextlib.contextmanager
def _gone(doing: str) -> Iterator[None]:
    """What is no answer of the engine."""
    try:
        yield
    except docker.errors.APIError:
        raise
    except (
        docker.errors.DockerException,
        docker.errors.StreamParseError,
        requests.RequestException,
        urllib3.exceptions.HTTPError,
    ) as err:
        raise TargetError(f"the engine does not answer ({doing}): {str(err)[:300]}. Is dockerd running?") from err


def _refused(repository: str, doing: str, said: str) -> TargetError:
    fix = next((fix for word, fix in _FIXES.items() if word in said.lower()), "see its log")
    registry = repository.partition("/")[0]
    return TargetError(f"the engine cannot {doing}: {said.strip()[-300:]}. About the registry {registry}: {fix}")
