"""One request to a model, read so that its cost has an end and the provider opens no other way out for it.

A provider can reach the internet on a request's behalf (web search, tools of its own, images and files by URL), go on
where an earlier call ended (input that the gateway does not see), and charge more than the table says (faster tiers).
So each API has lists of what is known to be harmless. A field or a tool beside the lists is left out, and the bill says
so; content beside them cannot be left out without changing what is asked, so the request is denied.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

Json = dict[str, Any]

LEAST_OUTPUT = 1024
"""Tokens. With less a model cannot finish a thought and a tool call."""


class ModelCallDenied(Exception):
    """A request that goes no further: the HTTP status, and a sentence for the agent."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class ProviderRequest(NamedTuple):
    """What goes to the provider, and what bounds its cost. `model` is the provider's own name."""

    model: str
    body: Json
    output_tokens: int
    images: int = 0
    image_bytes: int = 0
    """Of the body: base64 text that is counted by `images`."""
    left_out: tuple[str, ...] = ()
    limit_at: tuple[str, ...] = ()
    """Where in the body the limit of output tokens stands."""
    least_output: int = LEAST_OUTPUT
    """A limit below this would make the call useless, or wrong."""

    def limited(self, tokens: int) -> "ProviderRequest":
        """The same request with a lower limit of output tokens."""
        inner = self.body
        for name in self.limit_at[:-1]:
            inner = inner[name]
        inner[self.limit_at[-1]] = tokens
        note = f"output limit {self.output_tokens} lowered to {tokens}"
        return self._replace(output_tokens=tokens, left_out=(*self.left_out, note))


class RequestReading:
    """What was seen while a request was read."""

    def __init__(self) -> None:
        self.images = 0
        self.image_bytes = 0
        self.left_out: set[str] = set()

    def only(self, data: Json, known: Collection[str], what: str) -> Json:
        """`data` without the fields that are not known."""
        self.left_out |= {f"{what} {name}"[:80] for name in data if name not in known}
        return {name: value for name, value in data.items() if name in known}

    def image(self, data: object) -> None:
        """Count an image that came with the request, as base64."""
        if not isinstance(data, str):
            raise ModelCallDenied(400, "an image has no data")
        self.images += 1
        self.image_bytes += len(data)

    def data_url(self, url: object) -> None:
        """Count an image in a data: URL. The provider would fetch any other."""
        if not isinstance(url, str) or not url.startswith("data:image/"):
            raise ModelCallDenied(
                403, "an image by its address is not allowed: the provider would fetch it; send its data"
            )
        self.image(url)

    def ask(
        self, model: str, body: Json, output_tokens: int, limit_at: tuple[str, ...] = (), least: int = LEAST_OUTPUT
    ) -> ProviderRequest:
        left_out = tuple(sorted(self.left_out))
        return ProviderRequest(model, body, output_tokens, self.images, self.image_bytes, left_out, limit_at, least)


def unknown(what: str, name: object) -> ModelCallDenied:
    """A piece of content that no list has."""
    return ModelCallDenied(
        403, f"{what} of type {str(name)[:60]!r} is not allowed through the gateway: send text or images"
    )


def mapping(value: object, what: str) -> Json:
    if not isinstance(value, dict):
        raise ModelCallDenied(400, f"{what} is not an object")
    return value


def sequence(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise ModelCallDenied(400, f"{what} is not a list")
    return value


def model_name(body: Mapping[str, Any]) -> str:
    model = body.get("model")
    if not isinstance(model, str):
        raise ModelCallDenied(400, "the request names no model")
    return model


def limit(value: object, default: int) -> int:
    """The most output tokens that a request asks for; `default` if it does not say."""
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelCallDenied(400, "the limit of output tokens is not a whole number above 0")
    return value
