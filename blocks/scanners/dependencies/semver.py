"""npm's version ranges, as https://github.com/npm/node-semver#ranges has them."""

import functools
import re
from collections.abc import Iterable

_NUMBER = r"\d{1,16}"
_VERSION = re.compile(rf"[v=\s]*({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
_PARTIAL = (
    rf"[v=]?(?:[xX*]|({_NUMBER}))(?:\.(?:[xX*]|({_NUMBER})))?(?:\.(?:[xX*]|({_NUMBER})))?"
    r"(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?"
)
_COMPARATOR = re.compile(rf"(\^|~>?|[<>]=?|=)?\s*{_PARTIAL}")
_HYPHEN = re.compile(rf"\s*{_PARTIAL}\s+-\s+{_PARTIAL}\s*")
_MAX_CHARS = 500

Version = tuple[int, int, int, tuple[tuple[int, int, str], ...]]
Bound = tuple[str, Version]

_RELEASE = ((2, 0, ""),)
_FIRST_PRERELEASE = ((-1, 0, ""),)
"""Sorts before every prerelease, so <2.0.0 of an upper bound leaves out 2.0.0-alpha."""


def parse(text: str) -> Version | None:
    """A full version in its order; None where it is none."""
    found = _VERSION.fullmatch(text)
    return _version(found[1], found[2], found[3], found[4]) if found else None


def _version(major: str | int, minor: str | int, patch: str | int, prerelease: str | None = None) -> Version:
    parts = _RELEASE if not prerelease else tuple(
        (0, int(part), "") if part.isdigit() and len(part) < 17 else (1, 0, part) for part in prerelease.split(".")
    )  # fmt: skip
    return int(major), int(minor), int(patch), parts


def is_range(text: str) -> bool:
    return _alternatives(text) is not None


def satisfies(version: str, text: str) -> bool:
    """Whether a version is in a range; a prerelease only where the range names one of the same version."""
    parsed, alternatives = parse(version), _alternatives(text)
    if parsed is None or alternatives is None:
        return False
    return any(_within(parsed, bounds) for bounds in alternatives)


def newest(versions: Iterable[str], text: str) -> str | None:
    """The newest of `versions` in the range; None where none is."""
    fitting = [(parsed, one) for one in versions if (parsed := parse(one)) is not None and satisfies(one, text)]
    return max(fitting)[1] if fitting else None


def _within(version: Version, bounds: tuple[Bound, ...]) -> bool:
    if version[3] != _RELEASE and not any(
        bound[:3] == version[:3] and bound[3] not in (_RELEASE, _FIRST_PRERELEASE) for _, bound in bounds
    ):
        return False
    return all(_holds(version, operator, bound) for operator, bound in bounds)


def _holds(version: Version, operator: str, bound: Version) -> bool:
    if operator == ">=":
        return version >= bound
    return {"<": version < bound, ">": version > bound, "<=": version <= bound, "=": version == bound}[operator]


@functools.lru_cache(maxsize=4096)
def _alternatives(text: str) -> tuple[tuple[Bound, ...], ...] | None:
    """Bounds that all must hold, for each side of `||`; None where the text is no range."""
    if len(text) > _MAX_CHARS:
        return None
    found = []
    for part in text.split("||"):
        bounds = _hyphen(part) if " - " in part else _comparators(part)
        if bounds is None:
            return None
        found.append(tuple(bounds))
    return tuple(found)


def _hyphen(text: str) -> list[Bound] | None:
    found = _HYPHEN.fullmatch(text)
    if not found:
        return None
    low, high = found.groups()[:4], found.groups()[4:]
    bounds = [(">=", _version(low[0] or 0, low[1] or 0, low[2] or 0, low[3]))]
    if high[0] and high[1] and high[2]:
        return [*bounds, ("<=", _version(*high))]
    return bounds if high[0] is None else [*bounds, ("<", _next(high[0], high[1], None))]


def _comparators(text: str) -> list[Bound] | None:
    bounds: list[Bound] = []
    rest = text.strip()
    while rest:
        found = _COMPARATOR.match(rest)
        if not found or not found.group() or (found.end() < len(rest) and not rest[found.end()].isspace()):
            return None
        bounds += _bounds(*found.groups())
        rest = rest[found.end() :].lstrip()
    return bounds


def _bounds(
    operator: str | None, major: str | None, minor: str | None, patch: str | None, prerelease: str | None
) -> list[Bound]:
    if major is None:
        return [("<", _version(0, 0, 0, "0"))] if operator in ("<", ">") else []
    low = _version(major, minor or 0, patch or 0, prerelease)
    if operator in ("<", ">="):
        return [(operator, low)]
    if operator in (">", "<=") and minor is not None and patch is not None:
        return [(operator, low)]
    after = _next(major, minor, patch if operator in (None, "=") else None)
    if operator == ">":
        return [(">=", (*after[:3], _RELEASE))]
    if operator == "<=":
        return [("<", after)]
    if operator == "^":
        return [(">=", low), ("<", _caret(major, minor, patch))]
    if operator in ("~", "~>") or minor is None or patch is None:
        return [(">=", low), ("<", after)]
    return [("=", low)]


def _next(major: str, minor: str | None, patch: str | None) -> Version:
    """The first version after all that have these parts."""
    if minor is None:
        return int(major) + 1, 0, 0, _FIRST_PRERELEASE
    if patch is None:
        return int(major), int(minor) + 1, 0, _FIRST_PRERELEASE
    return int(major), int(minor), int(patch) + 1, _FIRST_PRERELEASE


def _caret(major: str, minor: str | None, patch: str | None) -> Version:
    if int(major) or minor is None:
        return _next(major, None, None)
    if int(minor) or patch is None:
        return _next(major, minor, None)
    return _next(major, minor, patch)
