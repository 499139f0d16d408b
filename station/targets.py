"""The deploy targets of this home, for stopping them."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from blocks.home import STATION, home, places
from blocks.targets.machine.docker_host import DockerHostTarget
from blocks.targets.machine.process import ProcessTarget
from blocks.targets.releases import Releases
from domain.errors import LockgateError, TargetError
from domain.ports import Target

_ON_THIS_MACHINE = (ProcessTarget, DockerHostTarget)
"""What runs elsewhere runs on a platform of its own, and goes on when the station ends."""
_IMAGE = "sha256:"
"""An artifact that is an image of an engine is named so."""


def saved_targets() -> dict[str, Target]:
    """Environment → its target, of all workshops, by the saved blocks, where it lives on this machine, or on a platform
    and this is the station's own; of a block that cannot be read, none. Empty if the server does not answer."""
    from blocks.workshop import KINDS, lives_at
    from station import api

    try:
        blocks = api.blocks()
    except LockgateError:
        return {}
    found: dict[str, Target] = {}
    for shop in (fields for of, fields in blocks.items() if of.startswith("lockgate-workshop/")):
        for environment, reference in shop["targets"].items():
            kind, _, name = reference.partition("/")
            if (made := KINDS.get(kind)) and (fields := blocks.get(f"lockgate-{kind}/{name}")):
                with contextlib.suppress(ValidationError):  # it is stopped without its block
                    target = cast(Target, made.model_validate(fields))
                    if (lives_at(target) or STATION) in places():
                        found[environment] = target
    return found


def stop_targets(saved: Mapping[str, Target], everywhere: bool = False) -> list[str]:
    """Stop each proxy and release of this machine; with `everywhere`, those on platforms of their own too.

    What was stopped, what goes on, and what could not be stopped with the reason. A target that is not among `saved`,
    for there is no server or its block is gone, is known by what its releases on this machine are made of.
    """
    root = home() / "targets"
    folders = {folder.name: folder for folder in root.iterdir()} if root.is_dir() else {}
    said = []
    for name in sorted({*saved, *folders}):
        try:
            target = saved.get(name) or _without_block(folders[name])
            if not (everywhere or isinstance(target, _ON_THIS_MACHINE)):
                said.append(f"not the releases of {name}: a platform runs them (`lockgate down --everywhere`)")
            elif target.stop():
                said.append(f"releases of {name}")
        except LockgateError as err:
            said.append(f"not the releases of {name}: {err}")
    return said


def _without_block(folder: Path) -> Target:
    try:
        known = [place.load() for place in Releases(folder / "releases").all()]
    except TargetError as err:
        raise TargetError(
            "only the station knows what kind of target it is: `lockgate up`, then stop it again"
        ) from err
    runs_images = any(deployment and deployment.artifact.startswith(_IMAGE) for deployment in known)
    kind = DockerHostTarget if runs_images else ProcessTarget
    return kind(name=folder.name, root=folder.parent, port=1)
