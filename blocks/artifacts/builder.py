"""Builds a release's artifact: archive or image, with SBOM and statement, everything in the store."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from blocks.artifacts import image
from blocks.artifacts.archive import files_of
from blocks.artifacts.engine import ImageEngine
from blocks.artifacts.sbom import sbom_of
from blocks.artifacts.signing_key import SigningKey
from blocks.artifacts.statement import sign
from blocks.artifacts.tars import Member, write_tar
from blocks.base import LockgateBlock
from blocks.home import home
from domain.artifact import Artifact, ArtifactKind, Provenance, digest_of_files
from domain.errors import TargetError
from domain.ports import ReleaseBuild, Store

_ABANDONED_S = 24 * 3600.0
"""A build that has taken so long is nobody's any more."""


class ReleaseBuilder(LockgateBlock):
    """Makes artifacts. Same commit, toolchain and settings: same bytes, same digest, whoever builds and whenever."""

    _block_type_name: ClassVar[str] = "Lockgate release builder"
    _block_type_slug: ClassVar[str] = "lockgate-release-builder"
    _description: ClassVar[str] = "Builds release archives and images, with SBOM and signed statement."

    root: Path = Field(default_factory=lambda: home() / "artifacts", description="Directory for artifacts being built")
    socket: str | None = Field(None, description="The engine's unix socket; default: $DOCKER_HOST, /run/docker.sock")
    base: str = Field("lockgate-base", description="Image that images stand on")
    repository: str = Field("lockgate-release", description="Name of the images; their tag is the commit")
    port: int = Field(8000, ge=1, le=65535, description="Port that a release in an image listens on")

    def archive(self, build: ReleaseBuild, about: Provenance, store: Store, key: SigningKey) -> Artifact:
        """A tar with the commit's files below app/, and release.json: how they are run, and with which toolchain.

        Safe to repeat. Raises TargetError if it cannot be built, LedgerError where the store does not take it.
        """
        about = about.model_copy(update={"files": digest_of_files(build.tree)})
        with self._place() as place:
            digest = _pack(files_of(build), place / "archive.tar", about.committed_s)
            store.put_file(place / "archive.tar")
            sbom, statement = _told(ArtifactKind.ARCHIVE, digest, build, about, store, key)
        return Artifact(kind=ArtifactKind.ARCHIVE, revision=about.revision, id=digest, sbom=sbom, statement=statement)

    def image(
        self, build: ReleaseBuild, about: Provenance, store: Store, key: SigningKey, base: str | None = None
    ) -> Artifact:
        """An image on the engine, for docker targets. `base`: an image to stand on instead of the usual one.

        Safe to repeat: an image that is there is not loaded again. Raises TargetError if it cannot be built or
        the engine does not take it, LedgerError where the store does not.
        """
        about = about.model_copy(update={"files": digest_of_files(build.tree)})
        engine = ImageEngine(self.socket)
        below, name = engine.base(base or self.base), f"{self.repository}:{about.revision}"
        with self._place() as place:
            layers: dict[str, Path] = {}
            for number, (members, when) in enumerate(image.layers_of(build, when=about.committed_s)):
                file = place / f"{number}.tar"
                layers[_pack(members, file, when)] = file
            config = image.configuration(below, list(layers), build, about, self.port)
            for file in layers.values():
                store.put_file(file)
            digest = store.put(config)
            if not engine.has(digest, name):
                engine.load(image.archive_of(name, (digest, config), below, layers), digest, name)
            sbom, statement = _told(ArtifactKind.IMAGE, digest, build, about, store, key)
        return Artifact(
            kind=ArtifactKind.IMAGE,
            revision=about.revision,
            id=digest,
            layers=tuple(layers),
            base=below.id,
            image=name,
            sbom=sbom,
            statement=statement,
        )

    def load_image(self, artifact: Artifact, store: Store) -> str:
        """The image of an artifact that was built before, on an engine that may not have it any more; its name.

        Safe to repeat. Raises TargetError if the engine has not its base, LedgerError where the store has not all.
        """
        if artifact.kind is not ArtifactKind.IMAGE or artifact.image is None or artifact.base is None:
            raise TargetError(f"the artifact of {artifact.revision} is an {artifact.kind}, and no image to load")
        engine = ImageEngine(self.socket)
        if not engine.has(artifact.id, artifact.image):
            below = engine.base(artifact.base)
            with self._place() as place:
                for layer in artifact.layers:
                    store.get_file(layer, place / layer)
                layers: Mapping[str, Path] = {layer: place / layer for layer in artifact.layers}
                config = (artifact.id, store.get(artifact.id))
                engine.load(image.archive_of(artifact.image, config, below, layers), artifact.id, artifact.image)
        return artifact.image

    def prune(self, revisions: Collection[str]) -> tuple[str, ...]:
        """Remove the images of other revisions that no container needs, and what killed builders left; the names.

        Safe to repeat. Raises TargetError if the engine does not answer.
        """
        for left in self.root.glob("building-*"):
            if time.time() - left.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(left, ignore_errors=True)
        engine = ImageEngine(self.socket)
        old = [name for name in engine.names(self.repository) if name.rpartition(":")[2] not in revisions]
        return tuple(name for name in old if engine.untag(name))

    def doctor(self) -> str | None:
        """None if images can be built, else what is missing and the fix."""
        try:
            ImageEngine(self.socket).base(self.base)
        except TargetError as err:
            return str(err)
        return None

    @contextlib.contextmanager
    def _place(self) -> Iterator[Path]:
        """A directory that is gone afterwards, whatever happens."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="building-", dir=self.root) as place:
                yield Path(place)
        except OSError as err:
            raise TargetError(f"the artifact cannot be built in {self.root}: {err}; see its disk") from err


def _pack(members: Mapping[str, Member], file: Path, when: int) -> str:
    with open(file, "wb") as target:
        return write_tar(members, target, when)


def _told(
    kind: ArtifactKind, digest: str, build: ReleaseBuild, about: Provenance, store: Store, key: SigningKey
) -> tuple[str, str]:
    """What is in it, and where it comes from: the digests of SBOM and statement."""
    sbom = store.put(sbom_of(build.tree, build.toolchain, about))
    return sbom, store.put(sign(about, kind, digest, sbom, key))
