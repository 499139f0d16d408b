"""What an endpoint answers, how it refuses, and who may call it."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kits.fake_forge.store import Doc

DOCS = "https://docs.github.com/rest"


class ForgeAnswer(NamedTuple):
    """A status, a JSON value (None: no body) and headers."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = {}


class Refusal(Exception):
    """An answer that is no success; nothing of the request's is kept."""

    def __init__(self, status: int, message: str, errors: list[Any] | None = None, **headers: str) -> None:
        super().__init__(f"{status} {message}")
        body: Doc = {"message": message, "documentation_url": DOCS, "status": str(status)}
        if errors is not None:
            body["errors"] = errors
        self.answer = ForgeAnswer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def not_found() -> Refusal:
    return Refusal(404, "Not Found")


def invalid(resource: str, **problem: Any) -> Refusal:
    """422 as GitHub words it for one field: `code` is missing, invalid, already_exists, custom ..."""
    return Refusal(422, "Validation Failed", [{"resource": resource, **problem}])


def unprocessable(*sentences: str) -> Refusal:
    """422 as GitHub words it for a rule of its models."""
    return Refusal(422, "Unprocessable Entity", list(sentences))


class ForgeRoute(NamedTuple):
    """One endpoint: who may call it, and how."""

    method: str
    template: str
    pattern: re.Pattern[str]
    grant: str | None
    """What a fine-grained token or an app needs, as "pull_requests:write"; None: nothing."""
    role: str
    """What a person needs in the repository: read, triage, write, maintain or admin."""
    kind: str
    """Who calls: user (a token of anybody's), app (the app's own JWT), installation, anyone."""
    call: Callable[[Any], ForgeAnswer]
    """The endpoint: it takes an `ForgeRequest`."""
