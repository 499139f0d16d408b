"""What a health answer means. Pure: HTTP code and body in, reading out.

Health Check Response Format: https://datatracker.ietf.org/doc/html/draft-inadarei-api-health-check-06
"""

import json
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from domain.value import Value

HEALTHY_WORDS = frozenset({"pass", "ok", "up", "warn"})
SICK_WORDS = frozenset({"fail", "error", "down"})
_SHOWN_CHARACTERS = 200
_BODY_CHARACTERS = 2000
_KEPT_ANSWERS = 8

Clean = Callable[[str], str]
"""Takes out of a text what nobody shall read."""


class HealthState(StrEnum):
    """`another`: somebody answers, and it is not the release that was asked for."""

    HEALTHY = "healthy"
    SICK = "sick"
    ANOTHER = "another release"


class Reading(Value):
    """What one answer said."""

    state: HealthState
    reason: str = Field(description="One line; what the service wrote itself is quoted and shortened")
    release: str | None = Field(None, description="The releaseId it said, whatever its health")
    code: int | None = Field(None, description="HTTP status; None: there was no answer")
    body: str = Field("", description="What was answered, without secrets, shortened")

    @property
    def is_healthy(self) -> bool:
        return self.state is HealthState.HEALTHY


class Answered(Value):
    """One kind of answer to a health check, and the last time that it came."""

    where: str = Field(description="in public or in private")
    at: datetime
    times: int
    reading: Reading


class Answers:
    """The last few different answers of a release, in the order in which they last came."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int | None, str], Answered] = {}

    def add(self, where: str, reading: Reading, at: datetime) -> None:
        """One more answer."""
        kind = (where, reading.code, reading.body or reading.reason)
        before = self._seen.pop(kind, None)
        self._seen[kind] = Answered(where=where, at=at, times=before.times + 1 if before else 1, reading=reading)
        if len(self._seen) > _KEPT_ANSWERS:
            del self._seen[next(iter(self._seen))]

    @property
    def kept(self) -> tuple[Answered, ...]:
        return tuple(self._seen.values())


def read_health(code: int, body: bytes, revision: str, clean: Clean = str) -> Reading:
    """Whether `revision` answered and is well. Unknown is sick; identity comes before health.

    What the service wrote goes through `clean`, before it is shortened: half a secret would not be known as one.
    """
    text = clean(body.decode(errors="replace"))
    shown = text if len(text) <= _BODY_CHARACTERS else text[:_BODY_CHARACTERS] + "…"
    return _read(code, body, revision, clean).model_copy(update={"code": code, "body": shown})


def said_release(body: bytes) -> str | None:
    """The releaseId of a health body, whatever else it says."""
    return _read(0, body, "", str).release


def _read(code: int, body: bytes, revision: str, clean: Clean) -> Reading:
    def quoted(text: str) -> str:
        return _quoted(clean(text))

    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        return _sick(f"HTTP {code} and the body is not JSON: {quoted(body.decode(errors='replace'))}")
    if not isinstance(said, dict):
        return _sick(f"HTTP {code} and the body is not a JSON object")
    release = said.get("releaseId")
    release = release if isinstance(release, str) and release.isprintable() and release else None
    if release is not None and release != revision:
        reason = f"{quoted(release)} answers, not {revision}"
        return Reading(state=HealthState.ANOTHER, reason=reason, release=release)
    status, output = said.get("status"), _output(said, clean)
    word = status.lower() if isinstance(status, str) else None  # the draft: its value is case-insensitive
    if word in SICK_WORDS:
        mismatch = f", with HTTP {code} that says otherwise" if code < 400 else ""
        return _sick(f"status {word}{mismatch}{output}", release)
    if word not in HEALTHY_WORDS:
        return _sick(f"HTTP {code} and status {quoted(json.dumps(status))} is none of the format{output}", release)
    if not 200 <= code < 400:
        return _sick(f"status {word}, but HTTP {code} says otherwise{output}", release)
    if release is None:
        return _sick(f"status {word}, but it does not say its releaseId")
    return Reading(
        state=HealthState.HEALTHY, reason=f"status {word}{output if word == 'warn' else ''}", release=release
    )


def _sick(reason: str, release: str | None = None) -> Reading:
    return Reading(state=HealthState.SICK, reason=reason, release=release)


def _output(said: dict[str, Any], clean: Clean) -> str:
    """The draft's `output`, or that of the first check that does not pass."""
    texts = [said.get("output")]
    checks = said.get("checks")
    for name, details in checks.items() if isinstance(checks, dict) else ():
        for detail in details if isinstance(details, list) else ():
            if isinstance(detail, dict) and detail.get("status") not in ("pass", "ok", "up"):
                texts.append(f"{name}: {detail.get('output') or detail.get('status')}")
    text = next((text for text in texts if isinstance(text, str) and text), None)
    return f": {_quoted(clean(text))}" if text else ""


def _quoted(text: str) -> str:
    """Text of the service's, on one line that a terminal and a page show as it is."""
    line = "".join(c if c.isprintable() else " " for c in text[: _SHOWN_CHARACTERS + 1])
    return repr(line if len(line) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + "…")
