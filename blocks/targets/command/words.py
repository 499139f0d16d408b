"""The commands of a platform, and what is filled into their words."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from domain.value import Value

PLACEHOLDERS = ("environment", "verb", "revision", "previous", "artifact", "tree", "token", "key", "share", "since")
"""What is filled in, and what each command finds as LOCKGATE_NAME too; empty if there is none."""

LOOKS = frozenset({"current", "address", "numbers", "logs"})
"""They change nothing, and may run beside the others."""

_ONLY_IN = {"share": "shift", "since": "numbers"}
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")

Words = tuple[str, ...]


class Commands(Value):
    """What to run for each verb, as words; no shell is between. Each prints one JSON object as its last line."""

    prepare: Words = Field((), description="Bring a release there, ready to start; may print its artifact")
    migrate: Words = Field((), description="Bring the data to its schema, or leave it as it was")
    start: Words = Field((), description="Run it without any traffic")
    address: Words = Field((), description="Print where a release answers past the public address")
    shift: Words = Field((), description="Give it {share} percent of the traffic")
    promote: Words = Field(min_length=1, description="Deploy: all traffic goes to it")
    rollback: Words = Field(min_length=1, description="All traffic back to {revision}, away from {previous}")
    current: Words = Field((), description="Print the revision that has the traffic; nothing is released without it")
    numbers: Words = Field((), description="Print requests and errors since {since}, of it and of the one before")
    logs: Words = Field((), description="Print the end of what it logged, as plain text")
    cleanup: Words = Field((), description="Stop and remove one release that has no traffic")
    stop: Words = Field((), description="Nothing serves any more")

    @field_validator("*")
    @classmethod
    def _placeholders_are_known(cls, words: Words, info: Any) -> Words:
        for name in _PLACEHOLDER.findall(" ".join(words)):
            if name not in PLACEHOLDERS:
                raise ValueError(f"{{{name}}} is none of {', '.join(PLACEHOLDERS)}: put other braces into a script")
            if _ONLY_IN.get(name, info.field_name) != info.field_name:
                raise ValueError(f"{{{name}}} is known only to `{_ONLY_IN[name]}`")
        if words and _PLACEHOLDER.search(words[0]):
            raise ValueError(f"the program itself cannot be filled in: {words[0]}")
        return words

    def of(self, verb: str) -> Words:
        words: Words = getattr(self, verb)
        return words

    def filled(self, verb: str, values: Mapping[str, str]) -> list[str]:
        return [_PLACEHOLDER.sub(lambda found: values[found[1]], word) for word in self.of(verb)]
