"""Gemini's generateContent and streamGenerateContent. https://ai.google.dev/api/generate-content"""

import json
from typing import Any

from domain.models import TokenUsage
from kits.fake_model.ask import HistoryPiece, ModelReply, ModelRequest, OfferedTool, StreamEvent, pieces, texts

ERRORS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


def read(body: dict[str, Any], path: str) -> ModelRequest:
    """The model and whether to stream stand in the path: /v1beta/models/MODEL:streamGenerateContent."""
    model, _, method = path.rpartition("/models/")[2].partition(":")
    system = body.get("systemInstruction") or body.get("system_instruction") or {}
    said: list[HistoryPiece] = []
    for content in body.get("contents", []):
        said += _said(content)
    config = body.get("toolConfig", {}).get("functionCallingConfig", {})
    names = config.get("allowedFunctionNames", []) if config.get("mode") == "ANY" else []
    return ModelRequest(
        model=model,
        stream=method == "streamGenerateContent",
        system=texts(system.get("parts")) if isinstance(system, dict) else str(system),
        said=tuple(said),
        tools=tuple(
            OfferedTool(str(tool["name"]), tool.get("parametersJsonSchema") or tool.get("parameters") or {})
            for group in body.get("tools") or []
            for tool in group.get("functionDeclarations", [])
        ),
        forced=names[0] if names else None,
    )


def _said(content: dict[str, Any]) -> list[HistoryPiece]:
    parts = content.get("parts", [])
    text = texts(parts)
    if content.get("role") == "model":
        return [
            HistoryPiece(
                "assistant", text, tuple(part["functionCall"].get("id", "") for part in parts if "functionCall" in part)
            )
        ]
    results = [json.dumps(part["functionResponse"]) for part in parts if "functionResponse" in part]
    return [*(HistoryPiece("tool", result) for result in results), *([HistoryPiece("user", text)] if text else [])]


def whole(ask: ModelRequest, reply: ModelReply) -> dict[str, Any]:
    spoken = [{"text": reply.text}] if reply.text else []
    return _answer(ask, reply, [*spoken, *_calls(reply)], "STOP", reply.tokens)


def events(ask: ModelRequest, reply: ModelReply) -> list[StreamEvent]:
    """Every event tells the usage so far; the output is counted up to the whole on the last one."""
    begun = reply.tokens.model_copy(update={"output": min(1, reply.tokens.output)})
    parts = [*({"text": piece} for piece in pieces(reply.text)), *_calls(reply)]
    made = [StreamEvent(_data(_answer(ask, reply, [part], None, begun)), begun) for part in parts]
    return [*made, StreamEvent(_data(_answer(ask, reply, [{"text": ""}], "STOP", reply.tokens)), reply.tokens)]


def failure(status: int, message: str) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "status": ERRORS.get(status, "UNKNOWN")}}


def _answer(
    ask: ModelRequest, reply: ModelReply, parts: list[dict[str, Any]], finish: str | None, tokens: TokenUsage
) -> dict[str, Any]:
    candidate = {"index": 0, "content": {"role": "model", "parts": parts}}
    return {
        "candidates": [{**candidate, "finishReason": finish} if finish else candidate],
        "usageMetadata": {
            "promptTokenCount": tokens.input,
            "candidatesTokenCount": tokens.output,
            "totalTokenCount": tokens.input + tokens.output,
            **({"cachedContentTokenCount": tokens.cache_read} if tokens.cache_read else {}),
        },
        "modelVersion": ask.model,
        "responseId": reply.tag,
    }


def _calls(reply: ModelReply) -> list[dict[str, Any]]:
    return [{"functionCall": {"id": c.id, "name": c.tool.name, "args": c.arguments}} for c in reply.calls]


def _data(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\r\n\r\n"
