"""Which calls of an API are known, how each is read, and how its errors look. What is not here is denied."""

import re
from collections.abc import Callable
from typing import Literal, NamedTuple

from blocks.gateway.models import anthropic, gemini, openai
from blocks.gateway.models.ask import Json, ModelCallDenied, ProviderRequest
from blocks.gateway.models.provider import ModelProvider
from domain.models import Api

MODEL = r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,200}"
QUERY = frozenset({"alt", "beta", "limit", "after_id", "before_id", "pageSize", "pageToken", "client_version"})
"""Query fields that go to the provider. Keys do not travel in a query."""


class ModelRoute(NamedTuple):
    """One known call. `bills`: it calls a model and costs money; `read` is None if there is no body to read."""

    method: Literal["GET", "POST"]
    path: re.Pattern[str]
    bills: bool = False
    read: Callable[[Json, str, ModelProvider, int], ProviderRequest] | None = None
    told: Callable[[Json, Json], bool] = lambda event, usage: False
    table: tuple[str, str] = ("", "")
    """Maker and flavor of the usage, as genai-prices names them."""


def _anthropic(counts_only: bool) -> Callable[[Json, str, ModelProvider, int], ProviderRequest]:
    return lambda body, model, provider, most: anthropic.ask(body, most, counts_only=counts_only)


def _gemini(counts_only: bool) -> Callable[[Json, str, ModelProvider, int], ProviderRequest]:
    return lambda body, model, provider, most: gemini.ask(body, model, most, counts_only=counts_only)


ROUTES: dict[Api, tuple[ModelRoute, ...]] = {
    Api.ANTHROPIC: (
        ModelRoute(
            "POST", re.compile("/v1/messages"), True, _anthropic(False), anthropic.told, ("anthropic", "default")
        ),
        ModelRoute("POST", re.compile("/v1/messages/count_tokens"), read=_anthropic(True)),
        ModelRoute("GET", re.compile(f"/v1/models(/{MODEL})?")),
    ),
    Api.OPENAI: (
        ModelRoute(
            "POST",
            re.compile("/v1/responses"),
            True,
            lambda body, model, provider, most: openai.responses(body, most),
            openai.told_by_responses,
            ("openai", "responses"),
        ),
        ModelRoute(
            "POST",
            re.compile("/v1/chat/completions"),
            True,
            lambda body, model, provider, most: openai.chat(body, most, provider.output_limit_field),
            openai.told_by_chat,
            ("openai", "chat"),
        ),
        ModelRoute("GET", re.compile(f"/v1/models(/{MODEL})?")),
    ),
    Api.GEMINI: (
        ModelRoute(
            "POST",
            re.compile(f"/v1(?:beta)?/models/(?P<model>{MODEL}):(?:generateContent|streamGenerateContent)"),
            True,
            _gemini(False),
            gemini.told,
            ("google", "default"),
        ),
        ModelRoute("POST", re.compile(f"/v1(?:beta)?/models/(?P<model>{MODEL}):countTokens"), read=_gemini(True)),
        ModelRoute("GET", re.compile(f"/v1(?:beta)?/models(/{MODEL})?")),
    ),
}


def route_of(api: Api, method: str, path: str) -> tuple[ModelRoute, str]:
    """The known call, and the model where its path names one. Raises Denied."""
    for route in ROUTES[api]:
        if method == route.method and (found := route.path.fullmatch(path)) and ".." not in path:
            return route, found.groupdict().get("model", "")
    raise ModelCallDenied(403, f"{method} {path[:200]} is not one of the calls that may be made to models")


ERRORS = {
    Api.ANTHROPIC: {
        400: "invalid_request_error",
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        503: "api_error",
    },
    Api.OPENAI: {
        400: "invalid_request_error",
        401: "invalid_api_key",
        402: "budget_exceeded",
        403: "permission_denied",
        503: "server_error",
    },
    Api.GEMINI: {
        400: "INVALID_ARGUMENT",
        401: "UNAUTHENTICATED",
        402: "FAILED_PRECONDITION",
        403: "PERMISSION_DENIED",
        503: "UNAVAILABLE",
    },
}


def error_body(api: Api, status: int, sentence: str) -> Json:
    """An error as the API's own clients read it."""
    kind = ERRORS[api][status]
    match api:
        case Api.ANTHROPIC:
            return {"type": "error", "error": {"type": kind, "message": sentence}}
        case Api.OPENAI:
            return {"error": {"message": sentence, "type": kind, "param": None, "code": kind}}
        case Api.GEMINI:
            return {"error": {"code": status, "message": sentence, "status": kind}}
