"""Who must approve a change: CODEOWNERS of the base commit, and the settings' reviewers for what that leaves open.

Read more strictly than a forge does where forges differ: each CODEOWNERS file has its say, not the first one that is
found, and `!` takes nothing out. Formats: https://docs.github.com/articles/about-code-owners and
https://docs.gitlab.com/user/project/codeowners/reference/
"""

import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from domain.paths import matches
from domain.task import Need, Prepared
from domain.trees import LINK, Tree

PLACES = ("CODEOWNERS", ".github/CODEOWNERS", "docs/CODEOWNERS", ".gitlab/CODEOWNERS")
MAX_BYTES = 3_000_000
"""GitHub does not read a larger one."""
MAX_PATHS = 50
POLICY = "policy"
"""The reviewer in an approval that the policy gave; nobody else may be called so."""

_HEADER = re.compile(r"(?P<optional>\^)?\[(?P<name>[^\]]+)\](?:\[(?P<count>\d{1,9})\])?(?:\s+(?P<owners>.*))?")


@dataclass(frozen=True)
class CodeownersLine:
    """One line of a CODEOWNERS file. No owners: what it matches belongs to nobody."""

    number: int
    globs: tuple[str, ...]
    owners: tuple[str, ...]


@dataclass
class Section:
    """Lines of which the last one that matches counts, and how many of its owners must approve."""

    count: int = 1
    owners: tuple[str, ...] = ()
    lines: list[CodeownersLine] = field(default_factory=list)


@dataclass(frozen=True)
class Owners:
    """What the CODEOWNERS files of one tree say; `problems`: why one of them says nothing."""

    files: Mapping[str, tuple[Section, ...]]
    problems: tuple[str, ...] = ()


def owners_of(tree: Tree) -> Owners:
    """The CODEOWNERS of a tree, all of them."""
    files: dict[str, tuple[Section, ...]] = {}
    problems: list[str] = []
    for place in PLACES:
        if place not in tree:
            continue
        entry = tree[place]
        if entry.mode == LINK:
            target = posixpath.join(posixpath.dirname(place), entry.content.decode("utf-8", "replace"))
            entry = tree.get(posixpath.normpath(target), entry)
        try:
            if entry.mode == LINK:
                raise ValueError("it is a link to no file")
            if len(entry.content) > MAX_BYTES:
                raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
            files[place] = parse(
                entry.content.decode(), gitlab=place.startswith(".gitlab/") or ".gitlab-ci.yml" in tree
            )
        except ValueError as err:
            problems.append(f"{place} on base cannot be read: {err}")
    return Owners(files, tuple(problems))


def parse(text: str, *, gitlab: bool = False) -> tuple[Section, ...]:
    """The sections of a CODEOWNERS file, without the optional ones. A file with `[Section]` lines is GitLab's."""
    lines = [(number, line.strip()) for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1)]
    gitlab = gitlab or any(_HEADER.fullmatch(line) for _, line in lines)
    current = Section()
    sections, required = {"": current}, {""}
    for number, line in lines:
        if header := _HEADER.fullmatch(line):
            name = header["name"].strip().casefold()
            required |= set() if header["optional"] else {name}
            current = sections.setdefault(name, Section(max(1, int(header["count"] or 1))))
            current.owners = _owners(header["owners"] or "") or current.owners
        elif line and not line.startswith(("#", "!")):
            pattern, rest = _first_word(line)
            current.lines.append(CodeownersLine(number, _globs(pattern, gitlab), _owners(rest) or current.owners))
    return tuple(section for name, section in sections.items() if name in required)


