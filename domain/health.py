"""How a release is asked for its health, and what its answer means. Pure: an answer in, a reading out.

Health Check Response Format: https://datatracker.ietf.org/doc/html/draft-inadarei-api-health-check-06
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import Field, GetJsonSchemaHandler, field_validator, model_serializer, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from domain.value import Value, canonical

HEALTHY_WORDS = frozenset({"pass", "ok", "up", "warn"})
SICK_WORDS = frozenset({"fail", "error", "down", "unhealthy", "out_of_service"})
"""Of the draft, and of what frameworks write in its place: https://docs.spring.io/spring-boot/reference/actuator/endpoints.html"""
FORMAT = "application/health+json"
_SHOWN_CHARACTERS = 200
_BODY_CHARACTERS = 2000
_KEPT_ANSWERS = 8

Clean = Callable[[str], str]
"""Takes out of a text what nobody shall read."""


class HealthCheck(Value):
    """`health`: how a release is asked whether it is well. Text alone is the path."""

    path: str = Field("/health", pattern=r"^/[!-~]*$", description="What is asked for, by GET")
    host: str | None = Field(
        None, pattern=r"^[A-Za-z0-9._:\[\]-]+$", description="Host header, where a service answers to known hosts alone"
    )
    scheme: Literal["http", "https"] = Field(
        "http", description="What X-Forwarded-Proto says; `https` where the service sends everybody else there"
    )
    status: tuple[Annotated[int, Field(ge=100, le=599)], ...] = Field(
        (), description="HTTP status that is well, one or more; default: 200 to 299. No redirect is followed"
    )
    text: str | None = Field(None, min_length=1, description="Must be in the answer")
    format: Literal["any", "health+json"] = Field(
        "any", description="`health+json`: nothing else is well, and the release must say its own releaseId"
    )
    start_timeout_s: float | None = Field(
        None, gt=0, le=3600, description="Seconds that a release may take to start, where the target gives it fewer"
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A path or a table, as it is read: who creates a run by the API may give either."""
        return {"anyOf": [{"type": "string", "pattern": "^/[!-~]*$"}, handler(core)]}

    @model_validator(mode="before")
    @classmethod
    def _or_a_path(cls, given: Any) -> Any:
        return {"path": given} if isinstance(given, str) else given

    @field_validator("status", mode="before")
    @classmethod
    def _or_one(cls, given: Any) -> Any:
        return (given,) if isinstance(given, int) else given

    @model_serializer
    def _as_given(self) -> str | dict[str, Any]:
        """The path, where that is all: so settings without a table have the digest that they always had."""
        fields = type(self).model_fields.items()
        said = {name: value for name, field in fields if (value := getattr(self, name)) != field.default}
        return said if said.keys() - {"path"} else self.path

    def __str__(self) -> str:
        """What `read` takes: the path, where that is all, else JSON."""
        said = self.model_dump(mode="json")
        return said if isinstance(said, str) else canonical(said)

    @classmethod
    def read(cls, text: str) -> Self:
        """What `str` wrote."""
        return cls.model_validate(json.loads(text) if text.startswith("{") else text)

    def starts_within_s(self, target_s: float) -> float:
        """Seconds that a release has to become healthy on a target that gives each so many."""
        return max(target_s, self.start_timeout_s or 0)

    @property
    def headers(self) -> dict[str, str]:
        """What the question says besides its path. Who is strict about `Accept` may answer with anything."""
        host = {"Host": self.host} if self.host else {}
        return {"Accept": f"{FORMAT}, application/json;q=0.9, */*;q=0.8", "X-Forwarded-Proto": self.scheme, **host}


class HttpAnswer(NamedTuple):
    """One answer to a health check. The names of `headers` are in lower case."""

    code: int
    body: bytes
    headers: Mapping[str, str] = {}


class HealthState(StrEnum):
    """`another`: somebody answers, and it is not the release that was asked for."""

    HEALTHY = "healthy"
    SICK = "sick"
    ANOTHER = "another release"


class IdentitySource(StrEnum):
    """How it is known which release answered."""

    SAID = "its own releaseId"
    SEEN = "seen by the platform"


class Sight(Value):
    """What the platform saw of who answered, whatever the answer says."""

    is_it: bool = Field(description="Whether it was the release that was asked for")
    how: str = Field(description='Goes on after "it answered", as "from 127.0.0.1:4711, where its process listens"')


class HealthReading(Value):
    """What one answer said."""

    state: HealthState
    reason: str = Field(description="One line; what the service wrote itself is quoted and shortened")
    release: str | None = Field(None, description="The releaseId it said, whatever its health")
    identity: IdentitySource | None = Field(
        None, description="How it is known that this release answered; None: it is not"
    )
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
    reading: HealthReading


class LastAnswers:
    """The last few different answers of a release, in the order in which they last came."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int | None, str], Answered] = {}

    def add(self, where: str, reading: HealthReading, at: datetime) -> None:
        """One more answer."""
        kind = (where, reading.code, reading.body or reading.reason)
        before = self._seen.pop(kind, None)
        self._seen[kind] = Answered(where=where, at=at, times=before.times + 1 if before else 1, reading=reading)
        if len(self._seen) > _KEPT_ANSWERS:
            del self._seen[next(iter(self._seen))]

    @property
    def kept(self) -> tuple[Answered, ...]:
        return tuple(self._seen.values())


def read_health(
    answer: HttpAnswer, check: HealthCheck, revision: str, clean: Clean = str, sight: Sight | None = None
) -> HealthReading:
    """Whether `revision` answered and is well. Unknown is sick; identity comes before health.

    `sight`: what the platform saw of who answered; None: nothing. A release that says its releaseId is taken at its
    word, unless it was seen to be another one. What the service wrote goes through `clean`, before it is shortened:
    half a secret would not be known as one.
    """
    text = clean(answer.body.decode(errors="replace"))
    shown = text if len(text) <= _BODY_CHARACTERS else text[:_BODY_CHARACTERS] + "…"
    said = _object(answer.body)
    release = _release(said)
    known: dict[str, Any] = {"release": release, "code": answer.code, "body": shown}
    if release not in (None, revision):
        reason = f"{_quoted(clean(str(release)))} answers, not {revision}"
        return HealthReading(state=HealthState.ANOTHER, reason=reason, **known)
    if sight is not None and not sight.is_it:
        word = f"it says releaseId {revision}, but" if release else "it says no releaseId, and"
        return HealthReading(state=HealthState.ANOTHER, reason=f"{word} the answer came {sight.how}", **known)
    identity = IdentitySource.SAID if release else IdentitySource.SEEN if sight else None
    sick, well = _health(answer, said, check, clean)
    if sick is None and release is None:
        if check.format == "health+json":
            sick = f"{well}, but it does not say its releaseId"
        elif sight is None:
            sick = f"{well}, but it does not say its releaseId, and nobody can see which release answered here"
    state = HealthState.HEALTHY if sick is None else HealthState.SICK
    return HealthReading(state=state, reason=sick or well, identity=identity, **known)


def said_release(body: bytes) -> str | None:
    """The releaseId of a health body, whatever else it says."""
    return _release(_object(body))


def _object(body: bytes) -> dict[str, Any] | None:
    """What a JSON body says; None for what is no JSON object."""
    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _release(said: dict[str, Any] | None) -> str | None:
    release = (said or {}).get("releaseId")
    return release if isinstance(release, str) and release.isprintable() and release else None


def _health(
    answer: HttpAnswer, said: dict[str, Any] | None, check: HealthCheck, clean: Clean
) -> tuple[str | None, str]:
    """Why it is sick, or None; and what it said where it is well."""
    code, status = answer.code, (said or {}).get("status")
    word = status.lower() if isinstance(status, str) else None  # the draft: its value is case-insensitive
    output = _output(said or {}, clean)
    speaks = said is not None and (FORMAT in answer.headers.get("content-type", "") or "releaseId" in said)
    if said is None and (speaks or check.format == "health+json"):
        what = _quoted(clean(answer.body.decode(errors="replace")))
        return f"HTTP {code} and the body is no JSON object, which health+json is: {what}", ""
    if word in SICK_WORDS:
        mismatch = f", with HTTP {code} that says otherwise" if code < 400 else ""
        return f"status {word}{mismatch}{output}", ""
    if word not in HEALTHY_WORDS and (speaks or check.format == "health+json"):
        return f"HTTP {code} and status {_quoted(clean(json.dumps(status)))} is none of the format{output}", ""
    wanted = f"status {word}" if word in HEALTHY_WORDS else f"HTTP {code}"
    is_expected = code in check.status if check.status else 200 <= code < (400 if speaks else 300)
    if not is_expected:
        otherwise = f"status {word}, but HTTP {code} says otherwise{output}" if speaks else f"HTTP {code}"
        return otherwise + _advice(answer, check, clean), ""
    if check.text is not None and check.text not in (found := answer.body.decode(errors="replace")):
        return f"HTTP {code}, and {check.text!r} is not in the answer: {_quoted(clean(found))}", ""
    return None, wanted + (output if word == "warn" else "")


def _advice(answer: HttpAnswer, check: HealthCheck, clean: Clean) -> str:
    """What to set where an answer is well as it is, for the answers of services that were not made for this."""
    if check.status:
        return f", and {' or '.join(map(str, check.status))} is expected"
    if 300 <= answer.code < 400:
        to = answer.headers.get("location", "")
        if urlsplit(to).scheme == "https" and check.scheme == "http":
            return f' to {_quoted(clean(to))}: set health.scheme = "https", which says that it was asked over TLS'
        return f" to {_quoted(clean(to))}: no redirect is followed; ask for another path, or set health.status"
    if answer.code in (400, 403, 421) and check.host is None:
        body = _quoted(clean(answer.body.decode(errors="replace")))
        return f": {body}; a service that answers to known hosts alone needs health.host"
    return ""


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
