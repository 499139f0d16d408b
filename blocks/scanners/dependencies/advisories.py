"""Known vulnerabilities by the protocol of https://google.github.io/osv.dev/api/, at osv.dev or a mirror of it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from packaging.version import InvalidVersion, Version
from pydantic import BaseModel

from blocks.scanners.dependencies import semver
from blocks.scanners.dependencies.reading import one_line
from blocks.scanners.dependencies.web import Cache, Unknown, Web
from domain.dependencies import Advisory, Ecosystem

BATCH = 1000
"""Queries in one request, the most that the service takes."""
MAX_BYTES = 20_000_000
MAX_ADVISORIES = 20
"""Read for one version; more would not change the verdict."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{2,79}")


class AdvisoryQuery(NamedTuple):
    """One version to ask about."""

    ecosystem: Ecosystem
    name: str
    version: str


class _Id(BaseModel):
    id: str


class _Hits(BaseModel):
    vulns: list[_Id] = []


class _Batch(BaseModel):
    results: list[_Hits]


class _Event(BaseModel):
    fixed: str | None = None


class _Range(BaseModel):
    events: list[_Event] = []


class _Package(BaseModel):
    name: str = ""
    ecosystem: str = ""


class _Affected(BaseModel):
    package: _Package = _Package()
    ranges: list[_Range] = []


class _Vulnerability(BaseModel):
    id: str
    aliases: list[str] = []
    summary: str = ""
    withdrawn: str | None = None
    affected: list[_Affected] = []


class Advisories:
    """A service that knows vulnerabilities."""

    def __init__(self, web: Web, cache: Cache) -> None:
        self.web, self.cache = web, cache

    def of(self, wanted: Iterable[AdvisoryQuery]) -> Mapping[AdvisoryQuery, tuple[Advisory, ...]]:
        """What is known of each version; those that are known by several names once. Raises Unknown."""
        asked = list(dict.fromkeys(wanted))
        ids: dict[AdvisoryQuery, list[str]] = {}
        for start in range(0, len(asked), BATCH):
            ids |= self._ids(asked[start : start + BATCH])
        return {one: self._told(one, ids[one]) for one in asked}

    def _ids(self, asked: Sequence[AdvisoryQuery]) -> dict[AdvisoryQuery, list[str]]:
        question = [
            {"package": {"name": one.name, "ecosystem": str(one.ecosystem)}, "version": one.version} for one in asked
        ]
        batch = self.web.post("v1/querybatch", {"queries": question}, _Batch, MAX_BYTES)
        if len(batch.results) != len(asked):
            raise Unknown(f"{self.web.base.host} gave {len(batch.results)} answers to {len(asked)} questions")
        found = {one: [hit.id for hit in hits.vulns] for one, hits in zip(asked, batch.results, strict=True)}
        if not all(_ID.fullmatch(id) for ids in found.values() for id in ids):
            raise Unknown(f"{self.web.base.host} answers with something that cannot be read")
        return found

    def _told(self, one: AdvisoryQuery, ids: Sequence[str]) -> tuple[Advisory, ...]:
        found: list[Advisory] = []
        for id in ids[:MAX_ADVISORIES]:
            said = self.cache.get(f"{self.web.base} {id}", _Vulnerability, lambda id=id: self._ask(id))  # type: ignore[misc]
            if said is None:
                raise Unknown(f"{self.web.base.host} names {id[:80]} and does not know it")
            names = frozenset((said.id, *said.aliases))
            if said.withdrawn is None and not any(names & other.names for other in found):
                fixed = _fixed(one, said)
                found.append(Advisory(id=said.id, names=names, summary=one_line(said.summary, 160), fixed=fixed))
        return tuple(found)

    def _ask(self, id: str) -> _Vulnerability | None:
        return self.web.get(f"v1/vulns/{id}", _Vulnerability, MAX_BYTES)


def _fixed(one: AdvisoryQuery, said: _Vulnerability) -> str | None:
    """The lowest later version that has the fix; None if there is none."""
    versions = [
        event.fixed
        for affected in said.affected
        if affected.package.ecosystem == one.ecosystem and affected.package.name.lower() == one.name.lower()
        for range in affected.ranges
        for event in range.events
        if event.fixed
    ]
    later = [(order, text) for text in versions if (order := _later(one, text)) is not None]
    return min(later)[1] if later else None


def _later(one: AdvisoryQuery, text: str) -> Any | None:
    """`text` in its order, where it comes after the version; None otherwise, and for a commit."""
    if one.ecosystem is Ecosystem.NPM:
        this, that = semver.parse(one.version), semver.parse(text)
        return that if this is not None and that is not None and that > this else None
    try:
        return Version(text) if Version(text) > Version(one.version) else None
    except InvalidVersion:
        return None
