"""The engine over one target, as the steps use it, without a Prefect server. The ledger lies beside the target, unless
another one is given.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from pydantic import SecretStr

from blocks.ledger.ledger import Ledger
from blocks.workshop import Workshop
from domain.health import HealthCheck
from domain.ports import ReleaseBuild, Target
from domain.task import Health, Release
from tasks.releasing.engine import Ship, turn

RUN = "the-run"


def ledger_of(target: Any) -> Ledger:
    root = Path(target.root)
    root.mkdir(parents=True, exist_ok=True)
    return Ledger(url=SecretStr(f"sqlite:///{root / 'ledger.db'}"))


@contextmanager
def ship_of(target: Any, run: str = RUN, ledger: Ledger | None = None) -> Iterator[Ship]:
    ledger = ledger or ledger_of(target)
    shop = cast(Workshop, SimpleNamespace(ledger=ledger, target=lambda _: target))
    with turn(shop, target.name, run) as (mine, timeline):
        yield Ship(mine, ledger, run, timeline)


def release(
    target: Any,
    revision: str,
    previous: str | None,
    build: ReleaseBuild,
    run: str = RUN,
    ledger: Ledger | None = None,
) -> Release:
    """Deploy, as the step does."""
    with ship_of(target, run, ledger) as ship:
        return ship.release(revision, previous, build._replace(previous=previous))


def bake(
    target: Any, made: Release, check: HealthCheck | None = None, run: str = RUN, ledger: Ledger | None = None
) -> Health:
    """Watch it in public, as the step does: a sick one has lost the traffic afterwards."""
    with ship_of(target, run, ledger) as ship:
        return ship.bake(made, check or HealthCheck())


def rollback(target: Any, revision: str | None, run: str = RUN, ledger: Ledger | None = None) -> tuple[str, ...]:
    """The timeline of going back."""
    with ship_of(target, run, ledger) as ship:
        ship.target.rollback(revision)
        return ship.timeline.lines


def is_a_target(target: Target) -> Target:
    """For mypy: each target is one by its shape."""
    return target
