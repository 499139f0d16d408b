"""The image of a release on the target's engine: the artifact that was built for its commit, or else made here.

Same build, same base: same image ID. An image is of a build where its labels say so, and they are in its ID.
"""

import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

from blocks.artifacts import image
from blocks.artifacts.tars import write_tar
from blocks.host.docker import Engine
from blocks.targets.machine.containers import PORT, TMP
from domain.artifact import Provenance, digest_of_files
from domain.errors import TargetError
from domain.ports import ReleaseBuild

BUILT = "lockgate-release"
"""Name of the images that are built as artifacts; their tag is the commit."""
FIX = "make the base image: lockgate image build, or name another one in this target's settings"
_FILES, _TOOLCHAIN = "io.lockgate.files", "io.lockgate.toolchain"


def image_of(engine: Engine, base: str, revision: str, build: ReleaseBuild, name: str, *, keep: bool = True) -> str:
    """The ID of a build's image, which has that name from now on. Safe to repeat: it is looked for before it is made.

    `keep`: the one that has the name already goes before the one that was built as the commit's artifact.
    Raises TargetError if the base image is missing, the tree cannot be written as it is, or a disk is full.
    """
    if build.toolchain.is_relative_to(TMP):
        raise TargetError(f"{build.toolchain} lies in {TMP}, and each container has one of its own: keep it elsewhere")
    files = digest_of_files(build.tree)
    names = (name, f"{BUILT}:{revision}")
    for known in names if keep else reversed(names):
        found = engine.image(known)
        if found and _is_of(found, files, build):
            engine.tag(found["Id"], name)
            return str(found["Id"])
    about = Provenance(run_id="", repository="", revision=revision, files=files, builder="")
    made = f"sha256:{_load(engine, base, build, about, name)}"
    found = engine.image(name)
    if found is None or found["Id"] != made:
        raise TargetError(f"the engine has not loaded {name} as {made[:19]}: is it a Docker Engine?")
    return made


def _is_of(found: dict[str, Any], files: str, build: ReleaseBuild) -> bool:
    labels = found["Config"]["Labels"] or {}
    return (labels.get(_FILES), labels.get(_TOOLCHAIN)) == (files, build.toolchain.name)


def _load(engine: Engine, base: str, build: ReleaseBuild, about: Provenance, name: str) -> str:
    """Make the image and give it to the engine; the SHA-256 of its configuration."""
    if (found := engine.image(base)) is None:
        raise TargetError(f"the engine has no image {base}: {FIX}")
    below = image.Base(
        id=str(found["Id"]),
        architecture=str(found["Architecture"]),
        layers=tuple(found["RootFS"]["Layers"]),
        environment=tuple(found["Config"].get("Env") or ()),
    )
    try:
        with tempfile.TemporaryDirectory(prefix="lockgate-image-") as directory:
            place = Path(directory)
            layers: dict[str, Path] = {}
            for number, (members, when) in enumerate(image.layers_of(build, when=0)):
                with open(place / str(number), "wb") as file:
                    digest = write_tar(members, file, when)
                layers[digest] = place / str(number)
            config = image.configuration(below, list(layers), build, about, PORT)
            digest = sha256(config).hexdigest()
            with engine.errors(f"load the image {name}"):
                said = list(engine.api.load_image(image.archive_of(name, (digest, config), below, layers)))
    except OSError as err:
        raise TargetError(f"the image {name} cannot be packed: {err}") from err
    if problem := next((str(line["error"]) for line in said if "error" in line), None):
        raise engine.refused(f"load the image {name}", problem)
    return digest
