"""Keeps secret values out of everything that is shown."""

import json
from collections.abc import Iterable, Mapping

_SHORTEST = 4
"""Shorter values are in every other line; they protect nothing."""


class ReleaseRedactor:
    """Replaces secret values by `[NAME]`: whole, as JSON or Python would write them, and line by line."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        names = {form: name for name, value in secrets.items() for form in _forms(value)}
        self._names = dict(sorted(names.items(), key=lambda item: -len(item[0])))

    def __call__(self, text: str) -> str:
        for value, name in self._names.items():
            text = text.replace(value, f"[{name}]")
        return text


def _forms(value: str) -> Iterable[str]:
    for form in (value, *value.splitlines()):
        for written in (form, json.dumps(form)[1:-1], repr(form)[1:-1]):
            if len(written) >= _SHORTEST:
                yield written
