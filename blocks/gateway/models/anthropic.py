"""Anthropic Messages: https://platform.claude.com/docs/en/api/messages"""

from typing import Any

from blocks.gateway.models.ask import (
    LEAST_OUTPUT,
    Json,
    ProviderRequest,
    RequestReading,
    limit,
    mapping,
    model_name,
    sequence,
    unknown,
)

COUNTED = frozenset({
    "model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "output_format",
    "context_management", "cache_control",
})  # fmt: skip
FIELDS = COUNTED | {"max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences", "metadata"}
TOOLS = ("custom", "bash_", "text_editor_", "computer_", "memory_")
"""Kinds of tools that run where the agent is: all others run at the provider, with a network of its own."""
PLAIN = frozenset({"text", "tool_use", "thinking", "redacted_thinking", "tool_reference"})
EDITS = "clear_"
"""Context edits that only take away. A compaction is a further call to the model, billed beside the usage."""


def ask(body: Json, default_output: int, *, counts_only: bool = False) -> ProviderRequest:
    """A request of /v1/messages, or of /v1/messages/count_tokens. Raises Denied."""
    reading = RequestReading()
    body = reading.only(body, COUNTED if counts_only else FIELDS, "field")
    for message in sequence(body.get("messages"), "messages"):
        _content(mapping(message, "a message").get("content"), reading)
    _content(body.get("system", ""), reading)
    if "tools" in body:
        body["tools"] = _tools(sequence(body["tools"], "tools"), reading)
    if "context_management" in body:
        body["context_management"] = _edits(body["context_management"], reading)
    output = 0
    if not counts_only:
        output = body["max_tokens"] = limit(body.get("max_tokens"), default_output)
    return reading.ask(model_name(body), body, output, ("max_tokens",), LEAST_OUTPUT + _thought(body))


def _thought(body: Json) -> int:
    """Tokens that are set aside for thinking; the limit must be above them."""
    thinking = body.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    return budget if isinstance(budget, int) and budget > 0 else 0


def _content(content: object, reading: RequestReading) -> None:
    if content is None or isinstance(content, str):
        return
    for block in sequence(content, "content"):
        kind = mapping(block, "a content block").get("type")
        if kind == "tool_result":
            _content(block.get("content"), reading)
        elif kind == "image":
            source = mapping(block.get("source"), "an image's source")
            if source.get("type") != "base64":
                raise unknown("an image's source", source.get("type"))
            reading.image(source.get("data"))
        elif kind == "document":
            source = mapping(block.get("source"), "a document's source")
            if source.get("type") != "text":
                raise unknown("a document's source", source.get("type"))
        elif kind not in PLAIN:
            raise unknown("content", kind)


def _tools(tools: list[Any], reading: RequestReading) -> list[Any]:
    kept = []
    for tool in tools:
        kind = mapping(tool, "a tool").get("type") or "custom"
        if str(kind).startswith(TOOLS):
            kept.append(tool)
        else:
            reading.left_out.add(f"tool {kind}"[:80])
    return kept


def _edits(management: object, reading: RequestReading) -> Json:
    known = reading.only(mapping(management, "context_management"), {"edits"}, "context_management")
    edits = sequence(known.get("edits", []), "edits")
    kept = []
    for edit in edits:
        kind = str(mapping(edit, "an edit").get("type"))
        if kind.startswith(EDITS):
            kept.append(edit)
        else:
            reading.left_out.add(f"context_management {kind}"[:80])
    return {"edits": kept}


def told(event: Json, usage: Json) -> bool:
    """Take over what an event, or the whole answer, says of the usage. True if nothing more of it will come."""
    match event.get("type"):
        case "message_start":
            usage.update(_known(mapping(event.get("message"), "message").get("usage")))
        case "message_delta" | "message":
            usage.update(_known(event.get("usage")))
        case "message_stop" | "error":
            return True
    return False


def _known(usage: object) -> Json:
    """Counts that are given. The ones of a message_delta are sums, and stand in for those before."""
    return {name: value for name, value in usage.items() if value is not None} if isinstance(usage, dict) else {}
