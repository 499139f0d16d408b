"""OpenAI Chat Completions and Responses: https://platform.openai.com/docs/api-reference"""

from typing import Any

from blocks.gateway.models.ask import (
    Json,
    ModelCallDenied,
    ProviderRequest,
    RequestReading,
    limit,
    mapping,
    model_name,
    sequence,
    unknown,
)

CHAT_FIELDS = frozenset({
    "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p",
    "stop", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "seed", "user", "tools",
    "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format", "reasoning_effort",
    "verbosity", "metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
    "reasoning", "thinking", "chat_template_kwargs", "top_k", "min_p", "repetition_penalty",
})  # fmt: skip
RESPONSES_FIELDS = frozenset({
    "model", "input", "instructions", "stream", "stream_options", "max_output_tokens", "tools", "tool_choice",
    "parallel_tool_calls", "reasoning", "text", "temperature", "top_p", "top_logprobs", "include", "store", "metadata",
    "prompt_cache_key", "prompt_cache_retention", "truncation", "user", "safety_identifier", "client_metadata",
})  # fmt: skip
UNSEEN = ("previous_response_id", "conversation", "prompt")
"""Fields that name input which lies at the provider, so that nobody here can say what the call costs."""
TOOLS = frozenset({"function", "custom", "local_shell", "apply_patch", "tool_search"})
"""Tools that run where the agent is."""
ITEMS = frozenset({
    "reasoning", "compaction", "function_call", "custom_tool_call", "local_shell_call", "apply_patch_call",
    "shell_call", "tool_search_call", "web_search_call",
})  # fmt: skip
OUTPUTS = frozenset({
    "function_call_output", "custom_tool_call_output", "local_shell_call_output", "apply_patch_call_output",
    "shell_call_output", "tool_search_output",
})  # fmt: skip
TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal", "summary_text", "reasoning_text", "thinking"})


def chat(body: Json, default_output: int, limit_field: str) -> ProviderRequest:
    """A request of /v1/chat/completions; streams are made to tell their usage. Raises Denied."""
    reading = RequestReading()
    body = reading.only(body, CHAT_FIELDS, "field")
    for message in sequence(body.get("messages"), "messages"):
        _parts(mapping(message, "a message").get("content"), reading)
        if message.get("audio") is not None:
            raise unknown("content", "audio")
    if "tools" in body:
        body["tools"] = _tools(sequence(body["tools"], "tools"), reading)
    asked = [limit(body.pop(name, None), 0) for name in ("max_completion_tokens", "max_tokens")]
    body[limit_field] = output = max(asked) or default_output
    if body.get("stream"):
        body["stream_options"] = {"include_usage": True}
    else:
        body.pop("stream_options", None)
    return reading.ask(model_name(body), body, output, (limit_field,))


def responses(body: Json, default_output: int) -> ProviderRequest:
    """A request of /v1/responses. Raises Denied."""
    for name in UNSEEN:
        if body.get(name) is not None:
            raise ModelCallDenied(403, f"{name} is not allowed: the gateway must see all of the input; send it whole")
    if body.get("background"):
        raise ModelCallDenied(
            403, "background responses are not allowed: their usage comes when nobody is there to meter it"
        )
    reading = RequestReading()
    body = reading.only(body, RESPONSES_FIELDS, "field")
    items = body.get("input")
    if not isinstance(items, str):
        for item in sequence(items, "input"):
            _item(mapping(item, "an input item"), reading)
    if "tools" in body:
        body["tools"] = _tools(sequence(body["tools"], "tools"), reading)
    body["store"] = False  # what lies at the provider is input that nobody sees here
    body["max_output_tokens"] = output = limit(body.get("max_output_tokens"), default_output)
    return reading.ask(model_name(body), body, output, ("max_output_tokens",))


def _item(item: Json, reading: RequestReading) -> None:
    kind = item.get("type") or "message"
    if kind == "message":
        if not isinstance(item.get("role"), str) or item.get("content") is None:
            raise unknown("an input item", "item_reference")
        _parts(item.get("content"), reading)
    elif kind == "additional_tools":
        item["tools"] = _tools(sequence(item.get("tools"), "additional tools"), reading)
    elif kind in OUTPUTS:
        output = item.get("output")
        _parts(output if isinstance(output, list) and kind != "shell_call_output" else None, reading)
    elif kind not in ITEMS:
        raise unknown("an input item", kind)


def _parts(content: object, reading: RequestReading) -> None:
    if content is None or isinstance(content, str):
        return
    for part in sequence(content, "content"):
        kind = mapping(part, "a content part").get("type")
        if kind == "image_url":  # chat
            image = part.get("image_url")
            reading.data_url(image.get("url") if isinstance(image, dict) else image)
        elif kind == "input_image":  # responses
            if part.get("file_id") is not None:
                raise unknown("an image", "file_id")
            reading.data_url(part.get("image_url"))
        elif kind not in TEXT_PARTS:
            raise unknown("content", kind)


def _tools(tools: list[Any], reading: RequestReading) -> list[Any]:
    kept = []
    for tool in tools:
        kind = mapping(tool, "a tool").get("type")
        if kind == "namespace":
            kept.append({**tool, "tools": _tools(sequence(tool.get("tools"), "a namespace's tools"), reading)})
        elif kind in TOOLS:
            kept.append(tool)
        else:
            reading.left_out.add(f"tool {kind}"[:80])
    return kept


def told_by_chat(event: Json, usage: Json) -> bool:
    """As `anthropic.told`. Some servers tell a sum so far with every piece, so a stream ends with its [DONE] alone."""
    said = event.get("usage")
    if isinstance(said, dict):
        usage.clear()
        usage.update(said)
    return "error" in event


def told_by_responses(event: Json, usage: Json) -> bool:
    """As `anthropic.told`."""
    ended = event.get("type") in ("response.completed", "response.incomplete", "response.failed")
    response = event.get("response") if ended else event
    if isinstance(response, dict) and isinstance(said := response.get("usage"), dict):
        usage.update(said)
    return ended or event.get("type") == "error"
