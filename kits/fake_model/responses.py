"""OpenAI Responses. https://platform.openai.com/docs/api-reference/responses, .../responses-streaming"""

import json
import time
from typing import Any

from domain.models import TokenUsage
from kits.fake_model.ask import (
    HistoryPiece,
    ModelReply,
    ModelRequest,
    OfferedTool,
    StreamEvent,
    ToolCall,
    pieces,
    texts,
)
from kits.fake_model.chat import cache_writes, failure

__all__ = ["events", "failure", "read", "whole"]

CALLS = ("function_call", "custom_tool_call", "local_shell_call")


def read(body: dict[str, Any], path: str) -> ModelRequest:
    given = body.get("input", [])
    items: list[dict[str, Any]] = [{"role": "user", "content": given}] if isinstance(given, str) else given
    choice = body.get("tool_choice")
    added = [tool for item in items if item.get("type") == "additional_tools" for tool in item["tools"]]
    told = [item for item in items if item.get("role") in ("system", "developer")]
    return ModelRequest(
        model=str(body.get("model", "")),
        stream=bool(body.get("stream")),
        system="\n".join([str(body.get("instructions") or ""), *(texts(item.get("content")) for item in told)]),
        said=tuple(said for item in items if (said := _said(item))),
        tools=tuple(_tools([*(body.get("tools") or []), *added])),
        forced=choice.get("name") if isinstance(choice, dict) else None,
    )


def _said(item: dict[str, Any]) -> HistoryPiece | None:
    kind = item.get("type", "message")
    if kind == "message" and item["role"] in ("user", "assistant"):
        return HistoryPiece(item["role"], texts(item.get("content")))
    if kind in CALLS:
        return HistoryPiece("assistant", "", (str(item.get("call_id")),))
    if kind.endswith("_output"):
        return HistoryPiece("tool", texts(item.get("output")))
    return None


def _tools(offered: list[dict[str, Any]], namespace: str | None = None) -> list[OfferedTool]:
    made: list[OfferedTool] = []
    for tool in offered:
        if tool["type"] == "namespace":
            made += _tools(tool["tools"], tool["name"])
        else:
            made.append(
                OfferedTool(str(tool.get("name", tool["type"])), tool.get("parameters") or {}, tool["type"], namespace)
            )
    return made


def whole(ask: ModelRequest, reply: ModelReply) -> dict[str, Any]:
    return _response(ask, reply, "completed", _items(reply), reply.tokens)


def events(ask: ModelRequest, reply: ModelReply) -> list[StreamEvent]:
    begun = _response(ask, reply, "in_progress", [], None)
    made: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for index, item in enumerate(_items(reply)):
        made += _item_events(index, item)
    told = [TokenUsage()] * len(made) + [reply.tokens]
    made.append({"type": "response.completed", "response": whole(ask, reply)})
    return [
        StreamEvent(
            f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': number})}\n\n", told[number]
        )
        for number, event in enumerate(made)
    ]


def _item_events(index: int, item: dict[str, Any]) -> list[dict[str, Any]]:
    place = {"item_id": item["id"], "output_index": index}
    if item["type"] == "message":
        part = item["content"][0]
        inside, text = {**place, "content_index": 0}, part["text"]
        begun: dict[str, Any] = {"content": []}
        made = [{"type": "response.content_part.added", **inside, "part": {**part, "text": ""}}]
        made += [{"type": "response.output_text.delta", **inside, "delta": piece} for piece in pieces(text)]
        made.append({"type": "response.output_text.done", **inside, "text": text})
        made.append({"type": "response.content_part.done", **inside, "part": part})
    else:
        field = {"function_call": "arguments", "custom_tool_call": "input"}.get(item["type"])
        kind = "response.function_call_arguments" if field == "arguments" else "response.custom_tool_call_input"
        begun = {field: ""} if field else {}
        made = [{"type": f"{kind}.delta", **place, "delta": piece} for piece in pieces(item[field])] if field else []
        made += [{"type": f"{kind}.done", **place, field: item[field]}] if field else []
    return [
        {
            "type": "response.output_item.added",
            "output_index": index,
            "item": {**item, **begun, "status": "in_progress"},
        },
        *made,
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def _items(reply: ModelReply) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    if reply.text:
        part = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
        message = {"id": f"msg_{reply.tag}", "type": "message", "role": "assistant", "content": [part]}
        made.append({**message, "status": "completed"})
    return [*made, *(_call(call) for call in reply.calls)]


def _call(call: ToolCall) -> dict[str, Any]:
    item: dict[str, Any] = {"id": f"fc_{call.id.removeprefix('call_')}", "call_id": call.id, "status": "completed"}
    if call.tool.kind == "local_shell":
        return {**item, "type": "local_shell_call", "action": {"type": "exec", "env": {}, **call.arguments}}
    named = {**item, "name": call.tool.name, **({"namespace": call.tool.namespace} if call.tool.namespace else {})}
    if call.tool.kind == "custom":
        return {**named, "type": "custom_tool_call", "input": call.json}
    return {**named, "type": "function_call", "arguments": call.json}


def _response(
    ask: ModelRequest, reply: ModelReply, status: str, output: list[dict[str, Any]], tokens: TokenUsage | None
) -> dict[str, Any]:
    return {
        "id": f"resp_{reply.tag}",
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": ask.model,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None if tokens is None else _usage(tokens),
    }


def _usage(tokens: TokenUsage) -> dict[str, Any]:
    return {
        "input_tokens": tokens.input,
        "input_tokens_details": {"cached_tokens": tokens.cache_read, **cache_writes(tokens)},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens.input + tokens.output,
    }
