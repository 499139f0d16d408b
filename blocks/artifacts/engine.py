"""The Docker Engine that images go to, by its unix socket."""

from collections.abc import Iterator

from blocks.artifacts.image import Base
from blocks.host.docker import Engine, default_socket
from domain.errors import TargetError


class ImageEngine(Engine):
    """One engine. Raises TargetError if it does not answer."""

    def __init__(self, socket: str | None) -> None:
        super().__init__(socket or default_socket())

    def base(self, name: str) -> Base:
        """What is below an image of ours. Raises TargetError if the engine has none of that name."""
        found = self.image(name)
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
        found = self.image(f"sha256:{digest}")
        if found is None:
            return False
        if name not in (found["RepoTags"] or ()):
            self.tag(f"sha256:{digest}", name)
        return True

    def load(self, archive: Iterator[bytes], digest: str, name: str) -> None:
        """Take an image whole, or not at all. Safe to repeat."""
        with self.errors(f"load {name}"):
            said = list(self.api.load_image(archive))
        if problem := next((str(line["error"]) for line in said if "error" in line), None):
            raise TargetError(f"the engine cannot load {name}: {problem.strip()[-300:]}; see its disk and its images")
        if not self.has(digest, name):
            raise TargetError(f"the engine has loaded {name} under another ID: does it keep images as containerd does?")

    def names(self, repository: str) -> list[str]:
        """Every image of that repository, as repository:tag, sorted."""
        with self.errors(f"list the images {repository}"):
            return sorted(name for found in self.api.images(repository) for name in found["RepoTags"] or ())
