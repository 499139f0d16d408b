"""Path globs, with one meaning everywhere: `*` stays in a directory, `**` crosses them. And lists of repositories."""

import functools
import re
from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import Field

Glob = Annotated[str, Field(min_length=1, max_length=400)]
"""A glob that somebody gives us."""

_DEEP = re.compile(r"((?<![^/])(?:\*\*/)+|\*{2,})")
"""What crosses directories: `**/` before a name, or `**` anywhere. Several in a row are one."""


def matches(path: str, globs: Iterable[str]) -> bool:
    """Whether a POSIX path matches one of the globs. `dir/**` matches everything below, `**/x` also x at the root.

    The time for one glob grows with the length of the path times that of the glob, whatever is in it.
    """
    return any(_pattern(glob).fullmatch(path) for glob in globs)


@functools.lru_cache(maxsize=1024)
def _pattern(glob: str) -> re.Pattern[str]:
    """Every gap ends at the first place where what follows it fits, and is never made larger: atomic groups.

    That loses nothing: what could still match after a larger gap can also match after the smaller one.
    """
    first, *rest = _DEEP.split(glob.strip("/"))
    pairs = list(zip(rest[::2], rest[1::2], strict=True))
    end = r"/.*\Z" if glob.endswith("/") else r"\Z"
    out = _part(first, "" if pairs else end)
    for number, (gap, part) in enumerate(pairs, 1):
        gap_pattern = "(?:.*?/)??" if gap.endswith("/") else ".*?"
        out += f"(?>{gap_pattern}{_part(part, end if number == len(pairs) else '')})"
    return re.compile(out, re.DOTALL)


def _part(part: str, end: str) -> str:
    """The expression of a glob without `**`, and what the path has to end with."""
    fixed = ["".join("[^/]" if c == "?" else re.escape(c) for c in text) for text in part.split("*")]
    fixed[-1] += end
    return fixed[0] + "".join(f"(?>[^/]*?{text})" for text in fixed[1:])


def is_among(repository: str, allowed: Sequence[str]) -> bool:
    """Whether a list has a repository: by its very name, or by `…/*` for all that lie directly below a place."""
    return any(
        repository.rstrip("/") == each.rstrip("/")
        or (
            each.endswith("/*")
            and repository.startswith(each[:-1])
            and bool(_BELOW.fullmatch(repository[len(each) - 1 :]))
        )
        for each in allowed
    )


_BELOW = re.compile(r"(?!\.{1,2}/?$)[A-Za-z0-9._-]+/?")
