"""Anthropic Messages. https://docs.anthropic.com/en/api/messages, .../messages-streaming, .../errors"""

import json
from typing import Any

from domain.models import TokenUsage
from kits.fake_model.ask import HistoryPiece, ModelReply, ModelRequest, OfferedTool, StreamEvent, pieces, texts

ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def read(body: dict[str, Any], path: str) -> ModelRequest:
    said: list[HistoryPiece] = []
    for message in body.get("messages", []):
        said += _said(message)
    choice = body.get("tool_choice") or {}
    return ModelRequest(
        model=str(body.get("model", "")),
        stream=bool(body.get("stream")),
        system=texts(body.get("system")),
        said=tuple(said),
        tools=tuple(
            OfferedTool(str(tool["name"]), tool["input_schema"])
            for tool in body.get("tools") or []
            if "input_schema" in tool
        ),
        forced=choice.get("name") if choice.get("type") == "tool" else None,
    )


def _said(message: dict[str, Any]) -> list[HistoryPiece]:
    content = message["content"]
    blocks = content if isinstance(content, list) else []
    text = texts(content)
    if message["role"] == "assistant":
        return [HistoryPiece("assistant", text, tuple(block["id"] for block in blocks if block["type"] == "tool_use"))]
    results = [texts(block.get("content")) for block in blocks if block["type"] == "tool_result"]
    return [*(HistoryPiece("tool", result) for result in results), *([HistoryPiece("user", text)] if text else [])]


def whole(ask: ModelRequest, reply: ModelReply) -> dict[str, Any]:
    return {
        **_head(ask, reply),
        "content": _blocks(reply),
        "stop_reason": _stop(reply),
        "usage": _usage(reply.tokens),
    }


def events(ask: ModelRequest, reply: ModelReply) -> list[StreamEvent]:
    begun = reply.tokens.model_copy(update={"output": min(1, reply.tokens.output)})
    head = {**_head(ask, reply), "content": [], "stop_reason": None, "usage": _usage(begun)}
    made = [_event(begun, "message_start", message=head), _event(begun, "ping")]
    for index, block in enumerate(_blocks(reply)):
        if block["type"] == "text":
            empty, deltas = {**block, "text": ""}, [_delta("text", text=piece) for piece in pieces(block["text"])]
        else:
            partial = pieces(json.dumps(block["input"]))
            empty, deltas = {**block, "input": {}}, [_delta("input_json", partial_json=piece) for piece in partial]
        made.append(_event(begun, "content_block_start", index=index, content_block=empty))
        made += [_event(begun, "content_block_delta", index=index, delta=delta) for delta in deltas]
        made.append(_event(begun, "content_block_stop", index=index))
    end = {"stop_reason": _stop(reply), "stop_sequence": None}
    made.append(_event(reply.tokens, "message_delta", delta=end, usage=_usage(reply.tokens)))
    return [*made, _event(reply.tokens, "message_stop")]


def failure(status: int, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": ERRORS.get(status, "api_error"), "message": message}}


def _head(ask: ModelRequest, reply: ModelReply) -> dict[str, Any]:
    return {
        "id": f"msg_{reply.tag}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "stop_sequence": None,
    }


def _blocks(reply: ModelReply) -> list[dict[str, Any]]:
    spoken = [{"type": "text", "text": reply.text}] if reply.text else []
    return [
        *spoken,
        *({"type": "tool_use", "id": c.id, "name": c.tool.name, "input": c.arguments} for c in reply.calls),
    ]


def _stop(reply: ModelReply) -> str:
    return "tool_use" if reply.calls else "end_turn"


def _usage(tokens: TokenUsage) -> dict[str, Any]:
    """Anthropic's input_tokens are those that no cache had a part in."""
    return {
        "input_tokens": max(0, tokens.input - tokens.cache_read - tokens.cache_write),
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation": {"ephemeral_5m_input_tokens": tokens.cache_write, "ephemeral_1h_input_tokens": 0},
        "output_tokens": tokens.output,
        "service_tier": "standard",
    }


def _delta(kind: str, **content: str) -> dict[str, Any]:
    return {"type": f"{kind}_delta", **content}


def _event(told: TokenUsage, kind: str, **data: Any) -> StreamEvent:
    return StreamEvent(f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n", told)
