"""Path globs, with one meaning everywhere: `*` stays inside a directory, `**` crosses them."""

import functools
import re
from collections.abc import Iterable


def matches(path: str, globs: Iterable[str]) -> bool:
    """Whether a POSIX path matches one of the globs. `dir/**` matches everything below, `**/x` also x at the root."""
    return any(_pattern(glob).fullmatch(path) for glob in globs)


@functools.lru_cache(maxsize=1024)
def _pattern(glob: str) -> re.Pattern[str]:
    out, rest = "", glob.strip("/")
    while rest:
        if rest.startswith("**/"):
            out, rest = out + "(?:.*/)?", rest[3:]
        elif rest.startswith("**"):
            out, rest = out + ".*", rest[2:]
        elif rest[0] == "*":
            out, rest = out + "[^/]*", rest[1:]
        elif rest[0] == "?":
            out, rest = out + "[^/]", rest[1:]
        else:
            out, rest = out + re.escape(rest[0]), rest[1:]
    return re.compile(out + ("/.*" if glob.endswith("/") else ""), re.DOTALL)
