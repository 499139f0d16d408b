"""What an environment promises that runs releases."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

from domain.health import HealthCheck, HealthReading
from domain.rollout import Look, Rollout
from domain.trees import Tree


class Watch(Protocol):
    """A window of observation that began when it was made."""

    def look(self) -> Look:
        """What is to be seen now, with the numbers since the window began. Takes a few seconds at most."""

    def close(self) -> None:
        """The window is over."""


class Workload(Protocol):
    """The releases of an environment: made ready, started in private, looked into, and removed."""

    def prepare(self, revision: str, build: "ReleaseBuild") -> str:
        """The release lies there, ready to start; the digest of its artifact. Other releases are not touched."""

    def start(self, revision: str) -> str | None:
        """It runs and is healthy and itself in private, without any traffic. If not: why; then it runs no more."""

    def cleanup(self, keep: Collection[str]) -> None:
        """Releases not in `keep` stop; the newest of them stay ready for going back, older ones are removed."""

    def artifact(self, revision: str) -> str | None:
        """Digest of the release as it lies or runs there now, recomputed; None if there is none."""

    def logs(self, revision: str) -> str:
        """The end of what it printed, without secrets; empty if there is none."""

    def evidence(self, revision: str) -> Mapping[str, Any]:
        """What the failure bundle needs of its process or container: state, exit code, …; JSON, without secrets."""


class Router(Protocol):
    """Who gets the traffic of an environment."""

    def promote(self, revision: str) -> None:
        """All traffic goes to it, and it is the one that `pointed` names."""

    def rollback(self, revision: str | None, when_back: Callable[[], None] | None = None) -> None:
        """All traffic at `revision` and seen there in public; only then are newer releases stopped. None: nothing shall
        serve. Raises TargetError if it is not seen; nothing else was stopped then.

        `when_back` is called as soon as the traffic is back. From then on another run may act on the target: what that
        one touched is left to it.
        """

    def current(self) -> str | None:
        """The revision that the public address says it runs, or None."""

    def pointed(self) -> str | None:
        """The revision that the traffic goes to, whether or not it answers; None if it goes nowhere."""

    def url(self) -> str:
        """The public address."""


class Splitter(Protocol):
    """What some environments can do: give a release a part of the traffic."""

    @property
    def splits(self) -> bool:
        """Whether a release can be given a part of the traffic. Where not, it gets all of it at once."""

    def shift(self, revision: str, share: int) -> None:
        """`share` percent of the traffic go to it from the next request on, 1 to 99; the rest stays where it is."""


class Migrator(Protocol):
    """What some environments can do: migrate the data that lives in them."""

    @property
    def migrates(self) -> bool:
        """Whether `migrate` can run a project's migration here."""

    def migrate(self, revision: str) -> str | None:
        """The data that lives in the target itself is at the release's schema, or as it was before and why."""


class Observer(Protocol):
    """How a release is seen to do."""

    def probe(self, revision: str) -> HealthReading:
        """What the release says of itself when it is asked past the public address, once."""

    def observe(self, revision: str) -> Watch:
        """A window that begins now."""


class Target(Workload, Router, Splitter, Migrator, Observer, Protocol):
    """An environment that runs releases. It acts and reports; tasks/releasing/engine.py owns order and verdict.

    Each verb looks before it acts, so it can be repeated after kill -9 on either side of it. A string that is returned
    says why the release failed; TargetError is raised where the environment failed, and nothing is known of it.
    """

    name: str
    """The environment."""
    rollout: Rollout

    @property
    def runs_images(self) -> bool:
        """Whether its releases are images of an engine, and not files."""

    def under(self, token: int, say: Callable[[str], None]) -> Self:
        """The same target for one holder of the environment's lock. A verb that changes something raises TargetError
        where a newer token has acted (https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html).
        `say` hears what was done, a line each, free of secrets.
        """

    def preflight(self) -> str | None:
        """None if a release can be made here, else why not and what to do."""

    def ensure(self) -> tuple[str, ...]:
        """Proxy and current release run, as after a reboot; what had to be done, as lines."""

    def stop(self) -> bool:
        """Everything of it stops; whether anything ran. `ensure` brings back what served."""


class ReleaseBuild(NamedTuple):
    """What a release is made of."""

    tree: Tree
    toolchain: Path
    run: str
    health: HealthCheck
    migrate_up: str | None
    environment: Mapping[str, str]
    previous: str | None
    """Revision that serves when this one comes."""
