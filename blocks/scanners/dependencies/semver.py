"""npm's versions and their ranges, read by node-semver: https://github.com/npm/node-semver#ranges"""

import functools
import re
from collections.abc import Iterable
from typing import Any

import nodesemver

_MAX_CHARS = 500
_TOO_LARGE = re.compile(r"(?<![\w.+-])[v^~<>=]*\d*\.?\d*\.?\d{17}")
"""npm takes no number over 2^53 - 1, which has 16 digits; a prerelease may be longer."""


def _compare(one: Any, other: Any) -> int:
    return int(one.compare(other))


_in_order = functools.cmp_to_key(_compare)


def parse(text: str) -> Any | None:
    """A full version, which compares with others; None if it is none."""
    try:
        return None if _is_too_long(text) else _in_order(nodesemver.make_semver(text, loose=False))
    except ValueError:
        return None


def is_range(text: str) -> bool:
    return _range(text) is not None


def satisfies(version: str, text: str) -> bool:
    """Whether a version is in a range; a prerelease only if the range names one of the same version."""
    parsed, allowed = parse(version), _range(text)
    return parsed is not None and allowed is not None and bool(allowed.test(parsed.obj))


def newest(versions: Iterable[str], text: str) -> str | None:
    """The newest of `versions` in the range; None if none is."""
    fitting = [(parsed, one) for one in versions if satisfies(one, text) and (parsed := parse(one)) is not None]
    return max(fitting)[1] if fitting else None


def _is_too_long(text: str) -> bool:
    return len(text) > _MAX_CHARS or _TOO_LARGE.search(text) is not None


@functools.lru_cache(maxsize=4096)
def _range(text: str) -> Any | None:
    try:
        return None if _is_too_long(text) else nodesemver.make_range(text, loose=False)
    except ValueError:
        return None
