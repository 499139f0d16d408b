"""A release as an image, without a registry and without a Dockerfile: layers and a configuration, given to the engine.

https://github.com/moby/docker-image-spec/blob/main/spec.md · https://specs.opencontainers.org/image-spec/annotations/
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from blocks.artifacts.python import environment_of, interpreter_of
from blocks.artifacts.tars import DIRECTORY, Content, Member, members_of, stream_tar
from domain.artifact import Provenance
from domain.ports import ReleaseBuild
from domain.value import canonical

USER = 10001
"""uid and gid of a release; nothing but /data and /tmp is theirs."""
APP, DATA = "/app", "/data"


class Base(NamedTuple):
    """What an image stands on, as the engine tells it."""

    id: str
    architecture: str
    layers: tuple[str, ...]
    environment: tuple[str, ...]


def layers_of(build: ReleaseBuild, when: int) -> list[tuple[dict[str, Member], int]]:
    """Files of each layer and their time, what changes least first: interpreter, environment, app."""
    app = {**members_of(build.tree, APP.lstrip("/")), DATA.lstrip("/"): Member(DIRECTORY, owner=USER)}
    below = [(files, 0) for files in (interpreter_of(build.toolchain), environment_of(build.toolchain)) if files]
    return [*below, (app, when)]


def configuration(base: Base, layers: Sequence[str], build: ReleaseBuild, about: Provenance, port: int) -> bytes:
    """The image's configuration as JSON; its SHA-256 is the image ID. Same input, same bytes."""
    created = datetime.fromtimestamp(about.committed_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    steps = [*(f"base {base.id}" for _ in base.layers), *(f"lockgate {about.builder}" for _ in layers)]
    command = build.run.replace("{port}", str(port)).replace("{release}", about.revision)
    return canonical(
        {
            "architecture": base.architecture,
            "os": "linux",
            "created": created,
            "config": {
                "User": f"{USER}:{USER}",
                "WorkingDir": APP,
                "Env": _environment(base, build, about, port),
                "Cmd": ["/bin/sh", "-c", f"exec {command}" if _is_plain(command) else command],
                "ExposedPorts": {f"{port}/tcp": {}},
                "Labels": _labels(build, about, created),
                "StopSignal": "SIGTERM",
            },
            "rootfs": {"type": "layers", "diff_ids": [*base.layers, *(f"sha256:{layer}" for layer in layers)]},
            "history": [{"created": created, "created_by": step} for step in steps],
        }
    ).encode()


def archive_of(name: str, config: tuple[str, bytes], base: Base, layers: Mapping[str, Path]) -> Any:
    """The image as `docker load` takes it, piece by piece. Base's layers are named alone: the engine has them."""
    below = [f"{layer.removeprefix('sha256:')}/layer.tar" for layer in base.layers]
    above = [f"{layer}/layer.tar" for layer in layers]
    manifest = [{"Config": f"{config[0]}.json", "RepoTags": [name], "Layers": [*below, *above]}]
    files: list[tuple[str, Content]] = [
        ("manifest.json", canonical(manifest).encode()),
        (f"{config[0]}.json", config[1]),
        *zip(above, layers.values(), strict=True),
    ]
    return stream_tar(files)


def _environment(base: Base, build: ReleaseBuild, about: Provenance, port: int) -> list[str]:
    variables = {
        **dict(line.split("=", 1) for line in base.environment if "=" in line),
        "PATH": f"{build.toolchain}/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",  # noqa: S108  # the container's own
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **build.environment,
        "RELEASE_ID": about.revision,
        "DATA_DIR": DATA,
        "PORT": str(port),
    }
    return [f"{name}={value}" for name, value in sorted(variables.items())]


def _labels(build: ReleaseBuild, about: Provenance, created: str) -> dict[str, str]:
    labels = {
        "org.opencontainers.image.revision": about.revision,
        "org.opencontainers.image.source": about.repository,
        "org.opencontainers.image.created": created,
        "io.lockgate.files": about.files,
        "io.lockgate.health": str(build.health),
        "io.lockgate.toolchain": build.toolchain.name,
        "io.lockgate.builder": about.builder,
        "io.lockgate.brief": about.brief,
        "io.lockgate.environment": about.environment,
    }
    return {name: value for name, value in labels.items() if value}


def _is_plain(command: str) -> bool:
    """Whether the shell has nothing to do afterwards, so that signals may go to the program itself."""
    return not any(sign in command for sign in "&|;<>()$`\n\"'\\") and "=" not in command.split(" ")[0]
