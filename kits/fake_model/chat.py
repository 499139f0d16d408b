"""OpenAI Chat Completions. https://platform.openai.com/docs/api-reference/chat, .../chat-streaming"""

import json
import time
from typing import Any

from domain.models import TokenUsage
from kits.fake_model.ask import HistoryPiece, ModelReply, ModelRequest, OfferedTool, StreamEvent, pieces, texts

NOTHING = TokenUsage()


def read(body: dict[str, Any], path: str) -> ModelRequest:
    messages = body.get("messages", [])
    choice = body.get("tool_choice")
    return ModelRequest(
        model=str(body.get("model", "")),
        stream=bool(body.get("stream")),
        system="\n".join(texts(m.get("content")) for m in messages if m["role"] in ("system", "developer")),
        said=tuple(_said(m) for m in messages if m["role"] not in ("system", "developer")),
        tools=tuple(
            OfferedTool(tool["function"]["name"], tool["function"].get("parameters") or {})
            for tool in body.get("tools") or []
            if tool.get("type") == "function"
        ),
        forced=choice["function"]["name"] if isinstance(choice, dict) and "function" in choice else None,
        tells_usage=not body.get("stream") or bool((body.get("stream_options") or {}).get("include_usage")),
    )


def _said(message: dict[str, Any]) -> HistoryPiece:
    text = texts(message.get("content"))
    if message["role"] == "assistant":
        return HistoryPiece("assistant", text, tuple(str(call["id"]) for call in message.get("tool_calls") or []))
    return HistoryPiece("tool" if message["role"] in ("tool", "function") else "user", text)


def whole(ask: ModelRequest, reply: ModelReply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": None}
    if reply.calls:
        message["tool_calls"] = _calls(reply)
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(reply)}
    return {**_head(ask, reply, "chat.completion"), "choices": [choice], "usage": usage(reply.tokens)}


def events(ask: ModelRequest, reply: ModelReply) -> list[StreamEvent]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in pieces(reply.text)]
    for index, call in enumerate(_calls(reply)):
        arguments = call["function"]["arguments"]
        begun = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
        deltas.append({"tool_calls": [begun]})
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in pieces(arguments)]
    head = _head(ask, reply, "chat.completion.chunk")
    made = [_chunk(head, NOTHING, delta=delta, finish_reason=None) for delta in deltas]
    made.append(_chunk(head, NOTHING, delta={}, finish_reason=_finish(reply)))
    if ask.tells_usage:
        made.append(StreamEvent(_data({**head, "choices": [], "usage": usage(reply.tokens)}), reply.tokens))
    return [*made, StreamEvent("data: [DONE]\n\n", reply.tokens)]


def failure(status: int, message: str) -> dict[str, Any]:
    kinds = {401: "invalid_api_key", 402: "insufficient_quota", 429: "rate_limit_exceeded"}
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": kinds.get(status)}}


def usage(tokens: TokenUsage) -> dict[str, Any]:
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cache_read, **cache_writes(tokens)},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def cache_writes(tokens: TokenUsage) -> dict[str, int]:
    return {"cache_write_tokens": tokens.cache_write} if tokens.cache_write else {}


def _head(ask: ModelRequest, reply: ModelReply, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{reply.tag}", "object": kind, "created": int(time.time()), "model": ask.model}


def _calls(reply: ModelReply) -> list[dict[str, Any]]:
    return [
        {"id": c.id, "type": "function", "function": {"name": c.tool.name, "arguments": c.json}} for c in reply.calls
    ]


def _finish(reply: ModelReply) -> str:
    return "tool_calls" if reply.calls else "stop"


def _chunk(head: dict[str, Any], told: TokenUsage, **choice: Any) -> StreamEvent:
    return StreamEvent(_data({**head, "choices": [{"index": 0, **choice}]}), told)


def _data(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"
