"""Requirement lines, read strictly: names from an index and nothing that builds, fetches or includes."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement

from domain.errors import InputError

_HASH = re.compile(r"--hash=((?:sha256|sha384|sha512):[0-9a-f]{64,128})")
_HASHES = re.compile(rf"(?<!\s)((?:\s+{_HASH.pattern})+)$")
_SHOWN = 120


class Requirements(NamedTuple):
    """Requirement lines in canonical form, sorted, each once."""

    exact: tuple[str, ...]
    """With hashes: of a lock, which is whole, so nothing that they depend on is looked for."""
    loose: tuple[str, ...]
    """Without: what they depend on is installed too."""
    constraints: tuple[str, ...]
    """Bounds on what others ask for."""

    @property
    def lines(self) -> tuple[str, ...]:
        return (*self.exact, *self.loose, *(f"-c {line}" for line in self.constraints))


def read(lines: Iterable[str]) -> Requirements:
    """Read requirement lines, or the lines of a lock file with `\\` continuations, comments and `--hash=`.

    `-c LINE` is a constraint. Raises InputError for other options, URLs, paths and editable installs.
    """
    exact: set[str] = set()
    loose: set[str] = set()
    constraints: set[str] = set()
    for line in re.sub(r"\\\s*\n", " ", "\n".join(lines)).splitlines():
        text = re.sub(r"(^|\s)#.*$", "", line).strip()
        if not text:
            continue
        if text.startswith("-c "):
            constraints.add(_requirement(text[3:].strip()))
            continue
        hashes = _HASHES.search(text)
        requirement = _requirement(text[: hashes.start()] if hashes else text)
        pins = sorted(set(_HASH.findall(hashes[1]))) if hashes else []
        (exact if pins else loose).add(" ".join([requirement, *(f"--hash={pin}" for pin in pins)]))
    return Requirements(tuple(sorted(exact)), tuple(sorted(loose)), tuple(sorted(constraints)))


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
