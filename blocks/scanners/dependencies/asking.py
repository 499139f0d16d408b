"""Which names and versions a change brings, and what the outside says of each."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from blocks.scanners.dependencies.advisories import Advisories, AdvisoryQuery
from blocks.scanners.dependencies.near_names import is_popular, near
from blocks.scanners.dependencies.reading import TreeReading
from blocks.scanners.dependencies.registries import Npm, Pypi, RegistryPage, normal
from blocks.scanners.dependencies.web import Cache, Unknown
from blocks.scanners.dependencies.wheels import modules
from domain.dependencies import CheckedDependency, Declaration, DependencySight, Ecosystem

MAX_NAMES = 1000
"""Names that one change may bring and be asked about; the rest are unknown."""
MAX_WHEELS = 100

Key = tuple[Ecosystem, str]
Answer = RegistryPage | Unknown | None
"""What a registry says of a name; None: it does not have it."""

A = TypeVar("A")
B = TypeVar("B")


class OutsideServices(NamedTuple):
    """All services that are asked."""

    pypi: Pypi
    npm: Npm
    advisories: Advisories
    cache: Cache
    at_once: int

    def each(self, ask: Callable[[A], B], questions: Iterable[A]) -> list[B | Unknown]:
        """An answer for each question, or why there is none."""

        def answer(question: A) -> B | Unknown:
            try:
                return ask(question)
            except Unknown as err:
                return err

        with ThreadPoolExecutor(self.at_once, thread_name_prefix="dependencies") as pool:
            return list(pool.map(answer, questions))

    def page(self, key: Key) -> RegistryPage | None:
        """Raises Unknown."""
        ecosystem, name = key
        return self.npm.page(name) if ecosystem is Ecosystem.NPM else self.pypi.page(name)

    def is_private(self, ecosystem: Ecosystem, name: str) -> bool:
        """Whether a private index has the name, or may have it: nobody outside is told of it."""
        try:
            return ecosystem is Ecosystem.PYPI and self.pypi.owner(name) is not None
        except Unknown:
            return True

    def brings(self, names: Iterable[str], module: str) -> bool | None:
        """Whether a wheel of one of these distributions has a module; None if nobody can say."""
        wanted = list(names)
        if len(wanted) > MAX_WHEELS:
            return None

        def ask(name: str) -> bool:
            page = self.pypi.page(name)
            version = page.newest(Ecosystem.PYPI, "") if page else None
            wheel = page.releases[version].wheel if page and version else None
            if wheel is None:
                raise Unknown(f"{name} has no wheel")
            index = self.pypi.owner(name) or self.pypi
            return module in modules(index.web, self.cache, wheel)

        answers = self.each(ask, wanted)
        return True if True in answers else None if any(isinstance(one, Unknown) for one in answers) else False


def ask(
    base: TreeReading, head: TreeReading, changed: Sequence[str], outside: OutsideServices
) -> tuple[list[CheckedDependency], list[DependencySight]]:
    """One for each name and version that the change brings or alters, in the order of the files; and what is unknown
    of all of them."""
    news = _news(base, head, set(changed))
    keys = sorted(news)
    asked_keys = [key for key in keys if key not in head.elsewhere][:MAX_NAMES]
    pages: dict[Key, Answer] = dict(zip(asked_keys, outside.each(outside.page, asked_keys), strict=True))
    found: list[CheckedDependency] = []
    for key in keys:
        page = pages.get(key, Unknown("it comes from another index, or is one of too many, and was not asked about"))
        if page is None and any(one.kind == "dependencies/index" for one in head.sights):
            page = Unknown(f"{key[0]} does not have it, and the project has another index that may")
        found += _of_name(key, news[key], page, base, head)
    found.sort(key=lambda one: (one.places[0].path, one.places[0].line or 0, one.name, one.version or ""))
    return _with_advisories(_with_sources(found, outside), outside)


def _news(base: TreeReading, head: TreeReading, changed: set[str]) -> dict[Key, list[Declaration]]:
    """What the head declares and base does not, by name. A line that only moved is not new."""
    known = {_what(one) for one in base.declared}
    scripted = head.scripted - base.scripted
    news: dict[Key, list[Declaration]] = {}
    for one in head.declared:
        is_new = _what(one) not in known or (one.name, one.version or "") in scripted
        if is_new and one.path in changed:
            news.setdefault(one.key, []).append(one)
    return news


def _what(one: Declaration) -> tuple[object, ...]:
    return one.ecosystem, one.name, one.spec, one.version, one.hashes, one.is_locked


def _of_name(
    key: Key, places: list[Declaration], page: Answer, base: TreeReading, head: TreeReading
) -> list[CheckedDependency]:
    ecosystem, name = key
    before = [one for one in base.declared if one.key == key]
    now = [one for one in head.declared if one.key == key]
    groups: dict[str | None, list[Declaration]] = {}
    for place in places:
        groups.setdefault(_version(place, page, now), []).append(place)
    old = {version for one in before if (version := _version(one, page, before))}
    kept = {version for one in now if (version := _version(one, page, now))}
    replaced = sorted(old - kept)
    found = []
    for version, of_it in groups.items():
        ordered = tuple(sorted(of_it, key=lambda one: (one.is_locked, one.path, one.line or 0)))
        one = _asked(ecosystem, name, version, ordered, not before, replaced, page, base, head)
        found.append(dataclasses.replace(one, had=version in old))
    return found


def _version(place: Declaration, page: Answer, all_of_it: Sequence[Declaration]) -> str | None:
    """The version that a place means: its own, or the locked one, or the newest that fits; None if none fits."""
    if place.version is not None:
        exact = normal(place.ecosystem, place.version)
        return exact if not isinstance(page, RegistryPage) or exact in page.releases else None
    locked = [normal(one.ecosystem, one.version) for one in all_of_it if one.is_locked and one.version]
    if locked:
        return next((one for one in locked if not isinstance(page, RegistryPage) or one in page.releases), None)
    return page.newest(place.ecosystem, place.spec) if isinstance(page, RegistryPage) else None


def _asked(ecosystem: Ecosystem, name: str, version: str | None, places: tuple[Declaration, ...], is_new: bool,
           replaced: Sequence[str], page: Answer, base: TreeReading,
           head: TreeReading) -> CheckedDependency:  # fmt: skip
    known = page if isinstance(page, RegistryPage) else None
    release = known.releases.get(version) if known and version else None
    times = [one.released for one in known.releases.values() if one.released] if known else []
    unknown = [str(page)] if isinstance(page, Unknown) else []
    if release is not None and release.released is None:
        unknown.append(f"{ecosystem} does not say when it was released")
    flagged = () if (name, version) not in head.scripted else ("install scripts, as the lock says",)
    ran = {old for old in replaced if known and (one := known.releases.get(old)) and one.scripts}
    ran |= {old for old in replaced if (name, old) in base.scripted}
    return CheckedDependency(
        ecosystem=ecosystem,
        name=name,
        version=version,
        places=places,
        is_new=is_new,
        replaced=tuple(replaced),
        known_hashes=_known_hashes(base, places),
        scripts=(release.scripts if release else ()) or flagged,
        ran_scripts=bool(ran),
        exists=None if isinstance(page, Unknown) else page is not None,
        release=release,
        releases=len(known.releases) if known else 0,
        first=min(times) if times else None,
        near=near(ecosystem, name) if is_new else None,
        is_popular=is_popular(ecosystem, name),
        unknown=tuple(unknown),
    )


def _known_hashes(base: TreeReading, places: Iterable[Declaration]) -> Mapping[str, frozenset[str]]:
    """Path → the hashes that base has there for the same name and version."""
    found: dict[str, frozenset[str]] = {}
    for place in places:
        for one in base.declared:
            if (one.key, one.path, one.version) == (place.key, place.path, place.version) and one.version:
                found[place.path] = found.get(place.path, frozenset()) | one.hashes
    return found


def _with_sources(found: list[CheckedDependency], outside: OutsideServices) -> list[CheckedDependency]:
    """New names of PyPI with whether they link to their source; npm's pages say that already."""
    names = sorted({one.name for one in found if one.is_new and one.release and one.release.has_source is None})
    said = dict(zip(names, outside.each(outside.pypi.has_source, names), strict=True))
    told = []
    for one in found:
        answer = said.get(one.name) if one.release and one.ecosystem is Ecosystem.PYPI else None
        if isinstance(answer, Unknown):
            one = dataclasses.replace(one, unknown=(*one.unknown, str(answer)))
        elif answer is not None and one.release:
            one = dataclasses.replace(one, release=one.release.model_copy(update={"has_source": answer}))
        told.append(one)
    return told


