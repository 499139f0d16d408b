"""A sandbox's request, checked, and made into the one that the provider gets."""

import hmac
import json
import re
from typing import Any
from urllib.parse import parse_qsl, urlencode

from mitmproxy.http import Headers, HTTPFlow, Request

from blocks.gateway.exchange import exchange_of
from blocks.gateway.models.apis import MODEL, QUERY
from blocks.gateway.models.ask import Json, ModelCallDenied
from blocks.gateway.models.provider import ModelProvider
from blocks.gateway.parts import has_too_many_parts
from domain.egress import Passport
from domain.models import ModelPolicy
from domain.paths import matches

PASSED_HEADERS = ("host", "accept", "content-type", "user-agent", "anthropic-version", "anthropic-beta", "openai-beta")
"""Headers of the sandbox's that go to the provider. Others could choose an account, a project or a price there."""
TOKEN_HEADERS = ("x-api-key", "x-goog-api-key", "authorization")


def passport_of(flow: HTTPFlow) -> Passport:
    """Whose request it is. Raises Denied if it does not carry the run token of its own listener."""
    exchange = exchange_of(flow)
    passport, token = exchange.passport, exchange.token
    shown = [flow.request.headers.get(name, "").removeprefix("Bearer ") for name in TOKEN_HEADERS]
    if not (passport and token and any(hmac.compare_digest(value.encode(), token.encode()) for value in shown)):
        raise ModelCallDenied(
            401, "the run token is missing or is not this sandbox's: send it where the API key would be"
        )
    return passport


def path_and_query(request: Request) -> tuple[str, str]:
    """The path, and the known fields of the query. Raises Denied."""
    path, _, query = request.path.partition("?")
    fields = [(name, value) for name, value in parse_qsl(query) if name in QUERY]
    if path.endswith(":streamGenerateContent") and dict(fields).get("alt") != "sse":
        raise ModelCallDenied(403, "a stream of Gemini's is metered as server-sent events only: add ?alt=sse")
    return path, urlencode(fields)


def json_of(request: Request) -> Json:
    """The body. It is written anew for the provider, so that both read the same of it. Raises Denied."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ModelCallDenied(400, "the request's body is compressed: send it as it is")
    raw = request.raw_content or b""
    if has_too_many_parts(raw):
        raise ModelCallDenied(400, "the request's body has too many parts")
    try:
        body = json.loads(raw, parse_constant=_no_constant)
    except ValueError as err:
        raise ModelCallDenied(400, "the request's body is not JSON") from err
    if not isinstance(body, dict):
        raise ModelCallDenied(400, "the request's body is not a JSON object")
    return body


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def check_model(provider: str, model: str, passport: Passport, policy: ModelPolicy) -> None:
    """Raises Denied for a model outside what the listener and, by now, the policy allow."""
    name = f"{provider}/{model}"
    if re.fullmatch(MODEL, model) is None:
        raise ModelCallDenied(400, "the model's name has characters that no name has")
    if not matches(name, passport.models) or not matches(name, policy.allowed(passport.phase)):
        allowed = ", ".join(passport.models) or "none"
        raise ModelCallDenied(
            403, f"the model {name} may not be called for the {passport.phase} step (allowed: {allowed})"
        )


def send_to(flow: HTTPFlow, provider: ModelProvider, path: str, query: str, body: bytes) -> None:
    """Turn the request to the provider, with the key in and little else of what the sandbox had put there."""
    request, upstream = flow.request, provider.upstream
    passed = {name: request.headers[name] for name in PASSED_HEADERS if name in request.headers}
    request.headers = Headers(
        [
            (name.encode(), value.encode("utf-8", "surrogateescape"))
            for name, value in {**passed, "accept-encoding": "identity", **provider.credentials}.items()
        ]
    )
    request.trailers = None
    request.scheme, request.host, request.port = upstream.scheme, upstream.host, upstream.port
    request.path = f"{upstream.path}{path}" + (f"?{query}" if query else "")
    request.raw_content = body
    if request.method == "POST":
        request.headers["content-length"] = str(len(body))
    exchange_of(flow).redact.extend(provider.secret_bytes)
