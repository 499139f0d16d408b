"""Dependency rules: where they come from, whether they are what they seem, and whether imports have one."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta

from domain.dependencies import CheckedDependency, Declaration, DependencyChange
from domain.policy.rule import Hit, Rule
from domain.task import Severity

YOUNG_PROJECT = timedelta(days=90)
YOUNG_RELEASE = timedelta(days=7)
"""Long enough for most malicious releases to be found and taken down; what uv and pnpm call a cooldown."""
FEW_RELEASES = 3


def _seen(kind: str) -> Callable[[DependencyChange], Iterator[Hit]]:
    """A check that gives what was seen of this kind in the files."""

    def check(change: DependencyChange) -> Iterator[Hit]:
        for sight in change.sights:
            if sight.kind == kind:
                yield Hit(sight.message, sight.path, sight.line)

    return check


def _asked(
    look: Callable[[DependencyChange, CheckedDependency], str | None],
) -> Callable[[DependencyChange], Iterator[Hit]]:
    """A check that gives what `look` says of each dependency, at the first place where it stands."""

    def check(change: DependencyChange) -> Iterator[Hit]:
        for asked in change.asked:
            if message := look(change, asked):
                yield _hit(asked.places[0], message)

    return check


def _hit(place: Declaration, message: str) -> Hit:
    return Hit(message, place.path, place.line)


def _missing(_: DependencyChange, asked: CheckedDependency) -> str | None:
    if asked.exists is False:
        return f"{asked.ecosystem} has no package {asked.name}"
    if asked.exists and asked.version is None:
        wanted = asked.places[0].version or asked.places[0].spec or "any"
        return f"{asked.ecosystem} has no version of {asked.name} that is {wanted[:100]}"
    return None


def _yanked(_: DependencyChange, asked: CheckedDependency) -> str | None:
    if asked.had or asked.release is None or asked.release.yanked is None:
        return None
    return f"{asked.told} was taken back by its authors" + (f": {asked.release.yanked}" * bool(asked.release.yanked))


def _lock_hash(change: DependencyChange) -> Iterator[Hit]:
    for asked in change.asked:
        published = asked.release.hashes if asked.release else frozenset()
        kinds = {_algorithm(mark) for mark in published}
        for place in asked.places:
            known = (asked.known_hashes or {}).get(place.path, frozenset())
            other = place.hashes - known - published
            if known and not place.hashes:
                yield _hit(place, f"{asked.told} had hashes in this file and has none now")
            elif known and other:
                yield _hit(place, f"{asked.told} is the same version with another hash than before")
            elif any(_algorithm(mark) in kinds for mark in other):
                yield _hit(place, f"{asked.told} has another hash here than {asked.ecosystem} says")


def _unhashed(change: DependencyChange) -> Iterator[Hit]:
    for asked in change.asked:
        published = asked.release.hashes if asked.release else frozenset()
        kinds = {_algorithm(mark) for mark in published}
        for place in asked.places:
            known = (asked.known_hashes or {}).get(place.path, frozenset())
            if place.is_locked and not place.hashes and not known:
                yield _hit(place, f"{asked.told} is locked without a hash")
            elif published and not known and any(_algorithm(mark) not in kinds for mark in place.hashes):
                yield _hit(place, f"{asked.told} is locked by a kind of hash that {asked.ecosystem} does not give")


def _algorithm(mark: str) -> str:
    return re.split(r"[:-]", mark, maxsplit=1)[0]


def _install_script(is_asked_for: bool) -> Callable[[DependencyChange, CheckedDependency], str | None]:
    def look(change: DependencyChange, asked: CheckedDependency) -> str | None:
        is_new = asked.scripts and not asked.ran_scripts and not asked.had
        if is_new and (asked.name in change.may_run_scripts) is is_asked_for:
            return f"{asked.told} runs scripts when it is installed: {', '.join(asked.scripts)}"
        return None

    return look


def _install_script_before(_: DependencyChange, asked: CheckedDependency) -> str | None:
    if asked.scripts and asked.ran_scripts and not asked.had:
        return f"{asked.told} runs scripts when it is installed, as the version before it did"
    return None


def _vulnerable(is_mendable: bool) -> Callable[[DependencyChange], Iterator[Hit]]:
    def check(change: DependencyChange) -> Iterator[Hit]:
        for asked in change.asked:
            for advisory in asked.advisories:
                if (advisory.is_malware or advisory.fixed is not None) is is_mendable:
                    what = "is known malware" if advisory.is_malware else f"is known to be vulnerable: {advisory.id}"
                    more = f": {advisory.summary}" if advisory.summary else ""
                    cure = f"; fixed in {advisory.fixed}" if advisory.fixed else ""
                    yield _hit(asked.places[0], f"{asked.told} {what}{more}{cure}")

    return check


def _unknown(change: DependencyChange) -> Iterator[Hit]:
    yield from _seen("dependencies/unknown")(change)
    for asked in change.asked:
        for reason in asked.unknown:
            yield _hit(asked.places[0], f"{asked.told}: {reason}")


def _young(change: DependencyChange, asked: CheckedDependency) -> str | None:
    if asked.is_new and asked.first and change.now - asked.first < YOUNG_PROJECT:
        return f"{asked.name} exists since {asked.first:%Y-%m-%d}, less than {YOUNG_PROJECT.days} days"
    released = asked.release.released if asked.release else None
    if released and not asked.had and change.now - released < YOUNG_RELEASE:
        return f"{asked.told} was released on {released:%Y-%m-%d}, less than {YOUNG_RELEASE.days} days ago"
    return None


def _few_releases(_: DependencyChange, asked: CheckedDependency) -> str | None:
    if asked.is_new and not asked.is_popular and 0 < asked.releases < FEW_RELEASES:
        return f"{asked.name} has {asked.releases} release{'s' * (asked.releases > 1)}"
    return None


def _no_source(_: DependencyChange, asked: CheckedDependency) -> str | None:
    if asked.is_new and not asked.is_popular and asked.release and asked.release.has_source is False:
        return f"{asked.told} does not say where its source is"
    return None


def _near(_: DependencyChange, asked: CheckedDependency) -> str | None:
    return f"{asked.name} is easily taken for {asked.near}" if asked.is_new and asked.near else None


def _downgrade(_: DependencyChange, asked: CheckedDependency) -> str | None:
    majors = [major for version in asked.replaced if (major := _major(version)) is not None]
    now = _major(asked.version or "")
    if majors and now is not None and now < min(majors):
        return f"{asked.name} goes back from {', '.join(asked.replaced)} to {asked.version}"
    return None


def _major(version: str) -> int | None:
    found = re.match(r"[v=\s]*(?:\d+!)?(\d{1,9})", version)
    return int(found[1]) if found else None


def _new(_: DependencyChange, asked: CheckedDependency) -> str | None:
    if not asked.is_new or asked.release is None:
        return None
    facts = [f"{asked.releases} releases"]
    if asked.first:
        facts.append(f"the first of {asked.first:%Y-%m-%d}")
    if asked.release.released:
        facts.append(f"this one of {asked.release.released:%Y-%m-%d}")
    return f"new from {asked.ecosystem}: {asked.told} ({', '.join(facts)})"


REFUSE, PERSON, NOTE = Severity.REFUSE, Severity.PERSON, Severity.NOTE

DEPENDENCY_RULES: tuple[Rule[DependencyChange], ...] = (
    Rule(
        "dependencies/unread", "scan", REFUSE,
        "A changed manifest or lock file that cannot be read: broken syntax, not UTF-8, a symbolic link, too large.",
        "Nobody can say what it installs.",
        "mend the file",
        _seen("dependencies/unread"),
    ),
    Rule(
        "dependencies/source", "scan", REFUSE,
        "A new dependency from a version control system, an address, a path or an archive instead of its registry; "
        "members of the project's own workspace are free.",
        "What it installs can change without a trace, and nobody else checks it.",
        "take a published version from the registry",
        _seen("dependencies/source"),
    ),
    Rule(
        "dependencies/index", "scan", REFUSE,
        "A new or changed index, registry, find-links or trusted-host in pyproject.toml, requirements, uv.toml, "
        "pip.conf, .npmrc, a lock file and their like.",
        "Another index can answer for every name that the project uses.",
        "take it out; who runs Lockgate sets the registry",
        _seen("dependencies/index"),
    ),
    Rule(
        "dependencies/missing", "scan", REFUSE,
        "A package name, or a version of it, that the registry does not have.",
        "A name that was made up today can be registered by somebody else tomorrow.",
        "use a package and a version that exist",
        _asked(_missing),
    ),
    Rule(
        "dependencies/yanked", "scan", REFUSE,
        "A version that its authors took back.",
        "They say that it is broken or unsafe.",
        "take another version",
        _asked(_yanked),
    ),
    Rule(
        "dependencies/lock-hash", "scan", REFUSE,
        "A locked hash that changed or vanished while the version did not, or that is not the registry's. New files of "
        "an old version are free where the registry has them.",
        "The hash is what tells the package from another one.",
        "make the lock again with its own tool, against the registry",
        _lock_hash,
    ),
    Rule(
        "dependencies/lock-disagrees", "scan", REFUSE,
        "A lock file that lacks what its manifest asks for, has another version of it, or has what nothing asks for.",
        "What is reviewed in the manifest is not what is installed.",
        "make the lock again with its own tool",
        _seen("dependencies/lock-disagrees"),
    ),
    Rule(
        "dependencies/install-script", "scan", REFUSE,
        "A new npm package with preinstall, install or postinstall scripts, or such scripts in package.json itself.",
        "They run with the rights of whoever installs, before anybody looked.",
        "take a package without them; a person can name it under may_run_scripts in the brief",
        lambda change: (*_seen("dependencies/install-script")(change), *_asked(_install_script(False))(change)),
    ),
    Rule(
        "dependencies/vulnerable", "scan", REFUSE,
        "A version with a known vulnerability that a later version fixes and the version before did not have; known "
        "malware always.",
        "The cure is already there.",
        "take the fixed version",
        _vulnerable(True),
    ),
    Rule(
        "dependencies/undeclared-import", "scan", REFUSE,
        "A new import of a module that is neither the language's own, nor in the repository, nor of a declared "
        "dependency; but for example programs, documentation and benchmarks.",
        "It works by accident here and installs whatever has that name elsewhere.",
        "declare the dependency, or do without it",
        _seen("dependencies/undeclared-import"),
    ),
    Rule(
        "dependencies/unknown", "scan", PERSON,
        "A fact about a dependency that could not be found out: a registry or the vulnerability service did not "
        "answer, or does not say.",
        "An audit that could not run is not a pass.",
        "scan again when the registry answers, or let a reviewer agree",
        _unknown,
    ),
    Rule(
        "dependencies/unread-kind", "scan", PERSON,
        "A changed manifest or lock file of a kind that is not read here: yarn.lock, pnpm-lock.yaml, Pipfile.lock, "
        "Cargo.toml, go.mod and their like.",
        "What it installs was not looked at.",
        "let a reviewer agree",
        _seen("dependencies/unread-kind"),
    ),
    Rule(
        "dependencies/lock-removed", "scan", PERSON,
        "A lock file that the change deletes.",
        "Every installation then takes what is newest, unchecked.",
        "keep it, or let a reviewer agree to another kind of lock",
        _seen("dependencies/lock-removed"),
    ),
    Rule(
        "dependencies/build", "scan", PERSON,
        "A new or changed build backend, build requirement, build hook, setup.py, binding.gyp or npm prepare script.",
        "It runs on every machine that builds the project.",
        "keep the build as it is, or let a reviewer agree",
        _seen("dependencies/build"),
    ),
    Rule(
        "dependencies/settings", "scan", PERSON,
        "A new line in .npmrc, pip.conf, uv.toml, .yarnrc.yml, .pnpmfile.cjs and their like that names no registry.",
        "Some of them run programs or switch checks off.",
        "keep the settings as they are, or let a reviewer agree",
        _seen("dependencies/settings"),
    ),
    Rule(
        "dependencies/install-script-asked", "scan", PERSON,
        "A new npm package with install scripts that the brief names under may_run_scripts.",
        "Who briefs asks for it; somebody should still read what it runs.",
        "let a reviewer agree",
        _asked(_install_script(True)),
    ),
    Rule(
        "dependencies/install-script-before", "scan", PERSON,
        "Another version of a package that ran install scripts before, and does so now.",
        "The scripts may be others.",
        "let a reviewer agree",
        _asked(_install_script_before),
    ),
    Rule(
        "dependencies/near-name", "scan", PERSON,
        "A new dependency whose name is a letter or two, a separator, a look-alike or a common suffix away from a much "
        "used one.",
        "That is how names are squatted.",
        "check the name letter by letter",
        _asked(_near),
    ),
    Rule(
        "dependencies/young", "scan", PERSON,
        f"A new dependency whose first release is less than {YOUNG_PROJECT.days} days old, or a release less than "
        f"{YOUNG_RELEASE.days} days old.",
        "Most malicious releases are found within days.",
        "take one that has been out for longer",
        _asked(_young),
    ),
    Rule(
        "dependencies/few-releases", "scan", PERSON,
        f"A new dependency with fewer than {FEW_RELEASES} releases, unless it is a much used one.",
        "Squatted names rarely have more.",
        "take one that is maintained",
        _asked(_few_releases),
    ),
    Rule(
        "dependencies/no-source", "scan", PERSON,
        "A new dependency that does not link to where its source is developed, unless it is a much used one.",
        "Nobody can look where it comes from.",
        "take one whose source is known",
        _asked(_no_source),
    ),
    Rule(
        "dependencies/unhashed", "scan", PERSON,
        "A newly locked package without a hash, or with a kind of hash that the registry does not give.",
        "The lock does not tell it from another one.",
        "make the lock again with its own tool",
        _unhashed,
    ),
    Rule(
        "dependencies/downgrade", "scan", PERSON,
        "A dependency that goes back to an older major version.",
        "Old weaknesses come back with it.",
        "stay on the newer version, or let a reviewer agree",
        _asked(_downgrade),
    ),
    Rule(
        "dependencies/vulnerable-unfixed", "scan", PERSON,
        "A version with a known vulnerability that no version fixes.",
        "Somebody has to decide whether it matters here.",
        "take another package, or let a reviewer agree",
        _vulnerable(False),
    ),
    Rule(
        "dependencies/import-unknown", "scan", PERSON,
        "A new import that may or may not be of a declared dependency: optional or for type checks only, of a package "
        "that is locked and not declared, or where not all declarations could be read.",
        "It may work by accident.",
        "declare the dependency where it is not",
        _seen("dependencies/import-unknown"),
    ),
    Rule(
        "dependencies/new", "scan", NOTE,
        "A dependency that base does not have, with its facts.",
        "A dependency is other people's code with this project's rights.",
        "nothing to do; check that it is needed",
        _asked(_new),
    ),
)  # fmt: skip
