"""An environment of any kind of target, with real parts behind it, and ways to break it without its help."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from hashlib import sha1
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

from prefect.blocks.fields import SecretDict
from pydantic import SecretStr

from blocks.ledger.ledger import Ledger
from domain.ports import ReleaseBuild, Target
from domain.rollout import Rollout
from domain.task import Health, Release
from kits.servers import free_port
from kits.tiny_service import CANARY, tiny_build
from tests.contract import shipping

ROLLOUT = Rollout(shares=(25, 50), share_s=0.2, bake_s=0.3, interval_s=0.05, latency_floor_ms=20_000)
"""Quick, and without a word on who is slow: much runs on this machine."""
_run, _numbers = token_hex(8), count(1)


class Does(NamedTuple):
    """What a kind of target does. What it does not do is as much a part of the contract."""

    runs_images: bool
    migrates: bool
    splits: bool
    counts: bool = True
    """The answers that users got, so errors of a release that calls itself healthy are seen."""
    redacts: bool = True
    """Secrets that a release prints. Where it does not, the platform never has them."""
    brings_back: bool = True
    """It starts a release again whose processes are gone, to go back to it."""


class Environment(ABC):
    """An environment, and what is behind it. Revisions and builds are new ones each time."""

    does: Does
    target: Target
    hasty_s = 2.0
    """In this time a good release need not be healthy, and one that never will be is given up."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger(url=SecretStr(f"sqlite:///{folder / 'ledger.db'}"))

    @abstractmethod
    def again(self, **fields: Any) -> Target:
        """Another object for the same target, as the next worker makes it."""

    @abstractmethod
    def instances(self, revision: str) -> int:
        """How many of a release's services run, found without the target's help."""

    @abstractmethod
    def kill(self, revision: str) -> None:
        """What runs of a release is gone, without a word."""

    @abstractmethod
    def change(self, revision: str, other: str) -> None:
        """Somebody has what serves as `revision` run other code, that of `other` where only a release can be run."""

    @abstractmethod
    def left_of(self, revision: str) -> list[str]:
        """What is still kept of a release, found without the target's help."""

    def revision(self) -> str:
        """Of this run alone: others may use the same engine."""
        return sha1(f"{_run} {next(_numbers)}".encode(), usedforsecurity=False).hexdigest()

    def build(self, migrate: str | None = None, **how: Any) -> ReleaseBuild:
        """No two are the same artifact. `migrate`: Python that its migration runs."""
        made = tiny_build(then=migrate or "", number=next(_numbers), **how)
        return made._replace(migrate_up=None if migrate is None else "python then.py")

    def serving(self) -> str:
        """The release that has all of the traffic when a test begins; one is released where none does."""
        now = self.target.pointed()
        if now is not None and self.target.current() == now:
            self.target.rollback(now)
            return now
        return self.released().revision

    def released(self) -> Release:
        """A new release that has all of the traffic at once."""
        at_once = self.again(rollout=ROLLOUT.model_copy(update={"shares": ()}))
        made = self.release(self.revision(), target=at_once)
        assert made.problem is None, made.problem
        return made

    def release(
        self,
        revision: str,
        build: ReleaseBuild | None = None,
        target: Target | None = None,
        previous: str | None = None,
    ) -> Release:
        """Deploy; `previous`: where it was begun before, the one that served then."""
        target = target or self.target
        previous = previous or target.pointed()
        return shipping.release(target, revision, previous, build or self.build(), ledger=self.ledger)

    def bake(self, made: Release) -> Health:
        return shipping.bake(self.target, made, ledger=self.ledger)


Make = Callable[[str], Environment]
"""A new environment of a kind, by name."""


def behind_caddy(folder: Path) -> dict[str, Any]:
    return {
        "name": "shop",
        "root": folder,
        "port": free_port(),
        "environment": {"SHOP": "here"},
        "secrets": SecretDict({"TOKEN": CANARY}),
        "rollout": ROLLOUT,
        "drain_s": 0.6,
        "keep_releases": 2,
    }


def folders_of(root: Path, revision: str) -> list[str]:
    return list(map(str, root.glob(f"*/releases/{revision}")))
