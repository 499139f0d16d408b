"""Requirement lines, read strictly: names from an index and nothing that builds, fetches or includes."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement

from domain.errors import InputError

_HASH = re.compile(r"--hash=((?:sha256|sha384|sha512):[0-9a-f]{64,128})")
_HASHES = re.compile(rf"((?:\s+{_HASH.pattern})+)$")
_SHOWN = 120


class Requirements(NamedTuple):
    """Requirement lines in canonical form, sorted, each once; `hashed` where every one of them names its hashes."""

    lines: tuple[str, ...]
    hashed: bool


def read(lines: Iterable[str]) -> Requirements:
    """Read requirement lines, or the lines of a lock file with `\\` continuations, comments and `--hash=`.

    Raises InputError for options, URLs, paths and editable installs, and where only some lines have hashes.
    """
    found: dict[str, bool] = {}
    for line in re.sub(r"\\\s*\n", " ", "\n".join(lines)).splitlines():
        text = re.sub(r"(^|\s)#.*$", "", line).strip()
        if not text:
            continue
        hashes = _HASHES.search(text)
        requirement = _requirement(text[: hashes.start()] if hashes else text)
        pins = sorted(set(_HASH.findall(hashes[1]))) if hashes else []
        found[" ".join([requirement, *(f"--hash={pin}" for pin in pins)])] = bool(pins)
    if bare := [line for line, pinned in found.items() if not pinned]:
        if len(bare) < len(found):
            raise InputError(f"requirement {bare[0][:_SHOWN]!r} has no --hash, and others have: lock all of them")
        return Requirements(tuple(sorted(found)), hashed=False)
    return Requirements(tuple(sorted(found)), hashed=bool(found))


def _requirement(text: str) -> str:
    advice = "write a package name with an optional extra, version and marker, such as: requests[socks]>=2.32"
    if text.startswith("-"):
        raise InputError(f"requirement {text[:_SHOWN]!r} is an option, which are not allowed here: {advice}")
    try:
        requirement = Requirement(text)
    except InvalidRequirement as err:
        reason = str(err).splitlines()[0]
        raise InputError(f"requirement {text[:_SHOWN]!r} cannot be read ({reason}): {advice}") from err
    if requirement.url:
        raise InputError(f"requirement {text[:_SHOWN]!r} names an address, and packages come from the index: {advice}")
    return str(requirement)