def needs(prepared: Prepared, owners: Owners, paths: Sequence[str], second: str | None = None) -> tuple[Need, ...]:
    """Who must approve a change of these paths, all of them; empty: one approval, by anyone. `second`: why two people
    must.

    A path with owners needs one of them, in every file and section that gives it some. The rest needs one of the
    settings' reviewers, where there are any.
    """
    teams = prepared.settings.review.teams if from_base(prepared) else {}
    asked: dict[tuple[tuple[str, ...], int, str], list[str]] = {}
    for path, place, line, count in owned(owners, paths):
        members = [name for owner in line.owners for name in _members(owner, teams)]
        names = tuple({canonical_name(name): name for name in members}.values())
        asked.setdefault((names, min(count, len(names)), f"{place} line {line.number}"), []).append(path)
    known = {path for named in asked.values() for path in named}
    rest = [path for path in paths if path not in known]
    if prepared.settings.reviewers and (rest or not asked):
        asked[(prepared.settings.reviewers, 1, "reviewers of the settings")] = rest or ["this change"]
    found = [
        Need(names=names, count=count, why=why, paths=tuple(named[:MAX_PATHS]))
        for (names, count, why), named in asked.items()
    ]
    if second:
        found.append(_two(prepared.settings.reviewers, found, second, paths))
    return tuple(sorted(found, key=lambda need: need.paths))


def _two(reviewers: Sequence[str], found: Iterable[Need], why: str, paths: Sequence[str]) -> Need:
    """Any two people, of those who may approve at all where there are two of them."""
    all_ = {canonical_name(name): name for name in (*reviewers, *(name for need in found for name in need.names))}
    names = tuple(all_.values()) if len(all_) > 1 and reviewers else ()
    return Need(names=names, count=2, why=why, paths=tuple(paths[:MAX_PATHS]) or ("this change",))


def owned(owners: Owners, paths: Iterable[str]) -> Iterator[tuple[str, str, CodeownersLine, int]]:
    """(path, file, line, count) for each path that somebody owns, by every file and section that says so."""
    paths = tuple(paths)
    for place, sections in owners.files.items():
        for section in sections:
            left = dict.fromkeys(paths)
            for line in reversed(section.lines):
                matched = [path for path in left if matches(path, line.globs)]
                for path in matched:
                    del left[path]
                    if line.owners:
                        yield path, place, line, section.count


def missing(needs: Iterable[Need], approved_by: Collection[str]) -> tuple[Need, ...]:
    """The needs that these names do not fill."""
    given = {canonical_name(name) for name in approved_by}
    return tuple(need for need in needs if len(_counting(need, given)) < need.count)


def _counting(need: Need, given: set[str]) -> set[str]:
    return given & {canonical_name(name) for name in need.names} if need.names else given


def may_approve(needs: Collection[Need], name: str, made_by: Collection[str] = ()) -> bool:
    """Whether this person's approval counts for one of the needs. Nobody is called POLICY, and who made a change
    elsewhere does not approve it."""
    said = canonical_name(name)
    if not said or said == POLICY or said in map(canonical_name, made_by):
        return False
    return not needs or any(not need.names or said in map(canonical_name, need.names) for need in needs)


def canonical_name(name: str) -> str:
    """A name as it is compared: `@Ann` is `ann`, as forges have it."""
    return name.strip().removeprefix("@").casefold()


def from_base(prepared: Prepared) -> bool:
    """Whether the settings are the base branch's own. A brief or a block can restrict, and relax nothing."""
    return prepared.settings_source == "lockgate.toml"


def _members(owner: str, teams: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """A team's members; a team that nobody listed is asked under its own name."""
    listed = next((names for team, names in teams.items() if canonical_name(team) == canonical_name(owner)), ())
    return listed or (owner.removeprefix("@"),)


def _first_word(line: str) -> tuple[str, str]:
    found = re.match(r"(?:\\.|\S)+", line)
    word = found.group() if found else line
    return re.sub(r"\\(.)", r"\1", word), line[len(word) :]


def _owners(text: str) -> tuple[str, ...]:
    return tuple(re.split(r"(?:^|\s)#", text)[0].split())


def _globs(pattern: str, gitlab: bool) -> tuple[str, ...]:
    """A pattern as globs of `domain.paths`. A directory covers all below it; `dir/*` only what lies in it."""
    inner = pattern.strip("/")
    anchored = pattern.startswith("/") or ("/" in inner and not gitlab)
    glob = (inner or "**") if anchored or not inner else f"**/{inner}"
    if pattern.endswith("/"):
        return (f"{glob}/**",)
    return (glob,) if inner.endswith("*") and inner.rpartition("/")[2] in ("*", "**") else (glob, f"{glob}/**")
