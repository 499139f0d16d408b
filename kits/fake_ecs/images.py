"""Images of tasks: what the engine has, or pulls from a registry of somebody's own."""

import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any

from kits.fake_ecs.refusal import CannotStart

_REGISTRY = re.compile(r"^[^/]*[.:][^/]*/")
"""What a name begins with that is in a registry. Others are never pulled: a rehearsal asks no strangers."""


def image_for(client: Any, container: Mapping[str, Any], secrets: Mapping[str, str]) -> tuple[str, str]:
    """ID of a container's image, and the digest that ECS says of it. Raises CannotStart.

    Looked for by name, by digest of a registry, and with the image's own ID as the digest; else it is pulled.
    """
    import docker.errors

    reference = container["image"]
    digest = reference.partition("@")[2]
    for name in (reference, digest):
        if name:
            with contextlib.suppress(docker.errors.APIError):
                return _ids(client.images.get(name), reference)
    if not _REGISTRY.match(reference):
        raise _cannot_pull(reference, "not found")
    try:
        return _ids(client.images.pull(reference, auth_config=_login(container, secrets)), reference)
    except docker.errors.APIError as err:
        raise _cannot_pull(reference, str(err.explanation)) from err


def _ids(image: Any, reference: str) -> tuple[str, str]:
    id, digest = str(image.id), reference.partition("@")[2]
    return id, digest if reference in image.attrs["RepoDigests"] else id


def _login(container: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, str]:
    """What `repositoryCredentials` name: a secret that is a JSON object with username and password."""
    source = container.get("repositoryCredentials", {}).get("credentialsParameter")
    if source is not None and source not in secrets:
        raise CannotStart(
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval "
            f"failed: unable to retrieve secret from asm: {source}: ResourceNotFoundException: Secrets Manager can't "
            "find the specified secret."
        )
    return dict(json.loads(secrets[source])) if source else {}


def _cannot_pull(reference: str, said: str) -> CannotStart:
    return CannotStart(
        "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref "
        f"{reference}: {said}"
    )
