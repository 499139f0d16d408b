"""The failure bundle: all that is known of a release that had to leave, for the agent and for people."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from blocks.ledger.ledger import Ledger
from domain.health import Answered
from domain.ports import Target
from domain.records import MIGRATED, REHEARSAL, SHARE_PASSED, WATCHED
from domain.rehearsed import Migrated
from domain.rollout import Numbers
from domain.task import Health, Release
from domain.value import Value

LOG_CHARACTERS = 16_000


class Watched(Value):
    """What was seen of a release in the window that did not end well; on record before the traffic moves."""

    revision: str
    share: int = Field(description="Percent of the traffic that it had")
    looks: int
    new: Numbers | None
    old: Numbers | None
    answers: tuple[Answered, ...] = Field(description="The last few different answers to health checks")


def bundle_of(
    ledger: Ledger, target: Target, run: str, release: Release, health: Health, back: tuple[str, ...]
) -> dict[str, Any]:
    """As JSON, without secrets: the target took them out of all that it tells. `back`: the timeline of going back."""
    revision = release.revision
    watched = ledger.find(run, *WATCHED.at(revision), Watched)
    passed = ledger.entries(run_id=run, kind=SHARE_PASSED.kind)
    state = dict(target.evidence(revision))
    return {
        "phase": _phase(release, watched),
        "reason": health.reason,
        "release": release.model_dump(mode="json"),
        "health": health.model_dump(mode="json"),
        "shares": [entry.body for entry in passed if entry.key.startswith(revision)],
        "watched": watched.model_dump(mode="json") if watched else None,
        "migration": _migration(ledger, run, release),
        "rollback": back,
        "exit_code": exit_code(state),
        "state": state,
        "log_tail": (health.log_tail or target.logs(revision))[-LOG_CHARACTERS:],
    }


def _migration(ledger: Ledger, run: str, release: Release) -> dict[str, Any] | None:
    """The rehearsals of the release's migration, and how it went on the database itself; None if it had none."""
    at = MIGRATED.at(release.environment, release.revision)
    rehearsals = [e.body for e in ledger.entries(run_id=run, kind=REHEARSAL.kind) if e.key.startswith(f"{at.key}/")]
    done = ledger.find(run, *at, Migrated)
    return {"rehearsals": rehearsals, "done": done and done.model_dump(mode="json")} if rehearsals else None


def _phase(release: Release, watched: Watched | None) -> str:
    if watched is None:
        return "deploy" if release.problem else "health check"
    return "health check" if watched.share == 100 else f"{watched.share} % of the traffic"


def exit_code(state: Mapping[str, Any]) -> int | None:
    """With what it ended, the last time; None: it runs, or nobody knows."""
    codes = state.get("exit_codes") or [state.get("exit_code")]
    return None if state.get("is_running") else codes[-1]
