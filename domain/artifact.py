"""Artifacts: what a commit is released as, built once, and what the platform states about it."""

import re
from collections.abc import Collection, Iterable
from enum import StrEnum
from hashlib import sha256
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, field_validator

from domain.trees import Tree
from domain.value import Value, digest_of

_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)")
"""Of a character in JSON: the `b` of a backspace before a digest is no part of it."""


class ArtifactKind(StrEnum):
    ARCHIVE = "archive"
    IMAGE = "image"


class Provenance(Value):
    """Where an artifact comes from: everything that its statement binds to its digest."""

    run_id: str
    repository: str = Field(description="A path or a git URL; user and password are left out")
    revision: str = Field(description="Commit id")
    files: str = Field("", description="Digest of the commit's files; the builder fills in what it has packed")
    base: str | None = Field(None, description="Commit id that the change was made on; None: nothing was changed")
    brief: str | None = Field(None, description="Digest of the brief")
    evidence: str | None = Field(None, description="Digest of what tests and scans saw")
    approval: str | None = Field(None, description="Digest of the approval")
    reviewer: str | None = Field(None, description="Who approved it")
    environment: str | None = Field(None, description="What it was built for")
    committed_s: int = Field(0, ge=0, description="Unix seconds of the commit; every time in the artifact is this one")
    builder: str = Field(description="Version of Lockgate that built it")

    @field_validator("repository")
    @classmethod
    def _without_user(cls, repository: str) -> str:
        parts = urlsplit(repository)
        if "@" not in parts.netloc:
            return repository
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class Artifact(Value):
    """One commit as it is released. All digests are SHA-256 in hexadecimal and name what is in the store."""

    kind: ArtifactKind
    revision: str = Field(description="Commit id")
    id: str = Field(description="Of the archive, or of the image's configuration, which is the image ID")
    layers: tuple[str, ...] = Field((), description="An image's layers above its base, the lowest first")
    base: str | None = Field(None, description="Image ID of what is below them")
    image: str | None = Field(None, description="Name of the image, as repository:tag")
    sbom: str = Field(description="CycloneDX JSON of what is in it")
    statement: str = Field(description="Signed in-toto statement that binds its provenance to its digest")

    @property
    def parts(self) -> tuple[str, ...]:
        """Everything of it that is in the store."""
        return (self.id, *self.layers, self.sbom, self.statement)


def digest_of_files(tree: Tree) -> str:
    """SHA-256 over paths, modes and contents of a tree."""
    return digest_of([[path, mode, sha256(content).hexdigest()] for path, (mode, content) in sorted(tree.items())])


def referred_to(bodies: Iterable[str]) -> set[str]:
    """Every SHA-256 digest that stands anywhere in JSON texts, alone or within a longer text.

    They are read as text: what stands there of a ledger of any size is never in memory at once.
    """
    found: set[str] = set()
    for body in bodies:
        found.update(_DIGEST.findall(_ESCAPE.sub(" ", body) if "\\" in body else body))
    return found


def outdated(artifacts: Iterable[Artifact], revisions: Collection[str]) -> set[str]:
    """Digests of archives and layers that no artifact of these revisions needs.

    What is small and tells the history (an image's configuration, SBOM, statement) is never among them.
    """
    needed, others = set[str](), set[str]()
    for artifact in artifacts:
        large = {*artifact.layers, *([artifact.id] if artifact.kind is ArtifactKind.ARCHIVE else [])}
        (needed if artifact.revision in revisions else others).update(large)
    return others - needed
