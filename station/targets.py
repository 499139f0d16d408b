"""The deploy targets of this machine, for stopping them."""

from pathlib import Path

from blocks.home import home
from blocks.targets.machine.docker_host import DockerHostTarget
from blocks.targets.machine.process import ProcessTarget
from blocks.targets.machine.proxied import ProxiedTarget
from blocks.targets.releases import Releases
from domain.errors import TargetError

_IMAGE = "sha256:"
"""An artifact that is an image of an engine is named so."""


def stop_targets() -> list[str]:
    """Stop each proxy and release under this home, on the usual engine where they are containers. What was stopped, and
    what could not be, with the reason. Needs no server."""
    root = home() / "targets"
    said = []
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        try:
            if _target(folder).stop():
                said.append(f"releases of {folder.name}")
        except TargetError as err:
            said.append(f"not the releases of {folder.name}: {err}")
    return said


def _target(folder: Path) -> ProxiedTarget:
    known = (place.load() for place in Releases(folder / "releases").all())
    runs_images = any(deployment and deployment.artifact.startswith(_IMAGE) for deployment in known)
    kind = DockerHostTarget if runs_images else ProcessTarget
    return kind(name=folder.name, root=folder.parent, port=1)
