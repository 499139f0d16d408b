"""What an agent may be asked for. A brief outside of it is refused before it costs anything, a change by the gates."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, NamedTuple

from pydantic import Field

from domain.brief import Brief, Kind, Part
from domain.entry import Entry
from domain.paths import Glob, is_among, matches
from domain.records import METERED, RESERVED, kinds_of
from domain.value import Value

SPENDING = kinds_of(RESERVED, METERED)
"""Entries of the ledger that say what model calls cost."""


class AgentScope(Value):
    """The bounds of one agent. What is empty bounds nothing."""

    repositories: tuple[str, ...] = Field(
        (), description="Those that its briefs may name, or PLACE/* for each directly below a place; empty: all"
    )
    paths: Annotated[tuple[Glob, ...], Field(max_length=200)] = Field(
        (), description="Globs of the paths that its changes may touch, whatever a brief allows; empty: any"
    )
    environments: tuple[str, ...] = Field((), description="Where its changes may be released to; empty: anywhere")
    kinds: tuple[Kind, ...] = Field((), description="Kinds of task that it may be given; empty: all")
    usd_per_week: float | None = Field(
        None,
        ge=0,
        description="What its model calls may cost from Monday to Sunday (UTC), all tasks of a ledger together",
    )

    @property
    def sentence(self) -> str:
        """All bounds in one line; empty if there are none."""
        told = {
            "repositories": self.repositories, "paths": self.paths, "environments": self.environments,
            "kinds": self.kinds,
        }  # fmt: skip
        parts = [f"{name} {', '.join(found)}" for name, found in told.items() if found]
        parts += [] if self.usd_per_week is None else [f"${self.usd_per_week:.2f} a week"]
        return "; ".join(parts)


class OutOfScope(NamedTuple):
    """One thing that a brief asks of an agent which is not for it."""

    field: str
    """Of the brief."""
    sentence: str


def outside(brief: Brief, part: Part, reference: str, scope: AgentScope) -> Iterator[OutOfScope]:
    """What of a brief is outside of the scope of the agent that does one part of it, with what the scope allows."""
    if scope.repositories and not is_among(brief.repository, scope.repositories):
        yield _outside("repository", reference, f"may not work on {brief.repository}", scope.repositories)
    if scope.environments and brief.environment is not None and brief.environment not in scope.environments:
        yield _outside("environment", reference, f"may not release to {brief.environment!r}", scope.environments)
    if scope.kinds and brief.kind not in scope.kinds:
        yield _outside("kind", reference, f"takes no brief of the kind {str(brief.kind)!r}", scope.kinds)
    if part != "edit" or not scope.paths:
        return
    for glob in brief.scope.paths:
        if not matches(_example(glob), scope.paths):
            yield _outside("scope.paths", reference, f"may not change {glob}", scope.paths)


def used_up(reference: str, scope: AgentScope, spent_usd: float) -> str | None:
    """Why an agent may call no more models this week; None if it may."""
    if scope.usd_per_week is None or spent_usd < scope.usd_per_week:
        return None
    monday = week_of(datetime.now(UTC)) + timedelta(days=7)
    return (
        f"the agent {reference} has used up its week: ${spent_usd:.2f} of ${scope.usd_per_week:.2f}. It may go on on "
        f"Monday, {monday}; or choose another agent, or raise usd_per_week of its scope"
    )


def week_of(at: datetime) -> date:
    """The Monday of the week that a time is in, in UTC."""
    day = at.astimezone(UTC).date()
    return day - timedelta(days=day.weekday())


def spent_in(entries: Iterable[Entry]) -> dict[str, float]:
    """Agent → US dollars of the calls that were reserved in these entries. One without an end counts in full."""
    calls: dict[str, tuple[str, float]] = {}
    for entry in sorted(entries, key=lambda entry: entry.number):
        body, call = entry.body, str(entry.body.get("call"))
        if entry.kind == RESERVED.kind or call in calls:  # one of an earlier week counts there
            calls[call] = (str(body.get("reference") or ""), float(body["usd"]))
    return _sums(calls)


def _sums(calls: Mapping[str, tuple[str, float]]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for reference, usd in calls.values():
        sums[reference] = sums.get(reference, 0.0) + usd
    return sums


def _outside(field: str, reference: str, what: str, allowed: Iterable[str]) -> OutOfScope:
    return OutOfScope(field, f"the agent {reference} {what}: its scope allows {', '.join(allowed)}")


def _example(glob: str) -> str:
    """A path that a glob matches, and that lies as far out as it reaches."""
    return re.sub(r"\*\*+", "x/x", glob.strip("/")).replace("*", "x").replace("?", "x")
