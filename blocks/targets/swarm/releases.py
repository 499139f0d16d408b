"""What a target in a Swarm knows of its releases."""

from dataclasses import dataclass

from pydantic import Field

from blocks.targets.machine.containers import PORT
from blocks.targets.releases import ReleaseDirectory, ReleaseRecord, Releases
from domain.errors import TargetError


class SwarmDeployment(ReleaseRecord):
    """What is known of one release in a Swarm."""

    service: str
    image: str = Field(description="What its tasks are made of, by ID or by digest: no tag that could move")

    @property
    def upstream(self) -> str:
        return f"{self.service}:{PORT}"


@dataclass(frozen=True)
class SwarmPlace(ReleaseDirectory):
    def load(self) -> SwarmDeployment | None:
        try:
            return SwarmDeployment.model_validate_json((self.folder / "release.json").read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as err:
            raise TargetError(f"{self.folder / 'release.json'} cannot be read, remove its directory: {err}") from err

    def get(self) -> SwarmDeployment:
        if deployment := self.load():
            return deployment
        raise TargetError(f"there is no release {self.revision} here (any more): release it again")


@dataclass(frozen=True)
class SwarmReleases(Releases):
    def place(self, revision: str) -> SwarmPlace:
        return SwarmPlace(super().place(revision).folder)

    def all(self) -> list[ReleaseDirectory]:
        return [SwarmPlace(place.folder) for place in super().all()]
