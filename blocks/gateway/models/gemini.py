"""Gemini: https://ai.google.dev/api/generate-content. It takes field names in camelCase and in snake_case."""

import re
from typing import Any

from blocks.gateway.models.ask import (
    Json,
    ModelCallDenied,
    ProviderRequest,
    RequestReading,
    limit,
    mapping,
    sequence,
    unknown,
)

FIELDS = frozenset({"contents", "systemInstruction", "generationConfig", "safetySettings", "tools", "toolConfig"})
CONFIG_FIELDS = frozenset({
    "maxOutputTokens", "temperature", "topP", "topK", "stopSequences", "responseMimeType", "responseSchema",
    "responseJsonSchema", "_responseJsonSchema", "thinkingConfig", "seed", "presencePenalty", "frequencyPenalty",
})  # fmt: skip
PLAIN_PARTS = frozenset({"text", "thought", "thoughtSignature", "functionCall"})


def ask(body: Json, model: str, default_output: int, *, counts_only: bool = False) -> ProviderRequest:
    """A request of :generateContent, :streamGenerateContent or :countTokens. Raises Denied."""
    body = _camel(body)
    if body.get("cachedContent") is not None:
        raise ModelCallDenied(403, "cachedContent is not allowed: the gateway must see all of the input; send it whole")
    reading = RequestReading()
    body = reading.only(body, {"contents"} if counts_only else FIELDS, "field")
    contents = body.get("contents")
    body["contents"] = [_content(content, reading) for content in _listed(contents)]
    if "systemInstruction" in body:
        body["systemInstruction"] = _content(body["systemInstruction"], reading)
    if "tools" in body:
        body["tools"] = _tools(body["tools"], reading)
    output = 0
    if not counts_only:
        given = _camel(mapping(body.get("generationConfig") or {}, "generationConfig"))
        config = body["generationConfig"] = reading.only(given, CONFIG_FIELDS, "generationConfig")
        output = config["maxOutputTokens"] = limit(config.get("maxOutputTokens"), default_output)
    return reading.ask(model, body, output, ("generationConfig", "maxOutputTokens"))


def _content(content: object, reading: RequestReading) -> Json:
    content = _camel(mapping(content, "a content"))
    return {**content, "parts": [_part(part, reading) for part in _listed(content.get("parts"))]}


def _part(part: object, reading: RequestReading) -> Json:
    part = _camel(mapping(part, "a part"))
    for name, value in part.items():
        if name == "inlineData":
            part[name] = data = _camel(mapping(value, name))
            if not str(data.get("mimeType")).startswith("image/"):
                raise unknown("inlineData", data.get("mimeType"))
            reading.image(data.get("data"))
        elif name == "functionResponse":
            part[name] = answer = _camel(mapping(value, name))
            if "parts" in answer:
                answer["parts"] = [_part(inner, reading) for inner in _listed(answer["parts"])]
        elif name not in PLAIN_PARTS:
            raise unknown("a part", name)
    return part


def _tools(tools: object, reading: RequestReading) -> list[Json]:
    """Functions of the agent's. Searches, pages and code are the provider's."""
    kept = (reading.only(_camel(mapping(tool, "a tool")), {"functionDeclarations"}, "tool") for tool in _listed(tools))
    return [tool for tool in kept if tool]


def _listed(value: object) -> list[Any]:
    """Google's JSON takes one thing for a list of one."""
    return [value] if isinstance(value, dict) else sequence(value, "contents, parts or tools")


def _camel(data: Json) -> Json:
    """The fields of one object by the names that Google's JSON gives out. Raises Denied for one that is there twice."""
    renamed = {re.sub(r"(?<=[a-zA-Z])_([a-z0-9])", lambda found: found[1].upper(), name): name for name in data}
    if len(renamed) < len(data):
        raise ModelCallDenied(400, "a field is there twice, in camelCase and in snake_case")
    return {camel: data[name] for camel, name in renamed.items()}


def told(event: Json, usage: Json) -> bool:
    """As `anthropic.told`: every piece has the sums so far."""
    said = event.get("usageMetadata")
    if isinstance(said, dict):
        usage.clear()
        usage.update(said)
    candidates = event.get("candidates")
    finished = isinstance(candidates, list) and any(isinstance(c, dict) and c.get("finishReason") for c in candidates)
    blocked = isinstance(event.get("promptFeedback"), dict) and event["promptFeedback"].get("blockReason")
    return "error" in event or finished or bool(blocked)