def _with_advisories(
    found: list[CheckedDependency], outside: OutsideServices
) -> tuple[list[CheckedDependency], list[DependencySight]]:
    """What is known of the new versions, less what the versions had that they replace."""
    asked = [
        one
        for one in found
        if one.version and one.exists is not False and not one.had and not outside.is_private(one.ecosystem, one.name)
    ]
    wanted = [
        AdvisoryQuery(one.ecosystem, one.name, version)
        for one in asked
        for version in (one.version, *one.replaced)
        if version
    ]
    if not wanted:
        return found, []
    try:
        known = outside.advisories.of(wanted)
    except Unknown as err:
        place = asked[0].places[0]
        message = f"known vulnerabilities of {asked[0].told}" + (f" and {len(asked) - 1} more" if asked[1:] else "")
        message += f" could not be looked up: {err}"
        return found, [DependencySight("dependencies/unknown", message, message, place.path, place.line)]
    told = []
    for one in found:
        if one in asked and one.version:
            before = {name for version in one.replaced
                      for old in known[AdvisoryQuery(one.ecosystem, one.name, version)]
                      for name in old.names}  # fmt: skip
            fresh = [new for new in known[AdvisoryQuery(one.ecosystem, one.name, one.version)]
                     if new.is_malware or not new.names & before]  # fmt: skip
            one = dataclasses.replace(one, advisories=tuple(fresh))
        told.append(one)
    return told, []
